"""Executors by name: what the command line takes, and what it says of what cannot be."""

import builtins
import os
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import jaxcollapse as jc
from jaxcollapse import _executors
from jaxcollapse._cli import app

TOY = """
import jax.random as jr

AXES = {"a": [0.1 * i for i in range(12)], "b": [1.0, 2.0]}


def experiment(a, b, *, key, size=3):
    return {"x": ("lineage", a * jr.normal(key, (size,)) + b)}
"""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(jc.__file__).parents[1]))  # where the package is not installed
    (tmp_path / "toy.py").write_text(TOY)


def call(*arguments):
    return CliRunner().invoke(app, ["run", "toy.py", *arguments])


def test_workers_give_the_same_draws(toy):
    assert call("--store", "alone", "--chunk", "4").exit_code == 0
    result = call("--store", "workers", "--chunk", "4", "--processes", "2")
    assert result.exit_code == 0, result.stderr
    assert np.array_equal(jc.open("alone").x, jc.open("workers").x)


@pytest.mark.parametrize(
    ("cores", "count", "shares"),
    [
        ({0, 1}, 1, [{0, 1}]),
        ({0, 1}, 2, [{0}, {1}]),
        ({0, 1, 2, 3, 4}, 2, [{0, 1}, {2, 3, 4}]),
        ({3, 7}, 3, [{3, 7}, {3, 7}, {3, 7}]),
    ],
)
def test_workers_share_the_cores_out(monkeypatch, cores, count, shares):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: cores, raising=False)
    assert _executors._shares(count) == shares


def test_workers_keep_to_their_cores():
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("this system tells nobody its cores")
    count = min(2, len(os.sched_getaffinity(0)))
    with _executors.choose(processes=count, dask=None, slurm=None) as (executor, _):
        seen = [executor.submit(os.sched_getaffinity, 0) for _ in range(8)]
        assert {frozenset(each.result()) for each in seen} <= {frozenset(share) for share in _executors._shares(count)}


def test_slurm_gets_its_options_and_as_many_tasks_as_jobs(monkeypatch):
    submitit = pytest.importorskip("submitit")
    given = {}

    class Recorded:
        def __init__(self, folder, cluster):
            given.update(cluster=cluster)

        def submit(self, function, *arguments):
            raise AssertionError("nothing is submitted here")

        def update_parameters(self, **parameters):
            given.update(parameters)

    monkeypatch.setattr(submitit, "AutoExecutor", Recorded)
    asked = "partition=cpu,time=60,cpus=8,jobs=32"
    with _executors.choose(processes=None, dask=None, slurm=asked) as (executor, tasks):
        assert isinstance(executor, Recorded) and tasks == 32
    assert given == {"cluster": None, "slurm_partition": "cpu", "timeout_min": 60, "cpus_per_task": 8}


def test_shards_share_a_store_and_the_last_one_concludes(toy):
    first = call("--store", "run", "--chunk", "4", "--shard", "0/2")
    assert first.exit_code == 0 and "run: unfinished, 3 of 6 chunks; run again, or wait" in first.stderr
    assert "lineage" not in first.stdout
    last = call("--store", "run", "--shard", "1/2")
    assert last.exit_code == 0 and "x: {'a': 12, 'b': 2, 'lineage': 3}" in last.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--shard", "2/2"], "--shard: got 2/2, expected I/N with I from 0 to N-1"),
        (["--shard", "half"], "--shard: got half, expected I/N"),
        (["--processes", "0"], "--processes: got 0, expected a whole number of at least 1"),
        (["--processes", "2", "--dask", "tcp://x"], "--processes: got --dask too, expected one of them"),
        (["--slurm", "fast"], "--slurm: got 'fast', expected NAME=VALUE,…"),
        (["--slurm", "jobs=none"], "--slurm: got jobs=none, expected a whole number"),
        (["--memory", "lots"], "memory: got 'lots', expected a number of bytes; try memory='2GB'"),
    ],
)
def test_what_cannot_be_is_one_line(toy, options, message):
    result = call(*options)
    assert result.exit_code == 2 and f"toy.py: {message}" in result.stderr and "Traceback" not in result.output


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    distributed = pytest.importorskip("distributed")

    def silent(address, timeout):
        raise OSError("timed out")

    monkeypatch.setattr(distributed, "Client", silent)
    with pytest.raises(ValueError, match=r"--dask: got tcp://x, where no scheduler answers \(timed out\)"):
        _executors.choose(processes=None, dask="tcp://x", slurm=None).__enter__()


@pytest.mark.parametrize(
    ("package", "option"), [("distributed", {"dask": "tcp://x"}), ("submitit", {"slurm": "jobs=1"})]
)
def test_a_missing_package_is_named(monkeypatch, package, option):
    real = builtins.__import__

    def absent(name, *arguments, **keywords):
        if name.partition(".")[0] in (package, "dask"):
            raise ModuleNotFoundError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", absent)
    chosen = {"processes": None, "dask": None, "slurm": None} | option
    with pytest.raises(ValueError, match=r"try pip install 'jaxcollapse\["):
        _executors.choose(**chosen).__enter__()
