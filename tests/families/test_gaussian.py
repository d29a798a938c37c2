"""The Gaussian family: its moments as data, its laws, and the loop against the exact recursion."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

import jaxcollapse as jc
from jaxcollapse._moments import bartlett
from tests.helpers import assert_mean

COV = np.array([[2.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 0.5]])
CENTRE = np.array([1.0, -2.0, 0.5])
LINEAGES = 4000


def moments_of(points):
    return jc.Moments(len(points), points.mean(0), (points - points.mean(0)).T @ (points - points.mean(0)))


def points(n, d=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)) @ np.linalg.cholesky(np.eye(d) + 0.5) + 7.0


@pytest.mark.parametrize("d", [1, 3])
def test_sums_of_moments_are_the_moments_of_both_samples(d, precision):
    x, rtol = points(9, d), 2e-5 if precision == "float32" else 1e-12
    both = moments_of(x[:4]) + moments_of(x[4:])
    whole = moments_of(x)
    assert both.weight == 9 and jnp.issubdtype(both.weight.dtype, jnp.integer)
    np.testing.assert_allclose(both.mean, whole.mean, rtol)
    np.testing.assert_allclose(both.scatter, whole.scatter, rtol, atol=rtol)
    np.testing.assert_allclose((0.25 * whole).scatter, 0.25 * whole.scatter, rtol, atol=rtol)
    assert (0.25 * whole).total == 2.25


@pytest.mark.parametrize("d", [1, 3])
def test_no_data_change_no_digit(d):
    x, nothing = moments_of(points(6, d)), 0.0 * moments_of(points(5, d, seed=1))
    blank = jc.Moments(0, np.zeros(d), np.zeros((d, d)))
    for found, unchanged in ((x + blank, x), (blank + x, x), (1.0 * x + nothing, 1.0 * x)):
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(unchanged), strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_marked_draw_marks_every_sum():
    model = jc.Normal(0.0, 1.0)
    marked, fine = model.moments(jnp.asarray(-1), key=jr.key(0)), model.moments(jnp.asarray(5), key=jr.key(1))
    part = marked.resample(jnp.asarray(2), key=jr.key(2))
    for found in (marked, marked + fine, fine + marked, 0.5 * (fine + marked), part):
        assert found.weight < 0 and np.isnan(found.mean).all() and np.isnan(found.scatter).all()
    assert np.isnan((-1.0 * fine).scatter).all()
    assert np.isnan(fine.resample(jnp.asarray(-1), key=jr.key(2)).mean).all()
    assert np.isnan(jc.Gaussian().fit(marked, model, key=jr.key(0)).cov).all()


def test_the_root_survives_where_the_scatter_has_underflowed():
    tiny = jc.Normal(0.0, 1.0).moments(jnp.asarray(9), key=jr.key(0))
    for _ in range(3):
        tiny = jc.Moments(tiny.weight, tiny.mean, root=1e-10 * tiny.root)
    both = tiny + tiny
    assert 0 < both.root[0, 0] < 1e-25
    np.testing.assert_allclose(both.root / tiny.root, np.sqrt(2), rtol=1e-5)


@pytest.fixture(scope="module")
def subsamples():
    """Moments of 3 of a pool of 8 points in two dimensions, and the pool."""
    pool = points(8, 2)
    draw = jax.jit(jax.vmap(lambda key, n: moments_of(pool).resample(n, key=key), (0, None)))
    return pool, draw


@pytest.mark.parametrize("n", [1, 3, 7])
def test_a_part_has_the_mean_and_covariance_of_a_subsample_of_any_pool(subsamples, n):
    pool, draw = subsamples
    found = draw(jr.split(jr.key(n), LINEAGES), jnp.asarray(n))
    spread = np.cov(pool.T)  # the subsample's mean has this times (1/n)(1 − n/N), exactly, for any eight points
    centred = np.asarray(found.mean) - pool.mean(0)
    assert_mean(centred, 0 * pool[0])
    assert_mean(centred[:, :, None] * centred[:, None], spread * (1 / n - 1 / 8))
    if n > 1:
        assert_mean(jax.vmap(lambda x: x.scatter)(found), (n - 1) * spread)


def test_all_of_a_pool_is_the_pool_and_none_of_it_nothing(subsamples):
    pool, draw = subsamples
    whole = draw(jr.split(jr.key(0), LINEAGES), jnp.asarray(9))
    np.testing.assert_array_equal(whole.root[0], moments_of(pool).root)
    nothing = draw(jr.split(jr.key(0), LINEAGES), jnp.asarray(0))
    assert (nothing.weight == 0).all() and not np.asarray(nothing.root).any()


def test_a_part_of_a_gaussian_sample_is_itself_one():
    """Drawn through the whole sample's moments, 5 of 9 draws have χ²₄ scatter and a mean independent of it."""

    def one(key):
        whole, part = jr.split(key)
        return jc.Normal(0.0, 1.0).moments(jnp.asarray(9), key=whole).resample(jnp.asarray(5), key=part)

    found = jax.jit(jax.vmap(one))(jr.split(jr.key(3), 20_000))
    scatter, mean = np.asarray(found.root)[:, 0, 0] ** 2, np.asarray(found.mean)[:, 0]
    assert stats.kstest(scatter, stats.chi2(4).cdf).pvalue > 5e-4
    assert stats.kstest(mean * np.sqrt(5), "norm").pvalue > 5e-4
    assert abs(np.corrcoef(mean**2, scatter)[0, 1]) < 4 / np.sqrt(20_000)


