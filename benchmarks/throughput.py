"""Lineage-generations per second of the tabular loop, ours beside its rivals in the same run.

    p_0 = q,   N_t ~ Multinomial(n, α q + (1 − α) p_{t−1}),   p_t = N_t / n,   q = Zipf(1) over V tokens, α = 0.1

One lineage-generation is one such draw with its refit; everybody takes the lineages from p_0 through GENERATIONS of
them. With C contexts it is a whole table: n_c ~ Multinomial(n, π), π = Zipf(1), then every row's tokens from its own
mixture (row c of q is Zipf(1) moved on by c tokens); a row with n_c = 0 stays as it is.

The floor makes the same number of random words (two a token) and reads and writes the state once, p ← α q + (1 − α) p
with its last bit from the words: the faster of `jax.random.bits` and our own cipher, at our batch and streams.

Each tries its batches; then the best of each take turns, so that a machine that changes its speed does so for all.
Ratios are taken within a turn, ranges are over turns. "busy" is processor time over wall time: cores at work.

    python benchmarks/throughput.py [--only R1,R4] [--quick] [--json out.json] [--plot out.png]
"""

import argparse
import functools
import importlib
import importlib.util
import json
import math
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

import jaxcollapse as jc
from jaxcollapse import _execute
from jaxcollapse.sampling import _words

ALPHA, GENERATIONS = 0.1, 20
REPEATS, SECONDS = 5, 0.3
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
COMPILER_OPTIONS = _execute.compiler_options()  # those of `jc.sweep`
OPTIONAL = [name for name in ("numba", "torch") if importlib.util.find_spec(name)]
WIDER = 1 if jax.default_backend() == "cpu" else 16  # batches of an accelerator, of jax's and torch's too
STREAMS = {"one stream": 1} | ({"all cores": _execute.threads()} if _execute.threads() > 1 else {})


class Workload(NamedTuple):
    """The sizes of a lineage, and how many lineages a call ours tries."""

    vocab: int
    n: int
    batches: tuple[int, ...]
    contexts: int = 1


class Program(NamedTuple):
    """`call(seed, n)` takes a batch of lineages through all generations and waits for them."""

    call: Callable[[int, int], Any]
    batch: int
    compile_seconds: float = 0.0
    megabytes: float = 0.0  # arguments, results and scratch, where a compiler tells


SMALL = (256, 1024, 4096, 16384)
UNEVEN = (250, 1000, 4000, 16000)  # one row a token: rows of 2^k lanes share the sets of a cache
WORKLOADS = {
    "R1 V=1000 n=10^4": Workload(1000, 10**4, (1, 4, 16, 64, *SMALL)),
    "R2 V=50 n=20": Workload(50, 20, UNEVEN),
    **{f"R2 V=50 n=10^{k}": Workload(50, 10**k, UNEVEN) for k in (2, 3, 4, 6)},
    "R3 V=32768 n=10^6": Workload(32768, 10**6, (1, 4, 16, 64)),
    "R4 256x256 n=10^5": Workload(256, 10**5, (1, 4, 16, 64), contexts=256),
    "R5 V=10^4 n=10": Workload(10**4, 10, (4, 16, 64, 256)),
}


def laws(vocab, contexts):
    """q, `v` or `c v`, and π, `c` (None for one context)."""
    zipf = lambda size: 1 / np.arange(1, size + 1) / np.sum(1 / np.arange(1, size + 1))
    q = zipf(vocab)
    return (q, None) if contexts == 1 else (np.stack([np.roll(q, c) for c in range(contexts)]), zipf(contexts))


def numpy_program(vocab, contexts, batch):
    q, pi = laws(vocab, contexts)

    def call(seed, n):
        rng, p = np.random.default_rng(seed), np.broadcast_to(q, (batch, *q.shape))
        for _ in range(GENERATIONS):
            mixture = ALPHA * q + (1 - ALPHA) * p
            if pi is None:
                p = rng.multinomial(n, mixture) / n
            else:
                rows = rng.multinomial(n, pi, size=batch)
                fitted = rng.multinomial(rows, mixture) / np.maximum(rows, 1)[..., None]
                p = np.where(rows[..., None] > 0, fitted, p)

    return Program(call, batch)


