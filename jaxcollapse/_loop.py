"""THE loop: recursive training as a Markov chain on distributions.

    generation 0:   D_0 ~ p*^{n_0},                      p_0 = Fit(D_0)                     (all real)
    generation t:   Batch_t = n_t draws from α_t p* + (1 − α_t) c(p_{t−1}), with provenance
                    D_t, M_t = Regime(M_{t−1}, Batch_t),  p_t = Fit(D_t; p_{t−1})

Source: "From Collapse to Improvement: Statistical Perspectives on the Evolutionary Dynamics of Iterative Training on
Contaminated Sources", arXiv 2602.10531.

Keys: lineage l of an ensemble has the key fold_in(key, l), and its generation t the key fold_in(lineage key, t). One
lineage can so be replayed alone, and draws do not depend on the width of a batch, on devices or on order.
"""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree, Shaped

from jaxcollapse import _schedule
from jaxcollapse._learner import SPLITS, AbstractLearner
from jaxcollapse._model import AbstractModel
from jaxcollapse._regime import AbstractRegime, Batch
from jaxcollapse._schedule import Schedule


def identity(model: AbstractModel) -> AbstractModel:
    """No curation: the synthetic stream is the model's own."""
    return model


class Lineage(eqx.Module):
    """One family line at generation t: what the next step needs, and nothing else."""

    t: Int[Array, ""]
    model: AbstractModel
    memory: PyTree


Record = Callable[[Lineage, Batch], PyTree]


class Loop(eqx.Module):
    """The experiment as a value.

    target     p*, the true law
    learner    how data are drawn from a model and a model is fitted to data, e.g. `Tabular()`
    regime     what is remembered, e.g. `Replace()`, `Accumulate()`
    alpha, n   schedules t -> α_t in [0, 1] and t -> n_t ≥ 1 (rounded), see `Constant`, `PowerLaw`
    curate     model -> model, what is filtered out of the synthetic stream (default: nothing)
    split      how many of the n_t draws are real: "random" Binomial(n, α), "fixed" ⌊α n + U⌋, "round" α n rounded

    Numeric fields may be traced or batched (`jax.vmap`, `equinox.filter_vmap`).
    """

    target: AbstractModel
    learner: AbstractLearner
    regime: AbstractRegime
    alpha: Schedule
    n: Schedule
    curate: Callable[[AbstractModel], AbstractModel] = identity
    split: str = eqx.field(default="random", static=True)

    def __check_init__(self):
        for name, kind, example in (
            ("target", AbstractModel, "jc.zipf(100)"),
            ("learner", AbstractLearner, "jc.Tabular()"),
            ("regime", AbstractRegime, "jc.Replace()"),
        ):
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name}: got {getattr(self, name)!r}, expected an {kind.__name__}; try {example}")
        for name in ("alpha", "n", "curate"):
            if not callable(value := getattr(self, name)):
                raise ValueError(f"{name}: got {value!r}, expected a callable; try jc.Constant({value!r})")
        if self.split not in SPLITS:
            raise ValueError(f"split: got {self.split!r}, expected one of {', '.join(SPLITS)}; try 'random'")

    def init(self, *, key: PRNGKeyArray) -> Lineage:
        """Generation 0, fitted to n_0 real draws."""
        k_model, k_data, k_fit = jr.split(key, 3)
        t = jnp.asarray(0)
        blank = self.learner.init(self.target, key=k_model)
        data = self.learner.observe(self.target, self._draws(t), key=k_data)
        return Lineage(t, self.learner.fit(data, blank, key=k_fit), self.regime.init(data))

    def step(self, lineage: Lineage, *, key: PRNGKeyArray) -> tuple[Lineage, Batch]:
        """The next generation, and what it was trained on."""
        k_pool, k_regime, k_fit = jr.split(key, 3)
        t = lineage.t + 1
        alpha, _ = _schedule.mixture_weight(self.alpha, t)
        source = self.curate(lineage.model)
        parts = self.learner.pool(self.target, source, alpha, self._draws(t), self.split, key=k_pool)
        batch = Batch(*parts, alpha, source)
        memory, data = self.regime.update(lineage.memory, batch, key=k_regime)
        model = self.learner.fit(data, lineage.model, key=k_fit)
        return Lineage(t, model, memory), dataclasses.replace(batch, data=data)

    def _draws(self, t: Int[Array, ""]) -> Int[Array, ""]:
        """n_t as an integer, −1 where α_t or n_t is out of range: the samplers mark such draws."""
        _, alpha_valid = _schedule.mixture_weight(self.alpha, t)
        size, size_valid = _schedule.sample_size(self.n, t)
        valid = alpha_valid & size_valid
        return jnp.where(valid, jnp.where(valid, size, jnp.ones_like(size)).astype(int), -1)


