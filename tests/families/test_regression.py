"""Linear regression: exact moments at any n, what is fitted to them, and the loop against its exact errors."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxcollapse as jc
from tests.helpers import assert_mean

W = np.array([1.0, -0.5, 0.25])
X = np.random.default_rng(0).standard_normal((8, 3))
C = jc.Constant


def moments_of(x, y):
    return jc.LinearMoments(jnp.asarray(len(y), float), *(jnp.asarray(a, float) for a in (x.T @ x, x.T @ y, y @ y)))


def rows(n=20, sigma=0.3, seed=1):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3))
    return x, x @ W + sigma * rng.standard_normal(n)


@pytest.fixture(scope="module")
def draw():
    """Many draws of n rows for several n, by one program."""
    of_n = jax.vmap(lambda n, key: jc.LinearModel(W, 0.5).moments(n, key=key), (None, 0))
    draw = jax.jit(jax.vmap(of_n, (0, None)))
    sizes = np.array([-1, 0, 1, 2, 3, 9])
    return dict(zip(sizes.tolist(), _split(draw(jnp.asarray(sizes), jr.split(jr.key(0), 8000))), strict=True))


def _split(batch):
    return [jax.tree.map(lambda x, i=i: np.asarray(x[i]), batch) for i in range(batch.weight.shape[0])]


@pytest.mark.parametrize("n", [1, 2, 3, 9])
def test_rows_have_their_exact_moments_at_any_n(draw, n):
    data, d, variance = draw[n], 3, 0.25
    assert (data.weight == n).all()
    assert_mean(data.gram, n * np.eye(d))
    assert_mean((data.gram**2).sum((1, 2)), n * d * (n + d + 1))  # Wishart: E tr G²
    assert_mean(data.cross, n * W)
    assert_mean(((data.cross - data.gram @ W) ** 2).sum(-1), variance * n * d)  # Cov Xᵀε = n σ² I
    assert_mean(data.square, n * (W @ W + variance))
    assert_mean(data.square**2, n * (n + 2) * (W @ W + variance) ** 2)


def test_fewer_rows_than_weights_have_a_singular_gram_matrix(draw):
    determinants = [np.linalg.det(draw[n].gram) for n in (1, 2, 3)]
    assert abs(determinants[0]).max() < 1e-3 and abs(determinants[1]).max() < 1e-2
    assert_mean(determinants[2], 6.0)  # χ²_3 χ²_2 χ²_1


def test_no_rows_are_nothing_and_a_negative_number_is_marked(draw):
    assert all((x == 0).all() for x in jax.tree.leaves(draw[0]))
    assert all(np.isnan(x).all() for x in jax.tree.leaves(draw[-1]))


def test_the_residual_is_a_chi_square(draw):
    data = draw[9]
    fitted = np.linalg.solve(data.gram, data.cross[..., None])[..., 0]
    residual = data.square - (fitted * data.cross).sum(-1)
    assert_mean(residual, 0.25 * 6)
    assert_mean(((fitted - W) ** 2).sum(-1), 0.25 * 3 / (9 - 3 - 1))


def test_a_given_design_is_the_same_in_every_draw():
    model = jc.LinearModel(W, 0.5, design=X)
    data = jax.jit(jax.vmap(lambda key: model.moments(jnp.asarray(16), key=key)))(jr.split(jr.key(1), 4000))
    np.testing.assert_allclose(data.gram, np.broadcast_to(2 * X.T @ X, data.gram.shape), rtol=1e-4, atol=1e-4)
    noise = np.asarray(data.cross) - 2 * X.T @ X @ W
    assert_mean(noise, np.zeros(3))
    assert_mean(noise[:, :, None] * noise[:, None], 0.25 * 2 * X.T @ X)
    assert_mean(data.square, 2 * ((X @ W) ** 2).sum() + 16 * 0.25)


def test_moments_add_up_and_scale():
    (x, y), (u, v) = rows(12), rows(7, seed=2)
    both = moments_of(np.concatenate([x, u]), np.concatenate([y, v]))
    added = moments_of(x, y) + moments_of(u, v)
    doubled = 2.0 * added + (-1.0) * added
    for a, b, c in zip(*map(jax.tree.leaves, (both, added, doubled)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
        np.testing.assert_allclose(a, c, rtol=1e-5)
    assert float(added.total) == 19


def test_fitting_minimises_mean_squares_and_penalty(precision):
    x, y = rows()
    blank = jc.LinearModel(np.zeros(3))
    for penalty in (0.0, 0.3):
        fitted = jc.Ridge(penalty).fit(moments_of(x, y), blank, key=jr.key(0)).weights
        exact = np.linalg.solve(x.T @ x + 20 * penalty * np.eye(3), x.T @ y)
        np.testing.assert_allclose(fitted, exact, rtol=1e-5 if precision == "float32" else 1e-12)


def test_noise_is_kept_or_read_off_the_residuals():
    x, y = rows()
    rss = np.linalg.lstsq(x, y, rcond=None)[1][0]
    for noise, exact in (("kept", 0.3), ("unbiased", np.sqrt(rss / 17)), ("mle", np.sqrt(rss / 20))):
        fitted = jc.Ridge(noise=noise).fit(moments_of(x, y), jc.LinearModel(W, 0.3), key=jr.key(0))
        assert float(fitted.noise) == pytest.approx(exact, rel=1e-4)


def test_penalties_adapt_by_their_rules():
    x, y = rows()
    w, (rss,), *_ = np.linalg.lstsq(x, y, rcond=None)
    assert float(jc.HoerlKennard()(moments_of(x, y))) == pytest.approx(3 * (rss / 17) / (20 * w @ w), rel=1e-3)
    assert float(jc.PenaltyPowerLaw(2.0, exponent=0.5)(moments_of(x, y))) == pytest.approx(2 / np.sqrt(20), rel=1e-6)
    fitted = jc.Ridge(jc.HoerlKennard()).fit(moments_of(x, y), jc.LinearModel(W), key=jr.key(0)).weights
    assert np.linalg.norm(fitted) < np.linalg.norm(w)
    assert np.isnan(jc.HoerlKennard()(moments_of(x[:3], y[:3])))


def test_too_few_rows_are_refused_unless_they_are_penalised():
    x, y = rows(3)
    with pytest.raises(ValueError, match="data: got 3 rows for 3 weights, expected at least 4 without a penalty"):
        jc.Ridge().fit(moments_of(x, y), jc.LinearModel(W), key=jr.key(0))
    fit = jax.jit(lambda penalty: jc.Ridge(penalty).fit(moments_of(x, y), jc.LinearModel(W), key=jr.key(0)).weights)
    assert np.isnan(fit(0.0)).all() and np.isnan(fit(-1.0)).all()
    ridge = np.linalg.solve(x.T @ x + 0.3 * np.eye(3), x.T @ y)
    np.testing.assert_allclose(fit(0.1), ridge, rtol=1e-4)


@pytest.mark.parametrize(
    ("penalty", "least"),
    [(0.0, 4), (0.1, 1), (jc.HoerlKennard(), 4), (jc.PenaltyPowerLaw(1.0, exponent=0.5), 1)],
)
def test_the_fewest_rows_depend_on_the_penalty(penalty, least):
    assert jc.Ridge(penalty).least(jc.LinearModel(W)) == least
    assert jc.Ridge(penalty, noise="unbiased").least(jc.LinearModel(W)) == 4


@pytest.mark.parametrize("learner", [jc.Ridge(), jc.Ridge(0.1, noise="unbiased"), jc.Ridge(jc.HoerlKennard())])
def test_a_loop_of_too_few_rows_is_refused(learner):
    loop = jc.Loop(jc.LinearModel(W), learner, jc.Replace(), jc.Constant(0.5), jc.Constant(3))
    with pytest.raises(ValueError, match="n: got 3 at generation 0, expected at least 4 draws for this learner"):
        jc.ensemble(loop, 2, lineages=2, key=jr.key(0))


def test_without_data_the_model_stays():
    nothing = 0.0 * moments_of(*rows())
    for learner in (jc.Ridge(), jc.Ridge(0.1, noise="mle"), jc.Ridge(jc.HoerlKennard())):
        kept = learner.fit(nothing, jc.LinearModel(W, 0.3), key=jr.key(0))
        np.testing.assert_array_equal(kept.weights, jnp.asarray(W, float))
        assert float(kept.noise) == pytest.approx(0.3)


def test_log_prob_is_the_law_of_y_given_x():
    model = jc.LinearModel(W, 2.0)
    row = jnp.array([[1.0, 1.0, 2.0, 3.25]])  # the mean is 1
    np.testing.assert_allclose(model.log_prob(row), -(2.25**2) / 8 - np.log(2) - np.log(2 * np.pi) / 2, rtol=1e-6)


def test_resampling_one_batch_is_drawing_its_rows():
    x, y = rows(20, 0.5)
    pool, draws = moments_of(x, y), 8000
    sample = jax.jit(jax.vmap(lambda n, key: pool.resample(n, key=key), (None, 0)))

    def of(n):
        return jax.tree.map(np.asarray, sample(jnp.asarray(n), jr.split(jr.key(2), draws)))

    some = of(8)
    for part, whole in zip(jax.tree.leaves(some), jax.tree.leaves(pool), strict=True):
        assert_mean(part, 0.4 * np.asarray(whole))
    # Rows that are uniform given their moments: X = Q L⁻ᵀ with Q the columns of a random rotation.
    gaussian = np.random.default_rng(3).standard_normal((draws, 20, 4))
    frame = np.linalg.qr(gaussian)[0][:, :8] @ np.linalg.cholesky(np.c_[x, y].T @ np.c_[x, y]).T
    for statistic in (lambda g, c: np.linalg.inv(g)[:, 0, 0], lambda g, c: np.linalg.solve(g, c[..., None])[:, 0, 0]):
        a = statistic(some.gram, some.cross)
        u, v = frame[..., :3], frame[..., 3]
        b = statistic(np.einsum("lni,lnj->lij", u, u), np.einsum("lni,ln->li", u, v))
        assert abs(a.mean() - b.mean()) < 4 * np.sqrt((a.var() + b.var()) / draws)
    np.testing.assert_allclose(of(25).gram[0], pool.gram, rtol=1e-6)
    assert (of(0).gram == 0).all() and np.isnan(of(-1).gram).all()


def test_rows_of_a_given_design_are_not_resampled():
    loop = jc.Loop(jc.LinearModel(W, 1.0, X), jc.Ridge(), jc.Subsample(jc.Accumulate()), C(0.0), C(8))
    with pytest.raises(ValueError, match="resample: got rows of a given design"):
        jc.simulate(loop, 2, key=jr.key(0))


@pytest.fixture(scope="module")
def run():
    """One program for every number: (target, alpha, decay, penalty, n) -> squared errors `L T`."""
    traces = []

    @eqx.filter_jit
    def run(target, alpha, decay, penalty, n):
        traces.append(1)
        loop = jc.Loop(target, jc.Ridge(penalty), jc.Accumulate(decay=decay), C(alpha), C(n), split="fixed")
        return jc.ensemble(loop, 4, lineages=2000, key=jr.key(3))[1]["squared_error"]

    return lambda target, *fields, n=12: np.asarray(run(target, *map(jnp.asarray, (*fields, n)))), traces


def test_fresh_designs_have_their_exact_errors_in_one_compile(run):
    run, traces = run
    target = jc.LinearModel(W, 0.5)
    before = len(traces)
    for alpha in (0.0, 0.3, 1.0):
        exact = 0.25 * np.asarray(jc.theory.regression(C(alpha), C(12), 4, 3, "fixed"))
        assert_mean(run(target, alpha, 0.0, 0.0), exact[1:])
    assert_mean(run(target, 0.0, 1.0, 0.0), 0.25 * np.asarray(jc.theory.regression_accumulate(C(12), 4, 3))[1:])
    assert run(target, 0.0, 0.0, 0.05)[:, -1].mean() < run(target, 0.0, 0.0, 0.0)[:, -1].mean()
    for misuse in ((0.0, 0.0, -1.0), (0.5, 1.5, 0.0), (2.0, 0.0, 0.0)):
        assert np.isnan(run(target, *misuse)).all()
    assert np.isnan(run(target, 0.0, 0.0, 0.0, n=3)).all()
    assert len(traces) == before + 1


def test_the_same_design_has_its_exact_errors(run):
    run, _ = run
    target = jc.LinearModel(W, 0.5, X)
    v, axes = np.linalg.eigh(X.T @ X / 8)
    for alpha, decay, penalty in ((0.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.3, 0.6, 0.2)):
        exact = jc.theory.fixed_design(C(alpha), C(12), 4, v, axes.T @ W, 0.5, penalty, decay, "fixed")
        assert_mean(run(target, alpha, decay, penalty), np.asarray(exact)[1:])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jc.LinearModel(1.0), r"weights: got shape \(\), expected a vector of d numbers"),
        (lambda: jc.LinearModel(np.array([])), r"weights: got shape \(0,\)"),
        (lambda: jc.LinearModel(np.array([np.nan])), "weights: got a number that is not finite"),
        (lambda: jc.LinearModel(W, -1.0), "noise: got -1.0"),
        (lambda: jc.LinearModel(W, np.ones(2)), r"noise: got shape \(2,\), expected one number"),
        (lambda: jc.LinearModel(W, 1.0, X[:, :2]), r"design: got shape \(8, 2\), expected 3 covariates"),
        (lambda: jc.LinearModel(W, 1.0, X[:2]), r"design: got shape \(2, 3\), expected 3 covariates"),
        (lambda: jc.LinearModel(W, 1.0, X[:, [0, 1, 1]]), "design: got linearly dependent columns"),
        (lambda: jc.Ridge(-0.1), "penalty: got -0.1, expected one finite number of at least 0"),
        (lambda: jc.Ridge(np.inf), "penalty: got inf"),
        (lambda: jc.Ridge(noise="known"), "noise: got 'known', expected one of kept, unbiased, mle"),
        (lambda: jc.PenaltyPowerLaw(-1.0, exponent=1.0), "scale: got -1.0"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_traced_misuse_is_marked():
    model = jax.jit(lambda noise: jc.LinearModel(W, noise).noise)(jnp.asarray(-1.0))
    assert np.isnan(model)
    root = jax.jit(lambda x: jc.LinearModel(W, 1.0, x).root)(jnp.asarray(X[:, [0, 1, 1]], float))
    assert np.isnan(root).all()
