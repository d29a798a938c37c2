"""The experiment of the data wall: both readings simulated against exact recursions, its tables and its figure."""

import functools

import jax.random as jr
import numpy as np

import jaxcollapse as jc
from tests.helpers import t_bound
from tests.test_experiments import assert_drawn, load, said


def test_the_experiment_follows_its_exact_values_names_them_and_is_drawn_legibly():
    module = load("data_exhaustion")
    experiment = functools.partial(module.experiment, generations=7, lineages=500, vocab=8)
    run = jc.sweep(experiment, key=jr.key(0), scenario=np.array([2, 3, 6, 7, 9, 10, 11]))
    assert bool(run.valid.all())
    z = module.scores(module.analyse(run))
    assert z.size == 70 and abs(z).max() < t_bound(z.size, 500)
    text = said(module.summary(run))
    for value in ("0.6506", "0.5934", "0.5371", "1.3494", "2028.1", "2025.3", "frozen", "plateau", "collapse"):
        assert value in text
    assert "recovery" in text and "nan" not in text
    assert_drawn(module, run)
