"""What the samplers accept: concrete misuse is a `ValueError`, traced misuse a mask that turns counts into −1."""

from contextlib import AbstractContextManager, nullcontext

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Num


def largest() -> int:
    """Counts go up to 2³¹ − 1 in 32-bit mode and up to 2⁵³ under `jax.enable_x64`."""
    return 2**53 if jax.dtypes.canonicalize_dtype(np.int64) == np.int64 else 2**31 - 1


def counts(name: str, n: Num[ArrayLike, "*n"]) -> tuple[Int[Array, "*n"], Bool[Array, "*n"]]:
    """n as integers of the default width, and where it is a number of draws."""
    if isinstance(n, Tracer):
        if jnp.issubdtype(n.dtype, jnp.floating):
            # 2³¹ − 1 is no float32: the bound is tested below 2³¹, before a cast that would saturate.
            inside = (n >= 0) & (n < float(largest() + 1)) & (n == jnp.floor(n))
            return jnp.where(inside, n, jnp.zeros_like(n)).astype(int), inside
        whole = n.astype(int)
        inside = (whole >= 0) & (whole <= largest())
        return jnp.where(inside, whole, jnp.zeros_like(whole)), inside
    value = np.asarray(n)
    if value.dtype.kind not in "iuf":
        raise ValueError(f"{name}: got {n!r}, expected whole numbers from 0 to {largest()}")
    exact = value.astype(np.float64) if value.dtype.kind == "f" else value  # 2³¹ − 1 is no float32
    inside = np.asarray(np.isfinite(exact) & (exact >= 0) & (exact <= largest()) & (exact == np.floor(exact)))
    if not inside.all():
        raise ValueError(
            f"{name}: got {value[~inside].flat[0]}, expected whole numbers from 0 to {largest()}; "
            "try rounding, or jax.enable_x64(True) for more than 2147483647 draws"
        )
    return jnp.asarray(value.astype(jax.dtypes.canonicalize_dtype(np.int64))), jnp.asarray(inside)


def between(
    name: str, x: Num[ArrayLike, "*x"], most: float, expected: str
) -> tuple[Float[Array, "*x"], Bool[Array, "*x"]]:
    """x as floats of the default width, and where it is a number from 0 to `most`, up to a few rounding errors."""
    with known(x):
        real = _real(name, x)
        inside = (real >= 0) & (real <= most * (1 + 8 * float(jnp.finfo(real.dtype).eps)))
        if not isinstance(inside, Tracer) and not inside.all():
            raise ValueError(f"{name}: got {np.asarray(real)[~np.asarray(inside)].flat[0]}, expected {expected}")
        return jnp.where(inside, jnp.minimum(real, most), 0.0), inside


def rows(name: str, p: Num[ArrayLike, "*b v"]) -> tuple[Float[Array, "*b v"], Bool[Array, "*b"], Bool[Array, "*b"]]:
    """p as floats of the default width, where its last axis holds weights whose sum does not overflow, and is not 0."""
    with known(p):
        real = _real(name, p)
        # As whole numbers the bits of floats are ordered, with those of negative ones and NaN last: one maximum tells.
        word = jnp.uint64 if real.dtype == jnp.float64 else jnp.uint32
        bits = jnp.where(real == 0, jnp.zeros((), word), lax.bitcast_convert_type(real, word))
        # Nor may a multiple of the sum overflow, such as `_binomial` forms.
        largest, most = bits.max(-1), np.asarray(jnp.finfo(real.dtype).max / 2**10 / real.shape[-1], real.dtype)
        finite = largest <= most.view(word)
        if not isinstance(finite, Tracer) and not finite.all():
            value = np.asarray(real)
            wrong = value[~(np.isfinite(value) & (value >= 0))]
            got = wrong[0] if wrong.size else value.max()
            raise ValueError(
                f"{name}: got {got}, expected finite weights from 0 to {most:.3g}; try to divide them by their sum"
            )
        return real, finite, largest > 0


def known(*arguments: Num[ArrayLike, "..."]) -> AbstractContextManager:
    """Where arguments are checked: in a trace, too, those that are no part of it are checked at once."""
    return nullcontext() if any(isinstance(x, Tracer) for x in arguments) else jax.ensure_compile_time_eval()


def _real(name: str, x: Num[ArrayLike, "*x"]) -> Float[Array, "*x"]:
    try:
        return jnp.asarray(x, float)
    except (TypeError, ValueError):
        raise ValueError(f"{name}: got {x!r}, expected numbers") from None


def broadcast(names: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape of the arguments."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        got = " and ".join(str(shape) for shape in shapes)
        raise ValueError(f"{names}: got shapes {got}, expected shapes that broadcast together") from None
