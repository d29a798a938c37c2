"""What does it change to fit the previous model's probabilities instead of its samples?

    sampled     r_t = 1/n + (1 − 1/n)(1 − α)² r_{t−1}                      → 1/(1 + (n − 1) α(2 − α))
    distilled   r_t = α/n + [(1 − α)² + α(1 − α)/n] r_{t−1}                → 1/(n (2 − α) − (1 − α))

The sampling noise of the synthetic part is all that makes a table collapse. Without it the smallest share of real data
halves the risk of the first generation in the end, and with none at all nothing happens. A softmax that goes on from
the generation before does as the table does; one that stops early from scratch is biased, and passes its bias on.

Exact for tables; source of the sampled recursion: arXiv 2602.10531.

    jaxcollapse run experiments/distillation.py
"""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import jaxcollapse as jc

AXES = {"n": np.array([10.0, 100.0, 1000.0]), "alpha": np.concatenate([[0.0], np.geomspace(0.001, 1.0, 10)])}
LABELS = {"sampled": "samples", "distilled": "probabilities"}
LEARNERS = {"table": "table", "continued": "softmax, continued", "stopped": "softmax, stopped early"}
POWERS = {"a0": 0.5, "n0": 20.0, "times": 300}  # of the map over decay a and growth b


def experiment(n, alpha, *, key, generations=100, lineages=128, vocab=32, steps=80, stop=20, rate=0.1):
    """Relative risk of every lineage at some generations: three learners, samples or probabilities, the same keys."""
    p_star, at = jc.zipf(vocab), times(generations)
    scale = jc.metrics.diversity(p_star.probs)
    record = lambda lineage, batch: jc.metrics.squared_error(lineage.model.probs, p_star.probs) / scale
    learners = {
        "table": jc.Tabular(),
        "continued": jc.Softmax(steps=steps, rate=rate, start="previous"),
        "stopped": jc.Softmax(steps=stop, rate=rate),
    }

    def risk(learner):
        loop = jc.Loop(p_star, learner, jc.Replace(), jc.Constant(alpha), jc.Constant(n))
        return jc.ensemble(loop, generations, lineages=lineages, key=key, record=record, record_at=at)[1]

    found: dict[str, Any] = {"generation": ("generation", at, {"long_name": "generation t"})}
    for name, learner in learners.items():
        for labels, taught in (("sampled", learner), ("distilled", jc.Distilled(learner))):
            about = {"long_name": f"relative risk r, {LEARNERS[name]}, {LABELS[labels]}", "units": "1"}
            found[f"{name}_{labels}"] = (("lineage", "generation"), risk(taught), about)
    return found


def times(generations):
    return np.unique(np.rint(np.geomspace(1, generations, 12)).astype(int))


def exact(labels, alpha, n, generations):
    """r_t of a table, t = 0..T, in double precision."""
    with jax.enable_x64(True):
        law = jc.theory.risk if labels == "sampled" else jc.theory.distilled_risk
        return np.asarray(law(jc.Constant(alpha), jc.Constant(n), generations))


def analyse(run) -> dict[Any, Any]:
    """Means over lineages and their s.e., axes n × alpha × generation, beside the exact risk of tables."""
    set_: dict = json.loads(run.attrs["settings"])
    n, alpha = run.n.values, run.alpha.values
    found: dict[Any, Any] = {"n": n, "alpha": alpha, "settings": set_}
    found |= {"lineages": run.sizes["lineage"], "times": run.generation.values}
    for labels in LABELS:
        law = [[exact(labels, float(a), float(size), set_["generations"]) for a in alpha] for size in n]
        found[f"exact {labels}"] = np.array(law)
        for name in LEARNERS:
            x = run[f"{name}_{labels}"].transpose("n", "alpha", "generation", "lineage").values.astype(float)
            found[name, labels] = x.mean(-1), x.std(-1, ddof=1) / np.sqrt(x.shape[-1])
    return found


def powers():
    """Decays a, growths b and ln(r_sampled/r_distilled) `a b` of tables at T, exact."""
    grid = np.linspace(0, 2, 81)
    with jax.enable_x64(True):
        t = jnp.maximum(jnp.arange(POWERS["times"] + 1.0), 1.0)[:, None, None]
        alpha = POWERS["a0"] * t ** -jnp.asarray(grid)[None, :, None]
        n = POWERS["n0"] * t ** jnp.asarray(grid)[None, None, :]
        laws = jc.theory.recursion, jc.theory.distilled_recursion
        sampled, distilled = (law(*jnp.broadcast_arrays(alpha, n))[-1] for law in laws)
    return grid, np.log10(np.asarray(sampled / distilled))


