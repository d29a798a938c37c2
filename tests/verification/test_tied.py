"""Tied rows and early stops: what a fit is, and the exact sum of the three errors."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxcollapse as jc
from tests.helpers import assert_mean

KEY = jr.key(0)
TABLE = jc.Categorical(np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.2, 0.2, 0.6]]), np.array([0.5, 0.25, 0.25]))
GROUPS = jnp.array([0, 0, 2])


def test_tied_contexts_are_fitted_to_their_pooled_counts():
    counts = jc.Counts(jnp.array([[3, 1, 0], [0, 2, 2], [0, 0, 0]]))
    fitted = jc.Tied(GROUPS).fit(counts, TABLE, key=KEY).probs
    np.testing.assert_allclose(fitted, [[3 / 8, 3 / 8, 2 / 8]] * 2 + [[0.2, 0.2, 0.6]], rtol=1e-6)
    marked = jc.Tied(GROUPS).fit(jc.Counts(-jnp.ones((3, 3), int)), TABLE, key=KEY).probs
    assert np.isnan(marked).all()


def test_groups_of_one_tie_nothing():
    counts = jc.Counts(jnp.array([[3, 1, 0], [0, 2, 2], [0, 0, 0]]))
    tied, free = (learner.fit(counts, TABLE, key=KEY).probs for learner in (jc.Tied(jnp.arange(3)), jc.Tabular()))
    np.testing.assert_array_equal(tied, free)


def test_a_group_begins_with_one_draw_of_its_truth():
    rows = jax.jit(jax.vmap(lambda key: jc.Tied(GROUPS).init(TABLE, key=key).probs))(jr.split(KEY, 4000))
    assert (rows[:, 0] == rows[:, 1]).all() and (rows.max(-1) == 1).all()
    assert_mean(rows[:, [0, 2]], [[1 / 3, 1 / 2, 1 / 6], [0.2, 0.2, 0.6]])


def test_an_early_stop_keeps_a_share_of_its_start_where_there_are_data():
    counts = jc.Counts(jnp.array([[3, 1, 0], [0, 2, 2], [0, 0, 0]]))
    start = jc.Categorical(np.full((3, 3), 1 / 3), TABLE.contexts)
    fitted = jc.Stopped(0.4, start).fit(counts, TABLE, key=KEY).probs
    np.testing.assert_allclose(fitted[0], 0.6 * np.array([0.75, 0.25, 0]) + 0.4 / 3, rtol=1e-6)
    np.testing.assert_array_equal(fitted[2], TABLE.probs[2])
    slow = jc.Stopped(0.4).fit(counts, TABLE, key=KEY).probs
    np.testing.assert_allclose(slow[0], 0.6 * np.array([0.75, 0.25, 0]) + 0.4 * TABLE.probs[0], rtol=1e-6)


def test_traced_misuse_is_nan():
    counts = jc.Counts(jnp.ones((3, 3), int))
    fit = jax.jit(lambda kept, groups: jc.Tied(groups, jc.Stopped(kept)).fit(counts, TABLE, key=KEY).probs)
    assert np.isfinite(fit(0.5, GROUPS)).all()
    assert np.isnan(fit(1.5, GROUPS)).all() and np.isnan(fit(0.5, GROUPS - 1)).all()


@pytest.fixture(scope="module")
def three_errors():
    path = pathlib.Path(__file__).parents[2] / "experiments" / "three_errors.py"
    spec = importlib.util.spec_from_file_location("three_errors", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_three_errors_add_up_exactly(three_errors):
    settings = {"generations": 6, "alpha": 0.2, "n": 200.0, "kept": 0.15}
    run = lambda cell, key: three_errors.tables(*cell, key=key, lineages=200, **settings)
    cells = three_errors.CELLS
    risk = np.asarray(jax.jit(jax.vmap(run))(jnp.asarray(cells) > 0, jr.split(KEY, len(cells))))
    for cell, samples in zip(cells, risk, strict=True):
        terms = three_errors.exact(cell, settings)
        assert ((terms > 1e-6) == np.array(cell, bool)).all(), "a term does not vanish with its error"
        if cell[0]:
            assert_mean(samples, terms.sum(1))
        else:
            np.testing.assert_allclose(samples.mean(0), terms.sum(1), atol=2e-6)


def test_without_approximation_the_variance_is_the_risk_of_the_groups(three_errors):
    settings = {"generations": 6, "alpha": 0.2, "n": 200.0, "kept": 0.15}
    truth = np.stack([np.asarray(three_errors.target().probs)[i : i + 2].T @ [0.6, 0.4] for i in (0, 2)])
    risk = jc.theory.context_risk(jc.Constant(settings["alpha"]), jc.Constant(settings["n"]), np.array([0.5, 0.5]), 6)
    expected = (np.asarray(risk)[1:] * (1 - (truth**2).sum(1))) @ [0.5, 0.5]
    np.testing.assert_allclose(three_errors.exact((1, 1, 0), settings)[:, 0], expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jc.Tied(jnp.array([0, 3, 1])), "groups: got .*expected numbers from 0 to 2"),
        (lambda: jc.Tied(jnp.array([0, -1])), "groups: got"),
        (lambda: jc.Tied(jnp.array([0, 0])).init(TABLE, key=KEY), "groups: got 2 for a target of shape"),
        (lambda: jc.Tied(jnp.array([0])).init(jc.zipf(3), key=KEY), "expected one for each context"),
        (lambda: jc.Stopped(1.5), r"kept: got 1.5, expected one number in \[0, 1\]"),
        (lambda: jc.Stopped(0.5, jc.zipf(3)).init(TABLE, key=KEY), "start: got a table of shape"),
    ],
)
def test_bad_fields_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
