"""The variance of a smoothed bootstrap against closed forms and a plain simulation written without the package."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcollapse as jc
from jaxcollapse import theory
from tests.helpers import assert_mean


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def recursion(alpha, n, *args, generations=30, **options):
    return theory.kernel_variance(jc.Constant(alpha), jc.Constant(n), generations, *args, **options)


def test_given_kernels_add_up_without_bound_and_one_density_settles_at_n_h_squared():
    found = recursion(0.0, 20, 0.3, generations=2000)
    t = np.arange(2001)
    np.testing.assert_allclose(found.total, 1 + (t + 1) * 0.09, rtol=1e-12)
    v = 0.95 + 0.09
    np.testing.assert_allclose(found.within[0], v, rtol=1e-12)
    np.testing.assert_allclose(found.within, 20 * 0.09 + (v - 20 * 0.09) * 0.95**t, rtol=1e-9)


@pytest.mark.parametrize("rule", ["silverman", "scott"])
def test_a_rule_grows_geometrically_without_real_data(rule):
    found = recursion(0.0, 20, rule, dimension=3)
    np.testing.assert_allclose(found.within[1:] / found.within[:-1], theory.kernel_growth(20.0, rule, 3), rtol=1e-12)
    assert (np.asarray(theory.kernel_growth(np.array([2.0, 10, 1e3, 1e6]), rule, 3)) > 1).all()


@pytest.mark.parametrize("split", ["random", "fixed", "round"])
def test_without_a_kernel_it_is_the_recursion_of_the_risk(split):
    found = recursion(0.3, 7, 0.0, variance=2.5, split=split)
    risk = theory.risk(jc.Constant(0.3), jc.Constant(7), 30, split)
    np.testing.assert_allclose(found.mean, 2.5 * risk, rtol=1e-12)
    np.testing.assert_allclose(found.within, 2.5 * (1 - risk), rtol=1e-12)


@pytest.mark.parametrize("bandwidth", ["silverman", 0.5])
def test_the_recursion_is_the_mean_of_a_plain_simulation(bandwidth):
    rng, lineages, n, alpha = np.random.default_rng(1), 20_000, 8, 0.4
    x = rng.exponential(size=(lineages, n)) - 1  # any law of variance 1
    seen = []
    for t in range(4):
        if t:
            parent = np.take_along_axis(x, rng.integers(n, size=(lineages, n)), 1)
            synthetic = parent + h[:, None] * rng.normal(size=(lineages, n))
            x = np.where(rng.random((lineages, n)) < alpha, rng.exponential(size=(lineages, n)) - 1, synthetic)
        silverman = (0.75 * n) ** -0.2 * x.std(1, ddof=1)
        h = silverman if bandwidth == "silverman" else np.full(lineages, bandwidth)
        seen.append([x.var(1) + h**2, x.mean(1) ** 2])
    exact = recursion(alpha, n, bandwidth, generations=3)
    assert_mean(np.moveaxis(np.array(seen), 2, 0), np.stack([exact.within, exact.mean], 1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gauss",), "bandwidth: got 'gauss', expected one of silverman, scott"),
        ((-0.1,), "bandwidth: got -0.1"),
        ((float("nan"),), "bandwidth: got nan"),
    ],
)
def test_bandwidths_that_are_none_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        recursion(0.1, 10, *arguments)


def test_a_rule_needs_two_draws_and_a_whole_dimension():
    with pytest.raises(ValueError, match="n: got 1 draws, expected at least 2"):
        recursion(0.1, 1)
    with pytest.raises(ValueError, match="dimension: got 0"):
        recursion(0.1, 10, dimension=0)
    assert jnp.isfinite(recursion(0.1, 1, 0.5).total).all()
