"""Points where they matter: a grid whose cells are halved along the level set of a measured quantity alone.

    m, s                                                        mean and s.e. at a point, over all of its repeats
    crossed     min (m − c s) < level < max (m + c s)           over the points on the sides of a cell
    wide        c² s̄² > g²,   g² = 4 (Var m − (1 − 1/q) s̄²)     over the same q points, s̄² the mean of s²

g is the change of the mean across a cell: at the 2^d corners, a linear function has Var m = |g|²/4, to which noise adds
(1 − 1/q) s̄². So c s̄ / g is the half-width of the level set's interval, in sides of the cell. A crossed cell is halved
where that is below 1; else it is not the mesh that limits, and its points get more repeats.
"""

import contextlib
import json
import math
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, SupportsFloat

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float, Int
from scipy import sparse

from jaxcollapse import _plan, _program, _remote
from jaxcollapse._boundary import mean_and_se
from jaxcollapse._mesh import Mesh, interpolation, mesh, sides
from jaxcollapse._store import POINT, REPEAT
from jaxcollapse._sweep import invalid, stages

Measure = str | Callable[[xr.Dataset], tuple[Any, Any]]

DEPTH, LINEAGE = "depth", "lineage"


class Field(NamedTuple):
    """What has been measured: mean and s.e. at each of these places, ascending."""

    places: Int[np.ndarray, " P"]
    mean: Float[np.ndarray, " P"]
    se: Float[np.ndarray, " P"]


def refine(
    experiment: _plan.Experiment,
    *,
    key,
    measure: Measure,
    resolution: SupportsFloat | Mapping[str, SupportsFloat],
    level: SupportsFloat = 0.5,
    store: Any = None,
    repeats: int = 1,
    max_repeats: int = 16,
    fresh: bool = False,
    confidence: SupportsFloat = 1.96,
    chunk: int | None = None,
    memory: int | str | None = None,
    common_random_numbers: bool = False,
    executor: _remote.Executor | None = None,
    **axes,
) -> xr.Dataset:
    """A sweep that spends its points where a measured quantity crosses `level`.

    It begins with the grid of the `axes`. A cell that the level set crosses, within `confidence` standard errors, is
    halved along every axis until its sides are at most `resolution`. Where a cell's interval is wider than the cell, no
    finer mesh would help: if the mean itself crosses the cell, its points get twice as many repeats, up to
    `max_repeats`, and if that does not do, the cell stays as it is.

    - `measure`: a function of a dataset along `point`, one row a repeat, that returns (mean, s.e.), shapes ` P`; or the
      name of a variable, for its mean and s.e. over `lineage`, at the last place of any other dimension. Over R repeats
      of a point the mean is that of their means and s.e.² = Σ s.e._r² / R². A point where it is NaN counts as one
      that nothing crosses.
    - `resolution`: the longest side of a cell at the level set, of all axes or a dict axis -> number; for an axis with
      a constant ratio, in the natural logarithm (0.1: steps of 10 %).
    - `repeats`: what every point begins with.
    - `fresh`: in the end every point gets as many new repeats as it has, and those alone are returned. They decided
      nothing, so means have no bias, at twice the cost.
    - `axes`: two or more, ascending, evenly spaced or with a constant ratio of neighbours. Values become floats.
    - `store`: a sweep's folder. What it holds is not computed again, so a refinement that was killed is gone on with
      by the same call, and ends in the same dataset, as it does with a finer `resolution` later.
    - others: `sweep`.

    Returns the raw results along `point`, with the axes, `repeat` and `depth` as coordinates: depth 0 is the grid, k
    what the k-th halving added. `interpolate` makes a full grid of it, for `phase.boundary`.

    Limits: what lies between the points of the grid unseen, as an island smaller than a cell, is not found. A point on
    the level set itself is taken to lie clearly off it in 5 % of the cases (at 1.96).

    Bias without `fresh`: which points get repeats depends on the draws that are kept. The rule sees the distance from
    the level and the s.e., not the side, so both sides are treated alike: a mean that is off by chance and far from the
    level keeps its first draws, one that is near by chance is drawn again. So means beside the level set are pushed
    away from it, in simulations by a seventh of the first draws' s.e.; on it that cancels, and the crossing moves by
    less than a tenth of its own s.e. even where the draws are exponential. But to look k times at a point and stop
    where it is off the level is to test k times: where noise limits the mesh, intervals hold the level set less often
    than they say, 92 % in place of 95 at k = 2 and 86 % at k = 4, if the point's own test alone decides.
    An s.e. from few lineages is often too small by chance, and its cell then gets too few repeats: have 16 or more.

    Errors: `ValueError` before anything is computed, for fewer than two axes or uneven ones, a measure that is no
    variable with two or more lineages, a resolution, confidence or number of repeats out of its range, and as `sweep`.
    """
    longest = sides(axes, resolution)
    finest = mesh(axes, longest)
    _check(level, confidence, repeats, max_repeats)
    counts = dict.fromkeys(finest.place(finest.every(0)).tolist(), repeats)
    cells = [finest.every(0, upto=1)] + [np.empty((0, len(axes)), int) for _ in range(max(finest.halvings))]
    with _folder(store) as folder:
        asked: dict[str, Any] = {"chunk": chunk, "memory": memory, "common_random_numbers": common_random_numbers}
        points = finest.coordinates(np.array(list(counts)))
        plan = _plan.plan(experiment, {}, key=key, points=points, store=folder, repeats=repeats, **asked)
        _check_variables(measure, axes, _program.trace(plan).variables)
        changed, kernel = True, None
        while changed:
            table, kernel = _run(plan, finest, counts, executor, kernel)
            field = _field(finest, table, measure)
            limits = float(level), float(confidence), repeats, max_repeats
            counts, changed = _decide(finest, cells, counts, field, *limits)
        if fresh:
            table, _ = _run(plan, finest, {place: 2 * count for place, count in counts.items()}, executor, kernel)
            table = table.isel({POINT: np.concatenate([np.arange(2 * k) >= k for _, k in sorted(counts.items())])})
    if message := invalid(table):
        warnings.warn(message, stacklevel=2)
    return table.assign_attrs(resolution=json.dumps(longest))


