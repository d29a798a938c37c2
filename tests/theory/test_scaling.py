"""Missing mass: exact sums, power laws and the workflows that are the clean law at another amount of data."""

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


def zipf(k, exponent):
    p = np.arange(1.0, k + 1) ** -exponent
    return p / p.sum()


def test_missing_mass_of_real_draws_is_nearly_the_exact_sum(precision):
    p, n = zipf(1000, 1.2), 200
    exact = (p * (1 - p) ** n).sum()
    assert 0 <= float(theory.missing_mass(p, n)) - exact < (n * p**3 / 2 * np.exp(-n * p)).sum() + 1e-6
    assert float(theory.missing_mass(p, 0)) == pytest.approx(1, rel=1e-6)
    assert float(theory.distinct(p, n)) == pytest.approx((1 - (1 - p) ** n).sum(), rel=2e-3)
    assert float(theory.distinct(p, 1e12)) == 1000


def test_t19_a_heavy_tail_is_learnt_by_a_power_law(x64):
    p, draws = zipf(1_000_000, 2.0), np.geomspace(1e3, 1e5, 5)
    missing = theory.missing_mass(p, draws)
    slopes = np.diff(np.log(missing)) / np.diff(np.log(draws))
    np.testing.assert_allclose(slopes, -0.5, atol=2e-4)


@pytest.mark.parametrize("exponent", [1.5, 2.0, 3.0])
def test_zipf_laws_have_their_prefactors(x64, exponent):
    weights = np.arange(1.0, 1_000_001) ** -exponent
    rest = float(jax.scipy.special.zeta(exponent, 1_000_001.0))  # the tokens beyond the millionth are all unseen
    p = weights / (weights.sum() + rest)
    for draws, relative in ((100.0, 2e-3), (3000.0, 1e-4)):
        missing = float(theory.missing_mass(p, draws)) + rest / (weights.sum() + rest)
        seen = float(theory.distinct(p, draws)) + draws * rest / (weights.sum() + rest)
        assert missing == pytest.approx(float(theory.zipf_missing_mass(exponent, draws)), rel=relative)
        assert seen == pytest.approx(float(theory.zipf_distinct(exponent, draws)), rel=relative)


def test_t19_a_loop_without_real_data_loses_the_tail_as_a_power_of_time(x64):
    p, n = zipf(1_000_000, 2.0), 30_000
    for t, expected in ((10, 2.514), (100, 7.189), (1000, 22.41)):
        f = theory.survival_factor(0.0, t)
        ratio = theory.missing_mass(p, n * f) / theory.missing_mass(p, n)
        assert float(ratio) == pytest.approx(expected, rel=0.01)
        assert float(f) ** -0.5 == pytest.approx(expected, rel=5e-4)
        assert expected == pytest.approx((t / 2) ** 0.5, rel=0.13 if t == 10 else 0.02)


def test_t19_a_share_of_real_data_stops_the_loss(x64):
    p, n = zipf(1_000_000, 2.0), 10_000
    for alpha, expected in ((0.1, 1.5817), (0.01, 3.5073)):
        f = theory.survival_factor(alpha)
        ratio = theory.missing_mass(p, n * f) / theory.missing_mass(p, n)
        assert float(ratio) == pytest.approx(expected, rel=1e-4)
        assert float(f) ** -0.5 == pytest.approx(expected, rel=2e-4)


def test_missing_mass_in_the_loop_is_that_of_the_exact_chain():
    p, n, alpha = zipf(80, 1.5), 300, 0.1
    exact = theory.additive(lambda x, p: p * (x == 0), C(alpha), C(n), p, 30)
    got = theory.missing_mass(p, theory.effective_draws(C(alpha), C(n), 30))
    np.testing.assert_allclose(got, exact, rtol=0.02)


