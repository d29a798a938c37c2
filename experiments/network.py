"""Nodes that train on one another's output: how fast does a shared web drift, and how far apart do its nodes grow?

    P_i = α p* + (1 − α) Σ_j W_ij P̂_j,   n draws a node;   exactly  S' = Q + diag((1 − Q_ii)/n),  Q = (1 − α)² W S Wᵀ

S_ii is a node's relative risk, E‖P̂_i − p*‖²/(1 − ‖p*‖²), and (S_ii + S_jj)/2 − S_ij = E‖P̂_i − P̂_j‖²/2 by the same
measure how far two nodes have grown apart. A network drifts as slowly as one lineage of all its draws at best, which
the complete graph does; a star spends most of its nodes' weight on one. `theory.network`; the setting is that of
arXiv 2506.15690.

    jaxcollapse run experiments/network.py
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import jaxcollapse as jc

NODES = 8
GRAPHS = ("alone", "ring", "star", "two communities", "complete")
AXES = {"graph": np.arange(len(GRAPHS)), "alpha": np.array([0.0, 0.02])}
COLOURS = dict(zip(GRAPHS, ("0.4", *jc.plot.COLOURS[:4]), strict=True))
MARKERS = dict(zip(GRAPHS, "osv^D", strict=True))


def matrices():
    """W of each graph, `graph c c`: a node hears itself and its neighbours equally."""
    i, j = np.indices((NODES, NODES))
    apart = np.minimum((i - j) % NODES, (j - i) % NODES)
    bridge = ((i == 0) & (j == NODES // 2)) | ((j == 0) & (i == NODES // 2))
    hears = [i == j, apart <= 1, (i == 0) | (j == 0) | (i == j), (i // (NODES // 2) == j // (NODES // 2)) | bridge]
    hears = np.array([*hears, np.ones_like(i, bool)], float)
    return hears / hears.sum(-1, keepdims=True)


def experiment(graph, alpha, *, key, generations=120, lineages=512, n=50, vocab=20):
    """The mean of S_ii over nodes and of (S_ii + S_jj)/2 − S_ij over pairs, in every lineage at t = 1..T."""
    p_star = jc.zipf(vocab).probs
    truth = jc.Categorical(jnp.tile(p_star, (NODES, 1)))
    mixing = jc.Mixing(jnp.asarray(matrices(), float)[jnp.asarray(graph, int)])
    loop = jc.Loop(truth, jc.Nodes(), jc.Replace(), jc.Constant(alpha), jc.Constant(n), mixing)
    h_star = jc.metrics.diversity(p_star)

    def record(lineage, batch):
        error = lineage.model.probs - truth.probs
        products = jnp.matmul(error, error.T, precision="highest") / h_star
        own = jnp.trace(products) / NODES
        return jnp.stack([own, own - (products.sum() - NODES * own) / (NODES * (NODES - 1))])

    _, found = jc.ensemble(loop, generations, lineages=lineages, key=key, record=record)
    return {
        "generation": ("generation", np.arange(1, generations + 1), {"long_name": "generation t"}),
        "moment": (("lineage", "generation", "which"), found, {"long_name": "relative to 1 − ‖p*‖²", "units": "1"}),
    }


def exact(alphas, settings):
    """The same by the exact recursion, `graph alpha times which`, t = 0..T, in double precision."""

    def cell(mixing, alpha):
        s = jc.theory.network(jc.Constant(alpha), jc.Constant(settings["n"]), mixing, settings["generations"])
        own = jnp.trace(s, axis1=1, axis2=2) / NODES
        return jnp.stack([own, own - (s.sum((1, 2)) - NODES * own) / (NODES * (NODES - 1))], -1)

    with jax.enable_x64(True):
        over_alpha = jax.vmap(cell, (None, 0))
        return np.asarray(jax.jit(jax.vmap(over_alpha, (0, None)))(jnp.asarray(matrices()), jnp.asarray(alphas, float)))


def analyse(run):
    """Means, standard errors and exact values, `graph alpha generation which`, at t = 1..T."""
    set_ = json.loads(run.attrs["settings"])
    samples = run["moment"].transpose("graph", "alpha", "lineage", "generation", "which").values.astype(float)
    by_theory = exact(run.alpha.values, set_)[np.asarray(run.graph.values, int)][:, :, 1:]
    mean, se = samples.mean(2), samples.std(2, ddof=1) / np.sqrt(samples.shape[2])
    return {
        "settings": set_,
        "graphs": [GRAPHS[int(i)] for i in run.graph.values],
        "alpha": run.alpha.values.astype(float),
        "times": run.generation.values,
        "mean": mean,
        "se": se,
        "exact": by_theory,
        "lineages": samples.shape[2],
    }


def summary(run):
    """The last generation of each graph against the exact recursion, and the worst of all generations."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    found = analyse(run)
    z = (found["mean"] - found["exact"]) / found["se"]
    table = Table(title=f"Generation {found['times'][-1]}: exact recursion, and the loop", box=SIMPLE)
    for name in ("graph", "α", "of", "exact", "ours ± s.e.", "z"):
        table.add_column(name, justify="left" if name in ("graph", "of") else "right")
    for i, graph in enumerate(found["graphs"]):
        for j, alpha in enumerate(found["alpha"]):
            for k, which in enumerate(("risk", "distance")):
                at = (i, j, -1, k)
                ours = f"{found['mean'][at]:.4f} ± {found['se'][at]:.4f}"
                table.add_row(graph, f"{alpha:g}", which, f"{found['exact'][at]:.4f}", ours, f"{z[at]:+.2f}")
    bound = stats.t.isf(5e-4 / z.size, found["lineages"] - 1)
    return Group(table, f"worst |z| {abs(z).max():.2f} over {z.size} comparisons (bound {bound:.2f})")


def figure(run):
    """Risk of a node and distance of two nodes, by graph, without and with real data."""
    import matplotlib.pyplot as plt

    found = analyse(run)
    columns = {"ncols": len(found["alpha"]), "sharex": True, "sharey": "row", "squeeze": False}
    figure, axes = plt.subplots(2, figsize=(5.5 * len(found["alpha"]), 7.5), layout="constrained", **columns)
    titles = ("risk of a node", "distance of two nodes")
    t = found["times"]
    shown = np.unique(np.geomspace(1, len(t), 14).astype(int)) - 1
    for row, title in enumerate(titles):
        for j, alpha in enumerate(found["alpha"]):
            ax = axes[row, j]
            for i, graph in enumerate(found["graphs"]):
                ax.plot(t, found["exact"][i, j, :, row], color=COLOURS[graph])
                bar = stats.norm.isf(0.025) * found["se"][i, j, shown, row]
                points = found["mean"][i, j, shown, row]
                look = {"color": COLOURS[graph], "linestyle": "", "marker": MARKERS[graph], "markersize": 5}
                ax.errorbar(t[shown], points, bar, label=graph, **look)
            ax.set_title(f"{title}, α = {alpha:g}", fontsize=11)
            ax.set_xscale("log")
            ax.set_yscale("log")
    for ax in axes[-1]:
        ax.set_xlabel("generation t")
    for ax in axes[:, 0]:
        ax.set_ylabel("relative to 1 − ‖p*‖²")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    set_ = found["settings"]
    figure.suptitle(
        "Nodes that hear one another drift more slowly than alone, least in the complete graph, and stay close\n"
        f"{NODES} nodes, n = {set_['n']} draws each; lines: exact recursion, points: {found['lineages']} lineages "
        "(bars: 95 %, mostly smaller than the marks)",
        fontsize=12,
    )
    return figure
