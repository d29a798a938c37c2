"""Curations of tables: their laws by brute force, their limits, sweeps of their numbers, and misuse."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcollapse as jc

ROW = np.array([0.1, 0.4, 0.0, 0.3, 0.2])
TABLE = np.array([ROW, [0.0, 0.0, 1.0, 0.0, 0.0], [0.2, 0.2, 0.2, 0.2, 0.2]])
REWARD = np.array([1.0, 0.0, 9.0, 1.0, 0.5])
GOOD = np.array([True, False, True, True, False])


def curated(curation, probs=ROW):
    return np.asarray(curation(jc.Categorical(probs)).probs, np.float64)


def best_of(draws, p, reward):
    """By enumeration of all tuples of draws; one of the best at random."""
    law = np.zeros(len(p))
    for tokens in itertools.product(range(len(p)), repeat=draws):
        best = [v for v in tokens if reward[v] == max(reward[u] for u in tokens)]
        for v in best:
            law[v] += p[list(tokens)].prod() / len(best)
    return law


def normalised(weights):
    return np.asarray(weights) / np.sum(weights)


CASES = {
    "temperature": (jc.Temperature(0.5), normalised(ROW**2)),
    "temperature 1 changes nothing": (jc.Temperature(1.0), ROW),
    "temperature 0 is the mode": (jc.Temperature(1e-6), [0, 1, 0, 0, 0]),
    "temperature infinity is uniform on the support": (jc.Temperature(1e9), [0.25, 0.25, 0, 0.25, 0.25]),
    "top p": (jc.TopP(0.6), normalised([0, 0.4, 0, 0.3, 0])),
    "top p 1 changes nothing": (jc.TopP(1.0), ROW),
    "top p 0 is the mode": (jc.TopP(1e-6), [0, 1, 0, 0, 0]),
    "top k": (jc.TopK(3), normalised([0, 0.4, 0, 0.3, 0.2])),
    "top k of all changes nothing": (jc.TopK(9), ROW),
    "a perfect verifier": (jc.Verifier(GOOD), normalised([0.1, 0, 0, 0.3, 0])),
    "verifier": (jc.Verifier(GOOD, 0.1, 0.2), normalised(ROW * [0.8, 0.1, 0.8, 0.8, 0.1])),
    "a blind verifier changes nothing": (jc.Verifier(GOOD, 0.3, 0.7), ROW),
    "a verifier of doubtful tokens": (
        jc.Verifier(np.array([0.5, 1, 0, 1, 0]), 0.1),
        normalised(ROW * [0.55, 1, 0.1, 1, 0.1]),
    ),
    "tilt": (jc.Tilt(REWARD, 2.0), normalised(ROW * np.exp(2 * REWARD))),
    "tilt 0 changes nothing": (jc.Tilt(REWARD, 0.0), ROW),
    "a strong tilt is the best of the support": (jc.Tilt(REWARD, 1e6), [0.25, 0, 0, 0.75, 0]),
    "best of 1 changes nothing": (jc.BestOf(1, REWARD), ROW),
    "best of 3": (jc.BestOf(3, REWARD), best_of(3, ROW, REWARD)),
    "the best of many is the best of the support": (jc.BestOf(1e7, REWARD), [0.25, 0, 0, 0.75, 0]),
    "contamination": (jc.Contaminate(normalised(GOOD), 0.25), 0.75 * ROW + 0.25 * normalised(GOOD)),
    "a chain is applied in order": (jc.Chain(jc.TopK(2), jc.Temperature(0.5)), normalised([0, 16.0, 0, 9.0, 0])),
}


@pytest.mark.parametrize("name", CASES)
def test_a_row_is_curated_as_its_formula_says(name):
    curation, expected = CASES[name]
    np.testing.assert_allclose(curated(curation), expected, atol=3e-7)


def test_rows_are_curated_one_by_one_and_the_contexts_stay():
    contexts = np.array([0.5, 0.3, 0.2])
    model = jc.Categorical(TABLE, contexts)
    every = [jc.Temperature(0.7), jc.TopP(0.6), jc.TopK(2), jc.Tilt(REWARD), jc.BestOf(4, REWARD), jc.Verifier(GOOD)]
    for curation in every:
        found = eqx.filter_jit(curation)(model)
        np.testing.assert_allclose(found.contexts, contexts)
        np.testing.assert_allclose(found.probs, [curated(curation, row) for row in TABLE], atol=2e-7)
    by_row = jc.Contaminate(TABLE[::-1], np.array([0.0, 0.5, 1.0]))(model).probs
    np.testing.assert_allclose(by_row, [TABLE[0], TABLE[1], TABLE[0]], atol=1e-7)


def test_nodes_read_one_another_through_the_mixing_matrix():
    weights = np.array([[1.0, 0.0, 0.0], [0.25, 0.5, 0.25], [0.0, 0.5, 0.5]])
    np.testing.assert_allclose(curated(jc.Mixing(weights), TABLE), weights @ TABLE, atol=1e-7)


def test_ties_go_to_the_lower_token_and_nothing_comes_back_to_life():
    tied = np.array([0.0, 0.25, 0.25, 0.25, 0.25])
    for curation in (jc.TopK(2), jc.TopP(0.5)):
        np.testing.assert_allclose(curated(curation, tied), [0, 0.5, 0.5, 0, 0])
    filters = (jc.Temperature(5.0), jc.Tilt(REWARD, 3.0), jc.BestOf(64, REWARD), jc.Verifier(GOOD, 0.5, 0.5))
    assert all(curated(curation)[2] == 0 for curation in filters)


def test_a_row_of_which_nothing_would_pass_stays_as_it_is():
    found = curated(jc.Verifier(np.array([True, True, False, True, True])), TABLE)
    np.testing.assert_allclose(found[1], TABLE[1])
    assert found[0, 2] == found[2, 2] == 0


def test_one_compile_serves_a_sweep_over_every_number():
    traces, p_star = [], jc.zipf(5)

    def experiment(temperature, p, k, rate, strength, draws, epsilon):
        traces.append(1)
        curate = jc.Chain(
            jc.Temperature(temperature),
            jc.TopP(p),
            jc.TopK(k),
            jc.Verifier(GOOD, rate, 1 - rate),
            jc.Tilt(REWARD, strength),
            jc.BestOf(draws, REWARD),
            jc.Contaminate(p_star, epsilon),
        )
        return curate(p_star).probs

    base = np.array([1.0, 1.0, 5, 0.5, 0.0, 1, 0.0])
    grid = np.tile(base, (9, 1))
    for i, value in enumerate([0.5, 0.6, 1, 0.0, 1.0, 2, 1.0]):
        grid[i, i] = value
    grid[3, 3] = 0.25
    grid[8, 0] = -1.0
    columns = [jnp.asarray(x, float) for x in grid.T]
    columns[2] = columns[2].astype(int)
    laws = np.asarray(jax.jit(jax.vmap(experiment))(*columns))
    assert len(traces) == 1
    p = np.asarray(p_star.probs, np.float64)
    np.testing.assert_allclose(laws[[3, 6, 7]], [p, p, p], atol=3e-7)
    np.testing.assert_allclose(laws[0], normalised(p**2), atol=3e-7)
    np.testing.assert_allclose(laws[2], [1, 0, 0, 0, 0], atol=3e-7)
    np.testing.assert_allclose(laws[4], normalised(p * np.exp(REWARD)), atol=3e-7)
    np.testing.assert_allclose(laws[5], best_of(2, p, REWARD), atol=3e-7)
    assert np.isnan(laws[8]).all()


@pytest.mark.parametrize(
    ("make", "bad"),
    [
        (jc.Temperature, 0.0),
        (jc.TopP, 1.5),
        (jc.TopK, 0.0),
        (jc.TopK, 1.5),
        (lambda x: jc.Verifier(GOOD, x), 1.5),
        (lambda x: jc.Verifier(GOOD, 0.0, x), -0.5),
        (lambda x: jc.BestOf(x, REWARD), 0.5),
        (lambda x: jc.Contaminate(ROW, x), 1.5),
    ],
)
def test_traced_numbers_out_of_range_mark_the_row(make, bad):
    run = jax.jit(lambda x, p: make(x)(jc.Categorical(p)).probs)
    assert np.isnan(run(jnp.asarray(bad), jnp.asarray(ROW, float))).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jc.Temperature(0.0), "temperature: got 0.0, expected one finite number above 0"),
        (lambda: jc.Temperature(-1.0), "temperature: got -1.0"),
        (lambda: jc.Temperature(np.inf), "temperature: got inf"),
        (lambda: jc.TopP(0.0), r"p: got 0.0, expected one number in \(0, 1\]"),
        (lambda: jc.TopP(1.1), "p: got 1.1"),
        (lambda: jc.TopK(0), "k: got 0, expected a whole number of tokens, at least 1"),
        (lambda: jc.TopK(2.5), "k: got 2.5"),
        (lambda: jc.Verifier(GOOD, 1.1), r"false_positive: got 1.1, expected one number in \[0, 1\]"),
        (lambda: jc.Verifier(GOOD, 0.1, -0.1), "false_negative: got -0.1"),
        (lambda: jc.Verifier(np.array([0.5, 2.0])), "good: got .*expected a mask or probabilities"),
        (lambda: jc.Tilt(np.array([np.nan])), "reward: got"),
        (lambda: jc.Tilt(REWARD, np.inf), "strength: got inf"),
        (lambda: jc.BestOf(0, REWARD), "n: got 0, expected one finite number of at least 1"),
        (lambda: jc.Contaminate(ROW, 1.5), r"epsilon: got 1.5, expected numbers in \[0, 1\]"),
        (lambda: jc.Contaminate(np.array([0.5, 0.6]), 0.5), "adds up to 1.1"),
        (lambda: jc.Mixing(np.array([[0.5, 0.4], [0.0, 1.0]])), r"weights: got the row array\(\[0.5, 0.4\]\)"),
        (lambda: jc.Mixing(np.array([[1.5, -0.5], [0.0, 1.0]])), "weights: got the row"),
        (lambda: jc.Mixing(np.ones((1, 2))), r"weights: got shape \(1, 2\), expected a square matrix"),
        (lambda: jc.Nodes(jc.Tabular(document_length=4)), "inner: got .*expected a jc.Tabular without documents"),
    ],
)
def test_bad_curations_are_refused_when_they_are_made(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("curation", "message"),
    [
        (jc.Verifier(GOOD[:3]), r"good: got shape \(3,\) for a table of shape \(3, 5\), expected one a token"),
        (jc.Tilt(REWARD[:2]), "reward: got shape"),
        (jc.BestOf(2, REWARD[:2]), "reward: got shape"),
        (jc.Contaminate(ROW[:2] * 2, 0.1), "other: got shape"),
        (jc.Contaminate(ROW, np.ones(2)), r"epsilon: got shape \(2,\) for \(3,\) rows"),
        (jc.Mixing(np.eye(2)), r"weights: got shape \(2, 2\) for a table of shape \(3, 5\)"),
    ],
)
def test_curations_that_do_not_fit_the_table_are_refused(curation, message):
    table = jc.Categorical(TABLE)
    with pytest.raises(ValueError, match=message):
        curation(table)
    with pytest.raises(ValueError, match=message):  # as soon as it is put together
        jc.Loop(table, jc.Tabular(), jc.Replace(), jc.Constant(0.1), jc.Constant(9), curate=curation)


def test_a_model_without_a_table_is_refused():
    model = jc.Normal(jnp.zeros(1), jnp.eye(1))
    for curation in (jc.Temperature(0.5), jc.TopP(0.5), jc.TopK(1), jc.Tilt(REWARD), jc.Mixing(np.eye(2))):
        with pytest.raises(ValueError, match="curate: got a model Normal, expected a table of probabilities"):
            curation(model)
        with pytest.raises(ValueError, match="curate: got a model Normal"):
            jc.Loop(model, jc.Gaussian(), jc.Replace(), jc.Constant(0.1), jc.Constant(9), curate=curation)
