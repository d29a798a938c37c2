"""Regimes: what is remembered from one generation to the next, and what the learner is shown of it.

    D_t, M_t = Regime(M_{t−1}, Batch_t)

    Replace()            D_t = R_t + S_t
    Accumulate()         D_t = M_t = M_{t−1} + R_t + S_t             pooled, M_0 = D_0
    Accumulate(decay=ρ)  D_t = M_t = ρ·M_{t−1} + R_t + S_t           leaky memory; ρ = 0 replaces, ρ = 1 pools floats
    Anchor()             D_t = D_0 + S_t                             a real set kept whole
    Anchor(fraction=f)   D_t = (round(f n_0) of D_0, without replacement) + S_t
    Subsample(regime)    n_t draws from the inner regime's data
    RealOnly(regime)     the inner regime, shown R_t alone (provenance labels)

More: `Weighted` and `Retain` in `_weighted`, `Debiased` in `_debiased`, `Deduplicate` and `Drop` in `_filtered`. Real
draws from a retained set with probability α, the random mixture, are `Loop(real_source=...)`, the set's own law; real
data that are refreshed every k generations are a schedule, `Periodic`.
"""

import abc
import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Num, PRNGKeyArray

from jaxcollapse._data import AbstractData
from jaxcollapse._model import AbstractModel
from jaxcollapse._schedule import brief


class Batch(eqx.Module):
    """What one generation brought.

    `pooled` = `real` + `synthetic` are the draws with their provenance, `alpha` is α_t, `source` the (curated) model
    that generated the synthetic part, and `data` what the regime then showed to the learner. A part that nobody
    reads is compiled away.
    """

    pooled: AbstractData
    real: AbstractData
    synthetic: AbstractData
    alpha: Float[Array, ""]
    source: AbstractModel
    data: AbstractData | None = None


class AbstractRegime(eqx.Module):
    """What is remembered: `init`, then `update`, as in optax."""

    @abc.abstractmethod
    def init(self, data: AbstractData) -> Any:
        """The memory after generation 0, whose data are all real."""

    @abc.abstractmethod
    def update(self, memory: Any, batch: Batch, *, key: PRNGKeyArray) -> tuple[Any, AbstractData]:
        """The memory after this batch, and the data that the learner is shown."""

    @abc.abstractmethod
    def largest_pool(self, n_t: Float[Array, " times"]) -> Float[Array, ""]:
        """The largest whole number of draws that is ever added up, which must not overflow; 0 where a batch is all."""


class Replace(AbstractRegime):
    """Each generation is trained on its own batch alone."""

    def init(self, data):
        return None

    def update(self, memory, batch, *, key):
        return None, batch.pooled

    def largest_pool(self, n_t):
        return jnp.zeros(())


class Accumulate(AbstractRegime):
    """All batches are kept and pooled, the first, real one included.

    Without `decay` the pool is whole-numbered and must stay below 2³¹ (2⁵³ under x64). With `decay` = ρ in [0, 1],
    a float pool: a batch that is s generations old weighs ρ^s.
    """

    decay: Num[ArrayLike, ""] | None = None

    def __check_init__(self):
        check_fraction("decay", self.decay, "Accumulate(decay=0.9)")

    def init(self, data):
        return data if self.decay is None else 1.0 * data

    def update(self, memory, batch, *, key):
        pool = (memory if self.decay is None else share(self.decay) * memory) + batch.pooled
        return pool, pool

    def largest_pool(self, n_t):
        return n_t.sum() if self.decay is None else jnp.zeros(())


class Anchor(AbstractRegime):
    """The real set of generation 0 is kept for ever and stands in for fresh real draws.

    Whole by default; with `fraction` = f in [0, 1], round(f n_0) of it, drawn anew without replacement in every
    generation. The batch adds its synthetic part only: with α = 0 that is all n_t draws, with
    `split="fixed"` and α = f (and n_t = n_0) the Nature experiment's mix of f retained and 1 − f synthetic data.
    """

    fraction: Num[ArrayLike, ""] | None = None

    def __check_init__(self):
        check_fraction("fraction", self.fraction, "Anchor(fraction=0.1)")

    def init(self, data):
        return data

    def update(self, memory, batch, *, key):
        return memory, self._retained(memory, key) + batch.synthetic

    def _retained(self, memory, key):
        if self.fraction is None:
            return memory
        return memory.resample(jnp.rint(share(self.fraction) * memory.total.astype(float)), key=key)

    def largest_pool(self, n_t):
        return n_t[0] + n_t.max()


class Subsample(AbstractRegime):
    """A fixed budget: as many draws as the batch had, from what the inner regime would show.

    Without replacement from whole-numbered data, with replacement from a float pool.
    """

    inner: AbstractRegime

    def __check_init__(self):
        check_inner(self)

    def init(self, data):
        return self.inner.init(data)

    def update(self, memory, batch, *, key):
        k_inner, k_resample = jax.random.split(key)
        memory, data = self.inner.update(memory, batch, key=k_inner)
        return memory, data.resample(whole(batch.pooled.total), key=k_resample)

    def largest_pool(self, n_t):
        return self.inner.largest_pool(n_t)


class RealOnly(AbstractRegime):
    """Filtration by label: the inner regime is shown the real draws alone.

    A generation without any keeps the previous model. `RealOnly(Accumulate())` is refused, like `Accumulate()`, where
    all draws together, not the real ones alone, would overflow.
    """

    inner: AbstractRegime

    def __check_init__(self):
        check_inner(self)

    def init(self, data):
        return self.inner.init(data)

    def update(self, memory, batch, *, key):
        nothing = jax.tree.map(jnp.zeros_like, batch.synthetic)
        real = dataclasses.replace(batch, pooled=batch.real, synthetic=nothing)
        return self.inner.update(memory, real, key=key)

    def largest_pool(self, n_t):
        return self.inner.largest_pool(n_t)


def whole(n: Num[Array, ""]) -> Num[Array, ""]:
    """A number of draws, whole: the weights of a float pool add up to one only after rounding."""
    return n if jnp.issubdtype(n.dtype, jnp.integer) else jnp.rint(n)


def share(value: Num[ArrayLike, ""]) -> Float[Array, ""]:
    """A number in [0, 1]; NaN where a traced one is not, which marks all that it touches."""
    value = jnp.asarray(value, float)
    return jnp.where((value >= 0) & (value <= 1), value, jnp.nan)


def check_fraction(name: str, value: Any, example: str) -> None:
    """Raises `ValueError` for a concrete value that is not one number in [0, 1]; None passes."""
    if value is None or isinstance(value, Tracer):
        return
    if np.ndim(value) or not 0 <= value <= 1:
        raise ValueError(f"{name}: got {brief(value)}, expected one number in [0, 1]; try {example}")


def check_inner(regime: Any, example: str = "") -> None:
    """Raises `ValueError` where a wrapper's `inner` is no regime."""
    if not isinstance(regime.inner, AbstractRegime):
        example = example or f"{type(regime).__name__}(Accumulate())"
        raise ValueError(f"inner: got {brief(regime.inner)}, expected a jc.AbstractRegime; try {example}")
