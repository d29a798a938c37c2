"""Atoms form a cone in fixed slots: exact while they fit, unbiased beyond, the same sample in any order of the sums."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxcollapse as jc
from jaxcollapse import _atoms
from tests.helpers import assert_mean

PAIR = jc.GaussianMixture(np.array([0.3, 0.7]), np.array([[0.0], [100.0]]), np.ones((2, 1, 1)))
SOURCE = jc.GaussianMixture(np.ones(1), np.array([[-100.0]]), np.ones((1, 1, 1)))


def measure(atoms):
    """What a sample says of some functions of x: the total, the mean, an indicator; and how many slots it fills."""
    x, w = atoms.points[:, 0], atoms.weights
    return jnp.stack([w.sum(), (w * x).sum(), jnp.where(x < 10, w, 0.0).sum(), (w > 0).sum().astype(float)])


def content(atoms):
    """The points that weigh anything, in order, with their weights."""
    held = np.asarray(atoms.weights) > 0
    order = np.argsort(np.asarray(atoms.points)[held, 0])
    return np.asarray(atoms.points)[held, 0][order], np.asarray(atoms.weights)[held][order]


def part(i, key, slots=6):
    return jc.Atoms(jnp.arange(float(slots))[:, None] + 10.0 * i, jnp.array([1.0, 2, 3, 0, 1, 0.5])[:slots], key=key)


def test_what_fits_is_added_and_scaled_exactly():
    a, b = jc.Atoms(jnp.zeros((4, 1)), jnp.array([1.0, 2, 0, 0]), key=jr.key(0)), part(1, jr.key(1), 2)
    points, weights = content(0.5 * a + b)
    assert points.tolist() == [0, 0, 10, 11] and sorted(weights.tolist()) == [0.5, 1, 1, 2]
    assert float((0.5 * a + b).threshold) == 0


def test_an_empty_sample_changes_nothing():
    a = part(0, jr.key(0))
    empty = jax.tree.map(jnp.zeros_like, a)
    for both in (a + empty, empty + a):
        for x, y in zip(content(both), content(a), strict=True):
            np.testing.assert_array_equal(x, y)
    assert float(empty.total) == 0


def test_sums_beyond_the_capacity_are_one_sample_in_any_order():
    a, b, c = (part(i, jr.key(i)) for i in range(3))
    one, other = (a + b) + c, c + (b + a)
    assert len(content(one)[0]) == 6
    for x, y in zip(content(one), content(other), strict=True):
        np.testing.assert_allclose(x, y)
    assert float(one.threshold) > 0


def test_a_pool_beyond_its_capacity_has_no_bias():
    def pooled(key):
        pool = part(0, jr.fold_in(key, 0))
        for i in range(1, 5):
            pool = 0.7 * pool + part(i, jr.fold_in(key, i))
        return measure(pool)

    x = (np.arange(6) + 10.0 * np.arange(5)[:, None]).ravel()
    w = (np.array([1, 2, 3, 0, 1, 0.5]) * 0.7 ** np.arange(4, -1, -1)[:, None]).ravel()
    seen = jax.jit(jax.vmap(pooled))(jr.split(jr.key(0), 20_000))
    assert (seen[:, 3] == 6).all()
    assert_mean(seen[:, :3], [w.sum(), w @ x, w[x < 10].sum()])


def test_equal_draws_beyond_the_capacity_are_a_simple_random_sample():
    def pooled(key):
        parts = [jc.Atoms(jnp.arange(4.0)[:, None] + 4 * i, key=jr.fold_in(key, i)) for i in range(3)]
        pool = parts[0] + parts[1] + parts[2]
        kept = (pool.points == jnp.arange(12.0)[None]) & (pool.weights > 0)[:, None]
        return kept.any(0), jnp.ptp(pool.weights)

    kept, spread = jax.jit(jax.vmap(pooled))(jr.split(jr.key(1), 20_000))
    assert (spread == 0).all() and (kept.sum(1) == 4).all()
    assert_mean(kept, np.full(12, 1 / 3))
    pairs = np.einsum("li,lj->lij", kept, kept)[:, *np.triu_indices(12, 1)]
    assert_mean(pairs, np.full(66, (4 * 3) / (12 * 11)))


def test_resampling_is_without_replacement_for_equal_weights_and_unbiased_for_any():
    equal = jc.Atoms(jnp.arange(6.0)[:, None], key=jr.key(0))
    resample = jax.jit(jax.vmap(lambda key, a, n: a.resample(n, key=key).weights, (0, None, None)))
    draw = lambda keys, n, atoms=equal: resample(keys, atoms, n)
    few = draw(jr.split(jr.key(1), 10_000), 4.0)
    assert (few.sum(1) == 4).all() and (few.max() == 1)
    assert_mean(few, np.full(6, 4 / 6))
    keys = jr.split(jr.key(2), 10_000)
    assert (draw(keys, 9.0) == 1).all() and (draw(keys, 0.0) == 0).all() and np.isnan(draw(keys, -1.0)).all()
    uneven = part(0, jr.key(3))
    counts = draw(keys, 5.0, uneven)
    assert (counts.sum(1) == 5).all() and (counts == jnp.rint(counts)).all()
    assert_mean(counts, 5 * np.asarray(uneven.weights) / 7.5)
    assert (draw(keys, 3.0, jax.tree.map(jnp.zeros_like, equal)) == 0).all()


def test_a_marked_sample_stays_marked():
    @jax.jit
    def totals(n, a):
        marked, fine = (_atoms.observe(PAIR, m, 4, key=jr.key(0)) for m in (n, abs(n)))
        again = [sample.resample(n, key=jr.key(0)) for sample in (marked, fine)]
        return [sample.total for sample in (marked, marked + fine, fine + marked, a * fine, *again)]

    assert np.isnan(totals(-3, -0.5)).all()
    np.testing.assert_allclose(totals(3, 0.5), [3, 6, 6, 1.5, 3, 3], rtol=0.5)


@pytest.mark.parametrize(("n", "slots", "each"), [(0, 0, 0.0), (1, 1, 1.0), (8, 8, 1.0), (20, 8, 2.5)])
def test_n_draws_fill_as_many_slots_as_there_are(n, slots, each):
    weights = np.asarray(_atoms.observe(PAIR, jnp.asarray(n), 8, key=jr.key(0)).weights)
    assert (weights > 0).sum() == slots and set(weights[:slots].tolist()) <= {each}


@pytest.mark.parametrize("split", ["random", "fixed", "round"])
def test_parts_of_a_pool_add_up_to_it_and_come_from_their_source(split):
    pool = lambda key: _atoms.pool(PAIR, SOURCE, jnp.asarray(0.3), jnp.asarray(5), split, 8, key=key)
    pooled, real, synthetic = jax.jit(jax.vmap(pool))(jr.split(jr.key(0), 4000))
    np.testing.assert_array_equal(real.weights + synthetic.weights, pooled.weights)
    assert (pooled.weights.sum(1) == 5).all()
    assert ((synthetic.weights > 0) == ((pooled.points[..., 0] < -50) & (pooled.weights > 0))).all()
    if split == "round":
        assert (real.weights.sum(1) == 2).all()
    else:
        assert_mean(real.weights.sum(1), 1.5)
    whole = jax.tree.map(lambda x: x[0], real) + jax.tree.map(lambda x: x[0], synthetic)
    np.testing.assert_array_equal(content(whole)[0], content(jax.tree.map(lambda x: x[0], pooled))[0])


def test_a_component_without_weight_is_never_drawn():
    model = jc.GaussianMixture(np.array([0, 0.5, 0, 0.5, 0]), jnp.arange(5.0)[:, None], jnp.zeros((5, 1, 1)))
    points = np.asarray(model.draw(20_000, key=jr.key(0)))[:, 0]
    assert set(points.tolist()) == {1.0, 3.0}
    assert abs((points == 1).mean() - 0.5) < 4 * 0.5 / np.sqrt(20_000)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jc.Atoms(jnp.zeros(3), key=jr.key(0)), r"points: got shape \(3,\), expected m points in d dimensions"),
        (lambda: jc.Atoms(jnp.zeros((0, 2)), key=jr.key(0)), r"points: got shape \(0, 2\)"),
        (lambda: jc.Atoms(jnp.zeros((3, 2)), jnp.ones(2), key=jr.key(0)), r"weights: got shape \(2,\) for 3 points"),
        (lambda: jc.Atoms(jnp.zeros((2, 1)), jnp.array([1.0, -1]), key=jr.key(0)), "expected finite numbers"),
        (lambda: jc.Atoms(jnp.zeros((1, 1)), jnp.array([jnp.nan]), key=jr.key(0)), "expected finite numbers"),
        (lambda: jc.Mixture(capacity=0), "capacity: got 0, expected a whole number of at least 1"),
        (lambda: jc.Kernel(capacity=-3), "capacity: got -3"),
        (lambda: part(0, jr.key(0)) + jc.Atoms(jnp.zeros((2, 2)), key=jr.key(0)), "points: got 1 and 2 dimensions"),
    ],
)
def test_what_is_no_sample_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
