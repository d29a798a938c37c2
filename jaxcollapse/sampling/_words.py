"""Uniform variates from counters: Threefry-2x32 with 20 rounds, written inline so that it compiles to one kernel.

Salmon, Moraes, Dror & Shaw, Parallel random numbers: as easy as 1, 2, 3 (SC 2011). The block cipher is that of
`jax.random`; a counter here starts with a word that `jax.random` never uses, so that the two cannot collide.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
from jax import lax
from jaxtyping import Array, Float, Key, UInt, UInt32

AnyKey = Key[Array, ""] | UInt32[Array, "_"]
Cipher = UInt32[Array, "2"]

DOMAIN = 0x6A09E667
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def cipher(key: Any) -> Cipher:
    """The two words of a Threefry key; a key of another kind draws two words of its own.

    `ValueError` for what is no single key.
    """
    try:
        key = key if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else jr.wrap_key_data(key)
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"key: got {key!r}, expected a random key; try jax.random.key(0)") from None
    if key.shape:
        raise ValueError(f"key: got keys of shape {key.shape}, expected one; try jax.vmap, or one key for the batch")
    data = jr.key_data(key)
    return data if str(jr.key_impl(key)) == "threefry2x32" else jr.bits(key, (2,), "uint32")


def uniform(words: Cipher, stream: int, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """±v, one a counter (stream, place in the array): v in (0, ½] is the probability of the upper (+) or lower tail.

    v is precise relative to itself down to 2⁻⁶⁴. The caller keeps a loop between this and what uses it: fused into a
    long kernel, twenty rounds cost LLVM's vectoriser (seen in jaxlib 0.12) half a minute.
    """
    place = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
    high, low = threefry(words, jnp.uint32(DOMAIN + stream), place)
    # By way of int32: a conversion from uint32 takes several instructions.
    coarse, fine = (lax.shift_right_logical(w, jnp.uint32(1)).astype(jnp.int32).astype(float) for w in (high, low))
    tail = (coarse + (fine + 0.5) * 2.0**-31) * 2.0**-32
    return jnp.where((high & jnp.uint32(1)) == jnp.uint32(1), tail, -tail)


def below(
    words: Cipher, stream: int, lane: UInt32[Array, "*#k"], place: UInt32[Array, "*#k"], bound: UInt32[Array, "*#k"]
) -> UInt32[Array, "*k"]:
    """Whole numbers uniform on 0 … bound − 1, one a counter (stream and place, lane)."""
    coarse, fine = threefry(words, jnp.uint32(DOMAIN + stream) + place, lane)
    return scale(coarse, fine, bound)


def scale(coarse: UInt[Array, "*#k"], fine: UInt[Array, "*#k"], bound: UInt[Array, "*#k"]) -> UInt[Array, "*k"]:
    """⌊U bound⌋ for the U in [0, 1) of these two words, whose bits are twice those of bound."""
    rest = coarse * bound
    carry = rest + _high(fine, bound) < rest
    return _high(coarse, bound) + carry.astype(rest.dtype)


def _high(x: UInt[Array, "*#k"], y: UInt[Array, "*#k"]) -> UInt[Array, "*k"]:
    """The upper word of x · y, by halves."""
    half = x.dtype.type(x.dtype.itemsize * 4)
    mask = x.dtype.type((1 << x.dtype.itemsize * 4) - 1)
    x1, x0, y1, y0 = x >> half, x & mask, y >> half, y & mask
    middle = x1 * y0 + ((x0 * y0) >> half)
    return x1 * y1 + (middle >> half) + ((x0 * y1 + (middle & mask)) >> half)


def threefry(words: Cipher, x: UInt32[Array, "*#k"], y: UInt32[Array, "*#k"]) -> tuple[UInt32[Array, "*k"], ...]:
    """The two words of the block of counter (x, y)."""
    schedule = (words[0], words[1], words[0] ^ words[1] ^ jnp.uint32(0x1BD11BDA))
    x, y = jnp.broadcast_arrays(x + schedule[0], y + schedule[1])
    for group in range(5):
        for turn in ROTATIONS[group % 2]:
            x = x + y
            y = x ^ ((y << jnp.uint32(turn)) | lax.shift_right_logical(y, jnp.uint32(32 - turn)))
        x = x + schedule[(group + 1) % 3]
        y = y + (schedule[(group + 2) % 3] + jnp.uint32(group + 1))
    return x, y
