"""The three errors of a softmax trained by gradient descent, each turned off in turn.

    statistical    finite n                                  off: n = 10⁸ draws
    expressivity   features of rank 2: pairs of contexts     off: features of rank 4, every context has its own
                   share their logits
    optimisation   training stops after `few` steps          off: after `steps`, which is converged

    W ← W − η ∇[−Σ_cv (N_cv/n) log softmax(Φ W)_cv],   from W = 0 in every generation

With G(x) the row that is fitted to frequencies x = N_g·/n, and m_t the mixture that x is drawn from, the risk is a sum:

    E Σ_c π_c ‖p_c − p*_c‖²  =  Σ_g π_g tr V_g  +  Σ_g π_g ‖b_g − p*_g‖²  +  Σ_c π_c ‖p*_g − p*_c‖²
    converged: G(x) = x/Σx is the table, and V_t follows its exact recursion (`three_errors.py`); b = p*_g
    stopped:   b_t = G(m_t) + ½ G''(m_t) : C_t,   V_t = G'(m_t) C_t G'(m_t)ᵀ
               C_t = (diag m_t − m_t m_tᵀ)/n + (1 − α)² π_g² V_{t−1}: the delta method, up to terms of order 1/n²

So the stopped cells with n = 10⁸ are exact too. Source of the names: Shumailov et al., Nature 631:755 (2024).

    jaxcollapse run experiments/optimisation_error.py
"""

import functools
import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy import stats

import jaxcollapse as jc

ERRORS = ("statistical", "expressivity", "optimisation")
SHORT = ("stat.", "expr.", "opt.")
AXES = {name: [0, 1] for name in ERRORS}
COLOURS = {"statistical": "#0072B2", "expressivity": "#D55E00", "optimisation": "#009E73"}
HATCHES = {"statistical": "", "expressivity": "///", "optimisation": "..."}  # tell the terms apart in grey
CELLS = sorted(itertools.product((0, 1), repeat=3), key=lambda cell: (sum(cell), tuple(-x for x in cell)))
CONTEXTS = np.array([0.3, 0.2, 0.3, 0.2])
PAIRS = np.array([[1.0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 1, 0]])
MANY = 1e8
RATE = 4.0


def experiment(
    statistical,
    expressivity,
    optimisation,
    *,
    key,
    generations=20,
    lineages=400,
    alpha=0.2,
    n=1000.0,
    steps=300,
    few=10,
):
    """Squared error of every lineage and generation, and the rows of every lineage at the last."""
    first, second, third = (jnp.asarray(switch) > 0 for switch in (statistical, expressivity, optimisation))
    features = jnp.where(second, jnp.asarray(PAIRS, float), jnp.eye(4))
    stop = jnp.where(third, float(few), float(steps))
    learner = jc.Softmax(features=features, optimiser=until, rate=stop, steps=steps)
    size = jc.Constant(jnp.where(first, n, MANY))
    loop = jc.Loop(target(), learner, jc.Replace(), jc.Constant(alpha), size)
    weights = jnp.asarray(CONTEXTS, float)
    record = lambda lineage, batch: weights @ jc.metrics.squared_error(lineage.model.probs, loop.target.probs)
    last, risk = jc.ensemble(loop, generations, lineages=lineages, key=key, record=record)
    return {
        "generation": ("generation", np.arange(1, generations + 1), {"long_name": "generation t"}),
        "risk": (("lineage", "generation"), risk, {"long_name": "squared error of a row", "units": "1"}),
        "rows": (("lineage", "context", "token"), last.model.probs, {"long_name": "p(v | c) at the last generation"}),
    }


def until(stop):
    """Plain descent that stands still after `stop` steps: what is swept is when training stops."""
    return optax.sgd(lambda step: jnp.where(step < stop, RATE, 0.0))


def target():
    """Four rows of six tokens; the two rows of a pair differ by two swapped tokens."""
    row = np.array([0.35, 0.25, 0.15, 0.12, 0.08, 0.05])
    other = row[::-1].copy()
    return jc.Categorical(np.stack([row, row[[1, 0, 3, 2, 4, 5]], other, other[[0, 1, 3, 2, 5, 4]]]), CONTEXTS)


def groups(cell):
    """Rows of tokens that are learned, their truth `g v` and their weights `g`."""
    p, together = np.asarray(target().probs, np.float64), np.eye(4)
    if cell[1]:
        together = PAIRS[:, [0, 2]].T
    weights = together @ CONTEXTS
    truth = (together * CONTEXTS) @ p / weights[:, None]
    lost = CONTEXTS @ ((together.T @ truth - p) ** 2).sum(1)
    return truth, weights, float(lost)


