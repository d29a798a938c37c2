"""The command line: mistakes are one line and exit code 2; what the experiment raises is its own traceback, once."""

import json
import subprocess
import sys

import jax
import numpy as np
import pytest
from typer.testing import CliRunner

import jaxcollapse as jc
from jaxcollapse import _doctor
from jaxcollapse._cli import app

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
    assert "toy.py: 6 points = 3 a × 2 b, in" in result.stderr
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


def test_progress_names_its_phases(toy, caplog):
    call("run", "toy.py", "--chunk", 3)
    assert [record.message for record in caplog.records] == ["trace", "compile", "run chunk 0/2", "done"]


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
        (TOY, ["--axis", "a=0:1"], "bad.py: --axis a=0:1: expected NAME=START:STOP:NUM"),
        (TOY, ["--axis", "a=0:1:2.5"], "bad.py: --axis a=0:1:2.5: expected NAME=START:STOP:NUM"),
        (TOY, ["--axis", "a=0:1:0"], "bad.py: --axis a=0:1:0: expected NAME=START:STOP:NUM"),
        (TOY, ["--axis", "a=0:1:2:lin"], "bad.py: --axis a=0:1:2:lin: expected NAME=START:STOP:NUM"),
        (TOY, ["--axis", "a=0:1:2:log"], "bad.py: --axis a=0:1:2:log: got an end that is not positive"),
        (TOY, ["--axis", "a=1,x"], "bad.py: --axis a=1,x: expected NAME=START:STOP:NUM"),
        (TOY, ["--axis", "a"], "bad.py: --axis a: expected NAME=START:STOP:NUM"),
        (TOY, ["--axis", "a=1", "--axis", "a=2"], "bad.py: --axis a: got it 2 times, expected once"),
        (TOY, ["--axis", "a=1,1"], "bad.py: a: got 1.0 twice"),
        (TOY, ["--set", "a=1"], "bad.py: a: got --set for an axis; try --axis a=1"),
        (TOY, ["--set", "sise=1"], "bad.py: sise: got --set for an unknown keyword, expected among: size, scale"),
        (TOY, ["--set", "size=three"], "bad.py: --set size=three: expected NAME=VALUE"),
        (TOY, ["--store", "bad.py/run"], "bad.py: store: got"),
        (TOY, ["--store", "/proc/self/run"], "bad.py: store: got"),
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


def test_a_missing_file_and_a_taken_store_are_mistakes(toy, tmp_path):
    assert "nowhere.py: file: not found" in call("run", "nowhere.py").stderr
    (tmp_path / "notes.txt").write_text("")
    assert "notes.txt: file: got notes.txt, expected a Python file" in call("run", "notes.txt").stderr
    assert call("run", "toy.py").exit_code == 0
    again = call("run", "toy.py")
    assert again.exit_code == 2 and "which exists already; try another name or delete it" in again.stderr
    assert call("run", "toy.py", "--chunk", 0).exit_code == 2


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
    assert result.exit_code == 130 and "slow.py: interrupted. 0 of" in result.stderr


def test_nan_points_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nan.py").write_text(TOY.replace("scale * a *", "jnp.log(a) *"))
    result = call("run", "nan.py", "--axis", "a=-1,1", "--json")
    assert result.exit_code == 0 and json.loads(result.stdout)["invalid"] == 2
    assert "nan.py: 2 of 4 points hold NaN" in result.stderr and "(a=-1, b=1)" in result.stderr


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
    assert result.exit_code == 0 and result.stdout == "figure: runs/toy.png\n"
    assert (tmp_path / "runs" / "toy.png").exists()
    assert call("plot", "runs/toy", "--output", "again.svg").exit_code == 0 and (tmp_path / "again.svg").exists()
    toy.rename(tmp_path / "moved.py")
    gone = call("plot", "runs/toy")
    assert gone.exit_code == 2 and "toy.py, which is gone; try --file" in gone.stderr
    assert call("plot", "runs/toy", "--file", "moved.py").exit_code == 0
    assert "expected a folder written by sweep" in call("plot", "nothing").stderr


def test_theory_names_regime_limit_rate_and_the_exact_risk():
    options = ["--a0", 0.5, "--a", 0.5, "--n0", 20, "--b", 1, "--generations", 50]
    report = json.loads(call("theory", *options, "--json").stdout)
    assert report["name"] == "recovery" and report["limit"] == 0.0 and report["rate"] == pytest.approx(0.5)
    with jax.enable_x64(True):
        exact = jc.theory.risk(jc.PowerLaw(0.5, exponent=-0.5, cap=1), jc.PowerLaw(20.0, exponent=1.0), 50)
    assert report["risk"] == pytest.approx(float(exact[-1]), rel=1e-12)
    text = call("theory", "--a", 0.5, "--b", 1).stdout
    assert "recovery" in text and "exact r at generation 300" in text
    wrong = call("theory", "--a", 0.5, "--b", 1, "--n0", 0)
    assert wrong.exit_code == 2 and wrong.stderr.startswith("theory: n: got 0.0")
    assert call("theory", "--a", 0.5).exit_code == 2


def test_the_doctor_finds_this_machine_sound():
    result = call("doctor")
    assert result.exit_code == 0, result.output
    assert "!!" not in result.stdout and "0 of 40000 rows wrong" in result.stdout and "z = " in result.stdout


def test_the_doctor_names_versions_that_return_wrong_rows(monkeypatch):
    monkeypatch.setattr(_doctor, "version", lambda package: "0.10.2")
    wrong = [check for check in _doctor._packages() if check.good is False]
    assert [check.name for check in wrong] == ["jax", "jaxlib"] and "0.10.2: returns wrong rows" in wrong[0].text
    monkeypatch.setattr(_doctor, "checks", lambda: wrong)
    assert call("doctor").exit_code == 1


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
