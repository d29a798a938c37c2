"""`refine` finds a level set that is known, with few points, the same however often it is interrupted."""

import functools
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from jaxcollapse import _experiment, _program, phase
from jaxcollapse._refine import interpolate, refine
from jaxcollapse._store import Table
from jaxcollapse._sweep import sweep

KEY = jr.key(3)
CURVES = {"straight": lambda a: 0.3 + 0.7 * a, "curved": lambda a: 0.3 + 0.5 * a**2}
AXIS = np.linspace(0, 2, 9)
COMPILED = {}


def logistic(a, b, *, key, curve="curved", sd=0.1, width=0.1, lineages=16):
    """Mean ½ on b = curve(a), and uniform noise of a known standard deviation."""
    mean = jax.nn.sigmoid((CURVES[curve](a) - b) / width)
    return {"risk": ("lineage", mean + sd * 12**0.5 * (jr.uniform(key, (lineages,)) - 0.5))}


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch):
    """Rounds and tests of the same program share its executable: compiling is what they would spend their time on."""
    compile = _program.compile

    def remembered(plan, program, table):
        place = program.digest, table.block
        if place not in COMPILED:
            COMPILED[place] = compile(plan, program, table)
        return COMPILED[place]._replace(plan=plan, program=program, table=table)

    monkeypatch.setattr(_program, "compile", remembered)


small = functools.partial(refine, key=KEY, measure="risk", resolution=1 / 8, a=np.linspace(0, 2, 5), b=[0, 0.5, 1, 1.5])


def places(table, *names):
    return np.unique(np.stack([table[name].values for name in names or ("a", "b")]), axis=1).shape[1]


def same(one, other):
    return one.drop_attrs().identical(other.drop_attrs())


@pytest.mark.parametrize("curve", CURVES)
def test_the_boundary_is_within_the_resolution_and_its_interval_at_15_percent_of_the_points(curve):
    experiment = functools.partial(logistic, curve=curve)
    table = refine(experiment, key=KEY, measure="risk", resolution=1 / 64, max_repeats=4, a=AXIS, b=AXIS)
    assert places(table) <= 0.15 * 129**2
    grid = interpolate(table, "risk")
    assert dict(grid.sizes) == {"a": 129, "b": 129} and int(grid.measured.sum()) == places(table)
    found = phase.boundary(grid["mean"].values, grid.b.values, axis=1, se=grid.se.values)
    exact = CURVES[curve](grid.a.values)
    inside = exact < 1.9
    assert np.isfinite(found.root[inside]).all()
    low, high = found.band_low - 1 / 64, found.band_high + 1 / 64
    assert ((low <= exact) & (exact <= high))[inside].all()
    assert abs(found.root - exact)[inside].max() < 2 / 64
    assert ((found.low <= exact) & (exact <= found.high))[inside].mean() > 0.8


def test_the_points_are_a_list_with_what_each_was_added_by():
    table = small(logistic)
    coarse = table.risk[table.depth == 0]
    whole = sweep(logistic, key=KEY, a=np.linspace(0, 2, 5), b=[0.0, 0.5, 1.0, 1.5])
    assert table.risk.dims == ("point", "lineage") and places(table.isel(point=table.depth == 0)) == 20
    assert np.array_equal(coarse[table["repeat"][table.depth == 0] == 0], whole.risk.values.reshape(20, -1))
    assert table.depth.values.max() == 2
    assert (table.a.values[table.depth == 1] % 0.25 == 0).all()


def test_a_refinement_that_was_killed_ends_as_if_it_had_not_been(tmp_path, monkeypatch):
    whole = small(logistic, store=tmp_path / "whole")
    carry_out, left = _program.Kernel.carry_out, [4]

    def killed(kernel, blocks):
        for block in carry_out(kernel, blocks):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            yield block

    monkeypatch.setattr(_program.Kernel, "carry_out", killed)
    with pytest.raises(KeyboardInterrupt):
        small(logistic, store=tmp_path / "part")
    monkeypatch.setattr(_program.Kernel, "carry_out", carry_out)
    before = Table(tmp_path / "part", mode="r")
    assert same(small(logistic, store=tmp_path / "part"), whole)
    after = Table(tmp_path / "part", mode="r")
    # The last block may have had room for more points, and is then computed as a whole.
    full = before.points // before.block * before.block
    kept = before.column("done")[:full]
    assert kept.any() and np.array_equal(before.column("run")[:full][kept], after.column("run")[:full][kept])


def test_what_is_in_the_store_is_not_computed_again(tmp_path, monkeypatch):
    table = small(logistic, store=tmp_path / "run")
    coarser = small(logistic, store=tmp_path / "coarser", resolution=0.25)
    assert coarser.sizes["point"] < table.sizes["point"]
    assert same(small(logistic, store=tmp_path / "coarser"), table)

    def refuse(*arguments):
        raise AssertionError("nothing was missing")

    monkeypatch.setattr(_program, "compile", refuse)
    assert same(small(logistic, store=tmp_path / "run"), table)
    assert same(small(logistic, store=tmp_path / "coarser", resolution=0.25), coarser)


