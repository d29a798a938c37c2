"""What the samplers accept: concrete misuse is a `ValueError`, traced misuse a mask that turns counts into −1."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Num


def largest() -> int:
    """Counts go up to 2³¹ − 1 in 32-bit mode and up to 2⁵³ under `jax.enable_x64`."""
    return 2**53 if jax.config.jax_enable_x64 else 2**31 - 1


def counts(name: str, n: Num[ArrayLike, "*n"]) -> tuple[Int[Array, "*n"], Bool[Array, "*n"]]:
    """n as integers of the default width, and where it is a number of draws."""
    if isinstance(n, jax.core.Tracer):
        if jnp.issubdtype(n.dtype, jnp.floating):
            inside = (n >= 0) & (n < float(largest() + 1)) & (n == jnp.floor(n))
            return jnp.where(inside, n, jnp.zeros_like(n)).astype(int), inside
        whole = n.astype(int)
        inside = (whole >= 0) & (whole <= largest())
        return jnp.where(inside, whole, jnp.zeros_like(whole)), inside
    value = np.asarray(n)
    inside = np.isfinite(value) & (value >= 0) & (value <= largest()) & (value == np.floor(value))
    if not inside.all():
        raise ValueError(
            f"{name}: got {value[~inside].flat[0]}, expected whole numbers from 0 to {largest()}; "
            "try rounding, or jax.enable_x64(True) for more than 2147483647 draws"
        )
    return jnp.asarray(value.astype(np.int64 if jax.config.jax_enable_x64 else np.int32)), jnp.asarray(inside)


def weights(name: str, p: Num[ArrayLike, "*p"], most: float) -> tuple[Float[Array, "*p"], Bool[Array, "*p"]]:
    """p as floats of the default width, and where it is a finite number from 0 to `most`."""
    if not isinstance(p, jax.core.Tracer):
        value = np.asarray(p)
        inside = np.isfinite(value) & (value >= 0) & (value <= most)
        if not inside.all():
            expected = "probabilities in [0, 1]" if most == 1 else "finite weights of at least 0"
            raise ValueError(f"{name}: got {value[~inside].flat[0]}, expected {expected}; try clipping them at 0")
    real = jnp.asarray(p, float)
    inside = jnp.isfinite(real) & (real >= 0) & (real <= most)
    return jnp.where(inside, real, jnp.zeros_like(real)), inside


def broadcast(names: str, *shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape of the arguments."""
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        got = " and ".join(str(shape) for shape in shapes)
        raise ValueError(f"{names}: got shapes {got}, expected shapes that broadcast together") from None
