"""Next-token tables by their founders: which pairs are lost, and what a tenth of the originals, drawn anew, preserves.

Contexts come from a fixed law π. Followed back, the m_t words of a context at generation t stem from A_t founders: real
words, each with descendants. What the founders are is independent of how many there are (duality), so

    P(pair (c, v) is absent at t) = E (1 − p(v|c))^{A_t}
    G_0(K) = z^K,   G_t(K) = Σ_i Binomial(K, α_t)(i) z^i C_t(K − i)                  E z^A of K words of generation t
    C_{t+1}(J) = P(m_t ≥ 1) E G_t(D) + P(m_t = 0) C_t(J)                                D parents of J synthetic words

with D the number of boxes that J balls hit among m_t ≥ 1; a context without words keeps its row. `Anchor(fraction=f)`
draws f n of the n words of D_0 anew, s synthetic ones besides: with k of the first and m of D_0 in the context

    r_t = 1/m + (1 − 1/m) ρ_t,   ρ_{t+1} = E [k (m − k)/(m − 1) + s + s (s − 1) ρ_t]/(k + s)²,   ρ_0 = 0

Derived here; the workflow is that of Shumailov et al., Nature 631:755. On the host, NumPy and float64, the branching
limit apart. Sums over binomial laws take every h-th count, h ≤ 0.7 deviations: exact to 10⁻¹² for smooth terms.
"""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Float64, Int, Num
from numpy.polynomial import chebyshev
from scipy import stats
from scipy.special import gammaln

from jaxcollapse._schedule import Schedule, evaluate
from jaxcollapse.theory._extinction import branching_survival
from jaxcollapse.theory._range import ranged

LARGEST = 5000  # words a context, on average
NODES = 12  # of the interpolation over p
NEVER = 600.0  # a pair with so many copies in D_0 is beyond what the interpolation can hold, e^−600


def context_absence(
    alpha: Schedule, n: Schedule, contexts: Float[ArrayLike, " c"], probs: Float[ArrayLike, "c v"], generations: int
) -> Float64[np.ndarray, "times c v"]:
    """P(pair (c, v) has probability 0 in the table), t = 0..T: `probs` is p*(v | c), `contexts` π, n_t is rounded.

    Exact to 10⁻⁷ for `Replace()`, maximum likelihood, random split and contexts drawn independently from π, as
    `context_risk`; a context never seen holds one real draw. Σ_c π_c p is the missing mass, Π over contexts the chance
    that a word is lost. α → 1: E (1 − p)^m; n π_c → ∞: 0; π_c → 0: 1 − p; π_c = 1: `token_law`. Rare pairs:
    `absence`. Work (n π_c)² a context, once for each n_t that occurs. Not traceable.
    Errors: `ValueError` for schedules out of range, π_c or p outside [0, 1], more than 5000 words a context.
    """
    alpha_t, n_t = (np.asarray(x, np.float64) for x in evaluate(alpha, n, generations))
    pi, p = _probabilities("contexts", contexts, n_t.max()), _probabilities("probs", probs)
    return np.stack([_absence(alpha_t, n_t.astype(int), *row) for row in zip(pi.tolist(), p, strict=True)], 1)


def anchored_risk(
    fraction: Num[ArrayLike, ""], n: Num[ArrayLike, ""], contexts: Float[ArrayLike, " c"], generations: int
) -> Float64[np.ndarray, "times c"]:
    """r_{c,t} of `Anchor(fraction=f)` at constant n, with round(f n) words of D_0, drawn anew, in each batch of n.

    t = 0..T, relative to 1 − ‖p*(· | c)‖², exact, averaged over the m words of the context in D_0; for α = f and
    `split="fixed"`. f = 0: `context_risk` without real data; f = 1: E[1/m; m ≥ 1] + P(m = 0) for ever; π_c → 0: 1;
    π_c = 1: 5.9 times the real-only risk at n = 100, f = 0.1, in the end; n → ∞: 0, as 6.2/n there.
    Errors: `ValueError` for f or π_c outside [0, 1], n below 1, more than 5000 words a context.
    """
    ranged("fraction", fraction, lambda f: (f >= 0) & (f <= 1), "a number in [0, 1]", "0.1")
    ranged("n", n, lambda n: (n >= 1) & (n == jnp.rint(n)), "a whole number of at least 1", "100")
    size = int(np.asarray(n))
    pi, taken = _probabilities("contexts", contexts, size), int(np.rint(np.asarray(fraction, np.float64) * size))
    return np.stack([_anchored(taken, size, x, generations) for x in pi.tolist()], 1)


