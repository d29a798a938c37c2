"""The phase map on a small grid: letter bigrams, and the same draws in every chunk."""

import functools

import jax.random as jr

import jaxcollapse as jc
from tests.test_experiments import GRID, load, said


def test_the_letter_map_has_quantiles_over_contexts():
    phase_boundary = load("phase_boundary")
    experiment = functools.partial(phase_boundary.experiment, generations=8, lineages=8, order=2)
    run = jc.sweep(experiment, key=jr.key(0), **GRID)
    assert run.risk_by_context.shape == (3, 4, 27)
    assert "contexts: the middle 80 %" in said(phase_boundary.summary(run))
    assert phase_boundary.figure(run).axes


def test_draws_of_a_map_are_equal_bit_for_bit_in_every_chunk():
    phase_boundary = load("phase_boundary")

    def experiment(decay, growth, *, key):
        alpha, n = phase_boundary.schedules(decay, growth)
        loop = jc.Loop(jc.zipf(40), jc.Tabular(), jc.Replace(), alpha, n)
        _, counts = jc.ensemble(loop, 20, lineages=16, key=key, record=lambda lineage, batch: batch.pooled.counts)
        return {"counts": (("lineage", "generation", "token"), counts)}

    whole = jc.sweep(experiment, key=jr.key(0), chunk=12, **GRID)
    for chunk in (1, 5):
        assert (jc.sweep(experiment, key=jr.key(0), chunk=chunk, **GRID).counts == whole.counts).all()
