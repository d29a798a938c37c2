"""Linear regression: y = x·w + σ ε, ε ~ N(0, 1), without intercept; each generation labels its x with its own ŵ.

    Fit(D) :  ŵ = (G/n + λ I)⁻¹ c/n,   G = Σ x xᵀ,  c = Σ x y,  n rows         least squares for λ = 0

so that ŵ minimises mean (y − x·w)² + λ‖w‖². The rows' x come from one of two designs, by construction:

    LinearModel(w, σ)              x ~ N(0, I), fresh in every generation: G ~ Wishart_d(n), drawn by Bartlett
    LinearModel(w, σ, design=X)    the same X, `T d`, in every generation: n rows are n/T copies of it, G = (n/T) XᵀX

Gaussian design, squared error ‖ŵ_t − w*‖² (the excess test error on x ~ N(0, I)), α = 0, T rows a generation: after
t = 1, 2, … fits it is t σ²d/(T − d − 1) where data are replaced, at most π²/6 · σ²d/(T − d − 1) where they accumulate
(`theory.regression`, `theory.regression_accumulate`; the same X: `theory.fixed_design`).

Source: Gerstgrasser et al., arXiv 2404.01413 (the same X each round); ridge: Dohmatob et al., arXiv 2402.07712.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Num, PRNGKeyArray

from jaxcollapse._data import EMPTY
from jaxcollapse._learner import AbstractEstimator, real_draws
from jaxcollapse._model import AbstractModel
from jaxcollapse._schedule import brief
from jaxcollapse.families._linear import LinearMoments, either, gram_of, residual, solve, trapezoid
from jaxcollapse.sampling import chi_square
from jaxcollapse.sampling._gamma import normal

NOISES = ("kept", "unbiased", "mle")


class LinearModel(AbstractModel):
    """The law of y given x, y = x·w + σ ε, and where its x come from.

    weights   w, `d`
    noise     σ ≥ 0, one standard deviation
    design    None: x ~ N(0, I), fresh rows in every draw. X, `T d` with T ≥ d independent columns: n draws are n/T
              copies of these rows, with fresh labels; n = T is exactly "the same X each round", and other n (parts of a
              mixture with weight α among them) are spread evenly over the rows. Kept as the R of a QR decomposition.

    Errors: `ValueError` for wrong shapes, numbers that are not finite, σ < 0, a design without full rank; what is
    traced gives NaN instead.
    """

    weights: Float[Array, " d"]
    noise: Float[Array, ""]
    root: Float[Array, "d d"] | None

    def __init__(
        self,
        weights: Num[ArrayLike, "..."],
        noise: Num[ArrayLike, "..."] = 1.0,
        design: Num[ArrayLike, "..."] | None = None,
    ):
        self.weights, self.noise = _finite("weights", weights, 1), _finite("noise", noise, 0)
        if not isinstance(noise, Tracer) and np.asarray(noise) < 0:
            raise ValueError(f"noise: got {brief(noise)}, expected a standard deviation of at least 0; try 1.0")
        self.noise = jnp.where(self.noise >= 0, self.noise, jnp.nan)
        self.root = None if design is None else _design_root(_finite("design", design, 2), self.weights.size)

    def log_prob(self, x: Float[Array, "... p"]) -> Float[Array, "..."]:
        """log p(y | x) in nats of rows (x, y), y last on an axis of p = d + 1. σ = 0: −∞, or NaN where y = x·w."""
        mean = jnp.matmul(x[..., :-1], self.weights, precision="highest")
        return -0.5 * ((x[..., -1] - mean) / self.noise) ** 2 - jnp.log(self.noise) - 0.5 * jnp.log(2 * jnp.pi)

    def moments(self, n: Num[Array, ""], *, key: PRNGKeyArray) -> LinearMoments:
        """n rows, exactly, at a cost of O(d³) for any n ≥ 0; NaN for n < 0.

        With an upper triangular F, FᵀF = G, and z ~ N(0, I): Xᵀy = Fᵀ(F w + σ z) and Σ y² = ‖F w + σ z‖² + σ² χ²_{n−d}.
        """
        d, size = self.weights.size, jnp.asarray(n, float)
        if self.root is None:
            rows = trapezoid(size, d + 1, key)
            factor, z, rest = rows[:-1, :-1], rows[:-1, -1], rows[-1, -1] ** 2
        else:
            k_z, k_rest = jr.split(key)
            factor, z = jnp.sqrt(size) * self.root, jnp.where(size > 0, normal(k_z, (d,)), 0.0)
            rest = chi_square(k_rest, jnp.maximum(size - d, 0.0))
        label = jnp.matmul(factor, self.weights, precision="highest") + self.noise * z
        square = jnp.dot(label, label, precision="highest") + self.noise**2 * rest
        cross = jnp.matmul(factor.T, label, precision="highest")
        moments = LinearMoments(size, gram_of(factor), cross, square, self.root is not None)
        return either(size >= 0, moments, jnp.asarray(jnp.nan) * moments)

    def summary(self, target: "LinearModel") -> dict[str, Array]:
        """‖w − w*‖² (the excess test error on x ~ N(0, I)), ‖w‖² and σ."""
        error = self.weights - target.weights
        return {
            "squared_error": jnp.dot(error, error, precision="highest"),
            "squared_norm": jnp.dot(self.weights, self.weights, precision="highest"),
            "noise": self.noise,
        }


class Ridge(AbstractEstimator):
    """Learns w by least squares with a ridge penalty.

    penalty   λ ≥ 0 on mean (y − x·w)² + λ‖w‖², a number, swept without compiling anew; or a rule data -> λ, such as
              `HoerlKennard()` or `PenaltyPowerLaw(scale, exponent=)`
    noise     "kept" (default): σ is known, as in the papers. "unbiased": σ² = RSS/(n − d); "mle": σ² = RSS/n, which
              loses a share d/n of the noise in every generation. See `LinearMoments` for what float32 resolves.

    Solved by Cholesky from the normal equations: the relative error of ŵ is about κ ε, κ the condition number of
    G/n + λI and ε the precision's (10⁻⁷, 10⁻¹⁶ under x64). Gaussian design: κ ≈ ((1 + √(d/n))/(1 − √(d/n)))², under 40
    for n ≥ 2d. κ beyond 1/ε gives NaN; λ > 0 bounds κ.

    Errors: `ValueError` for a penalty below 0, an unknown noise, and for fewer than d + 1 rows where λ = 0 or the noise
    is unbiased; traced, NaN. No data: the previous model.
    """

    penalty: Num[ArrayLike, ""] | Callable[[LinearMoments], Any] = 0.0
    noise: str = eqx.field(default="kept", static=True)

    def __check_init__(self):
        if not callable(self.penalty):
            _check_at_least_0("penalty", self.penalty, "0.1, or HoerlKennard()")
        if self.noise not in NOISES:
            raise ValueError(f"noise: got {self.noise!r}, expected one of {', '.join(NOISES)}; try 'kept'")

    def least(self, target: LinearModel) -> int:
        """d + 1 where the penalty is 0 or the noise unbiased, else 1."""
        all_rows = isinstance(self.penalty, HoerlKennard) or self.noise == "unbiased"
        if not callable(self.penalty) and not isinstance(self.penalty, Tracer):
            all_rows = all_rows or not np.asarray(self.penalty) > 0
        return target.weights.size + 1 if all_rows else 1

    def init(self, target: LinearModel, *, key: PRNGKeyArray) -> LinearModel:
        """w = 0, with the target's σ and design."""
        return eqx.tree_at(lambda m: m.weights, target, jnp.zeros_like(target.weights))

    def observe(self, model: LinearModel, n: Num[Array, ""], *, key: PRNGKeyArray) -> LinearMoments:
        return model.moments(n, key=key)

    def pool(
        self,
        target: LinearModel,
        source: LinearModel,
        alpha: Float[Array, ""],
        n: Num[Array, ""],
        split: str,
        *,
        key: PRNGKeyArray,
    ) -> tuple[LinearMoments, LinearMoments, LinearMoments]:
        k_split, k_rows = jr.split(key)
        n_real = real_draws(split, alpha, n, key=k_split)
        # Both parts by one sampler: half the program to compile.
        models = jax.tree.map(lambda a, b: jnp.stack([a, b]), target, source)
        parts = jax.vmap(lambda model, n, key: model.moments(n, key=key))(
            models, jnp.stack([n_real, n - n_real]), jr.split(k_rows)
        )
        real, synthetic = (jax.tree.map(lambda x, i=i: x[i], parts) for i in range(2))
        return real + synthetic, real, synthetic

    def fit(self, data: LinearMoments, model: LinearModel, *, key: PRNGKeyArray) -> LinearModel:
        penalty = jnp.asarray(self.penalty(data) if callable(self.penalty) else self.penalty, float)
        penalty = jnp.where(penalty >= 0, penalty, jnp.nan)
        d, empty = model.weights.size, data.weight <= EMPTY
        few = ~empty & (data.weight < d + 1) & (~(penalty > 0) | (self.noise == "unbiased"))
        if not isinstance(few, Tracer) and few:
            where = "for the unbiased noise" if self.noise == "unbiased" else "without a penalty"
            raise ValueError(
                f"data: got {float(data.weight):g} rows for {d} weights, expected at least {d + 1} {where}; "
                "try more draws, or Ridge(0.1)"
            )
        weights = jnp.where(few, jnp.nan, solve(data, jnp.where(few | empty, 1.0, penalty)))
        sd = model.noise
        if self.noise != "kept":
            freedom = data.weight - d if self.noise == "unbiased" else data.weight
            sd = jnp.where(few, jnp.nan, jnp.sqrt(residual(data, weights) / freedom))
        kept = lambda new, old: jnp.where(empty, old, new)
        return eqx.tree_at(lambda m: (m.weights, m.noise), model, (kept(weights, model.weights), kept(sd, model.noise)))


