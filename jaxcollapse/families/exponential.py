"""One-parameter exponential families whose sufficient statistic is a sum: Poisson, Bernoulli, exponential.

    Fit(w, Σ x) :  θ = Σ x / w          the mean parameter, by maximum likelihood

    Poisson       Σ x ~ Poisson(n θ)        V(θ) = θ             θ = 0 absorbs
    Bernoulli     Σ x ~ Binomial(n, θ)      V(θ) = θ(1 − θ)      θ = 0 and θ = 1 absorb
    exponential   Σ x ~ θ Gamma(n)          V(θ) = θ²            nothing absorbs; ln θ drifts down by about 1/2n

One number is drawn for a sample of any size. Their variances V are quadratic in the mean (Morris, Ann. Statist. 10
(1982) 65), so E (θ_t − θ*)² obeys a recursion of its own, `theory.mean_parameter`. Poisson and Bernoulli: Suresh et
al., arXiv 2412.17646.
"""

import abc

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jax.scipy.special import gammaln, xlogy
from jaxtyping import Array, ArrayLike, Float, Int, Num, PRNGKeyArray, Real

from jaxcollapse._data import EMPTY, AbstractData
from jaxcollapse._learner import AbstractLearner, two_draws
from jaxcollapse._model import AbstractModel
from jaxcollapse._schedule import brief
from jaxcollapse.sampling import binomial, gamma, hypergeometric, poisson


class AbstractMeanModel(AbstractModel):
    """A law whose maximum likelihood fit is the mean of the draws."""

    mean: eqx.AbstractVar[Float[Array, ""]]

    @abc.abstractmethod
    def variance(self) -> Float[Array, ""]:
        """V(θ), of one draw."""

    @abc.abstractmethod
    def sum(self, n: Int[Array, ""], *, key: PRNGKeyArray) -> Num[Array, ""]:
        """The sum of n ≥ 0 draws, exact, at a cost that does not depend on n."""

    @abc.abstractmethod
    def part(
        self, total: Num[Array, ""], n: Int[Array, ""], size: Int[Array, ""], *, key: PRNGKeyArray
    ) -> Num[Array, ""]:
        """The sum of n among `size` draws of one law that add up to `total`, which no longer depends on θ."""

    def summary(self, target: "AbstractMeanModel") -> dict[str, Array]:
        """mean θ, and squared_error (θ − θ*)²/V(θ*), both against the target."""
        return {"mean": self.mean, "squared_error": (self.mean - target.mean) ** 2 / target.variance()}


class Sums(AbstractData):
    """A sample by its size and its sum: weight, total, and the law that they belong to (whose θ is not read).

    The weight is a whole number as drawn; `a * sums` casts to floats, and from then on the pool is a float pool. A
    negative weight marks a draw with arguments out of range, in every sum too.
    """

    weight: Num[Array, ""]
    sum: Num[Array, ""]
    law: AbstractMeanModel

    @property
    def total(self) -> Num[Array, ""]:
        return self.weight

    def __add__(self, other: "Sums") -> "Sums":
        weight, sum_ = _together(self.weight, other.weight), _together(self.sum, other.sum)
        marked = (self.weight < 0) | (other.weight < 0) | (self.sum < 0) | (other.sum < 0)
        return Sums(jnp.where(marked, -jnp.ones_like(weight), weight), sum_, self.law)

    def __rmul__(self, a: Real[Array, ""] | float) -> "Sums":
        a = jnp.asarray(a, float)
        marked = ~(a >= 0) | (self.weight < 0)
        return Sums(jnp.where(marked, -1.0, a * self.weight.astype(float)), a * self.sum.astype(float), self.law)

    def resample(self, n: Real[Array, ""], *, key: PRNGKeyArray) -> "Sums":
        """min(n, w) draws without replacement from a whole pool; n with replacement from a float pool.

        Without replacement the law of a part given the whole: exact for independent draws from one law (the real set of
        `Anchor`) and for every Bernoulli pool. A Poisson or exponential pool of several generations varies by more than
        its sum tells; with replacement such a pool, too, is drawn from as if it were its own fitted law.
        None from an empty pool; an n below 0 or NaN is marked.
        """
        n, size = jnp.asarray(n), self.weight
        whole = jnp.where(n >= 0, n, -jnp.ones_like(n)).astype(int)
        if jnp.issubdtype(size.dtype, jnp.floating):
            some = jnp.where(size > EMPTY, size, 1.0)
            fitted = eqx.tree_at(lambda law: law.mean, self.law, self.sum.astype(float) / some)
            drawn = observe(fitted, jnp.where(size > EMPTY, whole, jnp.minimum(whole, 0)), key=key)
        else:
            whole = jnp.minimum(whole, size)
            part = self.law.part(self.sum, jnp.maximum(whole, 0), jnp.maximum(size, 0), key=key)
            part = jnp.where(whole == size, self.sum, jnp.where(whole > 0, part, jnp.zeros_like(part)))
            drawn = Sums(whole, part, self.law)
        return Sums(jnp.where(size < 0, -1, drawn.weight), drawn.sum, self.law)


class Poisson(AbstractMeanModel):
    """The Poisson law of mean θ > 0; at θ = 0, where a lineage ends up without real data, all draws are 0.

    Sums with n θ up to 2³⁰ (2⁵² under x64) can be drawn; beyond, the lineage is NaN.
    Errors: `ValueError` unless θ is one positive, finite number; a traced one that is negative is NaN.
    """

    mean: Float[Array, ""]

    def __init__(self, mean: Num[ArrayLike, ""]):
        self.mean = _parameter("mean", mean, np.inf)

    def variance(self):
        return self.mean

    def sum(self, n, *, key):
        return poisson(key, jnp.asarray(n, float) * self.mean)

    def part(self, total, n, size, *, key):
        return binomial(key, jnp.maximum(total, 0), _share(n, size))

    def log_prob(self, x: Num[ArrayLike, "..."]) -> Float[Array, "..."]:
        """x ln θ − θ − ln x! in nats."""
        x = jnp.asarray(x, float)
        return xlogy(x, self.mean) - self.mean - gammaln(x + 1)


