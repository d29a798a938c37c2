"""Weighted sums of normals, Σ_a w_a N(μ_a, Σ_a): what mixtures and kernel densities have in common.

    ∫ p q = Σ_ab w_a w_b N(μ_a − μ_b; 0, Σ_a + Σ_b)
    blurred squared error  ∫ (p∗K − q∗K)² / ∫ (q∗K)²,   K = N(0, b² I)

The blur keeps the error finite where a component is a single point. Covariances may be singular throughout.
"""

import abc
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxcollapse._atoms import AbstractPointModel
from jaxcollapse._schedule import brief

BLUR = 0.25  # b in units of the target's standard deviation per dimension


class Normals(NamedTuple):
    """Weights `a`, centres `a d` and covariances `a d d`, or `1 d d` where all share one."""

    weights: Float[Array, " a"]
    centres: Float[Array, "a d"]
    covs: Float[Array, "s d d"]


class AbstractNormals(AbstractPointModel):
    """A model that is a weighted sum of normals."""

    @property
    @abc.abstractmethod
    def normals(self) -> Normals:
        """The sum."""

    def log_prob(self, x: Float[Array, "*m d"]) -> Float[Array, "*m"]:
        """Log density in nats; singular components have none and are left out, −∞ if nothing remains."""
        weights, centres, covs = self.normals
        each = log_normal(x[..., None, :] - _broadcast(centres, x.ndim + 1), covs)
        return jax.scipy.special.logsumexp(each, axis=-1, b=_broadcast(weights, each.ndim))

    def draw(self, number: int, *, key: PRNGKeyArray) -> Float[Array, "m d"]:
        """That many independent points."""
        return draw(self.normals, number, key)


def check_target(target: object) -> None:
    """Raises `ValueError` for a target that is no weighted sum of normals."""
    if not isinstance(target, AbstractNormals):
        example = "jc.GaussianMixture([1.0], mean[None], cov[None]), a normal law"
        raise ValueError(f"target: got {brief(target)}, expected a GaussianMixture or KernelDensity; try {example}")


def draw(p: Normals, number: int, key: PRNGKeyArray) -> Float[Array, "m d"]:
    """Independent points; those of a component without variance lie at its centre exactly."""
    k_which, k_noise = jr.split(key)
    which = choose(k_which, p.weights, number)
    roots = root(p.covs)
    noise = jr.normal(k_noise, (number, p.centres.shape[1]), p.centres.dtype)
    each = roots[which] if p.covs.shape[0] > 1 else roots
    lawful = jnp.where(jnp.isnan(p.weights.sum()), jnp.nan, 0.0)
    return p.centres[which] + jnp.sum(each * noise[:, None, :], -1) + lawful


def choose(key: PRNGKeyArray, weights: Float[Array, " k"], number: int) -> Int[Array, " m"]:
    """That many independent indices with probabilities proportional to the weights; never one of weight 0."""
    along = jnp.cumsum(weights)
    found = jnp.searchsorted(along, along[-1] * jr.uniform(key, (number,), along.dtype), side="right")
    # Rounding in the running sum may stop at an empty slot: step back to the last one that holds something.
    held = jax.lax.cummax(jnp.where(weights > 0, jnp.arange(weights.size), jnp.argmax(weights > 0)))
    return held[jnp.minimum(found, weights.size - 1)]


