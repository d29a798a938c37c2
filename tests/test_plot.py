"""Pictures: what is drawn is what was given, on the axes that were given, and nothing else is touched."""

import itertools

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.contour import ContourSet
from scipy.special import expit

from jaxcollapse import phase, plot

DECAY, GROWTH = np.linspace(0.0, 2.0, 9), np.linspace(0.0, 2.0, 11)
RISK = expit(2.5 * (DECAY[:, None] - GROWTH - 0.5))
LINE = np.where(DECAY > 0.5, DECAY - 0.5, np.nan)
PHASES = np.where(DECAY[:, None] < GROWTH, "recovery", "collapse")
DESCRIBED = np.where(DECAY[:, None] < GROWTH, "risk falling", "diversity falling")


@pytest.fixture(autouse=True)
def clean():
    before = dict(mpl.rcParams)
    yield
    plt.close("all")
    assert dict(mpl.rcParams) == before


def boundary():
    return phase.boundary(RISK, GROWTH, se=np.full(RISK.shape, 0.05))


def labels(ax):
    legend = ax.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


def names(ax):
    return {text.get_text() for text in ax.texts}


def heatmap(ax):
    return next(c for c in ax.collections if isinstance(c, QuadMesh))


def full_map(**changes):
    given = {"boundary": boundary(), "exact": LINE, "formula": LINE, "phases": PHASES, "described": DESCRIBED}
    return plot.phase(DECAY, GROWTH, RISK, **(given | changes))


# The phase map


def test_the_map_shows_the_risk_with_x_across_and_y_up():
    mesh = heatmap(plot.phase(DECAY, GROWTH, RISK))
    np.testing.assert_array_equal(mesh.get_array().reshape(11, 9), RISK.T)
    assert mesh.get_rasterized()
    assert mesh.get_clim() == (1e-3, 1.0)


def test_colour_limits_are_those_given():
    assert heatmap(plot.phase(DECAY, GROWTH, RISK, limits=(0.1, 0.9))).get_clim() == (0.1, 0.9)


def test_the_map_is_readable_in_grey():
    luminance = heatmap(plot.phase(DECAY, GROWTH, RISK)).cmap(np.linspace(0, 1, 64))[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(luminance) > 0)


def test_the_map_draws_on_the_axes_given_and_returns_them():
    figure, (left, right) = plt.subplots(1, 2)
    assert plot.phase(DECAY, GROWTH, RISK, ax=right) is right
    assert not left.collections and len(figure.axes) == 3


def test_every_layer_of_the_map_has_its_key():
    found = labels(full_map(described=np.where(DESCRIBED == "risk falling", "undetermined", "stationary")))
    assert found == [
        "$r_T = 0.5$: exact recursion",
        "$r_T = 0.5$: leading order",
        "$r_T = 0.5$: simulated",
        "its interval, 95 % pointwise",
        "its band, 95 % for all at once",
        "run differs from its phase",
        "run undetermined",
        "asymptotic phases, $T \\to \\infty$",
    ]


def test_a_bare_map_has_no_legend():
    ax = plot.phase(DECAY, GROWTH, RISK)
    assert labels(ax) == [] and names(ax) == set()
    assert ax.get_xlabel() == r"decay $a$   ($\alpha_t = a_0 t^{-a}$)"


def test_phases_are_named_once_inside_their_regions():
    ax = full_map()
    assert names(ax) == {"recovery", "collapse"} and len(ax.texts) == 2
    for text in ax.texts:
        i, j = np.abs(DECAY - text.get_position()[0]).argmin(), np.abs(GROWTH - text.get_position()[1]).argmin()
        assert PHASES[i, j] == text.get_text()


def test_a_phase_that_is_one_cell_wide_is_named_along_itself():
    ax = plot.phase(DECAY, DECAY, RISK[:, :9], phases=SQUARE)
    turned = {text.get_text(): text.get_rotation() for text in ax.texts}
    assert turned["recovery"] == turned["collapse"] == 0.0
    assert turned["plateau"] != 0.0


def hatched(ax):
    return {c.get_hatch(): int(np.ma.count(c.get_array())) for c in ax.collections if c.get_hatch()}


def dotted(ax):
    return [xy for line in ax.lines if line.get_gid() == "run undetermined" for xy in line.get_xydata()]


def test_hatching_marks_the_cells_that_differ_and_those_alone():
    assert hatched(full_map()) == {}
    described = DESCRIBED.copy()
    described[0, 5], described[8, 0], described[8, 1] = "stationary", "undetermined", "undetermined"
    ax = full_map(described=described)
    assert hatched(ax) == {"///": 1}
    np.testing.assert_array_equal(dotted(ax), [[2.0, 0.0], [2.0, 0.2]])


def test_a_phase_without_an_expectation_is_not_hatched():
    assert hatched(full_map(phases=np.full(RISK.shape, "cycling"))) == {}


def test_the_boundary_may_be_bare_roots_with_gaps():
    ax = plot.phase(DECAY, GROWTH, RISK, boundary=LINE)
    assert labels(ax) == ["$r_T = 0.5$: simulated"]
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), LINE)


