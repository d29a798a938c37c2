"""Real text: its exact values, its tables and figure on a made-up run, and the blocks that a table writes."""

import jax.random as jr
import numpy as np
import pytest

import jaxcollapse as jc
from tests.test_experiments import load


@pytest.fixture(scope="module")
def real_text():
    return load("real_text")


def test_blocks_cost_what_their_law_says(real_text):
    q, pi = real_text.law(0, 24)
    p_star = jc.Categorical(q, pi)
    cost = np.asarray(real_text.write(p_star, p_star, 20_000, 1, jr.key(5)))
    exact = pi @ -np.where(q > 0, q * np.log(np.where(q > 0, q, 1)), 0).sum(1)
    assert abs(cost.mean() - exact) < 4 * cost.std(ddof=1) / np.sqrt(cost.size)
