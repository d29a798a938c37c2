"""Real text: the duality and the anchored recursion against enumeration, and the blocks that a table writes."""

from fractions import Fraction

import jax.random as jr
import numpy as np
import pytest
from scipy import stats

import jaxcollapse as jc
from tests.test_experiments import load


@pytest.fixture(scope="module")
def real_text():
    return load("real_text")


def enumerated(alpha, n, pi, p, generations):
    """P(frequency 0), t = 0..T, from the law of the frequency itself, over visits and counts."""
    law, out = {Fraction(1): p, Fraction(0): 1 - p}, []  # before generation 0: one real draw
    for t in range(generations + 1):
        new = {}
        for x, chance in law.items():
            q = p if t == 0 else alpha * p + (1 - alpha) * float(x)
            for m in range(n + 1):
                visits = chance * stats.binom.pmf(m, n, pi)
                after = [(x, 1.0)] if m == 0 else [(Fraction(j, m), stats.binom.pmf(j, m, q)) for j in range(m + 1)]
                for y, weight in after:
                    new[y] = new.get(y, 0.0) + visits * weight
        law = new
        out.append(law[Fraction(0)])
    return out


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_a_pair_is_lost_when_no_founder_is_it(real_text, alpha):
    p = np.array([0.01, 0.3, 0.9])
    exact = np.stack([enumerated(alpha, 4, 0.5, x, 3) for x in p], 1)
    np.testing.assert_allclose(real_text.lost(alpha, 4, 0.5, p, 3), exact, atol=1e-7)


@pytest.mark.parametrize("alpha", [0.0, 0.1])
def test_a_certain_context_is_the_chain_of_one_token(real_text, alpha):
    p, n, t = np.array([1e-3, 0.01, 0.05, 0.3]), 100, 12
    laws = [jc.theory.token_law(x, jc.Constant(alpha), jc.Constant(n), t)[0] for x in p]
    np.testing.assert_allclose(real_text.lost(alpha, n, 1 - 1e-12, p, t)[-1], laws, rtol=1e-5, atol=1e-7)


def test_sums_over_every_few_counts_are_sums_over_all(real_text):
    law = stats.binom(10_000, 0.05)
    m, weight = real_text.nodes(law, low=1)
    every = np.arange(1, 10_001)
    assert len(m) < 50 and m[1] - m[0] > 10
    for f in (lambda x: 1 / x, lambda x: np.exp(-x / 20), lambda x: x * 1.0):
        assert weight @ f(m) == pytest.approx(law.pmf(every) @ f(every), rel=1e-10)


def test_a_certain_context_with_a_tenth_preserved_has_the_known_floor(real_text):
    n, alpha, kept = 100, 0.1, 0.9
    floor = (alpha * kept / (n - 1) + kept**2 / 90) / (1 - kept**2 * (1 - 1 / 90))
    r = real_text.anchored(n, 1 - 1e-12, 400)
    assert r[0] == pytest.approx(1 / n) and r[-1] == pytest.approx(1 / n + (1 - 1 / n) * floor, rel=1e-9)
    assert r[-1] == pytest.approx(0.059296, abs=1e-6)  # 5.9 times the real-only risk
    assert real_text.anchored(n, 1e-9, 50)[-1] == pytest.approx(1, abs=1e-6)  # never seen


def test_blocks_cost_what_their_law_says(real_text):
    q, pi = real_text.law(0, 24)
    p_star = jc.Categorical(q, pi)
    cost = np.asarray(real_text.write(p_star, p_star, 20_000, 1, jr.key(5)))
    exact = pi @ -np.where(q > 0, q * np.log(np.where(q > 0, q, 1)), 0).sum(1)
    assert abs(cost.mean() - exact) < 4 * cost.std(ddof=1) / np.sqrt(cost.size)
