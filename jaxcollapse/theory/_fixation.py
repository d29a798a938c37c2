"""Fixation: when the last but one token is lost, α = 0.

    P(token i is the last) = p_i exactly, whatever n_t
    E T ≈ −2 n Σ_i (1 − p_i) ln(1 − p_i)                              of K tokens, diffusion
    to fixation of token i alone −2 n (1 − p) ln(1 − p)/p,  to its loss −2 n p ln p/(1 − p)
    P(T > t) ≈ 3 H_0 e^(−t/n),  H_0 Π(1 − 1/n_s)/(1 − 1/K) ≤ P(T > t) ≤ n_t²/(2(n_t − 1)) H_0 Π(1 − 1/n_s)

As in the Wright–Fisher model (Kimura and Ohta 1969; Baxter, Blythe and McKane, arXiv q-bio/0508045). The exact times
come from the chain of one token's count: fixations exclude each other, so that P(T ≤ t) = Σ_i P(N_{t,i} = n). Exact: on
the host, NumPy and float64, n ≤ 5000 (n³ work); diffusion: JAX, any n.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlogy
from jaxtyping import Array, ArrayLike, Float, Float64, Num

from jaxcollapse._schedule import Constant, Schedule, evaluate
from jaxcollapse.theory._additive import LARGEST, binomial_kernel
from jaxcollapse.theory._risk import diversity


def fixation_time(probs: Float[ArrayLike, " v"], n: int) -> float:
    """The mean number of samples of n draws until one token is left, α = 0; exact, the first (real) sample counted.

    As a generation, t = 0 for the first sample, it is one less. Solves (I − Q) w = frequency on the counts 1..n−1, for
    any number of tokens. Errors: `ValueError` for n outside 1..5000.
    """
    return float(1 + _transient(probs, n, lambda x: x).sum())


class ConditionalTimes(NamedTuple):
    """Mean times of one token given its fate, in samples counted from the first (real) one; NaN where it is never met.

    probability   of fixation, exactly p
    fixation      E(T | the token is the last), T the sample in which it has all draws
    loss          E(T | the token is lost), T the first sample without it
    """

    probability: Float64[np.ndarray, " v"]
    fixation: Float64[np.ndarray, " v"]
    loss: Float64[np.ndarray, " v"]


def conditional_times(probs: Float[ArrayLike, " v"], n: int) -> ConditionalTimes:
    """Exact times to fixation and to loss of each token, α = 0, n draws a sample. Errors as `fixation_time`.

    Diffusion: `conditional_times_diffusion`, 1 to 4 % off at n = 100.
    """
    p = np.asarray(probs, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        fixation = 1 + _transient(p, n, lambda x: x) / p
        return ConditionalTimes(p, fixation, 1 + _transient(p, n, lambda x: 1 - x) / (1 - p))


def _transient(probs: ArrayLike, n: int, fate: Callable[[np.ndarray], np.ndarray]) -> Float64[np.ndarray, " v"]:
    """E of the number of samples with 0 < N < n, counted where the fate is met, with chance fate(x) at frequency x."""
    if isinstance(n, bool) or not 1 <= n <= LARGEST:
        raise ValueError(f"n: got {n!r}, expected a whole number from 1 to {LARGEST}; try fixation_time_diffusion")
    frequency, p = np.arange(1, n) / n, np.asarray(probs, np.float64)
    chain = binomial_rows(n, frequency)[:, 1:n]
    later = np.linalg.solve(np.eye(n - 1) - chain, fate(frequency))
    return binomial_rows(n, p)[:, 1:n] @ later


def binomial_rows(n: int, q: np.ndarray) -> Float64[np.ndarray, "q j"]:
    """Binomial(n, q) probabilities of 0..n, one row for each q."""
    out = np.zeros((len(q), n + 1))
    for row, value in zip(out, q, strict=True):
        first, kernel = binomial_kernel(n, np.array([value]))
        row[first : first + kernel.shape[1]] = kernel[0] / kernel.sum()
    return out


def fixation_time_diffusion(probs: Float[ArrayLike, " v"], n: Num[ArrayLike, ""]) -> Float[Array, ""]:
    """−2 n Σ (1 − p) ln(1 − p): `fixation_time` for large n, 1 to 2 % above it at n = 100; 2 n for many tokens."""
    p = jnp.asarray(probs, float)
    return -2 * jnp.asarray(n, float) * jnp.sum(xlogy(1 - p, 1 - p))


def conditional_times_diffusion(
    p: Num[ArrayLike, "*P"], n: Num[ArrayLike, ""]
) -> tuple[Float[Array, "*P"], Float[Array, "*P"]]:
    """(−2 n (1 − p) ln(1 − p)/p, −2 n p ln p/(1 − p)): mean times to fixation and to loss given that fate.

    p → 0: 2 n to fixation, 0 to loss (a token of few copies: `lineage_survival`). Error as `conditional_times`.
    """
    p, n = jnp.asarray(p, float), jnp.asarray(n, float)
    q = 1 - p
    fixation = jnp.where(p > 0, xlogy(q, q) / jnp.where(p > 0, p, 1.0), -1.0)
    loss = jnp.where(q > 0, xlogy(p, p) / jnp.where(q > 0, q, 1.0), -1.0)
    return -2 * n * fixation, -2 * n * loss


class FixationTail(NamedTuple):
    """P(more than one token at generation t), t = 0..T: a rigorous bracket, and the leading term of the diffusion.

    low, high    hold at every t; `high` is cut at 1
    leading      3 H_0 Π_{s ≤ t}(1 − 1/n_s), for t of 2 n generations or more; 4 % above the exact value at n = 100
    """

    low: Float[Array, " times"]
    high: Float[Array, " times"]
    leading: Float[Array, " times"]


def fixation_tail(probs: Float[ArrayLike, " v"], n: Schedule, generations: int) -> FixationTail:
    """The tail of the fixation time, α = 0, any sizes n_t; exact for n ≤ 5000: 1 − `additive`(lambda x, p: x == 1).

    With H_t = 1 − Σ P̂²: 2(n − 1)/n² ≤ H_t ≤ 1 − 1/min(K, n) where two tokens or more are left, and
    E H_t = H_0 Π(1 − 1/n_s), H_0 = 1 − Σ p². In samples counted from the first, P(T > t + 1).
    """
    p = jnp.asarray(probs, float)
    h_star = (p * (1 - p)).sum()
    h = h_star * diversity(Constant(0.0), n, generations)
    _, sizes = evaluate(Constant(0.0), n, generations)
    most = 1 - 1 / jnp.minimum(sizes, jnp.maximum((p > 0).sum().astype(float), 1.0))
    least = 2 * (sizes - 1) / sizes**2
    return FixationTail(_over(h, most), jnp.minimum(_over(h, least), 1.0), 3 * h)


def _over(h: Float[Array, " times"], divisor: Float[Array, " times"]) -> Float[Array, " times"]:
    """h / divisor; 0 where one draw, or one token, has no diversity."""
    safe = jnp.asarray(jnp.where(divisor > 0, divisor, 1.0))
    return jnp.where(divisor > 0, h / safe, 0.0)
