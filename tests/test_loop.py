"""The loop against the exact recursion, against a token-by-token oracle, and against misuse."""

import math
import subprocess
import sys

import chex
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

import jaxcollapse as jc
from jaxcollapse._learner import real_draws
from jaxcollapse.families import tabular
from tests import reference
from tests.helpers import assert_mean, t_bound, two_sample_p

ALPHA = jc.PowerLaw(0.6, exponent=-0.4)
SIZE = lambda t: 50 * jnp.sqrt(t.astype(float) + 1)


def loop(**changed):
    fields = {"target": jc.zipf(20), "learner": jc.Tabular(), "regime": jc.Replace(), "alpha": ALPHA, "n": SIZE}
    return jc.Loop(**(fields | changed))


def recursion(alpha_t, n_t):
    """r_t = 1/n_t + (1 − 1/n_t)(1 − α_t)² r_{t−1}, written out again."""
    r = [1 / n_t[0]]
    for a, n in zip(alpha_t[1:], n_t[1:], strict=True):
        r.append(1 / n + (1 - 1 / n) * (1 - a) ** 2 * r[-1])
    return np.array(r)


def relative_risk(p, q):
    return ((np.asarray(p, float) - q) ** 2).sum(-1) / (1 - (q**2).sum(-1))


def test_risk_follows_the_exact_recursion_at_every_generation(precision):
    record = lambda lineage, batch: jc.metrics.squared_error(lineage.model.probs, jc.zipf(20).probs)
    _, risk = jc.ensemble(loop(), 40, lineages=4000, key=jr.key(0), record=record)
    t = np.arange(41)
    exact = recursion(np.minimum(1, 0.6 * np.maximum(t, 1) ** -0.4), np.rint(50 * np.sqrt(t + 1)))
    assert exact[40] == pytest.approx(0.0122260, rel=1e-4)
    q = reference.zipf(20)
    assert_mean(risk / (1 - (q**2).sum()), exact[1:])
    assert risk.shape == (4000, 40)


def test_risk_plus_diversity_is_conserved_and_the_mean_model_is_the_target(precision):
    record = lambda lineage, batch: lineage.model.probs
    _, p = jc.ensemble(loop(), 20, lineages=4000, key=jr.key(1), record=record)
    p, q = np.asarray(p, np.float64), reference.zipf(20)
    assert_mean(((p - q) ** 2).sum(-1) + 1 - (p**2).sum(-1), np.full(20, 1 - (q**2).sum()))
    assert_mean(p, np.broadcast_to(q, (20, 20)))


def test_each_context_follows_its_own_recursion():
    table = jnp.asarray(np.random.default_rng(0).dirichlet(np.full(5, 5.0), size=3), float)
    contexts = jnp.asarray([0.7, 0.27, 0.03], float)
    target = jc.Categorical(table, contexts)
    looped = loop(target=target, alpha=jc.Constant(0.2), n=jc.Constant(20))
    _, p = jc.ensemble(looped, 8, lineages=4000, key=jr.key(2), record=lambda lineage, batch: lineage.model.probs)
    exact = jc.theory.context_risk(looped.alpha, looped.n, contexts, 8)
    rows = np.asarray(table, np.float64)
    assert_mean(relative_risk(p, rows), exact[1:])
    assert_mean(p, np.broadcast_to(rows, (8, 3, 5)))


