"""The variance of a lineage's squared error against the whole multinomial chain and against simulation."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcollapse as jc
from jaxcollapse import theory

LAWS = ([0.5, 0.3, 0.2], [0.6, 0.4], [1 / 3, 1 / 3, 1 / 3], [0.4, 0.3, 0.2, 0.1])


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def zipf(k):
    p = 1 / np.arange(1.0, k + 1)
    return p / p.sum()


def whole_chain_variance(alpha, sizes, p):
    """Var ‖P̂_t − p‖² over all count vectors, generation by generation."""
    out, law, before = [], None, None
    for t, n in enumerate(sizes):
        counts = np.array([s for s in itertools.product(range(n + 1), repeat=len(p)) if sum(s) == n])
        ways = np.array([math.factorial(n) / math.prod(map(math.factorial, s)) for s in counts])
        if t == 0:
            law = ways * np.prod(p**counts, 1)
        else:
            mixtures = alpha[t] * p + (1 - alpha[t]) * before
            law = sum(weight * ways * np.prod(q**counts, 1) for weight, q in zip(law, mixtures, strict=True))
        before = counts / n
        error = ((before - p) ** 2).sum(1)
        out.append(law @ error**2 - (law @ error) ** 2)
    return np.array(out)


@pytest.mark.parametrize("p", LAWS)
def test_variance_is_that_of_the_whole_multinomial_chain(x64, p):
    p, alpha, sizes = np.array(p), [1, 0.3, 0.05, 0.0, 0.8, 0.1], [5, 8, 4, 7, 1, 6]
    got = theory.risk_variance_recursion(jnp.array(alpha), jnp.array(sizes), jnp.array(p))
    np.testing.assert_allclose(got, whole_chain_variance(alpha, sizes, p), rtol=1e-12, atol=1e-15)


def test_variance_agrees_with_simulation():
    rng, p, lineages = np.random.default_rng(0), zipf(20), 20_000
    frequency = rng.multinomial(30, p, lineages) / 30
    errors = [((frequency - p) ** 2).sum(1)]
    for _ in range(20):
        frequency = rng.multinomial(30, 0.1 * p + 0.9 * frequency) / 30
        errors.append(((frequency - p) ** 2).sum(1))
    errors = np.array(errors)
    centred = (errors - errors.mean(1, keepdims=True)) ** 2
    with jax.enable_x64(True):
        exact = np.asarray(theory.risk_variance(jc.Constant(0.1), jc.Constant(30), p, 20))
    z = (centred.mean(1) - exact) / (centred.std(1) / np.sqrt(lineages))
    assert abs(z).max() < 4.5


def test_collapsed_variance_is_that_of_the_surviving_token(x64):
    p = zipf(5)
    survivor = 1 + (p**2).sum() - 2 * p
    got = theory.risk_variance(jc.Constant(0.0), jc.Constant(3), jnp.array(p), 200)[-1]
    assert float(got) == pytest.approx(p @ survivor**2 - (p @ survivor) ** 2, rel=1e-9)
    uniform = theory.risk_variance(jc.Constant(0.0), jc.Constant(1), jnp.full(5, 0.2), 9)
    assert float(uniform[-1]) == pytest.approx(0, abs=1e-15)


def test_standard_error_survives_where_a_sample_has_none(x64):
    args = jc.PowerLaw(0.5, exponent=-2.0), jc.PowerLaw(20.0, exponent=0.0)
    variance = theory.risk_variance(*args, jnp.full(10, 0.1), 300)[-1]
    assert 0 < float(variance) < 1e-4


def test_float32_variance_stays_within_its_documented_error():
    for p in (zipf(50), np.full(10, 0.1)):
        for a, b in ((0.0, 0.0), (1.0, 1.5), (1.5, 0.0)):
            args = jc.PowerLaw(0.5, exponent=-a), jc.PowerLaw(20.0, exponent=b), jnp.array(p), 300
            single = np.asarray(theory.risk_variance(*args))
            with jax.enable_x64(True):
                double = np.asarray(theory.risk_variance(*args[:2], p, 300))
            assert abs(single - double).max() < 1e-6 * (1 - (p**2).sum()) ** 2


def test_point_mass_has_no_variance(precision):
    variance = theory.risk_variance(jc.Constant(0.3), jc.Constant(9), jnp.array([1.0, 0.0]), 20)
    np.testing.assert_allclose(variance, 0, atol=1e-7)


def test_bad_schedules_are_named():
    with pytest.raises(ValueError, match="alpha: got 2"):
        theory.risk_variance(jc.Constant(2.0), jc.Constant(9), jnp.array([0.5, 0.5]), 20)
    with pytest.raises(ValueError, match="n: got 0"):
        theory.risk_variance_recursion(jnp.array([1.0, 0.5]), jnp.array([3, 0]), jnp.array([0.5, 0.5]))
