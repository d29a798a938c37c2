"""Every metric against SciPy, hand values, and its stated limits, in both precisions."""

import functools
import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from jaxcollapse import metrics

PAIRS = [
    metrics.squared_error,
    metrics.total_variation,
    metrics.kl,
    metrics.hellinger,
    metrics.chi_square,
    metrics.cross_entropy,
    metrics.perplexity,
    metrics.missing_mass,
]
SINGLES = [metrics.entropy, metrics.effective_support, metrics.diversity, metrics.inverse_simpson]
TINY = {"float32": 2e-6, "x64": 2e-13}


def laws(precision, shape=(7, 20)):
    """Random laws, a third of their entries zero, as float64 and in the precision under test."""
    generator = np.random.default_rng(5)
    p = generator.gamma(0.5, size=shape) * (generator.random(shape) > 1 / 3)
    p[..., 0] += 0.1
    rounded = jnp.asarray(p / p.sum(-1, keepdims=True), float)
    exact = np.asarray(rounded, np.float64)
    return rounded, exact / exact.sum(-1, keepdims=True)


def full(precision, seed=1, shape=(7, 20)):
    p = np.random.default_rng(seed).gamma(1.0, size=shape)
    rounded = jnp.asarray(p / p.sum(-1, keepdims=True), float)
    return rounded, np.asarray(rounded, np.float64)


REFERENCES = [
    (metrics.squared_error, lambda p, q: ((p - q) ** 2).sum(-1)),
    (metrics.total_variation, lambda p, q: np.abs(p - q).sum(-1) / 2),
    (metrics.kl, lambda p, q: scipy.stats.entropy(p, q, axis=-1)),
    (metrics.hellinger, lambda p, q: np.sqrt(1 - np.sqrt(p * q).sum(-1))),
    (metrics.chi_square, lambda p, q: (p**2 / q).sum(-1) - 1),
    (lambda p, q: metrics.cross_entropy(q, p + q), lambda p, q: -(q * np.log(p + q)).sum(-1)),
    (lambda p, q: metrics.perplexity(p, q), lambda p, q: np.exp(-(p * np.log(q)).sum(-1))),
    (metrics.missing_mass, lambda p, q: (q * (p == 0)).sum(-1)),
    (lambda p, q: metrics.tail_mass(p, q, 0.04), lambda p, q: (p * (q < 0.04)).sum(-1)),
    (lambda p, q: metrics.entropy(p), lambda p, q: scipy.stats.entropy(p, axis=-1)),
    (lambda p, q: metrics.effective_support(p), lambda p, q: np.exp(scipy.stats.entropy(p, axis=-1))),
    (lambda p, q: metrics.diversity(p), lambda p, q: 1 - (p**2).sum(-1)),
    (lambda p, q: metrics.inverse_simpson(p), lambda p, q: 1 / (p**2).sum(-1)),
    (lambda p, q: metrics.surviving(p), lambda p, q: np.count_nonzero(p, -1)),
    (lambda p, q: metrics.dominant(p), lambda p, q: p.argmax(-1)),
]


@pytest.mark.parametrize("index", range(len(REFERENCES)))
def test_metrics_equal_their_definitions_in_scipy(index, precision):
    metric, reference = REFERENCES[index]
    p, p64 = laws(precision)
    q, q64 = full(precision)
    np.testing.assert_allclose(metric(p, q), reference(p64, q64), rtol=TINY[precision])


def test_a_target_broadcasts_against_every_leading_axis(precision):
    p, p64 = laws(precision, (3, 4, 2, 6))
    q, q64 = full(precision, shape=(6,))
    expected = ((p64 - q64) ** 2).sum(-1)
    np.testing.assert_allclose(metrics.squared_error(p, q), expected, rtol=TINY[precision])
    for metric in PAIRS:
        assert metric(p, q).shape == metric(q, p).shape == (3, 4, 2)
    for metric in [*SINGLES, metrics.surviving, metrics.hapaxes, metrics.dominant]:
        assert metric(p).shape == (3, 4, 2)


