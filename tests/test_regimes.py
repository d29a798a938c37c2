"""Regimes that weigh, retain, debias and filter data; other real sources; weights that chance decides."""

import subprocess
import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxcollapse as jc
from jaxcollapse import _loop
from jaxcollapse._debiased import projected
from jaxcollapse._learner import two_draws
from jaxcollapse._regime import Batch
from tests import reference
from tests.helpers import assert_mean, two_sample_p

P_STAR = jc.zipf(4)
H_STAR = float(jc.metrics.diversity(P_STAR.probs))
MASK = np.array([False, True, False, False])


def loop(regime, alpha=0.35, n=10, **changed):
    fields = {"target": P_STAR, "learner": jc.Tabular(), "alpha": jc.Constant(alpha), "n": jc.Constant(n)}
    return jc.Loop(**(fields | {"regime": regime} | changed))


def relative(p):
    return jc.metrics.squared_error(p, P_STAR.probs) / H_STAR


def batch(real, synthetic, alpha=0.25, source=P_STAR):
    real, synthetic = jc.Counts(jnp.array(real)), jc.Counts(jnp.array(synthetic))
    return Batch(real + synthetic, real, synthetic, jnp.asarray(alpha), source)


def shown(regime, first, *batches):
    """What the regime shows after these batches, and its memory."""
    memory, data = regime.init(jc.Counts(jnp.array(first))), None
    for t, each in enumerate(batches):
        memory, data = regime.update(memory, each, key=jr.key(t))
    return memory, data


# Weighted -----------------------------------------------------------------------------------------------------------


def test_real_and_synthetic_draws_weigh_as_wholes():
    given = batch([3, 1, 0, 0], [0, 0, 2, 4])
    _, data = shown(jc.Weighted(jc.Replace(), 0.8), [1, 1, 1, 1], given)
    np.testing.assert_allclose(data.counts, 10 * (0.8 * np.array([3, 1, 0, 0]) / 4 + 0.2 * np.array([0, 0, 2, 4]) / 6))
    _, pooled = shown(jc.Weighted(jc.Replace(), 0.4), [1, 1, 1, 1], given)
    np.testing.assert_allclose(pooled.counts, given.pooled.counts, rtol=1e-6)
    _, all_of_them = shown(jc.Weighted(jc.Accumulate(), 0.8), [1, 1, 1, 1], given)
    np.testing.assert_allclose(all_of_them.counts, 1 + data.counts, rtol=1e-6)


def test_a_batch_of_one_part_is_that_part():
    regime = jc.Weighted(jc.Replace(), 0.8)
    for given in (batch([3, 1, 0, 0], [0] * 4), batch([0] * 4, [3, 1, 0, 0])):
        np.testing.assert_allclose(shown(regime, [1] * 4, given)[1].counts, [3, 1, 0, 0], rtol=1e-6)


# Retained -----------------------------------------------------------------------------------------------------------


def test_what_is_retained_are_draws_without_replacement_from_the_data_before_and_from_the_first():
    given = batch([0, 3, 0, 0], [0, 0, 4, 1])

    @jax.jit
    @jax.vmap
    def draw(key):
        first, before = jc.Counts(jnp.array([8, 0, 0, 2])), jc.Counts(jnp.array([0, 6, 2, 0]))
        (kept, latest), data = jc.Retain(previous=0.25, original=0.4).update((first, before), given, key=key)
        return kept.counts, latest.counts, data.counts

    kept, latest, data = (np.asarray(x) for x in draw(jr.split(jr.key(1), 6000)))
    assert (kept == [8, 0, 0, 2]).all() and (latest == data).all() and (data.sum(-1) == 8).all()
    parts = ((2, np.array([0, 6, 2, 0])), (3, np.array([8, 0, 0, 2])), (3, np.array([0, 3, 4, 1])))
    mean, covariance = 0.0, 0.0
    for k, counts in parts:
        total, p = counts.sum(), counts / counts.sum()
        mean = mean + k * p
        covariance = covariance + k * (total - k) / (total - 1) * (np.diag(p) - np.outer(p, p))
    assert_mean(data, mean)
    assert_mean((data - mean)[:, :, None] * (data - mean)[:, None], covariance)


