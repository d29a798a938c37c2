"""X ~ Binomial(n, p) by inversion, with a fixed amount of work: X = #{k ≥ 1 : P(X ≥ k) > U} for one uniform U.

The rarer outcome is counted, so p ≤ ½. Small means (n p ≤ 8, or n ≤ 31) compare U with the sums of the weights w_0 = 1,
w_{k+1} = w_k (n − k) / (k + 1) · p / q; large means round the binomial quantile of `_quantile`. Either way X is a
monotone function of U: equal keys couple draws that differ in n or p.
"""

import itertools
import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int, Num

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
    share, inside = (jnp.broadcast_to(x, shape) for x in _check.weights("p", p, 1.0))
    drawn = thin(_words.cipher(key), number, share)
    return jnp.asarray(jnp.where(whole & inside, drawn, -jnp.ones_like(drawn)))


@partial(jax.jit, inline=True)
def thin(words: _words.Cipher, number: Int[Array, "*k"], share: Float[Array, "*k"]) -> Int[Array, "*k"]:
    """Binomial counts of checked arguments, in two halves, which keeps the random words out of their kernel."""
    halves = lambda x: jnp.pad(x.reshape(-1), (0, number.size % 2)).reshape(2, -1)
    number_, yes = halves(number), halves(share)
    no = 1.0 - yes
    uniform = _words.uniform(words, 0, yes.shape)
    drawn = lax.map(lambda x: draw(*x), (uniform, number_, Double(yes, 0.0 * yes), Double(no, (1.0 - no) - yes)))
    return drawn.reshape(-1)[: number.size].reshape(number.shape)


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
    few = _by_weights(uniform, jnp.where(small, number, 0).astype(p.dtype), p / q)
    z = normal_tail(jnp.abs(uniform))
    offset = part + binomial_offset(jnp.where(uniform > 0, z, -z), jnp.where(small, 1.0, mean * q), q - p)
    many = whole + jnp.rint(jnp.where(small, 0.0, offset)).astype(number.dtype)
    return jnp.clip(jnp.where(small, few, many), 0, number)


def _by_weights(uniform: Float[Array, "*k"], number: Float[Array, "*k"], odds: Float[Array, "*k"]) -> Int[Array, "*k"]:
    """Inversion with all probabilities relative to P(X = 0), which needs neither exp nor log1p."""
    weights, upper = _weights(number, odds), uniform > 0
    # The sums start at the end where the uniform lies, so that both tails keep their relative precision.
    pairs = zip(weights, reversed(weights), strict=True)
    passed = _search(jnp.abs(uniform), [jnp.where(upper, above, below) for below, above in pairs])
    return jnp.where(upper, TERMS - 1 - passed, passed)


def _weights(number: Float[Array, "*k"], odds: Float[Array, "*k"]) -> list[Float[Array, "*k"]]:
    """w_k = [Π_{j<k} (n − j) p / 8q] · 8^k / k!, whose two factors stay well inside float32.

    Even and odd k have a chain of products each. Rounding can leave 10⁻⁷ w_n at some k > n; the caller clips.
    """
    eighth = odds * 0.125
    factors = [number * eighth - eighth * float(k) for k in range(TERMS - 1)]
    products = [jnp.ones_like(odds), factors[0]]
    for k in range(2, TERMS):
        products.append(products[k - 2] * (factors[k - 1] * factors[k - 2]))
    return [product * (8.0**k / math.factorial(k)) for k, product in enumerate(products)]


def _search(tail: Float[Array, "*k"], weights: list[Float[Array, "*k"]]) -> Int[Array, "*k"]:
    """How many running sums of the weights lie below tail · Σ weights: by halves to a run of 4, then one by one."""
    runs = [weights[k : k + 4] for k in range(0, TERMS, 4)]
    ends = list(itertools.accumulate((a + b) + (c + d) for a, b, c, d in runs))
    starts, bar, passed = [jnp.zeros_like(tail), *ends[:-1]], tail * ends[-1], jnp.zeros(tail.shape, int)
    rows = [[start, end, *run[:3]] for start, end, run in zip(starts, ends, runs, strict=True)]
    while len(rows) > 1:
        half = len(rows) // 2
        beyond = rows[half - 1][1] < bar
        passed = jnp.where(beyond, passed + 4 * half, passed)
        pairs = zip(rows[:half], rows[half:], strict=True)
        rows = [[jnp.where(beyond, y, x) for x, y in zip(*pair, strict=True)] for pair in pairs]
    reached, _, *run = rows[0]
    for weight in run:
        reached = reached + weight
        passed = jnp.where(reached < bar, passed + 1, passed)
    return passed


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
