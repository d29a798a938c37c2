"""What a store says of itself: points, blocks, NaN and runs, one of which may be writing."""

import json

import jax.numpy as jnp
import jax.random as jr
import pytest
from typer.testing import CliRunner

import jaxcollapse as jc
from jaxcollapse._cli import app
from jaxcollapse._status import lines, opened, running, size, status
from jaxcollapse._store import begin

SOURCE = """
import jax.numpy as jnp

AXES = {"a": [-1.0, 0.0, 4.0], "b": [1, 2]}

def experiment(a, b, *, key, scale=1.0):
    return {"root": scale * jnp.sqrt(a), "b_seen": b}
"""


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_run_is_described_in_full(tmp_path):
    (tmp_path / "toy.py").write_text(SOURCE)
    store = tmp_path / "run"
    assert call("run", tmp_path / "toy.py", "--store", store, "--chunk", 5, "--set", "scale=2.0").exit_code == 0
    report = json.loads(call("status", store, "--json").stdout)
    assert report["experiment"] == "experiment" and report["settings"] == {"scale": 2.0}
    assert report["axes"] == {"a": {"size": 3, "from": -1.0, "to": 4.0}, "b": {"size": 2, "from": 1, "to": 2}}
    assert (report["points"], report["done"], report["repeats"]) == (6, 6, 1)
    assert report["blocks"] == {"done": 2, "all": 2, "size": 5}
    assert report["invalid"] == {"points": 2, "first": [{"a": -1.0, "b": 1}, {"a": -1.0, "b": 2}]}
    files = [file for file in store.rglob("*") if file.is_file()]
    assert report["bytes"] == sum(file.stat().st_size for file in files)
    (run,) = report["runs"]
    assert run["running"] is False and run["file"] == str(tmp_path / "toy.py") and run["created"] and run["host"]
    assert all(run["seconds"][step] >= 0 for step in ("trace", "compile", "run"))
    text = call("status", store).stdout
    assert "a 3 from -1 to 4, b 2 from 1 to 2" in text and "6 of 6 done, 2 of 2 blocks" in text
    assert "2 points, the first at (a=-1, b=1), (a=-1, b=2)" in text


def killed_and_running(path):
    """A sweep of four points in two blocks, of which one is done; yields while the run's lock is held."""
    jc.sweep(lambda a, *, key: {"x": a}, key=jr.key(0), store=path, chunk=2, a=[1.0, 2.0], repeats=2)
    table = opened(path)
    with begin(path, table.columns(), {}, 2, table.attrs) as (again, _):
        again.forget(1)
        again.note(host="here", created="9999")
        yield again.run


def test_a_run_is_running_while_its_lock_is_held_and_ended_early_without_seconds(tmp_path):
    for run in killed_and_running(tmp_path / "run"):
        assert running(tmp_path / "run") == {f"{run:08x}"}
        report = status(opened(tmp_path / "run"))
        assert [r["running"] for r in report["runs"]] == [False, True] and "running now" in lines(report)
        assert report["blocks"] == {"done": 1, "all": 2, "size": 2} and report["repeats"] == 2
    assert not running(tmp_path / "run")
    last = lines(status(opened(tmp_path / "run"))).splitlines()[-1]
    assert "9999 on here, ended before it was done: from Python" in last


def test_looking_does_not_end_a_run_nor_change_the_store(tmp_path):
    for _ in killed_and_running(tmp_path / "run"):
        before = {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("*/c/*")}
        assert call("status", tmp_path / "run", "--verify").exit_code == 0
        assert call("status", tmp_path / "run").exit_code == 0
        assert running(tmp_path / "run")
        assert before == {file: file.stat().st_mtime_ns for file in (tmp_path / "run").rglob("*/c/*")}


def test_repeats_tell_points_that_hold_nan_apart(tmp_path):
    def chance(a, *, key):
        return {"x": jnp.where(jr.uniform(key) < 0.5, jnp.nan, a)}

    with pytest.warns(UserWarning, match="hold NaN"):
        table = jc.sweep(chance, key=jr.key(0), store=tmp_path / "run", repeats=16, a=[1.0])
    invalid = status(opened(tmp_path / "run"))["invalid"]
    places = [int(repeat) for repeat in table.repeat.values if not table.valid.sel(a=1.0, repeat=repeat)]
    assert invalid["points"] == len(places) > 3
    assert invalid["first"] == [{"a": 1.0, "repeat": repeat} for repeat in places[:3]]


def test_sizes_have_units():
    assert [size(n) for n in (0, 999, 1000, 12_345_678, 5e15)] == ["0 B", "999 B", "1 kB", "12.3 MB", "5e+03 TB"]
