"""Where collapse seems to begin at a finite horizon: the contour r_T = level, and the scaling that removes the horizon.

    r_T(x) = level, with r_T from the exact (rounded) recursion          `boundary`
    b = a − ln(2 n_0 a_0)/ln T for α_t = a_0 t^−a, n_t = n_0 t^b, a < 1   `leading_order_boundary`
    r_T ≈ 1/(1 + 2x),  x = (n_T − 1) α_T (2 − α_T)/2                      `scaling_curve`, `scaling_variable`

The smeared boundary approaches the asymptotic one only as 1/ln T. Derived from r → q (see `quasi_equilibrium`).
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Num

from jaxcollapse._schedule import Schedule
from jaxcollapse.theory._risk import risk


def boundary(
    schedules: Callable[[Float[Array, ""]], tuple[Schedule, Schedule]],
    generations: int,
    *,
    level: float | int = 0.5,
    bracket: tuple[float | int, float | int] = (0.0, 2.0),
    split: str = "random",
) -> Float[Array, ""]:
    """The x in `bracket` at which r_T crosses `level`; `schedules(x)` gives (α, n), e.g. of the growth exponent b.

    Bisection of the rounded recursion, exact to rounding: n_t rounds, so r_T has small steps and x is where it steps
    across. r_T should be monotone in x (of several crossings one is found); NaN where it does not cross. Works under
    jit and vmap: `jax.vmap(lambda a: boundary(lambda b: (PowerLaw(0.5, exponent=-a), PowerLaw(20.0, exponent=b)), T))`.
    Errors: `ValueError` for an empty bracket, generations below 1, a level outside (0, 1).
    """
    if not bracket[0] < bracket[1]:
        raise ValueError(f"bracket: got {bracket}, expected (low, high) with low < high; try (0.0, 2.0)")
    if not 0 < level < 1:
        raise ValueError(f"level: got {level}, expected a relative risk in (0, 1); try 0.5")
    excess = jax.jit(lambda x: risk(*schedules(x), generations, split)[-1] - level)
    return _bisect(excess, jnp.asarray(bracket[0], float), jnp.asarray(bracket[1], float))


def _bisect(excess: Callable, low: Float[Array, ""], high: Float[Array, ""]) -> Float[Array, ""]:
    start = excess(low) > 0

    def halve(_, ends):
        middle = (ends[0] + ends[1]) / 2
        same = (excess(middle) > 0) == start
        return jnp.where(same, middle, ends[0]), jnp.where(same, ends[1], middle)

    steps = jnp.finfo(low.dtype).nmant + 2
    left, right = jax.lax.fori_loop(0, steps, halve, (low, high))
    crosses = excess(low) * excess(high) <= 0  # NaN, a schedule out of range, does not
    middle = jnp.asarray((left + right) / 2)
    return jnp.select([crosses & jnp.isfinite(excess(right))], [middle], jnp.nan)


def leading_order_boundary(
    a: Num[ArrayLike, "*P"], a_0: Num[ArrayLike, ""], n_0: Num[ArrayLike, ""], generations: int
) -> Float[Array, "*P"]:
    """b = a − ln(2 n_0 a_0)/ln T, where r_T = 1/2 to leading order for a < 1; T → ∞: the asymptotic boundary b = a.

    An annotation, not a result: at n_0 = 20, a_0 = 0.5, T = 300 it errs by 0.004 (a = 0.7) and 0.048 (a = 1).
    """
    shift = jnp.log(2 * jnp.asarray(n_0, float) * jnp.asarray(a_0, float)) / jnp.log(jnp.asarray(generations, float))
    return jnp.asarray(a, float) - shift


def scaling_variable(alpha_t: Num[ArrayLike, "*#P"], n_t: Num[ArrayLike, "*#P"]) -> Float[Array, "*#P"]:
    """x = (n − 1) α (2 − α)/2 ≈ n α, the real draws a generation: runs with a < 1 fall on `scaling_curve(x)`."""
    alpha, n = jnp.asarray(alpha_t, float), jnp.asarray(n_t, float)
    return (n - 1) * alpha * (2 - alpha) / 2


def scaling_curve(x: Num[ArrayLike, "*P"]) -> Float[Array, "*P"]:
    """r = 1/(1 + 2x): 1 at x = 0 (collapse), 1/(2x) for x → ∞ (recovery)."""
    return 1 / (1 + 2 * jnp.asarray(x, float))
