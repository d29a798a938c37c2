"""Fits per second of softmax lineages side by side, beside Python loops over the same models, in one run.

    a generation: n = 1000 draws from α p* + (1 − α) softmax(z), α = 0.1, then STEPS steps of Adam from z = 0 on counts

    ours             `jc.ensemble` of L lineages, side by side in one program
    one by one       `jc.simulate`, compiled once, for each lineage in turn
    step by step     a Python loop over lineages, generations and steps, each step a compiled JAX function
    NumPy, PyTorch   the same loop by hand; PyTorch, on one thread, where it is installed

Transformers, training tokens per second, and a whole run of 32 lineages (some 13 minutes): see
`neural_transformer.py`, the second and third part of the same run.

    python benchmarks/neural.py [--only softmax|transformer|lineages] [--quick] [--json out.json]
"""

import argparse
import functools
import importlib.util
import json
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax

import jaxcollapse as jc

V, N, ALPHA, STEPS, RATE, GENERATIONS = 64, 1000, 0.1, 150, 0.1, 5
TURNS = 5
P_STAR = np.asarray(jc.zipf(V).probs, float) / np.asarray(jc.zipf(V).probs, float).sum()


def loop():
    learner = jc.Softmax(steps=STEPS, rate=RATE)
    return jc.Loop(jc.zipf(V), learner, jc.Replace(), jc.Constant(ALPHA), jc.Constant(N))


def ours(lineages):
    """Side by side: compiled, and a call that waits."""
    record = lambda lineage, batch: lineage.model.probs[0]
    run = lambda key: jc.ensemble(loop(), GENERATIONS, lineages=lineages, key=key, record=record)[1]
    return compiled(run)


def one_by_one():
    record = lambda lineage, batch: lineage.model.probs[0]
    return compiled(lambda key: jc.simulate(loop(), GENERATIONS, key=key, record=record)[1])


def compiled(run):
    start = time.perf_counter()
    executable = jax.jit(run).lower(jr.key(0)).compile()
    return lambda seed: jax.block_until_ready(executable(jr.key(seed))), time.perf_counter() - start


def by_hand(train):
    """A lineage by a Python loop: counts by NumPy, then `train(counts) -> probabilities`."""

    def call(seed):
        rng, probs = np.random.default_rng(seed), P_STAR
        for t in range(GENERATIONS + 1):
            mixture = P_STAR if t == 0 else ALPHA * P_STAR + (1 - ALPHA) * probs
            probs = np.asarray(train(rng.multinomial(N, mixture / mixture.sum()) / N), float)
            probs = probs / probs.sum()
        return probs

    return call


@functools.cache
def jax_step():
    optimiser = optax.adam(RATE)
    loss = lambda z, share: -jnp.sum(share * jax.nn.log_softmax(z))

    @jax.jit
    def step(z, state, share):
        change, state = optimiser.update(jax.grad(loss)(z, share), state)
        return optax.apply_updates(z, change), state

    return optimiser, step


def jax_steps(share):
    optimiser, step = jax_step()
    z = jnp.zeros(V)
    state, share = optimiser.init(z), jnp.asarray(share, jnp.float32)
    for _ in range(STEPS):
        z, state = step(z, state, share)
    return jax.nn.softmax(z)


def numpy_steps(share):
    z, m, s = np.zeros(V), np.zeros(V), np.zeros(V)
    for k in range(1, STEPS + 1):
        p = np.exp(z - z.max())
        p /= p.sum()
        gradient = p - share
        m, s = 0.9 * m + 0.1 * gradient, 0.999 * s + 0.001 * gradient**2
        z = z - RATE * (m / (1 - 0.9**k)) / (np.sqrt(s / (1 - 0.999**k)) + 1e-8)
    p = np.exp(z - z.max())
    return p / p.sum()


def torch_steps(share):
    torch = importlib.import_module("torch")

    z = torch.zeros(V, requires_grad=True)
    optimiser, share = torch.optim.Adam([z], lr=RATE), torch.as_tensor(share, dtype=torch.float32)
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = -(share * torch.log_softmax(z, 0)).sum()
        loss.backward()
        optimiser.step()
    return torch.softmax(z.detach(), 0).numpy()


def rivals():
    """name -> (call, lineages of a call, seconds to compile)."""
    found = {f"ours, {lineages} side by side": (*ours(lineages), lineages) for lineages in (64, 256)}
    found |= {"ours, one by one": (*one_by_one(), 1), "JAX, step by step": (by_hand(jax_steps), 0.0, 1)}
    found |= {"NumPy": (by_hand(numpy_steps), 0.0, 1)}
    if not importlib.util.find_spec("torch"):
        return found
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    return found | {f"PyTorch {torch.__version__}": (by_hand(torch_steps), 0.0, 1)}


def rate(call, lineages, seconds):
    """Fits per second."""
    start, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - start < seconds:
        call(calls)
        calls += 1
    return calls * lineages * (GENERATIONS + 1) / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=("softmax", "transformer", "lineages"))
    parser.add_argument("--quick", action="store_true", help="one short turn")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {jax.default_backend()}, jax {jax.__version__}, "
          f"NumPy {np.__version__}, optax {version('optax')}; V = {V}, {STEPS} steps a fit")  # fmt: skip
    rows, transformer = {}, importlib.import_module("neural_transformer")
    if options.only in (None, "softmax"):
        rows |= softmax_rates(*((1, 0.05) if options.quick else (TURNS, 1.0)))
    if options.only in (None, "transformer"):
        rows |= transformer.rates(options.quick)
    if options.only in (None, "lineages"):
        rows |= transformer.lineages(options.quick)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


def softmax_rates(turns, seconds):
    found = rivals()
    for call, *_ in found.values():
        call(0)
    rates = {name: [] for name in found}
    for _ in range(turns):
        for name, (call, _, lineages) in found.items():
            rates[name].append(rate(call, lineages, seconds))
    base = np.array(rates["JAX, step by step"])
    rows = {}
    for name, (_, compile_seconds, _) in found.items():
        ratio = np.array(rates[name]) / base
        rows[name] = {"fits_per_second": float(np.median(rates[name])), "compile_seconds": compile_seconds}
        rows[name]["ratio"] = [float(np.median(ratio)), float(ratio.min()), float(ratio.max())]
        print(
            f"{name:26s} {np.median(rates[name]):10.1f} fits/s   {np.median(ratio):7.2f} "
            f"({ratio.min():.2f}–{ratio.max():.2f}) times step by step   compiled in {compile_seconds:.1f} s"
        )
    return rows


if __name__ == "__main__":
    main()
