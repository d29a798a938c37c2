"""The risk of distillation against every outcome of small samples, sums over visits, and its phases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxcollapse as jc
from jaxcollapse import theory
from tests.theory.test_contexts import apart

SPLITS = ("random", "fixed", "round")


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def real_counts(n, alpha, split):
    """P(k real draws), k = 0..n."""
    if split == "random":
        return stats.binom.pmf(np.arange(n + 1), n, alpha)
    low, upper, law = int(np.floor(alpha * n)), alpha * n - np.floor(alpha * n), np.zeros(n + 2)
    if split == "round":
        law[int(np.rint(alpha * n))] = 1
    else:
        law[low], law[low + 1] = 1 - upper, upper
    return law[: n + 1]


@pytest.mark.parametrize("split", SPLITS)
def test_risk_is_that_of_every_outcome_of_small_samples(split):
    """Two tokens: the whole law of p_t, a sum over all numbers of real draws and of their successes."""
    sizes, alpha, p = [3, 4, 2, 5], [0.9, 0.3, 0.6, 0.1], 0.3
    law, exact = {0.0: 1.0}, []
    for t, (n, a) in enumerate(zip(sizes, alpha, strict=True)):
        new = {}
        for k, chance in enumerate(real_counts(n, 1.0 if t == 0 else a, split)):
            for j, success in enumerate(stats.binom.pmf(np.arange(k + 1), k, p)):
                for x, weight in law.items():
                    value = (j + (n - k) * x) / n
                    new[value] = new.get(value, 0.0) + weight * chance * success
        law = new
        exact.append(sum(weight * (x - p) ** 2 for x, weight in law.items()) / (p * (1 - p)))
    np.testing.assert_allclose(theory.distilled_recursion(np.array(alpha), np.array(sizes), split), exact, rtol=1e-12)


@pytest.mark.parametrize("split", SPLITS)
def test_samples_add_the_noise_of_their_own(split):
    """From the same risk, a sampled generation has E s/n² (1 − r) more."""
    alpha_t, n_t = 0.6 / jnp.arange(1.0, 9.0), jnp.array([5.0, 9, 7, 30, 2, 11, 8, 40])
    share = theory._risk.split_moments(alpha_t, n_t, split).share
    for t in range(1, 8):
        first = lambda x, t=t: jnp.stack([x[0], x[t]])
        start = theory.distilled_recursion(first(alpha_t), first(n_t), split)
        sampled = theory.recursion(first(alpha_t), first(n_t), split)
        np.testing.assert_allclose(sampled[1] - start[1], share[t] / n_t[t] * (1 - start[0]), rtol=1e-10, atol=1e-16)


def test_constant_schedules_have_their_plateaus():
    for alpha, n in ((0.1, 100), (0.02, 50), (0.5, 4), (1.0, 7), (0.3, 1)):
        found = theory.distilled_risk(jc.Constant(alpha), jc.Constant(n), 900)
        assert float(found[-1]) == pytest.approx(1 / (n * (2 - alpha) - (1 - alpha)), rel=1e-12)
        assert float(theory.distilled_plateau(alpha, n)) == pytest.approx(float(found[-1]), rel=1e-12)
        assert (np.diff(found) <= 1e-16).all() and 1 / (2 * n - 1) - 1e-15 <= found[-1] <= 1 / n + 1e-15
    for split, level in (("fixed", 1 / 190), ("round", 1 / 190)):
        found = theory.distilled_risk(jc.Constant(0.1), jc.Constant(100), 500, split)
        assert float(found[-1]) == pytest.approx(level, rel=1e-12)
        assert float(theory.distilled_plateau(0.1, 100, split)) == pytest.approx(level, rel=1e-12)
    assert float(theory.distilled_plateau(1e-9, 100)) == pytest.approx(1 / 199, rel=1e-8)


@pytest.mark.parametrize("split", SPLITS)
def test_without_real_data_the_risk_stays_and_with_them_alone_it_is_theirs(split):
    n = jc.PowerLaw(20.0, exponent=0.5)
    np.testing.assert_allclose(theory.distilled_risk(jc.Constant(0.0), n, 50, split), 1 / 20, rtol=1e-14)
    own = theory.distilled_risk(jc.Constant(1.0), n, 50, split)
    np.testing.assert_allclose(own, 1 / jc.evaluate(jc.Constant(1.0), n, 50)[1], rtol=1e-14)
    assert np.isnan(theory.distilled_plateau(0.0, 20.0, split))
    assert np.isnan(theory.distilled_plateau(0.004, 100.0, split)) == (split == "round")


@pytest.mark.parametrize(
    ("a", "b", "exponent"),
    [(0.0, 0.5, 0.5), (0.5, 0.25, 0.25), (0.5, 1.0, 1.0), (1.0, 0.5, 0.5), (1.0, 1.5, 1.0)],
)
def test_recovery_needs_only_that_data_grow_and_real_shares_do_not_die_out(a, b, exponent):
    """a₀ = ½: t^−b for a < 1, t^−min(b, 2a₀) at a = 1. Local exponent at T = 10⁵; sampled, a = ½, b = ¼ collapses."""
    times = jnp.maximum(jnp.arange(100_001.0), 1.0)
    r = np.asarray(theory.distilled_recursion(0.5 * times**-a, 20 * times**b))
    slope = np.log(r[-1] / r[50_000]) / np.log(2)
    assert slope == pytest.approx(-exponent, abs=0.01)
    if 0 < a < 1:
        assert r[-1] * 40 * times[-1] ** b == pytest.approx(1, abs=0.03)
    if (a, b) == (1.0, 0.5):
        assert r[-1] * times[-1] ** b == pytest.approx(0.5 / (20 * (1 - b)), rel=0.02)
    if (a, b) == (0.5, 0.25):
        assert theory.recursion(0.5 * times**-a, 20 * times**b)[-1] > 0.4


def test_what_is_left_of_fast_decaying_shares_is_frozen_below_the_start():
    times = jnp.maximum(jnp.arange(100_001.0), 1.0)
    for b in (0.0, 0.5, 2.0):
        r = np.asarray(theory.distilled_recursion(0.5 * times**-1.5, 20 * times**b))
        assert 1e-3 < r[-1] < 1 / 20 and abs(r[-1] / r[10_000] - 1) < 0.02
    still = np.asarray(theory.distilled_recursion(0.5 * times**-0.5, jnp.full_like(times, 20.0)))
    assert still[-1] == pytest.approx(1 / 39, rel=2e-3)


@pytest.mark.parametrize("split", SPLITS)
def test_rows_average_over_their_visits(split):
    alpha_t, n_t = [1.0, 0.3, 0.05, 0.0, 0.8], [7, 12, 9, 1, 6]
    schedules = (lambda t, x=x: jnp.asarray(x)[t] for x in (alpha_t, n_t))
    pi = np.array([0.0, 0.05, 0.4, 0.97, 1.0])
    got = theory.distilled_context_risk(*schedules, pi, 4, split)
    for c, visited in enumerate(pi):
        r = 1.0
        for t, (a, n) in enumerate(zip(alpha_t, n_t, strict=True)):
            laws = real_counts(n, a, split)
            r = sum(law * distilled_apart(n, k, visited, r) for k, law in enumerate(laws) if law)
            assert float(got[t, c]) == pytest.approx(r, rel=1e-12)
    risk = theory.distilled_risk(lambda t: jnp.asarray(alpha_t)[t], lambda t: jnp.asarray(n_t)[t], 4, split)
    np.testing.assert_allclose(got[:, -1], risk, rtol=1e-12)


def distilled_apart(n, k, visited, r):
    """Risk after K ~ Binomial(k, π) real and S ~ Binomial(n − k, π) synthetic visits: `apart` without S's own noise."""
    real, synthetic = np.arange(k + 1.0)[:, None], np.arange(n - k + 1.0)
    weight = stats.binom.pmf(real, k, visited) * stats.binom.pmf(synthetic, n - k, visited)
    noise = weight * synthetic * (1 - r) / np.maximum(real + synthetic, 1) ** 2
    return apart(n, k, visited, r) - noise.sum()


def test_bad_input_is_refused():
    alpha, n = jc.Constant(0.1), jc.Constant(10)
    for call, message in (
        (lambda: theory.distilled_risk(jc.Constant(1.5), n, 3), "alpha: got 1.5"),
        (lambda: theory.distilled_risk(alpha, n, 3, "half"), "split: got 'half'"),
        (lambda: theory.distilled_plateau(0.1, 0.5), "n: got 0.5"),
        (lambda: theory.distilled_context_risk(alpha, n, np.array([0.5, 1.5]), 3), "contexts: got 1.5"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    marked = jax.jit(lambda a: theory.distilled_risk(jc.Constant(a), n, 3))(-0.1)
    assert np.isnan(marked[1:]).all() and marked[0] == 0.1


def test_float32_agrees_with_x64():
    alpha, n = jc.PowerLaw(0.5, exponent=-0.7), jc.PowerLaw(20.0, exponent=0.3)
    exact = theory.distilled_risk(alpha, n, 2000)
    with jax.enable_x64(False):
        rough = theory.distilled_risk(alpha, n, 2000)
        assert rough.dtype == jnp.float32
    np.testing.assert_allclose(rough, exact, rtol=3e-5)
