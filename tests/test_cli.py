"""The command line: mistakes are one line and exit code 2; what the experiment raises is its own traceback, once."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import zarr
from typer.testing import CliRunner

import jaxcollapse as jc
from jaxcollapse import _doctor, _execute, _program
from jaxcollapse._cli import app
from jaxcollapse._picture import picture

TOY = """
import jax.numpy as jnp
import jax.random as jr

AXES = {"a": [0.0, 0.5, 1.0], "b": [1, 2]}

def experiment(a, b, *, key, size=3, scale=1.0):
    return {"x": ("lineage", scale * a * jr.normal(key, (size,))), "b_seen": b}
"""
SUMMARY = """
def summary(run):
    return f"{run.x.size} draws [of one law]"
"""
PICKY = """
import jaxcollapse as jc

AXES = {"a": [0.0, 0.5]}

def experiment(a, *, key, lineages=2, generations=3):
    loop = jc.Loop(jc.zipf(4), jc.Tabular(), jc.Replace(), jc.Constant(a), jc.Constant(5))
    _, x = jc.ensemble(loop, generations, lineages=lineages, key=key, record=lambda lineage, batch: lineage.model.probs)
    return {"x": x}
"""
FIGURE = """
def figure(run):
    from matplotlib.figure import Figure
    drawn = Figure()
    drawn.subplots().hist(run.x.values.ravel())
    return drawn
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.py").write_text(TOY + SUMMARY + FIGURE)
    return tmp_path / "toy.py"


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_run_prints_its_summary_draws_its_figure_and_names_its_files(toy, tmp_path):
    result = call("run", "toy.py", "--seed", 3)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == ["18 draws [of one law]", "figure: runs/toy.png", "data: runs/toy"]
    assert "toy.py: 6 points = 3 a × 2 b -> runs/toy" in result.stderr
    assert (tmp_path / "runs" / "toy.png").read_bytes().startswith(b"\x89PNG")
    run = jc.open(tmp_path / "runs" / "toy")
    assert run.attrs["file"] == str(toy) and run.attrs["key"] == [0, 3]
    assert np.array_equal(run.a, [0.0, 0.5, 1.0])


def test_options_replace_axes_and_bind_keywords(toy, tmp_path):
    options = ["--axis", "a=0:2:5", "--axis", "b=1:100:3:log", "--set", "size=2", "--chunk", 4, "--repeats", 2]
    result = call("run", "toy.py", "--store", "other", *options)
    assert result.exit_code == 0, result.output
    run = jc.open(tmp_path / "other")
    assert dict(run.x.sizes) == {"a": 5, "b": 3, "repeat": 2, "lineage": 2}
    assert np.array_equal(run.a, np.linspace(0, 2, 5)) and np.allclose(run.b, [1, 10, 100])
    assert json.loads(run.attrs["settings"]) == {"size": 2, "scale": 1.0} and run.attrs["chunk"] == 4


def test_common_random_numbers_are_taken_recorded_and_said(toy, tmp_path):
    apart = call("run", "toy.py", "--store", "apart", "--json")
    result = call("run", "toy.py", "--store", "common", "--common-random-numbers", "--json", "--chunk", 4)
    assert result.exit_code == 0 and "3 a × 2 b, common random numbers -> common" in result.stderr
    (line,) = (line for line in result.stderr.splitlines() if "points are correlated" in line)
    assert line.startswith("toy.py: common random numbers: ") and "correlated" not in apart.output
    assert [json.loads(r.stdout)["common_random_numbers"] for r in (apart, result)] == [False, True]
    runs = [jc.open(tmp_path / name) for name in ("apart", "common")]
    assert [run.attrs["common_random_numbers"] for run in runs] == [0, 1]
    draws = [run.x.sel(a=[0.5, 1.0]) / run.a.sel(a=[0.5, 1.0]) for run in runs]
    assert [bool((x == x.isel(a=0, b=0)).all()) for x in draws] == [False, True]
    planned = call("run", "toy.py", "--store", "other", "--common-random-numbers", "--dry-run")
    assert "common_random_numbers: True" in planned.stdout.splitlines()
    refused = call("run", "toy.py", "--store", "other", "--axis", "common_random_numbers=0,1")
    assert refused.exit_code == 2 and "common_random_numbers: got an axis of this name" in refused.stderr


