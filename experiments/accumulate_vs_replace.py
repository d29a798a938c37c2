"""How does error add up over generations when each trains on the last one's labels, and what is kept of the old data?

    replace               D_t = S_t                           inflation t + 1
    accumulate            D_t = D_{t−1} + S_t                 Σ_{i≤t+1} 1/i²  → π²/6
    accumulate-subsample  n of all rows drawn so far          → π²/2 − 2

α = 0, n draws a generation. The inflation is the error relative to that of generation 0: n r_t for a table (it ends at
n times `theory.accumulation_limit` where data accumulate), ‖ŵ_t − w*‖² (n − d − 1)/(σ² d) for linear regression, whose
designs are fresh in every generation; it accumulates on the same X each round as well.

Sources: Gerstgrasser et al., arXiv 2404.01413; Dey and Donoho, arXiv 2410.22812; Kazdan et al., arXiv 2410.16713.

    jaxcollapse run experiments/accumulate_vs_replace.py
"""

import json

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import jaxcollapse as jc

AXES = {"n": np.array([60.0, 200.0, 1000.0])}
REGIMES = ("replace", "accumulate", "accumulate-subsample", "accumulate, same X")
LIMITS = {"accumulate": np.pi**2 / 6, "accumulate-subsample": np.pi**2 / 2 - 2}
FAMILIES = {"table": "table of 30 tokens", "regression": "linear regression, 10 covariates"}
RECORDED = 24


def experiment(n, *, key, generations=100, lineages=800, vocab=30, dimension=10):
    """Inflation of every lineage at some generations, by family and regime."""
    at = times(generations)
    k_table, k_line, k_same = jr.split(key, 3)
    line = jc.LinearModel(np.ones(dimension) / np.sqrt(dimension))
    table_unit, line_unit = n / jc.metrics.diversity(jc.zipf(vocab).probs), (n - dimension - 1) / dimension
    found = {
        "table": by_regime(jc.zipf(vocab), jc.Tabular(), n, table_unit, at, lineages, k_table),
        "regression": by_regime(line, jc.Ridge(), n, line_unit, at, lineages, k_line),
    }
    found["regression"]["accumulate, same X"] = same_x(line, n, line_unit, at, lineages, k_same)
    attrs = {"long_name": "error over that of generation 0", "units": "1"}
    return {"generation": ("generation", at, {"long_name": "generation t"})} | {
        f"{family}, {regime}": (("lineage", "generation"), x, attrs)
        for family, runs in found.items()
        for regime, x in runs.items()
    }


def by_regime(target, learner, n, unit, at, lineages, key):
    """Replacement and accumulation are one program, that of a memory with decay ρ = 0 and 1."""
    k_memory, k_subsample = jr.split(key)

    def run(regime, key):
        loop = jc.Loop(target, learner, regime, jc.Constant(0.0), jc.Constant(n))
        record = lambda lineage, batch: unit * lineage.model.summary(target)["squared_error"]
        return jc.ensemble(loop, int(at[-1]), lineages=lineages, key=key, record=record)[1][..., at - 1]

    leaky = jax.vmap(lambda decay, key: run(jc.Accumulate(decay=decay), key))
    replaced, pooled = leaky(jnp.array([0.0, 1.0]), jr.split(k_memory))
    subsampled = run(jc.Subsample(jc.Accumulate()), k_subsample)
    return dict(zip(REGIMES, (replaced, pooled, subsampled), strict=False))


def same_x(line, n, unit, at, lineages, key):
    """Each lineage draws its X once: n rows of N(0, I), kept as d rows with the same XᵀX, since n is swept."""
    d = line.weights.size

    def one(key):
        k_x, k_run = jr.split(key)
        gram = line.moments(n.astype(int), key=k_x).gram
        target = jc.LinearModel(line.weights, line.noise, jnp.linalg.cholesky(gram).T * jnp.sqrt(d / n))
        loop = jc.Loop(target, jc.Ridge(), jc.Accumulate(), jc.Constant(0.0), jc.Constant(n))
        record = lambda lineage, batch: unit * lineage.model.summary(target)["squared_error"]
        return jc.simulate(loop, int(at[-1]), key=k_run, record=record)[1][at - 1]

    return jax.vmap(one)(jr.split(key, lineages))


def times(generations):
    return np.unique(np.rint(np.geomspace(1, generations, RECORDED)).astype(int))


def exact(family, regime, n, generations, dimension):
    """The exact inflation at t = 0..T; None for subsampled regression, where only that of n → ∞ is known."""
    alpha, size = jc.Constant(0.0), jc.Constant(n)
    if family == "table":
        laws = {"replace": jc.theory.risk, "accumulate": jc.theory.accumulate}
        return n * np.asarray(laws.get(regime, jc.theory.subsample)(alpha, size, generations))
    if regime == "accumulate, same X":
        return np.asarray(jc.theory.accumulation_factor(generations))
    unit = dimension / (n - dimension - 1)
    if regime == "replace":
        return np.asarray(jc.theory.regression(alpha, size, generations, dimension)) / unit
    if regime == "accumulate":
        return np.asarray(jc.theory.regression_accumulate(size, generations, dimension)) / unit
    return None