def summary(run):
    """Tables beside their exact risk, both softmax learners beside the table, at the last generation."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    found = analyse(run)
    title = f"Risk r at T = {found['times'][-1]}, fitted to samples (s) or probabilities (p)"
    table = Table(title=title, box=SIMPLE, collapse_padding=True, pad_edge=False)
    for column in ("n", "α", "", "exact", "table ± s.e.", "softmax continued", "stopped early"):
        table.add_column(column, justify="right", no_wrap=True)
    for i in range(len(found["n"])):
        for j in range(0, len(found["alpha"]), max(1, len(found["alpha"]) // 3)):
            for labels in LABELS:
                head = (f"{found['n'][i]:g}", f"{found['alpha'][j]:.2g}") if labels == "sampled" else ("", "")
                law = f"{found[f'exact {labels}'][i, j, -1]:.3g}"
                ours = [[x[i, j, -1] for x in found[name, labels]] for name in LEARNERS]
                said = [f"{mean:.3g} ± {se:.1g}" for mean, se in ours[:1]]
                said += [f"{mean:.2g} ± {se:.1g}" for mean, se in ours[1:]]
                table.add_row(*head, LABELS[labels][0], law, *said)
    return Group(table, _verdict(found), _softmax(found))


def _verdict(found):
    z = []
    for labels in LABELS:
        mean, se = found["table", labels]
        z.append((mean - found[f"exact {labels}"][..., found["times"]]) / se)
    z = np.abs(np.array(z))
    bound = stats.t.isf(5e-4 / z.size, found["lineages"] - 1)
    return f"tables, all generations: worst |z| {z.max():.2f} over {z.size} comparisons (bound {bound:.2f})"


def _softmax(found):
    """How the softmax learners compare with the table, at T."""
    lines = []
    for name in ("continued", "stopped"):
        for labels, said in LABELS.items():
            ratio = found[name, labels][0][..., -1] / found[f"exact {labels}"][..., -1]
            lines.append(f"{LEARNERS[name]}, {said}: {ratio.min():.2f} to {ratio.max():.2f} times the table's r")
    return "\n".join(lines)


def figure(run):
    """Over time and over α for tables; over α for the softmax; over the exponents of α_t and n_t."""
    import matplotlib.pyplot as plt

    found = analyse(run)
    figure, axes = plt.subplots(2, 2, figsize=(11.5, 9), layout="constrained")
    _over_time(axes[0, 0], found)
    _over_alpha(axes[0, 1], found)
    _trained(axes[1, 0], found)
    _powers(figure, axes[1, 1])
    figure.suptitle(_title(found), fontsize=11)
    return figure


def _title(found):
    risk = {labels: found["table", labels][0][:, 1, -1] for labels in LABELS}
    i = len(found["n"]) // 2
    return (
        f"Tables fitted to probabilities do not collapse: at n = {found['n'][i]:g}, α = {found['alpha'][1]:.2g}, "
        f"T = {found['times'][-1]}, r = {risk['distilled'][i]:.2g} instead of {risk['sampled'][i]:.2g}"
    )


def _over_time(ax, found):
    """The middle n, three shares of real data."""
    i, alphas = len(found["n"]) // 2, np.linspace(0, len(found["alpha"]) - 1, 4).astype(int)[:3]
    t = np.arange(1, found["settings"]["generations"] + 1)
    for j, colour, marker in zip(alphas, jc.plot.COLOURS, "osD", strict=False):
        for labels, line, face in (("sampled", "--", "white"), ("distilled", "-", colour)):
            mean, se = (x[i, j] for x in found["table", labels])
            said = f"α = {found['alpha'][j]:.2g}, {LABELS[labels]}"
            ax.plot(t, found[f"exact {labels}"][i, j][1:], color=colour, ls=line, lw=1.2)
            style = {"fmt": marker, "ms": 5, "color": colour, "mfc": face, "lw": 1}
            ax.errorbar(found["times"], mean, 2 * se, label=said, **style)
    ax.axhline(1 / found["n"][i], color="0.6", lw=0.8)
    ax.set(xscale="log", yscale="log", xlabel="generation t", ylabel="risk r")
    ax.set_title(f"tables, n = {found['n'][i]:g}; lines: exact; grey: real data alone, 1/n", fontsize=10)
    ax.legend(frameon=False, fontsize=8)


def _places(alpha):
    """α on a log axis, with 0 to the left of the others."""
    least = alpha[alpha > 0].min()
    return np.where(alpha > 0, alpha, least / 3)


def _over_alpha(ax, found):
    x = _places(found["alpha"])
    for i, colour, marker in zip(range(len(found["n"])), jc.plot.COLOURS, "osD", strict=False):
        for labels, line, face in (("sampled", "--", "white"), ("distilled", "-", colour)):
            mean, se = (v[i, :, -1] for v in found["table", labels])
            ax.plot(x, found[f"exact {labels}"][i, :, -1], color=colour, ls=line, lw=1.2)
            style = {"fmt": marker, "ms": 5, "color": colour, "mfc": face, "lw": 1}
            ax.errorbar(x, mean, 2 * se, label=f"n = {found['n'][i]:g}, {LABELS[labels]}", **style)
    _alpha_axis(ax, found)
    ax.set_title(f"tables, T = {found['times'][-1]}; lines: exact", fontsize=10)
    _legend_above(ax)


def _trained(ax, found):
    """The softmax learners at the middle n, and the table's exact risk in black."""
    i, x = len(found["n"]) // 2, _places(found["alpha"])
    for labels, line in (("sampled", "--"), ("distilled", "-")):
        said = f"table, exact, {LABELS[labels]}"
        ax.plot(x, found[f"exact {labels}"][i, :, -1], color="black", ls=line, lw=1, label=said)
    for name, colour, marker in zip(("continued", "stopped"), jc.plot.COLOURS, "os", strict=False):
        for labels, face in (("sampled", "white"), ("distilled", colour)):
            mean, se = (v[i, :, -1] for v in found[name, labels])
            style = {"fmt": marker, "ms": 5, "color": colour, "mfc": face, "lw": 1}
            said = LEARNERS[name].removeprefix("softmax, ")
            ax.errorbar(x, mean, 2 * se, label=f"{said}, {LABELS[labels]}", **style)
    _alpha_axis(ax, found)
    steps = "{steps} steps continued, {stop} stopped early".format(**found["settings"])
    ax.set_title(f"softmax, n = {found['n'][i]:g}, T = {found['times'][-1]}; {steps}", fontsize=10)
    _legend_above(ax)


