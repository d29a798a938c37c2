"""Gaussian mixtures in d dimensions, fitted by a fixed number of EM iterations to weighted atoms.

    E   r_ik ∝ π_k N(x_i; μ_k, Σ_k + ε I)
    M   N_k = Σ_i w_i r_ik,   π_k = N_k / Σ w,   μ_k = Σ w r x / N_k,   Σ_k = Σ w r (x − μ_k)(x − μ_k)ᵀ / N_k

EM starts from the model of the previous generation, so `steps` below convergence is an early stop, the approximation
error of Shumailov et al. (Nature 631:755, 2024); too few components are their expressivity error; finite n is the
statistical one. Σ_k is maximum likelihood: with one component, E Σ_t = (1 − r_t) Σ* and E(μ_t − μ*)² = r_t Σ* with the
r_t of `theory.risk`, whatever the law p*.

What degenerates is an outcome, finite and absorbing. A component that no atom is left for has weight 0 for ever and
keeps its place. One that holds a single point has Σ_k = 0 and draws that point again; ε, which enters the
responsibilities alone, keeps its density finite.
"""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Int, Num, PRNGKeyArray

from jaxcollapse import _atoms
from jaxcollapse._atoms import AbstractPointModel, Atoms
from jaxcollapse._data import EMPTY
from jaxcollapse._learner import AbstractLearner
from jaxcollapse._schedule import brief
from jaxcollapse.families import _normals
from jaxcollapse.families._normals import AbstractNormals

MATCHED = 6  # components up to which all k! matchings are tried
SINGULAR = 1e-6  # a component's least variance, relative to the target's, below which it counts as degenerate


class GaussianMixture(AbstractNormals):
    """Σ_k π_k N(μ_k, Σ_k), as truth p* or as model.

    weights   π, `k`, adds up to 1 (10⁻³) and is normalised; 0 is a component that is lost
    means     μ, `k d`;     covs   Σ, `k d d`, symmetric and semidefinite; 0 is a point

    One component is a normal law. Errors: `ValueError` for wrong shapes, numbers that are not finite, weights that are
    no law, covariances that are not symmetric or not semidefinite. Traced weights that are no law give NaN.
    """

    weights: Float[Array, " k"]
    means: Float[Array, "k d"]
    covs: Float[Array, "k d d"]

    def __init__(self, weights: Num[ArrayLike, "..."], means: Num[ArrayLike, "..."], covs: Num[ArrayLike, "..."]):
        _check_shapes(jnp.shape(weights), jnp.shape(means), jnp.shape(covs))
        for name, value in (("weights", weights), ("means", means), ("covs", covs)):
            if not isinstance(value, Tracer) and not np.isfinite(value).all():
                raise ValueError(f"{name}: got {brief(value)}, expected finite numbers")
        if not isinstance(weights, Tracer) and (np.min(weights) < 0 or abs(np.sum(weights) - 1) > 1e-3):
            raise ValueError(f"weights: got {brief(weights)}, expected a law that adds up to 1; try weights / sum")
        if not isinstance(covs, Tracer):
            _check_covs(np.asarray(covs, float))
        weights = jnp.asarray(weights, float)
        law = jnp.all(weights >= 0) & (abs(weights.sum() - 1) <= 1e-3)
        self.weights = jnp.where(law, weights / weights.sum(), jnp.nan)
        self.means, self.covs = jnp.asarray(means, float), jnp.asarray(covs, float)

    @property
    def normals(self) -> _normals.Normals:
        return _normals.Normals(self.weights, self.means, self.covs)

    def summary(self, target: AbstractNormals) -> dict[str, Array]:
        """mean_error ‖μ − μ*‖²/tr Σ*, variance tr Σ/tr Σ*, density_error (blurred), components alive and degenerate.

        For a target with as many components, up to 6, also component_error Σ_k π*_k ‖μ_k − μ*_k‖²/tr Σ*, matched.
        """
        found = _normals.summary(self.normals, target.normals)
        _, cov = _normals.moments(target.normals)
        least = jnp.min(jnp.diagonal(_normals.root(self.covs), axis1=-2, axis2=-1), -1) ** 2
        alive = self.weights > 0
        found["alive"] = jnp.sum(alive)
        found["degenerate"] = jnp.sum(alive & (least <= SINGULAR * jnp.trace(cov) / cov.shape[0]))
        matchable = isinstance(target, GaussianMixture) and self.means.shape == target.means.shape
        if matchable and len(self.means) <= MATCHED:
            found["component_error"] = _matchings(self, target).min() / jnp.trace(cov)
        return found


