"""The phase map: collapse against recovery over the decay of the mixture weight and the growth of the sample size.

    α_t = min(1, a₀ t^−a),   n_t = n₀ t^b,   p* = the next-token law of a real text

The boundary of a run of T generations is the contour r_T = ½ of the exact recursion with rounded n_t; the asymptotic
phases belong to T → ∞ (`theory.phase`). Both are drawn on the simulation.

    jaxcollapse run experiments/phase_boundary.py                    Shakespeare's 256 most frequent words
    jaxcollapse run experiments/phase_boundary.py --set order=2      the 27 × 27 letter bigrams, quantiles over contexts
"""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import jaxcollapse as jc

AXES = {"growth": np.linspace(0, 2, 25), "decay": np.linspace(0, 2, 25)}  # cells of like n_t side by side
RECORDED = 32  # log-spaced generations kept of each run, besides the last


def experiment(decay, growth, *, key, generations=300, lineages=64, order=1, vocab=256, a0=0.5, n0=20.0):
    """Relative risk r = ‖p_t − p*‖² / (1 − ‖p*‖²) and diversity H / H* of every lineage, at log-spaced generations.

    With several contexts, their means with weights π_c H*_c: Σ π_c R_c / Σ π_c H*_c.
    """
    p_star = target(order, vocab)
    alpha, n = schedules(decay, growth, a0, n0)
    loop = jc.Loop(target=p_star, learner=jc.Tabular(), regime=jc.Replace(), alpha=alpha, n=n)
    h_star = jc.metrics.diversity(p_star.probs)

    def record(lineage, batch):  # a context with one successor alone has H* = 0, and risk 0
        p, scale = lineage.model.probs, jnp.where(h_star > 0, h_star, 1.0)
        return jc.metrics.squared_error(p, p_star.probs) / scale, jc.metrics.diversity(p) / scale

    kept, by_context = times(generations), {}
    _, (risk, diversity) = jc.ensemble(loop, generations, lineages=lineages, key=key, record=record, record_at=kept)
    if order == 2:
        by_context["risk_by_context"] = ("context", risk[:, -1].mean(0), {"long_name": "mean r_T of each context"})
        weights = context_weights(p_star)
        risk, diversity = risk @ weights, diversity @ weights
    return by_context | {
        "generation": ("generation", kept, {"long_name": "generation t"}),
        "risk": (("lineage", "generation"), risk, {"long_name": "risk r relative to 1 − ‖p*‖²", "units": "1"}),
        "diversity": (("lineage", "generation"), diversity, {"long_name": "diversity H / H*", "units": "1"}),
    }


def target(order, vocab):
    return jc.corpora.shakespeare(vocab=vocab) if order == 1 else jc.corpora.letters(order=order)


def context_weights(p_star):
    """π_c H*_c / Σ π_c H*_c."""
    weights = p_star.contexts * jc.metrics.diversity(p_star.probs)
    return weights / weights.sum()


def schedules(decay, growth, a0=0.5, n0=20.0):
    return jc.PowerLaw(a0, exponent=-decay, cap=1), jc.PowerLaw(n0, exponent=growth)


def times(generations):
    return np.unique(np.rint(np.geomspace(1, generations, RECORDED)).astype(int))


