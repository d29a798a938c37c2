"""The experiment as a program: traced at one point, compiled for a block of points side by side.

    point(key, words, repeat, values) -> results          its text, hashed, tells whether two sweeps are the same
    block = vmap(point), with its points shared out over the local devices

A block is as wide as its largest array fits the cache of a core (`CACHE`), yet leaves every thread four blocks or more.
"""

import contextlib
import functools
import gc
import hashlib
import json
import re
import resource
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.extend
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import ShapedArray
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int

from jaxcollapse import _execute, _result
from jaxcollapse._plan import Plan, point_key, words
from jaxcollapse._store import REPEAT, Columns, Table, Variable

CACHE = {"cpu": 2**20}  # bytes of the largest array of a block; elsewhere:
MEMORY = 2**28
WIDEST = 1024  # points in a block
# For a budget of memory, before anything is compiled: arrays as large as the largest that a block holds at a time, and
# bytes that compiling takes, for itself and for each equation (give or take a half; both are measured after it).
ARRAYS, COMPILER, EQUATION = 20, 200_000_000, 60_000
# How often the results are held, and what storing them, a summary and a figure take.
COPIES, AFTERWARDS = 3, 2**27
FUNCTION = re.compile(r"(func\.func (?:public |private )?|\bcall )@([\w.]+)")  # a custom_call's name is its meaning
DTYPES = {"f": float, "i": int, "b": bool}


class Program(NamedTuple):
    """The experiment, traced at one point."""

    traced: jax.stages.Traced
    variables: dict[str, Variable]

    def __call__(self, *arguments: Any) -> dict[str, Any]:
        """The results at one point, without tracing the experiment again."""
        flat = jax.extend.core.jaxpr_as_fun(self.traced.jaxpr)(*jax.tree.leaves(arguments))
        return jax.tree.unflatten(jax.tree.structure(self.traced.out_info), flat)

    @property
    def digest(self) -> str:
        """The program as one word; it changes with what is computed, its settings and the constants that it holds.

        Not with the names of functions, which are numbered as they come.
        """
        numbers: dict[str, int] = {}
        number = lambda found: f"{found[1]}@{numbers.setdefault(found[2], len(numbers))}"
        text = FUNCTION.sub(number, self.traced.lower().as_text())
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def largest(self) -> int:
        """Bytes of the largest array that it computes."""
        shaped = (v.aval for equation in _equations(self.traced.jaxpr.jaxpr) for v in equation.outvars)
        arrays = ((x.size, x.dtype) for x in shaped if isinstance(x, ShapedArray))
        return max([1, *(size * dtype.itemsize for size, dtype in arrays if isinstance(dtype, np.dtype))])

    @property
    def compiler(self) -> int:
        """Bytes that compiling takes, roughly."""
        return COMPILER + EQUATION * sum(1 for _ in _equations(self.traced.jaxpr.jaxpr))

    @property
    def bytes(self) -> int:
        """Of what one point returns."""
        return sum(v.dtype.itemsize * int(np.prod(v.shape)) for v in self.variables.values())


def trace(plan: Plan) -> Program:
    """Traces the experiment; what it raises passes through."""
    variables: dict[str, Variable] = {}

    def one(key, words, repeat, values):
        result = plan.experiment(**values, key=point_key(key, words, repeat))
        found, arrays = _result.label(result, plan.axes)
        variables.update(found)
        return arrays

    key, *rest = _arguments(plan, plan.columns, np.zeros(1, int), alone=True)
    point = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), rest)
    with _uncollected():
        return Program(jax.jit(one).trace(key, *point), variables)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without Python's garbage collector: a trace makes many objects and drops none, a sixth of its time is lost."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


