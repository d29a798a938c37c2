"""What a finite run shows: intervals cover, labels are not wrong more often than they say, nothing outruns its data."""

import numpy as np
import pytest
from scipy.special import expit, logit

from jaxcollapse import phase

GENERATIONS = np.arange(1, 301)
AXIS = np.linspace(0.0, 2.0, 25)


def recursion(decay, growth, scale=0.5, size=20.0, generations=300):
    """r_t and g_t = 1 − r_t of the noise-free model, t = 1..T, and the memory weight W_T."""
    r, g, weight = 1 / size, 1 - 1 / size, 1.0
    risks, diversities = [], []
    for t in range(1, generations + 1):
        a, n = np.minimum(1.0, scale * t**-decay), np.maximum(1.0, np.rint(size * t**growth))
        phi = (1 - 1 / n) * (1 - a) ** 2
        r, g, weight = 1 / n + phi * r, (1 - 1 / n) * a * (2 - a) + phi * g, weight * phi
        risks.append(r)
        diversities.append(g)
    return np.stack(risks, -1), np.stack(diversities, -1), weight


def correlated_lineages(rng, mean, spread, memory, cells, lineages=64):
    """Positive lineages `cells L T` with the given mean, CV `spread` and lag-one correlation `memory` in their logs."""
    sigma = np.sqrt(np.log1p(spread**2))
    noise = np.empty((cells, lineages, mean.size))
    noise[..., 0] = rng.standard_normal((cells, lineages))
    for t in range(1, mean.size):
        fresh = rng.standard_normal((cells, lineages))
        noise[..., t] = memory * noise[..., t - 1] + np.sqrt(1 - memory**2) * fresh
    return mean * np.exp(sigma * noise - sigma**2 / 2)


def beta_cells(rng, mean, lineages=64, concentration=4.0):
    return rng.beta(mean * concentration, (1 - mean) * concentration, size=(lineages, *mean.shape)).T.swapaxes(0, -2)


def wright_fisher(rng, decay, growth, cells, lineages=64, generations=100, scale=0.5, size=20.0):
    """Relative risk and diversity of real lineages `cells L T`, five tokens of Zipf's law."""
    p = 1 / np.arange(1, 6)
    p /= p.sum()
    rest = 1 - (p**2).sum()
    now, records = rng.multinomial(int(size), p, size=(cells, lineages)) / size, []
    for t in range(1, generations + 1):
        a, n = min(1.0, scale * t**-decay), round(size * t**growth)
        mix = a * p + (1 - a) * now
        now = rng.multinomial(n, mix / mix.sum(-1, keepdims=True)) / n
        records.append((((now - p) ** 2).sum(-1) / rest, (1 - (now**2).sum(-1)) / rest))
    return np.stack([r for r, _ in records], -1), np.stack([g for _, g in records], -1)


def covers(interval, truth):
    return np.mean((interval.low <= truth) & (truth <= interval.high))


def binomial_error(p, n):
    return np.sqrt(p * (1 - p) / n)


# Mean, median, quantiles, exceedance


def test_estimates_of_known_lineages():
    risk = np.arange(1.0, 101.0) / 100
    found = phase.estimate(np.stack([risk, risk[::-1]]), eps=0.9, quantiles=(0.25, 0.75))
    assert found.mean == pytest.approx([0.505, 0.505])
    assert found.se == pytest.approx(np.full(2, risk.std(ddof=1) / 10))
    assert found.median == pytest.approx([0.505, 0.505])
    assert found.quantiles.shape == (2, 2)
    assert found.quantiles[:, 0] == pytest.approx(np.quantile(risk, (0.25, 0.75)))
    assert found.exceedance == pytest.approx([0.1, 0.1])


