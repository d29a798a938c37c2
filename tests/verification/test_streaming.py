"""Streamed statistics against NumPy on the whole ensemble, and what they cost."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxcollapse as jc
from jaxcollapse import streaming
from jaxcollapse._learner import two_draws

EDGES = np.linspace(0.0, 0.5, 21)


class Coins(jc.AbstractLearner):
    """Up to 16 tosses, each of them drawn: it compiles in no time."""

    def init(self, target, *, key):
        return target

    def observe(self, model, n, *, key):
        heads = (jr.uniform(key, (16,)) < model.probs[0]) & (jnp.arange(16) < n)
        return jc.Counts(jnp.stack([heads.sum(), n - heads.sum()]))

    def pool(self, target, source, alpha, n, split, *, key):
        return two_draws(self, target, source, alpha, n, split, key=key)

    def fit(self, data, model, *, key):
        return jc.Categorical(data.counts.astype(float) / data.total.astype(float))


def coins(alpha):
    return jc.Loop(jc.Categorical(np.array([0.3, 0.7])), Coins(), jc.Replace(), alpha, jc.Constant(16), split="round")


LOOP = coins(jc.Constant(0.25))


def record(lineage, batch):
    p = lineage.model.probs
    alive = jc.metrics.surviving(p), batch.data.counts
    return {"risk": jc.metrics.squared_error(p, LOOP.target.probs), "alive": alive}


def run(batch, lineages=50, loop=LOOP, **options):
    edges = {"risk": EDGES, "alive": None}
    return streaming.ensemble(
        loop, 5, lineages=lineages, batch=batch, key=jr.key(1), record=record, record_at=(1, 5), edges=edges, **options
    )


def leaves(statistics):
    return jax.tree.leaves(statistics, is_leaf=lambda x: isinstance(x, streaming.Statistics))


def whole(x):
    """What the statistics of these lineages are, by NumPy in float64."""
    x = np.asarray(x, np.float64)
    moments = {"mean": x.mean(0), "variance": x.var(0, ddof=1), "standard_error": x.std(0, ddof=1) / np.sqrt(len(x))}
    return moments | {"minimum": x.min(0), "maximum": x.max(0)}


def test_streamed_statistics_are_those_of_the_whole_ensemble_for_every_batch(precision):
    _, records = jc.ensemble(LOOP, 5, lineages=50, key=jr.key(1), record=record, record_at=(1, 5))
    rtol = 1e-5 if precision == "float32" else 1e-12
    for batch in (50, 16):  # 16 leaves a partial batch
        found = run(batch)
        for statistics, x in zip(leaves(found), jax.tree.leaves(records), strict=True):
            assert (np.asarray(statistics.count) == 50).all() and not np.asarray(statistics.missing).any()
            for name, exact in whole(x).items():
                np.testing.assert_allclose(getattr(statistics, name), exact, rtol=rtol, atol=rtol * 1e-2, err_msg=name)
        histogram = np.asarray(found["risk"].histogram)
        for t in range(2):
            risk = np.asarray(records["risk"][:, t])
            counts = np.histogram(risk, EDGES.astype(risk.dtype))[0]
            assert (histogram[t, 1:-1] == counts).all() and histogram[t].sum() == 50


def test_a_batch_may_be_wider_than_the_ensemble():
    assert run(1000)["risk"].count.tolist() == [50, 50]


def test_counts_extremes_and_histograms_merge_exactly():
    x = jr.normal(jr.key(2), (1000, 3))
    begun = streaming.init(x[0], EDGES)
    at_once = streaming.update(begun, x)
    for cuts in ((1, 500), (500,)):
        parts = [streaming.update(begun, part) for part in jnp.split(x, cuts)]
        left = begun
        for part in parts:
            left = streaming.merge(left, part)
        right = parts[-1]
        for part in parts[-2::-1]:
            right = part.merge(right)
        for found in (left, right):
            for name in ("count", "missing", "minimum", "maximum", "histogram"):
                np.testing.assert_array_equal(getattr(found, name), getattr(at_once, name))
            np.testing.assert_allclose(found.variance, at_once.variance, rtol=1e-6)
            np.testing.assert_allclose(found.mean, at_once.mean, rtol=1e-5, atol=1e-7)


def test_ten_million_lineages_do_not_wear_float32_out():
    x = 100.0 + jr.exponential(jr.key(3), (10_000, 1000))
    begun = streaming.init(x[0, 0])
    found = jax.jit(lambda x: jax.lax.scan(lambda s, x: (s.update(x), None), begun, x)[0])(x)
    exact = np.asarray(x, np.float64)
    assert int(found.count) == 10**7
    assert abs(float(found.mean) / exact.mean() - 1) < 2e-7
    assert abs(float(found.variance) / exact.var(ddof=1) - 1) < 5e-7


def test_missing_values_are_counted_apart_and_infinite_ones_are_values():
    x = jnp.array([[1.0, jnp.nan, 2.0, jnp.inf], [3.0, jnp.nan, jnp.nan, 1.0], [5.0, jnp.nan, 4.0, jnp.inf]])
    for parts in ((x,), (x[:1], x[1:]), (x[:2], x[2:])):
        found = streaming.init(x[0], [0.0, 2.5, 9.0])
        for part in parts:
            found = streaming.update(found, part)
        assert found.count.tolist() == [3, 0, 2, 3] and found.missing.tolist() == [0, 3, 1, 0]
        np.testing.assert_allclose(found.mean, [3, np.nan, 3, np.inf])
        np.testing.assert_allclose(found.variance, [4, np.nan, 2, np.nan])
        np.testing.assert_allclose(found.minimum, [1, np.nan, 2, 1])
        np.testing.assert_allclose(found.maximum, [5, np.nan, 4, np.inf])
        assert found.histogram.tolist() == [[0, 1, 2, 0], [0] * 4, [0, 1, 1, 0], [0, 1, 0, 2]]
        assert float(found.quantile(1.0)[3]) == np.inf and np.isnan(found.quantile(0.5)[1])


@pytest.mark.parametrize("edges", [np.linspace(0, 4, 33), np.geomspace(0.01, 4, 33), np.array([1.0, 1.5])])
def test_quantiles_are_within_the_bin_that_they_are_in(edges):
    x = jr.exponential(jr.key(4), (801, 2), float) * jnp.array([[1.0, 3.0]], float)
    found = streaming.update(streaming.init(x[0], edges), x)
    q = np.array([0.0, 0.01, 0.5, 0.9, 0.999, 1.0])
    exact = np.quantile(np.asarray(x), q, axis=0, method="inverted_cdf")
    low, high = np.asarray(found.bracket(q))
    estimate = np.asarray(found.quantile(q))
    assert estimate.shape == (6, 2)
    assert ((low <= exact) & (exact <= high)).all() and ((low <= estimate) & (estimate <= high)).all()
    inside = (low >= edges[0]) & (high <= edges[-1])
    assert (abs(estimate - exact)[inside] <= 1.001 * np.diff(edges).max()).all()
    assert np.array_equal(found.quantile(0.5), found.quantile(q)[2])


def test_statistics_run_in_a_sweep_and_are_those_of_each_point_alone():
    def experiment(alpha, *, key):
        loop = coins(jc.Constant(alpha))
        options = {"record": lambda lineage, batch: jc.metrics.diversity(lineage.model.probs), "edges": EDGES}
        found = streaming.ensemble(loop, 4, lineages=20, batch=8, key=key, record_at=(2, 4), **options)
        return {"mean": ("generation", found.mean), "histogram": (("generation", "bin"), found.histogram)}

    alpha = np.array([0.25, 0.5])
    table = jc.sweep(experiment, key=jr.key(5), alpha=alpha)
    assert (table.histogram.sum("bin") == 20).all()
    risk = jc.theory.risk(jc.Constant(0.5), jc.Constant(16), 4, "round")[4]
    exact = jc.metrics.diversity(LOOP.target.probs) * (1 - risk)
    assert abs(table["mean"].values[1, 1] - exact) < 0.08
    again = jc.sweep(experiment, key=jr.key(5), alpha=alpha[1:])
    assert np.array_equal(again.histogram[0], table.histogram[1])


def test_memory_grows_with_the_batch_and_not_with_the_lineages(optimised):
    def bytes(lineages, batch):
        return jax.jit(lambda key: streaming.ensemble(LOOP, 20, lineages=lineages, batch=batch, key=key)).lower(
            jr.key(0)
        ).compile().memory_analysis().temp_size_in_bytes

    small, long, wide = bytes(128, 64), bytes(1280, 64), bytes(1280, 640)
    assert long < 1.1 * small + 10_000 and wide > 4 * small


def test_lineages_out_of_range_are_missing_whole_numbers_too():
    def alive(alpha):
        loop = coins(jc.Constant(alpha))
        return run(16, loop=loop)

    found = jax.jit(alive)(jnp.array(1.5, float))
    for statistics in leaves(found):
        assert (np.asarray(statistics.missing) == 50).all() and not np.asarray(statistics.count).any()
        assert np.isnan(statistics.mean).all()
    assert (np.asarray(found["alive"][0].minimum) == -1).all() and not np.asarray(found["risk"].histogram).any()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lineages": 0}, "lineages: got 0, expected a whole number"),
        ({"batch": True}, "batch: got True, expected a whole number"),
        ({"record_at": (0,)}, "record_at: got 0"),
        ({"generations": 0}, "generations: got 0"),
        ({"edges": [0.0, 1.0, 1.0]}, r"edges: got \[0.0, 1.0, 1.0\], expected two or more finite, increasing"),
        ({"edges": [0.5]}, "edges: got"),
        ({"edges": np.array([0.0, np.nan])}, "edges: got"),
        ({"edges": {"nothing": [0.0, 1.0]}}, "edges: got .*, expected numbers, or what begins like the record"),
        ({"record": lambda lineage, batch: jr.key(0)}, "record: got values of type key.*, expected real numbers"),
    ],
)
def test_bad_input_is_named(changed, message):
    options = {"generations": 3, "lineages": 4, "batch": 2, "key": jr.key(0)} | changed
    with pytest.raises(ValueError, match=message):
        streaming.ensemble(LOOP, **options)


def test_histograms_on_other_edges_do_not_merge_and_no_quantile_comes_without_one():
    x = jnp.zeros(3)
    a, b, none = (streaming.init(x, edges) for edges in ([0.0, 1.0], [0.0, 2.0], None))
    for other in (b, none):
        with pytest.raises(ValueError, match=r"edges: got .* expected the same"):
            streaming.merge(a, other)
    with pytest.raises(ValueError, match="edges: got None, but a quantile needs a histogram"):
        none.quantile(0.5)
    with pytest.raises(ValueError, match=r"q: got .* expected probabilities"):
        a.quantile(1.5)
