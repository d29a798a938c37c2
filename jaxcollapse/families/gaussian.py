"""The Gaussian family in one and in d dimensions: N(μ, Σ), Σ = L Lᵀ, refitted to its own moments.

    Fit(w, m, S) :  μ = m,   Σ = S / w            maximum likelihood
                             Σ = S / (w − 1)      unbiased

Only the moments of the n draws are drawn: m = μ + L z/√n and S ~ Wishart(Σ, n − 1), so a generation costs the same for
every n. The model keeps L, and no sum of squares and no covariance is formed on the way from one generation to the
next: in float32 a lineage is followed to ln σ = −80, and in d dimensions to a ratio of 10⁻⁷ between its axes.

Per direction, relative to the target's variance, maximum likelihood has E (μ − μ*)² = r_t and E σ² = 1 − r_t with the
r_t of `theory.risk`: the tabular phase diagram carries over. Source: Shumailov et al., Nature 631:755; Suresh et al.,
arXiv 2412.17646; `theory.gaussian`.
"""

import math
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, ArrayLike, Float, Int, Num, PRNGKeyArray

from jaxcollapse._atoms import AbstractPointModel
from jaxcollapse._data import EMPTY
from jaxcollapse._learner import AbstractEstimator, two_draws
from jaxcollapse._moments import Moments, draw
from jaxcollapse._schedule import brief
from jaxcollapse.sampling._gamma import normal


class Normal(AbstractPointModel):
    """The normal law N(mean, cov).

    mean   `d`; a number stands for one dimension, and is kept as an array of one
    cov    `d d`, symmetric and positive definite; a number is the variance

    `factor` is the lower triangular L with cov = L Lᵀ.
    Errors: `ValueError` for a covariance that is singular, not symmetric or not finite, or for shapes that do not fit.
    Where a traced one is no covariance, the model is NaN.
    """

    mean: Float[Array, " d"]
    factor: Float[Array, "d d"]

    def __init__(self, mean: Num[ArrayLike, "..."] = 0.0, cov: Num[ArrayLike, "..."] = 1.0):
        if jnp.ndim(mean) > 1 or jnp.size(mean) == 0:
            raise ValueError(f"mean: got shape {jnp.shape(mean)}, expected a number or an array (d,); try 0.0")
        self.mean = jnp.atleast_1d(jnp.asarray(mean, float))
        if not isinstance(mean, Tracer) and not np.isfinite(np.asarray(mean, float)).all():
            raise ValueError(f"mean: got {brief(mean)}, expected finite numbers; try 0.0")
        d = self.mean.size
        if jnp.shape(cov) != (d, d) and not (d == 1 and jnp.size(cov) == 1):
            expected = "expected (d, d) for a mean of shape (d,)"
            raise ValueError(f"cov: got shape {jnp.shape(cov)} for a mean of {d} numbers, {expected}; try jnp.eye({d})")
        if not isinstance(cov, Tracer):
            _check_covariance(np.asarray(cov, np.float64).reshape(d, d))
        self.factor = _factor(jnp.asarray(cov, float).reshape(d, d))

    @property
    def cov(self) -> Float[Array, "d d"]:
        return jnp.matmul(self.factor, self.factor.T, precision="highest")

    def log_prob(self, x: Num[ArrayLike, "... d"]) -> Float[Array, "..."]:
        """Log-density in nats at points on the last axis, which has length 1 for d = 1; NaN where Σ is singular."""
        x, d = jnp.asarray(x, float), self.mean.size
        if x.ndim == 0 or x.shape[-1] != d:
            got = f"got shape {x.shape}, expected points of {d} numbers on the last axis"
            raise ValueError(f"x: {got}; try x[..., None]")
        z = _whiten(self.factor, x - jnp.broadcast_to(self.mean, x.shape))
        return -0.5 * (z * z).sum(-1) - jnp.log(jnp.diagonal(self.factor)).sum() - 0.5 * d * math.log(2 * math.pi)

    def moments(self, n: Num[Array, ""], *, key: PRNGKeyArray) -> Moments:
        """The moments of n draws, exact, at a cost that does not depend on n."""
        return draw(self.mean, self.factor, n, key=key)

    def draw(self, number: int, *, key: PRNGKeyArray) -> Float[Array, "m d"]:
        """That many independent points."""
        z = normal(key, (number, self.mean.size))
        return self.mean[None] + jnp.matmul(z, self.factor.T, precision="highest")

    def squared_wasserstein(self, other: "Normal") -> Float[Array, ""]:
        """W2² = ‖μ₁ − μ₂‖² + min_U ‖L₁ − L₂ U‖² over rotations U; tr Σ₁ + tr Σ₂ − 2 ‖L₁ᵀ L₂‖_*, uncancelled."""
        shift = jnp.sum((self.mean - other.mean) ** 2)
        if self.mean.size == 1:
            return shift + jnp.sum((self.factor - other.factor) ** 2)
        left, _, right = jnp.linalg.svd(jnp.matmul(other.factor.T, self.factor, precision="highest"))
        turned = jnp.matmul(other.factor, jnp.matmul(left, right, precision="highest"), precision="highest")
        return shift + jnp.sum((self.factor - turned) ** 2)

    def kl(self, other: "Normal") -> Float[Array, ""]:
        """KL(self ‖ other) in nats; ∞ or NaN where one of them is singular."""
        ratio, shift = _whiten(other.factor, self.factor.T).T, _whiten(other.factor, self.mean - other.mean)
        scale = jnp.diagonal(other.factor)
        e = (jnp.diagonal(self.factor) - scale) / scale  # (e + 1)² − 1 − 2 ln(e + 1), without its cancellation
        rest = jnp.sum(e + 0.5 * e * e - jnp.log1p(e))
        return 0.5 * (jnp.sum(jnp.tril(ratio, -1) ** 2) + jnp.sum(shift**2)) + rest

    def summary(self, target: "Normal") -> dict[str, Array]:
        """Against the target, per direction and in its units, the same in every coordinate system but for W2:

        squared_error        (μ − μ*)ᵀ Σ*⁻¹ (μ − μ*) / d        E = r_t
        variance             tr(Σ*⁻¹ Σ) / d                     E = 1 − r_t with maximum likelihood
        log_scale            ln(det Σ / det Σ*) / 2d            ln σ/σ* for d = 1
        squared_wasserstein  W2²
        """
        d = self.mean.size
        return {
            "squared_error": jnp.sum(_whiten(target.factor, self.mean - target.mean) ** 2) / d,
            "variance": jnp.sum(_whiten(target.factor, self.factor.T) ** 2) / d,
            "log_scale": _log_volume(self, target) / d,
            "squared_wasserstein": self.squared_wasserstein(target),
        }


