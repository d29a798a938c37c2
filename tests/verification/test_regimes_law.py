"""Regimes against their exact theory at length: T10, T14, T15, T28, and what chance or error does to α."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxcollapse as jc
from tests.helpers import assert_mean


def relative(p, target):
    return jc.metrics.squared_error(p, target.probs) / jc.metrics.diversity(target.probs)


def risks(looped, generations, lineages, key, record=None, at=None):
    record = record or (lambda lineage, batch: relative(lineage.model.probs, looped.target))
    return jc.ensemble(looped, generations, lineages=lineages, key=key, record=record, record_at=at)[1]


def exact(function, *arguments, **options):
    with jax.enable_x64(True):
        return np.asarray(function(*arguments, **options), np.float64)


def test_t10_the_golden_ratio():
    w = np.linspace(0.6, 0.63, 30001)
    r = exact(jc.theory.weighted_plateau, w, 1e6, 1e6)
    assert w[r.argmin()] == pytest.approx(0.618034, abs=1e-4) and r.min() * 1e6 == pytest.approx(0.618034, abs=1e-4)
    target = jc.zipf(20)

    @jax.jit
    def run(weight):
        regime = jc.Weighted(jc.Replace(), weight)
        looped = jc.Loop(target, jc.Tabular(), regime, jc.Constant(0.5), jc.Constant(200), split="fixed")
        return risks(looped, 30, 8000, jr.key(10), at=[30])[:, 0]

    for weight, r in ((0.5, 0.006645), (0.618, 0.006170), (0.75, 0.006662)):
        ours = np.asarray(run(weight), np.float64)
        assert ours.mean() == pytest.approx(r, rel=0.03)
        assert_mean(ours, exact(jc.theory.weighted_recursion, weight, 100, 100, 30, 1 / 200)[-1])
    assert run._cache_size() == 1


def test_t14_a_random_mixture_with_a_retained_set_is_another_real_source():
    """D_0 ~ p*^m drawn for each lineage; its own law is the real source, p* the target."""
    target, m = jc.zipf(20), 20
    alpha, n = jc.Constant(0.1), jc.Constant(50)

    def one(key):
        k_set, k_run = jr.split(key)
        retained = jc.Categorical(target.counts(jnp.asarray(m), key=k_set) / m)
        looped = jc.Loop(target, jc.Tabular(), jc.Replace(), alpha, n, real_source=retained)
        record = lambda lineage, batch: relative(lineage.model.probs, target)
        return jc.simulate(looped, 40, key=k_run, record=record)[1]

    ours = jax.jit(jax.vmap(one))(jr.split(jr.key(14), 4000))
    assert_mean(ours, exact(jc.theory.retained_mixture, m, alpha, n, 40)[1:])


def test_t15_a_tenth_of_the_originals_and_a_part_of_the_data_before():
    n = jc.Constant(100)
    looped = jc.Loop(jc.zipf(20), jc.Tabular(), jc.Retain(original=0.1), jc.Constant(0.0), n)
    ours = np.asarray(risks(looped, 60, 4000, jr.key(15)), np.float64)
    assert ours[:, -1].mean() == pytest.approx(0.059296, rel=0.06)
    assert_mean(ours, exact(jc.theory.retain, n, 60, original=0.1)[1:])
    for previous, original, size in ((0.5, 0.0, n), (0.3, 0.2, jc.PowerLaw(20.0, exponent=0.4))):
        regime = jc.Retain(previous=previous, original=original)
        ours = risks(eqx.tree_at(lambda l: (l.regime, l.n), looped, (regime, size)), 30, 4000, jr.key(16))
        assert_mean(ours, exact(jc.theory.retain, size, 30, previous=previous, original=original)[1:])


@pytest.mark.parametrize(
    ("a", "b", "published"),
    [
        (0.5, 1.0, {"A": 1.65e-3, "B": 6.07e-3, "F": 4.70e-6, "D": 1.99e-4}),
        (0.25, 0.5, {"A": 9.37e-3, "B": 2.05e-3, "F": 2.23e-5, "D": 2.00e-4}),
        (0.5, 0.0, {"A": 0.620, "B": 0.0198, "F": 1.57e-3}),
    ],
)
def test_t28_strategies(a, b, published):
    target, lineages = jc.zipf(10), 3000
    alpha, n = jc.PowerLaw(0.5, exponent=-a), jc.PowerLaw(20.0, exponent=b)
    beside = jc.Debiased(jc.Debiased(jc.Replace(), decay=0.0))

    def record(lineage, batch):
        pooled = lineage.memory
        laws = (lineage.model.probs, pooled.inner.probs, pooled.probs)
        return dict(zip("ACD", (relative(p, target) for p in laws), strict=True))

    times = [1, 3, 10, 30, 100, 300, 1000]
    run = lambda regime, record=None: risks(
        jc.Loop(target, jc.Tabular(), regime, alpha, n), 1000, lineages, jr.key(28), record, times
    )
    found = run(beside, record) | {"B": run(jc.Accumulate())}
    found |= {"E": run(jc.RealOnly(jc.Replace())), "F": run(jc.RealOnly(jc.Accumulate()))}
    theory = {
        "A": exact(jc.theory.risk, alpha, n, 1000),
        "B": exact(jc.theory.accumulate, alpha, n, 1000),
        "C": exact(jc.theory.debiased, alpha, n, 1000, 0.0),
        "D": exact(jc.theory.debiased, alpha, n, 1000),
        "E": exact(jc.theory.real_only, alpha, n, 1000),
        "F": exact(jc.theory.real_only_pooled, alpha, n, 1000),
    }
    for name, r in theory.items():
        assert_mean(found[name], r[times])
    for name, level in published.items():
        assert np.asarray(found[name], np.float64)[:, -1].mean() == pytest.approx(level, rel=0.08)


def test_a_random_weight_and_what_is_believed_of_it():
    weight, n = jc.RandomWeight(jc.Constant(0.3), 4.0), jc.Constant(20)
    regime = jc.Debiased(jc.Debiased(jc.Replace(), decay=0.0, believed=weight), decay=0.9, believed=jc.Constant(0.2))
    looped = jc.Loop(jc.zipf(10), jc.Tabular(), regime, weight, n)

    def record(lineage, batch):
        laws = (lineage.model.probs, lineage.memory.inner.probs, lineage.memory.probs)
        return jnp.stack([relative(p, looped.target) for p in laws])

    options = {"variance": weight.variance}
    theory = [
        exact(jc.theory.risk, weight.effective, n, 20),
        exact(jc.theory.debiased, weight, n, 20, 0.0, believed=weight, **options),
        exact(jc.theory.debiased, weight, n, 20, 0.9, believed=jc.Constant(0.2), **options),
    ]
    for x64 in (False, True):
        with jax.enable_x64(x64):
            assert_mean(risks(looped, 20, 6000, jr.key(29), record), np.stack(theory, 1)[1:])


def test_a_periodic_refresh_follows_the_recursion():
    weight = jc.Periodic(5, jc.Constant(0.8), jc.Constant(0.0))
    looped = jc.Loop(jc.zipf(10), jc.Tabular(), jc.Replace(), weight, jc.Constant(20))
    assert_mean(risks(looped, 22, 4000, jr.key(30)), exact(jc.theory.risk, weight, looped.n, 22)[1:])


def test_a_real_corpus_that_is_not_the_target_sets_a_floor():
    target, other = jc.corpora.shakespeare(vocab=64), jc.corpora.king_james(vocab=64)
    alpha, n = jc.Constant(0.2), jc.Constant(300)
    looped = jc.Loop(target, jc.Tabular(), jc.Replace(), alpha, n, real_source=other)
    record = lambda lineage, batch: jc.metrics.squared_error(lineage.model.probs, target.probs)
    floor = exact(jc.theory.other_source, alpha, n, 30, other.probs[None], target.probs)
    assert_mean(risks(looped, 30, 2000, jr.key(31), record), floor[1:])


def test_the_pooled_estimate_of_a_table_is_unbiased_in_every_row():
    rng = np.random.default_rng(0)
    target = jc.Categorical(rng.dirichlet(np.ones(3), 3), np.array([0.6, 0.3, 0.1]))
    looped = jc.Loop(target, jc.Tabular(), jc.Debiased(jc.Replace()), jc.Constant(0.3), jc.Constant(60))
    ours = risks(looped, 10, 6000, jr.key(32), lambda lineage, batch: lineage.memory.probs, [1, 5, 10])
    assert_mean(ours, np.broadcast_to(np.asarray(target.probs, np.float64), (3, 3, 3)))


MASK = np.array([True, False, False, False])


@pytest.mark.parametrize(
    ("regime", "split"),
    [
        (jc.Weighted(jc.Subsample(jc.Accumulate()), 0.5), "random"),
        (jc.Subsample(jc.Weighted(jc.Accumulate(), 0.5)), "fixed"),
        (jc.Subsample(jc.Retain(previous=0.5, original=0.2)), "random"),
        (jc.Debiased(jc.Deduplicate(jc.Accumulate(decay=0.5), 2)), "round"),
        (jc.Drop(jc.RealOnly(jc.Anchor()), MASK), "fixed"),
    ],
    ids=repr,
)
def test_combinations_run_at_the_smallest_size(regime, split):
    looped = jc.Loop(jc.zipf(4), jc.Tabular(), regime, jc.Constant(0.5), jc.Constant(1), split=split)
    _, probs = jc.ensemble(looped, 5, lineages=50, key=jr.key(33), record=lambda lineage, batch: lineage.model.probs)
    np.testing.assert_allclose(np.asarray(probs).sum(-1), 1, rtol=1e-5)
