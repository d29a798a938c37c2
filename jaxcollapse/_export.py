"""A stored sweep as one file for other programs.

    .nc         the labelled dataset; attributes that are neither numbers nor text as JSON
    .csv        a long table, one row per element of the product of all the variables' dimensions:
    .parquet    coordinates, then variables, repeated along the dimensions that they lack

Complex numbers become two variables, NAME_real and NAME_imag; no such file holds them otherwise.
"""

import importlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from jaxcollapse._dataset import open as read
from jaxcollapse._store import DONE

if TYPE_CHECKING:
    import pandas as pd

# By ending: the packages that are needed beyond our own, and the extra that installs them.
NEEDED = {".nc": (("h5py", "h5netcdf"), "netcdf"), ".csv": ((), ""), ".parquet": (("pyarrow",), "parquet")}


def export(store: str | os.PathLike, output: str | os.PathLike, *, force: bool = False) -> None:
    """Writes the sweep at `store`, finished or not, to `output`, in the format of its ending.

    A file that is there already is replaced only with `force`, and only once the new one is whole.

    Errors: `ValueError` for another ending, a file that is there, one that cannot be written, a package that is
    missing, and a store that is none or damaged.
    """
    output = Path(output)
    check(output, force)
    table = _plain(read(store))
    partial = output.with_name(f"{output.name}.partial")
    try:
        _write(table, partial, output.suffix.lower())
        partial.replace(output)
    except OSError as error:
        raise ValueError(f"output: got {output}, which cannot be written ({error}); try another path") from error
    finally:
        partial.unlink(missing_ok=True)


def check(output: Path, force: bool) -> None:
    """Raises `ValueError` unless such a file can be written there."""
    packages, extra = NEEDED.get(output.suffix.lower(), (None, ""))
    if packages is None:
        raise ValueError(f"output: got {output} with the ending {output.suffix!r}, expected one of {', '.join(NEEDED)}")
    if output.is_dir() or (output.exists() and not force):
        advice = "another name" if output.is_dir() else "--force (force=True), which overwrites it"
        raise ValueError(f"output: got {output}, which is there already, expected a new file; try {advice}")
    if not output.absolute().parent.is_dir():
        raise ValueError(f"output: got {output}, but {output.absolute().parent} is no folder; try mkdir")
    for package in packages:
        try:
            importlib.import_module(package)
        except ModuleNotFoundError:
            advice = f"try pip install 'jaxcollapse[{extra}]'"
            raise ValueError(f"output: got {output}, which needs {package}, and that is missing; {advice}") from None


def long(table: xr.Dataset) -> "pd.DataFrame":
    """One row per element of the product of all dimensions that some variable has; its attributes are the table's."""
    used = {dim for variable in (*table.data_vars.values(), table[DONE]) for dim in variable.dims}
    table = table.drop_dims([dim for dim in table.sizes if dim not in used])
    frame = table.to_dataframe().reset_index()
    places = [*map(str, table.sizes), *(str(name) for name in table.coords if name not in table.sizes)]
    frame = frame.reindex(columns=[*places, *map(str, table.data_vars)])
    frame.attrs = dict(table.attrs)
    return frame


def _write(table: xr.Dataset, path: Path, ending: str) -> None:
    if ending == ".nc":
        _netcdf(table).to_netcdf(path, engine="h5netcdf")
    elif ending == ".csv":
        long(table).to_csv(path, index=False, na_rep="NaN")
    else:
        long(table).to_parquet(path, engine="pyarrow", index=False)


def _netcdf(table: xr.Dataset) -> xr.Dataset:
    """The same in what netCDF can hold: no float16, attributes that are numbers or text; xarray makes flags int8."""
    half = {n: variable.astype(np.float32) for n, variable in table.data_vars.items() if variable.dtype == np.float16}
    plain = table.assign(half)
    for variable in (plain, *plain.variables.values()):
        variable.attrs = {str(name): _attribute(value) for name, value in variable.attrs.items()}
    return plain


def _attribute(value: Any) -> str | int | float:
    """Lists too are JSON, since netCDF has none of length one."""
    is_held = isinstance(value, str | float) or (type(value) is int and -(2**63) <= value < 2**63)
    return value if is_held else json.dumps(value)


def _plain(table: xr.Dataset) -> xr.Dataset:
    """The same without complex numbers."""
    found = [name for name, variable in table.data_vars.items() if variable.dtype.kind == "c"]
    parts = {f"{name}_{part}": getattr(table[name], part) for name in found for part in ("real", "imag")}
    return table.drop_vars(found).assign(parts)