@pytest.mark.parametrize(
    ("name", "regime", "changed"),
    [
        ("replace", jc.Replace(), {}),
        ("replace", jc.Replace(), {"split": "fixed"}),
        ("replace", jc.Replace(), {"split": "round"}),
        ("replace", jc.Replace(), {"learner": jc.Tabular(smoothing=0.5)}),
        ("accumulate", jc.Accumulate(), {}),
        ("leaky", jc.Accumulate(decay=0.5), {}),
        ("subsample", jc.Subsample(jc.Accumulate()), {}),
        ("anchor", jc.Anchor(), {}),
        ("anchor", jc.Anchor(fraction=0.5), {"split": "fixed"}),
        ("real only", jc.RealOnly(jc.Replace()), {}),
        ("subsample real", jc.Subsample(jc.RealOnly(jc.Accumulate())), {}),
    ],
    ids=lambda x: x if isinstance(x, str) else None,
)
def test_whole_count_vectors_have_the_law_of_the_oracle(name, regime, changed):
    lineages, vocab, generations = 4000, 3, 3
    looped = loop(target=jc.zipf(vocab), regime=regime, alpha=jc.Constant(0.35), n=jc.Constant(4), **changed)
    record = lambda lineage, batch: (batch.data.counts, batch.real.counts)
    _, (ours, real) = jc.ensemble(looped, generations, lineages=lineages, key=jr.key(3), record=record)
    rng = np.random.default_rng(4)
    options = {"regime": name, "split": looped.split, "smoothing": float(looped.learner.smoothing)}
    options |= {"fraction": getattr(regime, "fraction", None), "decay": getattr(regime, "decay", None)}
    oracle = [
        reference.lineage(rng, reference.zipf(vocab), lambda t: 0.35, lambda t: 4, generations, **options)
        for _ in range(lineages)
    ]
    seen, was_real = (np.array(x) for x in zip(*oracle, strict=True))
    halves = lambda x: np.floor(2 * np.asarray(x)) if name == "leaky" else np.asarray(x)
    for t in range(1, generations + 1):
        assert two_sample_p(halves(ours)[:, t - 1] // t, halves(seen)[:, t] // t) > 1e-4
    assert two_sample_p(np.asarray(real)[:, 1], was_real[:, 2]) > 1e-4
    if name == "replace":  # data and provenance together
        both = np.concatenate([ours, real], -1)[:, 0], np.concatenate([seen, was_real], -1)[:, 1]
        assert two_sample_p(*both) > 1e-4


def test_the_tail_has_the_law_of_the_oracle():
    vocab, lineages = 300, 400
    looped = loop(target=jc.zipf(vocab), alpha=jc.Constant(0.1), n=jc.Constant(300))
    record = lambda lineage, batch: (jc.metrics.surviving(lineage.model.probs), jc.metrics.hapaxes(batch.data.counts))
    _, (alive, once) = jc.ensemble(looped, 5, lineages=lineages, key=jr.key(5), record=record)
    rng = np.random.default_rng(6)
    oracle = np.array(
        [reference.lineage(rng, reference.zipf(vocab), lambda t: 0.1, lambda t: 300, 5)[0][1:] for _ in range(lineages)]
    )
    for ours, theirs in ((alive, (oracle > 0).sum(-1)), (once, (oracle == 1).sum(-1))):
        ours, theirs = np.asarray(ours, float), theirs.astype(float)
        se = np.sqrt((ours.var(0) + theirs.var(0)) / lineages)
        assert (abs(ours.mean(0) - theirs.mean(0)) < t_bound(10, lineages) * se).all()


def test_tables_have_the_law_of_the_oracle():
    rng = np.random.default_rng(7)
    table, contexts = rng.dirichlet(np.ones(3), size=2), np.array([0.9, 0.1])
    looped = loop(target=jc.Categorical(table, contexts), alpha=jc.Constant(0.3), n=jc.Constant(5))
    _, ours = jc.ensemble(looped, 2, lineages=4000, key=jr.key(8), record=lambda lineage, batch: lineage.model.probs)
    oracle = [reference.table_lineage(rng, table, contexts, lambda t: 0.3, lambda t: 5, 2) for _ in range(4000)]
    whole = lambda p: np.rint(60 * p.reshape(4000, -1))  # relative frequencies of up to 5 draws
    assert two_sample_p(whole(np.asarray(ours)[:, 1]), whole(np.array(oracle)[:, 2])) > 5e-4


def test_documents_have_the_law_of_a_chain_run_token_by_token():
    rng = np.random.default_rng(9)
    table, contexts = rng.dirichlet(np.ones(2), size=2), np.array([0.7, 0.3])
    learner = jc.Tabular(document_length=4)
    draw = jax.jit(
        jax.vmap(lambda key: learner.observe(jc.Categorical(table, contexts), jnp.asarray(8), key=key).counts)
    )
    ours = np.asarray(draw(jr.split(jr.key(10), 6000))).reshape(6000, -1)
    oracle = [reference.documents(rng, table, contexts, 2, 4).ravel() for _ in range(6000)]
    assert (ours.sum(1) == 8).all()
    assert two_sample_p(ours, np.array(oracle)) > 5e-4


def test_documents_keep_the_share_of_real_ones_and_whole_documents():
    table = jnp.full((3, 3), 1 / 3)
    looped = loop(
        target=jc.Categorical(table),
        learner=jc.Tabular(document_length=10),
        alpha=jc.Constant(0.02),
        n=jc.Constant(104),
        split="fixed",
    )
    _, (real, total) = jc.ensemble(
        looped, 1, lineages=2000, key=jr.key(11), record=lambda l, batch: (batch.real.total, batch.pooled.total)
    )
    assert (np.asarray(total) == 100).all()
    assert_mean(np.asarray(real)[:, 0] / 10, np.asarray(0.2))


@pytest.mark.parametrize("split", ["random", "fixed", "round"])
def test_provenance_adds_up_and_has_the_share_of_its_split(split):
    looped = loop(alpha=jc.Constant(0.13), n=jc.Constant(50), split=split)
    record = lambda lineage, batch: (batch.real.counts, batch.synthetic.counts, batch.pooled.counts)
    _, (real, synthetic, pooled) = jc.ensemble(looped, 2, lineages=4000, key=jr.key(12), record=record)
    assert (real + synthetic == pooled).all() and (real >= 0).all() and (synthetic >= 0).all()
    drawn = np.asarray(real.sum(-1))
    expected = {"random": set(range(51)), "fixed": {6, 7}, "round": {6}}[split]
    assert set(np.unique(drawn)) <= expected
    assert_mean(drawn[:, 1], np.asarray(6.0 if split == "round" else 6.5))
    assert_mean(real[:, 1], drawn[:, 1].mean() * reference.zipf(20))


def test_provenance_is_compiled_away_where_nobody_reads_it(monkeypatch, optimised):
    def cost(record):
        run = jax.jit(lambda key: jc.simulate(loop(), 5, key=key, record=record))
        return run.lower(jr.key(0)).compile().cost_analysis()["flops"]

    unread = cost(lambda lineage, batch: batch.pooled.total)
    assert unread < cost(lambda lineage, batch: batch.real.total) - 1000
    monkeypatch.setattr(tabular, "binomial", lambda key, n, p: n)
    assert unread == cost(lambda lineage, batch: batch.pooled.total)


def test_a_lineage_can_be_replayed_alone_and_does_not_depend_on_the_width_of_the_batch():
    _, wide = jc.ensemble(loop(), 7, lineages=6, key=jr.key(13), record=lambda lineage, batch: batch.data.counts)
    _, narrow = jc.ensemble(loop(), 7, lineages=3, key=jr.key(13), record=lambda lineage, batch: batch.data.counts)
    _, alone = jc.simulate(loop(), 7, key=jr.fold_in(jr.key(13), 4), record=lambda lineage, batch: batch.data.counts)
    assert (wide[4] == alone).all() and (wide[:3] == narrow).all()


def test_steps_by_hand_are_the_simulation():
    looped, key = loop(), jr.key(14)
    lineage = looped.init(key=jr.fold_in(key, 0))
    for t in range(1, 4):
        lineage, _ = looped.step(lineage, key=jr.fold_in(key, t))
    last, _ = jc.simulate(looped, 3, key=key)
    np.testing.assert_allclose(last.model.probs, lineage.model.probs, rtol=1e-6)
    assert int(last.t) == 3


def test_new_values_do_not_compile_anew():
    chex.clear_trace_counter()
    record = chex.assert_max_traces(lambda lineage, batch: batch.pooled.total, n=1)
    for alpha, n in ((0.1, 10), (0.5, 1000), (1.0, 10**6)):
        jc.simulate(loop(alpha=jc.Constant(alpha), n=jc.Constant(n)), 3, key=jr.key(0), record=record)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: {"regime": jc.Accumulate(decay=x)},
        lambda x: {"regime": jc.Anchor(fraction=x)},
        lambda x: {"learner": jc.Tabular(smoothing=x)},
        lambda x: {"alpha": jc.PowerLaw(x, exponent=-x)},
        lambda x: {"alpha": jc.Piecewise((2,), (jc.Constant(1.0), jc.Constant(x)))},
    ],
)
def test_new_values_of_any_field_do_not_compile_anew(change):
    chex.clear_trace_counter()
    record = chex.assert_max_traces(lambda lineage, batch: batch.alpha, n=1)
    for value in (0.1, np.float64(0.2), np.float32(0.3), jnp.asarray(0.4)):
        jc.simulate(loop(**change(value)), 2, key=jr.key(0), record=record)


