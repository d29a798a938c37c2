"""Drift: full laws of small chains, the stationary law of the diffusion, and how often the dominant token changes.

    P(N' = j | N = i) = Binomial(n, α p + (1 − α) i/n)(j)          one token, or any group of tokens, against the rest
    stationary, n α = O(1):  P̂ ~ Dirichlet(2 n α p*)               2 as draws are haploid; exact r = 1/(1 + (n−1)α(2−α))
    changes of the dominant token ~ (1 − Σ p²) Σ α_s                once n_t α_t ≪ 1

The chain is an oracle of laws, not of moments alone: of the count at any generation, of the stationary law, of first
times. It is a matrix on the host, NumPy and float64. A group of tokens is exact since the process is lumpable: merged,
they are one token of their summed probability. Source of the diffusion: the Wright–Fisher model with immigration.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Float64, Num

from jaxcollapse._schedule import Constant, Schedule, evaluate
from jaxcollapse.theory._additive import LARGEST, NEGLIGIBLE, binomial_kernel
from jaxcollapse.theory._fixation import binomial_rows
from jaxcollapse.theory._risk import checked


class TwoTokenChain(NamedTuple):
    """The count N_t = 0..n of one token among n draws a generation, constant α: `two_token_chain`.

    matrix   P(N_{t+1} = j | N_t = i), rows i
    first    P(N_0 = j), n real draws
    """

    p: float
    alpha: float
    n: int
    matrix: Float64[np.ndarray, "i j"]
    first: Float64[np.ndarray, " j"]

    def laws(self, generations: int, start: int | None = None) -> Float64[np.ndarray, "times j"]:
        """P(N_t = j), t = 0..T, from n real draws or from a count `start` at t = 0. With schedules: `token_law`."""
        out = np.empty((generations + 1, self.n + 1))
        out[0] = self.first if start is None else np.eye(1, self.n + 1, start)[0]
        for t in range(generations):
            out[t + 1] = out[t] @ self.matrix
        return out

    def law(self, generations: int, start: int | None = None) -> Float64[np.ndarray, " j"]:
        """The last of `laws`, by repeated squaring of the matrix: cheap for very long runs."""
        return self.laws(0, start)[0] @ np.linalg.matrix_power(self.matrix, generations)

    def stationary(self) -> Float64[np.ndarray, " j"]:
        """P(N_∞ = j), relative error about 10⁻¹⁵/α. Error: `ValueError` for α = 0, where both 0 and n absorb."""
        if self.alpha == 0:
            raise ValueError("alpha: got 0, expected a positive weight, as 0 and n absorb; try first_time((0, n))")
        system = self.matrix.T - np.eye(self.n + 1)
        system[-1] = 1.0
        return np.maximum(np.linalg.solve(system, np.eye(self.n + 1)[-1]), 0.0)

    def first_time(self, counts: Sequence[int]) -> Float64[np.ndarray, " i"]:
        """The mean number of generations from each count to the first of `counts`: absorption, loss, fixation.

        `first_time((0, n))` is the absorption time for α = 0, `first_time((0,))` the time to loss for α > 0. From the
        first sample on: `chain.first @ chain.first_time(...)`. ∞ where it may never be met.
        """
        inside, outside = self._split(counts)
        out = np.full(self.n + 1, np.inf)
        out[inside] = 0.0
        if (self.matrix.diagonal()[outside] < 1).all():  # else another count absorbs, and may do so from everywhere
            keep = self.matrix[np.ix_(outside, outside)]
            out[outside] = np.linalg.solve(np.eye(len(outside)) - keep, np.ones(len(outside)))
        return out

    def first_time_law(
        self, counts: Sequence[int], generations: int, start: int | None = None
    ) -> Float64[np.ndarray, " times"]:
        """P(one of `counts` was met by generation t), t = 0..T, from n real draws or from a count at t = 0."""
        _, outside = self._split(counts)
        keep, alive = self.matrix[np.ix_(outside, outside)], self.laws(0, start)[0][outside]
        out = np.empty(generations + 1)
        for t in range(generations + 1):
            out[t] = 1 - alive.sum()
            alive = alive @ keep
        return out

    def _split(self, counts: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        chosen = np.unique(np.asarray(counts, int))
        if not chosen.size or chosen[0] < 0 or chosen[-1] > self.n:
            raise ValueError(f"counts: got {counts}, expected some of 0..{self.n}; try (0, {self.n})")
        return chosen, np.setdiff1d(np.arange(self.n + 1), chosen)


def two_token_chain(p: float, alpha: float, n: int) -> TwoTokenChain:
    """The exact chain of one token of probability p, n draws a generation, mixture weight α. Memory 8 n² bytes.

    Errors: `ValueError` for p or α outside [0, 1], n outside 1..5000.
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 1 <= n <= LARGEST:
        raise ValueError(f"n: got {n!r}, expected a whole number from 1 to {LARGEST}; try 100")
    for name, value in (("p", p), ("alpha", alpha)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name}: got {value!r}, expected a number in [0, 1]; try 0.1")
    matrix = binomial_rows(n, alpha * p + (1 - alpha) * np.arange(n + 1) / n)
    return TwoTokenChain(float(p), float(alpha), int(n), matrix, binomial_rows(n, np.array([float(p)]))[0])


