"""Metrics: what one number says about a law p on v tokens, or about how far it is from another one.

Pure functions of arrays, over the LAST axis; all other axes broadcast, so `(L, T, v)` against a target `(v,)` gives
`(L, T)`, and a table `(c, v)` gives one number per context (average them with its context law π if one is wanted).
Logarithms are natural: entropies and divergences are in nats, probabilities and squared errors have no unit.

Valid input (rows that sum to 1 up to rounding) never gives NaN, a point mass included. +inf is an answer: it is what a
divergence is once a token of the target is lost, and `missing_mass` says how much was lost. NaN in gives NaN out, in
every metric that is a float.
"""

import jax
import jax.numpy as jnp
from jax.scipy.special import entr, rel_entr, xlogy
from jaxtyping import Array, ArrayLike, Float, Int, Num

Law = Float[ArrayLike, "*#b v"]
Value = Float[Array, "*#b"]


# ── distances between p and q ──


def squared_error(p: Law, q: Law) -> Value:
    """Σ (p − q)², the risk R_t of a lineage at q = p*.

    Range 0 (p = q) to 2 (disjoint supports); a collapsed p, at token i, has 1 − 2 q_i + Σ q². Lost tokens count q_i².
    Exact mean: E R_t = r_t (1 − Σ p*²), `theory.risk`.
    """
    p, q = _aligned(p=p, q=q)
    return jnp.sum((p - q) ** 2, -1)


def total_variation(p: Law, q: Law) -> Value:
    """½ Σ |p − q|, the largest difference that p and q give to any event.

    Range 0 (p = q) to 1 (disjoint supports); a collapsed p, at token i, has 1 − q_i.
    """
    p, q = _aligned(p=p, q=q)
    return 0.5 * jnp.sum(jnp.abs(p - q), -1)


def kl(p: Law, q: Law) -> Value:
    """KL(p‖q) = Σ p ln(p/q), in nats; the other direction is `kl(q, p)`.

    Range 0 (p = q) to +inf. A term with p = 0 is 0, a term with p > 0 and q = 0 is +inf. So `kl(p, target)` is finite
    for a model that has lost tokens, and at most −ln min(target), while `kl(target, p)` is +inf from the first lost
    token on: report it for the mixture α p* + (1 − α) p, for a smoothed model, or report `missing_mass`.
    Near p = q both directions average (K − 1) r_t / 2 on K tokens.

    Summed as Σ [p ln(p/q) − p + q], the same for laws: no term is negative, rounding in Σp and Σq drops out at first
    order, and float32 keeps its relative precision down to q = p.
    """
    p, q = _aligned(p=p, q=q)
    near = (p > 0) & (jnp.abs(q - p) < 0.5 * p)
    x = jnp.where(near, q - p, 0.0) / jnp.where(near, p, 1.0)
    return jnp.sum(jnp.where(near, p * (x - jnp.log1p(x)), rel_entr(p, q) - p + q), -1)


def hellinger(p: Law, q: Law) -> Value:
    """√(½ Σ (√p − √q)²).

    Range 0 (p = q) to 1 (disjoint supports); finite whatever is lost. 1 − h² = Σ √(p q), so a collapsed p, at token i,
    has h² = 1 − √q_i. Between total variation's bounds: h² ≤ TV ≤ √2 h.
    """
    p, q = _aligned(p=p, q=q)
    root = jnp.sqrt(p) + jnp.sqrt(q)
    # √p − √q = (p − q)/(√p + √q), which does not cancel.
    return jnp.sqrt(0.5 * jnp.sum(((p - q) / jnp.where(root == 0, 1.0, root)) ** 2, -1))


def chi_square(p: Law, target: Law) -> Value:
    """χ²(p‖target) = Σ (p − target)² / target, over tokens that p or the target has.

    Range 0 (p = target) to 1/min(target) − 1, reached by a collapse at the rarest token; +inf if p has a token that
    the target has not. A lost token counts target_i. Exact mean on K target tokens: (K − 1) r_t.
    """
    p, target = _aligned(p=p, target=target)
    outside = jnp.where(p > 0, jnp.inf, p)
    inside = (p - target) ** 2 / jnp.where(target == 0, 1.0, target)
    return jnp.sum(jnp.where(target == 0, outside, inside), -1)


# ── what a model costs on the true law ──


def cross_entropy(target: Law, p: Law) -> Value:
    """−Σ target ln p, nats per token: the test loss of the model p on text from the target.

    Equal to entropy(target) + kl(target, p): entropy(target) at p = target, ln v at uniform p, +inf from the first lost
    token on (then evaluate the mixture or a smoothed model, or report `missing_mass`).
    """
    target, p = _aligned(target=target, p=p)
    return -jnp.sum(xlogy(target, p), -1)


def perplexity(target: Law, p: Law) -> Value:
    """exp(cross_entropy(target, p)), in tokens: at least effective_support(target), v at uniform p, +inf once a token
    is lost."""
    return jnp.exp(cross_entropy(target, p))


# ── the spread of one law ──


def entropy(p: Float[ArrayLike, "*b v"]) -> Float[Array, "*b"]:
    """−Σ p ln p, in nats (0 ln 0 = 0): 0 at a point mass, ln v at the uniform law. Divide by ln 2 for bits."""
    return jnp.sum(entr(jnp.asarray(p, float)), -1)


def effective_support(p: Float[ArrayLike, "*b v"]) -> Float[Array, "*b"]:
    """exp(entropy), the number of equiprobable tokens with p's entropy (Hill number of order 1): from 1 at a point
    mass to v at the uniform law. At least `inverse_simpson`, at most `surviving`."""
    return jnp.exp(entropy(p))


