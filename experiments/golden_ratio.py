"""How much should fresh real data weigh against the model's own output?

    p_t = w · (n_r fresh real draws) + (1 − w) · (n_s draws of p_{t−1}),   k = n_r/n_s

    r_∞ = [w²/n_r + (1 − w)²/n_s] / [1 − (1 − w)² (1 − 1/n_s)],   least at w* → (√(k² + 4k) − k)/2, where it is w*/n_r

1/golden ratio = 0.618 at k = 1: He, Xu and Cheng, arXiv 2502.18049; Garg, Bhattacharya and Sur, arXiv 2509.22341. The
finite-n minimum and its value are `theory.optimal_weight`. Pooling weighs w = n_r/(n_r + n_s).

    jaxcollapse run experiments/golden_ratio.py
"""

import json

import jax
import numpy as np
from scipy import stats

import jaxcollapse as jc

AXES = {"weight": np.linspace(0.1, 1.0, 19), "ratio": np.array([0.25, 1.0, 4.0])}


def experiment(weight, ratio, *, key, generations=40, lineages=1000, vocab=10, synthetic=100.0):
    """Relative risk r_T of every lineage."""
    p_star = jc.zipf(vocab)
    size = (1 + ratio) * synthetic
    alpha, regime = jc.Constant(ratio / (1 + ratio)), jc.Weighted(jc.Replace(), weight)
    loop = jc.Loop(p_star, jc.Tabular(), regime, alpha, jc.Constant(size), split="fixed")
    scale = jc.metrics.diversity(p_star.probs)
    record = lambda lineage, batch: jc.metrics.squared_error(lineage.model.probs, p_star.probs) / scale
    _, risk = jc.ensemble(loop, generations, lineages=lineages, key=key, record=record, record_at=[generations])
    return {"risk": ("lineage", risk[:, 0], {"long_name": "risk r relative to 1 − ‖p*‖²", "units": "1"})}


def analyse(run):
    """The simulated risk beside the exact one at this T, and the minimum over w of both."""
    set_ = json.loads(run.attrs["settings"])
    weight, ratio = run.weight.values, run.ratio.values
    risk = run.risk.transpose("ratio", "weight", "lineage").values.astype(float)
    with jax.enable_x64(True):
        exact = np.array([[_exact(w, k, set_) for w in weight] for k in ratio])
        best = np.array([jc.theory.optimal_weight(k * set_["synthetic"], set_["synthetic"]) for k in ratio])
    mean, se = risk.mean(-1), risk.std(-1, ddof=1) / np.sqrt(risk.shape[-1])
    found = {"weight": weight, "ratio": ratio, "mean": mean, "se": se, "exact": exact, "best": best, "settings": set_}
    rows = []
    for k, w_star, m, s, e in zip(ratio, best, mean, se, exact, strict=True):
        near = np.argsort(abs(weight - w_star))[:9]
        # The same parabola through exact and simulated values, which are independent from cell to cell.
        fit = lambda y, near=near, s=s: _vertex(weight[near], y[near], s[near])
        gradient = np.array([(fit(e + d) - fit(e - d)) / (2 * d.max()) for d in np.diag(1e-3 * e)])
        rows.append((k, w_star, fit(e), fit(m), np.sqrt(((gradient * s) ** 2).sum())))
    return found | {"minima": rows, "z": (mean - exact) / se, "lineages": risk.shape[-1]}


def _exact(weight, ratio, set_):
    n_s = set_["synthetic"]
    return jc.theory.weighted_recursion(weight, ratio * n_s, n_s, set_["generations"], 1 / ((1 + ratio) * n_s))[-1]


def _vertex(x, y, se):
    """Where a cubic through the points has its minimum."""
    roots = np.roots(np.polyder(np.polyfit(x, y, 3, w=1 / se))).real
    return roots[abs(roots - x.mean()).argmin()]


