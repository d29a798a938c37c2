"""Atoms: a sample as weighted points in a fixed number of slots, for learners that need the points themselves.

    D = Σ_i w_i δ(x_i),  i = 1..m          weight 0: an empty slot;     n draws fill min(n, m) slots, each n / min(n, m)

Sums stay in the cone, with the same shape and without a key, since each atom brings its own random number u_i, drawn
once at its birth (priority sampling: Duffield, Lund and Thorup, J. ACM 54(6), 2007):

    q_i = w_i / u_i                        priorities; a·D scales w, q and τ alike
    D + D' keeps the m largest q_i,        τ = the (m+1)-th largest, 0 while everything fits
    an atom that is kept weighs max(w_i, τ)

E max(w_i, τ) 1{q_i > τ} = w_i for every atom, so a pool beyond its capacity has no bias in any linear functional; the
sketches of parts add up to the sketch of the whole, in any order. For equal weights it is a simple random sample.
"""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Num, PRNGKeyArray, Real

from jaxcollapse._data import AbstractData
from jaxcollapse._learner import real_draws
from jaxcollapse._model import AbstractModel
from jaxcollapse._schedule import brief


class AbstractPointModel(AbstractModel):
    """A distribution of points in d dimensions that can be drawn from one by one."""

    @abc.abstractmethod
    def draw(self, number: int, *, key: PRNGKeyArray) -> Float[Array, "m d"]:
        """That many independent points."""


class Atoms(AbstractData):
    """A sample as weighted points in m slots.

    Atoms(points, weights, key=key):   points `m d`, weights `m` ≥ 0 (default: one each); m is the capacity

    `weights` are what a learner sees. While all draws fit they are exact; a sum beyond the capacity (the larger one of
    its parts) is an unbiased sample of it, see above: the mean over lineages of Σ w f(x) is that of the whole pool, its
    variance is that of about m atoms, an atom once dropped never returns, and `total` is right on average.
    Errors: `ValueError` for wrong shapes, no slot, weights that are negative or not finite. Traced ones that are
    negative, and draws with n < 0, mark the sample: all weights are NaN, in every sum with it too.
    """

    points: Float[Array, "m d"]
    drawn: Float[Array, " m"]  # the weight an atom came with, scaled since; 0: an empty slot
    priority: Float[Array, " m"]
    threshold: Float[Array, ""]

    def __init__(
        self, points: Num[ArrayLike, "..."], weights: Num[ArrayLike, "..."] | None = None, *, key: PRNGKeyArray
    ):
        points = jnp.asarray(points, float)
        if points.ndim != 2 or points.size == 0:
            got = f"shape {points.shape}"
            raise ValueError(f"points: got {got}, expected m points in d dimensions; try points[:, None]")
        weights = jnp.ones(points.shape[0]) if weights is None else weights
        if jnp.shape(weights) != points.shape[:1]:
            raise ValueError(f"weights: got shape {jnp.shape(weights)} for {points.shape[0]} points, expected one each")
        if not isinstance(weights, Tracer) and not (np.isfinite(weights) & (np.asarray(weights) >= 0)).all():
            raise ValueError(f"weights: got {brief(weights)}, expected finite numbers of at least 0; try jnp.abs")
        weights = jnp.asarray(weights, float)
        self.points, self.threshold = points, jnp.zeros(())
        self.drawn = jnp.where(jnp.any(~(weights >= 0)), jnp.nan, weights)
        self.priority = self.drawn / (1 - jr.uniform(key, weights.shape, weights.dtype))

    @property
    def weights(self) -> Float[Array, "*L m"]:
        return jnp.where(self.drawn > 0, jnp.maximum(self.drawn, self.threshold[..., None]), self.drawn)

    @property
    def total(self) -> Float[Array, "*L"]:
        return self.weights.sum(-1)

    def __add__(self, other: "Atoms") -> "Atoms":
        if self.points.shape[1] != other.points.shape[1]:
            d, e = self.points.shape[1], other.points.shape[1]
            raise ValueError(f"points: got {d} and {e} dimensions, expected the same in both samples")
        slots = max(self.drawn.size, other.drawn.size)
        both = lambda a, b: jnp.concatenate([a, b])
        points, drawn = both(self.points, other.points), both(self.drawn, other.drawn)
        priority, thresholds = both(self.priority, other.priority), jnp.stack([self.threshold, other.threshold])
        # A part's own threshold is its largest loss: nothing below it can be told from what was dropped there.
        threshold = jnp.maximum(jnp.sort(both(priority, thresholds), descending=True)[slots], thresholds.max())
        kept = priority > threshold
        first = jnp.argsort(~kept, stable=True)[:slots]
        marked = jnp.any(jnp.isnan(drawn))
        zero = jnp.where(marked, jnp.nan, 0.0)
        drawn, priority = (jnp.where(marked | ~kept, zero, x)[first] for x in (drawn, priority))
        return self._with(points[first], drawn, priority, threshold)

    def __rmul__(self, a: Real[Array, ""] | float) -> "Atoms":
        a = jnp.asarray(a, float)
        a = jnp.where(a >= 0, a, jnp.nan)
        return self._with(self.points, a * self.drawn, a * self.priority, a * self.threshold)

    def part(self, mask: Bool[Array, " m"]) -> "Atoms":
        """The atoms in the mask, with their own random numbers: the parts of a sample add up to it."""
        return self._weighed(mask.astype(float))

    def resample(self, n: Real[Array, ""], *, key: PRNGKeyArray) -> "Atoms":
        """min(n, total) draws: systematic sampling in random order, each draw of weight 1.

        Atom i is drawn ⌊n w_i/total⌋ or one more times, n w_i/total on average: unbiased, and without replacement where
        no atom weighs more than one draw, a simple random sample for equal weights. n < 0 or NaN marks the sample.
        """
        k_order, k_start, k_marks = jr.split(key, 3)
        n, weights = jnp.asarray(n, float), self.weights
        order = jr.permutation(k_order, weights.size)
        along = jnp.cumsum(weights[order])
        counts = jnp.diff(jnp.floor(n * along / along[-1] + jr.uniform(k_start)), prepend=0.0)
        counts = jnp.zeros_like(weights).at[order].set(counts)
        counts = jnp.where(n < along[-1], jnp.maximum(counts, 0.0), weights)
        marked = jnp.isnan(along[-1]) | ~(n >= 0)
        return Atoms(self.points, key=k_marks)._weighed(jnp.where(marked, jnp.nan, counts))

    def _weighed(self, factors: Float[Array, " m"]) -> "Atoms":
        return self._with(self.points, factors * self.drawn, factors * self.priority, self.threshold)

    def _with(self, points, drawn, priority, threshold) -> "Atoms":
        where = lambda a: (a.points, a.drawn, a.priority, a.threshold)
        return eqx.tree_at(where, self, (points, drawn, priority, threshold))


