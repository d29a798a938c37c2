"""A loop that samples at temperature T, with a real share α: where does one token take over?

    P → α p* + (1 − α) P^{1/T}/Z,   p* uniform on K tokens, n draws a generation

As n → ∞ the uniform law is stable iff T > 1 − α, and a dominated law with largest mass x is a fixed point at T(x)
(`theory.temperature_branch`), which folds back at T_fold ≥ 1 − α: above it nothing dominates, below 1 − α something
must, and in between, for K > 2, both last for ever. So every loop is started twice, from p* and from a dominated law.
Degeneration: Marchi et al., arXiv 2404.02325; T(x) derived for this package.

    jaxcollapse run experiments/temperature.py
"""

import functools
import json

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from scipy import stats

import jaxcollapse as jc

AXES = {"vocab": np.array([2, 4, 16]), "temperature": np.round(np.linspace(0.7, 0.92, 23), 3)}
STARTS = ("from the truth", "from a dominated law")
NEAR = 0.02  # within this of 1 − α or of the fold a loop is too slow, or noise too strong, for a comparison
MOST = 16  # tokens in memory; those above K have probability 0, so that all K share one compiled program


def experiment(vocab, temperature, *, key, alpha=0.2, n=10_000_000, generations=800, lineages=32):
    """The largest mass at t = T of every lineage, from both starts."""
    tokens = jnp.arange(MOST)
    uniform = jnp.asarray(jnp.where(tokens < vocab, 1 / vocab, 0.0))
    others = jnp.asarray(jnp.where(tokens < vocab, 0.1 / (vocab - 1), 0.0))
    dominated = jnp.asarray(jnp.where(tokens == 0, 0.9, others))
    sharpened = jc.Temperature(temperature)
    loop = jc.Loop(jc.Categorical(uniform), jc.Tabular(), jc.Replace(), jc.Constant(alpha), jc.Constant(n), sharpened)

    def largest(start, key):
        step = lambda lineage, t: (loop.step(lineage, key=jr.fold_in(key, t))[0], None)
        first = jc.Lineage(jnp.asarray(0), jc.Categorical(start), None)
        return jax.lax.scan(step, first, jnp.arange(1, generations + 1))[0].model.probs.max()

    keys = jr.split(key, (len(STARTS), lineages))
    largest = jax.vmap(jax.vmap(largest, (None, 0)))(jnp.stack([uniform, dominated]), keys)
    return {"largest": (("start", "lineage"), largest, {"long_name": "mass of the dominant token", "units": "1"})}


@functools.cache
def branch(alpha, vocab):
    """x, T(x) and the fold (T, x), in double precision."""
    with jax.enable_x64(True):
        x = np.linspace(1 / vocab, 1 - alpha * (1 - 1 / vocab), 2001)[1:-1]
        fold = tuple(float(value) for value in jc.theory.temperature_fold(alpha, vocab))
        return x, np.asarray(jc.theory.temperature_branch(x, alpha, vocab)), fold


def exact(alpha, vocab, temperature, dominated):
    """The largest mass at which such a start ends as n → ∞; at a symmetric start the least noise decides."""
    x, along, (fold, at_fold) = branch(alpha, vocab)
    if temperature > fold or (not dominated and temperature > 1 - alpha):
        return 1 / vocab
    upper = x >= at_fold
    return float(np.interp(temperature, along[upper][::-1], x[upper][::-1]))


def analyse(run):
    """Means, their standard errors and the exact values, `vocab temperature start`."""
    set_ = json.loads(run.attrs["settings"])
    largest = run.largest.transpose("vocab", "temperature", "start", "lineage").values.astype(float)
    vocabs, temperatures = [int(k) for k in run.vocab.values], run.temperature.values.astype(float)
    alpha = set_["alpha"]
    by_theory = [[[exact(alpha, k, t, start) for start in (False, True)] for t in temperatures] for k in vocabs]
    folds = np.array([branch(alpha, k)[2][0] for k in vocabs])
    clear = (abs(temperatures - (1 - alpha)) > NEAR) & (abs(temperatures - folds[:, None]) > NEAR)
    dominated = np.array(by_theory) > 1.001 / np.array(vocabs)[:, None, None]
    return {
        "settings": set_,
        "vocabs": vocabs,
        "temperature": temperatures,
        "mean": largest.mean(-1),
        "se": largest.std(-1, ddof=1) / np.sqrt(largest.shape[-1]),
        "exact": np.array(by_theory),
        "folds": folds,
        "compared": clear[..., None] & dominated,
        "lineages": largest.shape[-1],
    }


