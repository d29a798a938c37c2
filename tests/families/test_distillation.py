"""Distilled learners: what they are shown, the exact risk of tables, and what an early stop makes of soft labels."""

import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import jaxcollapse as jc

TABLE = jc.Categorical(np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [0.6, 0.2, 0.2]]), np.array([0.7, 0.25, 0.05]))
SOURCE = jc.Categorical(np.array([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0], [0.2, 0.2, 0.6]]), TABLE.contexts)


@jax.jit
def pools(n):
    """(pooled, real, synthetic) of a table and of a distilled one, with one key."""
    draw = lambda learner: learner.pool(TABLE, SOURCE, jnp.asarray(0.3), n, "random", key=jr.key(0))
    return draw(jc.Tabular()), draw(jc.Distilled(jc.Tabular()))


def test_synthetic_draws_are_their_expectation_where_they_fall():
    (_, drawn, replaced), (pooled, real, labels) = pools(jnp.asarray(50))
    np.testing.assert_array_equal(real.counts, drawn.counts)
    visits = np.asarray(replaced.counts).sum(1, keepdims=True)
    np.testing.assert_allclose(labels.counts, visits * np.asarray(SOURCE.probs), rtol=1e-6)
    np.testing.assert_allclose(pooled.counts, real.counts + labels.counts, rtol=1e-6)
    assert float(pooled.total) == pytest.approx(50, rel=1e-6) and visits.sum() > 20 and drawn.total > 5


def test_marked_draws_stay_marked():
    assert all((part.counts == -1).all() for part in pools(jnp.asarray(-1))[1])


def generations(learner, first, number):
    """p_t of a loop without real data: each fitted to the one before."""
    fit = jax.jit(lambda model: learner.fit(1000.0 * jc.Counts(model.probs), model, key=jr.key(0)))
    model = jc.LogLinear(first, None, (jnp.log(first),))
    for _ in range(number):
        model = fit(model)
    return model.probs


def test_a_softmax_that_goes_on_stays_and_one_that_stops_early_from_scratch_ends_uniform():
    """What gradient descent has not learned when it stops, the next generation cannot learn from it."""
    first = jnp.array([0.45, 0.3, 0.25, 0.0001])
    descent = functools.partial(jc.Softmax, optimiser=optax.sgd, rate=1.0, steps=10)
    np.testing.assert_allclose(generations(descent(start="previous"), first, 3), first / first.sum(), atol=1e-6)
    once, often = (generations(descent(), first, t) for t in (1, 150))
    assert once.max() > 0.4 and abs(often - 0.25).max() < 2e-3


def test_a_learner_without_a_table_of_probabilities_is_refused():
    with pytest.raises(ValueError, match="inner: got a learner of Normal, expected one of tables"):
        jc.Distilled(jc.Gaussian()).init(jc.Normal(0.0, 1.0), key=jr.key(0))
