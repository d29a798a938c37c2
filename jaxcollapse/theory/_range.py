"""Arguments of exact results: a concrete one out of its range is a `ValueError`, a traced one NaN."""

from collections.abc import Callable

import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Num


def ranged(
    name: str,
    value: Num[ArrayLike, "*P"],
    valid: Callable[[Float[Array, "*P"]], Bool[Array, "*P"]],
    expected: str,
    example: str,
) -> Float[Array, "*P"]:
    """The value as floats of the default width, NaN where a traced one is not valid."""
    value = jnp.asarray(value, float)
    inside = valid(value)
    if not isinstance(inside, Tracer) and not bool(inside.all()):
        raise ValueError(f"{name}: got {value[~inside].ravel()[0]}, expected {expected}; try {example}")
    return jnp.where(inside, value, jnp.nan)
