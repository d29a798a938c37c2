"""Mixture weights that come and go, or that chance decides: schedules of α beside those of `_schedule`.

    Periodic       α_t = at(t) for t = k, 2k, 3k, …, and between(t) otherwise       real data are refreshed every k
    RandomWeight   α_t ~ Beta(ν ᾱ_t, ν (1 − ᾱ_t)), drawn anew in each generation of each lineage

Of a random α_t only E(1 − α_t)² = (1 − ᾱ_t)² + ᾱ_t (1 − ᾱ_t)/(1 + ν) enters the risk (random split, `Replace`).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, Int, Num, PRNGKeyArray, Shaped

from jaxcollapse._schedule import Schedule, brief


class Periodic(eqx.Module):
    """One schedule every k-th generation, t = k, 2k, … (and t = 0), another one in between.

    `Periodic(every=5, at=Constant(1.0), between=Constant(0.0))` replaces the data by real ones every five generations.
    `every` may be traced. Errors: `ValueError` for `every` that is no whole number of at least 1; traced, NaN.
    """

    every: Num[ArrayLike, ""]
    at: Schedule
    between: Schedule

    def __check_init__(self):
        k = self.every
        if not isinstance(k, Tracer) and (np.ndim(k) or not np.asarray(k) >= 1 or np.asarray(k) % 1 != 0):
            raise ValueError(f"every: got {brief(k)}, expected a whole number of generations of at least 1; try 5")
        for name, schedule in (("at", self.at), ("between", self.between)):
            if not callable(schedule):
                raise ValueError(f"{name}: got {brief(schedule)}, expected a callable t -> value; try jc.Constant(0.5)")

    def __call__(self, t: Shaped[ArrayLike, "*t"]) -> Float[Array, "*t"]:
        t, every = jnp.asarray(t), jnp.asarray(self.every, float)
        now = jnp.where(every >= 1, t.astype(float) % jnp.maximum(every, 1.0), jnp.nan)
        at, between = (jnp.asarray(schedule(t), float) for schedule in (self.at, self.between))
        return jnp.where(jnp.isnan(now), jnp.nan, jnp.where(now == 0, at, between))


class RandomWeight(eqx.Module):
    """A mixture weight of mean ᾱ_t and concentration ν > 0; for `alpha` of a `Loop` alone.

    Var α_t = ᾱ_t (1 − ᾱ_t)/(1 + ν): ν → ∞ is the schedule `mean` itself, ν → 0 all or nothing. Called with t it gives
    ᾱ_t; `batch.alpha` is what was drawn. `theory.risk(weight.effective, n, T)` is exact where `theory.risk(weight, …)`
    is that of the mean. Errors: `ValueError` for ν ≤ 0, NaN where it is traced.
    """

    mean: Schedule
    concentration: Num[ArrayLike, ""]

    def __check_init__(self):
        nu = self.concentration
        if not callable(self.mean):
            raise ValueError(f"mean: got {brief(self.mean)}, expected a callable t -> value; try jc.Constant(0.1)")
        if not isinstance(nu, Tracer) and (np.ndim(nu) or not 0 < np.asarray(nu) < np.inf):
            raise ValueError(f"concentration: got {brief(nu)}, expected one finite number above 0; try 10.0")

    def __call__(self, t: Shaped[ArrayLike, "*t"]) -> Float[Array, "*t"]:
        return jnp.asarray(self.mean(jnp.asarray(t)), float)

    def variance(self, t: Shaped[ArrayLike, "*t"]) -> Float[Array, "*t"]:
        """Var α_t."""
        mean = self(t)
        return mean * (1 - mean) / (1 + self._nu)

    def effective(self, t: Shaped[ArrayLike, "*t"]) -> Float[Array, "*t"]:
        """1 − √(E(1 − α_t)²), the constant weight of the same risk: below ᾱ_t, so that chance does harm."""
        mean = self(t)
        return 1 - jnp.sqrt((1 - mean) ** 2 + self.variance(t))

    def draw(self, t: Int[Array, ""], *, key: PRNGKeyArray) -> Float[Array, ""]:
        """α_t."""
        mean = self(t)
        inside = jnp.where((mean > 0) & (mean < 1), mean, 0.5)
        drawn = jax.random.beta(key, self._nu * inside, self._nu * (1 - inside))
        return jnp.where((mean > 0) & (mean < 1), drawn, mean)

    @property
    def _nu(self):
        nu = jnp.asarray(self.concentration, float)
        return jnp.where(nu > 0, nu, jnp.nan)
