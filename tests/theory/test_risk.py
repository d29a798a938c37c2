"""The scalar recursion and its family against exact matrices, closed forms and tabulated values."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy import stats

import jaxcollapse as jc
from jaxcollapse import theory

SPLITS = ("random", "fixed", "round")


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def two_token_chain(n_before, n, alpha, p):
    """Transition matrix of one token's count between generations of n_before and n draws."""
    return stats.binom.pmf(np.arange(n + 1), n, alpha * p + (1 - alpha) * np.arange(n_before + 1)[:, None] / n_before)


def split_chain(n, alpha, p, split):
    """The same for a fixed number of real draws: a convolution, averaged over that number."""
    low = int(np.floor(alpha * n))
    upper = alpha * n - low
    weights = {low: 1 - upper, low + 1: upper} if split == "fixed" else {int(np.rint(alpha * n)): 1.0}
    chain = np.zeros((n + 1, n + 1))
    for k, weight in weights.items():
        real = stats.binom.pmf(np.arange(k + 1), k, p)
        for i in range(n + 1):
            if weight:
                chain[i] += weight * np.convolve(real, stats.binom.pmf(np.arange(n - k + 1), n - k, i / n))
    return chain


def test_risk_is_the_variance_of_the_exact_chain_for_varying_schedules(x64):
    p, sizes, alpha = 0.3, [7, 12, 5, 9, 20], [0.9, 0.2, 0.05, 0.5, 0.0]
    law = stats.binom.pmf(np.arange(sizes[0] + 1), sizes[0], p)
    exact = []
    for t, n in enumerate(sizes):
        if t:
            law = law @ two_token_chain(sizes[t - 1], n, alpha[t], p)
        exact.append(law @ (np.arange(n + 1) / n - p) ** 2 / (p * (1 - p)))
    np.testing.assert_allclose(theory.recursion(jnp.array(alpha), jnp.array(sizes)), exact, rtol=1e-12)


@pytest.mark.parametrize("split", ["fixed", "round"])
@pytest.mark.parametrize("alpha", [0.0, 0.03, 0.25, 0.5, 0.61, 1.0])
def test_risk_is_the_variance_of_the_exact_chain_for_whole_real_counts(x64, split, alpha):
    n, p = 10, 0.3
    law, exact = stats.binom.pmf(np.arange(n + 1), n, p), []
    chain = split_chain(n, alpha, p, split)
    for _ in range(6):
        exact.append(law @ (np.arange(n + 1) / n - p) ** 2 / (p * (1 - p)))
        law = law @ chain
    got = theory.risk(jc.Constant(alpha), jc.Constant(n), 5, split)
    np.testing.assert_allclose(got, exact, rtol=1e-12)


def test_fixed_split_without_a_remainder_has_its_closed_form(x64):
    n, a = 100.0, 0.1
    r = theory.risk(jc.Constant(a), jc.Constant(n), 500, "fixed")
    np.testing.assert_allclose(r[1:], 1 / n + (1 - a) * (1 - a - 1 / n) * r[:-1], rtol=1e-12)
    assert float(r[-1]) == pytest.approx(1 / (n * a * (2 - a) + 1 - a), rel=1e-12)
    assert float(theory.plateau(a, n, "fixed")) == pytest.approx(float(r[-1]), rel=1e-12)


def test_constant_schedule_follows_its_tabulated_trajectory(x64):
    r = theory.risk(jc.Constant(0.1), jc.Constant(100), 50)
    np.testing.assert_allclose(
        r[np.array([0, 1, 5, 10, 20, 50])], [0.010000, 0.018019, 0.037057, 0.046029, 0.049990, 0.050479], atol=5.1e-7
    )
    plateaus = theory.plateau(jnp.array([0.1, 0.02, 0.01]), jnp.array([100, 50, 1000]))
    np.testing.assert_allclose(plateaus, [0.0504796, 0.3400898, 0.0478925], atol=5.1e-8)


