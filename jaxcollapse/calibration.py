"""Calibration: does what a model says with probability c happen with probability c?

    reliability         acc_b against conf_b, the mean accuracy and the mean confidence in bins b of confidence
    calibration error   Σ_b (n_b / n) |acc_b − conf_b|        (ECE)

A prediction is a law of the next token; what is compared with what came, or with the exact law where it is known, is
its most probable token (`top_token`), or every token (`each_token`). Pure functions of arrays; NaN in gives NaN out,
and so do tokens outside 0 … v − 1 and confidences or accuracies outside [0, 1] by more than 10⁻³, percentages say.
Sources: Naeini et al., AAAI 2015; Guo et al., arXiv 1706.04599; without bias: Kumar et al., arXiv 1909.10155.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy.special import gammaln, xlog1py, xlogy
from jaxtyping import Array, ArrayLike, Float, Int, Num

SLACK = 1e-3  # rounding that is forgiven at 0 and 1


class Reliability(NamedTuple):
    """A reliability diagram: in each of k bins the mean confidence, the mean accuracy (both NaN where it is empty), and
    its weight, the number of predictions."""

    confidence: Float[Array, " k"]
    accuracy: Float[Array, " k"]
    count: Float[Array, " k"]


def top_token(
    probs: Float[ArrayLike, "*b v"], truth: Num[ArrayLike, "..."]
) -> tuple[Float[Array, "*b"], Float[Array, "*b"]]:
    """Confidence and accuracy of the most probable token (the first one of a tie).

    probs   predictions `*b v`;     truth   the tokens that came `*b`, or their exact law `*b v`

    Confidence is its probability; accuracy 1 or 0 for tokens, for a law its true probability, without sampling noise.
    Error: `ValueError` for a truth of another shape.
    """
    probs, truth = each_token(probs, truth)
    best = jnp.argmax(probs, -1)[..., None]
    confidence, accuracy = (jnp.take_along_axis(x, best, -1)[..., 0] for x in (probs, truth))
    return confidence, jnp.where(jnp.isnan(truth).any(-1), jnp.nan, accuracy)


def each_token(
    probs: Float[ArrayLike, "*b v"], truth: Num[ArrayLike, "..."]
) -> tuple[Float[Array, "*b v"], Float[Array, "*b v"]]:
    """Confidence and accuracy of every token in every prediction: the full law, v pairs each; arguments as `top_token`.

    Most pairs are rare tokens: bins of equal width hold nearly all of them in the first, `jnp.geomspace` edges do not.
    """
    probs, truth = jnp.asarray(probs, float), jnp.asarray(truth)
    if not probs.ndim or truth.shape not in (probs.shape, probs.shape[:-1]):
        expected = f"tokens {probs.shape[:-1]} or laws {probs.shape}"
        raise ValueError(f"truth: got shape {truth.shape} for probs of shape {probs.shape}, expected {expected}")
    if truth.ndim < probs.ndim:
        tokens = truth.astype(int)
        known = (tokens >= 0) & (tokens < probs.shape[-1]) & (tokens.astype(truth.dtype) == truth)
        truth = jnp.where(known[..., None], jax.nn.one_hot(tokens, probs.shape[-1], dtype=float), jnp.nan)
    return probs, jnp.where(jnp.isnan(probs), jnp.nan, truth.astype(float))


def reliability(
    confidence: Float[ArrayLike, "*b"],
    accuracy: Float[ArrayLike, "..."],
    bins: int | Float[ArrayLike, " e"] = 15,
    weights: Float[ArrayLike, "..."] | None = None,
) -> Reliability:
    """The reliability diagram of predictions, all axes pooled.

    confidence   c in [0, 1];     accuracy   0 or 1, or a probability where that is known
    bins         k bins of equal width, or their k + 1 rising edges, the last of them 1; a bin holds its upper edge, the
                 first one also all that is below
    weights      how much each prediction counts, such as the law π of contexts; default: 1

    Error: `ValueError` for shapes that differ, fewer than one bin, other edges (traced ones give NaN).
    """
    return _diagram(*_pairs(confidence, accuracy, weights), bins)


def calibration_error(
    confidence: Float[ArrayLike, "*b"],
    accuracy: Float[ArrayLike, "*b"],
    bins: int | Float[ArrayLike, " e"] | None = 15,
    weights: Float[ArrayLike, "*b"] | None = None,
) -> Float[Array, ""]:
    """Expected calibration error, Σ_b (n_b / n) |acc_b − conf_b|, in [0, 1]; arguments as `reliability`.

    bins=None puts every prediction into a bin of its own: the exact error Σ w |a − c| / Σ w, for accuracies that are
    exact probabilities. Wider bins can only make it smaller, since errors of both signs cancel inside a bin.

    With accuracies of 0 and 1 it is biased upwards, at perfect calibration from 0 to `chance_calibration_error`, about
    √(2 c (1 − c) / (π n_b)) in every bin; `squared_calibration_error` has no such bias.
    """
    if bins is None:
        c, a, w = _pairs(confidence, accuracy, weights)
        return jnp.sum(w * jnp.abs(a - c)) / w.sum()
    found = reliability(confidence, accuracy, bins, weights)
    gap = jnp.where(found.count > 0, jnp.abs(found.accuracy - found.confidence), 0.0)
    return jnp.sum(found.count * gap) / found.count.sum()


def chance_calibration_error(
    confidence: Float[ArrayLike, "*b"], bins: int | Float[ArrayLike, " e"] = 15
) -> Float[Array, ""]:
    """The mean of `calibration_error` of a perfectly calibrated model, whose outcomes 0 or 1 have just these
    probabilities: what a measured error must be compared with.

    E |K/n − c| = 2 c (1 − c) P(K' = ⌊n c⌋),   K ~ Binomial(n, c),  K' ~ Binomial(n − 1, c)          (de Moivre)

    in every bin of n predictions with mean confidence c. Exact where the confidences of a bin are equal, else an upper
    bound (Hoeffding, 1956), which is close for narrow bins: variances differ by the spread of c within a bin.
    """
    confidence = jnp.asarray(confidence, float)
    c, _, n = reliability(confidence, confidence, bins)
    full = n > 0
    c, n = jnp.where(full, c, 0.5), jnp.where(full, n, 1.0)
    each = 2 * c * (1 - c) * jnp.exp(_log_binomial(jnp.clip(jnp.floor(n * c), 0, n - 1), n - 1, c))
    return jnp.sum(jnp.where(full, n * each, 0.0)) / confidence.size + 0.0 * confidence.sum()


def squared_calibration_error(
    confidence: Float[ArrayLike, "*b"], outcome: Float[ArrayLike, "*b"], bins: int | Float[ArrayLike, " e"] = 15
) -> Float[Array, ""]:
    """Σ_b (n_b / n) (acc_b − conf_b)² without bias: 0 on average at perfect calibration, so it may be negative.

    In each bin the square of the mean difference d is estimated by Σ_{i≠j} d_i d_j / (n_b (n_b − 1)). The mean is exact
    for independent predictions, whatever the outcomes; bins that hold fewer than two of them count nothing.
    """
    c, a, one = _pairs(confidence, outcome, None)
    d = a - c
    _, mean, n = _diagram(c, d, one, bins)
    _, square, _ = _diagram(c, d**2, one, bins)
    several = n > 1
    pairs = (n * mean**2 - square) / jnp.where(several, n - 1, 1.0)
    return jnp.sum(jnp.where(several, n * pairs, 0.0)) / c.size + 0.0 * d.sum()


def _pairs(
    confidence: Float[ArrayLike, "..."], accuracy: Float[ArrayLike, "..."], weights: Float[ArrayLike, "..."] | None
) -> tuple[Float[Array, "*b"], Float[Array, "*b"], Float[Array, "*b"]]:
    """Confidence and accuracy, NaN where one is no probability, and weights: of one shape, or `ValueError`."""
    c, a = (jnp.asarray(x, float) for x in (confidence, accuracy))
    w = jnp.ones(c.shape) if weights is None else jnp.asarray(weights, float)
    if not c.shape == a.shape == w.shape:
        raise ValueError(f"accuracy: got shapes {c.shape}, {a.shape} and {w.shape}, expected one for each confidence")
    c, a = (jnp.where(jnp.abs(x - 0.5) <= 0.5 + SLACK, x, jnp.nan) for x in (c, a))
    return c, a, w


def _diagram(
    c: Float[Array, "*b"], a: Float[Array, "*b"], w: Float[Array, "*b"], bins: int | Float[ArrayLike, " e"]
) -> Reliability:
    edges = _edges(bins)
    c, a = (x + 0.0 * edges.sum() for x in (c, a))  # NaN where traced edges do not rise
    at = jnp.searchsorted(edges[1:-1], c.ravel(), side="left")
    count, said, came = _totals(jnp.stack([w.ravel(), (w * c).ravel(), (w * a).ravel()]), at, edges.size - 1)
    each = jnp.where(count > 0, count, jnp.nan)
    return Reliability(said / each, came / each, count)


def _edges(bins: int | Float[ArrayLike, " e"]) -> Float[Array, " e"]:
    if not np.ndim(bins):
        if isinstance(bins, bool) or not isinstance(bins, int | np.integer) or bins < 1:
            raise ValueError(f"bins: got {bins!r}, expected a whole number of at least 1, or edges; try 15")
        return jnp.linspace(0.0, 1.0, bins + 1)
    if np.ndim(bins) != 1 or np.size(bins) < 2:
        raise ValueError(f"bins: got edges of shape {np.shape(bins)}, expected two or more; try 15")
    edges = jnp.asarray(bins, float)
    if not isinstance(bins, Tracer) and not _rise(stated := np.asarray(bins, edges.dtype)):
        got = f"{stated.size} edges from {stated[0]:g} to {stated[-1]:g}"
        expected = "each above the one before it, the first at least 0, the last 1"
        raise ValueError(f"bins: got {got}, expected {expected}; try 15, or jnp.geomspace(0.001, 1, 16)")
    return jnp.where(_rise(edges), edges, jnp.nan)


def _rise(edges):
    return (edges[1:] > edges[:-1]).all() & (edges[0] >= 0) & (abs(edges[-1] - 1) <= SLACK)


def _totals(x: Float[Array, "s n"], at: Int[Array, " n"], bins: int) -> Float[Array, "s k"]:
    """Sums by bin, added in pairs of pairs: one by one, equal float32 numbers lose digits as their number grows."""
    short = (1 << (at.size - 1).bit_length()) - at.size
    x, at = jnp.pad(x, ((0, 0), (0, short))), jnp.pad(at, (0, short), constant_values=-1)

    def one(b):
        part = jnp.where((at == b)[None], x, 0.0)
        while part.shape[1] > 1:
            part = part[:, : part.shape[1] // 2] + part[:, part.shape[1] // 2 :]
        return part[:, 0]

    return jax.lax.map(one, jnp.arange(bins, dtype=at.dtype)).T


def _log_binomial(k: Float[Array, "*b"], n: Float[Array, "*b"], p: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """ln P(K = k), K ~ Binomial(n, p), with float32's precision at any n: Loader's saddle point (2000).

    Differences of log-gamma functions would lose it beyond n of some thousands.
    """
    inside = (k > 0) & (k < n)
    k_, n_ = jnp.where(inside, k, 1.0), jnp.where(inside, n, 2.0)
    apart = _deviance(k_, n_ * p) + _deviance(n_ - k_, n_ * (1 - p))
    middle = _stirling(n_) - _stirling(k_) - _stirling(n_ - k_) - apart
    middle = middle + 0.5 * jnp.log(n_ / (2 * math.pi * k_ * (n_ - k_)))
    return jnp.where(inside, middle, xlogy(k, p) + xlog1py(n - k, -p))


def _stirling(n: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """ln n! − ln(√(2π n) (n/e)^n)."""
    small = jnp.minimum(n, 16.0)
    exact = gammaln(small + 1) - (small + 0.5) * jnp.log(small) + small - 0.5 * math.log(2 * math.pi)
    return jnp.where(n < 16, exact, (1 - (1 / 30 - 1 / (105 * n**2)) / n**2) / (12 * n))


def _deviance(x: Float[Array, "*b"], mean: Float[Array, "*b"]) -> Float[Array, "*b"]:
    """x ln(x / mean) + mean − x."""
    excess = (x - mean) / mean
    return mean * ((1 + excess) * jnp.log1p(excess) - excess)
