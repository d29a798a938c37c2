"""Drift, lost tokens and missing mass in the loop, against exact laws at length. Run by hand:

    pytest tests/verification/test_drift_law.py
"""

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

import jaxcollapse as jc
from jaxcollapse import theory
from tests.helpers import assert_mean, t_bound

C = jc.Constant


def loop(target, alpha, n):
    return jc.Loop(target, jc.Tabular(), jc.Replace(), alpha, n)


def counts(lineage, batch):
    return batch.pooled.counts


@pytest.mark.parametrize("alpha", [0.0, 0.05, 0.6])
def test_the_loop_has_the_full_law_of_the_chain(precision, alpha):
    """One token against the rest, merged from three: the law of its count at t = 1, 10, 60, and the stationary one."""
    p, n, lineages = np.array([0.2, 0.5, 0.3]), 25, 40_000
    looped = loop(jc.Categorical(p), C(alpha), C(n))
    _, drawn = jc.ensemble(looped, 60, lineages=lineages, key=jr.key(3), record=counts, record_at=(1, 10, 60))
    observed = np.asarray(drawn)[..., [0, 2]].sum(-1)
    chain = theory.two_token_chain(0.5, alpha, n)
    laws = [chain.law(t) for t in (1, 10, 60)]
    if alpha == 0.6:
        laws[-1] = chain.stationary()
    for i, law in enumerate(laws):
        assert chi_square_p(np.bincount(observed[:, i], minlength=n + 1), law) > 1e-3 / 9


def test_absorption_has_its_whole_law(precision):
    """Two tokens, α = 0: which one wins, when, and when given that it wins."""
    p, n, lineages = 0.2, 30, 30_000
    target = jc.Categorical(np.array([p, 1 - p]))
    record = lambda lineage, batch: batch.pooled.counts[0]
    _, count = jc.ensemble(loop(target, C(0.0), C(n)), 600, lineages=lineages, key=jr.key(4), record=record)
    count, chain = np.asarray(count), theory.two_token_chain(p, 0.0, n)
    won, lost = (count == n)[:, -1], (count == 0)[:, -1]
    assert won.mean() + lost.mean() > 1 - 1e-4
    at = np.array([1, 5, 20, 50, 100, 200])
    for state, exact in ((n, chain.first_time_law((n,), 600)), (0, chain.first_time_law((0,), 600))):
        assert_mean((count == state)[:, at - 1].astype(float), exact[at])
    times = theory.conditional_times(np.array([p]), n)
    absorbed = 2.0 + ((count > 0) & (count < n)).sum(1)  # samples: generation t is sample t + 1
    for mask, mean in ((won, times.fixation[0]), (lost, times.loss[0])):
        sample = absorbed[mask]
        # The record starts at t = 1: lineages already absorbed at t = 0 count one sample too many.
        state = n if mask is won else 0
        early = chain.first[state] / chain.first_time_law((state,), 600)[-1]
        assert abs(sample.mean() - early - mean) < 4 * sample.std() / np.sqrt(len(sample))


def test_fixation_of_five_tokens_at_thirty_times():
    """P(T > t) of K = 5 Zipf tokens at n = 40, with its bracket."""
    target, n, lineages = jc.zipf(5), 40, 20_000
    record = lambda lineage, batch: (lineage.model.probs.max() < 1).astype(float)
    _, mixed = jc.ensemble(loop(target, C(0.0), C(n)), 240, lineages=lineages, key=jr.key(5), record=record)
    mixed, at = np.asarray(mixed), np.arange(8, 241, 8)
    exact = 1 - theory.additive(lambda x, p: x == 1, C(0.0), C(n), np.asarray(target.probs, float), 240)
    assert_mean(mixed[:, at - 1], exact[at])
    tail = theory.fixation_tail(target.probs, C(n), 240)
    assert (tail.low <= exact * (1 + 1e-4)).all() and (exact <= tail.high * (1 + 1e-4)).all()


T29 = (500, 1000, 2000, 4000)