def test_scatter_is_wishart_even_with_fewer_degrees_than_dimensions():
    draw = jax.jit(jax.vmap(lambda key, degrees: bartlett(key, 3, degrees), (0, None)))
    for degrees in (0, 1, 2, 5):
        a = np.asarray(draw(jr.split(jr.key(degrees), LINEAGES), jnp.asarray(float(degrees))))
        w = a @ a.transpose(0, 2, 1)
        assert (np.triu(a, 1) == 0).all() and (np.linalg.matrix_rank(w[:20]) == min(degrees, 3)).all()
        exact = degrees * (1 + np.eye(3))  # Var W_ij = ν (1 + δ_ij)
        if degrees:
            assert_mean(w, degrees * np.eye(3))
            assert_mean((w - degrees * np.eye(3)) ** 2, exact)


def loop(target, alpha, n):
    return jc.Loop(target, jc.Gaussian(), jc.Replace(), jc.Constant(alpha), jc.Constant(n))


@pytest.fixture(scope="module")
def runs():
    """summary over 20 generations, for both dimensions: one compile each for all α and n."""

    def programme(target):
        run = lambda alpha, n, key: jc.ensemble(loop(target, alpha, n), 20, lineages=LINEAGES, key=key)[1]
        return jax.jit(run)

    return {1: programme(jc.Normal(3.0, 4.0)), 3: programme(jc.Normal(CENTRE, COV))}


@pytest.mark.parametrize(("d", "alpha", "n"), [(1, 0.05, 50), (1, 0.2, 20), (1, 1.0, 7), (3, 0.2, 20), (3, 0.02, 60)])
def test_error_is_the_tabular_risk_and_variance_its_complement(runs, d, alpha, n):
    found = runs[d](alpha, n, jr.key(d))
    r = jc.theory.risk(jc.Constant(alpha), jc.Constant(n), 20)[1:]
    assert_mean(found["squared_error"], r)
    assert_mean(found["variance"], 1 - np.asarray(r))


def test_log_scale_drifts_as_the_theory_says(runs):
    found = np.asarray(runs[1](0.0, 30, jr.key(5))["log_scale"])
    exact = jc.theory.gaussian_log_scale(jc.Constant(30), 20)
    assert_mean(found, exact.mean[1:])
    assert_mean((found - np.asarray(exact.mean[1:])) ** 2, exact.variance[1:])


def test_a_million_million_draws_cost_no_more_and_move_nothing(runs):
    found = runs[3](0.5, 2_000_000_000, jr.key(0))
    assert float(found["squared_error"].max()) < 1e-7 and float(abs(found["variance"] - 1).max()) < 1e-3


def test_traced_misuse_is_nan_and_nothing_else(runs):
    found = runs[1](jnp.asarray(1.5), 30, jr.key(0))
    assert all(np.isnan(x).all() for x in found.values())


def test_volume_falls_in_three_dimensions_as_the_digammas_say(runs):
    from scipy.special import digamma

    found = np.asarray(runs[3](0.0, 5, jr.key(7))["log_scale"])
    step = np.mean([digamma(nu / 2) + np.log(2) - np.log(5) for nu in (4, 3, 2)]) / 2
    assert_mean(found, step * np.arange(2, 22))


