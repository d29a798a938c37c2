"""Learning by gradient descent: the one training loop of the families that have no closed form.

    θ_{k+1} = θ_k + u_k,    (u_k, s_{k+1}) = optimiser(∇_θ loss(θ_k; key_k), s_k, θ_k),    k = 0 … K − 1

The optimiser is a function rate -> `optax.GradientTransformation`, such as `optax.adam`: a rate can then be swept, and
equal settings are one program; keep one `functools.partial` or lambda, since a new one is never equal to it. K is small
where an early stop is wanted.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jax.core import Tracer
from jaxtyping import Array, Float, Num, PRNGKeyArray, PyTree

from jaxcollapse._schedule import brief

Optimiser = Callable[[Any], optax.GradientTransformation]


def descend(
    loss: Callable[[PyTree, PRNGKeyArray], Float[Array, ""]],
    start: PyTree,
    optimiser: Optimiser,
    rate: Num[Array, ""],
    steps: int,
    *,
    key: PRNGKeyArray,
) -> tuple[PyTree, Float[Array, " K"]]:
    """The parameters after `steps` updates, and the loss before each of them; what diverges ends as NaN or infinite."""
    made = optax.with_extra_args_support(optimiser(rate))

    def update(carry, k):
        parameters, state = carry
        at = lambda parameters: loss(parameters, jr.fold_in(key, k))
        value, gradient = jax.value_and_grad(at)(parameters)
        with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):  # inside optax
            change, state = made.update(gradient, state, parameters, value=value, grad=gradient, value_fn=at)
        return (optax.apply_updates(parameters, change), state), value

    (found, _), losses = jax.lax.scan(update, (start, made.init(start)), jnp.arange(steps))
    return found, losses


def check(optimiser: Any, rate: Any, steps: Any, batch_size: Any) -> None:
    """Raises `ValueError` for what no training can begin with."""
    if isinstance(optimiser, optax.GradientTransformation):
        raise ValueError("optimiser: got one with its rate; try optimiser=optax.adam, rate=0.1, which can be swept")
    if not callable(optimiser) or not _makes_updates(optimiser):
        expected = "a function rate -> optax.GradientTransformation"
        raise ValueError(f"optimiser: got {brief(optimiser)}, expected {expected}; try optax.adam")
    if callable(rate):
        example = "optimiser=lambda rate: optax.adam(optax.cosine_decay_schedule(rate, steps)), rate=0.1"
        raise ValueError(f"rate: got a schedule or another function, expected one positive number; try {example}")
    check_number("rate", rate, lambda x: x > 0, "one positive number; try 0.1")
    for name, value, least in (("steps", steps, "try 200"), ("batch_size", batch_size, "try None, all of the data")):
        if name == "batch_size" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
            raise ValueError(f"{name}: got {brief(value)}, expected a whole number of at least 1; {least}")


def check_number(name: str, value: Any, valid: Callable[[float], bool], expected: str) -> None:
    """Raises `ValueError` for what is not one finite number of Python, NumPy or JAX, and valid; a traced one passes."""
    if isinstance(value, Tracer):
        return
    kind = getattr(value, "dtype", type(value))
    real = any(jnp.issubdtype(kind, numbers) for numbers in (jnp.integer, jnp.floating))
    one = float(np.asarray(value)) if real and not np.ndim(value) else np.nan
    if not (np.isfinite(one) and valid(one)):
        raise ValueError(f"{name}: got {brief(value)}, expected {expected}")


def check_start(start: Any, base: type) -> None:
    """Raises `ValueError` for what is no place where a fit starts: two words, or a model of the class `base`."""
    if not isinstance(start, base) and not (isinstance(start, str) and start in ("scratch", "previous")):
        expected = f"'scratch', 'previous' or a {base.__name__}"
        raise ValueError(f"start: got {brief(start)}, expected {expected}; try 'scratch'")


def _makes_updates(optimiser: Any) -> bool:
    try:
        return isinstance(optimiser(0.1), optax.GradientTransformation)
    except TypeError:
        return False