class Gaussian(AbstractEstimator):
    """Fits a normal law to the moments of its data.

    unbiased   False: maximum likelihood, Σ = S / w, for which E Σ = (1 − r_t) Σ*. True: Σ = S / (w − 1), whose mean
               stays Σ* without any real data (α = 0), while ln σ drifts down half as fast: other exponents of collapse

    With n ≤ d draws S is singular: both then keep a law on fewer dimensions, an outcome, finite and absorbing at α = 0.
    The unbiased covariance of a weight of at most 1 is not defined: a `ValueError` for concrete data and n, NaN for
    traced ones, and where a regime leaves the learner one draw (`RealOnly(Replace())` with n^R = 1).
    """

    unbiased: bool = eqx.field(default=False, static=True)

    def least(self, target: Normal) -> int:
        """2 where unbiased, else 1."""
        return 2 if self.unbiased else 1

    def init(self, target: Normal, *, key: PRNGKeyArray) -> Normal:
        """The target: every generation 0 has draws, and replaces it."""
        return target

    def observe(self, model: Normal, n: Int[Array, ""], *, key: PRNGKeyArray) -> Moments:
        """The moments of n draws from a model."""
        return model.moments(n, key=key)

    def pool(
        self,
        target: Normal,
        source: Normal,
        alpha: Float[Array, ""],
        n: Int[Array, ""],
        split: str,
        *,
        key: PRNGKeyArray,
    ) -> tuple[Moments, Moments, Moments]:
        """n draws from α·target + (1 − α)·source: both parts, whose sum has the scatter between them."""
        return two_draws(self, target, source, alpha, n, split, key=key)

    def fit(self, data: Moments, model: Normal, *, key: PRNGKeyArray) -> Normal:
        """μ = m and Σ = S / w or S / (w − 1); the previous model where there are no data, NaN where data are marked."""
        weight = data.weight.astype(float)
        _check_enough(self, data.weight)
        empty = (weight <= EMPTY) & (weight >= 0)
        divisor = weight - 1 if self.unbiased else weight
        factor = data.root / jnp.sqrt(jnp.where(empty, 1.0, jnp.where(divisor > 0, divisor, jnp.nan)))
        mean, factor = jnp.where(empty, model.mean, data.mean), jnp.where(empty, model.factor, factor)
        return eqx.tree_at(lambda m: (m.mean, m.factor), model, (mean, factor))