def _legend_above(ax):
    """In a third of the panel that is added above the curves."""
    low, high = np.log(ax.get_ylim())
    ax.set_ylim(top=np.exp(high + 0.35 * (high - low)))
    ax.legend(frameon=False, fontsize=8, ncols=2, loc="upper center")


def _alpha_axis(ax, found):
    ax.set(xscale="log", yscale="log", xlabel="mixture weight α", ylabel="risk r (± 2 s.e.)")
    places = _places(found["alpha"])
    ticks = {x: f"{x:g}" for x in (0.001, 0.01, 0.1, 1.0) if places[1] * 0.99 <= x}
    if found["alpha"].min() == 0:
        ticks = {places.min(): "0"} | ticks
    ax.set_xticks(list(ticks), list(ticks.values()))
    ax.minorticks_off()


def _powers(figure, ax):
    """Where each recovers; the colours are what a finite run gains."""
    from matplotlib.patheffects import withStroke

    grid, ratio = powers()
    mesh = ax.pcolormesh(grid, grid, ratio.T, cmap="viridis", shading="nearest", rasterized=True)
    figure.colorbar(mesh, ax=ax, label=f"log₁₀ of r sampled / r distilled; tables, exact, T = {POWERS['times']}")
    edge = {"path_effects": [withStroke(linewidth=4, foreground="black")]}
    ax.plot([0, 1, 2, np.nan, 1, 1], [0, 1, 1, np.nan, 1, 2], "w--", lw=2, label="phases of samples", **edge)
    ax.plot([1, 1], [0, 2], color="red", lw=2, label="phases of probabilities", **edge)
    for x, y, said in (
        (0.42, 1.5, "both recover"),
        (1.5, 1.5, "both freeze"),
        (0.64, 0.12, "samples collapse,\nprobabilities recover"),
        (1.5, 0.5, "samples collapse,\nprobabilities freeze"),
    ):
        style = {"ha": "center", "va": "center", "color": "white", "fontsize": 9}
        ax.text(x, y, said, path_effects=[withStroke(linewidth=2.5, foreground="black")], **style)
    weight, size = rf"$\alpha_t = {POWERS['a0']:g}\, t^{{-a}}$", rf"$n_t = {POWERS['n0']:g}\, t^b$"
    ax.set(xlabel=f"decay a of {weight}", ylabel=f"growth b of {size}")
    ax.set_title(r"probabilities recover where $\sum \alpha_t = \infty$ and $n_t \to \infty$", fontsize=10)
    ax.legend(fontsize=8, loc="upper left", facecolor="0.35", labelcolor="white")