def test_a_run_uses_every_core_without_being_told(toy, tmp_path):
    plain = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "jaxcollapse", "run", str(toy), "--store", str(tmp_path / "toy")]
    result = subprocess.run(command, capture_output=True, text=True, env=plain, cwd=Path(jc.__file__).parents[1])
    assert result.returncode == 0, result.stderr
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert jc.open(tmp_path / "toy").attrs["threads"] == cores


def test_a_keyword_can_become_an_axis_and_whole_numbers_stay_whole(toy, tmp_path):
    result = call("run", "toy.py", "--store", "other", "--axis", "scale=1,2.5", "--axis", "b=3,1")
    assert result.exit_code == 0, result.output
    run = jc.open(tmp_path / "other")
    assert run.x.dims == ("a", "b", "scale", "lineage") and run.b_seen.dtype == np.int32


def test_json_is_all_that_is_printed(toy):
    result = call("run", "toy.py", "--json")
    report = json.loads(result.stdout)
    assert report["store"] == "runs/toy" and report["figure"] == "runs/toy.png" and report["invalid"] == 0
    assert report["points"] == 6 and report["variables"]["x"] == {"a": 3, "b": 2, "lineage": 3, "dtype": "float32"}
    assert set(report["seconds"]) == {"trace", "compile", "run"} and report["summary"] == "18 draws [of one law]"


def test_a_dry_run_says_what_would_run_and_leaves_no_trace(toy, tmp_path):
    report = json.loads(call("run", "toy.py", "--dry-run", "--json", "--chunk", 4).stdout)
    assert report["points"] == 6 and report["chunks"] == 2 and report["bytes"] == 6 * 4 * 4
    assert report["variables"]["x"] == {"lineage": 3, "dtype": "float32"}
    assert "points: 6" in call("run", "toy.py", "--dry-run").stdout.splitlines()
    assert list(tmp_path.iterdir()) == [toy]


@pytest.mark.parametrize("size", [3, 10**6])
def test_a_dry_run_states_the_memory(toy, monkeypatch, size):
    """Beside what the process holds: results three times over, and the arrays of the blocks."""
    peaks = itertools.chain([0], itertools.repeat(2 * 10**8))
    monkeypatch.setattr(_program, "_held", lambda what="": next(peaks) if what else 10**5)
    report = json.loads(call("run", "toy.py", "--dry-run", "--json", "--set", f"size={size}").stdout)
    assert set(report["seconds"]) == {"trace", "compile"}
    assert 4 * size * report["chunk"] < report["chunk_bytes"] < 10 * 4 * max(size, 100) * report["chunk"]
    needed = 10**5 + 2**27 + 3 * report["bytes"] + _program.threads() * report["chunk_bytes"]
    assert report["peak_bytes"] == max(2 * 10**8, needed) and (needed > 2 * 10**8) == (size > 3)


def test_a_program_that_takes_more_than_is_allowed_is_refused_before_it_runs(toy, monkeypatch):
    peaks = itertools.cycle([0, 5 * 10**9])  # before compiling and after it
    monkeypatch.setattr(_program, "_held", lambda what="": next(peaks) if what else 0)
    assert call("run", "toy.py", "--memory", "4GB", "--dry-run").exit_code == 2
    refused = call("run", "toy.py", "--memory", "4GB")
    expected = "memory: got 4,000,000,000 bytes for blocks of 8 points, expected at least 5,000,000,000, as measured"
    assert refused.exit_code == 1 and expected in refused.stderr
    assert not jc.open("runs/toy").done.any()
    assert call("run", "toy.py", "--memory", "6GB").exit_code == 0


def test_a_dry_run_of_a_store_that_was_begun_has_its_chunk(toy):
    assert call("run", "toy.py", "--chunk", 3).exit_code == 0
    report = json.loads(call("run", "toy.py", "--dry-run", "--json", "--axis", "a=0:1:9").stdout)
    assert (report["points"], report["chunk"], report["chunks"]) == (18, 3, 6)


