"""Token counts, fixation and turnover against tabulated exact values, dense matrices and simulation."""

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


def test_times_given_the_fate_add_up_to_the_time_of_absorption():
    p = np.array([0.1, 0.5])
    times, diffusion = theory.conditional_times(p, 100), theory.conditional_times_diffusion(p, 100)
    both = times.probability * times.fixation + (1 - times.probability) * times.loss
    np.testing.assert_allclose(both, [63.4545, 136.602], atol=6e-4)
    np.testing.assert_allclose(both, [theory.fixation_time(np.array([x, 1 - x]), 100) for x in p], rtol=1e-12)
    np.testing.assert_allclose(times[1:], np.stack(diffusion), rtol=0.04)
    np.testing.assert_allclose([times.fixation[0], times.loss[0]], [187.42574, 49.67988], atol=1e-5)
    certain = theory.conditional_times(np.array([0.0, 1.0]), 10)
    assert certain.fixation[1] == certain.loss[0] == 1
    assert np.isnan(certain.fixation[0]) and np.isnan(certain.loss[1])
    assert np.isfinite(np.stack(theory.conditional_times_diffusion(np.array([0.0, 1.0]), 10))).all()


def test_times_given_the_fate_are_those_of_the_chain_that_meets_it():
    chain, times = theory.two_token_chain(0.2, 0.0, 30), theory.conditional_times(np.array([0.2]), 30)
    for count, time, chance in ((30, times.fixation, 0.2), (0, times.loss, 0.8)):
        law = chain.first_time_law((count,), 2000)
        assert law[-1] == pytest.approx(chance, abs=1e-10)
        assert 1 + (law[-1] - law).sum() / law[-1] == pytest.approx(time[0], rel=1e-9)


@pytest.mark.parametrize(("p", "n"), [(zipf(5), C(40)), (zipf(4), jc.PowerLaw(8.0, exponent=0.5))])
def test_the_tail_of_the_fixation_time_is_bracketed(x64, p, n):
    exact = 1 - theory.additive(lambda x, p: x == 1, C(0.0), n, p, 80)
    tail = theory.fixation_tail(p, n, 80)
    assert (tail.low <= exact + 1e-12).all() and (exact <= tail.high + 1e-12).all()


def test_the_tail_of_the_fixation_time_has_its_leading_term(x64):
    tail = theory.fixation_tail(zipf(5), C(100), 300)
    np.testing.assert_allclose(tail.leading[jnp.array([199, 299])], [0.2797, 0.1037], rtol=0.04)
    h_star = 1 - (zipf(5) ** 2).sum()
    np.testing.assert_allclose(tail.low[199], h_star * 0.99**200 / (1 - 1 / 5), rtol=1e-12)
    one = theory.fixation_tail(np.array([1.0, 0.0]), C(10), 5)
    assert float(jnp.max(one.high)) == 0


