"""X ~ Binomial(n, p)."""

import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, ArrayLike, Int, Key, Num, UInt32

from jaxcollapse.sampling import _check


def binomial(
    key: Key[Array, ""] | UInt32[Array, "_"], n: Num[ArrayLike, "*n"], p: Num[ArrayLike, "*p"]
) -> Int[Array, "..."]:
    """Number of successes in n independent trials of probability p; n and p broadcast."""
    shape = _check.broadcast("n, p", jnp.shape(n), jnp.shape(p))
    number, whole = _check.counts("n", n)
    share, inside = _check.weights("p", p, 1.0)
    number, share = jnp.broadcast_to(number, shape), jnp.broadcast_to(share, shape)
    valid = jnp.broadcast_to(whole, shape) & jnp.broadcast_to(inside, shape)
    drawn = draw(key, number, share)
    return jnp.where(valid, drawn, -jnp.ones_like(drawn))


def draw(key, number, share):
    """Binomial counts of checked arguments of one shape."""
    drawn = jr.binomial(key, number.astype(share.dtype), share).astype(number.dtype)
    return jnp.clip(drawn, jnp.zeros_like(number), number)
