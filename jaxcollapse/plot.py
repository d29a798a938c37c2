"""Pictures of a sweep: arrays in, axes out. The only file that imports matplotlib.

    phase            log r over a grid, the simulated boundary on the exact one, the asymptotic phases named
    trajectories     lineages as bands against t, the exact mean laid over them
    collapse_curve   r against x = (n_T − 1) α_T (2 − α_T) / 2 on the law r = 1 / (1 + 2x)

Every function draws on `ax=` (by default on axes of its own) and returns it; none changes a global setting or opens
a window. Save with `ax.figure.savefig("map.pdf", bbox_inches="tight")`.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Num, Shaped
from numpy.typing import ArrayLike
from scipy.ndimage import distance_transform_edt

from jaxcollapse._boundary import Boundary

try:
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes
    from matplotlib.colors import LogNorm
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch
    from matplotlib.patheffects import withStroke
except ImportError as error:
    raise ImportError("jaxcollapse.plot needs matplotlib; try pip install 'jaxcollapse[plot]'") from error

# What a run that has reached its asymptotic phase shows.
EXPECTED = {
    "recovery": "risk falling",
    "plateau": "stationary",
    "frozen": "stationary",
    "collapse": "diversity falling",
}
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")  # Okabe and Ito, safe for the colour-blind
Z = 1.96


def phase(
    x: Num[np.ndarray, " X"],
    y: Num[np.ndarray, " Y"],
    risk: Num[np.ndarray, "X Y"],
    *,
    boundary: Boundary | Num[np.ndarray, " X"] | None = None,
    exact: Num[np.ndarray, " X"] | None = None,
    formula: Num[np.ndarray, " X"] | None = None,
    phases: Shaped[np.ndarray, "X Y"] | None = None,
    borders: Sequence[tuple[ArrayLike, ArrayLike]] | None = None,
    described: Shaped[np.ndarray, "X Y"] | None = None,
    expected: Mapping[str, str] = EXPECTED,
    labels: tuple[str, str] = (r"decay $a$   ($\alpha_t = a_0 t^{-a}$)", r"growth $b$   ($n_t = n_0 t^{b}$)"),
    risk_label: str = r"relative risk  $r_T = \mathrm{E}\,R_T \,/\, (1 - \|p^*\|^2)$",
    level: float = 0.5,
    quantity: str = "r_T",
    limits: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Heatmap of log10 risk over the grid (x, y), what the run shows beside what theory says.

    `boundary`: of r = level (named `quantity`, in TeX) along y for each x, a `phase.Boundary` (with its intervals and
    simultaneous band) or bare roots; `exact`: the finite-horizon boundary of the recursion; `formula`: its leading
    order. `phases`: names of the asymptotic phases, written in their regions; `borders`: the exact (x, y) polylines
    between these (else the edges of the cells). `described`: labels of `phase.describe`, with strokes where they are
    not those `expected` in the cell's phase, dots where undetermined. NaN leaves gaps in lines; cells of NaN risk are
    light grey and unmarked. Colours (viridis) grow lighter with the risk, in grey too; those below `limits`, by default
    1e−4 to 1, share the darkest.
    """
    _check_grid(x, y, risk=risk, phases=phases, described=described)
    _check_slices(x, boundary=getattr(boundary, "root", boundary), exact=exact, formula=formula)
    ax = _axes(ax, (7.2, 6.0))
    missing = _heatmap(ax, x, y, risk, risk_label, limits)
    keys = _lines(ax, x, y, boundary, exact, formula, f"${quantity} = {level:g}$: ")
    if phases is not None and described is not None:
        keys += _mark(ax, x, y, np.where(np.isnan(risk), "", phases), described, expected)
    if phases is not None or borders is not None:
        keys += _outline(ax, x, y, phases, borders)
    if phases is not None:
        _name_regions(ax, x, y, phases, (exact, formula, getattr(boundary, "root", boundary)), borders is not None)
    ax.set(xlabel=labels[0], ylabel=labels[1], xlim=_span(x), ylim=_span(y))
    for axis, v in ((ax.xaxis, x), (ax.yaxis, y)):  # whole cells are shown; ticks stand within the data
        axis.set_ticks([t for t in axis.get_ticklocs() if v[0] <= t.round(9) <= v[-1]])
    _legend(ax, keys + missing)
    return ax