def test_retraining_is_a_loop_of_two_generations(precision):
    for real, draws in ((0.0, 500.0), (0.0, 50_000.0), (0.05, 50_000.0)):
        n = jc.Piecewise((1,), (C(1000.0), C(draws)))
        loop = theory.effective_draws(C(real), n, 1)[-1]
        assert float(loop) == pytest.approx(float(theory.retraining_draws(draws, 1000.0, real)), rel=1e-6)


def test_a_models_data_are_worth_its_own_data_and_real_ones_bring_back_the_clean_law(x64):
    draws, first = np.geomspace(10, 1e7, 25), 1e4
    p = zipf(100_000, 2.0)
    clean, model, mixed = (theory.missing_mass(p, f) for f in (
        draws, theory.retraining_draws(draws, first), theory.retraining_draws(draws, first, 0.01)
    ))  # fmt: skip
    early, late = draws < 100, draws > 1e6
    np.testing.assert_allclose(model[early], clean[early], rtol=5e-3)
    np.testing.assert_allclose(model[late], theory.missing_mass(p, first), rtol=1e-6)
    assert (mixed <= model * (1 + 1e-12)).all() and float(mixed[-1]) < 0.4 * float(model[-1])
    assert float(theory.retraining_draws(1e9, first, 0.01)) == pytest.approx(1e7, rel=2e-3)


def test_a_tail_that_is_cut_leaves_what_was_cut(x64):
    p, k = zipf(100_000, 2.0), 300
    assert float(theory.cut_missing_mass(p, 1e9, k)) == pytest.approx(p[k:].sum(), rel=1e-9)
    np.testing.assert_allclose(theory.cut_missing_mass(p, 1000.0, 100_000), theory.missing_mass(p, 1000.0), rtol=1e-12)
    shuffled = np.random.default_rng(0).permutation(p)
    np.testing.assert_allclose(
        theory.cut_missing_mass(shuffled, 50.0, k), theory.cut_missing_mass(p, 50.0, k), rtol=1e-9
    )
    both = float(theory.zipf_missing_mass(2.0, 1e4)) + p[k:].sum()
    assert float(theory.cut_missing_mass(p, 1e4, k)) == pytest.approx(both, rel=0.3)


def test_missing_mass_can_be_differentiated_and_batched():
    p = jnp.asarray(zipf(50, 1.0))
    slope = jax.grad(lambda f: theory.missing_mass(p, f))(20.0)
    assert float(slope) == pytest.approx(-float((p**2 * jnp.exp(-20 * p)).sum()), rel=1e-5)
    assert theory.missing_mass(p, jnp.ones((3, 2))).shape == (3, 2)


def test_the_published_scaling_law_has_its_optimum(x64):
    c = 5.76e23
    ratio = lambda *args: float(np.divide(*theory.compute_optimal(c, *args)[::-1]))
    assert ratio() == pytest.approx(18.4, abs=0.05)
    assert ratio(1.0, theory.CHINCHILLA_ROUNDED) == pytest.approx(92.6, abs=0.06)
    f = float(theory.survival_factor(0.1))
    assert ratio(f) / ratio() == pytest.approx(2.56, abs=5e-3) and ratio(f) == pytest.approx(47, abs=0.1)
    n, d = theory.compute_optimal(c, f)
    assert float(n * d * 6) == pytest.approx(c)
    best = float(theory.contaminated_loss(n, d, f))
    assert best < min(float(theory.contaminated_loss(n * s, d / s, f)) for s in (0.99, 1.01))
    assert best > float(theory.contaminated_loss(*theory.compute_optimal(c)))


def test_a_constant_share_acts_like_a_factor_on_compute(x64):
    c, law = np.array([1e20, 5.76e23, 1e30]), theory.CHINCHILLA
    f = float(theory.survival_factor(0.1))
    n, d = theory.compute_optimal(c, f)
    np.testing.assert_allclose(theory.contaminated_loss(n, d, f), clean_loss(f * c), rtol=1e-12)
    exponents = np.diff(np.log(d)) / np.diff(np.log(c))
    np.testing.assert_allclose(exponents, law.a / (law.a + law.b), rtol=1e-9)
    np.testing.assert_allclose(d / n, f ** (-2 * law.b / (law.a + law.b)) * np.divide(*theory.compute_optimal(c)[::-1]))