def root(covs: Float[Array, "*k d d"]) -> Float[Array, "*k d d"]:
    """Lower triangular L with L Lᵀ = Σ for a semidefinite Σ: a direction without variance has a column of zeros."""
    d = covs.shape[-1]
    least = d * jnp.finfo(covs.dtype).eps * jnp.diagonal(covs, axis1=-2, axis2=-1)
    below = jnp.tri(d, dtype=covs.dtype)

    def column(j: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        rest, found = carry
        pivot: Array = rest[..., j, j]
        alive: Array = ~(pivot <= least[..., j])  # NaN stays
        scale = jnp.where(alive, 1 / jnp.sqrt(jnp.where(alive, pivot, 1.0)), 0.0)
        next_ = jnp.broadcast_to(below[:, j], rest.shape[:-1]) * rest[..., :, j] * scale[..., None]
        return rest - next_[..., :, None] * next_[..., None, :], found.at[..., :, j].set(next_)

    return jax.lax.fori_loop(0, d, column, (covs, jnp.zeros_like(covs)))[1]


def log_normal(difference: Float[Array, "*m d"], cov: Float[Array, "*k d d"]) -> Float[Array, "*m"]:
    """log N(difference; 0, Σ), the leading axes of both broadcast; −∞ where Σ is singular: no density there."""
    d = cov.shape[-1]
    lower = root(cov)
    diagonal: Array = jnp.diagonal(lower, axis1=-2, axis2=-1)
    regular: Array = jnp.all(diagonal != 0, axis=-1)
    lower = jnp.where(regular[..., None, None], lower, jnp.broadcast_to(jnp.eye(d, dtype=cov.dtype), cov.shape))
    white = jnp.sum(_broadcast(_inverse(lower), difference.ndim + 1) * difference[..., None, :], -1)
    log_det = jnp.sum(jnp.log(jnp.where(regular[..., None], diagonal, 1.0)), -1)
    value = -0.5 * jnp.sum(white**2, -1) - _broadcast(log_det, white.ndim - 1) - 0.5 * d * jnp.log(2 * jnp.pi)
    return jnp.where(_broadcast(regular, value.ndim), value, -jnp.inf)


def _broadcast(x: Float[Array, "..."] | Bool[Array, "..."], ndim: int) -> Float[Array, "..."] | Bool[Array, "..."]:
    return jnp.expand_dims(x, tuple(range(ndim - x.ndim)))


def _inverse(lower: Float[Array, "*k d d"]) -> Float[Array, "*k d d"]:
    if lower.shape[-1] == 1:
        return 1 / lower
    eye = jnp.broadcast_to(jnp.eye(lower.shape[-1], dtype=lower.dtype), lower.shape)
    return jax.lax.linalg.triangular_solve(lower, eye, left_side=True, lower=True)


def mean_and_cov(
    weights: Float[Array, " m"], points: Float[Array, "m d"]
) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
    """Of weighted points, the weights adding up to 1; equal points have covariance 0 exactly."""
    start = points[jnp.argmax(weights)]
    mean = start + jnp.sum(weights[:, None] * (points - start[None]), 0)
    off = points - mean[None]
    return mean, jnp.einsum("m,mi,mj->ij", weights, off, off, precision="highest")


def moments(p: Normals) -> tuple[Float[Array, " d"], Float[Array, "d d"]]:
    """The mean and covariance of the whole sum."""
    mean, between = mean_and_cov(p.weights, p.centres)
    within = p.covs[0] if p.covs.shape[0] == 1 else jnp.einsum("a,aij->ij", p.weights, p.covs, precision="highest")
    return mean, between + within


def overlap(p: Normals, q: Normals) -> Float[Array, ""]:
    """∫ p q."""
    difference = p.centres[:, None] - q.centres[None]
    each = jnp.exp(log_normal(difference, p.covs[:, None] + q.covs[None]))
    return jnp.sum(p.weights[:, None] * q.weights[None] * each)


def blurred_error(p: Normals, q: Normals, blur: float = BLUR) -> Float[Array, ""]:
    """∫ (p∗K − q∗K)² / ∫ (q∗K)²: 0 for p = q, about 1 for a p that has spread out, more for one that is a point.

    K is a normal of `blur` times q's standard deviation (the root of its mean variance per dimension; 1 if that is 0).
    """
    d = q.centres.shape[1]
    variance = jnp.trace(moments(q)[1]) / d
    extra = blur**2 * jnp.where(variance > 0, variance, 1.0) * jnp.eye(d, dtype=q.centres.dtype)
    p, q = (x._replace(covs=x.covs + extra[None]) for x in (p, q))
    qq = overlap(q, q)
    return jnp.maximum(overlap(p, p) - 2 * overlap(p, q) + qq, 0.0) / qq


def summary(p: Normals, q: Normals) -> dict[str, Array]:
    """mean_error ‖μ − μ*‖² / tr Σ*, variance tr Σ / tr Σ*, density_error (`blurred_error`)."""
    (mean, cov), (true_mean, true_cov) = moments(p), moments(q)
    scale = jnp.trace(true_cov)
    scale = jnp.where(scale > 0, scale, 1.0)
    return {
        "mean_error": jnp.sum((mean - true_mean) ** 2) / scale,
        "variance": jnp.trace(cov) / scale,
        "density_error": blurred_error(p, q),
    }