def test_a_loop_runs_in_another_precision_than_the_one_it_was_built_in():
    built = loop()
    with jax.enable_x64(True):
        assert jc.simulate(built, 2, key=jr.key(0))[1]["diversity"].dtype == jnp.float64
        built = loop()
    assert jc.simulate(built, 2, key=jr.key(0))[1]["diversity"].dtype == jnp.float32


def test_a_memory_that_has_faded_away_keeps_the_model():
    forget = jc.RealOnly(jc.Accumulate(decay=0.1))
    looped = loop(regime=forget, alpha=jc.Constant(0.0), n=jc.Constant(20))
    _, p = jc.simulate(looped, 200, key=jr.key(23), record=lambda lineage, batch: lineage.model.probs)
    np.testing.assert_allclose(p, np.broadcast_to(p[0], p.shape), rtol=1e-4)
    looped = loop(regime=jc.Subsample(forget), alpha=jc.Constant(0.0), n=jc.Constant(20))
    _, diversity = jc.simulate(looped, 200, key=jr.key(23), record=lambda l, b: jc.metrics.diversity(l.model.probs))
    assert np.isfinite(diversity).all()


def test_a_fixed_split_is_unbiased_at_large_sizes_too():
    draw = jax.vmap(lambda key: real_draws("fixed", jnp.asarray(0.5), jnp.asarray(2**24 + 2), key=key))
    assert (draw(jr.split(jr.key(24), 2000)) == 2**23 + 1).all()


