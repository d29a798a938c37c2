"""Curations: what is filtered out of the synthetic stream, as maps of models, row by row; π is left alone.

    Temperature(T)            p_v ∝ p_v^{1/T}
    TopP(p), TopK(k)          the most probable tokens alone: the fewest with mass ≥ p, or k of them
    Verifier(good, f₊, f₋)    p_v ∝ p_v [g_v (1 − f₋) + (1 − g_v) f₊]        what a verifier passes
    Tilt(r, s)                p_v = p_v e^{s r_v} / E_p e^{s r}              many candidates, chosen by e^{s r}
    BestOf(n, r)              the best of n draws by reward
    Chain(f, g)               g(f(model))

`Contaminate` and `Mixing` are in `_blend`. A row of which nothing would pass stays as it is: the filter is switched off
there. Traced numbers out of range give rows of NaN, which mark the lineage.

Sources: arXiv 2404.02325 (temperature), 2407.09499 (reward), 2406.07515 (verifiers).
"""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Num

from jaxcollapse._model import AbstractModel
from jaxcollapse._schedule import brief
from jaxcollapse.families.tabular import AbstractTable, Categorical, as_array

Rows = Float[Array, "*c v"]


class Temperature(eqx.Module):
    """p_v^{1/T} / Σ_u p_u^{1/T}: T < 1 sharpens, T > 1 flattens, and a lost token stays lost.

    T → 0: the most probable token (ties shared); T → ∞: uniform on the support.
    Error: `ValueError` unless 0 < T < ∞.
    """

    temperature: Num[ArrayLike, ""]

    def __check_init__(self):
        check("temperature", self.temperature, lambda t: (t > 0) & (t < np.inf), "one finite number above 0", 0.9)

    def __call__(self, model: AbstractModel) -> Categorical:
        p, t = table(model).probs, number(self.temperature, lambda t: (t > 0) & (t < jnp.inf))
        most = p.max(-1, keepdims=True)
        return kept(model, (p / most) ** (1 / t) + 0.0 * t)  # NaN where t is, if p is uniform too


class TopP(eqx.Module):
    """The smallest set of most probable tokens whose mass is at least p, renormalised (nucleus sampling).

    Ties go to the lower token id. p = 1 keeps everything; p → 0 the most probable token alone.
    Error: `ValueError` unless 0 < p ≤ 1.
    """

    p: Num[ArrayLike, ""]

    def __check_init__(self):
        check("p", self.p, lambda p: (p > 0) & (p <= 1), "one number in (0, 1]", 0.9)

    def __call__(self, model: AbstractModel) -> Categorical:
        rows, p = table(model).probs, number(self.p, lambda p: (p > 0) & (p <= 1))
        order = jnp.argsort(-rows, axis=-1, stable=True)
        falling = jnp.take_along_axis(rows, order, -1)
        before = jnp.cumsum(falling, -1) - falling
        last = jnp.sum((before < p * rows.sum(-1, keepdims=True)) | (p >= 1), -1, keepdims=True)
        return kept(model, jnp.where(_rank(order) < last, rows, 0.0) + 0.0 * p)  # NaN where p is


class TopK(eqx.Module):
    """The k most probable tokens, renormalised; ties go to the lower token id. k may be traced; k ≥ v keeps everything.

    Error: `ValueError` for a k that is not a whole number of at least 1.
    """

    k: Num[ArrayLike, ""]

    def __check_init__(self):
        check("k", self.k, _whole, "a whole number of tokens, at least 1", 40)

    def __call__(self, model: AbstractModel) -> Categorical:
        rows, k = table(model).probs, number(self.k, _whole)
        order = jnp.argsort(-rows, axis=-1, stable=True)
        return kept(model, jnp.where(_rank(order).astype(k.dtype) < k, rows, 0.0) + 0.0 * k)


