"""A sweep in a terminal: the map of one quantity, in colours or in shades, and the points of its boundary.

The quantity is the mean over lineages at the last generation. The first of two axes runs up, the second to the right;
with more the others are held at their middle values, with one the map is a row of bars. Points that are no grid are
put in bins. Without colours (NO_COLOR, a pipe, a plain terminal) four shades stand for them. All of it fits 80 columns.
"""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxcollapse._cells import Axis, Cells, Metric, crossings, metrics

ROWS, COLUMNS, BINS = 40, 64, (20, 32)
SHADES, BARS = "░▒▓█", "▁▂▃▄▅▆▇█"
VIRIDIS = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)])


class Field(NamedTuple):
    """Values up and to the right, which of them are NaN though computed, the two axes, and what must be said of it."""

    values: Float[np.ndarray, "rows columns"]
    broken: Bool[np.ndarray, "rows columns"]
    up: Axis | None
    right: Axis
    notes: list[str]


class Scale(NamedTuple):
    """The least and the greatest value, and where one shade ends and the next begins: the darkest at the level."""

    low: float
    high: float
    logarithmic: bool
    edges: Float[np.ndarray, " 5"]

    def share(self, values: np.ndarray) -> np.ndarray:
        """From 0 at the least to 1 at the greatest."""
        scale = np.log if self.logarithmic else np.asarray
        return (scale(values) - scale(self.low)) / max(scale(self.high) - scale(self.low), 1e-300)


def measured(table: xr.Dataset, name: str | None = None) -> tuple[Cells, Metric]:
    """The cells of a sweep and one metric: by its name, or risk, or the first; `ValueError` where there is none."""
    found, kept, _ = metrics(table)
    names = [metric.name for metric in kept]
    wanted = name or ("risk" if "risk" in names else names[0] if names else None)
    if wanted not in names:
        known = f"one of {', '.join(names)}" if names else "a sweep with numbers at every point"
        raise ValueError(
            f"metric: got {name or 'none'}, expected {known}; try --metric {names[0] if names else 'NAME'}"
        )
    return found, kept[names.index(wanted)]


def show(
    found: Cells, metric: Metric, level: float, *, rows: int | None = None, console: Console | None = None
) -> None:
    """Prints the map, then the boundary, at most `rows` points of it."""
    console = console or Console()
    field = _field(found, metric.mean[:, -1])
    colour = console.color_system is not None and not console.no_color
    when = "" if metric.generations is None else f" at generation {metric.generations[-1]:g}"
    over = " (mean over lineages)" if metric.count.max() > 1 else ""
    console.print(Text(f"{metric.label}{when}{over}", "bold"))
    for line in (*_map(field, colour, level), *(Text(note) for note in field.notes)):
        console.print(line)
    console.print(_table(boundary(found, metric, level), metric, level, rows) or _none(found, metric, level))


def preview(table: xr.Dataset) -> None:
    """The same beside a figure, with a short table; nothing where there are no numbers to show."""
    try:
        found, metric = measured(table)
    except ValueError:
        return
    show(found, metric, 0.5, rows=9)


def boundary(found: Cells, metric: Metric, level: float) -> list[dict[str, Any]]:
    """Where the metric crosses the level along the axis that runs up, or else along another on which it does.

    A dict for each slice that it crosses: the coordinates on the others, root, interval, exact root.
    """
    curves, names = crossings(found, metric, level), [axis.name for axis in found.axes]
    along = next((name for name in (*names[-2:], *names[:-2]) if name in curves), None)
    if along is None:
        return []
    others, points = [axis for axis in found.axes if axis.name != along], []
    places = itertools.product(*(axis.values for axis in others))
    for place, ends in zip(places, curves[along].T.tolist(), strict=True):
        at = {axis.name: value for axis, value in zip(others, place, strict=True)}
        known = (None if math.isnan(x) else x for x in ends)
        points.append({"along": along, "at": at, **dict(zip(("root", "low", "high", "exact"), known, strict=True))})
    return [point for point in points if point["root"] is not None or point["exact"] is not None]


