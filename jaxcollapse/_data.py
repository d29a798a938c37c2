"""Data: what a learner sees of a sample, as an element of a cone.

What a learner needs from a sample is a linear functional of its empirical measure, so data can be added and scaled:

    D' = ρ · D + R + S          memory ρ·D, real draws R, synthetic draws S

`Counts` serve tabular models. Families with moments or weighted atoms add their own `AbstractData` beside them.
"""

import abc

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Num, PRNGKeyArray, Real

from jaxcollapse.sampling import hypergeometric, multinomial

EMPTY = 1e-30  # a float pool of less weight has faded away; above it every cell that matters is a normal number


class AbstractData(eqx.Module):
    """An element of a cone, linear in the empirical measure of a sample."""

    @property
    @abc.abstractmethod
    def total(self) -> Real[Array, ""]:
        """Effective sample size."""

    @abc.abstractmethod
    def __add__(self, other: "AbstractData") -> "AbstractData":
        """Both samples together."""

    @abc.abstractmethod
    def __rmul__(self, a: Real[Array, ""] | float) -> "AbstractData":
        """The sample with a times its weight."""

    @abc.abstractmethod
    def resample(self, n: Real[Array, ""], *, key: PRNGKeyArray) -> "AbstractData":
        """n draws from this sample; the class states whether with or without replacement."""


class Counts(AbstractData):
    """How often each of the categories `*k` was drawn.

    Whole numbers as drawn (int32; int64 under x64), exact: a category that was never drawn stays at 0. A sum of
    whole numbers is whole; `a * counts` casts to floats, and from then on the pool is a float pool. Negative counts
    mark a draw with arguments out of range and stay marked in every sum.
    """

    counts: Num[Array, "*k"]

    @property
    def total(self) -> Num[Array, ""]:
        return self.counts.sum()

    def __add__(self, other: "Counts") -> "Counts":
        a, b = self.counts, other.counts
        if a.dtype != b.dtype:
            a, b = a.astype(float), b.astype(float)
        marked = jnp.any(a < 0) | jnp.any(b < 0)
        return Counts(jnp.where(marked, -jnp.ones_like(a), a + b))

    def __rmul__(self, a: Real[Array, ""] | float) -> "Counts":
        return Counts(jnp.asarray(a, float) * self.counts.astype(float))

    def resample(self, n: Real[Array, ""], *, key: PRNGKeyArray) -> "Counts":
        """min(n, total) draws without replacement from whole counts; n with replacement from a float pool.

        None from an empty pool; an n below 0 or NaN gives counts of −1, as in the samplers.
        """
        n, flat = jnp.asarray(n), self.counts.ravel()
        if jnp.issubdtype(flat.dtype, jnp.floating):
            drawn = multinomial(key, jnp.where(self.total > EMPTY, n, jnp.zeros_like(n)), jnp.maximum(flat, 0.0))
        else:
            whole = jnp.where(n >= 0, n, -jnp.ones_like(n)).astype(flat.dtype)
            drawn = hypergeometric(key, flat, jnp.minimum(whole, self.total))
        return Counts(jnp.where(jnp.any(flat < 0), -jnp.ones_like(drawn), drawn).reshape(self.counts.shape))
