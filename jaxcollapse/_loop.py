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
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, Shaped

from jaxcollapse import _recording, _schedule
from jaxcollapse._data import AbstractData
from jaxcollapse._learner import SPLITS, AbstractEstimator, AbstractLearner
from jaxcollapse._model import AbstractModel
from jaxcollapse._regime import AbstractRegime, Batch, Replace
from jaxcollapse._schedule import Schedule, brief
from jaxcollapse._weights import RandomWeight


def identity(model: AbstractModel) -> AbstractModel:
    """No curation: the synthetic stream is the model's own."""
    return model


class Lineage(eqx.Module):
    """One family line: the generation `t`, its `model` p_t and the regime's `memory`. What the next step needs."""

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
    real_source   the law of the real draws, a model or t -> model where it drifts (default: the target)

    With another `real_source`, D_0 too is drawn from it; records still compare with the target. Numeric fields may be
    traced, or batched by `equinox.filter_vmap`. Draws are whole numbers, so a run has no useful gradient;
    `theory.recursion` has.
    """

    target: AbstractModel
    learner: AbstractLearner
    regime: AbstractRegime
    alpha: Schedule
    n: Schedule
    curate: Callable[[AbstractModel], AbstractModel] = identity
    split: str = eqx.field(default="random", static=True)
    real_source: AbstractModel | Callable[[Array], AbstractModel] | None = None

    def __check_init__(self):
        for name, kind, example in (
            ("target", AbstractModel, "jc.Categorical(probs) or jc.zipf(100)"),
            ("learner", AbstractLearner, "jc.Tabular()"),
            ("regime", AbstractRegime, "jc.Replace()"),
        ):
            if not isinstance(value := getattr(self, name), kind):
                raise ValueError(f"{name}: got {brief(value)}, expected a jc.{kind.__name__}; try {example}")
        for name, example in (("alpha", "jc.Constant(0.1)"), ("n", "jc.Constant(100)"), ("curate", "leaving it out")):
            if not callable(value := getattr(self, name)):
                raise ValueError(f"{name}: got {brief(value)}, expected a callable; try {example}")
        if self.split not in SPLITS:
            raise ValueError(f"split: got {self.split!r}, expected one of {', '.join(SPLITS)}; try 'random'")
        source = self.real_source
        if not (source is None or isinstance(source, AbstractModel) or callable(source)):
            expected = "expected a jc.AbstractModel or a callable t -> model; try leaving it out"
            raise ValueError(f"real_source: got {brief(source)}, {expected}")
        if self.curate is not identity:
            made = eqx.filter_eval_shape(lambda: self.curate(self.learner.init(self.target, key=jr.key(0))))
            if not isinstance(made, AbstractModel):
                got, expected = f"a function that returns {brief(made)}", "expected model -> model"
                raise ValueError(f"curate: got {got}, {expected}; try jc.Temperature(0.9)")

    def init(self, *, key: PRNGKeyArray) -> Lineage:
        """Generation 0, fitted to n_0 real draws."""
        return self.step(self.blank(key=key), key=key)[0]

    def blank(self, *, key: PRNGKeyArray) -> Lineage:
        """What there is before generation 0: t = −1, the learner's model without data, and an empty memory."""
        model = self.learner.init(self._real(jnp.asarray(0)), key=jr.split(key, 4)[3])
        n, alpha = jnp.asarray(0), jnp.asarray(1.0)

        def memory():
            return self.regime.init(self.learner.pool(self.target, model, alpha, n, self.split, key=key)[0])

        empty = lambda x: jnp.zeros(x.shape, x.dtype) if isinstance(x, jax.ShapeDtypeStruct) else x
        return Lineage(jnp.asarray(-1), model, jax.tree.map(empty, eqx.filter_eval_shape(memory)))

    def step(self, lineage: Lineage, *, key: PRNGKeyArray) -> tuple[Lineage, Batch]:
        """The next generation, and what it was trained on.

        Generation 0 is one too, from `blank`, with α_0 = 1: so a run holds one sampler, not two that differ in nothing.
        It is fitted to all of its draws; its `batch.data` is the regime's answer to an empty memory, and no record.
        """
        k_pool, k_regime, k_fit, _ = jr.split(key, 4)
        t = lineage.t + 1
        alpha, _ = _schedule.mixture_weight(self.alpha, t)
        if isinstance(self.alpha, RandomWeight):
            alpha = jnp.where(t == 0, alpha, self.alpha.draw(t, key=jr.fold_in(key, 4)))  # beside the keys above
        source = self.curate(lineage.model)
        # At t = 0 nothing is drawn from it, but what a curation makes of a blank model may be NaN, and so is 0 · NaN.
        lawful = lambda x: jnp.where((t == 0) & ~jnp.isfinite(x), 1, x) if eqx.is_inexact_array(x) else x
        source = jax.tree.map(lawful, source)
        n = jnp.where(jnp.isnan(alpha), -1, self._draws(t))
        parts = self.learner.pool(self._real(t), source, alpha, n, self.split, key=k_pool)
        batch = Batch(*parts, alpha, source)

        memory, data = self._remember(lineage.memory, batch, k_regime)

        fit = lambda shown: self._fit(shown, lineage.model, k_fit)
        started = self.regime.init(batch.pooled)
        if _alike(batch.pooled, data):  # one `fit` in the program, which may be most of it
            either = lambda first, later: jnp.where(t == 0, first, later) if eqx.is_array(later) else later
            model, memory = fit(jax.tree.map(either, batch.pooled, data)), jax.tree.map(either, started, memory)
        elif isinstance(t, Tracer):
            static = eqx.filter((lineage.model, lineage.memory), eqx.is_array, inverse=True)
            first = lambda: eqx.filter((fit(batch.pooled), started), eqx.is_array)
            later = lambda: eqx.filter((fit(data), memory), eqx.is_array)
            model, memory = eqx.combine(jax.lax.cond(t == 0, first, later), static)
        else:  # an eager `cond` would be compiled anew at every step
            model, memory = (fit(batch.pooled), started) if t == 0 else (fit(data), memory)
        return Lineage(t, model, memory), dataclasses.replace(batch, data=data)

    def _remember(self, memory: Any, batch: Batch, key: PRNGKeyArray) -> tuple[Any, AbstractData]:
        answer = self.regime.update(memory, batch, key=key)
        if not (isinstance(answer, tuple) and len(answer) == 2 and isinstance(answer[1], AbstractData)):
            expected = "(memory, data): what is remembered, and the data that the learner is shown"
            raise ValueError(f"regime: got {brief(answer)} from update, expected {expected}; try None, batch.pooled")
        if (got := _kinds(answer[0])) != (due := _kinds(memory)):
            expected = f"what init returns, {due}; try 1.0 * data in init for a memory of floats"
            raise ValueError(f"regime: got a memory {got} from update, expected {expected}")
        return answer

    def _fit(self, data: AbstractData, model: AbstractModel, key: PRNGKeyArray) -> AbstractModel:
        fitted = self.learner.fit(data, model, key=key)
        if not isinstance(fitted, AbstractModel):
            expected = "expected a jc.AbstractModel; try jc.Categorical(probs) for a table"
            raise ValueError(f"learner: got a fit that returns {brief(fitted)}, {expected}")
        return fitted

    def _real(self, t: Int[Array, ""]) -> AbstractModel:
        """The law of the real draws of generation t."""
        if self.real_source is None:
            return self.target
        source = self.real_source if isinstance(self.real_source, AbstractModel) else self.real_source(t)
        if not isinstance(source, AbstractModel):
            raise ValueError(f"real_source: got {brief(source)} at a generation, expected a jc.AbstractModel")
        if (drawn := self._drawn(source)) != (expected := self._drawn(self.target)):
            raise ValueError(f"real_source: got draws like {drawn}, expected draws like the target's, {expected}")
        return source

    def _drawn(self, model: AbstractModel) -> Any:
        """What data drawn from a model look like."""
        observe = lambda n, key: self.learner.observe(model, n, key=key)
        return eqx.filter_eval_shape(observe, jnp.asarray(1), jr.key(0))

    def _draws(self, t: Int[Array, ""]) -> Int[Array, ""]:
        """n_t as an integer, −1 where α_t or n_t is out of range: the samplers mark such draws."""
        _, alpha_valid = _schedule.mixture_weight(self.alpha, t)
        size, size_valid = _schedule.sample_size(self.n, t)
        valid = alpha_valid & size_valid
        if not isinstance(valid, Tracer) and not valid:
            _schedule.check_at(self.alpha, self.n, t[None])
        return jnp.where(valid, jnp.where(valid, size, jnp.ones_like(size)).astype(int), -1)