def anchored_factor(fraction: Num[ArrayLike, "*P"], generations: int) -> Float[Array, "times *P"]:
    """f_t, t = 0..T: n f_t draws of real data lose as many rare tokens as `Anchor(fraction=f)` at constant n has.

    f_t = 1 − (1 − u_t) Π_{k<t} (1 − f u_k), u = `branching_survival(f)`: a rare word of D_0 is lost if none of its
    new draws has copies left. P(absent) ≈ exp(−n p f_t) for rare tokens, as in `absence`. f_0 = 1, f = 1: 1; f = 0:
    `survival_factor(0, t)`; t → ∞: below `survival_factor(f)`, since of D_0 the same words come back.
    Errors: `ValueError` for f outside [0, 1].
    """
    f = ranged("fraction", fraction, lambda f: (f >= 0) & (f <= 1), "numbers in [0, 1]", "0.1")
    u = branching_survival(f, generations)
    f = jnp.expand_dims(f, 0)
    missed = jnp.cumprod(jnp.concatenate([jnp.ones_like(u[:1]), 1 - f * u[:-1]]), 0)
    return jnp.where(jnp.isnan(f), jnp.nan, 1 - missed * (1 - u))


def occupancy(
    balls: int, boxes: Int[ArrayLike, " m"], weights: Float[ArrayLike, " m"] | None = None
) -> Float64[np.ndarray, "j d"]:
    """P(j balls, thrown independently into m equal boxes, hit d of them), j = 0..`balls`, d = 0..the largest m.

    Averaged over the numbers m in `boxes` with these weights, by default equal ones. m = 1: d = 1 for j ≥ 1; m → ∞:
    d = j. The classical occupancy law, S(j, d) m!/((m − d)! m^j), S Stirling's number, by adding one ball at a time.
    Errors: `ValueError` for m below 1, negative weights, fewer balls than 0.
    """
    ranged("balls", balls, lambda j: (j >= 0) & (j == jnp.rint(j)), "a whole number of at least 0", "10")
    ranged("boxes", boxes, lambda m: m >= 1, "whole numbers of at least 1", "[6]")
    m = np.asarray(boxes, np.float64)
    weight = np.full(m.size, 1 / m.size) if weights is None else np.asarray(weights, np.float64)
    ranged("weights", weight, lambda w: w >= 0, "numbers of at least 0", "[1.0]")
    return _parents(balls, m, weight)


def _absence(alpha_t: np.ndarray, n_t: np.ndarray, pi: float, p: np.ndarray) -> Float64[np.ndarray, "times v"]:
    """`context_absence` of one context."""
    sizes = {size: _visits(size, pi) for size in np.unique(n_t).tolist()}
    most = max(int(m[-1]) for _, m, _ in sizes.values())
    parents = {size: _parents(most, m, weight) for size, (_, m, weight) in sizes.items()}
    z, spread = _interpolated(p, n_t.max() * pi)
    immigrants = {a: _immigrants(a, most + 1, z) for a in np.unique(alpha_t[1:]).tolist()}
    k, row, out = np.arange(most + 1), z, []
    copies = np.where(k > 0, z[:, None], 1.0)
    for t, (a, size) in enumerate(zip(alpha_t.tolist(), n_t.tolist(), strict=True)):
        none, m, weight = sizes[size]
        now = z[:, None] ** k if t == 0 else immigrants[a](copies)
        row = (1 - none) * now[:, m] @ weight + none * row
        copies = (1 - none) * now[:, : m[-1] + 1] @ parents[size].T + none * copies
        out.append(spread(row))
    return np.array(out)


def _parents(balls: int, m: np.ndarray, weight: np.ndarray) -> Float64[np.ndarray, "j d"]:
    """`occupancy`."""
    d = np.arange(int(m.max()) + 1)
    law, out = np.zeros((m.size, d.size)), np.zeros((balls + 1, d.size))
    law[:, 0] = 1
    for row in out:
        row[:] = weight @ law
        up = law * np.maximum(1 - d / m[:, None], 0)
        law = law - up
        law[:, 1:] += up[:, :-1]
    return out


