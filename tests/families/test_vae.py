"""Variational autoencoders: against probabilistic PCA, when they fail, and what they refuse.

The linear case has an exact optimum for every stated v, and the bound is tight there (Tipping and Bishop 1999).
"""

import dataclasses
import functools
import inspect
import sys
import types

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from scipy import stats

import jaxcollapse as jc

UNIT = jc.GaussianMixture(np.ones(1), np.zeros((1, 3)), np.eye(3)[None])
SLOPES = np.array([[1.6, 0.8, 0.4], [0.3, -0.5, 0.2], [0.1, 0.2, -0.4]])
POINTS = np.random.default_rng(0).normal(size=(96, 3)) @ SLOPES + np.array([0.5, -1.0, 0.0])
WEIGHTS = np.arange(96) % 3  # a third of the slots is empty
EIGENVALUES = np.linalg.eigvalsh(np.cov(POINTS.T, aweights=WEIGHTS, bias=True))[::-1]
FITS = ("0.3", "30", "other points in empty slots", "NaN", "weight", "rate", "no rate", "variance")


@functools.cache
def fits():
    """One latent variable and a linear decoder, fitted to the weighted points, and in ways that fail: one program."""
    points, weights = np.tile(POINTS, (len(FITS), 1, 1)), np.tile(WEIGHTS.astype(float), (len(FITS), 1))
    rates, variances = np.full(len(FITS), 0.05), np.full(len(FITS), 0.3)
    points[2][WEIGHTS == 0] = 1e3
    points[3, 1, 0], weights[4, 0], rates[5:7], variances[[1, 7]] = np.nan, -1.0, (np.inf, -1.0), (30.0, -1.0)

    @jax.jit
    @jax.vmap
    def fit(points, weights, rate, variance):
        settling = lambda rate: optax.adam(optax.cosine_decay_schedule(rate, 600))
        settings = {"optimiser": settling, "rate": rate, "steps": 600, "batch_size": None, "capacity": 96}
        learner = jc.Autoencoder(1, 0, variance, **settings)
        model = learner.init(UNIT, key=jr.key(1))
        return eqx.filter(learner.fit(jc.Atoms(points, weights, key=jr.key(0)), model, key=jr.key(2)), eqx.is_array)

    return fit(*(jnp.asarray(x, float) for x in (points, weights, rates, variances)))


def linear(fit):
    """The model of that fit."""
    like = jc.Autoencoder(1, 0).init(UNIT, key=jr.key(0))
    return eqx.combine(jax.tree.map(lambda x: x[FITS.index(fit)], fits()), like)


def law(model):
    """The normal law that a linear model is."""
    slopes, mean = (np.asarray(x, np.float64) for x in (model.decoder.layers[0].weight, model.decoder.layers[0].bias))
    return stats.multivariate_normal(mean, slopes @ slopes.T + float(model.variance) * np.eye(3))


@pytest.mark.parametrize("variance", ["0.3", "30"])
def test_a_linear_model_becomes_probabilistic_pca(variance):
    v, model = float(variance), linear(variance)
    held = np.array([max(EIGENVALUES[0], v), v, v])
    best = -0.5 * np.sum(np.log(2 * np.pi * held) + EIGENVALUES / held)
    lost = best - WEIGHTS @ law(model).logpdf(POINTS) / WEIGHTS.sum()
    assert -1e-4 <= lost <= 0.005
    bound = jax.jit(lambda x: model.log_prob(x))(jnp.asarray(POINTS, float))
    np.testing.assert_allclose(bound, law(model).logpdf(POINTS), atol=0.05)


def test_directions_below_the_stated_variance_are_not_learned():
    summary = eqx.filter_jit(lambda model: model.summary(UNIT))
    noise, signal = summary(linear("30")), summary(linear("0.3"))
    assert float(noise["latent_signal"]) < 0.01 and float(noise["decoded_variance"]) < 0.01
    assert abs(float(noise["variance"]) - 30) < 4 * 30 * np.sqrt(2 * 2 / 1533)  # 3 · 30/3, both from 512 draws
    assert float(signal["latent_signal"]) > 0.5
    assert abs(float(noise["latent_variance"]) - 1) < 0.02  # the prior's, though nothing is known


