"""The shipped experiments on small grids: one compile, the same draws in every chunk, summary and figure."""

import functools
import importlib.util
import io
import pathlib

import jax
import jax.random as jr
import numpy as np
import pytest
from rich.console import Console

import jaxcollapse as jc
from jaxcollapse import _program
from jaxcollapse._plan import plan

FOLDER = pathlib.Path(__file__).parent.parent / "experiments"
GRID = {"decay": np.linspace(0, 2, 3), "growth": np.linspace(0, 2, 4)}


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def said(renderable):
    console = Console(width=120, file=io.StringIO())
    console.print(renderable)
    return console.file.getvalue()


@pytest.mark.parametrize("name", sorted(file.stem for file in FOLDER.glob("*.py") if file.stem != "build_corpora"))
def test_every_experiment_can_be_traced_and_is_in_the_list(name):
    module = load(name)
    with jax.numpy_dtype_promotion("standard"):  # as in a user's file
        program = _program.trace(plan(module.experiment, module.AXES, key=jr.key(0)))
    assert program.variables and callable(module.summary) and callable(module.figure)
    assert f"| `{name}.py` |" in (FOLDER / "README.md").read_text()


@pytest.fixture(scope="module")
def phase_boundary():
    return load("phase_boundary")


@pytest.fixture(scope="module")
def small_map(phase_boundary):
    traces = []

    def counted(decay, growth, *, key, generations=30, lineages=32, order=1, vocab=256, a0=0.5, n0=20.0):
        traces.append(1)
        settings = {"generations": generations, "lineages": lineages, "order": order, "vocab": vocab}
        return phase_boundary.experiment(decay, growth, key=key, a0=a0, n0=n0, **settings)

    run = jc.sweep(counted, key=jr.key(0), chunk=5, **GRID)
    return run, len(traces)


def test_a_whole_map_is_one_compile(small_map):
    run, traces = small_map
    assert traces == 1 and run.risk.shape == (3, 4, 32, run.sizes["generation"])
    assert bool(run.valid.all())


def test_the_phase_map_agrees_with_its_theory_and_is_drawn(phase_boundary, small_map):
    run, _ = small_map
    text = said(phase_boundary.summary(run))
    for word in ("recovery", "plateau", "frozen", "collapse", "undetermined", "worst |z|", "boundary r_T = 1/2"):
        assert word in text
    found = phase_boundary.analyse(run)
    z = abs(found["estimate"].mean - found["r"]) / found["estimate"].se
    assert z[found["lineages"] * (1 - found["r"]) >= 20].max() < 5
    assert len(phase_boundary.figure(run).axes) >= 3


def test_improvement_follows_the_threshold_and_is_drawn():
    improvement = load("improvement")
    experiment = functools.partial(improvement.experiment, generations=6, lineages=100)
    run = jc.sweep(experiment, key=jr.key(0), alpha=[0.1, 0.5, 1.0], factor=[1.0, 4.0, 20.0])
    found = improvement.analyse(run)
    first = improvement.VERDICTS[0]
    threshold = (1 + 99 / (found["alpha_t"][..., 1] * (2 - found["alpha_t"][..., 1]))) < found["n_t"][..., 1]
    assert (found["exact verdicts"][first] == threshold).all()
    assert (found["simulated verdicts"][first] == threshold)[found["clear"]].all()
    assert "oracle" in said(improvement.summary(run))
    assert len(improvement.figure(run).axes) == 11  # six panels, five colour bars
