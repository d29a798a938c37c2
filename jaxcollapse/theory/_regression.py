"""Exact error of regression that is fitted to its own labels, and the best weight of real against synthetic data.

y = x·w + σε, x ~ N(0, I_d) fresh in every generation, least squares; e_t = E‖ŵ_t − w*‖²/σ², s_t of n_t rows synthetic:

    replace      e_t = φ(s_t, n_t) e_{t−1} + d/(n_t − d − 1),   e_0 = d/(n_0 − d − 1)
                 φ(s, n) = s(s + 2)/(n(n + 2)) + [s(n − s)/((n − 1)n(n + 2))] · [(nd − 2)/(n − d − 1) − 1]
    accumulate   e_t = e_{t−1} + (n_t/N_t) d/(N_t − d − 1),   N_t = Σ_{s≤t} n_s                           (α = 0)

φ = E tr(A⁻¹S·SA⁻¹)/d, S ~ Wishart(s), A − S ~ Wishart(n − s): U = A^−½SA^−½ is a matrix beta, independent of A, with
E UBU = [s(s+2)/(n(n+2)) − c]B + c tr(B) I, c = s(n−s)/((n−1)n(n+2)), and E tr A tr A⁻¹ = d(nd − 2)/(n − d − 1).

The same X in every generation: each eigenvalue v of XᵀX/T is a scalar chain (`fixed_design`), and the factor of
accumulation over replacement's first fit is Σ 1/i² exactly, up to π²/6; fresh X stays below it.

Source of t σ²d/(T − d − 1) and π²/6: Gerstgrasser et al., arXiv 2404.01413. The finite (T, d) values are derived here.
Weights: He, Xu and Cheng, arXiv 2502.18049; also Garg, Bhattacharya and Sur, arXiv 2509.22341.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Num

from jaxcollapse._schedule import Constant, Schedule, evaluate
from jaxcollapse.theory._range import ranged
from jaxcollapse.theory._risk import affine_scan, split_moments


def regression(
    alpha: Schedule, n: Schedule, generations: int, dimension: int, split: str = "random"
) -> Float[Array, " times"]:
    """E‖ŵ_t − w*‖²/σ² of least squares on fresh Gaussian designs with `Replace()`, for t = 0..T.

    α = 0, constant n: (t + 1) d/(n − d − 1). α = 1: d/(n_t − d − 1). n → ∞, constant α: d/(n α(2 − α)).
    n_t = d + 1: ∞. Errors: `ValueError` for schedules out of range, n_t < d + 1 or an unknown split; traced, NaN.
    """
    alpha_t, n_t = evaluate(alpha, n, generations)
    n_t = _enough(n_t, dimension)
    return _on_fresh_designs(n_t, split_moments(alpha_t, n_t, split), float(dimension))


@jax.jit
def _on_fresh_designs(n_t, moments, d) -> Float[Array, " times"]:
    inverse = 1 / (n_t - d - 1)
    # E s(s + 2) and E s(n − s), over n².
    same, mixed = moments.pairs + 3 * moments.share / n_t, moments.share * (1 - 1 / n_t) - moments.pairs
    apart = mixed / jnp.maximum(n_t - 1, 1.0) * ((n_t * d - 2) * inverse - 1)
    keep = (same + jnp.where(mixed > 0, apart, 0.0)) * n_t / (n_t + 2)
    return affine_scan(keep.at[0].set(0.0), d * inverse)


def regression_accumulate(n: Schedule, generations: int, dimension: int) -> Float[Array, " times"]:
    """E‖ŵ_t − w*‖²/σ² of least squares on fresh Gaussian designs with `Accumulate()`, α = 0, for t = 0..T.

    Constant n = T rows: Σ_{i=1..t+1} d/(i(iT − d − 1)), between `accumulation_factor(t)` times d/T and times
    d/(T − d − 1). Only n_0 must be at least d + 1. Errors as `regression`.
    """
    _, n_t = evaluate(Constant(0.0), n, generations)
    pool = jnp.cumsum(n_t)
    pool = pool.at[0].set(_enough(pool[:1], dimension)[0])
    return jnp.cumsum(n_t / pool * dimension / (pool - dimension - 1))


def accumulation_factor(generations: int) -> Float[Array, " times"]:
    """Σ_{i=1..t+1} 1/i² for t = 0..T, → π²/6: how errors add up where all labels are kept, the same X each round.

    Replacement's factor is t + 1. Errors: `ValueError` for fewer than one generation.
    """
    if generations < 1:
        raise ValueError(f"generations: got {generations}, expected a whole number of at least 1; try 100")
    return jnp.cumsum(1 / jnp.arange(1, generations + 2).astype(float) ** 2)


def fixed_design(
    alpha: Schedule,
    n: Schedule,
    generations: int,
    spectrum: Num[ArrayLike, " d"],
    weights: Num[ArrayLike, " d"] | None = None,
    noise: Num[ArrayLike, ""] = 1.0,
    penalty: Num[ArrayLike, ""] = 0.0,
    decay: Num[ArrayLike, ""] = 0.0,
    split: str = "random",
) -> Float[Array, " times"]:
    """E‖ŵ_t − w*‖² for the same X in every generation, with penalty λ and pool D_t = ρ D_{t−1} + batch, t = 0..T.

    `spectrum` v are the eigenvalues of XᵀX/T, `weights` w* in their eigenvectors (0 if left out: then λ has no bias),
    `noise` σ; ρ = `decay` = 0 replaces, 1 accumulates. In each eigenvector the pool's least squares u is a scalar,

        u_t = (1 − ω)u_{t−1} + ω[a w* + (1 − a) h u_{t−1} + ζ],   ŵ = h u,   ζ ~ N(0, σ²/(n_t v))

    with h = v/(v + λ), ω = n_t/N_t, a = (real draws)/n_t. λ = 0, α = 0,
    n = T: (t + 1) σ² tr((XᵀX)⁻¹) at ρ = 0, with Σ 1/i² in place of t + 1 at ρ = 1.
    Errors: `ValueError` for schedules out of range and concrete numbers below 0 (spectrum: not above 0); traced, NaN.
    """
    v = ranged("spectrum", spectrum, lambda v: v > 0, "eigenvalues above 0", "fewer covariates")[None]
    w = jnp.broadcast_to(jnp.asarray(0.0 if weights is None else weights, float), v.shape[1:])[None]
    noise = ranged("noise", noise, lambda x: x >= 0, "a standard deviation of at least 0", "1.0")
    penalty = ranged("penalty", penalty, lambda x: x >= 0, "a number of at least 0", "0.1")
    decay = ranged("decay", decay, lambda x: (x >= 0) & (x <= 1), "a number in [0, 1]", "1.0")
    alpha_t, n_t = evaluate(alpha, n, generations)
    moments = split_moments(alpha_t, n_t, split)
    return _in_eigenvectors(n_t, moments, v, w, noise, penalty, decay)


@jax.jit
def _in_eigenvectors(n_t, moments, v, w, noise, penalty, decay) -> Float[Array, " times"]:
    """`fixed_design` of checked numbers: both moments of u − w in each eigenvector, where no w² cancels."""
    fresh = (n_t / affine_scan(jnp.broadcast_to(decay, n_t.shape), n_t))[:, None]
    kept, shrink = 1 - fresh, v / (v + penalty)
    bias, pull = -penalty / (v + penalty) * w, fresh * shrink
    share, twice = moments.share[:, None], (moments.pairs + moments.share / n_t)[:, None]  # E(1 − a), E(1 − a)²
    mean = affine_scan(kept + pull * share, fresh * share * bias)
    before = jnp.concatenate([jnp.zeros_like(mean[:1]), mean[:-1]])
    add = 2 * fresh * bias * (kept * share + pull * twice) * before
    add = add + fresh**2 * (twice * bias**2 + noise**2 / (n_t[:, None] * v))
    second = affine_scan(kept**2 + 2 * kept * pull * share + pull**2 * twice, add)
    return (shrink**2 * second + 2 * shrink * bias * mean + bias**2).sum(-1)


def weighted_plateau(
    weight: Num[ArrayLike, "*#P"], real: Num[ArrayLike, "*#P"], synthetic: Num[ArrayLike, "*#P"]
) -> Float[Array, "*#P"]:
    """r_∞ of a table trained on w × (n_r fresh real draws) + (1 − w) × (n_s draws of the last model), over 1 − ‖p*‖².

    r_∞ = [w²/n_r + (1 − w)²/n_s] / [1 − (1 − w)²(1 − 1/n_s)]. w = 1: 1/n_r; w = 0: 1, collapse; the pooled
    w = n_r/(n_r + n_s): an effective n_r(n_r + 2n_s)/(n_r + n_s) real draws at large n, at most 2 n_r.
    Linear regression with the same X (and a Gaussian mean with known variance) has 1 in place of 1 − 1/n_s, in units of
    σ² tr((XᵀX/T)⁻¹). Errors: `ValueError` for w outside [0, 1] or sizes below 1.
    """
    weight, real, synthetic = _weighted(weight, real, synthetic)
    rest = (1 - weight) ** 2
    return (weight**2 / real + rest / synthetic) / (weight * (2 - weight) + rest / synthetic)


def weighted_recursion(
    weight: Num[ArrayLike, ""], real: Num[ArrayLike, ""], synthetic: Num[ArrayLike, ""], generations: int, start: float
) -> Float[Array, " times"]:
    """r_t, t = 0..T, of the weighted training of `weighted_plateau` from r_0 = `start` (1/n_0 after n_0 real draws)."""
    weight, real, synthetic = _weighted(weight, real, synthetic)
    rest = (1 - weight) ** 2
    add = jnp.broadcast_to(weight**2 / real + rest / synthetic, (generations + 1,)).at[0].set(start)
    return affine_scan(jnp.broadcast_to(rest * (1 - 1 / synthetic), add.shape), add)


def golden_weight(ratio: Num[ArrayLike, "*P"]) -> Float[Array, "*P"]:
    """w* = (√(k² + 4k) − k)/2, the best weight of real data at large n, k = n_r/n_s; k = 1: 1/golden ratio = 0.618….

    k → ∞: 1; k → 0: √k. Exact at every n for regression with the same X. Errors: `ValueError` for k < 0.
    """
    k = ranged("ratio", ratio, lambda k: k >= 0, "n_r/n_s of at least 0", "1.0")
    return 2 * k / jnp.where(k > 0, jnp.sqrt(k * k + 4 * k) + k, 1.0)


def optimal_weight(real: Num[ArrayLike, "*#P"], synthetic: Num[ArrayLike, "*#P"]) -> Float[Array, "*#P"]:
    """The w that minimises `weighted_plateau` at finite n_r and n_s; the minimum is exactly w/n_r (derived here).

    u = 1 − w solves q u² − (1 + k + q)u + 1 = 0, q = 1 − 1/n_s, k = n_r/n_s: u = 2/[1 + k + q + √((1 + k + q)² − 4q)].
    n → ∞: `golden_weight(k)`. Errors: `ValueError` for sizes below 1.
    """
    real, synthetic = _sizes(real, synthetic)
    k, lost = real / synthetic, 1 / synthetic
    # (1 + k + q)² − 4q = (k − 1/n_s)² + 4k, and k ≥ 1/n_s: nothing cancels.
    root = jnp.sqrt((k - lost) ** 2 + 4 * k)
    return (k - lost + root) / (2 + k - lost + root)


def _enough(n_t: Float[Array, " times"], dimension: int) -> Float[Array, " times"]:
    least = dimension + 1
    return ranged("n", n_t, lambda n: ~(n < least), f"at least d + 1 = {least} rows", f"Constant({2 * least})")


def _weighted(weight, real, synthetic) -> tuple[Array, Array, Array]:
    weight = ranged("weight", weight, lambda w: (w >= 0) & (w <= 1), "a weight in [0, 1]", "0.5")
    return weight, *_sizes(real, synthetic)


def _sizes(real, synthetic) -> tuple[Array, Array]:
    size = lambda name, n: ranged(name, n, lambda n: n >= 1, "a number of draws of at least 1", "100")
    return size("real", real), size("synthetic", synthetic)
