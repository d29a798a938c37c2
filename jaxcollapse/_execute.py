"""Where blocks run: threads of this process, as many as there are usable cores.

XLA:CPU runs the body of a scan on one core however wide it is, but one executable may be called from several threads
at once. An accelerator is kept busy by one.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

import jax

# Vectors of twice the width that XLA:CPU prefers: the samplers then have the registers they need (see benchmarks/).
WIDE: dict[str, str | bool] = {"xla_cpu_prefer_vector_width": "512"}

Block = TypeVar("Block")
Result = TypeVar("Result")


def threads() -> int:
    """How many threads call an executable: one a usable core on a CPU, one on an accelerator."""
    if jax.default_backend() != "cpu":
        return 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def compiler_options() -> dict[str, str | bool]:
    """What an executable for this backend is compiled with."""
    return WIDE if jax.default_backend() == "cpu" else {}


def run(compute: Callable[[Block], Result], blocks: Iterable[Block], workers: int) -> Iterator[tuple[Block, Result]]:
    """(block, compute(block)) in the order of completion, with at most two blocks a worker under way.

    The blocks are built in the calling thread, as they are needed. When one fails, or the user interrupts, those that
    are running are finished and handed on before the error is.
    """
    waiting: dict[Future[Result], Block] = {}
    pool = ThreadPoolExecutor(workers, thread_name_prefix="jaxcollapse")
    try:
        for block in blocks:
            if len(waiting) == 2 * workers:
                yield from _completed(waiting)
            waiting[pool.submit(compute, block)] = block
        while waiting:
            yield from _completed(waiting)
    except (Exception, KeyboardInterrupt):
        pool.shutdown(cancel_futures=True)
        yield from ((b, f.result()) for f, b in waiting.items() if not f.cancelled() and f.exception() is None)
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _completed(waiting: dict[Future[Result], Block]) -> Iterator[tuple[Block, Result]]:
    for future in wait(waiting, return_when=FIRST_COMPLETED).done:
        yield waiting.pop(future), future.result()
