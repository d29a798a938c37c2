"""The map of a sweep in a terminal: what stands where, in colours and without, and the points of its boundary."""

import io
import json
import pathlib
import re
import sys

import jax
import numpy as np
import pytest
import xarray as xr
from rich.console import Console
from typer.testing import CliRunner

import jaxcollapse as jc
from jaxcollapse import _progress, _terminal
from jaxcollapse._cli import app
from jaxcollapse._sweep import Stage
from jaxcollapse._terminal import SHADES

AXES = {"a": np.arange(3.0), "b": np.arange(4.0)}


def table(values, axes=AXES, **about):
    """A sweep of means without noise, of three equal lineages."""
    sample = np.stack([np.asarray(values, float)] * 3, -1)
    done = xr.DataArray(np.ones(sample.shape[:-1], bool), dims=tuple(axes))
    run = xr.Dataset({"risk": ((*axes, "lineage"), sample, about)}, coords=axes, attrs={"axes": list(axes)})
    return run.assign_coords(done=done, valid=done)


def printed(run, level=0.5, rows=None, colour=False, **settings):
    console = Console(
        file=io.StringIO(), width=80, force_terminal=colour, color_system="truecolor" if colour else None, **settings
    )
    _terminal.show(*_terminal.measured(run), level, rows=rows, console=console)
    return console.file.getvalue()


def test_the_first_axis_runs_up_and_the_second_to_the_right():
    values = np.array([[0.1, 0.2, 0.3, 0.6], [0.1, 0.2, 0.6, 0.7], [0.1, 0.7, 0.8, 0.9]])
    lines = printed(table(values)).splitlines()
    rows = [line[4::6] for line in lines[2:5]]
    assert lines[1] == "a" and [line[1] for line in lines[2:5]] == ["2", " ", "0"]
    assert rows == ["░███", "░░██", "░░▒█"]  # edges 0.1, 0.233, 0.367, 0.5: the darkest begins at the level
    assert lines[5].split() == ["0", "b", "3"]
    assert lines[6] == "░ 0.1 to  ▒ 0.233 to  ▓ 0.367 to  █ 0.5 to 0.9"


def test_the_boundary_has_one_row_a_slice_with_its_interval_and_exact_root():
    rng = np.random.default_rng(0)
    exact = 0.13 + 0.14 * AXES["b"][None] + 0.25 * AXES["a"][:, None]
    run = table(exact)
    run["risk"] = run.risk + rng.normal(0, 0.01, run.risk.shape)
    run["exact"] = (tuple(AXES), exact)
    found, metric = _terminal.measured(run)
    points = _terminal.boundary(found, metric, 0.5)
    roots = jc.phase.boundary(run.risk.values, AXES["a"], axis=0)
    assert [p["along"] for p in points] == ["a"] * len(points) and len(points) == np.isfinite(roots.root).sum() == 3
    for point in points:
        i = int(point["at"]["b"])
        assert (point["root"], point["low"], point["high"]) == pytest.approx(
            (roots.root[i], roots.low[i], roots.high[i])
        )
        assert point["low"] < point["root"] < point["high"] and abs(point["exact"] - point["root"]) < 0.3
    text = printed(run)
    assert "a where risk = 0.5" in text and "95 % from" in text and "exact" in text.split("where")[1]
    assert f"{points[0]['root']:.4g}" in text


def test_a_long_boundary_says_how_much_of_it_is_shown():
    axes = {"a": np.arange(5.0), "b": np.linspace(0, 1, 30)}
    values = (axes["a"][:, None] + axes["b"][None]) / 6
    assert "a where risk = 0.5, 9 of 30 points" in printed(table(values, axes), rows=9)
    assert "of 30 points" not in printed(table(values, axes))


def test_nan_and_what_is_not_computed_are_told_apart():
    run = table(np.array([[0.1, np.nan, 0.3, 0.9]] * 3))
    run.done[2, 3] = False
    lines = printed(run).splitlines()
    assert [line[4::6] for line in lines[2:5]] == ["░?▒ ", "░?▒█", "░?▒█"]
    assert "3 of 12 points hold no finite number (? or grey)" in lines
    assert "1 of 12 points are not computed yet (blank)" in lines


def test_colours_are_half_blocks_from_dark_to_light():
    run = table(np.array([[0.1, 0.2, 0.3, 0.6], [0.1, 0.2, np.nan, 0.7], [0.1, 0.7, 0.8, 0.9]]))
    text = printed(run, colour=True)
    assert "▀" in text and not set(SHADES[:3]) & set(text)
    for colour in ("68;1;84", "253;231;37", "128;128;128"):  # the least, the greatest, NaN
        assert f"38;2;{colour}m" in text or f"48;2;{colour}m" in text
    plain = printed(run, colour=True, no_color=True)
    assert "█" in plain and "▒" in plain and "38;2" not in plain


def test_one_axis_is_a_row_of_bars_and_its_boundary_one_point():
    run = table(np.linspace(0.1, 0.8, 8), {"alpha": np.linspace(0, 0.7, 8)})
    lines = printed(run).splitlines()
    assert lines[1].strip() == "".join(bar * 3 for bar in "▁▂▃▄▅▆▇█") and lines[2].split() == ["0", "alpha", "0.7"]
    assert "0.4" in lines[-2].split() and "alpha where risk = 0.5" in lines[4]


