"""A sample without replacement, by category: P(X = x) = Π_i C(k_i, x_i) / C(Σ k, n), Σ x = n.

Every item enters the sample with probability n / Σ k; then, round by round, as many items as are too many leave it in
expectation, or as are too few enter it, each with the same probability, until the size is n. No step tells one item
from another, so given its size the sample is uniform; a round leaves about √|gap| of a gap.
"""

from functools import partial

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Int, Num

from jaxcollapse.sampling import _check, _words
from jaxcollapse.sampling._binomial import thin


def hypergeometric(key: _words.AnyKey, counts: Num[ArrayLike, "*k"], n: Num[ArrayLike, ""]) -> Int[Array, "*k"]:
    """The counts of n draws without replacement from an urn that holds counts[i] items of category i.

    P(X = x) = Π_i C(counts_i, x_i) / C(Σ counts, n)

    One int32 a category (int64 under x64), at most counts[i] each; all −1 where traced arguments are out of range.
    Accuracy as for `binomial`. The work is about ten rounds of one binomial a category.

    Raises `ValueError` for counts or an n that are not whole numbers in range, and for n above Σ counts.
    """
    urn, held = _check.counts("counts", counts)
    number, whole = _check.counts("n", n)
    fits = urn.astype(float).sum() < float(_check.largest() + 1)
    if not isinstance(fits, Tracer) and not fits:
        raise ValueError(f"counts: got a total above {_check.largest()}; try jax.enable_x64(True)")
    valid = held.all() & whole & fits & (number <= urn.sum())
    if not isinstance(valid, Tracer) and not valid:
        raise ValueError(f"n: got {number}, expected at most {urn.sum()}, the number of items in counts")
    drawn = _sample(key, urn, jnp.where(valid, number, jnp.zeros_like(number)))
    return jnp.asarray(jnp.where(valid, drawn, -jnp.ones_like(drawn)))


@partial(jax.jit, inline=True)
def _sample(key: _words.AnyKey, urn: Int[Array, "*k"], number: Int[Array, ""]) -> Int[Array, "*k"]:
    def unfinished(state):
        return state[0].sum() != number

    def correct(state):
        chosen, turn = state
        gap = number - chosen.sum()
        pool = jnp.where(gap > 0, urn - chosen, chosen)
        share = jnp.abs(gap).astype(float) / jnp.maximum(pool.sum(), 1).astype(float)
        moved = thin(_words.cipher(jr.fold_in(key, turn)), pool, jnp.broadcast_to(jnp.minimum(share, 1.0), pool.shape))
        return chosen + jnp.sign(gap) * moved, turn + 1

    return jax.lax.while_loop(unfinished, correct, (jnp.zeros_like(urn), jnp.asarray(0)))[0]
