"""What a finite run shows: NumPy in, NumPy out.

    s_r = d ln r / d ln t,   s_g = d ln g / d ln t,   g = 1 − r        local exponents over a late window
    r̂(b) = level                                                       boundary along an axis b, with intervals

r is the risk relative to 1 − ‖p*‖² and g the diversity E H / H*; E r + E g = 1, but not lineage by lineage. Lineages
are independent, generations of one lineage are not: every standard error here is one over lineages. A run of T
generations knows nothing of T → ∞, so nothing here names an asymptotic phase; `theory.phase` does.

Arrays: `*g` grid, `L` lineages, `T` recorded generations with values `generation`. A NaN lineage makes its cell NaN.
Source: the delta method over lineages; Chernoff's bound for [0, 1] variables (Hoeffding 1963).
"""

from typing import NamedTuple, SupportsFloat

import numpy as np
from jaxtyping import Bool, Float, Num, Shaped
from scipy import stats

from jaxcollapse._boundary import Boundary, boundary, count_lineages, mean_and_se

__all__ = ["Boundary", "CollapseTime", "Description", "Estimate", "Exponents", "Interval"]
__all__ += ["boundary", "collapse_time", "describe", "estimate", "exponent"]

# Fewer lineages' worth of diversity than this at some generation, and a slope of its logarithm has no fair interval.
SCARCE = 5.0


class Estimate(NamedTuple):
    """Over lineages: mean and its s.e., median, quantiles (leading axis), P(r > ε) and its Clopper–Pearson interval."""

    mean: Float[np.ndarray, "*g"]
    se: Float[np.ndarray, "*g"]
    median: Float[np.ndarray, "*g"]
    quantiles: Float[np.ndarray, "q *g"]
    exceedance: Float[np.ndarray, "*g"]
    exceedance_low: Float[np.ndarray, "*g"]
    exceedance_high: Float[np.ndarray, "*g"]


class Interval(NamedTuple):
    """An estimate between its limits."""

    value: Float[np.ndarray, "*g"]
    low: Float[np.ndarray, "*g"]
    high: Float[np.ndarray, "*g"]


class Exponents(NamedTuple):
    """s_r and s_g with intervals; `scarce` where s_g is the chord from the first generation, known from above only."""

    risk: Interval
    diversity: Interval
    scarce: Bool[np.ndarray, "*g"]
    window: tuple[float, float]


class Description(NamedTuple):
    """What the run shows (`label`), on which evidence, at which horizon T; W_T as it was given."""

    label: Shaped[np.ndarray, "*g"]
    risk: Interval
    diversity: Interval
    scarce: Bool[np.ndarray, "*g"]
    memory_weight: Float[np.ndarray, "*g"] | None
    horizon: float
    window: tuple[float, float]


class CollapseTime(NamedTuple):
    """First passage per lineage (inf: not within the run), its median and quantiles, the share that got there."""

    time: Float[np.ndarray, "*g L"]
    median: Float[np.ndarray, "*g"]
    quantiles: Float[np.ndarray, "q *g"]
    reached: Float[np.ndarray, "*g"]


def estimate(
    risk: Num[np.ndarray, "..."],
    *,
    eps: float = 0.5,
    quantiles: tuple[float, ...] = (0.05, 0.95),
    se: Num[np.ndarray, "..."] | None = None,
    axis: int = -1,
    confidence: float = 0.95,
) -> Estimate:
    """Mean, median, quantiles and P(r > eps) over lineages, the axis `axis` (−2 for `*g L T`).

    `se` is the exact standard error of the mean, where theory has one: near collapse the sample's can be 0.
    """
    lineages = count_lineages(risk, axis)
    mean, sample_se = mean_and_se(risk, axis)
    above = np.sum(risk > eps, axis=axis)
    tail = (1 - confidence) / 2
    low = np.where(above > 0, stats.beta.ppf(tail, above, lineages - above + 1), 0.0)
    high = np.where(above < lineages, stats.beta.isf(tail, above + 1, lineages - above), 1.0)
    median, *rest = np.quantile(risk, (0.5, *quantiles), axis=axis)
    known = np.where(np.isnan(mean), np.nan, 1.0)
    exact_se = sample_se if se is None else np.broadcast_to(np.asarray(se, float), mean.shape)
    return Estimate(mean, exact_se, median, np.array(rest), known * above / lineages, known * low, known * high)


