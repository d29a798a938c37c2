"""Time of the tabular loop against vocabulary V, sample size n, lineages L, generations T, and devices.

One factor at a time around V = 1000, n = 10^4, L = 64, T = 20, with p* = Zipf(1), α = 0.1, `Replace()`, recording one
number a generation. `jc.ensemble` is compiled ahead for one device, warmed up, and called at least five times; time is
the median of these calls, generation 0 included, beside nanoseconds per token, that is time / (V L T). Expected: flat
in n, linear in V, L and T. Slopes of log time against log factor are fitted over the upper half of each range, since
at the lower end fixed costs rule. Then `jc.ensemble` called outside a trace for every n: how many programs it compiles.

Weak scaling: 64 lineages a device over 1, 2, 4, 8 host devices (CPU), each in a fresh process, shared out by
`jc.ensemble` itself; host devices are threads, so beyond the usable cores no gain is expected. Where the platform is an
accelerator, also over 1 … all of its devices, with the lineages' keys laid out by `NamedSharding`.

    python benchmarks/scaling.py [--json out.json] [--plot out.png] [--quick]
"""

import argparse
import functools
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jaxcollapse as jc

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
COMPILED = "/jax/core/compile/backend_compile_duration"
BASE = {"V": 1000, "n": 10**4, "L": 64, "T": 20}
RANGES = {
    "V": (50, 256, 1000, 4096, 32768),
    "n": tuple(10**k for k in range(1, 10)),
    "L": (1, 4, 16, 64, 256, 1024),
    "T": (5, 10, 20, 40, 80, 160, 320),
}
DEVICES, GENERATIONS, PAUSE = (1, 2, 4, 8), 300, 0.5  # of weak scaling; seconds of calls at least, beside five calls
if "--quick" in sys.argv:
    BASE = {"V": 16, "n": 100, "L": 4, "T": 10}
    RANGES = {"V": (8, 16, 32), "n": (10, 100, 1000), "L": (2, 4, 8), "T": (5, 10, 20)}
    DEVICES, GENERATIONS, PAUSE = (1, 2), 10, 0.0


def squared_error(lineage, batch):
    """‖p_t − p*‖², what is recorded; defined once, since each new lambda would be a new program."""
    return jc.metrics.squared_error(lineage.model.probs, jc.zipf(lineage.model.probs.shape[-1]).probs)


def loop(vocab, n):
    alpha = jc.Constant(0.1)
    return jc.Loop(target=jc.zipf(vocab), learner=jc.Tabular(), regime=jc.Replace(), alpha=alpha, n=jc.Constant(n))


def ensemble(vocab, n, lineages, generations, key):
    return jc.ensemble(loop(vocab, n), generations, lineages=lineages, key=key, record=squared_error)[1]


@functools.cache
def program(vocab, lineages, generations):
    """The ensemble compiled for one device, called with (n, key), and the seconds that took."""
    run = jax.jit(lambda n, key: ensemble(vocab, n, lineages, generations, key))
    start = time.perf_counter()
    compiled = run.lower(jnp.asarray(1), jr.key(0)).compile()
    return compiled, time.perf_counter() - start


def timed(call):
    """Median and range in seconds over at least five calls, after one that is not counted."""
    taken = []
    jax.block_until_ready(call())
    while len(taken) < 5 or sum(taken) < PAUSE:
        start = time.perf_counter()
        jax.block_until_ready(call())
        taken.append(time.perf_counter() - start)
    return {"seconds": float(np.median(taken)), "least": min(taken), "most": max(taken), "calls": len(taken)}


def measure(factor, value):
    """One row: the base point with one factor changed."""
    point = BASE | {factor: value}
    compiled, seconds = program(point["V"], point["L"], point["T"])
    n, key = jnp.asarray(point["n"]), jr.key(1)
    found = timed(lambda: compiled(n, key))
    per_token = 1e9 * found["seconds"] / (point["V"] * point["L"] * point["T"])
    memory = getattr(compiled.memory_analysis(), "temp_size_in_bytes", None)
    costs = {"ns_per_token": per_token, "compile_seconds": seconds, "temporary_bytes": memory}
    return {"factor": factor, "value": value} | point | found | costs


