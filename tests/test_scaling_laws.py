"""Compute-optimal training as a model, and the loop that tests its factor."""

import importlib.util
import io
import json
import pathlib

import jax
import jax.random as jr
import numpy as np
import pytest
import xarray as xr
from rich.console import Console

import jaxcollapse as jc
from jaxcollapse import theory

FOLDER = pathlib.Path(__file__).parent.parent / "experiments"


def load(name):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def said(renderable):
    console = Console(width=160, file=io.StringIO())
    console.print(renderable)
    return console.file.getvalue()


def test_the_model_says_what_is_published_beside_what_it_adds():
    laws = load("scaling_laws")
    run = jc.sweep(laws.experiment, key=jr.key(0), alpha=[1.0, 0.1], compute=[1e20, 5.76e23, 1e28])
    refit = (run.refit_tokens / run.refit_parameters).sel(compute=5.76e23, method="nearest")
    np.testing.assert_allclose(refit, [18.39, 47.08], rtol=1e-3)
    text = said(laws.summary(run))
    for number in ("18.39", "92.65", "2.560", "47.1", "0.4375", "16.12", "1.720", "1.415", "A MODEL"):
        assert number in text
    assert len(laws.figure(run).axes) == 3


@pytest.fixture(scope="module")
def missing_mass():
    return load("missing_mass")


@pytest.fixture(scope="module")
def found(missing_mass):
    """A run that never was: 100 lineages, normal around the exact values of each cell."""
    settings = {"generations": 8, "lineages": 100, "vocab": 100, "exponent": 2.0}
    axes = {"alpha": [1.0, 0.25, 0.0625], "n": [64.0, 256.0, 1024.0]}
    noise, data = np.random.default_rng(0), {"stock_change": (("alpha", "n", "lineage"), np.zeros((3, 3, 100)))}
    with jax.enable_x64(True):
        for name in missing_mass.MEASURED:
            exact = np.array([[[missing_mass.exact(name, a, n, settings)] for n in axes["n"]] for a in axes["alpha"]])
            data[name] = (("alpha", "n", "lineage"), exact * (1 + 0.2 * noise.standard_normal((3, 3, 100))))
    return xr.Dataset(data, coords=axes, attrs={"settings": json.dumps(settings)})


def test_what_the_loop_loses_is_laid_beside_what_it_should(missing_mass, found):
    result = missing_mass.analyse(found)
    assert max(abs(result[name]["z"]).max() for name in missing_mass.MEASURED) < 4.5
    assert [m for m, *_ in missing_mass.diagonals(result)] == [64]
    text = said(missing_mass.summary(found))
    assert "missing, fresh" in text and "risk, kept" in text and "bound" in text
    assert len(missing_mass.figure(found).axes) == 2


def test_a_kept_stock_loses_what_real_draws_alone_do(missing_mass, found):
    result = missing_mass.analyse(found)
    real = [missing_mass.draws("stock_missing", value, result) for value in result["stock_missing"]["exact"][0]]
    np.testing.assert_allclose(real, [64, 256, 1024], rtol=2e-3)


def test_missing_mass_between_the_nodes_is_that_of_every_tokens_chain(missing_mass):
    with jax.enable_x64(True):
        p = missing_mass.law(60, 2.0)
        every = theory.additive(lambda x, p: p * (x == 0), jc.Constant(0.1), jc.Constant(64.0), p, 8)[-1]
        assert missing_mass.exact_missing(0.1, 64.0, 8, 60, 2.0) == pytest.approx(every, rel=2e-5)


def test_missing_mass_of_large_samples_is_right_to_its_stated_error(missing_mass):
    cell = (1 / 16, 320.0, 30, 500, 2.0)
    with jax.enable_x64(True):
        chain = missing_mass.exact_missing(*cell, largest=320)
        assert missing_mass.exact_missing(*cell, largest=80) == pytest.approx(chain, rel=5e-4)


def test_slopes_are_those_of_a_power_law(missing_mass):
    n = np.geomspace(10, 1e4, 5)
    ours, se, exact = missing_mass.slope(n, 3 * n**-0.4, 0.3 * n**-0.4, 2 * n**-0.5)
    assert ours == pytest.approx(0.4) and exact == pytest.approx(0.5)
    x = np.log(n)
    assert se == pytest.approx(0.1 / np.sqrt(((x - x.mean()) ** 2).sum()))