def sampled(draw):
    """One generation with the sampler `draw(key, n, p)`."""

    def generation(key, n, q, pi, p):
        mixture = ALPHA * q + (1 - ALPHA) * p
        if pi is None:
            return draw(key, n, mixture).astype(p.dtype) / n.astype(p.dtype)
        key_rows, key = jr.split(key)
        rows = draw(key_rows, n, pi)[:, None]
        fitted = draw(key, rows[:, 0], mixture).astype(p.dtype) / jnp.maximum(rows, 1).astype(p.dtype)
        return jnp.where(rows > 0, fitted, p)

    return generation


def floored(words):
    """One generation of the floor, with two random words a token from `words(key, shape)`."""

    def generation(key, n, q, pi, p):
        high, low = words(key, p.shape)
        mixture = jax.lax.bitcast_convert_type(ALPHA * q + (1 - ALPHA) * p, jnp.uint32)
        return jax.lax.bitcast_convert_type(mixture ^ ((high ^ low) >> 31), p.dtype)

    return generation


def own_words(key, shape):
    place = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
    return _words.threefry(_words.cipher(key), jnp.uint32(_words.DOMAIN), place)


GENERATION = {
    "ours": sampled(jc.sampling.multinomial),
    "jax.random.multinomial": sampled(lambda key, n, p: jr.multinomial(key, n.astype(p.dtype), p)),
    "own cipher": floored(own_words),
    "jax.random.bits": floored(lambda key, shape: jr.bits(key, (2, *shape))),
}


@functools.cache
def jax_program(name, vocab, contexts, batch):
    q, pi = (None if law is None else jnp.asarray(law, jnp.float32) for law in laws(vocab, contexts))

    def lineage(key, n):
        step = lambda p, t: (GENERATION[name](jr.fold_in(key, t), n, q, pi, p), None)
        return jax.lax.scan(step, q, jnp.arange(GENERATIONS))[0]

    lineages = jax.jit(lambda seed, n: jax.vmap(lineage, (0, None))(jr.split(jr.key(seed), batch), n))
    start = time.perf_counter()
    run = lineages.lower(np.uint32(0), np.int32(0)).compile(compiler_options=COMPILER_OPTIONS)
    seconds, memory = time.perf_counter() - start, run.memory_analysis()
    parts = ("argument_size_in_bytes", "output_size_in_bytes", "temp_size_in_bytes")
    call = lambda seed, n: jax.block_until_ready(run(np.uint32(seed), np.int32(n)))
    return Program(call, batch, seconds, sum(getattr(memory, part, 0) for part in parts) / 2**20)


def numba_program(vocab, contexts, batch):
    """Conditional binomials token by token, compiled."""
    numba, (q, pi) = importlib.import_module("numba"), laws(vocab, contexts)
    q, pi = np.atleast_2d(q), np.ones(1) if pi is None else pi

    @numba.njit(nogil=True)
    def deal(n, weights, counts):
        total, counts[:] = weights.sum(), 0
        for i in range(len(weights) - 1):
            if n == 0:
                return
            counts[i] = np.random.binomial(n, min(weights[i] / total, 1.0))  # noqa: NPY002
            n, total = n - counts[i], total - weights[i]
        counts[-1] = n

    @numba.njit(nogil=True)
    def lineages(seed, n, batch):
        np.random.seed(seed)  # noqa: NPY002
        rows, counts, p = np.zeros(len(pi), np.int64), np.zeros(q.shape[1], np.int64), np.empty_like(q)
        for _ in range(batch):
            p[:] = q
            for _ in range(GENERATIONS):
                deal(n, pi, rows)
                for c in range(len(pi)):
                    if rows[c] > 0:
                        deal(rows[c], ALPHA * q[c] + (1 - ALPHA) * p[c], counts)
                        p[c] = counts / rows[c]

    start = time.perf_counter()
    lineages(0, 1, 0)
    return Program(lambda seed, n: lineages(seed, n, batch), batch, time.perf_counter() - start)