def _whiten(factor: Float[Array, "d d"], x: Float[Array, "... d"]) -> Float[Array, "... d"]:
    """L⁻¹ x for points on the last axis."""
    if factor.size == 1:
        return x / factor[0, 0]
    rows = x.reshape(-1, x.shape[-1]).T
    return solve_triangular(factor, rows, lower=True).T.reshape(x.shape)


def _log_volume(self: Normal, other: Normal) -> Float[Array, ""]:
    """½ ln(det Σ / det Σ')."""
    return jnp.sum(jnp.log(jnp.diagonal(self.factor)) - jnp.log(jnp.diagonal(other.factor)))


def _factor(cov: Float[Array, "d d"]) -> Float[Array, "d d"]:
    """L, NaN where cov is no covariance."""
    if cov.size == 1:
        return jnp.asarray(jnp.where(cov > 0, jnp.sqrt(jnp.where(cov > 0, cov, 1.0)), jnp.nan))
    asymmetry, most = jnp.max(abs(cov - cov.T)), jnp.max(abs(cov))
    factor = jnp.linalg.cholesky(cov)
    return jnp.asarray(jnp.where(asymmetry <= 1e-5 * most, factor, jnp.nan))


def _check_covariance(cov: np.ndarray) -> None:
    """`ValueError` unless a concrete matrix is a covariance of full rank, as far as the precision can tell."""
    d, most = len(cov), abs(cov).max()
    if not np.isfinite(cov).all():
        raise ValueError(f"cov: got {brief(cov)}, expected finite numbers; try {'1.0' if d == 1 else f'jnp.eye({d})'}")
    if abs(cov - cov.T).max() > 1e-5 * most:
        i, j = (int(x) for x in np.unravel_index(abs(cov - cov.T).argmax(), cov.shape))
        got = f"{cov[i, j]:g} at ({i}, {j}) and {cov[j, i]:g} at ({j}, {i})"
        raise ValueError(f"cov: got {got}, expected a symmetric matrix; try (cov + cov.T) / 2")
    kept = cov.astype(jnp.result_type(float)).astype(np.float64)  # as it will be held
    scale = np.sqrt(np.maximum(np.diagonal(kept), np.finfo(float).tiny))
    least = np.linalg.eigvalsh((kept + kept.T) / 2 / np.outer(scale, scale))[0]
    if not (np.diagonal(kept) > 0).all() or not least > (0 if d == 1 else d * float(jnp.finfo(float).eps)):
        got = f"a variance of {cov[0, 0]:g}" if d == 1 else f"correlations whose smallest eigenvalue is {least:g}"
        advice = "1.0" if d == 1 else f"cov + 1e-3 * jnp.eye({d})"
        raise ValueError(f"cov: got {got}, expected a positive definite one; try {advice}")


def _check_enough(learner: Gaussian, weight: Any) -> None:
    if learner.unbiased and not isinstance(weight, Tracer) and EMPTY < float(weight) <= 1:
        raise ValueError(
            f"data: got {float(weight):g} draws for the unbiased covariance, expected more than 1; "
            "try Gaussian(), which is maximum likelihood"
        )