def simulate(
    loop: Loop, generations: int, *, key: PRNGKeyArray, record: Record | None = None
) -> tuple[Lineage, PyTree]:
    """One lineage over generations 0..T.

    Returns the last `Lineage` and what `record(lineage, batch)` returned at t = 1..T, stacked along a leading axis T.
    The default record is the model's `summary` against the target: a few numbers, never the whole table.

    Concrete schedules out of range raise `ValueError`. Under a trace every float record of a lineage whose α_t or
    n_t leaves its range at any generation is NaN. Collapse is an outcome, finite and absorbing, never NaN.
    """
    _check(loop, generations)
    return _simulate(_arrays(loop), generations, key, record)


def ensemble(
    loop: Loop, generations: int, *, lineages: int, key: PRNGKeyArray, record: Record | None = None
) -> tuple[Lineage, PyTree]:
    """Many independent lineages at once: `simulate` for each, with leading axes L, and L T for the records.

    Lineage l is `simulate(loop, generations, key=jax.random.fold_in(key, l))`. Called outside a trace, the lineages
    are shared out over the process's devices where their number divides evenly.
    """
    if isinstance(lineages, bool) or not isinstance(lineages, int | np.integer) or lineages < 1:
        raise ValueError(f"lineages: got {lineages!r}, expected a whole number of at least 1; try 64")
    _check(loop, generations)
    keys = jax.vmap(jr.fold_in, (None, 0))(key, jnp.arange(lineages))
    return _ensemble(_arrays(loop), generations, _shard(keys), record)


@eqx.filter_jit
def _simulate(loop: Loop, generations: int, key: PRNGKeyArray, record: Record | None) -> tuple[Lineage, PyTree]:
    record = record or (lambda lineage, batch: lineage.model.summary(loop.target))
    lineage, static = eqx.partition(loop.init(key=jr.fold_in(key, 0)), eqx.is_array)

    def generation(carry, t):
        lineage, batch = loop.step(eqx.combine(carry, static), key=jr.fold_in(key, t))
        return eqx.filter(lineage, eqx.is_array), record(lineage, batch)

    last, records = jax.lax.scan(generation, lineage, jnp.arange(1, generations + 1))
    valid = _valid(loop, generations)
    return eqx.combine(last, static), jax.tree.map(lambda x: _mark(x, valid), records)


@eqx.filter_jit
def _ensemble(
    loop: Loop, generations: int, keys: Shaped[Array, "L ..."], record: Record | None
) -> tuple[Lineage, PyTree]:
    return eqx.filter_vmap(lambda key: _simulate(loop, generations, key, record))(keys)


def _mark(x: Array, valid: Bool[Array, ""]) -> Array:
    return jnp.where(valid, x, jnp.nan) if jnp.issubdtype(x.dtype, jnp.floating) else x


def _valid(loop: Loop, generations: int) -> Bool[Array, ""]:
    _, n_t = _schedule.evaluate(loop.alpha, loop.n, generations)
    in_range = jnp.all(jnp.isfinite(n_t))
    return in_range & (loop.regime.largest_pool(n_t) < _schedule.largest_size())


def _check(loop: Loop, generations: int) -> None:
    _schedule.check(loop.alpha, loop.n, generations)
    _, n_t = _schedule.evaluate(loop.alpha, loop.n, generations)
    pool = loop.regime.largest_pool(n_t)
    if not isinstance(pool, Tracer) and pool >= _schedule.largest_size():
        raise ValueError(
            f"n: got a pool of {float(pool):.3g} draws in {generations} generations, expected fewer than "
            f"{_schedule.largest_size():.0f}; try Accumulate(decay=1.0), a float pool, or jax.enable_x64(True)"
        )


def _arrays(loop: Loop) -> Loop:
    """Numbers become arrays: as Python numbers each new value would be compiled anew."""
    return jax.tree.map(lambda x: jnp.asarray(x) if isinstance(x, int | float | np.ndarray | np.generic) else x, loop)


def _shard(keys: Shaped[Array, "L ..."]) -> Shaped[Array, "L ..."]:
    devices = jax.devices()
    if isinstance(keys, Tracer) or len(devices) == 1 or keys.shape[0] % len(devices):
        return keys
    mesh = jax.make_mesh((len(devices),), ("lineage",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.device_put(keys, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("lineage")))