def predicted(cell, settings):
    """The three terms at t = 1..T for switches (statistical, expressivity, optimisation), `T 3` in this order."""
    truth, weights, lost = groups(cell)
    n = settings["n"] if cell[0] else MANY
    with jax.enable_x64(True):
        course = list((_stopped if cell[2] else _table)(truth, weights, n, settings))
    return np.array([(noise, lost, bias) for noise, bias in course][1:])


def _table(truth, weights, n, settings):
    """A converged fit: Σ π_g tr V_g by the exact recursion of tables, and no bias; t = 0..T."""
    rho = np.asarray(jc.theory.reciprocal_moment(n, jnp.asarray(weights)))
    variance = np.zeros(len(weights))
    for t in range(settings["generations"] + 1):
        inherited = (1 - settings["alpha"]) ** 2 * variance if t else 0.0
        variance = rho * (1 - (truth**2).sum(1) - inherited) + inherited
        yield weights @ variance, 0.0


def _stopped(truth, weights, n, settings):
    """A fit that is stopped early, by the delta method; t = 0..T."""
    groups, tokens = truth.shape
    mean, variance = jnp.asarray(truth), jnp.zeros((groups, tokens, tokens))
    for t in range(settings["generations"] + 1):
        alpha = settings["alpha"] if t else 1.0
        mean, variance = _advance(mean, variance, truth, weights, alpha, n, steps=settings["few"])
        noise = np.trace(np.asarray(variance), axis1=1, axis2=2)
        yield weights @ noise, weights @ ((np.asarray(mean) - truth) ** 2).sum(1)


@functools.partial(jax.jit, static_argnames="steps")
def _advance(mean, variance, truth, weights, alpha, n, steps):
    """Means `g v` and covariances `g v v` of the next generation's rows."""
    fitted = functools.partial(descent, steps=steps)

    def row(mean, variance, truth, weight):
        m = weight * (alpha * truth + (1 - alpha) * mean)
        drawn = (jnp.diag(m) - jnp.outer(m, m)) / n + ((1 - alpha) * weight) ** 2 * variance
        slope, bend = jax.jacfwd(fitted)(m), jax.jacfwd(jax.jacfwd(fitted))(m)
        return fitted(m) + jnp.einsum("abc,bc->a", bend, drawn) / 2, slope @ drawn @ slope.T

    return jax.vmap(row)(mean, variance, truth, weights)


def descent(x, steps):
    """The row after that many steps from z = 0 on the frequencies x of its tokens."""
    step = lambda z, _: (z - RATE * (x.sum() * jax.nn.softmax(z) - x), None)
    return jax.nn.softmax(jax.lax.scan(step, jnp.zeros_like(x), length=steps)[0])


def analyse(run):
    """Predicted terms, simulated means and s.e. of every cell over generations, and the measured terms of the last."""
    settings = json.loads(run.attrs["settings"])
    risk = run.risk.transpose(*ERRORS, "lineage", "generation").values.astype(float)
    rows = run["rows"].transpose(*ERRORS, "lineage", "context", "token").values.astype(float)
    found = {"terms": {cell: predicted(cell, settings) for cell in CELLS}, "settings": settings}
    found["mean"] = {cell: risk[cell].mean(0) for cell in CELLS}
    found["se"] = {cell: risk[cell].std(0, ddof=1) / np.sqrt(risk.shape[3]) for cell in CELLS}
    found["z"] = {c: (found["mean"][c] - found["terms"][c].sum(1)) / found["se"][c] for c in CELLS if any(c)}
    found["measured"] = {cell: _measured(rows[cell], cell) for cell in CELLS}
    return found


def _measured(rows, cell):
    """The three terms of `L c v` rows, without bias: variance, the exact expressivity, and the rest."""
    truth, _, lost = groups(cell)
    truth = truth[[0, 0, 1, 1]] if cell[1] else truth
    noise = CONTEXTS @ rows.var(0, ddof=1).sum(1)
    bias = CONTEXTS @ ((rows.mean(0) - truth) ** 2).sum(1) - noise / len(rows)
    return noise, lost, bias


def name(cell, errors=ERRORS):
    on = [error for error, is_on in zip(errors, cell, strict=True) if is_on]
    return "all three" if all(cell) else " + ".join(on) or "none"


