"""The best amount of synthetic data: first-order conditions, other optimisers, closed forms, whole draws."""

import functools
import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

import jaxcollapse as jc

FILE = pathlib.Path(__file__).parent.parent / "experiments" / "optimal_schedule.py"
TIME, STEPS, PRICE = 8, 2000, 0.03
MEAN, WORST, LAST = np.full(TIME, 1 / TIME), np.zeros(TIME), np.eye(TIME)[-1]
FALLING, STEADY, GROWING = (np.rint(100.0 * np.maximum(np.arange(TIME + 1), 1) ** g) for g in (-0.5, 0.0, 0.5))
# One row a problem: inflow, price, weights of the risks, start.
PROBLEMS = {
    "falling": (FALLING, PRICE, MEAN, 0.5),
    "steady": (STEADY, PRICE, MEAN, 0.5),
    "growing": (GROWING, PRICE, MEAN, 0.5),
    "steady, from elsewhere": (STEADY, PRICE, MEAN, 3.0),
    "falling, from elsewhere": (FALLING, PRICE, MEAN, 0.0),
    "worst": (FALLING, PRICE, WORST, 0.5),
    "last": (STEADY, 0.3, LAST, 0.5),
    "free, mean": (1e4 * STEADY, 0.0, MEAN, 0.5),
    "free, last": (1e4 * STEADY, 0.0, LAST, 0.5),
    "dear": (STEADY, 1.01, MEAN, 0.5),
    "nearly too dear": (STEADY, 0.99, MEAN, 0.5),
}


@pytest.fixture(scope="module")
def module():
    spec = importlib.util.spec_from_file_location("optimal_schedule", FILE)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture(scope="module")
def best(module):
    """ln(n_t/m_t), t = 1..T, of every problem: one compile, in double precision."""
    rows = [np.stack(column) for column in zip(*PROBLEMS.values(), strict=True)]
    with jax.enable_x64(True):
        found = jax.jit(jax.vmap(lambda m, c, w, z: module.optimal(m, c, w, STEPS, start=z)))(*map(jnp.asarray, rows))
    return dict(zip(PROBLEMS, np.asarray(found), strict=True))


@pytest.mark.parametrize("name", ["falling", "steady", "growing"])
def test_the_optimum_is_that_of_dynamic_programming_and_of_another_optimiser(module, best, name):
    m, price, *_ = PROBLEMS[name]
    value, gradient = module.adjoint(m, best[name], price)
    at_bound = best[name] == 0
    assert abs(gradient[~at_bound]).max(initial=0) < 1e-12 and (gradient[at_bound] >= 0).all()
    other, estimate = module.independent(m, price)
    assert value == pytest.approx(module.adjoint(m, other, price)[0], rel=1e-9)
    assert value == pytest.approx(estimate, rel=5e-3)  # the error of its grid


@pytest.mark.parametrize("name", ["steady", "falling"])
def test_other_starts_end_in_the_same_schedule(best, name):
    assert best[f"{name}, from elsewhere"] == pytest.approx(best[name], abs=1e-6)


def test_the_adjoint_is_the_gradient_of_the_exact_recursion(module):
    z = np.random.default_rng(0).uniform(0, 2, TIME)
    with jax.enable_x64(True):
        loss = lambda z: module.objective(jnp.asarray(FALLING), jnp.pad(z, (1, 0)), PRICE, jnp.asarray(MEAN), 1.0)
        value, gradient = jax.jit(jax.value_and_grad(loss))(z)
        z_t = np.pad(z, (1, 0))
        r = 1 - jax.jit(jc.theory.diversity_recursion)(np.exp(-z_t), FALLING * np.exp(z_t))
    mine = module.adjoint(FALLING, z, PRICE)
    assert float(value) == pytest.approx(mine[0], rel=1e-13) and np.asarray(gradient) == pytest.approx(
        mine[1], rel=1e-10
    )
    spent = (FALLING[1:] * np.expm1(z)).mean() / 100
    assert 100 * np.asarray(r)[1:].mean() + PRICE * spent == pytest.approx(mine[0], rel=1e-12)