def test_a_retained_set_may_be_the_real_source():
    """Real draws from D_0 for ever, compared with p*: what `theory.retained_mixture` says."""
    q = jc.from_counts(jnp.array([5, 3, 1, 1]))
    looped = loop(jc.Replace(), real_source=q)
    exact = jc.theory.other_source(looped.alpha, looped.n, 4, q.probs[None], P_STAR.probs)
    spread = jc.metrics.diversity(q.probs) * jc.theory.risk(looped.alpha, looped.n, 4)
    np.testing.assert_allclose(exact, spread + jc.metrics.squared_error(q.probs, P_STAR.probs), rtol=1e-5)


# Debiased -----------------------------------------------------------------------------------------------------------


def test_debiased_estimates_follow_their_theory_rightly_and_wrongly_judged():
    wrong = jc.Constant(0.5)
    regime = jc.Debiased(jc.Debiased(jc.Debiased(jc.Replace(), decay=0.0)), decay=0.8, believed=wrong)

    def record(lineage, batch):
        outer = lineage.memory
        return jnp.stack([relative(e.probs) for e in (outer, outer.inner, outer.inner.inner)]), (
            relative(outer.inner.inner.released),
            outer.inner.inner.probs,
            lineage.model.probs,
        )

    looped = loop(regime)
    _, (risk, (released, probs, model)) = jc.ensemble(looped, 5, lineages=4000, key=jr.key(2), record=record)
    with jax.enable_x64(True):
        theory = lambda *a, **k: np.asarray(jc.theory.debiased(looped.alpha, looped.n, 5, *a, **k))[1:]
        exact = np.stack([theory(0.8, believed=wrong), theory(1.0), theory(0.0)], 1)
        chain = np.asarray(jc.theory.risk(looped.alpha, looped.n, 5))[1:]
    assert_mean(risk, exact)
    assert_mean(relative(model), chain)  # the chain that generates is the agnostic one
    assert_mean(probs, np.broadcast_to(reference.zipf(4), (5, 4)))
    assert (np.asarray(released) <= np.asarray(risk[:, :, 2]) + 1e-5).all()
    assert (np.asarray(probs) < 0).any()


def test_an_estimate_is_the_weighted_sum_of_what_the_model_does_not_explain():
    source = jc.Categorical(np.array([0.4, 0.3, 0.2, 0.1]))
    given = batch([2, 0, 0, 0], [1, 2, 2, 1], 0.25, source)
    latest, _ = shown(jc.Debiased(jc.Replace(), decay=0.0), [4, 0, 0, 0], given)
    c = (np.array([3, 2, 2, 1]) / 8 - 0.75 * source.probs) / 0.25
    np.testing.assert_allclose(latest.probs, c, atol=1e-6)
    pooled, _ = shown(jc.Debiased(jc.Replace()), [4, 0, 0, 0], given)
    np.testing.assert_allclose(pooled.probs, (4 * np.eye(4)[0] + 0.5 * c) / 4.5, atol=1e-6)
    for kept in (batch([0] * 4, [1, 2, 2, 1], 0.0), batch([0] * 4, [0] * 4)):
        estimate, _ = shown(jc.Debiased(jc.Replace(), decay=0.0), [4, 0, 0, 0], kept)
        np.testing.assert_allclose(estimate.probs, np.eye(4)[0])


def test_tables_are_debiased_row_by_row():
    table = jc.Categorical(np.array([[0.5, 0.5], [0.1, 0.9]]))
    given = batch([[1, 0], [0, 0]], [[1, 2], [0, 0]], 0.5, table)
    estimate, _ = shown(jc.Debiased(jc.Replace(), decay=0.0), [[1, 0], [0, 1]], given)
    np.testing.assert_allclose(estimate.probs, [[2 * (0.5 - 0.25), 2 * (0.5 - 0.25)], [0, 1]], atol=1e-6)


def test_the_projection_is_the_nearest_law():
    rng = np.random.default_rng(0)
    q = rng.normal(0.25, 1.0, (50, 4)).astype(np.float32)
    p = np.asarray(projected(jnp.asarray(q)))
    np.testing.assert_allclose(p.sum(-1), 1, atol=1e-5)
    assert (p >= 0).all()
    others = rng.dirichlet(np.ones(4) / 2, (2000, 1))
    assert (((others - q) ** 2).sum(-1) >= ((p - q) ** 2).sum(-1) - 1e-5).all()
    np.testing.assert_allclose(projected(jnp.asarray(p)), p, atol=1e-6)
    np.testing.assert_allclose(projected(jnp.array([-1.0, -2.0])), [1, 0])


