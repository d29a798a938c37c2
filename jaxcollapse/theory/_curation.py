"""Exact first two moments where something other than the truth flows in: smoothing, a fixed law, a datastore.

    P_t = α p* + (1 − α)[(1 − ε) P̂_{t−1} + ε Q],   P̂_t = (1 − ℓ) E_t + ℓ b,   ℓ = B/(n + B),  B = Σβ,  b = β/B

E_t the empirical law of n draws from P_t. Means and the total variance V_t = E‖P̂_t − E P̂_t‖² close:

    m_t = (1 − ℓ) E P_t + ℓ b,   V_t = (1 − ℓ)² [c V_{t−1} + (1 − ‖E P_t‖² − c V_{t−1})/n],   c = ((1 − α)(1 − ε))²
    posterior sampling adds (1 − V_t − ‖m_t‖²)/(n + B + 1), the variance of a Dirichlet(N + β) law about its mean

Risk E‖P̂_t − p*‖² = V_t + ‖m_t − p*‖², diversity E(1 − ‖P̂_t‖²) = 1 − V_t − ‖m_t‖². Smoothing is immigration from b at
rate n ℓ → B, whatever n. Derived here; the random split throughout.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Num

from jaxcollapse._schedule import Schedule, evaluate

POSTERIORS = ("mean", "sample")


class Moments(NamedTuple):
    """E P̂_t `times v`, E‖P̂_t − E P̂_t‖², E‖P̂_t − p*‖² and E(1 − ‖P̂_t‖²), each `times`, t = 0..T."""

    mean: Float[Array, "times v"]
    variance: Float[Array, " times"]
    risk: Float[Array, " times"]
    diversity: Float[Array, " times"]


def smoothed(
    alpha: Schedule,
    n: Schedule,
    probs: Float[ArrayLike, " v"],
    smoothing: Num[ArrayLike, "*prior"],
    generations: int,
    posterior: str = "mean",
) -> Moments:
    """The exact moments of `Tabular(smoothing=β)` ("mean") or `PosteriorSampling` of it ("sample"), t = 0..T.

    `probs` is p*, `smoothing` β a number or `v`; τ·base is a pull to a pretrained base. β = 0: `risk` ("mean").
    α = 0, "mean": no collapse, a plateau around b; "sample": the prior's own moments, whatever n.
    Errors: `ValueError` for schedules out of range, a negative β or an unknown posterior; under a trace NaN.
    """
    return _moments(alpha, n, probs, generations, smoothing=smoothing, posterior=posterior)


def contaminated(
    alpha: Schedule,
    n: Schedule,
    probs: Float[ArrayLike, " v"],
    other: Float[ArrayLike, " v"],
    epsilon: Num[ArrayLike, ""],
    generations: int,
    smoothing: Num[ArrayLike, "*prior"] = 0.0,
) -> Moments:
    """The exact moments under `Contaminate(Q, ε)`, `other` = Q, t = 0..T; with `smoothing`, of that learner.

    ε = 0: `smoothed`; ε = 1: a synthetic stream of Q alone, at its `contamination_floor` from t = 1 on. With Q a given
    datastore and ε its weight, the parametric part of `Retrieval`. Errors: `ValueError` for ε outside [0, 1] and as
    `smoothed`.
    """
    if not isinstance(epsilon, Tracer) and not 0 <= np.asarray(epsilon) <= 1:
        raise ValueError(f"epsilon: got {epsilon}, expected a number in [0, 1]; try 0.1")
    return _moments(alpha, n, probs, generations, smoothing=smoothing, other=other, epsilon=epsilon)


def contamination_floor(
    probs: Float[ArrayLike, " v"],
    other: Float[ArrayLike, " v"],
    epsilon: Num[ArrayLike, "*P"],
    n: Num[ArrayLike, "*P"],
) -> Float[Array, "*P"]:
    """Risk of n draws of which a share ε comes from a fixed Q: (1 − ‖P‖²)/n + ε²‖Q − p*‖², P = (1 − ε)p* + ε Q.

    n → ∞ leaves ε²‖Q − p*‖² (arXiv 2410.04840), where a generator that learns leaves nothing at constant α > 0.
    In the loop: `Constant(1 − ε)`, `Contaminate(Q, 1.0)`.
    """
    p, q = jnp.asarray(probs, float), jnp.asarray(other, float)
    epsilon = jnp.asarray(epsilon, float)[..., None]
    p, q = (jnp.expand_dims(x, tuple(range(epsilon.ndim - 1))) for x in (p, q))
    mixture = (1 - epsilon) * p + epsilon * q
    return (1 - jnp.sum(mixture**2, -1)) / jnp.asarray(n, float) + jnp.sum((epsilon * (q - p)) ** 2, -1)


def dirichlet_limit(
    inflow: Num[ArrayLike, ""],
    probs: Float[ArrayLike, " v"],
    smoothing: Num[ArrayLike, "*prior"],
    posterior: str = "mean",
) -> Float[Array, " v"]:
    """Concentration of the stationary Dirichlet law as n → ∞ with x = n α = `inflow` and β fixed.

    "mean": 2(x p* + β); "sample": x p* + β, exact for every n at x = 0. β = 0, "mean": Dirichlet(2 n α p*).
    """
    _check_posterior(posterior)
    p = jnp.asarray(probs, float)
    rate = jnp.asarray(inflow, float) * p + _prior(smoothing, p)
    return 2 * rate if posterior == "mean" else rate


def dirichlet_risk(concentration: Float[ArrayLike, " v"], probs: Float[ArrayLike, " v"]) -> Float[Array, ""]:
    """E‖P − p*‖² of P ~ Dirichlet(a): ‖m − p*‖² + (1 − ‖m‖²)/(1 + Σa), m = a/Σa."""
    a, p = jnp.asarray(concentration, float), jnp.asarray(probs, float)
    mean = a / a.sum()
    return jnp.sum((mean - p) ** 2) + (1 - jnp.sum(mean**2)) / (1 + a.sum())


class Retrieval(NamedTuple):
    """E‖P̂_t − p*‖²/(1 − ‖p*‖²) of what is released and of the parametric table alone, t = 0..T."""

    released: Float[Array, " times"]
    parametric: Float[Array, " times"]


def retrieval(
    alpha: Schedule,
    n: Schedule,
    generations: int,
    weight: Num[ArrayLike, ""],
    size: Num[ArrayLike, ""] | None = None,
) -> Retrieval:
    """Exact risks of `Retrieval(Tabular(), weight=λ)`, relative to 1 − ‖p*‖², for unigrams.

    x_t = (1 − α)(λ/m + (1 − λ) x_{t−1}),   s_t = 1/n + (1 − 1/n)(1 − α)² ρ_{t−1},   ρ = λ²/m + 2λ(1 − λ) x + (1 − λ)² s

    s, x: the parametric table's variance and its covariance with the datastore; ρ is released. `size` = m real draws
    are stored, independent of the lineages; None: each lineage's own first batch, m = n_0; ∞: the truth, where λ acts
    as a real share, α' = 1 − (1 − α)(1 − λ), and only n_t → ∞ is needed for recovery. m < ∞: never collapse, but a
    floor at 1/m. λ = 0: `risk`; λ = 1: 1/m. Errors: `ValueError` for λ outside [0, 1] and as `risk`.
    """
    if not isinstance(weight, Tracer) and not 0 <= np.asarray(weight) <= 1:
        raise ValueError(f"weight: got {weight}, expected a number in [0, 1]; try 0.25")
    alpha_t, n_t = evaluate(alpha, n, generations)
    weight = jnp.asarray(weight, float)
    stored = 1 / (n_t[0] if size is None else jnp.asarray(size, float))
    shared = stored if size is None else jnp.zeros_like(stored)
    released = lambda s, x: weight**2 * stored + 2 * weight * (1 - weight) * x + (1 - weight) ** 2 * s

    def step(state, generation):
        a, n = generation
        s, x = state
        s, x = 1 / n + (1 - 1 / n) * (1 - a) ** 2 * released(s, x), (1 - a) * (weight * stored + (1 - weight) * x)
        return (s, x), (released(s, x), s)

    first = (1 / n_t[0], shared)
    _, (risk, s) = jax.lax.scan(step, first, (alpha_t[1:], n_t[1:]))
    return Retrieval(jnp.concatenate([released(*first)[None], risk]), jnp.concatenate([first[0][None], s]))


def _moments(
    alpha, n, probs, generations, *, smoothing, posterior="mean", other=None, epsilon: Num[ArrayLike, ""] = 0.0
) -> Moments:
    _check_posterior(posterior)
    alpha_t, n_t = evaluate(alpha, n, generations)
    p = jnp.asarray(probs, float)
    beta, q = _prior(smoothing, p), p if other is None else jnp.asarray(other, float)
    epsilon, total = jnp.asarray(epsilon, float), beta.sum()
    squared = lambda x: jnp.sum(x**2, -1)

    def step(state, generation):
        (mean, variance), (a, n) = state, generation
        source = a * p + (1 - a) * ((1 - epsilon) * mean + epsilon * q)
        inherited = ((1 - a) * (1 - epsilon)) ** 2 * variance
        kept = n / (n + total)
        mean = kept * source + beta / (n + total)
        variance = kept**2 * (inherited + (1 - squared(source) - inherited) / n)
        if posterior == "sample":
            variance = variance + (1 - variance - squared(mean)) / (n + total + 1)
        return (mean, variance), (mean, variance)

    _, (mean, variance) = jax.lax.scan(step, (p, jnp.zeros((), p.dtype)), (alpha_t, n_t))
    return Moments(mean, variance, variance + squared(mean - p[None]), 1 - variance - squared(mean))


def _prior(smoothing: Num[ArrayLike, "*prior"], p: Float[Array, " v"]) -> Float[Array, " v"]:
    if jnp.shape(smoothing) not in ((), p.shape):
        raise ValueError(f"smoothing: got shape {jnp.shape(smoothing)}, expected one number or {p.shape}; try 0.5")
    if not isinstance(smoothing, Tracer) and not np.all(np.asarray(smoothing) >= 0):
        raise ValueError(f"smoothing: got {smoothing}, expected pseudo-counts of at least 0; try 0.5")
    return jnp.broadcast_to(jnp.asarray(smoothing, float), p.shape)


def _check_posterior(posterior: str) -> None:
    if posterior not in POSTERIORS:
        raise ValueError(f"posterior: got {posterior!r}, expected one of {', '.join(POSTERIORS)}; try 'mean'")
