"""The Gaussian family: exact moments, W2, drift and survival of recursively fitted normal laws.

Per direction and relative to the target's variance, with m_t = E (μ_t − μ*)², v_t = E σ_t² and a batch of n_t draws of
which s are synthetic (a = E s/n, φ = E s(s − 1)/n² as in `risk`):

    m_t = (φ + a/n) m_{t−1} + (1 − a + a v_{t−1})/n
    v_t = [(1 − 1/n)(1 − a + a v_{t−1}) + (a − φ − a/n) m_{t−1}] · (1, or n/(n − 1) for the unbiased variance)

Maximum likelihood: m_t = r_t and v_t = 1 − r_t with the r_t of `risk`, so the phase diagram is that of the tables.
Without real data and fitted anew in each generation, ln σ_t is a random walk whose steps are ½ ln(χ²_{n−1}/divisor).

Shumailov et al., Nature 631:755 (W2); Suresh, Thangaraj and Khandavally, arXiv 2412.17646, Theorem 3 (the bound on
survival); Kazdan et al., arXiv 2410.16713 (accumulation). The rest is derived here.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy.special import digamma, gammaln, polygamma
from jaxtyping import Array, ArrayLike, Float, Num
from scipy.special import loggamma

from jaxcollapse._schedule import Constant, Schedule, brief, evaluate
from jaxcollapse.theory._range import ranged
from jaxcollapse.theory._risk import checked, split_moments

POINTS = 20_000  # of the integral over frequencies
SERIES_FROM = 16.0  # degrees of freedom from which differences of special functions are taken as series


class GaussianMoments(NamedTuple):
    """E (μ_t − μ*)²/σ*² and E σ_t²/σ*² for t = 0..T, the same in every direction."""

    squared_error: Float[Array, " times"]
    variance: Float[Array, " times"]


class LogScale(NamedTuple):
    """Mean and variance of ln σ_t/σ* for t = 0..T."""

    mean: Float[Array, " times"]
    variance: Float[Array, " times"]


def gaussian(
    alpha: Schedule,
    n: Schedule,
    generations: int,
    *,
    unbiased: bool = False,
    accumulate: bool = False,
    decay: Num[ArrayLike, ""] | None = None,
    split: str = "random",
) -> GaussianMoments:
    """m_t and v_t of `Gaussian(unbiased)` under `Replace()`, or `Accumulate(decay)` with `accumulate=True`, t = 0..T.

    Exact for every schedule and in every dimension, n_t rounded as the loop does. α = 0: unbiased m_t = Σ_s 1/n_s and
    v_t = 1; maximum likelihood v_t = Π (1 − 1/n_s). At t ≫ n both are carried by rare lineages: test ln σ there.
    Errors: `ValueError` for schedules out of range, n_t < 2 for the unbiased variance, a decay outside [0, 1] or one
    without `accumulate`; under a trace NaN from there.
    """
    if decay is not None and not accumulate:
        raise ValueError(f"decay: got {brief(decay)} without accumulate=True, expected None; try accumulate=True")
    alpha_t, n_t = evaluate(alpha, n, generations)
    alpha_t, n_t = checked(alpha_t.at[0].set(1.0), n_t)
    _check_degrees(n_t, unbiased)
    moments = split_moments(alpha_t, n_t, split)
    keep = (1.0 if decay is None else decay) if accumulate else 0.0
    keep = ranged("decay", keep, lambda x: (x >= 0) & (x <= 1), "a number in [0, 1]", "1.0")
    return GaussianMoments(*_scan(n_t, moments.share, moments.pairs, keep, unbiased))


def _pool_sizes(n_t, keep):
    def step(size, n):
        size = keep * size + n
        return size, size

    return jax.lax.scan(step, jnp.zeros((), n_t.dtype), n_t)[1]


@functools.partial(jax.jit, static_argnames="unbiased")
def _scan(n_t, share, pairs, keep, unbiased):
    sizes = _pool_sizes(n_t, keep)
    inflation = jnp.asarray(jnp.where(sizes > 1, sizes / (sizes - 1), jnp.nan)) if unbiased else jnp.ones_like(sizes)
    weight = n_t / sizes
    before = jnp.concatenate([jnp.ones(1, n_t.dtype), inflation[:-1]])

    def step(state, now):
        m, c = state  # of the pool: E M², and E of its variance by maximum likelihood
        n, w, a, phi, inflation = now
        within = 1 - a + a * inflation * c
        square = (phi + a / n) * m + within / n  # E of the batch's squared mean
        spread = (1 - 1 / n) * within + (a - phi - a / n) * m
        new_m = (1 - w) ** 2 * m + 2 * w * (1 - w) * a * m + w**2 * square
        new_c = (1 - w) * c + w * spread + w * (1 - w) * (square - 2 * a * m + m)
        return (new_m, new_c), (new_m, new_c)

    zero = jnp.zeros((), n_t.dtype)
    _, (m, c) = jax.lax.scan(step, (zero, zero), (n_t, weight, share, pairs, before))
    return m, inflation * c


def gaussian_accumulation(n: Num[ArrayLike, ""], generations: int) -> Float[Array, " times"]:
    """E σ_t²/σ*² of full accumulation without fresh data: Π_{j=1..t+1} (1 − 1/(n j²)), t = 0..T, maximum likelihood.

    t → ∞: sin(π/√n)/(π/√n), above 0: no collapse. n = 1: 0.
    """
    _, n = checked(jnp.zeros(()), n)
    j = jnp.arange(1, generations + 2).astype(float)
    return jnp.exp(jnp.cumsum(jnp.log1p(-1 / (n * j * j))))


def gaussian_wasserstein(n: Schedule, generations: int, *, unbiased: bool = False) -> Float[Array, " times"]:
    """E W2²/σ*² of `Replace()` without real data in one dimension, t = 0..T (k = t + 1 fits).

    m_k + 1 + v_k − 2 E σ_k; unbiased and constant n: k/n + 2(1 − c₄^k) ≈ (3/2) k/n early on, and it grows without
    bound. Maximum likelihood: 2(1 − E σ_k) → 2.
    Errors: `ValueError` for sizes out of range or below 2.
    """
    _, n_t = evaluate(Constant(0.0), n, generations)
    _check_degrees(n_t, True)
    scale = jnp.cumsum(_log_mean_chi(n_t - 1) + 0.5 * _log_ratio(n_t, unbiased))
    error = jnp.cumsum(1 / n_t) if unbiased else -jnp.expm1(jnp.cumsum(jnp.log1p(-1 / n_t)))
    variance_gap = 0.0 if unbiased else -error
    return error + variance_gap - 2 * jnp.expm1(scale)


def gaussian_log_scale(n: Schedule, generations: int, *, unbiased: bool = False) -> LogScale:
    """Mean and variance of ln σ_t/σ* under `Replace()` without real data, t = 0..T; the law is nearly normal.

    Per generation the mean moves by [ψ((n−1)/2) − ln((n−1)/2)]/2 ≈ −1/2n unbiased, twice that with maximum likelihood
    (ln(n/2) in place of the second), and the variance by ψ′((n−1)/2)/4 ≈ 1/2n.
    Errors: `ValueError` for sizes out of range or below 2.
    """
    _, n_t = evaluate(Constant(0.0), n, generations)
    _check_degrees(n_t, True)
    step = 0.5 * (_digamma_minus_log((n_t - 1) / 2) + _log_ratio(n_t, unbiased))
    return LogScale(jnp.cumsum(step), jnp.cumsum(polygamma(1, (n_t - 1) / 2) / 4))


def gaussian_survival_bound(
    epsilon: Num[ArrayLike, ""], n: Num[ArrayLike, ""], generations: int
) -> Float[Array, " times"]:
    """P(σ_t/σ* > ε) ≤ min(1, exp(−k/(4n − 1))/ε), k = t + 1 fits with the unbiased variance, t = 0..T."""
    k = jnp.arange(1, generations + 2).astype(float)
    n = jnp.asarray(n, float)
    return jnp.minimum(1.0, jnp.exp(-k / (4 * n - 1)) / jnp.asarray(epsilon, float))


def gaussian_survival(
    epsilon: float, n: int, fits: Num[ArrayLike, "*k"], *, unbiased: bool = False
) -> Float[np.ndarray, " fits"]:
    """P(σ_k/σ* > ε) after k fits of n draws without real data, to 10⁻⁸ for k ≥ 2: the law of a product of χ variates.

    ½ + (1/π) ∫₀^∞ Im[e^{−iu ln ε} φ(u)^k] du/u,  φ(u) = E e^{iu ln σ} (Gil-Pelaez). NumPy in double precision.
    Errors: `ValueError` for ε ≤ 0, n < 2 or k < 1.
    """
    nu, divisor = n - 1, n - 1 if unbiased else n
    if n < 2:
        raise ValueError(f"n: got {n}, expected at least 2 draws; try 10")
    if not epsilon > 0:
        raise ValueError(f"epsilon: got {epsilon}, expected a ratio σ/σ* above 0; try 0.1")
    if np.min(fits) < 1:
        raise ValueError(f"fits: got {np.min(fits)}, expected at least 1; try 10")
    found = []
    for k in np.atleast_1d(np.asarray(fits, float)):
        step = 60 / np.sqrt(k / (2 * nu)) / POINTS  # the end is sixty over a spread: |φ^k| < 10⁻¹⁶ there
        u = (np.arange(POINTS) + 0.5) * step
        log_phi = 0.5j * u * np.log(2 / divisor) + loggamma(nu / 2 + 0.5j * u) - loggamma(nu / 2)
        wave = np.imag(np.exp(k * log_phi - 1j * u * np.log(epsilon))) / u
        found.append(0.5 + wave.sum() * step / np.pi)
    return np.array(found)


def _check_degrees(n_t, unbiased):
    if unbiased and not isinstance(n_t, Tracer) and bool((n_t < 2).any()):
        raise ValueError(f"n: got {n_t[n_t < 2][0]}, expected at least 2 draws in every generation; try Constant(10)")


def _log_ratio(n_t, unbiased):
    """ln of the degrees over the divisor."""
    return jnp.zeros_like(n_t) if unbiased else jnp.log1p(-1 / n_t)


def _log_mean_chi(nu):
    """ln E χ_ν/√ν, c₄ = exp of it at ν = n − 1."""
    x = 1 / jnp.maximum(nu, SERIES_FROM)
    series = x * (-1 / 4 + x**2 * (1 / 24 + x**2 * (-1 / 20 + x**2 * (17 / 112))))
    small = jnp.minimum(nu, SERIES_FROM)
    direct = gammaln((small + 1) / 2) - gammaln(small / 2) + 0.5 * jnp.log(2 / small)
    return jnp.where(nu < SERIES_FROM, direct, series)


def _digamma_minus_log(x):
    y = 1 / jnp.maximum(x, SERIES_FROM)
    series = -y / 2 - y**2 / 12 + y**4 / 120 - y**6 / 252
    small = jnp.minimum(x, SERIES_FROM)
    return jnp.where(x < SERIES_FROM, digamma(small) - jnp.log(small), series)