def trajectories(
    generation: Num[np.ndarray, " T"],
    risk: Num[np.ndarray, "L T"],
    *,
    exact: Num[np.ndarray, " T"] | None = None,
    exact_se: Num[np.ndarray, " T"] | None = None,
    label: str = "simulated",
    quantiles: tuple[float, float] = (0.05, 0.95),
    ylabel: str = r"relative risk  $R_t \,/\, (1 - \|p^*\|^2)$",
    ax: Axes | None = None,
) -> Axes:
    """Lineages against generations on log axes: mean with 1.96 s.e., median, and the band between two quantiles.

    `exact` is the theory's mean and `exact_se` the exact standard error of a mean over these lineages, drawn as its
    band of 1.96. Call again with the same `ax` to add another ensemble, with its own `label`.
    """
    _check_slices(generation, risk=risk[0], exact=exact, exact_se=exact_se)
    if len(risk) < 2:
        raise ValueError(f"risk: got {len(risk)} lineage, expected 2 or more for a band; plot one line with ax.loglog")
    ax = _axes(ax, (7.2, 4.8))
    colour = COLOURS[sum(line.get_gid() == "mean" for line in ax.lines) % len(COLOURS)]
    mean, se = risk.mean(0), risk.std(0, ddof=1) / np.sqrt(len(risk))
    low, median, high = np.quantile(risk, (quantiles[0], 0.5, quantiles[1]), axis=0)
    ax.fill_between(generation, low, high, color=colour, alpha=0.18, lw=0)
    ax.plot(generation, median, color=colour, lw=1.5, ls=":")
    ax.fill_between(generation, mean - Z * se, mean + Z * se, color=colour, alpha=0.45, lw=0)
    ax.plot(generation, mean, color=colour, lw=2.2, label=label, gid="mean")
    if exact is not None:
        ax.plot(generation, exact, color="black", lw=1.1, ls=(0, (5, 3)), label="exact mean")
    if exact is not None and exact_se is not None:
        edges = np.stack([exact - Z * exact_se, exact + Z * exact_se], 1)
        ax.plot(generation, edges, color="black", lw=0.6, alpha=0.6, label="exact mean ± 1.96 exact s.e.")
    ax.set(xscale="log", yscale="log", xlabel="generation $t$", ylabel=ylabel)
    means = [line for line in ax.lines if line.get_gid() == "mean"]
    theory = {line.get_label(): line for line in ax.lines if str(line.get_label()).startswith("exact mean")}
    band = f"{100 * quantiles[0]:g}–{100 * quantiles[1]:g} % of lineages"
    se_key, spread = (Patch(color="0.35", alpha=a, lw=0, label=b) for a, b in ((0.55, "mean ± 1.96 s.e."), (0.2, band)))
    keys = [*means, *theory.values(), se_key, Line2D([], [], color="0.35", ls=":", lw=1.2, label="median"), spread]
    _legend(ax, keys)
    return ax


def collapse_curve(
    x: Num[np.ndarray, "*g"],
    risk: Num[np.ndarray, "*g"],
    se: Num[np.ndarray, "*g"] | None = None,
    *,
    hue: Num[np.ndarray, "*g"] | None = None,
    hue_label: str = "decay $a$",
    ax: Axes | None = None,
) -> Axes:
    """Risks of all cells against x = (n_T − 1) α_T (2 − α_T) / 2, on the law r = 1 / (1 + 2x) of decay a < 1.

    Logit against log, where the law is a straight line; bars are 1.96 s.e.; risks at or above 1, which noise allows,
    are arrows at the upper edge. `hue` colours the cells (by their decay, say).
    """
    x, risk = np.ravel(x), np.ravel(risk)
    ax = _axes(ax, (6.4, 4.8))
    inside = (risk > 0) & (risk < 1)
    if not inside.any():
        raise ValueError("risk: got no value between 0 and 1, expected relative risks; divide by 1 − ‖p*‖²")
    floor, top = risk[inside].min() / 3, 1 - (1 - risk[inside].max()) / 3
    if se is not None:
        low, high = (np.clip(risk + side * Z * np.ravel(se), floor, top) for side in (-1, 1))
        ax.vlines(x, low, high, color="0.55", lw=0.8, zorder=1)
    line = np.geomspace(np.nanmin(x[x > 0]), np.nanmax(x), 400)
    ax.plot(line, 1 / (1 + 2 * line), color=COLOURS[1], lw=1.6, label=r"$r = 1 / (1 + 2x)$", zorder=4)
    name = "cells" if se is None else "cells, ± 1.96 s.e."
    style = {"s": 16, "linewidths": 0.4, "edgecolors": "black", "zorder": 3, "label": name}
    style |= {"color": COLOURS[0]} if hue is None else {"c": np.ravel(hue)[inside], "cmap": "cividis"}
    dots = ax.scatter(x[inside], risk[inside], **style)
    if hue is not None:
        ax.figure.colorbar(dots, ax=ax, label=hue_label)
    if np.any(risk >= 1):
        over = x[risk >= 1]
        ax.plot(over, np.full(over.size, top), "^", color="0.35", ms=5, label=r"$\hat r \geq 1$", zorder=3)
    label = r"$x = (n_T - 1)\, \alpha_T (2 - \alpha_T) / 2$"
    ax.set(xscale="log", xlabel=label, ylabel="relative risk $r_T$", yscale="logit")
    k = np.arange(1, 1 - np.log10(min(floor, (1 - top) / 2)))[:: 2 if floor < 1e-8 else 1].astype(int)
    names = [f"$10^{{-{i}}}$" if i > 1 else "0.1" for i in k] + ["½"] + [f"{1 - 0.1**i:.{i}f}" for i in k]
    ax.set_yticks([*0.1**k, 0.5, *(1 - 0.1**k)], labels=names)
    ax.set_yticks([], minor=True)
    ax.set_ylim(floor, 1 - (1 - top) / 2)
    ax.legend(loc="lower left", frameon=False)
    return ax