def interpolate(table: xr.Dataset, measure: Measure, along: str | None = None) -> xr.Dataset:
    """The finest grid of a refined sweep: `mean` and `se` at every point, and whether it was `measured`.

    Linear between the points of each mesh, from the coarsest to the finest (in the logarithm where an axis is even
    there): mean = W m, and, as the measured points are independent, covariance = W diag(s²) Wᵀ; with common random
    numbers they are not, and s.e. and covariance are those of a correlation of 1, |W| s and its products, from above.
    The error of the interpolation itself is in none: only along the level set is the grid fine. `along` an axis:
    `covariance` too, of the means in each slice; its last dimension is that axis again, its name with a _ after it.

        grid = jc.interpolate(table, "risk", along="growth")
        jc.phase.boundary(grid["mean"].values, grid.growth.values, axis=1, covariance=grid.covariance.values)

    Shapes: as many axes as `refine` was given, in that order. `measure`: as there, or another quantity of the run.
    Errors: `ValueError` for a dataset that is no result of `refine`, or not the whole of it, or an axis it lacks.
    """
    if "resolution" not in table.attrs or DEPTH not in table.coords or table[DEPTH].dims != (POINT,):
        raise ValueError("table: got a dataset that is not refined, expected what refine returned, along `point`")
    resolution = json.loads(table.attrs["resolution"])
    if along is not None and along not in resolution:
        raise ValueError(f"along: got {along!r}, expected one of {', '.join(resolution)}")
    coarse = {name: np.unique(table[name].values[table[DEPTH].values == 0]) for name in resolution}
    finest = mesh(coarse, resolution)
    field = _field(finest, table, measure)
    if not np.isin(finest.place(finest.every(0)), field.places).all():
        raise ValueError("table: got some of the points of a refinement, expected all of them")
    weights = interpolation(finest, np.stack(np.unravel_index(field.places, finest.shape), -1))
    # Root of the covariance: its rows times one another. With a correlation of 1 one column is all of it.
    shared = bool(table.attrs.get("common_random_numbers"))
    spread = sparse.csr_array(field.se[:, None] if shared else sparse.diags_array(field.se))
    root = sparse.csr_array(weights @ spread)
    grids = {"mean": weights @ field.mean, "se": np.sqrt(root.power(2).sum(1))}
    grids["measured"] = np.isin(np.arange(math.prod(finest.shape)), field.places)
    axes = list(finest.values)
    found = xr.Dataset({name: (axes, grid.reshape(finest.shape)) for name, grid in grids.items()}, dict(finest.values))
    if along is None:
        return found
    rows = np.moveaxis(np.arange(math.prod(finest.shape)).reshape(finest.shape), axes.index(along), -1)
    slices = (sparse.csr_array(root[row]) for row in rows.reshape(-1, rows.shape[-1]))
    products = [sparse.csr_array(part @ part.T).toarray() for part in slices]
    others = [name for name in axes if name != along]
    covariance = np.array(products).reshape(*rows.shape, rows.shape[-1])
    return found.assign(covariance=([*others, along, f"{along}_"], covariance))


