"""(X_1, …, X_v) ~ Multinomial(n, p) for a few draws: each draw is a place on a line, counted against every token.

Token i owns ⌊2³⁰ p_i + d_i⌋ whole places, the tokens after it all places below its bar b_i = Σ_{j>i} ⌊2³⁰ p_j + d_j⌋:

    X_i = #{places below b_i + ⌊2³⁰ p_i + d_i⌋} − #{places below b_i}

The dither d_i, uniform on [0, 1) and spread evenly over the tokens, keeps the mean of tokens far below 2⁻³⁰, to within
6·10⁻¹⁷ of all draws; no sum of floats is taken, in which a rare token could be lost. The work is n v comparisons.
"""

import math

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from jaxcollapse.sampling import _words

LONGEST, WIDTH = 128, 16
PLACES = 2.0**30
TURN = 10  # draws that are counted together
STREAM = 64  # of counters; those below are the chain's
GOLDEN, MIX = 0x9E3779B9, 0x85EBCA6B  # 2³² over the golden ratio, whose multiples are spread evenly; an odd multiplier


def layout(v: int) -> tuple[int, int]:
    """Steps and blocks, steps · blocks ≥ v: one block up to 128 tokens, else as many as two or three levels balance.

    The number of blocks is the width of an inner loop: a multiple of 16, or XLA:CPU takes 2 to 8 times as long.
    """
    levels = math.ceil(math.log(v, LONGEST) - 1e-9)
    if levels <= 1:
        return v, 1
    blocks = WIDTH * max(1, round(v ** (1 - 1 / levels) / WIDTH))
    return -(-v // blocks), blocks


def deal(words: _words.Cipher, number: Int[Array, "*b"], weight: Float[Array, "*b v"]) -> Int[Array, "*b v"]:
    """Multinomial counts of checked arguments."""
    v = weight.shape[-1]
    steps, blocks = layout(v)
    weight = jnp.pad(weight, [(0, 0)] * number.ndim + [(0, steps * blocks - v)])
    owned = _owned(words, weight)
    bars = _later(owned, steps, blocks)
    below = _below(words, number, bars, bars[..., :1] + owned[..., :1])
    # The token before, in the order of `_later`, is one row up, or the last of the block before.
    last = (steps - 1) * blocks
    before = jnp.concatenate([number[..., None], below[..., last:-1], below[..., :last]], -1)
    return (before - below)[..., :v]


def _owned(words: _words.Cipher, weight: Float[Array, "*b v"]) -> Int[Array, "*b v"]:
    """How many of the about 2³⁰ places belong to each token."""
    token = jnp.arange(weight.size, dtype=jnp.uint32).reshape(weight.shape)  # of its own in every row
    mixed = (words[0] * jnp.uint32(GOLDEN)) ^ words[1]
    mixed = (mixed ^ (mixed >> jnp.uint32(15))) * jnp.uint32(MIX)
    spread = (mixed ^ (mixed >> jnp.uint32(13))) + token * jnp.uint32(GOLDEN)
    dither = (spread >> jnp.uint32(8)).astype(weight.dtype) * 2.0**-24
    total = weight.sum(-1, keepdims=True)
    scaled = weight / jnp.where(total > 0, total, 1.0) * PLACES
    return jnp.where(weight > 0, jnp.floor(scaled + dither), 0.0).astype(int)


def _later(owned: Int[Array, "*b v"], steps: int, blocks: int) -> Int[Array, "*b v"]:
    """The places of all tokens that come later, in this block or in a later one; token r · blocks + b is in block b."""
    rows = jnp.moveaxis(owned.reshape(*owned.shape[:-1], steps, blocks), -2, 0)
    start = jnp.zeros_like(rows[0])
    if blocks > 1:
        sums = rows.sum(0)
        start = lax.cumsum(sums, sums.ndim - 1, reverse=True) - sums
    _, later = lax.scan(lambda after, row: (after + row, after), start, rows, reverse=True)
    return jnp.moveaxis(later, 0, -2).reshape(owned.shape)


def _below(
    words: _words.Cipher, number: Int[Array, "*b"], bars: Int[Array, "*b v"], end: Int[Array, "*b 1"]
) -> Int[Array, "*b v"]:
    """How many of `number` places, uniform below `end`, lie below each bar."""
    lanes = jnp.arange(math.prod(number.shape), dtype=jnp.uint32).reshape(*number.shape, 1)
    index = lax.broadcasted_iota(int, (*number.shape, TURN), number.ndim)

    def places(turn: Int[Array, ""]) -> Int[Array, "*b j"]:
        counter = (turn * TURN + index).astype(jnp.uint32)
        drawn = _words.below(words, STREAM, lanes, counter, end.astype(jnp.uint32)).astype(end.dtype)
        return jnp.where(turn * TURN + index < number[..., None], drawn, 2**31 - 1)

    def count(state):
        turn, drawn, below = state
        for j in range(TURN):
            below = jnp.where(drawn[..., j, None] < bars, below + 1, below)
        return turn + 1, places(turn + 1), below

    # The first turn counts no places, and throws those of the next: one kernel does for all.
    nowhere = jnp.full((*number.shape, TURN), 2**31 - 1, number.dtype)
    state = (jnp.asarray(-1), nowhere, jnp.zeros_like(bars))
    return lax.while_loop(lambda state: jnp.any(state[0] * TURN < number), count, state)[2]