def test_a_peak_before_compiling_is_not_the_runs(toy, monkeypatch):
    monkeypatch.setattr(_program, "_held", lambda what="": 5 * 10**9 if what else 0)  # a load of long ago
    assert call("run", "toy.py", "--memory", "4GB").exit_code == 0


def test_a_dry_run_reports_what_was_asked_for(toy):
    report = json.loads(call("run", "toy.py", "--dry-run", "--json", "--seed", 5, "--set", "size=2").stdout)
    assert report["seed"] == 5 and report["settings"] == {"size": 2, "scale": 1.0}
    assert report["axes"] == {"a": [0.0, 0.5, 1.0], "b": [1, 2]}


def test_progress_names_its_phases(toy, caplog):
    call("run", "toy.py", "--chunk", 3)
    assert [record.message for record in caplog.records] == [
        *("trace", "compile", "run chunk 0/2", "done", "summary", "figure")
    ]


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("x = 1", [], "bad.py: experiment: not defined"),
        ("def experiment(a, *, key):\n    return {'x': a\n", [], "bad.py: line 2: '{' was never closed"),
        ("AXES = [1]\ndef experiment(a, *, key): return {'x': a}", [], "bad.py: AXES: got list, expected a dict"),
        ("def experiment(a, *, key): return {'x': a}", [], "bad.py: axes: got none"),
        ("AXES = {'a': 3}\ndef experiment(a, *, key): return {'x': a}", [], "bad.py: a: got the scalar 3"),
        ("AXES = {'a': [1]}\ndef experiment(a): return {'x': a}", [], "bad.py: experiment: got a function without"),
        (TOY, ["--axis", "c=0:1:2"], "bad.py: c: got an axis that the experiment does not take, expected among: a, b"),
        (TOY, ["--axis", "a=0:1"], "--axis: got a=0:1 with no NUM, expected a whole number of at least 1; try NAME="),
        (TOY, ["--axis", "a=0:1:2.5"], "--axis: got a=0:1:2.5 with '2.5' for NUM, expected a whole number"),
        (TOY, ["--axis", "a=0:1:0"], "--axis: got a=0:1:0 with '0' for NUM, expected a whole number of at least 1"),
        (TOY, ["--axis", "a=0:1:2:lin"], "--axis: got a=0:1:2:lin with 'lin' after NUM, expected log or nothing"),
        (TOY, ["--axis", "a=0:1:2:log"], "--axis: got a=0:1:2:log with the end 0, expected two positive ends for log"),
        (TOY, ["--axis", "a=-1:1:2:log"], "with the end -1, expected two positive ends for log; try NAME="),
        (TOY, ["--axis", "a=0:inf:2"], "--axis: got a=0:inf:2 with the end inf, expected two finite ends"),
        (TOY, ["--axis", "a=0,nan"], "--axis: got a=0,nan with 'nan' for a number, expected numbers; try NAME="),
        (TOY, ["--axis", "a=1,x"], "--axis: got a=1,x with 'x' for a number, expected numbers"),
        (TOY, ["--axis", "a"], "--axis: got a with no values, expected a name, = and values"),
        (TOY, ["--axis", "3=1"], "--axis: got 3=1 with no name"),
        (TOY, ["--seed", "-1"], "bad.py: --seed: got -1, expected a whole number from 0 to 4294967295"),
        (TOY, ["--chunk", "0"], "bad.py: --chunk: got 0, expected a whole number of at least 1"),
        (TOY, ["--repeats", "0"], "bad.py: --repeats: got 0, expected a whole number of at least 1"),
        (TOY, ["--axis", "a=1", "--axis", "a=2"], "bad.py: --axis a: got it 2 times, expected once"),
        (TOY, ["--axis", "a=1,1"], "bad.py: a: got 1.0 twice"),
        (TOY, ["--set", "a=1"], "bad.py: a: got --set for an axis; try --axis a=1"),
        (TOY, ["--set", "sise=1"], "bad.py: sise: got --set for an unknown keyword, expected among: size, scale"),
        (TOY, ["--set", "size=three"], "bad.py: --set: got size=three, expected NAME=VALUE"),
        (TOY, ["--store", "bad.py/run"], "bad.py: store: got"),
        (TOY, ["--store", "/proc/self/run"], "bad.py: store: got"),
        (TOY, ["--store", "/proc/self/run", "--dry-run"], "bad.py: store: got /proc/self/run, which cannot be written"),
        (PICKY, ["--set", "lineages=0"], "bad.py: lineages: got 0, expected a whole number of at least 1"),
        (PICKY, ["--set", "generations=0", "--dry-run"], "bad.py: generations: got 0, expected"),
        ("AXES = {'a': [1]}\ndef experiment(a, *, key): return 3", [], "bad.py: experiment: got the result 3"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path, monkeypatch, source, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.py").write_text(source)
    result = call("run", "bad.py", *options)
    assert result.exit_code == 2
    lines = [line for line in result.stderr.splitlines() if " points = " not in line]
    assert len(lines) == 1 and message in lines[0] and not result.stdout
    assert not (tmp_path / "runs").exists()


def test_only_the_form_of_a_mistake_makes_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raises.py").write_text(TOY.replace("return", "raise ValueError('shapes 2, 3: no match'); return"))
    for options in ([], ["--dry-run"]):
        result = call("run", "raises.py", *options)
        assert result.exit_code == 1 and result.stderr.count("Traceback") == 1
        assert result.stderr.count("ValueError: shapes 2, 3: no match") == 1


def test_a_missing_file_and_the_store_of_another_sweep_are_mistakes(toy, tmp_path):
    assert "nowhere.py: file: got nowhere.py, which is not there" in call("run", "nowhere.py").stderr
    assert f"file: got {tmp_path}, which is a directory" in call("run", tmp_path).stderr
    (tmp_path / "notes.txt").write_text("")
    assert "notes.txt: file: got notes.txt, expected a Python file" in call("run", "notes.txt").stderr
    assert call("run", "toy.py").exit_code == 0
    for options, differs in ((["--seed", "1"], "whose key is [0, 0]"), (["--set", "size=4"], "whose settings is")):
        again = call("run", "toy.py", *options)
        assert again.exit_code == 2 and differs in again.stderr
        assert again.stderr.endswith("try another store, or --force-new, which begins beside it\n")
    assert call("run", "toy.py", "--seed", "1", "--force-new").exit_code == 0
    assert jc.open("runs/toy").attrs["key"] == [0, 0] and jc.open("runs/toy-2").attrs["key"] == [0, 1]


@pytest.mark.parametrize(
    "source",
    [
        TOY.replace("return", "1 / 0; return"),
        TOY + SUMMARY.replace("return", "1 / 0; return"),
        TOY + FIGURE.replace("return", "1 / 0; return"),
        "1 / 0",
    ],
)
def test_what_the_experiment_raises_is_shown_once(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "raises.py").write_text(source)
    result = call("run", "raises.py")
    assert result.exit_code == 1
    assert result.stderr.count("ZeroDivisionError") == 1 and result.stderr.count("1 / 0") == 1
    assert "_sweep.py" not in result.stderr
    if "1 / 0" not in source.partition("summary")[0] and "summary" in source:
        assert "The results are kept in runs/raises." in result.stderr


def test_an_interrupt_is_exit_code_130(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "slow.py").write_text(TOY.replace("return", "raise KeyboardInterrupt; return"))
    result = call("run", "slow.py")
    assert result.exit_code == 130 and result.stderr.endswith("slow.py: interrupted.\n")
    assert not (tmp_path / "runs").exists()


def test_an_interrupted_run_says_what_it_keeps(toy, monkeypatch):
    def interrupted(*arguments):
        yield from itertools.islice(run(*arguments), 2)
        raise KeyboardInterrupt

    run = _execute.run
    monkeypatch.setattr(_execute, "run", interrupted)
    result = call("run", "toy.py", "--chunk", 2)
    assert result.exit_code == 130
    assert result.stderr.endswith("toy.py: interrupted. 2 of 3 chunks are kept in runs/toy.\n")


MISTAKE = "raise ValueError('risk: got no value, expected some'); return"


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        (TOY + SUMMARY.replace("return", MISTAKE) + FIGURE, "figure"),
        (TOY + SUMMARY + FIGURE.replace("return", MISTAKE), "summary"),
    ],
)
def test_a_failing_summary_or_figure_is_one_line_and_spares_the_other(tmp_path, monkeypatch, source, kept):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.py").write_text(source)
    result = call("run", "toy.py", "--json")
    assert result.exit_code == 1
    assert "toy.py: risk: got no value, expected some. The results are kept in runs/toy.\n" in result.stderr
    assert "Traceback" not in result.stderr
    report = json.loads(result.stdout)
    assert [name for name in ("summary", "figure") if report[name]] == [kept]
    assert (tmp_path / "runs" / "toy.png").exists() == (kept == "figure")
    assert jc.open(tmp_path / "runs" / "toy").x.size == 18


