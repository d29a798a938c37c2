"""Means that are refitted to their own samples, in families with a quadratic variance V(θ) = v₀ + v₁ θ + v₂ θ².

    r_t = E (θ_t − θ*)² / V(θ*) = 1/n_t + (φ_t + (1 + v₂) a_t/n_t) r_{t−1}

with a = E s/n and φ = E s(s − 1)/n² of the s synthetic draws among n (`risk`). Given s, θ_t has mean θ* + (s/n) δ and
variance [(n − s) V(θ*) + s V(θ_{t−1})]/n², and E V(θ_{t−1}) = V(θ*) + v₂ E δ², since E δ = 0. v₂ = −1, Bernoulli, is
`risk`; v₂ = 0, Poisson and the mean of a normal law of known variance, grows without bound at α = 0, as v₂ = 1, the
exponential law, does. Families: Morris, Ann. Statist. 10 (1982) 65; the recursion is derived here.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Num

from jaxcollapse._schedule import Schedule, evaluate
from jaxcollapse.theory._risk import affine_scan, checked, split_moments


def mean_parameter(
    alpha: Schedule, n: Schedule, generations: int, curvature: Num[ArrayLike, ""], split: str = "random"
) -> Float[Array, " times"]:
    """r_t = E (θ_t − θ*)²/V(θ*) for t = 0..T; curvature v₂: −1 Bernoulli, 0 Poisson, 1 exponential.

    Exact for `Replace()`, n_t rounded as the loop does. α = 1: 1/n_t. α = 0 and constant n: (t + 1)/n for v₂ = 0.
    Errors: `ValueError` for schedules out of range; under a trace NaN from the first such generation on.
    """
    alpha_t, n_t = evaluate(alpha, n, generations)
    alpha_t, n_t = checked(alpha_t.at[0].set(1.0), n_t)
    moments = split_moments(alpha_t, n_t, split)
    return affine_scan(moments.pairs + (1 + jnp.asarray(curvature, float)) * moments.share / n_t, 1 / n_t)