def slope(rows):
    """d log time / d log factor over the upper half of the range."""
    upper = rows[len(rows) // 2 :]
    x, y = (np.log([row[name] for row in upper]) for name in ("value", "seconds"))
    return float(np.polyfit(x, y, 1)[0])


def outside_a_trace():
    """`jc.ensemble` as users call it: programs compiled by the first n and by all others, and the time of a call."""
    seen, counts = [], []
    jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__: seen.append(event))
    call = lambda n: ensemble(BASE["V"], n, BASE["L"], BASE["T"], jr.key(1))
    for n in RANGES["n"]:
        jax.block_until_ready(call(n))
        counts.append(seen.count(COMPILED))
    return {"programs_first": counts[0], "programs_others": counts[-1] - counts[0]} | timed(lambda: call(BASE["n"]))


def weak_row(found, devices):
    work = BASE["L"] * devices * GENERATIONS
    return {"devices": devices, "lineages": BASE["L"] * devices, "per_second": work / found["seconds"]} | found


def on_host(devices):
    """What a child process with that many host devices reports."""
    assert jax.local_device_count() == devices
    call = lambda: ensemble(BASE["V"], BASE["n"], BASE["L"] * devices, GENERATIONS, jr.key(1))
    assert len(call().sharding.device_set) == devices
    return weak_row(timed(call), devices)


def child(devices):
    """Runs this file in a new process, on the CPU in that many host devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    command = [sys.executable, __file__, "--child", str(devices)] + ["--quick"] * ("--quick" in sys.argv)
    settings = {"XLA_FLAGS": flags.strip(), "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=os.environ | settings, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{devices} host devices failed:\n{done.stderr[-4000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def on_accelerators(devices):
    """The first devices of this process, each with its share of the lineages' keys."""
    kinds = {"axis_types": (AxisType.Auto,), "devices": jax.local_devices()[:devices]}
    layout = NamedSharding(jax.make_mesh((devices,), ("lineage",), **kinds), PartitionSpec("lineage"))
    keys = jax.device_put(jr.split(jr.key(1), BASE["L"] * devices), layout)
    chain = loop(BASE["V"], BASE["n"])
    run = jax.jit(jax.vmap(lambda key: jc.simulate(chain, GENERATIONS, key=key, record=squared_error)[1]))
    return weak_row(timed(lambda: run(keys)), devices)


def print_factor(factor, rows, found):
    print(f"\n{factor:>12}{'ms':>11}{'range':>18}{'ns/token':>10}{'MB':>8}{'compile s':>11}")
    for row in rows:
        memory = "" if row["temporary_bytes"] is None else f"{row['temporary_bytes'] / 1e6:.1f}"
        spread = f"{1e3 * row['least']:.2f}–{1e3 * row['most']:.2f}"
        cells = f"{1e3 * row['seconds']:11.2f}{spread:>18}{row['ns_per_token']:10.1f}{memory:>8}"
        print(f"{row['value']:12,}{cells}{row['compile_seconds']:11.1f}")
    times = [row["seconds"] for row in rows]
    ratio = f"; dearest / cheapest {max(times) / min(times):.2f}" if factor == "n" else ""
    print(f"slope of log time against log {factor}, upper half: {found:.2f} (expected {int(factor != 'n')}){ratio}")


def weak(name, run, counts):
    """Rows of weak scaling, each printed as soon as it is measured."""
    cores = f"; {CORES} usable cores: beyond them no gain is expected" if name == "host" else ""
    print(f"\nweak scaling over {name} devices, {BASE['L']} lineages each{cores}")
    print(f"{'devices':>12}{'lineages':>10}{'lineage-gen/s':>15}{'efficiency':>12}", flush=True)
    rows = []
    for devices in counts:
        row = run(devices)
        row["efficiency"] = row["per_second"] / devices / (rows or [row])[0]["per_second"]
        print(f"{devices:12}{row['lineages']:10}{row['per_second']:15,.0f}{row['efficiency']:12.2f}", flush=True)
        rows.append(row)
    return rows