def summary(run):
    """What the run shows, beside what theory says of T → ∞ and of this horizon."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    found = analyse(run)
    labels = ("risk falling", "stationary", "diversity falling", "undetermined")
    title = f"Cells by asymptotic phase (T → ∞) and by what the run shows at T = {found['generations']}"
    table = Table(title=title, box=SIMPLE)
    for label in ("phase", *labels, "cells"):
        table.add_column(label, justify="left" if label == "phase" else "right")
    for phase in ("recovery", "plateau", "frozen", "collapse"):
        here = found["phase"] == phase
        row = [int((here & (found["described"].label == label)).sum()) for label in labels]
        table.add_row(phase, *map(str, row), str(int(here.sum())))
    return Group(table, _examples_table(found), *_boundary_lines(found), *_agreement_lines(found))


def _examples_table(found):
    """One cell in each phase: what its lineages did, since a mean says little about one of them."""
    from rich.box import SIMPLE
    from rich.table import Table

    title = f"One cell in each phase at T = {found['generations']}; t(½): median time to r ≥ ½"
    table = Table(title=title, box=SIMPLE, padding=0)
    for label in ("a, b", "exact r", "mean", "s.e.", "median", "5 %", "95 %", "P(r>½)", "t(½)"):
        table.add_column(label, justify="right", no_wrap=True)
    collapse = jc.phase.collapse_time(found["risk"], found["times"], level=0.5)
    for i, j in _examples(found["a"], found["b"]):
        e = found["estimate"]
        numbers = (found["r"], e.mean, e.se, e.median, *e.quantiles, e.exceedance)
        when = collapse.median[i, j]
        row = [f"{x[i, j]:.2g}" for x in numbers] + [f"{when:.0f}" if np.isfinite(when) else "never"]
        table.add_row(f"{found['a'][i]:.3g}, {found['b'][j]:.3g}", *row)
    return table


def _held(found):
    """The slices that both boundaries cross, and which of these intervals hold the exact one."""
    simulated, exact = found["boundary"], found["exact boundary"]
    both = np.isfinite(simulated.root) & np.isfinite(exact)
    return both, ((simulated.low <= exact) & (exact <= simulated.high))[both]


def _boundary_lines(found):
    simulated, exact = found["boundary"], found["exact boundary"]
    both, inside = _held(found)
    distance = abs(simulated.root - exact)[both]
    width = (simulated.high - simulated.low)[both]
    if not both.any():
        return ["boundary r_T = 1/2: no slice crosses it"]
    return [
        f"boundary r_T = 1/2: {both.sum()} slices cross it; |simulated − exact| in growth b: mean "
        f"{distance.mean():.4f}, worst {distance.max():.4f}",
        f"  the exact boundary lies in the pointwise 95 % interval in {inside.sum()} of {both.sum()} slices; median "
        f"width {np.median(width):.3f}; largest interpolation bias {np.nanmax(abs(simulated.bias)):.4f}",
    ]


def _agreement_lines(found):
    testable = found["lineages"] * (1 - found["r"]) >= 20
    z = abs(found["estimate"].mean - found["r"])[testable] / found["estimate"].se[testable]
    bound = stats.t.isf(5e-4 / max(z.size, 1), found["lineages"] - 1)
    worst = f"worst |z| {z.max(initial=0):.2f} (bound {bound:.2f})"
    kind = "exact" if "variance" in found else "sample"
    lines = [
        f"simulation against the exact recursion: {worst} over {z.size} cells with {kind} s.e.; "
        f"{(~testable).sum()} cells hold too little diversity to test (lineages × (1 − r) < 20)"
    ]
    if found["order"] == 2:
        low, high = (np.quantile(found["simulated by context"], q, axis=-1) for q in (0.1, 0.9))
        lines.append(
            f"contexts: the middle 80 % span r_T from {np.median(low):.3g} to {np.median(high):.3g} (median cell)"
        )
    return lines


def figure(run):
    """The map, four cells' histories, and all cells on the one curve of finite-time scaling."""
    import matplotlib.pyplot as plt

    found = analyse(run)
    a, b, simulated = found["a"], found["b"], found["boundary"]
    figure = plt.figure(figsize=(15, 8), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.5, 1))
    mean = found["estimate"].mean
    ax = jc.plot.phase(
        a,
        b,
        mean,
        boundary=simulated,
        exact=found["exact boundary"],
        formula=np.where(a <= 1, found["leading order"], np.nan) if found["order"] == 1 else None,
        phases=found["phase"],
        described=found["described"].label,
        borders=[([0, 1], [0, 1]), ([1, 1], [1, b[-1] + 1]), ([1, a[-1] + 1], [1, 1])],
        ax=figure.add_subplot(grid[:, 0]),
    )
    if found["order"] == 2:
        _draw_contexts(ax, found)
    figure.suptitle(_title(found))
    ax = figure.add_subplot(grid[0, 1])
    for i, j in _examples(a, b):
        risk = found["risk"][i, j]
        label = f"a = {a[i]:.3g}, b = {b[j]:.3g}: {found['phase'][i, j]}"
        jc.plot.trajectories(found["times"], risk, exact=found["history"][i, j], label=label, ax=ax)
    hue = np.broadcast_to(a[:, None], mean.shape)
    ax = jc.plot.collapse_curve(found["x"], mean, found["estimate"].se, hue=hue, ax=figure.add_subplot(grid[1, 1]))
    if found["order"] == 2:
        ax.set_title("x counts the draws of all contexts; the line is that of a single one", fontsize=9)
    return figure


def _title(found):
    words = "letter bigrams, contexts weighted by π H*" if found["order"] == 2 else f"{found['vocab']} words"
    both, inside = _held(found)
    return (
        f"p* = Shakespeare, {words}; a₀ = {found['a0']:g}, n₀ = {found['n0']:g}, "
        f"T = {found['generations']}, {found['lineages']} lineages a cell\n"
        f"{inside.sum()} of {both.sum()} intervals hold the exact boundary"
    )


def _examples(a, b):
    """A cell in each phase, where the grid has one nearby."""
    points = ((0.5, 1.0), (0.75, 0.75), (1.75, 1.25), (1.25, 0.25))
    return list(dict.fromkeys((int(abs(a - x).argmin()), int(abs(b - y).argmin())) for x, y in points))


def _draw_contexts(ax, found):
    """Where the 10 %, 50 % and 90 % quantiles of the contexts' risks cross ½."""
    legend = ax.get_legend()
    keys, labels = list(legend.legend_handles), [text.get_text() for text in legend.get_texts()]
    for share, style in ((0.1, ":"), (0.5, "--"), (0.9, "-.")):
        level = np.quantile(found["simulated by context"], share, axis=-1)
        ax.contour(found["a"], found["b"], level.T, levels=[0.5], colors="white", linestyles=style, linewidths=1.6)
        keys += ax.plot([], [], color="0.4", linestyle=style)
        labels.append(f"r = ½ at the {share:.0%} quantile of contexts")
    ax.legend(keys, labels, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=9)