def analyse(run):
    """Mean, s.e. and the exact value of every family, regime and n; time along the last axis."""
    set_ = json.loads(run.attrs["settings"])
    found = {}
    for family, regime in ((f, r) for f in FAMILIES for r in REGIMES if f"{f}, {r}" in run):
        x = run[f"{family}, {regime}"].transpose("n", "lineage", "generation").values.astype(float)
        with jax.enable_x64(True):
            theory = [exact(family, regime, float(n), set_["generations"], set_["dimension"]) for n in run.n.values]
        found[family, regime] = {
            "mean": x.mean(1),
            "se": x.std(1, ddof=1) / np.sqrt(x.shape[1]),
            "exact": None if theory[0] is None else np.array(theory),
        }
    return found, run.n.values, run.generation.values, set_


def summary(run):
    """The inflation of the last generation beside its exact value, and the limit of many generations and draws."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    found, sizes, at, set_ = analyse(run)
    table = Table(title=f"Error of generation {at[-1]} over that of generation 0, α = 0", box=SIMPLE, padding=0)
    for column in ("family, regime", "n", "t, n → ∞", "exact", "ours ± s.e.", "z"):
        table.add_column(column, justify="left" if "," in column and "→" not in column else "right", no_wrap=True)
    scores = []
    for (family, regime), e in found.items():
        limit = LIMITS.get(regime.removesuffix(", same X"))
        z = None if e["exact"] is None else (e["mean"] - e["exact"][:, at]) / e["se"]
        for i, n in enumerate(sizes):
            theory, score = ("–", "–") if z is None else (f"{e['exact'][i, -1]:.4f}", f"{z[i, -1]:+.2f}")
            ours = f"{e['mean'][i, -1]:.3f} ± {e['se'][i, -1]:.3f}"
            name = f"{family}, {regime}" if i == 0 else ""
            table.add_row(name, f"{n:g}", "∞" if limit is None else f"{limit:.4f}", theory, ours, score)
        scores += [] if z is None else [z]
    z = np.abs(np.stack(scores))
    bound = _bound(z.size, set_["lineages"])
    line = f"all generations and sizes: worst |z| {z.max():.2f} over {z.size} comparisons (bound {bound:.2f})"
    note = "–: subsampled regression has no known value at finite n; its limit is the table's."
    return Group(table, line, note)


def _bound(comparisons, lineages):
    from scipy import stats

    return float(stats.t.isf(5e-4 / comparisons, lineages - 1))


def figure(run):
    """Inflation against generation: all regimes at the largest n, and the bounded ones at the smallest n."""
    import matplotlib.pyplot as plt

    found, sizes, at, set_ = analyse(run)
    figure, axes = plt.subplots(2, 2, figsize=(12, 8), layout="constrained", sharex=True, sharey="row")
    for column, (family, title) in enumerate(FAMILIES.items()):
        for row, i in enumerate((-1, 0)):
            ax = axes[row, column]
            _panel(ax, family, found, at, i, REGIMES[row:])
            ax.set(title=f"{title}, n = {sizes[i]:g}", xscale="log")
            ax.xaxis.set_major_formatter("{x:g}")
        axes[0, column].set(yscale="log", ylim=(0.9, 150))
        axes[0, column].yaxis.set_major_formatter("{x:g}")
        axes[0, column].legend(frameon=False, loc="upper left")
        axes[1, column].set(ylim=(1.0, 3.6), xlabel="generation t")
    for ax in axes[:, 0]:
        ax.set_ylabel("error over that of generation 0")
    figure.suptitle(
        "Without fresh real data error grows as t + 1 if data are replaced; accumulated it stops near π²/6, "
        f"subsampled near π²/2 − 2\npoints: means of {set_['lineages']} lineages ± 2 s.e.; dotted: limits of t, n → ∞",
        fontsize=12,
    )
    return figure


def _panel(ax, family, found, at, i, regimes):
    t = np.arange(1, at[-1] + 1)
    for regime, marker, colour in zip(REGIMES, "osD^", jc.plot.COLOURS, strict=False):
        if (family, regime) not in found or regime not in regimes:
            continue
        e = found[family, regime]
        style = {"fmt": marker, "ms": 5, "capsize": 2, "mfc": "white", "lw": 1}
        ax.errorbar(at, e["mean"][i], 2 * e["se"][i], color=colour, label=regime, zorder=3, **style)
        theory = large_n(int(at[-1])) if e["exact"] is None else e["exact"][i]
        ax.plot(t, theory[1:], color=colour, lw=1.2, ls="-" if e["exact"] is not None else "--")
    for name, text in (("accumulate", "π²/6"), ("accumulate-subsample", "π²/2 − 2")):
        style = {"color": jc.plot.COLOURS[REGIMES.index(name)]}
        ax.axhline(LIMITS[name], ls=":", lw=1, **style)
        where = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points", "va": "center"}
        ax.annotate(text, (1, LIMITS[name]), xytext=(4, 0), annotation_clip=False, **where, **style)
    ax.plot([], [], color="0.4", lw=1.2, label="exact")
    if any(e["exact"] is None for (f, _), e in found.items() if f == family):
        ax.plot([], [], color="0.4", lw=1.2, ls="--", label="exact for n → ∞")


def large_n(generations):
    """The inflation of subsampling for n → ∞, in all regular families alike, t = 0..T."""
    with jax.enable_x64(True):
        return 1e8 * np.asarray(jc.theory.subsample(jc.Constant(0.0), jc.Constant(1e8), generations))
