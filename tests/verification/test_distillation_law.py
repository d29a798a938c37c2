"""Distilled tables against their exact risk, every generation: both splits, and contexts that documents visit."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxcollapse as jc
from tests.families.test_distillation import TABLE
from tests.helpers import assert_mean

TARGET = jc.Categorical(np.array([0.4, 0.3, 0.2, 0.1]))


@pytest.mark.parametrize("split", ["random", "fixed", "round"])
@pytest.mark.parametrize("growth", [0.0, 0.25])
def test_unigrams_follow_the_exact_risk(split, growth):
    alpha, n = jc.PowerLaw(0.6, exponent=-0.5), jc.PowerLaw(10.0, exponent=growth)
    loop = jc.Loop(TARGET, jc.Distilled(jc.Tabular()), jc.Replace(), alpha, n, split=split)
    record = lambda lineage, batch: jc.metrics.squared_error(lineage.model.probs, TARGET.probs)
    _, found = jc.ensemble(loop, 20, lineages=20_000, key=jr.key(0), record=record)
    due = jc.metrics.diversity(TARGET.probs) * jc.theory.distilled_risk(alpha, n, 20, split)
    assert_mean(found, due[1:])


def test_documents_are_labelled_where_they_go():
    square = jc.Categorical(np.array([[0.1, 0.9], [0.5, 0.5]]), np.array([1.0, 0.0]))
    source = jc.Categorical(np.array([[0.4, 0.6], [1.0, 0.0]]), square.contexts)
    learner = jc.Tabular(document_length=8)

    @jax.jit
    def pools(alpha):
        draw = lambda one: one.pool(square, source, alpha, jnp.asarray(400), "random", key=jr.key(1))
        return draw(learner), draw(jc.Distilled(learner))

    (_, drawn, replaced), (_, real, labels) = pools(jnp.asarray(0.3))
    visits = np.asarray(replaced.counts).sum(1, keepdims=True)
    np.testing.assert_allclose(labels.counts, visits * np.asarray(source.probs), rtol=1e-6)
    np.testing.assert_array_equal(real.counts, drawn.counts)


def test_rows_follow_their_own_exact_risk():
    """Every generation; all of it is half of what samples do in the end."""
    alpha, n, generations = jc.PowerLaw(0.4, exponent=-0.5), jc.PowerLaw(12.0, exponent=0.25), 8
    loop = jc.Loop(TABLE, jc.Distilled(jc.Tabular()), jc.Replace(), alpha, n)
    record = lambda lineage, batch: jc.metrics.squared_error(lineage.model.probs, TABLE.probs)
    _, found = jc.ensemble(loop, generations, lineages=1500, key=jr.key(0), record=record)
    found = np.asarray(found, np.float64) / np.asarray(jc.metrics.diversity(TABLE.probs), np.float64)
    assert_mean(found, jc.theory.distilled_context_risk(alpha, n, TABLE.contexts, generations)[1:])
    assert found[:, -1, 0].mean() < 0.5 * jc.theory.context_risk(alpha, n, TABLE.contexts, generations)[-1, 0]
