"""Counts of a uniform sample without replacement: P(x) = Π_i C(k_i, x_i) / C(Σk, n)."""

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Int, Num

from jaxcollapse.sampling import _check, _words
from jaxcollapse.sampling._binomial import thin


def hypergeometric(
    key: _words.AnyKey, counts: Num[ArrayLike, "*k"], n: Num[ArrayLike, ""]
) -> Int[Array, "*k"]:
    """Counts of n draws without replacement from an urn that holds counts[i] items of category i."""
    urn, held = _check.counts("counts", counts)
    number, whole = _check.counts("n", n)
    total = urn.sum()
    valid = held.all() & whole & (number <= total)
    if not isinstance(valid, Tracer) and not valid:
        raise ValueError(f"n: got {number}, expected at most {total}, the number of items in counts")
    drawn = _thin(key, urn, jnp.where(valid, number, jnp.zeros_like(number)), total)
    return jnp.where(valid, drawn, -jnp.ones_like(drawn))


def _thin(key, urn, number, total):
    def short(state):
        return number != state[0].sum()

    def correct(state):
        chosen, step = state
        gap = number - chosen.sum()
        pool = jnp.where(gap > 0, urn - chosen, chosen)
        size = jnp.maximum(pool.sum(), jnp.ones_like(total))
        share = jnp.abs(gap).astype(float) / size.astype(float)
        share = jnp.broadcast_to(jnp.minimum(share, jnp.ones_like(share)), pool.shape)
        moved = thin(_words.cipher(jr.fold_in(key, step)), pool, share)
        return chosen + jnp.sign(gap) * moved, step + jnp.ones_like(step)

    return jax.lax.while_loop(short, correct, (jnp.zeros_like(urn), jnp.asarray(0)))[0]
