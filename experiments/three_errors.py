"""The three errors of recursive training, each turned off in turn.

    statistical    finite n                        off: n = 10⁸ draws
    expressivity   pairs of contexts share a row    off: every context has its own
    approximation  λ of the start (uniform) remains  off: λ = 0, the fit itself

For a table whose contexts are drawn from π the risk is their sum, exactly, at every t (`families/tied.py`):

    E Σ_c π_c ‖p_c − p*_c‖²  =  Σ_g π_g V_g  +  Σ_g π_g ‖b_g − p*_g‖²  +  Σ_c π_c ‖p*_g − p*_c‖²
    b_t = (1 − λ)(α p*_g + (1 − α) b_{t−1}) + λ s
    V_t = (1 − λ)² [ρ (1 − ‖m_t‖² − (1 − α)² V_{t−1}) + (1 − α)² V_{t−1}]
          m_t = α p*_g + (1 − α) b_{t−1},   ρ = E 1/n_g

The terms are not the errors' prices: a tied row pools the draws of two contexts and an early stop shrinks the noise, so
each of the two lowers the statistical term by more or less than it adds. A Gaussian mixture fitted by EM shows the same
three: n, the number of components, and the number of EM steps from a crude start.

Source of the names: Shumailov et al., Nature 631:755 (2024).

    jaxcollapse run experiments/three_errors.py
"""

import itertools
import json

import jax.numpy as jnp
import jax.random as jr
import numpy as np
from scipy import stats

import jaxcollapse as jc

ERRORS = ("statistical", "expressivity", "approximation")
AXES = {name: [0, 1] for name in ERRORS}
COLOURS = {"statistical": "#0072B2", "expressivity": "#D55E00", "approximation": "#009E73"}
HATCHES = {"statistical": "", "expressivity": "///", "approximation": "..."}  # tell the terms apart in grey
CELLS = sorted(itertools.product((0, 1), repeat=3), key=lambda cell: (sum(cell), tuple(-x for x in cell)))
CONTEXTS = np.array([0.3, 0.2, 0.3, 0.2])
PAIRS = np.array([0, 0, 2, 2])
MANY = 1e8
MIXTURE = jc.GaussianMixture(np.array([0.5, 0.5]), np.array([[-2.0], [2.0]]), np.array([[[1.0]], [[0.25]]]))
CAPACITY = 256
STEPS = 4  # of EM where it is stopped early; 60 is converged


def experiment(
    statistical,
    expressivity,
    approximation,
    *,
    key,
    generations=20,
    lineages=400,
    alpha=0.2,
    n=200.0,
    kept=0.15,
    fits=48,
):
    """Squared error of tables, per lineage and generation; density error of mixtures at the last generation."""
    k_tables, k_mixtures = jr.split(key)
    first, second, third = (jnp.asarray(switch) > 0 for switch in (statistical, expressivity, approximation))
    sizes = {"generations": generations, "lineages": lineages, "alpha": alpha, "n": n, "kept": kept}
    risk = tables(first, second, third, key=k_tables, **sizes)
    density = _mixture(first, second, third, k_mixtures, alpha, fits)
    return {
        "generation": ("generation", np.arange(1, generations + 1), {"long_name": "generation t"}),
        "risk": (("lineage", "generation"), risk, {"long_name": "squared error of a row", "units": "1"}),
        "density_error": ("fit", density, {"long_name": "blurred squared error of the density", "units": "1"}),
    }


def tables(statistical, expressivity, approximation, *, key, generations, lineages, alpha, n, kept):
    """Σ_c π_c ‖p_c − p*_c‖² of every lineage and generation."""
    groups = jnp.where(expressivity, jnp.asarray(PAIRS), jnp.arange(4))
    stopped = jc.Stopped(jnp.where(approximation, kept, 0.0), start=start())
    size = jc.Constant(jnp.where(statistical, n, MANY))
    loop = jc.Loop(target(), jc.Tied(groups, stopped), jc.Replace(), jc.Constant(alpha), size)
    weights = jnp.asarray(CONTEXTS, float)
    record = lambda lineage, batch: weights @ jc.metrics.squared_error(lineage.model.probs, loop.target.probs)
    return jc.ensemble(loop, generations, lineages=lineages, key=key, record=record)[1]


