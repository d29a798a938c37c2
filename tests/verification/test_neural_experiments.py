"""Experiments that are dear to trace, most with transformers: tables name exact values, figures are legible.

    pytest tests/verification/test_neural_experiments.py -n 0
"""

import pytest

from tests.test_experiments import DEAR, assert_reported


@pytest.mark.parametrize("name", sorted(DEAR))
def test_dear_experiments_name_their_exact_values_and_are_drawn_legibly(name):
    assert_reported(name)