class Bernoulli(AbstractMeanModel):
    """The law of 0 and 1 with mean θ = P(1) in (0, 1); the ends absorb a lineage without real data.

    A table of two tokens: squared_error has the mean r_t of `theory.risk`. θ is kept, not 1 − θ: name the rarer outcome
    1, for in float32 a θ within 3·10⁻⁸ of 1 is 1, which absorbs (10⁻¹⁶ under x64).
    Errors: `ValueError` unless θ is one number in (0, 1); a traced one outside [0, 1] is NaN.
    """

    mean: Float[Array, ""]

    def __init__(self, mean: Num[ArrayLike, ""]):
        self.mean = _parameter("mean", mean, 1.0)

    def variance(self):
        return self.mean * (1 - self.mean)

    def sum(self, n, *, key):
        return binomial(key, n, self.mean)

    def part(self, total, n, size, *, key):
        ones = jnp.clip(total, 0, size)
        return hypergeometric(key, jnp.stack([ones, size - ones]), n)[0]

    def log_prob(self, x: Num[ArrayLike, "..."]) -> Float[Array, "..."]:
        """x ln θ + (1 − x) ln(1 − θ) in nats."""
        x = jnp.asarray(x, float)
        return xlogy(x, self.mean) + xlogy(1 - x, 1 - self.mean)


class ExponentialLaw(AbstractMeanModel):
    """The exponential law of mean θ > 0 (rate 1/θ). `jc.Exponential` is a schedule.

    Errors: `ValueError` unless θ is one positive, finite number; a traced one that is negative is NaN.
    """

    mean: Float[Array, ""]

    def __init__(self, mean: Num[ArrayLike, ""]):
        self.mean = _parameter("mean", mean, np.inf)

    def variance(self):
        return self.mean**2

    def sum(self, n, *, key):
        return self.mean * gamma(key, jnp.asarray(n, float))

    def part(self, total, n, size, *, key):
        k_part, k_rest = jr.split(key)
        part, rest = gamma(k_part, n.astype(float)), gamma(k_rest, (size - n).astype(float))
        return total * (part / jnp.where(part + rest > 0, part + rest, 1.0))

    def log_prob(self, x: Num[ArrayLike, "..."]) -> Float[Array, "..."]:
        """−x/θ − ln θ in nats, −∞ below 0."""
        x = jnp.asarray(x, float)
        return jnp.where(x >= 0, -x / self.mean - jnp.log(self.mean), -jnp.inf)


class MaximumLikelihood(AbstractLearner):
    """Fits a `Poisson`, `Bernoulli` or `ExponentialLaw` by its mean: θ = Σ x / w."""

    def init(self, target: AbstractMeanModel, *, key: PRNGKeyArray) -> AbstractMeanModel:
        """The target: every generation 0 has draws, and replaces it."""
        return target

    def observe(self, model: AbstractMeanModel, n: Int[Array, ""], *, key: PRNGKeyArray) -> Sums:
        """The size and the sum of n draws from a model."""
        return observe(model, n, key=key)

    def pool(
        self,
        target: AbstractMeanModel,
        source: AbstractMeanModel,
        alpha: Float[Array, ""],
        n: Int[Array, ""],
        split: str,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Sums, Sums, Sums]:
        """n draws from α·target + (1 − α)·source: both parts."""
        pooled, real, synthetic = two_draws(self, target, source, alpha, n, split, key=key)
        return pooled, real, synthetic

    def fit(self, data: Sums, model: AbstractMeanModel, *, key: PRNGKeyArray) -> AbstractMeanModel:
        """θ = Σ x / w; the previous model where there are no data, NaN where data are marked."""
        weight, total = data.weight.astype(float), data.sum.astype(float)
        some = weight > EMPTY
        fitted = jnp.where(some, total / jnp.where(some, weight, 1.0), model.mean)
        return eqx.tree_at(lambda m: m.mean, model, jnp.where((weight >= 0) & ~(total < 0), fitted, jnp.nan))


def observe(model: AbstractMeanModel, n: Int[Array, ""], *, key: PRNGKeyArray) -> Sums:
    """The size and the sum of n draws; marked by −1 where n is negative or the sum could not be drawn."""
    drawn = model.sum(jnp.maximum(n, 0), key=key)
    wrong = (n < 0) | (drawn < 0) | jnp.isnan(drawn)
    return Sums(jnp.where(wrong, -1, n), drawn, model)


def _share(n, size):
    return n.astype(float) / jnp.maximum(size, 1).astype(float)


def _together(a: Num[Array, ""], b: Num[Array, ""]) -> Num[Array, ""]:
    return a + b if a.dtype == b.dtype else a.astype(float) + b.astype(float)


def _parameter(name: str, value: Num[ArrayLike, ""], end: float) -> Float[Array, ""]:
    if isinstance(value, Tracer):
        value = jnp.asarray(value, float)
        return jnp.where((value >= 0) & (value <= end), value, jnp.nan)
    if np.ndim(value) or not 0 < np.asarray(value, float) < end:
        expected = "one positive, finite number" if end == np.inf else "one number in (0, 1)"
        raise ValueError(f"{name}: got {brief(value)}, expected {expected}; try 0.2")
    return jnp.asarray(value, float)