class HoerlKennard(eqx.Module):
    """The penalty that adapts to signal and noise: λ = d σ̂² / (n ‖ŵ‖²), ŵ least squares, σ̂² = RSS/(n − d).

    NaN for n < d + 1 rows. Source: Hoerl, Kennard and Baldwin, Communications in Statistics 4 (1975) 105.
    """

    def __call__(self, data: LinearMoments) -> Float[Array, ""]:
        weights, d = solve(data, 0.0), data.cross.size
        variance = residual(data, weights) / (data.weight - d)
        norm = jnp.dot(weights, weights, precision="highest")
        return jnp.where(data.weight >= d + 1, d * variance / (data.weight * norm), jnp.nan)


class PenaltyPowerLaw(eqx.Module):
    """The penalty that fades with the sample: λ = scale · n^−exponent, n the rows that the learner is shown.

    The form λ ~ T^−ℓ that arXiv 2402.07712 adapts to synthetic data, where less decay than for clean data is best.
    Errors: `ValueError` for a scale below 0.
    """

    scale: Num[ArrayLike, ""]
    exponent: Num[ArrayLike, ""] = eqx.field(kw_only=True)

    def __check_init__(self):
        _check_at_least_0("scale", self.scale, "1.0")

    def __call__(self, data: LinearMoments) -> Float[Array, ""]:
        return jnp.asarray(self.scale, float) * data.weight ** -jnp.asarray(self.exponent, float)


