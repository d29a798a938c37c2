"""Retrieval: what it says, its exact risk with each kind of datastore, and where the phase boundary goes."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxcollapse as jc


def test_a_datastore_of_the_truth_is_a_real_share_at_inference():
    """The mapping of section 9: λ = ¼, α = 0 is the loop with α = ¼, r_∞ = 1/(1 + 0.4375 (n − 1))."""
    with jax.enable_x64(True):
        constant = lambda n: jc.theory.retrieval(jc.Constant(0.0), jc.Constant(n), 400, 0.25, jnp.inf)
        n = np.array([10.0, 1000.0])
        found = jax.jit(jax.vmap(constant))(n)
        np.testing.assert_allclose(found.parametric[:, -1], 1 / (1 + 0.4375 * (n - 1)), rtol=1e-12)
        np.testing.assert_allclose(found.released[:, -1], 0.75**2 * found.parametric[:, -1], rtol=1e-12)
        schedules = jc.PowerLaw(0.5, exponent=-1.5), jc.PowerLaw(20.0, exponent=0.5)
        same = lambda t: 1 - 0.75 * (1 - schedules[0](t))
        mapped = jc.theory.risk(same, schedules[1], 300)
        np.testing.assert_allclose(jc.theory.retrieval(*schedules, 300, 0.25, jnp.inf).parametric, mapped, rtol=1e-12)


def test_a_finite_datastore_prevents_collapse_and_keeps_a_floor():
    schedules = jc.PowerLaw(0.5, exponent=-1.5), jc.PowerLaw(20.0, exponent=0.5)
    with jax.enable_x64(True):
        assert jc.theory.risk(*schedules, 20_000)[-1] > 0.9
        size = np.array([20.0, 1000.0])
        stored = jax.jit(jax.vmap(lambda size: jc.theory.retrieval(*schedules, 20_000, 0.25, size).released[-1]))(size)
        assert (stored > 1 / size).all() and (stored < 1 / size + 0.002).all()
        own = jc.theory.retrieval(*schedules, 20_000, 0.25)
        assert float(own.released[-1]) == pytest.approx(1 / 20, abs=0.002)


def test_what_is_said_is_the_mixture_and_what_is_fitted_the_table():
    target = jc.Categorical(np.array([[0.5, 0.5, 0.0], [0.1, 0.1, 0.8]]))
    store = np.array([[8, 0, 2], [0, 0, 0]])
    learner = jc.Retrieval(jc.Tabular(), 0.25, store)
    model = learner.init(target, key=jr.key(0))
    model = learner.fit(jc.Counts(jnp.array([[1, 3, 0], [0, 1, 0]])), model, key=jr.key(0))
    np.testing.assert_allclose(model.parametric.probs, [[0.25, 0.75, 0], [0, 1, 0]])
    np.testing.assert_allclose(model.probs, [[0.3875, 0.5625, 0.05], [0, 1, 0]], rtol=1e-6)
    np.testing.assert_allclose(model.log_prob(jnp.array([0, 1])), np.log(0.5625), rtol=1e-6)
    sharp = jc.Temperature(0.5)(model)
    np.testing.assert_allclose(sharp.probs[0], model.probs[0] ** 2 / (model.probs[0] ** 2).sum(), rtol=1e-5)
    unvisited = learner.fit(jc.Counts(jnp.zeros((2, 3), int)), model, key=jr.key(0))
    np.testing.assert_allclose(unvisited.probs, model.probs, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jc.Retrieval(jc.Tabular(), 1.5), r"weight: got 1.5, expected one number in \[0, 1\]"),
        (lambda: jc.Retrieval(jc.Tabular(), 0.5, np.array([1, -1])), "datastore: got .*expected counts of at least 0"),
        (lambda: jc.Retrieval(jc.Tabular(), 0.5, np.zeros(3)), "datastore: got"),
        (
            lambda: jc.Retrieval(jc.Tabular(), 0.5, np.ones(3)).init(jc.zipf(4), key=jr.key(0)),
            r"datastore: got shape \(3,\), expected the table's, \(4,\)",
        ),
    ],
)
def test_what_cannot_be_retrieved_from_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
