"""X ~ Poisson(λ) by inversion with a fixed amount of work: the limit n → ∞, n p → λ of `_binomial`."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Num

from jaxcollapse.sampling import _check, _words
from jaxcollapse.sampling._binomial import THRESHOLD, by_halves, invert


def poisson(key: _words.AnyKey, mean: Num[ArrayLike, "*k"]) -> Int[Array, "*k"]:
    """The number of events of a Poisson process of a given mean.

    P(X = k) = λ^k e^−λ / k!

    One int32 a mean (int64 under x64), −1 where a traced mean is out of range; means go up to 2³⁰ (2⁵² under x64).
    Indistinguishable from the law at 10⁷ draws, tails included; a mean of 10⁻³⁷ keeps its rate; X = 0 at mean 0.

    Raises `ValueError` for a mean that is negative, not finite or too large.
    """
    most = float(_check.largest() // 2 + 1)
    value, inside = _check.between("mean", mean, most, f"means from 0 to {most:.0f}")
    drawn = _draw(_words.cipher(key), value)
    return jnp.asarray(jnp.where(inside, drawn, -1))


@functools.partial(jax.jit, inline=True)
def _draw(words: _words.Cipher, mean: Float[Array, "*k"]) -> Int[Array, "*k"]:
    def one(uniform: Float[Array, "h"], mean: Float[Array, "h"]):
        whole, one = jnp.floor(mean), jnp.ones_like(mean)
        small = mean <= THRESHOLD
        rise = jnp.where(small, mean, 0.0)
        return invert(uniform, small, rise, 0.0 * one, whole.astype(int), mean - whole, mean, one)

    return by_halves(one, words, mean)
