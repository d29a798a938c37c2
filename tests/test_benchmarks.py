"""The benchmarks run, and their files hold what their tables show."""

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent


def test_throughput_runs_at_tiny_sizes(tmp_path):
    files = [tmp_path / "out.json", tmp_path / "out.png"]
    command = [
        sys.executable,
        "benchmarks/throughput.py",
        "--quick",
        "--only",
        "R4",
        "--json",
        files[0],
        "--plot",
        files[1],
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    results = json.loads(files[0].read_text())
    (rows,) = results["workloads"].values()
    assert {"NumPy, one core", "ours, one stream", "floor, one stream"} <= set(rows)
    assert rows["NumPy, one core"]["ratio"] == [1, 1, 1]
    ours = rows["ours, one stream"]
    low, high = ours["ratio"][1:]
    assert 0 < low <= ours["ratio"][0] <= high
    assert ours["megabytes"] > 0 and ours["compile_seconds"] > 0 and ours["floors"] > 0
    assert files[1].stat().st_size > 10_000


def test_sweeps_runs_at_tiny_sizes(tmp_path):
    file = tmp_path / "out.json"
    command = [sys.executable, "benchmarks/sweeps.py", "--quick", "--only", "memory", "--json", file]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    assert found["memory"]["points"] == 16 and 0 < found["memory"]["peak_kib"] < 2**20


def test_neural_runs_at_tiny_sizes(tmp_path):
    """The trained lineages and the loops over the same models; the transformers' part is in tests/verification."""
    file = tmp_path / "out.json"
    command = [sys.executable, "benchmarks/neural.py", "--quick", "--only", "softmax", "--json", file]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    assert {"ours, 64 side by side", "ours, one by one", "JAX, step by step", "NumPy"} <= set(found)
    assert found["JAX, step by step"]["ratio"] == [1, 1, 1]
    assert all(row["fits_per_second"] > 0 for row in found.values())