def _decide(
    mesh: Mesh, cells: list[np.ndarray], counts: dict[int, int], field: Field, level, confidence, repeats, max_repeats
) -> tuple[dict[int, int], bool]:
    """Halves cells, in place, and says how many repeats every point should have, and whether anything changed."""
    more, changed = dict(counts), False
    for depth in reversed(range(len(cells))):  # from the finest on, so that no cell is halved twice in a round
        finer = int(depth + 1 < len(cells))
        nodes = mesh.place(cells[depth][:, None] + mesh.box(depth, finer))
        crossed, within, wide = _judge(field, nodes, level, confidence)
        halved, noisy = crossed & ~wide & bool(finer), within & wide
        for place in np.intersect1d(nodes[noisy], field.places).tolist():
            more[place] = min(2 * counts[place], max_repeats)
        for place in np.unique(nodes[halved]).tolist():
            more.setdefault(place, repeats)
        if halved.any():
            # All lower corners of the halves, one cell after the other.
            lower = mesh.box(depth, 1)
            lower = lower[(lower < mesh.stride(depth)).all(-1)]
            halves = (cells[depth][halved][:, None] + lower).reshape(-1, lower.shape[-1])
            cells[depth + 1] = np.concatenate([cells[depth + 1], halves])
            cells[depth] = cells[depth][~halved]
            changed = True
    return more, changed or more != counts


def _judge(
    field: Field, nodes: Int[np.ndarray, "c q"], level: float, confidence: float
) -> tuple[Bool[np.ndarray, " c"], Bool[np.ndarray, " c"], Bool[np.ndarray, " c"]]:
    """Of every cell: crossed within the interval, crossed by the mean, its interval wider than itself.

    Of the nodes those count that have been measured: the corners, and what finer neighbours have on the sides.
    """
    row = np.minimum(np.searchsorted(field.places, nodes), len(field.places) - 1)
    known = field.places[row] == nodes
    mean, se = field.mean[row], field.se[row]

    def spans(reach: np.ndarray) -> np.ndarray:  # false where something is NaN
        low, high = np.where(known, mean - reach, np.inf), np.where(known, mean + reach, -np.inf)
        return (low.min(-1) < level) & (level < high.max(-1))

    count = known.sum(-1)
    noise = np.where(known, se**2, 0).sum(-1) / count
    center = np.where(known, mean, 0).sum(-1) / count
    spread = np.where(known, (mean - center[:, None]) ** 2, 0).sum(-1) / count
    wide = confidence**2 * noise > 4 * (spread - (1 - 1 / count) * noise)
    return spans(confidence * se), spans(np.zeros_like(se)), wide


