"""Regression's exact errors against tabulated values and plain simulation; the golden weight against a search."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcollapse as jc
from jaxcollapse import theory
from tests.helpers import assert_mean

C = jc.Constant
GOLDEN = (np.sqrt(5) - 1) / 2


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def test_replacing_adds_one_error_each_generation(x64):
    first = 10 / (60 - 10 - 1)
    np.testing.assert_allclose(theory.regression(C(0.0), C(60), 3, 10), first * np.arange(1, 5), rtol=1e-12)
    np.testing.assert_allclose(theory.regression(C(1.0), C(60), 3, 10), first, rtol=1e-12)


def test_float32_keeps_six_digits():
    np.testing.assert_allclose(theory.regression(C(0.0), C(60), 200, 10)[-1], 201 * 10 / 49, rtol=1e-5)


def test_accumulating_stays_below_pi_squared_over_six(x64):
    factor = np.asarray(theory.accumulation_factor(100))
    np.testing.assert_allclose(factor[[0, 1, 4, 19]], [1, 1.25, 1.463611, 1.596163], atol=5e-7)
    assert np.pi**2 / 6 - factor[-1] == pytest.approx(1 / 101, rel=1e-2)
    e = np.asarray(theory.regression_accumulate(C(60), 3, 10))
    assert e[0] == pytest.approx(10 / 49, rel=1e-12)
    assert (e[1:] < factor[1:4] * 10 / 49).all() and (e > factor[:4] * 10 / 60).all()


def test_large_samples_follow_the_tabular_recursion(x64):
    e = theory.regression(C(0.1), C(1e6), 3, 3) * 1e6 / 3
    np.testing.assert_allclose(e, 1e6 * theory.risk(C(0.1), C(1e6), 3), rtol=1e-4)


@pytest.mark.parametrize("split", ["random", "fixed", "round"])
def test_mixtures_on_fresh_designs_agree_with_a_plain_simulation(x64, split):
    d, n, alpha, lineages = 3, 9, 0.35, 20_000
    rng, w = np.random.default_rng(0), np.zeros((lineages, d))
    squares = []
    for t in range(4):
        x, noise = rng.standard_normal((lineages, n, d)), rng.standard_normal((lineages, n))
        real = _real(rng, split, 1.0 if t == 0 else alpha, n, lineages)
        labels = np.where(np.arange(n) < real[:, None], 0.0, np.einsum("lnd,ld->ln", x, w)) + noise
        gram, cross = np.einsum("lni,lnj->lij", x, x), np.einsum("lni,ln->li", x, labels)
        w = np.linalg.solve(gram, cross[..., None])[..., 0]
        squares.append((w**2).sum(-1))
    assert_mean(np.stack(squares, 1), theory.regression(C(alpha), C(n), 3, d, split))


def _real(rng, split, alpha, n, lineages):
    if split == "random":
        return rng.binomial(n, alpha, lineages)
    if split == "round":
        return np.full(lineages, np.rint(alpha * n))
    return np.floor(alpha * n + rng.random(lineages))


@pytest.mark.parametrize(
    ("penalty", "decay", "alpha"), [(0.0, 0.0, 0.3), (0.2, 0.0, 0.0), (0.2, 1.0, 0.3), (0.1, 0.6, 0.5)]
)
def test_the_same_design_agrees_with_a_plain_simulation(x64, penalty, decay, alpha):
    v, w, sigma, n, lineages = np.array([0.3, 2.0]), np.array([1.0, -0.5]), 0.7, 12, 40_000
    rng, pool, weight, fitted = np.random.default_rng(1), 0.0, 0.0, np.zeros((lineages, 2))
    squares = []
    for t in range(4):
        share = np.ones((lineages, 1)) if t == 0 else rng.binomial(n, alpha, (lineages, 1)) / n
        batch = share * w + (1 - share) * fitted + sigma * rng.standard_normal((lineages, 2)) / np.sqrt(n * v)
        weight = decay * weight + n
        pool = pool + (n / weight) * (batch - pool)
        fitted = v / (v + penalty) * pool
        squares.append(((fitted - w) ** 2).sum(-1))
    exact = theory.fixed_design(C(alpha), C(n), 3, v, w, sigma, penalty, decay)
    assert_mean(np.stack(squares, 1), exact)


def test_the_same_design_has_the_published_factors(x64):
    v = np.array([0.5, 2.0])
    first = (1 / v).sum() / 60
    np.testing.assert_allclose(theory.fixed_design(C(0.0), C(60), 3, v), first * np.arange(1, 5), rtol=1e-12)
    pooled = theory.fixed_design(C(0.0), C(60), 3, v, decay=1.0)
    np.testing.assert_allclose(pooled, first * theory.accumulation_factor(3), rtol=1e-12)


def test_a_penalty_is_swept_in_one_compile():
    traces = []

    @jax.jit
    def last(penalty):
        traces.append(1)
        return theory.fixed_design(C(0.0), C(20), 3, jnp.ones(2), jnp.ones(2), penalty=penalty)[-1]

    errors = [float(last(x)) for x in (0.0, 0.01, 0.05, 1.0)]
    assert len(traces) == 1 and errors[1] < errors[0] < errors[3]
    assert np.isnan(last(-1.0))


def test_the_best_weight_is_the_golden_ratio(x64):  # T10
    assert float(theory.optimal_weight(1e6, 1e6)) == pytest.approx(0.61803, abs=1e-5)
    least = theory.weighted_plateau(theory.optimal_weight(1e6, 1e6), 1e6, 1e6)
    assert 1e6 * float(least) == pytest.approx(GOLDEN, rel=1e-5)
    ratios = np.array([1.0, 0.25, 4.0])
    np.testing.assert_allclose(theory.golden_weight(ratios), [GOLDEN, 0.390388, 0.828427], atol=5e-7)
    risks = theory.weighted_plateau(np.array([0.5, 0.618, 0.75]), 100, 100)
    np.testing.assert_allclose(risks, [0.006645, 0.006170, 0.006662], atol=5e-7)


@pytest.mark.parametrize(("real", "synthetic"), [(100, 100), (3, 50), (50, 3), (1, 1), (10, 1)])
def test_the_finite_optimum_is_least_and_its_risk_is_the_weight_over_n(x64, real, synthetic):
    w = float(theory.optimal_weight(real, synthetic))
    grid = np.linspace(0, 1, 100_001)
    risks = np.asarray(theory.weighted_plateau(grid, real, synthetic))
    assert abs(grid[risks.argmin()] - w) <= 1e-5
    assert float(theory.weighted_plateau(w, real, synthetic)) == pytest.approx(w / real, rel=1e-12)


def test_pooling_doubles_the_real_sample_at_most(x64):
    real, synthetic = 1e4, np.array([1e2, 1e4, 1e6])
    risk = theory.weighted_plateau(real / (real + synthetic), real, synthetic)
    np.testing.assert_allclose(1 / risk, real * (real + 2 * synthetic) / (real + synthetic), rtol=1e-3)


def test_weighted_training_reaches_its_plateau(x64):
    r = theory.weighted_recursion(0.5, 100, 100, 60, start=0.01)
    assert float(r[0]) == pytest.approx(0.01) and float(r[-1]) == pytest.approx(0.006645, abs=1e-6)


def test_the_weights_keep_their_digits_in_float32():
    assert float(theory.optimal_weight(1.0, 1e6)) == pytest.approx(float(theory.golden_weight(1e-6)), rel=1e-3)
    assert float(theory.golden_weight(1e-12)) == pytest.approx(1e-6, rel=1e-5)
    assert float(theory.golden_weight(0.0)) == 0 and float(theory.golden_weight(1e6)) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.regression(C(0.0), C(10), 3, 10), r"n: got 10.0, expected at least d \+ 1 = 11 rows"),
        (lambda: theory.regression_accumulate(C(10), 3, 10), r"n: got 10.0, expected at least d \+ 1 = 11 rows"),
        (lambda: theory.regression(C(2.0), C(60), 3, 10), "alpha: got 2.0"),
        (lambda: theory.regression(C(0.5), C(60), 3, 10, "half"), "split: got 'half'"),
        (lambda: theory.fixed_design(C(0.0), C(60), 3, np.array([1.0, 0.0])), "spectrum: got 0.0"),
        (lambda: theory.fixed_design(C(0.0), C(60), 3, np.ones(2), noise=-1.0), "noise: got -1.0"),
        (lambda: theory.fixed_design(C(0.0), C(60), 3, np.ones(2), penalty=-1.0), "penalty: got -1.0"),
        (lambda: theory.fixed_design(C(0.0), C(60), 3, np.ones(2), decay=1.5), "decay: got 1.5"),
        (lambda: theory.accumulation_factor(0), "generations: got 0"),
        (lambda: theory.weighted_plateau(1.5, 10, 10), r"weight: got 1.5, expected a weight in \[0, 1\]"),
        (lambda: theory.weighted_recursion(0.5, 10, 0, 3, 0.1), "synthetic: got 0.0, expected a number of draws"),
        (lambda: theory.optimal_weight(0, 10), "real: got 0.0, expected a number of draws"),
        (lambda: theory.golden_weight(-1.0), "ratio: got -1.0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_too_few_rows_under_a_trace_are_marked():
    e = jax.jit(lambda n: theory.regression(C(0.0), C(n), 3, 10))(jnp.array(10.0))
    assert np.isnan(e).all()
