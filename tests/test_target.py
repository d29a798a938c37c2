"""Synthetic targets against their formulas, and tables of counts read as laws."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import scipy.stats

from jaxcollapse import _target as target

EPS = {"float32": 1.2e-7, "x64": 2.3e-16}


def test_zipf_is_the_rank_to_a_power(precision):
    for exponent in (0.0, 1.0, 2.7):
        weights = np.arange(1, 51.0) ** -exponent
        law = target.zipf(50, exponent)
        np.testing.assert_allclose(law.probs, weights / weights.sum(), rtol=EPS[precision])
        assert law.contexts is None and law.probs.dtype == jnp.zeros((), float).dtype


def test_zipf_takes_a_traced_exponent(precision):
    exponents = jnp.asarray([0.0, 1.0, 2.7], float)
    laws = jax.vmap(lambda s: target.zipf(50, s).probs)(exponents)
    for s, law in zip([0.0, 1.0, 2.7], laws, strict=True):
        np.testing.assert_allclose(law, target.zipf(50, s).probs, rtol=50 * EPS[precision])


def test_uniform_is_zipf_without_an_exponent(precision):
    np.testing.assert_array_equal(target.uniform(7).probs, target.zipf(7, 0.0).probs)
    assert target.uniform(1).probs == 1


def test_dirichlet_has_its_mean_and_variance():
    a = jnp.asarray([0.5, 1.0, 2.5])
    draws = jax.vmap(lambda key: target.dirichlet(a, key=key).probs)(jr.split(jr.key(0), 20_000))
    exact = scipy.stats.dirichlet(np.asarray(a))
    se = np.sqrt(exact.var() / 20_000)
    assert (abs(np.asarray(draws, float).mean(0) - exact.mean()) < 4 * se).all()
    np.testing.assert_allclose(np.asarray(draws).var(0), exact.var(), rtol=0.05)


def test_dirichlet_with_one_row_per_context_is_a_table():
    law = target.dirichlet(jnp.ones((3, 5)), key=jr.key(1))
    assert law.probs.shape == (3, 5)
    np.testing.assert_allclose(law.contexts, 1 / 3)
    assert target.dirichlet(1.0, 5, key=jr.key(1)).probs.shape == (5,)
    assert jnp.isfinite(target.dirichlet(1e-3, 5, key=jr.key(1)).probs).all()


def test_counts_become_proportions(precision):
    law = target.from_counts(np.asarray([1, 0, 3]))
    np.testing.assert_array_equal(law.probs, [0.25, 0.0, 0.75])
    assert law.contexts is None


def test_a_table_of_counts_becomes_rows_and_a_law_of_contexts(precision):
    law = target.from_counts(jnp.asarray([[1, 1], [0, 6]]))
    np.testing.assert_array_equal(law.probs, [[0.5, 0.5], [0.0, 1.0]])
    np.testing.assert_array_equal(law.contexts, [0.25, 0.75])


def test_large_counts_keep_their_proportions_in_float32():
    counts = np.asarray([2**40, 2**40 + 2**20, 1])
    law = target.from_counts(counts)
    np.testing.assert_allclose(law.probs, counts / counts.sum(), rtol=1.2e-7)


@pytest.mark.parametrize("vocab", [0, -3, True])
def test_a_vocabulary_below_one_is_refused(vocab):
    for make in (target.zipf, target.uniform, lambda v: target.dirichlet(1.0, v, key=jr.key(0))):
        with pytest.raises(ValueError, match=f"vocab: got {vocab}, expected a whole number of tokens"):
            make(vocab)


def test_one_concentration_needs_a_vocabulary():
    with pytest.raises(ValueError, match="vocab: got None"):
        target.dirichlet(1.0, key=jr.key(0))


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([1.0, -1.0], r"counts: got -1\.0 at \(1,\)"),
        ([1.0, np.nan], r"counts: got nan at \(1,\)"),
        ([[1.0, np.inf], [1.0, 1.0]], r"counts: got inf at \(0, 1\)"),
        ([0, 0, 0], "counts: got no count, expected at least one"),
        ([[1, 2], [0, 0]], "counts: got no count in row 1"),
        ([], r"counts: got shape \(0,\)"),
        (np.ones((2, 2, 2)), r"counts: got shape \(2, 2, 2\)"),
    ],
)
def test_bad_counts_are_named(counts, message):
    with pytest.raises(ValueError, match=message):
        target.from_counts(np.asarray(counts))


@pytest.mark.parametrize("exponent", [-0.5, np.nan, np.inf])
def test_a_bad_exponent_is_named(exponent):
    with pytest.raises(ValueError, match="exponent: got"):
        target.zipf(10, exponent)


@pytest.mark.parametrize(
    ("concentration", "vocab", "message"),
    [
        (0.0, 3, "concentration: got 0.0, expected finite numbers above 0"),
        ([1.0, -1.0], None, r"concentration: got -1\.0 at \(1,\)"),
        ([1.0, 1.0], 3, r"concentration: got shape \(2,\) with vocab=3"),
        (np.ones((2, 2, 2)), None, r"concentration: got shape \(2, 2, 2\)"),
    ],
)
def test_a_bad_concentration_is_named(concentration, vocab, message):
    with pytest.raises(ValueError, match=message):
        target.dirichlet(np.asarray(concentration), vocab, key=jr.key(0))