def test_t29_turnover_of_the_dominant_token():
    """K = 5, n = 20, α = t^−a/2: for ever at a = 1, ln t, and almost none at a = 1.5; 0.277 and 0.333 a doubling."""
    target, lineages = jc.uniform(5), 3000

    def changes(decay, threshold):
        record = lambda lineage, batch: jc.metrics.dominant(lineage.model.probs, threshold)
        alpha = jc.PowerLaw(0.5, exponent=-decay)
        _, ids = jc.ensemble(loop(target, alpha, C(20)), 4000, lineages=lineages, key=jr.key(29), record=record)
        return np.stack([np.asarray(jc.metrics.turnover(ids[:, :t])) for t in T29], -1).astype(float)

    wandering, settled = changes(1.0, 1.0), changes(1.5, 1.0)
    steps = np.diff(wandering, axis=1)
    leading = np.diff(np.asarray(theory.turnover(target.probs, jc.PowerLaw(0.5, exponent=-1.0), 4000))[list(T29)])
    print("changes at t:", wandering.mean(0), "a doubling:", steps.mean(0), "leading order:", leading)
    se = steps.std(0) / np.sqrt(lineages)
    assert (abs(steps.mean(0) - leading) < 4 * se + leading * 2 * 20 / np.array(T29[:-1])).all()
    assert abs(steps.mean(0) - 0.28).max() < 0.1
    late = np.diff(settled, axis=1).mean(0)
    print("a = 1.5:", settled.mean(0), late)
    assert late[-1] < 0.03
    nine = np.diff(changes(1.0, 0.9), axis=1).mean(0)
    print("frequency 0.9:", nine)
    assert abs(nine - 0.33).max() < 0.1


@pytest.mark.parametrize("threshold", [0.9, 1.0])
def test_turnover_of_two_tokens_is_exact(threshold):
    target, alpha = jc.Categorical(np.array([0.3, 0.7])), jc.PowerLaw(0.5, exponent=-1.0)
    record = lambda lineage, batch: jc.metrics.dominant(lineage.model.probs, threshold)
    looped = loop(target, alpha, C(20))
    _, ids = jc.ensemble(looped, 1000, lineages=20_000, key=jr.key(30), record=record)
    at = (10, 30, 100, 300, 1000)
    got = np.stack([np.asarray(jc.metrics.turnover(ids[:, :t])) for t in at], -1)
    # From t = 1 on: what was held at t = 0 is not recorded, so that changes 0 → 1 are not seen.
    late = got[:, 1:] - got[:, :1]
    exact = theory.two_token_turnover(0.3, alpha, C(20), 1000, threshold)
    assert_mean(late, exact[list(at[1:])] - exact[at[0]])


