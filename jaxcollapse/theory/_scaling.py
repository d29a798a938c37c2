"""Missing mass and scaling laws: what a learner that memorises loses of a heavy tail, and how the loss falls with data.

    E = Σ p_i P(i not seen) ≈ Σ p_i e^(−p_i F)             F: `effective_draws`, real draws that would lose as much
    p_i = i^−β/ζ(β):   E ≈ Γ(c)/β · ζ(β)^(−1/β) · F^−c,      c = 1 − 1/β
    fresh data                       F = T
    replace, α = 0, t generations    F = n f_t(0) ≈ 2n/t      E/E_0 → (t/2)^c
    stationary with share α          F = n f(α)               E/E_real = f(α)^−c
    T draws of a model of T_0        F = T_0 (1 − e^(−T/T_0))   T^−c, then flat at T_0^−c
    … with a share π of real data    F = π T + T_0 (1 − e^(−(1 − π)T/T_0))   and back to the clean law ("grokking")

So every workflow is the clean law at another amount of data: in Chinchilla's L(N, D) too, if α acts there as it does
here, which is a model. Real text may then be a share of D, an inflow or a stock. The learner is that of Hutter, arXiv
2102.04074; a tail that is cut and the return to the clean law are in Dohmatob et al., "A Tale of Tails", arXiv
2402.07043. Sums over tokens are JAX (10⁶ tokens and many F: one F at a time), differentiable in F.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln, zeta
from jaxtyping import Array, ArrayLike, Float, Int, Num

from jaxcollapse.theory._extinction import survival_factor
from jaxcollapse.theory._range import ranged


def missing_mass(probs: Float[ArrayLike, " v"], draws: Num[ArrayLike, "*T"]) -> Float[Array, "*T"]:
    """E Σ p_i over the tokens not seen ≈ Σ p_i e^(−p_i F), F = `draws`: the error of a learner that memorises.

    For one law and any F, e.g. `effective_draws(...)` or n · `survival_factor(α)`. Above the exact Σ p (1 − p)^n of n
    real draws by some Σ ½ n p³ e^(−n p); for a loop with n ≤ 5000 `additive` is exact. F = 0: 1.
    Errors: `ValueError` for negative F, or probabilities outside [0, 1]; traced ones give NaN.
    """
    return _over_tokens(lambda p, f: p * jnp.exp(-p * f), probs, draws)


def distinct(probs: Float[ArrayLike, " v"], draws: Num[ArrayLike, "*T"]) -> Float[Array, "*T"]:
    """E(distinct tokens) ≈ Σ (1 − e^(−p_i F)): how many tokens are alive. As `missing_mass`. F → ∞: v."""
    return _over_tokens(lambda p, f: -jnp.expm1(-p * f), probs, draws)


def zipf_missing_mass(exponent: Num[ArrayLike, "*#T"], draws: Num[ArrayLike, "*#T"]) -> Float[Array, "*T"]:
    """Γ(c)/β ζ(β)^(−1/β) F^−c, c = 1 − 1/β: `missing_mass` of infinitely many tokens p_i = i^−β/ζ(β), F → ∞.

    The sum over tokens is an integral up to terms that fall faster than any power of F (β ≤ 3: 10⁻³ at F = 100, 10⁻⁴ at
    3000). v tokens: for F ≪ v^β alone.
    Errors: `ValueError` for β ≤ 1 or negative F; traced ones give NaN.
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
    b, f = ranged("exponent", exponent, lambda b: b > 1, "exponents above 1", "1.5"), _draws(draws)
    return b, gammaln(1 - 1 / b) + (jnp.log(f) - jnp.log(zeta(b, jnp.ones_like(b)))) / b, f


def retraining_draws(
    draws: Num[ArrayLike, "*#T"], first: Num[ArrayLike, "*#T"], real: Num[ArrayLike, "*#T"] = 0.0
) -> Float[Array, "*T"]:
    """F = π T + T_0 (1 − e^(−(1 − π) T/T_0)): T draws, a share π (`real`) of them real, the rest from a model of T_0.

    `effective_draws` of two generations. π = 0: T for T ≪ T_0, never more than T_0. π > 0: a plateau at T_0 until
    π T > T_0, then π T: the clean law again, delayed by 1/π. Elementwise.
    Errors: `ValueError` for T_0 ≤ 0, T < 0 or π outside [0, 1]; traced ones give NaN.
    """
    t, t0 = _draws(draws), ranged("first", first, lambda x: x > 0, "numbers above 0", "1000")
    share = ranged("real", real, lambda x: (x >= 0) & (x <= 1), "shares in [0, 1]", "0.1")
    return share * t - t0 * jnp.expm1(-(1 - share) * t / t0)