def test_a_curation_that_leaves_less_than_one_does_not_change_the_share_of_real_data():
    tenth = lambda model: eqx.tree_at(lambda m: m.probs, model, 0.1 * model.probs)
    looped = loop(curate=tenth, alpha=jc.Constant(0.1), n=jc.Constant(100))
    _, real = jc.ensemble(looped, 1, lineages=4000, key=jr.key(25), record=lambda lineage, batch: batch.real.total)
    assert_mean(real, np.array([10.0]))


def test_a_committed_target_runs_on_every_device():
    target = jc.Categorical(jax.device_put(jc.zipf(5).probs, jax.devices()[0]))
    _, total = jc.ensemble(loop(target=target), 2, lineages=4, key=jr.key(0), record=lambda l, b: b.pooled.total)
    assert len(total.sharding.device_set) == jax.device_count() == 2
    with jax.default_device(jax.devices()[1]):
        _, total = jc.ensemble(loop(), 2, lineages=4, key=jr.key(0), record=lambda l, b: b.pooled.total)
    assert total.devices() == {jax.devices()[1]}


def test_lineages_are_shared_out_over_the_devices_outside_a_trace_alone():
    def counts(key, lineages=6):
        return jc.ensemble(loop(), 3, lineages=lineages, key=key, record=lambda l, b: b.pooled.counts)[1]

    shared, traced, uneven = counts(jr.key(0)), jax.jit(counts)(jr.key(0)), counts(jr.key(0), lineages=5)
    shares = {shard.device: shard.data.shape[0] for shard in shared.addressable_shards}
    assert shares == dict.fromkeys(jax.devices(), 3) and len(shares) == 2
    assert len(traced.devices()) == len(uneven.devices()) == 1
    assert np.array_equal(shared, traced) and np.array_equal(shared[:5], uneven)


def test_concrete_misuse_is_refused_inside_a_compiled_function_too():
    with pytest.raises(ValueError, match=r"alpha: got 1\.5"):
        jax.jit(lambda key: jc.simulate(loop(alpha=jc.Constant(1.5)), 2, key=key)[1])(jr.key(0))
    with pytest.raises(ValueError, match=r"alpha: got 1\.5 at generation 1"):
        good = loop().init(key=jr.key(0))
        loop(alpha=jc.Constant(1.5)).step(good, key=jr.key(0))


@pytest.mark.parametrize(
    "change",
    [
        lambda x: {"regime": jc.Accumulate(decay=x)},
        lambda x: {"regime": jc.Anchor(fraction=x)},
        lambda x: {"learner": jc.Tabular(smoothing=x)},
        lambda x: {"target": jc.Categorical(x * jnp.array([0.5, 0.5]))},
    ],
)
def test_traced_fields_out_of_range_give_nan_records(change):
    run = jax.jit(lambda x: jc.simulate(loop(**change(x)), 3, key=jr.key(0))[1]["diversity"])
    assert np.isnan(run(-0.5)).all() and np.isnan(run(jnp.nan)).all() and np.isfinite(run(1.0)).all()