def exponent(
    risk: Num[np.ndarray, "..."],
    generation: Num[np.ndarray, " T"],
    window: tuple[SupportsFloat, SupportsFloat] | None = None,
    *,
    diversity: Num[np.ndarray, "..."] | None = None,
    confidence: float = 0.95,
    noise_free: bool = False,
) -> Exponents:
    """Local exponents s_r, s_g: least-squares slopes of ln(mean over lineages) on ln t, with intervals.

    s = Σ_t w_t ln m_t with m_t the mean of x_{l,t}; by the delta method s.e. = sd_l(Σ_t w_t x_{l,t} / m_t) / √L, the
    covariance between generations included, with Student's quantile at L − 1.

    Shapes `*g L T` and ` T`; `noise_free=True` takes exact curves `*g T`, intervals of width 0. `window` is the
    range of t, by default its last decade. Pass `diversity` (H_l / H*) where it was recorded: 1 − risk has the same
    mean but, near collapse, all the noise of the risk. Where some generation of the window holds fewer than 5
    lineages' worth of diversity, s_g is the chord from the first recorded generation to the window's mean, its upper
    limit from Chernoff's bound for bounded variables (no variance to estimate), its lower limit −inf.
    A mean of 0 gives NaN.
    """
    t, inside, span = _window(generation, window)
    _same_length("risk", risk, t)
    other = 1 - risk if diversity is None else diversity
    if np.shape(other) != np.shape(risk):
        raise ValueError(f"diversity: got shape {np.shape(other)}, expected that of risk, {np.shape(risk)}")
    if noise_free:
        scarce = np.zeros(risk.shape[:-1], bool)
        slope_risk, slope_diversity = (_slope(x[..., None, inside], t[inside], 0.0) for x in (risk, other))
        return Exponents(slope_risk, slope_diversity, scarce, span)
    lineages = count_lineages(risk, -2)
    quantile = float(stats.t.isf((1 - confidence) / 2, lineages - 1))
    slope_risk, slope_diversity = (_slope(x[..., inside], t[inside], quantile) for x in (risk, other))
    with np.errstate(invalid="ignore"):
        scarce = lineages * np.mean(other[..., inside], axis=-2, dtype=float).min(-1) < SCARCE
    chord = _chord(other, t, inside, confidence)
    slope_diversity = Interval(*(np.where(scarce, c, s) for c, s in zip(chord, slope_diversity, strict=True)))
    return Exponents(slope_risk, slope_diversity, scarce, span)


def describe(
    risk: Num[np.ndarray, "..."],
    generation: Num[np.ndarray, " T"],
    *,
    memory_weight: Num[np.ndarray, "..."] | None = None,
    tolerance: float = 0.1,
    window: tuple[SupportsFloat, SupportsFloat] | None = None,
    diversity: Num[np.ndarray, "..."] | None = None,
    confidence: float = 0.95,
    noise_free: bool = False,
) -> Description:
    """What the run shows: "risk falling", "stationary", "diversity falling" or "undetermined".

    Falling: the exponent's interval lies below −tolerance. Stationary: both intervals lie within ±tolerance.
    Undetermined: else, a rise of a risk that is still small included. So a label is wrong, at the horizon of the run,
    in at most (1 − confidence) / 2 of the cells on the tolerance's edge. Read it with `memory_weight`, W_T = Π φ_t
    (returned as given): a stationary cell that still remembers its start, W_T not ≪ 1, has not been forced to a level.

    Other arguments and shapes: `exponent`.
    """
    if not tolerance > 0:
        raise ValueError(f"tolerance: got {tolerance}, expected a positive slope; try tolerance=0.1")
    slopes = exponent(risk, generation, window, diversity=diversity, confidence=confidence, noise_free=noise_free)
    still = [(s.low >= -tolerance) & (s.high <= tolerance) for s in (slopes.risk, slopes.diversity)]
    label = np.select(
        [slopes.risk.high < -tolerance, slopes.diversity.high < -tolerance, still[0] & still[1]],
        ["risk falling", "diversity falling", "stationary"],
        "undetermined",
    )
    weight = None if memory_weight is None else np.broadcast_to(np.asarray(memory_weight, float), label.shape)
    return Description(label, *slopes[:3], weight, float(np.max(generation)), slopes.window)


