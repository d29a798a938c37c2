"""G ~ Gamma(a) by inversion, with a fixed amount of work for every shape a > 0.

Large shapes (a ≥ 8): the cube root of the quantile is nearly linear in the normal one (Wilson & Hilferty, PNAS 17
(1931) 684). With s = z / √a,

    (G / a)^⅓ = 1 + s/3 + … + A_1(s) / a + A_2(s) / a²

as polynomials fitted to the exact quantile for all a ≥ 8, |z| ≤ 9.2: within 6·10⁻⁶ standard deviations of G.
Small shapes: G(a) = G(a + 8) · Π_{i<8} U_i^(1/(a+i)), where U^(1/b) ~ Beta(b, 1).
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Num, UInt32

from jaxcollapse.sampling import _check, _words
from jaxcollapse.sampling._quantile import _horner, _log, normal_tail

STEPS = 8  # factors of a small shape
STREAM = 32  # of counters; those below are the other samplers'
LARGEST = 2.0**100
# Powers of s from s¹ on for A_0 − 1, from s⁰ on for A_1 and A_2: minimax fit.
CUBE_ROOT = (
    (
        0.33333323,
        3.2460566e-08,
        -0.0030854681,
        0.000822985363,
        -0.000129861444,
        4.74624152e-06,
        5.23394765e-06,
        -2.0365494e-06,
        3.06489572e-07,
        2.82785218e-08,
        -1.80443366e-08,
        2.02079417e-09,
    ),
    (
        -0.111121138,
        0.00926487479,
        0.00327712737,
        -0.00172674095,
        0.000408250331,
        -1.11346681e-05,
        -2.98833797e-05,
        6.9566507e-06,
        3.84902954e-07,
        -1.77680466e-07,
    ),
    (
        -0.00547995188,
        -0.0020390177,
        0.00185936308,
        -0.000639776568,
        2.72231462e-06,
        8.41028967e-05,
        -1.90657712e-05,
    ),
)
# (e^r − 1) / r for |r| ≤ ½ ln 2: Taylor, |error of e^r| < 10⁻⁸.
EXPONENTIAL = (1.0, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720, 1 / 5040)


def gamma(key: _words.AnyKey, shape: Num[ArrayLike, "*k"]) -> Float[Array, "*k"]:
    """A gamma variate of unit scale.

    density x^(a−1) e^−x / Γ(a)

    shape `*k`: a from 0 to 2¹⁰⁰ = 1.3·10³⁰; one float a shape, NaN where a traced one is out of range; a = 0 gives 0.
    Indistinguishable from the law at 10⁷ draws, tails included, in float32 as under x64 (6·10⁻⁶ standard deviations
    from the exact quantile); beyond a = 2²⁰ float32 itself rounds by 3·10⁻⁸ √a of them, and what is below 10⁻³⁸, which
    shapes far below 1 reach, is 0 there.

    Raises `ValueError` for a shape that is negative, not finite or too large.
    """
    value, inside = _check.between("shape", shape, LARGEST, "shapes from 0 to 1.3e30")
    return jnp.asarray(jnp.where(inside, _draw(_words.cipher(key), value), jnp.nan))


def chi_square(key: _words.AnyKey, degrees: Num[ArrayLike, "*k"]) -> Float[Array, "*k"]:
    """χ² variates with these degrees of freedom, whole or not: 2 · gamma(degrees / 2), in its range and precision."""
    value, inside = _check.between("degrees", degrees, LARGEST, "degrees of freedom from 0 to 1.3e30")
    return jnp.asarray(jnp.where(inside, 2.0 * _draw(_words.cipher(key), 0.5 * value), jnp.nan))


def normal(key: _words.AnyKey, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Standard normal variates whose tails are right to |z| = 9, where float32 uniforms would end at 5.4."""
    return _normal(_words.cipher(key), shape)


@functools.partial(jax.jit, static_argnums=1, inline=True)
def _normal(words: _words.Cipher, shape: tuple[int, ...]) -> Float[Array, "..."]:
    ((high, low),) = _blocks(words, shape, 1)
    return _from_words(high, low)


@functools.partial(jax.jit, inline=True)
def _draw(words: _words.Cipher, shape: Float[Array, "*k"]) -> Float[Array, "*k"]:
    (high, low), *rest = _blocks(words, shape.shape, 1 + STEPS // 2)
    small = shape < STEPS
    large = _quantile(_from_words(high, low), jnp.where(small, shape + STEPS, shape))
    a = jnp.where(small & (shape > 0), shape, 1.0)
    fall = jnp.zeros_like(a)
    for i, word in enumerate(word for block in rest for word in block):
        fall = fall + _log(_uniform(word)) / (a + i)
    drawn = large * jnp.where(small, _exp(fall), 1.0)
    return jnp.where(shape > 0, drawn, 0.0)


def _blocks(words: _words.Cipher, shape: tuple[int, ...], number: int) -> list[tuple[UInt32[Array, "..."], ...]]:
    """That many pairs of random words an element, in the kernel that uses them: a loop between takes twice the time."""
    place = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
    return [_words.threefry(words, jnp.uint32(_words.DOMAIN + STREAM + i), place) for i in range(number)]


def _from_words(high: UInt32[Array, "*k"], low: UInt32[Array, "*k"]) -> Float[Array, "*k"]:
    """A standard normal variate, from a tail probability that is precise relative to itself down to 2⁻⁶⁴."""
    z = normal_tail((_whole(high) + (_whole(low) + 0.5) * 2.0**-31) * 2.0**-32)
    return jnp.where((high & jnp.uint32(1)) == jnp.uint32(1), z, -z)


def _uniform(word: UInt32[Array, "*k"]) -> Float[Array, "*k"]:
    """Uniform on (0, 1), in steps of 2⁻³¹."""
    return (_whole(word) + 0.5) * 2.0**-31


def _whole(word: UInt32[Array, "*k"]) -> Float[Array, "*k"]:
    """The upper 31 bits, by way of int32: a conversion from uint32 takes several instructions."""
    return lax.shift_right_logical(word, jnp.uint32(1)).astype(jnp.int32).astype(float)


def _quantile(z: Float[Array, "*k"], shape: Float[Array, "*k"]) -> Float[Array, "*k"]:
    """The quantile of Gamma(shape), shape ≥ 8, at the normal quantile z."""
    inverse = 1.0 / shape
    s = z * jnp.sqrt(inverse)
    zeroth, first, second = (_horner(row, s) for row in CUBE_ROOT)
    excess = s * zeroth + inverse * (first + inverse * second)  # of the cube root over 1
    return shape + shape * (excess * (3.0 + excess * (3.0 + excess)))


def _exp(y: Float[Array, "*k"]) -> Float[Array, "*k"]:
    """e^y for y ≤ 0 to float32 precision, with no function of XLA's that may round otherwise in the last lanes."""
    info = jnp.finfo(y.dtype)
    y = jnp.maximum(y, float(info.minexp) * 0.69314718)
    power = jnp.rint(y * 1.4426950408889634)
    r = (y - power * 0.693359375) + power * 2.12194440e-4
    word = jnp.int64 if y.dtype == jnp.float64 else jnp.int32
    scale = lax.bitcast_convert_type((power.astype(word) + (1 - info.minexp)) << word(info.nmant), y.dtype)
    return (1.0 + r * _horner(EXPONENTIAL, r)) * scale
