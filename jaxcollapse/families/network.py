"""A network of learners: the rows of a table are its nodes, which train on one another's output.

    D_i ~ (α p* + (1 − α) (W P̂)_i)^n        n draws in every node i, W row-stochastic (`curate=Mixing(W)`)

Without this learner the rows of a table share n draws, n_i ~ Multinomial(n, π). Source of the setting: a shared web,
arXiv 2506.15690; the exact second moments are in `theory.network`.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxcollapse._data import Counts
from jaxcollapse._learner import AbstractLearner, two_draws
from jaxcollapse._schedule import brief
from jaxcollapse.families.tabular import AbstractTable, Categorical, PosteriorSampling, Tabular, thinned
from jaxcollapse.sampling import multinomial


class Nodes(AbstractLearner):
    """Every row of a `c v` table draws n tokens of its own; fitting is that of `inner`.

    The contexts' law π is not used. α is common to all nodes; real shares a_i of their own are
    `curate=Chain(Mixing(W), Contaminate(target, a))` at α = 0. `Subsample`, `Retain` and `Anchor(fraction)` count the
    draws of the whole network, not of a node: where c n is no int32 (int64 under x64) they mark the lineage by NaN.
    """

    inner: Tabular | PosteriorSampling = Tabular()

    def __check_init__(self):
        documents = isinstance(self.inner, Tabular) and self.inner.document_length is not None
        if not isinstance(self.inner, Tabular | PosteriorSampling) or documents:
            expected = "a jc.Tabular without documents, or a jc.PosteriorSampling"
            raise ValueError(f"inner: got {brief(self.inner)}, expected {expected}; try Nodes(Tabular())")

    def init(self, target: Categorical, *, key: PRNGKeyArray) -> Categorical:
        """One real draw in every node."""
        if target.probs.ndim != 2:
            raise ValueError(f"probs: got shape {target.probs.shape}, expected (c, v), one row a node; try jnp.tile")
        return self.inner.init(target, key=key)

    def observe(self, model: AbstractTable, n: Int[Array, ""], *, key: PRNGKeyArray) -> Counts:
        """n tokens from each row."""
        return Counts(_from_each(model, n, key))

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
        """n draws from each row of α·target + (1 − α)·source; "fixed" and "round" take as many real ones in each."""
        if split != "random":
            return two_draws(self, target, source, alpha, n, split, key=key)
        return thinned(lambda table, key: _from_each(table, n, key), target, source, alpha, key=key)

    def fit(self, data: Counts, model: Categorical, *, key: PRNGKeyArray) -> Categorical:
        return self.inner.fit(data, model, key=key)


def _from_each(table: AbstractTable, n: Int[Array, ""], key: PRNGKeyArray) -> Int[Array, "c v"]:
    return multinomial(key, jnp.broadcast_to(n, table.probs.shape[:-1]), table.probs)