def simulate(
    loop: Loop,
    generations: int,
    *,
    key: PRNGKeyArray,
    record: Record | None = None,
    record_at: Sequence[Any] | np.ndarray | None = None,
) -> tuple[Lineage, PyTree]:
    """One lineage over generations 0..T.

    Returns the last `Lineage` and what `record(lineage, batch)` returned at t = 1..T, stacked along a leading axis T
    (index 0 is t = 1, where arrays of `theory` start at t = 0). `record` sees the new lineage and the `Batch` that it
    was trained on, and returns any pytree of arrays. By default it is the model's `summary` against the target; for
    tables squared_error, total_variation, diversity, surviving and missing_mass of each context.

    `record_at`, ascending whole numbers in 1..T, keeps these generations alone, along a leading axis R: those of
    `records[record_at − 1]`, without time or memory for the others. The draws are the same bit for bit; XLA may round a
    float that `record` computes otherwise in its last digit.

    Concrete schedules out of range raise `ValueError`. Where a traced α_t or n_t leaves its range at any generation,
    all floats of that lineage are NaN and all its whole numbers −1. Collapse is an outcome, finite and absorbing.
    """
    check(loop, generations, key)
    return _simulate(arrays(loop), int(generations), key, record, _recording.rows(record_at, int(generations)))


