"""Metrics of generated text against definitions by hand and in sets, and against their limits."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcollapse import text_metrics

TEXTS = np.random.default_rng(0).integers(0, 4, (3, 20, 12))
TINY = {"float32": 2e-6, "x64": 1e-13}


def grams(sequence, n):
    return [tuple(sequence[i : i + n]) for i in range(len(sequence) - n + 1)]


def test_perplexity_of_uniform_predictions_is_the_vocabulary():
    values = np.concatenate([-np.log([[1, 1], [27, 27], [256, 256]]), [[-1.0, -2.0], [-4.0, -1.0], [-1.0, -np.inf]]])
    due = [1, 27, 256, np.exp(1.5), np.exp(2.5), np.inf]
    np.testing.assert_allclose(jax.jit(text_metrics.perplexity)(values), due, rtol=1e-5)


def test_distinct_and_repeated_are_counts_of_sets():
    both = lambda x: [(text_metrics.distinct(x, n), text_metrics.repeated(x, n)) for n in (1, 2, 3)]
    for tokens in (TEXTS, TEXTS.astype(float)):
        for n, (distinct, repeated) in enumerate(jax.jit(both)(tokens), 1):
            several = [[gram for sequence in text for gram in grams(sequence, n)] for text in TEXTS]
            np.testing.assert_allclose(distinct, [len(set(found)) / len(found) for found in several], rtol=1e-6)
            again = [[sum(g in grams(s, n)[:i] for i, g in enumerate(grams(s, n))) for s in text] for text in TEXTS]
            np.testing.assert_allclose(repeated, np.asarray(again) / (13 - n), atol=1e-6)


def test_repetition_has_its_limits():
    both = jax.jit(lambda x: (text_metrics.distinct(x, 2), text_metrics.repeated(x, 2)))
    distinct, repeated = both(np.stack([np.zeros((5, 8)), np.arange(40.0).reshape(5, 8)]))
    np.testing.assert_allclose(distinct, [1 / 35, 1], rtol=1e-6)
    np.testing.assert_allclose(repeated, [[1 - 1 / 7] * 5, [0] * 5], rtol=1e-6)


def test_the_slope_of_zipfs_law_is_its_exponent_in_any_order(precision):
    laws = np.stack([np.arange(1.0, 501) ** -s / np.sum(np.arange(1.0, 501) ** -s) for s in (0.5, 1.0, 1.7)])
    laws = np.random.default_rng(1).permuted(laws, axis=1)
    for slopes in jax.jit(lambda p: (text_metrics.rank_slope(p), text_metrics.rank_slope(p, 10, 100)))(laws):
        np.testing.assert_allclose(slopes, [0.5, 1.0, 1.7], rtol=100 * TINY[precision])


def test_the_slope_of_counts_is_that_of_least_squares():
    line = np.polyfit(np.log(np.arange(1, 6)), np.log([50, 20, 9, 8, 1]), 1)[0]
    found = jax.jit(lambda x: (text_metrics.rank_slope(x, 1, 5), text_metrics.rank_slope(x)))
    slope, all_ranks = found(np.array([[8, 50, 20, 1, 9, 0]]))
    np.testing.assert_allclose(slope, [-line], rtol=1e-5)
    assert all_ranks == np.inf


def test_the_tail_of_ranks_is_what_lies_beyond():
    counts = np.array([[1, 5, 0, 3, 1], [0, 0, 4, 0, 0]])
    tails = jax.jit(lambda x: [text_metrics.rank_tail(x, rank) for rank in (0, 2, 4)])(counts)
    np.testing.assert_allclose(tails, [[1, 1], [0.2, 0], [0, 0]], rtol=1e-6)


def of_load(chosen):
    load = text_metrics.load(chosen, 8)
    return load, text_metrics.busiest(load), text_metrics.evenness(load)


def test_the_load_of_experts_and_its_collapse():
    load, busiest, evenness = jax.jit(of_load)(np.array([np.arange(8), [2] * 8, [0, 0, 1, 1] * 2]))
    np.testing.assert_allclose(load, [[1 / 8] * 8, np.eye(8)[2], [0.5, 0.5, 0, 0, 0, 0, 0, 0]])
    np.testing.assert_allclose(busiest, [1 / 8, 1, 0.5])
    np.testing.assert_allclose(evenness, [1, 0, 1 / 3], rtol=1e-6)
    assert jnp.isnan(text_metrics.evenness(np.ones(1)))


def test_a_token_that_no_expert_takes_gives_nan():
    load = jax.jit(lambda x: text_metrics.load(x, 4))(np.array([[0, 1, 7], [0, -1, 1], [0, 1, 3]]))
    assert jnp.isnan(load).all(-1).tolist() == [True, True, False]
    np.testing.assert_allclose(load[2], [1 / 3, 1 / 3, 0, 1 / 3], rtol=1e-6)


@pytest.mark.parametrize("rank", [-1, 1.0, True, None])
def test_a_rank_that_does_not_fit_is_named(rank):
    with pytest.raises(ValueError, match=f"rank: got {rank!r}, expected a whole number of at least 0; try 100"):
        inspect.unwrap(text_metrics.rank_tail)(np.arange(5.0), rank)


def test_finite_samples_move_the_load_as_the_docstrings_say():
    _, busiest, evenness = jax.jit(of_load)(np.random.default_rng(3).integers(0, 8, (4000, 200)))
    np.testing.assert_allclose(1 - evenness.mean(), 7 / (2 * 200 * np.log(8)), rtol=0.05)
    excess = (busiest.mean() - 1 / 8) * 200**0.5
    np.testing.assert_allclose(excess, 1.4236 / 8**0.5, rtol=0.05)  # 1.4236: the largest of eight normal variables


def test_nan_in_gives_nan_out():
    @jax.jit
    def found(texts, row):
        of_row = [f(row) for f in (text_metrics.perplexity, text_metrics.rank_slope, text_metrics.busiest)]
        of_row += [text_metrics.rank_tail(row, 1), text_metrics.evenness(row)]
        return text_metrics.distinct(texts, 2), text_metrics.repeated(texts, 2), jnp.stack(of_row)

    texts = TEXTS.astype(float)
    texts[1, 2, 3] = np.nan
    distinct, repeated, of_row = found(texts, np.array([0.5, np.nan, 0.2]))
    assert jnp.isnan(distinct).tolist() == [False, True, False]
    assert jnp.isnan(repeated).sum() == 1 and jnp.isnan(of_row).all()


@pytest.mark.parametrize("n", [0, 13, True])
def test_an_n_that_does_not_fit_is_named(n):
    for metric in (text_metrics.distinct, text_metrics.repeated):
        with pytest.raises(ValueError, match=f"n: got {n!r} for sequences of 12 tokens"):
            metric(TEXTS, n)
    with pytest.raises(ValueError, match="last: got ranks 3 to 3 of 5"):
        text_metrics.rank_slope(np.ones(5), 3, 3)
