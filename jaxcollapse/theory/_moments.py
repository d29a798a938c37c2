"""The exact variance of one lineage's squared error S_t = ‖P̂_t − p*‖² (random split, maximum likelihood, `Replace`).

With d = P̂_{t−1} − p*, b = 1 − α_t, P = p* + b d the law that generation t draws from, s_k = Σ p*^k:

    E dd      = r_t κ₂(p*)       κ₂, κ₃ the covariance and third cumulant of one draw from p*
    E ddd     = τ_t κ₃(p*)       τ_t = b³(1 − 1/n)(1 − 2/n) τ_{t−1} + (3/n)(1 − 1/n) b² r_{t−1} + 1/n²
    E[S_t|P]  = (1 − s_2)/n − (2b/n) Σ p*d + b²(1 − 1/n) S_{t−1}
    Var[S_t|P] = (4/n) Var_P[(1 − 1/n)P − p*] + (2(n − 1)/n³)(A + A² − 2 Σ P³),   A = Σ P²
    Var S_t   = E Var[S_t|P] + Var E[S_t|P]

All expectations close on r, τ and Var S_{t−1}: three scalars, whatever the vocabulary. Near collapse, where a sample of
64 lineages has variance 0, this is the only standard error there is. Derived here: the conditional variance is the
Hoeffding decomposition of the quadratic form Σ N(N − 1)/n² − 2 Σ p*N/n of a multinomial N.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Num

from jaxcollapse._schedule import Schedule, evaluate
from jaxcollapse.theory._risk import checked


def risk_variance(
    alpha: Schedule, n: Schedule, probs: Float[ArrayLike, " v"], generations: int
) -> Float[Array, " times"]:
    """Var S_t of ONE lineage for t = 0..T, n_t rounded as the loop does; the mean is r_t (1 − Σ p*²), `risk`.

    The exact standard error of a mean over L lineages is sqrt(Var S_t / L). Units of probability to the fourth.
    α = 1: that of n real draws; collapse (r → 1): the variance of 1 + s_2 − 2 p*_i over i ~ p*, 0 for a uniform p*.
    Float32: absolute error below 10⁻⁶ (1 − s_2)², relative error 10⁻⁵ away from collapse onto a uniform p*.
    Errors: `ValueError` for schedules out of range; under a trace NaN from the first such generation on.
    """
    return risk_variance_recursion(*evaluate(alpha, n, generations), probs)


def risk_variance_recursion(
    alpha_t: Num[ArrayLike, " times"], n_t: Num[ArrayLike, " times"], probs: Float[ArrayLike, " v"]
) -> Float[Array, " times"]:
    """Var S_t of arrays α_t and n_t, t = 0..T; α_0 counts as 1, nothing is rounded. See `risk_variance`."""
    alpha_t, n_t = checked(jnp.asarray(alpha_t, float).at[0].set(1.0), n_t)
    p = jnp.asarray(probs, float)
    return _scan(alpha_t, n_t, jnp.sum(p**2), jnp.sum(p**3))


@jax.jit
def _scan(alpha_t, n_t, s2, s3):
    def step(state, schedule):
        state = _step(state, schedule, s2, s3)
        return state, state[2]

    zero = jnp.zeros((), alpha_t.dtype)
    return jax.lax.scan(step, (zero, zero, zero), (alpha_t, n_t))[1]


def _step(state, schedule, s2, s3):
    """(r, τ, Var S) of one generation from those of the one before."""
    (r, tau, variance), (alpha, n) = state, schedule
    b, e = 1 - alpha, 1 / n
    c = 1 - e
    spread = s3 - s2**2
    q, linear, mixed = r * (1 - s2), r * spread, -2 * tau * spread  # E S, E(Σp*d)², E SΣp*d
    cubes, weighted = tau * (1 - 3 * s2 + 2 * s3), r * (s2 - s3)  # E Σd³, E Σp*d²
    square = variance + q**2  # E S²
    between = (2 * b * e) ** 2 * linear - 4 * b**3 * e * c * mixed + (b**2 * c) ** 2 * variance
    first = _projection(b, e, c, q, linear, mixed, cubes, weighted, square, s2, s3)
    mean_a = s2 + b**2 * q
    mean_a2 = s2**2 + 4 * b**2 * linear + b**4 * square + 2 * s2 * b**2 * q + 4 * b**3 * mixed
    second = mean_a + mean_a2 - 2 * (s3 + 3 * b**2 * weighted + b**3 * cubes)
    within = 4 * e * first + 2 * c * e**2 * second
    tau = b**3 * c * (1 - 2 * e) * tau + 3 * e * c * b**2 * r + e**2
    return e + c * b**2 * r, tau, jnp.maximum(within + between, 0.0)  # rounding, where the exact value is 0


def _projection(b, e, c, q, linear, mixed, cubes, weighted, square, s2, s3):
    """E Var_P[(1 − 1/n)P − p*] = E ΣP w² − E(ΣP w)², w = c b d − e p*."""
    mean_square = (c**2 - 2 * c * e) * b**2 * weighted + c**2 * b**3 * cubes + e**2 * s3
    square_mean = (
        ((c - e) * b) ** 2 * linear
        + (c * b**2) ** 2 * square
        + (e * s2) ** 2
        + 2 * (c - e) * c * b**3 * mixed
        - 2 * c * b**2 * e * s2 * q
    )
    return mean_square - square_mean