def _mixture(statistical, expressivity, approximation, key, alpha, fits):
    """10 generations of EM from a crude start, with one component lost from the outset where expressivity is on."""
    single, crude = jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5])
    first = jc.GaussianMixture(
        jnp.where(expressivity, single, crude), jnp.array([[-1.0], [1.0]]), jnp.full((2, 1, 1), 4.6)
    )
    learner = jc.Restart(jc.Mixture(2, steps=jnp.where(approximation, STEPS, 60), capacity=CAPACITY), first)
    size = jc.Constant(jnp.where(statistical, 32, CAPACITY))
    loop = jc.Loop(MIXTURE, learner, jc.Replace(), jc.Constant(alpha), size)
    record = lambda lineage, batch: lineage.model.summary(MIXTURE)["density_error"]
    return jc.ensemble(loop, 10, lineages=fits, key=key, record=record, record_at=[10])[1][:, 0]


def target():
    """Four rows of six tokens; the two rows of a pair differ by two swapped tokens."""
    row = np.array([0.35, 0.25, 0.15, 0.12, 0.08, 0.05])
    other = row[::-1].copy()
    return jc.Categorical(np.stack([row, row[[1, 0, 3, 2, 4, 5]], other, other[[0, 1, 3, 2, 5, 4]]]), CONTEXTS)


def start():
    return jc.Categorical(np.full((4, 6), 1 / 6), CONTEXTS)


def exact(cell, settings):
    """The three terms at t = 1..T for switches (statistical, expressivity, approximation), `T 3` in this order."""
    p, group = np.asarray(target().probs, np.float64), PAIRS if cell[1] else np.arange(4)
    n, kept = settings["n"] if cell[0] else MANY, settings["kept"] if cell[2] else 0.0
    together = (group[:, None] == group).astype(float) * CONTEXTS
    truth = together @ p / together.sum(1, keepdims=True)
    rho = np.asarray(jc.theory.reciprocal_moment(n, jnp.asarray(together.sum(1), float)), np.float64)
    expressivity = CONTEXTS @ ((truth - p) ** 2).sum(1)
    mean, variance, rows = truth, np.zeros(4), []
    for t in range(settings["generations"] + 1):
        alpha = settings["alpha"] if t else 1.0
        drawn, inherited = alpha * truth + (1 - alpha) * mean, (1 - alpha) ** 2 * variance
        variance = (1 - kept) ** 2 * (rho * (1 - (drawn**2).sum(1) - inherited) + inherited)
        mean = (1 - kept) * drawn + kept / 6
        rows.append((CONTEXTS @ variance, expressivity, CONTEXTS @ ((mean - truth) ** 2).sum(1)))
    return np.array(rows[1:])


def analyse(run):
    """Exact terms, simulated means and standard errors of every cell, over generations."""
    settings = json.loads(run.attrs["settings"])
    risk = run.risk.transpose(*ERRORS, "lineage", "generation").values.astype(float)
    density = run.density_error.transpose(*ERRORS, "fit").values.astype(float)
    se = lambda x, axis: x.std(axis, ddof=1) / np.sqrt(x.shape[axis])
    found = {"terms": {cell: exact(cell, settings) for cell in CELLS}, "settings": settings}
    found["mean"] = {cell: risk[cell].mean(0) for cell in CELLS}
    found["se"] = {cell: se(risk[cell], 0) for cell in CELLS}
    found["z"] = {c: (found["mean"][c] - found["terms"][c].sum(1)) / found["se"][c] for c in CELLS if any(c)}
    found["density"] = {cell: (density[cell].mean(), se(density[cell], 0)) for cell in CELLS}
    return found


def name(cell):
    on = [error for error, is_on in zip(ERRORS, cell, strict=True) if is_on]
    return "all three" if all(cell) else " + ".join(on) or "none"


