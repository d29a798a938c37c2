"""Regimes that weigh or retain parts of the data.

    Weighted(inner, w)           w · (law of R_t) + (1 − w) · (law of S_t), then the inner regime: fresh data, weight w
    Retain(previous=β, original=γ)
                                 D_t = β n_t draws of D_{t−1} + γ n_t of D_0 + the other (1 − β − γ) n_t of the batch

With split "fixed", n_r real and n_s synthetic draws a generation, `Weighted(Replace(), w)` has the risk

    r_∞ = [w²/n_r + (1 − w)²/n_s] / [1 − (1 − w)² (1 − 1/n_s)],   least at w* → (√(k² + 4k) − k)/2,  k = n_r/n_s

the golden ratio's inverse 0.618 at k = 1: He, Xu and Cheng, arXiv 2502.18049; Garg, Bhattacharya and Sur, 2509.22341.
`Retain` at α = 0 is the mixture α p_θ + β p_i + γ p_0 of Shumailov et al., Nature 631:755 (2024), α = 1 − β − γ.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import ArrayLike, Num

from jaxcollapse._regime import AbstractRegime, check_fraction, check_inner, share, whole
from jaxcollapse._schedule import brief


class Weighted(AbstractRegime):
    """Real and synthetic draws are weighed as wholes, whatever their numbers, and shown to the inner regime.

    pooled = n (w R/n_r + (1 − w) S/n_s), n = n_r + n_s: a float pool of the batch's size. w = n_r/n pools as `inner`
    alone would. A batch that lacks one part is the other. With `split="fixed"` n_r = α n, known; n_r ≥ 1 is needed for
    w to be the weight at every generation. Errors: `ValueError` for w outside [0, 1].
    """

    inner: AbstractRegime
    weight: Num[ArrayLike, ""]

    def __check_init__(self):
        check_inner(self, "Weighted(Replace(), 0.6)")
        check_fraction("weight", self.weight, "Weighted(Replace(), 0.6)")

    def init(self, data):
        return self.inner.init(1.0 * data)

    def update(self, memory, batch, *, key):
        n_real, n_synthetic = (1.0 * batch.real).total, (1.0 * batch.synthetic).total  # whole ones may wrap
        weight = jnp.where(n_real > 0, jnp.where(n_synthetic > 0, share(self.weight), 1.0), 0.0)
        total = n_real + n_synthetic
        total = jnp.where(total >= 0, total, jnp.nan)  # a marked draw stays marked
        real = weight * total / jnp.where(n_real > 0, n_real, 1.0) * batch.real
        synthetic = (1 - weight) * total / jnp.where(n_synthetic > 0, n_synthetic, 1.0) * batch.synthetic
        weighed = dataclasses.replace(batch, pooled=real + synthetic, real=real, synthetic=synthetic)
        return self.inner.update(memory, weighed, key=key)

    def largest_pool(self, n_t):
        return jnp.zeros(())


class Retain(AbstractRegime):
    """Of n_t data, round(β n_t) are kept from the data before, round(γ n_t) from the first; the batch fills the rest.

    All three parts are drawn anew without replacement in every generation; where fewer are there, all of them are. Of
    the batch a random part is used, so that with α = 0 in the loop the rest are draws of the model; α > 0 adds fresh
    real data as a fourth source. β = `previous`, γ = `original`. Errors: `ValueError` unless β, γ ≥ 0, β + γ ≤ 1.
    """

    previous: Num[ArrayLike, ""] = 0.0
    original: Num[ArrayLike, ""] = 0.0

    def __check_init__(self):
        example = "Retain(previous=0.2, original=0.1)"
        check_fraction("previous", self.previous, example)
        check_fraction("original", self.original, example)
        both = (self.previous, self.original)
        if not any(isinstance(x, Tracer) for x in both) and float(np.sum(np.asarray(both, float))) > 1 + 1e-6:
            raise ValueError(f"original: got {brief(both)} with previous, expected at most 1 in all; try {example}")

    def init(self, data):
        return data, data

    def update(self, memory, batch, *, key):
        first, before = memory
        k_first, k_before, k_batch = jax.random.split(key, 3)
        n = whole(batch.pooled.total)
        previous, original = share(self.previous), share(self.original)
        lawful = previous + original <= 1 + 1e-6
        part = lambda x: jnp.where(lawful, jnp.rint(x * n.astype(float)), -1.0).astype(n.dtype)
        kept = jnp.minimum(part(previous), n)
        kept_first = jnp.minimum(part(original), n - kept)
        data = batch.pooled.resample(n - kept - kept_first, key=k_batch)
        data = data + before.resample(kept, key=k_before) + first.resample(kept_first, key=k_first)
        data = jax.tree.map(lambda x, like: x.astype(like.dtype), data, before)
        return (first, data), data

    def largest_pool(self, n_t):
        return jnp.zeros(())