def cut_missing_mass(
    probs: Float[ArrayLike, " v"], draws: Num[ArrayLike, "*T"], kept: Int[ArrayLike, ""]
) -> Float[Array, "*T"]:
    """The missing mass after F draws from the `kept` most probable tokens alone, renormalised: a tail that is cut.

    For Zipf's law of exponent β ~ F^−c + k^−(β−1) (Dohmatob et al.): fresh data, until the cut is all that is missing.
    Errors: as `missing_mass`, and `ValueError` for `kept` below 1.
    """
    kept = ranged("kept", kept, lambda k: k >= 1, "a number of tokens of at least 1", "1000")
    p = jnp.where(jnp.isnan(kept), jnp.nan, jnp.sort(_probabilities(probs))[::-1])
    inside = jnp.arange(p.size, dtype=p.dtype) < kept
    mass = jnp.where(inside, p, 0.0).sum()
    one = lambda p, f: p * jnp.where(inside, jnp.exp(-p / mass * f), 1.0)
    return _over_tokens(one, p, draws)


def _over_tokens(one, probs, draws):
    p, f = _probabilities(probs), _draws(draws)
    return jax.lax.map(lambda f: one(p, f).sum(), f.ravel()).reshape(f.shape)


def _probabilities(probs):
    return ranged("probs", probs, lambda p: (p >= 0) & (p <= 1), "probabilities in [0, 1]", "target.probs")