def test_nan_points_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nan.py").write_text(TOY.replace("scale * a *", "jnp.log(a) *"))
    result = call("run", "nan.py", "--axis", "a=-1,1", "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)["invalid"] == 2
    assert "nan.py: 2 of 4 points hold NaN in x (" in result.stderr and "(a=-1, b=1)" in result.stderr


def test_a_run_without_a_valid_point_has_failed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = TOY.replace("scale * a *", "jnp.log(a) *") + SUMMARY.replace("return", "1 / 0; return")
    (tmp_path / "nan.py").write_text(source)
    for store, options in (("text", []), ("object", ["--json"])):
        result = call("run", "nan.py", "--axis", "a=-1,-2", "--seed", 4, "--store", store, *options)
        assert result.exit_code == 1 and "Traceback" not in result.stderr
        assert result.stderr.count("nan.py: 4 of 4 points hold NaN in x (") == 1
    report = json.loads(result.stdout)
    assert report["invalid"] == report["points"] == 4 and report["seed"] == 4
    assert report["settings"] == {"size": 3, "scale": 1.0} and report["axes"] == {"a": [-1, -2], "b": [1, 2]}


def test_a_file_without_a_figure_is_told_that_it_may_have_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "toy.py").write_text(TOY)
    result = call("run", "toy.py")
    assert result.exit_code == 0 and "figure" not in result.stdout
    assert result.stderr.count("figure: not drawn; toy.py may define figure(run)") == 1


