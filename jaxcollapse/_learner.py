"""Learners: how data are drawn from a model, and how a model is fitted to data.

    pooled = R + S,    R ~ p*^{n^R},    S ~ c(p_{t−1})^{n − n^R},    p_t = Fit(D_t; p_{t−1})

The number of real draws n^R among n, with mixture weight α, is one of three different models:

    random   n^R ~ Binomial(n, α): every draw is real with probability α (the model of the mixture paper)
    fixed    n^R = ⌊α n + U⌋, U uniform on [0, 1): systematic rounding, E n^R = α n exactly
    round    n^R = α n to the nearest whole number: no real data at all while α n < ½, another phase diagram
"""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Float, Int, PRNGKeyArray

from jaxcollapse._data import AbstractData
from jaxcollapse._model import AbstractModel
from jaxcollapse.sampling import binomial

SPLITS = ("random", "fixed", "round")


class AbstractLearner(eqx.Module):
    """Who learns. Sees models and data, never the schedules, the generation or another lineage."""

    @abc.abstractmethod
    def init(self, target: AbstractModel, *, key: PRNGKeyArray) -> AbstractModel:
        """What a model holds before it has seen any data."""

    @abc.abstractmethod
    def observe(self, model: AbstractModel, n: Int[Array, ""], *, key: PRNGKeyArray) -> AbstractData:
        """n draws from a model, in the form that `fit` takes."""

    @abc.abstractmethod
    def pool(
        self,
        target: AbstractModel,
        source: AbstractModel,
        alpha: Float[Array, ""],
        n: Int[Array, ""],
        split: str,
        *,
        key: PRNGKeyArray,
    ) -> tuple[AbstractData, AbstractData, AbstractData]:
        """n draws from the mixture α·target + (1 − α)·source: (pooled, its real part, its synthetic part)."""

    @abc.abstractmethod
    def fit(self, data: AbstractData, model: AbstractModel, *, key: PRNGKeyArray) -> AbstractModel:
        """The model of this generation; the previous one, `model`, where there are no data."""


class AbstractEstimator(AbstractLearner):
    """A learner whose fit is not defined for every sample; a `Loop` asks it before it runs."""

    @abc.abstractmethod
    def least(self, target: AbstractModel) -> int:
        """The fewest draws that have a fit, as far as concrete settings tell."""


def real_draws(split: str, alpha: Float[Array, ""], n: Int[Array, ""], *, key: PRNGKeyArray) -> Int[Array, ""]:
    """n^R, the number of real draws among n, by one of the three models above; n < 0 stays as it is, α = 1 is all."""
    if split == "random":
        return binomial(key, n, alpha)
    return jnp.where(alpha == 1, n, _rounded(split, alpha, n, key))


def _rounded(split: str, alpha: Float[Array, ""], n: Int[Array, ""], key: PRNGKeyArray) -> Int[Array, ""]:
    expected = alpha * n.astype(float)
    if split == "round":
        return jnp.minimum(jnp.rint(expected).astype(n.dtype), n)
    whole = jnp.floor(expected)
    # Not ⌊expected + U⌋, whose sum rounds up where α n is large.
    extra = jr.uniform(key, dtype=expected.dtype) < expected - whole
    return jnp.minimum(whole.astype(n.dtype) + extra.astype(n.dtype), n)


def two_draws(learner, target, source, alpha, n, split, *, key) -> tuple[Any, Any, Any]:
    """`AbstractLearner.pool` for any family: the number of real draws first, then both parts."""
    k_split, k_real, k_synthetic = jr.split(key, 3)
    n_real = real_draws(split, alpha, n, key=k_split)
    real = learner.observe(target, n_real, key=k_real)
    synthetic = learner.observe(source, n - n_real, key=k_synthetic)
    return real + synthetic, real, synthetic