def _table(points: list[dict[str, Any]], metric: Metric, level: float, rows: int | None) -> Table | None:
    if not points:
        return None
    along, kept = points[0]["along"], np.arange(len(points))
    if rows is not None and len(points) > rows:
        kept = np.unique(np.linspace(0, len(points) - 1, rows).round().astype(int))
    some = f", {len(kept)} of {len(points)} points" if len(kept) < len(points) else ""
    columns = ["root", *("low", "high") * metric.simulated, *("exact",) * (metric.exact is not None)]
    heads = {"root": along, "low": "95 % from", "high": "to", "exact": "exact"}
    title = f"{along} where {metric.name} = {level:g}{some}"
    table = Table(title=title, box=SIMPLE, padding=(0, 1), title_justify="left")
    for head in (*points[0]["at"], *(heads[column] for column in columns)):
        table.add_column(head, justify="right", overflow="fold")
    for point in (points[i] for i in kept):
        table.add_row(*map(_number, point["at"].values()), *(_number(point[column]) for column in columns))
    return table


def _number(value: Any) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else f"{value:.4g}".replace("inf", "∞")


def _none(found: Cells, metric: Metric, level: float) -> Text:
    if found.shape is None:
        return Text("boundary: none of points that are no grid; try jc.refine with this store, then jc.interpolate")
    return Text(f"boundary: {metric.name} = {level:g} is not crossed; try --level")


