"""Curations that mix tables linearly: with a fixed law, or with one another.

    Contaminate(Q, ε)   p = (1 − ε) p + ε Q         a generator that does not learn
    Mixing(W)           p_i = Σ_j W_ij p_j          rows are the nodes of a network

Both keep second moments closed: `theory.contaminated`, `theory.network`. Sources: arXiv 2410.04840 (a fixed generator),
2506.15690 (networks).
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Num

from jaxcollapse._curate import check, fitting, fraction, number, replaced, table
from jaxcollapse._model import AbstractModel
from jaxcollapse._schedule import brief
from jaxcollapse.families.tabular import Categorical, as_array


class Contaminate(eqx.Module):
    """(1 − ε) p + ε Q: a share ε of the synthetic stream comes from a fixed law Q that does not learn.

    other     Q, a table, or probabilities `v` or `c v`
    epsilon   ε in [0, 1], one number or one for each row `c`; 1 is a synthetic stream of Q alone

    Q = p* gives each node of a network its own real share, Q = a pretrained base pulls towards it by a fixed share (a
    pull by τ pseudo-counts is the learner's: `Tabular(smoothing=τ * base.probs)`).
    Errors: `ValueError` for an ε outside [0, 1], or a Q that is no law or of another shape.
    """

    other: Categorical
    epsilon: Num[ArrayLike, "*rows"]

    def __init__(self, other: Categorical | Num[ArrayLike, "*c v"], epsilon: Num[ArrayLike, "*rows"]):
        self.other = other if isinstance(other, Categorical) else Categorical(other)
        self.epsilon = as_array(epsilon)
        check("epsilon", epsilon, fraction, "numbers in [0, 1]", 0.1, (0, 1))

    def __call__(self, model: AbstractModel) -> Categorical:
        share = number(self.epsilon, fraction)
        if share.ndim:
            rows = table(model).probs.shape[:-1]
            if share.shape != rows:
                raise ValueError(f"epsilon: got shape {share.shape} for {rows} rows, expected one for each; try 0.1")
            share = share[:, None]
        other = fitting("other", self.other.probs, model)
        return replaced(model, (1 - share) * table(model).probs + share * other)


class Mixing(eqx.Module):
    """p_i = Σ_j W_ij p_j: node i of a network, row i of a `c v` table, reads the output of all nodes by its weights.

    W `c c`, non-negative, rows adding up to 1; I leaves the nodes to themselves. With `Nodes()` every node draws n.
    Errors: `ValueError` for a W that is not square, negative, or whose rows do not add up to 1 (10⁻³), or that does
    not fit the table.
    """

    weights: Num[ArrayLike, "c c"]

    def __init__(self, weights: Num[ArrayLike, "..."]):
        shape, expected = jnp.shape(weights), "a square matrix of weights ≥ 0, every row (a node) adding up to 1"
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ValueError(f"weights: got shape {shape}, expected {expected}; try jnp.eye(3)")
        if not isinstance(weights, Tracer):
            lawful = _lawful(np.asarray(weights, float))
            if not lawful.all():
                row = np.asarray(weights)[int(np.argmin(lawful))]
                raise ValueError(f"weights: got the row {brief(row)}, expected {expected}; try W / W.sum(1)[:, None]")
        self.weights = as_array(weights)

    def __call__(self, model: AbstractModel) -> Categorical:
        rows, weights = table(model).probs, jnp.asarray(self.weights, float)
        if rows.ndim != 2 or rows.shape[0] != weights.shape[0]:
            raise ValueError(
                f"weights: got shape {weights.shape} for a table of shape {rows.shape}, expected one node for each row"
            )
        weights = jnp.where(_lawful(weights)[:, None], weights / weights.sum(-1, keepdims=True), jnp.nan)
        return replaced(model, jnp.matmul(weights, rows, precision="highest"))


def _lawful(weights: Float[Array, "c c"] | np.ndarray) -> Bool[Array, " c"] | np.ndarray:
    return (weights >= 0).all(-1) & (abs(weights.sum(-1) - 1) <= 1e-3)