def plot(results, path):
    """Four panels of time against a factor and one of weak scaling, log–log, with the expected slopes dashed."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplot_mosaic([["V", "n", "weak"], ["L", "T", "weak"]], figsize=(13, 7.2), layout="constrained")
    names = {"V": "vocabulary $V$", "n": "sample size $n$", "L": "lineages $L$", "T": "generations $T$"}
    for factor, label in names.items():
        plot_factor(axes[factor], results["rows"][factor], label, results["slopes"][factor], int(factor != "n"))
    plot_weak(axes["weak"], results["weak"])
    base = ", ".join(f"{name} = {value:,}" for name, value in BASE.items())
    machine = results["machine"]
    figure.suptitle(f"{machine['device']}, {CORES} cores, jax {machine['jax']}; around {base}")
    figure.savefig(path, dpi=120)


def plot_factor(ax, rows, label, found, expected):
    x, y, low, high = (np.array([row[name] for row in rows]) for name in ("value", "seconds", "least", "most"))
    anchor = len(rows) - 1 if expected else len(rows) // 2
    ax.plot(x, y[anchor] * (x / x[anchor]) ** expected, "--", color="0.45", label=f"slope {expected}, as expected")
    style = {"fmt": "o-", "color": "#0072B2", "capsize": 3, "label": f"measured, slope of upper half {found:.2f}"}
    ax.errorbar(x, y, [y - low, high - y], **style)
    ax.set(xscale="log", yscale="log", xlabel=label, ylabel="seconds a call (median, range)")
    ax.set_ylim(low.min() / (2 if expected else 10), 10 * high.max())  # room for the legend
    if expected:
        name_ticks(ax, x)
    ax.legend(frameon=False, loc="upper left")


def plot_weak(ax, weak):
    for (name, rows), colour in zip(weak.items(), ("#0072B2", "#D55E00"), strict=False):
        x, y = (np.array([row[key] for row in rows]) for key in ("devices", "per_second"))
        ax.plot(x, y, "o-", color=colour, label=f"{name} devices")
        ax.plot(x, y[0] * x, "--", color="0.45")
        for row in rows:
            text = f"{row['efficiency']:.0%}"
            ax.annotate(text, (row["devices"], row["per_second"]), (0, -14), textcoords="offset points", ha="center")
    host = weak["host"]
    reach = min(CORES, host[-1]["devices"])
    ax.plot([reach, host[-1]["devices"]], [host[0]["per_second"] * reach] * 2, "--", color="0.45")
    ax.plot([], [], "--", color="0.45", label=f"slope 1; host devices: 0 beyond {CORES} cores")
    ax.set(xscale="log", yscale="log", xlabel="devices", ylabel="lineage-generations per second")
    name_ticks(ax, sorted({row["devices"] for rows in weak.values() for row in rows}))
    ax.margins(x=0.12)
    ax.set_ylim(ax.get_ylim()[0] / 1.5, ax.get_ylim()[1] * 2)
    ax.legend(frameon=False, loc="upper left", title=f"{BASE['L']} lineages a device; efficiency in %")


def name_ticks(ax, values):
    ax.set_xticks(values, labels=[f"{value:g}" for value in values])
    ax.set_xticks([], minor=True)


def describe():
    device, count = jax.local_devices()[0], jax.local_device_count()
    machine = {"device": f"{device.platform}: {device.device_kind}", "devices": count, "cores": CORES}
    machine |= {"machine": platform.machine(), "python": platform.python_version()}
    return machine | {"jaxcollapse": jc.__version__, "jax": jax.__version__, "numpy": np.__version__}


def print_outside(found):
    print(
        f"\njc.ensemble outside a trace, {len(RANGES['n'])} values of n: {found['programs_first']} programs compiled "
        f"by the first, {found['programs_others']} by the others; {1e3 * found['seconds']:.1f} ms a call at the base"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--plot", help="draw them to this file (needs matplotlib)")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run?")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        return print(json.dumps(on_host(arguments.child)))

    machine = describe()
    print(" ".join(f"{name}={value}" for name, value in machine.items()))
    results = {"machine": machine, "base": BASE, "rows": {}, "slopes": {}, "weak": {}}
    for factor, values in RANGES.items():
        rows = results["rows"][factor] = [measure(factor, value) for value in values]
        results["slopes"][factor] = slope(rows)
        print_factor(factor, rows, results["slopes"][factor])
    results["outside_a_trace"] = outside_a_trace()
    print_outside(results["outside_a_trace"])
    results["weak"]["host"] = weak("host", child, DEVICES)
    if jax.default_backend() != "cpu":
        counts = sorted({d for d in DEVICES if d < jax.local_device_count()} | {jax.local_device_count()})
        results["weak"][jax.default_backend()] = weak(jax.default_backend(), on_accelerators, counts)
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(results, file, indent=1)
    if arguments.plot:
        plot(results, arguments.plot)


if __name__ == "__main__":
    main()