SCHEDULES = {
    "decaying share": (jc.PowerLaw(0.5, exponent=-0.5), C(400)),
    "growing samples": (jc.PowerLaw(0.5, exponent=-0.5), jc.PowerLaw(100.0, exponent=0.5)),
    "real data come late": (jc.Piecewise((10,), (C(0.0), C(0.3))), C(400)),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_effective_draws_predict_the_loss_of_a_loop(name):
    """Missing mass and distinct tokens of 2000 Zipf tokens at t = 30 from F_t alone, to the order of 2/n."""
    target, (alpha, n) = jc.zipf(2000), SCHEDULES[name]
    q = target.probs
    record = lambda lineage, batch: (
        jc.metrics.missing_mass(lineage.model.probs, q),
        jc.metrics.surviving(lineage.model.probs),
    )
    _, (missing, alive) = jc.ensemble(
        loop(target, alpha, n), 30, lineages=2000, key=jr.key(31), record=record, record_at=(1, 5, 30)
    )
    draws = theory.effective_draws(alpha, n, 30)[jnp.array([1, 5, 30])]
    for sample, expected in ((missing, theory.missing_mass(q, draws)), (alive, theory.distinct(q, draws))):
        sample = np.asarray(sample, float)
        se = sample.std(0) / np.sqrt(len(sample))
        gap = sample.mean(0) - np.asarray(expected)
        print(name, sample.mean(0), expected, gap / se)
        assert (abs(gap) < t_bound(3, 2000) * se + 2 / 100 * np.asarray(expected)).all()


@pytest.mark.parametrize(("real", "draws"), [(0.0, 300), (0.0, 30_000), (0.05, 30_000), (0.05, 300_000)])
def test_a_model_trained_on_a_model_and_the_return_to_the_clean_law(real, draws):
    """T draws of a model of T_0 = 1000, with a share of real ones: F = π T + T_0 (1 − e^(−(1 − π) T/T_0))."""
    target, n = jc.zipf(20_000, exponent=1.5), jc.Piecewise((1,), (C(1000), C(draws)))
    record = lambda lineage, batch: jc.metrics.missing_mass(lineage.model.probs, target.probs)
    _, missing = jc.ensemble(loop(target, C(real), n), 1, lineages=1000, key=jr.key(32), record=record)
    missing, f = np.asarray(missing, float)[:, 0], theory.retraining_draws(float(draws), 1000.0, real)
    expected = float(theory.missing_mass(target.probs, f))
    se = missing.std() / np.sqrt(len(missing))
    print(f"T = {draws}, π = {real}: F = {float(f):.1f}, {missing.mean():.5f} ± {se:.5f}, expected {expected:.5f}")
    assert abs(missing.mean() - expected) < 4 * se + 2e-3 * expected


def test_a_million_tokens():
    """Zipf's law with β = 1.2 on 10⁶ tokens, n = 10⁵: distinct tokens and missing mass after 3 generations."""
    target, n = jc.zipf(1_000_000, exponent=1.2), 100_000
    record = lambda lineage, batch: (
        jc.metrics.missing_mass(lineage.model.probs, target.probs),
        jc.metrics.surviving(lineage.model.probs),
        jc.metrics.hapaxes(batch.pooled.counts),
    )
    _, (missing, alive, once) = jc.ensemble(loop(target, C(0.1), C(n)), 3, lineages=24, key=jr.key(33), record=record)
    f, h = theory.survival_factor(0.1, 3), theory.hapax_factor(0.1, 3)
    expected = theory.missing_mass(target.probs, n * f), theory.distinct(target.probs, n * f)
    for sample, value in ((missing, expected[0]), (alive, expected[1]), (once, n * h * expected[0])):
        sample = np.asarray(sample, float)[:, -1]
        se = sample.std(ddof=1) / np.sqrt(len(sample))
        gap = sample.mean() - float(value)
        print(f"{sample.mean():.6g} ± {se:.2g}, expected {float(value):.6g}, z {gap / se:+.2f}")
        assert abs(gap) < t_bound(3, 24) * se


def test_hapaxes_of_a_stationary_loop_underestimate_its_missing_mass():
    target, n, alpha = jc.zipf(1000), 1000, 0.1
    record = lambda lineage, batch: (
        jc.metrics.hapaxes(batch.pooled.counts) / n,
        jc.metrics.missing_mass(lineage.model.probs, target.probs),
    )
    _, (once, missing) = jc.ensemble(
        loop(target, C(alpha), C(n)), 100, lineages=4000, key=jr.key(34), record=record, record_at=(100,)
    )
    gap = np.asarray(once, float)[:, 0] - float(theory.hapax_factor(alpha)) * np.asarray(missing, float)[:, 0]
    print(np.mean(once), np.mean(missing), gap.mean(), gap.std() / np.sqrt(len(gap)))
    assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(len(gap)) + 2 / n * np.mean(once)


def chi_square_p(observed, law):
    """p-value of counts against a law, with rare values pooled."""
    expected = law * observed.sum()
    rare = expected < 10
    pool = lambda x: np.append(x[~rare], x[rare].sum())
    observed, expected = pool(observed), pool(expected)
    keep = expected > 5
    assert observed[~keep].sum() <= 20 + 5 * expected[~keep].sum()
    observed, expected = observed[keep], expected[keep]
    return stats.chisquare(observed, expected * observed.sum() / expected.sum()).pvalue
