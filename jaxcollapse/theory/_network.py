"""The exact second moments of a network of learners that train on one another's output.

    P_i = a_i p* + (1 − a_i) Σ_j W_ij P̂_j,   P̂_i = the empirical law of n_i draws from P_i
    S' = Q + diag((1 − Q_ii)/n_i),   Q = A S Aᵀ,   A = diag(1 − a) W

S_ij (diag p* − p* p*ᵀ) is the covariance of P̂_i and P̂_j, exactly, for every t: S_ii is the risk r of node i relative to
1 − ‖p*‖², S_ij how far two nodes have drifted together. One node is `recursion`. All nodes share p*. Derived here; the
setting is that of a shared web, arXiv 2506.15690.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Num

from jaxcollapse._schedule import Schedule, evaluate


def network(
    alpha: Schedule, n: Schedule, mixing: Num[ArrayLike, "..."], generations: int
) -> Float[Array, "times c c"]:
    """S_t of a loop with `Nodes()` and `curate=Mixing(W)` for t = 0..T; `mixing` is W, `c c`, n counts a node's draws.

    W = I: independent lineages. W_ij = 1/c: the mean of all nodes, the web that all read, is exactly one lineage of
    c n draws, and a node n draws from its mixture with the truth.
    Errors: `ValueError` for a W that is not row-stochastic, or schedules out of range.
    """
    return network_recursion(*evaluate(alpha, n, generations), mixing)


def network_recursion(
    alpha_t: Num[ArrayLike, "times *c"], n_t: Num[ArrayLike, "times *c"], mixing: Num[ArrayLike, "..."]
) -> Float[Array, "times c c"]:
    """S_t of arrays `times`, or `times c` with each node's own real share and size; α_0 counts as 1. See `network`."""
    weights = _checked(mixing)
    each = lambda x: jnp.broadcast_to(_columns(x), (jnp.shape(x)[0], weights.shape[0]))
    alpha_t, n_t = each(alpha_t).at[0].set(1.0), each(n_t)

    def step(s, generation):
        alpha, n = generation
        s = _next(s, alpha, n, weights)
        return s, s

    return jax.lax.scan(step, jnp.zeros_like(weights), (alpha_t, n_t))[1]


def network_limit(
    alpha: Num[ArrayLike, "*c"], n: Num[ArrayLike, "*c"], mixing: Num[ArrayLike, "..."]
) -> Float[Array, "c c"]:
    """S_∞ of constant shares and sizes, by solving the c² linear equations S = Q + diag((1 − Q_ii)/n_i).

    Needs real data that reaches every node; elsewhere the equations are singular and S_∞ = 1 (collapse to one law).
    """
    weights = _checked(mixing)
    nodes = weights.shape[0]
    alpha, n = (jnp.broadcast_to(jnp.asarray(x, float), (nodes,)) for x in (alpha, n))
    start = _next(jnp.zeros_like(weights), alpha, n, weights)
    unit = jnp.eye(nodes * nodes).reshape(-1, nodes, nodes)
    columns = jax.vmap(lambda s: _next(s, alpha, n, weights) - start)(unit).reshape(nodes**2, nodes**2)
    return jnp.linalg.solve(jnp.eye(nodes**2) - columns.T, start.ravel()).reshape(nodes, nodes)


def _next(s: Float[Array, "c c"], alpha: Float[Array, " c"], n: Float[Array, " c"], weights: Float[Array, "c c"]):
    kept = (1 - alpha)[:, None] * weights
    q = jnp.matmul(jnp.matmul(kept, s, precision="highest"), kept.T, precision="highest")
    return q + jnp.diag((1 - jnp.diagonal(q)) / n)


def _columns(x: Num[ArrayLike, "times *c"]) -> Float[Array, "times n"]:
    x = jnp.asarray(x, float)
    return x[:, None] if x.ndim == 1 else x


def _checked(mixing: Num[ArrayLike, "..."]) -> Float[Array, "c c"]:
    shape = jnp.shape(mixing)
    if len(shape) != 2 or shape[0] != shape[1]:
        raise ValueError(f"mixing: got shape {shape}, expected a square matrix; try jnp.eye(3)")
    if not isinstance(mixing, Tracer):
        w = np.asarray(mixing, float)
        if (w < 0).any() or not (abs(w.sum(-1) - 1) <= 1e-3).all():
            got = f"rows that add up to {w.sum(-1)}"
            raise ValueError(f"mixing: got {got}, expected weights ≥ 0 in rows that add up to 1; try W / W.sum(1)")
    weights = jnp.asarray(mixing, float)
    return weights / weights.sum(-1, keepdims=True)
