"""Seconds to the first result, and how many programs are compiled while schedules are swept.

Every call is timed in fresh processes: without a persistent compilation cache, with an empty one (cold), and with
the one that the process before it filled (warm). In the table, medians over processes, in seconds:

    launch    from starting Python to the first result, imports included
    call      the first call, of which
    trace     tracing and lowering, and
    compile   the backend's compiler, or reading the cache
    second    the same call again
    programs  compiled (not read from the cache) in the first + in the second call

Then the schedules: an ensemble at 20 values of the exponents of α_t and n_t, and `jc.sweep` over a 5 × 5 grid of them.
Their values are traced, so the loop itself, the dearest program to compile, should be compiled once.

    python benchmarks/compile.py [--json out.json] [--quick]
"""

import argparse
import functools
import importlib
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Nothing here imports JAX: importing it is measured, and on a GPU its memory is for the child processes.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

STAGES = {
    "/jax/core/compile/jaxpr_trace_duration": "trace",
    "/jax/core/compile/jaxpr_to_mlir_module_duration": "trace",
    "/jax/core/compile/backend_compile_duration": "compile",
}
CACHE_HIT = "/jax/compilation_cache/cache_hits"
ENSEMBLE, GRID, SCHEDULES, VOCAB, REPEATS = {"vocab": 256, "lineages": 64, "generations": 100}, 5, 20, 1000, 3
if "--quick" in sys.argv:
    ENSEMBLE, GRID, SCHEDULES, VOCAB, REPEATS = {"vocab": 16, "lineages": 4, "generations": 5}, 2, 3, 50, 1
SIZES = "V={vocab} L={lineages} T={generations}".format(**ENSEMBLE)
CASES = {"multinomial": f"multinomial, V={VOCAB}", "ensemble": f"ensemble, {SIZES}", "sweep": f"sweep {GRID}×{GRID}"}
NONE = {"JAX_ENABLE_COMPILATION_CACHE": "false"}


def multinomial():
    import jax.random as jr

    import jaxcollapse as jc

    return jc.sampling.multinomial(jr.key(0), 10_000, [1.0 / i for i in range(1, VOCAB + 1)])


def diversity(lineage, batch):
    """Recorded of every generation; defined once, since a lambda in each call would be a new program each time."""
    import jaxcollapse as jc

    return jc.metrics.diversity(lineage.model.probs)


def experiment(decay, growth, *, key, vocab, lineages, generations):
    import jaxcollapse as jc

    alpha, n = jc.PowerLaw(0.5, exponent=-decay), jc.PowerLaw(20.0, exponent=growth)
    loop = jc.Loop(target=jc.zipf(vocab), learner=jc.Tabular(), regime=jc.Replace(), alpha=alpha, n=n)
    _, record = jc.ensemble(loop, generations, lineages=lineages, key=key, record=diversity)
    return {"diversity": ("lineage", record[:, -1])}


def ensemble(decay=0.5, growth=1.0):
    import jax.random as jr

    return experiment(decay, growth, key=jr.key(0), **ENSEMBLE)["diversity"][1]


def sweep():
    import jax.random as jr

    import jaxcollapse as jc

    axis = [2 * i / (GRID - 1) for i in range(GRID)]
    return jc.sweep(functools.partial(experiment, **ENSEMBLE), key=jr.key(0), decay=axis, growth=axis).diversity.values


def listen():
    """A list that JAX's own monitoring fills with (stage, begin, end, program)."""
    from jax import monitoring

    seen = []

    def span(event: str, duration_secs: float, **about: str | int) -> None:
        if event in STAGES:
            end = time.perf_counter()
            seen.append((STAGES[event], end - duration_secs, end, about.get("fun_name", "")))

    def moment(event: str, **_: str | int) -> None:
        if event == CACHE_HIT:
            seen.append(("hit", 0.0, 0.0, ""))

    monitoring.register_event_duration_secs_listener(span)
    monitoring.register_event_listener(moment)
    return seen


def covered(seen, stage):
    """Seconds that the intervals of a stage cover: they nest, a function being traced inside the one that calls it."""
    total, reached = 0.0, 0.0
    for begin, end in sorted((begin, end) for kind, begin, end, _ in seen if kind == stage):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def compiled(seen):
    """How many programs were compiled, not read from the cache."""
    kinds = [kind for kind, *_ in seen]
    return kinds.count("compile") - kinds.count("hit")


def dearest(seen):
    """The loop, that is the program that took longest to compile, and how often one of its name was."""
    programs = [(end - begin, name) for kind, begin, end, name in seen if kind == "compile"]
    seconds, name = max(programs)
    return {"loop": name, "loop_seconds": seconds, "loop_compiled": [other for _, other in programs].count(name)}


def timed(call):
    import jax

    start = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - start


def first_and_second(call):
    """What a child process reports of a call."""
    seen = listen()
    first = timed(call)
    arrived, until = time.time(), len(seen)
    stages = {stage: covered(seen, stage) for stage in ("trace", "compile")}
    found = dearest(seen)
    second = timed(call)
    programs = {"programs": compiled(seen[:until]), "programs_second": compiled(seen[until:])}
    return {"arrived": arrived, "call": first, **stages, "second": second, **programs, **found}


