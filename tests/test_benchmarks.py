"""The benchmarks run, and their files hold what their tables show."""

import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent


def measured(file, benchmark, *options):
    """What a benchmark writes to that file."""
    command = [sys.executable, f"benchmarks/{benchmark}.py", "--quick", *options, "--json", file]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return json.loads(file.read_text())


def test_throughput_runs_at_tiny_sizes(tmp_path):
    drawn = tmp_path / "out.png"
    results = measured(tmp_path / "out.json", "throughput", "--only", "R4", "--plot", drawn)
    (rows,) = results["workloads"].values()
    assert {"NumPy, one core", "ours, one stream", "floor, one stream"} <= set(rows)
    assert rows["NumPy, one core"]["ratio"] == [1, 1, 1]
    ours = rows["ours, one stream"]
    low, high = ours["ratio"][1:]
    assert 0 < low <= ours["ratio"][0] <= high
    assert ours["megabytes"] > 0 and ours["compile_seconds"] > 0 and ours["floors"] > 0
    assert drawn.stat().st_size > 10_000


def test_sweeps_runs_at_tiny_sizes(tmp_path):
    found = measured(tmp_path / "out.json", "sweeps", "--only", "memory")
    assert found["memory"]["points"] == 16 and 0 < found["memory"]["peak_kib"] < 2**20


def test_neural_runs_at_tiny_sizes(tmp_path):
    """The trained lineages and the loops over the same models; the transformers' part is in tests/verification."""
    found = measured(tmp_path / "out.json", "neural", "--only", "softmax")
    assert {"ours, 64 side by side", "ours, one by one", "JAX, step by step", "NumPy"} <= set(found)
    assert found["JAX, step by step"]["ratio"] == [1, 1, 1]
    assert all(row["fits_per_second"] > 0 for row in found.values())