def test_heterozygosity_decays_by_one_draw_in_n(x64):
    r = theory.risk(jc.Constant(0.0), jc.Constant(100), 100)
    np.testing.assert_allclose(r[np.array([0, 10, 50, 100])], [0.010000, 0.104662, 0.401044, 0.637628], atol=5.1e-7)
    g = theory.diversity(jc.Constant(0.0), jc.Constant(100), 100)
    np.testing.assert_allclose(g, 0.99 ** np.arange(1, 102), rtol=1e-12)


def test_power_laws_reach_the_tabulated_risks(x64):
    table = {
        (0, 0): 0.06557, (0.5, 0): 0.47690, (1.5, 0): 0.99594, (0.5, 0.5): 0.04844, (1, 0.5): 0.39576,
        (0.25, 0.75): 0.00308, (0.5, 1): 0.0030075, (1, 1): 0.04789, (1, 1.5): 0.0056140, (1.5, 1.5): 0.05136,
    }  # fmt: skip
    for (a, b), expected in table.items():
        r = theory.risk(jc.PowerLaw(0.5, exponent=-a), jc.PowerLaw(20.0, exponent=b), 300)[-1]
        assert float(r) == pytest.approx(expected, abs=6e-6)


def test_first_acceptance_schedule(x64):
    alpha, n = jc.PowerLaw(0.6, exponent=-0.4, cap=1), lambda t: jnp.round(50 * jnp.sqrt(t.astype(float) + 1))
    assert float(theory.risk(alpha, n, 40)[-1]) == pytest.approx(0.0122260, abs=5e-8)


def test_spectrum_is_that_of_the_transition_matrix(x64):
    eigenvalues = np.sort(np.linalg.eigvals(two_token_chain(30, 30, 0.05, 0.37)).real)[::-1]
    got = theory.spectrum(0.05, 30, 30)
    np.testing.assert_allclose(got[:16], eigenvalues[:16], atol=1e-8)
    np.testing.assert_allclose(got[:6], [1, 0.95, 0.8724167, 0.7735428, 0.6613791, 0.5445354], atol=5.1e-8)


def test_risk_and_diversity_are_conserved(precision):
    tolerance = 1e-12 if precision == "x64" else 2e-6
    for split in SPLITS:
        schedules = jc.PowerLaw(0.5, exponent=-0.7), jc.PowerLaw(20.0, exponent=0.4), 300
        total = theory.risk(*schedules, split) + theory.diversity(*schedules, split)
        np.testing.assert_allclose(total, 1, atol=tolerance)


def test_diversity_keeps_its_digits_in_collapse(precision):
    g = theory.diversity(jc.Constant(0.0), jc.Constant(2), 100)
    np.testing.assert_allclose(g, 0.5 ** np.arange(1.0, 102.0), rtol=1e-5)


def test_quadratic_forms_average_to_the_risk(x64):
    p = jnp.array([0.5, 0.3, 0.2])
    cov = theory.covariance(jnp.array([0.1, 1.0]), p)
    assert cov.shape == (2, 3, 3)
    np.testing.assert_allclose(jnp.trace(cov, axis1=1, axis2=2), jnp.array([0.1, 1.0]) * (1 - p @ p), rtol=1e-12)
    np.testing.assert_allclose(cov.sum(-1), 0, atol=1e-16)
    chi2 = jnp.sum(jnp.diagonal(cov[1]) / p)
    assert float(chi2) == pytest.approx(2.0)


@pytest.mark.parametrize("split", SPLITS)
def test_risk_is_a_moving_average_of_the_quasi_equilibrium(x64, split):
    alpha_t, n_t = 0.6 / jnp.arange(1.0, 12.0), jnp.rint(9 * jnp.arange(1.0, 12.0) ** 0.7)
    r, q = theory.recursion(alpha_t, n_t, split), theory.quasi_equilibrium(alpha_t, n_t, split)
    w = theory.memory_weight(alpha_t, n_t, split)
    phi = w[1:] / w[:-1]
    np.testing.assert_allclose(r[1:], (1 - phi) * q[1:] + phi * r[:-1], rtol=1e-12)
    mean = (r[-1] - w[-1] * r[0]) / (1 - w[-1])
    assert q[1:].min() < mean < q[1:].max()