def test_points_that_are_no_grid_are_binned_and_said_to_be():
    a, b = np.random.default_rng(0).uniform(size=(2, 500))
    listed = xr.Dataset(
        {"risk": (("point", "lineage"), np.stack([a, a], -1))},
        coords={"a": ("point", a), "b": ("point", b), "done": ("point", np.ones(500, bool))},
        attrs={"axes": ["a", "b"]},
    ).assign_coords(valid=("point", np.ones(500, bool)))
    lines = printed(listed).splitlines()
    bins = ["".join(mark for mark in line if mark in SHADES) for line in lines[2:22]]
    assert set("".join(bins[:9])) == {"█"} and "█" not in "".join(bins[11:])  # a runs up
    assert "500 points that are no grid, means in 20 × 32 bins (blank: no point)" in lines
    assert "no grid; try jc.refine" in lines[-2]


def test_large_and_deep_grids_fit_80_columns_and_name_what_is_held():
    axes = {"first": [1.0, 2.0, 3.0], "a": np.linspace(0, 2, 45), "b": np.geomspace(1, 1e5, 130)}
    values = np.broadcast_to(np.linspace(0.4, 0.6, 45)[None, :, None], (3, 45, 130))
    text = printed(table(values, axes), rows=9)
    assert max(map(len, text.splitlines())) <= 80 and len(text.splitlines()) < 60
    assert "at first = 2" in text and "a mark is the mean of 2 × 3 points" in text


def test_a_quantity_is_chosen_by_name():
    run = table(np.ones((3, 4)))
    run["other"] = run.risk.mean("lineage")
    assert _terminal.measured(run, "other")[1].name == "other"
    with pytest.raises(ValueError, match="metric: got none_such, expected one of risk, other; try --metric risk"):
        _terminal.measured(run, "none_such")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("terminal")

    def experiment(a, b, *, key):
        return {"risk": ("lineage", (a + b) * np.linspace(0.9, 1.1, 5)), "exact": a + b}

    jc.sweep(
        experiment, key=jax.random.key(0), store=folder / "run", a=np.linspace(0, 0.5, 5), b=np.linspace(0, 0.5, 4)
    )
    return folder / "run"


def test_phase_prints_a_stored_run_without_its_file(store):
    result = CliRunner().invoke(app, ["phase", str(store)])
    assert result.exit_code == 0, result.output
    assert "a where risk = 0.5" in result.stdout and set(SHADES) <= set(result.stdout)
    again = CliRunner().invoke(app, ["phase", str(store), "--json", "--level", "0.6"])
    report = json.loads(again.stdout)
    assert report["level"] == 0.6 and report["metric"] == "risk"
    assert [point["exact"] for point in report["boundary"]] == pytest.approx(
        [0.6 - point["at"]["b"] for point in report["boundary"]], abs=0.01
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--level", "1.5"], "--level: got 1.5, expected a number between 0 and 1"),
        (["--metric", "wrong"], "metric: got wrong, expected one of risk; try --metric risk"),
    ],
)
def test_phase_names_what_is_wrong(store, options, message):
    result = CliRunner().invoke(app, ["phase", str(store), *options])
    assert result.exit_code == 2 and not result.stdout
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"{store}: {message}")


def test_phase_of_what_is_no_store_is_one_line(tmp_path):
    result = CliRunner().invoke(app, ["phase", str(tmp_path / "none")])
    assert result.exit_code == 2 and "expected a folder written by a run; try jaxcollapse run FILE" in result.stderr


def test_verifying_and_exporting_say_what_they_do(store, tmp_path, caplog):
    assert CliRunner().invoke(app, ["status", str(store), "--verify"]).exit_code == 0
    assert CliRunner().invoke(app, ["export", str(store), str(tmp_path / "run.csv")]).exit_code == 0
    messages = [record.message for record in caplog.records]
    assert messages[0].startswith("verify chunk 0/") and messages[-1] == "export"


def test_progress_on_a_terminal_names_stage_rate_and_time_left(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert list(_progress.track([3, 4, 5], "verify", terminal=True)) == [3, 4, 5]
    clock = _progress._Clock()
    assert clock.text(Stage("verify", 0, 9)) == "verify chunk 0/9"
    assert re.fullmatch(r"verify chunk 3/9, \S+/s, 0:00:00 left", clock.text(Stage("verify", 3, 9)))
    with _progress.step("figure", terminal=True):
        print("between")
    captured = capsys.readouterr()
    assert captured.out == "between\n" and "figure" in captured.err


def test_plot_without_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.delattr(jc, "plot")
    monkeypatch.delitem(sys.modules, "jaxcollapse.plot")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"jaxcollapse.plot needs matplotlib; try pip install 'jaxcollapse\[plot\]'"):
        _ = jc.plot


def test_one_version_of_python_is_asked_for_everywhere():
    """pip refuses an older one with one line of its own, from `requires-python`."""
    told = (pathlib.Path(__file__).parent.parent / "pyproject.toml").read_text()
    assert 'requires-python = ">=3.11"' in told and 'target-version = "py311"' in told
    assert "Python 3.11 or newer" in (pathlib.Path(__file__).parent.parent / "README.md").read_text()
