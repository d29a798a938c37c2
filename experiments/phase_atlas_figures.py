"""The maps of the atlas: risk over its level, the simulated boundary on the exact one, and what longer horizons see."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

BORDERS = {
    "replace": [([0, 1], [0, 1]), ([1, 1], [1, 2]), ([1, 2], [1, 1])],
    "accumulate": [],
    "retained": [([0, 2], [1, 1])],
    "real-only": [([0, 2], [0, 2]), ([1, 2], [0, 1])],
}
NAMES = {
    "replace": {"recovery": (0.45, 1.5), "frozen": (1.5, 1.5), "collapse": (1.5, 0.2)},
    "accumulate": {"frozen\n(recovery on a = 0)": (1.5, 0.5)},
    "retained": {"frozen": (1.0, 1.5), "plateau": (1.0, 0.62)},
    "real-only": {"recovery": (0.6, 1.4), "collapse": (1.55, 0.85), "frozen": (1.72, 0.25)},
}
LEVELS = {
    "replace": "½", "accumulate": "½ r₀", "retained": "0.73 / (2 n₀ + 1)", "real-only": "½",
}  # fmt: skip


def maps(found, horizons=None):
    """One panel a map, models as rows and regimes as columns; `horizons`: regime -> {T: (a, b)} exact boundaries."""
    models, regimes = (list(dict.fromkeys(m[name] for m in found)) for name in ("model", "regime"))
    size = (3.7 * len(regimes) + 1.4, 3.4 * len(models) + (1.7 if len(regimes) > 2 else 2.8))
    figure, axes = plt.subplots(
        len(models), len(regimes), figsize=size, layout="constrained", sharex=True, sharey=True, squeeze=False
    )
    for column, regime in enumerate(regimes):
        here = [m for m in found if m["regime"] == regime]
        ratio = np.concatenate([(m["mean"] / m["level"]).ravel() for m in here])
        low, high = np.nanquantile(ratio[ratio > 0], (0.01, 0.99))
        narrow = high < 3 * low
        norm = Normalize(low, high) if narrow else LogNorm(max(low, 1e-3), high)
        for m in here:
            ax = axes[models.index(m["model"]), column]
            image = _panel(ax, m, norm, (horizons or {}).get((m["model"], regime), {}))
            ax.set_title(f"{m['model']}, {regime}", fontsize=11)
        bar = figure.colorbar(image, ax=axes[:, column], location="bottom", shrink=0.9, pad=0.02, aspect=30)
        bar.set_label(f"$r_T$ / level,  level = {LEVELS[regime]}", fontsize=9)
        bar.ax.minorticks_off()
    for ax in axes.flat:
        ax.set_visible(ax.has_data())
    for ax in axes[-1]:
        ax.set_xlabel("decay $a$")
    for ax in axes[:, 0]:
        ax.set_ylabel("growth $b$")
    _keys(figure, found, horizons)
    return figure


def _keys(figure, found, horizons):
    first = found[0]
    keys = [
        Line2D([], [], color="black", lw=2.2, label="exact contour $r_T$ = level"),
        Line2D([], [], color="black", marker="o", mfc="white", ms=4, lw=1.2, label="simulated, 95 % interval"),
        Line2D([], [], color="black", ls="", marker="^", mec="white", ms=6, label="interval open at the map's edge"),
        Line2D(
            [], [], color="white", lw=1.4, path_effects=_halo(2.6, "0.25"), label=r"asymptotic phases, $T \to \infty$"
        ),
    ]
    if steps := sorted({int(T) for boundaries in (horizons or {}).values() for T in boundaries}):
        powers = ", ".join(f"10^{round(np.log10(T))}" for T in steps)
        keys.append(Line2D([], [], color="black", lw=1.1, ls="--", label=f"exact contours at $T = {powers}$"))
    wide = len({m["regime"] for m in found}) > 2
    style = {"ncols": 3, "fontsize": 10} if wide else {"ncols": 1, "fontsize": 9}
    figure.legend(handles=keys, loc="outside lower center", frameon=False, **style)
    setting = rf"$T = {first['generations']}$, $\alpha_t = {first['a0']:g}\,t^{{-a}}$, $n_t = {first['n0']:g}\,t^b$"
    title = "What is remembered decides what the map looks like"
    figure.suptitle(
        f"{title}.   {setting} (bigrams: a class)" if wide else f"{title}\n{setting}", fontsize=13 - 3 * (not wide)
    )


def _panel(ax, m, norm, horizons):
    a, b, edge = m["a"], m["b"], m["boundary"]
    shown = np.where(m["mean"] > 0, m["mean"] / m["level"], np.nan)
    image = ax.pcolormesh(a, b, shown.T, norm=norm, cmap="viridis", shading="nearest", rasterized=True)
    for x, y in BORDERS[m["regime"]]:
        ax.plot(x, y, color="white", lw=1.4, path_effects=_halo(2.6, "0.25"))
    for x, y in horizons.values():
        ax.plot(x, y, color="black", lw=1.1, ls="--", path_effects=_halo(2.2))
    if "exact" in m:
        ax.plot(a, m["exact"], color="black", lw=2.2, path_effects=_halo(4))
    every = max(1, (a.size - 1) // 16)
    low, high = (np.where(np.isnan(end), edge.root, end)[::every] for end in (edge.low, edge.high))
    ax.vlines(a[::every], low.clip(0, 2), high.clip(0, 2), color="black", lw=1.3, path_effects=_halo(3), zorder=4)
    ax.plot(a[::every], edge.root[::every], "o", ms=3.6, mfc="white", mec="black", mew=0.9, zorder=5)
    for end, at, marker in ((low, 0.03, "v"), (high, 1.97, "^")):  # open: the map ends before the interval does
        ax.plot(a[::every][np.isinf(end)], np.full(np.isinf(end).sum(), at), marker, ms=5, color="black",
                mec="white", mew=0.6, zorder=6)  # fmt: skip
    for name, (x, y) in NAMES[m["regime"]].items():
        ax.text(
            x,
            y,
            name,
            color="white",
            ha="center",
            va="center",
            fontsize=9.5,
            path_effects=_halo(2.4, "black"),
            zorder=6,
        )
    ax.set(xlim=(0, 2), ylim=(0, 2), xticks=[0, 0.5, 1, 1.5, 2], yticks=[0, 0.5, 1, 1.5, 2])
    return image


def _halo(width, colour="white"):
    return [withStroke(linewidth=width, foreground=colour)]
