"""The softmax next-token model, trained by gradient descent on counts: cost independent of n.

    p(v | c) = exp z_cv / Σ_u exp z_cu,      z = Φ W
    loss     = −Σ_cv (N_cv / N) log p(v | c) + ½ λ ‖θ‖²

    full rank   Φ = 1, θ = W, the logits themselves: where every count is positive the minimum is the table N_cv / N_c
    tied        Φ `c k` given, features of the contexts; θ = W. With two tokens it is logistic regression
    low rank    θ = (Φ, W), k = rank: both are learned

A token that was not drawn has no finite maximum-likelihood logit. Training that stops leaves it a probability: an early
stop smooths, and a loop of such learners has no absorbing collapse.
"""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Int, Num, PRNGKeyArray

from jaxcollapse._data import EMPTY, Counts
from jaxcollapse._learner import AbstractLearner
from jaxcollapse._model import AbstractModel
from jaxcollapse._schedule import brief
from jaxcollapse.families import _gradient
from jaxcollapse.families.tabular import AbstractTable, Categorical, Tabular, as_array
from jaxcollapse.sampling import multinomial


class LogLinear(AbstractTable):
    """A table whose logits are a matrix product.

    probs     what it says, `v` or `c v`; `contexts` their law π
    weights   W alone, or (Φ, W) where the features are learned too
    """

    probs: Float[Array, "*c v"]
    contexts: Float[Array, " c"] | None
    weights: tuple[Float[Array, "..."], ...]


