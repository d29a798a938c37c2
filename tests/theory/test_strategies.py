"""The exact risks of strategies against sums written out, brute force, and their limits."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import jaxcollapse as jc
from jaxcollapse import theory

ALPHA, SIZE = jc.PowerLaw(0.5, exponent=-0.5), jc.PowerLaw(20.0, exponent=1.0)


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def schedules(generations):
    alpha, n = (np.asarray(x) for x in jc.evaluate(ALPHA, SIZE, generations))
    return alpha, n


@pytest.mark.parametrize("decay", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("factor", [1.0, 1.5, 0.6])
def test_an_estimate_is_a_sum_over_the_noise_of_all_batches(decay, factor):
    alpha, n = schedules(9)
    seen = np.append(1.0, factor * alpha[1:])
    r, loads, worth = 0.0, np.zeros(0), 0.0
    chain = np.zeros(0)  # what the chain's error holds of each batch's noise; loads: what the estimate's holds
    variance, exact = np.zeros(0), []
    for a, size, s in zip(alpha, n, seen, strict=True):
        variance = np.append(variance, (1 - (1 - a) ** 2 * r) / size)
        worth = decay * worth + size * s**2
        gain = size * s**2 / worth
        loads = (1 - gain) * loads + gain * (1 - a / s) * chain
        loads = np.append(loads, gain / s)
        chain = np.append((1 - a) * chain, 1.0)
        r = (chain**2 * variance).sum()
        exact.append((loads**2 * variance).sum())
    believed = jc.PowerLaw(0.5 * factor, exponent=-0.5)
    ours = theory.debiased(ALPHA, SIZE, 9, decay, believed=None if factor == 1 else believed)
    np.testing.assert_allclose(ours, exact, rtol=1e-12)


def test_a_rightly_judged_pool_is_worth_n_alpha_squared_and_the_latest_batch_stands_alone():
    alpha, n = schedules(1000)
    r = np.asarray(theory.risk(ALPHA, SIZE, 1000))
    noise = 1 - (1 - alpha) ** 2 * np.append(0.0, r[:-1])
    worth = np.cumsum(n * alpha**2)
    np.testing.assert_allclose(
        theory.debiased(ALPHA, SIZE, 1000), np.cumsum(n * alpha**2 * noise) / worth**2, rtol=1e-12
    )
    np.testing.assert_allclose(theory.debiased(ALPHA, SIZE, 1000, 0.0), noise / (n * alpha**2), rtol=1e-12)
    assert theory.debiased(ALPHA, SIZE, 1000)[-1] == pytest.approx(1 / worth[-1], rel=5e-3)


def test_a_batch_believed_to_hold_nothing_real_changes_nothing():
    never = jc.Constant(0.0)
    for decay in (0.0, 0.5, 1.0):
        np.testing.assert_allclose(theory.debiased(ALPHA, SIZE, 9, decay, believed=never), 1 / 20, rtol=1e-12)


def test_the_average_over_a_random_weight_is_that_over_its_two_values():
    """α_t is 0.1 or 0.5 with equal chance: the mean over all paths of the recursion with each path's own weights."""
    generations, n, seen = 4, 10.0, 0.3
    found = []
    for path in itertools.product((0.1, 0.5), repeat=generations):
        own, cross, chain, worth = 1 / n, 1 / n, 1 / n, n
        for a in path:
            noise = (1 - (1 - a) ** 2 * chain) / n
            worth += n * seen**2
            g, b = n * seen**2 / worth, 1 - a / seen
            own = (1 - g) ** 2 * own + 2 * (1 - g) * g * b * cross + g**2 * (b**2 * chain + noise / seen**2)
            cross = (1 - g) * (1 - a) * cross + g * (b * (1 - a) * chain + noise / seen)
            chain = (1 - a) ** 2 * chain + noise
        found.append(own)
    mean, size, variance = jc.Constant(0.3), jc.Constant(n), jc.Constant(0.04)
    ours = theory.debiased(mean, size, generations, believed=mean, variance=variance)
    assert ours[-1] == pytest.approx(np.mean(found), rel=1e-12)


def test_real_draws_alone_have_the_reciprocal_moment_of_their_number():
    n, alpha = np.array([3, 4, 5]), np.array([1.0, 0.3, 0.2])
    latest, pooled = [1 / 3], [1 / 3]
    total = stats.binom(0, 0.5).pmf(np.arange(1))
    for size, a in zip(n[1:], alpha[1:], strict=True):
        k = np.arange(size + 1)
        p = stats.binom(size, a).pmf(k)
        latest.append((p[1:] / k[1:]).sum() + p[0] * latest[-1])
        total = np.convolve(total, p)
        pooled.append((total / (3 + np.arange(total.size))).sum())
    weight = jc.Piecewise((2,), (jc.Constant(0.3), jc.Constant(0.2)))
    size = lambda t: 3 + t
    np.testing.assert_allclose(theory.real_only(weight, size, 2), latest, rtol=1e-12)
    np.testing.assert_allclose(theory.real_only_pooled(weight, size, 2), pooled, rtol=1e-12)


