"""(X_1, …, X_v) ~ Multinomial(n, p): one by one where n is small (`_places`), else as chains of conditional binomials.

    X_i | X_1, …, X_{i−1} ~ Binomial(n − Σ_{j<i} X_j,  p_i / (p_i + Σ_{j>i} p_j))

Beyond a few tokens the chain runs first over blocks of tokens, then inside all blocks at once: on a CPU 2 √v steps of
√v-wide vectors beyond 128 tokens, on an accelerator 8 log₈ v steps. The sums over j > i add up positive terms (never
1 − Σ), so rare tokens at the end keep their rate, tokens of weight 0 are never drawn, and the last token of positive
weight takes exactly what is left.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Num

from jaxcollapse.sampling import _check, _places, _words
from jaxcollapse.sampling._binomial import Double, draw

FEW = 128  # draws, up to which they are taken one by one
STEPS = 8  # of a chain on an accelerator


def multinomial(key: _words.AnyKey, n: Num[ArrayLike, "*n"], p: Num[ArrayLike, "*p"]) -> Int[Array, "..."]:
    """The counts of n independent draws from the weights on the last axis of p.

    P(X = x) = n! Π_i p_i^{x_i} / x_i!,   Σ_i x_i = n

    p `(*batch, v)`, n `(*batch)`, which broadcast; p need not be normalised. One int32 a token (int64 under x64);
    a row is −1 where traced arguments are out of range. Accuracy as for `binomial`; tokens of weight 0 get exactly 0,
    n = 0 gives zeros. Weights keep their relative rate down to 10⁻³⁷ of the largest (to 10⁻¹⁶ of the sum for n ≤ 128).

    The work does not depend on n above 128 draws and is less below: `_places` is chosen where all n of a call (under
    vmap: of a lane) are at most 128. Where n is known while tracing, that way alone is compiled.

    Raises `ValueError` for an n that is not a whole number in range, weights that are negative, not finite or all zero
    where n > 0, shapes that do not broadcast.
    """
    if not jnp.ndim(p) or not jnp.shape(p)[-1]:
        raise ValueError(f"p: got shape {jnp.shape(p)}, expected at least one weight on the last axis")
    batch = _check.broadcast("n, p[..., 0]", jnp.shape(n), jnp.shape(p)[:-1])
    with _check.known(n, p):
        number, whole = (jnp.broadcast_to(x, batch) for x in _check.counts("n", n))
        weight, finite, positive = _check.rows("p", p)
        valid = whole & jnp.broadcast_to(finite, batch) & (jnp.broadcast_to(positive, batch) | (number == 0))
        if not isinstance(valid, Tracer) and not valid.all():
            raise ValueError("p: got weights with a sum of zero, expected a positive sum where n > 0")
    few = jnp.all(number <= FEW) if isinstance(n, Tracer) else bool((np.asarray(n) <= FEW).all())
    weight = jnp.broadcast_to(weight, (*batch, weight.shape[-1]))
    drawn = _deal(few, _words.cipher(key), jnp.where(valid, number, 0), weight)
    return jnp.asarray(jnp.where(valid[..., None], drawn, -1))


def _deal(
    few: bool | Bool[Array, ""], words: _words.Cipher, number: Int[Array, "*b"], weight: Float[Array, "*b v"]
) -> Int[Array, "*b v"]:
    """Counts of checked arguments; where it is known while tracing that they are few, or many, one way will do."""
    if weight.shape[-1] == 1:
        return number[..., None]
    if isinstance(few, bool):
        return _one_by_one(words, number, weight) if few else _by_chain(words, number, weight)
    return _either(few, words, number, weight)


_one_by_one = partial(jax.jit, inline=True)(_places.deal)


@partial(jax.jit, inline=True)
def _either(
    few: Bool[Array, ""], words: _words.Cipher, number: Int[Array, "*b"], weight: Float[Array, "*b v"]
) -> Int[Array, "*b v"]:
    counts = jnp.zeros(weight.shape, number.dtype)
    counts = _only_if(few, _one_by_one, words, jnp.where(few, number, 0), weight, counts)
    return _only_if(~few, _by_chain, words, number, weight, counts)


def _only_if(wanted: Bool[Array, ""], deal: Callable[..., Int[Array, "*b v"]], words, number, weight, otherwise):
    """deal(words, number, weight) if wanted: a loop of at most one turn, since vmap makes of a cond both its sides."""

    def compute(state):
        turn, _ = state
        # Nothing changes at turn 0, but XLA would compute what does not depend on it before the loop, wanted or not.
        return turn + jnp.uint32(1), deal(words + turn, number, weight * (1.0 - turn.astype(weight.dtype)))

    return lax.while_loop(lambda state: wanted & (state[0] == 0), compute, (jnp.uint32(0), otherwise))[1]


@partial(jax.jit, inline=True)
def _by_chain(words: _words.Cipher, number: Int[Array, "*b"], weight: Float[Array, "*b v"]) -> Int[Array, "*b v"]:
    """Multinomial counts of checked arguments."""
    return _split(words, number, Double(weight, jnp.zeros_like(weight)), 0)


def _split(words: _words.Cipher, number: Int[Array, "*b"], weight: Double, level: int) -> Int[Array, "*b v"]:
    """Counts over the last axis of the weights, by blocks of about equal size where it is long."""
    v = weight.value.shape[-1]
    if v == 1:
        return number[..., None]
    steps, blocks = _layout(v)
    # Token s · blocks + b is token s of block b: a move of whole rows, where b · steps + s would be a transposition.
    padding = [(0, 0)] * number.ndim + [(0, steps * blocks - v)]
    rows = (*number.shape, steps, blocks)
    weight = Double(*(jnp.moveaxis(jnp.pad(w, padding).reshape(rows), -2, 0) for w in weight))
    after, total = _sums(weight)
    inside = _split(words, number, total, level + 1)
    drawn = jnp.moveaxis(_chain(words, inside, weight, after, level), 0, -2)
    return drawn.reshape(*number.shape, steps * blocks)[..., :v]


def _layout(v: int) -> tuple[int, int]:
    """Steps and blocks of a chain: short chains of many levels on an accelerator, whose loops cost more than width."""
    if jax.default_backend() == "cpu":
        return _places.layout(v)
    return min(v, STEPS), -(-v // STEPS)


def _sums(weight: Double) -> tuple[Double, Double]:
    """Σ_{j>i} and Σ_j over the leading axis, in twice the precision (Knuth's two-sum)."""

    def add(after: Double, w: Double):
        total = after.value + w.value
        partner = total - after.value
        error = (after.value - (total - partner)) + (w.value - partner)
        return Double(total, error + (after.error + w.error)), after

    nothing = Double(jnp.zeros_like(weight.value[0]), jnp.zeros_like(weight.error[0]))
    total, after = lax.scan(add, nothing, weight, reverse=True)
    return after, total


def _chain(words: _words.Cipher, number: Int[Array, "*b"], weight: Double, after: Double, level: int):
    """Deals `number` out along the leading axis of the weights."""
    uniform = _words.uniform(words, level, weight.value.shape)

    def step(left: Int[Array, "*b"], token):
        return left - draw(token[0], left, *token[1:]), left

    # What is left is recorded, not what is drawn: with two uses in one step XLA would compute the draw twice.
    _, left = lax.scan(step, number, (uniform, weight, after))
    return left - lax.pad(left, jnp.zeros((), left.dtype), [(-1, 1, 0)] + [(0, 0, 0)] * number.ndim)