def test_exceedance_interval_covers_at_least_as_often_as_it_says():
    rng = np.random.default_rng(0)
    found = phase.estimate(rng.random((400, 64)), eps=0.9)
    interval = phase.Interval(found.exceedance, found.exceedance_low, found.exceedance_high)
    assert covers(interval, 0.1) >= 0.95 - 4 * binomial_error(0.95, 400)
    assert np.all(phase.estimate(np.zeros((3, 64))).exceedance_high == pytest.approx(1 - 0.025 ** (1 / 64)))


def test_the_exact_standard_error_replaces_that_of_a_collapsed_sample():
    collapsed = np.ones((2, 8))
    assert np.all(phase.estimate(collapsed).se == 0)
    assert np.all(phase.estimate(collapsed, se=np.array([0.1, 0.2])).se == [0.1, 0.2])


def test_an_invalid_lineage_makes_its_cell_unknown_and_no_other():
    risk = np.full((2, 4), 0.25)
    risk[0, 1] = np.nan
    found = phase.estimate(risk)
    for field in (found.mean, found.se, found.median, found.exceedance, found.exceedance_low, found.quantiles[0]):
        assert np.isnan(field[0]) and not np.isnan(field[1])


def test_lineages_may_lie_before_generations():
    rng = np.random.default_rng(1)
    risk = rng.random((3, 16, 5))
    late = phase.estimate(risk[..., -1])
    every = phase.estimate(risk, axis=-2)
    for one, all_of_it in zip(late, every, strict=True):
        np.testing.assert_array_equal(one, all_of_it[..., -1])


# Exponents


def test_slope_of_a_power_law_is_its_exponent():
    t = GENERATIONS.astype(float)
    found = phase.exponent(np.stack([0.5 * t**-0.7, 0.9 * t**-0.0]), GENERATIONS, noise_free=True)
    assert found.risk.value == pytest.approx([-0.7, 0.0], abs=1e-12)
    assert found.window == (30.0, 300.0)
    assert np.all(found.risk.low == found.risk.high)


@pytest.mark.parametrize(
    ("decay", "growth", "risk_slope", "diversity_slope"),
    [(0.0, 1.0, -1.0, None), (0.5, 1.5, -1.002, None), (1.5, 0.0, None, -1.5), (0.75, 0.0, None, -0.750)],
)
def test_late_slopes_are_the_rates_of_the_phase_table(decay, growth, risk_slope, diversity_slope):
    r, g, _ = recursion(decay, growth, size=4.0, generations=30000)
    t = np.arange(1, 30001)
    found = phase.exponent(r, t, (3000, 30000), diversity=g, noise_free=True)
    if risk_slope is not None:
        assert found.risk.value == pytest.approx(risk_slope, abs=0.01)
    if diversity_slope is not None:
        assert found.diversity.value == pytest.approx(diversity_slope, abs=0.01)


@pytest.mark.parametrize("memory", [0.0, 0.95, 1.0])
def test_slope_intervals_cover_however_correlated_the_generations(memory):
    rng = np.random.default_rng(2)
    t = np.arange(1, 61)
    risk = correlated_lineages(rng, 0.3 * t**-0.4, 0.43, memory, cells=400)
    found = phase.exponent(risk, t)
    if memory == 1.0:  # lineages that differ in size alone: the slope is exact
        assert found.risk.value == pytest.approx(np.full(400, -0.4), abs=1e-9)
        assert np.all(found.risk.high - found.risk.low < 1e-9)
    else:
        assert abs(covers(found.risk, -0.4) - 0.95) < 4 * binomial_error(0.95, 400)


@pytest.mark.parametrize(("decay", "growth"), [(0.75, 0.0), (0.5, 0.5), (0.5, 1.0)])
def test_slope_intervals_cover_on_real_lineages(decay, growth):
    rng = np.random.default_rng(3)
    t = np.arange(1, 101)
    risk, diversity = wright_fisher(rng, decay, growth, cells=200)
    r, g, _ = recursion(decay, growth, generations=100)
    exact = phase.exponent(r, t, diversity=g, noise_free=True)
    found = phase.exponent(risk, t, diversity=diversity)
    tolerance = 4 * binomial_error(0.95, 200)
    assert abs(covers(found.risk, exact.risk.value) - 0.95) < tolerance
    assert not found.scarce.any()
    assert abs(covers(found.diversity, exact.diversity.value) - 0.95) < tolerance


