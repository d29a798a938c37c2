"""What does a tenth of real data do, in three classes of models: none, a tenth kept, a tenth fresh, or less and less?

    0 % real        Replace(), α = 0                                 collapse
    10 % fresh      Replace(), α = 0.1                               r_∞ = 1/(1 + (n − 1) α (2 − α))
    decaying        Replace(), α_t = t^−½/2, n_t = n t               recovery, r_t → 0
    10 % preserved  D_t: n/10 of D_0's draws, drawn anew, and 0.9 n  Anchor(fraction=0.1), split="fixed"; tables alone

A table and a normal law obey one recursion: E‖p − p*‖²/(1 − ‖p*‖²) = E μ² = r_t, and E σ² = 1 − r_t by maximum
likelihood (variance is neither lost nor α σ²). A line fitted by least squares to its own labels has another one
(`theory.regression`). A tenth keeps a loop from collapse, but does not restore what real data alone gave, r = 1/n: at
n = 100 the risk is 5.9 times that with originals kept, 5.0 times with fresh ones.

Model: arXiv 2602.10531; preserved originals: Shumailov et al., Nature 631:755 (2024).

    jaxcollapse run experiments/real_share.py
"""

import json

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from scipy import stats

import jaxcollapse as jc

AXES = {"n": np.array([100.0, 1000.0])}
SHARE, PRESERVED = 0.1, "10 % preserved"
# a₀, exponent of α_t, exponent of n_t
POWERS = {"0 % real": (0.0, 0.0, 0.0), "10 % fresh": (SHARE, 0.0, 0.0), "decaying": (0.5, -0.5, 1.0)}
WORKFLOWS, LINES = (*POWERS, PRESERVED), ("-", "-.", ":", "--")
MEASURED = {
    "table": "table of 50 tokens, n r",
    "mean": "normal law, n E μ²",
    "variance": "normal law, E σ²",
    "line": "linear regression, risk over generation 0's",
}


def experiment(n, *, key, generations=60, lineages=1000, vocab=50, dimension=10):
    """What is `MEASURED` of every lineage, by workflow, at some generations; and n r of tables with preserved data."""
    p_star, law, line = jc.zipf(vocab), jc.Normal(0.0, 1.0), jc.LinearModel(np.ones(dimension) / np.sqrt(dimension))
    scale, unit = n / jc.metrics.diversity(p_star.probs), (n - dimension - 1) / dimension
    keys, at = jr.split(key, 4), times(generations)
    table = lambda p: scale * jc.metrics.squared_error(p.probs, p_star.probs)
    normal = lambda p: jnp.stack([n * p.mean[0] ** 2, p.factor[0, 0] ** 2])
    error = lambda p: unit * p.summary(line)["squared_error"]

    def run(loop, measure, key):
        record = lambda lineage, batch: measure(lineage.model)
        return jc.ensemble(loop, int(at[-1]), lineages=lineages, key=key, record=record, record_at=at)[1]

    def fresh(target, learner, measure, key):  # one program, as the workflows differ by numbers
        one = lambda row, key: run(jc.Loop(target, learner, jc.Replace(), *schedules(row, n)), measure, key)
        return jax.vmap(one)(jnp.array(list(POWERS.values())), jr.split(key, len(POWERS)))

    kept = jc.Loop(p_star, jc.Tabular(), jc.Anchor(SHARE), jc.Constant(SHARE), jc.Constant(n), split="fixed")
    moments = fresh(law, jc.Gaussian(), normal, keys[1])
    found = {
        "table": fresh(p_star, jc.Tabular(), table, keys[0]),
        "mean": moments[..., 0],
        "variance": moments[..., 1],
        "line": fresh(line, jc.Ridge(), error, keys[2]),
    }
    axes, preserved = ("workflow", "lineage", "generation"), run(kept, table, keys[3])
    return {
        "generation": ("generation", at, {"long_name": "generation t"}),
        "preserved": (axes[1:], preserved, {"long_name": f"{MEASURED['table']}, {PRESERVED}", "units": "1"}),
    } | {name: (axes, value, {"long_name": MEASURED[name], "units": "1"}) for name, value in found.items()}


def schedules(row, n):
    return jc.PowerLaw(row[0], exponent=row[1]), jc.PowerLaw(n, exponent=row[2])


def times(generations):
    return np.unique(np.rint(np.geomspace(1, generations, 12)).astype(int))