@pytest.mark.parametrize(("alpha", "n"), [(0.0, 1.0), (1.0, 1e12), (1e-6, 1e3), (0.5, 1e12)])
def test_pooled_real_draws_are_exact_at_every_size(alpha, n):
    ours = theory.real_only_pooled(jc.Constant(alpha), jc.Constant(n), 2)
    if alpha in (0.0, 1.0):
        np.testing.assert_allclose(ours, 1 / (n * np.array([1, 1 + alpha, 1 + 2 * alpha])), rtol=1e-12)
    assert (np.diff(ours) <= 1e-12 * ours[0]).all() and ours[-1] * (n + 2 * n * alpha) >= 1 - 1e-12


def test_retained_data_have_the_limits_of_replacement_and_of_the_resampled_tenth():
    n = jc.Constant(100)
    none, tenth, same, half = (
        theory.retain(n, 100, previous=b, original=g) for b, g in ((0.0, 0.0), (0.0, 0.1), (1.0, 0.0), (0.5, 0.0))
    )
    np.testing.assert_allclose(none, theory.risk(jc.Constant(0.0), n, 100), rtol=1e-12)
    assert tenth[-1] == pytest.approx(0.059296, rel=1e-4)
    np.testing.assert_allclose(tenth, theory.retained(jc.Constant(0.1), n, 100, 0.1), rtol=1e-12)
    np.testing.assert_allclose(same, 0.01, rtol=1e-12)
    assert half[-1] < none[-1]


def test_retained_data_agree_with_an_enumeration_of_every_outcome():
    """Two tokens, three data: one kept, one of the originals, one new; the law of (D_0, D_t) step by step."""
    law = {}
    p = 0.4
    for first in range(4):
        law[first, first] = stats.binom(3, p).pmf(first)
    exact = [sum(w * (c / 3 - p) ** 2 for (_, c), w in law.items()) / (p * (1 - p))]
    for _ in range(3):
        new = {}
        for (first, c), w in law.items():
            parts = ((first / 3, 1), (c / 3, 1), (c / 3, 1))
            for drawn in itertools.product((0, 1), repeat=3):
                chance = np.prod([q if x else 1 - q for (q, _), x in zip(parts, drawn, strict=True)])
                new[first, sum(drawn)] = new.get((first, sum(drawn)), 0) + w * chance
        law = new
        exact.append(sum(w * (c / 3 - p) ** 2 for (_, c), w in law.items()) / (p * (1 - p)))
    ours = theory.retain(jc.Constant(3), 3, previous=1 / 3, original=1 / 3)
    np.testing.assert_allclose(ours, exact, rtol=1e-12)


def test_another_source_has_the_risk_of_its_first_two_moments():
    p, q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    alpha, n = schedules(6)
    same = theory.other_source(ALPHA, SIZE, 6, p[None], p)
    np.testing.assert_allclose(same, (1 - (p**2).sum()) * theory.risk(ALPHA, SIZE, 6), rtol=1e-12)
    drift = np.linspace(0, 1, 7)[:, None] * q + np.linspace(1, 0, 7)[:, None] * p
    mean, second, exact = drift[0], 1 / n[0] + (1 - 1 / n[0]) * (drift[0] ** 2).sum(), []
    for t in range(7):
        if t:
            a, source = alpha[t], drift[t]
            inner = a**2 * source @ source + 2 * a * (1 - a) * source @ mean + (1 - a) ** 2 * second
            second = 1 / n[t] + (1 - 1 / n[t]) * inner
            mean = a * source + (1 - a) * mean
        exact.append(second - 2 * p @ mean + p @ p)
    np.testing.assert_allclose(theory.other_source(ALPHA, SIZE, 6, drift, p), exact, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.debiased(ALPHA, SIZE, 3, 1.5), "decay: got 1.5"),
        (lambda: theory.debiased(ALPHA, SIZE, 3, believed=jc.Constant(2.0)), "alpha: got 2.0"),
        (lambda: theory.retain(SIZE, 3, previous=-0.1), "previous: got -0.1"),
        (lambda: theory.retain(SIZE, 3, previous=0.6, original=0.6), "original: got 1.2"),
    ],
)
def test_bad_shares_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_float32_agrees_with_x64():
    exact = [f(ALPHA, SIZE, 1000) for f in (theory.debiased, theory.real_only_pooled)]
    with jax.enable_x64(False):
        rough = [f(ALPHA, SIZE, 1000) for f in (theory.debiased, theory.real_only_pooled)]
        assert all(x.dtype == jnp.float32 for x in rough)
    for x, y in zip(exact, rough, strict=True):
        np.testing.assert_allclose(np.asarray(y), np.asarray(x), rtol=1e-4)
