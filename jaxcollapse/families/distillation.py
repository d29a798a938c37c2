"""Distillation: the next generation fits the previous model's probabilities instead of its samples.

    pooled = R + S̄,   R ~ p*^{n^R} the real draws,   S̄(v | c) = N_c · c(p_{t−1})(v | c)

N_c, how often the synthetic draws visit context c, is drawn as ever (for a unigram it is n − n^R); their tokens are
replaced by their expectation. So a teacher's soft labels come at the contexts of a sampled corpus, and what is left of
the noise of a generation is that of its real draws and of its contexts. Exact risks: `theory.distilled_risk`.

For a transformer, whose contexts are whole sequences, this is `Transformer(distil=True)`.

Source: Hinton, Vinyals and Dean, arXiv 1503.02531; a loop of it, without real data: Mobahi et al., arXiv 2002.05715.
"""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from jaxcollapse._data import AbstractData, Counts
from jaxcollapse._learner import AbstractLearner
from jaxcollapse._model import AbstractModel
from jaxcollapse._schedule import brief
from jaxcollapse.families.tabular import AbstractTable, Categorical


class Distilled(AbstractLearner):
    """Fits `inner` to real draws and to the previous model's own next-token probabilities.

    inner   a learner of tables, fitted to counts: `Tabular()`, `Softmax()`, `Retrieval(Tabular())`, `Nodes()`

    The soft counts of the synthetic part add up to as many draws as ever in each context, and are those of the curated
    model: a teacher at temperature T is `curate=Temperature(T)`. α = 1: `inner` itself. α = 0: what `inner` makes of
    its own law; a table stays the first one for ever.
    All counts are floats, so regimes see float pools: exact up to 2²⁴ real draws of a token (2⁵³ under x64), and
    `Subsample` and `Anchor(fraction)` draw from them with replacement, whole tokens again.
    Errors: `ValueError` for an inner learner whose models are no tables of probabilities.
    """

    inner: AbstractLearner

    def __check_init__(self):
        if not isinstance(self.inner, AbstractLearner):
            raise ValueError(f"inner: got {brief(self.inner)}, expected a jc.AbstractLearner; try Distilled(Tabular())")

    def init(self, target: AbstractModel, *, key: PRNGKeyArray) -> AbstractModel:
        model = self.inner.init(target, key=key)
        if not isinstance(model, AbstractTable):
            got = type(model).__name__
            expected = "one of tables of probabilities; try Tabular(), and for sequences Transformer(distil=True)"
            raise ValueError(f"inner: got a learner of {got}, expected {expected}")
        return model

    def observe(self, model: AbstractTable, n: Int[Array, ""], *, key: PRNGKeyArray) -> AbstractData:
        return 1.0 * self.inner.observe(model, n, key=key)

    def pool(
        self,
        target: Categorical,
        source: AbstractTable,
        alpha: Float[Array, ""],
        n: Int[Array, ""],
        split: str,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Counts, Counts, Counts]:
        """The draws of `inner`, the synthetic ones replaced by their expectation at the contexts that they visit."""
        parts: Any = self.inner.pool(target, source, alpha, n, split, key=key)
        real = 1.0 * parts[1]
        labels = Counts(soft(parts[2].counts, source.probs))
        return real + labels, real, labels

    def fit(self, data: Counts, model: AbstractTable, *, key: PRNGKeyArray) -> AbstractModel:
        return self.inner.fit(data, model, key=key)


def soft(counts: Num[Array, "*c v"], probs: Float[Array, "*c v"]) -> Float[Array, "*c v"]:
    """As many draws in each row, spread by the row's probabilities; −1 where counts are marked."""
    visits, whole = counts.sum(-1, keepdims=True).astype(float), probs.sum(-1, keepdims=True)
    rows = probs / jnp.where(whole == 0, 1.0, whole)  # a curation may leave an ulp more, at α = 1 nothing
    return jnp.where(jnp.any(counts < 0), -1.0, visits * rows)