def match(model: GaussianMixture, target: GaussianMixture) -> Int[Array, " k"]:
    """Which component of the model stands for each one of the target: argmin_σ Σ_k π*_k ‖μ_σ(k) − μ*_k‖².

    All k! matchings are tried, k ≤ 6; more components, or another number than the target's, are a `ValueError`.
    """
    k = len(target.means)
    if model.means.shape != target.means.shape or k > MATCHED:
        shapes = f"means of shapes {model.means.shape} and {target.means.shape}"
        raise ValueError(f"model: got {shapes}, expected equal shapes of at most {MATCHED} components")
    return _permutations(k)[jnp.argmin(_matchings(model, target))]


def _matchings(model, target) -> Float[Array, " permutations"]:
    k = len(target.means)
    cost = target.weights[None] * jnp.sum((model.means[:, None] - target.means[None]) ** 2, -1)  # [model's, target's]
    return cost[_permutations(k), jnp.arange(k)[None]].sum(-1)


def _permutations(k: int) -> Int[Array, "permutations k"]:
    return jnp.asarray(list(itertools.permutations(range(k))), int)


class Mixture(AbstractLearner):
    """Learns a Gaussian mixture by EM.

    components   k of the model, static
    steps        EM iterations in every generation, at least 1; may be swept
    capacity     slots m of a sample; n ≤ m draws are exact, more are represented by m atoms
    floor        ε in units of the data's mean variance per dimension, above 0; may be swept

    The first fit starts at the truth where the target is a mixture of k components, so that local optima are no part of
    the error; else at k draws of the target with its covariance. `Restart` starts elsewhere, anew in each generation.
    The smallest n is 1: a point, which stays where it is.
    """

    components: int = eqx.field(default=1, static=True)
    steps: Num[ArrayLike, ""] = 20
    capacity: int = eqx.field(default=256, static=True)
    floor: Num[ArrayLike, ""] = 1e-6

    def __check_init__(self):
        if isinstance(self.components, bool) or not isinstance(self.components, int) or self.components < 1:
            raise ValueError(f"components: got {brief(self.components)}, expected a whole number of at least 1; try 2")
        _atoms.check_capacity(self.capacity)
        if not isinstance(self.steps, Tracer):
            steps = np.asarray(self.steps, float)
            if steps.ndim or not 1 <= steps < np.inf or steps % 1:
                raise ValueError(f"steps: got {brief(self.steps)}, expected a whole number of at least 1; try 20")
        if not isinstance(self.floor, Tracer) and (np.ndim(self.floor) or not 0 < np.asarray(self.floor) < np.inf):
            raise ValueError(f"floor: got {brief(self.floor)}, expected a finite number above 0; try 1e-6")

    def init(self, target: Any, *, key: PRNGKeyArray) -> GaussianMixture:
        """The truth if it has k components, else k equal components at k draws with the target's covariance."""
        _normals.check_target(target)
        k = self.components
        if isinstance(target, GaussianMixture) and len(target.weights) == k:
            return target
        covs = jnp.broadcast_to(_normals.moments(target.normals)[1], (k, *2 * target.normals.centres.shape[1:]))
        return GaussianMixture(jnp.full(k, 1 / k), target.draw(k, key=key), covs)

    def observe(self, model: AbstractPointModel, n: Int[Array, ""], *, key: PRNGKeyArray) -> Atoms:
        return _atoms.observe(model, n, self.capacity, key=key)

    def pool(self, target, source, alpha, n, split, *, key):
        return _atoms.pool(target, source, alpha, n, split, self.capacity, key=key)

    def fit(self, data: Atoms, model: GaussianMixture, *, key: PRNGKeyArray) -> GaussianMixture:
        """`steps` iterations from the previous model; that model itself without data, NaN where data are marked."""
        total, steps = data.total, jnp.asarray(self.steps)
        shares = data.weights / jnp.where(total > EMPTY, total, 1.0)
        variance = jnp.trace(_normals.mean_and_cov(shares, data.points)[1]) / data.points.shape[1]
        floor = jnp.asarray(self.floor, float) * jnp.where(variance > 0, variance, 1.0)
        step = lambda _, state: _step(data.points, shares, state, floor)
        last = steps.astype(int) if jnp.issubdtype(steps.dtype, jnp.floating) else steps
        fitted = jax.lax.fori_loop(0, last, step, tuple(model.normals))
        marked = jnp.isnan(total) | ~(steps >= 1) | ~(floor > 0) | (last.astype(steps.dtype) != steps)
        keep = lambda new, old: jnp.where(marked, jnp.nan, jnp.where(total > EMPTY, new, old))
        values = tuple(keep(new, old) for new, old in zip(fitted, model.normals, strict=True))
        return eqx.tree_at(lambda m: (m.weights, m.means, m.covs), model, values)