def ensemble(
    loop: Loop,
    generations: int,
    *,
    lineages: int,
    key: PRNGKeyArray,
    record: Record | None = None,
    record_at: Sequence[Any] | np.ndarray | None = None,
) -> tuple[Lineage, PyTree]:
    """Many independent lineages at once: `simulate` for each, with leading axes L, and L T (or L R) for the records.

    Lineage l is `simulate(loop, generations, key=jax.random.fold_in(key, l))`. `generations`, `record`, `record_at` and
    errors are those of `simulate`. Memory grows with lineages × generations recorded × what is recorded, not with n;
    `streaming.ensemble` keeps statistics over lineages alone. Called outside a trace, the lineages are shared out over
    the process's devices where their number divides evenly.
    """
    check_count("lineages", lineages)
    check(loop, generations, key)
    rows = _recording.rows(record_at, int(generations))
    loop, keys = _share_out(arrays(loop), lineage_keys(key, jnp.arange(int(lineages))))
    return side_by_side(loop, keys, int(generations), record, rows)


def _kinds(tree: PyTree) -> str:
    """Shapes and types of the arrays of a pytree, as text."""
    return str([f"{jnp.result_type(x)}{list(jnp.shape(x))}" for x in jax.tree.leaves(eqx.filter(tree, eqx.is_array))])


def _alike(one: PyTree, other: PyTree) -> bool:
    """Whether two pytrees are built alike, from arrays of the same shapes and types."""
    structure = lambda tree: jax.tree.structure(eqx.filter(tree, eqx.is_array))
    return structure(one) == structure(other) and _kinds(one) == _kinds(other)


def lineage_keys(key: PRNGKeyArray, lineages: Int[Array, " L"]) -> Shaped[Array, "L ..."]:
    """The keys of these lineages of an ensemble."""
    return jax.vmap(jr.fold_in, (None, 0))(key, lineages)


