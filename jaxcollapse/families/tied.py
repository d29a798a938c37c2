"""Tables that cannot hold the truth, or do not get there: the expressivity and the approximation error, in closed form.

    Tied      p(· | c) = Fit(Σ_{c' in the group of c} N_c')      a row is shared by a group of contexts
    Stopped   p(· | c) = (1 − λ) Fit(N_c) + λ s(· | c)           λ of the start s remains

A tied table is exactly the table of its groups, whose truth is p*_g = Σ_c π_c p*_c / π_g: with Σ_g π_g over groups

    E Σ_c π_c ‖p_c − p*_c‖² = Σ_g π_g E‖p_g − p*_g‖² + Σ_c π_c ‖p*_g − p*_c‖²        the last term: expressivity

Gradient descent on ½‖p − Fit(N)‖² from s, stopped after k steps of rate η, leaves λ = (1 − η)^k. Both are linear in the
counts, so means and variances follow exact recursions. The three errors: Shumailov et al., Nature 631:755 (2024).
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Int, Num, PRNGKeyArray

from jaxcollapse._data import EMPTY, Counts
from jaxcollapse._learner import AbstractLearner
from jaxcollapse._schedule import brief
from jaxcollapse.families.tabular import Categorical, PosteriorSampling, Tabular


class Tied(AbstractLearner):
    """A table whose contexts share rows: the inner learner is shown the pooled counts of each group.

    groups   `c`, whole numbers from 0 to c − 1: contexts of one number share their row; may be swept. `arange(c)` ties
             nothing, zeros make it a unigram
    Errors: `ValueError` for groups that are not whole numbers in that range or not one for each context of a `c v`
    target; traced ones out of range give NaN.
    """

    groups: Int[ArrayLike, " c"]
    inner: AbstractLearner = Tabular()

    def __check_init__(self):
        _check_inner(self.inner)
        groups = self.groups
        if np.ndim(groups) != 1 or not jnp.issubdtype(jnp.result_type(groups), jnp.integer):
            expected = "a whole number for each context"
            raise ValueError(f"groups: got {brief(groups)}, expected {expected}; try jnp.array([0, 0, 1, 1])")
        if not isinstance(groups, Tracer) and not np.isin(groups, np.arange(np.size(groups))).all():
            c = np.size(groups)
            raise ValueError(f"groups: got {brief(groups)}, expected numbers from 0 to {c - 1}; try jnp.arange({c})")

    def init(self, target: Categorical, *, key: PRNGKeyArray) -> Categorical:
        """One draw from the groups' truth in every row, the same for all contexts of a group."""
        if target.contexts is None or target.contexts.shape != jnp.shape(self.groups):
            raise ValueError(
                f"groups: got {np.size(self.groups)} for a target of shape {target.probs.shape}, expected one for each "
                "context of a c × v table; try jc.corpora.letters() or Tabular() for a unigram"
            )
        weights = target.contexts[:, None]
        # A group that is never visited weighs nothing: its contexts count alike there.
        weights = jnp.where(self._pooled(weights) > 0, weights, jnp.ones_like(weights))
        pooled = self._pooled(weights * target.probs) / self._pooled(weights)
        drawn: Any = self.inner.init(eqx.tree_at(lambda m: m.probs, target, pooled), key=key)
        return eqx.tree_at(lambda m: m.probs, drawn, drawn.probs[self._first()])

    def observe(self, model, n, *, key):
        return self.inner.observe(model, n, key=key)

    def pool(self, target, source, alpha, n, split, *, key):
        return self.inner.pool(target, source, alpha, n, split, key=key)

    def fit(self, data: Counts, model: Categorical, *, key: PRNGKeyArray) -> Categorical:
        """The inner fit to the counts of the groups."""
        groups = jnp.asarray(self.groups)
        marked = jnp.any(data.counts < 0) | jnp.any((groups < 0) | (groups >= groups.size))
        pooled = self._pooled(data.counts)
        fitted: Any = self.inner.fit(Counts(jnp.where(marked, -jnp.ones_like(pooled), pooled)), model, key=key)
        return eqx.tree_at(lambda m: m.probs, fitted, fitted.probs[self._first()])  # one posterior draw a group

    def _first(self) -> Int[Array, " c"]:
        groups = jnp.asarray(self.groups)
        return jax.ops.segment_min(jnp.arange(groups.size), groups, groups.size)[groups]

    def _pooled(self, rows: Num[Array, "c w"]) -> Num[Array, "c w"]:
        groups = jnp.asarray(self.groups)
        return jax.ops.segment_sum(rows, groups, rows.shape[0])[groups]


class Stopped(AbstractLearner):
    """An early stop: λ of the start remains in every row that was visited, whatever the data.

    kept    λ in [0, 1]; (1 − η)^k after k gradient steps of rate η; 0 is the inner fit; may be swept
    start   the table that every fit starts from; None: the previous generation's, which slows a lineage down but does
            not bias it
    """

    kept: Num[ArrayLike, ""]
    start: Categorical | None = None
    inner: AbstractLearner = Tabular()

    def __check_init__(self):
        kept = self.kept
        if not isinstance(kept, Tracer) and (np.ndim(kept) or not 0 <= np.asarray(kept) <= 1):
            raise ValueError(f"kept: got {brief(kept)}, expected one number in [0, 1]; try 0.9**10")
        _check_inner(self.inner)

    def init(self, target: Categorical, *, key: PRNGKeyArray) -> Categorical:
        if self.start is not None and self.start.probs.shape != target.probs.shape:
            shapes = f"a table of shape {self.start.probs.shape} for a target of shape {target.probs.shape}"
            raise ValueError(f"start: got {shapes}, expected the target's; try jc.Categorical(jnp.full(shape, 1 / v))")
        first: Any = self.inner.init(target, key=key)
        return first

    def observe(self, model, n, *, key):
        return self.inner.observe(model, n, key=key)

    def pool(self, target, source, alpha, n, split, *, key):
        return self.inner.pool(target, source, alpha, n, split, key=key)

    def fit(self, data: Counts, model: Categorical, *, key: PRNGKeyArray) -> Categorical:
        inner: Any = self.inner.fit(data, model, key=key)
        fitted = inner.probs
        kept = jnp.asarray(self.kept, float)
        kept = jnp.where((kept >= 0) & (kept <= 1), kept, jnp.nan)
        start = model.probs if self.start is None else self.start.probs
        visited = data.counts.sum(-1, keepdims=True).astype(float) > EMPTY
        probs = jnp.where(visited, (1 - kept) * fitted + kept * start, fitted)
        return eqx.tree_at(lambda m: m.probs, model, probs)


def _check_inner(inner: AbstractLearner) -> None:
    """What keeps more than its table (a datastore, say) would lose it here."""
    if not isinstance(inner, Tabular | PosteriorSampling | Tied | Stopped):
        expected = "a learner of tables alone: Tabular, PosteriorSampling, Tied or Stopped"
        raise ValueError(f"inner: got {brief(inner)}, expected {expected}; try Tabular()")