class Kernel(NamedTuple):
    """The program compiled for the blocks of a table."""

    plan: Plan
    program: Program
    table: Table
    executable: jax.stages.Compiled
    compiling: int  # bytes that the process held at most meanwhile

    @property
    def bytes(self) -> int:
        """What one block takes, on all of its devices: arguments, results and all that is held between them.

        0 where a backend does not say.
        """
        used, mesh = self.executable.memory_analysis(), devices()
        if used is None:
            return 0
        one = used.argument_size_in_bytes + used.output_size_in_bytes + used.temp_size_in_bytes
        return one * (1 if mesh is None else mesh.size)

    def carry_out(self, blocks: Iterable[int]) -> Iterator[int]:
        """Computes these blocks on all cores and writes them; each is yielded when it has been."""
        columns = self.table.columns()
        given = ((block, _arguments(self.plan, columns, _padded(self.table, block))) for block in blocks)
        for (block, _), result in _execute.run(self._compute, given, threads()):
            size = self.table.rows(block).stop - self.table.rows(block).start
            values = {name: value[:size] for name, value in result.items()}  # without the padding
            self.table.write(block, values, _result.valid(values, self.program.variables, size))
            yield block

    def _compute(self, block: tuple[int, tuple]) -> _result.Values:
        number, given = block
        try:
            return jax.device_get(self.executable(*given))
        except Exception as error:
            columns, size = self.table.columns(), self.table.block
            first = ", ".join(f"{name}={columns[name][number * size]:g}" for name in self.plan.axes)
            error.add_note(f"in the block of {size} points that begins at {first}")
            raise


def identify(plan: Plan, program: Program) -> dict[str, Any]:
    """What a store says of its sweep; `_store.IDENTITY` names what must not differ."""
    return {
        "axes": list(plan.axes),
        "types": {name: plan.axes[name].dtype.kind for name in sorted(plan.axes)},
        "experiment": _name(plan.experiment),
        "settings": json.dumps(plan.settings, default=repr),
        "key": jr.key_data(plan.key).ravel().tolist(),
        "key_impl": str(jr.key_impl(plan.key)),
        "x64": int(jnp.result_type(float) == jnp.float64),
        "common_random_numbers": int(plan.common_random_numbers),
        "platform": jax.default_backend(),
        "jax": version("jax"),
        "jaxlib": version("jaxlib"),
        "program": program.digest,
    }


def threads() -> int:
    """How many threads call an executable: one where points are shared out over several devices."""
    return 1 if devices() is not None else _execute.threads()


def devices() -> Mesh | None:
    """All local devices, to share points out over; None where there is one, or the user has chosen one."""
    chosen = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    if chosen is not None or len(jax.local_devices()) == 1:
        return None
    return Mesh(np.array(jax.local_devices()), ("point",))


def compile(plan: Plan, program: Program, table: Table) -> Kernel:
    """The program for the blocks of a table."""
    mesh, batched = devices(), jax.vmap(program, in_axes=(None, 0, 0, 0))
    if mesh is not None:
        on = PartitionSpec("point")
        specs = (PartitionSpec(), on, on, on)
        # Not left to the partitioner, which would have all devices agree on when each loop ends.
        batched = jax.shard_map(batched, mesh=mesh, in_specs=specs, out_specs=on, check_vma=False)
    given = _arguments(plan, table.columns(), _padded(table, 0))
    before = _held("VmHWM")
    executable = jax.jit(batched).trace(*given).lower().compile(compiler_options=_execute.compiler_options())
    highest = _held("VmHWM")
    return Kernel(plan, program, table, executable, highest if highest > before else _held())


