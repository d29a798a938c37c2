"""The exact risk of recursive training: one scalar, independent of the vocabulary and of p*.

    r_t = E‖P̂_t − p*‖² / (1 − ‖p*‖²)
    r_t = 1/n_t + φ_t r_{t−1},   r_0 = 1/n_0,   φ_t = E s_t(s_t − 1)/n_t²      s_t: the synthetic draws among the n_t
    split "random"   s_t ~ Binomial(n_t, 1 − α_t):     φ_t = (1 − 1/n_t)(1 − α_t)²
    split "fixed"    s_t = n_t − ⌊α_t n_t + U⌋:        φ_t averaged over its two values
    split "round"    s_t = n_t − round(α_t n_t)

φ_t is the probability that two draws of generation t are synthetic and have different parents. r_t is Wright's F_ST,
the probability that two draws have a common ancestor before either meets a real draw; the covariance is
Cov P̂_t = r_t (diag p* − p* p*ᵀ), the diversity E(1 − ‖P̂_t‖²) = (1 − r_t)(1 − ‖p*‖²), the χ² risk (K − 1) r_t.

Source of the random split: arXiv 2602.10531 (the mixture also in Kanabar and Gastpar, arXiv 2501.19273).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Num

from jaxcollapse._schedule import Schedule, evaluate


class Split(NamedTuple):
    """What a generation's draws inherit: E s/n, φ = E s(s−1)/n², and 1 − 1/n − φ without cancellation."""

    share: Float[Array, "*grid"]
    pairs: Float[Array, "*grid"]
    fresh: Float[Array, "*grid"]


def split_moments(alpha: Num[ArrayLike, "*#grid"], n: Num[ArrayLike, "*#grid"], split: str = "random") -> Split:
    """The moments of the number of synthetic draws under the three splits, elementwise."""
    alpha, n = jnp.asarray(alpha, float), jnp.asarray(n, float)
    if split == "random":
        other = 1 - 1 / n
        return Split(1 - alpha, other * (1 - alpha) ** 2, other * alpha * (2 - alpha))
    if split == "fixed":
        low = jnp.floor(alpha * n)
        upper = alpha * n - low
        return Split(*((1 - upper) * a + upper * b for a, b in zip(_whole(low, n), _whole(low + 1, n), strict=True)))
    if split == "round":
        return _whole(jnp.rint(alpha * n), n)
    raise ValueError(f"split: got {split!r}, expected one of random, fixed, round; try 'random'")


def _whole(k: Float[Array, "*grid"], n: Float[Array, "*grid"]) -> Split:
    s = n - k
    return Split(s / n, (s / n) * ((s - 1) / n), (k / n) * ((2 * n - k - 1) / n))


def recursion(
    alpha_t: Num[ArrayLike, "times *P"], n_t: Num[ArrayLike, "times *P"], split: str = "random"
) -> Float[Array, "times *P"]:
    """r_t of arrays α_t and n_t with time t = 0..T along the first axis; α_0 counts as 1, nothing is rounded.

    r_t in (0, 1], relative to 1 − ‖p*‖². Differentiable ("round" has gradient 0 in α), works under jit and vmap.
    α → 1: 1/n_t; n → ∞: r_t → Π(1−α)² r_0; n_t = 1: exactly 1. For 1 − r near collapse use `diversity_recursion`.
    All terms are positive; in float32 rounding adds up over the memory: a relative error of 2·10⁻⁵ at T = 3000 and
    5·10⁻⁴ at T = 3·10⁵, measured on power laws. `jax.enable_x64` gives 10⁻¹².
    Errors: `ValueError` for concrete α outside [0, 1], n below 1, or an unknown split.
    """
    _, n_t, moments = _moments(alpha_t, n_t, split)
    return affine_scan(moments.pairs, 1 / n_t)


