"""The transformers' parts of benchmarks/neural.py at tiny sizes. Run by hand: pytest tests/verification/<this file>."""

import pytest

from tests.test_benchmarks import measured


@pytest.mark.parametrize(
    ("part", "name", "what"),
    [
        ("transformer", "ours, one model", "per_cpu_second"),
        ("lineages", "lineages × generations", "cpu_seconds"),
    ],
)
def test_neural_runs_at_tiny_sizes(part, name, what, tmp_path):
    assert measured(tmp_path / "out.json", "neural", "--only", part)[name][what] > 0