def test_the_least_worst_risk_is_that_of_constrained_optimisation(best):
    """min R + c mean(n − m)/m_0 with m_0 r_t ≤ R, by SLSQP; the soft maximum is off by at most ln T/1000."""

    def risks(z):
        r = [0.01]
        for m, n in zip(FALLING[1:], FALLING[1:] * np.exp(z), strict=True):
            r.append(1 / n + (1 - 1 / n) * (1 - m / n) ** 2 * r[-1])
        return 100 * np.array(r[1:])

    cost = lambda z: PRICE * (FALLING[1:] * np.expm1(z)).mean() / 100
    limits = {"type": "ineq", "fun": lambda x: x[-1] - risks(x[:-1])}
    start, bounds = np.append(np.full(TIME, 0.5), 5.0), [(0, None)] * TIME + [(0, None)]
    exact = optimize.minimize(lambda x: x[-1] + cost(x[:-1]), start, method="SLSQP", bounds=bounds, constraints=limits)
    assert exact.success
    mine = risks(best["worst"]).max() + cost(best["worst"])
    assert 0 <= mine / exact.fun - 1 < np.log(TIME) / 1000


@pytest.mark.parametrize(
    ("to", "back", "slope"),
    [
        (lambda z: z, lambda y: y, lambda y: 1.0),
        (np.exp, np.log, lambda y: 1 / y),
        (lambda z: np.exp(-z), lambda y: -np.log(y), lambda y: -1 / y),
    ],
    ids=["ln n", "n", "1/n"],
)
def test_the_problem_is_not_convex(module, to, back, slope):
    """Somewhere the Hessian, from differences of the exact gradient, has a negative eigenvalue well above rounding."""
    gradient = lambda y: module.adjoint(FALLING, back(y), PRICE)[1] * slope(y)
    worst = 0.0
    for z in np.random.default_rng(0).uniform(0, 3, (200, TIME)):
        steps = 1e-5 * np.diag(to(z))
        hessian = np.array([(gradient(to(z) + h) - gradient(to(z) - h)) / (2 * h.sum()) for h in steps])
        values = np.linalg.eigvalsh((hessian + hessian.T) / 2)
        worst = min(worst, values[0] / values[-1])
    assert worst < -1e-3


def test_free_draws_grow_linearly_whatever_is_least(best):
    """n_t = m (t + 1), r_t = (1 + 1/(t + 1))/(2m) for m → ∞: the same schedule is the least at every t."""
    t = np.arange(1, TIME + 1)
    for name in ("free, mean", "free, last"):
        assert np.exp(best[name]) == pytest.approx(t + 1, rel=1e-4)
    z = np.log(np.arange(1, TIME + 2))
    r = np.asarray(jax.jit(jc.theory.recursion)(np.exp(-z), 1e6 * np.exp(z)))
    assert 1e6 * r == pytest.approx(0.5 + 0.5 / np.arange(1, TIME + 2), rel=1e-4)


def test_at_constant_inflow_a_price_of_one_is_too_much(best):
    assert (best["dear"] == 0).all() and (best["nearly too dear"] > 0).all()


def test_the_last_risk_alone_spends_at_the_end_alone(best):
    assert (best["last"][: TIME - 3] == 0).all() and (np.diff(best["last"][-3:]) > 0).all()


def test_rules_are_whole_and_the_best_of_their_kind(module):
    m = 1e4 * FALLING  # so many that whole draws cost nothing
    with jax.enable_x64(True):
        n = np.asarray(jax.jit(functools.partial(module.rules, steps=STEPS))(jnp.asarray(m), PRICE))
    assert n.shape == (7, TIME + 1) and (n == np.rint(n)).all() and (n >= m).all() and (n[:, 0] == 1e6).all()
    value = lambda z: module.adjoint(m, z, PRICE)[0]
    law = lambda p: value(np.maximum(p[0] + p[1] * np.log(np.arange(1, TIME + 1)), 0))
    start, bounds = optimize.brute(law, [(0, 3), (-1, 3)], Ns=20, finish=None), [(0, 4), (-4, 4)]
    power = optimize.minimize(law, start, method="Nelder-Mead", bounds=bounds, options={"xatol": 1e-6, "fatol": 1e-9})
    constant = optimize.minimize_scalar(lambda z: value(np.full(TIME, z)), bounds=(0, 4))
    best, least, share = (value(np.log(n[rule, 1:] / m[1:])) for rule in (0, 3, 4))
    assert least == pytest.approx(power.fun, rel=1e-6) and share == pytest.approx(constant.fun, rel=1e-6)
    assert share > least > best


def test_golden_weights_follow_their_recursion(module):
    with jax.enable_x64(True):
        exact = jc.theory.weighted_recursion(module.GOLDEN, 100.0, 100.0, TIME, 0.01)
    mine = module.exact(STEADY, np.append(100.0, np.full(TIME, 200.0)), module.NAMES[-1])
    assert mine == pytest.approx(np.asarray(exact), rel=1e-12)