def _padded(table: Table, block: int) -> Int[np.ndarray, " w"]:
    """The rows of a block; the last one, and one that devices do not divide, repeats its last point."""
    rows, mesh = table.rows(block), devices()
    width = table.block if mesh is None else -(-table.block // mesh.size) * mesh.size
    return np.minimum(np.arange(rows.start, rows.start + width), rows.stop - 1)


def _arguments(plan: Plan, columns: Columns, rows: Int[np.ndarray, " w"], alone: bool = False) -> tuple:
    """A block's arguments, built where x64 is what the user set: that setting belongs to the thread."""
    block = {name: column[rows] for name, column in columns.items()}
    repeat = block.pop(REPEAT)
    values = {name: jnp.asarray(column, DTYPES[column.dtype.kind]) for name, column in block.items()}
    found = plan.key, jnp.asarray(words(block, plan.common_random_numbers)), jnp.asarray(repeat, jnp.uint32), values
    mesh = None if alone else devices()
    if mesh is None:
        return found
    on = lambda *axes: NamedSharding(mesh, PartitionSpec(*axes))
    return jax.device_put(found[0], on()), *jax.device_put(found[1:], on("point"))


def width(plan: Plan, program: Program) -> int:
    """Points in a block; `ValueError` where not even the results fit the memory that the plan allows."""
    if plan.chunk is not None:
        return plan.chunk if plan.store else min(plan.chunk, plan.points)
    count = 1 if (mesh := devices()) is None else mesh.size
    largest = program.largest
    most = max(1, CACHE.get(jax.default_backend(), MEMORY) * count // largest)
    if plan.memory is not None:
        most = max(1, min(most, _room(plan, program) // (ARRAYS * largest * threads())))
    workers = threads() * plan.shard[1]
    turns = max(4, -(-plan.points // (min(most, WIDEST) * workers)))
    # Not below eight, for the sake of points that may be added; and whole vectors of eight, since XLA:CPU rounds exp
    # and log of what is left over in another way.
    chosen = max(-(-plan.points // (turns * workers)), min(8, most))
    return -(-chosen // 8) * 8 if most >= 8 else chosen


def peak(kernel: Kernel) -> int:
    """Bytes that the process takes at most from when it compiled: then, or with its results and blocks under way."""
    blocks = kernel.bytes * threads() if jax.default_backend() == "cpu" else 0
    run = _held() + AFTERWARDS + blocks + COPIES * kernel.plan.points * kernel.program.bytes
    return max(kernel.compiling, run)


def check_memory(kernel: Kernel) -> None:
    """Raises `ValueError` where the compiled program takes more memory than the plan allows."""
    memory = kernel.plan.memory
    if memory is None or (needed := peak(kernel)) <= memory:
        return
    got = f"{memory:,} bytes for blocks of {kernel.table.block} points"
    tries = "try more memory, or a smaller chunk in a new store"
    raise ValueError(f"memory: got {got}, expected at least {needed:,}, as measured after compiling; {tries}")


def _room(plan: Plan, program: Program) -> int:
    """Bytes that are left for blocks, beside what the process holds, the compiler and the results."""
    used = _held() + program.compiler + AFTERWARDS
    results = COPIES * plan.points * program.bytes
    assert plan.memory is not None
    room = plan.memory - used - results
    if room < 0:
        raise ValueError(
            f"memory: got {plan.memory:,} bytes, expected more than {plan.memory - room:,}: {results:,} for the "
            f"results of {plan.points} points, {used:,} for the process; try to record less, or more memory"
        )
    return room


def _held(what: str = "VmRSS") -> int:
    """Bytes that the process holds now, or did at most (VmHWM); at most in either case where Linux does not say."""
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(rf"^{what}:\s*(\d+) kB$", status.read_text(), re.MULTILINE)
        if found:
            return 1024 * int(found[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _equations(jaxpr: jax.extend.core.Jaxpr) -> Iterator[Any]:
    """All of a program's, those of loops and branches once each."""
    for equation in jaxpr.eqns:
        yield equation
        for inside in _within(equation.params.values()):
            yield from _equations(inside)


def _within(parameters: Any) -> Iterator[jax.extend.core.Jaxpr]:
    for parameter in parameters:
        if isinstance(parameter, jax.extend.core.ClosedJaxpr):
            yield parameter.jaxpr
        elif isinstance(parameter, jax.extend.core.Jaxpr):
            yield parameter
        elif isinstance(parameter, tuple | list):
            yield from _within(parameter)


def _name(experiment: Any) -> str:
    while isinstance(experiment, functools.partial):
        experiment = experiment.func
    return getattr(experiment, "__qualname__", repr(experiment))
