"""A sweep on disk: written block by block, read back as it was, and honest about what it lacks."""

import errno
import json
import os
import tempfile

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import xarray as xr
import zarr

import jaxcollapse as jc
from jaxcollapse._dataset import dataset
from jaxcollapse._store import Variable, begin, check
from jaxcollapse._sweep import sweep

KEY = jr.key(3)
AXES = {"a": [0.5, 2.0, 1.0], "b": [1, 2]}


def labelled(a, b, *, key):
    return {
        "risk": (("lineage", "generation"), a * jr.normal(key, (2, 3)), {"units": "s"}),
        "alive": ("lineage", b + jnp.arange(2)),
        "fixed": a > 1.0,
        "generation": ("generation", jnp.arange(3)),
    }


def test_a_store_reads_back_what_the_sweep_returned(tmp_path):
    table = sweep(labelled, key=KEY, store=tmp_path / "run", chunk=4, repeats=2, **AXES)
    xr.testing.assert_identical(jc.open(tmp_path / "run"), table)
    in_memory = sweep(labelled, key=KEY, chunk=4, repeats=2, **AXES)
    xr.testing.assert_identical(in_memory.drop_attrs(), table.drop_attrs())


def test_a_block_is_one_chunk_in_every_variable(tmp_path):
    sweep(labelled, key=KEY, store=tmp_path / "run", chunk=4, **AXES)
    group = zarr.open_group(tmp_path / "run", mode="r")
    listed = {name: array for name, array in group.arrays() if name not in ("generation", *AXES, "repeat")}
    assert set(listed) == {"risk", "alive", "fixed", "run", "done", "valid"}
    assert {array.chunks[0] for array in listed.values()} == {4}
    assert all(array.chunks[1:] == array.shape[1:] for array in listed.values())
    for name in listed:
        assert sorted(int(path.name) for path in (tmp_path / "run" / name / "c").glob("*")) == [0, 1]


@pytest.mark.parametrize("damage", ["flipped", "truncated", "lost"])
def test_damage_is_noticed_and_named(tmp_path, damage):
    sweep(labelled, key=KEY, store=tmp_path / "run", chunk=6, **AXES)
    (chunk,) = (path for path in (tmp_path / "run" / "risk" / "c").rglob("*") if path.is_file())
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 4
    if damage == "lost":
        chunk.unlink()
    else:
        chunk.write_bytes(content if damage == "flipped" else content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"store: got .*run, whose risk is damaged .*try jaxcollapse status"):
        jc.open(tmp_path / "run")


def test_an_unfinished_store_opens_with_what_it_has(tmp_path):
    """A block that raises leaves the others, and the first error reaches the user with the block's coordinates."""

    def fails_late(a, b, *, key):
        return labelled(a, b, key=key) | {"seen": jax.pure_callback(seen, a, a, vmap_method="sequential")}

    def seen(a):
        if a == 1.0:
            raise RuntimeError("the last block")
        return a

    with pytest.raises(Exception, match="the last block") as error:
        sweep(fails_late, key=KEY, store=tmp_path / "run", chunk=2, **AXES)
    assert "begins at a=1, b=1" in error.value.__notes__[0]
    partial = jc.open(tmp_path / "run")
    whole = sweep(labelled, key=KEY, **AXES)
    assert np.array_equal(partial.done, [[True, True], [True, True], [False, False]])
    assert np.array_equal(partial.risk[:2], whole.risk[:2]) and np.isnan(partial.risk[2]).all()
    for name in ("alive", "fixed"):
        assert np.array_equal(partial[name][:2], whole[name][:2]) and np.isnan(partial[name][2]).all()
    assert np.array_equal(partial.generation, [0, 1, 2])
    assert not partial.valid[2].any()


def table(path, columns, risk):
    """A table of these points, written."""
    columns = {name: np.array(column) for name, column in columns.items()}
    columns |= {"repeat": np.zeros(len(risk), int)}
    variables = {"risk": Variable((), (), np.asarray(risk).dtype, {})}
    with begin(path, columns, variables, len(risk), {"axes": ["a", "b"]}) as (made, _):
        made.write(0, {"risk": np.asarray(risk)}, np.ones(len(risk), bool))
        return made


@pytest.mark.parametrize("a", [[0.0, 1.0, 1.0], [0.0, 1.0, 2.0]])
def test_points_that_form_no_product_stay_a_list(a):
    listed = dataset(table(None, {"a": a, "b": [0, 1, 1]}, [4.0, 5.0, 6.0]))
    assert listed.risk.dims == ("point",) and np.array_equal(listed.risk, [4.0, 5.0, 6.0])
    assert np.array_equal(listed.a, a)


def test_points_may_be_listed_in_any_order():
    risk = dataset(table(None, {"a": [1.0, 0.0, 1.0, 0.0], "b": [5, 5, 4, 4]}, [15, 5, 14, 4])).risk
    assert [int(risk.sel(a=a, b=b)) for a, b in [(1, 5), (0, 5), (1, 4), (0, 4)]] == [15, 5, 14, 4]


def test_provenance_is_plain_and_survives(tmp_path):
    table = sweep(labelled, key=KEY, store=tmp_path / "run", **AXES)
    assert json.loads(json.dumps(table.attrs)) == table.attrs
    assert jc.open(tmp_path / "run").attrs == table.attrs


def test_what_is_no_store_is_refused_before_anything_is_traced(tmp_path):
    def never(a, *, key):
        raise AssertionError("traced")

    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    with pytest.raises(ValueError, match=r"store: got .*other, which holds something else; try another path"):
        sweep(never, key=KEY, store=tmp_path / "other", a=[1.0])
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ValueError, match="file is a file, expected a folder"):
            sweep(never, key=KEY, store=path, a=[1.0])
    (tmp_path / "empty").mkdir()
    sweep(labelled, key=KEY, store=tmp_path / "empty", **AXES)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"cannot be written .*; try another path"):
        check("/proc/self/run")

    def read_only(**arguments):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), arguments["dir"])

    monkeypatch.setattr(tempfile, "TemporaryDirectory", read_only)
    with pytest.raises(ValueError, match=r"cannot be written \(.*Read-only file system.*; try another path"):
        check(tmp_path / "new" / "run")


def test_a_check_leaves_nothing_behind(tmp_path):
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "new" / "run"):
        check(path)
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_an_experiment_that_raises_leaves_the_path_free(tmp_path):
    with pytest.raises(ZeroDivisionError):
        sweep(lambda a, *, key: {"x": 1 // 0}, key=KEY, store=tmp_path / "run", a=[1.0])
    assert not (tmp_path / "run").exists()
    sweep(labelled, key=KEY, store=tmp_path / "run", **AXES)


def test_what_is_no_sweep_is_not_opened(tmp_path):
    with pytest.raises(ValueError, match="expected a folder written by sweep"):
        jc.open(tmp_path / "nothing")
    zarr.create_group(tmp_path / "other", zarr_format=3)
    with pytest.raises(ValueError, match="other, which cannot be read as a sweep"):
        jc.open(tmp_path / "other")
    sweep(labelled, key=KEY, store=tmp_path / "run", **AXES)
    with pytest.raises(ValueError, match="risk, which cannot be read as a sweep"):
        jc.open(tmp_path / "run" / "risk")