def check_count(name: str, value: int) -> None:
    """Raises `ValueError` unless the value is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{name}: got {brief(value)}, expected a whole number of at least 1; try 64")


@eqx.filter_jit
def _simulate(
    loop: Loop, generations: int, key: PRNGKeyArray, record: Record | None, rows: Int[Array, "R 3"] | None
) -> tuple[Lineage, PyTree]:
    record = record or (lambda lineage, batch: lineage.model.summary(loop.target))
    blank, static = eqx.partition(loop.blank(key=jr.fold_in(key, 0)), eqx.is_array)

    def generation(carry, t):
        lineage, batch = loop.step(eqx.combine(carry, static), key=jr.fold_in(key, t))
        return eqx.filter(lineage, eqx.is_array), lambda: record(lineage, batch)

    if rows is None:
        last, records = jax.lax.scan(_recording.recorded(generation), blank, jnp.arange(generations + 1))
        records = jax.tree.map(lambda x: x[1:], records)
    else:
        last, records = _recording.scan(generation, blank, rows)
    valid = in_range(loop, generations)
    last, records = jax.tree.map(lambda x: _mark(x, valid), (last, records))
    return eqx.combine(last, static), records


@eqx.filter_jit
def side_by_side(
    loop: Loop,
    keys: Shaped[Array, "L ..."],
    generations: int,
    record: Record | None,
    rows: Int[Array, "R 3"] | None,
) -> tuple[Lineage, PyTree]:
    """The lineages with these keys, with leading axes L, and L T or L R for the records."""
    return eqx.filter_vmap(lambda key: _simulate(loop, generations, key, record, rows))(keys)


def _mark(x: Shaped[Array, "..."], valid: Bool[Array, ""]) -> Shaped[Array, "..."]:
    """NaN, or −1 for whole numbers, where a traced schedule was out of range."""
    if jnp.issubdtype(x.dtype, jnp.floating):
        return jnp.where(valid, x, jnp.nan)
    return jnp.where(valid, x, -jnp.ones_like(x)) if jnp.issubdtype(x.dtype, jnp.signedinteger) else x


def in_range(loop: Loop, generations: int) -> Bool[Array, ""]:
    """Whether α_t, n_t and the pools that they make are valid at every generation."""
    _, n_t = _schedule.evaluate(loop.alpha, loop.n, generations)
    finite = jnp.all(jnp.isfinite(n_t))
    return finite & (loop.regime.largest_pool(n_t) < _schedule.largest_size()) if _whole(loop) else finite


def check(loop: Loop, generations: int, key: PRNGKeyArray) -> None:
    """Raises `ValueError` for what is not a key, and where concrete schedules are out of range."""
    if not isinstance(key, jax.Array | np.ndarray):
        raise ValueError(f"key: got {brief(key)}, expected a PRNG key; try jax.random.key(0)")
    if jnp.ndim(key) != (0 if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else 1):
        raise ValueError(f"key: got keys of shape {jnp.shape(key)}, expected one; each lineage gets its own from it")
    if _schedule.is_traced(loop.n):
        return _schedule.check(loop.alpha, loop.n, generations)
    with jax.ensure_compile_time_eval():  # concrete misuse is found inside a jitted function too
        n_t = _schedule.evaluate(loop.alpha, loop.n, generations)[1]
        pool = loop.regime.largest_pool(n_t)
        overflows = not isinstance(pool, Tracer) and bool(pool >= _schedule.largest_size())
        if isinstance(loop.learner, AbstractEstimator) and not isinstance(n_t, Tracer):
            _check_least(loop.learner.least(loop.target), n_t if isinstance(loop.regime, Replace) else n_t[:1])
    if overflows and _whole(loop):
        raise ValueError(
            f"n: got a pool of {float(pool):.3g} draws in {generations} generations, expected fewer than "
            f"{_schedule.largest_size():.0f}; try Accumulate(decay=1.0), a float pool, or jax.enable_x64(True)"
        )


def _check_least(least: int, n_t: Float[Array, " times"]) -> None:
    """`ValueError` where a sample that is fitted by itself is too small."""
    if (few := np.flatnonzero(np.asarray(n_t) < least)).size:
        got, expected = f"{float(n_t[few[0]]):g} at generation {few[0]}", f"at least {least} draws for this learner"
        raise ValueError(f"n: got {got}, expected {expected}; try jc.Constant({10 * least})")


def _whole(loop: Loop) -> bool:
    """Whether the data hold whole numbers, which overflow where floats do not."""
    data = jax.tree.leaves(loop._drawn(loop.target))
    return any(jnp.issubdtype(x.dtype, jnp.integer) for x in data)


def arrays(loop: Loop) -> Loop:
    """Numbers become arrays of the default precision: as Python numbers each new value would be compiled anew."""

    def array(x):
        if not isinstance(x, int | float | np.ndarray | np.generic | jax.Array):
            return x
        return jnp.asarray(x, float if jnp.issubdtype(jnp.result_type(x), jnp.floating) else None)

    return jax.tree.map(array, loop)


def _share_out(loop: Loop, keys: Shaped[Array, "L ..."]) -> tuple[Loop, Shaped[Array, "L ..."]]:
    """Lineages over this process's devices, the loop on all of them; untouched under a trace or a chosen device."""
    devices, leaves = jax.local_devices(), jax.tree.leaves((loop, keys))
    uneven = len(devices) == 1 or keys.shape[0] % len(devices)
    chosen = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    if uneven or chosen is not None or any(isinstance(x, Tracer) for x in leaves):
        return loop, keys
    mesh = jax.make_mesh((len(devices),), ("lineage",), axis_types=(jax.sharding.AxisType.Auto,), devices=devices)
    on = lambda *axes: jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
    arrays, static = eqx.partition(loop, eqx.is_array)
    return eqx.combine(jax.device_put(arrays, on()), static), jax.device_put(keys, on("lineage"))
