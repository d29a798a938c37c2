"""Exact results for Gaussian and one-parameter families: against `risk`, special functions and known numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special, stats

import jaxcollapse as jc
from jaxcollapse.theory._gaussian import _digamma_minus_log, _log_mean_chi

C = jc.Constant


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("split", ["random", "fixed", "round"])
def test_maximum_likelihood_is_the_tabular_risk(split):
    alpha, n = jc.PowerLaw(0.6, exponent=-0.4), jc.PowerLaw(9.0, exponent=0.5)
    found, r = jc.theory.gaussian(alpha, n, 40, split=split), jc.theory.risk(alpha, n, 40, split)
    np.testing.assert_allclose(found.squared_error, r, rtol=1e-12)
    np.testing.assert_allclose(found.variance, 1 - r, rtol=1e-12)


@pytest.mark.parametrize("decay", [None, 0.8, 0.0])
def test_accumulation_is_the_tabular_one(decay):
    found = jc.theory.gaussian(C(0.1), C(20), 59, accumulate=True, decay=decay)
    r = jc.theory.accumulate(C(0.1), C(20), 59, decay)
    np.testing.assert_allclose(found.squared_error, r, rtol=1e-12)
    np.testing.assert_allclose(found.variance, 1 - r, rtol=1e-12)


def test_accumulated_variance_is_the_product():
    found = jc.theory.gaussian_accumulation(10, 59)
    np.testing.assert_allclose(found, jc.theory.gaussian(C(0.0), C(10), 59, accumulate=True).variance, rtol=1e-12)
    np.testing.assert_allclose(found[-1], 0.84483, atol=5e-6)
    np.testing.assert_allclose(
        jc.theory.gaussian_accumulation(10, 10**6)[-1], np.sinc(1 / np.sqrt(10)), rtol=1e-6
    )


def test_unbiased_variance_stays_and_the_mean_walks():
    found = jc.theory.gaussian(C(0.0), C(100), 99, unbiased=True)
    np.testing.assert_allclose(found.squared_error, np.arange(1, 101) / 100, rtol=1e-12)
    np.testing.assert_allclose(found.variance, 1.0, rtol=1e-12)


def test_distance_and_drift_have_the_known_numbers():
    w2 = jc.theory.gaussian_wasserstein(C(100), 99, unbiased=True)
    np.testing.assert_allclose(w2[-1], 1.44632, atol=1e-5)
    np.testing.assert_allclose(w2[-1], 1 + 2 * (1 - 0.7768399310034), rtol=1e-10)
    assert jc.theory.gaussian_wasserstein(C(100), 5000)[-1] == pytest.approx(2, abs=1e-6)
    for unbiased, step in ((True, -0.0050675), (False, -0.0100927)):
        scale = jc.theory.gaussian_log_scale(C(100), 9, unbiased=unbiased)
        np.testing.assert_allclose(scale.mean, step * np.arange(1, 11), rtol=1e-5)
        np.testing.assert_allclose(scale.variance, special.polygamma(1, 49.5) / 4 * np.arange(1, 11), rtol=1e-8)


def test_series_meet_the_special_functions():
    nu = np.array([1.0, 2.0, 15.9, 16.1, 30.0, 200.0])
    exact = special.gammaln((nu + 1) / 2) - special.gammaln(nu / 2) + 0.5 * np.log(2 / nu)
    np.testing.assert_allclose(_log_mean_chi(jnp.asarray(nu)), exact, rtol=2e-9)
    np.testing.assert_allclose(_digamma_minus_log(jnp.asarray(nu)), special.digamma(nu) - np.log(nu), rtol=1e-9)


def test_survival_is_that_of_a_product_of_chi_variates():
    fits = np.array([20, 50, 100, 150, 200])
    found = jc.theory.gaussian_survival(0.1, 10, fits, unbiased=True)
    np.testing.assert_allclose(found, [0.8475, 0.3746, 0.0816, 0.0183, 0.0040], atol=0.002)  # 2·10⁵ lineages
    assert (found < np.asarray(jc.theory.gaussian_survival_bound(0.1, 10, 199))[fits - 1]).all()
    one = jc.theory.gaussian_survival(1.1, 50, 1)  # after one fit: a χ² tail
    np.testing.assert_allclose(one, stats.chi2(49).sf(50 * 1.21), atol=1e-8)
    draws = np.random.default_rng(0).chisquare(9, (200_000, 3)).prod(1) / 9**3
    tail = np.mean(draws > 0.25)
    found = jc.theory.gaussian_survival(0.5, 10, 3, unbiased=True)[0]
    assert abs(tail - found) < 4 * np.sqrt(found * (1 - found) / 200_000)


def test_quadratic_variances_have_one_recursion():
    alpha, n = C(0.1), C(30)
    np.testing.assert_allclose(
        jc.theory.mean_parameter(alpha, n, 40, -1), jc.theory.risk(alpha, n, 40), rtol=1e-12
    )  # Bernoulli: a table of two tokens
    np.testing.assert_allclose(jc.theory.mean_parameter(C(0.0), n, 40, 0), np.arange(1, 42) / 30, rtol=1e-12)
    growth = jc.theory.mean_parameter(C(0.0), n, 40, 1)  # of the exponential law: E θ² = Π (1 + 1/n)
    np.testing.assert_allclose(growth, (1 + 1 / 30) ** np.arange(1, 42) - 1, rtol=1e-12)


def test_float32_follows_double_precision():
    calls = {
        "drift": lambda: jc.theory.gaussian_log_scale(C(10_000), 300).mean,
        "accumulated": lambda: jc.theory.gaussian_accumulation(20, 5000),
        "unbiased": lambda: jc.theory.gaussian(C(0.01), C(1000), 300, unbiased=True).variance,
    }
    double = {name: np.asarray(call()) for name, call in calls.items()}
    with jax.enable_x64(False):
        for name, call in calls.items():
            np.testing.assert_allclose(call(), double[name], rtol=2e-4, err_msg=name)


def test_too_few_draws_are_refused():
    with pytest.raises(ValueError, match=r"n: got 1\.0, expected at least 2 draws in every generation"):
        jc.theory.gaussian(C(0.1), C(1), 3, unbiased=True)
    with pytest.raises(ValueError, match=r"n: got 1\.0"):
        jc.theory.gaussian_log_scale(C(1), 3)
    with pytest.raises(ValueError, match="n: got 1, expected at least 2 draws"):
        jc.theory.gaussian_survival(0.1, 1, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jc.theory.gaussian(C(0.1), C(9), 3, decay=0.5), "decay: got 0.5 without accumulate=True"),
        (lambda: jc.theory.gaussian(C(0.1), C(9), 3, accumulate=True, decay=1.5), "decay: got 1.5, expected a number"),
        (lambda: jc.theory.gaussian_survival(-1.0, 9, 3), "epsilon: got -1.0"),
        (lambda: jc.theory.gaussian_survival(0.1, 9, 0), "fits: got 0, expected at least 1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
