"""A pure function over a grid of points.

    table[x_1, …, x_k, r] = experiment(x_1, …, x_k, key=fold_in(…fold_in(key, b_1)…, r))

where b_1, b_2, … are the bits of the point's coordinates (`_plan.words`) and r counts repeats. The draws of a point
thus depend on the key and its own coordinates alone: not on the grid, the block, the device or the order. With common
random numbers the bits are left out, fold_in(key, r) for every point: the same uniforms all over the grid.

The function is traced and compiled once, for a block of points side by side; the executable is then called from as
many threads as there are usable cores.
"""

import json
import platform
import time
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import xarray as xr

from jaxcollapse import __version__, _execute, _result
from jaxcollapse._plan import Columns, Experiment, Plan, plan, point_key, words
from jaxcollapse._result import Values
from jaxcollapse._store import REPEAT, VALID, Table, Variable, claim


class Stage(NamedTuple):
    """Where a sweep is: "trace", "compile", "run" with `done` of `total` blocks, at last "done" with its table."""

    name: str
    done: int
    total: int
    table: xr.Dataset | None = None


def sweep(
    experiment: Experiment,
    *,
    key,
    store=None,
    repeats: int = 1,
    chunk: int | None = None,
    common_random_numbers: bool = False,
    **axes,
) -> xr.Dataset:
    """Maps a pure function over the product of its axes, on all cores, into one labelled dataset.

        table[x_1, …, x_k, r] = experiment(x_1, …, x_k, key=the key of this point and repeat)

    `experiment(name=value, …, key=key)` gets a scalar array for every axis, of the default float type (whole numbers
    and booleans stay what they are), and returns a dict of arrays, or of tuples in xarray's form: `("lineage", array)`
    or `(("lineage", "generation"), array, {"units": …})`. Dimensions without a name become `risk_0`, …; a variable
    named after its only dimension labels it, and must be the same at every point.

    - `key`: a `jax.random.key`. Draws are equal bit for bit for every grid, chunk and number of repeats, except that
      XLA:CPU may round exp and log otherwise for chunks that fill no whole vectors: have a multiple of 16 lineages.
    - `store`: a new folder that is written block by block; `open` reads it, finished or not.
    - `repeats`: above 1, independent repetitions of every point, along `repeat`.
    - `chunk`: points computed side by side. More need more memory; the default gives every core four blocks or more.
    - `common_random_numbers`: every point gets the same key, and so the same uniforms. Each draw inverts a monotone
      distribution function with its uniform, so neighbours are positively correlated, contours are smooth, and a
      difference along the grid has a smaller variance, the smaller the step and the larger the samples. The mean and
      s.e. of one point are as good as ever. But points are not independent: errors of neighbours are alike, a count or
      a chi-square of z-values over points is invalid (Bonferroni's bound on the largest one holds), `phase.boundary`
      interpolates with an s.e. that is too small between grid points, by at most √2, and only repeats are independent.
    - `axes`: one-dimensional, distinct numbers. Further keywords of the experiment are defaults or bound by
      `functools.partial`, and are kept in `attrs["settings"]` as JSON, beside versions, key and run times.

    A point with NaN in a result is kept, has `valid` false and is named in a warning: that is how misuse under a trace
    shows. For what never happens, return infinity.

    Errors: `ValueError` for an axis that is scalar, empty, NaN, repeated, reserved or not an argument of the
    experiment, for an argument without a value, and for a store that exists or cannot be written, all before anything
    is computed. What the experiment raises passes through.
    """
    common = common_random_numbers
    checked = plan(experiment, axes, key=key, store=store, repeats=repeats, chunk=chunk, common_random_numbers=common)
    *_, last = stages(checked)
    assert last.table is not None
    if message := invalid(last.table):
        warnings.warn(message, stacklevel=2)
    return last.table


