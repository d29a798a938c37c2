"""What a sweep costs beside its draws: the store, resuming, memory, processes, devices.

    store      the same sweep with and without one, taking turns
    resume     a finished sweep asked for again, in a fresh process, imports included
    memory     peak of the process over --points points of 256 lineages × 100 generations at V = 256, under --memory
    processes  workers beside the threads of one process
    devices    host devices beside the threads of one device

    python benchmarks/sweeps.py [--points 4000] [--memory 1GB] [--only store,resume] [--quick] [--json out.json]
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def experiment(decay, growth, *, key, lineages=256, generations=100, vocab=256):
    """Mean and s.e. of the relative risk at the last generation."""
    import jax.numpy as jnp

    import jaxcollapse as jc

    p_star = jc.zipf(vocab)
    loop = jc.Loop(
        target=p_star,
        learner=jc.Tabular(),
        regime=jc.Replace(),
        alpha=jc.PowerLaw(0.5, exponent=-decay),
        n=jc.PowerLaw(20.0, exponent=growth),
    )
    last, _ = jc.ensemble(loop, generations, lineages=lineages, key=key, record=lambda lineage, batch: ())
    risk = jc.metrics.squared_error(last.model.probs, p_star.probs) / jc.metrics.diversity(p_star.probs)
    return {"risk": risk.mean(), "se": risk.std() / jnp.sqrt(lineages)}


def sweep(points, store=None, memory=None, processes=None, **settings):
    """A square grid of about so many points; its dataset."""
    import functools

    import jax
    import numpy as np

    import jaxcollapse as jc
    from jaxcollapse import _executors

    side = max(2, round(points**0.5))
    axes = {"growth": np.linspace(0, 2, side), "decay": np.linspace(0, 2, side)}
    function = functools.partial(experiment, **settings)
    asked = {"key": jax.random.key(0), "store": store, "memory": memory, **axes}
    with _executors.choose(processes=processes, dask=None, slurm=None) as (executor, _):
        return jc.sweep(function, executor=executor, **asked)


def child(code, **environment):
    """Runs code that prints JSON, in a process of its own; what it printed, its seconds and its peak in bytes."""
    start = time.perf_counter()
    here = Path(__file__).parent
    lines = f"import json, sys\nsys.path[:0] = [{str(here)!r}, {str(here.parent)!r}]\nimport sweeps\n{code}"
    command = [sys.executable, "-c", lines]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=os.environ | environment)
    return json.loads(done.stdout or "null"), time.perf_counter() - start


SHOW = "print(json.dumps({name: float(table.attrs[f'{name}_seconds']) for name in ('trace', 'compile', 'run')}))"


def store_overhead(points, turns, settings):
    """Seconds of the run alone, without and with a store."""
    seconds = {"without": [], "with": []}
    for _ in range(turns):
        for name in seconds:
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "run" if name == "with" else None
                seconds[name].append(sweep(points, store=path, **settings).attrs["run_seconds"])
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return medians | {"overhead": medians["with"] / medians["without"] - 1, "turns": seconds}


def resumed(points, settings):
    """Seconds of a process that asks for a finished sweep."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        sweep(points, store=path, **settings)
        code = f"table = sweeps.sweep({points}, store={str(path)!r}, **{settings!r})\n{SHOW}"
        inside, seconds = child(code)
        return inside | {"process": seconds}


def peak(points, memory, settings):
    """Seconds and peak bytes of a process over the large sweep."""
    with tempfile.TemporaryDirectory() as folder:
        code = (
            f"table = sweeps.sweep({points}, store={str(Path(folder) / 'run')!r}, memory={memory!r}, **{settings!r})\n"
            "peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"  # Linux
            "report = {'chunk': table.attrs['chunk'], 'points': table.risk.size, 'peak_kib': int(peak.split()[1]),\n"
            "'run': table.attrs['run_seconds']}\nprint(json.dumps(report))"
        )
        inside, seconds = child(code)
        return inside | {"process": seconds}


def shared_out(points, settings):
    """Seconds of the run by threads, by processes and by host devices, each in a process of its own."""
    found: dict[str, Any] = {"points": points}
    for devices in (1, 2, 8):
        flags = f"--xla_force_host_platform_device_count={devices}"
        code = f"table = sweeps.sweep({points}, **{settings!r})\n{SHOW}"
        inside, seconds = child(code, XLA_FLAGS=flags)
        found[f"{devices} devices" if devices > 1 else "threads"] = inside | {"process": seconds}
    for processes in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "run")
            code = f"table = sweeps.sweep({points}, store={path!r}, processes={processes}, **{settings!r})\n{SHOW}"
            inside, seconds = child(code)
            found[f"{processes} processes"] = inside | {"process": seconds}
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=4000)
    parser.add_argument("--memory", default="1GB")
    parser.add_argument("--only", default="store,resume,memory,shared")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    settings = {"lineages": 16, "generations": 5, "vocab": 50} if given.quick else {}
    small, turns = (16, 1) if given.quick else (400, 3)
    measures = {
        "store": lambda: store_overhead(small, turns, settings),
        "resume": lambda: resumed(small, settings),
        "memory": lambda: peak(small if given.quick else given.points, given.memory, settings),
        "shared": lambda: shared_out(4 * small, settings),
    }
    asked = given.only.split(",")
    if unknown := set(asked) - set(measures):
        parser.error(f"--only: got {', '.join(sorted(unknown))}, expected names among {', '.join(measures)}")
    found = {"machine": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()}
    for name in asked:
        found[name] = measures[name]()
        print(name, json.dumps(found[name], indent=1), flush=True)
    if given.json:
        given.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
