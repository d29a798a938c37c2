"""Founders: lost pairs and preserved originals against enumerated chains, other exact results and their limits."""

import math
from fractions import Fraction

import jax
import numpy as np
import pytest
from scipy import stats

import jaxcollapse as jc
from jaxcollapse import theory
from jaxcollapse.theory._founders import _nodes

C = jc.Constant


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def absence(alpha, n, pi, p, generations):
    """Of one context."""
    return theory.context_absence(C(alpha), C(n), np.array([pi]), np.atleast_2d(p), generations)[:, 0]


def anchored(fraction, n, pi, generations):
    return theory.anchored_risk(fraction, n, np.array([pi]), generations)[:, 0]


def binomial(n, p):
    return [(j, math.comb(n, j) * p**j * (1 - p) ** (n - j)) for j in range(n + 1)]


def hypergeometric(size, good, drawn):
    ways = lambda k: math.comb(good, k) * math.comb(size - good, drawn - k) / math.comb(size, drawn)
    return [(k, ways(k)) for k in range(max(0, drawn + good - size), min(good, drawn) + 1)]


def enumerated(alpha_t, n_t, pi, p):
    """P(frequency 0), t = 0..T, from the law of the frequency itself, over visits and counts."""
    law, out = {Fraction(1): p, Fraction(0): 1 - p}, []  # before generation 0: one real draw
    for alpha, n in zip(alpha_t, n_t, strict=True):
        new = {}
        for x, chance in law.items():
            q = alpha * p + (1 - alpha) * float(x)
            for m, visits in binomial(n, pi):
                after = [(x, 1.0)] if m == 0 else [(Fraction(j, m), w) for j, w in binomial(m, q)]
                for y, weight in after:
                    new[y] = new.get(y, 0.0) + chance * visits * weight
        law = new
        out.append(law[Fraction(0)])
    return out


def preserved(taken, n, pi, p, generations):
    """Laws {(m, x, y): chance}, t = 0..T: m words in D_0, x of them of one type, whose frequency in the row is y."""
    law = {}
    for m, of_m in binomial(n, pi):
        for x, of_x in binomial(max(m, 1), p):  # without words the row is one real draw
            law[m, x if m else 0, Fraction(x, max(m, 1))] = of_m * of_x
    laws = [law]
    for _ in range(generations):
        new = {}
        for (m, x, y), chance in laws[-1].items():
            for k, of_k in hypergeometric(n, m, taken):
                for h, of_h in hypergeometric(m, x, k):
                    for s, of_s in binomial(n - taken, pi):
                        for j, of_j in binomial(s, float(y)):
                            state = m, x, Fraction(h + j, k + s) if k + s else y
                            new[state] = new.get(state, 0.0) + chance * of_k * of_h * of_s * of_j
        laws.append(new)
    return laws


@pytest.mark.parametrize("alpha", [0.0, 0.3])
def test_a_pair_is_lost_when_no_founder_is_it(alpha):
    p = np.array([[0.01, 0.3, 0.69], [0.2, 0.0, 0.8]])
    found = theory.context_absence(C(alpha), C(4), np.array([0.5, 0.3]), p, 3)
    assert found.shape == (4, 2, 3)
    for c, pi in enumerate((0.5, 0.3)):
        exact = np.stack([enumerated([1, *3 * [alpha]], 4 * [4], pi, x) for x in p[c]], 1)
        np.testing.assert_allclose(found[:, c], exact, atol=1e-7)


def test_founders_follow_schedules():
    alpha, n = jc.PowerLaw(0.5, exponent=-1.0), jc.Piecewise((2, 3), (C(4), C(7), C(2)))
    found = theory.context_absence(alpha, n, np.array([0.6]), np.array([[0.05, 0.4]]), 4)[:, 0]
    weights, sizes = [1, 0.5, 0.25, 0.5 / 3, 0.125], [4, 4, 7, 2, 2]
    exact = np.stack([enumerated(weights, sizes, 0.6, p) for p in (0.05, 0.4)], 1)
    np.testing.assert_allclose(found, exact, atol=1e-7)