def test_memory_is_lost_on_the_plateau_and_kept_when_frozen(x64):
    def weight(a, times):
        t = jnp.maximum(jnp.arange(times + 1.0), 1.0)
        return float(theory.memory_weight(0.5 * t**-a, 20 * t**a)[-1])

    assert weight(1, 300) == pytest.approx(8e-4, rel=0.1)
    assert weight(1, 30000) == pytest.approx(6e-6, rel=0.1)
    assert weight(2, 300) == pytest.approx(0.1184, abs=1e-4)
    assert weight(2, 30000) == pytest.approx(0.1180, abs=1e-4)


def test_first_step_improves_just_above_the_threshold(x64):
    threshold = float(theory.improvement_threshold(1 / 100, 0.2))
    assert threshold == pytest.approx(276)
    change = [float(jnp.diff(theory.recursion(jnp.array([1, 0.2]), jnp.array([100, n])))[0]) for n in (275, 276, 277)]
    assert change[0] > 0 > change[2]
    assert abs(change[1]) < 1e-15


def test_improvement_threshold_is_infinite_without_real_data():
    assert theory.improvement_threshold(0.5, 0.0) == jnp.inf
    assert theory.improvement_threshold(1.0, 0.0) == jnp.inf
    assert theory.improvement_threshold(1.0, 0.3) == 1


def test_errors_are_remembered_by_the_synthetic_share():
    np.testing.assert_allclose(theory.lag_correlation(jnp.full(5, 0.2)), 0.8 ** np.arange(5.0), rtol=1e-6)
    decayed = theory.lag_correlation(jnp.array([1, 0.5, 0.1, 0.2]), start=1)
    np.testing.assert_allclose(decayed, [1, 0.9, 0.72], rtol=1e-6)


def test_collapse_and_certainty_are_exact_limits(precision):
    assert float(theory.risk(jc.Constant(0.0), jc.Constant(1), 10_000)[-1]) == 1
    np.testing.assert_array_equal(theory.diversity(jc.Constant(0.0), jc.Constant(1), 5), np.zeros(6))
    for split in SPLITS:
        np.testing.assert_allclose(theory.risk(jc.Constant(1.0), jc.Constant(7), 3, split), 1 / 7, rtol=1e-6)


def test_phase_exponents_follow_the_table(x64):
    decay = {
        (0, 0.5): -0.5, (0, 1): -1.0, (0, 2): -2.0, (0.25, 0.5): -0.250, (0.25, 0.75): -0.503, (0.5, 1): -0.501,
        (0.5, 1.5): -1.002, (1, 1.5): -0.496,
    }  # fmt: skip
    collapse = {
        (0.5, 0): -0.495, (0.75, 0): -0.750, (1, 0): -1.000, (1.5, 0): -1.500, (1, 0.5): -0.496, (1.5, 0.25): -1.247,
        (2, 1): -0.250,
    }  # fmt: skip
    level = {(0.75, 0.75): 0.2000, (1, 1): 0.2000, (0.5, 0.5): 0.2001, (0.25, 0.25): 0.2035}
    cells = jnp.array([*decay, *collapse, *level], float)
    t = jnp.maximum(jnp.arange(300_001.0), 1.0)[:, None]
    alpha_t, n_t = 0.5 * t ** -cells[None, :, 0], 4 * t ** cells[None, :, 1]
    r, g = theory.recursion(alpha_t, n_t), theory.diversity_recursion(alpha_t, n_t)
    slope = lambda x: np.log(x[300_000] / x[30_000]) / np.log(10)
    np.testing.assert_allclose(slope(r)[: len(decay)], list(decay.values()), atol=0.003)
    np.testing.assert_allclose(slope(g)[len(decay) : -4], list(collapse.values()), atol=0.003)
    np.testing.assert_allclose(r[-1, -4:], list(level.values()), atol=2e-4)