class Softmax(AbstractLearner):
    """Fits logits to counts by gradient descent.

    features    Φ `c k`, given; None: one of its own for every context (full rank), or learned ones (`rank`)
    rank        k ≥ 1 of learned features, for a `c v` target
    l2          λ ≥ 0; may be swept
    optimiser   rate -> an optax optimiser: `optax.adam`, `optax.sgd`, `functools.partial(optax.sgd, momentum=0.9)`;
                `optax.lbfgs` with rate=1.0 and all of the data is at the minimum in some 20 steps
    rate        its learning rate; may be swept
    steps       updates of a fit; few of them are an early stop
    batch_size  draws (with replacement, from the data) that each step sees; None: all of the data
    start       where a fit starts: "scratch" (W = 0, the uniform law), "previous" (the generation before), or a
                `LogLinear` model, a fixed pretrained base, which also is what there is before generation 0

    A context that was not visited moves by the penalty, by shared features and by the optimiser's momentum alone: from
    scratch it is uniform. Without data nothing changes. A fit that diverges is NaN, and so are the records of that
    lineage from then on; no other lineage notices.

    Errors: `ValueError` for sizes, an optimiser, a start, features or a target that do not fit, before anything is
    trained. Traced rates that are not positive, and traced penalties below 0, give NaN.
    """

    features: Num[ArrayLike, "c k"] | None = eqx.field(default=None, converter=as_array)
    rank: int | None = eqx.field(default=None, static=True)
    l2: Num[ArrayLike, ""] = 0.0
    optimiser: Any = optax.adam
    rate: Num[ArrayLike, ""] = 0.1
    steps: int = eqx.field(default=200, static=True)
    batch_size: int | None = eqx.field(default=None, static=True)
    start: str | LogLinear = "scratch"

    def __check_init__(self):
        _gradient.check(self.optimiser, self.rate, self.steps, self.batch_size)
        _gradient.check_number("l2", self.l2, lambda x: x >= 0, "one number of at least 0; try 0.001")
        if self.rank is not None and (not isinstance(self.rank, int) or isinstance(self.rank, bool) or self.rank < 1):
            raise ValueError(f"rank: got {brief(self.rank)}, expected a whole number of at least 1; try 4, or None")
        if self.features is not None and self.rank is not None:
            raise ValueError("rank: got a rank and given features, expected one of them; try to leave features out")
        if self.features is not None:
            _check_features(self.features)
        _gradient.check_start(self.start, LogLinear)

    def init(self, target: AbstractModel, *, key: PRNGKeyArray) -> LogLinear:
        """The base, or the uniform law."""
        if not isinstance(target, AbstractTable):
            expected = "a table of probabilities; try jc.Categorical(probs)"
            raise ValueError(f"target: got {type(target).__name__}, expected {expected}")
        shape = target.probs.shape
        if len(shape) == 1 and (self.rank is not None or self.features is not None):
            name = "rank" if self.rank is not None else "features"
            raise ValueError(f"{name}: got one for a target without contexts; try a c × v table, or to leave it out")
        if self.features is not None and np.shape(self.features)[0] != shape[0]:
            got = f"{np.shape(self.features)[0]} rows for a target of shape {shape}"
            raise ValueError(f"features: got {got}, expected one for each context")
        scratch = self._scratch(shape, key)
        if not isinstance(self.start, LogLinear):
            return self._model(scratch, target)
        if (got := _shapes(self.start.weights)) != (due := _shapes(scratch)):
            raise ValueError(f"start: got weights of shapes {got}, expected {due}; try a model of the same learner")
        return self._model(self.start.weights, target)

    def observe(self, model: AbstractTable, n: Int[Array, ""], *, key: PRNGKeyArray) -> Counts:
        return Tabular().observe(model, n, key=key)

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
        return Tabular().pool(target, source, alpha, n, split, key=key)

    def fit(self, data: Counts, model: LogLinear, *, key: PRNGKeyArray) -> LogLinear:
        """The model after `steps` updates; as it is without data, NaN where counts are marked."""
        k_start, k_steps = jr.split(key)
        total = data.counts.sum().astype(float)
        share = data.counts.astype(float) / jnp.where(total > EMPTY, total, 1.0)
        rate, l2 = jnp.asarray(self.rate, float), jnp.asarray(self.l2, float)
        lawful = (rate > 0) & (l2 >= 0) & (data.counts >= 0).all()

        def loss(weights, key):
            seen = share
            if self.batch_size is not None:
                seen = multinomial(key, self.batch_size, share.ravel()).reshape(share.shape) / self.batch_size
            fit = -jnp.sum(seen * jax.nn.log_softmax(self._logits(weights), axis=-1))
            return fit + l2 / 2 * optax.tree.norm(weights, squared=True)

        weights, _ = _gradient.descend(loss, self._begin(model, k_start), self.optimiser, rate, self.steps, key=k_steps)
        # What comes out of exp is marked, not what goes in: compiled for a CPU, exp of a literal NaN may be finite.
        keep = lambda new, old: jnp.where(lawful, jnp.where(total <= EMPTY, old, new), jnp.nan)
        fitted = jax.tree.map(keep, self._model(weights, model), model)
        return eqx.tree_at(lambda m: m.contexts, fitted, model.contexts, is_leaf=lambda x: x is None)

    def _begin(self, model: LogLinear, key: PRNGKeyArray) -> tuple[Float[Array, "..."], ...]:
        if isinstance(self.start, LogLinear):
            return self.start.weights
        return model.weights if self.start == "previous" else self._scratch(model.probs.shape, key)

    def _scratch(self, shape: tuple[int, ...], key: PRNGKeyArray) -> tuple[Float[Array, "..."], ...]:
        """W = 0; learned features are standard normal, or they and W would stay at 0."""
        if self.rank is not None:
            return jr.normal(key, (shape[0], self.rank)) / math.sqrt(self.rank), jnp.zeros((self.rank, shape[-1]))
        return (jnp.zeros(shape if self.features is None else (np.shape(self.features)[1], shape[-1])),)

    def _logits(self, weights: tuple[Float[Array, "..."], ...]) -> Float[Array, "*c v"]:
        if self.rank is not None:
            return weights[0] @ weights[1]
        return weights[0] if self.features is None else jnp.asarray(self.features, float) @ weights[0]

    def _model(self, weights: tuple[Float[Array, "..."], ...], like: AbstractTable) -> LogLinear:
        return LogLinear(jax.nn.softmax(self._logits(weights), axis=-1), like.contexts, weights)


def _check_features(features: Any) -> None:
    if np.ndim(features) != 2:
        raise ValueError(f"features: got shape {np.shape(features)}, expected (contexts, k); try jnp.eye(contexts)")
    if isinstance(features, Tracer) or (finite := np.isfinite(np.asarray(features, float))).all():
        return
    where = tuple(int(i) for i in np.argwhere(~finite)[0])
    got = f"{np.asarray(features)[where]} at {where}"
    raise ValueError(f"features: got {got}, expected finite numbers; try 0 there, or np.nan_to_num(features)")


def _shapes(weights: Any) -> list[tuple[int, ...]]:
    return [jnp.shape(w) for w in weights]