def test_schedules_of_optax_and_plain_functions_work():
    looped = loop(alpha=optax.exponential_decay(0.5, 10, 0.9), n=lambda t: 10 + t)
    with jax.numpy_dtype_promotion("standard"):
        _, records = jc.simulate(
            looped, 5, key=jr.key(0), record=lambda lineage, batch: (batch.alpha, batch.pooled.total)
        )
    np.testing.assert_allclose(records[0], 0.5 * 0.9 ** (np.arange(1, 6) / 10), rtol=1e-5)
    assert (np.asarray(records[1]) == 10 + np.arange(1, 6)).all()


def test_one_token_for_ever_is_absorbing_and_finite(precision):
    looped = loop(alpha=jc.Constant(0.0), n=jc.Constant(1))
    last, records = jc.simulate(looped, 10_000, key=jr.key(15))
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(records))
    assert (np.asarray(records["diversity"]) == 0).all() and (np.asarray(records["surviving"]) == 1).all()
    assert float(last.model.probs.max()) == 1.0


def test_lost_tokens_stay_lost_without_real_data_and_a_point_mass_stays():
    _, p = jc.ensemble(
        loop(alpha=jc.Constant(0.0), n=jc.Constant(7)),
        400,
        lineages=20,
        key=jr.key(16),
        record=lambda l, b: l.model.probs,
    )
    alive = np.asarray(p) > 0
    assert (alive[:, 1:] <= alive[:, :-1]).all()
    assert (np.asarray(p)[:, -1].max(-1) == 1.0).all()


def test_with_real_data_alone_generations_are_independent_samples(precision):
    looped = loop(alpha=jc.Constant(1.0), n=jc.Constant(30))
    _, counts = jc.ensemble(looped, 3, lineages=4000, key=jr.key(17), record=lambda lineage, batch: batch.data.counts)
    q = reference.zipf(20)
    assert_mean(counts, np.broadcast_to(30 * q, (3, 20)))
    centred = np.asarray(counts, float) - 30 * q
    assert_mean((centred[:, 0] * centred[:, 1]).sum(-1), np.asarray(0.0))


def test_large_samples_are_exact_in_total():
    for n in (2**24 + 1, 2**31 - 1):
        _, total = jc.simulate(
            loop(n=jc.Constant(n)), 2, key=jr.key(18), record=lambda lineage, batch: batch.pooled.total
        )
        assert (np.asarray(total) == n).all()
    with jax.enable_x64(True):
        _, total = jc.simulate(
            loop(n=jc.Constant(2**40)), 2, key=jr.key(18), record=lambda lineage, batch: batch.pooled.total
        )
        assert (np.asarray(total) == 2**40).all()


def test_leaky_memory_runs_from_replacing_to_accumulating():
    run = lambda regime: jc.simulate(
        loop(regime=regime, split="fixed"), 6, key=jr.key(19), record=lambda l, b: b.data.counts
    )[1]
    np.testing.assert_allclose(run(jc.Accumulate(decay=0.0)), run(jc.Replace()), rtol=1e-6)
    totals = np.asarray(run(jc.Accumulate(decay=0.5))).sum(-1)
    sizes, expected = np.rint(50 * np.sqrt(np.arange(7) + 1)), []
    pool = sizes[0]
    for n in sizes[1:]:
        expected.append(pool := 0.5 * pool + n)
    np.testing.assert_allclose(totals, expected, rtol=1e-5)


def test_curation_is_a_map_on_models():
    uniform = lambda model: eqx.tree_at(lambda m: m.probs, model, jnp.full_like(model.probs, 1 / 20))
    looped = loop(curate=uniform, alpha=jc.Constant(0.0), n=jc.Constant(40))
    _, counts = jc.ensemble(looped, 1, lineages=4000, key=jr.key(20), record=lambda lineage, batch: batch.data.counts)
    assert_mean(counts, np.full((1, 20), 2.0))


