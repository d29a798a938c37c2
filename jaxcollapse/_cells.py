"""The cells of a sweep and what was measured in them: one estimate each, whether its points form a grid or not.

    mean ± t s.e.,   s.e. = sd / √L      over the L lineages of all repeats, t Student's quantile at L − 1

A variable is simulated where it has the dimension `lineage`, or repeats. Its exact value, without noise, is the
variable that its attribute `exact` names, or NAME_exact, or beside a single simulated variable (or `risk`) `exact`;
where the exact standard deviation of a lineage is there too, under the name of the exact value and _sd, the s.e. is
exact, and t the normal quantile: near collapse the sample's says little. So is t where a variable without lineages
comes with its s.e., NAME_se, as statistics that were streamed do. Its history lies along `generation`, or
another dimension with increasing labels; with more dimensions it is several metrics.

Arrays: `C` cells (in the order of the axes' values, the last fastest), `R` rows, `L` lineages, `T` generations.
"""

import itertools
import math
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int, Num
from scipy import stats

from jaxcollapse._boundary import boundary
from jaxcollapse._store import DONE, POINT, REPEAT, VALID

LINEAGE, GENERATION = "lineage", "generation"
PARTS = 32  # metrics that a variable with more dimensions may become
SHARE = (-0.5, 1.5)  # means within these limits may have a boundary at a level between 0 and 1


class Axis(NamedTuple):
    """One axis: its distinct values, ascending; kind is linear, log or, for words and infinities, category."""

    name: str
    label: str
    values: list[Any]
    kind: str


class Cells(NamedTuple):
    """The distinct points: the place of each on every axis, and its rows, for every number of them that occurs."""

    axes: list[Axis]
    codes: Int[np.ndarray, "k C"]
    groups: list[tuple[Int[np.ndarray, " c"], Int[np.ndarray, "c r"]]]
    done: Bool[np.ndarray, " C"]
    valid: Bool[np.ndarray, " C"]

    @property
    def size(self) -> int:
        return self.codes.shape[1]

    @property
    def shape(self) -> tuple[int, ...] | None:
        """That of the grid, or None where the points are no product of axes."""
        shape = tuple(len(axis.values) for axis in self.axes)
        return shape if math.prod(shape) == self.size else None


class Metric(NamedTuple):
    """One quantity: mean and s.e. at all recorded generations, quantiles (median, 5 %, 95 %) at the last of them."""

    name: str
    label: str
    units: str
    generations: Num[np.ndarray, " T"] | None
    count: Int[np.ndarray, " C"]
    mean: Float[np.ndarray, "C T"]
    se: Float[np.ndarray, "C T"]
    quantiles: Float[np.ndarray, "q C"]
    exact: Float[np.ndarray, "C T"] | None
    known_se: bool

    @property
    def simulated(self) -> bool:
        """Whether its means have an s.e."""
        return bool(self.known_se or self.count.max() > 1)

    def quantile(self, tail: float) -> Float[np.ndarray, " C"]:
        """Of the mean's distribution, in s.e.: the normal law's if the s.e. is known, else Student's; NaN without."""
        law = stats.norm if self.known_se else stats.t(np.maximum(self.count - 1, 1))
        return np.where(self.count > 1 - self.known_se, law.isf(tail), np.nan)

    def z(self) -> Float[np.ndarray, " C"]:
        """(mean − exact) / s.e. at the last generation; NaN where there is no noise to compare with."""
        if self.exact is None:
            return np.full(len(self.mean), np.nan)
        gap, se = self.mean[:, -1] - self.exact[:, -1], self.se[:, -1]
        return np.where(se > 0, gap, np.nan) / np.where(se > 0, se, 1.0)


def cells(table: xr.Dataset) -> tuple[Cells, xr.Dataset]:
    """The cells of a sweep, and the sweep as a list along `point`."""
    names = [name for name in table.attrs.get("axes", ()) if name in table.coords and table[name].ndim == 1]
    if not names:
        raise ValueError("table: got a dataset without axes, expected a sweep; try jc.open(store)")
    if POINT not in table.dims:
        table = table.stack({POINT: [*names, *(name for name in (REPEAT,) if name in table.dims)]}, create_index=False)
    axes, places = zip(*(_axis(table[name]) for name in names), strict=True)
    codes, cell = np.unique(np.stack(places), axis=1, return_inverse=True)
    done, valid = (table[name].values if name in table.coords else np.ones(len(cell), bool) for name in (DONE, VALID))
    rows = np.flatnonzero(done)
    rows = rows[np.argsort(cell[rows], kind="stable")]
    counts = np.bincount(cell[rows], minlength=codes.shape[1])
    starts = np.concatenate([[0], np.cumsum(counts)])
    groups = []
    for count in np.unique(counts[counts > 0]).tolist():
        members = np.flatnonzero(counts == count)
        groups.append((members, rows[starts[members][:, None] + np.arange(count)]))
    bad = np.bincount(cell, done & ~valid, minlength=codes.shape[1]) > 0
    return Cells(list(axes), codes, groups, counts > 0, ~bad), table


