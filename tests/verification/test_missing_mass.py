"""The loops of experiments/missing_mass.py against exact laws: real text fresh, kept, or consulted by retrieval."""

import functools
import importlib.util
import pathlib

import jax.random as jr
import numpy as np
from scipy import stats

import jaxcollapse as jc

FILE = pathlib.Path(__file__).parents[2] / "experiments" / "missing_mass.py"


def test_missing_mass_and_risk_of_fresh_kept_and_consulted_text():
    spec = importlib.util.spec_from_file_location("missing_mass", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    experiment = functools.partial(module.experiment, generations=40, lineages=400, vocab=300, exponent=1.7)
    run = jc.sweep(experiment, key=jr.key(0), alpha=[1.0, 0.25, 0.0625], n=[64.0, 256.0, 1024.0])
    found = module.analyse(run)
    z = np.abs([found[name]["z"] for name in module.MEASURED])
    assert z.max() <= stats.t.isf(5e-4 / z.size, 399)
    assert found["change"] == 0