def test_swept_fields_may_be_batched():
    make = eqx.filter_vmap(lambda alpha: loop(alpha=jc.Constant(alpha), n=jc.Constant(30)))
    loops = make(jnp.array([0.0, 1.0]))
    run = eqx.filter_vmap(lambda looped: jc.ensemble(looped, 3, lineages=5, key=jr.key(21))[1]["diversity"])
    assert run(loops).shape == (2, 5, 3)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"alpha": jc.Constant(1.5)}, r"alpha: got 1.5 at generation 1, expected a mixture weight in \[0, 1\]"),
        ({"alpha": jc.Constant(-0.1)}, "alpha: got -0.1"),
        ({"alpha": jc.Constant(float("nan"))}, "alpha: got nan at generation 1"),
        ({"alpha": jc.PowerLaw(2.0, exponent=-1.0)}, "cap=1"),
        ({"alpha": lambda t: 2.0}, r"alpha: got 2.0 at generation 1, .* try jnp.minimum\(..., 1\)"),
        ({"alpha": lambda t: -0.1}, "alpha: got -0.1 at generation 1, .* try a weight of at least 0"),
        ({"n": jc.Constant(0)}, "n: got 0 at generation 0, expected a finite sample size from 1"),
        ({"n": jc.Constant(0.4)}, "n: got 0.4"),
        ({"n": jc.Constant(float("inf"))}, "n: got inf"),
        ({"n": jc.Constant(float("nan"))}, "n: got nan"),
        ({"n": jc.Constant(2**31)}, "enable_x64"),
        ({"n": jc.Constant(2.0**31)}, "enable_x64"),
        ({"n": jc.Constant(np.int64(2**32 + 5))}, "n: got 4294967296"),
        ({"n": jc.Constant(np.uint32(3_000_000_000))}, "n: got 3"),
        ({"n": lambda t: np.int64(2**32 + 5)}, "n: got 4294967296"),
        (
            {"n": jc.Constant(2**30), "regime": jc.Accumulate()},
            r"n: got a pool of .* draws.*try Accumulate\(decay=1.0\)",
        ),
    ],
)
def test_schedules_out_of_range_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        jc.simulate(loop(**changed), 3, key=jr.key(0))
    with pytest.raises(ValueError, match=message):
        jc.ensemble(loop(**changed), 3, lineages=2, key=jr.key(0))


WRONG_KIND = [
    ("jc.Loop(**fields | {'alpha': 0.5})", "alpha: got 0.5, expected a callable; try jc.Constant(0.1)"),
    ("jc.Loop(**fields | {'n': 100})", "n: got 100, expected a callable; try jc.Constant(100)"),
    ("jc.Loop(**fields | {'split': 'half'})", "split: got 'half', expected one of random, fixed, round"),
    ("jc.Loop(**fields | {'target': [0.5, 0.5]})", "target: got [0.5, 0.5], expected a jc.AbstractModel; try jc.Categ"),
    ("jc.Subsample(jc.Accumulate)", "inner: got <class"),
    ("jc.Piecewise((4,), (1.0, 2.0))", "pieces: got (1.0, 2.0), expected callables"),
    ("jc.Piecewise((4, 2), 3 * (jc.Constant(1.0),))", "boundaries: got (4, 2), expected increasing"),
    ("jc.Tabular(document_length=2.5)", "document_length: got 2.5"),
    ("jc.Accumulate(decay=__import__('numpy').ones(5))", "decay: got array([1., 1., 1., 1., 1.]), expected one number"),
    ("jc.Loop(**fields | {'regime': jc.Replace})", "try jc.Replace()"),
    ("jc.Loop(**fields | {'curate': lambda model: model.probs})", "curate: got a function that returns"),
    ("jc.Loop(**fields | {'curate': 'mode'})", "curate: got 'mode', expected a callable"),
    ("jc.Loop(**fields | {'learner': None})", "learner: got None, expected a jc.AbstractLearner; try jc.Tabular()"),
    ("jc.simulate(jc.Loop(**fields), 2, key=0)", "key: got 0, expected a PRNG key; try jax.random.key(0)"),
    (
        "jc.ensemble(jc.Loop(**fields), 2, lineages=2, key=jax.random.split(key))",
        "key: got keys of shape (2,), expected one; each lineage gets its own from it",
    ),
    ("jc.ensemble(jc.Loop(**fields), 2, lineages=2, key=7)", "key: got 7, expected a PRNG key; try jax.random.key(0)"),
    (
        "jc.simulate(jc.Loop(**fields | {'alpha': lambda t: 0.5 if t < 3 else 0.1}), 2, key=key)",
        "alpha: got a function that branches on t in Python",
    ),
    ("jc.simulate(jc.Loop(**fields), 2.0, key=key)", "generations: got 2.0"),
    ("jc.simulate(jc.Loop(**fields), True, key=key)", "generations: got True"),
    ("jc.ensemble(jc.Loop(**fields), 3, lineages=1.5, key=key)", "lineages: got 1.5"),
]


