"""The data wall: when the real share leaves 1, and both readings of what follows."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxcollapse as jc
from tests.test_experiments import load

X64 = functools.partial(jax.enable_x64, True)


@pytest.mark.parametrize(
    ("fields", "supply"),
    [
        ({}, 300e12),
        ({"stock": 3100e12, "stock_growth": 0.0}, 3100e12),
        ({"overtraining": 25.0}, 300e12 / 5),  # √k times the data
        ({"repetition": 4.0, "synthetic_share": 0.5}, 300e12 * 4 / 0.5),
        ({"unit": 1e9, "stock_growth": 0.1, "growth": 2.0}, 300e12),
    ],
)
def test_the_real_share_leaves_its_cap_where_demand_meets_the_stock(fields, supply, precision):
    wall = jc.DataWall(**fields)
    time = np.log(supply / 1e13) / np.log(wall.growth / (1 + wall.stock_growth))
    assert float(wall.exhaustion()) == pytest.approx(time, abs=1e-4)
    cap, before = 1 - wall.synthetic_share, int(np.floor(time))
    np.testing.assert_allclose(wall.alpha_kept(jnp.arange(before + 1)), cap, rtol=1e-6)
    assert float(wall.alpha_kept(before + 1)) < cap - 1e-3
    np.testing.assert_allclose(wall.alpha_discarded(jnp.arange(12)), wall.alpha_kept(jnp.arange(12)), rtol=1e-6)


def test_a_wall_that_is_never_met_or_has_been_met_long_ago():
    assert jc.DataWall(growth=1.01).exhaustion() == jnp.inf
    assert jc.DataWall(stock=1.0, growth=1.05, stock_growth=0.0).exhaustion() == -jnp.inf


def test_five_and_a_hundred_times_over_training_bring_it_forward_as_published():
    years = [2024 + float(jc.DataWall(overtraining=k).exhaustion()) for k in (1, 5, 100)]
    assert [round(year) for year in years] == [2028, 2027, 2025]


def test_inflows_stay_in_the_stock_that_is_kept_and_pass_through_the_one_that_is_not():
    wall = jc.DataWall(10.0, 0.0, demand=1.0, growth=2.0, inflows=((3, 5.0),))
    np.testing.assert_allclose(wall.kept(jnp.arange(6)), [10, 10, 10, 15, 20, 25])
    np.testing.assert_allclose(wall.written(jnp.arange(6)), [10, 10, 10, 15, 15, 15])
    dying = jc.DataWall(10.0, -0.5, demand=1.0)
    np.testing.assert_allclose(dying.kept(jnp.arange(3)), 10)
    np.testing.assert_allclose(dying.written(jnp.arange(3)), [10, 5, 2.5])


@pytest.mark.parametrize(("h", "level"), [(0.0, 0.65), (0.05, 0.59), (0.10, 0.54)])
def test_discarded_text_freezes_at_the_level_known_from_the_wall_on(h, level):
    with X64():
        levels = [s * float(jc.DataWall(s, h, s, 2.4).risk_discarded(80)[-1]) for s in (1e12, 1e6)]
    assert levels[0] == pytest.approx(level, abs=0.005)
    assert levels[0] == pytest.approx(levels[1], rel=1e-5)  # n r is free of scale
    frozen = jc.theory.phase(jc.Exponential(1.0, rate=(1 + h) / 2.4), jc.Exponential(1e6, rate=2.4), rounded=False)
    assert frozen.name == "frozen" and frozen.limit * 1e6 == pytest.approx(levels[1], rel=1e-4)


def test_discarded_text_is_the_loop_with_fresh_data():
    with X64():
        wall = jc.DataWall(synthetic_share=0.3, inflows=((6, 40e12),), unit=1e10)
        exact = jc.theory.risk(wall.alpha_discarded, wall.n, 14, split="round")
        np.testing.assert_allclose(wall.risk_discarded(14), exact, rtol=1e-12)
        draws = jc.theory.effective_draws(wall.alpha_discarded, wall.n, 14)
        np.testing.assert_allclose(wall.draws_discarded(14), draws, rtol=1e-4)  # whole against real-valued draws


def test_a_constant_kept_stock_is_a_retained_set_beside_growing_synthetic_data():
    with X64():
        wall = jc.DataWall(500.0, 0.0, 500.0, growth=3.0)
        synthetic = lambda t: jnp.where(t == 0, 500.0, 500.0 * 3.0 ** t.astype(float) - 500.0)
        np.testing.assert_allclose(wall.risk_kept(12), jc.theory.retained(jc.Constant(0.0), synthetic, 12), rtol=1e-12)


@pytest.mark.parametrize("growth", [1.2, 2.4, 50.0])
@pytest.mark.parametrize("h", [0.0, 0.1])
def test_kept_text_has_a_floor_however_much_synthetic_text_is_added(growth, h):
    with X64():
        r = np.asarray(jc.DataWall(100.0, h, 100.0, growth).risk_kept(60))
    assert (r <= 1 / 100 + (1 - 1 / 100) / 201 + 1e-12).all()
    assert (1 / r <= np.rint(100.0 * (1 + h) ** np.arange(61.0)) + 1e-9).all()  # no more than the stock is worth


def test_a_stock_that_is_hardly_read_is_as_good_as_fresh_text():
    with X64():
        wall = jc.DataWall(1e15, 0.0, 1000.0, growth=1.5, synthetic_share=0.6)
        np.testing.assert_allclose(wall.risk_kept(10), wall.risk_discarded(10), rtol=1e-6)
        np.testing.assert_allclose(wall.draws_kept(10), wall.draws_discarded(10), rtol=1e-6)


def test_a_second_pass_through_part_of_the_stock():
    with X64():  # three draws of two tokens: weights 2/3 and 1/3
        wall = jc.DataWall(2.0, 0.0, 2.0, growth=1.5, repetition=2.0)
        np.testing.assert_allclose(wall.risk_kept(1), [1 / 2, 4 / 9 + 1 / 9], rtol=1e-12)


def test_what_a_stock_that_is_read_whole_holds_cannot_be_lost():
    with X64():
        wall = jc.DataWall(synthetic_share=0.2)
        draws = wall.draws_kept(12)
        np.testing.assert_allclose(draws[6:], wall.kept(jnp.arange(6, 13)), rtol=1e-9)
        assert bool((draws[:3] >= 0.8 * wall.n(jnp.arange(3))).all())
        assert bool((jnp.diff(wall.draws_discarded(12)) > 0).all())


@pytest.mark.parametrize("repetition", [1, 2])
def test_the_stock_grows_and_is_read_in_whole_passes(repetition):
    wall = jc.DataWall(50.0, 0.1, demand=10.0, growth=10.0, repetition=repetition)
    p_star, ten = jc.zipf(3), jc.Counts(jnp.array([10, 0, 0]))
    regime = wall.keep(p_star)
    real = jc.Counts(jnp.array([repetition * 55, 0, 0]))  # as many draws as all of S_1, so often
    batch = jc.Batch(real + ten, real, ten, jnp.asarray(0.5), p_star)
    (t, stock), data = regime.update(regime.init(ten), batch, key=jr.key(0))
    assert int(t) == 1 and int(stock.total) == round(float(wall.kept(1))) == 55 and int(stock.counts[0]) >= 10
    np.testing.assert_array_equal(data.counts, repetition * stock.counts + ten.counts)


def test_fields_may_be_traced_and_sizes_are_scaled_alike():
    risk = jax.jit(jax.vmap(lambda stock, h: jc.DataWall(stock, h).risk_kept(10)))
    many = risk(jnp.array([1e14, 1e15]), jnp.array([0.0, 0.1]))
    scaled = jc.DataWall(1e15, 0.1, unit=1e8)
    np.testing.assert_allclose(many[1] * 1e13, scaled.risk_kept(10) * 1e5, rtol=1e-3)
    with X64():  # squares of such sizes overflow in float32
        np.testing.assert_allclose(many[1], jc.DataWall(1e15, 0.1).risk_kept(10), rtol=1e-4)


@pytest.mark.parametrize(
    "fields",
    [
        {"stock": 0.0},
        {"stock_growth": -1.0},
        {"repetition": 0.5},
        {"synthetic_share": 1.2},
        {"unit": float("inf")},
        {"demand": float("nan")},
    ],
)
def test_a_wall_that_cannot_be_is_refused_by_name_and_is_nan_under_a_trace(fields):
    (name, value), *_ = fields.items()
    message = f"{name}: got .*, expected one .*; try"
    with pytest.raises(ValueError, match=message):
        jc.DataWall(**fields)
    with pytest.raises(ValueError, match=message):  # concrete misuse inside a jitted function
        jax.jit(lambda x: jc.DataWall(**fields).n(x))(0.0)
    assert np.isnan(everything(name, value)).all() and np.isfinite(everything("stock", 1e14)).all()


@jax.jit
def _everything(fields):
    wall = jc.DataWall(**fields)
    found = wall.risk_kept(3), wall.risk_discarded(3), wall.draws_kept(3), wall.draws_discarded(3)
    return jnp.concatenate([*found, wall.exhaustion()[None]])


def everything(name, value):
    """Every risk, number of draws and exhaustion of a wall with traced fields."""
    plain = {field.name: field.default for field in dataclasses.fields(jc.DataWall) if field.name != "inflows"}
    return np.asarray(_everything({**plain, name: value}))


@pytest.mark.parametrize("inflow", [(2, -1.0), (float("nan"), 1.0), (2, float("inf"))])
def test_inflows_that_cannot_be_are_refused_and_nan_under_a_trace(inflow):
    with pytest.raises(ValueError, match=r"inflows: got .*, expected .*; try"):
        jc.DataWall(inflows=(inflow,))
    risk = jax.jit(lambda start, tokens: jc.DataWall(inflows=((start, tokens),)).risk_kept(3))
    assert np.isnan(risk(*inflow)).all() and np.isfinite(risk(2, 1e14)).all()


def test_a_wall_has_scalar_fields():
    with pytest.raises((ValueError, TypeError), match="stock"):
        jc.DataWall(stock=jnp.ones(3))


def test_schedules_of_a_wall_that_cannot_be_are_nan():
    """So that a loop marks its records."""
    share = jax.jit(lambda w, demand: jc.DataWall(synthetic_share=w, demand=demand).alpha_kept(2))
    assert np.isnan(share(-0.1, 1e13)) and np.isnan(share(0.1, -1e13)) and share(0.1, 1e13) == pytest.approx(0.9)


def test_the_contexts_of_zipfs_law_are_counted_by_frequency():
    module = load("data_exhaustion")
    there, gone = module.by_decade(1e14, range(-16, -12))
    rank = lambda p: (module.special.zeta(module.ZIPF) * p) ** (-1 / module.ZIPF)
    np.testing.assert_allclose(there[0], rank(1e-16) - rank(1e-15), rtol=1e-12)
    assert (np.diff(gone / there) < 0).all() and gone[-1] < 1e-3 * there[-1]
    # All contexts, lost or not, as the sum over tokens has it at a size that can be summed.
    p = np.arange(1, 2_000_001) ** -module.ZIPF / module.special.zeta(module.ZIPF)
    inside = (p >= 1e-8) & (p < 1e-5)
    _, gone = module.by_decade(1e7, range(-8, -5))
    np.testing.assert_allclose(gone.sum(), np.exp(-1e7 * p[inside]).sum(), rtol=1e-3)
