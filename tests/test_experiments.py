"""The shipped experiments on small grids: one compile, the same draws in every chunk, summary and figure."""

import functools
import importlib.util
import io
import json
import pathlib
import re
import warnings

import jax
import jax.random as jr
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
from rich.console import Console

import jaxcollapse as jc
from jaxcollapse import _program
from jaxcollapse._plan import plan

FOLDER = pathlib.Path(__file__).parent.parent / "experiments"
GRID = {"decay": np.linspace(0, 2, 3), "growth": np.linspace(0, 2, 4)}
# A small grid, small settings, and exact or published values that the summary must name, computed without the package.
SMALL = {
    "accumulate_vs_replace": (
        {"n": [20.0, 60.0]},
        {"generations": 5, "lineages": 24, "vocab": 5, "dimension": 3},
        ("1.6449", "2.9348", "5.2982", "6.0000", "1.4914"),  # π²/6, π²/2 − 2, n (1 − (1 − 1/n)⁶), t + 1, Σ 1/i²
    ),
    "golden_ratio": (
        {"weight": np.linspace(0.2, 1, 5), "ratio": [1.0, 4.0]},
        {"generations": 4, "lineages": 24},
        ("0.618034", "0.828427", "0.6170"),  # (√(k² + 4k) − k)/2 at k = 1 and 4; at n_r = n_s = 100
    ),
    "gaussian_collapse": (
        {"n": [10.0]},
        {"generations": 5, "lineages": 100},
        ("0.85649", "-0.34562", "-0.66170", "0.90646", "0.53144"),  # Π (1 − 1/(n j²)), E ln σ, k/n + 2(1 − c₄^k), .9⁶
    ),
    "rare_tokens": (
        {"alpha": [0.0, 0.5], "exponent": [1.0, 2.0]},
        {"generations": 4, "lineages": 24, "n": 50, "octaves": 4},
        ("8.452", "0.2758", "12.74", "0.07868", "5.441"),  # powers of two-token chains of 51 states
    ),
    "strategies": (
        {"decay": [0.25, 0.5], "growth": [0.0, 1.0]},
        {"generations": 30, "lineages": 24},
        ("0.12", "0.0158", "0.00456", "0.221", "0.0105", "0.0108"),  # the recursions of A and of B
    ),
    "three_errors": (
        {"statistical": [0, 1], "expressivity": [0, 1], "approximation": [0, 1]},
        {"generations": 4, "lineages": 24, "fits": 4},
        ("0.00523",),  # expressivity alone: 2 (0.3 · 0.4² + 0.2 · 0.6²)(2 · 0.1² + 2 · 0.03²)
    ),
    "temperature": (
        {"vocab": [2, 4], "temperature": [0.75, 0.79, 0.9]},
        {"generations": 40, "lineages": 8},
        ("0.748589", "0.714185", "T = 0.8000"),  # the map's fixed points, by iteration; 1 − α
    ),
    "optimal_schedule": (
        {"growth": [-0.5, 0.0], "price": [0.03, 0.3]},
        {"generations": 6, "lineages": 24},
        ("0.9371456", "1.3011149", "0.6959209", "0.9002005"),  # L-BFGS-B on differences of the recursion
    ),
    "neural_phase_map": (
        {"n": [10.0, 100.0], "alpha": [0.0, 0.5]},
        {"generations": 6, "lineages": 24, "vocab": 6, "steps": 3},
        ("0.522", "0.0679", "0.129", "0.0133"),  # 1 − (1 − 1/n)⁷; g ← (1 − 1/n)(3/4 + g/4) from 1 − 1/n, six times
    ),
    "neural_phase_transformer": (
        {"n": [10.0, 40.0], "alpha": [0.0, 0.5]},
        {"generations": 3, "lineages": 3, "vocab": 5, "length": 4, "width": 4, "steps": 2, "written": 99},
        ("0.4856", "0.2303", "0.1638", "0.0624"),  # sums over Binomial(30 or 120, π_c) of E[1/m], E[1 − 1/m], P(0)
    ),
    "language_collapse": (
        {"share": [0.1]},
        {"decodings": "sampling", "generations": 3, "lineages": 3, "n": 128, "length": 24, "steps": 6, "written": 99},
        ("2,304", "0.8 epochs", "1%"),  # 6 × 16 × 24 letters, 6 × 16/128; j/(m + 1) with m = 99
    ),
    "distillation": (
        {"n": [10.0, 100.0], "alpha": [0.0, 0.5]},
        {"generations": 4, "lineages": 6, "vocab": 5, "steps": 3, "stop": 2},
        ("0.41", "0.129", "0.0691", "0.049", "0.0133", "0.0067"),  # both recursions, four times from 1/n
    ),
    "neighbours": (
        {"weight": [0.0, 0.5]},
        {"generations": 3, "lineages": 3, "n": 8, "stored": 8, "steps": 2, "width": 4},
        ("0.241", "0.129", "0.079", "0.134", "0.058"),  # theory.retrieval, 15 words, by hand
    ),
    "thresholds": (
        {"alpha": [0.0, 1.0]},
        {"generations": 2, "widths": (4,), "ranks": (1, 2), "vocab": 4, "keys": 16, "length": 4, "n": 8},
        ("0.2500", "0.0625", "0.1250"),  # chance: 1/V, 1/K; φ_c w: the largest of w where φ_c > 0, the least below, 2/K
    ),
    "experts": (
        {"alpha": [0.0, 0.1, 1.0]},
        {"generations": 3, "lineages": 3, "n": 8, "length": 4, "width": 4, "hidden": 8, "experts": 2, "steps": 2},
        ("2.420",),  # (H(π) + 3 Σ_c π_c H(P_c))/4 of the shipped counts of letters
    ),
    "vae_digits": (
        {"noise": [0.0, 1.0], "alpha": [0.0, 0.5]},
        {"generations": 4, "lineages": 3},
        ("12.902", "0.2721", "0.639", "0.503", "0.608", "0.912"),  # PCA by matrices, as in the file's first lines
    ),
    "real_text": (
        {"corpus": [0, 1]},
        {"n": 400, "vocab": 24, "generations": 8, "lineages": 60, "blocks": 2, "length": 4},
        ("0.0521", "0.2209", "11.8", "0.0676", "0.1500", "5.7"),  # generation 0: E[1/m], E (1 − p)^m; exp H(p*)
    ),
    "data_exhaustion": (
        {"scenario": [2, 3, 6, 7, 9, 10, 11]},
        {"generations": 7, "lineages": 500, "vocab": 8},
        ("0.6506", "0.5371", "1.3494", "2028.1"),  # large n: (B) at h = 0, 10 %, (A) at 0; ln 30/ln(2.4/1.05)
    ),
    "real_share": (
        {"n": [20.0]},
        {"generations": 4, "lineages": 24, "vocab": 5, "dimension": 3},
        ("4.524", "0.7738", "3.644"),  # 20 (1 − .95⁵), .95⁵; 1/n + (1 − 1/n) ρ₄, 18 new and 2 kept of 20
    ),
    "logistic": (
        {"n": [50.0, 200.0]},
        {"generations": 5, "lineages": 24, "steps": 3},
        ("6.0000", "1.4914", "2.4742", "0.0613", "0.3106", "0.8317"),  # t + 1, Σ 1/i², n a + (g − 1)/g; tr JCJᵀH / k
    ),
    "optimisation_error": (
        {"statistical": [0, 1], "expressivity": [0, 1], "optimisation": [0, 1]},
        {"generations": 4, "lineages": 24, "steps": 12},
        ("5.23", "7.62", "9.07", "9.80", "6.20"),  # 1000 × tables' recursion, and descent without noise
    ),
    "calibration": (
        {"alpha": [0.0, 0.5]},
        {"generations": 3, "lineages": 4, "n": 500, "steps": 2, "transformers": 2, "transformer_steps": 2, "width": 4},
        ("0.4667", "0.6981", "0.1286", "0.8391"),  # V/(V + Σ π H r), r by sums of scipy.stats.binom; V/(V + H), H
    ),
    "network": (
        {"graph": [0, 4], "alpha": [0.0, 0.02]},
        {"generations": 5, "lineages": 24, "n": 10, "vocab": 5},
        ("0.4686", "0.1549"),  # alone: 1 − .9⁶; complete: m + (1 − m)/n, m = 1 − (1 − 1/80)⁵
    ),
}


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def said(renderable, width=120):
    console = Console(width=width, file=io.StringIO())
    console.print(renderable)
    return console.file.getvalue()