def summary(run):
    """Thresholds, and the dominant mass against the exact branch where one dominates."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    found = analyse(run)
    alpha, t = found["settings"]["alpha"], found["temperature"]
    z = (found["mean"] - found["exact"]) / np.where(found["se"] > 0, found["se"], np.inf)
    table = Table(title="Dominant mass: fixed point as n → ∞, and the loop", box=SIMPLE)
    for name in ("K", "T", "start", "exact", "ours ± s.e.", "z"):
        table.add_column(name, justify="left" if name == "start" else "right")
    for i, vocab in enumerate(found["vocabs"]):
        for j, start in enumerate(STARTS):
            rows = np.flatnonzero(found["compared"][i, :, j])
            for k in rows[:: max(1, len(rows) // 3)]:
                ours = f"{found['mean'][i, k, j]:.6f} ± {found['se'][i, k, j]:.1e}"
                exact_ = f"{found['exact'][i, k, j]:.6f}"
                table.add_row(str(vocab), f"{t[k]:.3f}", start, exact_, ours, f"{z[i, k, j]:+.2f}")
    z = abs(z[found["compared"]])
    bound = stats.t.isf(5e-4 / max(z.size, 1), found["lineages"] - 1)
    lines = [table, f"worst |z| {z.max(initial=0):.2f} over {z.size} comparisons (bound {bound:.2f})"]
    for i, vocab in enumerate(found["vocabs"]):
        seen = [t[found["mean"][i, :, j] > 1.2 / vocab] for j in range(len(STARTS))]
        left, lasts = (f"seen up to {max(at):.3f}" if at.size else "not seen" for at in seen)
        lines.append(
            f"K = {vocab}: the truth is left below T = {1 - alpha:.4f} ({left}), "
            f"domination lasts below {found['folds'][i]:.4f} ({lasts})"
        )
    return Group(*lines)


def figure(run):
    """The bifurcation: dominant mass against T, exact branches and both starts of the loop."""
    import matplotlib.pyplot as plt

    found = analyse(run)
    alpha, t = found["settings"]["alpha"], found["temperature"]
    columns = {"ncols": len(found["vocabs"]), "sharey": True, "squeeze": False}
    figure, axes = plt.subplots(figsize=(14, 4.8), layout="constrained", **columns)
    for i, (ax, vocab) in enumerate(zip(axes.flat, found["vocabs"], strict=True)):
        x, along, (fold, at_fold) = branch(alpha, vocab)
        upper = x >= at_fold
        ax.plot(along[upper], x[upper], color="black", label="stable fixed point")
        ax.plot([1 - alpha, 1], [1 / vocab] * 2, color="black")
        ax.plot(along[~upper], x[~upper], color="black", linestyle="--", label="unstable fixed point")
        ax.plot([0, 1 - alpha], [1 / vocab] * 2, color="black", linestyle="--")
        ax.axvline(1 - alpha, color="0.6", linestyle=":", label=f"T = 1 − α = {1 - alpha:g}")
        if fold > 1 - alpha + 1e-6:
            ax.axvspan(1 - alpha, fold, color="0.92", label="both last: bistable")
        looks = zip(STARTS, "o.", (9, 7), jc.plot.COLOURS[:2], strict=True)  # rings around dots where both starts agree
        for j, (start, marker, size, colour) in enumerate(looks):
            bar = stats.norm.isf(0.025) * found["se"][i, :, j]
            ax.errorbar(
                t, found["mean"][i, :, j], bar, color=colour, linestyle="", marker=marker, markersize=size,
                markerfacecolor="none", label=f"loop {start}",
            )  # fmt: skip
        ax.set_title(f"K = {vocab}")
        ax.set_xlabel("temperature T")
        ax.set_xlim(t.min() - 0.01, t.max() + 0.01)
        ax.set_ylim(0, 1)
    axes.flat[0].set_ylabel("mass of the dominant token")
    handles, labels = axes.flat[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    set_ = found["settings"]
    figure.suptitle(
        "Below T = 1 − α one token takes over from any start; for K > 2 both fates last between 1 − α and the fold\n"
        f"α = {alpha:g}, uniform p*, n = {set_['n']:,}, generation {set_['generations']}, "
        f"{found['lineages']} lineages (bars: 95 %, mostly smaller than the marks)",
        fontsize=12,
    )
    return figure