def test_a_boundary_that_is_nowhere_on_the_grid_is_drawn_as_nothing():
    nowhere = phase.boundary(np.full(RISK.shape, 0.01), GROWTH, se=np.full(RISK.shape, 1e-4))
    ax = full_map(boundary=nowhere, exact=np.full(9, np.nan))
    ax.figure.canvas.draw()
    assert np.isnan(nowhere.root).all()


def test_open_intervals_end_at_the_edge_of_the_map():
    ax = full_map(boundary=phase.boundary(RISK, GROWTH, se=np.full(RISK.shape, 0.3)))
    ax.figure.canvas.draw()
    assert ax.get_ylim() == pytest.approx((-0.1, 2.1))


def test_missing_cells_are_grey_unmarked_and_have_a_key():
    risk = RISK.copy()
    risk[2, 3] = risk[8, 0] = np.nan
    described = np.full(RISK.shape, "undetermined")
    described[2] = "stationary"
    ax = plot.phase(DECAY, GROWTH, risk, phases=PHASES, described=described)
    assert heatmap(ax).get_array().mask.sum() == 2
    assert hatched(ax) == {"///": 10} and len(dotted(ax)) == RISK.size - 12
    assert labels(ax)[-1] == "not computed" and "not computed" not in labels(full_map())
    grey, yellow = heatmap(ax).cmap.get_bad()[:3], heatmap(ax).cmap(1.0)[:3]
    assert np.ptp(grey) == 0 and grey[0] > yellow @ np.array([0.2126, 0.7152, 0.0722])


BORDERS = [([0, 1], [0, 1]), (np.array([1, 1]), np.array([1, 3])), ([1, 3], [1, 1])]
SQUARE = np.where(DECAY[:, None] < DECAY, "recovery", np.where(DECAY[:, None] > DECAY, "collapse", "plateau"))


def test_exact_borders_stand_in_for_the_edges_of_cells_and_a_name_beside_its_own():
    ax = plot.phase(DECAY, DECAY, RISK[:, :9], phases=SQUARE, borders=BORDERS)
    gap = [np.nan, np.nan]
    drawn = [[0, 0], [1, 1], gap, [1, 1], [1, 3], gap, [1, 1], [3, 1], gap]
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), drawn)
    assert not any(isinstance(c, ContourSet) for c in ax.collections)
    assert any(isinstance(c, ContourSet) for c in plot.phase(DECAY, DECAY, RISK[:, :9], phases=SQUARE).collections)
    assert ax.get_xlim() == pytest.approx((-0.125, 2.125))
    assert labels(ax) == labels(plot.phase(DECAY, DECAY, RISK[:, :9], borders=BORDERS))
    ax.figure.canvas.draw()
    name = next(text for text in ax.texts if text.get_text() == "plateau")
    x, y = name.get_position()
    assert y > x and name.get_va() == "bottom"
    across, up = np.diff(ax.transData.transform([(0, 0), (1, 1)]), axis=0)[0]
    assert name.get_rotation() == pytest.approx(np.degrees(np.arctan2(up, across)))


def test_the_simultaneous_band_lets_the_map_through_and_matches_its_key():
    ax = full_map()
    band = next(c for c in ax.collections if str(c.get_label()).startswith("its band"))
    key = ax.get_legend().legend_handles[labels(ax).index(band.get_label())]
    assert band.get_facecolor()[0, 3] < 0.3 and band.get_edgecolor()[0].tolist() == [0, 0, 0, 1]
    assert key.get_facecolor() == tuple(band.get_facecolor()[0])
    assert key.get_edgecolor() == tuple(band.get_edgecolor()[0])


def test_ticks_stand_within_the_data_though_whole_cells_are_shown():
    ax = plot.phase(DECAY[::2], GROWTH[::5], RISK[::2, ::5])
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.25, 2.25), (-0.5, 2.5))
    for ticks in (ax.get_xticks(), ax.get_yticks()):
        assert (min(ticks), max(ticks)) == (0.0, 2.0) and len(ticks) >= 4


def test_a_clipped_scale_says_so_at_its_lower_end():
    risk = np.where(RISK < 0.01, 0.0, RISK)  # a risk of zero is computed too
    meshes = [heatmap(plot.phase(DECAY, GROWTH, risk, limits=limits)) for limits in ((1e-9, 1.0), (0.05, 1.0))]
    assert not any(np.ma.getmaskarray(mesh.get_array()).any() for mesh in meshes)
    assert meshes[1].colorbar.extend == "min" and heatmap(full_map()).colorbar.extend == "neither"
    assert [tick.get_text() for tick in meshes[1].colorbar.ax.get_yticklabels()] == ["≤0.05", "0.1", "1"]


