"""The tabular family: what a table is, how it is fitted, and what it holds where it has not been."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxcollapse as jc
from tests.helpers import assert_mean

TABLE = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])


@pytest.mark.parametrize(
    ("probs", "contexts", "message"),
    [
        ([0.5, -0.1, 0.6], None, r"probs: got -0.1 at \(1,\), expected probabilities of at least 0"),
        ([0.5, np.nan], None, "probs: got nan"),
        ([0.5, np.inf], None, "probs: got inf"),
        ([0.0, 0.0], None, "probs: got a row that adds up to 0, expected 1; try jc.from_counts"),
        ([0.5, 0.6], None, "adds up to 1.1"),
        ([], None, r"probs: got shape \(0,\)"),
        (0.5, None, r"probs: got shape \(\)"),
        ([[[1.0]]], None, r"expected a table of shape \(v,\) or \(c, v\)"),
        (TABLE, [0.5, 0.4, 0.1], r"contexts: got shape \(3,\) for probs of shape \(2, 3\)"),
        (TABLE, [1.5, -0.5], "contexts: got -0.5"),
        (TABLE[0], [1.0], "leave contexts out for a unigram"),
    ],
)
def test_what_is_not_a_law_is_refused(probs, contexts, message):
    with pytest.raises(ValueError, match=message):
        jc.Categorical(np.array(probs), None if contexts is None else np.array(contexts))


def test_a_traced_law_that_is_none_gives_nan_records():
    def run(probs):
        loop = jc.Loop(jc.Categorical(probs), jc.Tabular(), jc.Replace(), jc.Constant(0.5), jc.Constant(9))
        return jc.simulate(loop, 2, key=jr.key(0))[1]["diversity"]

    diversity = jax.jit(jax.vmap(run))(jnp.array([[0.5, 0.5], [-0.5, 1.5], [jnp.nan, 1.0], [0.0, 0.0]]))
    assert np.isfinite(diversity[0]).all() and np.isnan(diversity[1:]).all()


def test_fitting_is_relative_frequency_with_and_without_smoothing():
    counts = jc.Counts(jnp.array([[3, 1, 0], [0, 0, 0]]))
    model = jc.Categorical(TABLE)
    fitted = jc.Tabular().fit(counts, model, key=jr.key(0)).probs
    np.testing.assert_allclose(fitted, [[0.75, 0.25, 0], TABLE[1]])
    smooth = jc.Tabular(smoothing=0.5).fit(counts, model, key=jr.key(0)).probs
    np.testing.assert_allclose(smooth, [[3.5 / 5.5, 1.5 / 5.5, 0.5 / 5.5], TABLE[1]], rtol=1e-6)


def test_contexts_are_drawn_from_their_law_and_tokens_from_their_row():
    target = jc.Categorical(TABLE, np.array([0.8, 0.2]))
    counts = jax.vmap(lambda key: target.counts(jnp.asarray(10), key=key))(jr.split(jr.key(0), 4000))
    assert (counts.sum((1, 2)) == 10).all()
    assert_mean(counts, 10 * np.array([[0.8], [0.2]]) * TABLE)


def test_log_prob_reads_the_table():
    target = jc.Categorical(TABLE)
    np.testing.assert_allclose(target.log_prob(jnp.array([[0, 1], [1, 2]])), np.log([0.3, 0.8]), rtol=1e-6)
    np.testing.assert_allclose(jc.Categorical(TABLE[0]).log_prob(jnp.array([2, 0])), np.log([0.2, 0.5]), rtol=1e-6)


def test_a_context_that_was_never_visited_holds_one_real_draw():
    target = jc.Categorical(TABLE, np.array([1.0, 0.0]))
    loop = jc.Loop(target, jc.Tabular(), jc.Replace(), jc.Constant(0.0), jc.Constant(5))
    _, probs = jc.ensemble(loop, 3, lineages=4000, key=jr.key(1), record=lambda lineage, batch: lineage.model.probs)
    row = np.asarray(probs)[:, :, 1]
    assert (row.max(-1) == 1).all() and (row[:, 0] == row[:, 2]).all()
    assert_mean(row[:, 0], TABLE[1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jc.Tabular(smoothing=-1.0), "smoothing: got -1.0"),
        (lambda: jc.Tabular(smoothing=float("nan")), "smoothing: got nan"),
        (lambda: jc.Tabular(document_length=0), "document_length: got 0"),
        (lambda: jc.Accumulate(decay=1.5), r"decay: got 1.5, expected one number in \[0, 1\]"),
        (lambda: jc.Anchor(fraction=-0.1), "fraction: got -0.1"),
    ],
)
def test_bad_fields_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_documents_need_a_square_table():
    loop = jc.Loop(jc.Categorical(TABLE), jc.Tabular(document_length=4), jc.Replace(), jc.Constant(0.5), jc.Constant(9))
    with pytest.raises(ValueError, match="expected a square table"):
        jc.simulate(loop, 2, key=jr.key(0))