# Filtered -----------------------------------------------------------------------------------------------------------


def oracle(rng, vocab, generations):
    """Deduplicate(Drop(Accumulate(), mask), 2), token by token."""
    p_star = reference.zipf(vocab)
    pool = reference.tokens(rng, p_star, 5)
    model, seen = reference.fit(pool, vocab, 0), []
    for _ in range(generations):
        real = int((rng.random(5) < 0.35).sum())
        drawn = [reference.tokens(rng, p_star, real), reference.tokens(rng, model, 5 - real)]
        pool = np.concatenate([pool, *drawn])
        data = [token for v in range(vocab) if not MASK[v] for token in pool[pool == v][:2]]
        model = reference.fit(np.array(data, int), vocab, 0) if data else model
        seen.append(reference.count(np.array(data, int), vocab))
    return seen


def test_filtered_data_have_the_law_of_the_oracle():
    looped = loop(jc.Deduplicate(jc.Drop(jc.Accumulate(), MASK), 2), n=5)
    record = lambda lineage, batch: batch.data.counts
    _, ours = jc.ensemble(looped, 3, lineages=2000, key=jr.key(3), record=record)
    rng = np.random.default_rng(4)
    theirs = np.array([oracle(rng, 4, 3) for _ in range(2000)])
    assert ours.max() == 2 and (ours[..., 1] == 0).all()
    for t in range(3):
        assert two_sample_p(np.asarray(ours)[:, t], theirs[:, t]) > 5e-4


def test_memories_stay_uncurated_and_float_pools_are_capped_too():
    given = batch([3, 1, 0, 0], [0, 5, 2, 0])
    memory, data = shown(jc.Deduplicate(jc.Accumulate(), 2), [1, 0, 0, 0], given)
    assert data.counts.tolist() == [2, 2, 2, 0] and memory.counts.tolist() == [4, 6, 2, 0]
    _, data = shown(jc.Deduplicate(jc.Accumulate(decay=0.5), 2.25), [1, 0, 0, 0], given)
    np.testing.assert_allclose(data.counts, [2.25, 2.25, 2, 0])
    _, data = shown(jc.Drop(jc.Replace(), MASK), [[1] * 4] * 2, batch([[3, 1, 0, 0]] * 2, [[0, 5, 2, 0]] * 2))
    assert data.counts.tolist() == [[3, 0, 2, 0]] * 2


# Other sources, weights that chance decides -------------------------------------------------------------------------


class Drifting(eqx.Module):
    """p*_t moves away at a rate, which may be swept."""

    rate: jax.Array

    def __call__(self, t):
        share = jnp.minimum(self.rate * t.astype(float), 1.0)
        return jc.Categorical((1 - share) * P_STAR.probs + share / 4)


def test_a_random_weight_and_a_drifting_source_follow_their_moments():
    weight = jc.RandomWeight(jc.Periodic(2, jc.Constant(0.6), jc.Constant(0.1)), 1.5)

    @jax.jit
    def run(rate):
        looped = jc.Loop(P_STAR, jc.Tabular(), jc.Replace(), weight, jc.Constant(10), real_source=Drifting(rate))
        record = lambda lineage, batch: (jc.metrics.squared_error(lineage.model.probs, P_STAR.probs), batch.alpha)
        return jc.ensemble(looped, 5, lineages=4000, key=jr.key(5), record=record)[1]

    risk, alpha = run(jnp.asarray(0.2))
    mean = np.array([0.1, 0.6, 0.1, 0.6, 0.1])
    assert_mean(alpha, mean)
    assert_mean(alpha**2, mean**2 + mean * (1 - mean) / 2.5)
    assert_mean(risk, _moments(mean, 0.2))
    exact = jc.theory.risk(weight.effective, jc.Constant(10), 5)[1:] * H_STAR
    np.testing.assert_allclose(_moments(mean, 0.0), exact, rtol=1e-5)


