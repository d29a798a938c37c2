"""Moments under smoothing and fixed laws, and where temperature and reward lead, against enumeration and the map."""

import itertools
import math

import jax
import numpy as np
import pytest

import jaxcollapse as jc
from jaxcollapse import theory

P = np.array([0.5, 0.3, 0.2])
Q = np.array([0.1, 0.1, 0.8])


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def exact_chain(n, alpha, beta, epsilon, generations):
    """Moments by enumeration of all count vectors of n draws from three tokens, posterior mean."""
    states = [state for state in itertools.product(range(n + 1), repeat=3) if sum(state) == n]
    ways = np.array([math.factorial(n) / np.prod([math.factorial(k) for k in state]) for state in states])
    counts = np.array(states, float)
    chance = lambda p: ways * np.prod(np.asarray(p)[..., None, :] ** counts, -1)
    models = (counts + beta) / (n + np.sum(beta))
    step = chance(alpha * P + (1 - alpha) * ((1 - epsilon) * models + epsilon * Q))
    law, found = chance(P), []
    for _ in range(generations + 1):
        mean = law @ models
        found.append((mean, law @ ((models - mean) ** 2).sum(-1), law @ ((models - P) ** 2).sum(-1)))
        law = law @ step
    return [np.array(x) for x in zip(*found, strict=True)]


@pytest.mark.parametrize(
    ("alpha", "beta", "epsilon"),
    [
        (0.0, np.zeros(3), 0.0),
        (0.3, np.array([0.5, 0.0, 2.0]), 0.0),
        (0.2, np.full(3, 0.4), 0.3),
        (0.6, np.zeros(3), 1.0),
    ],
)
def test_moments_are_those_of_the_enumerated_chain(alpha, beta, epsilon):
    found = theory.contaminated(jc.Constant(alpha), jc.Constant(4), P, Q, epsilon, 6, smoothing=beta)
    mean, variance, risk = exact_chain(4, alpha, beta, epsilon, 6)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-12)
    np.testing.assert_allclose(found.variance, variance, rtol=1e-12)
    np.testing.assert_allclose(found.risk, risk, rtol=1e-12)
    np.testing.assert_allclose(found.diversity, 1 - variance - (mean**2).sum(-1), rtol=1e-12)


def test_without_smoothing_the_risk_is_that_of_the_recursion():
    alpha, n = jc.PowerLaw(0.6, exponent=-0.4), jc.PowerLaw(20.0, exponent=0.5)
    r = np.asarray(theory.risk(alpha, n, 40)) * (1 - (P**2).sum())
    np.testing.assert_allclose(theory.smoothed(alpha, n, P, 0.0, 40).risk, r, rtol=1e-12)


def test_smoothing_replaces_collapse_by_a_plateau():
    """T24: E H = .66736 (limit 2/3), R = .21337."""
    p = np.asarray(jc.zipf(5).probs)
    found = theory.smoothed(jc.Constant(0.0), jc.Constant(200), p, 0.5, 1500)
    assert float(found.diversity[-1]) == pytest.approx(0.66736, abs=1e-5)
    assert float(found.risk[-1]) == pytest.approx(0.21337, abs=1e-5)


@pytest.mark.parametrize("posterior", ["mean", "sample"])
def test_many_draws_with_a_pull_to_a_base_have_the_dirichlet_limit(posterior):
    n, inflow = 10_000, 2.0
    alpha, base = jc.Constant(inflow / n), 3.0 * Q
    found = theory.smoothed(alpha, jc.Constant(n), P, base, 40_000, posterior)
    limit = theory.dirichlet_limit(inflow, P, base, posterior)
    np.testing.assert_allclose(found.mean[-1], limit / limit.sum(), rtol=1e-3)
    assert float(found.risk[-1]) == pytest.approx(float(theory.dirichlet_risk(limit, P)), rel=1e-3)


def test_posterior_sampling_ends_at_the_priors_own_moments_whatever_n():
    """T25: mean (.125, .125, .25, .5), variances .021875, .021875, .0375, .05."""
    prior = np.array([0.5, 0.5, 1.0, 2.0])
    for n in (1, 30):
        found = theory.smoothed(jc.Constant(0.0), jc.Constant(n), np.full(4, 0.25), prior, 300, "sample")
        np.testing.assert_allclose(found.mean[-1], prior / 4, rtol=1e-9)
        assert float(found.variance[-1]) == pytest.approx(0.13125, rel=1e-9)