def test_exponential_schedules_follow_the_table(x64):
    t = jnp.arange(2001.0)
    run = lambda f, a0, rho, n0, g, T: f(a0 * rho ** t[: T + 1], n0 * g ** t[: T + 1])
    r = run(theory.recursion, 0.1, 1, 10, 1.05, 700)
    assert float(r[-1] * 1.05**700 * 10) == pytest.approx(6.68896, rel=1e-4)
    r = run(theory.recursion, 0.1, 1, 10, 1.5, 300)
    assert float(r[-1] / r[-2]) == pytest.approx(0.81, rel=1e-4)
    g = run(theory.diversity_recursion, 0.5, 0.9, 20, 1, 2000)
    assert float(g[-1] / g[-2]) == pytest.approx(0.95, rel=1e-4)
    r = run(theory.recursion, 0.5, 0.9, 20, 1.1, 1000)
    assert float(r[-1]) == pytest.approx(0.0639863, rel=1e-4)


def test_constant_inflow_halves_the_error_of_a_real_batch(x64):
    n_t = 20 * jnp.maximum(jnp.arange(100_001.0), 1.0)
    assert float(theory.recursion(10 / n_t, n_t)[-1]) == pytest.approx(0.047620, abs=1e-5)


def test_float32_error_stays_within_its_documented_size():
    def run(f, a, generations):
        return np.asarray(f(jc.PowerLaw(0.5, exponent=-a), jc.PowerLaw(20.0, exponent=0.5), generations))

    for f, a, generations, bound in (
        (theory.risk, 0.5, 3000, 2e-5),
        (theory.risk, 1.5, 3000, 2e-5),
        (theory.diversity, 1.5, 3000, 2e-5),
        (theory.risk, 0.9, 300_000, 5e-4),
    ):
        single = run(f, a, generations)
        with jax.enable_x64(True):
            double = run(f, a, generations)
        assert single.dtype == np.float32
        assert abs(single / double - 1).max() < bound


def test_risk_is_differentiable_in_the_schedule(x64):
    level = lambda a: theory.risk(jc.Constant(a), jc.Constant(100), 300)[-1]
    exact = jax.grad(lambda a: 1 / (1 + 99 * a * (2 - a)))(0.1)
    assert float(jax.grad(level)(0.1)) == pytest.approx(float(exact), rel=1e-9)
    fixed = lambda a: theory.risk(jc.Constant(a), jc.Constant(100), 300, "fixed")[-1]
    slope = (float(fixed(0.1036)) - float(fixed(0.1034))) / 2e-4
    assert float(jax.grad(fixed)(0.1035)) == pytest.approx(slope, rel=1e-4)


def test_optax_and_plain_callables_are_schedules():
    alpha = optax.schedules.linear_schedule(0.5, 0.1, 10)
    assert theory.risk(alpha, lambda t: 100 + t, 20).shape == (21,)


def test_a_traced_schedule_out_of_range_is_nan():
    level = jax.jit(jax.vmap(lambda a: theory.risk(jc.Constant(a), jc.Constant(10), 3)[-1]))(jnp.array([0.5, 1.5]))
    assert np.isfinite(level[0]) and np.isnan(level[1])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.risk(jc.Constant(1.5), jc.Constant(10), 3), "alpha: got 1.5"),
        (lambda: theory.risk(jc.Constant(jnp.nan), jc.Constant(10), 3), "alpha: got nan"),
        (lambda: theory.risk(jc.Constant(0.5), jc.Constant(0), 3), "n: got 0"),
        (lambda: theory.risk(jc.Constant(0.5), jc.Constant(jnp.inf), 3), "n: got inf"),
        (lambda: theory.risk(jc.Constant(0.5), jc.Constant(10), 0), "generations: got 0"),
        (lambda: theory.risk(jc.Constant(0.5), jc.Constant(10), 3, "half"), "split: got 'half'"),
        (lambda: theory.recursion(jnp.array([1, -0.1]), jnp.array([5, 5])), "alpha: got -0.1"),
        (lambda: theory.recursion(jnp.array([1, 0.1]), jnp.array([5, 0.5])), "n: got 0.5"),
        (lambda: theory.plateau(1.1, 10), "alpha: got 1.1"),
        (lambda: theory.spectrum(0.1, 10, -1), "order: got -1"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