def summary(run):
    """Predicted value, ours and z for each set of errors; the terms, predicted and measured, with all three on."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    found = analyse(run)
    title = f"1000 × squared error at generation {found['settings']['generations']}, and its measured terms"
    table = Table(title=title, box=SIMPLE, collapse_padding=True, pad_edge=False)
    for column in ("what is on", "theory", "ours ± s.e.", "z", *SHORT):
        table.add_column(column, justify="left" if column.endswith("on") else "right", no_wrap=True)
    for cell in CELLS:
        mean, se = 1000 * found["mean"][cell][-1], 1000 * found["se"][cell][-1]
        z = f"{found['z'][cell][-1]:+.2f}" if cell[0] else "–"
        terms = (f"{1000 * term:.2f}" for term in found["measured"][cell])
        due = f"{1000 * found['terms'][cell][-1].sum():.2f}"
        table.add_row(name(cell, SHORT), due, f"{mean:.2f} ± {se:.2f}", z, *terms)
    return Group(table, *_verdicts(found, run.sizes["lineage"]))


def _verdicts(found, lineages):
    for kind, on in (("converged, exact", 0), ("stopped, delta method", 1)):
        z = np.abs([found["z"][cell] for cell in CELLS if cell[0] and cell[2] == on])
        bound = stats.t.isf(5e-4 / z.size, lineages - 1)
        yield f"{kind}: worst |z| {z.max():.2f} of {z.size} with finite n (bound {bound:.2f})"
    off = max(abs(found["mean"][c][-1] - found["terms"][c][-1].sum()) for c in CELLS if not c[0])
    yield f"–: n = 10⁸ leaves no noise to compare with; the largest difference is {off:.1e}"
    terms = found["terms"][1, 1, 1][-1]
    shares = ", ".join(f"{error} {1000 * value:.2f}" for error, value in zip(ERRORS, terms, strict=True))
    yield f"all three on, theory: {shares}"


def figure(run):
    """The predicted terms stacked with the simulation on them, and its course over generations."""
    import matplotlib.pyplot as plt

    found = analyse(run)
    options = {"figsize": (13, 6), "layout": "constrained", "width_ratios": (5, 5)}
    figure, (bars, course) = plt.subplots(1, 2, **options)
    _bars(bars, found)
    figure.legend(*bars.get_legend_handles_labels(), frameon=False, fontsize=9, loc="outside lower left", ncol=4)
    _course(course, run.generation.values, found)
    set_, terms = found["settings"], found["terms"]
    noise = terms[1, 0, 1][-1, 0] / terms[1, 0, 0][-1, 0]
    figure.suptitle(
        "A softmax's errors add up: stopping its training early adds a bias and leaves "
        f"{100 * noise:.0f} % of the statistical error\n"
        f"α = {set_['alpha']:g}, n = {set_['n']:g} where the statistical error is on, {set_['few']} steps where "
        f"training stops early; {run.sizes['lineage']} lineages",
        fontsize=12,
    )
    for ax in (bars, course):
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _bars(ax, found):
    cells = [cell for cell in CELLS if any(cell)]
    places, left = np.arange(len(cells))[::-1], np.zeros(len(cells))
    for i, error in enumerate(ERRORS):
        width = np.array([found["terms"][cell][-1, i] for cell in cells])
        style = {"color": COLOURS[error], "hatch": HATCHES[error], "edgecolor": "white", "linewidth": 0}
        ax.barh(places, width, left=left, label=f"predicted: {error}", height=0.6, **style)
        left += width
    mean = [found["mean"][cell][-1] for cell in cells]
    error = [1.96 * found["se"][cell][-1] for cell in cells]
    ax.errorbar(mean, places, xerr=error, fmt="o", ms=4, color="black", capsize=3, label="simulated, 95 %")
    ax.set_yticks(places, [name(cell).replace(" + ", " +\n") for cell in cells])
    ax.set_xlabel(f"expected squared error at generation {found['settings']['generations']}")
    ax.set_ylabel("errors that are on")
    ax.set_title("The terms add up")


def _course(ax, times, found):
    from matplotlib.lines import Line2D

    shown = {(1, 1, 1): ("all three", "black")} | {
        tuple(int(e != off) for e in ERRORS): (f"without {off}", COLOURS[off]) for off in ERRORS
    }
    for cell, (_, colour) in shown.items():
        mean, half = found["mean"][cell], 1.96 * found["se"][cell]
        ax.fill_between(times, mean - half, mean + half, color=colour, alpha=0.3, lw=0)
        ax.plot(times, found["terms"][cell].sum(1), color=colour, lw=1.2)
    ends = {cell: found["terms"][cell][-1].sum() for cell in shown}
    height, gap = -np.inf, 0.05 * max(ends.values())
    for cell in sorted(shown, key=ends.__getitem__):  # labels one above the other
        height = max(ends[cell], height + gap)
        ax.text(1.02 * times[-1], height, shown[cell][0], va="center", color=shown[cell][1])
    ax.set(xlabel="generation t", ylabel="expected squared error", ylim=(0, None), xlim=(0, 1.5 * times[-1]))
    ax.set_xticks([t for t in ax.get_xticks() if t <= times[-1]])
    ax.set_title("Each turned off in turn")
    handles = [Line2D([], [], color="black"), Line2D([], [], color="grey", lw=6, alpha=0.4)]
    ax.legend(handles, ["predicted", "simulated, 95 %"], frameon=False, fontsize=9, loc="lower right")
