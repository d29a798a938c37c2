"""The transformers' parts of benchmarks/neural.py at tiny sizes. Run by hand: pytest tests/verification/<this file>."""

import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("part", "name", "what"),
    [
        ("transformer", "ours, one model", "per_cpu_second"),
        ("lineages", "lineages × generations", "cpu_seconds"),
    ],
)
def test_neural_runs_at_tiny_sizes(part, name, what, tmp_path):
    file = tmp_path / "out.json"
    command = [sys.executable, "benchmarks/neural.py", "--quick", "--only", part, "--json", file]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert json.loads(file.read_text())[name][what] > 0