def _moments(mean, rate):
    """E‖P̂_t − p*‖² from E P̂_t and E‖P̂_t‖², with E α², E α(1 − α) and E(1 − α)² of a beta law."""
    p = reference.zipf(4)
    first, second, risk = p, 1 / 10 + 9 / 10 * p @ p, []
    for t, a in enumerate(mean, 1):
        v, q = a * (1 - a) / 2.5, (1 - min(rate * t, 1)) * p + min(rate * t, 1) / 4
        inner = (a**2 + v) * q @ q + 2 * (a * (1 - a) - v) * q @ first + ((1 - a) ** 2 + v) * second
        first, second = a * q + (1 - a) * first, 1 / 10 + 9 / 10 * inner
        risk.append(second - 2 * p @ first + p @ p)
    return np.array(risk)


def test_a_period_is_a_schedule():
    weight = lambda k: jc.Periodic(k, jc.PowerLaw(1.0, exponent=-1.0), jc.Constant(0.1))(jnp.arange(8))
    three, half = jax.jit(jax.vmap(weight))(jnp.array([3.0, 0.5]))
    np.testing.assert_allclose(three, [1, 0.1, 0.1, 1 / 3, 0.1, 0.1, 1 / 6, 0.1], rtol=1e-6)
    assert np.isnan(half).all()


def test_weights_that_chance_decides_have_their_limits():
    t = jnp.arange(3)
    sure, wild = (jc.RandomWeight(jc.Constant(0.3), nu) for nu in (1e9, 1e-9))
    np.testing.assert_allclose(sure.effective(t), 0.3, rtol=1e-5)
    np.testing.assert_allclose(wild.effective(t), 1 - np.sqrt(0.7), rtol=1e-5)
    for mean in (0.0, 1.0):
        certain = jc.RandomWeight(jc.Constant(mean), 2.0)
        assert certain.effective(1) == mean
    assert jnp.isnan(jax.jit(lambda nu: jc.RandomWeight(jc.Constant(0.3), nu).variance(jnp.asarray(1)))(-1.0))


# Misuse -------------------------------------------------------------------------------------------------------------


MISUSE = [
    ("jc.Weighted(jc.Replace(), 1.5)", "weight: got 1.5, expected one number in [0, 1]; try Weighted(Replace(), 0.6)"),
    ("jc.Weighted(jc.Replace(), float('nan'))", "weight: got nan"),
    ("jc.Weighted(0.5, 0.5)", "inner: got 0.5, expected a jc.AbstractRegime; try Weighted(Replace(), 0.6)"),
    ("jc.Retain(previous=-0.1)", "previous: got -0.1"),
    ("jc.Retain(previous=0.6, original=0.6)", "original: got (0.6, 0.6) with previous, expected at most 1 in all"),
    ("jc.Debiased(jc.Tabular())", "inner: got Tabular"),
    ("jc.Debiased(jc.Replace(), decay=2.0)", "decay: got 2.0"),
    ("jc.Debiased(jc.Replace(), believed=0.5)", "believed: got 0.5, expected a callable"),
    ("jc.Deduplicate(jc.Replace(), 0)", "copies: got 0, expected one number of at least 1"),
    ("jc.Deduplicate(jc.Replace(), np.array([1, 2]))", "copies: got array([1, 2])"),
    ("jc.Deduplicate(None, 2)", "inner: got None"),
    ("jc.Drop(jc.Replace(), np.array([0, 1]))", "mask: got array([0, 1]), expected booleans"),
    ("jc.Drop(jc.Replace(), [True, False])", "mask: got [True, False], expected booleans"),
    ("jc.Drop(jc.Replace(), np.array([True, True]))", "expected one that leaves something"),
    ("jc.Drop('replace', np.array([True, False]))", "inner: got 'replace'"),
    ("loop(jc.Drop(jc.Replace(), np.array(3 * [False]))).init(key=key)", "mask: got shape (3,), expected (4,)"),
    ("jc.Periodic(0, jc.Constant(1.0), jc.Constant(0.0))", "every: got 0, expected a whole number"),
    ("jc.Periodic(1.5, jc.Constant(1.0), jc.Constant(0.0))", "every: got 1.5"),
    ("jc.Periodic(2, 1.0, jc.Constant(0.0))", "at: got 1.0, expected a callable"),
    ("jc.RandomWeight(jc.Constant(0.1), 0.0)", "concentration: got 0.0"),
    ("jc.RandomWeight(0.1, 2.0)", "mean: got 0.1, expected a callable"),
    ("loop(jc.Replace(), real_source=0.5)", "real_source: got 0.5, expected a jc.AbstractModel"),
    ("loop(jc.Replace(), real_source=jc.zipf(5)).init(key=key)", "real_source: got draws like"),
    ("loop(jc.Replace(), real_source=lambda t: 0.5).init(key=key)", "real_source: got 0.5"),
]