def torch_program(draw, vocab, batch):
    """One context; `draw(torch, n, p)` gives the counts for the laws p, `batch v`."""
    torch = importlib.import_module("torch")
    q = torch.tensor(laws(vocab, 1)[0], dtype=torch.float32, device="cuda" if torch.cuda.is_available() else "cpu")

    def call(seed, n):
        torch.manual_seed(seed)
        p = q.expand(batch, -1)
        for _ in range(GENERATIONS):
            p = draw(torch, n, ALPHA * q + (1 - ALPHA) * p) / n
        return p[0, 0].item()  # waits for an accelerator

    return Program(call, batch)


def torch_binomials(torch, n, p):
    """A chain of conditional binomials, all lineages at once."""
    after = p.T.flip(0).cumsum(0).flip(0)
    left, counts = torch.full_like(p[:, 0], n), []
    for share in (p.T / after).clamp(max=1)[:-1]:
        counts.append(torch.binomial(left, share))
        left = left - counts[-1]
    return torch.stack([*counts, left], dim=1)


def torch_categorical(torch, n, p):
    """n draws one by one, counted."""
    draws = torch.multinomial(p, n, replacement=True)
    return torch.zeros_like(p).scatter_add_(1, draws, torch.ones_like(p[:, :1]).expand(draws.shape))