def test_log_prob_divergence_and_distance_are_those_of_scipy_and_quadrature():
    p, q = jc.Normal(CENTRE, COV), jc.Normal(np.zeros(3), np.eye(3))
    x = np.asarray(p.draw(5, key=jr.key(0)))
    np.testing.assert_allclose(p.log_prob(x), stats.multivariate_normal(CENTRE, COV).logpdf(x), rtol=1e-4)
    exact = 0.5 * (np.trace(COV) + CENTRE @ CENTRE - 3 - np.log(np.linalg.det(COV)))
    np.testing.assert_allclose(p.kl(q), exact, rtol=1e-5)
    values = np.linalg.eigvalsh(COV)
    np.testing.assert_allclose(p.squared_wasserstein(q), CENTRE @ CENTRE + ((np.sqrt(values) - 1) ** 2).sum(), 1e-5)
    one, two = jc.Normal(1.0, 4.0), jc.Normal(0.0, 1.0)
    np.testing.assert_allclose(one.squared_wasserstein(two), 2.0)
    np.testing.assert_allclose(one.kl(two), 0.5 * (4 + 1 - 1 - np.log(4)), rtol=1e-6)
    np.testing.assert_allclose(one.log_prob(jnp.array([[0.5]])), stats.norm(1, 2).logpdf([0.5]), rtol=1e-6)
    assert one.mean.shape == (1,) and one.cov.shape == (1, 1)


def test_unbiased_and_maximum_likelihood_differ_by_the_divisor():
    data, model = moments_of(points(6, 2)), jc.Normal(np.zeros(2), np.eye(2))
    fitted = jc.Gaussian().fit(data, model, key=jr.key(0))
    np.testing.assert_allclose(fitted.cov, np.cov(points(6, 2).T, ddof=0), rtol=1e-5)
    fitted = jc.Gaussian(unbiased=True).fit(data, model, key=jr.key(0))
    np.testing.assert_allclose(fitted.cov, np.cov(points(6, 2).T), rtol=1e-5)
    nothing = jc.Moments(0, np.zeros(2), np.zeros((2, 2)))
    np.testing.assert_array_equal(jc.Gaussian(unbiased=True).fit(nothing, model, key=jr.key(0)).cov, np.eye(2))


def test_one_draw_is_an_outcome_with_maximum_likelihood_and_an_error_without_bias():
    one, model = jc.Normal(0.0, 1.0).moments(jnp.asarray(1), key=jr.key(0)), jc.Normal(0.0, 1.0)
    assert jc.Gaussian().fit(one, model, key=jr.key(0)).cov[0, 0] == 0
    assert jc.Gaussian().least(model) == 1 and jc.Gaussian(unbiased=True).least(model) == 2
    with pytest.raises(ValueError, match="data: got 1 draws for the unbiased covariance, expected more than 1"):
        jc.Gaussian(unbiased=True).fit(one, model, key=jr.key(0))
    traced = jax.jit(lambda data: jc.Gaussian(unbiased=True).fit(data, model, key=jr.key(0)).cov)
    assert np.isnan(traced(one)).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jc.Normal(0.0, 0.0), "cov: got a variance of 0, expected a positive definite one"),
        (lambda: jc.Normal(0.0, -1.0), "cov: got a variance of -1"),
        (lambda: jc.Normal(0.0, np.nan), "expected finite numbers"),
        (lambda: jc.Normal(np.nan, 1.0), "mean: got nan"),
        (lambda: jc.Normal(np.zeros(2), np.ones((2, 2))), "correlations whose smallest eigenvalue is"),
        (lambda: jc.Normal(np.zeros(2), np.array([[1.0, 2.0], [2.0, 1.0]])), "smallest eigenvalue is -1"),
        (lambda: jc.Normal(np.zeros(2), np.array([[1.0, 0.5], [0.1, 1.0]])), r"0.5 at \(0, 1\) and 0.1 at \(1, 0\)"),
        (lambda: jc.Normal(np.zeros(2), np.eye(3)), r"cov: got shape \(3, 3\) for a mean of 2 numbers"),
        (lambda: jc.Normal(np.zeros(2), 1.0), r"cov: got shape \(\)"),
        (lambda: jc.Normal(np.zeros((2, 2)), 1.0), r"mean: got shape \(2, 2\)"),
        (lambda: jc.Moments(3, np.zeros(2), 1.0), r"scatter: got shape \(\) for a mean of shape \(2,\)"),
        (lambda: jc.Moments(-3, 0.0, 1.0), "weight: got -3"),
    ],
)
def test_what_is_no_normal_law_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_traced_matrix_that_is_no_covariance_gives_nan():
    build = jax.jit(lambda cov: jc.Normal(jnp.zeros(2), cov).factor)
    assert np.isfinite(build(jnp.eye(2))).all()
    for wrong in ([[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.5], [0.1, 1.0]]):
        assert np.isnan(build(jnp.array(wrong))).any()
    assert np.isnan(jax.jit(lambda v: jc.Normal(0.0, v).factor)(-1.0)).all()


