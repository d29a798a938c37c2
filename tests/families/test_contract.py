"""What every family keeps, whatever it learns.

    α = 1                 generations are independent and have one law
    n → ∞                 p_1 = p* (families on atoms: up to their capacity, and a kernel density up to its kernel)
    the smallest n        finite numbers
    nothing left to lose  stays lost at α = 0; families that are not named there drift on
    no data               no change
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxcollapse as jc
from tests.families.cases import ABSORBED, FAMILIES, LIMITED, state
from tests.helpers import t_bound

GENERATIONS, LINEAGES = 4, 600


@functools.cache
def compiled(family):
    """States `L T k` at (α, n, key): one program for all that is asked of a family."""
    target, learner = FAMILIES[family]()
    record = lambda lineage, batch: state(lineage.model)

    def states(alpha, n, key):
        loop = jc.Loop(target, learner, jc.Replace(), jc.Constant(alpha), jc.Constant(n))
        return jc.ensemble(loop, GENERATIONS, lineages=LINEAGES, key=key, record=record)[1]

    return jax.jit(states)


def run(family, alpha, n):
    return np.asarray(compiled(family)(jnp.asarray(alpha), jnp.asarray(float(n)), jr.key(n)), float)


@pytest.mark.parametrize("family", FAMILIES)
def test_with_real_data_alone_generations_are_independent_and_alike(family):
    states = run(family, 1.0, 40)
    x = states[..., states.std((0, 1)) > 0]
    centred = (x - x.mean(0)) / x.std(0, ddof=1)
    for what, found in (("follows", centred[:, :-1] * centred[:, 1:]), ("changes", np.diff(x, axis=1))):
        z = found.mean(0) / (found.std(0, ddof=1) / LINEAGES**0.5)
        assert abs(z).max() <= t_bound(z.size, LINEAGES), f"a generation {what} with the one before"


@pytest.mark.parametrize("family", [name for name in FAMILIES if name not in LIMITED])
def test_with_many_draws_nothing_is_lost(family):
    """n = 2²⁴: standard deviations of 2.4·10⁻⁴ and more are summed over four generations."""
    states = run(family, 0.0, 2**24)
    target = np.asarray(state(FAMILIES[family]()[0]), float)
    assert abs(states - target).max() < 6e-3 and states.std() > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_the_smallest_sample_gives_finite_numbers(family):
    assert np.isfinite(run(family, 0.3, 5 if family == "regression" else 1)).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_lost_stays_lost_in_families_that_can_lose_all(family):
    states = run(family, 0.0, 5 if family == "regression" else 1)
    moves = abs(np.diff(states, axis=1)).max((1, 2)) > 1e-6
    assert not moves.any() if family in ABSORBED else moves.any()


@pytest.mark.parametrize("family", FAMILIES)
def test_without_data_there_is_no_change(family):
    target, learner = FAMILIES[family]()
    before = learner.init(target, key=jr.key(3))
    nothing = learner.observe(target, jnp.asarray(0), key=jr.key(4))
    after = learner.fit(nothing, before, key=jr.key(5))
    arrays = [jax.tree.leaves(eqx.filter(model, eqx.is_array)) for model in (before, after)]
    assert float(nothing.total) == 0
    assert all(np.array_equal(a, b) for a, b in zip(*arrays, strict=True))