def test_every_distance_vanishes_at_the_target(precision):
    p, _ = laws(precision)
    for metric in (metrics.squared_error, metrics.total_variation, metrics.kl, metrics.hellinger, metrics.chi_square):
        np.testing.assert_array_equal(metric(p, p), 0.0)
    np.testing.assert_array_equal(metrics.missing_mass(p, p), 0.0)
    np.testing.assert_allclose(metrics.cross_entropy(p, p), metrics.entropy(p), rtol=TINY[precision])


def test_a_point_mass_gives_the_documented_limits(precision):
    target = jnp.asarray([0.5, 0.3, 0.2], float)
    p = jnp.asarray([0.0, 0.0, 1.0], float)
    close = lambda value, expected: np.testing.assert_allclose(value, expected, rtol=TINY[precision])
    close(metrics.squared_error(p, target), 1 - 2 * 0.2 + 0.38)
    close(metrics.total_variation(p, target), 0.8)
    close(metrics.kl(p, target), np.log(5))
    close(metrics.hellinger(p, target), np.sqrt(1 - np.sqrt(0.2)))
    close(metrics.chi_square(p, target), 4.0)
    close(metrics.missing_mass(p, target), 0.8)
    assert metrics.kl(target, p) == metrics.cross_entropy(target, p) == metrics.perplexity(target, p) == np.inf
    assert metrics.entropy(p) == metrics.diversity(p) == 0.0
    assert metrics.effective_support(p) == metrics.inverse_simpson(p) == 1.0
    assert metrics.surviving(p) == 1
    assert metrics.dominant(p) == metrics.dominant(p, threshold=1.0) == 2


def test_the_uniform_law_has_the_largest_spread(precision):
    p = jnp.full((8,), 1 / 8, float)
    close = lambda value, expected: np.testing.assert_allclose(value, expected, rtol=TINY[precision])
    close(metrics.entropy(p), np.log(8))
    close(metrics.effective_support(p), 8)
    close(metrics.inverse_simpson(p), 8)
    close(metrics.diversity(p), 7 / 8)
    assert metrics.surviving(p) == 8


def test_disjoint_supports_reach_the_upper_ends(precision):
    p, q = jnp.asarray([1.0, 0.0, 0.0], float), jnp.asarray([0.0, 1.0, 0.0], float)
    assert metrics.squared_error(p, q) == 2.0
    assert metrics.total_variation(p, q) == metrics.hellinger(p, q) == metrics.missing_mass(p, q) == 1.0
    assert metrics.kl(p, q) == metrics.kl(q, p) == metrics.chi_square(p, q) == np.inf


@pytest.mark.parametrize("metric", PAIRS + SINGLES, ids=lambda metric: metric.__name__)
def test_no_metric_is_nan_on_the_boundary_of_the_simplex(metric, precision):
    smallest = float(jnp.finfo(float).tiny)
    values = [0.0, -0.0, smallest / 8, smallest, 1e-30, 1e-7]
    rows = jnp.asarray([[x, y, 1.0 - x - y] for x in values for y in values], float)
    if metric in SINGLES:
        assert not jnp.isnan(metric(rows)).any()
    else:
        assert not jnp.isnan(metric(rows[:, None], rows[None, :])).any()


@pytest.mark.parametrize("metric", PAIRS + SINGLES, ids=lambda metric: metric.__name__)
def test_nan_in_gives_nan_out(metric, precision):
    p, q = jnp.full((4,), jnp.nan, float), jnp.full((4,), 0.25, float)
    assert jnp.isnan(metric(p)) if metric in SINGLES else jnp.isnan(metric(p, q)) and jnp.isnan(metric(q, p))