def stages(plan: Plan, **attrs: Any) -> Iterator[Stage]:
    """Carries out a plan and says where it is; `attrs` are added to the table's."""
    yield Stage("trace", 0, plan.blocks)
    columns, clock = plan.columns(), [time.perf_counter()]
    traced, variables = trace(plan, columns)
    clock.append(time.perf_counter())
    if plan.store is not None:
        claim(plan.store)  # only now, so that a mistake in the experiment leaves nothing behind
    yield Stage("compile", 0, plan.blocks)
    executable = traced.lower().compile(compiler_options=_execute.compiler_options())
    clock.append(time.perf_counter())

    attrs = _provenance(plan) | attrs
    table = Table(plan.store, columns=columns, variables=variables, block=plan.chunk, attrs=attrs)
    yield Stage("run", 0, plan.blocks)
    for done, (start, result) in enumerate(_results(plan, columns, executable), start=1):
        size = min(plan.chunk, plan.points - start)
        values = {name: value[:size] for name, value in result.items()}  # without the padding
        table.write(start, values, _result.valid(values, variables, size))
        yield Stage("run", done, plan.blocks)
    clock.append(time.perf_counter())
    names = ("trace_seconds", "compile_seconds", "run_seconds")
    table.note(**dict(zip(names, np.diff(clock).round(3).tolist(), strict=True)))
    yield Stage("done", plan.blocks, plan.blocks, table.dataset())


def trace(plan: Plan, columns: Columns) -> tuple[jax.stages.Traced, dict[str, Variable]]:
    """The experiment over one block of points, traced and not yet compiled, and what it returns for one point."""
    variables: dict[str, Variable] = {}

    def one(key, words, repeat, values):
        result = plan.experiment(**values, key=point_key(key, words, repeat))
        found, arrays = _result.label(result, plan.axes)
        variables.update(found)
        return arrays

    mapped = jax.vmap(one, in_axes=(None, 0, 0, 0))
    return jax.jit(mapped).trace(*_arguments(plan, columns, 0)), variables


def invalid(table: xr.Dataset) -> str | None:
    """How many points hold NaN, in which variables, and the first of them in words; None if there are none."""
    missing = np.argwhere(~table[VALID].values)
    if not len(missing):
        return None
    dims = table[VALID].dims
    places = [zip(dims, place, strict=True) for place in missing[:3]]
    first = ["(" + ", ".join(f"{dim}={table[dim].values[i]:g}" for dim, i in place) + ")" for place in places]
    names = ", ".join(str(name) for name, v in table.data_vars.items() if v.dtype.kind in "fc" and v.isnull().any())
    return (
        f"{len(missing)} of {table[VALID].size} points hold NaN in {names} (kept, `valid` is false there), the first "
        f"at {', '.join(first)}; try values that keep every schedule in its range"
    )


def _arguments(plan: Plan, columns: Columns, start: int) -> tuple:
    """A block's arguments, built where x64 is what the user set: that setting belongs to the thread."""
    rows = np.minimum(np.arange(start, start + plan.chunk), plan.points - 1)  # the last block repeats its last point
    block = {name: column[rows] for name, column in columns.items()}
    repeat = block.pop(REPEAT)
    default = {"f": float, "i": int, "b": bool}
    values = {name: jnp.asarray(column, default[column.dtype.kind]) for name, column in block.items()}
    return plan.key, jnp.asarray(words(block, plan.common_random_numbers)), jnp.asarray(repeat, jnp.uint32), values


def _results(plan: Plan, columns: Columns, executable: jax.stages.Compiled) -> Iterator[tuple[int, Values]]:
    def compute(block: tuple[int, tuple]) -> Values:
        start, arguments = block
        try:
            return jax.device_get(executable(*arguments))
        except Exception as error:
            names = ", ".join(f"{name}={columns[name][start]:g}" for name in plan.axes)
            error.add_note(f"in the block of {plan.chunk} points that begins at {names}")
            raise

    starts = range(0, plan.points, plan.chunk)
    blocks = ((start, _arguments(plan, columns, start)) for start in starts)
    for (start, _), result in _execute.run(compute, blocks, _execute.threads()):
        yield start, result


def _provenance(plan: Plan) -> dict[str, Any]:
    device = jax.local_devices()[0]
    return {
        "axes": list(plan.axes),
        "experiment": getattr(plan.experiment, "__qualname__", None) or plan.experiment.func.__qualname__,
        "settings": json.dumps(plan.settings, default=repr),
        "key": jr.key_data(plan.key).ravel().tolist(),
        "key_impl": str(jr.key_impl(plan.key)),
        "x64": int(jnp.result_type(float) == jnp.float64),
        "common_random_numbers": int(plan.common_random_numbers),
        "chunk": plan.chunk,
        "threads": _execute.threads(),
        "platform": device.platform,
        "device": device.device_kind,
        "jaxcollapse": __version__,
        **{package: version(package) for package in ("jax", "jaxlib", "numpy")},
        "python": platform.python_version(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
