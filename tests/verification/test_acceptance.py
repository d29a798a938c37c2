"""The Monte Carlo acceptance tests of the theory, at their stated numbers of lineages. Run by hand:

    pytest tests/verification

Each test says which exact number it aims at; the whole file took 4½ minutes on two busy cores.
"""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

import jaxcollapse as jc
from tests.helpers import assert_mean, t_bound

RETAINED = lambda n0, n: jc.Piecewise((1,), (jc.Constant(n0), jc.Constant(n)))


def loop(target, alpha, n, regime=None, **options):
    return jc.Loop(target, jc.Tabular(**options.pop("learner", {})), regime or jc.Replace(), alpha, n, **options)


def relative_risk(looped):
    p_star = looped.target.probs
    scale = 1 / jc.metrics.diversity(p_star)
    return lambda lineage, batch: scale * jc.metrics.squared_error(lineage.model.probs, p_star)


def relative_risks(looped, generations, lineages, key):
    return np.asarray(
        jc.ensemble(looped, generations, lineages=lineages, key=key, record=relative_risk(looped))[1], np.float64
    )


def test_t1_t2_t3_risk_covariance_and_conservation(precision):
    q = jc.zipf(20)
    looped = loop(q, jc.PowerLaw(0.6, exponent=-0.4), lambda t: 50 * jnp.sqrt(t.astype(float) + 1))
    _, p = jc.ensemble(looped, 40, lineages=20_000, key=jr.key(1), record=lambda lineage, batch: lineage.model.probs)
    p, q = np.asarray(p, np.float64), np.asarray(q.probs, np.float64)
    h_star = 1 - (q**2).sum()
    with jax.enable_x64(True):
        r = np.asarray(jc.theory.risk(looped.alpha, looped.n, 40))[1:]
    risk = ((p - q) ** 2).sum(-1)
    assert r[-1] == pytest.approx(0.0122260, rel=1e-4)
    assert risk.mean(0)[-1] / h_star == pytest.approx(r[-1], rel=0.015)
    assert_mean(risk / h_star, r)
    assert_mean(risk + 1 - (p**2).sum(-1), np.full(40, h_star))
    assert_mean(p, np.broadcast_to(q, (40, 20)))
    for t in (0, 9, 39):
        exact = r[t] * (np.diag(q) - np.outer(q, q))
        centred = p[:, t] - q
        assert np.linalg.norm(centred.T @ centred / len(p) - exact) < 0.05 * np.linalg.norm(exact)
    chi_square = ((p - q) ** 2 / q).sum(-1).mean(0)
    np.testing.assert_allclose(chi_square / 19, r, rtol=0.02)


def test_t4_plateau(precision):
    looped = loop(jc.zipf(50), jc.Constant(0.1), jc.Constant(100))
    risk = relative_risks(looped, 80, 4000, jr.key(4))
    curve = {1: 0.018019, 5: 0.037057, 10: 0.046029, 20: 0.049990, 50: 0.050479}
    assert_mean(risk[:, np.array([*curve]) - 1], np.array([*curve.values()]))
    assert risk[:, -1].mean() == pytest.approx(0.0504796, rel=0.03)


def test_t5_heterozygosity():
    risk = relative_risks(loop(jc.zipf(50), jc.Constant(0.0), jc.Constant(100)), 100, 4000, jr.key(5))
    assert_mean(risk[:, [9, 49, 99]], [0.104662, 0.401044, 0.637628])


def test_t7_fixation():
    q = jc.zipf(5)
    looped = loop(q, jc.Constant(0.0), jc.Constant(100))
    record = lambda lineage, batch: lineage.model.probs.max() == 1.0
    last, fixed = jc.ensemble(looped, 2500, lineages=8000, key=jr.key(7), record=record)
    fixed = np.asarray(fixed)
    assert fixed[:, -1].all() and (fixed[:, 1:] >= fixed[:, :-1]).all()
    assert_mean(np.asarray(last.model.probs), np.asarray(q.probs))
    steps = (~fixed).sum(1) + 2.0  # the first sample is step 1, generation t is step t + 1
    assert_mean(steps, np.asarray(165.566))
    assert abs(steps.mean() - 165.566) < 5
    for t, exact in ((100, 0.6946), (200, 0.2797), (300, 0.1037)):
        assert (steps > t).mean() == pytest.approx(exact, abs=0.02)