@pytest.mark.parametrize("epsilon", [1e-6, 1e-12, 1e-30])
def test_diversity_keeps_its_digits_next_to_collapse(epsilon, precision):
    # 1 − ε is stored as 1: only the rare tokens still say that the law is not a point mass.
    p = jnp.asarray([epsilon / 2, 1 - epsilon, epsilon / 2, 0.0], float)
    np.testing.assert_allclose(metrics.diversity(p), 2 * epsilon - 1.5 * epsilon**2, rtol=TINY[precision])


def test_diversity_of_a_point_mass_is_exactly_zero_at_every_token(precision):
    rounded_up = jnp.eye(5, dtype=float) * (1 + jnp.finfo(float).eps)
    np.testing.assert_array_equal(metrics.diversity(rounded_up), 0.0)


@pytest.mark.parametrize("epsilon", [1e-2, 1e-3, 1e-4])
def test_kl_is_half_the_chi_square_distance_next_to_its_zero(epsilon, precision):
    p = np.linspace(1.0, 2.0, 1000) / 1500
    q = jnp.asarray(p * (1 + epsilon * np.tile([1.0, -1.0], 500)), float)
    p = jnp.asarray(p, float)
    p64, q64 = np.asarray(p, np.float64), np.asarray(q, np.float64)
    # The reference in float64 keeps the terms −p + q, since rows rounded to float32 do not sum to 1 exactly.
    np.testing.assert_allclose(metrics.kl(p, q), scipy.special.kl_div(p64, q64).sum(), rtol=2e-3)
    np.testing.assert_allclose(metrics.kl(p, q), metrics.chi_square(q, p) / 2, rtol=2 * epsilon + 2e-3)


def test_kl_is_finite_for_very_unequal_positive_laws(precision):
    p, q = jnp.asarray([0.5, 0.5], float), jnp.asarray([1.0, 1e-30], float)
    np.testing.assert_allclose(metrics.kl(p, q), 0.5 * np.log(0.5) + 0.5 * np.log(0.5 / 1e-30), rtol=TINY[precision])
    np.testing.assert_allclose(metrics.kl(q, p), np.log(2), rtol=TINY[precision])


def test_kl_to_the_model_is_infinite_exactly_where_mass_is_missing(precision):
    p, _ = laws(precision)
    target, _ = full(precision)
    np.testing.assert_array_equal(jnp.isinf(metrics.kl(target, p)), metrics.missing_mass(p, target) > 0)
    assert jnp.isfinite(metrics.kl(p, target)).all()
    mixture = 0.1 * target + 0.9 * p
    assert jnp.isfinite(metrics.kl(target, mixture)).all()


def test_cross_entropy_is_entropy_plus_kl(precision):
    p, _ = full(precision, 2)
    q, _ = full(precision, 3)
    total = metrics.entropy(p) + metrics.kl(p, q)
    np.testing.assert_allclose(metrics.cross_entropy(p, q), total, rtol=2 * TINY[precision])


def test_hellinger_brackets_total_variation(precision):
    p, _ = laws(precision, (200, 5))
    q, _ = full(precision, shape=(200, 5))
    h, tv = metrics.hellinger(p, q), metrics.total_variation(p, q)
    assert (h**2 <= tv + 1e-6).all() and (tv <= np.sqrt(2) * h + 1e-6).all()


def test_mean_chi_square_of_one_draw_is_the_support_less_one(precision):
    target, q64 = full(precision, shape=(20,))
    draws = metrics.chi_square(jnp.eye(20, dtype=float), target)
    np.testing.assert_allclose((q64 * np.asarray(draws)).sum(), 19, rtol=10 * TINY[precision])


def test_hapaxes_counts_the_tokens_seen_once(precision):
    counts = jnp.asarray([[1, 0, 1, 7], [2, 2, 0, 0]])
    np.testing.assert_array_equal(metrics.hapaxes(counts), [2, 0])
    np.testing.assert_array_equal(metrics.hapaxes(jnp.asarray(counts, float)), [2, 0])
    np.testing.assert_array_equal(metrics.surviving(counts), [3, 2])


