"""The exact risk of distillation: each generation fits the previous model's probabilities instead of its samples.

    p_t = (R_t + s_t p_{t−1})/n_t,   R_t ~ p*^{k_t} the real draws,   s_t = n_t − k_t,   p_0 = D_0/n_0
    r_t = E k_t/n_t² + (E s_t²/n_t²) r_{t−1},   r_0 = 1/n_0;        sampled: E s_t/n_t² (1 − r_{t−1}) more
    random split   r_t = α_t/n_t + [(1 − α_t)² + α_t (1 − α_t)/n_t] r_{t−1}
    fixed split    r_t = α_t/n_t + (1 − α_t)² r_{t−1} where α_t n_t is whole

The only noise is that of real draws. r_t is a weighted mean of r_0 and q_1 … q_t, q = 1/(1 + (n − 1)(2 − α)) for the
random split, between 1/(2n − 1) and 1/n: no schedule collapses, r_t ≤ max 1/n_s; constant α and n only improve.
A generation weighs α_t (2 − α_t − (1 − α_t)/n_t), so memory is lost iff Σ α_t = ∞, whatever n_t:

    α_t = a₀ t^−a, n_t = n₀ t^b     recovery                       plateau              frozen      collapse
    sampled                         a < 1, b > a;  a = 1, b > 1    a = b ≤ 1            a, b > 1    b ≤ 1, b < a
    distilled                       a ≤ 1, b > 0                   a ≤ 1, b = 0         a > 1       never

Recovery is as t^−b/(2 n₀) for 0 < a < 1, as t^−b/(n₀ (2 − α)) for a = 0, and as t^−min(b, 2a₀) for a = 1, by a factor
ln t more where these are equal. The covariance is r_t (diag p* − p* p*ᵀ), as with samples. Derived here.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Num

from jaxcollapse._schedule import Schedule, evaluate
from jaxcollapse.theory._contexts import reciprocal_moment
from jaxcollapse.theory._range import ranged
from jaxcollapse.theory._risk import affine_scan, checked, split_moments


def distilled_risk(alpha: Schedule, n: Schedule, generations: int, split: str = "random") -> Float[Array, " times"]:
    """r_t of `Distilled(Tabular())` for t = 0..T, n_t rounded as the loop does: E‖P̂_t − p*‖² = r_t (1 − ‖p*‖²).

    Exact for `Replace()`, maximum likelihood and unigrams, every t, every p*. α = 0: r_0 for ever; α = 1: 1/n_t.
    Errors: `ValueError` for schedules out of range or an unknown split; under a trace NaN from there on.
    """
    return distilled_recursion(*evaluate(alpha, n, generations), split)


def distilled_recursion(
    alpha_t: Num[ArrayLike, "times *P"], n_t: Num[ArrayLike, "times *P"], split: str = "random"
) -> Float[Array, "times *P"]:
    """`distilled_risk` of arrays α_t and n_t, t = 0..T along the first axis; α_0 counts as 1, nothing is rounded.

    Differentiable ("round" has gradient 0 in α), works under jit and vmap; all terms are positive.
    Errors: `ValueError` for concrete α outside [0, 1], n below 1, or an unknown split.
    """
    alpha_t, n_t = checked(jnp.asarray(alpha_t, float).at[0].set(1.0), n_t)
    moments, real = split_moments(alpha_t, n_t, split), _real_share(alpha_t, n_t, split)
    return affine_scan(moments.pairs + moments.share / n_t, real / n_t)


def distilled_plateau(
    alpha: Num[ArrayLike, "*#P"], n: Num[ArrayLike, "*#P"], split: str = "random"
) -> Float[Array, "*#P"]:
    """r_∞ of constant α and n: 1/(n (2 − α) − (1 − α)), random split; 1/(n (2 − α)), fixed, where α n is whole.

    Approached as (1 − α)^{2t}. α → 0: 1/(2n − 1), half the risk of real data alone, where samples collapse; without
    real draws (α = 0, or α n < ½ with split "round"): NaN, as every risk stays what it was; α = 1 or n = 1: 1/n.
    Errors as `distilled_recursion`.
    """
    alpha, n = checked(alpha, n)
    real = jnp.where((share := _real_share(alpha, n, split)) > 0, share, jnp.nan)
    return 1 / (1 + n * split_moments(alpha, n, split).fresh / real)


def distilled_context_risk(
    alpha: Schedule, n: Schedule, contexts: Float[ArrayLike, " c"], generations: int, split: str = "random"
) -> Float[Array, "times c"]:
    """r_{c,t} of every row of a `c v` table, t = 0..T: the contexts of a generation are drawn, their labels distilled.

    With m ~ Binomial(n_t, π_c) visits, k of them real, r_t = k/m² + ((m − k)/m)² r_{t−1}, and r_{t−1} where m = 0;
    `contexts` is π. Relative to 1 − ‖p*(· | c)‖². π_c = 1: `distilled_risk`; π_c → 0: 1, as nothing is ever seen.
    Errors: `ValueError` for schedules out of range or π_c outside [0, 1]; under a trace NaN.
    """
    valid = lambda p: (p >= 0) & (p <= 1)
    pi = ranged("contexts", contexts, valid, "probabilities in [0, 1]", "target.contexts")
    alpha_t, n_t = evaluate(alpha, n, generations)
    moments, real = split_moments(alpha_t, n_t, split), _real_share(alpha_t, n_t, split)
    pairs = moments.pairs * n_t / jnp.maximum(n_t - 1, 1.0)  # two different draws are both synthetic
    return _rows(real, moments.share, pairs, n_t, pi)


def _real_share(alpha: Float[Array, "*P"], n: Float[Array, "*P"], split: str) -> Float[Array, "*P"]:
    """E k/n, without the cancellation of 1 − E s/n."""
    alpha, n = jnp.broadcast_arrays(alpha, n)
    return jnp.rint(alpha * n) / n if split == "round" else alpha


@jax.jit
def _rows(real, synthetic, pairs, n_t, pi):
    def step(r, generation):
        real, synthetic, pairs, n = generation
        visited, reciprocal = -jnp.expm1(n * jnp.log1p(-pi)), reciprocal_moment(n, pi)
        lost = visited * (1 - pairs) + reciprocal * (pairs - synthetic)
        r = r * (1 - lost) + real * reciprocal
        return r, r

    return jax.lax.scan(step, jnp.ones_like(pi), (real, synthetic, pairs, n_t))[1]