def metrics(table: xr.Dataset) -> tuple[Cells, list[Metric], list[str]]:
    """The cells, every metric in them, and in words what is left out."""
    found, listed = cells(table)
    partners = _partners(listed)
    beside = {*partners.values(), *(f"{name}_sd" for name in partners.values())}
    beside |= {f"{name}_se" for name in listed.data_vars if LINEAGE not in listed[name].dims}
    kept: list[Metric] = []
    left: list[str] = []
    for name in (str(name) for name in listed.data_vars if name not in beside):
        variable = listed[name]
        time = _time(listed, variable)
        extra = {str(d): n for d, n in variable.sizes.items() if d not in (POINT, LINEAGE, time)}
        if POINT not in variable.dims or variable.dtype.kind not in "fiub" or math.prod(extra.values()) > PARTS:
            about = " × ".join(f"{n} {d}" for d, n in variable.sizes.items() if d != POINT)
            left.append(f"{name} ({variable.dtype}{', ' * bool(about)}{about})")
            continue
        partner = partners.get(name, "")
        others = [listed.get(other) for other in (partner, f"{partner}_sd", f"{name}_se")]
        for place in itertools.product(*(range(size) for size in extra.values())):
            kept.append(_metric(found, variable, others, time, dict(zip(extra, place, strict=True))))
    return found, kept, left


def crossings(found: Cells, metric: Metric, level: float) -> dict[str, Float[np.ndarray, "ends s"]]:
    """Root, low, high and exact root of metric = `level`, else NaN, along each axis of three numbers or more.

    One column for each slice, in the order of the grid without that axis; low and high are the 95 % interval. Empty
    for points that are no grid and for means that are no shares, with values far outside [0, 1].
    """
    mean, se = metric.mean[:, -1], np.nan_to_num(metric.se[:, -1])
    exact = np.full_like(mean, np.nan) if metric.exact is None else metric.exact[:, -1]
    finite = mean[np.isfinite(mean)]
    if found.shape is None or not finite.size or finite.min() < SHARE[0] or finite.max() > SHARE[1]:
        return {}
    curves = {}
    for k, axis in enumerate(found.axes):
        if axis.kind != "category" and len(axis.values) > 2:
            values = np.log(axis.values) if axis.kind == "log" else np.array(axis.values, float)
            folded = np.moveaxis(np.stack([mean, se, exact]).reshape(3, *found.shape), k + 1, -1)
            ends = _boundary(*folded.reshape(3, -1, len(values)), values=values, level=level)
            ends = np.exp(ends) if axis.kind == "log" else ends
            if np.isfinite(ends[[0, 3]]).any():
                curves[axis.name] = ends if metric.simulated else ends * [[1], [np.nan], [np.nan], [1]]
    return curves


def _boundary(mean, se, exact, *, values, level) -> Float[np.ndarray, "ends s"]:
    """Root, low, high and exact root of each row; only those are looked at that come within 5 s.e. of the level."""
    near = np.zeros(len(mean), bool)
    for low, high in ((mean - 5 * se, mean + 5 * se), (exact, exact)):
        near |= (np.fmin.reduce(low, -1) <= level) & (np.fmax.reduce(high, -1) >= level)
    ends = np.full((4, len(mean)), np.nan)
    if near.any():
        # What is called bias, against 0, is the root of the exact curve.
        zero = np.zeros(near.sum())
        found = boundary(mean[near], values, se=se[near], level=level, exact=exact[near], exact_root=zero)
        ends[:, near] = found.root, found.low, found.high, found.bias
    return ends


def _axis(column: xr.DataArray) -> tuple[Axis, np.ndarray]:
    """An axis, and the place of every row on it. Words keep their order."""
    name, values = str(column.name), column.values
    label = _label(column, name)
    if values.dtype.kind not in "iuf":
        words, codes = np.unique(values.astype(str), return_inverse=True)
        first = np.unique(codes, return_index=True)[1]
        order = np.argsort(first)
        return Axis(name, label, words[order].tolist(), "category"), np.argsort(order)[codes]
    distinct, codes = np.unique(values, return_inverse=True)
    if not np.isfinite(distinct).all():
        return Axis(name, label, [f"{v:g}".replace("inf", "∞") for v in distinct], "category"), codes
    return Axis(name, label, distinct.tolist(), "log" if _is_log(distinct) else "linear"), codes


def _is_log(values: np.ndarray) -> bool:
    """Whether the steps are more even in the logarithm, over a factor of 4 or more."""
    if len(values) < 3 or values[0] <= 0 or values[-1] / values[0] < 4:
        return False
    spread = [np.std(steps) / np.mean(steps) for steps in (np.diff(values), np.diff(np.log(values)))]
    return bool(spread[1] < spread[0])