def _heatmap(ax, x, y, risk, label, limits):
    positive = risk[np.isfinite(risk) & (risk > 0)]
    if positive.size == 0:
        raise ValueError("risk: got no positive value, expected relative risks; try dividing by 1 − ‖p*‖²")
    low, high = limits or (np.clip(10.0 ** np.floor(np.log10(positive.min())), 1e-4, 0.1), 1.0)
    shades, norm = plt.get_cmap("viridis").with_extremes(bad="0.93"), LogNorm(low, high)
    shown, clipped = np.ma.masked_invalid(np.where(risk <= 0, low, risk)).T, np.nanmin(risk) < low
    mesh = ax.pcolormesh(x, y, shown, shading="nearest", cmap=shades, norm=norm, rasterized=True)
    bar = ax.figure.colorbar(mesh, ax=ax, label=label, pad=0.02, extend="min" if clipped else "neither")
    if clipped:
        decades = [d for d in 10.0 ** np.arange(-12, 1) if 1.01 * low < d < 1.01 * high]
        bar.set_ticks([low, *decades], labels=[f"≤{low:g}", *(f"{d:g}" for d in decades)])
    return _cells(ax, x, y, np.isnan(risk), "not computed", facecolor="0.93", edgecolor="0.7", linewidth=0.6)


def _mark(ax, x, y, phases, described, expected):
    """Strokes where the run shows something else than its asymptotic phase, a dot where it is undetermined."""
    wanted = np.vectorize(lambda name: expected.get(name, ""), otypes=[object])(phases)
    open_ = (described == "undetermined") & (phases != "")
    differs = (wanted != "") & (described != wanted) & ~open_
    style = {"hatch": "///", "facecolor": "none", "edgecolor": (0, 0, 0, 0.45), "linewidth": 0}
    keys = _cells(ax, x, y, differs, "run differs from its phase", **style)
    if open_.any():
        (i, j), label = np.nonzero(open_), "run undetermined"
        keys += ax.plot(x[i], y[j], "o", color="0.25", ms=2.0, mec="white", mew=0.3, zorder=1.5, label=label, gid=label)
    return keys


def _cells(ax, x, y, mask, label, **style):
    if mask.any():
        ax.pcolor(x, y, np.ma.masked_equal(mask, False).T, shading="nearest", **(style | {"facecolor": "none"}))
    return [Patch(label=label, **style)] if mask.any() else []


def _lines(ax, x, y, boundary, exact, formula, name):
    keys = []
    if exact is not None:
        keys += ax.plot(x, exact, color="black", lw=2.2, label=name + "exact recursion", path_effects=_halo(4.5))
    if formula is not None:
        style = {"color": "black", "lw": 1.3, "ls": (0, (4, 2)), "path_effects": _halo(3)}
        keys += ax.plot(x, formula, label=name + "leading order", **style)
    if boundary is not None:
        style = {"ls": "none", "marker": "o", "ms": 4.5, "mfc": "white", "mec": "black", "mew": 1.0, "zorder": 5}
        keys += ax.plot(x, getattr(boundary, "root", boundary), label=name + "simulated", **style)
    if isinstance(boundary, Boundary):
        low, high, *band = (np.clip(end, *_span(y)) for end in boundary[1:5])
        ax.vlines(x, low, high, color="black", lw=1.4, zorder=4, path_effects=_halo(3.2))
        keys += ax.plot([], [], "k|", ms=12, mew=1.4, label="its interval, 95 % pointwise")
        shade = {"facecolor": (1, 1, 1, 0.2), "edgecolor": "black", "lw": 1.0, "ls": (0, (1, 1.5)), "zorder": 1.8}
        keys.append(ax.fill_between(x, *band, label="its band, 95 % for all at once", **shade))
    return keys


