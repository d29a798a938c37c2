"""Gaussian mixtures by EM: what a fit is, how components are matched, and what becomes of those that degenerate."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

import jaxcollapse as jc
from jaxcollapse.families import _normals, mixture
from tests.helpers import assert_mean

COVS = np.array([[[1.0, 0.3], [0.3, 0.5]], [[0.5, 0.0], [0.0, 2.0]]])
PAIR = jc.GaussianMixture(np.array([0.4, 0.6]), np.array([[-2.0, 0.0], [2.0, 1.0]]), COVS)
LINE = jc.GaussianMixture(np.array([0.5, 0.5]), np.array([[-2.0], [2.0]]), np.array([[[1.0]], [[0.25]]]))
KEY = jr.key(0)


def fit(learner, points, weights, start):
    atoms = jc.Atoms(jnp.asarray(points, float), jnp.asarray(weights, float), key=KEY)
    return jax.jit(lambda learner, atoms, start: learner.fit(atoms, start, key=KEY))(learner, atoms, start)


def test_density_and_moments_are_those_of_scipy():
    x = np.array([[0.0, 0.0], [1.0, -2.0], [-2.0, 0.3]])
    law = [stats.multivariate_normal(m, c) for m, c in zip(PAIR.means, PAIR.covs, strict=True)]
    exact = np.log(0.4 * law[0].pdf(x) + 0.6 * law[1].pdf(x))
    np.testing.assert_allclose(PAIR.log_prob(jnp.asarray(x, float)), exact, rtol=1e-5)
    draws = np.asarray(PAIR.draw(20_000, key=KEY))
    mean, cov = _normals.moments(PAIR.normals)
    assert_mean(draws, mean)
    off = draws - np.asarray(mean)
    assert_mean(np.einsum("mi,mj->mij", off, off), cov)


def test_a_semidefinite_root_is_exact_where_there_is_no_variance():
    cov = np.zeros((3, 3, 3), np.float32)
    cov[1] = np.outer([1, 2, 3], [1, 2, 3])
    cov[2] = np.diag([1, 0, 4])
    root = np.asarray(_normals.root(jnp.asarray(cov)))
    np.testing.assert_allclose(root @ root.swapaxes(1, 2), cov, atol=1e-5)
    assert (root[0] == 0).all() and (root[1][:, 1:] == 0).all() and (root[2][:, 1] == 0).all()


def test_one_iteration_is_the_textbook_one():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(12, 2)) * 2, rng.integers(0, 3, 12)
    found = fit(jc.Mixture(2, steps=1, floor=1e-12), x, w, PAIR)
    pdf = [stats.multivariate_normal(m, c).pdf(x) for m, c in zip(PAIR.means, PAIR.covs, strict=True)]
    r = np.asarray(PAIR.weights) * np.stack(pdf, 1)
    r = w[:, None] * r / r.sum(1, keepdims=True)
    means = r.T @ x / r.sum(0)[:, None]
    off = x[:, None] - means
    np.testing.assert_allclose(found.weights, r.sum(0) / w.sum(), rtol=1e-4)
    np.testing.assert_allclose(found.means, means, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.covs, np.einsum("mk,mki,mkj->kij", r / r.sum(0), off, off), rtol=1e-3, atol=1e-4)


def test_components_are_matched_by_their_means():
    swapped = jc.GaussianMixture(PAIR.weights[::-1], PAIR.means[::-1] + 0.1, PAIR.covs[::-1])
    assert mixture.match(swapped, PAIR).tolist() == [1, 0]
    error = swapped.summary(PAIR)["component_error"]
    np.testing.assert_allclose(error, 0.02 / np.trace(_normals.moments(PAIR.normals)[1]), rtol=1e-4)
    with pytest.raises(ValueError, match="model: got means of shapes"):
        mixture.match(LINE, PAIR)


def test_the_blurred_error_is_the_integral_that_it_says():
    other = jc.GaussianMixture(np.array([0.2, 0.8]), np.array([[-1.0], [0.5]]), np.array([[[0.0]], [[1.0]]]))
    x = np.linspace(-15, 15, 6001)
    b2 = 0.25**2 * float(_normals.moments(LINE.normals)[1][0, 0])
    density = lambda m: sum(
        w * stats.norm(mu, np.sqrt(c + b2)).pdf(x)
        for w, mu, c in zip(*(np.ravel(v) for v in (m.weights, m.means, m.covs)), strict=True)
    )
    p, q = density(other), density(LINE)
    np.testing.assert_allclose(other.summary(LINE)["density_error"], ((p - q) ** 2).sum() / (q**2).sum(), rtol=1e-4)
    assert float(LINE.summary(LINE)["density_error"]) < 1e-6


def test_a_lost_component_stays_lost_and_a_point_stays_where_it_is():
    start = jc.GaussianMixture(np.array([0.0, 1.0]), np.array([[3.0], [0.1]]), np.array([[[2.0]], [[0.0]]]))
    found = fit(jc.Mixture(2), np.full((5, 1), 0.1), np.ones(5), start)
    for new, old in zip(found.normals, start.normals, strict=True):
        np.testing.assert_array_equal(new, old)
    summary = found.summary(LINE)
    assert int(summary["alive"]) == 1 and int(summary["degenerate"]) == 1
    assert all(np.isfinite(value) for value in summary.values())


def test_a_component_on_a_single_atom_is_finite():
    points = np.array([[0.0], [0.1], [-0.2], [0.3], [50.0]])
    start = jc.GaussianMixture(np.array([0.8, 0.2]), np.array([[0.0], [50.0]]), np.array([[[1.0]], [[0.01]]]))
    found = fit(jc.Mixture(2), points, np.ones(5), start)
    np.testing.assert_allclose(found.weights, [0.8, 0.2], rtol=1e-4)
    assert float(found.covs[1, 0, 0]) == 0 and int(found.summary(start)["degenerate"]) == 1


@pytest.fixture(scope="module")
def collapsed():
    """No real data at all, n = 4 for 400 generations; and marks: a traced n, steps or floor out of range."""

    def run(alpha, n, steps, key):
        loop = jc.Loop(LINE, jc.Mixture(2, steps=steps, capacity=4), jc.Replace(), jc.Constant(alpha), jc.Constant(n))
        record = lambda lineage, batch: (lineage.model.summary(LINE), lineage.model, batch.data.weights)
        return jc.simulate(loop, 400, key=key, record=record)[1]

    many = jax.jit(jax.vmap(run))
    alpha, n, steps = jnp.zeros(32), jnp.full(32, 4.0), jnp.full(32, 3)
    return many(alpha.at[:8].set(1.0), n.at[30].set(-1.0).at[:8].set(1.0), steps.at[31].set(0), jr.split(KEY, 32))


def test_collapse_is_finite_and_absorbing(collapsed):
    summary, model, _ = collapsed
    seen = slice(8, 30)
    assert all(np.isfinite(value[seen]).all() for value in summary.values())
    assert (summary["variance"][seen, -1] < 1e-6).mean() > 0.8
    alive = np.asarray(summary["alive"][seen])
    assert (np.diff(alive, axis=1) <= 0).all() and (alive[:, -1] == 1).mean() > 0.5
    point = np.asarray(summary["variance"][seen]) == 0
    assert point[:, -1].any()
    assert (np.diff(point.astype(int), axis=1) >= 0).all(), "a point has spread again"
    means = np.asarray((model.weights[..., None] * model.means).sum(-2))[seen]
    assert all(len(np.unique(m[p])) <= 2 for m, p in zip(means, point, strict=True))


def test_a_generation_of_one_draw_is_a_point(collapsed):
    summary, _, weights = collapsed
    assert (summary["variance"][:8] == 0).all() and (np.asarray(weights[:8]) == [1.0, 0, 0, 0]).all()


def test_traced_misuse_is_nan(collapsed):
    summary, _, _ = collapsed
    for value in summary.values():
        bad = np.asarray(value)[30:]
        assert np.isnan(bad).all() if np.issubdtype(bad.dtype, np.floating) else True


def test_no_data_no_change():
    found = fit(jc.Mixture(2), np.zeros((3, 1)), np.zeros(3), LINE)
    np.testing.assert_array_equal(found.means, LINE.means)
    start = jc.GaussianMixture(np.array([0.5, 0.5]), np.array([[-1.0], [1.0]]), np.ones((2, 1, 1)))
    again = fit(jc.Restart(jc.Mixture(2), start), np.zeros((3, 1)), np.zeros(3), LINE)
    np.testing.assert_array_equal(again.means, LINE.means)


def test_a_restart_forgets_the_previous_model():
    x = np.linspace(-3, 3, 8)[:, None]
    start = jc.GaussianMixture(np.array([0.5, 0.5]), np.array([[-1.0], [1.0]]), np.ones((2, 1, 1)))
    learner = jc.Restart(jc.Mixture(2, steps=1), start)
    once = fit(learner, x, np.ones(8), LINE)
    np.testing.assert_array_equal(once.means, fit(learner, x, np.ones(8), once).means)
    np.testing.assert_array_equal(once.means, fit(jc.Mixture(2, steps=1), x, np.ones(8), start).means)


def test_a_mixture_of_another_number_starts_at_draws_of_the_target():
    start = jc.Mixture(3).init(LINE, key=KEY)
    assert start.means.shape == (3, 1) and len(np.unique(start.means)) == 3
    np.testing.assert_allclose(start.covs[0], _normals.moments(LINE.normals)[1])
    assert jc.Mixture(2).init(LINE, key=KEY) is LINE


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jc.GaussianMixture(np.ones(2), np.zeros((2, 1)), np.ones((2, 1, 1))), "expected a law"),
        (lambda: jc.GaussianMixture(np.ones(1), np.zeros((2, 1)), np.ones((2, 1, 1))), r"covs: got shapes \(1,\)"),
        (lambda: jc.GaussianMixture(np.ones(1), np.zeros((1, 2)), np.eye(2)), r"expected \(k,\), \(k, d\) and"),
        (lambda: jc.GaussianMixture(np.ones(1), np.full((1, 1), np.inf), np.ones((1, 1, 1))), "means: got .*finite"),
        (lambda: jc.GaussianMixture(np.ones(1), np.zeros((1, 2)), np.array([[[1.0, 0.5], [0, 1]]])), "symmetric"),
        (lambda: jc.GaussianMixture(np.ones(1), np.zeros((1, 1)), -np.ones((1, 1, 1))), "an eigenvalue -1"),
        (lambda: jc.Mixture(0), "components: got 0"),
        (lambda: jc.Mixture(2, steps=0), "steps: got 0"),
        (lambda: jc.Mixture(2, floor=0.0), "floor: got 0.0"),
        (lambda: jc.Mixture(2).init(jc.zipf(3), key=KEY), "target: got Categorical.*expected a GaussianMixture"),
        (lambda: jc.Restart(jc.Mixture(3), PAIR).init(PAIR, key=KEY), "start: got GaussianMixture"),
    ],
)
def test_what_is_no_mixture_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
