"""Missing mass and scaling laws: what a learner that memorises loses of a heavy tail, and how the loss falls with data.

    E = Σ p_i P(i not seen) ≈ Σ p_i e^(−p_i F)             F: `effective_draws`, real draws that would lose as much
    p_i = i^−β/ζ(β):   E ≈ Γ(c)/β · ζ(β)^(−1/β) · F^−c,      c = 1 − 1/β
    fresh data                       F = T
    replace, α = 0, t generations    F = n f_t(0) ≈ 2n/t      E/E_0 → (t/2)^c
    stationary with share α          F = n f(α)               E/E_real = f(α)^−c
    T draws of a model of T_0        F = T_0 (1 − e^(−T/T_0))   T^−c, then flat at T_0^−c
    … with a share π of real data    F = π T + T_0 (1 − e^(−(1 − π)T/T_0))   and back to the clean law ("grokking")

So every workflow is the clean law at another amount of data. The learner is that of Hutter, arXiv 2102.04074; a tail
that is cut and the return to the clean law are in Dohmatob et al., "A Tale of Tails", arXiv 2402.07043. Sums over
tokens are JAX (10⁶ tokens and many F: one F at a time), differentiable in F.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.scipy.special import gammaln, zeta
from jaxtyping import Array, ArrayLike, Float, Int, Num


def missing_mass(probs: Float[ArrayLike, " v"], draws: Num[ArrayLike, "*T"]) -> Float[Array, "*T"]:
    """E Σ p_i over the tokens not seen ≈ Σ p_i e^(−p_i F), F = `draws`: the error of a learner that memorises.

    For one law and any F, e.g. `effective_draws(...)` or n · `survival_factor(α)`. Above the exact Σ p (1 − p)^n of n
    real draws by some Σ ½ n p³ e^(−n p); for a loop with n ≤ 5000 `additive` is exact. F = 0: 1.
    Errors: `ValueError` for negative F, or probabilities outside [0, 1].
    """
    return _over_tokens(lambda p, f: p * jnp.exp(-p * f), probs, draws)


def distinct(probs: Float[ArrayLike, " v"], draws: Num[ArrayLike, "*T"]) -> Float[Array, "*T"]:
    """E(distinct tokens) ≈ Σ (1 − e^(−p_i F)): how many tokens are alive. As `missing_mass`. F → ∞: v."""
    return _over_tokens(lambda p, f: -jnp.expm1(-p * f), probs, draws)


def zipf_missing_mass(exponent: Num[ArrayLike, "*#T"], draws: Num[ArrayLike, "*#T"]) -> Float[Array, "*T"]:
    """Γ(c)/β ζ(β)^(−1/β) F^−c, c = 1 − 1/β: `missing_mass` of infinitely many tokens p_i = i^−β/ζ(β), F → ∞.

    The sum over tokens is an integral up to terms that fall faster than any power of F (β ≤ 3: 10⁻³ at F = 100, 10⁻⁴ at
    3000). v tokens: for F ≪ v^β alone.
    Errors: NaN for β ≤ 1.
    """
    b, log_tail, f = _zipf(exponent, draws)
    return jnp.exp(log_tail) / (b * f)


def zipf_distinct(exponent: Num[ArrayLike, "*#T"], draws: Num[ArrayLike, "*#T"]) -> Float[Array, "*T"]:
    """Γ(c) (F/ζ(β))^(1/β) − ½, c = 1 − 1/β: `distinct` of infinitely many tokens p_i = i^−β/ζ(β), Heaps' law.

    Accuracy, v tokens and errors as `zipf_missing_mass`.
    """
    _, log_tail, _ = _zipf(exponent, draws)
    return jnp.exp(log_tail) - 0.5


def _zipf(exponent, draws):
    """β, ln Γ(c)(F/ζ(β))^(1/β) and F."""
    b, f = jnp.asarray(exponent, float), jnp.asarray(draws, float)
    b = jnp.where(b > 1, b, jnp.nan)
    return b, gammaln(1 - 1 / b) + (jnp.log(f) - jnp.log(zeta(b, jnp.ones_like(b)))) / b, f


def retraining_draws(
    draws: Num[ArrayLike, "*#T"], first: Num[ArrayLike, "*#T"], real: Num[ArrayLike, "*#T"] = 0.0
) -> Float[Array, "*T"]:
    """F = π T + T_0 (1 − e^(−(1 − π) T/T_0)): T draws, a share π (`real`) of them real, the rest from a model of T_0.

    `effective_draws` of two generations. π = 0: T for T ≪ T_0, never more than T_0. π > 0: a plateau at T_0 until
    π T > T_0, then π T: the clean law again, delayed by 1/π. Elementwise.
    Errors: `ValueError` for T_0 ≤ 0, T < 0 or π outside [0, 1].
    """
    t, t0, share = (jnp.asarray(x, float) for x in (draws, first, real))
    _require("draws", t, t >= 0)
    _require("first", t0, t0 > 0)
    _require("real", share, (share >= 0) & (share <= 1))
    return share * t - t0 * jnp.expm1(-(1 - share) * t / t0)


def cut_missing_mass(
    probs: Float[ArrayLike, " v"], draws: Num[ArrayLike, "*T"], kept: Int[ArrayLike, ""]
) -> Float[Array, "*T"]:
    """The missing mass after F draws from the `kept` most probable tokens alone, renormalised: a tail that is cut.

    For Zipf's law of exponent β ~ F^−c + k^−(β−1) (Dohmatob et al.): fresh data, until the cut is all that is missing.
    Errors: as `missing_mass`, and `ValueError` for `kept` below 1.
    """
    p = jnp.sort(jnp.asarray(probs, float))[::-1]
    _require("kept", jnp.asarray(kept), jnp.asarray(kept) >= 1)
    inside = jnp.arange(p.size) < jnp.asarray(kept)
    mass = jnp.where(inside, p, 0.0).sum()
    one = lambda p, f: p * jnp.where(inside, jnp.exp(-p / mass * f), 1.0)
    return _over_tokens(one, p, draws)


def _over_tokens(one, probs, draws):
    p, f = jnp.asarray(probs, float), jnp.asarray(draws, float)
    _require("probs", p, (p >= 0) & (p <= 1))
    _require("draws", f, f >= 0)
    return jax.lax.map(lambda f: one(p, f).sum(), f.ravel()).reshape(f.shape)


def _require(name, value, inside):
    if not isinstance(inside, Tracer) and not bool(inside.all()):
        raise ValueError(f"{name}: got {value[~inside].ravel()[0]}, expected finite numbers in range; try target.probs")


class ScalingLaw(NamedTuple):
    """L = E + A/N^a + B/D^b in nats a token: N parameters, D tokens (Hoffmann et al., arXiv 2203.15556)."""

    floor: float
    a_scale: float
    b_scale: float
    a: float
    b: float


CHINCHILLA = ScalingLaw(1.8172, 482.01, 2085.43, 0.3478, 0.3658)  # refitted by Besiroglu et al., arXiv 2404.10102
CHINCHILLA_ROUNDED = ScalingLaw(1.69, 406.4, 410.7, 0.34, 0.28)  # as published: D/N = 93, not 18, at 5.76e23


def contaminated_loss(
    parameters: Num[ArrayLike, "*#P"],
    tokens: Num[ArrayLike, "*#P"],
    factor: Num[ArrayLike, "*#P"] = 1.0,
    law: ScalingLaw = CHINCHILLA,
) -> Float[Array, "*P"]:
    """L = E + A/N^a + B/(f D)^b, f = `survival_factor(α)`: the loss when D tokens are worth f D real ones.

    A model, not a fit: it takes b for the missing-mass exponent and no interaction of α with N. f = 1: clean data.
    """
    n, d = jnp.asarray(parameters, float), jnp.asarray(factor, float) * jnp.asarray(tokens, float)
    return law.floor + law.a_scale / n**law.a + law.b_scale / d**law.b


def compute_optimal(
    compute: Num[ArrayLike, "*#P"], factor: Num[ArrayLike, "*#P"] = 1.0, law: ScalingLaw = CHINCHILLA
) -> tuple[Float[Array, "*P"], Float[Array, "*P"]]:
    """The (N, D) of least `contaminated_loss` at C = 6 N D operations. D/N grows as f^(−2b/(a + b)), f < 1.

    Contamination changes no exponent: N ~ C^(b/(a+b)), D ~ C^(a/(a+b)).
    """
    c, f = jnp.asarray(compute, float) / 6, jnp.asarray(factor, float)
    both = law.a + law.b
    n = (law.a * law.a_scale * f**law.b / (law.b * law.b_scale)) ** (1 / both) * c ** (law.b / both)
    return n, c / n