def diversity_recursion(
    alpha_t: Num[ArrayLike, "times *P"], n_t: Num[ArrayLike, "times *P"], split: str = "random"
) -> Float[Array, "times *P"]:
    """g_t = 1 − r_t = E(1 − ‖P̂_t‖²)/(1 − ‖p*‖²), evolved on its own so that collapse loses no digit.

    g_t = (1 − 1/n_t − φ_t) + φ_t g_{t−1}; random split: (1 − 1/n_t)[α_t(2 − α_t) + (1 − α_t)² g_{t−1}].
    Shapes, limits and errors as `recursion`. α = 0: Π(1 − 1/n_s), the decay of heterozygosity.
    """
    _, _, moments = _moments(alpha_t, n_t, split)
    return affine_scan(moments.pairs, moments.fresh)


def risk(alpha: Schedule, n: Schedule, generations: int, split: str = "random") -> Float[Array, " times"]:
    """r_t of a loop's schedules for t = 0..T, n_t rounded as the loop does: E‖P̂_t − p*‖² = r_t (1 − ‖p*‖²).

    Multiply by `metrics.diversity(p_star)`. Exact for `Replace()` and maximum likelihood, every t, every p*.
    Errors: `ValueError` for schedules out of range; under a trace NaN from the first such generation on.
    """
    return recursion(*evaluate(alpha, n, generations), split)


def diversity(alpha: Schedule, n: Schedule, generations: int, split: str = "random") -> Float[Array, " times"]:
    """g_t = 1 − r_t for t = 0..T without cancellation: E(1 − ‖P̂_t‖²) = g_t (1 − ‖p*‖²). See `risk`."""
    return diversity_recursion(*evaluate(alpha, n, generations), split)


def covariance(r: Num[ArrayLike, "*T"], probs: Float[ArrayLike, " v"]) -> Float[Array, "*T v v"]:
    """Cov P̂_t = r_t (diag p* − p* p*ᵀ), exact for every t and schedule. Units of probability squared."""
    p = jnp.asarray(probs, float)
    r = jnp.asarray(r, float)
    return r[..., None, None] * jnp.expand_dims(jnp.diag(p) - jnp.outer(p, p), tuple(range(r.ndim)))


def quasi_equilibrium(
    alpha_t: Num[ArrayLike, "*#P"], n_t: Num[ArrayLike, "*#P"], split: str = "random"
) -> Float[Array, "*#P"]:
    """q_t, the risk at which generation t leaves the risk unchanged: r_t = (1 − φ_t) q_t + φ_t r_{t−1}.

    q = 1/(1 + n(1 − 1/n − φ)), for the random split 1/(1 + (n − 1) α(2 − α)), elementwise. A step improves iff
    q_t < r_{t−1}. α = 0 or n = 1: q = 1; α = 1: 1/n. Index 0 is no step of the recursion: q there means nothing.
    """
    alpha_t, n_t = checked(alpha_t, n_t)
    return 1 / (1 + n_t * split_moments(alpha_t, n_t, split).fresh)


def plateau(alpha: Num[ArrayLike, "*#P"], n: Num[ArrayLike, "*#P"], split: str = "random") -> Float[Array, "*#P"]:
    """r_∞ of constant α and n, approached as φ^t: 1/(1 + (n − 1) α(2 − α)); split "fixed" 1/(n α(2 − α) + 1 − α).

    α = 0 or n = 1: 1, collapse; α = 1: 1/n; n → ∞: 0. Errors as `recursion`.
    """
    return quasi_equilibrium(alpha, n, split)


def improvement_threshold(risk: Num[ArrayLike, "*#P"], alpha: Num[ArrayLike, "*#P"]) -> Float[Array, "*#P"]:
    """The sample size above which a generation with mixture weight α beats the risk r before it (random split).

    n* = 1 + (1/r − 1)/(α(2 − α)): r_t < r_{t−1} iff n_t > n*, equal at n* (for the real-only start of n_0 draws put
    r = 1/n_0). α = 0: ∞. r → 1: 1. Real-valued, differentiable.
    """
    risk, alpha = jnp.asarray(risk, float), jnp.asarray(alpha, float)
    fresh = alpha * (2 - alpha)
    return jnp.where(fresh > 0, 1 + (1 / risk - 1) / jnp.where(fresh > 0, fresh, 1.0), jnp.inf)