def _interpolated(p: np.ndarray, words: float) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Some 1 − p at which to find a chance of absence, and the map from its values there to those at all p.

    With y = −ln(1 − p), −ln(chance)/y is smooth in √y: a polynomial at Chebyshev's points, and the few p beyond them
    themselves.
    """
    with np.errstate(divide="ignore"):
        y = -np.log1p(-p)
    rare = y <= min(NEVER / max(words, 1.0), 5.0)
    top, x = np.sqrt(np.max(y[rare], initial=1e-12)), chebyshev.chebpts1(NODES)
    at = (top * (x + 1) / 2) ** 2
    fit = np.linalg.inv(chebyshev.chebvander(x, NODES - 1))
    basis = chebyshev.chebvander(2 * np.sqrt(y[rare]) / top - 1, NODES - 1) @ fit

    def spread(values):
        out = np.empty(p.shape)
        out[rare] = np.exp(y[rare] * (basis @ (np.log(values[:NODES]) / at)))
        out[~rare] = values[NODES:]
        return out

    return np.concatenate([np.exp(-at), 1 - p[~rare]]), spread


def _immigrants(alpha: float, size: int, z: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """copies ↦ Σ_i Binomial(K, α)(i) z^i copies(K − i), K = 0..size − 1."""
    if alpha == 0:
        return lambda copies: copies
    most = min(size - 1, int(alpha * size + 9 * np.sqrt(alpha * size) + 20))
    i, before = np.arange(most, -1, -1), np.zeros((len(z), most))
    weight = stats.binom.pmf(i, np.arange(size)[:, None], alpha) * z[:, None, None] ** i

    def immigrants(copies):
        windows = np.lib.stride_tricks.sliding_window_view(np.concatenate([before, copies], 1), most + 1, axis=1)
        return np.einsum("zki,zki->zk", weight, windows)

    return immigrants


def _anchored(taken: int, n: int, pi: float, generations: int) -> Float64[np.ndarray, " times"]:
    """`anchored_risk` of one context: the drift ρ for each m, then its mean."""
    none, m, of_m = _visits(n, pi)
    s, of_s = _nodes(n - taken, pi)
    m, share = m[:, None], taken / n
    k = np.arange(int(share * m.max() + 9 * np.sqrt(share * m.max()) + 30))
    of_k = np.exp(_ways(m, k) + _ways(n - m, taken - k) - _ways(n, taken))  # hypergeometric
    size = k[:, None] + s
    square = np.maximum(size, 1) ** 2.0
    apart = of_k * k * np.maximum(m - k, 0) / np.maximum(m - 1, 1)
    add = apart @ ((1 / square) @ of_s) + of_k @ ((s / square) @ of_s)
    keep = of_k @ ((s * (s - 1) / square + (size == 0)) @ of_s)
    drift, still = np.zeros((generations + 1, m.size)), np.zeros(m.size)
    for row in drift:
        row[:], still = still, add + keep * still
    return (1 - none) * (1 / m[:, 0] + (1 - 1 / m[:, 0]) * drift) @ of_m + none


def _visits(n: int, pi: float) -> tuple[float, Int[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """P(m = 0), and counts m ≥ 1 with weights, of m ~ Binomial(n, π)."""
    return float(stats.binom.pmf(0, n, pi)), *_nodes(n, pi, 1)


def _nodes(n: int, p: float, low: int = 0) -> tuple[Int[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """Counts from `low` on and weights that sum a smooth function over Binomial(n, p): every h-th count."""
    p = max(p, 1e-300)
    mean, deviation = n * p, np.sqrt(n * p * (1 - p))
    last = max(low, min(int(mean + 9 * deviation + 30), n))
    step = max(1, int(0.7 * deviation)) if mean > 40 else 1  # below, the law's lower end counts
    m = np.arange(max(low, int(mean - 9 * deviation)), last + 1, step)
    weight = stats.binom.pmf(m, n, p)
    return m, weight / weight.sum()


def _ways(n, k):
    """ln (n choose k), −∞ outside."""
    inside = (k >= 0) & (k <= n)
    k = np.where(inside, k, 0)
    return np.where(inside, gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1), -np.inf)


def _probabilities(name: str, value: ArrayLike, words: float | int = 1) -> Float64[np.ndarray, "..."]:
    """In double precision; for contexts with at most 5000 of these words each."""
    ranged(name, value, lambda p: (p >= 0) & (p <= 1), "probabilities in [0, 1]", f"target.{name}")
    p = np.asarray(value, np.float64)
    if words * p.max() > LARGEST:
        raise ValueError(
            f"n: got {words * p.max():.0f} words in a context, expected at most {LARGEST}; try a smaller n"
        )
    return p
