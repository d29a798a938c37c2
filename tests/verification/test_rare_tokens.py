"""The experiment on rare tokens, on a small grid."""

import functools
import importlib.util
import io
import pathlib

import jax.random as jr
import numpy as np
from rich.console import Console

import jaxcollapse as jc

FILE = pathlib.Path(__file__).parents[2] / "experiments" / "rare_tokens.py"


def load():
    spec = importlib.util.spec_from_file_location("rare_tokens", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rare_tokens_follow_their_chains_and_are_drawn():
    rare = load()
    experiment = functools.partial(rare.experiment, generations=12, lineages=100, n=60, octaves=6)
    run = jc.sweep(experiment, key=jr.key(0), alpha=[0.0, 0.3], exponent=[1.0, 2.0])
    found = rare.analyse(run)
    for name in rare.MEASURED:
        z = abs(rare.scores(found, name))
        assert z.size > 20 and z.max() < 5, name
    console = Console(width=120, file=io.StringIO())
    console.print(rare.summary(run))
    assert "missing mass" in console.file.getvalue()
    assert len(rare.figure(run).axes) == 4


def test_factors_of_many_generations_are_those_of_each():
    rare = load()
    got = rare.hapax_factors(0.2, np.array([0, 1, 7]))
    np.testing.assert_allclose(got, [float(jc.theory.hapax_factor(0.2, t)) for t in (0, 1, 7)], rtol=1e-5)