def test_a_generator_that_does_not_learn_leaves_a_floor():
    """T23: K = 5, ε = 0.1, n = 10⁶: 8.008·10⁻⁴, of which 8·10⁻⁴ stay; one that learns leaves none."""
    bad, uniform = np.array([0.4, 0.3, 0.1, 0.1, 0.1]), np.full(5, 0.2)
    floor = theory.contamination_floor(uniform, bad, 0.1, np.array([1e6, 1e12]))
    np.testing.assert_allclose(floor, [8.008e-4, 8e-4], atol=1e-9)
    looped = theory.contaminated(jc.Constant(0.9), jc.Constant(10**6), uniform, bad, 1.0, 2)
    np.testing.assert_allclose(looped.risk[1:], floor[0], rtol=1e-12)
    assert float(theory.plateau(0.9, 1e6)) < 2e-6
    by_share = theory.contamination_floor(P, Q, np.array([0.0, 0.5]), 10.0)
    np.testing.assert_allclose(by_share, [float(theory.contamination_floor(P, Q, e, 10.0)) for e in (0.0, 0.5)])


def test_temperature_decides_between_uniform_and_dominated():
    """T30: K = 4, α = 0.2: T = .81 stays uniform, T = .79 ends at .6255; a dominated start at .81 stays at .5322."""
    uniform, nudge = np.full(4, 0.25), np.array([1.0, -1 / 3, -1 / 3, -1 / 3])
    run = lambda start, t: float(theory.temperature_limit(uniform, 0.2, t, start).max())
    assert run(uniform + 1e-6 * nudge, 0.81) == pytest.approx(0.25, abs=1e-9)
    assert run(uniform + 1e-6 * nudge, 0.79) == pytest.approx(0.6255, abs=1e-4)
    assert run(uniform + 0.3 * nudge, 0.81) == pytest.approx(0.5322, abs=1e-4)
    assert run(uniform + 0.3 * nudge, 0.82) == pytest.approx(0.25, abs=1e-9)
    assert float(theory.temperature_threshold(0.2)) == pytest.approx(0.8)


def test_the_branch_is_made_of_fixed_points_and_folds_where_they_end():
    for vocab in (2, 4, 16):
        fold, mass = (float(x) for x in theory.temperature_fold(0.2, vocab))
        assert fold == pytest.approx(0.8) if vocab == 2 else fold > 0.8
        upper = np.linspace(mass + 0.02, 0.98 - 0.2 * (1 - 1 / vocab), 4)
        for x, t in zip(upper, np.asarray(theory.temperature_branch(upper, 0.2, vocab)), strict=True):
            law = np.r_[x, np.full(vocab - 1, (1 - x) / (vocab - 1))]
            sharp = law ** (1 / t)
            np.testing.assert_allclose(0.2 / vocab + 0.8 * sharp / sharp.sum(), law, atol=1e-12)
            assert t < fold
    grid = theory.temperature_branch(np.linspace(0.2501, 0.8499, 20_001), 0.2, 4)
    assert float(grid.max()) == pytest.approx(float(theory.temperature_fold(0.2, 4)[0]), abs=1e-7)
    assert np.isnan(theory.temperature_branch(np.array([0.2, 0.9]), 0.2, 4)).all()


def test_reward_leads_where_the_map_leads():
    """p* = (.5, .3, .2), r = (0, .5, 1), α = .3: (.2238, .1972, .5790)."""
    reward = np.array([0.0, 0.5, 1.0])
    found = np.asarray(theory.tilt_limit(P, 0.3, reward))
    np.testing.assert_allclose(found, [0.2238, 0.1972, 0.5790], atol=5e-5)
    p = P
    for _ in range(300):
        p = 0.3 * P + 0.7 * np.asarray(jc.Tilt(reward)(jc.Categorical(p)).probs)
    np.testing.assert_allclose(found, p, atol=1e-9)
    np.testing.assert_allclose(theory.tilt_limit(P, 1.0, reward), P, atol=1e-12)
    np.testing.assert_allclose(theory.tilt_limit(P, 1e-9, reward), [0, 0, 1], atol=1e-8)
    np.testing.assert_allclose(theory.tilt_limit(np.r_[P, 0], 0.3, np.r_[reward, 50]), np.r_[found, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda c: theory.smoothed(c, jc.Constant(9), P, -1.0, 3), "smoothing: got -1.0"),
        (lambda c: theory.smoothed(c, jc.Constant(9), P, np.ones(2), 3), r"smoothing: got shape \(2,\)"),
        (lambda c: theory.smoothed(c, jc.Constant(9), P, 1.0, 3, "mode"), "posterior: got 'mode'"),
        (lambda c: theory.contaminated(c, jc.Constant(9), P, Q, 1.5, 3), "epsilon: got 1.5"),
        (lambda c: theory.retrieval(c, jc.Constant(9), 3, -0.5), "weight: got -0.5"),
        (lambda c: theory.temperature_limit(P, 0.2, 0.0), "temperature: got 0.0"),
        (lambda c: theory.temperature_threshold(1.5), "alpha: got 1.5"),
        (lambda c: theory.tilt_limit(P, 0.0, P), "alpha: got 0.0"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(jc.Constant(0.1))
