"""Lineage-generations per second of the tabular loop, ours beside its rivals in the same run.

One lineage-generation: draw n counts from α p* + (1 − α) p_{t−1} over V tokens, refit. Rivals make the same draws:
NumPy's `Generator.multinomial` on one core and on all cores, and `jax.random.multinomial`. Compile time apart.

    python benchmarks/throughput.py [--json out.json]
"""

import argparse
import functools
import json
import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import jaxcollapse as jc

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
WORKLOADS = {  # vocabulary, sample size, lineages a call, generations a call
    "R1 V=1000 n=10^4": (1000, 10**4, 512, 20),
    "map V=256 n=20": (256, 20, 1024, 40),
    "map V=256 n=10^6": (256, 10**6, 1024, 40),
    "R2 V=50 n=10^3": (50, 10**3, 4096, 40),
}
ALPHA = 0.1


def zipf(vocab):
    p = 1 / np.arange(1, vocab + 1)
    return p / p.sum()


def numpy_loop(seed, vocab, n, lineages, generations):
    rng, q = np.random.default_rng(seed), zipf(vocab)
    p = np.broadcast_to(q, (lineages, vocab))
    for _ in range(generations):
        p = rng.multinomial(n, ALPHA * q + (1 - ALPHA) * p) / n


def jax_loop(draw, vocab, n, lineages, generations):
    """The same loop, compiled for the sampler `draw(key, n, p)`; returns the executable and its compile seconds."""
    q = jnp.asarray(zipf(vocab), float)

    def lineage(key, n):
        def generation(p, t):
            counts = draw(jr.fold_in(key, t), n, ALPHA * q + (1 - ALPHA) * p)
            return counts.astype(q.dtype) / n.astype(q.dtype), None

        return jax.lax.scan(generation, q, jnp.arange(generations))[0]

    start = time.perf_counter()
    run = jax.jit(jax.vmap(lineage, (0, None))).lower(jr.split(jr.key(0), lineages), jnp.asarray(n)).compile()
    return run, time.perf_counter() - start


def rate(call, work, streams=1, repeats=3):
    """Median and range of lineage-generations per second over repeats, `streams` calls at a time."""
    seen = []
    with ThreadPoolExecutor(streams) as pool:
        for repeat in range(repeats):
            start = time.perf_counter()
            list(pool.map(call, range(repeat * streams, (repeat + 1) * streams)))
            seen.append(streams * work / (time.perf_counter() - start))
    return float(np.median(seen)), min(seen), max(seen)


def measure(vocab, n, lineages, generations, with_jax_random):
    """Rows of (name, rates, compile seconds) for one workload."""
    work = lineages * generations
    loop = functools.partial(numpy_loop, vocab=vocab, n=n, lineages=lineages, generations=generations)
    rows = [("NumPy, one core", rate(loop, work), 0.0)]
    rows.append((f"NumPy, {CORES} threads", rate(loop, work, CORES), 0.0))
    samplers = {"jaxcollapse": jc.sampling.multinomial}
    if with_jax_random:
        samplers["jax.random"] = lambda key, n, p: jr.multinomial(key, n.astype(p.dtype), p)
    for name, draw in samplers.items():
        few = lineages if name == "jaxcollapse" else 16
        run, seconds = jax_loop(draw, vocab, n, few, generations)
        keys = [jr.split(jr.key(i), few) for i in range(3 * CORES)]
        call = lambda i, run=run, keys=keys: jax.block_until_ready(run(keys[i], jnp.asarray(n)))
        call(0)
        for streams in {1, CORES} if name == "jaxcollapse" else {1}:
            label = f"{name}, {streams} stream{'s' * (streams > 1)}"
            rows.append((label, rate(call, few * generations, streams), seconds))
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", help="write the figures to this file")
    arguments = parser.parse_args()
    machine = {
        "device": str(jax.devices()[0]),
        "cores": CORES,
        "machine": platform.machine(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "numpy": np.__version__,
    }
    print(" ".join(f"{name}={value}" for name, value in machine.items()))
    results = {"machine": machine, "workloads": {}}
    for name, workload in WORKLOADS.items():
        rows = measure(*workload, with_jax_random=name.startswith("R1"))
        base = rows[0][1][0]
        print(f"\n{name}\n{'':24}{'lineage-gen/s':>14}{'ns/token':>10}{'ratio':>8}  {'range':<16}{'compile s':>9}")
        for label, (median, low, high), seconds in rows:
            spread = f"{low / base:.2f}–{high / base:.2f}"
            nanoseconds = 1e9 / median / workload[0]
            print(f"{label:24}{median:14,.0f}{nanoseconds:10.1f}{median / base:8.2f}  {spread:<16}{seconds:9.1f}")
        results["workloads"][name] = [{"name": r[0], "rates": r[1], "compile_seconds": r[2]} for r in rows]
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(results, file, indent=1)


if __name__ == "__main__":
    main()