# They take ten seconds and more to trace and to draw: tests/verification/test_neural_experiments.py.
DEAR = {"calibration", "distillation", "experts", "language_collapse", "logistic", "neighbours"}
DEAR |= {"data_exhaustion", "neural_phase_transformer", "vae_digits"}
EXPERIMENTS = {file.stem for file in FOLDER.glob("*.py") if not file.stem.endswith("_figures")} - {"build_corpora"}


def test_every_experiment_is_in_the_list():
    listed = (FOLDER / "README.md").read_text()
    assert not [name for name in EXPERIMENTS if f"| `{name}.py` |" not in listed]


@pytest.mark.parametrize("name", sorted(EXPERIMENTS - SMALL.keys() - {"phase_boundary", "improvement"}))
def test_every_experiment_can_be_traced(name):
    module = load(name)
    with jax.numpy_dtype_promotion("standard"):  # as in a user's file
        program = _program.trace(plan(module.experiment, module.AXES, key=jr.key(0)))
    assert program.variables and callable(module.summary) and callable(module.figure)


@pytest.mark.parametrize("name", [name for name in SMALL if name not in DEAR])
def test_every_experiment_names_its_exact_values_and_is_drawn_legibly(name):
    assert_reported(name)


def assert_reported(name):
    module, (axes, settings, values) = load(name), SMALL[name]
    run = made_up(module, axes, settings)
    text = said(module.summary(run), width=80)  # as in a terminal, where what is too wide ends in "…"
    assert not re.search(r"\bnan\b|…", text), text
    assert not [value for value in values if value not in text], text
    assert_drawn(module, run)