def clean_loss(compute):
    return theory.contaminated_loss(*theory.compute_optimal(compute))


def test_over_training_costs_what_the_law_says(x64):
    n, d = theory.fixed_ratio(5.76e23, np.array([20.0, 2000.0]))
    np.testing.assert_allclose(d / n, [20, 2000])
    np.testing.assert_allclose(6 * n * d, 5.76e23)
    loss = theory.contaminated_loss(n, d)
    assert 0 < float(loss[0] - clean_loss(5.76e23)) < 1e-3 < float(loss[1] - loss[0])
    np.testing.assert_allclose(
        theory.fixed_ratio(5.76e23, 18.39124495531415), theory.compute_optimal(5.76e23), rtol=1e-9
    )


def test_a_fresh_inflow_is_worth_a_logarithm_more_than_itself(x64):
    np.testing.assert_allclose(theory.inflow_draws(np.array([0.5, 1.0]), 1.0), [0.5, 1.0], rtol=1e-9)
    x = np.geomspace(1, 1e6, 25)
    worth = np.asarray(theory.inflow_draws(3e14 * x, 3e14)) / 3e14
    assert (np.diff(worth) > 0).all() and (np.diff(np.diff(np.log(worth))) < 0).all()
    np.testing.assert_allclose(worth, x * np.asarray(theory.survival_factor(1 / x)), rtol=1e-9)
    assert worth[-1] == pytest.approx(2 * (np.log(5e5) + 0.1003), abs=2e-4)


def test_an_inflow_in_the_loop_is_worth_that_much():
    loop = theory.effective_draws(C(1 / 16), C(1024.0), 300)[-1]
    assert float(loop) == pytest.approx(float(theory.inflow_draws(1024.0, 64.0)), rel=1e-4)


def inflow_loss(parameters, tokens, real, law=theory.CHINCHILLA):
    return law.floor + law.a_scale / parameters**law.a + law.b_scale / theory.inflow_draws(tokens, real) ** law.b


def test_the_best_run_on_an_inflow_is_a_minimum(x64):
    c, real = 10.0 ** np.arange(22, 37, 2), 3e14
    n, d = theory.inflow_optimal(c, real)
    for scale in (0.98, 1.02):
        assert (inflow_loss(n / scale, d * scale, real) > inflow_loss(n, d, real)).all()
    np.testing.assert_allclose(6 * n * d, c)
    below = d < real
    np.testing.assert_allclose(d[below], theory.compute_optimal(c)[1][below], rtol=1e-9)
    ratio = np.asarray(d / n)
    assert below.sum() == 4 and ratio.argmin() == 5 and ratio[5] == pytest.approx(2.183, abs=1e-3)


def test_a_kept_stock_bounds_the_loss(x64):
    c, real, law = np.array([1e24, 1e30, 1e60]), 3e14, theory.CHINCHILLA
    n, d = theory.stock_optimal(c, real)
    np.testing.assert_allclose(6 * n * d, c)
    loss = lambda n, d: np.asarray(theory.contaminated_loss(n, np.minimum(d, real)))
    for scale in (0.98, 1.02):
        assert (loss(n / scale, d * scale) > loss(n, d)).all()
    assert loss(n, d)[-1] == pytest.approx(law.floor + law.b_scale / real**law.b, rel=1e-6)
    assert (inflow_loss(*theory.inflow_optimal(c, real), real) <= loss(n, d) + 1e-12).all()


