"""(X_1, …, X_v) ~ Multinomial(n, p) as a chain, X_i | X_<i ~ Binomial(n − Σ_<i X, p_i / Σ_≥i p)."""

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, ArrayLike, Int, Key, Num, UInt32

from jaxcollapse.sampling import _check
from jaxcollapse.sampling._binomial import draw


def multinomial(
    key: Key[Array, ""] | UInt32[Array, "_"], n: Num[ArrayLike, "*n"], p: Num[ArrayLike, "*p"]
) -> Int[Array, "..."]:
    """Counts of n independent draws from the weights on the last axis of p; they add up to n."""
    if not jnp.ndim(p):
        raise ValueError("p: got a scalar, expected weights on the last axis")
    *rows, v = jnp.shape(p)
    batch = _check.broadcast("n, p[..., 0]", jnp.shape(n), tuple(rows))
    number, whole = _check.counts("n", n)
    weight, inside = _check.weights("p", p, jnp.inf)
    number, weight = jnp.broadcast_to(number, batch), jnp.broadcast_to(weight, (*batch, v))
    some = weight.sum(-1) > 0
    valid = jnp.broadcast_to(whole, batch) & jnp.broadcast_to(inside.all(-1), batch) & (some | (number == 0))
    if not isinstance(valid, jax.core.Tracer) and not valid.all():
        raise ValueError("p: got weights that are all zero, expected a positive sum where n > 0")
    drawn = _chain(key, number, weight)
    return jnp.where(valid[..., None], drawn, -jnp.ones_like(drawn))


def _chain(key, number, weight):
    first = jnp.moveaxis(weight, -1, 0)
    rest = jnp.cumsum(first[::-1], axis=0)[::-1]

    def step(left, token):
        key, w, total = token
        share = jnp.where(w > 0, w / jnp.where(total > 0, total, jnp.ones_like(total)), jnp.zeros_like(w))
        drawn = jnp.where(w >= total, left, draw(key, left, share))
        drawn = jnp.where(w > 0, drawn, jnp.zeros_like(drawn))
        return left - drawn, drawn

    keys = jr.split(key, len(first))
    _, drawn = jax.lax.scan(step, number, (keys, first, rest))
    return jnp.moveaxis(drawn, 0, -1)