MAP = """
import jax.numpy as jnp
import jax.random as jr

AXES = {"a": [0.0, 0.25, 0.3, 0.5], "n": [10.0, 30.0, 100.0, 300.0, 1000.0]}


def experiment(a, n, *, key):
    exact = jnp.exp(-a * jnp.log10(n))
    return {"risk": ("lineage", exact * (1 + 0.01 * jr.normal(key, (8,)))), "exact": exact}
"""


def test_a_map_without_a_figure_of_its_own_is_drawn_with_its_boundary(tmp_path, monkeypatch):
    pyplot = pytest.importorskip("matplotlib.pyplot")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "map.py").write_text(MAP)
    result = call("run", "map.py")
    assert result.exit_code == 0 and "figure: runs/map.png" in result.stdout
    figure = picture(jc.open("runs/map"))
    ax = figure.axes[0]
    assert ax.get_xlabel() == "a" and ax.get_ylabel() == "log₁₀ n" and figure.axes[1].get_ylabel() == "risk"
    exact, simulated = ax.lines[:2]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        r"$\mathrm{risk} = 0.5$: exact recursion", r"$\mathrm{risk} = 0.5$: simulated"
    ]  # fmt: skip
    at = np.isfinite(exact.get_ydata())
    assert at.tolist() == [False, True, True, True]
    np.testing.assert_allclose(exact.get_ydata()[at], np.log(2) / np.array([0.25, 0.3, 0.5]), atol=0.02)
    np.testing.assert_allclose(simulated.get_ydata()[at], exact.get_ydata()[at], atol=0.05)
    pyplot.close("all")
    run = jc.open("runs/map")
    odd = [run.assign(risk=run.risk + shift) for shift in (np.nan, -1.0)]  # nothing to draw; not all above 0
    odd += [run.isel(a=[0]), run.assign_coords(n=run.n.astype(str)), run.drop_vars(("risk", "exact"))]
    assert [picture(table) for table in odd] == [None] * 5
    assert picture(run.assign(risk=0.0 * run.risk + 2.0)) and picture(run.where(run.a > 0.1))
    pyplot.close("all")
    assert call("plot", "runs/map", "--output", "again.png").exit_code == 0 and Path("again.png").stat().st_size > 0
    Path("map.py").unlink()
    gone = call("plot", "runs/map", "--output", "plain.png")
    assert gone.exit_code == 0 and "map.py is gone: a plain map" in gone.stderr and Path("plain.png").exists()