def test_an_executor_gives_the_same_points_and_draws(tmp_path):
    file = tmp_path / "experiment.py"
    file.write_text(
        "import jax.numpy as jnp\nimport jax.random as jr\n\n\ndef experiment(a, b, *, key):\n"
        '    return {"risk": ("lineage", jnp.tanh(a - b) + 0.5 + 0.01 * jr.normal(key, (16,)))}\n'
    )
    function = _experiment.module(file).experiment
    with ThreadPoolExecutor(2) as pool:
        elsewhere = small(function, store=tmp_path / "run", executor=pool)
    assert same(elsewhere, small(function))


def test_nothing_is_added_where_nothing_crosses():
    table = small(logistic, level=3.0)
    assert table.sizes["point"] == 20 and not table.depth.any()


def test_noise_is_met_with_repeats_and_not_with_points():
    table = small(functools.partial(logistic, sd=40.0), max_repeats=6)
    assert places(table) < 30
    assert np.unique(table["repeat"]).tolist() == list(range(6))


def test_without_noise_no_point_is_repeated_and_the_mesh_follows_the_curve():
    table = small(functools.partial(logistic, sd=0.0), max_repeats=6)
    assert not table["repeat"].any()
    finest = np.stack([table.a, table.b], 1)[table.depth == 2]
    # A cell of depth 1 has a diagonal of 0.354.
    distance = abs(CURVES["curved"](finest[:, 0]) - finest[:, 1]) / np.hypot(1, finest[:, 0])
    assert (distance < 0.36).all()


def test_a_bulge_that_only_a_finer_neighbour_sees_is_followed():
    """The level set of a narrow finger leaves a halved cell through a side whose two ends are on one side of it."""

    def finger(a, b, *, key):
        mean = jnp.where((abs(b - 0.25) < 0.15) & (a < 1.1), 1.0, 0.0) + jnp.where(a < 0.3, 1.0, 0.0)
        return {"risk": ("lineage", mean + jnp.zeros(2))}

    table = refine(finger, key=KEY, measure="risk", resolution=0.1, a=[0, 0.5, 1, 1.5], b=[0, 0.5, 1])
    near = (abs(table.a - 1.1) < 0.1) & (abs(table.b - 0.25) < 0.1)
    assert bool((near & (table.depth == 3)).any())


def test_three_axes_one_of_them_a_constant_ratio():
    def surface(a, b, n, *, key):
        return {"risk": ("lineage", jax.nn.sigmoid(8 * (a + b + jnp.log10(n) - 2.6)) + 0.01 * jr.uniform(key, (8,)))}

    axes = {"a": np.linspace(0, 1, 4), "b": np.linspace(0, 1, 4), "n": np.geomspace(1, 1000, 4)}
    resolution = {"a": 1 / 6, "b": 1 / 3, "n": 0.6}
    table = refine(surface, key=KEY, measure="risk", resolution=resolution, **axes)
    grid = interpolate(table, "risk")
    assert dict(grid.sizes) == {"a": 7, "b": 4, "n": 13} and places(table, "a", "b", "n") < 7 * 4 * 13
    assert np.array_equal(grid.n[::4], axes["n"])
    assert np.allclose(np.diff(np.log(grid.n)), np.log(1000) / 12)
    found = phase.boundary(grid["mean"].values, np.log(grid.n.values), axis=2, se=grid.se.values)
    exact = np.log(10) * (2.6 - grid.a.values[:, None] - grid.b.values)
    assert np.nanmax(abs(found.root - exact)) < 0.6


def test_a_measure_may_be_a_function_and_is_averaged_over_repeats():
    def measure(table):
        assert table.risk.dims == ("point", "lineage")
        return table.risk.mean("lineage"), np.full(table.sizes["point"], 0.1 / 4)

    table = small(logistic, measure=measure, repeats=3, max_repeats=3, resolution=0.5)
    assert table.sizes["point"] == 60
    grid = interpolate(table, measure)
    assert np.allclose(grid["mean"], table.risk.values.reshape(5, 4, 48).mean(-1), atol=1e-6)
    assert np.allclose(grid.se, 0.025 / 3**0.5)