def _draws(draws):
    return ranged("draws", draws, lambda f: f >= 0, "numbers of at least 0", "1000")


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

    A model, not a fit: it takes b for the missing-mass exponent c, a loop that is stationary and trains on its latest
    batch alone, and no interaction of α with N. f = 1: clean data. f → 0: the data term alone diverges.
    Errors: `ValueError` for N, D or f that is not positive; traced ones give NaN.
    """
    n, d, f = _sizes(parameters, tokens, factor)
    return law.floor + law.a_scale / n**law.a + law.b_scale / (f * d) ** law.b


def compute_optimal(
    compute: Num[ArrayLike, "*#P"], factor: Num[ArrayLike, "*#P"] = 1.0, law: ScalingLaw = CHINCHILLA
) -> tuple[Float[Array, "*P"], Float[Array, "*P"]]:
    """The (N, D) of least `contaminated_loss` at C = 6 N D operations. D/N grows as f^(−2b/(a + b)), f < 1.

    Contamination changes no exponent, N ~ C^(b/(a+b)), D ~ C^(a/(a+b)): least L at (C, f) is that of clean data at f C.
    Errors: `ValueError` for C or f that is not positive; traced ones give NaN.
    """
    c, f = _positive("compute", compute, "5.76e23") / 6, _positive("factor", factor, "0.3")
    both = law.a + law.b
    n = (law.a * law.a_scale * f**law.b / (law.b * law.b_scale)) ** (1 / both) * c ** (law.b / both)
    return n, c / n


def fixed_ratio(
    compute: Num[ArrayLike, "*#P"], ratio: Num[ArrayLike, "*#P"]
) -> tuple[Float[Array, "*P"], Float[Array, "*P"]]:
    """The (N, D) with D = `ratio` N at C = 6 N D: 20 is customary, 100, 200 and 2000 are over-training by 5, 10, 100.

    Errors: `ValueError` for C or D/N that is not positive; traced ones give NaN.
    """
    c, rho = _positive("compute", compute, "5.76e23"), _positive("ratio", ratio, "20.0")
    return jnp.sqrt(c / (6 * rho)), jnp.sqrt(c * rho / 6)


def inflow_draws(tokens: Num[ArrayLike, "*#P"], real: Num[ArrayLike, "*#P"]) -> Float[Array, "*P"]:
    """F = D f(D_R/D), D for D ≤ D_R: what D tokens a generation are worth if D_R = `real` of them are fresh real text.

    D ≫ D_R: 2 D_R (ln(D/2D_R) + 0.1003), so that the model's own text adds a logarithm. That is to rare tokens; to the
    squared risk D tokens are worth D α(2 − α), never more than 2 D_R. The SAME D_R tokens in every generation are worth
    D_R to rare tokens, as nothing comes back that they lack, and ⅔ D_R to the squared risk (`retained`).
    Errors: `ValueError` for D or D_R that is not positive; traced ones give NaN.
    """
    return _inflow(_positive("tokens", tokens, "1e13"), _positive("real", real, "3e14"))


def _inflow(d, real):
    return d * survival_factor(jnp.minimum(1.0, real / d))


def inflow_optimal(
    compute: Num[ArrayLike, "*#P"], real: Num[ArrayLike, "*#P"], law: ScalingLaw = CHINCHILLA
) -> tuple[Float[Array, "*P"], Float[Array, "*P"]]:
    """The (N, D) of least E + A/N^a + B/F^b at C = 6 N D, F = `inflow_draws`(D, D_R): D_R of the D tokens are fresh.

    a A/N^a = e b B/F^b with e = d ln F/d ln D, by bisection in ln D. D ≤ D_R: `compute_optimal`. D ≫ D_R: e ≈ 1/ln D, N
    grows like a power of ln D alone, D almost like C. A model, as `contaminated_loss`.
    Errors: `ValueError` for C or D_R that is not positive; traced ones give NaN.
    """
    c, real = jnp.broadcast_arrays(_positive("compute", compute, "5.76e23") / 6, _positive("real", real, "3e14"))
    d = _inflow_optimal(c, real, law)
    return c / d, d


@jax.jit
def _inflow_optimal(c: Float[Array, "*P"], real: Float[Array, "*P"], law: ScalingLaw) -> Float[Array, "*P"]:
    """D, where more tokens begin to cost more in parameters than they bring."""

    def excess(log_d):
        log_f, elasticity = jax.jvp(lambda x: jnp.log(_inflow(jnp.exp(x), real)), (log_d,), (jnp.ones_like(log_d),))
        of_parameters = law.a * law.a_scale * jnp.exp(law.a * (log_d - jnp.log(c)))
        return of_parameters > law.b * law.b_scale * elasticity * jnp.exp(-law.b * log_f)

    def halve(_, interval):
        low, high = interval
        middle = (low + high) / 2
        above = excess(middle)
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    low, high = jax.lax.fori_loop(0, 64, halve, (jnp.zeros_like(c), jnp.log(c)))
    return jnp.where(jnp.isnan(c + real), jnp.nan, jnp.exp((low + high) / 2))


def stock_optimal(
    compute: Num[ArrayLike, "*#P"], real: Num[ArrayLike, "*#P"], law: ScalingLaw = CHINCHILLA
) -> tuple[Float[Array, "*P"], Float[Array, "*P"]]:
    """The (N, D) of least loss at C = 6 N D where the SAME D_R = `real` tokens are all the real text there ever is.

    More than D_R tokens, copied or written by models of them, are worth D_R: `compute_optimal`, but D ≤ D_R, and the
    rest of C goes into N. C → ∞: L → E + B/D_R^b. A model, as `contaminated_loss`.
    Errors: `ValueError` for C or D_R that is not positive; traced ones give NaN.
    """
    c, real = _positive("compute", compute, "5.76e23"), _positive("real", real, "3e14")
    d = jnp.minimum(compute_optimal(c, 1.0, law)[1], real)
    return c / 6 / d, d


def _positive(name, value, example):
    return ranged(name, value, lambda x: (x > 0) & jnp.isfinite(x), "positive, finite numbers", example)


def _sizes(parameters, tokens, factor):
    """N, D (∞ for one that is no limit) and f."""
    positive = lambda name, x: ranged(name, x, lambda x: x > 0, "positive numbers", "1e9")
    return positive("parameters", parameters), positive("tokens", tokens), positive("factor", factor)


class KaplanLaw(NamedTuple):
    """L = [(N_c/N)^(a/b) + D_c/D]^b in nats a token: N parameters without embeddings, D tokens (arXiv 2001.08361)."""

    a: float
    b: float
    n_scale: float
    d_scale: float


KAPLAN = KaplanLaw(0.076, 0.095, 8.8e13, 5.4e13)  # L(N) and L(D), each fitted alone: equations 1.1 and 1.2
KAPLAN_JOINT = KaplanLaw(0.076, 0.103, 6.4e13, 1.8e13)  # L(N, D) fitted as a whole: equation 1.5, Table 2


def kaplan_loss(
    parameters: Num[ArrayLike, "*#P"] = jnp.inf,
    tokens: Num[ArrayLike, "*#P"] = jnp.inf,
    factor: Num[ArrayLike, "*#P"] = 1.0,
    law: KaplanLaw = KAPLAN,
) -> Float[Array, "*P"]:
    """L = [(N_c/N)^(a/b) + D_c/(f D)]^b: L(N) = (N_c/N)^a for D = ∞, L(D) = (D_c/(f D))^b for N = ∞.

    f = `survival_factor(α)` as in `contaminated_loss`, a model. For N and D both finite take `KAPLAN_JOINT`. There is
    no floor, and WebText2's tokens are not Chinchilla's: compare exponents, not levels.
    Errors: `ValueError` for N, D or f that is not positive; traced ones give NaN.
    """
    n, d, f = _sizes(parameters, tokens, factor)
    return ((law.n_scale / n) ** (law.a / law.b) + law.d_scale / (f * d)) ** law.b
