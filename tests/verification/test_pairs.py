"""Every family with every regime, and the same draws in every chunk of a sweep and on every number of devices."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import jaxcollapse as jc
from tests.families.cases import FAMILIES, state

REGIMES = {
    "replace": jc.Replace(),
    "accumulate": jc.Accumulate(),
    "leaky": jc.Accumulate(decay=0.5),
    "anchor": jc.Anchor(),
    "resampled anchor": jc.Anchor(fraction=0.5),
    "subsample": jc.Subsample(jc.Accumulate()),
    "leaky subsample": jc.Subsample(jc.Accumulate(decay=0.5)),
    "real only": jc.RealOnly(jc.Replace()),
    "real pooled": jc.RealOnly(jc.Accumulate()),
    "weighted": jc.Weighted(jc.Replace(), 0.6),
    "retain": jc.Retain(previous=0.3, original=0.2),
}
OF_COUNTS = {
    "debiased": jc.Debiased(jc.Replace()),
    "deduplicated": jc.Deduplicate(jc.Replace(), 5),
    "dropped": jc.Drop(jc.Replace(), jnp.zeros(3, bool)),
}
TABLES = ("contexts", "network")
NETWORKS = ("transformer", "experts", "neighbours")
PAIRS = [(f, r) for f in FAMILIES for r in REGIMES] + [(f, r) for f in TABLES for r in OF_COUNTS]


def loop(family, regime, alpha):
    target, learner = FAMILIES[family]()
    return jc.Loop(target, learner, regime, jc.Constant(alpha), jc.Constant(30.0))


def states(looped, key):
    record = lambda lineage, batch: state(lineage.model)
    return jc.ensemble(looped, 3, lineages=16, key=key, record=record)[1]


@pytest.mark.parametrize(("family", "regime"), PAIRS)
def test_every_family_runs_with_every_regime(family, regime):
    found = np.asarray(states(loop(family, (REGIMES | OF_COUNTS)[regime], 0.5), jr.key(1)))
    assert np.isfinite(found).all() and found.std() > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_draws_do_not_depend_on_the_chunk(family):
    """Networks in x64: sums of another order differ by rounding, which training multiplies by a thousand in float32."""

    def experiment(alpha, *, key):
        return {"state": (("lineage", "generation", "k"), states(loop(family, jc.Replace(), alpha), key))}

    with jax.enable_x64(family in NETWORKS):
        tables = [jc.sweep(experiment, key=jr.key(2), chunk=c, alpha=[0.0, 0.3, 0.7, 1.0]) for c in (4, 3, 1)]
    for other in tables[1:]:
        np.testing.assert_allclose(other.state, tables[0].state, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_draws_do_not_depend_on_the_number_of_devices(family):
    assert len(jax.local_devices()) == 2
    looped = loop(family, jc.Replace(), 0.3)
    shared = states(looped, jr.key(3))
    with jax.default_device(jax.local_devices()[0]):
        alone = states(looped, jr.key(3))
    assert len(shared.devices()) == 2 and len(alone.devices()) == 1
    np.testing.assert_allclose(shared, alone, rtol=2e-5, atol=2e-6)