def analyse(run):
    """What the run shows, and in double precision the exact theory of the same grid."""
    if "repeat" in run.dims:
        run = run.stack(lineages=("repeat", "lineage"), create_index=False).rename(lineages="lineage")
    order = ("decay", "growth", "lineage", "generation")
    if set(run.risk.dims) != set(order):
        raise ValueError(f"axes: got {run.attrs['axes']}, expected decay and growth alone; try run.sel on the others")
    risk, diversity = (run[name].transpose(*order).values.astype(float) for name in ("risk", "diversity"))
    found = json.loads(run.attrs["settings"]) | {"risk": risk, "times": run.generation.values}
    with jax.enable_x64(True):
        found |= theory(tuple(run.decay.values), tuple(run.growth.values), run.attrs["settings"])
    if "risk_by_context" in run:
        by_context = run.risk_by_context.transpose("decay", "growth", "context").values
        found["simulated by context"] = by_context[..., found["weights"] > 0]
    se = np.sqrt(found["variance"] / found["lineages"]) if "variance" in found else None
    estimate = jc.phase.estimate(risk[..., -1], se=se)
    described = jc.phase.describe(risk, found["times"], memory_weight=found["memory weight"], diversity=diversity)
    boundary = jc.phase.boundary(
        estimate.mean, found["b"], axis=1, se=estimate.se, exact=found["r"], exact_root=found["exact boundary"]
    )
    return found | {"estimate": estimate, "described": described, "boundary": boundary}


@functools.cache
def theory(decays, growths, settings):
    """Exact r_t, Var r_T, W_T, the scaling variable, the boundary and the asymptotic phase of every cell."""
    a, b, found, exact = np.array(decays), np.array(growths), json.loads(settings), curves(decays, growths, settings)
    a0, n0, generations = (found[name] for name in ("a0", "n0", "generations"))
    return exact | {
        "a": a,
        "b": b,
        "weights": None if found["order"] == 1 else np.asarray(context_weights(target(found["order"], found["vocab"]))),
        "phase": np.array([[jc.theory.phase(*schedules(x, y, a0, n0)).name for y in b] for x in a]),
        "exact boundary": _exact_boundary(a, b, exact["r"], found),
        "leading order": np.asarray(jc.theory.leading_order_boundary(a, a0, n0, generations)),
    }


@functools.cache
def curves(decays, growths, settings):
    """Exact r_t and its deviation at the recorded generations; r_T, Var r_T, W_T and the scaling variable: a × b."""
    found = json.loads(settings)
    a0, n0, generations = (found[name] for name in ("a0", "n0", "generations"))
    p_star, kept = target(found["order"], found["vocab"]), times(generations)

    def cell(decay, growth):
        alpha, n = schedules(decay, growth, a0, n0)
        alpha_t, n_t = jc.evaluate(alpha, n, generations)
        exact = {
            "memory weight": jc.theory.memory_weight(alpha_t, n_t)[-1],
            "x": jc.theory.scaling_variable(alpha_t[-1], n_t[-1]),
        }
        if found["order"] == 1:
            variance = jc.theory.risk_variance(alpha, n, p_star.probs, generations)
            variance /= jc.metrics.diversity(p_star.probs) ** 2
            exact |= {"variance": variance[-1], "deviation": jnp.sqrt(variance)[kept]}
            return exact | {"history": jc.theory.risk(alpha, n, generations)[kept]}
        contexts = jc.theory.context_risk(alpha, n, p_star.contexts, generations)
        return exact | {"history": (contexts @ context_weights(p_star))[kept]}

    grid = jnp.meshgrid(jnp.array(decays, float), jnp.array(growths, float), indexing="ij")
    exact = jax.tree.map(np.asarray, jax.jit(jax.vmap(jax.vmap(cell)))(*grid))
    return exact | {"r": exact["history"][..., -1]}


def report(run):
    """The run with the exact recursion beside it, as `jaxcollapse report` shows it."""
    axes = {"decay": "decay a", "growth": "growth b"}
    with jax.enable_x64(True):
        found = curves(tuple(run.decay.values), tuple(run.growth.values), run.attrs["settings"])
    r, dims = found["history"], (*axes, "generation")
    exact = {"risk_exact": (dims, r), "diversity_exact": (dims, 1 - r)}
    if "deviation" in found:
        exact["risk_exact_sd"] = (dims, found["deviation"])
    run = run.assign(exact).assign_attrs(axes=list(axes))
    for name, label in axes.items():
        run[name].attrs["long_name"] = label
    return run


def _exact_boundary(a, b, r, found):
    """The contour r_T = ½ in each slice of decay: bisected for one context, interpolated in the grid for several."""
    if found["order"] != 1:
        return jc.phase.boundary(r, b, axis=1, se=np.zeros_like(r)).root

    def root(decay):
        along = lambda growth: schedules(decay, growth, found["a0"], found["n0"])
        return jc.theory.boundary(along, found["generations"], bracket=(b[0], b[-1]))

    return np.asarray(jax.jit(jax.vmap(root))(jnp.asarray(a, float)))