def test_kaplans_laws_are_the_limits_of_one(x64):
    assert float(theory.kaplan_loss(7e10)) == pytest.approx(np.exp(0.076 * np.log(8.8e13 / 7e10)), rel=1e-12)
    assert float(theory.kaplan_loss(tokens=1.4e12)) == pytest.approx(np.exp(0.095 * np.log(5.4e13 / 1.4e12)), rel=1e-12)
    assert float(theory.kaplan_loss(7e10)) == pytest.approx(1.7201, abs=1e-4)
    assert float(theory.kaplan_loss(tokens=1.4e12)) == pytest.approx(1.4148, abs=1e-4)
    joint = lambda *args: float(theory.kaplan_loss(*args, law=theory.KAPLAN_JOINT))
    assert joint(7e10, 1.4e12) == pytest.approx(((6.4e13 / 7e10) ** (0.076 / 0.103) + 1.8e13 / 1.4e12) ** 0.103)
    assert joint(7e10, 2.8e12, 0.5) == joint(7e10, 1.4e12) > max(joint(7e10), joint(np.inf, 1.4e12))


@pytest.mark.parametrize(
    ("call", "bad", "good"),
    [
        (lambda p: theory.missing_mass(jnp.array([0.5, 0.5]) * p, 10.0), -1.0, 1.0),
        (lambda f: theory.distinct(np.array([0.5, 0.5]), f), -1.0, 1.0),
        (lambda f: theory.retraining_draws(f, 10.0, 0.5), -1.0, 1.0),
        (lambda f: theory.retraining_draws(10.0, f, 0.5), 0.0, 1.0),
        (lambda share: theory.retraining_draws(10.0, 10.0, share), 1.5, 0.5),
        (lambda k: theory.cut_missing_mass(np.array([0.5, 0.5]), 1.0, k), 0, 1),
        (lambda b: theory.zipf_missing_mass(b, 10.0), 1.0, 1.5),
        (lambda f: theory.zipf_distinct(1.5, f), -1.0, 10.0),
        (lambda n: theory.contaminated_loss(n, 1e12), -1.0, 1e9),
        (lambda f: theory.compute_optimal(1e23, f)[0], -0.1, 0.5),
    ],
)
def test_what_is_out_of_range_is_nan_under_a_trace(call, bad, good):
    assert np.isnan(jax.jit(call)(bad)).all() and np.isfinite(jax.jit(call)(good)).all()


def test_sizes_out_of_range_are_nan_under_a_trace():
    two = jax.jit(lambda c: (*theory.inflow_optimal(c, 3e14), *theory.stock_optimal(c, 3e14)))
    assert np.isnan(two(-1.0)).all() and np.isfinite(two(1e30)).all()
    assert np.isnan(jax.jit(theory.kaplan_loss)(-1.0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.missing_mass(np.array([1.5]), 10.0), "probs: got 1.5"),
        (lambda: theory.distinct(np.array([0.5]), -1.0), "draws: got -1.0"),
        (lambda: theory.retraining_draws(10.0, 0.0), "first: got 0.0"),
        (lambda: theory.retraining_draws(10.0, 5.0, 1.5), "real: got 1.5"),
        (lambda: theory.cut_missing_mass(np.array([0.5, 0.5]), 1.0, 0), "kept: got 0"),
        (lambda: theory.fixed_ratio(5.76e23, 0.0), "ratio: got 0.0, expected positive"),
        (lambda: theory.inflow_draws(-1.0, 3e14), "tokens: got -1.0"),
        (lambda: theory.inflow_optimal(np.inf, 3e14), "compute: got inf"),
        (lambda: theory.stock_optimal(1e24, 0.0), "real: got 0.0"),
        (lambda: theory.kaplan_loss(tokens=0.0), "tokens: got 0.0"),
        (lambda: theory.contaminated_loss(1e9, -1.0), "tokens: got -1.0, expected positive"),
        (lambda: theory.compute_optimal(1e23, 0.0), "factor: got 0.0"),
        (lambda: theory.zipf_missing_mass(1.0, 10.0), "exponent: got 1.0, expected exponents above 1"),
        (lambda: theory.zipf_distinct(1.5, -1.0), "draws: got -1.0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
