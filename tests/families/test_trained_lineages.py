"""Learners trained by gradient descent in the survey: resumed bit for bit, saved and carried on, divergence flagged."""

import equinox as eqx
import jax.random as jr
import numpy as np
import optax
import pytest

import jaxcollapse as jc
from jaxcollapse._plan import plan
from jaxcollapse._sweep import stages

TARGET, KEY = jc.zipf(3), jr.key(8)
AXES = {"rate": [0.05, 0.1, 0.2], "alpha": [0.0, 0.1, 0.5, 1.0]}


def experiment(rate, alpha, *, key):
    """A start from the generation before, and a memory: all that a lineage carries."""
    learner = jc.Softmax(rate=rate, steps=8, start="previous")
    loop = jc.Loop(TARGET, learner, jc.Accumulate(decay=0.5), jc.Constant(alpha), jc.Constant(40))
    record = lambda lineage, batch: lineage.model.probs
    return {"probs": jc.ensemble(loop, 3, lineages=16, key=key, record=record)[1]}


def test_a_sweep_that_stops_in_the_middle_goes_on_bit_for_bit(tmp_path):
    *_, last = stages(plan(experiment, AXES, key=KEY, chunk=2))
    whole = last.table
    first = stages(plan(experiment, AXES, key=KEY, store=tmp_path / "run", chunk=2), kernel=last.kernel)
    for stage in first:
        if stage.name == "run" and stage.done == 2:
            break
    first.close()
    assert 4 <= int(jc.open(tmp_path / "run").done.sum()) < 12
    resumed = jc.sweep(experiment, key=KEY, store=tmp_path / "run", **AXES)
    assert bool(resumed.done.all()) and np.array_equal(resumed.probs, whole.probs)
    assert np.isfinite(whole.probs).all() and float(whole.probs.std("probs_0").min()) > 0


def test_a_saved_lineage_goes_on_with_the_same_generations(tmp_path):
    learner = jc.Softmax(steps=8, start="previous")
    loop = jc.Loop(TARGET, learner, jc.Accumulate(), jc.Constant(0.1), jc.Constant(40))
    step, blank = eqx.filter_jit(loop.step), eqx.filter_jit(loop.blank)(key=jr.fold_in(KEY, 0))
    course = [blank]
    for t in range(5):
        course.append(step(course[-1], key=jr.fold_in(KEY, t))[0])
    eqx.tree_serialise_leaves(tmp_path / "lineage.eqx", (course[3], jr.key_data(KEY)))
    like = eqx.filter_eval_shape(lambda: (loop.blank(key=jr.key(0)), jr.key_data(jr.key(0))))
    lineage, bits = eqx.tree_deserialise_leaves(tmp_path / "lineage.eqx", like)
    key = jr.wrap_key_data(bits)
    for t in range(3, 5):
        lineage, _ = step(lineage, key=jr.fold_in(key, t))
    assert int(lineage.t) == 4 and int(lineage.memory.total) == 200 and eqx.tree_equal(lineage, course[-1])


def test_a_rate_that_diverges_is_flagged_with_its_coordinates_and_spoils_no_other():
    """The penalty alone multiplies W by 1 − rate · λ = −29 a step, which overflows after 27."""

    def penalised(rate, *, key):
        learner = jc.Softmax(optimiser=optax.sgd, rate=rate, l2=1.0, steps=40)
        loop = jc.Loop(TARGET, learner, jc.Replace(), jc.Constant(0.1), jc.Constant(20))
        return {"diversity": jc.ensemble(loop, 2, lineages=16, key=key)[1]["diversity"]}

    flagged = r"^1 of 2 points hold NaN in diversity \(kept, .* the first at \(rate=30\)"
    with pytest.warns(UserWarning, match=flagged):
        found = jc.sweep(penalised, key=KEY, chunk=2, rate=[0.1, 30.0])
    beside = jc.sweep(penalised, key=KEY, chunk=2, rate=[0.1, 0.2])
    assert np.isnan(found.diversity[1]).all() and found.valid.values.tolist() == [True, False]
    assert np.array_equal(found.diversity[0], beside.diversity[0]) and bool(beside.valid.all())
