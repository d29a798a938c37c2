"""The variance of a smoothed bootstrap: a kernel density that is refitted to its own draws, exactly, for any p*.

Per dimension, relative to the truth's variance σ² and around its mean; n_t draws of α p* + (1 − α) p_{t−1}:

    X_t = σ² α + (1 − α) M_{t−1}             second moment of a draw; 1 − α: the mean synthetic share
    B_t = X_t / n_t + φ_t B_{t−1}             E (mean of p_t)²; φ_t: two draws that are both synthetic, see `risk`
    M_t = X_t + H_t                           second moment of p_t, H_t the expected kernel variance
    E Var p_t = M_t − B_t

    H_t = h²                                  a given bandwidth h
    H_t = c_t² n_t/(n_t − 1) (X_t − B_t)      a rule, h = c_t times the standard deviation (ddof 1);
                                              Silverman c = (n (d + 2)/4)^{−1/(d+4)},  Scott c = n^{−1/(d+4)}

α = 0, n constant: with h given M_t = σ² + (t + 1) h² grows without bound, of which E Var p_t → n h² stays within one
density; with a rule E Var p_t grows by 1 − 1/n + c² > 1 a generation. h = 0 is the recursion of `risk`: B_t = r_t σ².
Derived here by counting which kernels and which parents two draws share; random, fixed and round splits alike.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Num

from jaxcollapse._schedule import Schedule, evaluate
from jaxcollapse.theory._risk import checked, split_moments

RULES = ("silverman", "scott")


class KernelVariance(NamedTuple):
    """total M_t = within + mean: E of the second moment around the true mean, of the variance, of the squared mean."""

    total: Float[Array, " times"]
    within: Float[Array, " times"]
    mean: Float[Array, " times"]


def kernel_variance(
    alpha: Schedule,
    n: Schedule,
    generations: int,
    bandwidth: str | Num[ArrayLike, ""] = "silverman",
    *,
    variance: Num[ArrayLike, ""] = 1.0,
    dimension: int = 1,
    split: str = "random",
) -> KernelVariance:
    """E of the variance of a kernel density p_t in one dimension of several, t = 0..T, of a loop's schedules.

    `variance` is σ² of the truth in that direction (a rule's results are proportional to it), `bandwidth` a rule's name
    or h in the units of σ, `dimension` d enters the rules only. Exact for `Replace()` while n_t is at most the
    capacity. Errors: `ValueError` for an unknown rule, h < 0, schedules out of range, and a rule with n_t < 2.
    """
    return kernel_recursion(
        *evaluate(alpha, n, generations), bandwidth, variance=variance, dimension=dimension, split=split
    )


def kernel_recursion(
    alpha_t: Num[ArrayLike, " times"],
    n_t: Num[ArrayLike, " times"],
    bandwidth: str | Num[ArrayLike, ""] = "silverman",
    *,
    variance: Num[ArrayLike, ""] = 1.0,
    dimension: int = 1,
    split: str = "random",
) -> KernelVariance:
    """`kernel_variance` of arrays α_t and n_t with time t = 0..T; α_0 counts as 1, nothing is rounded."""
    alpha_t, n_t = checked(jnp.asarray(alpha_t, float).at[0].set(1.0), n_t)
    factor, added = _kernels(bandwidth, n_t, dimension)
    moments = split_moments(alpha_t, n_t, split)
    sigma2 = jnp.asarray(variance, float)

    def generation(carry, now):
        share, pairs, n, factor = now
        total, mean = carry
        drawn = (1 - share) * sigma2 + share * total
        mean = drawn / n + pairs * mean
        total = drawn + added + factor * (drawn - mean)
        return (total, mean), (total, mean)

    zero = jnp.zeros_like(sigma2)
    _, (total, mean) = jax.lax.scan(generation, (zero, zero), (moments.share, moments.pairs, n_t, factor))
    return KernelVariance(total, total - mean, mean)


def kernel_growth(n: Num[ArrayLike, "*P"], rule: str = "silverman", dimension: int = 1) -> Float[Array, "*P"]:
    """By how much a rule multiplies E Var p_t a generation without real data: 1 − 1/n + c² > 1."""
    n = jnp.asarray(n, float)
    factor, _ = _kernels(rule, n, dimension)
    return 1 - 1 / n + factor * (1 - 1 / n)


def _kernels(bandwidth, n, dimension: int):
    """(c² n/(n − 1), h²): what multiplies the expected variance of the data (ddof 0), and what is added."""
    if isinstance(dimension, bool) or not isinstance(dimension, int) or dimension < 1:
        raise ValueError(f"dimension: got {dimension}, expected a whole number of at least 1; try 1")
    if not isinstance(bandwidth, str):
        h = jnp.asarray(bandwidth, float)
        if not isinstance(bandwidth, Tracer) and not 0 <= bandwidth < jnp.inf:
            raise ValueError(f"bandwidth: got {bandwidth}, expected a finite number of at least 0; try 'silverman'")
        return jnp.zeros_like(n), h**2
    if bandwidth not in RULES:
        raise ValueError(f"bandwidth: got {bandwidth!r}, expected one of {', '.join(RULES)} or a number")
    if not isinstance(n, Tracer) and bool((n < 2).any()):
        raise ValueError(f"n: got {float(n.min()):g} draws, expected at least 2 for a rule; try a given bandwidth")
    base = n * (dimension + 2) / 4 if bandwidth == "silverman" else n
    return base ** (-2 / (dimension + 4)) * n / (n - 1), jnp.zeros(())
