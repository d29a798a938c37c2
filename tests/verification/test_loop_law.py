"""Properties of the loop that are dear to compile: documents, what is recorded, float pools, and x64. 2 minutes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxcollapse as jc
from tests import test_loop
from tests.helpers import assert_mean
from tests.test_loop import assert_same, chosen, every_kind, loop


def test_documents_come_from_their_own_source():
    target = jc.Categorical(np.array([[0.2, 0.8], [0.6, 0.4]]), np.array([0.5, 0.5]))
    silent = lambda model: eqx.tree_at(lambda m: m.probs, model, jnp.array([[1.0, 0.0], [1.0, 0.0]]))
    fields = {"learner": jc.Tabular(document_length=5), "curate": silent, "split": "fixed"}
    looped = loop(target=target, alpha=jc.Constant(0.5), n=jc.Constant(100), **fields)
    record = lambda lineage, batch: (batch.real.counts, batch.synthetic.counts, batch.data.counts)
    _, (real, synthetic, data) = jc.ensemble(looped, 2, lineages=2000, key=jr.key(22), record=record)
    assert (synthetic.sum((-1, -2)) == 50).all() and (synthetic[..., 1] == 0).all() and (real + synthetic == data).all()
    law, expected = np.array([0.5, 0.5]), np.zeros((2, 2))
    for _ in range(5):
        expected, law = expected + 10 * law[:, None] * target.probs, law @ np.asarray(target.probs)
    assert_mean(real[:, 1], expected)


def test_chosen_generations_of_one_lineage_with_a_memory_are_those_of_all():
    looped = loop(regime=jc.Subsample(jc.Accumulate()))
    _, everything = jc.simulate(looped, 14, key=jr.key(27), record=every_kind)
    _, records = jc.simulate(looped, 14, key=jr.key(27), record=every_kind, record_at=range(2, 15, 3))
    assert_same(records, chosen(everything, range(2, 15, 3), axis=0))


def test_what_is_not_recorded_is_neither_held_nor_computed(optimised):
    def compiled(record_at, generations=200):
        def run(key, alpha):
            record = lambda lineage, batch: lineage.model.probs @ lineage.model.probs[:, None] * lineage.model.probs
            looped = loop(target=jc.zipf(64), alpha=jc.Constant(alpha), n=jc.Constant(30))
            return jc.ensemble(looped, generations, lineages=8, key=key, record=record, record_at=record_at)[1]

        return jax.jit(jax.vmap(run)).lower(jr.split(jr.key(0), 2), jnp.array([0.1, 0.2])).compile()

    few, everything = compiled((1, 100, 200)), compiled(None)
    full = 2 * 8 * 200 * 64 * 4
    assert everything.memory_analysis().temp_size_in_bytes + everything.memory_analysis().output_size_in_bytes > full
    assert few.memory_analysis().temp_size_in_bytes + few.memory_analysis().output_size_in_bytes < full / 5
    assert few.as_text().count(" conditional(") > everything.as_text().count(" conditional(")


def test_a_weighted_pool_is_subsampled_and_retained_whole():
    """The weights of a float pool add up to n only after rounding, and n itself is more than float32 holds."""
    for inner in (jc.Subsample(jc.Replace()), jc.Retain(previous=0.5, original=0.5)):
        loop = jc.Loop(jc.zipf(6), jc.Tabular(), jc.Weighted(inner, 0.6), jc.Constant(0.3), jc.Constant(50))
        _, records = jc.ensemble(loop, 3, lineages=32, key=jr.key(8))
        assert np.isfinite(records["squared_error"]).all()
    loop = jc.Loop(jc.zipf(6), jc.Tabular(), jc.Retain(previous=1.0), jc.Constant(0.3), jc.Constant(16777219))
    _, totals = jc.simulate(loop, 2, key=jr.key(9), record=lambda lineage, batch: batch.data.counts.sum())
    assert totals.tolist() == [16777219, 16777219]


@pytest.mark.parametrize(
    "proposition",
    [
        test_loop.test_each_context_follows_its_own_recursion,
        test_loop.test_chosen_generations_hold_what_all_of_them_hold_there,
    ],
)
def test_it_holds_in_x64_too(proposition):
    with jax.enable_x64(True):
        proposition()
