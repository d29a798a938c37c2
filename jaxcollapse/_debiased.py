"""Estimators of p* that subtract what the synthetic draws are expected to add, computed beside the chain.

    C_t = (E_t − (1 − α_t) p_{t−1}) / α_t                  E_t the batch's relative frequencies; E[C_t | p_{t−1}] = p*
    D_t = Σ_s n_s α_s² C_s / Σ_s n_s α_s²,  s = 0..t       precision-weighted over all batches, α_0 = 1, C_0 = E_0

The chain that generates is the inner, agnostic regime's: C_t has negative entries and cannot be sampled from, so
neither estimate is fed back. Both are kept as signed sums, for which the exact theory holds (`theory.debiased`),

    Σ_s ρ^{t−s} α_s (N_s − (1 − α_s) n_s p_{s−1})  and  Σ_s ρ^{t−s} n_s α_s²         ρ = 0: C,  ρ = 1: D

and what is released is their projection onto the simplex. They are estimates in the memory and not data of their own,
since signed data are no element of the cone: nothing else could add, resample or fit them.

Derived here; the question, accumulation without labels, is that of Kanabar and Gastpar, arXiv 2501.19273.
"""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int, Num

from jaxcollapse._data import Counts
from jaxcollapse._regime import AbstractRegime, check_fraction, check_inner, share
from jaxcollapse._schedule import Schedule, brief, mixture_weight


class Estimate(eqx.Module):
    """The memory of `Debiased`: the inner regime's, the generation, and the signed and the total weight of each row."""

    inner: Any
    t: Int[Array, ""]
    signed: Float[Array, "*c v"]
    weight: Float[Array, "*c 1"]

    @property
    def probs(self) -> Float[Array, "*c v"]:
        """The unclipped estimate: rows add up to 1 where α is judged rightly, entries may be negative.

        A row that nothing has visited is uniform.
        """
        empty = self.weight == 0
        return jnp.where(empty, 1 / self.signed.shape[-1], self.signed / jnp.where(empty, 1.0, self.weight))

    @property
    def released(self) -> Float[Array, "*c v"]:
        """The law nearest to the estimate: its Euclidean projection onto the simplex, row by row."""
        return projected(self.probs)


class Debiased(AbstractRegime):
    """The inner regime trains and generates; `lineage.memory` holds the debiased estimate computed beside it.

    inner      what the learner is shown, and so what generates; its memory is `lineage.memory.inner`
    decay      ρ in [0, 1]: 0 the latest batch alone (C), 1 all batches by precision (D, the default), or in between
    believed   the mixture weight that the estimator takes for true, t -> α̂_t; by default the true one

    `lineage.memory.probs` is the signed estimate, `lineage.memory.released` its projection onto the simplex. A row that
    a batch does not visit, or a batch believed to hold nothing real (α̂_t = 0), leaves the estimate as it is. Tables
    only (`ValueError` for other data); an α̂_t out of range gives NaN. What it needs is α_t and the model that
    generated, no labels: n draws then count n α², where labels make them count n α.
    """

    inner: AbstractRegime
    decay: Num[ArrayLike, ""] = eqx.field(default=1.0, kw_only=True)
    believed: Schedule | None = eqx.field(default=None, kw_only=True)

    def __check_init__(self):
        check_inner(self, "Debiased(Replace())")
        check_fraction("decay", self.decay, "Debiased(Replace(), decay=0.0)")
        if self.believed is not None and not callable(self.believed):
            raise ValueError(
                f"believed: got {brief(self.believed)}, expected a callable t -> value; try jc.Constant(0.1)"
            )

    def init(self, data):
        if not isinstance(data, Counts):
            raise ValueError(f"data: got {type(data).__name__}, expected jc.Counts; try Debiased with jc.Tabular()")
        counts = data.counts.astype(float)
        return Estimate(self.inner.init(data), jnp.asarray(0), counts, counts.sum(-1, keepdims=True))

    def update(self, memory, batch, *, key):
        t = memory.t + 1
        signed, weight = self._of(batch, t)
        kept = jnp.where(weight > 0, share(self.decay), jnp.ones_like(weight))
        inner, data = self.inner.update(memory.inner, batch, key=key)
        return Estimate(inner, t, kept * memory.signed + signed, kept * memory.weight + weight), data

    def _of(self, batch, t):
        """α̂ (N − (1 − α̂) n p) and n α̂² of this batch's rows."""
        alpha, valid = (batch.alpha, True) if self.believed is None else mixture_weight(self.believed, t)
        alpha = jnp.where(valid, alpha, jnp.nan)
        counts: Array = batch.pooled.counts.astype(float)
        rows = counts.sum(-1, keepdims=True)
        rows = jnp.where(rows >= 0, rows, jnp.full_like(rows, jnp.nan))
        law = batch.source.probs / batch.source.probs.sum(-1, keepdims=True)
        return alpha * (counts - (1 - alpha) * rows * law), rows * jnp.square(alpha)

    def largest_pool(self, n_t):
        return self.inner.largest_pool(n_t)


def projected(signed: Float[Array, "*c v"]) -> Float[Array, "*c v"]:
    """The point of the simplex nearest to each row: max(q − θ, 0) with θ such that it adds up to 1.

    Held, Wolfe and Crowder, Mathematical Programming 6:62 (1974).
    """
    ranked = -jnp.sort(-signed, axis=-1)
    rank = jnp.arange(1, signed.shape[-1] + 1).astype(signed.dtype)
    excess = (jnp.cumsum(ranked, -1) - 1) / rank.reshape((1,) * (signed.ndim - 1) + (-1,))
    last = (ranked > excess).sum(-1, keepdims=True) - 1
    return jnp.maximum(signed - jnp.take_along_axis(excess, jnp.maximum(last, 0), -1), 0.0)
