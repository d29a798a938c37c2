"""Laws of sequences: windows of a text against the text, Markov chains against sums over all sequences."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxcollapse as jc
from tests.helpers import assert_mean

TABLE = np.array([[0.1, 0.6, 0.3], [0.5, 0.5, 0.0], [0.2, 0.2, 0.6]])
START = np.array([0.5, 0.0, 0.5])  # not its stationary law
ALL = np.array(list(itertools.product(range(3), repeat=4)))
WORDS = np.random.default_rng(0).integers(0, 3, 200)


def chain_of(length=4):
    return jc.Markov(jc.Categorical(TABLE, START), length)


# ── a text ──


def test_a_draw_is_a_window_of_the_training_part_and_every_start_is_as_likely():
    text = jc.Text(np.arange(40) % 37, 5, test_share=0.25)  # 30 different tokens, 26 starts
    drawn = np.asarray(text.draw(26_000, key=jr.key(0)))
    assert drawn.dtype == np.float32 and (np.diff(drawn, axis=1) == 1).all()
    assert text.starts == 26 and set(drawn[:, 0]) == set(range(26))
    assert_mean(drawn[:, :1] == np.arange(26), np.full(26, 1 / 26))


def test_test_windows_are_held_out_and_do_not_overlap():
    for size, length in ((200, 7), (20_000, 5)):
        ids = np.arange(size)
        text = jc.Text(ids, length, test_share=0.3)
        test = np.asarray(text.test)
        assert test.shape == (min(256, round(0.3 * size) // length), length)
        assert (np.diff(test, axis=1) == 1).all() and (np.diff(test[:, 0]) >= length).all()
        assert test.min() == text.ids.size == size - round(0.3 * size) and test.max() == size - 1


def test_a_text_is_held_in_the_smallest_type():
    for vocab, kind in ((256, "uint8"), (257, "uint16"), (65_536, "uint16"), (65_537, "uint32"), (None, "uint8")):
        text = jc.Text(b"to be, or not to be", 2, vocab)
        assert text.ids.dtype == kind and text.vocab == (vocab or ord("t") + 1)
    assert (np.asarray(text.ids) == list(b"to be, or not to ")).all() and (np.asarray(text.test) == list(b"be")).all()


def test_the_empirical_law_adds_up_and_is_the_share_of_windows():
    text = jc.Text(WORDS, 4)
    law = np.exp(np.asarray(text.log_prob(jnp.asarray(ALL.reshape(9, 9, 4))))).ravel()
    windows = np.lib.stride_tricks.sliding_window_view(WORDS[:180], 4)
    due = [(windows == x).all(1).mean() for x in ALL]
    np.testing.assert_allclose(law, due, rtol=1e-5)
    assert abs(law.sum() - 1) < 1e-5 and (law == 0).any()
    drawn = text.draw(3, key=jr.key(1)).at[0, 2].set(jnp.nan)
    assert np.array_equal(np.isnan(text.log_prob(drawn)), [True, False, False])


def test_tokens_are_summarised():
    text, chain = jc.Text(WORDS, 4), chain_of()
    own = np.bincount(WORDS[:180]) / 180
    due = np.bincount(np.asarray(chain.test).ravel()) / chain.test.size
    found = text.summary(chain)
    np.testing.assert_allclose(found["entropy"], -np.sum(own * np.log(own)), rtol=1e-5)
    np.testing.assert_allclose(found["total_variation"], abs(own - due).sum() / 2, rtol=1e-5)
    with pytest.raises(ValueError, match="target: got 3 tokens for a text of 5, expected as many"):
        jc.Text(WORDS, 4, 5).summary(chain)


# ── a chain ──


def law(chain):
    """p of all sequences of four tokens, by hand."""
    pi, p = (np.asarray(x, np.float64) for x in (chain.contexts, chain.probs))
    return pi[ALL[:, 0]] * p[ALL[:, :-1], ALL[:, 1:]].prod(1)


def test_a_chain_has_the_law_that_it_says():
    chain = chain_of()
    np.testing.assert_allclose(np.exp(chain.log_prob(jnp.asarray(ALL))), law(chain), rtol=1e-5)
    chosen = np.take_along_axis(np.asarray(chain.next_log_probs(jnp.asarray(ALL))), ALL[..., None], -1)
    np.testing.assert_allclose(np.exp(chosen.sum((-2, -1))), law(chain), rtol=1e-5)


def test_draws_follow_the_law_and_take_no_step_of_probability_0():
    chain = chain_of()
    seen = law(chain) > 0
    keys = jr.split(jr.key(0), 80)
    draw = eqx.filter_jit(lambda chain: jax.vmap(lambda key: chain.draw(256, key=key))(keys))
    np.testing.assert_array_equal(draw(chain)[5], chain.draw(256, key=keys[5]))
    code = np.asarray(draw(chain)).reshape(-1, 4) @ [27, 9, 3, 1]
    assert_mean(code[:, None] == np.flatnonzero(seen), law(chain)[seen])
    assert set(code) <= set(np.flatnonzero(seen))


def test_entropies_are_those_of_all_sequences():
    for chain in (chain_of(), jc.Markov(TABLE, 4)):
        p = law(chain)
        nats = lambda p: -np.sum(p[p > 0] * np.log(p[p > 0]))
        np.testing.assert_allclose(chain.entropy, nats(p), rtol=1e-5)
        np.testing.assert_allclose(chain.entropy_rate, nats(p) - nats(p.reshape(27, 3).sum(1)), rtol=1e-5)


def test_an_array_starts_from_its_stationary_law(precision):
    chain = jc.Markov(TABLE, 4)
    pi = np.asarray(chain.contexts, np.float64)
    np.testing.assert_allclose(pi @ TABLE, pi, atol=1e-6 if precision == "float32" else 1e-14)
    np.testing.assert_allclose(jc.Markov(np.array([[0.0, 1.0], [1.0, 0.0]]), 4).contexts, 0.5)


def test_the_letters_have_the_entropy_of_their_table():
    letters = jc.Markov(jc.corpora.letters(order=2), 32)
    recorded = jc.corpora.sources()["letters"]
    np.testing.assert_allclose(letters.entropy_rate / np.log(2), recorded["conditional_entropy_bits"], rtol=1e-5)
    due = recorded["entropy_bits"] + 31 * recorded["conditional_entropy_bits"]
    np.testing.assert_allclose(letters.entropy / np.log(2), due, rtol=1e-5)


def test_a_chain_is_summarised_on_test_sequences_of_its_own():
    chain = chain_of()
    assert chain.test.shape == (256, 4) and (chain.test == chain_of().test).all()
    found = jc.Markov(TABLE, 4).summary(chain)
    due = -np.log(law(jc.Markov(TABLE, 4))[np.asarray(chain.test) @ [27, 9, 3, 1]]).mean() / 4
    np.testing.assert_allclose([found["cross_entropy"], found["perplexity"]], [due, np.exp(due)], rtol=1e-5)
    lost = jc.Markov(np.array([[0, 1.0, 0], [0.5, 0.5, 0], [1.0, 0, 0]]), 4)
    assert lost.summary(chain)["perplexity"] == np.inf


def test_what_is_no_token_and_what_diverged_are_nan_and_spoil_no_other():
    chain = chain_of()
    x = jnp.asarray([[0.0, 1, 1, 2], [0, jnp.nan, 1, 0], [0, 1, 3, 0], [0, 0.5, 0, 0], [2, 2, 2, 2]])
    assert np.array_equal(np.isnan(chain.log_prob(x)), [False, True, True, True, False])
    assert chain.log_prob(x)[0] == -np.inf
    broken = eqx.tree_at(lambda c: c.probs, chain, jnp.asarray(TABLE).at[0].set(jnp.nan))
    drawn = np.asarray(broken.draw(256, key=jr.key(0)))
    marked = np.isnan(drawn)
    assert (marked.all(1) | ~marked.any(1)).all() and 0 < marked.any(1).sum() < 256
    assert not (drawn[:, :3] == 0).any()


def test_windows_can_be_traced_and_batched():
    text, keys = jc.Text(WORDS, 4), jr.split(jr.key(0), 3)
    drawn = eqx.filter_jit(lambda text: jax.vmap(lambda key: text.draw(6, key=key))(keys))(text)
    np.testing.assert_array_equal(drawn[1], text.draw(6, key=keys[1]))


# ── what is refused ──


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jc.Text(b"abc", 4), "ids: got 3 tokens, 3 of them in the training part, expected at least one"),
        (lambda: jc.Text(b"abcdefghij", 4), "ids: got 10 tokens, 1 of them in the held-out part"),
        (lambda: jc.Text(np.arange(99), 4, 90), "vocab: got 90 for ids from 0 to 98"),
        (lambda: jc.Text(np.arange(-1, 99), 4), "vocab: got 99 for ids from -1 to 98"),
        (lambda: jc.Text(np.arange(99), 4, 2**25), "vocab: got 33554432 .* vocab of at most 16777216"),
        (lambda: jc.Text(np.arange(99), 4, 0), "vocab: got 0, expected a whole number of at least 1"),
        (lambda: jc.Text(np.ones(99), 4), r"ids: got float64 of shape \(99,\), expected a text as whole numbers"),
        (lambda: jc.Text("to be", 2), "ids: got .* try text.encode"),
        (lambda: jc.Text(np.arange(99).reshape(9, 11), 4), r"ids: got int64 of shape \(9, 11\)"),
        (lambda: jc.Text(b"", 4), "ids: got uint8 of shape"),
        (lambda: jc.Text(np.arange(99), 1), "length: got 1, expected a whole number of at least 2"),
        (lambda: jc.Text(np.arange(99), 4, test_share=0.0), "test_share: got 0.0"),
        (lambda: jc.Text(np.arange(99), 4, test_share=1.0), "test_share: got 1.0"),
        (lambda: chain_of(1), "length: got 1, expected a whole number of at least 2"),
        (lambda: jc.Markov(jc.zipf(5), 4), r"table: got a table of shape \(5,\), expected \(v, v\)"),
        (lambda: jc.Markov(np.full((2, 3), 1 / 3), 4), r"table: got a table of shape \(2, 3\)"),
        (lambda: jc.Markov(np.eye(2), 4), "table: got several stationary laws"),
        (lambda: jc.Markov(np.full((2, 2), 0.4), 4), "probs: got a row that adds up to 0.8"),
        (lambda: jax.jit(lambda p: jc.Markov(p, 4).probs)(jnp.asarray(TABLE)), "table: got a traced array"),
        (lambda: chain_of().log_prob(jnp.zeros((2, 5))), r"x: got shape \(2, 5\), expected sequences of 4"),
        (lambda: jc.Text(WORDS, 4).log_prob(jnp.zeros((2, 5))), r"x: got shape \(2, 5\), expected sequences of 4"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