@pytest.mark.parametrize("width", [5.0, 8.0])
def test_legends_do_not_squeeze_panels_or_push_colour_bars_away(width):
    figure, axes = plt.subplots(2, 2, figsize=(2 * width, 10), layout="constrained")
    full_map(ax=axes[0, 0], described=np.full(RISK.shape, "undetermined"))
    plot.phase(DECAY, GROWTH, RISK, ax=axes[1, 0])
    figure.canvas.draw()
    (above, below), renderer = axes[:, 0], figure.canvas.get_renderer()
    for ax in (above, below):
        panel, bar = ax.get_window_extent(), heatmap(ax).colorbar.ax.get_window_extent()
        assert bar.x0 - panel.x1 < 0.1 * panel.width
        assert panel.width > 0.7 * axes[0, 1].get_window_extent().width
    assert above.get_legend().get_window_extent(renderer).width <= 1.05 * above.get_window_extent().width
    assert above.get_window_extent().height > 0.6 * figure.bbox.height / 2


# Trajectories


def lineages(seed=0):
    t = np.arange(1, 41)
    return t, 0.05 * t**-0.5 * np.random.default_rng(seed).gamma(5, 0.2, size=(64, 40))


def test_trajectories_show_mean_median_band_and_theory():
    t, risk = lineages()
    exact = 0.05 * t**-0.5
    ax = plot.trajectories(t, risk, exact=exact, exact_se=exact / 20, label="replace")
    assert labels(ax) == [
        "replace",
        "exact mean",
        "exact mean ± 1.96 exact s.e.",
        "mean ± 1.96 s.e.",
        "median",
        "5–95 % of lineages",
    ]
    mean = next(line for line in ax.lines if line.get_label() == "replace")
    np.testing.assert_allclose(mean.get_ydata(), risk.mean(0))
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")


def test_ensembles_share_axes_and_differ_in_colour():
    t, risk = lineages()
    ax = plot.trajectories(t, risk, label="replace")
    assert plot.trajectories(t, 3 * risk, label="accumulate", exact=0.1 * t**-0.5, ax=ax) is ax
    assert labels(ax)[:3] == ["replace", "accumulate", "exact mean"]
    first, second = (next(line for line in ax.lines if line.get_label() == name) for name in ("replace", "accumulate"))
    assert first.get_color() != second.get_color()


# The collapse curve


def test_the_law_is_a_straight_line_through_cells_that_obey_it():
    x = np.geomspace(1e-2, 1e3, 30).reshape(5, 6)
    risk = 1 / (1 + 2 * x)
    ax = plot.collapse_curve(x, risk, risk / 20, hue=np.broadcast_to(np.arange(6.0), x.shape))
    assert labels(ax) == ["$r = 1 / (1 + 2x)$", "cells, ± 1.96 s.e."]
    line = ax.lines[0]
    shown = ax.transData.transform(np.column_stack([line.get_xdata(), line.get_ydata()]))
    bend = shown[:, 1] - np.polyval(np.polyfit(*shown.T, 1), shown[:, 0])
    assert np.abs(bend).max() < 1e-6 * np.ptp(shown[:, 1])


def test_risks_above_one_are_marked_and_not_lost():
    x, risk = np.array([1e-3, 1e-2, 1.0]), np.array([1.02, 0.97, 0.3])
    ax = plot.collapse_curve(x, risk)
    assert labels(ax)[-1] == r"$\hat r \geq 1$"
    assert ax.lines[-1].get_xdata().tolist() == [1e-3]


@pytest.mark.parametrize("smallest", [0.02, 1e-6, 1e-14])
def test_the_logit_ticks_do_not_collide(smallest):
    ax = plot.collapse_curve(np.array([1e-3, 1.0, 1e6]), np.array([0.999, 0.3, smallest]))
    ax.figure.canvas.draw()
    low, high = ax.get_ylim()
    shown = [t for t, y in zip(ax.get_yticklabels(), ax.get_yticks(), strict=True) if low <= y <= high]
    boxes = sorted((t.get_window_extent() for t in shown), key=lambda box: box.y0)
    assert len(boxes) >= 4 and "½" in [t.get_text() for t in shown]
    assert all(a.y1 < b.y0 for a, b in itertools.pairwise(boxes))


# Misuse


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plot.phase(DECAY, GROWTH[:1], RISK[:, :1]), "at least 2 each"),
        (lambda: plot.phase(DECAY, GROWTH, np.zeros_like(RISK)), "no positive value"),
        (lambda: plot.trajectories(np.arange(1, 6), np.ones((1, 5))), "2 or more"),
        (lambda: plot.collapse_curve(np.ones(3), np.full(3, 2.0)), "between 0 and 1"),
    ],
)
def test_misuse_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_shapes_that_disagree_are_refused_where_types_are_not_checked():
    with pytest.raises(ValueError, match=r"try risk\.T"):
        plot._check_grid(DECAY, GROWTH, risk=RISK.T)
    with pytest.raises(ValueError, match="exact: got shape"):
        plot._check_slices(DECAY, exact=GROWTH)


@pytest.mark.parametrize("changes", [{"exact": GROWTH}, {"phases": PHASES.T}, {"boundary": GROWTH}])
def test_shapes_that_disagree_are_refused_where_types_are_checked(changes):
    with pytest.raises((TypeError, ValueError)):
        full_map(**changes)
