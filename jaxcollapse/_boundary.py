"""Where the simulated risk crosses a level along one axis of a grid, with its uncertainty.

    d(b) = logit r̂(b) − logit level               with the covariance of r̂ at the grid's points, scaled alike
    precise: d linear between neighbours          noisy: d a parabola, fitted to the points that may be the boundary,
                                                  by least squares of r̂(b) − expit(d(b) + logit level)
    root: d = 0;    interval: {b : d(b)² ≤ z² Var d(b)}

Each b is in {b : |r̂(b) − level| ≤ z s.e.(b)} as often as it should be. Where noise lets several points in, each by its
own chance, the set falls apart, and the hull of its pieces covers too often: 98 % instead of 95 in the atlas. A curve
through those points has no such fault: it crosses the level once, so its set is one piece, and about half as wide.
It is fitted to r̂, not to its logit: where a mean comes near 1, or above it, as squared errors do, noise of no weight
would be much. Nor is it weighted by the points' s.e.: those of skewed draws are small where the mean is.

NumPy in, NumPy out. Source: Fieller's quadratic (1954).
"""

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Num
from scipy import optimize, special, stats

# A mean of 0, or of 1 and above (the risk's, not the diversity's, can be), enters a logit as this far from the edge.
EDGE = 1e-4
# A curve is refused where residuals would be as large as its own in so few cases.
MISFIT = 0.01
# It is fitted to so many times the points that may be the boundary, as many more on either side: where those end is
# chosen by the noise, and a curve through the chosen ends alone is too steep.
WIDER = 3
FINE = 16  # steps a cell, in which the ends of its interval are looked for


class Boundary(NamedTuple):
    """Per slice: root, pointwise interval, simultaneous band (∓inf: open at the grid's edge), numbers of crossings and
    of pieces of {b : |r̂(b) − level| ≤ z s.e.(b)}, interpolation bias."""

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
    covariance: Num[np.ndarray, "..."] | None = None,
    exact: Num[np.ndarray, "..."] | None = None,
    exact_root: Num[np.ndarray, "..."] | None = None,
    confidence: float = 0.95,
) -> Boundary:
    """Where r̂ crosses `level` along one grid axis with the increasing coordinates `values`, for every slice.

    Root: of logit r̂(b) − logit level, linear between neighbours b; with noise there may be several crossings, and
    the middle one is taken; NaN where their number is even (the ends of the slice lie on one side).
    Window: from the root to the nearest points on both sides that are clearly off the level, by Šidák's z for as many
    tests as the slice has points, or to the grid's end.
    Interval: where the window is one cell, or no parabola fits, the hull of {b : |r̂(b) − level| ≤ z s.e.(b)} in it,
    exactly so at the grid's points; in between the s.e. is that of the interpolation. Else root and interval are those
    of a parabola, by least squares through the window made three times as wide; a straight line's bias would be as
    large as its s.e. ∓inf where an end reaches the grid's; NaN where empty. Without a root: the hull over the slice.
    Band: the same with Šidák's z, so that it holds for all slices at once. Bias: root of the `exact` curve by
    interpolation between neighbours minus its `exact_root`.

    Shapes: `*g L` per lineage, or means `*g` beside `se=` (exact, if theory has it); `axis` counts in `*g`. Instead of
    `se`, `covariance`: `*s N N`, the axis moved to the end and doubled, of means that are not independent along it.
    """
    values, risk = np.asarray(values, float), np.asarray(risk)
    if covariance is not None:
        mean, spread = np.asarray(risk, float), np.asarray(covariance, float)
        expected = np.moveaxis(mean, axis, -1).shape + mean.shape[axis : axis + 1 or None]
    else:
        mean, spread = mean_and_se(risk, -1) if se is None else (np.asarray(risk, float), np.asarray(se, float))
        expected = mean.shape
    if spread.shape != expected or values.shape != mean.shape[axis : axis + 1 or None]:
        raise ValueError(
            f"values: got shape {values.shape} and s.e. or covariance {spread.shape} for a grid {mean.shape}, expected "
            f"the length of axis {axis} and {expected}; try axis=, or se= where risk holds means without lineages"
        )
    if len(values) < 2 or np.any(np.diff(values) <= 0):
        raise ValueError(f"values: got {values}, expected at least two, increasing")
    if (exact is None) != (exact_root is None):
        raise ValueError("exact: got one of exact and exact_root, expected both or neither")
    if not 0 < level < 1:
        raise ValueError(f"level: got {level}, expected a relative risk between 0 and 1; try level=0.5")
    mean = np.moveaxis(mean, axis, -1)
    spread = np.moveaxis(spread, axis, -1) if covariance is None else spread
    shape = mean.shape[:-1]
    count = max(mean[..., 0].size, 1)
    tails = np.array([1 - confidence, 1 - confidence ** (1 / count), 1 - confidence ** (1 / len(values))]) / 2
    rows = zip(mean.reshape(-1, len(values)), spread.reshape(count, -1), strict=True)
    z, z_band, z_clear = stats.norm.isf(tails).tolist()
    found = [_slice(r, x, values, level, z, z_band, z_clear) for r, x in rows]
    root, *ends, crossings, pieces = (np.array(column).reshape(shape) for column in zip(*found, strict=True))
    low, high, band_low, band_high = ends
    bias = None
    if exact is not None:
        curve, _ = _logit_gap(np.moveaxis(np.asarray(exact, float), axis, -1), level)
        bias = np.vectorize(lambda d: _middle_root(d, values)[0], signature="(n)->()")(curve) - exact_root
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


