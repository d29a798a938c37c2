"""X ~ Binomial(n, p) by inversion, with a fixed amount of work: X = #{k ≥ 1 : P(X ≥ k) > U} for one uniform U.

The rarer outcome is counted, so p ≤ ½. Small means (n p ≤ 8, or n ≤ 31) compare U with the sums of the weights w_0 = 1,
w_{k+1} = w_k (n − k) / (k + 1) · p / q; large means round the binomial quantile of `_quantile`. Either way X is a
monotone function of U: equal keys couple draws that differ in n or p.
"""

import functools
import operator
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Num

from jaxcollapse.sampling import _check, _words
from jaxcollapse.sampling._quantile import binomial_offset, normal_tail

THRESHOLD = 8.0  # the mean at which the two methods meet
TERMS = 32  # P(X ≥ 32) < 2·10⁻¹⁰ at that mean


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
    share, inside = (jnp.broadcast_to(x, shape) for x in _check.between("p", p, 1.0, "probabilities from 0 to 1"))
    drawn = thin(_words.cipher(key), number, share)
    return jnp.asarray(jnp.where(whole & inside, drawn, -1))


@functools.partial(jax.jit, inline=True)
def thin(words: _words.Cipher, number: Int[Array, "*k"], share: Float[Array, "*k"]) -> Int[Array, "*k"]:
    """Binomial counts of checked arguments."""

    def one(uniform, number, yes):
        no = 1.0 - yes
        return draw(uniform, number, Double(yes, 0.0 * yes), Double(no, (1.0 - no) - yes))

    return by_halves(one, words, number, share)


def by_halves(draws: Callable[..., Int[Array, "h"]], words: _words.Cipher, *arguments: Num[Array, "*k"]):
    """draws(uniform, *arguments) over all elements, in two halves, which keeps the random words out of their kernel."""
    shape, size = arguments[0].shape, arguments[0].size
    halves = [jnp.pad(x.reshape(-1), (0, size % 2)).reshape(2, -1) for x in arguments]
    uniform = _words.uniform(words, 0, halves[0].shape)
    drawn = lax.map(lambda x: draws(*x), (uniform, *halves))
    return drawn.reshape(-1)[:size].reshape(shape)


def draw(uniform: Float[Array, "*k"], number: Int[Array, "*k"], yes: Double, no: Double) -> Int[Array, "*k"]:
    """How many of `number` trials turn out yes, at odds of yes : no; 0 where both are 0. Uniforms as in `_words`."""
    flipped = yes.value > no.value
    rare = Double(jnp.where(flipped, no.value, yes.value), jnp.where(flipped, no.error, yes.error))
    common = Double(jnp.where(flipped, yes.value, no.value), jnp.where(flipped, yes.error, no.error))
    counted = _rarer(jnp.where(flipped, -uniform, uniform), number, rare, common)
    return jnp.where(flipped, number - counted, counted)


def _rarer(uniform: Float[Array, "*k"], number: Int[Array, "*k"], rare: Double, common: Double) -> Int[Array, "*k"]:
    whole, part, p = _mean(number, rare, common)
    q = 1.0 - p
    mean = whole.astype(p.dtype) + part
    small = (mean <= THRESHOLD) | (number < TERMS)
    odds = p / q
    rise = (jnp.where(small, number, 0).astype(p.dtype) + 1.0) * odds
    return jnp.minimum(invert(uniform, small, rise, odds, whole, part, mean * q, q - p), number)


def invert(
    uniform: Float[Array, "*k"],
    small: Bool[Array, "*k"],
    rise: Float[Array, "*k"],
    odds: Float[Array, "*k"],
    whole: Int[Array, "*k"],
    part: Float[Array, "*k"],
    variance: Float[Array, "*k"],
    skew: Float[Array, "*k"],
) -> Int[Array, "*k"]:
    """The quantile of a law on 0, 1, 2, …, at the upper tail `uniform`, or the lower tail −`uniform`.

    Where `small`, P(k) / P(k−1) = rise / k − odds; elsewhere its mean is whole + part, and variance and skew are those
    of `binomial_offset`.
    """
    few = _by_weights(uniform, rise, odds)
    z = normal_tail(jnp.abs(uniform))
    offset = part + binomial_offset(jnp.where(uniform > 0, z, -z), jnp.where(small, 1.0, variance), skew)
    many = whole + jnp.rint(jnp.where(small, 0.0, offset)).astype(whole.dtype)
    return jnp.maximum(jnp.where(small, few, many), 0)


