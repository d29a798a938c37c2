"""Calibration: diagrams against NumPy and scikit-learn, cases by hand, and what chance makes of a calibrated model."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve

from jaxcollapse import calibration
from tests.helpers import assert_mean

GENERATOR = np.random.default_rng(0)
LAWS = GENERATOR.dirichlet(np.full(5, 0.4), 400)
TRUE = GENERATOR.dirichlet(np.full(5, 0.4), 400)
TOKENS = np.array([GENERATOR.choice(5, p=p) for p in LAWS])
PAIRS = {"top": calibration.top_token, "each": calibration.each_token}
TRUTHS = {"tokens": TOKENS, "law": TRUE}
TINY = {"float32": 2e-6, "x64": 1e-13}


def binned(confidence, accuracy, edges):
    """Means in bins that hold their upper edge, and numbers, by hand."""
    at = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, len(edges) - 2)
    masks = [at == b for b in range(len(edges) - 1)]
    empty = (np.nan, np.nan, 0)
    return np.array([(confidence[m].mean(), accuracy[m].mean(), m.sum()) if m.any() else empty for m in masks])


def test_diagrams_and_errors_equal_their_definition(precision):
    bins = 12 if precision == "float32" else np.geomspace(1e-4, 1, 9)
    edges = np.asarray(jnp.linspace(0, 1, bins + 1) if isinstance(bins, int) else jnp.asarray(bins, float), np.float64)

    @jax.jit
    def everything():
        pairs = {(p, t): PAIRS[p](LAWS, truth) for p in PAIRS for t, truth in TRUTHS.items()}
        said = lambda c, a: (c, a, calibration.reliability(c, a, bins), calibration.calibration_error(c, a, bins))
        return list(jax.tree.map(lambda pair: said(*pair), pairs, is_leaf=lambda x: isinstance(x, tuple)).values())

    for c, a, found, error in everything():
        due = binned(np.asarray(c, np.float64).ravel(), np.asarray(a, np.float64).ravel(), edges)
        np.testing.assert_allclose(np.stack(found, -1), due, rtol=10 * TINY[precision], atol=TINY[precision])
        gap = np.nansum(due[:, 2] * abs(due[:, 1] - due[:, 0])) / due[:, 2].sum()
        np.testing.assert_allclose(error, gap, atol=TINY[precision])
        if np.ndim(c) == 1 and bins is edges.size - 1 and set(np.unique(a)) == {0, 1}:
            full = due[:, 2] > 0
            accuracy, confidence = calibration_curve(np.asarray(a), np.asarray(c), n_bins=bins)
            np.testing.assert_allclose(np.stack(found[:2])[:, full], [confidence, accuracy], rtol=1e-5)


def test_predictions_by_hand():
    probs = np.array([[0.9, 0.1, 0.0], [0.2, 0.2, 0.6], [0.4, 0.4, 0.2]])
    law = np.array([[0.5, 0.5, 0.0], [0.0, 0.1, 0.9], [0.4, 0.6, 0.0]])

    @jax.jit
    def found():
        c, a = calibration.top_token(probs, np.array([0, 1, 0]))
        _, exact = calibration.top_token(probs, law)
        errors = [calibration.calibration_error(c, a, bins) for bins in (15, 1)]
        errors += [calibration.calibration_error(c, exact, None, w) for w in (None, np.array([1.0, 1.0, 2.0]))]
        edges = calibration.reliability(np.array([0.0, 0.5, 0.5, 1.0]), np.zeros(4), 2).count
        return c, a, errors, calibration.each_token(probs, np.array([0, 1, 0]))[1], edges

    c, a, errors, each, edges = found()
    np.testing.assert_allclose(c, [0.9, 0.6, 0.4], rtol=1e-6)
    np.testing.assert_allclose(errors, [1.3 / 3, 0.1 / 3, 0.7 / 3, 0.7 / 4], rtol=2e-5)
    assert a.tolist() == [1, 0, 1] and each.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0]]
    assert edges.tolist() == [3, 1]  # a bin holds its upper edge, and the first one both


def test_a_law_is_calibrated_to_itself_and_wider_bins_hide_errors():
    @jax.jit
    def errors():
        itself, other = calibration.each_token(LAWS, LAWS), calibration.top_token(LAWS, TRUE)
        of = lambda pairs: [calibration.calibration_error(*pairs, bins) for bins in (1, 3, 15, 60, None)]
        return of(itself), of(other)

    itself, other = errors()
    assert not np.any(itself) and (np.diff(other) >= -1e-6).all() and other[0] < other[-1]


def test_chance_is_de_moivres_mean_deviation():
    several = jax.jit(jax.vmap(lambda c: calibration.chance_calibration_error(jnp.full(40, c))))
    many = jax.jit(lambda c: calibration.chance_calibration_error(jnp.full(200_000, c)))
    shares = np.asarray(jnp.asarray([0.0, 0.05, 0.5, 0.31, 1.0, 0.7], float), np.float64)
    found = [*several(jnp.asarray(shares[:5], float)), many(shares[5])]
    due = [deviation(40, c) for c in shares[:5]] + [deviation(200_000, shares[5])]
    np.testing.assert_allclose(found, due, rtol=1e-5, atol=1e-12)


def deviation(n, c):
    """E |K/n − c|, K ~ Binomial(n, c), as a sum."""
    k = np.arange(n + 1)
    return np.sum(stats.binom.pmf(k, n, c) * abs(k / n - c))


def test_measured_errors_of_a_calibrated_model_are_chance_and_squares_have_no_bias():
    """4,000 samples of 60 predictions with three confidences, of which the last is alone in its bin."""
    c = np.repeat([0.15, 0.55, 0.95], [40, 19, 1])
    u = np.random.default_rng(1).random((4000, 60))
    shifted, calibrated = (np.asarray(u < c - shift, float) for shift in (0.1, 0.0))

    @jax.jit
    def found(outcomes):
        each = lambda o: [f(c, o, 10) for f in (calibration.squared_calibration_error, calibration.calibration_error)]
        return jax.vmap(each)(outcomes), calibration.chance_calibration_error(c, 10)

    (squares, errors), chance = found(jnp.asarray(calibrated, float))
    assert_mean(errors, chance)
    assert_mean(squares, 0.0)
    assert_mean(found(jnp.asarray(shifted, float))[0][0], 0.01 * 59 / 60)
    assert chance > 0.05


def test_chance_bounds_a_bin_of_unequal_confidences_from_above():
    c = np.linspace(0.4, 0.6, 50)
    errors = abs((np.random.default_rng(2).random((20_000, 50)) < c).mean(1) - c.mean())
    bound = float(jax.jit(lambda: calibration.chance_calibration_error(c, 1))())
    assert 0.97 * bound < errors.mean() < bound + 4 * errors.std() / len(errors) ** 0.5


def test_nan_in_gives_nan_out():
    @jax.jit
    def found(laws, tokens):
        c, a = calibration.top_token(laws, TOKENS)
        errors = [calibration.calibration_error(c, a, bins) for bins in (15, None)]
        others = calibration.squared_calibration_error(c, a), calibration.chance_calibration_error(c)
        return jnp.stack([*errors, *others]), calibration.each_token(LAWS, tokens)[1]

    laws, tokens = LAWS.copy(), TOKENS.astype(float)
    laws[3], tokens[3] = np.nan, np.nan
    errors, accuracy = found(laws, tokens)
    assert jnp.isnan(errors).all() and jnp.isnan(accuracy).sum() == 5


def test_what_is_no_token_and_no_probability_gives_nan():
    c, a = np.array([0.3, 0.9]), np.array([0.0, 1.0])

    @jax.jit
    def found(edges):
        tokens = [PAIRS[p](np.full((4, 3), 1 / 3), np.array([5.0, -1.0, 1.5, 1.0]))[1] for p in PAIRS]
        of = lambda c, a: [calibration.calibration_error(c, a, bins) for bins in (2, None)]
        errors = [*of(100 * c, a), *of(c, 100 * a), *of(-c, a), calibration.squared_calibration_error(c, a, edges)]
        errors += [calibration.chance_calibration_error(100 * c, 2), calibration.calibration_error(c, a, edges)]
        return tokens, PAIRS["top"](np.array([[np.nan, np.nan], [0.8, np.nan]]), np.zeros(2)), errors, of(c + 1e-6, a)

    (top, each), pairs, errors, lawful = found(jnp.array([0.0, 0.8, 0.5, 1.0]))
    assert np.isnan(top).tolist() == [True] * 3 + [False] and np.isnan(each).sum() == 9
    assert np.isnan(pairs).all() and np.isnan(errors).all() and np.isfinite(lawful).all()


def test_what_does_not_fit_is_named():
    c = np.full(4, 0.5)
    with pytest.raises(ValueError, match=r"accuracy: got shapes \(4,\), \(3,\)"):
        calibration.reliability(c, np.ones(3))
    for bins, got in ((0, "got 0"), (True, "got True"), (np.array([0.5]), r"got edges of shape \(1,\)")):
        with pytest.raises(ValueError, match=f"bins: {got}"):
            calibration.reliability(c, c, bins)
    for edges in ([0, 0.8, 0.5, 1], [0, 0.5, 0.5, 1], [0, 0.5, 0.8], [0, 50, 100], [-0.1, 0.5, 1], [0, np.nan, 1]):
        with pytest.raises(ValueError, match=rf"bins: got {len(edges)} edges from .*each above the one before it"):
            calibration.reliability(c, c, np.array(edges, float))


def test_shapes_are_not_guessed():
    """Without the tests' type checker, as users call it: a column of tokens is no law."""
    probs = np.array([[0.9, 0.1], [0.2, 0.8]])
    for truth in ([[0], [1]], [0, 1, 1], [[0, 1]], 0):
        for pairs in PAIRS.values():
            with pytest.raises(ValueError, match=r"truth: got shape .* for probs of shape \(2, 2\), expected tokens"):
                inspect.unwrap(pairs)(probs, np.array(truth))
    for error in (calibration.calibration_error, calibration.squared_calibration_error):
        with pytest.raises(ValueError, match=r"accuracy: got shapes \(4,\), \(1,\)"):
            inspect.unwrap(error)(np.full(4, 0.5), np.ones(1))
    with pytest.raises(ValueError, match=r"accuracy: got shapes \(4,\), \(4, 1\)"):
        inspect.unwrap(calibration.calibration_error)(np.full(4, 0.5), np.ones((4, 1)), None)
