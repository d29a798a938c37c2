"""What the README says is what happens."""

import pathlib
import re
import shlex

import numpy as np
import pytest

import jaxcollapse as jc
from tests.helpers import code_blocks, run_blocks

README = (pathlib.Path(__file__).parent.parent / "README.md").read_text()


def test_the_example_runs_and_agrees_with_its_theory(capsys):
    names = run_blocks("README.md", code_blocks(README))
    table, records = names["table"], names["records"]
    assert records["squared_error"].shape == (256, 50)
    ratio = table.risk.mean("lineage") / table.exact
    assert ratio.shape == (3, 3)
    assert abs(float(names["moments"]["variance"][:, -1].mean()) - 1) < 0.01
    np.testing.assert_allclose(ratio, 1, atol=0.3)
    assert "recovery" in capsys.readouterr().out


REGIMES = ("Replace", "Accumulate", "Anchor", "Subsample", "RealOnly")
REGIMES += ("Retain", "Weighted", "Debiased", "Deduplicate", "Drop")
ROW = rf"\| `((?:{'|'.join(REGIMES)})\(.*?)` \| (?:any|`Constant|`Periodic)"


@pytest.mark.parametrize("row", re.findall(ROW, README))
def test_every_paradigm_of_the_table_is_a_regime(row):
    names = {name: getattr(jc, name) for name in REGIMES} | {"w": 0.6, "mask": np.array([True, False])}
    for regime in row.split("`, `"):
        assert isinstance(eval(regime, names), jc.AbstractRegime)


def test_every_command_line_names_a_command_that_exists_and_a_file_that_exists():
    from jaxcollapse import _cli

    known = {command.name or command.callback.__name__ for command in _cli.app.registered_commands}
    commands = [shlex.split(line, comments=True) for line in README.splitlines() if line.startswith("jaxcollapse ")]
    assert len(commands) >= 4
    for command in commands:
        assert command[1] in known
        for word in command:
            if word.startswith("experiments/"):
                assert (pathlib.Path(__file__).parent.parent / word).exists()