def _by_weights(uniform: Float[Array, "*k"], rise: Float[Array, "*k"], odds: Float[Array, "*k"]) -> Int[Array, "*k"]:
    """Inversion with all probabilities relative to P(0), which needs neither exp nor log1p.

    Even and odd weights have a chain of products each. Rounding can leave 10⁻⁷ P(n) at some k > n; the caller clips.
    """
    steps = [rise * (1 / k) - odds for k in range(1, TERMS)]
    weights = [jnp.ones_like(odds), steps[0]]
    for k in range(2, TERMS):
        weights.append(weights[k - 2] * (steps[k - 1] * steps[k - 2]))
    return _search(jnp.abs(uniform), uniform > 0, weights)


def _search(tail: Float[Array, "*k"], upper: Bool[Array, "*k"], weights: list[Float[Array, "*k"]]) -> Int[Array, "*k"]:
    """How many running sums of the weights lie below 1 − tail (`upper`), or tail, of their total: a search by halves.

    The sums start at the end where the tail lies, so that both tails keep their relative precision.
    """
    rows = [[a, b, c, d, (a + b) + (c + d)] for a, b, c, d in zip(*(iter(weights),) * 4, strict=True)]
    sums = lambda rows: functools.reduce(operator.add, [row[-1] for row in rows])
    bar, reached, passed = tail * sums(rows), jnp.zeros_like(tail), jnp.zeros(tail.shape, int)
    while len(rows) > 1:
        low, high = rows[: len(rows) // 2], rows[len(rows) // 2 :]
        end = reached + jnp.where(upper, sums(high), sums(low))
        beyond = end < bar
        reached = jnp.where(beyond, end, reached)
        passed = jnp.where(beyond, passed + 4 * len(low), passed)
        later = beyond ^ upper
        rows = [[jnp.where(later, y, x) for x, y in zip(*pair, strict=True)] for pair in zip(low, high, strict=True)]
    a, b, c, d, _ = rows[0]
    for first, last in ((a, d), (b, c), (c, b)):
        reached = reached + jnp.where(upper, last, first)
        passed = jnp.where(reached < bar, passed + 1, passed)
    return jnp.where(upper, TERMS - 1 - passed, passed)


def _mean(number: Int[Array, "*k"], rare: Double, common: Double):
    """n p = whole + part with part in [0, 1), and p; p = j/256 + remainder and integer n j lose nothing past 2²⁴."""
    total = common.value + rare.value
    lost = (rare.value - (total - common.value)) + (rare.error + common.error)
    total = jnp.where(total > 0, total, 1.0)
    j = jnp.floor(256.0 * rare.value / total)
    share, info = j / 256.0, jnp.finfo(total.dtype)
    top = lax.reduce_precision(total, info.nexp, info.nmant - 8)  # so that share · top is exact
    rest = (((rare.value - share * top) - share * (total - top)) + (rare.error - share * lost)) / total
    whole, part = _times(number, j.astype(number.dtype))
    part = part.astype(rest.dtype) / 256.0 + number.astype(rest.dtype) * rest
    carry = jnp.floor(part)
    return whole + carry.astype(number.dtype), part - carry, share + rest


def _times(number: Int[Array, "*k"], j: Int[Array, "*k"]) -> tuple[Int[Array, "*k"], Int[Array, "*k"]]:
    """Quotient and remainder of number · j / 256, for j up to 128, without overflow."""
    low = (number & 0xFFFF) * j
    return (number >> 16) * j * 256 + (low >> 8), low & 0xFF