def _design_root(design: Float[Array, "n d"], d: int) -> Float[Array, "d d"]:
    """R/√T of X = Q R; NaN where a traced X has not full rank."""
    rows = design.shape[0]
    if design.shape[1] != d or rows < d:
        expected = f"{d} covariates, one a weight, in {d} rows or more"
        raise ValueError(f"design: got shape {design.shape}, expected {expected}")
    root = jnp.linalg.qr(design, mode="r") / jnp.sqrt(jnp.asarray(rows, float))
    pivots = abs(jnp.diagonal(root))
    full = pivots.min() > d * jnp.finfo(root.dtype).eps * pivots.max()
    if not isinstance(full, Tracer) and not full:
        raise ValueError("design: got linearly dependent columns, expected full rank; try fewer covariates")
    return jnp.where(full, root, jnp.nan)


def _finite(name: str, value: Num[ArrayLike, "..."], dimensions: int) -> Float[Array, "..."]:
    shape = ("one number", "a vector of d numbers", "a table of n × d numbers")[dimensions]
    if jnp.ndim(value) != dimensions or jnp.size(value) == 0:
        raise ValueError(f"{name}: got shape {jnp.shape(value)}, expected {shape}")
    if not isinstance(value, Tracer) and not np.isfinite(np.asarray(value, float)).all():
        raise ValueError(f"{name}: got a number that is not finite, expected {shape}")
    return jnp.asarray(value, float)


def _check_at_least_0(name: str, value: Num[ArrayLike, ""], example: str) -> None:
    if not isinstance(value, Tracer) and (np.ndim(value) or not 0 <= np.asarray(value) < np.inf):
        raise ValueError(f"{name}: got {brief(value)}, expected one finite number of at least 0; try {example}")