def test_scarce_diversity_is_bounded_by_the_chord_from_the_first_generation():
    rng = np.random.default_rng(4)
    t = np.arange(1, 101)
    risk, diversity = wright_fisher(rng, 2.0, 0.0, cells=100)
    _, g, _ = recursion(2.0, 0.0, generations=100)
    inside = t >= 10
    chord = np.log(g[inside].mean() / g[0]) / np.log(t[inside]).mean()
    found = phase.exponent(risk, t, diversity=diversity)
    assert found.scarce.all()
    assert np.all(found.diversity.low == -np.inf)
    assert np.mean(chord <= found.diversity.high) >= 0.975
    assert np.all(found.diversity.high < -0.1)


def test_an_absorbed_ensemble_has_lost_its_diversity():
    t = np.arange(1, 101)
    diversity = np.where(t < 5, 0.9, 0.0) * np.ones((64, 1))
    risk = np.ones((64, 100))
    found = phase.describe(risk, t, diversity=diversity)
    assert found.label == "diversity falling" and found.scarce
    assert found.diversity.value == -np.inf and found.diversity.high < -0.1


# Descriptions


def test_noise_free_map_never_calls_collapse_a_recovery_nor_recovery_a_collapse():
    decay, growth = np.meshgrid(AXIS, AXIS, indexing="ij")
    r, g, weight = recursion(decay, growth)
    found = phase.describe(r, GENERATIONS, diversity=g, memory_weight=weight, noise_free=True)
    recovery = ((decay < 1) & (growth > decay)) | ((decay == 1) & (growth > 1))
    collapse = (growth <= 1) & (growth < decay)
    plateau = (decay == growth) & (decay <= 1)
    count = lambda region, label: int((found.label[region] == label).sum())
    assert (recovery.sum(), collapse.sum()) == (234, 234)
    assert count(recovery, "risk falling") == 226 and count(recovery, "stationary") == 8
    assert count(collapse, "diversity falling") == 154 and count(collapse, "risk falling") == 0
    assert count(plateau, "stationary") == plateau.sum()
    assert found.horizon == 300 and found.memory_weight[12, 12] == pytest.approx(8e-4, abs=5e-5)


def test_labels_are_the_four_words_and_never_the_names_of_phases():
    decay, growth = np.meshgrid(AXIS, AXIS, indexing="ij")
    r, g, _ = recursion(decay, growth)
    labels = set(phase.describe(r, GENERATIONS, diversity=g, noise_free=True).label.ravel().tolist())
    assert labels == {"risk falling", "stationary", "diversity falling", "undetermined"}


@pytest.mark.parametrize("slope", [-0.1, 0.1])
def test_a_slope_on_the_edge_of_the_tolerance_is_mislabelled_in_one_cell_of_forty_at_most(slope):
    rng = np.random.default_rng(5)
    t = np.arange(1, 61)
    risk = correlated_lineages(rng, 0.02 * t**slope, 0.43, 0.9, cells=800)
    labels = phase.describe(risk, t, tolerance=0.1).label
    limit = 0.025 + 4 * binomial_error(0.025, 800)
    assert np.mean(labels == "risk falling") <= limit
    assert np.mean(labels == "stationary") <= limit
    assert not np.any(labels == "diversity falling")


def test_enough_lineages_settle_what_few_leave_undetermined():
    rng = np.random.default_rng(6)
    t = np.arange(1, 61)
    risk = correlated_lineages(rng, 0.02 * t**-0.2, 0.43, 0.9, cells=50, lineages=512)
    assert np.mean(phase.describe(risk, t).label == "risk falling") > 0.95
    assert np.mean(phase.describe(risk[:, :8], t).label == "undetermined") > 0.3


