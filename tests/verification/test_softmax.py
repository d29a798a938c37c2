"""Softmax lineages against exact laws: tables where fits converge, a Markov chain where they stop. Run by hand:

    pytest tests/verification/test_softmax.py

The chain: one context, two tokens, α = 0. A fit from scratch to N of n draws is f(N/n), a number that SciPy's logistic
function gives without the package, so N_t is a Markov chain on 0 … n with rows Binomial(n, f(N/n)).
"""

import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys

import jax
import jax.random as jr
import numpy as np
import optax
import pytest
from scipy import special, stats

import jaxcollapse as jc
from tests.helpers import assert_mean

C = jc.Constant
FOLDER = pathlib.Path(__file__).parents[2] / "experiments"
RATE = 1.0


def experiment(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def squared_errors(loop, generations, lineages, key):
    record = lambda lineage, batch: jc.metrics.squared_error(lineage.model.probs, loop.target.probs)
    return jc.ensemble(loop, generations, lineages=lineages, key=key, record=record)[1]


@pytest.mark.parametrize("start", ["scratch", "previous"])
@pytest.mark.parametrize(("alpha", "n"), [(0.05, 1600), (0.2, 400), (0.8, 100)])
def test_converged_fits_are_tables_where_hardly_a_token_is_lost(start, alpha, n):
    """n α min p* = 8 for 5 tokens at least as frequent as 1 in 10; 4000 lineages, 20 generations."""
    p_star = jc.Categorical(np.array([0.4, 0.2, 0.15, 0.15, 0.1]))
    loop = jc.Loop(p_star, jc.Softmax(steps=300, start=start), jc.Replace(), C(alpha), C(n))
    with jax.enable_x64(True):
        exact = np.asarray(jc.metrics.diversity(p_star.probs) * jc.theory.risk(C(alpha), C(n), 20)[1:])
    assert_mean(squared_errors(loop, 20, 4000, jr.key(n)), exact)


def fitted(n, steps):
    """f(N/n) for N = 0 … n: W_1 − W_0 moves by 2 · rate · (share − f) a step, from 0."""
    share, logit = np.arange(n + 1) / n, np.zeros(n + 1)
    for _ in range(steps):
        logit = logit + 2 * RATE * (share - special.expit(logit))
    return special.expit(logit)


def diversity_of_the_chain(n, steps, first, generations):
    """E 2 f (1 − f) at t = 1 … T."""
    f, counts = fitted(n, steps), np.arange(n + 1)
    law, rows = stats.binom.pmf(counts, n, first), stats.binom.pmf(counts[None], n, f[:, None])
    found = []
    for _ in range(generations):
        law = law @ rows
        found.append(law @ (2 * f * (1 - f)))
    return np.array(found)


@pytest.mark.parametrize("steps", [1, 4, 16, 64])
def test_an_early_stop_follows_its_exact_chain_and_has_no_collapse(steps):
    n, generations, p = 12, 60, 0.7
    learner = jc.Softmax(optimiser=optax.sgd, rate=RATE, steps=steps)
    loop = jc.Loop(jc.Categorical(np.array([1 - p, p])), learner, jc.Replace(), C(0.0), C(n))
    record = lambda lineage, batch: jc.metrics.diversity(lineage.model.probs)
    found = jc.ensemble(loop, generations, lineages=4000, key=jr.key(steps), record=record)[1]
    exact = diversity_of_the_chain(n, steps, p, generations)
    assert_mean(found, exact)
    table = 2 * p * (1 - p) * (1 - 1 / n) ** (generations + 1)
    settled = diversity_of_the_chain(n, steps, p, 3000)[-1]
    assert settled > 3 * table and settled < 0.5 + 1e-9
    assert abs(diversity_of_the_chain(n, steps, 0.5, 3000)[-1] - settled) < 1e-6, "it forgets where it began"


def test_the_longer_the_training_the_lower_it_settles():
    settled = [diversity_of_the_chain(12, steps, 0.7, 3000)[-1] for steps in (1, 4, 16, 64, 256)]
    assert (np.diff(settled) < 0).all() and settled[-1] > 0


def test_logistic_regression_inflates_as_the_papers_say():
    module = experiment("logistic")
    with jax.numpy_dtype_promotion("standard"):
        run = jc.sweep(module.experiment, key=jr.key(1), n=[100_000.0])
    found, *_ = module.analyse(run)
    lineages = run.sizes["lineage"]
    for name, e in found.items():
        bound = stats.t.isf(5e-4 / (e["z"].size * len(found)), lineages - 1)
        assert abs(e["z"]).max() <= bound, name


def test_the_errors_of_an_early_stop_add_up():
    module = experiment("optimisation_error")
    with jax.numpy_dtype_promotion("standard"):
        run = jc.sweep(module.experiment, key=jr.key(2), **module.AXES)
    found = module.analyse(run)
    exact = [cell for cell in module.CELLS if cell[0]]
    z = np.abs([found["z"][cell] for cell in exact])
    assert z.max() <= stats.t.isf(5e-4 / z.size, run.sizes["lineage"] - 1)
    for cell in module.CELLS:
        if not cell[0]:
            np.testing.assert_allclose(found["mean"][cell], found["terms"][cell].sum(1), atol=2e-5)


N_ALPHA = ["n=100,1000", "alpha=0,0.1,0.3,1"]
DRY = {
    "a small sweep, where the compiler takes most": ("neural_phase_map", N_ALPHA, ["steps=2"]),
    "one whose blocks do": ("neural_phase_map", N_ALPHA, ["steps=2", "lineages=16384", "vocab=128"]),
    "transformers, whose program is large": ("neighbours", ["weight=0.25"], ["lineages=2"]),
    "beams": ("language_collapse", ["share=0.1"], ["lineages=2", "decodings='five beams'", "n=128", "written=99"]),
    "tables": ("accumulate_vs_replace", ["n=20,60"], ["lineages=1000"]),
    "experts": ("experts", ["alpha=0.1,1"], ["lineages=2", "n=64", "steps=2"]),
}


@pytest.mark.parametrize("case", DRY)
def test_a_dry_run_states_the_peak_within_30_per_cent(case, tmp_path):
    name, axes, settings = DRY[case]
    options = ["--store", str(tmp_path / "run"), *(f"--axis={axis}" for axis in axes)]
    options += [f"--set={setting}" for setting in ("generations=1", *settings)]
    command = [sys.executable, "-m", "jaxcollapse", "run", str(FOLDER / f"{name}.py"), *options]
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_COMPILATION", "XLA_"))}
    asked = {"env": plain, "cwd": FOLDER.parent, "text": True}
    said = subprocess.run([*command, "--dry-run", "--json"], capture_output=True, check=True, **asked)
    # By a small process of its own: a child begins with the peak of the one that starts it.
    measure = (
        "import resource, subprocess, sys\n"
        "subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    seen = subprocess.run([sys.executable, "-c", measure, *command], capture_output=True, check=True, **asked)
    peak, stated = 1024 * int(seen.stdout), json.loads(said.stdout)["peak_bytes"]
    print(f"{case}: stated {stated / 1e6:.0f} MB, measured {peak / 1e6:.0f} MB, {stated / peak - 1:+.0%}")
    assert 0.7 * peak < stated < 1.3 * peak


SWEEP = """
import sys

import jax.random as jr
import jaxcollapse as jc
from jaxcollapse._plan import plan
from jaxcollapse._sweep import stages

AXES = {"rate": [0.05, 0.1, 0.2], "alpha": [0.0, 0.1, 0.5, 1.0]}


def experiment(rate, alpha, *, key):
    learner = jc.Softmax(rate=rate, steps=30, batch_size=16, start="previous")
    loop = jc.Loop(jc.zipf(6), learner, jc.Accumulate(decay=0.5), jc.Constant(alpha), jc.Constant(40))
    record = lambda lineage, batch: lineage.model.probs
    return {"probs": jc.ensemble(loop, 10, lineages=16, key=key, record=record)[1]}


if __name__ == "__main__":
    for stage in stages(plan(experiment, AXES, key=jr.key(5), store=sys.argv[1], chunk=2)):
        print(stage.name, flush=True)
        if stage.name == "run" and stage.done == int(sys.argv[2]):
            sys.stdin.readline()
"""


def test_a_killed_sweep_of_trained_learners_goes_on_bit_for_bit(tmp_path):
    """Killed three times, each in another process, and beside it a sweep that is not."""
    file, store = tmp_path / "trained.py", tmp_path / "run"
    file.write_text(SWEEP)
    for done in (1, 2, 4):
        command = [sys.executable, str(file), str(store), str(done)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("run") and jc.open(store).done.sum() >= 2 * done:
                break
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert 8 <= int(jc.open(store).done.sum()) < 12
    for path in (store, tmp_path / "whole"):
        subprocess.run([sys.executable, str(file), str(path), "-1"], check=True, stdout=subprocess.DEVNULL)
    resumed, whole = jc.open(store), jc.open(tmp_path / "whole")
    assert bool(resumed.done.all()) and np.array_equal(resumed.probs, whole.probs)
