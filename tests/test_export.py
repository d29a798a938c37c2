"""What is written for other programs reads back as what was stored."""

import json
import sys

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from typer.testing import CliRunner

import jaxcollapse as jc
from jaxcollapse._cli import app
from jaxcollapse._export import export, long
from jaxcollapse._store import Table


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def toy(a, flag, *, key):
    return {
        "risk": (("lineage", "generation"), a * jr.normal(key, (2, 3)), {"units": "nats", "range": [0, None]}),
        "whole": ("lineage", jnp.arange(2)),
        "yes": flag,
        "generation": ("generation", jnp.arange(1, 4)),
    }


@pytest.fixture
def store(tmp_path):
    jc.sweep(toy, key=jr.key(1), store=tmp_path / "run", chunk=2, a=[1.5, jnp.inf, 0.1], flag=[True, False])
    return tmp_path / "run"


def test_netcdf_holds_the_dataset_and_its_attributes(store, tmp_path):
    pytest.importorskip("h5netcdf")
    output, table = tmp_path / "run.nc", jc.open(store)
    assert call("export", store, output).stdout == f"data: {output}\n"
    with xr.open_dataset(output, engine="h5netcdf") as read:
        xr.testing.assert_equal(read, table)
        assert read.done.dtype == bool and read.flag.dtype == bool and read.risk.attrs["units"] == "nats"
        assert json.loads(read.risk.attrs["range"]) == [0, None]
        texts = {name: value for name, value in read.attrs.items() if isinstance(table.attrs[name], list | dict)}
        assert {**read.attrs, **{name: json.loads(text) for name, text in texts.items()}} == table.attrs
        assert {"key", "axes"} <= texts.keys() and json.loads(read.types)["a"] == "f"
    table.risk.attrs.pop("range")
    table.to_netcdf(tmp_path / "direct.nc", engine="h5netcdf")  # as every user of xarray would
    import h5py

    with h5py.File(output) as raw:
        assert raw["flag"].dtype == raw["done"].dtype == np.int8


def check_long(frame, table):
    """Every element once, with its coordinates."""
    assert set(list(frame)[:4]) == {"a", "flag", "lineage", "generation"} and {"valid", "done"} < set(frame)
    assert list(frame)[-3:] == ["risk", "whole", "yes"]
    assert len(frame) == table.risk.size
    for row in frame.itertuples():
        place = table.sel(a=row.a, flag=bool(row.flag), generation=row.generation).isel(lineage=row.lineage)
        assert np.float32(row.risk) == place.risk.values or (np.isnan(row.risk) and np.isnan(place.risk.values))
        assert row.whole == place.whole and row.yes == place.yes and row.done == place.done


def test_csv_is_a_long_table_exact_to_the_last_bit(store, tmp_path):
    assert call("export", store, tmp_path / "run.csv").exit_code == 0
    check_long(pd.read_csv(tmp_path / "run.csv"), jc.open(store))


def test_parquet_is_the_same_table_with_types_and_attributes(store, tmp_path):
    pytest.importorskip("pyarrow")
    assert call("export", store, tmp_path / "run.parquet").exit_code == 0
    frame = pd.read_parquet(tmp_path / "run.parquet")
    check_long(frame, jc.open(store))
    assert frame.risk.dtype == np.float32 and frame.done.dtype == bool and frame.attrs["key"] == [0, 1]


def test_an_unfinished_store_is_exported_as_far_as_it_is_there(store, tmp_path):
    Table(store).forget(1)
    export(store, tmp_path / "run.csv")
    frame = pd.read_csv(tmp_path / "run.csv")
    assert frame[frame.a == np.inf].done.sum() == 0 and frame[frame.a != np.inf].done.all()
    assert frame[frame.a == np.inf].whole.isna().all() and frame[frame.a == 0.1].risk.notna().all()
    if "pyarrow" in sys.modules:
        export(store, tmp_path / "run.parquet")


def test_points_that_form_no_grid_are_listed(tmp_path):
    jc.sweep(toy, key=jr.key(1), store=tmp_path / "run", points={"a": [1.0, 2.0, 3.0], "flag": [True, False, True]})
    frame = long(jc.open(tmp_path / "run"))
    assert len(frame) == 3 * 2 * 3 and list(frame.columns[:3]) == ["point", "lineage", "generation"]
    assert frame.groupby("a").flag.first().tolist() == [True, False, True]


def test_labels_that_no_variable_has_make_no_rows():
    points = xr.Dataset({"x": ("a", [1.0, 2.0])}, {"a": [3, 4], "t": ("t", [0, 1, 2]), "done": ("a", [True, True])})
    assert len(long(points)) == 2


def test_complex_numbers_become_two_variables(tmp_path):
    jc.sweep(lambda a, *, key: {"z": jax.lax.complex(a, 2 * a)}, key=jr.key(0), store=tmp_path / "run", a=[1.0, 3.0])
    export(tmp_path / "run", tmp_path / "run.csv")
    frame = pd.read_csv(tmp_path / "run.csv")
    assert frame.z_real.tolist() == [1.0, 3.0] and frame.z_imag.tolist() == [2.0, 6.0] and "z" not in frame


def test_nothing_is_overwritten_unless_forced(store, tmp_path):
    output = tmp_path / "run.csv"
    output.write_text("mine")
    result = call("export", store, output)
    assert result.exit_code == 2 and "which is there already, expected a new file; try --force" in result.stderr
    assert output.read_text() == "mine"
    assert call("export", store, output, "--force").exit_code == 0 and output.read_text().startswith("a,flag,")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run.csv"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("run.xlsx", "with the ending '.xlsx', expected one of .nc, .csv, .parquet"),
        ("run", "with the ending '', expected one of .nc, .csv, .parquet"),
        ("none/run.csv", "is no folder; try mkdir"),
        ("folder.csv", "which is there already"),
    ],
)
def test_an_output_that_cannot_be_written_is_one_line(store, tmp_path, name, said):
    (tmp_path / "folder.csv").mkdir()
    result = call("export", store, tmp_path / name)
    assert result.exit_code == 2 and said in result.stderr and result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "package", "extra"), [("x.nc", "h5netcdf", "netcdf"), ("x.parquet", "pyarrow", "parquet")]
)
def test_a_missing_package_is_named_with_its_extra(store, tmp_path, monkeypatch, name, package, extra):
    for missing in (package, *(("h5py",) if extra == "netcdf" else ())):
        monkeypatch.setitem(sys.modules, missing, None)
    result = call("export", store, tmp_path / name)
    assert result.exit_code == 2 and f"pip install 'jaxcollapse[{extra}]'" in result.stderr
    assert result.stderr.count("\n") == 1 and not (tmp_path / name).exists()


def test_a_damaged_store_is_not_exported(store, tmp_path):
    (chunk,) = (file for file in (store / "risk" / "c" / "1").rglob("*") if file.is_file())
    chunk.write_bytes(b"x")
    result = call("export", store, tmp_path / "run.csv")
    assert result.exit_code == 1 and "whose risk is damaged" in result.stderr and "status --verify" in result.stderr
    assert not (tmp_path / "run.csv").exists()
    assert call("export", tmp_path / "none", tmp_path / "run.csv").exit_code == 2