def test_between_measured_points_the_mean_is_linear_and_its_covariance_that_of_independent_points():
    def plane(a, b, *, key):
        return {"risk": ("lineage", 2 * a - b + 0.01 * jnp.arange(4.0)), "other": ("lineage", a + jnp.zeros(4))}

    table = small(plane, level=1.6, max_repeats=1)
    grid = interpolate(table, "risk")
    assert not grid.measured.all() and (table.depth > 0).any()
    assert np.allclose(grid["mean"], 2 * grid.a - grid.b + 0.015)
    assert np.allclose(interpolate(table, "other")["mean"], grid.a.broadcast_like(grid["mean"]))
    points = table.sizes["point"]
    se = np.random.default_rng(0).uniform(1, 2, points)
    found = interpolate(table, lambda table: (np.zeros(points), se), along="a").covariance
    assert found.dims == ("b", "a", "a_")
    weights = [interpolate(table, lambda table, i=i: (np.eye(points)[i], se))["mean"].values for i in range(points)]
    assert np.allclose(found, np.einsum("iab,icb,i->bac", weights, weights, se**2))
    assert np.allclose(grid.se**2, np.sum(np.square(weights), 0) * grid.se.values[0, 0] ** 2)


def test_with_common_random_numbers_the_se_is_that_of_means_that_move_as_one():
    table = small(logistic, max_repeats=1)
    table = table.assign_attrs(common_random_numbers=1)
    grid = interpolate(table, lambda table: (np.zeros(table.sizes["point"]), np.ones(table.sizes["point"])), along="b")
    assert np.allclose(grid.se, 1) and np.allclose(grid.covariance, 1)


def test_fresh_repeats_are_as_many_as_those_that_decided_and_others(tmp_path):
    decided = small(logistic, store=tmp_path / "run", max_repeats=4)
    fresh = small(logistic, store=tmp_path / "run", max_repeats=4, fresh=True)
    assert np.array_equal(fresh.a, decided.a) and np.array_equal(fresh.b, decided.b)
    sizes = np.unique(np.stack([decided.a, decided.b]), axis=1, return_counts=True)[1]
    assert np.array_equal(fresh["repeat"].values - decided["repeat"].values, np.repeat(sizes, sizes))
    assert same(small(logistic, store=tmp_path / "run", max_repeats=4), decided)
    assert interpolate(fresh, "risk").measured.equals(interpolate(decided, "risk").measured)


def test_a_point_that_is_nan_is_named_and_not_refined():
    def partial(a, b, *, key):
        return {"risk": ("lineage", jnp.where(a > 1.9, jnp.nan, b) + jnp.zeros(3))}

    with pytest.warns(UserWarning, match=r"4 of .* points hold NaN in risk"):
        table = small(partial, level=0.7)
    assert not table.depth[table.a > 1.6].any() and (table.depth > 0).any()


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"a": [0.0, 1.0, 3.0]}, "a: got .*expected even spaces or a constant ratio"),
        ({"a": [1.0, 0.0]}, "a: got .*ascending"),
        ({"a": [1.0]}, "a: got .*two or more"),
        ({"a": 1.0}, "a: got the scalar 1.0"),
        ({"resolution": 0}, "resolution: got 0, expected a length above 0"),
        ({"resolution": 1e-9}, "resolution: got 1e-09 for a, .*halvings"),
        ({"resolution": {"a": 0.1}}, "resolution: got a, expected one for each of a, b"),
        ({"measure": "rsk"}, r"measure: got 'rsk', expected .* \(here: risk\)"),
        ({"measure": lambda table: (0.0, 0.0)}, r"measure: got mean and s.e. of shapes \(\)"),
        ({"level": float("nan")}, "level: got nan"),
        ({"confidence": -1}, "confidence: got -1"),
        ({"repeats": 0}, "repeats: got 0"),
        ({"repeats": 4, "max_repeats": 2}, "max_repeats: got 2, expected at least repeats=4"),
        ({"c": [0.0, 1.0]}, "c: got an axis that the experiment does not take"),
    ],
)
def test_bad_input_is_named(asked, message):
    with pytest.raises(ValueError, match=message):
        small(logistic, **asked)


def test_one_axis_a_single_lineage_and_taken_names_are_refused():
    with pytest.raises(ValueError, match="axes: got 1, expected two or more"):
        refine(logistic, key=KEY, measure="risk", resolution=0.1, a=AXIS)
    with pytest.raises(ValueError, match="measure: got 'risk', expected a variable with two or more along lineage"):
        small(functools.partial(logistic, lineages=1))
    with pytest.raises(ValueError, match="depth: got an axis or a variable of this name"):
        small(lambda a, b, *, key: {"depth": a, "risk": ("lineage", jnp.zeros(2))})


def test_only_a_whole_refinement_is_interpolated():
    table = small(logistic, level=3.0)
    with pytest.raises(ValueError, match="table: got a dataset that is not refined"):
        interpolate(sweep(logistic, key=KEY, a=[0.0], b=[0.0]), "risk")
    with pytest.raises(ValueError, match="table: got some of the points"):
        interpolate(table.isel(point=slice(1, None)), "risk")
    with pytest.raises(ValueError, match="along: got 'c', expected one of a, b"):
        interpolate(table, "risk", along="c")