def test_arguments_of_the_wrong_kind_are_named_with_advice():
    # In a process of its own: here the type checker of the tests would speak first.
    code = (
        "import jax, jaxcollapse as jc\n"
        "key = jax.random.key(0)\n"
        "fields = dict(target=jc.zipf(5), learner=jc.Tabular(), regime=jc.Replace())\n"
        "fields |= dict(alpha=jc.Constant(0.5), n=jc.Constant(9))\n"
        f"for code in {[code for code, _ in WRONG_KIND]!r}:\n"
        "    try: eval(code); print('no error')\n"
        "    except ValueError as error: print(str(error).replace(chr(10), ' '))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for (call, message), said in zip(WRONG_KIND, done.stdout.splitlines(), strict=True):
        assert message in said, call


@pytest.mark.parametrize("generations", [0, -3])
def test_generations_must_be_a_positive_whole_number(generations):
    with pytest.raises(ValueError, match="generations: got"):
        jc.simulate(loop(), generations, key=jr.key(0))


@pytest.mark.parametrize("lineages", [0, -1])
def test_lineages_must_be_a_positive_whole_number(lineages):
    with pytest.raises(ValueError, match="lineages: got"):
        jc.ensemble(loop(), 3, lineages=lineages, key=jr.key(0))


def test_traced_misuse_gives_nan_records_and_marked_counts_and_spoils_no_other_lineage():
    def run(alpha, n):
        record = lambda lineage, batch: (lineage.model.probs, batch.pooled.counts)
        return jc.simulate(loop(alpha=jc.Constant(alpha), n=jc.Constant(n)), 3, key=jr.key(0), record=record)[1]

    alpha = jnp.array([0.5, 1.5, -0.1, jnp.nan, 0.5, 0.5, 0.5, 0.5])
    n = jnp.array([10.0, 10.0, 10.0, 10.0, 0.0, jnp.inf, jnp.nan, 2.0**31])
    probs, counts = jax.jit(jax.vmap(run))(alpha, n)
    assert np.isfinite(probs[0]).all() and np.isnan(probs[1:]).all()
    assert (counts[0] >= 0).all() and (counts[0].sum(-1) == 10).all()
    assert (np.asarray(counts[1:]) == -1).all()


def test_misuse_at_a_late_generation_marks_the_whole_lineage():
    run = jax.jit(
        lambda scale: jc.simulate(loop(alpha=lambda t: scale * t.astype(float)), 5, key=jr.key(0))[1]["diversity"]
    )
    assert np.isnan(run(0.3)).all() and np.isfinite(run(0.2)).all()


def test_a_pool_that_overflows_under_a_trace_is_marked():
    run = jax.jit(
        lambda n: jc.simulate(loop(n=jc.Constant(n), regime=jc.Accumulate()), 3, key=jr.key(0))[1]["diversity"]
    )
    assert np.isnan(run(jnp.asarray(2**30))).all() and np.isfinite(run(jnp.asarray(2**28))).all()


CHOSEN = (1, 2, 5, 11)


def every_kind(lineage, batch):
    summary = lineage.model.summary(jc.zipf(20))
    return summary, batch.real.counts, lineage.model.probs, batch.alpha, lineage.t


def chosen(records, at, axis=1):
    return jax.tree.map(lambda x: np.take(np.asarray(x), np.array(at) - 1, axis), records)


def assert_same(records, others):
    """Whole numbers, models and schedules bit for bit, what `record` sums up to the last digits."""
    computed, *drawn = records
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6, atol=1e-7), computed, others[0])
    jax.tree.map(np.testing.assert_array_equal, drawn, list(others[1:]))


def test_chosen_generations_hold_what_all_of_them_hold_there():
    options = {"lineages": 6, "key": jr.key(26), "record": every_kind}
    last, everything = jc.ensemble(loop(), 14, **options)
    for at in (CHOSEN, np.array([3, 4, 9, 14])):
        chosen_last, records = jc.ensemble(loop(), 14, record_at=at, **options)
        assert_same(records, chosen(everything, at))
        jax.tree.map(np.testing.assert_array_equal, chosen_last, last)