def schedules():
    """What a child process reports of an ensemble at one pair of exponents after another."""
    seen, values = listen(), [2 * i / (SCHEDULES - 1) for i in range(SCHEDULES)]
    first = timed(lambda: ensemble(2.0, 0.0))
    until = len(seen)
    rest = [timed(lambda v=v: ensemble(2 - v, v)) for v in values[1:]]
    programs = {"programs": compiled(seen[:until]), "programs_others": compiled(seen[until:])}
    return {"schedules": SCHEDULES, "call": first, "others": statistics.median(rest), **programs, **dearest(seen)}


def importing():
    """What a child process reports of the imports, and of the machine."""
    seconds: dict[str, float] = {}
    machine: dict[str, str | int] = {"machine": platform.machine(), "python": platform.python_version()}
    for package in ("jaxcollapse", "jax"):
        start = time.perf_counter()
        machine[package] = importlib.import_module(package).__version__
        seconds[f"import {package}"] = time.perf_counter() - start
    import jax

    start = time.perf_counter()
    device = jax.devices()[0]
    seconds["start the devices"] = time.perf_counter() - start
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    machine |= {"device": f"{device.platform}: {device.device_kind}", "cores": cores}
    return {"seconds": seconds, "machine": machine}


def child(name, settings):
    """Runs this file in a new process, and returns what it reports and the seconds from launch to first result."""
    command = [sys.executable, __file__, "--child", name] + ["--quick"] * ("--quick" in sys.argv)
    start = time.time()
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-4000:]}")
    report = json.loads(done.stdout.splitlines()[-1])
    return report | {"launch": report.pop("arrived", time.time()) - start}


def measure(name):
    """Reports of one case, one of each repeat: cache -> reports."""
    reports = {"none": [], "cold": [], "warm": []}
    for _ in range(REPEATS):
        reports["none"].append(child(name, NONE))
        with tempfile.TemporaryDirectory() as folder:
            keep = {"MIN_COMPILE_TIME_SECS": "0", "MIN_ENTRY_SIZE_BYTES": "-1"}
            cache = {f"JAX_PERSISTENT_CACHE_{key}": value for key, value in keep.items()}
            cache |= {"JAX_ENABLE_COMPILATION_CACHE": "true", "JAX_COMPILATION_CACHE_DIR": folder}
            for state in ("cold", "warm"):
                reports[state].append(child(name, cache))
    return reports


def imports(results):
    reports = [child("importing", NONE) for _ in range(REPEATS)]
    results |= {"machine": reports[0]["machine"], "importing": [report["seconds"] for report in reports]}
    print(" ".join(f"{name}={value}" for name, value in results["machine"].items()))
    for name in results["importing"][0]:
        print(f"{name:36}{statistics.median(seconds[name] for seconds in results['importing']):10.3f} s")


def table(results):
    columns = ("launch", "call", "trace", "compile", "second")
    print(f"\n{'':30}cache {''.join(f'{name:>10}' for name in columns)}  programs")
    results["cases"] = {}
    for name, label in CASES.items():
        missing = [x for x in ("xarray", "zarr") if name == "sweep" and importlib.util.find_spec(x) is None]
        if missing:
            print(f"{label:30}skipped: {' and '.join(missing)} not installed")
            continue
        results["cases"][name] = measure(name)
        for cache, reports in results["cases"][name].items():
            seconds = [statistics.median(report[column] for report in reports) for column in columns]
            programs = f"{reports[0]['programs']} + {reports[0]['programs_second']}"
            print(f"{label:30}{cache:6}{''.join(f'{x:10.3f}' for x in seconds)}  {programs}")


def sweeps(results):
    """How many programs a sweep compiles: printed, not judged."""
    swept = results["schedules"] = child("schedules", NONE)
    print(
        f"\n{SCHEDULES} schedules, ensemble: {swept['programs']} programs compiled by the first, "
        f"{swept['programs_others']} by the others; {loop(swept)}; "
        f"{swept['call']:.2f} s the first, {1e3 * swept['others']:.1f} ms each of the others (median)"
    )
    if "sweep" in results["cases"]:
        grid = results["cases"]["sweep"]["none"][0]
        print(f"{GRID}×{GRID} schedules, sweep: {grid['programs']} programs compiled; {loop(grid)}")


def loop(report):
    return f"{report['loop']} {report['loop_compiled']} times, in {report['loop_seconds']:.2f} s"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one process each: does it run?")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return print(json.dumps(CHILDREN[arguments.child]()))
    results = {}
    imports(results)
    table(results)
    sweeps(results)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(results, file, indent=1)


CHILDREN = {
    "importing": importing,
    "schedules": schedules,
    "multinomial": functools.partial(first_and_second, multinomial),
    "ensemble": functools.partial(first_and_second, ensemble),
    "sweep": functools.partial(first_and_second, sweep),
}

if __name__ == "__main__":
    main()