@pytest.mark.parametrize("d", [1, 3])
def test_small_distances_do_not_cancel(d):
    """Laws that differ by 10⁻³ of their scale: W2² and KL in float32 as in float64, to a thousandth."""
    rng = np.random.default_rng(d)
    root = np.tril(rng.standard_normal((d, d))) + 2 * np.eye(d)
    near = root + 1e-3 * np.tril(rng.standard_normal((d, d)))

    def distances():
        standard = jc.Normal(np.zeros(d), np.eye(d))
        models = [eqx.tree_at(lambda m: m.factor, standard, jnp.asarray(x)) for x in (near, root)]
        return float(models[0].squared_wasserstein(models[1])), float(models[0].kl(models[1]))

    near, root = near.astype(np.float32), root.astype(np.float32)
    single = distances()
    with jax.enable_x64(True):
        near, root = near.astype(float), root.astype(float)
        np.testing.assert_allclose(single, distances(), rtol=1e-3)
        one, two = near @ near.T, root @ root.T
        exact = 0.5 * (np.trace(np.linalg.solve(two, one)) - d - np.linalg.slogdet(one)[1] + np.linalg.slogdet(two)[1])
        np.testing.assert_allclose(distances()[1], exact, rtol=1e-6)


def test_axes_in_other_units_are_a_covariance_and_points_have_their_dimension():
    assert np.isfinite(np.asarray(jc.Normal(np.zeros(2), np.diag([1e8, 1.0])).factor)).all()
    with pytest.raises(ValueError, match="cov: got a variance of 1e-50"):
        jc.Normal(0.0, 1e-50)
    with pytest.raises(ValueError, match=r"x: got shape \(3,\), expected points of 1 numbers on the last axis"):
        jc.Normal(0.0, 1.0).log_prob(jnp.zeros(3))


def test_a_loop_whose_samples_are_too_small_for_an_unbiased_fit_is_refused():
    def run(n, regime=None):
        loop = jc.Loop(jc.Normal(0.0, 1.0), jc.Gaussian(unbiased=True), regime or jc.Replace(), jc.Constant(0.0), n)
        return jc.simulate(loop, 3, key=jr.key(0))[1]["variance"]

    with pytest.raises(ValueError, match="n: got 1 at generation 0, expected at least 2 draws for this learner"):
        run(jc.Constant(1))
    shrinking = jc.Piecewise((2,), (jc.Constant(10.0), jc.Constant(1.0)))
    with pytest.raises(ValueError, match="n: got 1 at generation 2, expected at least 2 draws"):
        run(shrinking)
    assert np.isfinite(run(shrinking, regime=jc.Accumulate())).all()  # ten draws of the first generation stay
    assert np.isnan(jax.jit(lambda n: run(jc.Constant(n)))(1)).all()


@pytest.mark.parametrize(
    ("scatter", "got"),
    [([[1.0, 0.0], [1.0, 1.0]], "an asymmetry of 1"), ([[1.0, 0.0], [0.0, -1.0]], "an eigenvalue of -1")],
)
def test_a_scatter_that_is_none_is_refused(scatter, got):
    with pytest.raises(ValueError, match=f"scatter: got {got}, expected a symmetric, semidefinite matrix"):
        jc.Moments(3, np.zeros(2), np.array(scatter))


def test_more_draws_than_whole_numbers_hold_are_marked():
    drawn = jc.Normal(0.0, 1.0).moments(jnp.asarray(3e9), key=jr.key(0))
    assert drawn.weight == -1 and np.isnan(drawn.mean).all()
