"""Lost tokens against tabulated values, exact chains, and their own limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

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

def long_sum(alpha, terms):
    """α Σ u_k and α Σ d_k in float64, term by term."""
    step = lambda _, s: (s[0] + s[2], s[1] + s[3], -jnp.expm1((alpha - 1) * s[2]), s[3] * (1 - alpha))
    with_loss = lambda i, s: (lambda a, b, u, d: (a, b, u, d * (1 - u)))(*step(i, s))
    total = jax.jit(lambda: jax.lax.fori_loop(0, terms, with_loss, (0.0, 0.0, 1.0, 1.0)))()
    return alpha * float(total[0]), alpha * float(total[1])


@pytest.mark.parametrize(("alpha", "terms"), [(1e-5, 4_000_000), (1e-3, 40_000), (0.03, 1500), (0.5, 60)])
def test_the_rest_of_the_series_is_known(alpha, terms):
    with jax.enable_x64(True):
        f, h = long_sum(alpha, terms)
        assert float(theory.survival_factor(alpha)) == pytest.approx(f, rel=3e-8)
        assert float(theory.hapax_factor(alpha)) == pytest.approx(h, rel=1e-8)
    assert float(theory.survival_factor(alpha)) == pytest.approx(f, rel=1e-5)
    assert float(theory.hapax_factor(alpha)) == pytest.approx(h, rel=1e-5)


def test_factors_are_elementwise_and_differentiable(precision):
    alpha = jnp.asarray([0.0, 1e-6, 0.01, 0.1, 0.9, 1.0], float)
    for factor in (theory.survival_factor, theory.hapax_factor):
        assert float(factor(alpha)[3]) == pytest.approx(float(factor(0.1)), rel=1e-5)
        slope = jax.vmap(jax.grad(factor))(alpha)
        assert np.isfinite(slope).all() and (slope >= 0).all()
        assert float(factor(jnp.asarray(1.0))) == 1 and float(factor(jnp.asarray(0.0))) == 0
    step = 1e-3
    slope = (theory.survival_factor(0.1 + step) - theory.survival_factor(0.1 - step)) / (2 * step)
    assert float(jax.grad(theory.survival_factor)(0.1)) == pytest.approx(float(slope), rel=1e-2)


def test_branching_survival_is_the_factor_without_fresh_data(x64):
    u = theory.branching_survival(jnp.asarray([0.0, 0.3]), 50)
    assert float(u[50, 0]) == pytest.approx(float(theory.survival_factor(0.0, 50)), rel=1e-14)
    np.testing.assert_allclose(theory.survival_factor(0.3, 50), 0.3 * u[:50, 1].sum() + u[50, 1], rtol=1e-14)


def test_copies_of_a_token_die_out_one_by_one(precision):
    got = theory.lineage_survival(np.array([0, 1, 3]), 20)
    u = float(theory.branching_survival(0.0, 20)[-1])
    np.testing.assert_allclose(got, [0, u, 1 - (1 - u) ** 3], rtol=1e-5)
    assert float(theory.lineage_survival(1, 0)) == pytest.approx(1, abs=1e-6)


def test_poisson_survival_takes_its_published_values(x64):
    for rate, expected in ((1, [0.99995, 0.82139, 0.17752, 0.03899]), (10, [1, 1, 0.85833, 0.32815])):
        got = [1 - float(theory.absence(rate, 0.0, 10, k - 1)) for k in (1, 10, 100, 500)]
        np.testing.assert_allclose(got, expected, atol=6e-6)


@pytest.mark.parametrize(("p", "n"), [(0.01, 100), (0.001, 600), (0.05, 20), (0.002, 100)])
def test_the_published_bounds_hold(x64, p, n):
    exact = theory.additive(alive, C(0.0), C(n), np.array([p]), 49)
    for t in (0, 3, 9, 24, 49):
        low, high = theory.alive_bounds(p, n, t)
        assert low <= exact[t] <= high
    assert float(theory.alive_bounds(0.0001, 1000, 9)[1]) < 1


def test_effective_draws_are_the_survival_factor_where_nothing_changes(precision):
    for alpha in (0.0, 0.1, 1.0):
        got = theory.effective_draws(C(alpha), C(1000), 20)
        for t in (0, 1, 20):
            assert float(got[t]) == pytest.approx(1000 * float(theory.survival_factor(alpha, t)), rel=1e-5)


def test_effective_draws_of_schedules_lose_the_tokens_that_the_exact_chain_loses(x64):
    rare = np.full(1, 5e-4)
    for alpha, n in (
        (jc.PowerLaw(0.5, exponent=-0.5), jc.PowerLaw(100.0, exponent=0.4)),
        (jc.Exponential(0.4, rate=0.9), jc.Exponential(300.0, rate=0.98)),
        (jc.Piecewise((10,), (C(0.0), C(0.5))), C(200)),
    ):
        exact = theory.additive(lambda x, p: x == 0, alpha, n, rare, 25)
        got = np.exp(-rare * np.asarray(theory.effective_draws(alpha, n, 25)))
        smallest = float(jc.evaluate(alpha, n, 25)[1].min())
        np.testing.assert_allclose(1 - got, 1 - exact, rtol=2 / smallest)


def test_effective_draws_are_differentiable_and_mark_what_is_out_of_range():
    final = lambda a: theory.effective_draws(jc.PowerLaw(a, exponent=-0.5), C(100), 10)
    assert float(jax.grad(lambda a: final(a)[-1])(0.3)) > 0
    assert np.isnan(jax.jit(final)(1.5)[1:]).all()
    with pytest.raises(ValueError, match="alpha: got"):
        final(1.5)


def test_tokens_seen_once_follow_the_hapax_factor(x64):
    for p, alpha, n in ((0.002, 0.1, 1000), (0.001, 0.02, 1000), (0.005, 0.5, 300)):
        law = theory.two_token_chain(p, alpha, n).stationary()
        got = n * p * theory.hapax_factor(alpha) * theory.absence(p, alpha, n)
        assert float(got) == pytest.approx(law[1], rel=3e-3)
    for alpha, t in ((0.0, 5), (0.1, 3), (0.5, 0)):
        law = theory.two_token_chain(0.002, alpha, 1000).law(t)
        got = 2 * theory.hapax_factor(alpha, t) * theory.absence(0.002, alpha, 1000, t)
        assert float(got) == pytest.approx(law[1], rel=5e-3)


def test_good_turing_is_too_small_by_the_hapax_factor(x64):
    p, alpha, n = zipf(60, 1.2), 0.2, 300
    hapaxes = theory.additive(lambda x, p: x == 1 / n, C(alpha), C(n), p, 60)[-1]
    missing = theory.additive(lambda x, p: p * (x == 0), C(alpha), C(n), p, 60)[-1]
    assert hapaxes / n / missing == pytest.approx(float(theory.hapax_factor(alpha)), rel=5e-3)


def test_real_draws_that_are_all_new_have_ewens_statistics(x64):
    found = theory.ewens(jnp.asarray([0.01, 0.1, 1.0]), jnp.asarray([1000, 500, 50]))
    np.testing.assert_allclose(found.homozygosity, 1 / (1 + np.array([999 * 0.0199, 499 * 0.19, 49])), rtol=1e-12)
    np.testing.assert_allclose(found.types, [81.311, 199.873, 50], atol=1e-3)
    np.testing.assert_allclose(found.diffusion_types[:2], [79.131, 179.593], atol=1e-3)
    copies = np.arange(1, 1001)
    law = np.asarray(theory.ewens_spectrum(20.0, 1000, copies))
    assert law.sum() == pytest.approx(float(found.diffusion_types[0]), rel=1e-9)
    assert (copies * law).sum() == pytest.approx(1000, rel=1e-9)
    assert float(theory.ewens_spectrum(20.0, 10, 11)) == 0


def test_types_of_new_draws_are_those_of_ever_rarer_tokens(x64):
    n, alpha, p = 200, 0.1, 1e-7
    law = theory.two_token_chain(p, alpha, n).stationary() / p
    found = theory.ewens(alpha, n)
    assert law[1:].sum() == pytest.approx(float(found.types), rel=1 / n)
    assert law[1] == pytest.approx(float(found.hapaxes), rel=2 / n)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.survival_factor(-0.1), "alpha: got -0.1"),
        (lambda: theory.hapax_factor(1.1), "alpha: got 1.1"),
        (lambda: theory.absence(0.1, 0.5, 0), "n: got 0"),
        (lambda: theory.ewens(0.1, 0.5), "n: got 0.5"),
        (lambda: theory.branching_survival(2.0, 3), "alpha: got 2.0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