def test_t9_stationary_law_is_dirichlet():
    p = np.array([0.5, 0.3, 0.2])
    looped = loop(jc.Categorical(p), jc.Constant(0.005), jc.Constant(1000))
    last, _ = jc.ensemble(looped, 1500, lineages=4000, key=jr.key(9), record=lambda lineage, batch: lineage.t)
    final = np.asarray(last.model.probs, np.float64)
    np.testing.assert_allclose(((final - p) ** 2).mean(0), 0.09120 * p * (1 - p), rtol=0.08)
    for i in range(3):
        assert stats.kstest(final[:, i], stats.beta(10 * p[i], 10 * (1 - p[i])).cdf).statistic <= 0.035


def test_t11_accumulation_without_real_data():
    looped = loop(jc.zipf(30), jc.Constant(0.0), jc.Constant(20), jc.Accumulate())
    risk = relative_risks(looped, 99, 4000, jr.key(11))
    assert_mean(risk[:, -1], np.asarray(0.0797878))


def test_t13_accumulate_and_subsample():
    looped = loop(jc.zipf(30), jc.Constant(0.0), jc.Constant(20), jc.Subsample(jc.Accumulate()))
    risk = relative_risks(looped, 11, 3000, jr.key(13))
    assert 20 * risk[:, -1].mean() == pytest.approx(2.562, abs=0.09)


@pytest.mark.parametrize(
    ("n_s", "generations", "exact"), [(20, 300, 0.065574), (180, 600, 0.071979), (2000, 1500, 0.073058)]
)
def test_t14_a_retained_real_set_stops_collapse(n_s, generations, exact):
    looped = loop(jc.zipf(20), jc.Constant(0.0), RETAINED(20, n_s), jc.Anchor())
    risk = relative_risks(looped, generations, 8000, jr.key(14))[:, -1]
    assert_mean(risk, np.asarray(exact))
    assert risk.mean() == pytest.approx(exact, rel=0.02)


def test_t15_a_tenth_of_the_originals_is_six_times_the_risk_and_none_is_collapse():
    tenth = loop(jc.zipf(20), jc.Constant(0.0), RETAINED(100, 90), jc.Anchor(fraction=0.1))
    assert relative_risks(tenth, 60, 1500, jr.key(15))[:, -1].mean() == pytest.approx(0.059296, rel=0.06)
    labelled = loop(jc.zipf(20), jc.Constant(0.1), jc.Constant(100), jc.Anchor(fraction=0.1), split="fixed")
    assert relative_risks(labelled, 60, 1500, jr.key(16))[:, -1].mean() == pytest.approx(0.059296, rel=0.06)
    none = loop(jc.zipf(20), jc.Constant(0.0), jc.Constant(100))
    assert_mean(relative_risks(none, 60, 1500, jr.key(17))[:, -1], np.asarray(1 - 0.99**61))


PHASE_MAP = {
    (0, 0): 0.06557, (0.5, 0): 0.47690, (1.5, 0): 0.99594, (0.5, 0.5): 0.04844, (1, 0.5): 0.39576,
    (0.25, 0.75): 0.00308, (0.5, 1): 0.0030075, (1, 1): 0.04789, (1, 1.5): 0.0056140, (1.5, 1.5): 0.05136,
}  # fmt: skip


def test_t20_ten_points_of_the_phase_map():
    def final(decay, growth):
        alpha, n = jc.PowerLaw(0.5, exponent=-decay, cap=1), jc.PowerLaw(20.0, exponent=growth)
        looped = loop(jc.zipf(50), alpha, n)
        _, risk = jc.ensemble(looped, 300, lineages=3000, key=jr.key(20), record=relative_risk(looped))
        return risk[:, -1]

    run = jax.jit(final)
    for (a, b), exact in PHASE_MAP.items():
        risk = np.asarray(run(float(a), float(b)), np.float64)
        with jax.enable_x64(True):
            schedules = jc.PowerLaw(0.5, exponent=-a), jc.PowerLaw(20.0, exponent=b)
            r = float(jc.theory.risk(*schedules, 300)[-1])
            variance = float(jc.theory.risk_variance(*schedules, jc.zipf(50).probs, 300)[-1])
        assert r == pytest.approx(exact, rel=2e-3)
        h_star = 1 - (np.asarray(jc.zipf(50).probs, float) ** 2).sum()
        assert abs(risk.mean() - r) < 4 * np.sqrt(variance / 3000) / h_star


