"""A pure function over a grid of points.

    table[x_1, …, x_k, r] = experiment(x_1, …, x_k, key=fold_in(…fold_in(key, b_1)…, r))

where b_1, b_2, … are the bits of the point's coordinates (`_plan.words`) and r counts repeats. The draws of a point
thus depend on the key and its own coordinates alone: not on the grid, the block, the device or the order. With common
random numbers the bits are left out, fold_in(key, r) for every point: the same uniforms all over the grid.

The function is traced once, at one point, and compiled once, for a block of points side by side (`_program`). Blocks
run on all cores and devices of this process, or wherever an executor takes them (`_remote`).
"""

import os
import platform
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr

from jaxcollapse import __version__, _program, _remote
from jaxcollapse._dataset import dataset
from jaxcollapse._plan import Experiment, Plan, plan
from jaxcollapse._store import DONE, POINT, VALID, Table, begin


class Stage(NamedTuple):
    """Where a sweep is: "trace", "compile", "run" with `done` of `total` blocks, at last "done" with its table."""

    name: str
    done: int
    total: int
    table: xr.Dataset | None = None
    kernel: _program.Kernel | None = None


def sweep(
    experiment: Experiment,
    *,
    key,
    points: Mapping[str, Any] | None = None,
    store: str | os.PathLike | None = None,
    repeats: int = 1,
    chunk: int | None = None,
    memory: int | str | None = None,
    common_random_numbers: bool = False,
    force_new: bool = False,
    shard: Sequence[int] = (0, 1),
    executor: _remote.Executor | None = None,
    **axes,
) -> xr.Dataset:
    """Maps a pure function over the product of its axes, on all cores, into one labelled dataset.

        table[x_1, …, x_k, r] = experiment(x_1, …, x_k, key=the key of this point and repeat)

    `experiment(name=value, …, key=key)` gets a scalar array for every axis, of the default float type (whole numbers
    and booleans stay what they are), and returns a dict of arrays, or of tuples in xarray's form: `("lineage", array)`
    or `(("lineage", "generation"), array, {"units": …})`. Dimensions without a name become `risk_0`, …; a variable
    named after its only dimension labels it, and must be the same at every point. Without labels a dimension is counted
    from 0, and records hold t = 1..T, so return `"generation": ("generation", np.arange(1, T + 1))` beside them.

    - `key`: a `jax.random.key`. Draws are equal bit for bit for every grid, chunk and number of repeats, except that
      XLA:CPU may round exp and log otherwise for chunks that fill no whole vectors: have a multiple of 16 lineages.
    - `points`: instead of axes, a list of points as a dict of coordinates (`sobol` makes one).
    - `store`: a folder that is written block by block, and may be killed at any moment. Where it holds this sweep
      already only what is missing is computed; more points, or more repeats, are appended, and what is there stays as
      it is, bit for bit. Another experiment, key or version of JAX is refused; `force_new` begins beside it, in NAME-2.
      `open` reads it, finished or not.
    - `repeats`: above 1, independent repetitions of every point, along `repeat`.
    - `chunk`: points computed side by side, a block. By default as many as fit the cache, four blocks a core or more.
      A block runs as long as its slowest point needs: let the axis that changes n come first.
    - `memory`: what the process may take, in bytes or as "2GB"; it limits the default of `chunk`.
    - `shard`: (i, N), this process's part of the blocks, i = 0 … N−1, where N of them share a store.
    - `executor`: anything with `submit(function, *arguments) -> future`, such as `dask.distributed.Client` and those of
      `submitit` and `concurrent.futures` (spawn, do not fork). Its workers write to `store`, and load the experiment
      from its file.
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
    experiment, for an argument without a value, and for a store that holds another sweep or cannot be written, all
    before anything is computed. What the experiment raises passes through.
    """
    asked = {"points": points, "store": store, "repeats": repeats, "chunk": chunk, "memory": memory, "shard": shard}
    asked |= {"common_random_numbers": common_random_numbers, "force_new": force_new}
    *_, last = stages(plan(experiment, axes, key=key, **asked), executor)
    assert last.table is not None
    if message := invalid(last.table):
        warnings.warn(message, stacklevel=2)
    return last.table


def stages(
    plan: Plan,
    executor: _remote.Executor | None = None,
    tasks: int | None = None,
    kernel: _program.Kernel | None = None,
    **about: Any,
) -> Iterator[Stage]:
    """Carries out a plan and says where it is; `about` is noted of this run. `kernel`: that of an earlier round."""
    _remote.refuse_inside_a_worker()
    elsewhere = None if executor is None else (executor, _remote.job(plan))
    yield Stage("trace", 0, 0)
    clock = [time.perf_counter()]
    program = _program.trace(plan) if kernel is None else kernel.program
    identity, width = _program.identify(plan, program), _program.width(plan, program)
    clock.append(time.perf_counter())
    with begin(plan.store, plan.columns, program.variables, width, identity) as (table, rows):
        _check_block(plan, table)
        table.note(**_provenance(plan, table), **about)
        total = len(np.unique(rows // table.block))
        missing = table.missing(rows)
        done = total - len(missing)
        mine = [block for block in missing if block % plan.shard[1] == plan.shard[0]]
        ended: Iterator[Any] = iter(())
        if mine and elsewhere is None:
            yield Stage("compile", done, total)
            kernel = kernel._replace(table=table) if kernel else _program.compile(plan, program, table)
            _program.check_memory(kernel)
            ended = kernel.carry_out(mine)
        elif elsewhere is not None and mine:
            ended = _remote.run(*elsewhere, table.run, mine, tasks)
        clock.append(time.perf_counter())
        yield Stage("run", done, total)
        for _ in ended:
            done += 1
            yield Stage("run", done, total)
        clock.append(time.perf_counter())
        names = ("trace_seconds", "compile_seconds", "run_seconds")
        table.note(**dict(zip(names, np.diff(clock).round(3).tolist(), strict=True)))
        yield Stage("done", done, total, dataset(table, rows), kernel)


def invalid(table: xr.Dataset) -> str | None:
    """How many points hold NaN, in which variables, and the first of them in words; None if there are none."""
    missing = np.argwhere((~table[VALID] & table[DONE]).values)
    if not len(missing):
        return None
    dims = table[VALID].dims
    named = dims if dims != (POINT,) else tuple(table.attrs["axes"])

    def words(place: np.ndarray) -> str:
        where = dict(zip(dims, place, strict=True))
        return ", ".join(f"{name}={table[name][where if dims == (POINT,) else where[name]]:g}" for name in named)

    first = ", ".join(f"({words(place)})" for place in missing[:3])
    names = ", ".join(str(name) for name, v in table.data_vars.items() if v.dtype.kind in "fc" and v.isnull().any())
    return (
        f"{len(missing)} of {table[VALID].size} points hold NaN in {names} (kept, `valid` is false there), the first "
        f"at {first}; try values that keep every schedule in its range"
    )


def _provenance(plan: Plan, table: Table) -> dict[str, Any]:
    """What is noted of a run and need not be the same in another."""
    return {
        "chunk": table.block,
        "threads": _program.threads(),
        "devices": jax.local_device_count(),
        "device": jax.local_devices()[0].device_kind,
        "host": platform.node(),
        "jaxcollapse": __version__,
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "created": datetime.now(UTC).isoformat(),
    }


def _check_block(plan: Plan, table: Table) -> None:
    if plan.store is not None and plan.chunk not in (None, table.block):
        begun = f"{plan.store} was begun in blocks of {table.block}"
        raise ValueError(f"chunk: got {plan.chunk}, but {begun}; try to leave it out")