def _outline(ax, x, y, phases, borders):
    """The exact borders or, without them, the edges of the regions that are more than one cell wide."""
    label = r"asymptotic phases, $T \to \infty$"
    style = {"color": "white", "lw": 1.2, "path_effects": _halo(2.4, "0.25"), "label": label, "zorder": 1.9}
    if borders is not None:  # one line with gaps, lest the halo of one piece cross another
        return ax.plot(*([v for line in borders for v in (*line[axis], np.nan)] for axis in (0, 1)), **style)
    wide = [np.concatenate([_span(v)[:1], v, _span(v)[1:]]) for v in (x, y)]
    for region in (phases == name for name in np.unique(phases)):
        if _distance(region).max() >= 1.5:  # else its neighbours' outlines are its own
            inside = np.pad(region, 1, "edge").T.astype(float)
            edge = ax.contour(*wide, inside, levels=[0.5], colors="white", linewidths=1.2)
            edge.set(path_effects=style["path_effects"])
    return [Line2D([], [], **style)]


def _name_regions(ax, x, y, phases, lines, beside):
    """Each name where it is farthest from its region's edge and from the lines; a phase that is a line, along it."""
    clear = np.ones(phases.shape, bool)
    for line in (v for v in lines if v is not None):
        at = np.flatnonzero(np.isfinite(line))
        clear[at, np.abs(y[:, None] - np.asarray(line)[at]).argmin(0)] = False
    for name in np.unique(phases):
        region, turn, up = phases == name, {"va": "center", "fontsize": 11.0}, 0.0
        thin = _distance(region).max() < 1.5
        i, j = np.unravel_index(_distance(region & (clear | thin), 0.3).argmax(), region.shape)
        if thin and region.sum() > 2:
            cells = np.argwhere(region)
            i, j = cells[len(cells) // 2]
            angle = np.degrees(np.arctan(np.polyfit(x[cells[:, 0]], y[cells[:, 1]], 1)[0]))
            turn = {"rotation": angle, "rotation_mode": "anchor", "transform_rotates_text": True, "fontsize": 9.5}
            turn["va"], up = ("bottom", 0.35 * (y[1] - y[0])) if beside else ("center", 0.0)
        style = {"color": "white", "ha": "center", "path_effects": _halo(2.5, "black"), "zorder": 6}
        ax.text(x[i], y[j] + up, name, **style, **turn)


def _distance(mask, stretch=1.0):
    """Of each cell inside to the nearest outside, the grid's edge included, in rows; x is shrunk by `stretch`."""
    return np.asarray(distance_transform_edt(np.pad(mask, 1), sampling=(stretch, 1.0)))[1:-1, 1:-1]


def _legend(ax, keys):
    """Above the axes and no wider, for an overhang would push the colour bars of a constrained layout away."""
    style = {"frameon": False, "columnspacing": 1.0, "labelspacing": 0.3, "handlelength": 1.6, "handletextpad": 0.6}
    for size, columns in ((9, 3), (8, 3), (9, 2), (8, 2), (7, 2), (6.5, 2), (7, 1)) if keys else ():
        style |= {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "fontsize": size, "ncols": columns}
        if ax.legend(handles=keys, **style).get_window_extent().width <= ax.get_window_extent().width:
            break


def _axes(ax, size) -> Axes:
    return plt.subplots(figsize=size, layout="constrained")[1] if ax is None else ax


def _halo(width, colour="white"):
    return [withStroke(linewidth=width, foreground=colour)]


def _span(values):
    """The outer edges of the cells around sorted grid points."""
    return float(1.5 * values[0] - 0.5 * values[1]), float(1.5 * values[-1] - 0.5 * values[-2])


def _check_grid(x, y, **fields):
    if len(x) < 2 or len(y) < 2:
        raise ValueError(f"x, y: got {len(x)} and {len(y)} values, expected at least 2 each")
    for name, field in fields.items():
        if field is not None and np.shape(field) != (len(x), len(y)):
            size = f"(len(x), len(y)) = {(len(x), len(y))}"
            raise ValueError(f"{name}: got shape {np.shape(field)}, expected {size}; try {name}.T")


def _check_slices(x, **lines):
    for name, line in lines.items():
        if line is not None and np.shape(line) != np.shape(x):
            raise ValueError(f"{name}: got shape {np.shape(line)}, expected one value for each of {len(x)}")
