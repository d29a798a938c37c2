"""Token counts, lost tokens and fixation against tabulated exact values, dense matrices and simulation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import entr

import jaxcollapse as jc
from jaxcollapse import theory

C = jc.Constant


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def zipf(k, exponent=1.0, shift=0):
    p = (np.arange(1.0, k + 1) + shift) ** -exponent
    return p / p.sum()


def alive(x, p):
    return x > 0


def test_additive_squared_error_is_the_risk(x64):
    p, schedules = zipf(9), (jc.PowerLaw(0.6, exponent=-0.5), jc.PowerLaw(12.0, exponent=0.5), 25)
    squared = theory.additive(lambda x, p: (x - p) ** 2, *schedules[:2], p, 25)
    np.testing.assert_allclose(squared, theory.risk(*schedules) * (1 - (p**2).sum()), rtol=1e-10)
    diversity = theory.additive(lambda x, p: x * (1 - x), *schedules[:2], p, 25)
    np.testing.assert_allclose(diversity, theory.diversity(*schedules) * (1 - (p**2).sum()), rtol=1e-10)


def test_token_law_is_that_of_the_dense_chain(x64):
    p, alpha, sizes = 0.03, 0.07, np.array([40, 25, 60, 33])
    law = stats.binom.pmf(np.arange(41), 40, p)
    for before, n in itertools.pairwise(sizes):
        q = alpha * p + (1 - alpha) * np.arange(before + 1)[:, None] / before
        law = law @ stats.binom.pmf(np.arange(n + 1), n, q)
    got = theory.token_law(p, C(alpha), lambda t: jnp.asarray(sizes)[t], 3)
    np.testing.assert_allclose(got, law, rtol=1e-9, atol=1e-16)
    assert got.sum() == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_certain_tokens_stay_certain(p):
    law = theory.token_law(p, C(0.2), C(30), 10)
    assert law[int(30 * p)] == 1


def test_additive_metrics_agree_with_simulation():
    rng, p, n, alpha, lineages = np.random.default_rng(4), zipf(12), 30, 0.1, 20_000
    frequency = rng.multinomial(n, p, lineages) / n
    for _ in range(8):
        frequency = rng.multinomial(n, alpha * p + (1 - alpha) * frequency) / n
    metrics = {
        "survivors": alive,
        "missing mass": lambda x, p: p * (x == 0),
        "total variation": lambda x, p: abs(x - p) / 2,
        "entropy": lambda x, p: entr(x),
    }
    for name, metric in metrics.items():
        sample = np.asarray(metric(frequency, np.broadcast_to(p, frequency.shape)), float).sum(1)
        exact = theory.additive(metric, C(alpha), C(n), p, 8)[-1]
        assert abs(sample.mean() - exact) < 4 * sample.std() / np.sqrt(lineages), name


def test_equal_tokens_are_computed_once():
    calls = []
    metric = lambda x, p: calls.append(x.shape) or x > 0
    together = theory.additive(metric, C(0.1), C(20), np.full(10, 0.1), 5)[-1]
    apart = theory.additive(alive, C(0.1), C(20), 0.1 + 1e-9 * np.arange(10), 5)[-1]
    assert calls == [(1, 21)]
    assert together == pytest.approx(apart, rel=1e-6)


@pytest.mark.parametrize(
    ("shift", "exponent", "expected"),
    [
        (1, 2.7, [28.203, 23.570, 20.942, 19.150, 17.812, 16.758, 15.895, 15.170, 14.548, 14.007]),
        (2, 5.0, [10.539, 9.397, 8.706, 8.213, 7.833, 7.524, 7.265, 7.043, 6.850, 6.678]),
    ],
)
def test_surviving_tokens_follow_the_published_settings(x64, shift, exponent, expected):
    got = theory.additive(alive, C(0.0), C(1000), zipf(1000, exponent, shift), 9)
    np.testing.assert_allclose(got, expected, atol=5.1e-4)


def test_survival_of_a_bernoulli_token(x64):
    alive_at = theory.additive(alive, C(0.0), C(100), np.array([0.01]), 49)[np.array([0, 9, 24, 49])]
    np.testing.assert_allclose(alive_at, [0.63397, 0.16139, 0.07501, 0.04112], atol=6e-6)
    bound = [1 - float(theory.absence(0.01, 0.0, 100, t)) for t in (0, 9, 24, 49)]
    np.testing.assert_allclose(bound, [0.63212, 0.15824, 0.07167, 0.03765], atol=6e-6)


def test_survival_without_fresh_data_is_that_of_a_branching_line(x64):
    got = [k * float(theory.survival_factor(0.0, k - 1)) for k in (1, 2, 5, 10, 50, 500)]
    np.testing.assert_allclose(got, [1, 1.2642, 1.5604, 1.7225, 1.9188, 1.9886], atol=6e-5)


def test_survival_factor_takes_its_tabulated_values(precision):
    table = {
        0.5: 0.870268, 0.1: 0.399745, 0.25: 0.655590, 0.05: 0.258183, 0.02: 0.136410, 0.01: 0.0813109, 0.001: 0.0126458,
    }  # fmt: skip
    for alpha, expected in table.items():
        relative = 5e-6 if precision == "x64" else 5e-5
        assert float(theory.survival_factor(alpha)) == pytest.approx(expected, rel=relative)
        assert float(theory.survival_factor(alpha, 20_000)) == pytest.approx(expected, rel=relative)
    assert float(theory.survival_factor(0.0)) == 0
    assert float(theory.survival_factor(1.0)) == 1


def test_survival_factor_of_vanishing_inflow_has_its_limit(x64):
    for alpha in (1e-5, 1e-7, 1e-9):
        assert float(theory.survival_factor(alpha)) == pytest.approx(2 * alpha * np.log(1 / (2 * alpha)), rel=0.02)


def test_distinct_tokens_are_counted_by_the_survival_factor():
    p = zipf(1000)
    for alpha, expected in ((0.5, 305.5), (0.1, 180.0), (0.02, 80.4)):
        assert float((1 - theory.absence(p, alpha, 1000)).sum()) == pytest.approx(expected, abs=0.06)


def test_absence_of_a_rare_token_is_close_to_the_exact_chain(x64):
    for p, approximate, exact in ((0.002, 0.449558, 0.449058), (0.0005, 0.818835, 0.818667)):
        assert float(theory.absence(p, 0.1, 1000)) == pytest.approx(approximate, abs=6e-7)
        assert theory.token_law(p, C(0.1), C(1000), 120)[0] == pytest.approx(exact, abs=2e-6)


def test_fixation_times_are_those_of_the_exact_chain():
    for k, n, exact, diffusion in ((5, 100, 165.566, 167.71), (10, 50, 88.061, 90.02), (10, 100, 177.851, 180.04)):
        assert theory.fixation_time(zipf(k), n) == pytest.approx(exact, abs=6e-4)
        assert float(theory.fixation_time_diffusion(zipf(k), n)) == pytest.approx(diffusion, abs=6e-3)
    pairs = (0.5, 100, 136.602, 138.629), (0.1, 100, 63.4545, 65.017), (0.5, 400, 552.030, 554.518)
    for p, n, exact, diffusion in pairs:
        law = np.array([p, 1 - p])
        assert theory.fixation_time(law, n) == pytest.approx(exact, abs=6e-4)
        assert float(theory.fixation_time_diffusion(law, n)) == pytest.approx(diffusion, abs=1e-3)


def test_fixation_time_has_its_limits():
    assert theory.fixation_time(np.array([1.0, 0.0]), 10) == pytest.approx(1)
    assert theory.fixation_time(np.array([0.5, 0.5]), 1) == pytest.approx(1)
    assert theory.fixation_time(np.full(200, 0.005), 200) == pytest.approx(2 * 200, rel=0.02)


def test_fixation_is_the_survival_function_of_the_last_token(x64):
    p = zipf(5)
    running = 1 - theory.additive(lambda x, p: x == 1, C(0.0), C(100), p, 2500)
    np.testing.assert_allclose(running[[99, 199, 299]], [0.6946, 0.2797, 0.1037], atol=6e-5)
    assert 1 + running.sum() == pytest.approx(165.566, abs=1e-3)
    assert theory.token_law(p[0], C(0.0), C(100), 2500)[-1] == pytest.approx(p[0], rel=1e-6)


def test_stationary_law_is_nearly_beta(x64):
    assert float(theory.plateau(0.005, 1000)) == pytest.approx(0.09120, abs=6e-6)
    p, n, alpha = 0.3, 200, 0.05
    law = theory.token_law(p, C(alpha), C(n), 120)
    x = np.arange(n + 1) / n
    assert law @ (x - p) ** 2 == pytest.approx(float(theory.plateau(alpha, n)) * p * (1 - p), rel=1e-4)
    beta = stats.beta.cdf(x + 0.5 / n, 2 * n * alpha * p, 2 * n * alpha * (1 - p))
    assert abs(law.cumsum() - beta).max() == pytest.approx(0.004, abs=5e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.additive(alive, C(1.5), C(10), zipf(3), 3), "alpha: got 1.5"),
        (lambda: theory.additive(alive, C(0.5), C(6000), zipf(3), 3), "n: got 6000"),
        (lambda: theory.additive(alive, C(0.5), C(10), np.array([1.5]), 3), "probs: got"),
        (lambda: theory.token_law(-0.1, C(0.5), C(10), 3), "probs: got"),
        (lambda: theory.survival_factor(-0.1), "alpha: got -0.1"),
        (lambda: theory.fixation_time(zipf(3), 0), "n: got 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
