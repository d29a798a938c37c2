"""What an experiment returns, labelled: name -> array, or (dims, array), or (dims, array, attrs) as in xarray.

Dimensions without a name become `risk_0`, `risk_1`, …; a variable named after its only dimension labels it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Shaped

from jaxcollapse._store import BOOKKEEPING, Variable, is_label

Values = dict[str, Shaped[np.ndarray, "..."]]


def label(result: Any, axes: Iterable[str]) -> tuple[dict[str, Variable], dict[str, Shaped[Array, "..."]]]:
    """The variables of one point and their arrays; `ValueError` for what cannot be a column of the table."""
    if not isinstance(result, Mapping) or not result or not all(isinstance(name, str) for name in result):
        raise ValueError(f"experiment: got the result {result!r}, expected a dict such as {{'risk': array}}")
    named = {name: _variable(name, value) for name, value in result.items()}
    variables = {name: variable for name, (variable, _) in named.items()}
    _check_names(variables, {*axes, *BOOKKEEPING})
    return variables, {name: array for name, (_, array) in named.items()}


def valid(values: Values, variables: Mapping[str, Variable], size: int) -> Bool[np.ndarray, " P"]:
    """Whether a point's results are free of NaN."""
    floats = [v for name, v in values.items() if v.dtype.kind in "fc" and not is_label(name, variables[name])]
    whole = [~np.isnan(v.reshape(size, -1)).any(axis=1) for v in floats]
    return np.logical_and.reduce([np.ones(size, bool), *whole])


def _variable(name: str, value: Any) -> tuple[Variable, Shaped[Array, "..."]]:
    dims, array, attrs = _parts(name, value)
    array = jnp.asarray(array)
    if jnp.issubdtype(array.dtype, jax.dtypes.extended):
        raise ValueError(f"{name}: got values of type {array.dtype}, expected numbers; try jax.random.key_data")
    if np.dtype(array.dtype).kind == "V":  # bfloat16 and its like, which no file format knows
        array = array.astype(jnp.float32)
    dims = tuple(f"{name}_{i}" for i in range(array.ndim)) if dims is None else dims
    if len(dims) != array.ndim or len(set(dims)) != len(dims):
        raise ValueError(f"{name}: got dimensions {dims} for an array of shape {array.shape}, expected one name each")
    return Variable(dims, array.shape, np.dtype(array.dtype), attrs), array


def _parts(name: str, value: Any) -> tuple[tuple[str, ...] | None, Any, dict[str, Any]]:
    if not isinstance(value, tuple):
        return None, value, {}
    dims, array, attrs = (*value, {}, {}, {})[:3]
    dims = (dims,) if isinstance(dims, str) else dims
    plain = isinstance(dims, tuple | list) and all(isinstance(dim, str) for dim in dims)
    if len(value) not in (2, 3) or not plain or not _is_json(attrs):
        raise ValueError(f"{name}: got the tuple {value!r}, expected (dims, array) or (dims, array, attrs)")
    return tuple(dims), array, dict(attrs)


def _is_json(attrs: Any) -> bool:
    try:
        return isinstance(attrs, Mapping) and bool(json.dumps(dict(attrs)))
    except TypeError:
        return False


def _check_names(variables: Mapping[str, Variable], taken: set[str]) -> None:
    sizes: dict[str, int] = {}
    for name, variable in variables.items():
        if clash := taken.intersection((name, *variable.dims)):
            raise ValueError(f"{name}: got the name {clash.pop()}, which is an axis or reserved; try another")
        for dim, size in zip(variable.dims, variable.shape, strict=True):
            if sizes.setdefault(dim, size) != size:
                raise ValueError(f"{name}: got {size} along {dim}, which has {sizes[dim]} elsewhere; try another name")
    for name in sizes.keys() & variables.keys():
        if not is_label(name, variables[name]):
            raise ValueError(f"{name}: got a variable named like a dimension, expected its labels; try another name")
