"""Lost tokens and fixation: what a rare token's fate and the last token's arrival look like.

    u_0 = 1, u_{k+1} = 1 − exp(−(1 − α) u_k)      the chance that a copy has descendants after k more generations
    f_t(α) = α Σ_{k<t} u_k + u_t                   P(a token of probability p is absent) ≈ exp(−n p f)
    E T_fix ≈ −2 n Σ_i (1 − p_i) ln(1 − p_i)       α = 0, diffusion

f is Poisson branching with immigration, the discrete-time replacement of the diffusion's Dirichlet(2 n α p*), which
gets the number of lost tokens wrong. α = 0: u_k = g_{k+1} of Suresh, Thangaraj and Khandavally, arXiv 2412.17646.
With probability exactly p_i the last token is i. Fixation times as in the Wright–Fisher model.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlogy
from jaxtyping import Array, ArrayLike, Float, Num

from jaxcollapse.theory._additive import LARGEST, binomial_kernel
from jaxcollapse.theory._risk import checked


def survival_factor(alpha: Num[ArrayLike, ""], generations: int | None = None) -> Float[Array, ""]:
    """f_t(α): n f draws of real data lose as many rare tokens as the loop after t generations, by default for ever.

    f_0 = f(1) = 1 (real data only); f_∞(α → 0) ≈ 2α ln(1/(2α)); f_t(0) ≈ 2/t. Relative error 10⁻⁶ (in float32
    10⁻⁵ for α ≥ 10⁻³, 3·10⁻³ at 10⁻⁶).
    Errors: `ValueError` for α outside [0, 1].
    """
    alpha, _ = checked(alpha, 1)
    grow = lambda u: -jnp.expm1(-(1 - alpha) * u)
    state = (jnp.zeros_like(alpha), jnp.ones_like(alpha), 0)
    if generations is not None:
        total, u, _ = jax.lax.fori_loop(0, generations, lambda _, s: (s[0] + s[1], grow(s[1]), s[2]), state)
        return alpha * total + u
    total, u, _ = jax.lax.while_loop(
        lambda s: (s[1] > 1e-6 * alpha) & (alpha > 0) & (s[2] < 1_000_000),
        lambda s: (s[0] + s[1], grow(s[1]), s[2] + 1),
        state,
    )
    safe = jnp.where(alpha > 0, alpha, 1.0)  # the rest of the sum is ∫ u du/(αu + u²/2)
    return alpha * (total + 2 * jnp.log1p(u / (2 * safe)))


def absence(
    p: Num[ArrayLike, "*P"], alpha: Num[ArrayLike, ""], n: Num[ArrayLike, ""], generations: int | None = None
) -> Float[Array, "*P"]:
    """P(a token of probability p has no count) ≈ exp(−n p f_t(α)), constant α and n, t = `generations` or t → ∞.

    For rare tokens (p ≪ 1, p ≪ f): 10⁻³ at n = 1000, α = 0.1; `additive` is exact. Σ (1 − absence) counts the tokens
    alive; α = 0 and t → ∞: 1, every one but the last is lost. α = 1: exp(−n p).
    """
    alpha, n = checked(alpha, n)
    return jnp.exp(-n * jnp.asarray(p, float) * survival_factor(alpha, generations))


def fixation_time(probs: Float[ArrayLike, " v"], n: int) -> float:
    """The mean number of samples of n draws until one token is left, α = 0; exact, the first (real) sample counted.

    As a generation, t = 0 for the first sample, it is one less. Solves (I − Q) w = frequency on the counts 1..n−1, for
    any number of tokens: fixations exclude each other, so that P(T ≤ t) = Σ_i P(N_{t,i} = n). On the host, n ≤ 5000.
    """
    if isinstance(n, bool) or not 1 <= n <= LARGEST:
        raise ValueError(f"n: got {n!r}, expected a whole number from 1 to {LARGEST}; try fixation_time_diffusion")
    frequency, p = np.arange(1, n) / n, np.asarray(probs, np.float64)
    chain = _dense(n, frequency)[:, 1:n]
    later = np.linalg.solve(np.eye(n - 1) - chain, frequency)
    return float(1 + (_dense(n, p)[:, 1:n] @ later).sum())


def _dense(n: int, q: np.ndarray) -> np.ndarray:
    out = np.zeros((len(q), n + 1))
    for row, value in zip(out, q, strict=True):
        first, kernel = binomial_kernel(n, np.array([value]))
        row[first : first + kernel.shape[1]] = kernel[0] / kernel.sum()
    return out


def fixation_time_diffusion(probs: Float[ArrayLike, " v"], n: Num[ArrayLike, ""]) -> Float[Array, ""]:
    """−2 n Σ (1 − p) ln(1 − p): `fixation_time` for large n, 1 to 2 % above it at n = 100; 2 n for many tokens."""
    p = jnp.asarray(probs, float)
    return -2 * jnp.asarray(n, float) * jnp.sum(xlogy(1 - p, 1 - p))
