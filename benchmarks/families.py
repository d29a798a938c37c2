"""Lineage-generations per second of the Gaussian loop, beside a NumPy loop that draws its n samples, in one run.

    x_1..x_n ~ α N(0, I) + (1 − α) N(μ_{t−1}, Σ_{t−1}),   (μ_t, Σ_t) their mean and covariance,   α = 0.1

The NumPy loop draws n points on one core, as users do: the number of real ones, both parts, mean and covariance. Ours
draws their moments, in as many threads as there are cores (in one on an accelerator). Everybody takes its lineages from
the truth through GENERATIONS of them; the best of the batches tried is timed, in turns with NumPy, and ratios are taken
within a turn.

    against n                 ours at n = 10^2 … 10^8: the cost of a generation should not depend on n
    accumulate                seconds a generation early and late in a run of a thousand, which keeps all that was drawn
    gamma variates            ours beside jax.random.gamma and fixed rounds of Marsaglia and Tsang's rejection

    python benchmarks/families.py [--quick] [--json out.json]
"""

import argparse
import functools
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # NumPy's loop has one core in d dimensions too

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import jaxcollapse as jc
from jaxcollapse import _execute
from jaxcollapse.sampling import _gamma

ALPHA, GENERATIONS = 0.1, 20
REPEATS, SECONDS = 5, 0.3
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
WORKLOADS = {"d=1 n=10^4": (1, 10**4, (256, 1024, 4096)), "d=32 n=10^4": (32, 10**4, (16, 64, 256))}
ON_CPU = jax.default_backend() == "cpu"
STREAMS, WIDER = (CORES, 1) if ON_CPU else (1, 64)  # an accelerator has one stream, and wider batches
ROUNDS = 7  # of Marsaglia and Tsang's rejection from shape 8 on: all fail once in 10¹⁶ draws


class Program(NamedTuple):
    """`call(seed, n)` takes a batch of lineages through all generations and waits for them."""

    call: Callable[[int, int], Any]
    batch: int
    compile_seconds: float = 0.0


def numpy_program(d):
    """One lineage, point by point."""

    def call(seed, n):
        rng, mean, factor = np.random.default_rng(seed), np.zeros(d), np.eye(d)
        for _ in range(GENERATIONS):
            real = rng.binomial(n, ALPHA)
            x = rng.standard_normal((n, d))
            x[real:] = x[real:] * factor[0, 0] + mean if d == 1 else x[real:] @ factor.T + mean
            mean = x.mean(0)
            centred = x - mean
            cov = centred.T @ centred / n
            factor = np.sqrt(cov) if d == 1 else np.linalg.cholesky(cov)

    return Program(call, 1)


@functools.cache
def our_program(d, batch, regime=None, generations=GENERATIONS):
    """A batch of lineages, through the loop."""
    truth = jc.Normal(np.zeros(d), np.eye(d))

    def run(seed, n):
        loop = jc.Loop(truth, jc.Gaussian(), regime or jc.Replace(), jc.Constant(ALPHA), jc.Constant(n))
        record = lambda lineage, batch: lineage.model.factor[0, 0]
        return jc.ensemble(loop, generations, lineages=batch, key=jr.key(seed), record=record, record_at=(generations,))

    call, seconds = compiled(run, np.uint32(0), np.int32(10))
    return Program(call, batch, seconds)


def compiled(function, *examples):
    """(a call that waits, seconds to compile)."""
    start = time.perf_counter()
    executable = jax.jit(function).lower(*examples).compile(compiler_options=_execute.compiler_options())
    seconds = time.perf_counter() - start
    dtypes = [np.asarray(x).dtype for x in examples]
    call = lambda *given: jax.block_until_ready(executable(*(t.type(x) for t, x in zip(dtypes, given, strict=True))))
    return call, seconds


def rate(program, n, threads, seconds):
    """Lineage-generations per second of whole calls, one a thread or more, for that long."""
    start = time.perf_counter()

    def stream(thread):
        calls = 0
        while calls == 0 or time.perf_counter() - start < seconds:
            program.call(1000 * thread + calls, n)
            calls += 1
        return calls

    with ThreadPoolExecutor(threads) as pool:
        calls = sum(pool.map(stream, range(threads)))
    return calls * program.batch * GENERATIONS / (time.perf_counter() - start)


def measure(d, n, batches, repeats, seconds):
    """Rates of NumPy on one core and of ours on all, ratios within a turn."""
    numpy, programs = numpy_program(d), [our_program(d, WIDER * batch) for batch in batches]
    for program in (numpy, *programs):
        program.call(0, n)
    tried = {p.batch: rate(p, n, STREAMS, seconds) for p in programs}
    best = max(programs, key=lambda p: tried[p.batch])
    turns = np.array([(rate(numpy, n, 1, seconds), rate(best, n, STREAMS, seconds)) for _ in range(repeats)])
    ratio = turns[:, 1] / turns[:, 0]
    return {
        "numpy": turns[:, 0].tolist(),
        "ours": turns[:, 1].tolist(),
        "ratio": [float(f(ratio)) for f in (np.median, np.min, np.max)],
        "threads": STREAMS,
        "batch": best.batch,
        "tried": tried,
        "compile_seconds": best.compile_seconds,
    }


def against_n(d, batch, repeats, seconds, sizes):
    """Nanoseconds a lineage-generation of ours in one stream."""
    program = our_program(d, WIDER * batch)
    program.call(0, sizes[0])
    rates = np.median([[rate(program, n, 1, seconds) for n in sizes] for _ in range(repeats)], axis=0)
    return dict(zip(sizes, (1e9 / rates).tolist(), strict=True))