def _run(
    plan: _plan.Plan, mesh: Mesh, counts: dict[int, int], executor, kernel: _program.Kernel | None
) -> tuple[xr.Dataset, _program.Kernel | None]:
    """The sweep of all these points, of which those that are new are computed, as a list; and its program."""
    places = np.array(sorted(counts))
    sizes = np.array([counts[place] for place in places.tolist()])
    repeat = np.concatenate([np.arange(size) for size in sizes])
    rows = np.repeat(places, sizes)
    *_, last = stages(plan._replace(columns={REPEAT: repeat, **mesh.coordinates(rows)}), executor, kernel=kernel)
    table = last.table
    assert table is not None
    if POINT not in table.dims:  # a product, folded to a grid: unfolded in the same order
        kept = [name for name in (*mesh.values, REPEAT) if name in table.dims]
        table = table.stack({POINT: kept}, create_index=False).transpose(POINT, ...)
    found = {REPEAT: (POINT, repeat), DEPTH: (POINT, mesh.depth(rows), {"long_name": "halvings"})}
    return table.assign_coords(found), last.kernel


def _field(mesh: Mesh, table: xr.Dataset, measure: Measure) -> Field:
    """Mean and s.e. at every place, over its repeats."""
    index = [np.searchsorted(values, table[name].values) for name, values in mesh.values.items()]
    places, row = np.unique(np.ravel_multi_index(index, mesh.shape), return_inverse=True)
    mean, se = measure(table) if callable(measure) else _over_lineages(table, measure)
    mean, se = np.asarray(mean, float), np.asarray(se, float)
    if not mean.shape == se.shape == row.shape or (se < 0).any():
        raise ValueError(
            f"measure: got mean and s.e. of shapes {mean.shape} and {se.shape}, expected {row.shape}, s.e. >= 0"
        )
    repeats = np.bincount(row)
    return Field(places, np.bincount(row, mean) / repeats, np.sqrt(np.bincount(row, se**2)) / repeats)


def _over_lineages(table: xr.Dataset, name: str) -> tuple[np.ndarray, np.ndarray]:
    if name not in table or LINEAGE not in table[name].dims:
        raise ValueError(f"measure: got {name!r}, expected a variable with the dimension {LINEAGE}")
    others = [dim for dim in table[name].dims if dim not in (POINT, LINEAGE)]
    return mean_and_se(table[name].isel(dict.fromkeys(others, -1)).transpose(POINT, LINEAGE).values, -1)


@contextlib.contextmanager
def _folder(store: Any) -> Iterator[Any]:
    """Where the sweep is kept between rounds."""
    if store is not None:
        yield store
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "sweep"


def _check(level: Any, confidence: Any, repeats: Any, max_repeats: Any) -> None:
    if not (isinstance(level, SupportsFloat) and math.isfinite(level)):
        raise ValueError(f"level: got {level!r}, expected a finite number; try level=0.5")
    if not (isinstance(confidence, SupportsFloat) and 0 <= float(confidence) < math.inf):
        raise ValueError(f"confidence: got {confidence!r}, expected a number of standard errors; try confidence=1.96")
    for name, value in (("repeats", repeats), ("max_repeats", max_repeats)):
        _plan._count(name, value)
    if max_repeats < repeats:
        raise ValueError(f"max_repeats: got {max_repeats}, expected at least repeats={repeats}")


def _check_variables(measure: Any, axes: Mapping[str, Any], variables: Mapping[str, Any]) -> None:
    """What can be known of the measure once the experiment has been traced."""
    if DEPTH in (*axes, *variables):
        raise ValueError(f"{DEPTH}: got an axis or a variable of this name, which the result uses; try another")
    if callable(measure):
        return
    lineages = {name: dict(zip(v.dims, v.shape, strict=True)).get(LINEAGE, 0) for name, v in variables.items()}
    if not isinstance(measure, str) or lineages.get(measure, 0) < 2:
        known = ", ".join(name for name, size in lineages.items() if size > 1) or "none"
        raise ValueError(
            f"measure: got {measure!r}, expected a variable with two or more along {LINEAGE} (here: {known}), or a "
            "function of the dataset that returns (mean, s.e.)"
        )