class Verifier(eqx.Module):
    """What a verifier passes, renormalised: p_v [g_v (1 − f₋) + (1 − g_v) f₊] / Σ.

    good             g, `v` or `c v`: True where a token is acceptable, or its probability of being so
    false_positive   f₊, how often what is not acceptable passes; 1 − f₋ = f₊ filters nothing
    false_negative   f₋, how often what is acceptable does not

    Where a row would pass nothing, it stays as it is. Error: `ValueError` for a rate or a g outside [0, 1].
    """

    good: Num[ArrayLike, "*c v"] | Bool[ArrayLike, "*c v"] = eqx.field(converter=as_array)
    false_positive: Num[ArrayLike, ""] = 0.0
    false_negative: Num[ArrayLike, ""] = 0.0

    def __check_init__(self):
        check("good", self.good, fraction, "a mask or probabilities in [0, 1]", [True, False], (1, 2))
        for name in ("false_positive", "false_negative"):
            check(name, getattr(self, name), fraction, "one number in [0, 1]", 0.1)

    def __call__(self, model: AbstractModel) -> Categorical:
        good = number(fitting("good", self.good, model), fraction)
        passed = good * (1 - number(self.false_negative, fraction))
        return kept(model, table(model).probs * (passed + (1 - good) * number(self.false_positive, fraction)))


class Tilt(eqx.Module):
    """p_v e^{s r_v} / Σ_u p_u e^{s r_u}, r the `reward` of a token (`v` or `c v`), s ≥ 0 or below it the `strength`.

    s → ∞: the best-rewarded tokens of the support, as `BestOf` with n → ∞. The limit of choosing one of many
    candidates with probability ∝ e^{s r}. Errors: `ValueError` for what is not finite.
    """

    reward: Num[ArrayLike, "*c v"] = eqx.field(converter=as_array)
    strength: Num[ArrayLike, ""] = 1.0

    def __check_init__(self):
        check("reward", self.reward, np.isfinite, "finite numbers", [0.0, 0.5, 1.0], (1, 2))
        check("strength", self.strength, np.isfinite, "one finite number", 1.0)

    def __call__(self, model: AbstractModel) -> Categorical:
        p = table(model).probs
        gain = number(self.strength, jnp.isfinite) * number(fitting("reward", self.reward, model), jnp.isfinite)
        alive = jnp.where(p > 0, gain, -jnp.inf)
        return kept(model, p * jnp.exp(jnp.minimum(gain - alive.max(-1, keepdims=True), 0.0)))


class BestOf(eqx.Module):
    """The exact law of the best of n draws by `reward` (`v` or `c v`).

        P(v) = p_v/m · [F^n − (F − m)^n],   F = P(reward ≤ r_v),   m = P(reward = r_v)

    Among equally rewarded draws the law is that of p. n = 1: nothing changes; n → ∞: the best-rewarded tokens of the
    support in proportion to p. n need not be whole. Errors: `ValueError` for n < 1 or a reward that is not finite.
    """

    n: Num[ArrayLike, ""]
    reward: Num[ArrayLike, "*c v"] = eqx.field(converter=as_array)

    def __check_init__(self):
        check("n", self.n, lambda n: (n >= 1) & (n < np.inf), "one finite number of at least 1", 4)
        check("reward", self.reward, np.isfinite, "finite numbers", [0.0, 0.5, 1.0], (1, 2))

    def __call__(self, model: AbstractModel) -> Categorical:
        n = number(self.n, lambda n: (n >= 1) & (n < jnp.inf))
        reward = number(fitting("reward", self.reward, model), jnp.isfinite)
        return kept(model, _best(table(model).probs, reward, n))


class Chain(eqx.Module):
    """One curation after another, the first one first; unlike a lambda, its numbers can be swept."""

    curations: tuple[Callable[[AbstractModel], AbstractModel], ...]

    def __init__(self, *curations: Callable[[AbstractModel], AbstractModel]):
        for curation in curations:
            if not callable(curation):
                raise ValueError(f"curations: got {brief(curation)}, expected model -> model; try Temperature(0.9)")
        self.curations = curations

    def __call__(self, model: AbstractModel) -> AbstractModel:
        for curation in self.curations:
            model = curation(model)
        return model