@pytest.mark.parametrize("alpha", [0.0, 0.1, 1.0])
def test_a_certain_context_is_the_chain_of_one_token(alpha):
    p, n, t = np.array([[1e-3, 0.01, 0.05, 0.3, 0.639]]), 100, 12
    laws = [theory.token_law(x, C(alpha), C(n), t)[0] for x in p[0]]
    np.testing.assert_allclose(absence(alpha, n, 1.0, p, t)[-1], laws, rtol=1e-5, atol=1e-9)


def test_common_pairs_are_as_exact_as_rare_ones():
    p, n, t = np.array([[1e-4, 0.5, 0.98]]), 620, 100  # 600 copies and more beside a tenth of one
    chains = [theory.two_token_chain(x, 0.0, n).laws(t)[-1, 0] for x in p[0]]
    np.testing.assert_allclose(absence(0.0, n, 1.0, p, t)[-1], chains, rtol=1e-5)


def test_absence_has_its_limits():
    p = np.array([[0.002, 0.3, 0.698, 1.0, 0.0]])
    np.testing.assert_allclose(absence(0.1, 50, 0.0, p, 5)[-1], 1 - p[0], atol=1e-12)
    real = absence(1.0, 50, 0.4, p, 5)[-1]
    exact = (1 - 0.4 * p[0]) ** 50 - 0.6**50 * p[0]  # E (1 − p)^m; without a word, the row of a generation before
    late = 0.6 ** (50 * 5)
    np.testing.assert_allclose(real, exact, rtol=1e-6, atol=late + 2e-11)
    rare = absence(0.1, 1200, 0.25, 1e-3, 60)[-1, 0]
    assert rare == pytest.approx(float(theory.absence(1e-3, 0.1, 300, 60)), rel=3e-3)


@pytest.mark.parametrize("pi", [0.5, 1.0])
@pytest.mark.parametrize("taken", [1, 2])
def test_preserved_originals_follow_the_enumerated_chain(pi, taken):
    n, p = 3, 0.3
    risk = lambda law: sum(chance * (float(y) - p) ** 2 for (*_, y), chance in law.items()) / (p * (1 - p))
    exact = [risk(law) for law in preserved(taken, n, pi, p, 3)]
    np.testing.assert_allclose(anchored(taken / n, n, pi, 3), exact, rtol=1e-12)


def test_a_certain_context_with_a_tenth_preserved_has_the_known_floor():
    n, alpha, kept = 100, 0.1, 0.9
    floor = (alpha * kept / (n - 1) + kept**2 / 90) / (1 - kept**2 * (1 - 1 / 90))
    r = anchored(0.1, n, 1.0, 400)
    assert r[0] == pytest.approx(1 / n) and r[-1] == pytest.approx(1 / n + (1 - 1 / n) * floor, rel=1e-9)
    assert r[-1] == pytest.approx(0.059296, abs=1e-6)  # 5.9 times the real-only risk


def test_preserved_originals_have_their_limits():
    n, pi = 200, np.array([0.0, 0.003, 0.2, 1.0])
    nothing = theory.anchored_risk(0.0, n, pi, 30)
    np.testing.assert_allclose(nothing, theory.context_risk(C(0.0), C(n), pi, 30), rtol=1e-9)
    whole = theory.anchored_risk(1.0, n, pi, 30)
    exact = np.asarray(theory.reciprocal_moment(n, pi)) + (1 - pi) ** n
    np.testing.assert_allclose(whole, np.broadcast_to(exact, whole.shape), rtol=1e-9)
    assert 2000 * anchored(0.1, 2000, 1.0, 200)[-1] == pytest.approx(1 + 0.99 / 0.19, rel=3e-3)


