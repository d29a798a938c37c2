"""Where blocks run elsewhere: tasks for any executor with `submit(function, *arguments) -> future`.

A worker gets block numbers and the experiment's file, never arrays: it reads the points from the store, makes the
program itself, refuses one that is not the store's, and writes its own blocks.
"""

import functools
import inspect
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from jaxcollapse import _experiment, _program
from jaxcollapse._plan import Experiment, Plan, plan
from jaxcollapse._store import Table, check_identity

TASKS = 1024  # at most, unless the user says how many; a task is some blocks in a row:
BLOCKS = 4  # or more, so that several cores of a worker have work
EVERY = 0.05  # seconds between two looks at the futures

_lock, _loading, _kernels = threading.Lock(), list[str](), dict[tuple[str, int], "_program.Kernel"]()  # of a worker


@runtime_checkable
class Executor(Protocol):
    """dask.distributed.Client, submitit's and concurrent.futures' executors, and the like."""

    def submit(self, function: Callable, /, *arguments: Any) -> Any: ...


class Job(NamedTuple):
    """What a worker needs to know."""

    store: str
    file: str
    name: str
    settings: dict[str, Any]
    x64: bool


def job(plan: Plan) -> Job:
    """The plan as a worker can carry it out; `ValueError` where it has no store or its experiment no file."""
    if plan.store is None:
        raise ValueError("executor: got no store for its workers to write to; try store=NAME, which they all can reach")
    function, settings = plan.experiment, {}
    while isinstance(function, functools.partial):
        if function.args:
            raise ValueError("experiment: got a partial with positional arguments; try keywords")
        function, settings = function.func, {**function.keywords, **settings}
    file = inspect.getsourcefile(function) if inspect.isfunction(function) else None
    name = getattr(function, "__qualname__", "")
    if file is None or not Path(file).is_file() or not name.isidentifier():
        raise ValueError(
            f"experiment: got {name or function!r}, which workers cannot load, expected a function of a file, not of a "
            "session or of another function; try to move it into a file"
        )
    x64 = bool(jax.config.jax_enable_x64)  # pyright: ignore[reportAttributeAccessIssue]
    return Job(str(plan.store.absolute()), str(Path(file).absolute()), name, settings, x64)


def run(executor: Executor, job: Job, run: int, blocks: Sequence[int], tasks: int | None) -> Iterator[int]:
    """The blocks, each when its task has ended. Where one fails the others are waited for, then its error is raised."""
    tasks = min(TASKS, -(-len(blocks) // BLOCKS)) if tasks is None else min(tasks, len(blocks))
    groups = [group.tolist() for group in np.array_split(np.array(blocks), tasks)]
    waiting = {executor.submit(work, job, run, group): group for group in groups}
    error: BaseException | None = None
    try:
        while waiting:
            ended = [future for future in waiting if future.done()]
            for future in ended:
                group = waiting.pop(future)
                try:
                    future.result()
                except BrokenExecutor as broken:
                    raise RuntimeError("executor: a worker died; run again to compute what is missing") from broken
                except Exception as failed:
                    error = error or failed
                else:
                    yield from group
            if not ended:
                time.sleep(EVERY)
    finally:
        for future in waiting:
            future.cancel()
    if error is not None:
        raise error


def work(job: Job, run: int, blocks: list[int]) -> None:
    """Computes and writes those blocks of a store that are missing, on the worker."""
    with jax.enable_x64(job.x64):
        kernel = _kernel(job, run)
        for _ in kernel.carry_out([block for block in blocks if not kernel.table.has(block)]):
            pass


def _kernel(job: Job, run: int) -> _program.Kernel:
    """Compiled once in the life of a worker and a run."""
    with _lock:
        if (job.store, run) not in _kernels:
            _kernels.clear()
            _kernels[job.store, run] = _prepare(job, run)
        return _kernels[job.store, run]


def _prepare(job: Job, run: int) -> _program.Kernel:
    table = Table(Path(job.store), run)
    _loading.append(job.file)
    try:
        function = getattr(_experiment.module(Path(job.file)), job.name)
    finally:
        _loading.clear()
    found = planned(functools.partial(function, **job.settings), table)
    program = _program.trace(found)
    check_identity(Path(job.store), table.attrs, _program.identify(found, program))
    return _program.compile(found, program, table)


def planned(experiment: Experiment, table: Table) -> Plan:
    """The sweep that a store holds, as a plan: all its points, by this function."""
    columns = table.columns()
    key = jr.wrap_key_data(jnp.asarray(table.attrs["key"], jnp.uint32), impl=table.attrs["key_impl"])
    axes = {name: np.unique(columns[name]) for name in table.attrs["axes"]}
    asked = {"key": key, "common_random_numbers": bool(table.attrs["common_random_numbers"])}
    return plan(experiment, axes, **asked)._replace(columns=columns, store=Path(str(table.store)))


def refuse_inside_a_worker() -> None:
    """Raises `ValueError` where a worker that loads an experiment's file comes upon a sweep in it."""
    if _loading:
        raise ValueError(
            f"sweep: got a call while a worker loads {_loading[0]}; put what the file does under "
            "if __name__ == '__main__':"
        )