@pytest.mark.parametrize(("alpha", "exact"), [(0.5, 305.5), (0.1, 180.0), (0.02, 80.4)])
def test_t26_distinct_tokens_alive(alpha, exact):
    looped = loop(jc.zipf(1000), jc.Constant(alpha), jc.Constant(1000))
    record = lambda lineage, batch: jc.metrics.surviving(lineage.model.probs)
    _, alive = jc.ensemble(looped, 400, lineages=400, key=jr.key(26), record=record)
    assert np.asarray(alive)[:, -1].mean() == pytest.approx(exact, abs=3)


T8 = {  # expected distinct tokens at t = 0..9
    (1, 2.7): (28.203, 23.570, 20.942, 19.150, 17.812, 16.758, 15.895, 15.170, 14.548, 14.007),
    (2, 5.0): (10.539, 9.397, 8.706, 8.213, 7.833, 7.524, 7.265, 7.043, 6.850, 6.678),
}


@pytest.mark.parametrize(("shift", "power"), T8)
def test_t8_distinct_tokens_of_steep_zipf_laws(shift, power):
    weights = (np.arange(1, 1001) + float(shift)) ** -power  # i from 1
    looped = loop(jc.from_counts(weights), jc.Constant(0.0), jc.Constant(1000))
    record = lambda lineage, batch: jc.metrics.surviving(lineage.model.probs)
    _, alive = jc.ensemble(looped, 9, lineages=20_000, key=jr.key(8), record=record)
    first = (1 - (1 - weights / weights.sum()) ** 1000).sum()
    exact = T8[shift, power]
    assert first == pytest.approx(exact[0], abs=6e-4)
    alive = np.asarray(alive, float)
    t = (alive.mean(0) - exact[1:]) / (alive.std(0) / np.sqrt(len(alive)))
    assert np.abs(t).max() <= t_bound(9, len(alive))


def test_t27_real_draws_that_are_all_new():
    """Homozygosity 1 / (1 + (n − 1) α (2 − α)) for infinitely many tokens; 81.3 distinct ones at n = 1000, α = 0.01."""
    looped = loop(jc.uniform(20_000), jc.Constant(0.01), jc.Constant(1000))
    record = lambda lineage, batch: (
        1 - jc.metrics.diversity(lineage.model.probs),
        jc.metrics.surviving(lineage.model.probs),
    )
    _, (same, alive) = jc.ensemble(looped, 300, lineages=640, key=jr.key(27), record=record)
    assert np.asarray(same)[:, -1].mean() == pytest.approx(0.04789, rel=0.05)
    assert np.asarray(alive)[:, -1].mean() == pytest.approx(81.3, abs=2.5)


def test_tokens_alive_at_stationarity_of_a_thousand_zipf_tokens(precision):
    """691.4 ± 1 of 1000 at n = 10⁴, α = 0.1; one lineage's standard deviation is 13.6."""
    looped = loop(jc.zipf(1000), jc.Constant(0.1), jc.Constant(10_000))
    record = lambda lineage, batch: jc.metrics.surviving(lineage.model.probs)
    _, alive = jc.ensemble(looped, 150, lineages=3000, key=jr.key(691), record=record)
    alive = np.asarray(alive, float)[:, -1]
    print(f"{alive.mean():.2f} ± {alive.std() / np.sqrt(3000):.2f}")
    assert alive.mean() == pytest.approx(691.4, abs=1)
    assert alive.std() == pytest.approx(13.6, abs=4 * 13.6 / np.sqrt(2 * 3000))


def test_the_bound_for_one_comparison_is_4():
    assert t_bound(1, 10) == 4.0 and t_bound(625, 64) == pytest.approx(5.3, abs=0.05)