def test_what_fails_is_nan_alone_and_empty_slots_are_not_seen():
    for x in map(np.asarray, jax.tree.leaves(fits())):
        assert np.isfinite(x[:3]).all() and (x[2] == x[0]).all() and np.isnan(x[3:]).all()


def test_a_fit_starts_where_it_is_told():
    base, other = (jc.Autoencoder(1, 0).init(UNIT, key=jr.key(k)) for k in (3, 4))
    points, shares = jnp.asarray(POINTS[:4], float), jnp.full(4, 0.25)
    begin = lambda start, model: jc.Autoencoder(1, 0, start=start)._begin(model, points, shares, jr.key(8))
    assert begin("previous", base) is base and begin(base, other) is base
    assert not jnp.array_equal(begin("scratch", base).decoder.layers[0].weight, base.decoder.layers[0].weight)
    assert jc.Autoencoder(1, 0, start=base).init(UNIT, key=jr.key(0)) is base
    with pytest.raises(ValueError, match="start: got weights of shapes"):
        jc.Autoencoder(2, 0, start=base).init(UNIT, key=jr.key(0))
    with pytest.raises(ValueError, match=r"target: got Categorical.*expected a law of points"):
        jc.Autoencoder().init(jc.zipf(4), key=jr.key(0))


@pytest.mark.parametrize("law", [jc.Text(bytes(range(20)) * 9, 8), jc.Markov(jc.Categorical(np.eye(3)), 8)])
def test_token_ids_are_no_points_in_space(law):
    with pytest.raises(ValueError, match=rf"target: got {type(law).__name__}, whose points are token ids.*Transformer"):
        jc.Autoencoder().init(law, key=jr.key(0))


def test_settings_of_a_strange_type_are_answered():
    """As users meet them: the tests' type checker would speak first."""
    settings = {field.name: field.default for field in dataclasses.fields(jc.Autoencoder)}
    for name, value in (("variance", None), ("variance", True), ("rate", "0.1"), ("start", np.zeros(3))):
        learner = types.SimpleNamespace(**(settings | {name: value}))
        with pytest.raises(ValueError, match=f"{name}: got "):
            inspect.unwrap(jc.Autoencoder.__check_init__)(learner)


BAD = (
    ({"latent": 0}, "latent: got 0, expected a whole number of at least 1; try 2"),
    ({"hidden": -1}, "hidden: got -1, expected a whole number of at least 0"),
    ({"variance": 0.0}, "variance: got 0.0, expected one positive number or 'learned'; try 0.1"),
    ({"variance": "free"}, "variance: got 'free', expected one positive number or 'learned'"),
    ({"capacity": 0}, "capacity: got 0, expected a whole number"),
    ({"optimiser": optax.adam(0.1)}, "optimiser: got one with its rate"),
    ({"rate": -1.0}, "rate: got -1.0, expected one positive number"),
    ({"steps": 0}, "steps: got 0, expected a whole number of at least 1"),
    ({"batch_size": 0}, "batch_size: got 0, expected a whole number"),
    ({"start": "base"}, "start: got 'base', expected 'scratch', 'previous' or a VariationalModel"),
)


@pytest.mark.parametrize(("settings", "message"), BAD)
def test_settings_that_cannot_train_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        jc.Autoencoder(**settings)


def test_digits_are_an_empirical_law_that_never_draws_the_held_out_ones():
    images, held = jc.corpora.digits()
    assert images.points.shape == (1438, 64) and held.shape == (359, 64)
    assert float(images.points.min()) == 0 and float(images.points.max()) == 1
    assert not jnp.any(images.cov) and jnp.ptp(images.weights) == 0
    rows = lambda x: {row.tobytes() for row in np.asarray(x)}
    assert len(rows(images.points) | rows(held)) == 1797 and not rows(images.points) & rows(held)
    with pytest.raises(ValueError, match=r"test_share: got 1\.0, expected a share between 0 and 1"):
        jc.corpora.digits(1.0)


def test_digits_say_what_they_need(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"corpora\.digits needs scikit-learn; try pip install 'jaxcollapse\[data\]'"):
        jc.corpora.digits()
