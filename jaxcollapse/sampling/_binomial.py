"""X ~ Binomial(n, p) by inversion, with a fixed amount of work: X = #{k ≥ 1 : P(X ≥ k) > U} for one uniform U.

The rarer outcome is counted, so p ≤ ½. Small means (n p ≤ 10) compare U with the tail sums of the weights w_0 = 1,
w_{k+1} = w_k (n − k) / (k + 1) · p / q; large means round the binomial quantile of `_quantile`. Either way X is a
monotone function of U: equal keys couple draws that differ in n or p.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int, Num

from jaxcollapse.sampling import _check, _words
from jaxcollapse.sampling._quantile import binomial_offset, normal_tail

THRESHOLD = 10.0  # the mean at which the two methods meet
TERMS = 36  # P(X ≥ 36) < 2·10⁻¹⁰ at that mean


class Double(NamedTuple):
    """An unevaluated sum: a float and its rounding error."""

    value: Float[Array, "*k"]
    error: Float[Array, "*k"]


def binomial(key: _words.AnyKey, n: Num[ArrayLike, "*n"], p: Num[ArrayLike, "*p"]) -> Int[Array, "..."]:
    """The number of successes in n independent trials of probability p each.

    P(X = k) = C(n, k) p^k (1 − p)^(n−k)

    n and p broadcast; one int32 a pair (int64 under x64), −1 where traced arguments are out of range.
    Indistinguishable from the law at 10⁷ draws, tails included, for n up to 2²⁴; from there to n = 2³¹ − 1 the mean is
    within 2·10⁻³ standard deviations. X = 0 at p = 0 and X = n at p = 1, always. x64 takes n up to 2⁵³.

    Raises `ValueError` for an n that is not a whole number in range, p outside [0, 1], shapes that do not broadcast.
    """
    shape = _check.broadcast("n, p", jnp.shape(n), jnp.shape(p))
    number, whole = (jnp.broadcast_to(x, shape) for x in _check.counts("n", n))
    share, inside = (jnp.broadcast_to(x, shape) for x in _check.weights("p", p, 1.0))
    drawn = thin(_words.cipher(key), number, share)
    return jnp.where(whole & inside, drawn, -jnp.ones_like(drawn))


def thin(words: _words.Cipher, number: Int[Array, "*k"], share: Float[Array, "*k"]) -> Int[Array, "*k"]:
    """Binomial counts of checked arguments; the place in the array is the counter of the random words."""
    place = jnp.arange(number.size).reshape(number.shape)
    rest = 1.0 - share
    no = Double(rest, (1.0 - rest) - share)
    return draw(_words.uniform(words, 0, place), number, Double(share, jnp.zeros_like(share)), no)


def draw(uniform: _words.Uniform, number: Int[Array, "*k"], yes: Double, no: Double) -> Int[Array, "*k"]:
    """How many of `number` trials turn out yes, at odds of yes : no; 0 where both are 0."""
    flipped = yes.value > no.value
    rare = Double(jnp.where(flipped, no.value, yes.value), jnp.where(flipped, no.error, yes.error))
    common = Double(jnp.where(flipped, yes.value, no.value), jnp.where(flipped, yes.error, no.error))
    counted = _rarer(_words.Uniform(uniform.tail, uniform.upper ^ flipped), number, rare, common)
    return jnp.where(flipped, number - counted, counted)


def _rarer(uniform: _words.Uniform, number: Int[Array, "*k"], rare: Double, common: Double) -> Int[Array, "*k"]:
    whole, part, p, q = _mean(number, rare, common)
    mean = whole.astype(p.dtype) + part
    small = mean <= THRESHOLD
    odds = rare.value / jnp.where(q > 0, common.value, 1.0)
    few = _by_weights(uniform, jnp.where(small, number, 0).astype(p.dtype), odds)
    z = normal_tail(uniform.tail)
    offset = part + binomial_offset(jnp.where(uniform.upper, z, -z), jnp.where(small, 1.0, mean * q), q - p)
    many = whole + jnp.rint(jnp.where(small, 0.0, offset)).astype(number.dtype)
    return jnp.clip(jnp.where(small, few, many), 0, number)


def _by_weights(uniform: _words.Uniform, number: Float[Array, "*k"], odds: Float[Array, "*k"]) -> Int[Array, "*k"]:
    """Inversion with all probabilities relative to P(X = 0), which needs neither exp nor log1p."""
    # w_k = product_k · 8^k / k!: both factors stay well inside float32, and a term costs three multiply-adds. Rounding
    # can leave a weight of relative size 10⁻⁷ at k > n; the caller clips.
    odds = odds * 0.125
    mean, product, products = number * odds, jnp.ones_like(odds), []
    for k in range(TERMS - 1):
        product = product * (mean - odds * float(k))
        products.append(product)
    total, tails = jnp.zeros_like(odds), []
    for k in range(TERMS - 1, 0, -1):
        total = total + products[k - 1] * (8.0**k / math.factorial(k))
        tails.append(total)
    total = total + 1.0
    bar = jnp.where(uniform.upper, uniform.tail * total, total - uniform.tail * total)
    counted = jnp.zeros(bar.shape, int)
    for tail in tails:
        counted = counted + (tail > bar).astype(int)
    return counted


def _mean(number: Int[Array, "*k"], rare: Double, common: Double):
    """n p = whole + part with part in [0, 1), p and q; p = j/256 + remainder and integer n j lose nothing past 2²⁴."""
    total = common.value + rare.value
    lost = (rare.value - (total - common.value)) + (rare.error + common.error)
    total = jnp.where(total > 0, total, 1.0)
    unit = 1.0 / total
    j = jnp.floor(rare.value * unit * 256.0)
    share, info = j / 256.0, jnp.finfo(total.dtype)
    top = lax.reduce_precision(total, info.nexp, info.nmant - 8)  # so that share · top is exact
    rest = (((rare.value - share * top) - share * (total - top)) + (rare.error - share * lost)) * unit
    whole, part = _times(number, j.astype(number.dtype))
    part = part.astype(rest.dtype) / 256.0 + number.astype(rest.dtype) * rest
    carry = jnp.floor(part)
    return whole + carry.astype(number.dtype), part - carry, share + rest, common.value * unit


def _times(number: Int[Array, "*k"], j: Int[Array, "*k"]) -> tuple[Int[Array, "*k"], Int[Array, "*k"]]:
    """Quotient and remainder of number · j / 256, for j up to 128, without overflow."""
    low = (number & 0xFFFF) * j
    return (number >> 16) * j * 256 + (low >> 8), low & 0xFF