def summary(run):
    """The best weight and its risk, published and exact beside simulated."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    found = analyse(run)
    n_s = found["settings"]["synthetic"]
    title = f"Best weight w* of fresh real data: published (n → ∞), exact (n_s = {n_s:g})"
    table = Table(title=title, box=SIMPLE, collapse_padding=True, pad_edge=False)
    for name in ("k = n_r/n_s", "published", "exact w*", "exact, fitted", "ours ± s.e.", "z"):
        table.add_column(name, justify="right")
    for k, w_star, on_grid, ours, error in found["minima"]:
        published = float(jc.theory.golden_weight(k))
        z = f"{(ours - on_grid) / error:+.2f}"
        table.add_row(f"{k:g}", f"{published:.6f}", f"{w_star:.5f}", f"{on_grid:.4f}", f"{ours:.4f} ± {error:.4f}", z)
    title = "n_r r: its least value w*, at the nearest weight on the grid, and pooled"
    risks = Table(title=title, box=SIMPLE, collapse_padding=True, pad_edge=False)
    for name in ("k", "least = w*", "grid w", "exact", "ours ± s.e.", "z", "pooled w", "exact"):
        risks.add_column(name, justify="right")
    for i, k in enumerate(found["ratio"]):
        j = abs(found["weight"] - found["best"][i]).argmin()
        n_r, pooled = k * n_s, k / (1 + k)
        e, m, s = (n_r * found[name][i, j] for name in ("exact", "mean", "se"))
        alike = n_r * float(jc.theory.weighted_plateau(pooled, n_r, n_s))
        cells = (f"{found['best'][i]:.4f}", f"{found['weight'][j]:.2f}", f"{e:.4f}", f"{m:.4f} ± {s:.4f}")
        risks.add_row(f"{k:g}", *cells, f"{(m - e) / s:+.2f}", f"{pooled:.2f}", f"{alike:.4f}")
    z = abs(found["z"])
    bound = stats.t.isf(5e-4 / z.size, found["lineages"] - 1)
    return Group(table, risks, f"all cells against the exact recursion: worst |z| {z.max():.2f} of {z.size} "
                 f"(bound {bound:.2f})")  # fmt: skip


def figure(run):
    """Risk against the weight for each k, in units of the real batch's own risk 1/n_r."""
    import matplotlib.pyplot as plt

    found = analyse(run)
    set_ = found["settings"]
    n_s, fine = set_["synthetic"], np.linspace(found["weight"][0], found["weight"][-1], 300)
    figure, ax = plt.subplots(figsize=(7.5, 5.2), layout="constrained")
    for i, (k, marker) in enumerate(zip(found["ratio"], "osD^v<>" * len(found["ratio"]), strict=False)):
        n_r, colour = k * n_s, jc.plot.COLOURS[i % len(jc.plot.COLOURS)]
        exact = n_r * np.asarray(jc.theory.weighted_plateau(fine, n_r, n_s))
        ax.plot(fine, exact, color=colour)
        bars = {"yerr": 2 * n_r * found["se"][i], "fmt": marker, "markersize": 4.5, "color": colour, "capsize": 2}
        ax.errorbar(found["weight"], n_r * found["mean"][i], label=f"k = $n_r/n_s$ = {k:g}", **bars)
        ax.plot(found["best"][i], found["best"][i], "*", color=colour, markersize=15, markeredgecolor="black", zorder=4)
    ax.plot(fine, fine, color="0.5", linestyle=":", zorder=0, label="$n_r r = w$: all minima lie on it")
    ax.plot([], [], "*", color="white", markersize=13, markeredgecolor="black", label="exact minimum $w^*$")
    ax.plot([], [], color="black", label=r"exact, T → ∞ (points: simulated ± 2 s.e.)")
    ax.set(xlabel="weight w of the fresh real draws", ylabel="risk over that of the real draws alone, $n_r\\, r$")
    ax.set_ylim(0, min(3.0, 1.05 * ax.get_ylim()[1]))
    title = "Fresh real data are best weighed by 1/golden ratio = 0.618 at $k = 1$; the least risk is $w^*/n_r$"
    figure.suptitle(title, fontsize=11)
    ax.set_title(f"$n_s$ = {n_s:g}, T = {set_['generations']}, {found['lineages']} lineages", fontsize=10)
    ax.legend(frameon=False)
    return figure
