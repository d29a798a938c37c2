"""Executors by name, as the command line asks for them: processes of this machine, a Dask cluster, Slurm.

A choice is a context that gives the executor, or None for this process, and into how many tasks its work is cut, or
None where nobody asks for a number.
"""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

from jaxcollapse._remote import Executor

Choice = AbstractContextManager[tuple[Executor | None, int | None]]


def part(text: str) -> tuple[int, int]:
    """I/N as (I, N)."""
    index, _, count = text.partition("/")
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise ValueError(f"--shard: got {text}, expected I/N with I from 0 to N-1; try --shard 0/4")
    return int(index), int(count)


def choose(*, processes: int | None, dask: str | None, slurm: str | None) -> Choice:
    """At most one of them; `ValueError` for what cannot be, before anything is computed."""
    given = {"--processes": processes, "--dask": dask, "--slurm": slurm}
    chosen = [name for name, value in given.items() if value is not None]
    if len(chosen) > 1:
        raise ValueError(f"{chosen[0]}: got {chosen[1]} too, expected one of them")
    if processes is not None:
        if processes < 1:
            raise ValueError(f"--processes: got {processes}, expected a whole number of at least 1; try --processes 2")
        return _processes(processes)
    if dask is not None:
        return _dask(dask)
    return nullcontext((None, None)) if slurm is None else _slurm(slurm)


@contextmanager
def _processes(count: int) -> Iterator[tuple[Executor, int | None]]:
    context = multiprocessing.get_context("spawn")  # a fork of a process in which JAX has started may hang
    shares = context.SimpleQueue()
    for share in _shares(count):
        shares.put(share)
    with ProcessPoolExecutor(count, mp_context=context, initializer=_keep_to, initargs=(shares,)) as pool:
        yield pool, None


def _shares(count: int) -> list[set[int]]:
    """The cores of each worker: an equal part of this process's, or all of them where there are more workers."""
    if not hasattr(os, "sched_getaffinity"):  # macOS has no such call
        return [set()] * count
    cores = sorted(os.sched_getaffinity(0))
    cuts = [len(cores) * i // count for i in range(count + 1)]
    return [set(cores[i:j]) if count <= len(cores) else set(cores) for i, j in pairwise(cuts)]


def _keep_to(shares: Any) -> None:
    """A worker takes its cores before JAX counts them; else each would start a thread for every core there is."""
    if cores := shares.get():
        os.sched_setaffinity(0, cores)


@contextmanager
def _dask(address: str) -> Iterator[tuple[Executor, int | None]]:
    try:
        from distributed import Client
    except ModuleNotFoundError:
        raise ValueError("--dask: got no Dask to use, it is missing; try pip install 'jaxcollapse[dask]'") from None
    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise ValueError(f"--dask: got {address}, where no scheduler answers ({error}); try its address") from None
    with client:
        yield client, None


@contextmanager
def _slurm(text: str) -> Iterator[tuple[Executor, int | None]]:
    try:
        import submitit
    except ModuleNotFoundError:
        raise ValueError("--slurm: got no submitit, it is missing; try pip install 'jaxcollapse[slurm]'") from None
    options = _options(text)
    jobs = options.pop("jobs", 1)
    if not isinstance(jobs, int) or jobs < 1:
        raise ValueError(f"--slurm: got jobs={jobs}, expected a whole number of at least 1; try jobs=8")
    executor = submitit.AutoExecutor(folder=Path("slurm"), cluster=options.pop("cluster", None))
    general = {"time": "timeout_min", "mem": "mem_gb", "cpus": "cpus_per_task", "nodes": "nodes"}
    executor.update_parameters(**{general.get(name, f"slurm_{name}"): value for name, value in options.items()})
    yield executor, jobs


def _options(text: str) -> dict[str, Any]:
    """NAME=VALUE,…; whole numbers as such."""
    pairs = [pair.partition("=") for pair in text.split(",")]
    for name, given, _ in pairs:
        if not name.strip().isidentifier() or not given:
            raise ValueError(f'--slurm: got {text!r}, expected NAME=VALUE,…; try "partition=cpu,time=60,jobs=8"')
    return {name.strip(): int(value) if value.strip().isdecimal() else value.strip() for name, _, value in pairs}
