"""The asymptotic phases against the recursion at large t, and the boundary at finite t."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcollapse as jc
from jaxcollapse import theory


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def power(a, b, a0=0.5, n0=4.0, **options):
    return theory.phase(jc.PowerLaw(a0, exponent=-a), jc.PowerLaw(n0, exponent=b), **options)


def exponential(a0, rho, n0, g):
    return theory.phase(jc.Exponential(a0, rate=rho), jc.Exponential(n0, rate=g), rounded=False)


def law(phase, t):
    """The leading law of a phase, evaluated."""
    expression = phase.law.replace("^", "**").replace("ln(", "np.log(").replace("exp(", "np.exp(")
    return eval(expression, {"np": np, "t": t, "rate": phase.rate, "prefactor": phase.prefactor})


def expected_name(a, b):
    if a == b <= 1:
        return "plateau"
    if (a < 1 and b > a) or (a == 1 and b > 1):
        return "recovery"
    return "frozen" if a > 1 and b > 1 else "collapse"


def test_map_of_phases_follows_the_theorem():
    for a in np.arange(0, 2.01, 0.25):
        for b in np.arange(0, 2.01, 0.25):
            got = power(a, b)
            assert got.name == expected_name(a, b), (a, b)
            subphase = "C1" if a <= 1 else "C2" if a <= 1 + b else "C3"
            assert got.subphase == (subphase if got.name == "collapse" else "")


def test_phases_survive_the_rounding_of_a_grid():
    third = 0.1 + 0.2  # not 0.3 in floating point
    assert power(third, 0.3).name == "plateau"
    assert power(0.7 + 0.1 + 0.2 - 1e-16, 1.5).law == "prefactor * t^-rate"


@pytest.mark.parametrize(
    ("a", "b", "unrounded", "rounded"),
    [
        (1.5, 1.5, 0.21696, 0.217223),
        (2.0, 2.0, 0.247315, None),
        (1.5, 2.0, 0.107942, None),
        (2.0, 1.5, 0.389041, 0.389698),
    ],
)
def test_frozen_limits_are_those_of_the_converged_recursion(a, b, unrounded, rounded):
    assert power(a, b, rounded=False).limit == pytest.approx(unrounded, abs=5.1e-6)
    if rounded:
        assert power(a, b).limit == pytest.approx(rounded, abs=5.1e-7)


def test_frozen_limit_without_real_data_is_a_sine():
    frozen = theory.phase(jc.Constant(0.0), jc.PowerLaw(4.0, exponent=2.0))
    assert 1 - frozen.limit == pytest.approx(0.75 * np.sin(np.pi / 2) / (np.pi / 2), rel=1e-9)


def test_frozen_limit_next_to_the_edge_includes_the_endless_approach():
    # a = b: q is the same at every large t, so that the rest of the way after T is known in closed form.
    t = np.maximum(np.arange(200_001.0), 1.0)
    with jax.enable_x64(True):
        r = float(theory.recursion(0.05 * t**-1.02, 40 * t**1.02)[-1])
    equilibrium, rest = 1 / (1 + 2 * 2), (200_000.5**-0.02 / 0.02) * (1 / 40 + 2 * 0.05)
    limit = equilibrium + (r - equilibrium) * np.exp(-rest)
    assert abs(limit - r) > 0.04
    assert power(1.02, 1.02, a0=0.05, n0=40.0, rounded=False).limit == pytest.approx(limit, abs=1e-8)


@pytest.mark.parametrize(
    ("a", "b", "a0", "n0", "accuracy"),
    [
        (0.0, 0.5, 0.5, 4.0, 0.01),
        (0.0, 1.0, 0.5, 4.0, 0.01),
        (0.5, 1.0, 0.5, 4.0, 0.01),
        (0.25, 0.75, 0.5, 4.0, 0.02),
        (1.0, 1.5, 0.5, 4.0, 0.02),
        (1.0, 3.0, 0.5, 4.0, 0.001),
        (0.5, 0.5, 0.5, 4.0, 0.1),
        (0.25, 0.25, 0.5, 4.0, 0.25),
        (0.5, 0.0, 0.5, 4.0, 0.02),
        (1.0, 0.5, 0.5, 4.0, 0.02),
        (1.2, 0.5, 0.5, 4.0, 0.02),
        (2.0, 0.5, 0.5, 4.0, 0.02),
        (2.0, 0.0, 0.5, 4.0, 0.02),
        (1.1, 1.0, 0.02, 2.0, 0.1),
        (2.0, 1.0, 0.5, 4.0, 0.001),
        (1.5, 1.5, 0.5, 4.0, 0.02),
        (1.5, 2.0, 0.5, 4.0, 0.02),
        (2.0, 1.5, 0.5, 4.0, 0.02),
    ],
)
def test_power_laws_follow_their_rate_and_prefactor(x64, a, b, a0, n0, accuracy):
    schedules = jc.PowerLaw(a0, exponent=-a), jc.PowerLaw(n0, exponent=b), 100_000
    got = theory.phase(*schedules[:2])
    r, g = theory.risk(*schedules)[-1], theory.diversity(*schedules)[-1]
    quantity = {"r": r, "1 - r": g, "|r - limit|": abs(r - got.limit)}[got.quantity]
    assert float(quantity) == pytest.approx(law(got, 1e5), rel=accuracy)


@pytest.mark.parametrize(("a", "b", "n0"), [(1.0, 2.0, 4.0), (1.5, 1.0, 2.0)])
def test_equal_exponents_bring_a_logarithm(x64, a, b, n0):
    schedules = jc.PowerLaw(0.5, exponent=-a), jc.PowerLaw(n0, exponent=b), 1_000_000
    got = theory.phase(*schedules[:2])
    assert got.law == "prefactor * t^-rate * ln(t)"
    x = (theory.risk if got.quantity == "r" else theory.diversity)(*schedules)
    t = np.array([100_000, 1_000_000])
    growth = np.diff(np.asarray(x)[t] * t**got.rate)[0] / np.log(10)  # the constant beside ln t drops out
    assert growth == pytest.approx(got.prefactor, rel=0.02)


@pytest.mark.parametrize(
    ("a0", "rho", "n0", "g", "times", "accuracy"),
    [
        (0.1, 1.0, 10.0, 1.05, 600, 1e-3),
        (0.1, 1.0, 10.0, 1.5, 80, 1e-6),
        (0.1, 1.0, 10.0, 0.9**-2, 160, 0.05),
        (0.5, 0.9, 20.0, 1.0, 300, 1e-4),
        (0.5, 0.99, 20.0, 1.0, 2000, 1e-6),
        (0.5, 0.95, 20.0, 1.0, 1000, 0.03),
        (0.5, 0.5, 20.0, 1.1, 100, 0.01),
        (0.0, 1.0, 20.0, 1.0, 300, 1e-9),
        (0.3, 1.0, 20.0, 1.0, 30, 1e-6),
    ],
)
def test_exponential_schedules_follow_their_rate_and_prefactor(x64, a0, rho, n0, g, times, accuracy):
    t = jnp.arange(times + 1.0)
    got = exponential(a0, rho, n0, g)
    alpha_t, n_t = a0 * rho**t, n0 * g**t
    r, diversity = theory.recursion(alpha_t, n_t)[-1], theory.diversity_recursion(alpha_t, n_t)[-1]
    quantity = {"r": r, "1 - r": diversity, "|r - limit|": abs(r - got.limit)}[got.quantity]
    assert float(quantity) == pytest.approx(law(got, float(times)), rel=accuracy)


def test_exponential_phases_follow_the_table():
    assert exponential(0.1, 1, 10, 1.05).prefactor * 10 == pytest.approx(6.68896, rel=1e-6)
    assert exponential(0.1, 1, 10, 1.5).rate == pytest.approx(0.81)
    assert (exponential(0.5, 0.9, 20, 1).subphase, exponential(0.5, 0.9, 20, 1).rate) == ("C3", 0.95)
    assert exponential(0.5, 0.9, 20, 1.1).limit == pytest.approx(0.0639863, abs=5.1e-8)


def test_mixed_schedules_are_limited_by_memory(x64):
    grow = jc.Exponential(10.0, rate=1.1)
    got = theory.phase(jc.PowerLaw(0.3, exponent=-1.0), grow)
    assert (got.name, got.rate) == ("recovery", pytest.approx(0.6))
    r = theory.risk(jc.PowerLaw(0.3, exponent=-1.0), grow, 340)[-1]
    assert float(r) == pytest.approx(law(got, 340.0), rel=0.001)
    assert theory.phase(jc.PowerLaw(0.3, exponent=-1.5), grow).name == "frozen"
    stretched = theory.phase(jc.PowerLaw(0.3, exponent=-0.5), grow)
    assert (stretched.law, stretched.rate) == ("exp(-rate * t^0.5)", pytest.approx(1.2))


def test_no_real_data_collapses_unless_samples_grow_faster_than_linearly(x64):
    none = jc.Constant(0.0)
    assert theory.phase(none, jc.PowerLaw(4.0, exponent=1.2)).name == "frozen"
    linear = theory.phase(none, jc.PowerLaw(4.0, exponent=1.0))
    g = theory.diversity(none, jc.PowerLaw(4.0, exponent=1.0), 10_000)[-1]
    assert (linear.subphase, float(g)) == ("C3", pytest.approx(law(linear, 1e4), rel=1e-3))
    assert theory.phase(none, jc.PowerLaw(4.0, exponent=0.5)).law == "exp(-rate * t^0.5)"


def test_shrinking_samples_end_at_one_token():
    got = theory.phase(jc.Constant(0.3), jc.Exponential(10.0, rate=0.9))
    assert (got.name, got.subphase, got.limit) == ("collapse", "C1", 1.0)
    assert theory.phase(jc.Constant(1.0), jc.Constant(1)).name == "collapse"
    assert theory.phase(jc.Constant(1.0), jc.Constant(5)).limit == pytest.approx(0.2)


def test_capped_growth_is_constant_in_the_long_run():
    got = theory.phase(jc.PowerLaw(0.1, exponent=0.5, cap=0.3), jc.PowerLaw(10.0, exponent=0.5, cap=100))
    assert got.limit == pytest.approx(1 / (1 + 99 * 0.3 * 1.7))


def test_a_phase_is_told_in_one_line():
    assert power(0.5, 0).text == "collapse C1: r -> 1, 1 - r ~ 3 * t^-0.5: the dominant token keeps changing for ever"
    assert power(1, 1).text == "plateau: r -> 0.2, |r - limit| ~ C * t^-1"


@pytest.mark.parametrize(
    ("alpha", "n", "message"),
    [
        (lambda t: 0.1, jc.Constant(10), "alpha: got .* expected Constant, PowerLaw or Exponential"),
        (jc.Constant(0.1), jc.Piecewise((5,), (jc.Constant(1), jc.Constant(2))), "n: got"),
        (jc.Constant(1.2), jc.Constant(10), "alpha: got 1.2"),
        (jc.PowerLaw(0.1, exponent=0.5), jc.Constant(10), "alpha: got .* leaves"),
        (jc.Exponential(0.1, rate=1.01), jc.Constant(10), "alpha: got .* leaves"),
        (jc.Constant(0.1), jc.Constant(0), "n: got 0"),
    ],
)
def test_schedules_without_a_known_future_are_refused(alpha, n, message):
    with pytest.raises(ValueError, match=message):
        theory.phase(alpha, n)


def crossing(generations, n0=10.0, **options):
    def at(a):
        schedules = lambda b: (jc.PowerLaw(0.5, exponent=-a), jc.PowerLaw(n0, exponent=b))
        return theory.boundary(schedules, generations, **options)

    return at


def test_boundary_sits_where_the_horizon_puts_it(x64):
    np.testing.assert_allclose(jax.vmap(crossing(10_000))(jnp.array([0.5, 0.75])), [0.2512, 0.4988], atol=0.001)
    np.testing.assert_allclose(jax.vmap(crossing(1_000))(jnp.array([0.5, 0.75])), [0.1716, 0.4133], atol=0.001)


def test_leading_order_errs_as_documented(x64):
    a = jnp.array([0.7, 0.9, 1, 1.25, 1.5, 2])
    error = theory.leading_order_boundary(a, 0.5, 20, 300) - jax.vmap(crossing(300, 20.0))(a)
    np.testing.assert_allclose(error, [0.004, 0.026, 0.048, 0.152, 0.32, 0.76], atol=0.006)


def test_risk_crosses_the_level_at_the_boundary(precision):
    for level in (0.1, 0.5, 0.9):
        b = float(crossing(300, level=level)(0.8))
        at = lambda growth: theory.risk(jc.PowerLaw(0.5, exponent=-0.8), jc.PowerLaw(10.0, exponent=growth), 300)[-1]
        assert at(b + 0.01) < level < at(b - 0.01)


def test_boundary_out_of_the_bracket_is_nan():
    assert np.isnan(crossing(100)(0.0))
    assert np.isnan(crossing(100, bracket=(0.0, 0.1))(1.5))
    assert np.isnan(crossing(10_000, bracket=(0.0, 3.0))(0.5))  # n_T beyond 2³¹: not a number in 32 bits


def test_runs_with_slow_decay_fall_on_the_scaling_curve(x64):
    residuals = []
    for a in (0.3, 0.5, 0.7):
        for b in (0.0, 0.4, 0.8, 1.2):
            alpha, n = jc.PowerLaw(0.5, exponent=-a), jc.PowerLaw(20.0, exponent=b)
            x = theory.scaling_variable(0.5 * 300.0**-a, jnp.rint(20 * 300.0**b))
            r, curve = theory.risk(alpha, n, 300)[-1], theory.scaling_curve(x)
            residuals.append(abs(float(jax.scipy.special.logit(r) - jax.scipy.special.logit(curve))))
    assert np.median(residuals) < 0.05


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: crossing(100, bracket=(1.0, 1.0))(0.5), "bracket: got"),
        (lambda: crossing(100, level=1.0)(0.5), "level: got 1.0"),
        (lambda: crossing(0)(0.5), "generations: got 0"),
    ],
)
def test_bad_boundaries_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