def _logit_gap(mean: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """d = logit r̂ − logit level, and the secant d / (r̂ − level), a scale for the s.e. of r̂ with which |d| ≤ z s.e.
    iff |r̂ − level| ≤ z s.e. of r̂."""
    r = np.where(mean <= 0, EDGE, np.where(mean >= 1, 1 - EDGE, mean))
    gap, distance, slope = special.logit(r) - special.logit(level), r - level, 1 / np.maximum(r * (1 - r), 1e-30)
    return gap, np.where(distance == 0, slope, gap) / np.where(distance == 0, 1.0, distance)


def _slice(mean, spread, values, level, z, z_band, z_clear):
    """(root, low, high, band_low, band_high, crossings, pieces) of one slice; N s.e. or N² covariances of r̂."""
    gap, secant = _logit_gap(mean, level)
    root, crossings = _middle_root(gap, values)
    if np.isnan(gap).any() or np.isnan(spread).any():
        return root, *[np.nan] * 4, crossings, 0
    cov = np.diag(spread**2) if spread.size == gap.size else spread.reshape(gap.size, gap.size)
    scaled = secant[:, None] * cov * secant
    low, high, pieces = _hull(gap, scaled, values, root, z)
    if np.isnan(root):
        return root, low, high, *_hull(gap, scaled, values, root, z_band)[:2], crossings, pieces
    inside = _window(gap, scaled, values, root, z_clear)
    if curve := _curve(mean, cov, values, level, inside):
        return curve(0.0)[0], *curve(z), *curve(z_band), crossings, pieces
    found = []
    for quantile in (z, z_band):
        at = _window(gap, scaled, values, root, max(z_clear, quantile))
        found += _hull(gap[at], scaled[at, at], values[at], root, quantile)[:2]
    return root, *found, crossings, pieces


def _middle_root(gap: np.ndarray, values: np.ndarray) -> tuple[float, int]:
    """The middle one of an odd number of sign changes (NaN if even), and their number."""
    places = np.flatnonzero((gap[:-1] > 0) != (gap[1:] > 0))
    if len(places) % 2 == 0 or np.isnan(gap).any():
        return np.nan, len(places)
    i = places[len(places) // 2]
    return float(values[i] + gap[i] / (gap[i] - gap[i + 1]) * (values[i + 1] - values[i])), len(places)


def _window(gap, cov, values, root, z) -> slice:
    """From the root to the nearest points that are off the level by more than z s.e., or to the ends."""
    clear = np.flatnonzero(abs(gap) > z * np.sqrt(np.diag(cov)))
    before, after = clear[values[clear] < root], clear[values[clear] > root]
    return slice(before.max(initial=0), after.min(initial=len(gap) - 1) + 1)


def _curve(mean, cov, values, level, inside):
    """z -> the ends of {b : q(b)² ≤ z² Var q(b)} about the root of a parabola q, and z = 0: the root.

    q is the least-squares fit of expit(q + logit level) to r̂, its variance that of r̂ through the fit.
    None where nothing lies inside, no parabola fits, or it has no root that can be told from its turning point.
    """
    more = math.ceil((WIDER - 1) * (inside.stop - inside.start - 2) / 2)
    wide = slice(max(inside.start - more, 0), inside.stop + more)
    limits = -np.inf if wide.start == 0 else values[wide][0], np.inf if wide.stop >= len(values) else values[wide][-1]
    mean, cov, values = mean[wide], cov[wide, wide], values[wide]
    se, at = np.sqrt(np.diag(cov)), values.mean()
    if more <= 0 or len(mean) < 4 or not (se > 0).all():
        return None
    design = np.vander(values - at, 3)
    fitted = lambda c: special.expit(design @ c + special.logit(level))
    sensitivity = lambda c: design * (fitted(c) * (1 - fitted(c)))[:, None]
    start = np.linalg.pinv(design) @ np.clip(_logit_gap(mean, level)[0], -3, 3)
    jac: Any = sensitivity  # SciPy's types know its names alone
    c = optimize.least_squares(lambda c: fitted(c) - mean, start, jac, method="lm").x
    if np.sum(((mean - fitted(c)) / se) ** 2) > special.chdtri(len(mean) - 3, MISFIT):
        return None
    solve = np.linalg.pinv(sensitivity(c))
    v = solve @ cov @ solve.T
    fine = np.linspace(values[0], values[-1], 1 + FINE * (len(values) - 1))
    basis = np.vander(fine - at, 3)
    q = basis @ c
    score = q / np.sqrt(np.sum(basis @ v * basis, 1))
    roots = np.flatnonzero((q[:-1] > 0) != (q[1:] > 0))
    if len(roots) != 1:
        return None

    def ends(z):
        found = _crossing(fine, score, roots[0], -1, z), _crossing(fine, score, roots[0] + 1, 1, z)
        return [limit if end is None else end for limit, end in zip(limits, found, strict=True)]

    return ends


def _crossing(fine, score, start, step, z):
    """Where |score| first exceeds z on the way from the root; None where it does not."""
    beyond = np.flatnonzero(abs(score[start::step]) > z)
    if not len(beyond):
        return None
    i = start + step * beyond[0]
    inner, outer = i - step, score[i]
    share = (z * np.sign(outer) - score[inner]) / (outer - score[inner])
    return fine[inner] + share * (fine[i] - fine[inner])


def _hull(gap, cov, values, root, z):
    """Ends and number of pieces of {(d₀ + u (d₁ − d₀))² ≤ z² Var}, segment by segment.

    The interpolated s.e. dips between grid points: the gap that it may leave between two members is none.
    """
    variance = z**2 * np.diag(cov)
    member, shared = gap**2 <= variance, z**2 * np.diag(cov, 1)
    d0, step, v0, v1 = gap[:-1], np.diff(gap), variance[:-1], variance[1:]
    a, b, c = step**2 - v0 - v1 + 2 * shared, 2 * (d0 * step + v0 - shared), d0**2 - v0
    crosses = (d0 > 0) != (gap[1:] > 0)
    discriminant = b**2 - 4 * a * c
    discriminant = np.where(crosses, np.maximum(discriminant, 0), discriminant)  # the root itself is in the set
    with np.errstate(divide="ignore", invalid="ignore"):
        q = -(b + np.copysign(np.sqrt(discriminant), b)) / 2
        share = np.stack([q / a, c / q], -1)
        places = values[:-1, None] + share * np.diff(values)[:, None]
        valid = (share > 0) & (share < 1) & ~(member[:-1] & member[1:])[:, None]
    first, last = member[0], member[-1]
    if not (valid.any() or first or last):
        return (root, root, int(np.isfinite(root)))  # without noise: a root on a grid point, or none
    low = -np.inf if first else places[valid].min(initial=np.inf)
    high = np.inf if last else places[valid].max(initial=-np.inf)
    return low, high, (int(valid.sum()) + int(first) + int(last) + 1) // 2
