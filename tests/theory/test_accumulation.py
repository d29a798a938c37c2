"""Pooled, subsampled and retained data against closed forms, tabulated values and a plain simulation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcollapse as jc
from jaxcollapse import theory

C = jc.Constant
P = np.array([0.4, 0.3, 0.2, 0.1])


@pytest.fixture
def x64():
    with jax.enable_x64(True):
        yield


def slope(r, early, late):
    return float(jnp.log(r[late] / r[early]) / np.log(late / early))


def test_accumulation_ends_at_the_sinc(x64):
    limit = {2: 0.641812, 10: 0.156564, 100: 0.0163684}
    for n, expected in limit.items():
        assert float(theory.accumulation_limit(n)) == pytest.approx(expected, abs=5.1e-7)
        r = theory.accumulate(C(0.0), C(n), 200_000)[-1]
        assert float(r) == pytest.approx(float(theory.accumulation_limit(n)), rel=1e-4)
    assert float(10 * theory.accumulate(C(0.0), C(10), 200_000)[-1]) == pytest.approx(1.56564, rel=1e-4)
    assert float(100 * theory.accumulate(C(0.0), C(100), 200_000)[-1]) == pytest.approx(1.63684, rel=1e-4)


def test_accumulation_limit_runs_from_one_to_pi_squared_over_six(precision):
    assert float(theory.accumulation_limit(1)) == pytest.approx(1, abs=1e-6)
    assert float(1e7 * theory.accumulation_limit(1e7)) == pytest.approx(np.pi**2 / 6, rel=1e-6)
    n = np.array([39.4, 39.6])  # where the series takes over
    exact = 1 - np.sin(np.pi / np.sqrt(n)) / (np.pi / np.sqrt(n))
    np.testing.assert_allclose(theory.accumulation_limit(n), exact, rtol=1e-9 if precision == "x64" else 1e-5)


def test_accumulation_reaches_its_tabulated_risk(x64):
    assert float(theory.accumulate(C(0.0), C(20), 100)[-1]) == pytest.approx(0.0797878, abs=5.1e-8)


def test_accumulation_has_an_urn_transition(x64):
    for alpha, exponent in ((0.1, -0.200), (0.25, -0.499), (0.8, -1.000)):
        assert slope(theory.accumulate(C(alpha), C(10), 200_000), 20_000, 200_000) == pytest.approx(exponent, abs=0.005)
    for alpha, exponent in ((0.2, -0.8), (0.8, -2.0)):
        r = theory.accumulate(C(alpha), jc.PowerLaw(10.0, exponent=1.0), 200_000)
        assert slope(r, 20_000, 200_000) == pytest.approx(exponent, abs=0.005)


def test_accumulation_never_collapses(x64):
    for n in (C(2), jc.PowerLaw(2.0, exponent=2.0), jc.PowerLaw(50.0, exponent=-1.0)):
        assert float(theory.accumulate(C(0.0), n, 2000)[-1]) < 0.75


def test_forgetting_everything_is_replacement(x64):
    schedules = jc.PowerLaw(0.5, exponent=-0.5), jc.PowerLaw(9.0, exponent=0.3), 50
    for split in ("random", "fixed", "round"):
        leaky = theory.accumulate(*schedules, decay=0.0, split=split)
        np.testing.assert_allclose(leaky, theory.risk(*schedules, split), rtol=1e-12)
    np.testing.assert_allclose(theory.accumulate(*schedules, decay=1), theory.accumulate(*schedules), rtol=1e-12)


def test_subsampling_reaches_its_tabulated_risks(x64):
    r = 100 * theory.subsample(C(0.0), C(100), 19_999)
    expected = [1, 1.7437, 2.3719, 2.6235, 2.8714, 2.9001]
    np.testing.assert_allclose(r[np.array([0, 1, 4, 9, 99, 19_999])], expected, atol=5.1e-5)
    assert float(1e5 * theory.subsample(C(0.0), C(1e5), 20_000)[-1]) == pytest.approx(2.9346, abs=1e-3)
    assert float(20 * theory.subsample(C(0.0), C(20), 11)[-1]) == pytest.approx(2.562, abs=5e-4)


def test_retained_set_bounds_the_risk(x64):
    for synthetic, expected in ((20, 0.065574), (180, 0.071979), (2000, 0.073058)):
        r = theory.retained(C(0.0), jc.Piecewise((1,), (C(20), C(synthetic))), 1500)
        drift = 1 / (1 + 40 + 400 / synthetic)
        assert float(r[-1]) == pytest.approx(expected, abs=5.1e-7)
        assert float(r[-1]) == pytest.approx(1 / 20 + (1 - 1 / 20) * drift, rel=1e-9)
        assert float(r[-1]) < 0.073171


def test_resampled_originals_keep_the_risk_low(x64):
    r = theory.retained(C(0.1), C(100), 60, fraction=0.1)
    assert float(r[-1]) == pytest.approx(0.059296, abs=1e-6)
    np.testing.assert_allclose(theory.retained(C(0.0), C(100), 60, fraction=0), 1 - 0.99 ** np.arange(1, 62), rtol=1e-9)


def test_retained_mixture_is_never_better_than_its_set(x64):
    r = theory.retained_mixture(20, C(0.5), jc.PowerLaw(20.0, exponent=1.0), 5000)
    assert 1 / 20 < float(r[-1]) < 1 / 20 + 1e-4


def test_constant_inflow_halves_the_error_of_a_real_batch(x64):
    linear = theory.fresh_inflow(10, jc.PowerLaw(20.0, exponent=1.0), 100_000)
    assert float(linear[-1]) == pytest.approx(0.047620, abs=1e-5)
    frozen = theory.fresh_inflow(10, jc.PowerLaw(20.0, exponent=2.0), 20_000)[-1]
    limit = theory.phase(jc.PowerLaw(0.5, exponent=-2.0), jc.PowerLaw(20.0, exponent=2.0)).limit
    assert float(frozen) == pytest.approx(limit, abs=1e-5)


def reals(rng, alpha, n, split, lineages):
    """The number of real draws of each lineage."""
    if split == "random":
        return rng.binomial(n, alpha, lineages)
    if split == "fixed":
        return np.floor(alpha * n + rng.random(lineages)).astype(int)
    return np.full(lineages, int(np.rint(alpha * n)))


def without_replacement(rng, counts, m):
    return rng.multivariate_hypergeometric(counts, m)


def assert_simulated(frequencies, exact):
    errors = ((np.array(frequencies) - P) ** 2).sum(-1) / (1 - P @ P)
    z = (errors.mean(1) - np.asarray(exact)) / (errors.std(1) / np.sqrt(errors.shape[1]))
    assert abs(z).max() < 4.2, z


@pytest.mark.parametrize("split", ["random", "fixed", "round"])
@pytest.mark.parametrize("decay", [None, 0.6])
def test_accumulation_agrees_with_simulation(split, decay):
    rng, lineages, alpha, n = np.random.default_rng(1), 20_000, 0.13, np.array([11, 9, 14, 20, 6, 10])
    pool = rng.multinomial(n[0], P, lineages).astype(float)
    model, out = pool / n[0], [pool / n[0]]
    for size in n[1:]:
        k = reals(rng, alpha, size, split, lineages)
        pool = (1.0 if decay is None else decay) * pool + rng.multinomial(k, P) + rng.multinomial(size - k, model)
        model = pool / pool.sum(1, keepdims=True)
        out.append(model)
    schedule = lambda t: jnp.asarray(n)[t]
    assert_simulated(out, theory.accumulate(C(alpha), schedule, 5, decay=decay, split=split))


@pytest.mark.parametrize(("decay", "split"), [(None, "random"), (0.6, "random"), (None, "fixed")])
def test_subsampling_agrees_with_simulation(decay, split):
    rng, lineages, alpha, n = np.random.default_rng(2), 4000, 0.13, np.array([11, 9, 14, 20, 6, 10])
    pool = rng.multinomial(n[0], P, lineages)
    model, out = pool / n[0], [pool / n[0]]
    for size in n[1:]:
        k = reals(rng, alpha, size, split, lineages)
        pool = (1 if decay is None else decay) * pool + rng.multinomial(k, P) + rng.multinomial(size - k, model)
        if decay is None:
            shown = np.array([without_replacement(rng, row, size) for row in pool])
        else:
            shown = rng.multinomial(size, pool / pool.sum(1, keepdims=True))
        model = shown / size
        out.append(model)
    schedule = lambda t: jnp.asarray(n)[t]
    assert_simulated(out, theory.subsample(C(alpha), schedule, 5, decay=decay, split=split))


@pytest.mark.parametrize(("fraction", "split"), [(None, "fixed"), (0.3, "fixed"), (0.3, "round")])
def test_retention_agrees_with_simulation(fraction, split):
    rng, lineages, alpha, n = np.random.default_rng(3), 4000, 0.13, np.array([11, 9, 14, 20, 6, 10])
    first = rng.multinomial(n[0], P, lineages)
    m = n[0] if fraction is None else int(np.rint(fraction * n[0]))
    model, out = first / n[0], [first / n[0]]
    for size in n[1:]:
        synthetic = rng.multinomial(size - reals(rng, alpha, size, split, lineages), model)
        shown = np.array([without_replacement(rng, row, m) for row in first]) + synthetic
        model = shown / shown.sum(1, keepdims=True)
        out.append(model)
    schedule = lambda t: jnp.asarray(n)[t]
    assert_simulated(out, theory.retained(C(alpha), schedule, 5, fraction=fraction, split=split))


def test_float32_pools_agree_with_double():
    run = lambda f, **options: np.asarray(f(C(0.1), jc.PowerLaw(20.0, exponent=0.5), 2000, **options))
    leaky = {"decay": 0.9}
    cases = (theory.accumulate, {}), (theory.accumulate, leaky), (theory.subsample, {}), (theory.retained, {})
    for f, options in cases:
        single = run(f, **options)
        with jax.enable_x64(True):
            np.testing.assert_allclose(single, run(f, **options), rtol=2e-4)


def test_retention_without_any_data_keeps_the_model(x64):
    r = theory.retained(C(1.0), C(10), 5, fraction=0.0)
    np.testing.assert_allclose(r, 0.1, rtol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: theory.accumulate(C(1.5), C(10), 3), "alpha: got 1.5"),
        (lambda: theory.accumulate(C(0.5), C(10), 3, decay=1.5), "decay: got 1.5"),
        (lambda: theory.accumulate(C(0.5), C(10), 3, split="half"), "split: got 'half'"),
        (lambda: theory.subsample(C(0.5), C(0), 3), "n: got 0"),
        (lambda: theory.retained(C(0.5), C(10), 3, fraction=-0.1), "fraction: got -0.1"),
        (lambda: theory.retained(C(0.5), C(10), 3, split="random"), "split: got 'random'"),
        (lambda: theory.retained(C(0.5), C(10), 3, split="half"), "split: got 'half'"),
        (lambda: theory.retained_mixture(0, C(0.5), C(10), 3), "n: got 0"),
        (lambda: theory.fresh_inflow(11, C(10), 3), "size: got 11"),
        (lambda: theory.accumulation_limit(0.5), "n: got 0.5"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