def _label(variable: xr.DataArray, name: str) -> str:
    return str(variable.attrs.get("long_name", name))


def _partners(table: xr.Dataset) -> dict[str, str]:
    """The exact counterpart of each variable that has one."""
    names = [str(name) for name in table.data_vars]
    partners = {}
    for name in names:
        given = table[name].attrs.get("exact")
        if given is not None and given not in names:
            raise ValueError(f"exact: got {given!r} on {name}, expected the name of a variable among {names}")
        if given is not None or f"{name}_exact" in names:
            partners[name] = given or f"{name}_exact"
    simulated = [name for name in names if LINEAGE in table[name].dims and name not in partners]
    alone = "risk" if "risk" in simulated else simulated[0] if len(simulated) == 1 else None
    if "exact" in names and alone is not None and "exact" not in partners.values():
        partners[alone] = "exact"
    return partners


def _time(table: xr.Dataset, variable: xr.DataArray) -> str | None:
    """The dimension of its history: `generation`, or the only one with increasing numbers as labels."""
    others = [str(dim) for dim in variable.dims if dim not in (POINT, LINEAGE)]
    if GENERATION in others:
        return GENERATION
    labelled = [dim for dim in others if dim in table.coords and _increases(table[dim].values)]
    return labelled[0] if len(labelled) == 1 else None


def _increases(values: np.ndarray) -> bool:
    return len(values) > 1 and values.dtype.kind in "iuf" and bool((np.diff(values) > 0).all())


def _metric(found: Cells, variable: xr.DataArray, others, time: str | None, place: dict[str, int]) -> Metric:
    one = variable.isel(place)
    words = ", ".join(f"{dim} {one[dim].item() if dim in one.coords else i}" for dim, i in place.items())
    order = [dim for dim in (POINT, LINEAGE, time) if dim in one.dims]
    samples = one.transpose(*order).values
    samples = samples if LINEAGE in order else samples[:, None]
    samples = samples if time in order else samples[..., None]
    count, mean, se, quantiles = _estimate(found, samples)
    length = samples.shape[-1]
    exact, sd, given = (None if curve is None else _exact(found, curve, time, length, place) for curve in others)
    if sd is not None:
        se = sd / np.sqrt(count)[:, None]
    elif given is not None and LINEAGE not in order and count.max() == 1:
        se, sd = given, given
    generations = None
    if time is not None:
        generations = one[time].values if time in one.coords else np.arange(1, length + 1)
    name, label = (f"{text}, {words}" if words else text for text in (str(one.name), _label(one, str(one.name))))
    units = str(one.attrs.get("units", ""))
    numbers = (count, mean, se, quantiles, exact, sd is not None)
    return Metric(name, label, "" if units == "1" else units, generations, *numbers)


def _estimate(found: Cells, samples: Num[np.ndarray, "R L T"] | Bool[np.ndarray, "R L T"]) -> tuple[np.ndarray, ...]:
    """Number of lineages, mean, s.e., and at the last generation the quantiles; NaN where nothing has been computed."""
    shape = (found.size, samples.shape[-1])
    count, quantiles = np.zeros(found.size, int), np.full((3, found.size), np.nan)
    mean, se = np.full(shape, np.nan), np.full(shape, np.nan)
    for members, rows in found.groups:
        x = samples[rows].reshape(len(members), -1, shape[1])
        count[members] = x.shape[1]
        with np.errstate(invalid="ignore", over="ignore"):
            mean[members] = x.mean(1, dtype=float)
            if x.shape[1] > 1:
                se[members] = x.std(1, ddof=1, dtype=float) / np.sqrt(x.shape[1])
                quantiles[:, members] = np.quantile(x[..., -1].astype(float), (0.5, 0.05, 0.95), axis=1)
    return count, mean, se, quantiles


def _exact(
    found: Cells, exact: xr.DataArray, time: str | None, length: int, place: dict[str, int]
) -> Float[np.ndarray, "C T"]:
    """The same of every repeat; a single value belongs to the last generation."""
    exact = exact.isel({dim: i for dim, i in place.items() if dim in exact.dims})
    order = [dim for dim in (POINT, time) if dim in exact.dims]
    if len(order) != exact.ndim or POINT not in order:
        raise ValueError(f"{exact.name}: got the dimensions {exact.dims}, expected {(POINT, time)} of an exact value")
    values = exact.transpose(*order).values
    curve = np.full((found.size, length), np.nan)
    for members, rows in found.groups:
        curve[members, :] = values[rows[:, 0]] if time in order else np.nan
        curve[members, -1] = values[rows[:, 0], -1] if time in order else values[rows[:, 0]]
    return curve
