"""A sample without replacement, by category: P(X = x) = Π_i C(k_i, x_i) / C(Σ k, n), Σ x = n.

Every item enters the sample with probability n / Σ k; then, round by round, as many items as are too many leave it in
expectation, or as are too few enter it, each with the same probability. No step tells one item from another, so given
its size the sample is uniform. A round leaves about √|gap| of a gap. After a fixed number of rounds the last |gap|
items leave or enter by their ranks, a uniform set of distinct integers (Floyd's algorithm: Bentley & Floyd, A sample
of brilliance, CACM 30 (1987) 754), each found in the running sums of the categories.

The work does not depend on the draws. `PLANS` trades rounds, which cost one binomial a category, for ranks, which
cost log v steps each. The chance that more than that many items are left is largest for Σ k = 2³¹ − 1, n = Σ k / 2:
3·10⁻¹⁵ and 3·10⁻¹⁴ for the two plans, by the chain gap' = gap − Binomial(pool, gap / pool). Under x64 a further round
makes it 2·10⁻¹⁷ and 2·10⁻¹⁸ at Σ k = 2⁵³.
"""

from functools import partial

import jax
import jax.numpy as jnp
import jax.random as jr
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Int, Num

from jaxcollapse.sampling import _check, _words
from jaxcollapse.sampling._binomial import thin

PLANS = ((0, 4, 64), (2048, 3, 192))  # from so many categories on: rounds, ranks


def hypergeometric(key: _words.AnyKey, counts: Num[ArrayLike, "*k"], n: Num[ArrayLike, "*n"]) -> Int[Array, "..."]:
    """The counts of n draws without replacement from an urn that holds counts[i] items of category i.

    P(X = x) = Π_i C(counts_i, x_i) / C(Σ counts, n)

    counts `(*batch, v)`, n `(*batch)`, which broadcast. One int32 a category (int64 under x64), at most counts[i]
    each, n together. A row is −1 where traced arguments are out of range, and once in 10¹³ draws at worst where the
    fixed work did not suffice (see the module). Accuracy as for `binomial`.

    Raises `ValueError` for counts or an n that are not whole numbers in range, for n above Σ counts, for a Σ counts
    above 2³¹ − 1 (2⁵³ under x64), for shapes that do not broadcast.
    """
    if not jnp.ndim(counts) or not jnp.shape(counts)[-1]:
        raise ValueError(f"counts: got shape {jnp.shape(counts)}, expected at least one category on the last axis")
    batch = _check.broadcast("n, counts[..., 0]", jnp.shape(n), jnp.shape(counts)[:-1])
    with _check.known(n, counts):
        urn, held = (jnp.broadcast_to(x, (*batch, x.shape[-1])) for x in _check.counts("counts", counts))
        number, whole = (jnp.broadcast_to(x, batch) for x in _check.counts("n", n))
        total = urn.sum(-1)
        valid = held.all(-1) & whole & _fits(urn, total) & _available(number, total)
    drawn = _sample(key, urn, jnp.where(valid, number, jnp.zeros_like(number)))
    return jnp.asarray(jnp.where(valid[..., None], drawn, -jnp.ones_like(drawn)))


def _fits(urn: Int[Array, "*b v"], total: Int[Array, "*b"]) -> Bool[Array, "*b"]:
    # A total that wraps around twice shows in floats, however roughly they add up.
    fits = (total >= 0) & (total <= _check.largest()) & (urn.astype(float).sum(-1) < 1.5 * _check.largest())
    if not isinstance(fits, Tracer) and not fits.all():
        most = _check.largest()
        raise ValueError(f"counts: got a total above {most}, expected at most that; try jax.enable_x64(True)")
    return fits


def _available(number: Int[Array, "*b"], total: Int[Array, "*b"]) -> Bool[Array, "*b"]:
    enough = number <= total
    if not isinstance(enough, Tracer) and not enough.all():
        got, most = number[~enough][0], total[~enough][0]
        raise ValueError(f"n: got {got}, expected at most {most}, the number of items in counts")
    return enough


@partial(jax.jit, inline=True)
def _sample(key: _words.AnyKey, urn: Int[Array, "*b v"], number: Int[Array, "*b"]) -> Int[Array, "*b v"]:
    key = jr.wrap_key_data(_words.cipher(key), impl="threefry2x32")
    _, rounds, ranks = max(plan for plan in PLANS if plan[0] <= urn.shape[-1])
    rounds += urn.dtype == jnp.int64

    def correct(chosen, turn):
        gap, pool = _gap(urn, chosen, number)
        share = jnp.abs(gap).astype(float) / jnp.maximum(pool.sum(-1), 1).astype(float)
        share = jnp.broadcast_to(jnp.minimum(share, 1.0)[..., None], pool.shape)
        moved = thin(_words.cipher(jr.fold_in(key, turn)), pool, share)
        return chosen + jnp.sign(gap)[..., None] * moved, None

    chosen, _ = lax.scan(correct, jnp.zeros_like(urn), jnp.arange(rounds))
    gap, pool = _gap(urn, chosen, number)
    moved = _pick(jr.fold_in(key, rounds), pool, jnp.abs(gap), ranks)
    done = jnp.abs(gap) <= ranks
    return jnp.where(done[..., None], chosen + jnp.sign(gap)[..., None] * moved, -jnp.ones_like(urn))


def _gap(urn: Int[Array, "*b v"], chosen: Int[Array, "*b v"], number: Int[Array, "*b"]) -> tuple[Array, Array]:
    """How many items are to enter (+) or to leave (−), and the items that can."""
    gap = number - chosen.sum(-1)
    return gap, jnp.where((gap > 0)[..., None], urn - chosen, chosen)


def _pick(key: _words.AnyKey, pool: Int[Array, "*b v"], number: Int[Array, "*b"], ranks: int) -> Int[Array, "*b v"]:
    """The categories of `number` ≤ ranks items of the pool, by their ranks in it."""
    wanted = jnp.broadcast_to(jnp.arange(ranks), (*number.shape, ranks)) < number[..., None]
    rank = _distinct(key, number, pool.sum(-1), wanted)

    @partial(jnp.vectorize, signature="(v),(r),(r)->(v)")
    def count(pool, rank, wanted):
        category = jnp.searchsorted(jnp.cumsum(pool), rank, side="right")
        return jnp.zeros_like(pool).at[category].add(wanted.astype(pool.dtype), mode="drop")

    return count(pool, rank, wanted)


def _distinct(
    key: _words.AnyKey, number: Int[Array, "*b"], total: Int[Array, "*b"], wanted: Bool[Array, "*b ranks"]
) -> Int[Array, "*b ranks"]:
    """A uniform set of `number` integers in [0, total): the j-th is uniform up to j-th last, or that where taken."""
    order = jnp.broadcast_to(jnp.arange(wanted.shape[-1]), wanted.shape)
    last = jnp.where(wanted, (total - number)[..., None] + order, jnp.zeros_like(order))
    word = jnp.uint64 if last.dtype == jnp.int64 else jnp.uint32
    coarse, fine = jr.bits(key, (2, *last.shape), word)
    first = _words.scale(coarse, fine, (last + 1).astype(word)).astype(last.dtype)

    def step(taken, j):
        rank = jnp.where(taken[..., j], last[..., j], first[..., j])
        return taken | (first == rank[..., None]), rank

    _, rank = lax.scan(step, jnp.zeros_like(wanted), jnp.arange(wanted.shape[-1]))
    return jnp.moveaxis(rank, 0, -1)