def _step(
    points: Float[Array, "m d"],
    shares: Float[Array, " m"],
    state: tuple[Float[Array, " k"], Float[Array, "k d"], Float[Array, "k d d"]],
    floor: Float[Array, ""],
) -> tuple[Float[Array, " k"], Float[Array, "k d"], Float[Array, "k d d"]]:
    """One EM iteration; components lighter than `EMPTY` are lost and keep their place."""
    weights, means, covs = state
    eye = jnp.eye(points.shape[1], dtype=points.dtype)
    log_weights = jnp.where(weights > 0, jnp.log(jnp.where(weights > 0, weights, 1.0)), -jnp.inf)[None]
    densities = _normals.log_normal(points[:, None] - means[None], covs + floor * eye[None])
    held = shares[:, None] * jax.nn.softmax(log_weights + densities, axis=-1)
    sums = held.sum(0)
    alive = sums > EMPTY
    part = held / jnp.where(alive, sums, 1.0)[None]
    # As steps from the old mean: a component whose atoms all lie on it stays there to the last bit.
    moved = means + jnp.einsum("mk,mkd->kd", part, points[:, None] - means[None], precision="highest")
    off = points[:, None] - moved[None]
    spread = jnp.einsum("mk,mki,mkj->kij", part, off, off, precision="highest")
    kept = jnp.where(alive, sums, 0.0)
    return (
        kept / kept.sum(),
        jnp.where(alive[:, None], moved, means),
        jnp.where(alive[:, None, None], spread, covs),
    )


class Restart(AbstractLearner):
    """The inner learner, whose every fit starts from the same given model instead of the previous generation's.

    With few steps that is an early stop which does not fade over the generations. A generation without data still keeps
    the previous model. `start` has the shape of the inner learner's models.
    """

    inner: AbstractLearner
    start: AbstractPointModel

    def __check_init__(self):
        if not isinstance(self.inner, AbstractLearner):
            raise ValueError(f"inner: got {brief(self.inner)}, expected a jc.AbstractLearner; try Mixture(2)")

    def init(self, target, *, key):
        blank, start = self.inner.init(target, key=key), self.start
        shapes = [[x.shape for x in jax.tree.leaves(model)] for model in (blank, start)]
        if type(blank) is not type(start) or shapes[0] != shapes[1]:
            expected = f"a {type(blank).__name__} of the inner learner's shapes"
            raise ValueError(f"start: got {brief(start)}, expected {expected}; try inner.init(target, key=key)")
        return blank

    def observe(self, model, n, *, key):
        return self.inner.observe(model, n, key=key)

    def pool(self, target, source, alpha, n, split, *, key):
        return self.inner.pool(target, source, alpha, n, split, key=key)

    def fit(self, data, model, *, key):
        fitted = self.inner.fit(data, self.start, key=key)
        return jax.tree.map(lambda new, old: jnp.where(data.total <= EMPTY, old, new), fitted, model)


def _check_shapes(weights, means, covs):
    if len(means) != 2 or 0 in means or weights != means[:1] or covs != (*means, means[1]):
        got = f"shapes {weights}, {means} and {covs}"
        raise ValueError(f"covs: got {got}, expected (k,), (k, d) and (k, d, d) for weights, means and covs")


def _check_covs(covs):
    scale = abs(covs).max() or 1.0
    if abs(covs - covs.swapaxes(-1, -2)).max() > 1e-5 * scale:
        raise ValueError(f"covs: got {brief(covs)}, expected symmetric matrices; try (cov + cov.T) / 2")
    if (lowest := np.linalg.eigvalsh(covs).min()) < -1e-5 * scale:
        raise ValueError(f"covs: got an eigenvalue {lowest:.3g}, expected at least 0; try cov @ cov.T")