def _field(found: Cells, values: Float[np.ndarray, " C"]) -> Field:
    broken = ~np.isfinite(values) & found.done
    notes = []
    if broken.any():
        notes.append(f"{broken.sum()} of {found.size} points hold no finite number (? or grey)")
    if not found.done.all():
        notes.append(f"{(~found.done).sum()} of {found.size} points are not computed yet (blank)")
    values = np.where(np.isfinite(values), values, np.nan)
    if found.shape is None:
        return _binned(found, values, broken, notes)
    held, shown = found.axes[:-2], found.axes[-2:]
    place = tuple(len(axis.values) // 2 for axis in held)
    if held:
        notes.append("at " + ", ".join(f"{a.name} = {_number(a.values[i])}" for a, i in zip(held, place, strict=True)))
    grids = [np.atleast_2d(x.reshape(found.shape)[place]) for x in (values, broken)]
    (rows, columns), limits = grids[0].shape, (ROWS, COLUMNS)
    step = [-(-size // limit) for size, limit in zip((rows, columns), limits, strict=True)]
    if max(step) > 1:
        grids, size = [_coarse(x, step) for x in grids], " × ".join(map(str, step))
        notes.append(f"a mark is the mean of {size} points")
    return Field(grids[0], grids[1] > 0, shown[0] if len(shown) == 2 else None, shown[-1], notes)


def _coarse(x: np.ndarray, step: list[int]) -> np.ndarray:
    """Means over blocks of `step` points, without those that are NaN."""
    ends = [(0, -size % block) for size, block in zip(x.shape, step, strict=True)]
    x = np.pad(x.astype(float), ends, constant_values=np.nan)
    blocks = x.reshape(x.shape[0] // step[0], step[0], x.shape[1] // step[1], step[1])
    count = np.isfinite(blocks).sum((1, 3))
    return np.where(count > 0, np.nansum(blocks, (1, 3)) / np.maximum(count, 1), np.nan)


def _binned(found: Cells, values: np.ndarray, broken: np.ndarray, notes: list[str]) -> Field:
    up, right = found.axes[-2:]
    places = [_bin(axis, code, size) for axis, code, size in zip((up, right), found.codes[-2:], BINS, strict=True)]
    shape = [max(place) + 1 for place in places]
    flat = np.ravel_multi_index(places, shape)
    known = np.isfinite(values)
    count = np.bincount(flat[known], minlength=shape[0] * shape[1])
    total = np.bincount(flat[known], values[known], minlength=shape[0] * shape[1])
    means = np.where(count > 0, total / np.maximum(count, 1), np.nan).reshape(shape)
    bad = np.bincount(flat, broken, minlength=means.size).reshape(shape) > 0
    notes.append(f"{found.size} points that are no grid, means in {shape[0]} × {shape[1]} bins (blank: no point)")
    return Field(means, bad & np.isnan(means), up, right, notes)


def _bin(axis: Axis, codes: Int[np.ndarray, " C"], size: int) -> Int[np.ndarray, " C"]:
    if axis.kind == "category" or len(axis.values) <= size:
        return codes
    values = np.log(axis.values) if axis.kind == "log" else np.array(axis.values)
    edges = np.linspace(values[0], values[-1], size + 1)[1:-1]
    return np.digitize(values, edges)[codes]


def _map(field: Field, colour: bool, level: float) -> list[Text]:
    """The map between its axes, and its key."""
    values = field.values[np.isfinite(field.values)]
    if not values.size:
        return [Text("no finite number to show")]
    scale, columns = _scale(float(values.min()), float(values.max()), level), field.values.shape[1]
    wide = min(max(COLUMNS // columns, 1), max(24 // columns, 2))  # a character is half as wide as high
    draw = _bars if field.up is None else _halves if colour else _shades
    body = draw(field, scale, wide)
    ends = [""] * len(body)
    if field.up is not None:
        ends[0], ends[-1] = _number(field.up.values[-1]), _number(field.up.values[0])
    margin = max(map(len, ends)) + 1
    lines = [Text(field.up.name)] if field.up is not None else []
    lines += [Text(f"{end:>{margin}} ").append_text(line) for end, line in zip(ends, body, strict=True)]
    first, last = (_number(field.right.values[i]) for i in (0, -1))
    gap = max(wide * columns - len(first) - len(last), len(field.right.name) + 2)
    lines.append(Text(f"{'':{margin}} {first}{field.right.name:^{gap}}{last}"))
    return [*lines, _key(scale, draw)]


def _scale(low: float, high: float, level: float) -> Scale:
    logarithmic = low > 0 and high >= 10 * low
    space = np.geomspace if logarithmic else np.linspace
    edges = np.append(space(low, level, 4), high) if low < level < high else space(low, high, 5)
    return Scale(low, high, logarithmic, edges)


def _bars(field: Field, scale: Scale, wide: int) -> list[Text]:
    mark = lambda u: " " if np.isnan(u) else BARS[min(int(8 * u), 7)]
    row = zip(scale.share(field.values[0]), field.broken[0], strict=True)
    return [Text("".join(("?" if broken else mark(u)) * wide for u, broken in row))]


def _shades(field: Field, scale: Scale, wide: int) -> list[Text]:
    places = np.searchsorted(scale.edges[1:-1], np.nan_to_num(field.values), side="right")
    marks = np.where(np.isnan(field.values), np.where(field.broken, "?", " "), np.array(list(SHADES))[places])
    return [Text("".join(mark * wide for mark in row)) for row in marks[::-1].tolist()]


def _halves(field: Field, scale: Scale, wide: int) -> list[Text]:
    """Two rows a line, the upper half block in the colour of one on that of the other."""
    below_all = ((len(field.values) % 2, 0), (0, 0))  # an empty row, where their number is odd
    shares = np.pad(scale.share(field.values), below_all, constant_values=np.nan)
    broken, lines = np.pad(field.broken, below_all), []
    for i in range(len(shares) - 1, 0, -2):
        line = Text()
        for j in range(shares.shape[1]):
            above, below = (_colour(float(shares[k, j]), bool(broken[k, j])) for k in (i, i - 1))
            mark = "▀" if above else "▄" if below else " "
            line.append(mark * wide, f"{above} on {below}" if above and below else above or below or "")
        lines.append(line)
    return lines


def _colour(share: float, broken: bool = False) -> str | None:
    if broken:
        return "rgb(128,128,128)"
    if np.isnan(share):
        return None
    place = share * (len(VIRIDIS) - 1)
    i = min(int(place), len(VIRIDIS) - 2)
    rgb = VIRIDIS[i] + (place - i) * (VIRIDIS[i + 1] - VIRIDIS[i])
    return f"rgb({','.join(str(round(x)) for x in rgb.tolist())})"


def _key(scale: Scale, draw: Any) -> Text:
    kind = ", logarithmic" * scale.logarithmic
    low, high = f"{scale.low:.3g}", f"{scale.high:.3g}"
    if draw is _bars:
        return Text(f"{BARS[0]} {low} … {BARS[-1]} {high}{kind}")
    if draw is _shades:
        parts = [f"{mark} {edge:.3g} to" for mark, edge in zip(SHADES, scale.edges, strict=False)]
        return Text(f"{'  '.join(parts)} {high}")
    bar = Text(f"{low} ")
    for share in np.linspace(0, 1, 32):
        bar.append("█", _colour(float(share)) or "")
    return bar.append(f" {high}{kind}")