def test_tail_mass_beyond_a_rank_uses_that_rank_as_threshold(precision):
    target = jnp.asarray([0.1, 0.4, 0.2, 0.0, 0.3], float)
    p = jnp.asarray([0.25, 0.25, 0.5, 0.0, 0.0], float)
    assert metrics.tail_mass(p, target, jnp.sort(target)[-2]) == 0.75
    assert metrics.tail_mass(p, target, 0.0) == 0.0
    assert metrics.tail_mass(p, target, 1.0) == 1.0


def test_dominant_is_minus_one_below_the_threshold():
    p = jnp.asarray([[0.9, 0.1], [0.5, 0.5], [0.0, 1.0]])
    np.testing.assert_array_equal(metrics.dominant(p), [0, 0, 1])
    np.testing.assert_array_equal(metrics.dominant(p, threshold=0.9), [0, -1, 1])
    np.testing.assert_array_equal(metrics.dominant(p, threshold=1.0), [-1, -1, 1])


@pytest.mark.parametrize(
    ("ids", "changes"),
    [
        ([4, -1, 4, -1, 2], 1),
        ([-1, -1, -1], 0),
        ([-1, -1, 0, 0, -1, 0], 0),
        ([-1, 3, -1, 0, -1, -1, 3, 1, 1], 3),
        ([0, 1, 2, 3], 3),
        ([5], 0),
    ],
)
def test_turnover_counts_changes_of_the_last_token_to_reach_the_threshold(ids, changes):
    assert metrics.turnover(jnp.asarray(ids)) == changes


def test_turnover_runs_along_the_axis_it_is_given():
    ids = jnp.asarray([[0, 1, 0], [2, -1, 2]])
    np.testing.assert_array_equal(metrics.turnover(ids), [2, 0])
    np.testing.assert_array_equal(metrics.turnover(ids, axis=0), [1, 0, 1])


def test_metrics_trace_batch_and_differentiate(precision):
    p, _ = full(precision, 2)
    q, _ = full(precision, 3)
    for metric in PAIRS:
        np.testing.assert_allclose(jax.jit(jax.vmap(metric))(p, q), metric(p, q), rtol=10 * TINY[precision])
        assert jnp.isfinite(jax.grad(lambda p, metric=metric: metric(p, q).sum())(p)).all()
    gradient = jax.grad(lambda p: metrics.diversity(p).sum())(p)
    np.testing.assert_allclose(gradient, 2 * jnp.sum(p, -1, keepdims=True) - 2 * p, rtol=10 * TINY[precision])


def test_numpy_float64_input_is_taken_in_the_default_float():
    p = np.full(4, 0.25)
    assert metrics.entropy(p).dtype == metrics.kl(p, p).dtype == jnp.float32


@pytest.mark.parametrize(
    "metric", [m for m in PAIRS if m is not metrics.perplexity] + [functools.partial(metrics.tail_mass, threshold=0.1)]
)
def test_laws_of_different_vocabularies_are_refused(metric):
    """Without the tests' type checker, as users call it; a last axis of 1 is no law that broadcasts."""
    function, rest = (metric.func, metric.keywords) if isinstance(metric, functools.partial) else (metric, {})
    plain = inspect.unwrap(function)
    for p, q in ((np.ones((2, 3)) / 3, np.ones(4) / 4), (np.ones((2, 1)), np.ones(4) / 4), (1.0, np.ones(4) / 4)):
        shapes = re.escape(f"got shapes {np.shape(p)} and {np.shape(q)}, expected as many tokens")
        with pytest.raises(ValueError, match=f"^(p, q|p, target|target, p): {shapes}"):
            plain(p, q, **rest)
    with pytest.raises(ValueError, match="leading axes that broadcast"):
        plain(np.ones((2, 4)) / 4, np.ones((3, 4)) / 4, **rest)


def test_a_count_of_tokens_is_marked_where_the_law_is_nan():
    p = jnp.asarray([[0.5, 0.5, 0.0], [jnp.nan, 1.0, 0.0]])
    assert metrics.surviving(p).tolist() == [2, -1]