def summary(run):
    """Exact value, ours and z for each set of errors, and the mixture's density error."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    found = analyse(run)
    title = f"Squared error at generation {found['settings']['generations']}"
    table = Table(title=title, box=SIMPLE, collapse_padding=True, pad_edge=False)
    for column in ("errors that are on", "exact", "ours ± s.e.", "z", "mixture by EM"):
        table.add_column(column, justify="left" if column.startswith("errors") else "right")
    for cell in CELLS:
        mean, se = found["mean"][cell][-1], found["se"][cell][-1]
        z = f"{found['z'][cell][-1]:+.2f}" if cell[0] else "–"
        density = "{:.3f} ± {:.3f}".format(*found["density"][cell])
        table.add_row(name(cell), f"{found['terms'][cell][-1].sum():.5f}", f"{mean:.5f} ± {se:.5f}", z, density)
    z = np.abs([found["z"][cell] for cell in CELLS if cell[0]])
    bound = stats.t.isf(5e-4 / z.size, run.sizes["lineage"] - 1)
    terms = found["terms"][1, 1, 1][-1]
    shares = ", ".join(f"{error} {value:.4f}" for error, value in zip(ERRORS, terms, strict=True))
    off = max(abs(found["mean"][c][-1] - found["terms"][c][-1].sum()) for c in CELLS if not c[0])
    return Group(
        table,
        f"all three on: {shares}",
        f"worst |z| {z.max():.2f} over {z.size} comparisons with finite n (bound {bound:.2f}); "
        f"–: n = 10⁸ leaves no noise to compare with, and the largest difference is {off:.1e}",
    )


def figure(run):
    """The exact terms stacked, the simulation on them; its course over generations; the mixture."""
    import matplotlib.pyplot as plt
    from matplotlib.lines import Line2D

    found = analyse(run)
    options = {"figsize": (15, 6.2), "layout": "constrained", "width_ratios": (5, 4.8, 4)}
    figure, (bars, course, mixture) = plt.subplots(1, 3, **options)
    cells = [cell for cell in CELLS if any(cell)]
    places = np.arange(len(cells))[::-1]
    left = np.zeros(len(cells))
    for i, error in enumerate(ERRORS):
        width = np.array([found["terms"][cell][-1, i] for cell in cells])
        style = {"color": COLOURS[error], "hatch": HATCHES[error], "edgecolor": "white", "linewidth": 0}
        bars.barh(places, width, left=left, label=f"exact: {error}", height=0.6, **style)
        left += width
    mean = [found["mean"][cell][-1] for cell in cells]
    error = [1.96 * found["se"][cell][-1] for cell in cells]
    bars.errorbar(mean, places, xerr=error, fmt="o", ms=4, color="black", capsize=3, label="simulated, 95 %")
    bars.set_yticks(places, [name(cell).replace(" + ", " +\n") for cell in cells])
    bars.set_xlabel(f"expected squared error at generation {found['settings']['generations']}")
    bars.set_ylabel("errors that are on")
    bars.set_title("Tables: their exact terms add up")
    figure.legend(*bars.get_legend_handles_labels(), frameon=False, fontsize=9, loc="outside lower left", ncol=4)
    _course(course, run.generation.values, found)
    _densities(mixture, found, cells, places)
    handles = [Line2D([], [], color="black", label="exact"), Line2D([], [], color="grey", lw=6, alpha=0.4)]
    course.legend(handles, ["exact", "simulated, 95 %"], frameon=False, fontsize=9, loc="lower right")
    set_ = found["settings"]
    figure.suptitle(
        "Sharing rows and stopping early add errors of their own and damp the statistical one\n"
        f"α = {set_['alpha']:g}, n = {set_['n']:g} where the statistical error is on; {run.sizes['lineage']} lineages "
        f"of tables, {run.sizes['fit']} of mixtures, for which there is no exact law",
        fontsize=12,
    )
    for ax in (bars, course, mixture):
        ax.spines[["top", "right"]].set_visible(False)
    return figure


def _course(ax, times, found):
    shown = {(1, 1, 1): ("all three", "black")} | {
        tuple(int(e != off) for e in ERRORS): (f"without {off}", COLOURS[off]) for off in ERRORS
    }
    for cell, (label, colour) in shown.items():
        mean, half = found["mean"][cell], 1.96 * found["se"][cell]
        ax.fill_between(times, mean - half, mean + half, color=colour, alpha=0.3, lw=0)
        ax.plot(times, found["terms"][cell].sum(1), color=colour, lw=1.2)
        last = found["terms"][cell][-1].sum()
        ax.annotate(label, (times[-1], last), (6, 0), textcoords="offset points", va="center", color=colour)
    ax.set_xlabel("generation t")
    ax.set_ylabel("expected squared error")
    ax.set_ylim(0)
    ax.set_xlim(0, 1.75 * times[-1])
    ax.set_xticks([t for t in ax.get_xticks() if t <= times[-1]])
    ax.set_title("Tables: each turned off in turn")


def _densities(ax, found, cells, places):
    for cell, place in zip([*cells, (0, 0, 0)], [*places, -1], strict=True):
        mean, se = found["density"][cell]
        ax.errorbar(mean, place, xerr=1.96 * se, fmt="s", ms=5, color="black", capsize=3)
    ax.set_yticks([*places, -1], [*(name(cell).replace(" + ", " +\n") for cell in cells), "none\n(n = 256)"])
    ax.set_xlim(0)
    ax.set_xlabel("blurred density error, generation 10, 95 %")
    ax.set_title("A Gaussian mixture by EM")
