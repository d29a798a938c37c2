"""Schedules, and the one place where a sample size is rounded."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcollapse as jc
from jaxcollapse._schedule import evaluate


def test_power_laws_start_at_their_scale_and_stop_at_their_cap():
    np.testing.assert_allclose(jc.PowerLaw(3.0, exponent=2.0)(jnp.arange(4)), [3, 3, 12, 27])
    np.testing.assert_allclose(jc.PowerLaw(2.0, exponent=-1.0, cap=1)(jnp.arange(5)), [1, 1, 1, 2 / 3, 0.5], rtol=1e-6)


def test_exponentials_start_at_their_scale():
    np.testing.assert_allclose(jc.Exponential(5.0, rate=0.5)(jnp.arange(3)), [5, 2.5, 1.25])


def test_pieces_follow_one_another_without_restarting_the_clock():
    schedule = jc.Piecewise((2, 4), (jc.Constant(1.0), jc.PowerLaw(1.0, exponent=1.0), jc.Constant(7)))
    np.testing.assert_allclose([schedule(jnp.asarray(t)) for t in range(6)], [1, 1, 2, 3, 7, 7])
    with pytest.raises(ValueError, match="pieces: got 2 for 2 boundaries"):
        jc.Piecewise((2, 4), (jc.Constant(1.0), jc.Constant(2.0)))


def test_sample_sizes_are_rounded_and_stay_at_one_draw(precision):
    _, n_t = evaluate(jc.Constant(0.5), jc.Exponential(20.0, rate=0.5), 7)
    np.testing.assert_array_equal(n_t, [20, 10, 5, 2, 1, 1, 1, 1])
    _, n_t = evaluate(jc.Constant(0.5), jc.PowerLaw(1.0, exponent=0.5), 6)
    np.testing.assert_array_equal(n_t, [1, 1, 1, 2, 2, 2, 2])


def test_generation_0_is_all_real_whatever_alpha_says():
    alpha_t, _ = evaluate(jc.PowerLaw(0.5, exponent=-1.0), jc.Constant(10), 2)
    np.testing.assert_allclose(alpha_t, [1, 0.5, 0.25])
    assert evaluate(lambda t: jnp.where(t == 0, 99.0, 0.5), jc.Constant(10), 2)[0][0] == 1


def test_whole_sample_sizes_stay_exact_beyond_the_float_grid():
    from jaxcollapse._schedule import sample_size

    assert int(sample_size(jc.Constant(2**24 + 1), 1)[0]) == 2**24 + 1


def test_traced_parameters_are_evaluated_and_marked():
    run = jax.jit(lambda a, n: evaluate(jc.Constant(a), jc.Constant(n), 2))
    assert np.isfinite(run(0.5, 10.0)[1]).all()
    assert np.isnan(run(0.5, 0.2)[1]).any() and np.isnan(run(1.5, 10.0)[0]).any()


def test_a_negative_or_vanishing_sample_size_is_refused_at_its_generation():
    with pytest.raises(ValueError, match=r"n: got 0\.0 at generation 2"):
        evaluate(jc.Constant(0.5), lambda t: 2.0 - t.astype(float), 5)
