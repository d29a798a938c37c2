"""A small map of the atlas: refined, compared with its recursion and drawn."""

import functools

import jax.random as jr
import numpy as np

import jaxcollapse as jc
from tests.test_experiments import assert_drawn, load, said


def test_a_small_map_is_refined_compared_and_drawn():
    atlas = load("phase_atlas")
    made = functools.partial(atlas.experiment, generations=12, lineages=24)
    axis = np.linspace(0, 2, 3)
    run = jc.refine(made, key=jr.key(0), measure="risk", resolution=0.5, max_repeats=2, growth=axis, decay=axis)
    found = atlas.analyse(run)
    assert found["mean"].shape == (5, 5) and abs(found["z"]).max() < 5
    assert "tabular" in said(atlas.summary(run))
    assert_drawn(atlas, run)