def diversity(p: Float[ArrayLike, "*b v"]) -> Float[Array, "*b"]:
    """H = 1 − Σ p², the chance that two tokens drawn from p differ (heterozygosity).

    Range 0 (exactly, at a point mass) to 1 − 1/v at the uniform law. Exact mean E H_t = (1 − r_t) H(p*).

    Computed as (Σp)² − Σp² with the largest token m split off, s(2 p_m + s) − Σ_{j≠m} p_j² with s = Σ_{j≠m} p_j:
    1 − Σp² would lose all digits near collapse, this keeps float32's relative precision down to the smallest p_j.
    """
    p = jnp.asarray(p, float)
    largest = jnp.max(p, -1, keepdims=True)
    # Its equals are counted and put back: finding where it is costs as much as drawing the tokens.
    again = jnp.sum(p == largest, -1).astype(p.dtype) - 1.0
    rest, largest = jnp.where(p == largest, 0.0, p), largest[..., 0]
    s = jnp.sum(rest, -1) + again * largest
    return s * (2.0 * largest + s) - (jnp.sum(rest**2, -1) + again * largest**2)


def inverse_simpson(p: Float[ArrayLike, "*b v"]) -> Float[Array, "*b"]:
    """1 / Σ p², the number of equiprobable tokens with p's diversity (Hill number of order 2): from 1 at a point mass
    to v at the uniform law."""
    return 1.0 / jnp.sum(jnp.asarray(p, float) ** 2, -1)


# ── tokens kept, lost and dominant ──


def surviving(p: Num[ArrayLike, "*b v"]) -> Int[Array, "*b"]:
    """Number of tokens with p > 0 (or count > 0): from 1 at a point mass to v; −1 where a p is NaN."""
    p = jnp.asarray(p)
    return jnp.where(jnp.isnan(p).any(-1), -1, jnp.sum(p > 0, -1))


def hapaxes(counts: Num[ArrayLike, "*b v"]) -> Int[Array, "*b"]:
    """Number of tokens seen exactly once, from COUNTS rather than probabilities: 0 to v.

    hapaxes / n is Good and Turing's estimate of the mass of the tokens not seen.
    """
    return jnp.sum(jnp.asarray(counts) == 1, -1)


def missing_mass(p: Law, target: Law) -> Value:
    """Σ target over the tokens with p = 0: the share of real text that the model can no longer write.

    Range 0 (nothing lost, as at p = target) to 1; a collapsed p, at token i, has 1 − target_i. `kl(target, p)` is
    infinite exactly where it is positive.
    """
    p, target = _aligned(p=p, target=target)
    return jnp.sum(target * (1.0 - jnp.sign(p)), -1)


def tail_mass(p: Law, target: Law, threshold: Float[ArrayLike, ""]) -> Value:
    """Σ p over the target's tail, the tokens with 0 < target < threshold.

    Range 0 to 1. At p = target it is the tail's true mass, and so is its mean over lineages at every t (E p_t = p*): it
    is the median that falls as tails are lost. For the tail beyond rank k pass the k-th largest target probability,
    `jnp.sort(target)[-k]`; 1/n is the edge of what a sample of n sees.
    """
    p, target = _aligned(p=p, target=target)
    tail = (target > 0) & (target < jnp.asarray(threshold, float))
    return jnp.sum(p * tail.astype(p.dtype), -1)


def dominant(p: Float[ArrayLike, "*b v"], threshold: Float[ArrayLike, ""] = 0.0) -> Int[Array, "*b"]:
    """Id of the most probable token (the first one of a tie), or −1 where its probability is below the threshold.

    `dominant(p, threshold=1.0)` names the token of a lineage that has collapsed and −1 elsewhere; `turnover` counts how
    often it changes.
    """
    p = jnp.asarray(p, float)
    return jnp.where(jnp.max(p, -1) >= jnp.asarray(threshold, float), jnp.argmax(p, -1), -1)


def turnover(ids: Int[ArrayLike, "*k"], axis: int = -1) -> Int[Array, "..."]:
    """Number of changes of identity along the generations of `dominant`'s ids, skipping −1.

    With ids = dominant(p, threshold=1.0) it counts the changes of the last token to reach frequency 1: 4, −1, 4, −1, 2
    is one change. Range 0 to T − 1; 0 for a lineage that never reached the threshold. Slice ids for a shorter horizon.
    """
    ids = jnp.moveaxis(jnp.asarray(ids), axis, -1)
    t = jax.lax.broadcasted_iota(ids.dtype, ids.shape, ids.ndim - 1)
    last = jax.lax.cummax(jnp.where(ids >= 0, t, 0), axis=ids.ndim - 1)
    held = jnp.take_along_axis(ids, last, -1)
    return jnp.sum((held[..., :-1] >= 0) & (held[..., 1:] != held[..., :-1]), -1)


def _aligned(**laws: ArrayLike) -> tuple[Float[Array, "*b v"], Float[Array, "*b v"]]:
    """Both in the default float and of one shape: strict promotion of dtypes and ranks would refuse a record's leading
    axes against a bare target."""
    p, q = (jnp.asarray(law, float) for law in laws.values())
    if p.shape[-1:] != q.shape[-1:] or not _broadcast(p.shape, q.shape):
        names, expected = ", ".join(laws), "as many tokens on the last axis, and leading axes that broadcast"
        raise ValueError(f"{names}: got shapes {p.shape} and {q.shape}, expected {expected}; try target.probs")
    p, q = jnp.broadcast_arrays(p, q)
    return p, q


def _broadcast(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(m == n or 1 in (m, n) for m, n in zip(a[::-1], b[::-1], strict=False))