def test_misuse_is_named_with_advice():
    # In a process of its own: here the type checker of the tests would speak first.
    code = (
        "import jax, jaxcollapse as jc, numpy as np\n"
        "key, half = jax.random.key(0), jc.Constant(0.5)\n"
        "def loop(regime, **x): return jc.Loop(jc.zipf(4), jc.Tabular(), regime, half, jc.Constant(9), **x)\n"
        f"for code in {[code for code, _ in MISUSE]!r}:\n"
        "    try: eval(code); print('no error')\n"
        "    except ValueError as error: print(str(error).replace(chr(10), ' '))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for (call, message), said in zip(MISUSE, done.stdout.splitlines(), strict=True):
        assert message in said, (call, said)


class Blob(jc.AbstractData):
    """Data that are no counts."""

    @property
    def total(self):
        return jnp.asarray(1.0)

    def __add__(self, other):
        return self

    def __rmul__(self, a):
        return self

    def resample(self, n, *, key):
        return self


@pytest.mark.parametrize("wrap", [jc.Debiased, lambda r: jc.Deduplicate(r, 2), lambda r: jc.Drop(r, MASK)])
def test_what_needs_a_table_says_so(wrap):
    with pytest.raises(ValueError, match=r"data: got Blob, expected jc\.Counts"):
        wrap(jc.Replace()).init(Blob())


def test_traced_misuse_marks_what_it_touches():
    given = batch([3, 1, 0, 0], [0, 5, 2, 0])

    @jax.jit
    def run(x):
        believed = jc.Debiased(jc.Deduplicate(jc.Replace(), 2 - x), believed=jc.Constant(x))
        memory, capped = shown(believed, [1, 1, 1, 1], given)
        return memory.probs, capped.counts, shown(jc.Weighted(jc.Replace(), x), [1, 1, 1, 1], given)[1].counts

    estimate, capped, weighed = run(1.5)
    assert np.isnan(estimate).all() and (capped == -1).all() and np.isnan(weighed).all()
    estimate, capped, weighed = run(0.5)
    assert np.isfinite(estimate).all() and (capped >= 0).all() and np.isfinite(weighed).all()


class Floats(jc.AbstractLearner):
    """A table whose counts are floats."""

    def init(self, target, *, key):
        return target

    def observe(self, model, n, *, key):
        return 1.0 * jc.Tabular().observe(model, n, key=key)

    def pool(self, target, source, alpha, n, split, *, key):
        return two_draws(self, target, source, alpha, n, split, key=key)

    def fit(self, data, model, *, key):
        return model


def test_only_pools_of_whole_numbers_overflow():
    many = jc.Constant(2**30)
    whole = jc.Loop(P_STAR, jc.Tabular(), jc.Accumulate(), jc.Constant(0.5), many)
    with pytest.raises(ValueError, match="a pool of"):
        _loop.check(whole, 4, jr.key(0))
    assert not _loop.in_range(whole, 4)
    floats = jc.Loop(P_STAR, Floats(), jc.Accumulate(), jc.Constant(0.5), many)
    weighed = jc.Loop(P_STAR, jc.Tabular(), jc.Weighted(jc.Accumulate(), 0.5), jc.Constant(0.5), many)
    for looped in (floats, weighed):
        _loop.check(looped, 4, jr.key(0))
        assert _loop.in_range(looped, 4)


def test_a_curation_that_makes_no_law_of_the_blank_model_spoils_nothing():
    def without_first(model):
        left = model.probs.at[0].set(0.0)
        return eqx.tree_at(lambda m: m.probs, model, left / left.sum())

    loop = jc.Loop(jc.zipf(6), jc.Tabular(), jc.Replace(), jc.Constant(0.5), jc.Constant(200), curate=without_first)
    _, records = jc.ensemble(loop, 3, lineages=64, key=jr.key(10))
    assert np.isfinite(records["squared_error"]).all()
