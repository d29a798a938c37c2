"""Neighbours: the mixture against a search written out, what it draws, and λ = 0, 1 and beyond, in one program."""

import functools

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxcollapse as jc
from tests.helpers import t_bound

LENGTH, VOCAB, DRAWS = 6, 4, 4000
CHAIN = np.array([[0.7, 0.1, 0.1, 0.1], [0.1, 0.7, 0.1, 0.1], [0.1, 0.1, 0.1, 0.7], [0.25, 0.25, 0.25, 0.25]])
SMALL = jc.Transformer(layers=1, width=8, heads=2, capacity=16, steps=20, batch_size=8, rate=0.02)
PAIRS = np.pad(np.indices((VOCAB, VOCAB)).reshape(2, -1).T, ((0, 0), (0, LENGTH - 2)))


@functools.cache
def model(weight):
    """A model before any training, and what it says and writes."""
    return everything(jnp.asarray(weight), jc.Markov(CHAIN, LENGTH))


@eqx.filter_jit
def everything(weight, target):
    key, x = jr.key(0), jnp.concatenate([jnp.asarray(PAIRS), target.test[:7]])
    made = jc.Neighbours(SMALL, weight, neighbours=3, temperature=0.5, sequences=5).init(target, key=key)
    said = [one.next_log_probs(x) for one in (made, made.inner)]
    written = [one.draw(DRAWS, key=key) for one in (made, made.inner)]
    return x, made, said, written, made.log_prob(x), made.inner.representations(x)


def searched(made, h, plain):
    """p(· | x_<i) `m i v`, one place after another."""
    keys, tokens = np.asarray(made.keys, np.float64), np.asarray(made.datastore).ravel()
    weight, width, found = float(made.weight), float(made.temperature) * keys.shape[1], np.exp(plain)
    for place in np.ndindex(found.shape[:2]):
        distance = ((h[place] - keys) ** 2).sum(1)
        nearest = np.argsort(distance, kind="stable")[: made.neighbours]
        share = np.exp(-(distance[nearest] - distance.min()) / width)
        stored = np.bincount(tokens[nearest], share / share.sum(), minlength=VOCAB)
        found[place] = weight * stored + (1 - weight) * found[place]
    return found


def test_the_mixture_is_that_of_a_search_written_out():
    x, made, (mixed, plain), _, log_prob, h = model(0.3)
    found, due = np.exp(mixed), searched(made, np.asarray(h, np.float64), np.asarray(plain, np.float64))
    same = abs(found - due).max(-1) < 1e-4
    assert same[:, 1:].mean() > 0.97  # rounding may exchange two that are equally far
    assert abs(found - np.exp(plain)).max() > 0.05
    np.testing.assert_allclose(found.sum(-1), 1, atol=1e-5)
    chosen = np.take_along_axis(np.asarray(mixed), np.asarray(x)[..., None], -1).sum((1, 2))
    np.testing.assert_allclose(log_prob, chosen, rtol=1e-4)


def test_sequences_are_drawn_from_the_mixture():
    """The first two tokens of 4000 draws, against the product of what is said of them; 16 comparisons."""
    _, _, (mixed, _), (drawn, other), *_ = model(0.3)
    p = np.exp(np.asarray(mixed, np.float64))[: len(PAIRS)]
    law = p[np.arange(16), 0, PAIRS[:, 0]] * p[np.arange(16), 1, PAIRS[:, 1]]
    assert law.sum() == pytest.approx(1, abs=1e-4)

    def worst(x):
        places = np.asarray(x).astype(int)[:, :2] @ np.array([VOCAB, 1])
        return abs((np.bincount(places, minlength=16) - DRAWS * law) / np.sqrt(DRAWS * law * (1 - law))).max()

    assert worst(drawn) <= t_bound(16, DRAWS) < worst(other)


def test_with_weight_0_it_is_the_transformer_bit_for_bit():
    _, _, (mixed, plain), (drawn, other), *_ = model(0.0)
    assert np.array_equal(mixed, plain) and np.array_equal(drawn, other) and np.ptp(drawn) == VOCAB - 1


def test_with_weight_1_the_stored_tokens_alone_are_said():
    _, _, (mixed, _), (drawn, _), *_ = model(1.0)
    assert (np.isfinite(mixed).sum(-1) <= 3).all() and np.isfinite(drawn).all()
    np.testing.assert_allclose(np.exp(mixed).sum(-1), 1, atol=1e-5)


def test_a_weight_out_of_range_is_nan():
    _, _, (mixed, _), (drawn, other), *_ = model(1.5)
    assert np.isnan(mixed).all() and np.isnan(drawn).all() and np.isfinite(other).all()


def test_what_cannot_be_a_datastore_is_refused():
    target = jc.Markov(CHAIN, LENGTH)
    for make, message in (
        (lambda: jc.Neighbours(SMALL, weight=1.5), r"weight: got 1.5, expected one number in \[0, 1\]"),
        (lambda: jc.Neighbours(SMALL, temperature=0.0), "temperature: got 0.0, expected one finite number above 0"),
        (lambda: jc.Neighbours(SMALL, neighbours=0), "neighbours: got 0, expected a whole number of at least 1"),
        (lambda: jc.Neighbours(SMALL, datastore=np.zeros((2, LENGTH), int)), "neighbours: got 64 for a datastore of"),
        (lambda: jc.Neighbours(SMALL, datastore=np.zeros((5, 3), int)), r"datastore: got shape \(5, 3\), expected"),
        (lambda: jc.Neighbours(SMALL, datastore=np.full((5, LENGTH), 9)), "datastore: got .*token ids from 0 to 3"),
    ):
        with pytest.raises(ValueError, match=message):
            make().init(target, key=jr.key(0))
