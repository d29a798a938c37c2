"""The atlas: its recursions by hand, and its contours against known ones."""


import jax
import numpy as np
import pytest

import jaxcollapse as jc
from tests.test_experiments import load


@pytest.fixture(scope="module")
def atlas():
    return load("phase_atlas")


def exact(atlas, *arguments):
    with jax.enable_x64(True):
        return float(atlas.exact(*arguments))


def schedules_by_hand(a, b, generations, n0=20):
    t = np.arange(1, generations + 1.0)
    return 0.5 * t**-a, np.rint(n0 * t**b)


def test_the_letters_are_grouped_without_loss(atlas):
    counts, letters = atlas.class_counts(), jc.corpora.load("letters", None, 2).counts
    assert counts.shape == (16, 16) and counts.sum() == letters.sum()
    assert (np.diff(counts.sum(1)[:15]) <= 0).all() and (counts.sum(1) > 0).all()


def test_drift_around_a_retained_set_follows_its_recursion(atlas):
    alpha, n = schedules_by_hand(0.0, 1.0, 30)  # α n is whole: the fixed split has no remainder
    rho = 0.0
    for synthetic in n * (1 - alpha):
        s = synthetic / (20 + synthetic)
        rho = s**2 * (rho + (1 - rho) / synthetic)
    for model in ("tabular", "gaussian"):
        assert exact(atlas, 0.0, 1.0, model, "retained", 30) == pytest.approx(rho, rel=1e-9)


def test_pooled_recursions_of_tables_and_of_normal_laws_agree_with_a_loop_by_hand(atlas):
    alpha, n = schedules_by_hand(0.5, 0.75, 40)
    r, pool = 1 / 20, 20.0
    for a, size in zip(alpha, n, strict=True):
        pool += size
        w = size / pool
        r = (1 - w * a) ** 2 * r + w**2 / size * (1 - (1 - a) ** 2 * r)
    for model in ("tabular", "gaussian"):
        assert exact(atlas, 0.5, 0.75, model, "accumulate", 40) == pytest.approx(r, rel=1e-9)


def test_rows_refitted_to_real_draws_are_the_scalar_case_where_there_is_one_context(atlas):
    arguments = (*atlas.schedules(0.75, 0.5, "tabular"), 30)
    with jax.enable_x64(True):
        rows = atlas._real_rows(*jc.evaluate(*arguments), np.ones(1))
        assert float(rows[0]) == pytest.approx(float(jc.theory.real_only(*arguments)[-1]), rel=1e-9)


def test_contours_are_those_of_the_recursion(atlas):
    found = atlas.contour("tabular", "replace", (0.1, 0.5, 0.75), 10_000, 0.5, 10.0, 25)
    assert found == pytest.approx([np.nan, 0.2512, 0.4988], abs=1e-3, nan_ok=True)
    assert exact(atlas, 1.0, 2.0, "tabular", "real-only", 50) < 0.5 < exact(atlas, 2.0, 0.0, "tabular", "real-only", 50)


def test_exponential_schedules_and_the_logarithmic_edge():
    schedules = load("phase_schedules")
    for case in schedules.INDEPENDENT:
        assert schedules.independent(case) == pytest.approx(case[1], rel=1e-4)
    recovers, freezes = (schedules.edge(20_000, power)[1] for power in (1, 2))
    assert recovers[-1] < 0.6 * recovers[1] and freezes[-1] > 0.8 * freezes[1]


def test_the_boundary_goes_to_the_diagonal_and_beyond_one_to_the_frozen_run_that_ends_at_one_half():
    horizons = load("phase_horizons")
    limit = horizons.limits((0.5, 1.0, 1.5), 0.5, 20.0, halvings=8)
    assert limit[:2].tolist() == [0.5, 1.0]
    assert limit[2] == pytest.approx(1.0623, abs=0.005)