@pytest.mark.parametrize(
    ("decay", "growth", "label"),
    [(0.0, 1.0, "risk falling"), (1.5, 0.0, "diversity falling"), (2.0, 2.0, "stationary"), (1.0, 0.5, "undetermined")],
)
def test_descriptions_of_real_lineages(decay, growth, label):
    rng = np.random.default_rng(7)
    risk, diversity = wright_fisher(rng, decay, growth, cells=1)
    assert phase.describe(risk, np.arange(1, 101), diversity=diversity).label.tolist() == [label]


def test_an_invalid_lineage_leaves_its_cell_undetermined():
    t = np.arange(1, 61)
    risk = np.broadcast_to(0.5 * t**-1.0, (2, 8, 60)).copy()
    risk[0, 3] = np.nan
    assert phase.describe(risk, t).label.tolist() == ["undetermined", "risk falling"]


# Boundary


def test_root_of_a_logistic_curve_is_exact_between_grid_points():
    risk = expit(np.array([[-2.0], [-4.0]]) * (AXIS - np.array([[0.77], [1.11]])))
    found = phase.boundary(risk, AXIS, se=np.zeros_like(risk))
    assert found.root == pytest.approx([0.77, 1.11])
    np.testing.assert_allclose(found.low, found.root)
    np.testing.assert_allclose(found.high, found.root)
    assert found.crossings.tolist() == [1, 1] and found.pieces.tolist() == [1, 1]


def test_a_noise_free_root_on_a_grid_point_is_its_own_interval():
    values = np.arange(5.0)
    curves = np.array([[0.9, 0.8, 0.5, 0.2, 0.1], [0.1, 0.2, 0.5, 0.8, 0.9]])
    found = phase.boundary(curves, values, se=np.zeros_like(curves))
    for end in (found.root, found.low, found.high, found.band_low, found.band_high):
        assert end.tolist() == [2.0, 2.0]
    assert found.pieces.tolist() == [1, 1]


def test_boundary_of_another_level_along_another_axis():
    risk = expit(3 * (AXIS - np.array([[0.5], [0.9]])))
    across = phase.boundary(risk.T, AXIS, level=0.2, axis=0, se=np.zeros_like(risk.T))
    assert across.root == pytest.approx(np.array([0.5, 0.9]) + logit(0.2) / 3)


@pytest.mark.parametrize("place", [0.75, 0.79, 0.8])
def test_pointwise_interval_covers_at_its_rate_between_and_on_grid_points(place):
    rng = np.random.default_rng(8)
    risk = beta_cells(rng, np.broadcast_to(expit(-4 * (AXIS - place)), (400, 25)))
    found = phase.boundary(risk, AXIS)
    assert abs(covers(found, place) - 0.95) < 4 * binomial_error(0.95, 400)


def test_simultaneous_band_covers_all_slices_at_its_rate():
    rng = np.random.default_rng(9)
    places, held = np.linspace(0.4, 1.6, 12), []
    mean = expit(-4 * (AXIS - places[:, None]))
    for _ in range(400):
        found = phase.boundary(beta_cells(rng, mean), AXIS)
        held.append(np.all((found.band_low <= places) & (places <= found.band_high)))
    assert abs(np.mean(held) - 0.95) < 4 * binomial_error(0.95, 400)
    assert np.all(found.band_low <= found.low) and np.all(found.high <= found.band_high)


@pytest.mark.parametrize("place", [0.79, 0.8])
def test_where_noise_spans_several_points_a_curve_through_them_covers_at_its_rate_and_is_narrower(place):
    rng = np.random.default_rng(10)
    risk = beta_cells(rng, np.broadcast_to(expit(-2 * (AXIS - place)), (600, 25)))
    found, mean, se = phase.boundary(risk, AXIS), risk.mean(-1), risk.std(-1, ddof=1) / 8
    assert abs(covers(found, place) - 0.95) < 4 * binomial_error(0.95, 600)
    member = abs(mean - 0.5) <= 1.959964 * se
    hull = [np.ptp(AXIS[row]) if row.any() else 0.0 for row in member]
    assert np.median(found.high - found.low) < 0.75 * np.median(hull)


