"""Kernel densities in d dimensions: every generation is a smoothed bootstrap of the one before.

    Fit(D):  p(x) = Σ_i (w_i / Σ w) N(x; x_i, H)

    silverman   H = h² Σ̂,   h = (n_eff (d + 2)/4)^{−1/(d+4)}
    scott       H = h² Σ̂,   h = n_eff^{−1/(d+4)}
    a number    H = h² I

Σ̂ is the covariance of the atoms with n_eff/(n_eff − 1), n_eff = (Σ w)²/Σ w² (Kish), as in scipy.stats.gaussian_kde.
Without real data the kernels add up: with a given h the variance around a fixed point grows by exactly h² a generation,
without bound, though that of one lineage's density settles at n h² while its mean walks away; with a rule the variance
of each density grows geometrically (`theory.kernel_variance`).
"""

from typing import Any

import equinox as eqx
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

RULES = ("silverman", "scott")


class KernelDensity(AbstractNormals):
    """Σ_i w_i N(x_i, H): normal kernels of one covariance H on weighted points.

    points `m d`, weights `m` ≥ 0 (normalised), cov `d d`, semidefinite; H = 0 is the empirical law of the points.
    Errors: `ValueError` for wrong shapes, weights without a sum, numbers that are not finite.
    """

    points: Float[Array, "m d"]
    weights: Float[Array, " m"]
    cov: Float[Array, "d d"]

    def __init__(self, points: Num[ArrayLike, "..."], weights: Num[ArrayLike, "..."], cov: Num[ArrayLike, "..."]):
        shapes = jnp.shape(points), jnp.shape(weights), jnp.shape(cov)
        if len(shapes[0]) != 2 or 0 in shapes[0] or shapes[1:] != (shapes[0][:1], 2 * shapes[0][1:]):
            got = ", ".join(map(str, shapes))
            raise ValueError(f"points: got shapes {got}, expected (m, d), (m,) and (d, d) for points, weights and cov")
        for name, value in (("points", points), ("weights", weights), ("cov", cov)):
            if not isinstance(value, Tracer) and not np.isfinite(value).all():
                raise ValueError(f"{name}: got {brief(value)}, expected finite numbers")
        if not isinstance(weights, Tracer) and not (np.min(weights) >= 0 and np.sum(weights) > 0):
            raise ValueError(f"weights: got {brief(weights)}, expected numbers of at least 0, not all 0; try jnp.ones")
        weights = jnp.asarray(weights, float)
        self.points, self.cov = jnp.asarray(points, float), jnp.asarray(cov, float)
        self.weights = jnp.where(jnp.all(weights >= 0), weights / weights.sum(), jnp.nan)

    @property
    def normals(self) -> _normals.Normals:
        return _normals.Normals(self.weights, self.points, self.cov[None])

    def summary(self, target: AbstractNormals) -> dict[str, Array]:
        """mean_error ‖μ − μ*‖²/tr Σ*, variance tr Σ/tr Σ* (kernels included), density_error (blurred, m² terms),
        bandwidth √(tr H / d)."""
        found = _normals.summary(self.normals, target.normals)
        return found | {"bandwidth": jnp.sqrt(jnp.trace(self.cov) / self.cov.shape[0])}


class Kernel(AbstractLearner):
    """Learns a kernel density.

    bandwidth   "silverman" (default) or "scott", or a number h ≥ 0 in the units of the points, which may be swept
    capacity    slots m of a sample and of the density; n ≤ m draws are exact, more are represented by m atoms

    h = 0 is the plain bootstrap. The smallest n is 1: a rule then has no variance to go by and H = 0, a point for ever.
    """

    rule: str | None = eqx.field(static=True)
    width: Num[ArrayLike, ""] | None
    capacity: int = eqx.field(static=True)

    def __init__(self, bandwidth: str | Num[ArrayLike, ""] = "silverman", capacity: int = 256):
        named = isinstance(bandwidth, str)
        expected = f"one of {', '.join(RULES)}, or one finite number of at least 0; try 'silverman'"
        if named and bandwidth not in RULES:
            raise ValueError(f"bandwidth: got {bandwidth!r}, expected {expected}")
        known = not named and not isinstance(bandwidth, Tracer)
        if known and (np.ndim(bandwidth) or not 0 <= np.asarray(bandwidth) < np.inf):
            raise ValueError(f"bandwidth: got {brief(bandwidth)}, expected {expected}")
        _atoms.check_capacity(capacity)
        self.rule, self.width = (bandwidth, None) if named else (None, bandwidth)
        self.capacity = capacity

    def init(self, target: Any, *, key: PRNGKeyArray) -> KernelDensity:
        """One real draw, without a kernel."""
        _normals.check_target(target)
        points = jnp.broadcast_to(target.draw(1, key=key), (self.capacity, target.normals.centres.shape[1]))
        d = points.shape[1]
        return KernelDensity(points, jnp.full(self.capacity, 1 / self.capacity), jnp.zeros((d, d)))

    def observe(self, model: AbstractPointModel, n: Int[Array, ""], *, key: PRNGKeyArray) -> Atoms:
        return _atoms.observe(model, n, self.capacity, key=key)

    def pool(self, target, source, alpha, n, split, *, key):
        return _atoms.pool(target, source, alpha, n, split, self.capacity, key=key)

    def fit(self, data: Atoms, model: KernelDensity, *, key: PRNGKeyArray) -> KernelDensity:
        """Kernels on the atoms; the previous density without data, NaN where data are marked."""
        total = data.total
        shares = data.weights / jnp.where(total > EMPTY, total, 1.0)
        marked = jnp.isnan(total)
        keep = lambda new, old: jnp.where(marked, jnp.nan, jnp.where(total > EMPTY, new, old))
        values = keep(data.points, model.points), keep(shares, model.weights), keep(self._cov(data, shares), model.cov)
        return eqx.tree_at(lambda m: (m.points, m.weights, m.cov), model, values)

    def _cov(self, data: Atoms, shares: Float[Array, " m"]) -> Float[Array, "d d"]:
        d = data.points.shape[1]
        if self.rule is None:
            h = jnp.asarray(self.width, float)
            return jnp.where(h >= 0, h, jnp.nan) ** 2 * jnp.eye(d)
        squares = jnp.sum(shares**2)
        n = 1 / jnp.where(squares > 0, squares, 1.0)
        _, cov = _normals.mean_and_cov(shares, data.points)
        several = n > 1 + 1e-4
        unbiased = jnp.where(several, n / jnp.where(several, n - 1, 1.0), 0.0) * cov
        base = n * (d + 2) / 4 if self.rule == "silverman" else n
        return base ** (-2 / (d + 4)) * unbiased
