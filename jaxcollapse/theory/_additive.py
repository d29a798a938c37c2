"""The exact law of one token's count, and with it the exact mean of every metric that adds up over tokens.

    N_t | N_{t−1} ~ Binomial(n_t, α_t p + (1 − α_t) N_{t−1}/n_{t−1}),   N_0 ~ Binomial(n_0, p)
    E Σ_i h(P̂_{t,i}, p*_i) = Σ_i Σ_j P(N_{t,i} = j) h(j/n_t, p*_i)

To its own eye each token is a two-type Wright–Fisher chain with immigration, whatever the others do. On the host, in
NumPy and float64: binomial kernels of (n_{t−1} + 1)(n_t + 1) entries, without the rows and columns whose probability
is below 10⁻¹⁸. For each distinct probability and generation at n = 1000 that takes 0.1 ms (rare tokens, α ≥ 0.1) to
5 ms (common ones, or small α), as n² at worst.
"""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import ArrayLike, Float, Float64
from scipy.special import gammaln

from jaxcollapse._schedule import Schedule, evaluate

LARGEST = 5000
NEGLIGIBLE = 1e-18
Metric = Callable[[Float64[np.ndarray, "g j"], Float64[np.ndarray, "g j"]], ArrayLike]


def additive(
    metric: Metric, alpha: Schedule, n: Schedule, probs: Float[ArrayLike, " v"], generations: int
) -> Float64[np.ndarray, " times"]:
    """E Σ_i metric(P̂_{t,i}, p*_i) for t = 0..T: exact to 10⁻¹⁰ (α_t to 10⁻⁷ unless under `jax.enable_x64`).

    `metric(frequency, p)` works elementwise on two arrays of one shape, e.g. survivors `lambda x, p: x > 0`, missing
    mass `lambda x, p: p * (x == 0)`, total variation `lambda x, p: abs(x - p) / 2`, entropy
    `lambda x, p: scipy.special.entr(x)`, one token left `lambda x, p: x == 1`. For `Replace()`, maximum likelihood,
    random split. Equal probabilities are computed once. Not traceable.
    Errors: `ValueError` for schedules out of range, some n_t above 5000, probabilities outside [0, 1].
    """
    p, copies = np.unique(_probabilities(probs), return_counts=True)
    out, value, size = [], np.zeros(0), None
    for law in _laws(p, *_schedules(alpha, n, generations)):
        if law.shape[1] != size:
            size = law.shape[1]
            frequency = np.broadcast_to(np.arange(size) / (size - 1), law.shape)
            value = np.asarray(metric(frequency, np.broadcast_to(p[:, None], law.shape)), np.float64)
        out.append(copies @ (law * value).sum(1))
    return np.array(out)


def token_law(
    p: Float[ArrayLike, ""], alpha: Schedule, n: Schedule, generations: int
) -> Float64[np.ndarray, " j"]:
    """P(N_T = j), j = 0..n_T, of the count of a token of probability p after T generations. Errors as `additive`."""
    *_, law = _laws(_probabilities(np.reshape(p, (1,))), *_schedules(alpha, n, generations))
    return law[0]


def _laws(p: np.ndarray, alpha_t: np.ndarray, n_t: np.ndarray) -> Iterator[np.ndarray]:
    """The laws of the counts of all p, one array of shape (g, n_t + 1) a generation."""
    law = np.ones((len(p), 1))
    for t, n in enumerate(n_t.tolist()):
        frequency = np.zeros(1) if t == 0 else np.arange(n_t[t - 1] + 1) / n_t[t - 1]
        after = np.zeros((len(p), n + 1))
        for before, target, out in zip(law, p, after, strict=True):
            rows = before > NEGLIGIBLE
            q = alpha_t[t] * target + (1 - alpha_t[t]) * frequency[rows]
            first, kernel = binomial_kernel(n, q)
            out[first : first + kernel.shape[1]] = before[rows] @ kernel
        law = after / after.sum(1, keepdims=True)
        yield law


def binomial_kernel(n: int, q: np.ndarray) -> tuple[int, np.ndarray]:
    """Rows of Binomial(n, q) probabilities, and the count of the first column: the columns that matter to any row."""
    low, high = n * q.min(), n * q.max()
    first = max(0, int(low - 9 * np.sqrt(low) - 1))
    last = min(n, int(high + 9 * np.sqrt(high) + 30))
    j = np.arange(first, last + 1)
    ways = gammaln(n + 1) - gammaln(j + 1) - gammaln(n - j + 1)
    with np.errstate(divide="ignore"):  # a finite stand-in for ln 0, as 0 · ln 0 = 0 here
        log_q, log_rest = np.maximum(np.log(q), -1e300), np.maximum(np.log1p(-q), -1e300)
    return first, np.exp(ways + np.multiply.outer(log_q, j) + np.multiply.outer(log_rest, n - j))


def _schedules(alpha: Schedule, n: Schedule, generations: int) -> tuple[np.ndarray, np.ndarray]:
    alpha_t, n_t = (np.asarray(x, np.float64) for x in evaluate(alpha, n, generations))
    if n_t.max() > LARGEST:
        raise ValueError(f"n: got {n_t.max():.0f} draws, expected at most {LARGEST} (the kernels have n² entries)")
    return alpha_t, n_t.astype(int)


def _probabilities(probs: ArrayLike) -> np.ndarray:
    p = np.asarray(probs, np.float64)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"probs: got {probs}, expected one row of probabilities in [0, 1]; try target.probs")
    return p