def test_the_covariance_of_means_that_share_their_noise_is_that_of_their_interpolation():
    rng, at = np.random.default_rng(11), np.linspace(0, 2, 9)
    weights = np.stack([np.interp(AXIS, at, row) for row in np.eye(9)], -1)
    mean = expit(-2 * (at - 0.8)) + 0.03 * rng.standard_normal((600, 9))
    covariance = np.broadcast_to(0.03**2 * weights @ weights.T, (600, 25, 25))
    found = phase.boundary(mean @ weights.T, AXIS, covariance=covariance)
    assert abs(covers(found, 0.8) - 0.95) < 4 * binomial_error(0.95, 600)
    independent = phase.boundary(mean @ weights.T, AXIS, se=np.sqrt(np.einsum("sbb->sb", covariance)))
    assert covers(independent, 0.8) < 0.95 - 4 * binomial_error(0.95, 600)
    same = phase.boundary(mean, at, covariance=np.broadcast_to(0.03**2 * np.eye(9), (600, 9, 9)))
    apart = phase.boundary(mean, at, se=np.full((600, 9), 0.03))
    assert np.array_equal(same.low, apart.low) and np.array_equal(same.root, apart.root)


def test_several_crossings_are_counted_and_the_middle_one_taken():
    curve = np.where(np.arange(25) < 10, 0.8, 0.2)
    curve[6], curve[14] = 0.3, 0.7
    found = phase.boundary(curve, AXIS, se=np.full(25, 1e-3))
    assert found.crossings == 5 and found.pieces == 5
    assert found.root == pytest.approx((AXIS[9] + AXIS[10]) / 2)
    assert AXIS[9] < found.low < found.root < found.high < AXIS[10]  # clear points on both sides end the window


def test_where_no_parabola_fits_the_interval_is_the_hull_of_the_points_within_1_96_standard_errors():
    curve = np.array([0.9, 0.9, 0.52, 0.48, 0.52, 0.48, 0.1, 0.1])
    se = np.array([0.01, 0.01, 0.015, 0.011, 0.011, 0.015, 0.01, 0.01])
    found = phase.boundary(curve, np.arange(8.0), se=se)
    assert found.crossings == 3 and found.root == pytest.approx(3.5)
    assert 1 < found.low < 2 and 5 < found.high < 6


def test_no_crossing_on_the_grid_is_no_root():
    low, open_ended = np.full(25, 0.1), np.linspace(0.49, 0.2, 25)
    found = phase.boundary(np.stack([low, open_ended]), AXIS, se=np.full((2, 25), 0.01))
    assert np.isnan(found.root).all() and found.crossings.tolist() == [0, 0]
    assert np.isnan(found.low[0]) and np.isnan(found.high[0])
    assert found.low[1] == -np.inf and 0 < found.high[1] < 0.2


def test_an_invalid_cell_makes_its_slice_unknown():
    curve = np.tile(expit(-4 * (AXIS - 1)), (2, 1))
    curve[0, 3] = np.nan
    found = phase.boundary(curve, AXIS, se=np.full((2, 25), 0.01))
    assert np.isnan(found.root[0]) and found.root[1] == pytest.approx(1.0)
    for field in (found.low, found.high, found.band_low, found.band_high):
        assert np.isnan(field[0]) and not np.isnan(field[1])
    no_se = phase.boundary(curve[1], AXIS, se=np.full(25, np.nan))
    assert no_se.root == pytest.approx(1.0) and np.isnan(no_se.low) and no_se.pieces == 0


def test_exact_collapse_and_risks_above_one_do_not_break_the_root():
    curve = np.where(AXIS < 0.7, 1.01, 0.01)
    found = phase.boundary(curve, AXIS, se=np.zeros(25))
    assert AXIS[8] < found.root < AXIS[9]
    assert found.low == pytest.approx(found.root) and found.high == pytest.approx(found.root)


