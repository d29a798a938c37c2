"""Variational autoencoders against quadrature over the latent variable, and linear lineages against their exact laws.

    one dimension     a normal law fitted by maximum likelihood: E σ² = (1 − 1/n)^(t+1) without real data
    endless data      s_t = (α λ* + (1 − α)(s_{t−1} + c² v) − v)_+ along each learned direction
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from scipy import special, stats

import jaxcollapse as jc
from tests.families.test_vae import EIGENVALUES, POINTS, UNIT, WEIGHTS, law
from tests.helpers import assert_mean
from tests.test_experiments import load


def settling(rate):
    return optax.adam(optax.cosine_decay_schedule(rate, 1000))


SETTINGS = {"optimiser": settling, "rate": 0.03, "steps": 1000, "batch_size": None}


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_in_one_dimension_a_lineage_is_that_of_a_normal_law(alpha):
    """v = 0.3 < σ², n = 60, 300 lineages: mean and variance follow `theory.gaussian`."""
    truth, generations = jc.GaussianMixture(np.ones(1), np.zeros((1, 1)), np.ones((1, 1, 1))), 3
    learner = jc.Autoencoder(1, 0, 0.3, capacity=60, **SETTINGS)
    loop = jc.Loop(truth, learner, jc.Replace(), jc.Constant(alpha), jc.Constant(60))

    def record(lineage, batch):
        layer = lineage.model.decoder.layers[0]
        return jnp.stack([layer.bias[0] ** 2, layer.weight[0, 0] ** 2 + lineage.model.variance])

    _, found = jc.ensemble(loop, generations, lineages=300, key=jr.key(0), record=record)
    with jax.enable_x64(True):
        exact = jc.theory.gaussian(loop.alpha, loop.n, generations)
    assert_mean(found, np.stack([exact.squared_error, exact.variance], 1)[1:])


def test_linear_lineages_follow_the_stated_recursion():
    """λ* = (1.5, 0.8, 0.2), two latents, v = 0.2: the variance of f(z) at t = 1, 2; n = 512, 24 lineages."""
    experiment = load("vae_digits")
    eigenvalues, cells = np.array([1.5, 0.8, 0.2]), [(0.0, 1.0), (0.0, 0.0), (0.3, 0.0), (0.3, 1.0)]
    truth = jc.GaussianMixture(np.ones(1), np.zeros((1, 3)), np.diag(eigenvalues)[None])
    learner = jc.Autoencoder(2, 0, 0.2, capacity=512, **SETTINGS)

    def record(lineage, batch):
        return jnp.sum(lineage.model.decoder.layers[0].weight ** 2) / eigenvalues.sum()

    @jax.jit
    @jax.vmap
    def run(alpha, noise):
        hand_on = experiment.Noise(noise)
        loop = jc.Loop(truth, learner, jc.Replace(), jc.Constant(alpha), jc.Constant(512), curate=hand_on)
        return jc.ensemble(loop, 2, lineages=24, key=jr.key(1), record=record)[1]

    due = np.stack([experiment.linear(eigenvalues, 2, 0.2, *cell, 2)[1:, 1] for cell in cells])
    assert_mean(run(*jnp.asarray(cells).T), due, axis=1)


def test_a_base_is_where_every_generation_starts():
    """A rate so small that nothing moves: every generation is the base."""
    truth = jc.GaussianMixture(np.ones(1), np.zeros((1, 2)), np.eye(2)[None])
    base = jc.Autoencoder(1, 4, 0.2).init(truth, key=jr.key(2))
    learner = jc.Autoencoder(1, 4, 0.2, start=base, rate=1e-9, steps=2, capacity=16)
    last, _ = jc.simulate(jc.Loop(truth, learner, jc.Replace(), jc.Constant(0.1), jc.Constant(16)), 3, key=jr.key(3))
    for x, y in zip(*(jax.tree.leaves(eqx.filter(m, eqx.is_array)) for m in (last.model, base)), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-6)


def test_a_learned_variance_is_the_mean_of_what_is_left_out():
    """Tipping and Bishop's v = mean of λ_2, λ_3, and the likelihood of its optimum, to 0.005 nats."""
    learner = jc.Autoencoder(1, 0, "learned", capacity=96, **SETTINGS)
    data = jc.Atoms(POINTS, WEIGHTS, key=jr.key(0))
    model = eqx.filter_jit(lambda: learner.fit(data, learner.init(UNIT, key=jr.key(1)), key=jr.key(2)))()
    v = EIGENVALUES[1:].mean()
    best = -0.5 * (np.log(2 * np.pi * EIGENVALUES[0]) + 2 * np.log(2 * np.pi * v) + 3)
    assert -1e-4 <= best - WEIGHTS @ law(model).logpdf(POINTS) / WEIGHTS.sum() <= 0.005
    assert abs(float(model.variance) / v - 1) < 0.05