def test_other_generations_of_the_same_number_do_not_compile_anew():
    chex.clear_trace_counter()
    record = chex.assert_max_traces(lambda lineage, batch: batch.alpha, n=2)  # its shape, and its program
    for at in ((1, 2, 3), (4, 6, 9), (7, 8, 10)):
        _, alpha = jc.simulate(loop(), 10, key=jr.key(0), record=record, record_at=at)
        np.testing.assert_allclose(alpha, np.minimum(1, 0.6 * np.array(at) ** -0.4), rtol=1e-6)


def test_chosen_generations_of_an_invalid_lineage_are_marked_whenever_it_became_so():
    record = lambda lineage, batch: (batch.alpha, batch.pooled.total)
    run = jax.jit(
        lambda rate: jc.simulate(
            loop(alpha=jc.Exponential(0.5, rate=rate)), 9, key=jr.key(0), record=record, record_at=(1, 3)
        )[1]
    )
    alpha, total = run(1.1)  # above 1 from t = 8 on
    assert np.isnan(alpha).all() and (np.asarray(total) == -1).all()
    assert np.isfinite(run(1.0)[0]).all()


@pytest.mark.parametrize(
    ("record_at", "message"),
    [
        ((0, 3), r"record_at: got 0, expected generations in 1\.\.9; try \[9\]"),
        ((3, 10), "record_at: got 10, expected generations in"),
        ((1, 3, 3), "record_at: got 3 after 3, expected distinct, ascending"),
        ((1, 4, 2), "record_at: got 2 after 4, expected distinct, ascending"),
        ((), r"record_at: got \(\), expected a sequence of whole numbers"),
        ((1.0, 2.5), r"record_at: got \(1\.0, 2\.5\), expected a sequence of whole numbers"),
        ([True, False], "record_at: got .*, expected a sequence of whole numbers"),
        (np.array([[1, 2]]), "record_at: got .*, expected a sequence of whole numbers"),
    ],
)
def test_generations_that_cannot_be_recorded_are_named(record_at, message):
    for run in (jc.simulate, lambda *a, **k: jc.ensemble(*a, lineages=2, **k)):
        with pytest.raises(ValueError, match=message):
            run(loop(), 9, key=jr.key(0), record_at=record_at)


class Raw(jc.AbstractLearner):
    """A learner whose fit returns an array."""

    def init(self, target, *, key):
        return target

    def observe(self, model, n, *, key):
        return jc.Tabular().observe(model, n, key=key)

    def pool(self, target, source, alpha, n, split, *, key):
        return jc.Tabular().pool(target, source, alpha, n, split, key=key)

    def fit(self, data, model, *, key):
        return data.counts / data.counts.sum()


class Restless(jc.AbstractRegime):
    """A regime whose memory becomes another type."""

    def init(self, data):
        return data

    def update(self, memory, batch, *, key):
        return 1.0 * batch.pooled, batch.pooled

    def largest_pool(self, n_t):
        return n_t.max()


class Forgetful(Restless):
    """A regime that answers with the data alone."""

    def update(self, memory, batch, *, key):
        return batch.pooled


def test_parts_of_the_users_own_that_cannot_work_are_named():
    for parts, message in (
        ({"regime": Forgetful()}, r"regime: got Counts.* from update, expected \(memory, data\)"),
        ({"target": jc.Text(jnp.arange(40), 4)}, "target: got Text.*expected a table of probabilities; try jc.Categ"),
        ({"learner": Raw()}, "learner: got a fit that returns .*expected a jc.AbstractModel"),
        ({"regime": Restless()}, r"regime: got a memory .*float32\[\d+\].* from update, expected what init returns"),
    ):
        with jax.numpy_dtype_promotion("standard"), pytest.raises(ValueError, match=message):
            jc.simulate(loop(**parts), 3, key=jr.key(0))
    values = np.array([0.1, 0.2, 0.3, 0.4])
    with pytest.raises(ValueError, match="alpha: got a function that hands t to NumPy, expected one that JAX can"):
        jc.simulate(loop(alpha=lambda t: values[t]), 3, key=jr.key(0))
    with pytest.raises(ValueError, match=r"alpha: got a function that makes a Python number of t, .* try jnp.log"):
        jc.simulate(loop(alpha=lambda t: 1 / math.log(t + 3)), 3, key=jr.key(0))