def accumulating(batch, repeats, generations, n=1000):
    """Nanoseconds a lineage-generation in the first tenth of an accumulating run, and in all of it."""
    batch *= WIDER
    short, long = (our_program(1, batch, jc.Accumulate(), g) for g in (generations // 10, generations))
    seconds = {}
    for name, program in (("first tenth", short), ("all", long)):
        program.call(0, n)
        seconds[name] = []
        for seed in range(repeats):
            start = time.perf_counter()
            program.call(seed, n)
            seconds[name].append(time.perf_counter() - start)
    early, whole = np.median(seconds["first tenth"]), np.median(seconds["all"])
    per = lambda s, g: float(1e9 * s / batch / g)
    tenth = generations // 10
    return {"early": per(early, tenth), "later": per(whole - early, generations - tenth), "generations": generations}


def rejection(key, shape):
    """Marsaglia and Tsang (ACM TOMS 26 (2000) 363) in ROUNDS rounds, small shapes by our way."""
    words = _gamma._words.cipher(key)
    small = shape < _gamma.STEPS
    boosted = jnp.where(small, shape + _gamma.STEPS, shape)
    d = boosted - 1 / 3
    c = 1 / jnp.sqrt(9 * d)
    accepted, drawn = jnp.zeros(shape.shape, bool), d
    for high, low in zip(*[iter(_gamma._blocks(words, shape.shape, 2 * ROUNDS))] * 2, strict=True):
        z, u = _gamma._from_words(*high), _gamma._uniform(low[0])
        v = (1 + c * z) ** 3
        fits = (v > 0) & (_gamma._log(u) < 0.5 * z * z + d - d * v + d * jnp.log(jnp.maximum(v, 1e-30)))
        drawn, accepted = jnp.where(fits & ~accepted, d * v, drawn), accepted | fits
    rest = _gamma._blocks(words, shape.shape, 2 * ROUNDS + _gamma.STEPS // 2)[2 * ROUNDS :]
    uniforms = [_gamma._uniform(word) for block in rest for word in block]
    start, fall = jnp.asarray(jnp.where(small, shape, 1.0)), jnp.zeros_like(shape)
    for i, u in enumerate(uniforms):
        fall = fall + _gamma._log(u) / (start + i)
    return drawn * jnp.where(small, _gamma._exp(fall), 1.0)


def gammas(lanes, repeats):
    """Nanoseconds a variate, one key a lane, by shape."""
    lanes *= WIDER
    keys, found = jr.split(jr.key(0), lanes), {}
    for name, draw in (("ours", jc.sampling.gamma), ("jax.random.gamma", jr.gamma), ("fixed rounds", rejection)):
        run = jax.jit(jax.vmap(draw))
        found[name] = {}
        for shape in (0.5, 4.5, 5000.0):
            shapes = jnp.full(lanes, shape)
            jax.block_until_ready(run(keys, shapes))
            times = []
            for _ in range(10 * repeats):
                start = time.perf_counter()
                jax.block_until_ready(run(keys, shapes))
                times.append(time.perf_counter() - start)
            found[name][str(shape)] = float(1e9 * np.median(times) / lanes)
    return found


def report(results):
    for name, row in results["workloads"].items():
        ratio, low, high = row["ratio"]
        ours, numpy = np.median(row["ours"]), np.median(row["numpy"])
        compiled = f"batch {row['batch']}, compiled in {row['compile_seconds']:.1f} s"
        print(
            f"{name:14} NumPy, one core {numpy:10,.0f} lineage-gen/s   ours, {row['threads']} threads {ours:12,.0f}   "
            f"ratio {ratio:.0f} ({low:.0f}–{high:.0f})   {compiled}"
        )
    for name, row in results["against_n"].items():
        print(f"{name}: ns a lineage-generation, one stream:", ", ".join(f"n={n:g} {t:.0f}" for n, t in row.items()))
    row = results["accumulate"]
    tenth = row["generations"] // 10
    print(f"accumulate, ns a lineage-generation: {row['early']:.0f} up to {tenth}, {row['later']:.0f} from there")
    for name, row in results["gamma"].items():
        print(f"gamma, {name:17}", ", ".join(f"a={a} {t:.0f} ns" for a, t in row.items()))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--json", type=Path, help="write the figures here")
    given = parser.parse_args()
    repeats, seconds = (1, 0.02) if given.quick else (REPEATS, SECONDS)
    workloads = WORKLOADS if not given.quick else {"d=1 n=10^4": (1, 10**4, (64,)), "d=3 n=10^3": (3, 10**3, (16,))}
    sizes = [10**k for k in ((2, 6) if given.quick else range(2, 9))]
    batches = {1: workloads["d=1 n=10^4"][2][0]} if given.quick else {1: 1024, 32: 64}
    results = {
        "machine": {"platform": platform.platform(), "cores": CORES, "device": jax.devices()[0].device_kind},
        "versions": {name: version(name) for name in ("jax", "jaxlib", "numpy")},
        "workloads": {name: measure(*work, repeats, seconds) for name, work in workloads.items()},
        "against_n": {f"d={d}": against_n(d, batch, repeats, seconds, sizes) for d, batch in batches.items()},
        "accumulate": accumulating(64 if given.quick else 1024, repeats, 100 if given.quick else 1000),
        "gamma": gammas(256 if given.quick else 4096, repeats),
    }
    report(results)
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
