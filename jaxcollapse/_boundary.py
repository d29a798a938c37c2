"""Where the simulated risk crosses a level along one axis of a grid, with its uncertainty.

    root: logit r̂(b) = logit level, linear between grid points;    interval: {b : |r̂(b) − level| ≤ z s.e.(b)}

NumPy in, NumPy out. Source: Fieller's quadratic (1954), segment by segment.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num
from scipy import special, stats

# A mean of 0, or of 1 and above (the risk's, not the diversity's, can be), enters a logit as this far from the edge.
EDGE = 1e-4


class Boundary(NamedTuple):
    """Per slice: root, pointwise interval, simultaneous band (∓inf: open at the grid's edge), numbers of crossings and
    of pieces of the pointwise set (its hull is given), interpolation bias."""

    root: Float[np.ndarray, "*s"]
    low: Float[np.ndarray, "*s"]
    high: Float[np.ndarray, "*s"]
    band_low: Float[np.ndarray, "*s"]
    band_high: Float[np.ndarray, "*s"]
    crossings: Int[np.ndarray, "*s"]
    pieces: Int[np.ndarray, "*s"]
    bias: Float[np.ndarray, "*s"] | None


def boundary(
    risk: Num[np.ndarray, "..."],
    values: Num[np.ndarray, " N"],
    *,
    level: float = 0.5,
    axis: int = -1,
    se: Num[np.ndarray, "..."] | None = None,
    exact: Num[np.ndarray, "..."] | None = None,
    exact_root: Num[np.ndarray, "..."] | None = None,
    confidence: float = 0.95,
) -> Boundary:
    """Where r̂ crosses `level` along one grid axis with the increasing coordinates `values`, for every slice.

    Root: of logit r̂(b) − logit level, linear between neighbours b; with noise there may be several crossings, and
    the middle one is taken; NaN where their number is even (the ends of the slice lie on one side).
    Interval: {b : |r̂(b) − level| ≤ z s.e.(b)}, exactly so at the grid's points; in between the s.e. is that of the
    interpolation between independent points, √((1−u)² s₀² + u² s₁²). NaN where empty. Band: the same with Šidák's z, so
    that it holds for all slices at once. Bias: root of the `exact` curve by this interpolation minus its `exact_root`.

    Shapes: `*g L` per lineage, or means `*g` beside `se=` (exact, if theory has it); `axis` counts in `*g`.
    """
    values = np.asarray(values, float)
    mean, spread = mean_and_se(risk, -1) if se is None else (np.asarray(risk, float), np.asarray(se, float))
    if spread.shape != mean.shape or values.shape != mean.shape[axis : axis + 1 or None]:
        raise ValueError(
            f"values: got shape {values.shape} and se {spread.shape} for a grid {mean.shape}, expected the length of "
            f"axis {axis} and the grid's shape; try axis=, or se= where risk holds means without lineages"
        )
    if len(values) < 2 or np.any(np.diff(values) <= 0):
        raise ValueError(f"values: got {values}, expected at least two, increasing")
    if (exact is None) != (exact_root is None):
        raise ValueError("exact: got one of exact and exact_root, expected both or neither")
    gap, gap_se = (np.moveaxis(x, axis, -1) for x in _logit_gap(mean, spread, level))
    root, crossings = _middle_root(gap, values)
    tail = (1 - confidence) / 2, (1 - confidence ** (1 / max(root.size, 1))) / 2
    (low, high, pieces), (band_low, band_high, _) = (
        _fieller(gap, gap_se, values, root, float(stats.norm.isf(p))) for p in tail
    )
    bias = None
    if exact is not None:
        curve, _ = _logit_gap(np.asarray(exact, float), np.zeros(np.shape(exact)), level)
        bias = _middle_root(np.moveaxis(curve, axis, -1), values)[0] - exact_root
    return Boundary(root, low, high, band_low, band_high, crossings, pieces, bias)


def mean_and_se(x: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    lineages = count_lineages(x, axis)
    return np.mean(x, axis, dtype=float), np.std(x, axis, dtype=float, ddof=1) / np.sqrt(lineages)


def count_lineages(x: np.ndarray, axis: int) -> int:
    if np.ndim(x) < -axis or np.shape(x)[axis] < 2:
        raise ValueError(
            f"risk: got shape {np.shape(x)}, expected at least 2 lineages on axis {axis}; a standard error is one over "
            "lineages (exact curves: noise_free=True in describe and exponent, se= in boundary)"
        )
    return np.shape(x)[axis]


def _logit_gap(mean: np.ndarray, se: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """logit r̂ − logit level and its s.e., scaled so that |gap| ≤ z s.e. iff |r̂ − level| ≤ z s.e. of r̂."""
    if not 0 < level < 1:
        raise ValueError(f"level: got {level}, expected a relative risk between 0 and 1; try level=0.5")
    r = np.where(mean <= 0, EDGE, np.where(mean >= 1, 1 - EDGE, mean))
    gap, distance = special.logit(r) - special.logit(level), r - level
    secant = np.where(distance == 0, 1.0, gap) / np.where(distance == 0, level * (1 - level), distance)
    return gap, se * secant


def _middle_root(gap: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The middle one of an odd number of sign changes (NaN if even), and their number."""
    before, after = gap[..., :-1], gap[..., 1:]
    crosses = (before > 0) != (after > 0)
    count = crosses.sum(-1)
    share = before / np.where(crosses, before - after, 1.0)
    places = values[:-1] + share * np.diff(values)
    middle = np.argmax(np.cumsum(crosses, -1) == (count // 2 + 1)[..., None], -1)
    root = np.take_along_axis(places, middle[..., None], -1)[..., 0]
    return np.where((count % 2 == 1) & ~np.isnan(gap).any(-1), root, np.nan), np.asarray(count)


def _fieller(gap, gap_se, values, root, z):
    """Hull and number of pieces of {(d₀ + u (d₁ − d₀))² ≤ z² ((1 − u)² s₀² + u² s₁²)}, segment by segment.

    The interpolated s.e. dips between grid points: the gap that it may leave between two members is none.
    """
    member = np.abs(gap) <= z * gap_se
    d0, step, v0, v1 = gap[..., :-1], np.diff(gap), (z * gap_se[..., :-1]) ** 2, (z * gap_se[..., 1:]) ** 2
    a, b, c = step**2 - v0 - v1, 2 * (d0 * step + v0), d0**2 - v0
    crosses = (d0 > 0) != (gap[..., 1:] > 0)
    discriminant = b**2 - 4 * a * c
    discriminant = np.where(crosses, np.maximum(discriminant, 0), discriminant)  # the root itself is in the set
    with np.errstate(divide="ignore", invalid="ignore"):
        q = -(b + np.copysign(np.sqrt(discriminant), b)) / 2
        share = np.stack([q / a, c / q], -1)
        places = (values[:-1, None] + share * np.diff(values)[:, None]).reshape(*gap.shape[:-1], -1)
        both = member[..., :-1] & member[..., 1:]
        valid = ((share > 0) & (share < 1) & ~both[..., None]).reshape(places.shape)
    first, last, unknown = member[..., 0], member[..., -1], np.isnan(gap + gap_se).any(-1)
    low = np.where(first, -np.inf, np.where(valid, places, np.inf).min(-1))
    high = np.where(last, np.inf, np.where(valid, places, -np.inf).max(-1))
    found = ~unknown & (valid.any(-1) | first | last)
    alone = ~unknown & ~found & np.isfinite(root)  # without noise: a root on a grid point
    pieces = np.where(found, (valid.sum(-1) + first + last + 1) // 2, alone)
    return *(np.where(alone, root, np.where(found, end, np.nan)) for end in (low, high)), pieces
