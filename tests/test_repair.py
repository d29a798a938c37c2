"""Damage is found wherever it is, named with its block and coordinates, and repaired to the last bit."""

import json
import shutil
import sys

import jax.random as jr
import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner

import jaxcollapse as jc
from jaxcollapse._cli import app
from jaxcollapse._concat import variables
from jaxcollapse._repair import damaged
from jaxcollapse._status import opened
from jaxcollapse._store import begin

SOURCE = """
import jax.numpy as jnp
import jax.random as jr

AXES = {"a": [0.5, 1.0, 2.0], "b": [1, 2]}

def experiment(a, b, *, key, size=2, law=jr.normal, shift=(1.0, 2.0)):
    draws = a * law(key, (size, 3)) + shift[0]
    return {"risk": (("lineage", "generation"), draws), "alive": b > 1, "generation": ("generation", jnp.arange(3))}
"""
BLOCKS = {"risk": 1, "alive": 1, "valid": 1, "run": 1, "done": 1, "generation": None}


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A store of 6 points in blocks of 4, twice extended: 14 points in 4 blocks, the last one half full."""
    folder = tmp_path_factory.mktemp("original")
    (folder / "toy.py").write_text(SOURCE)
    for options in (["--set", "size=4"], ["--set", "size=4", "--axis", "a=0.5,1,2,3,4,5,6"]):
        result = call("run", folder / "toy.py", "--store", folder / "run", "--chunk", 4, *options)
        assert result.exit_code == 0, result.output
    return folder


@pytest.fixture
def place(original, tmp_path):
    shutil.copytree(original / "run", tmp_path / "run")
    return tmp_path / "run"


def chunk(place, name, number):
    """The file of one chunk."""
    start = place / name / "c" / str(number)
    (found,) = [start] if start.is_file() else (path for path in start.rglob("*") if path.is_file())
    return found


def harm(file, damage):
    content = bytearray(file.read_bytes())
    if damage == "lost":
        file.unlink()
    elif damage == "truncated":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "emptied":
        file.write_bytes(b"")
    else:
        content[len(content) // 2] ^= 4
        file.write_bytes(content)


def content(place):
    """Every file but those of the runs, and the numbers of the runs."""
    files = {str(file.relative_to(place)): file for file in place.rglob("*") if file.is_file()}
    return {name: file.read_bytes() for name, file in files.items() if not name.startswith(("runs/", "run/c"))}


# Flags that are gone are those of a block that has not been done.
SOUND = [(n, d) for n in BLOCKS for d in ("flipped", "truncated", "emptied", "lost") if (n, d) != ("done", "lost")]


@pytest.mark.parametrize(("name", "damage"), SOUND)
def test_damage_of_every_kind_is_named_with_its_block_and_first_point(place, name, damage):
    assert not damaged(opened(place))
    file = chunk(place, name, BLOCKS[name] or 0)
    harm(file, damage)
    (found,) = damaged(opened(place))
    assert (found.variable, found.block) == (name, BLOCKS[name])
    assert found.first == ({} if name == "generation" else {"a": 2.0, "b": 1})
    assert found.file == file and ("is gone" in found.reason) == (damage == "lost")


def test_no_flipped_bit_is_read_as_something_else(place):
    file, table = chunk(place, "alive", 1), opened(place)
    sound, whole = file.read_bytes(), np.asarray(table.arrays["alive"][4:8])
    for bit in range(0, 8 * len(sound), 5):
        harmed = bytearray(sound)
        harmed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(harmed)
        assert damaged(table) or np.array_equal(table.arrays["alive"][4:8], whole), bit


@pytest.mark.parametrize(
    ("name", "damage"),
    [("risk", "lost"), ("alive", "truncated"), ("run", "flipped"), ("done", "emptied"), ("generation", "flipped")],
)
def test_a_repaired_store_is_what_it_was_bit_for_bit(place, name, damage):
    before, table = content(place), jc.open(place)
    harm(chunk(place, name, BLOCKS[name] or 0), damage)
    result = call("status", place, "--repair", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["repaired"] is True
    assert content(place) == before
    xr.testing.assert_identical(jc.open(place).drop_attrs(), table.drop_attrs())
    last, computed = list(opened(place).runs())[-1], opened(place).column("run")
    repaired = 0 if name == "generation" else 1
    assert (np.flatnonzero(computed == last) // 4 == repaired).all() and last in computed


def test_only_damaged_blocks_are_computed_again_and_several_at_once(place):
    before = content(place)
    harm(chunk(place, "risk", 0), "flipped")
    harm(chunk(place, "valid", 3), "lost")
    harm(chunk(place, "risk", 3), "truncated")
    kept = chunk(place, "risk", 1).stat().st_mtime_ns
    result = call("status", place, "--repair")
    assert result.exit_code == 0, result.output
    said = [line for line in result.stdout.splitlines() if line.startswith("damaged: ")]
    assert [line.partition(": its")[0] for line in said] == [
        "damaged: risk, block 0, which begins at a=0.5, b=1",
        "damaged: risk, block 3, which begins at a=6, b=1",
        "damaged: valid, block 3, which begins at a=6, b=1",
    ]
    assert content(place) == before and chunk(place, "risk", 1).stat().st_mtime_ns == kept
    assert list(opened(place).runs().values())[-1]["repaired"] == [0, 3]


def test_verify_reports_and_changes_nothing(place):
    assert call("status", place, "--verify").exit_code == 0
    harm(chunk(place, "risk", 2), "flipped")
    before = content(place)
    result = call("status", place, "--verify", "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 1 and content(place) == before and report["repaired"] is False
    assert [(d["variable"], d["block"], d["first"]) for d in report["damage"]] == [("risk", 2, {"a": 4.0, "b": 1})]
    assert report["blocks"] == {"done": 4, "all": 4, "size": 4}


def test_damaged_flags_do_not_hide_what_else_is_damaged(place):
    harm(chunk(place, "done", 0), "flipped")
    harm(chunk(place, "risk", 2), "lost")
    result = call("status", place, "--verify")
    assert result.exit_code == 1 and "damaged: done, block 0" in result.stdout and "risk, block 2" in result.stdout
    plain = call("status", place)
    assert plain.exit_code == 1 and plain.stderr.count("\n") == 1 and "whose done is damaged" in plain.stderr
    assert call("status", place, "--repair").exit_code == 0 and not damaged(opened(place))


@pytest.mark.parametrize("damage", ["flipped", "lost"])
def test_damaged_coordinates_are_named_and_not_repaired(place, damage):
    harm(chunk(place, "a", 0), damage)
    harm(chunk(place, "risk", 0), "flipped")
    before = content(place)
    result = call("status", place, "--repair")
    assert result.exit_code == 1 and content(place) == before
    assert "a: got damaged coordinates, which nothing else holds" in result.stderr
    assert "damaged: a: its chunk" in result.stdout and "damaged: risk, block 0: its chunk" in result.stdout


def test_a_changed_experiment_is_refused_and_nothing_is_touched(place, original):
    harm(chunk(place, "risk", 1), "flipped")
    before = content(place)
    (original / "toy.py").write_text(SOURCE.replace("a * law", "2 * a * law"))
    try:
        result = call("status", place, "--repair")
    finally:
        (original / "toy.py").write_text(SOURCE)
    assert result.exit_code == 1 and "its code has changed; nothing was changed" in result.stderr
    assert content(place) == before and "Traceback" not in result.output
    assert call("status", place, "--repair").exit_code == 0 and not damaged(opened(place))


def test_where_the_file_is_gone_the_command_is_said_and_completes_the_repair(place, original):
    before, moved = content(place), original / "moved.py"
    harm(chunk(place, "risk", 1), "flipped")
    harm(chunk(place, "generation", 0), "lost")
    (original / "toy.py").rename(moved)
    try:
        result = call("status", place, "--repair")
    finally:
        moved.rename(original / "toy.py")
    assert result.exit_code == 1 and "toy.py, which is gone; 1 damaged blocks are no longer done; try" in result.stderr
    assert [item.variable for item in damaged(opened(place))] == ["generation"]  # until some block is written
    assert opened(place).column("done").sum() == 10
    options = ["--set", "size=4", "--axis", "a=0.5,1,2,3,4,5,6"]
    assert call("run", original / "toy.py", "--store", place, *options).exit_code == 0
    assert content(place) == before


def test_the_command_is_that_of_the_run_even_after_a_repair(place, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["jaxcollapse", "status", str(place), "--repair"])
    harm(chunk(place, "risk", 1), "flipped")
    assert call("status", place, "--repair").exit_code == 0
    assert list(opened(place).runs().values())[-1]["command"].startswith("jaxcollapse status")
    harm(chunk(place, "a", 0), "flipped")
    result = call("status", place, "--repair")
    assert "try jaxcollapse status" not in result.stderr and "into another store" in result.stderr


def test_a_sweep_of_a_python_session_is_cleared_and_says_so(tmp_path):
    jc.sweep(lambda a, *, key: {"x": a}, key=jr.key(0), store=tmp_path / "run", chunk=2, a=[1.0, 2.0, 3.0])
    harm(chunk(tmp_path / "run", "x", 1), "flipped")
    result = call("status", tmp_path / "run", "--repair")
    assert result.exit_code == 1 and "got no file, as this sweep was run from Python" in result.stderr
    assert opened(tmp_path / "run").column("done").tolist() == [True, True, False]


def test_a_half_done_store_is_repaired_and_stays_half_done(original, tmp_path):
    """As a killed run leaves it: blocks 0 and 1 written, 2 and 3 not begun, its lock not removed."""
    whole = opened(original / "run")
    attrs = {name: value for name, value in whole.attrs.items() if name not in ("points", "extended", "variables")}
    with begin(tmp_path / "run", whole.columns(), variables(whole), 4, attrs) as (table, _):
        table.note(file=str(original / "toy.py"), command="jaxcollapse run toy.py", chunk=4)
        for block in (0, 1):
            rows = table.rows(block)
            values = {name: np.asarray(whole.arrays[name][rows]) for name in ("risk", "alive")}
            values["generation"] = np.broadcast_to(np.arange(3, dtype=np.int32), (4, 3))
            table.write(block, values, np.ones(4, bool))
        table.arrays["risk"][8:12] = 7.0  # killed between data and flags
    assert not damaged(opened(tmp_path / "run"))
    before, partial = content(tmp_path / "run"), jc.open(tmp_path / "run")
    harm(chunk(tmp_path / "run", "risk", 1), "truncated")
    assert [item.block for item in damaged(opened(tmp_path / "run"))] == [1]
    assert call("status", tmp_path / "run", "--repair").exit_code == 0
    assert content(tmp_path / "run") == before
    xr.testing.assert_identical(jc.open(tmp_path / "run").drop_attrs(), partial.drop_attrs())
    harm(chunk(tmp_path / "run", "risk", 2), "truncated")  # not done, but it would keep the store from opening
    assert call("status", tmp_path / "run", "--repair").exit_code == 0
    again = jc.open(tmp_path / "run")
    xr.testing.assert_identical(again.drop_attrs().where(again.done), partial.drop_attrs().where(again.done))


def test_a_file_that_is_no_store_is_a_mistake(tmp_path):
    for path in (tmp_path, tmp_path / "none"):
        result = call("status", path)
        assert result.exit_code == 2 and "expected a folder written by a run" in result.stderr
    (tmp_path / "zarr.json").write_text("{")
    result = call("status", tmp_path)
    assert result.exit_code == 2 and "which cannot be read as a sweep" in result.stderr
