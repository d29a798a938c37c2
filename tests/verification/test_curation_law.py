"""Curation, smoothing, retrieval and temperature at their stated numbers of lineages. Run by hand:

    pytest tests/verification/test_curation_law.py

The whole file took seven minutes on two busy cores.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

import jaxcollapse as jc
from tests.helpers import assert_mean, t_bound


def models(loop, generations, lineages, key, record_at=None):
    record = lambda lineage, batch: lineage.model.probs
    _, p = jc.ensemble(loop, generations, lineages=lineages, key=jr.key(key), record=record, record_at=record_at)
    return np.asarray(p, np.float64)


def test_t23_contamination_floor():
    bad = np.array([0.4, 0.3, 0.1, 0.1, 0.1])
    curate = jc.Contaminate(bad, 1.0)
    loop = jc.Loop(jc.uniform(5), jc.Tabular(), jc.Replace(), jc.Constant(0.9), jc.Constant(10**6), curate)
    p = models(loop, 5, 2000, 23)
    risk = ((p - 0.2) ** 2).sum(-1)
    with jax.enable_x64(True):
        floor = float(jc.theory.contamination_floor(np.full(5, 0.2), bad, 0.1, 1e6))
    assert floor == pytest.approx(8.008e-4, abs=1e-7)
    assert_mean(risk, np.full(5, floor))
    assert abs(risk.mean() - floor) < 1e-6


def test_t24_smoothing():
    loop = jc.Loop(jc.zipf(5), jc.Tabular(smoothing=0.5), jc.Replace(), jc.Constant(0.0), jc.Constant(200))
    p, q = models(loop, 1500, 8000, 24, record_at=(1500,))[:, 0], np.asarray(jc.zipf(5).probs, np.float64)
    diversity, risk = 1 - (p**2).sum(-1), ((p - q) ** 2).sum(-1)
    assert_mean(diversity, 0.667357513)
    assert_mean(risk, 0.213371347)
    assert diversity.mean() == pytest.approx(0.66736, rel=0.01)
    assert risk.mean() == pytest.approx(0.21337, rel=0.03)


def test_t25_posterior_sampling_is_a_gibbs_sampler_of_the_prior():
    prior = np.array([0.5, 0.5, 1.0, 2.0])
    learner = jc.PosteriorSampling(jc.Tabular(smoothing=prior))
    loop = jc.Loop(jc.zipf(4), learner, jc.Replace(), jc.Constant(0.0), jc.Constant(30))
    p = models(loop, 300, 20_000, 25, record_at=(300,))[:, 0]
    assert_mean(p, prior / 4)
    np.testing.assert_allclose(p.mean(0), prior / 4, rtol=0.02)
    np.testing.assert_allclose(p.var(0), [0.021875, 0.021875, 0.0375, 0.05], rtol=0.04)
    for i, beta in enumerate(prior):
        assert stats.kstest(p[:, i], stats.beta(beta, 4 - beta).cdf).pvalue > 1e-4


@pytest.mark.parametrize(("temperature", "largest"), [(0.81, 0.25), (0.79, 0.6254854265)])
def test_t30_temperature(temperature, largest):
    curate = jc.Temperature(temperature)
    loop = jc.Loop(jc.uniform(4), jc.Tabular(), jc.Replace(), jc.Constant(0.2), jc.Constant(10**8), curate)
    p = models(loop, 1500, 64, 30, record_at=(1500,))[:, 0].max(-1)
    assert abs(p - largest).max() < 1e-3
    if temperature < 0.8:
        assert_mean(p, largest)


def test_small_noise_about_the_truth_is_that_of_the_linearised_map():
    """T > 1 − α: E‖P̂ − u‖² = (1 − 1/K)/(n (1 − c²)), c = (1 − α)/T, to leading order in 1/n."""
    loop = jc.Loop(
        jc.uniform(4), jc.Tabular(), jc.Replace(), jc.Constant(0.2), jc.Constant(10**6), jc.Temperature(0.9)
    )
    p = models(loop, 200, 4000, 31, record_at=(200,))[:, 0]
    assert_mean(((p - 0.25) ** 2).sum(-1), 0.75 / 1e6 / (1 - (0.8 / 0.9) ** 2))


def test_a_pull_to_a_base_is_the_formula_of_section_5_10():
    base, q, n = np.array([0.1, 0.1, 0.2, 0.6]), np.asarray(jc.zipf(4).probs, np.float64), 200
    loop = jc.Loop(jc.zipf(4), jc.Tabular(smoothing=3.0 * base), jc.Replace(), jc.Constant(0.01), jc.Constant(n))
    p = models(loop, 400, 8000, 32, record_at=(400,))[:, 0]
    with jax.enable_x64(True):
        exact = jc.theory.smoothed(loop.alpha, loop.n, q, 3.0 * base, 400)
        limit = jc.theory.dirichlet_risk(jc.theory.dirichlet_limit(2.0, q, 3.0 * base), q)
    risk = ((p - q) ** 2).sum(-1)
    assert_mean(risk, float(exact.risk[-1]))
    assert_mean(p, np.asarray(exact.mean)[-1])
    assert risk.mean() == pytest.approx(float(limit), rel=0.03)


@pytest.mark.parametrize("store", ["the truth", "the first batch"])
def test_retrieval_moves_the_phase_boundary_as_the_mapping_says(store):
    """λ = ¼ on a 3 × 3 grid: collapse (r > ½) in three cells without a datastore, in none with one."""
    p_star, lineages = jc.zipf(20), 1000
    h_star, q = float(jc.metrics.diversity(p_star.probs)), np.asarray(p_star.probs, np.float64)
    schedules = lambda a, b: (jc.PowerLaw(0.5, exponent=-a), jc.PowerLaw(20.0, exponent=b))

    def experiment(a, b, weight):
        learner = jc.Retrieval(jc.Tabular(), weight, p_star.probs if store == "the truth" else None)
        loop = jc.Loop(p_star, learner, jc.Replace(), *schedules(a, b))
        record = lambda lineage, batch: jnp.stack([lineage.model.probs, lineage.model.parametric.probs])
        return jc.ensemble(loop, 300, lineages=lineages, key=jr.key(9), record=record, record_at=(300,))[1][:, 0]

    def exact(a, b, weight):
        size = jnp.inf if store == "the truth" else None
        found = jc.theory.retrieval(*schedules(a, b), 300, weight, size)
        return jnp.stack([found.released[-1], found.parametric[-1]])

    grid = [(a, b, w) for w in (0.0, 0.25) for a in (0.25, 1.0, 1.75) for b in (0.0, 0.5, 1.25)]
    columns = [jnp.asarray(x, float) for x in zip(*grid, strict=True)]
    p = np.asarray(jax.jit(lambda *x: jax.lax.map(lambda x: experiment(*x), x))(*columns), np.float64)
    with jax.enable_x64(True):
        columns = [jnp.asarray(np.array(x), float) for x in zip(*grid, strict=True)]
        r = np.asarray(jax.jit(jax.vmap(exact))(*columns))
    risk = ((p - q) ** 2).sum(-1) / h_star
    mean, se = risk.mean(1), risk.std(1, ddof=1) / np.sqrt(lineages)
    testable = lineages * (1 - r) >= 20
    z = ((mean - r) / se)[testable]
    assert abs(z).max() < t_bound(z.size, lineages)
    collapsed = r[:, 1].reshape(2, 9) > 0.5
    assert collapsed[0].sum() == 3 and collapsed[1].sum() == 0
    np.testing.assert_array_equal(mean[:, 1].reshape(2, 9) > 0.5, collapsed)


def test_few_draws_have_the_prior_as_their_stationary_law():
    """T25 in small: β = (½, ½, 1, 2), n = 5, far from the start, by moments and by the law of one token."""
    prior = np.array([0.5, 0.5, 1.0, 2.0])
    learner = jc.PosteriorSampling(jc.Tabular(smoothing=prior))
    loop = jc.Loop(jc.uniform(4), learner, jc.Replace(), jc.Constant(0.0), jc.Constant(5))
    record = lambda lineage, batch: lineage.model.probs
    _, p = jc.ensemble(loop, 40, lineages=4000, key=jr.key(1), record=record, record_at=(1, 40))
    p = np.asarray(p, np.float64)
    assert_mean(p[:, 1], prior / 4)
    assert_mean((p[:, 1] - prior / 4) ** 2, np.array([0.021875, 0.021875, 0.0375, 0.05]))
    assert stats.kstest(p[:, 1, 2], stats.beta(1, 3).cdf).pvalue > 1e-3
    with jax.enable_x64(True):
        exact = jc.theory.smoothed(loop.alpha, loop.n, np.full(4, 0.25), prior, 1, "sample")
    assert_mean(p[:, 0], exact.mean[1])
    assert_mean(((p[:, 0] - 0.25) ** 2).sum(-1), exact.risk[1])


def relative(p, q):
    return ((np.asarray(p, np.float64) - q) ** 2).sum(-1) / (1 - (q**2).sum())


@pytest.fixture(scope="module")
def retrieved():
    """Released and parametric tables of lineages that keep their own first batch, `P L T 2 v`, for two weights."""

    def experiment(weight):
        learner = jc.Retrieval(jc.Tabular(), weight)
        loop = jc.Loop(jc.zipf(6), learner, jc.Replace(), jc.Constant(0.05), jc.Constant(15))
        record = lambda lineage, batch: jnp.stack([lineage.model.probs, lineage.model.parametric.probs])
        return jc.ensemble(loop, 12, lineages=4000, key=jr.key(0), record=record)[1]

    return np.asarray(jax.jit(jax.vmap(experiment))(jnp.array([0.0, 0.4, 1.5])))


@pytest.mark.parametrize(("case", "weight"), [(0, 0.0), (1, 0.4)])
def test_risks_of_retrieval_are_the_exact_ones(retrieved, case, weight):
    q = np.asarray(jc.zipf(6).probs, np.float64)
    with jax.enable_x64(True):
        exact = jc.theory.retrieval(jc.Constant(0.05), jc.Constant(15), 12, weight)
        if weight == 0:
            np.testing.assert_allclose(exact.released, jc.theory.risk(jc.Constant(0.05), jc.Constant(15), 12))
    assert_mean(relative(retrieved[case, :, :, 0], q), np.asarray(exact.released)[1:])
    assert_mean(relative(retrieved[case, :, :, 1], q), np.asarray(exact.parametric)[1:])


def test_a_retrieval_weight_out_of_range_marks_the_lineage(retrieved):
    assert np.isnan(retrieved[2]).all() and np.isfinite(retrieved[:2]).all()