def test_without_matplotlib_the_run_is_safe_and_says_what_to_install(toy, tmp_path, monkeypatch):
    for name in ("matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    result = call("run", "toy.py")
    assert result.exit_code == 0 and "data: runs/toy" in result.stdout
    assert "pip install 'jaxcollapse[plot]'" in result.stderr
    assert jc.open(tmp_path / "runs" / "toy").x.size == 18


def test_a_figure_can_be_drawn_again(toy, tmp_path):
    call("run", "toy.py")
    (tmp_path / "runs" / "toy.png").unlink()
    result = call("plot", "runs/toy")
    assert result.exit_code == 0 and result.stdout.splitlines()[-1] == "figure: runs/toy.png"
    assert result.stdout.startswith("x (mean over lineages)\na\n")  # the map, here
    assert (tmp_path / "runs" / "toy.png").exists()
    assert call("plot", "runs/toy", "--output", "again.svg").exit_code == 0 and (tmp_path / "again.svg").exists()
    toy.rename(tmp_path / "moved.py")
    gone = call("plot", "runs/toy")
    assert "toy.py is gone: a plain map; try --file with its new place" in gone.stderr
    assert gone.exit_code == 1 and "an experiment may define figure(run)" in gone.stderr  # a risk is above 0
    assert call("plot", "runs/toy", "--file", "moved.py").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["runs/toy", "--output", "toy.xyz"], "toy.xyz: output: got the ending '.xyz', expected one of"),
        (["runs/toy", "--output", "toy"], "toy: output: got the ending '', expected one of"),
        (["runs/toy", "--output", "no/toy.png"], "no/toy.png: output: got a path that cannot be written (No such file"),
        (["runs/toy", "--file", "runs"], "runs: file: got runs, which is a directory, expected a Python file"),
        (["no"], "no: store: got no, which is not there, expected a folder written by a run; try jaxcollapse run FILE"),
        (["runs"], "runs: store: got runs, which is a directory, expected a folder written by a run"),
        (["toy.py"], "toy.py: store: got toy.py, which is a file, expected a folder written by a run"),
    ],
)
def test_a_figure_that_cannot_be_drawn_is_one_line(toy, tmp_path, arguments, message):
    call("run", "toy.py")
    before = sorted(tmp_path.rglob("*"))
    result = call("plot", *arguments)
    assert result.exit_code == 2 and not result.stdout
    (line,) = result.stderr.splitlines()
    assert line.startswith(message)
    assert [path for path in sorted(tmp_path.rglob("*")) if "__pycache__" not in path.parts] == before


def test_the_figure_of_an_unfinished_run_says_how_much_of_it_is_there(toy, tmp_path):
    call("run", "toy.py", "--chunk", 4)
    zarr.open_array(tmp_path / "runs" / "toy" / "done", mode="r+")[:4] = np.zeros(4, bool)
    result = call("plot", "runs/toy")
    assert result.exit_code == 0 and result.stderr == "runs/toy: unfinished, 1 of 2 chunks\n"


def test_theory_names_regime_limit_rate_and_the_exact_risk():
    options = ["--a0", 0.5, "--a", 0.5, "--n0", 20, "--b", 1, "--generations", 50]
    report = json.loads(call("theory", *options, "--json").stdout)
    assert report["name"] == "recovery" and report["limit"] == 0.0 and report["rate"] == pytest.approx(0.5)
    with jax.enable_x64(True):
        exact = jc.theory.risk(jc.PowerLaw(0.5, exponent=-0.5, cap=1), jc.PowerLaw(20.0, exponent=1.0), 50)
        rest = jc.theory.diversity(jc.PowerLaw(0.5, exponent=-0.5, cap=1), jc.PowerLaw(20.0, exponent=1.0), 50)
    assert report["risk"] == pytest.approx(float(exact[-1]), rel=1e-12)
    assert report["diversity"] == pytest.approx(float(rest[-1]), rel=1e-12)
    assert report["law_value"] == pytest.approx(50**-0.5 / 20)