def rivals(work):
    """(name, threads, its programs) of everybody who runs this workload, NumPy on one core first."""
    sizes, cells = (work.vocab, work.contexts), work.vocab * work.contexts
    most = WIDER * work.batches[-1]
    programs = lambda build, *batches: [build(b) for b in sorted({max(1, min(b, most)) for b in batches})]
    wide = lambda build, *batches: programs(build, *(WIDER * b for b in batches))
    numpy = programs(lambda b: numpy_program(*sizes, b), 2**14 // cells, 2**17 // cells)  # in the cache and beyond it
    yield "NumPy, one core", 1, numpy
    if CORES > 1:
        yield "NumPy, all cores", CORES, numpy
    for name, threads in STREAMS.items():
        yield f"ours, {name}", threads, wide(lambda b: jax_program("ours", *sizes, b), *work.batches)
    if "numba" in OPTIONAL:
        yield "numba, one core", 1, programs(lambda b: numba_program(*sizes, b), 2**14 // cells)
    if work.contexts > 1 or work.vocab > 1000:
        return  # what follows takes a hundred times longer
    name = "jax.random.multinomial"
    yield name, 1, wide(lambda b: jax_program(name, *sizes, b), 8, 64)
    if "torch" in OPTIONAL:
        yield "torch.binomial", 1, wide(lambda b: torch_program(torch_binomials, work.vocab, b), 64, 512)
    if "torch" in OPTIONAL and work.n <= 10**4:
        yield "torch.multinomial", 1, wide(lambda b: torch_program(torch_categorical, work.vocab, b), 8, 64)


def rate(program, n, threads, seconds):
    """Lineage-generations per second of whole calls, one a thread or more, for that long; and how many cores worked."""
    start, processor = time.perf_counter(), time.process_time()

    def stream(thread):
        calls = 0
        while calls == 0 or time.perf_counter() - start < seconds:
            program.call(1000 * thread + calls, n)
            calls += 1
        return calls

    with ThreadPoolExecutor(threads) as pool:
        calls = sum(pool.map(stream, range(threads)))
    wall = time.perf_counter() - start
    return calls * program.batch * GENERATIONS / wall, (time.process_time() - processor) / wall


def fastest(programs, n, threads, seconds):
    """The best program, and for every batch the median rate of three timings."""
    for program in programs:
        program.call(0, n)  # first calls set things up
    turns = [[rate(program, n, threads, seconds)[0] for program in programs] for _ in range(3)]
    rates = np.median(turns, axis=0).tolist()
    return programs[int(np.argmax(rates))], {p.batch: r for p, r in zip(programs, rates, strict=True)}


def measure(work, repeats, seconds):
    """A row of figures for everybody."""
    entered = {name: (k, *fastest(programs, work.n, k, seconds)) for name, k, programs in rivals(work)}
    for name, threads in STREAMS.items():
        sizes = work.vocab, work.contexts, entered[f"ours, {name}"][1].batch
        floors = [jax_program(words, *sizes) for words in ("own cipher", "jax.random.bits")]
        entered[f"floor, {name}"] = threads, *fastest(floors, work.n, threads, seconds)
    turn = lambda: {name: rate(program, work.n, k, seconds) for name, (k, program, _) in entered.items()}
    turns = [turn() for _ in range(repeats)]
    rows = {}
    for name, (threads, program, tried) in entered.items():
        rates, busy = np.array([turn[name] for turn in turns]).T
        ratio = rates / [turn["NumPy, one core"][0] for turn in turns]
        rows[name] = {
            "threads": threads,
            "batch": program.batch,
            "rates": rates.tolist(),
            "ns_per_token": 1e9 / float(np.median(rates)) / (work.vocab * work.contexts),
            "ratio": [float(f(ratio)) for f in (np.median, np.min, np.max)],
            "busy_cores": float(np.median(busy)),
            "compile_seconds": program.compile_seconds,
            "megabytes": program.megabytes,
            "tried": tried,
        }
        if name.startswith("ours"):
            floor = [turn[name.replace("ours", "floor")][0] for turn in turns]
            rows[name]["floors"] = float(np.median(floor / rates))
    return rows


def against_n(work, batch, repeats, seconds):
    """Nanoseconds per token of ours in one stream, for n = 10^2 … 10^9."""
    program, sizes = jax_program("ours", work.vocab, 1, batch), [10**k for k in range(2, 10)]
    rates = np.median([[rate(program, n, 1, seconds)[0] for n in sizes] for _ in range(repeats)], axis=0)
    return dict(zip(sizes, (1e9 / rates / work.vocab).tolist(), strict=True))


def report(title, rows):
    print(
        f"\n{title:23}{'lineage-gen/s':>14}{'ns/token':>10}{'ratio':>8}  {'range':13}{'floors':>7}{'busy':>6}"
        f"{'batch':>7}{'compile s':>11}{'MB':>8}"
    )
    for name, row in rows.items():
        (ratio, low, high), floors = row["ratio"], row.get("floors", math.nan)
        print(
            f"{name:23}{np.median(row['rates']):14,.0f}{row['ns_per_token']:10.2f}{ratio:8.3g}  "
            f"{f'{low:.3g}–{high:.3g}':13}{floors:7.1f}{row['busy_cores']:6.1f}{row['batch']:7}"
            f"{row['compile_seconds']:11.1f}{row['megabytes']:8.1f}".replace("nan", "   "),
            flush=True,
        )


def machine():
    cpuinfo = Path("/proc/cpuinfo")
    models = [line for line in cpuinfo.read_text().splitlines() if "model name" in line] if cpuinfo.exists() else []
    return {
        "device": jax.devices()[0].device_kind,
        "processor": models[0].split(": ")[1] if models else platform.processor(),
        "cores": CORES,
        "python": platform.python_version(),
        "jaxcollapse": jc.__version__,
        **{package: version(package) for package in ("jax", "jaxlib", "numpy", *OPTIONAL)},
        "compiler_options": COMPILER_OPTIONS,
    }


def draw(results, path):
    """The first workload against the batch, and everybody's ratio to one NumPy core."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 6.5), layout="constrained")
    workloads = results["workloads"]
    names = list(dict.fromkeys(name for rows in workloads.values() for name in rows))
    ours = [name for name in names if name.startswith("ours")]
    others = [name for name in names if not name.startswith(("ours", "floor"))]
    # Okabe and Ito's colours, safe for the colour-blind.
    palette = ("#000000", "#666666", "#D55E00", "#CC79A7", "#009E73", "#E69F00")
    looks = dict(zip(others, zip(palette, "xsDv*P", strict=False), strict=False))
    looks |= dict(zip(ours, (("#56B4E9", "o"), ("#0072B2", "^")), strict=False))

    title, rows = next(iter(workloads.items()))
    for name, row in rows.items():
        colour, marker = looks.get(name, ("#999999", ""))
        if name in ours:
            left.plot(list(row["tried"]), list(row["tried"].values()), marker=marker, color=colour, lw=2, label=name)
        else:  # the marker is for the legend only
            line = {"ls": "--", "marker": marker} if name in others else {"ls": ":" if "one" in name else "-."}
            left.axhline(np.median(row["rates"]), color=colour, markevery=(9, 9), label=name, **line)
    left.set(xscale="log", yscale="log", xlabel="lineages per call of ours", ylabel="lineage-generations per second")
    left.set_title(f"{title} (lines: the rivals at their best batch)")

    shown = others[1:] + ours
    for place, rows in enumerate(workloads.values()):
        right.axhspan(place - 0.5, place + 0.5, color="#f2f2f2" if place % 2 else "white", zorder=0)
        for i, name in enumerate(name for name in shown if name in rows):
            (middle, low, high), (colour, marker) = rows[name]["ratio"], looks[name]
            y = place + 0.8 * ((i + 0.5) / len(shown) - 0.5)
            right.errorbar(middle, y, xerr=[[middle - low], [high - middle]], fmt=marker, color=colour, capsize=2)
    for ratio in (1, 10):
        right.axvline(ratio, color="black", lw=0.8, zorder=1)
    right.set(xscale="log", xlabel="throughput / throughput of one NumPy core (median and range over turns)")
    right.set(yticks=range(len(workloads)), yticklabels=list(workloads), ylim=(len(workloads) - 0.5, -0.5))
    right.xaxis.set_major_formatter("{x:g}×")
    right.set_title(f"{results['machine']['device']}, {results['machine']['processor']}, {CORES} core(s)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=5)
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="R1,R2,R3,R4,R5", help="workloads, such as R1,R4")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--plot", type=Path, help="draw them to this file")
    arguments = parser.parse_args()
    chosen = {name: work for name, work in WORKLOADS.items() if name.split()[0] in arguments.only.split(",")}
    if not chosen:
        parser.error(f"--only: got {arguments.only}, expected some of R1, R2, R3, R4, R5; try --only R1,R4")
    repeats, seconds = (2, 0.0) if arguments.quick else (REPEATS, SECONDS)
    results: dict[str, Any] = {"machine": machine(), "generations": GENERATIONS, "quick": arguments.quick}
    print(" ".join(f"{name}={value}" for name, value in results["machine"].items()))
    print(*(f"{name}: not installed\n" for name in ("numba", "torch") if name not in OPTIONAL), sep="", end="")
    results["workloads"] = {}
    for name, work in chosen.items():
        if arguments.quick:
            work = Workload(min(work.vocab, 50), min(work.n, 10**4), work.batches[:2], min(work.contexts, 4))
        rows = results["workloads"][name] = measure(work, repeats, seconds)
        report(name, rows)
        if name.startswith("R1"):
            results["R1_ns_per_token"] = against_n(work, rows["ours, one stream"]["batch"], repeats, seconds)
            print("ours against n:", *(f"{k:.0e} {v:.2g}" for k, v in results["R1_ns_per_token"].items()), sep="  ")
        if arguments.json:
            arguments.json.write_text(json.dumps(results, indent=1))  # what there is so far
    process, device = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, jax.devices()[0].memory_stats() or {}
    results["peak_megabytes"] = {"process": process / 2**10, "device": device.get("peak_bytes_in_use", 0) / 2**20}
    print("\npeak MB:", *(f"{name} {value:,.0f}" for name, value in results["peak_megabytes"].items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    if arguments.plot:
        draw(results, arguments.plot)


if __name__ == "__main__":
    main()