def memory_weight(
    alpha_t: Num[ArrayLike, "times *P"], n_t: Num[ArrayLike, "times *P"], split: str = "random"
) -> Float[Array, "times *P"]:
    """W_t = Π_{s=1..t} φ_s, the weight of the start: r_t = (1 − W_t)·(a weighted mean of q_1..q_t) + W_t r_0.

    t = 0..T with W_0 = 1. W_T → 0 separates a plateau or a recovery from a frozen run, which remembers its start.
    """
    _, _, moments = _moments(alpha_t, n_t, split)
    return jnp.cumprod(moments.pairs.at[0].set(1.0), 0)


def lag_correlation(alpha_t: Num[ArrayLike, " times"], start: int = 0) -> Float[Array, " lags"]:
    """E⟨P̂_s − p*, P̂_{s+k} − p*⟩ / E‖P̂_s − p*‖² = Π_{u=s+1..s+k}(1 − α_u) for k = 0..T−s, s = `start`; any split."""
    kept = 1 - jnp.asarray(alpha_t, float)[start:]
    return jnp.cumprod(kept.at[0].set(1.0))


def spectrum(alpha: Num[ArrayLike, ""], n: Num[ArrayLike, ""], order: int) -> Float[Array, " modes"]:
    """Eigenvalues λ_j = (1 − α)^j Π_{i<j}(1 − i/n), j = 0..order, of the chain with constant α and n, for any p*.

    λ_1 governs the mean, λ_2 = φ the risk, λ_j the j-th moments; λ_j = 0 for j > n. All of them at order = n.
    """
    alpha, n = checked(alpha, n)
    if order < 0:
        raise ValueError(f"order: got {order}, expected a whole number of at least 0; try 2")
    factors = (1 - alpha) * jnp.maximum(1 - jnp.arange(order).astype(float) / n, 0.0)
    return jnp.concatenate([jnp.ones(1), jnp.cumprod(factors)])


@jax.jit
def affine_scan(keep: Float[Array, "times *P"], add: Float[Array, "times *P"]) -> Float[Array, "times *P"]:
    """x_t = add_t + keep_t x_{t−1} along the first axis, from x_{−1} = 0."""

    def step(x, coefficients):
        x = coefficients[1] + coefficients[0] * x
        return x, x

    return jax.lax.scan(step, jnp.zeros(add.shape[1:], add.dtype), (keep, add))[1]


def checked(alpha: Num[ArrayLike, "*#P"], n: Num[ArrayLike, "*#P"]) -> tuple[Float[Array, "*#P"], Float[Array, "*#P"]]:
    """Both as floats; `ValueError` for concrete values out of range, traced ones pass."""
    alpha, n = jnp.asarray(alpha, float), jnp.asarray(n, float)
    for name, value, inside, expected in (
        ("alpha", alpha, (alpha >= 0) & (alpha <= 1), "mixture weights in [0, 1]"),
        ("n", n, n >= 1, "sample sizes of at least 1"),
    ):
        if not isinstance(inside, Tracer) and not bool(inside.all()):
            raise ValueError(f"{name}: got {value[~inside].ravel()[0]}, expected {expected}; try 0.1 and 100")
    return alpha, n


def _moments(alpha_t: Num[ArrayLike, "times *P"], n_t: Num[ArrayLike, "times *P"], split: str):
    alpha_t = jnp.asarray(alpha_t, float).at[0].set(1.0)
    alpha_t, n_t = checked(alpha_t, n_t)
    return alpha_t, n_t, split_moments(alpha_t, n_t, split)
