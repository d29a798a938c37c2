"""How does error add up over generations when each trains on the last one's labels, and what is kept of the old data?

    replace               D_t = S_t                           inflation t + 1
    accumulate            D_t = D_{t−1} + S_t                 Σ_{i≤t+1} 1/i²  → π²/6
    accumulate-subsample  n of all rows drawn so far          → π²/2 − 2

α = 0, n draws a generation. The inflation is the error relative to that of generation 0: for a table n r_t (at
finite n accumulation ends at n times `theory.accumulation_limit`), for linear regression ‖ŵ_t − w*‖² (n − d − 1)/(σ² d).
Regression runs on designs that are fresh in every generation, and accumulates on the same X each round as well.

Sources: Gerstgrasser et al., arXiv 2404.01413; Dey and Donoho, arXiv 2410.22812; Kazdan et al., arXiv 2410.16713.

    jaxcollapse run experiments/accumulate_vs_replace.py
"""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import jaxcollapse as jc

AXES = {"n": np.array([60.0, 200.0, 1000.0])}
REGIMES = {
    "replace": jc.Replace(),
    "accumulate": jc.Accumulate(),
    "accumulate-subsample": jc.Subsample(jc.Accumulate()),
}
LIMITS = {"accumulate": np.pi**2 / 6, "accumulate-subsample": np.pi**2 / 2 - 2}
FAMILIES = {"table": "table of 30 tokens", "regression": "linear regression, 10 covariates"}
RECORDED = 24


def experiment(n, *, key, generations=100, lineages=1000, vocab=30, dimension=10):
    """Inflation of every lineage at some generations, by family and regime."""
    at = times(generations)
    found = {"generation": ("generation", at, {"long_name": "generation t"})}
    for i, (family, loop) in enumerate(loops(n, vocab, dimension).items()):
        for j, (name, regime) in enumerate(REGIMES.items()):
            k = jr.fold_in(jr.fold_in(key, i), j)
            found[f"{family}, {name}"] = run(loop, regime, inflation(family, n, dimension), at, lineages, k)
    k = jr.fold_in(key, 2)
    found["regression, accumulate, same X"] = run_same_x(n, dimension, at, lineages, k)
    attrs = {"long_name": "error over that of generation 0", "units": "1"}
    return {name: x if name == "generation" else (("lineage", "generation"), x, attrs) for name, x in found.items()}


def loops(n, vocab, dimension):
    """The targets and learners, with α = 0 and no regime yet."""
    shared = (jc.Replace(), jc.Constant(0.0), jc.Constant(n))
    line = jc.LinearModel(np.ones(dimension) / np.sqrt(dimension))
    return {"table": jc.Loop(jc.zipf(vocab), jc.Tabular(), *shared), "regression": jc.Loop(line, jc.Ridge(), *shared)}


def inflation(family, n, dimension):
    if family == "regression":
        return lambda model, target: (n - dimension - 1) / dimension * model.summary(target)["squared_error"]
    return lambda model, target: n * model.summary(target)["squared_error"] / jc.metrics.diversity(target.probs)


def run(loop, regime, measure, at, lineages, key):
    loop = eqx.tree_at(lambda loop: loop.regime, loop, regime)
    record = lambda lineage, batch: measure(lineage.model, loop.target)
    return jc.ensemble(loop, int(at[-1]), lineages=lineages, key=key, record=record, record_at=at)[1]


def run_same_x(n, dimension, at, lineages, key):
    """Each lineage draws its X once, n rows of N(0, I), here by the R of its QR decomposition, since n is swept."""
    measure = inflation("regression", n, dimension)

    def one(key):
        k_x, k_run = jr.split(key)
        gram = jc.LinearModel(np.zeros(dimension)).moments(n.astype(int), key=k_x).gram
        # Any X with this XᵀX is the same design: d rows, each of weight n/d.
        design = jnp.linalg.cholesky(gram).T * jnp.sqrt(dimension / n)
        target = jc.LinearModel(np.ones(dimension) / np.sqrt(dimension), 1.0, design)
        loop = jc.Loop(target, jc.Ridge(), jc.Accumulate(), jc.Constant(0.0), jc.Constant(n))
        record = lambda lineage, batch: measure(lineage.model, target)
        return jc.simulate(loop, int(at[-1]), key=k_run, record=record, record_at=at)[1]

    return jax.vmap(one)(jr.split(key, lineages))


def times(generations):
    return np.unique(np.rint(np.geomspace(1, generations, RECORDED)).astype(int))


