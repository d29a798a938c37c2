"""Exact risk of what can be done about contaminated data: estimates beside the chain, labels, retained data, sources.

With e = P̂_{t−1} − p* of the agnostic chain (`Replace`), ξ the noise of batch t, E|ξ|² = v = (1 − (1 − α)² r_{t−1})/n,

    agnostic     e' = (1 − α) e + ξ                                        r_t of `risk`
    debiased     C_t − p* = (1 − α/α̂) e + ξ/α̂,  D_t = (1 − g_t) D_{t−1} + g_t C_t,  g_t = n_t α̂_t²/W_t,
                 W_t = ρ W_{t−1} + n_t α̂_t²;  ρ = 0 is C, ρ = 1 is D       α̂: the weight that is believed
    real only    r_t = E[1/k; k ≥ 1] + P(k = 0) r_{t−1}, k ~ Binomial(n_t, α_t);   pooled: E 1/(n_0 + Σ_s k_s)

(e, D − p*) has a closed linear recursion of second moments, all of them multiples of diag p* − p* p*ᵀ. A well-judged
D has Σ_s n_s α_s² (1 − (1 − α_s)² r_{s−1})/W_t² ≈ 1/W_t: what n draws say without labels counts n α², with labels n α.

Derived here; the question is that of Kanabar and Gastpar, arXiv 2501.19273, and of arXiv 2602.10531.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Num

from jaxcollapse._schedule import Constant, Schedule, evaluate
from jaxcollapse.theory._contexts import reciprocal_moment
from jaxcollapse.theory._risk import affine_scan

NODES = np.exp(np.arange(-75.0, 4.25, 0.25))  # ∫ f(u) du = Σ 0.25 u f(u): the trapezoid in ln u


def debiased(
    alpha: Schedule,
    n: Schedule,
    generations: int,
    decay: Num[ArrayLike, ""] = 1.0,
    *,
    believed: Schedule | None = None,
    variance: Schedule | None = None,
) -> Float[Array, " times"]:
    """E‖C_t − p*‖² or E‖D_t − p*‖² of `Debiased(Replace(), decay)` over 1 − ‖p*‖², the signed estimate, t = 0..T.

    `believed` = α̂_t where it is not α_t; `variance` = Var α_t where α_t is random with mean `alpha`
    (`RandomWeight.variance`; give `believed` then). Random split. decay = 0, α̂ = α: (1 − (1 − α)² r_{t−1})/(n α²); what
    is released, the projection onto the simplex, is never further from p*. Rightly judged, it is unbiased; else it is
    drawn towards the chain by 1 − α/α̂. Errors: `ValueError` for schedules out of range or decay outside [0, 1].
    """
    _check_share("decay", decay)
    alpha_t, n_t = evaluate(alpha, n, generations)
    times = jnp.arange(generations + 1)
    seen = alpha_t if believed is None else evaluate(believed, n, generations)[0]
    spread = jnp.zeros_like(alpha_t) if variance is None else jax.vmap(lambda t: jnp.asarray(variance(t), float))(times)
    return _debiased(alpha_t, n_t, seen, spread.at[0].set(0.0), jnp.asarray(decay, float))


@jax.jit
def _debiased(alpha_t, n_t, seen_t, spread_t, decay):
    def step(state: tuple[Array, ...], now: tuple[Array, ...]):
        weight, own, cross, chain = state
        alpha, n, seen, spread = now
        added = n * seen**2
        weight = jax.lax.select(added > 0, decay, jnp.ones_like(decay)) * weight + added
        gain = added / weight
        safe = jnp.where(seen > 0, seen, 1.0)
        kept, kept2 = 1 - alpha, (1 - alpha) ** 2 + spread
        pull = 1 - alpha / safe
        noise = (1 - kept2 * chain) / n
        latest = (pull**2 + spread / safe**2) * chain + noise / safe**2
        with_chain = (pull * kept + spread / safe) * chain + noise / safe
        own = (1 - gain) ** 2 * own + 2 * (1 - gain) * gain * pull * cross + gain**2 * latest
        cross = (1 - gain) * kept * cross + gain * with_chain
        return (weight, own, cross, kept2 * chain + noise), own

    zero = jnp.zeros_like(decay)
    return jax.lax.scan(step, (zero, zero, zero, zero), (alpha_t, n_t, seen_t, spread_t))[1]


def real_only(alpha: Schedule, n: Schedule, generations: int) -> Float[Array, " times"]:
    """r_t of `RealOnly(Replace())` for t = 0..T, random split: the latest batch's real draws alone, by label.

    ≈ 1/(n_t α_t) where that is small. A generation without real draws keeps the model: α = 0 stays at 1/n_0.
    Errors: `ValueError` for schedules out of range.
    """
    alpha_t, n_t = evaluate(alpha, n, generations)
    reciprocal = jax.jit(jax.vmap(reciprocal_moment))(n_t, alpha_t)
    none = jnp.exp(n_t * jnp.log1p(-alpha_t))
    return affine_scan(none.at[0].set(0.0), reciprocal.at[0].set(1 / n_t[0]))


def real_only_pooled(alpha: Schedule, n: Schedule, generations: int) -> Float[Array, " times"]:
    """r_t of `RealOnly(Accumulate())` for t = 0..T, random split: E 1/(n_0 + k_1 + … + k_t), k_s ~ Binomial(n_s, α_s).

    = ∫_0^∞ e^{−n_0 u} Π_s (1 − α_s (1 − e^{−u}))^{n_s} du, ≈ 1/(n_0 + Σ n_s α_s). Relative error 10⁻¹³ (10⁻⁵ in
    float32). Errors: `ValueError` for schedules out of range.
    """
    alpha_t, n_t = evaluate(alpha, n, generations)
    u = jnp.asarray(NODES, float)
    log = n_t[:, None] * jnp.log1p(alpha_t[:, None] * jnp.expm1(-u)[None])
    log = jnp.cumsum(log.at[0].set(-n_t[0] * u), 0)
    return jnp.matmul(jnp.exp(log), 0.25 * u, precision="highest")


def retain(
    n: Schedule, generations: int, previous: Num[ArrayLike, ""] = 0.0, original: Num[ArrayLike, ""] = 0.0
) -> Float[Array, " times"]:
    """r_t of `Retain(previous=β, original=γ)` at α = 0 for t = 0..T: 1/n_0 + (1 − 1/n_0) ρ_t, ρ the drift around D_0.

    k = round(β n) of the N data before, m = round(γ n) of D_0, s new draws of the model, M = s + k + m in all:
    ρ' = ((s + k)/M)² ρ + [s + k (N − k)/(N − 1)] (1 − ρ)/M² + m (n_0 − m)/((n_0 − 1) M²). β = γ = 0: `risk`.
    Data that are kept are no new noise: β slows the clock by 1 − β², γ > 0 stops the collapse.
    Errors: `ValueError` for shares outside [0, 1] or above 1 in all.
    """
    for name, value in (("previous", previous), ("original", original)):
        _check_share(name, value)
    previous, original = jnp.asarray(previous, float), jnp.asarray(original, float)
    if not isinstance(previous + original, Tracer) and previous + original > 1 + 1e-6:
        raise ValueError(f"original: got {previous + original} with previous, expected at most 1 in all; try 0.1")
    _, n_t = evaluate(Constant(0.0), n, generations)
    drift = _retained_drift(n_t, previous, original)
    return 1 / n_t[0] + (1 - 1 / n_t[0]) * drift


@jax.jit
def _retained_drift(n_t, previous, original):
    n_0 = n_t[0]

    def step(state, n):
        drift, before = state
        kept = jnp.rint(previous * n)
        first = jnp.minimum(jnp.rint(original * n), n - kept)
        new, kept, first = n - kept - first, jnp.minimum(kept, before), jnp.minimum(first, n_0)
        total = new + kept + first
        apart = new + kept * (before - kept) / jnp.maximum(before - 1, 1.0)
        noise = apart * (1 - drift) + first * (n_0 - first) / jnp.maximum(n_0 - 1, 1.0)
        drift = ((new + kept) / total) ** 2 * drift + noise / total**2
        return (drift, total), drift

    later = jax.lax.scan(step, (jnp.zeros_like(n_0), n_0), n_t[1:])[1]
    return jnp.concatenate([jnp.zeros_like(n_t[:1]), later])


def other_source(
    alpha: Schedule,
    n: Schedule,
    generations: int,
    sources: Float[ArrayLike, "#times v"],
    probs: Float[ArrayLike, " v"],
) -> Float[Array, " times"]:
    """E‖P̂_t − p*‖² for t = 0..T (absolute) where the real draws come from q_t: `Loop(real_source=...)`, random split.

    `sources` is q_t, t = 0..T, or one row for all; `probs` is p*. m_t = α q_t + (1 − α) m_{t−1} is the mean model,
    R = ‖m_t − p*‖² + V_t, V_t = (1 − ‖m_t‖² − (1 − α)² V_{t−1})/n + (1 − α)² V_{t−1}. q = p*: (1 − ‖p*‖²) r_t; n → ∞,
    constant q: the floor ‖q − p*‖². Errors: `ValueError` for schedules out of range.
    """
    alpha_t, n_t = evaluate(alpha, n, generations)
    sources = jnp.broadcast_to(jnp.asarray(sources, float), (generations + 1, *jnp.shape(probs)))
    mean = affine_scan(jnp.broadcast_to(1 - alpha_t[:, None], sources.shape), alpha_t[:, None] * sources)
    kept = (1 - alpha_t) ** 2
    variance = affine_scan(kept * (1 - 1 / n_t), (1 - (mean**2).sum(-1)) / n_t)
    return ((mean - jnp.asarray(probs, float)[None]) ** 2).sum(-1) + variance


def _check_share(name: str, value: Num[ArrayLike, ""]) -> None:
    if not isinstance(value, Tracer) and not 0 <= float(jnp.asarray(value)) <= 1:
        raise ValueError(f"{name}: got {value}, expected a number in [0, 1]; try 0.9")
