"""A small run of the real texts against its exact theory, in every workflow."""

import functools
import io

import jax.random as jr
import numpy as np
import pytest
from rich.console import Console
from scipy import stats

import jaxcollapse as jc
from tests.test_experiments import load


@pytest.fixture(scope="module")
def real_text():
    return load("real_text")


@pytest.fixture(scope="module")
def run(real_text):
    sizes = {"n": 400, "vocab": 24, "generations": 8, "lineages": 300, "blocks": 4, "length": 8}
    return jc.sweep(functools.partial(real_text.experiment, **sizes), key=jr.key(0), **real_text.AXES)


def test_a_small_run_agrees_with_theory_in_every_workflow(real_text, run):
    found = real_text.analyse(run)
    for name in (*real_text.MEASURED, "octaves"):
        z = np.concatenate([abs(cell["z"][name]).ravel() for cell in found.values()])
        z = z[np.isfinite(z)]
        assert z.size and z.max() < stats.t.isf(5e-4 / z.size, run.sizes["lineage"] - 1), name
    for cell in found.values():
        chances = real_text.word_chances(cell, run.sizes["lineage"])
        assert chances.min() > 1e-3 / chances.size
        branching, ours = (cell[kind]["missing"][1] for kind in ("exact", "mean"))
        np.testing.assert_allclose(ours, branching, rtol=0.05)  # no exact value, rows of few words


def test_the_workflows_are_ordered_and_generation_0_is_common_to_them(real_text, run):
    for cell in real_text.analyse(run).values():
        for name in ("smoothed", "missing", "risk"):
            none, preserved, fresh = cell["mean"][name][:, -1]
            assert none > preserved > fresh
        np.testing.assert_allclose(*cell["exact"]["risk"][:2, 0], rtol=1e-12)


def test_the_summary_names_words_and_the_figure_is_drawn(real_text, run):
    console = Console(width=140, file=io.StringIO())
    console.print(real_text.summary(run))
    text = console.file.getvalue()
    q, pi = real_text.law(0, 24)
    rarest = jc.corpora.load("shakespeare", 24, order=2).tokens[int(np.argmin(pi @ q))]
    for word in ("10 % preserved", "missing mass", "base, single words", rarest, "worst |z|"):
        assert word in text
    assert len(real_text.figure(run).axes) == 6
