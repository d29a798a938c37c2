"""Lost tokens: the fate of rare ones, by Poisson branching with immigration.

    u_0 = 1,  u_{k+1} = 1 − exp(−(1 − α) u_k)        the chance that a draw has copies after k more generations
    f_t(α) = α Σ_{k<t} u_k + u_t,  f(α) = α Σ u_k    P(a token of probability p is absent) ≈ exp(−n p f)

Schedules: u_{k+1} = 1 − exp(−(1 − α_s) u_k n_s/n_{s−1}), s = t − k, exp(−p F_t) with F_t = Σ_k n_s α_s u_k; α_0 = 1.

F is the number of real draws that lose as many rare tokens as the loop has: the discrete-time replacement of the
diffusion's Dirichlet(2 n α p*), which gets that number wrong (n = 1000, α = 0.1, p = 0.002: 0.450, diffusion 0.488,
exact 0.449). α = 0: u_k = g_{k+1} of Suresh, Thangaraj and Khandavally, arXiv 2412.17646. All of it is JAX,
differentiable in α and n, and costs O(1) a token.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma, gammaln
from jaxtyping import Array, ArrayLike, Float, Num

from jaxcollapse._schedule import Schedule, evaluate
from jaxcollapse.theory._risk import checked

STEPS = 512  # of the series before its remainder is taken in closed form


def branching_survival(alpha: Num[ArrayLike, "*#P"], generations: int) -> Float[Array, "times *P"]:
    """u_k, k = 0..T: the chance that one draw still has copies k generations later, constant α and n.

    α = 0: u_k = g_{k+1}, with k g_k → 2 (1, 1.2642, 1.5604 at k = 1, 2, 5). α > 0: falls as (1 − α)^k in the end.
    Errors: `ValueError` for α outside [0, 1].
    """
    return _survival(checked(alpha, 1)[0], generations)


@functools.partial(jax.jit, static_argnums=1)
def _survival(alpha: Float[Array, "*P"], generations: int) -> Float[Array, "times *P"]:
    step = lambda u, _: (_copies(alpha, u), u)
    return jax.lax.scan(step, jnp.ones_like(alpha), None, length=generations + 1)[1]


def lineage_survival(copies: Num[ArrayLike, "*#P"], generations: int) -> Float[Array, "*#P"]:
    """1 − (1 − u_t)^c: the chance that c copies of a rare token have descendants after t generations, α = 0.

    ≈ 2c/t for t ≫ c. For c ≪ n; `two_token_chain(0.5, 0.0, n).law(t, start=c)` is exact. Errors: none, `copies` ≥ 0.
    """
    u = branching_survival(0.0, generations)[-1]
    return -jnp.expm1(jnp.asarray(copies, float) * jnp.log1p(-jnp.minimum(u, 1 - jnp.finfo(u.dtype).epsneg)))


def survival_factor(alpha: Num[ArrayLike, "*#P"], generations: int | None = None) -> Float[Array, "*#P"]:
    """f_t(α): n f draws of real data lose as many rare tokens as the loop after t generations, by default for ever.

    f_0 = f(1) = 1 (real data only); f(α → 0) ≈ 2α ln(1/(2α)); f_t(0) ≈ 2/t. Relative error 10⁻⁸, in float32 5·10⁻⁶, for
    every α from 0 to 1: the rest of the series after 512 terms is known to second order. Elementwise, differentiable.
    Errors: `ValueError` for α outside [0, 1].
    """
    return _factor(checked(alpha, 1)[0], generations)


@functools.partial(jax.jit, static_argnums=1)
def _factor(alpha: Float[Array, "*P"], generations: int | None) -> Float[Array, "*P"]:
    steps = STEPS if generations is None else generations
    step = lambda _, s: (s[0] + s[1], _copies(alpha, s[1]))
    total, u = jax.lax.fori_loop(0, steps, step, (jnp.zeros_like(alpha), jnp.ones_like(alpha)))
    return alpha * total + (u if generations is not None else _remainder(alpha, u))


def _copies(alpha: Float[Array, "*P"], u: Float[Array, "*P"]) -> Float[Array, "*P"]:
    return -jnp.expm1(-(1 - alpha) * u)


def _remainder(alpha: Float[Array, "*P"], u: Float[Array, "*P"]) -> Float[Array, "*P"]:
    """α (u + F(u) + F(F(u)) + …) for small u and F(u) = 1 − exp(−βu), β = 1 − α.

    In w = 1/u the map is w' = w/β + 1/2 + β/(12 w) − …: the first two terms are Möbius, summed by Euler and Maclaurin,
    the third a perturbation. What is left out is of the order of u² beside 2 ln(1 + u/2α).
    """
    some = (alpha > 0) & (u > 0)
    a, u = jnp.where(some, alpha, 0.5), jnp.where(some, u, 0.0)
    beta = jnp.maximum(1 - a, 0.1)  # beyond it u is 0
    x, z = beta * u / (2 * a), u / (2 * a)
    integral = 2 * a / beta * jnp.log1p(x) / -jnp.log1p(-jnp.minimum(a, 0.9))
    third = 2 * a / 3 * (z + z / (1 + z) - 2 * jnp.log1p(z))
    return jnp.where(some, a * (integral + u / 2 + (a * u + u**2 / 2) / 12 - third), 0.0)


def hapax_factor(alpha: Num[ArrayLike, "*#P"], generations: int | None = None) -> Float[Array, "*#P"]:
    """h_t(α): P(a rare token has exactly one count) ≈ n p h exp(−n p f), constant α and n, by default stationary.

    h_t = α Σ_{k<t} d_k + d_t, d_0 = 1, d_{k+1} = (1 − α)(1 − u_{k+1}) d_k. So E(hapaxes/n) = h × E(missing mass): in a
    loop Good and Turing's estimate of the mass not seen is too small by h, and hapaxes/(n h) is right. h(1) = 1;
    h(α → 0) ≈ 2.2409 α. Relative error 10⁻⁷, in float32 5·10⁻⁶. Errors: `ValueError` for α outside [0, 1].
    """
    return _hapax_factor(checked(alpha, 1)[0], generations)


@functools.partial(jax.jit, static_argnums=1)
def _hapax_factor(alpha: Float[Array, "*P"], generations: int | None) -> Float[Array, "*P"]:
    def step(_, state):
        total, u, d = state
        u = _copies(alpha, u)
        return total + d, u, (1 - alpha) * (1 - u) * d

    one, steps = jnp.ones_like(alpha), STEPS if generations is None else generations
    total, u, d = jax.lax.fori_loop(0, steps, step, (jnp.zeros_like(alpha), one, one))
    if generations is not None:
        return alpha * total + d
    a = jnp.clip(alpha, 1e-9, 0.9)
    decay = -jnp.log1p(-a)  # as in `_remainder`: −du/dk = u (decay + slope + u²/12), and d is proportional to it
    slope = (1 - a) * decay / (2 * a) * u
    return alpha * (total + d * (1 / (decay + slope + u**2 / 12) + 0.5 + (decay + 2 * slope) / 12))


def absence(
    p: Num[ArrayLike, "*P"], alpha: Num[ArrayLike, ""], n: Num[ArrayLike, ""], generations: int | None = None
) -> Float[Array, "*P"]:
    """P(a token of probability p has no count) ≈ exp(−n p f_t(α)), constant α and n, t = `generations` or t → ∞.

    For rare tokens (p ≪ 1, p ≪ f): 10⁻³ at n = 1000, α = 0.1; `additive` and `two_token_chain` are exact. Real-only
    sampling loses the tokens with p < 1/n, the stationary loop those with p < 1/(n f). α = 0 and t → ∞: 1, every one
    but the last is lost. α = 1: exp(−n p). For schedules: exp(−p · `effective_draws`).
    """
    alpha, n = checked(alpha, n)
    return jnp.exp(-n * jnp.asarray(p, float) * survival_factor(alpha, generations))


def effective_draws(alpha: Schedule, n: Schedule, generations: int) -> Float[Array, " times"]:
    """F_t, t = 0..T: that many real draws lose as many rare tokens as the loop has at generation t, for any schedules.

    Absent ≈ exp(−p F_t); `missing_mass`, `distinct` and the Zipf laws of the same names take F_t. F_0 = n_0; constant:
    n f_t(α). Two generations with α = 0 are a model's data used to train another one (`retraining_draws`). Relative
    error of the chance to be alive about 1/n, from binomial draws. Work T².
    Errors: `ValueError` for schedules out of range; under a trace NaN from the first such generation on.
    """
    return _effective_draws(*evaluate(alpha, n, generations))


@jax.jit
def _effective_draws(alpha_t: Float[Array, " times"], n_t: Float[Array, " times"]) -> Float[Array, " times"]:
    times, growth = jnp.arange(alpha_t.size), n_t / jnp.roll(n_t, 1)

    def step(state, k):
        total, u = state
        s = times - k
        a, size, ratio = (x[jnp.maximum(s, 0)] for x in (alpha_t, n_t, growth))
        inside = s >= 0
        return (total + jnp.where(inside, size * a * u, 0.0), -jnp.expm1(-(1 - a) * u * ratio)), None

    start = jnp.zeros_like(n_t), jnp.ones_like(n_t)
    return jax.lax.scan(step, start, times)[0][0]


def alive_bounds(
    p: Num[ArrayLike, "*#P"], n: Num[ArrayLike, "*#P"], generations: int
) -> tuple[Float[Array, "*P"], Float[Array, "*P"]]:
    """The published bracket of P(a token is alive at generation t), α = 0: Suresh et al., Theorem 1, k = t + 1.

    1 − exp(−n p g_k) ≤ P ≤ 1 − (1 − 3 n p² − 3 k p) exp(−n p g_k). Binomial draws; the lower end is exact for Poisson
    ones. The upper end is worth something for n p² ≪ 1 and k p ≪ 1 only, and is cut at 1.
    """
    _, n = checked(0.0, n)
    p = jnp.asarray(p, float)
    lost = jnp.exp(-n * p * survival_factor(0.0, generations))
    slack = 3 * n * p**2 + 3 * (generations + 1) * p
    return 1 - lost, jnp.minimum(1 - (1 - slack) * lost, 1.0)


class Ewens(NamedTuple):
    """A loop whose real draws are all new tokens: what is stationary.

    homozygosity     E Σ P̂² = 1/(1 + (n − 1) α (2 − α)), exact
    types            distinct tokens, n f(α); relative error O(1/n)
    hapaxes          tokens seen once, n h(α)
    theta            2 n α, the diffusion's parameter
    diffusion_types  Σ_{j<n} θ/(θ + j), Ewens; too few (n = 500, α = 0.1: 179.6 for 199.9)
    """

    homozygosity: Float[Array, "*P"]
    types: Float[Array, "*P"]
    hapaxes: Float[Array, "*P"]
    theta: Float[Array, "*P"]
    diffusion_types: Float[Array, "*P"]


def ewens(alpha: Num[ArrayLike, "*#P"], n: Num[ArrayLike, "*#P"]) -> Ewens:
    """`Ewens` for α > 0, elementwise. α = 1: n types, all seen once. Errors: `ValueError` for α or n out of range."""
    alpha, n = checked(alpha, n)
    theta = 2 * n * alpha
    same = 1 / (1 + (n - 1) * alpha * (2 - alpha))
    diffusion = theta * (digamma(theta + n) - digamma(theta))
    return Ewens(same, n * survival_factor(alpha), n * hapax_factor(alpha), theta, diffusion)


def ewens_spectrum(
    theta: Num[ArrayLike, ""], n: Num[ArrayLike, ""], copies: Num[ArrayLike, "*j"]
) -> Float[Array, "*j"]:
    """E(types with j copies among n) = θ/j · n!/(n − j)! · Γ(n + θ − j)/Γ(n + θ), the diffusion's law (Ewens).

    Σ_j is `Ewens.diffusion_types`, Σ_j j is n; 0 for j > n. Few copies are wrong in a loop (see `Ewens.hapaxes`).
    """
    theta, n, j = (jnp.asarray(x, float) for x in (theta, n, copies))
    k = jnp.minimum(j, n)
    log = gammaln(n + 1) - gammaln(n - k + 1) + gammaln(n + theta - k) - gammaln(n + theta)
    return jnp.where(j > n, 0.0, theta / k * jnp.exp(log))