@functools.cache
def curve():
    """An untrained model with a bent decoder, and a fine grid of z with its prior weights."""
    model = jc.Autoencoder(1, 8, 0.3).init(UNIT, key=jr.key(3))
    bent = jax.tree.map(lambda x: 3 * x if eqx.is_array(x) else x, model.decoder)
    z = np.linspace(-9, 9, 4001)
    weights = stats.norm.pdf(z) * (z[1] - z[0])
    return eqx.tree_at(lambda m: m.decoder, model, bent), z, weights


def test_the_bounds_are_those_of_quadrature():
    """At 4 points: E ELBO from 4000 keys, and E of the weighted estimate, which is p(x) itself."""
    model, z, _ = curve()
    x = jnp.asarray([[0.0, 0, 0], [1, -1, 0.5], [-2, 1, 0], [0.3, 2, -1]])
    means = np.asarray(model.decode(jnp.asarray(z, float)[:, None]), np.float64)
    log_joint = stats.norm.logpdf(np.asarray(x)[:, None], means[None], np.sqrt(0.3)).sum(-1) + stats.norm.logpdf(z)
    mean, variance = (np.asarray(part, np.float64)[:, 0, None] for part in model.posterior(x))
    log_q = stats.norm.logpdf(z, mean, np.sqrt(variance))
    step = z[1] - z[0]
    elbo = np.sum(np.exp(log_q) * (log_joint - log_q), 1) * step
    exact = special.logsumexp(log_joint, axis=1) + np.log(step)
    keys = jr.split(jr.key(4), 4000)
    assert (elbo < exact).all()
    assert_mean(jax.jit(jax.vmap(lambda key: model.elbo(x, key=key)))(keys), elbo)
    noise = jr.normal(jr.key(5), (4000, 64, 1))
    bound = jax.jit(jax.vmap(lambda e: model._weighted_bound(x, e)))(noise)
    assert_mean(np.exp(np.asarray(bound, float)), np.exp(exact))
    assert (np.asarray(bound).mean(0) > elbo).all()


def test_draws_are_decoded_normals_with_noise():
    model, z, weights = curve()
    means = np.asarray(model.decode(jnp.asarray(z, float)[:, None]), np.float64)
    mean = weights @ means
    cov = (means - mean).T @ (weights[:, None] * (means - mean)) + 0.3 * np.eye(3)
    draws = np.asarray(model.draw(20_000, key=jr.key(6)), float)
    assert_mean(draws, mean)
    assert_mean(np.einsum("mi,mj->mij", draws - mean, draws - mean), cov)


def test_batches_are_drawn_by_weight():
    learner, shares = jc.Autoencoder(1, 2, batch_size=5), jnp.asarray(WEIGHTS / WEIGHTS.sum(), float)
    batch = lambda key: learner._batch(jnp.asarray(POINTS, float), shares, key)
    points, weights = jax.vmap(batch)(jr.split(jr.key(7), 3000))
    assert_mean((weights[..., None] * points).sum(1), WEIGHTS @ POINTS / WEIGHTS.sum())
