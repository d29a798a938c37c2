"""Retrieval: a table that consults a datastore of real counts when it speaks, as a kNN language model does.

    p(v | c) = λ d(v | c) + (1 − λ) p̂(v | c)        d = N/N_c, the datastore;  p̂ the parametric table, fitted as ever

The mixture is what is released and what writes the next generation's synthetic data; p̂ alone is fitted. A datastore of
the truth is so a real share at inference, 1 − (1 − α)(1 − λ) in place of α: no schedule of α collapses, and any growth
of n recovers p*. One of m real draws leaves a floor of about 1/m. Exact risks: `theory.retrieval`.

Source: Khandelwal et al., kNN-LM, arXiv 1911.00172 (λ = 0.25 on WikiText-103); the loop around it is ours.
"""

from typing import cast

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Int, Num, PRNGKeyArray

from jaxcollapse._data import EMPTY, AbstractData, Counts
from jaxcollapse._learner import AbstractLearner
from jaxcollapse._schedule import brief
from jaxcollapse.families.tabular import AbstractTable, Categorical, as_array


class Retrieved(AbstractTable):
    """λ d + (1 − λ) p̂, context by context; p̂ alone in a context of which nothing is stored.

    probs        what the model says; `contexts` their law π
    parametric   p̂, the fitted table
    datastore    d, relative frequencies, rows of zeros where nothing is stored
    """

    probs: Float[Array, "*c v"]
    contexts: Float[Array, " c"] | None
    parametric: Categorical
    datastore: Float[Array, "*c v"]


class Retrieval(AbstractLearner):
    """Fits `inner` as ever, and interpolates what it says with a datastore.

    inner       learns the parametric table, e.g. `Tabular()`
    weight      λ in [0, 1]; 0 is `inner` itself, 1 the datastore alone
    datastore   real counts, or probabilities, of the table's shape. None: the real draws of generation 0, which each
                lineage keeps for ever; they also train its first table.

    Errors: `ValueError` for a λ outside [0, 1], a datastore that is negative, empty or of another shape, an inner
    learner whose models are no tables.
    """

    inner: AbstractLearner
    weight: Num[ArrayLike, ""] = 0.25
    datastore: Num[ArrayLike, "*c v"] | None = eqx.field(default=None, converter=as_array)

    def __check_init__(self):
        if not isinstance(self.inner, AbstractLearner):
            raise ValueError(f"inner: got {brief(self.inner)}, expected a jc.AbstractLearner; try Retrieval(Tabular())")
        weight, store = self.weight, self.datastore
        if not isinstance(weight, Tracer) and (np.ndim(weight) or not 0 <= np.asarray(weight) <= 1):
            raise ValueError(f"weight: got {brief(weight)}, expected one number in [0, 1]; try 0.25")
        if store is None or isinstance(store, Tracer):
            return
        counts = np.asarray(store, float)
        if not np.isfinite(counts).all() or (counts < 0).any() or not counts.sum() > 0:
            raise ValueError(f"datastore: got {brief(store)}, expected counts of at least 0, not all 0; try None")

    def init(self, target: Categorical, *, key: PRNGKeyArray) -> Retrieved:
        parametric = self.inner.init(target, key=key)
        if not isinstance(parametric, Categorical):
            got = type(parametric).__name__
            raise ValueError(f"inner: got a learner of {got}, expected one of tables of probabilities; try Tabular()")
        return self._speaking(parametric, self._stored(parametric.probs.shape))

    def observe(self, model: AbstractTable, n: Int[Array, ""], *, key: PRNGKeyArray) -> AbstractData:
        return self.inner.observe(model, n, key=key)

    def pool(
        self,
        target: Categorical,
        source: AbstractTable,
        alpha: Float[Array, ""],
        n: Int[Array, ""],
        split: str,
        *,
        key: PRNGKeyArray,
    ) -> tuple[AbstractData, AbstractData, AbstractData]:
        return self.inner.pool(target, source, alpha, n, split, key=key)

    def fit(self, data: Counts, model: Retrieved, *, key: PRNGKeyArray) -> Retrieved:
        """p̂ fitted to the data; the first data are the datastore where none was given."""
        parametric = cast(Categorical, self.inner.fit(data, model.parametric, key=key))
        store = model.datastore
        if self.datastore is None:
            store = jnp.where(store.sum() > 0, store, frequencies(data.counts))
        return self._speaking(parametric, store)

    def _speaking(self, parametric: Categorical, store: Float[Array, "*c v"]) -> Retrieved:
        weight = jnp.asarray(self.weight, float)
        weight = jnp.where((weight >= 0) & (weight <= 1), weight, jnp.nan)
        mixed = weight * store + (1 - weight) * parametric.probs
        empty = store.sum(-1, keepdims=True) == 0
        said = jnp.where(empty & ~jnp.isnan(weight), parametric.probs, mixed)
        return Retrieved(said, parametric.contexts, parametric, store)

    def _stored(self, shape: tuple[int, ...]) -> Float[Array, "*c v"]:
        if self.datastore is None:
            return jnp.zeros(shape)
        if jnp.shape(self.datastore) != shape:
            got = jnp.shape(self.datastore)
            raise ValueError(f"datastore: got shape {got}, expected the table's, {shape}; try None")
        return frequencies(self.datastore)


def frequencies(counts: Num[ArrayLike, "*c v"]) -> Float[Array, "*c v"]:
    """Rows divided by their sums; rows without counts stay zeros, a traced negative count gives NaN."""
    counts = jnp.asarray(counts, float)
    total = counts.sum(-1, keepdims=True)
    rows = jnp.where(total > EMPTY, counts / jnp.where(total > EMPTY, total, 1.0), 0.0)
    return jnp.where((counts >= 0).all(-1, keepdims=True), rows, jnp.nan)