def exact(name, workflow, n, generations, dimension):
    """What is `MEASURED`, t = 0..T, in double precision."""
    with jax.enable_x64(True):
        if workflow == PRESERVED:
            return n * np.asarray(jc.theory.retained(jc.Constant(SHARE), jc.Constant(n), generations, fraction=SHARE))
        alpha, size = schedules(POWERS[workflow], n)
        if name == "line":
            unit = dimension / (n - dimension - 1)
            return np.asarray(jc.theory.regression(alpha, size, generations, dimension)) / unit
        r = np.asarray(jc.theory.risk(alpha, size, generations))
        return 1 - r if name == "variance" else n * r


def samples(run, name, workflow, n):
    """`lineage generation`."""
    x = run.preserved if workflow == PRESERVED else run[name].isel(workflow=WORKFLOWS.index(workflow))
    return x.sel(n=n).transpose("lineage", "generation").values.astype(float)


def analyse(run):
    """Mean, s.e. and exact value by quantity, n and workflow; time along the last axis."""
    set_, found = json.loads(run.attrs["settings"]), {}
    for name in MEASURED:
        for n in run.n.values.tolist():
            for workflow in WORKFLOWS[: 4 if name == "table" else 3]:
                x = samples(run, name, workflow, n)
                law = exact(name, workflow, n, set_["generations"], set_["dimension"])
                mean, se = x.mean(0), x.std(0, ddof=1) / np.sqrt(len(x))
                z = (mean - law[run.generation.values]) / se
                found[name, n, workflow] = {"mean": mean, "se": se, "exact": law, "z": z}
    return found


def summary(run):
    """The last generation beside its exact value, and the worst of all."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    found, lineages = analyse(run), run.sizes["lineage"]
    title = f"Generation {run.generation.values[-1]}, {lineages} lineages; generation 0 has n r = n E μ² = 1"
    table = Table(title=title, box=SIMPLE, padding=0)
    for column in ("quantity", "n", "workflow", "exact", "ours ± s.e.", "z"):
        table.add_column(column, justify="left" if column in ("quantity", "workflow") else "right", no_wrap=True)
    for (name, n, workflow), e in found.items():
        first = (MEASURED[name].split(", risk")[0], f"{n:g}") if workflow == WORKFLOWS[0] else ("", "")
        ours = f"{e['mean'][-1]:.4g} ± {e['se'][-1]:.2g}"
        table.add_row(*first, workflow, f"{e['exact'][-1]:.4g}", ours, f"{e['z'][-1]:+.2f}")
    z = np.abs([e["z"] for e in found.values()])
    bound = stats.t.isf(5e-4 / z.size, lineages - 1)
    return Group(table, f"all generations: worst |z| {z.max():.2f} over {z.size} comparisons (bound {bound:.2f})")


def figure(run):
    """All quantities against generation at the smallest n."""
    import matplotlib.pyplot as plt

    found, at, n = analyse(run), run.generation.values, float(run.n.values.min())
    figure, axes = plt.subplots(2, 2, figsize=(11.5, 7.6), layout="constrained", sharex=True)
    for ax, (name, label) in zip(axes.flat, MEASURED.items(), strict=True):
        for workflow, marker, line, colour in zip(WORKFLOWS, "oD^s", LINES, jc.plot.COLOURS, strict=False):
            if (name, n, workflow) not in found:
                continue
            e = found[name, n, workflow]
            style = {"fmt": marker, "ms": 5, "capsize": 2, "mfc": "white", "lw": 1, "color": colour}
            ax.errorbar(at, e["mean"], 2 * e["se"], label=workflow, zorder=3, **style)
            ax.plot(np.arange(1, e["exact"].size), e["exact"][1:], color=colour, ls=line, lw=1.3)
        if name != "variance":
            ax.axhline(1, color="0.6", lw=0.8)
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter("{x:g}")
        ax.set(xscale="log", ylabel=label)
        ax.xaxis.set_major_formatter("{x:g}")
    axes[0, 0].plot([], [], color="0.6", lw=0.8, label="real data alone")
    axes[0, 0].plot([], [], color="0.3", lw=1.3, label="exact (lines)")
    axes[0, 0].legend(frameon=False, fontsize=9)
    for ax in axes[-1]:
        ax.set_xlabel("generation t")
    figure.suptitle(
        "A tenth of real data prevents collapse in all three classes of models, at five or six times the risk of real "
        f"data alone;\na decaying share of growing data does better than that start. n = {n:g}, "
        f"{run.sizes['lineage']} lineages, bars: 2 s.e.",
        fontsize=12,
    )
    return figure