def test_the_chain_has_the_laws_of_a_token():
    chain = theory.two_token_chain(0.3, 0.05, 40)
    laws = chain.laws(60)
    np.testing.assert_allclose(laws[-1], theory.token_law(0.3, C(0.05), C(40), 60), rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(laws[-1], chain.law(60), atol=1e-13)
    np.testing.assert_allclose(laws.sum(1), 1, rtol=1e-12)
    np.testing.assert_allclose(laws @ np.arange(41), 12, rtol=1e-12)
    started = chain.laws(3, start=40) @ np.arange(41) / 40
    np.testing.assert_allclose(started - 0.3, 0.7 * 0.95 ** np.arange(4), rtol=1e-12)


def test_the_stationary_law_of_the_chain_is_reached_and_has_the_plateau(x64):
    chain = theory.two_token_chain(0.3, 0.05, 200)
    law = chain.stationary()
    np.testing.assert_allclose(law @ chain.matrix, law, atol=1e-14)
    np.testing.assert_allclose(law, chain.law(1000), atol=1e-14)
    x = np.arange(201) / 200
    assert law @ (x - 0.3) ** 2 / 0.21 == pytest.approx(float(theory.plateau(0.05, 200)), rel=1e-12)
    assert theory.two_token_chain(0.3, 1.0, 50).stationary() == pytest.approx(stats.binom.pmf(np.arange(51), 50, 0.3))


def test_the_stationary_law_is_nearly_dirichlet_with_its_factor_2(x64):
    n, alpha, p = 1000, 0.002, np.array([0.1, 0.9])
    law, x = theory.two_token_chain(p[0], alpha, n).stationary(), np.arange(n + 1) / n
    mean, sd = law @ x, np.sqrt(law @ (x - law @ x) ** 2)
    skew, kurtosis = law @ ((x - mean) / sd) ** 3, law @ ((x - mean) / sd) ** 4 - 3
    np.testing.assert_allclose([1000 * sd**2, 10 * skew, kurtosis], [18.0288, 19.865, 4.218], atol=5.1e-4)
    a = theory.stationary_dirichlet(p, alpha, n)
    np.testing.assert_allclose(a, [0.4, 3.6], rtol=1e-12)
    _, variance, beta_skew, beta_kurtosis = stats.beta.stats(*a, moments="mvsk")
    np.testing.assert_allclose([variance, beta_skew, beta_kurtosis], [0.0180, 1.9876, 4.222], rtol=2e-4)
    assert abs(law.cumsum() - stats.beta.cdf(x + 0.5 / n, *a)).max() == pytest.approx(0.010, abs=1e-3)


def test_first_times_of_the_chain(x64):
    chain = theory.two_token_chain(0.5, 0.0, 100)
    assert 1 + chain.first @ chain.first_time((0, 100)) == pytest.approx(136.602, abs=6e-4)
    assert np.isinf(chain.first_time((0,))[1:]).all() and chain.first_time((0,))[0] == 0
    with_real = theory.two_token_chain(0.1, 0.05, 30)
    law = with_real.first_time_law((0,), 3000)
    assert (np.diff(law) >= -1e-15).all() and law[0] == pytest.approx(0.9**30)
    assert (1 - law).sum() == pytest.approx(with_real.first @ with_real.first_time((0,)), rel=1e-9)
    rest = 1 - theory.two_token_chain(0.5, 0.0, 1000).law(10, start=5)[0]
    assert float(theory.lineage_survival(5, 10)) == pytest.approx(rest, rel=3e-3)


def test_groups_of_tokens_are_one_token():
    p, together = np.array([0.2, 0.3, 0.5]), theory.two_token_chain(0.5, 0.1, 12)
    rng = np.random.default_rng(3)
    counts = rng.multinomial(12, p, 40_000)
    for _ in range(5):
        counts = rng.multinomial(12, 0.1 * p + 0.9 * counts / 12)
    observed = np.bincount(counts[:, :2].sum(1), minlength=13)
    assert stats.chisquare(observed, together.law(5) * len(counts)).pvalue > 1e-3


@pytest.mark.parametrize("threshold", [0.9, 1.0])
def test_turnover_of_two_tokens_is_that_of_simulated_ones(threshold):
    rng, n, lineages, p = np.random.default_rng(7), 20, 20_000, 0.3
    counts = rng.binomial(n, p, lineages)
    ids = []
    for t in range(121):
        if t:
            counts = rng.binomial(n, 0.5 / t * p + (1 - 0.5 / t) * counts / n)
        ids.append(np.where(counts >= threshold * n, 0, np.where(n - counts >= threshold * n, 1, -1)))
    changes = np.asarray(jc.metrics.turnover(np.stack(ids, -1)))
    alpha = jc.PowerLaw(0.5, exponent=-1.0)
    exact = theory.two_token_turnover(p, alpha, C(n), 120, threshold)
    assert abs(changes.mean() - exact[-1]) < 4 * changes.std() / np.sqrt(lineages)


def test_turnover_is_the_number_of_real_draws_that_take_over(x64):
    times = np.array([150, 300, 600])
    for exponent in (1.0, 1.5):
        alpha = jc.PowerLaw(0.5, exponent=-exponent)
        leading = np.diff(theory.turnover(np.array([0.3, 0.7]), alpha, 600)[times])
        exact = np.diff(theory.two_token_turnover(0.3, alpha, C(20), 600)[times])
        begun = 2 * 20 * exponent / times[:-1]  # by real draws of up to some 2 n generations ago, when α was larger
        assert (exact / leading >= 1).all() and (exact / leading - 1 < begun).all()
    log = theory.turnover(np.full(5, 0.2), jc.PowerLaw(0.5, exponent=-1.0), 4000)
    assert float(log[4000] - log[2000]) == pytest.approx(0.277, abs=5e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.additive(alive, C(1.5), C(10), zipf(3), 3), "alpha: got 1.5"),
        (lambda: theory.additive(alive, C(0.5), C(6000), zipf(3), 3), "n: got 6000"),
        (lambda: theory.additive(alive, C(0.5), C(10), np.array([1.5]), 3), "probs: got"),
        (lambda: theory.token_law(-0.1, C(0.5), C(10), 3), "probs: got"),
        (lambda: theory.fixation_time(zipf(3), 0), "n: got 0"),
        (lambda: theory.conditional_times(zipf(3), 6000), "n: got 6000"),
        (lambda: theory.two_token_chain(0.5, 0.1, 0), "n: got 0"),
        (lambda: theory.two_token_chain(1.5, 0.1, 10), "p: got 1.5"),
        (lambda: theory.two_token_chain(0.5, -0.1, 10), "alpha: got -0.1"),
        (lambda: theory.two_token_chain(0.5, 0.0, 10).stationary(), "alpha: got 0"),
        (lambda: theory.two_token_chain(0.5, 0.1, 10).first_time((11,)), "counts: got"),
        (lambda: theory.two_token_turnover(0.5, C(0.1), C(10), 5, 0.5), "threshold: got 0.5"),
        (lambda: theory.two_token_turnover(0.5, C(0.1), C(6000), 5), "n: got 6000"),
        (lambda: theory.stationary_dirichlet(zipf(3), 1.5, 10), "alpha: got 1.5"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