def exact(family, name, n, generations, dimension):
    """The exact inflation at t = 0..T, or None where only the limit is known."""
    alpha, size = jc.Constant(0.0), jc.Constant(n)
    if family == "table":
        laws = {"replace": jc.theory.risk, "accumulate": jc.theory.accumulate}
        return n * np.asarray(laws.get(name, jc.theory.subsample)(alpha, size, generations))
    unit = dimension / (n - dimension - 1)
    if name == "replace":
        return np.asarray(jc.theory.regression(alpha, size, generations, dimension)) / unit
    if name == "accumulate":
        return np.asarray(jc.theory.regression_accumulate(size, generations, dimension)) / unit
    return np.asarray(jc.theory.accumulation_factor(generations)) if "same X" in name else None


def analyse(run):
    """Mean, s.e. and the exact value of every family, regime and n; time along the last axis."""
    set_ = json.loads(run.attrs["settings"])
    found = {}
    for key in (key for key in run.data_vars if ", " in key):
        family, name = key.split(", ", 1)
        x = run[key].transpose("n", "lineage", "generation").values.astype(float)
        with jax.enable_x64(True):
            theory = [exact(family, name, float(n), set_["generations"], set_["dimension"]) for n in run.n.values]
        found[family, name] = {
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
    table = Table(title=f"Error of generation {at[-1]} over that of generation 0, α = 0", box=SIMPLE)
    for name in ("family", "regime", "n", "limit t, n → ∞", "exact value", "ours ± s.e.", "z"):
        table.add_column(name, justify="left" if name in ("family", "regime") else "right", no_wrap=True)
    scores = []
    for (family, name), e in found.items():
        limit = LIMITS.get(name.removesuffix(", same X"))
        for i, n in enumerate(sizes):
            mean, se = e["mean"][i, -1], e["se"][i, -1]
            value, z = ("–", "–") if e["exact"] is None else (e["exact"][i, -1], (mean - e["exact"][i, -1]) / se)
            row = [f"{value:.4f}", f"{z:+.2f}"] if e["exact"] is not None else [value, z]
            head = [family, name] if i == 0 else ["", ""]
            limited = "t + 1" if limit is None else f"{limit:.4f}"
            table.add_row(*head, f"{n:g}", limited, row[0], f"{mean:.4f} ± {se:.4f}", row[1])
        if e["exact"] is not None:
            scores.append((e["mean"] - e["exact"][:, at]) / e["se"])
    z = np.abs(np.stack(scores))
    bound = _bound(z.size, set_["lineages"])
    line = f"all generations and sizes: worst |z| {z.max():.2f} over {z.size} comparisons (bound {bound:.2f})"
    note = "– : no finite-n value is known for subsampled regression; its limit is that of the table."
    return Group(table, line, note)


def _bound(comparisons, lineages):
    from scipy import stats

    return float(stats.t.isf(5e-4 / comparisons, lineages - 1))


def figure(run):
    """Inflation against generation for each family at the largest n, simulated on exact."""
    import matplotlib.pyplot as plt

    found, sizes, at, set_ = analyse(run)
    figure, axes = plt.subplots(1, 2, figsize=(12, 5), layout="constrained", sharey=True)
    for ax, (family, title) in zip(axes, FAMILIES.items(), strict=True):
        _panel(ax, family, found, at, len(sizes) - 1)
        ax.set(title=f"{title}, n = {sizes[-1]:g}", xlabel="generation t", xscale="log", yscale="log", ylim=(0.9, 150))
    axes[0].set_ylabel("error over that of generation 0")
    figure.suptitle(f"Labels of the last generation only, α = 0: {set_['lineages']} lineages, bars of 2 s.e.")
    return figure


def _panel(ax, family, found, at, i):
    markers = dict(zip((*REGIMES, "accumulate, same X"), "osD^", strict=True))
    for (name, marker), colour in zip(markers.items(), jc.plot.COLOURS, strict=False):
        if (family, name) not in found:
            continue
        e = found[family, name]
        style = {"fmt": marker, "ms": 5, "capsize": 2, "mfc": "white", "lw": 1}
        ax.errorbar(at, e["mean"][i], 2 * e["se"][i], color=colour, label=name, zorder=3, **style)
        if e["exact"] is not None:
            ax.plot(np.arange(1, at[-1] + 1), e["exact"][i, 1:], color=colour, lw=1.2)
    for (name, limit), text in zip(LIMITS.items(), ("π²/6", "π²/2 − 2"), strict=True):
        colour = jc.plot.COLOURS[list(REGIMES).index(name)]
        ax.axhline(limit, color=colour, ls=":", lw=1)
        ax.annotate(text, (at[-1], limit), xytext=(4, 0), textcoords="offset points", va="center", color=colour)
    ax.plot([], [], color="0.4", lw=1.2, label="exact")
    ax.legend(frameon=False, loc="upper left")
