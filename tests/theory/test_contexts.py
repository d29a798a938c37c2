"""The risk of a table's rows against sums over the number of visits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxcollapse as jc
from jaxcollapse import theory


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def direct(alpha_t, n_t, probability, split="random"):
    """The same recursion, summed over visits; real and synthetic visits apart where their total is split."""
    out, r = [], 1.0
    for t, n in enumerate(n_t):
        n, a = int(n), 1.0 if t == 0 else alpha_t[t]
        if split == "random":
            m = np.arange(1, n + 1)
            visits = stats.binom.pmf(m, n, probability)
            r = (1 - probability) ** n * r + visits @ (1 / m + (1 - 1 / m) * (1 - a) ** 2 * r)
        else:
            low, upper = int(np.floor(a * n)), a * n - np.floor(a * n)
            reals = [(low, 1 - upper), (low + 1, upper)] if split == "fixed" else [(int(np.rint(a * n)), 1.0)]
            r = sum(weight * apart(n, k, probability, r) for k, weight in reals if weight)
        out.append(r)
    return out


def apart(n, k, probability, r):
    """Risk after K ~ Binomial(k, π) real and S ~ Binomial(n − k, π) synthetic visits."""
    real, synthetic = np.arange(k + 1.0)[:, None], np.arange(n - k + 1.0)
    weight = stats.binom.pmf(real, k, probability) * stats.binom.pmf(synthetic, n - k, probability)
    m = np.maximum(real + synthetic, 1)
    after = np.where(real + synthetic == 0, r, (real + synthetic + synthetic * (synthetic - 1) * r) / m**2)
    return (weight * after).sum()


def test_reciprocal_moment_is_the_sum_over_visits(precision):
    p = np.array([1e-9, 1e-4, 0.01, 0.1, 0.3, 0.5, 0.9, 0.999, 1.0])
    for n in (1, 2, 3, 10, 1000, 20_000):
        m = np.arange(1, n + 1)
        exact = [(stats.binom.pmf(m, n, q) / m).sum() for q in p]
        np.testing.assert_allclose(theory.reciprocal_moment(n, p), exact, rtol=2e-12 if precision == "x64" else 1e-6)


def test_reciprocal_moment_holds_for_ten_million_draws(precision):
    m = np.arange(1, 400)
    for mean in (1e-6, 0.3, 5.0, 100.0):
        exact = (stats.binom.pmf(m, 10**7, mean / 1e7) / m).sum()
        got = float(theory.reciprocal_moment(10**7, mean / 1e7))
        assert got == pytest.approx(exact, rel=1e-8 if precision == "x64" else 2e-6)
    series = 1 / 5e6 + (0.5 / 5e6**2)  # E 1/m ≈ 1/np + (1 − p)/(np)²
    assert float(theory.reciprocal_moment(10**7, 0.5)) == pytest.approx(series, rel=1e-6)
    assert float(theory.reciprocal_moment(10**7, 0.0)) == 0


@pytest.mark.parametrize("split", ["random", "fixed", "round"])
def test_rows_average_over_their_visits(x64, split):
    alpha_t, n_t = np.array([1, 0.3, 0.05, 0.0, 0.8, 1.0]), np.array([7.0, 12, 9, 1, 6, 8])
    pi = np.array([0.0, 0.05, 0.4, 0.97, 1.0])
    got = theory.context_recursion(alpha_t, n_t, pi, split)
    exact = np.transpose([direct(alpha_t, n_t, p, split) for p in pi])
    np.testing.assert_allclose(got, exact, rtol=1e-12)


def test_a_certain_context_is_the_scalar_recursion(x64):
    schedules = jc.PowerLaw(0.5, exponent=-0.5), jc.PowerLaw(20.0, exponent=0.7), 100
    rows = theory.context_risk(schedules[0], schedules[1], jnp.array([1.0, 0.0]), 100)
    np.testing.assert_allclose(rows[:, 0], theory.risk(*schedules), rtol=1e-12)
    np.testing.assert_array_equal(rows[:, 1], 1.0)


def test_boundary_moves_with_the_context(x64):
    pi = 1 / jnp.arange(1, 257.0)
    pi = pi / pi.sum()
    at = lambda b: theory.context_risk(jc.PowerLaw(0.5, exponent=-0.75), jc.PowerLaw(2000.0, exponent=b), pi, 300)[-1]
    assert float(at(0.216)[15]) == pytest.approx(0.5, abs=0.002)
    assert float(at(0.713)[255]) == pytest.approx(0.5, abs=0.002)
    assert float(at(0.0)[0]) < 0.5


def test_float32_rows_agree_with_double():
    pi = np.array([1e-5, 1e-3, 0.1, 0.9])
    schedules = jc.PowerLaw(0.5, exponent=-0.7), jc.PowerLaw(200.0, exponent=0.3)
    run = lambda: np.asarray(theory.context_risk(*schedules, pi, 300))
    single = run()
    with jax.enable_x64(True):
        np.testing.assert_allclose(single, run(), rtol=1e-4)


def test_bad_contexts_are_named():
    with pytest.raises(ValueError, match="contexts: got"):
        theory.context_risk(jc.Constant(0.1), jc.Constant(10), jnp.array([0.5, 1.5]), 3)
    with pytest.raises(ValueError, match="alpha: got 2"):
        theory.context_risk(jc.Constant(2.0), jc.Constant(10), jnp.array([0.5, 0.5]), 3)