def test_interpolation_bias_is_measured_on_the_exact_curve():
    fine = np.linspace(0.0, 2.0, 20001)
    exact, _, _ = recursion(1.25, AXIS)
    dense, _, _ = recursion(1.25, fine)
    root = np.interp(0.5, dense[::-1, -1], fine[::-1])
    curve = exact[:, -1]
    found = phase.boundary(curve, AXIS, se=np.full(25, 1e-4), exact=curve, exact_root=np.array(root))
    assert found.bias == pytest.approx(found.root - root, abs=1e-12)
    assert abs(found.bias) < 1e-3
    coarse = phase.boundary(curve[::6], AXIS[::6], se=np.full(5, 0.01), exact=curve[::6], exact_root=np.array(root))
    assert abs(coarse.bias) > 3 * abs(found.bias)


# Time to collapse


def test_first_passage_counts_from_the_recorded_generations():
    t = np.array([10, 20, 30, 40])
    risk = np.array([[0.1, 0.6, 0.2, 0.9], [0.1, 0.2, 0.3, 0.5], [0.1, 0.1, 0.1, 0.1], [0.7, 0.0, 0.0, 0.0]])
    found = phase.collapse_time(risk, t, level=0.5)
    assert found.time.tolist() == [20.0, 40.0, np.inf, 10.0]
    assert found.median == 20.0 and found.reached == 0.75
    assert phase.collapse_time(1 - risk, t, delta=0.5).time.tolist() == found.time.tolist()


def test_the_median_is_infinite_where_fewer_than_half_collapse():
    risk = np.zeros((2, 5, 3))
    risk[0, :2, 2] = 1.0
    risk[1, :3, 2] = 1.0
    found = phase.collapse_time(risk, np.array([1, 2, 3]), level=0.5)
    assert found.median.tolist() == [np.inf, 3.0]
    assert found.quantiles[1].tolist() == [np.inf, np.inf]


def test_the_collapse_time_of_an_invalid_lineage_is_unknown():
    risk = np.ones((2, 3, 2))
    risk[0, 1, 1] = np.nan
    found = phase.collapse_time(risk, np.array([1, 2]), level=0.5)
    assert np.isnan(found.time[0, 1]) and np.isnan(found.median[0]) and np.isnan(found.reached[0])
    assert found.median[1] == 1.0


# Misuse

SERIES, T5 = np.full((3, 8, 5), 0.5), np.arange(1, 6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: phase.estimate(SERIES[0, :1, 0]), "at least 2 lineages"),
        (lambda: phase.describe(SERIES, np.arange(1, 5)), "generation: got"),
        (lambda: phase.describe(SERIES, np.arange(0, 5)), "leave t = 0 out"),
        (lambda: phase.describe(SERIES, T5, tolerance=0.0), "tolerance: got"),
        (lambda: phase.describe(SERIES[:, :1], T5), "noise_free=True"),
        (lambda: phase.describe(SERIES, T5, diversity=SERIES[0]), "diversity: got shape"),
        (lambda: phase.exponent(SERIES, T5, (4.5, 5.0)), "window: got"),
        (lambda: phase.boundary(SERIES, np.arange(7.0)), "values: got shape"),
        (lambda: phase.boundary(SERIES, np.arange(8.0)[::-1]), "increasing"),
        (lambda: phase.boundary(SERIES[0], T5, covariance=np.eye(5)), "expected the length of axis -1 and .8, 5, 5"),
        (lambda: phase.boundary(SERIES, np.arange(8.0), level=1.0), "level: got"),
        (lambda: phase.boundary(SERIES, np.arange(8.0), exact=SERIES[..., 0]), "both or neither"),
        (lambda: phase.collapse_time(SERIES, T5), "expected one"),
        (lambda: phase.collapse_time(SERIES, T5, level=0.5, delta=0.1), "expected one"),
    ],
)
def test_misuse_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
