"""Curation of data, beside that of models: rules that the data pass before the learner sees them.

    Deduplicate(inner, k)    N_v → min(N_v, k)         no more than k copies of anything
    Drop(inner, mask)        N_v → 0 where mask_v      a class of tokens is filtered out

They act on what the inner regime would show: the pool is deduplicated as a whole in `Deduplicate(Accumulate(), k)`, and
memories stay uncurated. Generation 0 is fitted to D_0 itself. Real and synthetic draws are treated alike.
"""

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Num

from jaxcollapse._data import AbstractData, Counts
from jaxcollapse._regime import AbstractRegime, check_inner
from jaxcollapse._schedule import brief


class Deduplicate(AbstractRegime):
    """At most `copies` = k ≥ 1 copies of each category in what the inner regime shows.

    Frequent categories are levelled and the rare ones left, so the fixed point is not p*: k = 1 is uniform over what
    was drawn. Float pools are capped at k too. Errors: `ValueError` for k < 1, and for data that are no counts.
    """

    inner: AbstractRegime
    copies: Num[ArrayLike, ""]

    def __check_init__(self):
        check_inner(self, "Deduplicate(Replace(), 3)")
        k = self.copies
        if not isinstance(k, Tracer) and (np.ndim(k) or not np.asarray(k) >= 1):
            raise ValueError(f"copies: got {brief(k)}, expected one number of at least 1; try Deduplicate(inner, 3)")

    def init(self, data):
        return self.inner.init(_counted(data, "Deduplicate"))

    def update(self, memory, batch, *, key):
        memory, data = self.inner.update(memory, batch, key=key)
        counts, copies = _counted(data, "Deduplicate").counts, jnp.asarray(self.copies)
        capped = jnp.minimum(counts, copies.astype(counts.dtype))
        return memory, Counts(jnp.where(copies >= 1, capped, -jnp.ones_like(capped)))

    def largest_pool(self, n_t):
        return self.inner.largest_pool(n_t)


class Drop(AbstractRegime):
    """The categories where `mask` is true are removed from what the inner regime shows.

    mask   booleans `v`, or `c v` for one row per context; not all true

    A context of which nothing is left keeps its row. Errors: `ValueError` for a mask that is no mask, and where the
    loop starts for one of another shape than the table, or data that are no counts.
    """

    inner: AbstractRegime
    mask: Bool[ArrayLike, "..."]

    def __check_init__(self):
        check_inner(self, "Drop(Replace(), mask)")
        mask, example = self.mask, "Drop(inner, p_star.probs < 0.01)"
        if not isinstance(mask, np.ndarray | Array) or mask.dtype != bool or mask.ndim not in (1, 2):
            raise ValueError(f"mask: got {brief(mask)}, expected booleans `v` or `c v`; try {example}")
        if not isinstance(mask, Tracer) and np.asarray(mask).all():
            raise ValueError(f"mask: got {brief(mask)}, expected one that leaves something; try {example}")

    def init(self, data):
        data = _counted(data, "Drop")
        shape, table = np.shape(self.mask), data.counts.shape
        if shape != table[-len(shape) :]:
            raise ValueError(f"mask: got shape {shape}, expected {table} or {table[-1:]}, as the table's")
        return self.inner.init(data)

    def update(self, memory, batch, *, key):
        memory, data = self.inner.update(memory, batch, key=key)
        counts = jnp.asarray(_counted(data, "Drop").counts)
        dropped = jnp.broadcast_to(jnp.asarray(self.mask), counts.shape) & (counts >= 0)
        return memory, Counts(jnp.where(dropped, jnp.zeros_like(counts), counts))

    def largest_pool(self, n_t):
        return self.inner.largest_pool(n_t)


def _counted(data: AbstractData, name: str) -> Counts:
    if not isinstance(data, Counts):
        raise ValueError(f"data: got {type(data).__name__}, expected jc.Counts; try {name} with jc.Tabular()")
    return data