def observe(model: AbstractPointModel, n: Int[Array, ""], capacity: int, *, key: PRNGKeyArray) -> Atoms:
    """n draws from a model: exactly n atoms up to the capacity m; beyond it m atoms that weigh n/m each.

    Their law is then that of m draws, which is what a learner with m slots sees of more data.
    """
    k_points, k_marks = jr.split(key)
    return Atoms(model.draw(capacity, key=k_points), key=k_marks)._weighed(_slots(n, capacity))


def pool(
    target: Any,
    source: Any,
    alpha: Float[Array, ""],
    n: Int[Array, ""],
    split: str,
    capacity: int,
    *,
    key: PRNGKeyArray,
) -> tuple[Atoms, Atoms, Atoms]:
    """n draws from α·target + (1 − α)·source: (pooled, real, synthetic). Beyond the capacity its m atoms are split."""
    k_split, k_real, k_synthetic, k_marks = jr.split(key, 4)
    if split == "random":  # atom by atom: the same law as a binomial number of them, and cheap
        is_real = jr.uniform(k_split, (capacity,), float) < alpha
    else:
        is_real = jnp.arange(capacity) < real_draws(split, alpha, jnp.minimum(n, capacity), key=k_split)
    points = jnp.where(is_real[:, None], target.draw(capacity, key=k_real), source.draw(capacity, key=k_synthetic))
    pooled = Atoms(points, key=k_marks)._weighed(_slots(n, capacity))
    return pooled, pooled.part(is_real), pooled.part(~is_real)


def check_capacity(capacity: int, least: int = 1) -> None:
    """Raises `ValueError` for what is no number of slots."""
    if isinstance(capacity, bool) or not isinstance(capacity, int | np.integer) or capacity < least:
        raise ValueError(f"capacity: got {brief(capacity)}, expected a whole number of at least {least}; try 256")


def _slots(n: Int[Array, ""], capacity: int) -> Float[Array, " m"]:
    """The weights of n draws in the slots, NaN for n < 0."""
    used = jnp.clip(n, 1, capacity)
    each = jnp.where(n >= 0, n.astype(float) / used.astype(float), jnp.nan)
    return jnp.where((jnp.arange(capacity) < used) | (n < 0), each, 0.0)