def table(model: AbstractModel) -> AbstractTable:
    """The model itself; `ValueError` where it is no table of probabilities."""
    if not isinstance(model, AbstractTable):
        tries = "jc.Decoding(jc.TopP(0.9))" if hasattr(model, "decoding") else "jc.Categorical(probs)"
        name, expected = type(model).__name__, "a table of probabilities"
        raise ValueError(f"curate: got a model {name}, expected {expected}; try {tries}")
    return model


def replaced(model: AbstractModel, probs: Rows) -> Categorical:
    """A table with these rows and the model's contexts."""
    return Categorical(probs, table(model).contexts)


def kept(model: AbstractModel, weights: Rows) -> Categorical:
    """Rows in proportion to the weights; a row without any stays as it is."""
    mass = weights.sum(-1, keepdims=True)
    return replaced(model, jnp.where(mass == 0, table(model).probs, weights / jnp.where(mass == 0, 1.0, mass)))


def _rank(order: Array) -> Array:
    """The place of each token in the order."""
    return jnp.argsort(order, axis=-1)


def _best(p: Rows, reward: Rows, n: Float[Array, ""]) -> Rows:
    """Weights of the best of n draws, level by level of equal reward, best first."""
    in_row = lambda p, reward: _best_in_row(p, reward, n)
    return jnp.vectorize(in_row, signature="(v),(v)->(v)")(p / p.sum(-1, keepdims=True), reward)


def _best_in_row(p: Float[Array, " v"], reward: Float[Array, " v"], n: Float[Array, ""]) -> Float[Array, " v"]:
    order = jnp.argsort(-reward, stable=True)
    falling = reward[order]
    level = jnp.cumsum(jnp.concatenate([jnp.zeros(1, int), (falling[1:] < falling[:-1]).astype(int)]))
    mass = jnp.zeros_like(p).at[level].add(p[order])
    above = jnp.minimum(jnp.cumsum(mass) - mass, 1.0)  # exactly 0 for the best level with any mass: F^n stays 1
    below = jnp.cumsum(mass[::-1])[::-1]  # F, summed from its small end: 1 − above has lost the rarest levels
    log_f = jnp.where(above < 0.5, jnp.log1p(-above), jnp.log(jnp.maximum(below, jnp.finfo(p.dtype).tiny)))
    share = jnp.minimum(mass / jnp.maximum(below, jnp.finfo(p.dtype).tiny), 1.0)
    best = jnp.exp(n * log_f) * -jnp.expm1(n * jnp.log1p(-share))
    each = best / jnp.where(mass > 0, mass, 1.0)
    return p * jnp.zeros_like(p).at[order].set(each[level])


def fraction(x):
    return (x >= 0) & (x <= 1)


def _whole(k):
    return (k >= 1) & (k == abs(k) // 1) & (k < np.inf)


def number(value: Num[ArrayLike, "*k"] | Bool[ArrayLike, "*k"], valid: Callable[[Array], Array]) -> Float[Array, "*k"]:
    """As floats, NaN where a traced one is out of range."""
    value = jnp.asarray(value, float)
    return jnp.where(valid(value), value, jnp.nan)


def fitting(name: str, value: ArrayLike, model: AbstractModel) -> Num[Array, "*c v"] | Bool[Array, "*c v"]:
    """The value in the shape of the table; `ValueError` unless it has that of the table or of a row."""
    shape = table(model).probs.shape
    if jnp.shape(value) not in (shape, shape[-1:]):
        raise ValueError(f"{name}: got shape {jnp.shape(value)} for a table of shape {shape}, expected one a token")
    return jnp.broadcast_to(jnp.asarray(value), shape)


def check(name, value, valid, expected, example, dimensions=(0,)):
    """`ValueError` for a concrete value out of range, or a wrong number of dimensions."""
    if jnp.ndim(value) not in dimensions:
        raise ValueError(f"{name}: got shape {jnp.shape(value)}, expected {expected}; try {example}")
    if not isinstance(value, Tracer) and not np.all(valid(np.asarray(value, float))):
        raise ValueError(f"{name}: got {brief(value)}, expected {expected}; try {example}")