def made_up(module, axes, settings):
    """A run of an experiment that is traced and not compiled, which takes minutes: random numbers in its places."""
    with jax.numpy_dtype_promotion("standard"):  # as in a user's file
        planned = plan(functools.partial(module.experiment, **settings), axes, key=jr.key(0))
        variables = _program.trace(planned).variables
    uniform, sizes = np.random.default_rng(0).uniform, tuple(len(values) for values in axes.values())
    data = {name: ((*axes, *v.dims), uniform(0.2, 0.8, (*sizes, *v.shape))) for name, v in variables.items()}
    if data.pop("generation", None):
        times = getattr(module, "times", lambda last: np.arange(1, last + 1))(settings["generations"])
        axes = axes | {"generation": times}
    return xr.Dataset(data, coords=axes, attrs={"settings": json.dumps(planned.settings)})


def assert_drawn(module, run):
    """The figure is drawn without a warning, and legible."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = module.figure(run)
        figure.canvas.draw()
    assert_legible(figure)
    plt.close(figure)


def assert_legible(figure):
    """Nothing is cut off, panels at the edges say what their axes are, and titles and keys what is drawn."""
    box, size = figure.get_tightbbox(), figure.get_size_inches()
    assert box.x0 > -0.01 and box.y0 > -0.01 and box.x1 < size[0] + 0.01 and box.y1 < size[1] + 0.01
    panels = [ax for ax in figure.axes if ax.get_subplotspec()]
    assert all(ax.get_xlabel() for ax in panels if ax.get_subplotspec().is_last_row())
    assert all(ax.get_ylabel() for ax in panels if ax.get_subplotspec().is_first_col())
    assert figure.get_suptitle() and (figure.legends or any(ax.get_legend() for ax in panels))


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