def stationary_dirichlet(
    probs: Float[ArrayLike, " v"], alpha: Num[ArrayLike, ""], n: Num[ArrayLike, ""]
) -> Float[Array, " v"]:
    """2 n α p*, the parameters of the diffusion's stationary law Dirichlet(2 n α p*): n → ∞ with n α fixed.

    Its variance p(1 − p)/(1 + 2 n α) is that of `plateau` up to O(α, 1/n); (1/plateau − 1) p* has it exactly. Largest
    gap between the distribution functions of a token: 0.004 at n = 200, α = 0.05, p = 0.3. Tokens with 2 n α p < 1 are
    nearly lost most of the time (density → ∞ at 0); for the number lost it is wrong, see `absence`.
    """
    alpha, n = checked(alpha, n)
    return 2 * n * alpha * jnp.asarray(probs, float)


def turnover(probs: Float[ArrayLike, " v"], alpha: Schedule, generations: int) -> Float[Array, " times"]:
    """(1 − Σ p²) Σ_{1 ≤ s ≤ t} α_s, t = 0..T: changes of the dominant token (take-overs by another real draw) up to t.

    To leading order, once n_t α_t ≪ 1 and one token has nearly all: count from there on, by differences (it leaves out
    the 2 n generations that a take-over lasts). n α real draws a generation, each of which takes over with chance 1/n.
    Power laws: for ever if a ≤ 1 (C1, as ln t at a = 1), and finitely often if a > 1 (C2, C3; `phase`). Two tokens
    exactly: `two_token_turnover`.
    """
    p = jnp.asarray(probs, float)
    alpha_t, _ = evaluate(alpha, Constant(1.0), generations)
    return (p * (1 - p)).sum() * jnp.cumsum(alpha_t.at[0].set(0.0))


def two_token_turnover(
    p: float, alpha: Schedule, n: Schedule, generations: int, threshold: float = 1.0
) -> Float64[np.ndarray, " times"]:
    """The exact mean number of changes of the last token to reach frequency `threshold`, up to t = 0..T; two tokens.

    As `metrics.turnover(metrics.dominant(p_t, threshold))` counts them from t = 0 on; n_t ≤ 5000. The chain is that of
    the count and of who was last to reach it (nobody, the first token, the other). threshold in (½, 1].
    """
    if not 0.5 < threshold <= 1:
        raise ValueError(f"threshold: got {threshold!r}, expected a frequency in (0.5, 1]; try 1.0")
    alpha_t, n_t = (np.asarray(x, np.float64) for x in evaluate(alpha, n, generations))
    if n_t.max() > LARGEST:
        raise ValueError(f"n: got {n_t.max():.0f} draws, expected at most {LARGEST} (the kernels have n² entries)")
    law, frequency, changes = np.array([[1.0], [0.0], [0.0]]), np.zeros(1), np.zeros(generations + 1)
    for t, size in enumerate(n_t.astype(int).tolist()):
        rows = law.sum(0) > NEGLIGIBLE
        first, kernel = binomial_kernel(size, alpha_t[t] * p + (1 - alpha_t[t]) * frequency[rows])
        after = np.zeros((3, size + 1))
        after[:, first : first + kernel.shape[1]] = law[:, rows] @ kernel
        law, frequency = after / after.sum(), np.arange(size + 1) / size
        low, high = frequency[::-1] >= threshold, frequency >= threshold
        changes[t] = law[2][high].sum() + law[1][low].sum()
        for there, who in ((high, 1), (low, 2)):
            law[:, there] = np.where(np.arange(3)[:, None] == who, law[:, there].sum(0), 0.0)
    return changes.cumsum()
