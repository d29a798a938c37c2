"""The exact risk of each row of a next-token table whose contexts are drawn independently from a fixed law π.

    r_{c,t} = P(m = 0) r_{c,t−1} + E[1/m; m ≥ 1] + E[1 − 1/m; m ≥ 1] ψ_t r_{c,t−1},   m ~ Binomial(n_t, π_c)

ψ_t is the probability that two different draws of generation t are both synthetic, (1 − α_t)² for the random split. A
row that is not visited keeps its value; at generation 0 it holds one real draw, r = 1. With m given, a row is the
scalar chain of `recursion`, so the covariance, diversity and χ² identities hold row by row.

The reciprocal moment, with W = −n ln(1 − π) and D = W − w:

    E[1/m; m ≥ 1] = ∫_0^1 ((1 − π + πx)^n − (1 − π)^n)/x dx = ∫_0^W e^{−w} (1 − e^{−D})/(n(1 − e^{−D/n})) dw

The last integrand is smooth and positive for every n and π: Gauss–Legendre on [0, min(W, 40)] gives it to 10⁻¹³. The
substitution was derived here; the first integral is the classical one for reciprocal moments.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Num

from jaxcollapse._schedule import Schedule, evaluate
from jaxcollapse.theory._risk import checked, split_moments

NODES, WEIGHTS = np.polynomial.legendre.leggauss(40)


def context_risk(
    alpha: Schedule, n: Schedule, contexts: Float[ArrayLike, " c"], generations: int, split: str = "random"
) -> Float[Array, "times c"]:
    """r_{c,t} of every context for t = 0..T, relative to 1 − ‖p*(· | c)‖²; `contexts` is π, n_t is rounded.

    Exact for `Replace()`, maximum likelihood and contexts drawn independently from π (`Tabular()` on a `c v` table);
    not for documents, whose contexts couple. π_c = 1: `risk`; π_c → 0: 1, as nothing is ever seen.
    Errors: `ValueError` for schedules out of range or π_c outside [0, 1]; under a trace NaN from there on.
    """
    return context_recursion(*evaluate(alpha, n, generations), contexts, split)


def context_recursion(
    alpha_t: Num[ArrayLike, " times"],
    n_t: Num[ArrayLike, " times"],
    contexts: Float[ArrayLike, " c"],
    split: str = "random",
) -> Float[Array, "times c"]:
    """r_{c,t} of arrays α_t and n_t, t = 0..T; α_0 counts as 1, n_t need not be whole. See `context_risk`."""
    alpha_t, n_t = checked(jnp.asarray(alpha_t, float).at[0].set(1.0), n_t)
    if not isinstance(contexts, Tracer) and not np.all((np.asarray(contexts) >= 0) & (np.asarray(contexts) <= 1)):
        raise ValueError(f"contexts: got {contexts}, expected probabilities in [0, 1]; try target.contexts")
    contexts = jnp.asarray(contexts, float)
    pairs = split_moments(alpha_t, n_t, split).pairs * n_t / jnp.maximum(n_t - 1, 1.0)
    return _scan(pairs, n_t, contexts)


def reciprocal_moment(n: Num[ArrayLike, ""], probability: Float[ArrayLike, "*c"]) -> Float[Array, "*c"]:
    """E[1/m; m ≥ 1] for m ~ Binomial(n, probability), n from 1 to 10¹⁵: relative error 10⁻¹³ (10⁻⁶ in float32)."""
    n, p = jnp.asarray(n, float), jnp.asarray(probability, float)
    end = _exponent(n, p)[..., None]
    length = jnp.minimum(end, 40.0)
    w = length * _along((NODES + 1) / 2, p)
    rest = jnp.maximum(end - w, 1e-20)  # the bracket is 1 there
    bracket = jnp.expm1(-rest) / (n * jnp.expm1(-rest / n))
    return jnp.sum(_along(WEIGHTS / 2, p) * length * jnp.exp(-w) * bracket, -1)


def _exponent(n, p):
    """W = −ln P(m = 0), large but finite at p = 1."""
    return jnp.minimum(-n * jnp.log1p(-p), 1e30)


def _along(x, like):
    return jnp.expand_dims(jnp.asarray(x, float), tuple(range(like.ndim)))


@jax.jit
def _scan(pairs, n_t, contexts):
    def step(r, generation):
        both_synthetic, n = generation
        visited, noise = -jnp.expm1(-_exponent(n, contexts)), reciprocal_moment(n, contexts)
        r = r + noise * (1 - both_synthetic * r) - visited * (1 - both_synthetic) * r
        return r, r

    return jax.lax.scan(step, jnp.ones_like(contexts), (pairs, n_t))[1]
