"""Kernel densities: the bandwidths are scipy's, the variance is the exact recursion's, a point stays a point."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

import jaxcollapse as jc
from tests.helpers import assert_mean

KEY = jr.key(0)
NORMAL = jc.GaussianMixture(np.ones(1), np.zeros((1, 1)), np.ones((1, 1, 1)))
MOMENTS = ("mean_error", "variance")
RECORDED = (*MOMENTS, "bandwidth")


def moments(lineage, batch):
    summary = lineage.model.summary(NORMAL)
    return {name: summary[name] for name in RECORDED}


def fit(learner, points, weights):
    atoms = jc.Atoms(jnp.asarray(points, float), jnp.asarray(weights, float), key=KEY)
    start = jc.KernelDensity(atoms.points, jnp.ones(len(points)), jnp.eye(points.shape[1]))
    return learner.fit(atoms, start, key=KEY)


@pytest.mark.parametrize("rule", ["silverman", "scott"])
def test_a_rule_is_that_of_scipy_for_weighted_points_too(rule):
    rng = np.random.default_rng(0)
    points, weights = rng.normal(size=(12, 2)), rng.uniform(size=12)
    found = fit(jc.Kernel(rule, capacity=12), points, weights)
    oracle = stats.gaussian_kde(points.T, rule, weights)
    np.testing.assert_allclose(found.cov, oracle.covariance, rtol=1e-4)
    x = jnp.asarray([[0.0, 0.0], [1.0, -1.0]])
    np.testing.assert_allclose(found.log_prob(x), oracle.logpdf(np.asarray(x).T), rtol=1e-4)


def test_a_given_bandwidth_is_in_the_units_of_the_points():
    found = fit(jc.Kernel(0.5, capacity=3), np.zeros((3, 2)), np.array([1, 0, 3]))
    np.testing.assert_allclose(found.cov, 0.25 * np.eye(2))
    np.testing.assert_allclose(found.weights, [0.25, 0, 0.75])


@pytest.fixture(scope="module")
def given():
    """One program: h, α and n are traced. h = 0.3 without real data; h = 0; α = 1; and out of range."""

    def run(h, alpha, n, key):
        loop = jc.Loop(NORMAL, jc.Kernel(h, capacity=12), jc.Replace(), jc.Constant(alpha), jc.Constant(n))
        return jc.ensemble(loop, 15, lineages=1000, key=key, record=moments)[1]

    cells = [(0.3, 0.0, 12.0), (0.3, 0.2, 12.0), (0.0, 0.2, 5.0), (0.3, 1.0, 1.0), (-0.1, 0.2, 5.0), (0.3, 0.2, -1.0)]
    return cells, jax.jit(jax.vmap(run))(*jnp.asarray(cells).T, jr.split(KEY, 6))


def test_the_variance_is_the_exact_recursion(given):
    cells, found = given
    for i, (h, alpha, n) in enumerate(cells[:4]):
        exact = jc.theory.kernel_variance(jc.Constant(alpha), jc.Constant(n), 15, h)
        for name, value in zip(MOMENTS, (exact.mean, exact.within), strict=True):
            assert_mean(found[name][i, :, [0, 4, 14]].T, np.asarray(value)[[1, 5, 15]])


def test_without_real_data_the_spread_over_lineages_grows_without_bound(given):
    _, found = given
    assert_mean((found["mean_error"] + found["variance"])[0], 1 + (np.arange(1, 16) + 1) * 0.09)


def test_a_bootstrap_of_one_draw_is_a_point_with_a_kernel(given):
    _, found = given
    np.testing.assert_allclose(found["variance"][3], 0.09, rtol=1e-5)


def test_traced_misuse_is_nan(given):
    _, found = given
    assert np.isnan(found["variance"][4:]).all() and np.isfinite(found["variance"][:4]).all()


@pytest.fixture(scope="module")
def ruled():
    def run(alpha, n, key):
        loop = jc.Loop(NORMAL, jc.Kernel(capacity=12), jc.Replace(), jc.Constant(alpha), jc.Constant(n))
        return jc.ensemble(loop, 15, lineages=1000, key=key, record=moments)[1]

    return jax.jit(jax.vmap(run))(jnp.array([0.0, 0.3]), jnp.array([1.0, 12.0]), jr.split(KEY, 2))


def test_a_rule_follows_its_recursion_too(ruled):
    exact = jc.theory.kernel_variance(jc.Constant(0.3), jc.Constant(12), 15, "silverman")
    for name, value in zip(MOMENTS, (exact.mean, exact.within), strict=True):
        assert_mean(ruled[name][1, :, [0, 4, 14]].T, np.asarray(value)[[1, 5, 15]])


def test_one_draw_and_a_rule_is_a_point_for_ever(ruled):
    assert (ruled["variance"][0] == 0).all() and (ruled["bandwidth"][0] == 0).all()
    assert (ruled["mean_error"][0] == ruled["mean_error"][0][:, :1]).all()


def test_no_data_no_change():
    learner = jc.Kernel(capacity=3)
    start = jc.KernelDensity(jnp.arange(3.0)[:, None], jnp.array([1.0, 2, 1]), jnp.eye(1))
    same = learner.fit(jc.Atoms(jnp.zeros((3, 1)), jnp.zeros(3), key=KEY), start, key=KEY)
    for new, old in zip(same.normals, start.normals, strict=True):
        np.testing.assert_array_equal(new, old)


def test_an_empirical_law_can_be_the_truth():
    points = np.array([[0.0], [1.0], [5.0]])
    truth = jc.KernelDensity(points, np.ones(3), np.zeros((1, 1)))
    assert set(np.unique(truth.draw(200, key=KEY)).tolist()) == {0.0, 1.0, 5.0}
    assert (np.asarray(truth.log_prob(jnp.asarray(points))) == -np.inf).all()
    assert float(truth.summary(truth)["density_error"]) < 1e-6


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jc.Kernel("gauss"), "bandwidth: got 'gauss', expected one of silverman, scott"),
        (lambda: jc.Kernel(-0.1), "bandwidth: got -0.1"),
        (lambda: jc.Kernel(float("nan")), "bandwidth: got nan"),
        (lambda: jc.Kernel(capacity=0), "capacity: got 0"),
        (lambda: jc.KernelDensity(np.zeros(3), np.ones(3), np.eye(1)), r"points: got shapes \(3,\), \(3,\), \(1, 1\)"),
        (lambda: jc.KernelDensity(np.zeros((2, 1)), np.ones(2), np.eye(2)), "points: got shapes"),
        (lambda: jc.KernelDensity(np.zeros((2, 1)), np.zeros(2), np.eye(1)), "not all 0"),
        (lambda: jc.KernelDensity(np.full((1, 1), np.nan), np.ones(1), np.eye(1)), "points: got .*finite"),
        (lambda: jc.Kernel().init(jc.zipf(3), key=KEY), "target: got Categorical"),
    ],
)
def test_what_is_no_kernel_density_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