@pytest.mark.parametrize("fraction", [0.0, 0.2, 1.0])
def test_rare_originals_survive_by_branching(fraction):
    """Against the exact chain of a rare word's copies in D_0 and in the batch, at most 60 of each."""
    n, p, generations, most = 2000, 1 / 2000, 12, 60
    taken = round(fraction * n)
    law = np.diag(stats.binom.pmf(np.arange(most + 1), n, p))  # copies in D_0, copies in the batch
    absent = [law[:, 0].sum()]
    again = stats.hypergeom.pmf(np.arange(most + 1), n, np.arange(most + 1)[:, None], taken)
    copied = stats.binom.pmf(np.arange(most + 1), n - taken, np.arange(most + 1)[:, None] / n)
    both = [[np.convolve(a, b)[: most + 1] for b in copied] for a in again]
    for _ in range(generations):
        law = np.einsum("xy,xyz->xz", law, np.array(both))
        absent.append(law[:, 0].sum() / law.sum())
    factor = theory.anchored_factor(fraction, generations)
    assert float(factor[0]) == 1
    np.testing.assert_allclose(np.exp(-n * p * factor), absent, rtol=4e-3)


def test_the_anchored_factor_lies_between_no_real_data_and_fresh_data():
    f = np.array([0.0, 0.1, 0.5, 1.0])
    factor = theory.anchored_factor(f, 40)
    assert factor.shape == (41, 4)
    np.testing.assert_allclose(factor[-1, 0], theory.survival_factor(0.0, 40), rtol=1e-12)
    np.testing.assert_allclose(factor[:, 3], 1, rtol=1e-12)
    fresh = np.asarray(theory.survival_factor(f, 40))
    assert (factor[-1, 1:3] < fresh[1:3]).all() and (factor[-1, 1:3] > fresh[0]).all()


def test_balls_hit_boxes_as_surjections_are_counted():
    stirling = lambda j, d: sum((-1) ** (d - i) * math.comb(d, i) * i**j for i in range(d + 1))  # d! S(j, d)
    exact = lambda m: [[math.comb(m, d) * stirling(j, d) / m**j for d in range(6)] for j in range(8)]
    np.testing.assert_allclose(theory.occupancy(7, np.array([5])), exact(5), atol=1e-14)
    np.testing.assert_allclose(
        theory.occupancy(7, np.array([2, 5]), np.array([0.3, 0.7])),
        0.3 * np.array(exact(2)) + 0.7 * np.array(exact(5)),
        atol=1e-14,
    )
    np.testing.assert_allclose(theory.occupancy(4, np.array([1]))[1:], [[0, 1]] * 4)
    assert theory.occupancy(3, np.array([2, 5])).sum(1) == pytest.approx(np.ones(4))


def test_sums_over_every_few_counts_are_sums_over_all():
    m, weight = _nodes(10_000, 0.05, 1)
    every = np.arange(1, 10_001)
    law = stats.binom(10_000, 0.05).pmf(every)
    assert len(m) < 50 and m[1] - m[0] > 10
    for f in (lambda x: 1 / x, lambda x: np.exp(-x / 20), lambda x: x * 1.0):
        assert weight @ f(m) == pytest.approx(law @ f(every), rel=1e-10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: absence(1.5, 10, 0.5, 0.5, 3), "alpha: got 1.5"),
        (lambda: absence(0.5, 10, 1.5, 0.5, 3), "contexts: got 1.5, expected prob"),
        (lambda: absence(0.5, 10, 0.5, -0.5, 3), "probs: got -0.5, expected prob"),
        (lambda: absence(0.5, 1e5, 0.5, 0.5, 3), "n: got 50000 words"),
        (lambda: anchored(-0.1, 10, 0.5, 3), "fraction: got -0.1"),
        (lambda: anchored(0.1, 10.5, 0.5, 3), "n: got 10.5, expected a whole"),
        (lambda: anchored(0.1, 10, 2.0, 3), "contexts: got 2.0"),
        (lambda: theory.anchored_factor(2.0, 3), "fraction: got 2.0"),
        (lambda: theory.occupancy(-1, np.array([3])), "balls: got -1"),
        (lambda: theory.occupancy(3, np.array([0])), "boxes: got 0"),
        (lambda: theory.occupancy(3, np.array([3]), np.array([-1.0])), "weights: got -1.0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_traced_fraction_out_of_range_is_nan():
    assert np.isnan(jax.jit(lambda f: theory.anchored_factor(f, 3))(-0.5)).all()