def test_theory_tells_its_limit_from_its_horizon():
    limit, horizon = call("theory", "--a", 0.5, "--b", 1).stdout.splitlines()
    assert limit.startswith("as t → ∞:  recovery: r -> 0, r ~ 0.05 * t^-0.5")
    assert horizon.startswith("at t = 300:  exact r = 0.00300746, exact 1 − r = 0.996993")
    assert horizon.endswith("; the law gives r = 0.00288675, if it has set in")
    _, horizon = call("theory", "--a", 0, "--b", 0).stdout.splitlines()
    assert horizon.endswith("; the law of t → ∞ may not have set in yet")


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--a", "-1", "a finite number of at least 0"),
        ("--a", "inf", "a finite number of at least 0"),
        ("--b", "nan", "a finite number"),
        ("--b", "7", "a number between -123.3 and 5.916"),
        ("--b", "-300", "a number between -123.3 and 5.916"),
        ("--a0", "0", "a finite number above 0"),
        ("--n0", "0.5", "a number from 1 to below 2^53"),
        ("--generations", "0", "a whole number of at least 1"),
    ],
)
def test_theory_names_the_option_that_is_out_of_range(option, value, expected):
    good = {"--a": "0.5", "--b": "1"} | {option: value}
    wrong = call("theory", *(word for pair in good.items() for word in pair))
    assert wrong.exit_code == 2 and not wrong.stdout
    (line,) = wrong.stderr.splitlines()
    assert line.startswith(f"theory: {option}: got {value}, expected {expected}") and "; try --" in line


def test_theory_takes_every_growth_up_to_its_bounds():
    for growth in (-123, 5.91):
        assert call("theory", "--a", 0.5, "--b", growth).exit_code == 0
    assert call("theory", "--a", 0.5).exit_code == 2


def test_the_doctor_finds_this_machine_sound():
    result = call("doctor")
    assert result.exit_code == 0, result.output
    assert "FAIL" not in result.stdout and "0 of 40000 rows wrong" in result.stdout and "z = " in result.stdout


def test_the_doctor_names_versions_that_return_wrong_rows(monkeypatch):
    monkeypatch.setattr(_doctor, "version", lambda package: "0.10.2")
    wrong = [check for check in _doctor._packages() if check.good is False]
    assert [check.name for check in wrong] == ["jax", "jaxlib"] and "0.10.2: returns wrong rows" in wrong[0].text
    monkeypatch.setattr(_doctor, "checks", lambda: wrong)
    assert call("doctor").exit_code == 1


def test_the_doctor_fails_where_no_device_starts(monkeypatch):
    def nonsense():
        raise RuntimeError("Unable to initialize backend 'nonsense'")

    monkeypatch.setattr(jax, "devices", nonsense)
    result = call("doctor")
    assert result.exit_code == 1 and "Traceback" not in result.output
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("FAIL"))
    assert "devices" in line and "Unable to initialize backend 'nonsense'; try unset JAX_PLATFORMS" in line


def test_help_says_what_a_file_may_define():
    text = call("run", "--help").stdout
    for name in ("AXES", "experiment(axis, ..., *, key)", "summary(run)", "figure(run)"):
        assert name in text


def test_help_answers_without_importing_jax():
    code = (
        "import sys\nfrom jaxcollapse._cli import app\n"
        "for arguments in (['--help'], ['run', '--help'], ['--version']):\n"
        "    app(arguments, standalone_mode=False)\n"
        "print(sorted({'jax', 'numpy', 'xarray', 'zarr', 'matplotlib'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "Usage: " in result.stdout and result.stdout.splitlines()[-1] == "[]"
    assert f"jaxcollapse {jc.__version__}" in result.stdout