def collapse_time(
    series: Num[np.ndarray, "*g L T"],
    generation: Num[np.ndarray, " T"],
    *,
    level: float | None = None,
    delta: float | None = None,
    quantiles: tuple[float, ...] = (0.05, 0.95),
) -> CollapseTime:
    """First recorded t with risk ≥ level, or, for a series of diversities, with diversity ≤ delta, lineage by lineage.

    Shapes `*g L T` and ` T`. Give one of `level` and `delta`. Never within the run is inf, and quantiles are order
    statistics (the lower one), so a median of inf says that fewer than half of the lineages got there.
    """
    if (level is None) == (delta is None):
        raise ValueError(f"level: got level={level} and delta={delta}, expected one; try level=0.5 on the risk")
    count_lineages(series, -2)
    t = np.asarray(generation, float)
    _same_length("series", series, t)
    hit = series >= level if level is not None else series <= delta
    time = np.where(hit.any(-1), t[hit.argmax(-1)], np.inf)
    time = np.where(np.isnan(series).any(-1), np.nan, time)
    median, *rest = np.quantile(time, (0.5, *quantiles), axis=-1, method="inverted_cdf")
    reached = np.where(np.isnan(time).any(-1), np.nan, np.isfinite(time).mean(-1))
    return CollapseTime(time, median, np.array(rest), reached)


def _slope(x: np.ndarray, t: np.ndarray, quantile: float) -> Interval:
    """Least-squares slope of ln(mean over the axis −2) on ln t, and its delta-method interval."""
    weight = np.log(t) - np.log(t).mean()
    weight /= (weight**2).sum()
    mean = np.mean(x, axis=-2, dtype=float)
    mean = np.where(mean > 0, mean, np.nan)
    value = np.log(mean) @ weight
    influence = np.einsum("...lt,...t->...l", x, weight / mean)  # averages to Σ_t w_t = 0
    half = quantile * np.sqrt((influence**2).sum(-1) / max(x.shape[-2] - 1, 1) / x.shape[-2])
    return Interval(value, value - half, value + half)


def _chord(g: np.ndarray, t: np.ndarray, inside: np.ndarray, confidence: float) -> Interval:
    """Slope from (t_0, g_0) to the window's mean, from above: g_window ≤ U(g_window), g_0 ≥ 1 − U(1 − g_0)."""
    lineages, tail = g.shape[-2], (1 - confidence) / 4
    top = np.maximum(g.max((-2, -1)), 1.0)  # H_l may exceed H*
    late, early = g[..., inside].mean((-2, -1), dtype=float) / top, g[..., 0].mean(-1, dtype=float) / top
    run = np.log(t[inside]).mean() - np.log(t[0])

    def upper(x):  # kl(x, u) ≥ (u − x)² / 2u, and P(mean ≤ x) ≤ exp(−L kl(x, u))
        c = -np.log(tail) / lineages
        return x + c + np.sqrt(c**2 + 2 * c * x)

    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.log(late / early) / run
        high = np.log(upper(late) / np.maximum(1 - upper(1 - early), 0)) / run
    # Where 1 − risk stands for the diversity it goes below 0, and the bound does not apply.
    proper = (g.min((-2, -1)) >= 0) & (run > 0)
    return Interval(*(np.where(proper, x, np.nan) for x in (value, np.full_like(value, -np.inf), high)))


def _same_length(name: str, x: np.ndarray, t: np.ndarray) -> None:
    if np.shape(x)[-1:] != t.shape:
        raise ValueError(f"generation: got {t.shape}, expected the last axis of {name}, {np.shape(x)}")


def _window(generation, window):
    """Generations as floats, those inside the window, and the window."""
    t = np.asarray(generation, float)
    if t.ndim != 1 or np.any(t <= 0) or np.any(np.diff(t) <= 0):
        raise ValueError(f"generation: got {generation}, expected increasing values from 1 on; leave t = 0 out")
    low, high = (t[-1] / 10, t[-1]) if window is None else (float(window[0]), float(window[1]))
    inside = (t >= low) & (t <= high)
    if inside.sum() < 2:
        raise ValueError(f"window: got {(low, high)}, holding {inside.sum()} of the generations, expected 2 or more")
    return t, inside, (low, high)
