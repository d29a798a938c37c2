"""A loop of nearest-neighbour models: with weight 0 that of the transformer alone, and a datastore that holds it up."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import jaxcollapse as jc

CHAIN = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7], [0.25, 0.25, 0.25, 0.25]])
INNER = jc.Transformer(layers=1, width=16, heads=2, capacity=16, steps=60, rate=0.01)


def run(learner, generations, lineages, record):
    target = jc.Markov(CHAIN, 8)
    loop = jc.Loop(target, learner, jc.Replace(), jc.Constant(0.0), jc.Constant(16))
    record_ = lambda lineage, batch: record(lineage.model, batch, target)
    return jc.ensemble(loop, generations, lineages=lineages, key=jr.key(5), record=record_)[1]


def test_with_weight_0_a_loop_is_that_of_the_transformer_bit_for_bit():
    record = lambda model, batch, target: (batch.pooled.points, getattr(model, "inner", model).weights)
    alone, wrapped = (jax.tree.leaves(run(x, 3, 2, record)) for x in (INNER, jc.Neighbours(INNER, 0.0, sequences=8)))
    assert all(np.array_equal(a, b) for a, b in zip(alone, wrapped, strict=True)) and np.ptp(alone[0]) == 3


def test_a_datastore_is_kept_and_encoded_anew_and_decoding_is_a_curation():
    learner, target, key = jc.Neighbours(INNER, sequences=8), jc.Markov(CHAIN, 8), jr.key(0)
    before = learner.init(target, key=key)
    after = learner.fit(learner.observe(target, jnp.asarray(16), key=key), before, key=key)
    assert np.array_equal(after.datastore, before.datastore) and abs(after.keys - before.keys).max() > 0.01
    due = after.inner.representations(after.datastore).reshape(after.keys.shape)
    np.testing.assert_allclose(after.keys, due, atol=1e-4)
    sharp = jc.Decoding(jc.TopK(1))(after)
    assert np.ptp(sharp.draw(6, key=key), axis=0).max() == 0 and np.ptp(after.draw(6, key=key), axis=0).max() > 0
    idle = learner.fit(learner.observe(target, jnp.asarray(0), key=key), before, key=key)
    assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (idle, before)), strict=True))


def test_a_datastore_holds_up_a_loop_without_real_data():
    """Cross-entropy of the last of 8 generations, 16 sequences each: lower with λ = ½, in every one of 8 lineages."""
    record = lambda model, batch, target: -model.log_prob(target.test).mean() / target.length
    with_, without = (run(jc.Neighbours(INNER, w), 8, 8, record) for w in (0.5, 0.0))
    with_, without = np.asarray(with_), np.asarray(without)
    entropy = float(jc.Markov(CHAIN, 8).entropy) / 8
    assert (with_[:, -1] < without[:, -1]).all()
    assert (with_[:, -1].mean() - entropy) < 0.5 * (without[:, -1].mean() - entropy)
    assert jnp.isfinite(without).all()
