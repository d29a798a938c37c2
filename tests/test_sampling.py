"""The count samplers against their laws, at 10⁷ draws and in the tails; what is exact is tested exactly."""

from fractions import Fraction
from itertools import product

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy import stats

from jaxcollapse.sampling import _binomial, _quantile, _words, binomial, hypergeometric, multinomial, poisson

LEVEL = 5e-4  # of a test, shared among its comparisons


@jax.jit
def _million(key, n, p):
    return binomial(key, jnp.broadcast_to(n, (1_000_000,)), p)


def draws_of(key, n, p, millions):
    """Histogram of binomial draws: the smallest value and the number of draws at it and above it."""
    size, share = jnp.asarray(n), jnp.asarray(p, float)
    draws = [np.asarray(_million(jr.fold_in(key, i), size, share)) for i in range(millions)]
    low = min(x.min() for x in draws)
    return low, sum(np.bincount(x - low, minlength=max(y.max() for y in draws) - low + 1) for x in draws)


def chi_square(observed, expected):
    """p-value, with neighbouring cells merged until each expects ten."""
    cells, start = [], 0
    for stop in range(1, len(expected) + 1):
        if (expected[start:stop].sum() >= 10 and expected[stop:].sum() >= 10) or stop == len(expected):
            cells.append((observed[start:stop].sum(), expected[start:stop].sum()))
            start = stop
    seen, due = np.array(cells).T
    return stats.chi2.sf(((seen - due) ** 2 / due).sum(), len(cells) - 1)


def law_p_values(key, n, p, millions):
    """Chi-square of the whole law, and the two tails of probability near 10⁻⁵ apart."""
    p = float(jnp.asarray(p, float))
    low, seen = draws_of(key, n, p, millions)
    k, total = np.arange(low, low + len(seen)), seen.sum()
    due = total * stats.binom.pmf(k, n, p)
    due[0] += total * stats.binom.cdf(low - 1, n, p)
    due[-1] += total * stats.binom.sf(k[-1], n, p)
    down, up = stats.binom.ppf(1e-5, n, p), stats.binom.isf(1e-5, n, p)
    tails = (
        stats.binomtest(int(seen[k <= down].sum()), total, stats.binom.cdf(down, n, p)),
        stats.binomtest(int(seen[k >= up].sum()), total, stats.binom.sf(up - 1, n, p)),
    )
    return [chi_square(seen, due), *(test.pvalue for test in tails)]


# Small and large means, both sides of the threshold (mean 8, and 31 | 32 trials), p near 0, ½ and 1, rare tokens.
LAWS = (
    *((1, 0.3), (20, 0.5), (31, 0.5), (32, 0.5), (33, 0.3), (100, 0.0799), (100, 0.0801), (10**6, 7.9e-6)),
    *((10**6, 8.1e-6), (10**7, 1e-7), (50, 0.83), (1000, 0.995), (200, 0.2), (10**5, 0.3), (2**24, 1e-5)),
)


def test_binomial_follows_its_law_at_ten_million_draws():
    found = [law_p_values(jr.key(i), n, p, 10) for i, (n, p) in enumerate(LAWS)]
    assert np.min(found) > LEVEL / np.size(found)


def test_binomial_follows_its_law_under_x64():
    with jax.enable_x64(True):
        found = [law_p_values(jr.key(i), n, p, 2) for i, (n, p) in enumerate(((30, 0.4), (10**6, 8.1e-6), (400, 0.7)))]
    assert np.min(found) > LEVEL / np.size(found)


@pytest.mark.parametrize(("mean", "p"), [*product((8.0, 13.0, 1e4), (1e-7, 0.2, 0.5))])
def test_rounded_quantiles_are_indistinguishable_from_the_law_beyond_the_threshold(mean, p):
    """The noncentrality of a chi-square test of the whole law at 10⁷ draws is below ½."""
    n = max(round(mean / p), 32)
    mean, sd = n * p, np.sqrt(n * p * (1 - p))
    k = np.arange(max(1, int(mean - 6 * sd)), min(n, int(mean + 6 * sd)) + 1)
    z = np.where(
        k <= mean, stats.norm.ppf(stats.binom.cdf(k - 1, n, p)), stats.norm.isf(stats.binom.sf(k - 1, n, p))
    )
    with jax.enable_x64(True):
        padded = np.concatenate([z, np.zeros(2000 - len(z))])
        offset = _offset(padded, np.full(2000, sd**2), np.full(2000, 1 - 2 * p))
    pmf = stats.binom.pmf(np.append(k[0] - 1, k), n, p)
    error = (mean + np.asarray(offset)[: len(k)] - (k - 0.5)) * np.sqrt(pmf[1:] * pmf[:-1])  # of P(X ≥ k)
    assert 1e7 * (np.diff(error, prepend=0, append=0) ** 2 / pmf).sum() < 0.5


_offset = jax.jit(_quantile.binomial_offset)


def test_normal_tail_inverts_the_survival_function(precision):
    tail = np.concatenate([2.0 ** -np.linspace(1, 64, 2000), np.linspace(0.01, 0.5, 500)])
    error = np.asarray(_quantile.normal_tail(jnp.asarray(tail, float))) - stats.norm.isf(tail)
    assert np.abs(error).max() < (4e-7 if precision == "x64" else 3e-6)


@pytest.mark.parametrize("n", [2**24 + 1, 10**9, 2**31 - 1])
def test_mean_of_huge_binomials_is_within_two_thousandths_of_a_standard_deviation(n):
    """In 32 bits: n p as a sum of an integer and a fraction, against exact rational arithmetic."""
    rng = np.random.default_rng(0)
    yes = rng.uniform(0, 1, 500).astype(np.float32) * np.float32(10) ** -rng.integers(0, 5, 500).astype(np.float32)
    no = (yes + rng.uniform(0, 3, 500)).astype(np.float32)
    error = rng.uniform(-3e-8, 3e-8, 500).astype(np.float32) * no
    rare, common = (_binomial.Double(jnp.asarray(x), jnp.asarray(e)) for x, e in ((yes, 0 * error), (no, error)))
    whole, part, _ = _binomial._mean(jnp.full(500, n, jnp.int32), rare, common)
    for i in range(500):
        a, b = Fraction(float(yes[i])), Fraction(float(no[i])) + Fraction(float(error[i]))
        exact, found = n * a / (a + b), Fraction(int(whole[i])) + Fraction(float(part[i]))
        assert abs(found - exact) <= 1e-3 * np.sqrt(float(n * a * b / (a + b) ** 2)) + 1e-6


@pytest.mark.parametrize(("n", "p"), [(10**9, 0.5), (2**31 - 1, 0.3), (2**31 - 1, 0.99), (2**31 - 1, 3e-8)])
def test_huge_binomials_have_their_mean_and_variance(n, p):
    draws = np.concatenate([np.asarray(_million(jr.key(i), jnp.asarray(n), jnp.asarray(p))) for i in range(4)])
    p = float(np.float32(p))
    z = (draws.astype(float) - n * p) / np.sqrt(n * p * (1 - p))
    assert draws.min() >= 0 and draws.max() <= n
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert abs(z.var() - 1) < 4 * np.sqrt((2 + 1 / (n * p * (1 - p))) / z.size)


def test_counts_beyond_32_bits_under_x64():
    with jax.enable_x64(True):
        draws = np.asarray(_million(jr.key(0), jnp.asarray(2**40), jnp.asarray(0.3)))
        counts = multinomial(jr.key(1), 2**53, np.array([0.25, 0.0, 0.5, 0.25]))
    counts, z = np.asarray(counts), (draws - 2**40 * 0.3) / np.sqrt(2**40 * 0.21)
    assert abs(z.mean()) < 4e-3 and abs(z.var() - 1) < 4 * np.sqrt(2) * 1e-3
    assert counts.dtype == np.int64 and counts.sum() == 2**53 and counts[1] == 0


def test_binomial_is_certain_at_the_ends(precision):
    n = jnp.asarray([0, 1, 7, 1000, 2**31 - 1])
    assert (binomial(jr.key(0), n, jnp.zeros(5)) == 0).all() and (binomial(jr.key(0), n, jnp.ones(5)) == n).all()
    assert binomial(jr.key(0), 5, 0.5).dtype == (jnp.int64 if precision == "x64" else jnp.int32)


@pytest.mark.parametrize(("n", "p"), [(31, 0.5), (40, 0.5), (100, 0.03), (10**4, 0.3), (10**6, 0.999)])
def test_binomial_is_a_monotone_function_of_its_uniform(n, p):
    tail = np.geomspace(1e-9, 0.5, 4000, dtype=np.float32)
    uniform = jnp.concatenate([-jnp.asarray(tail, float), jnp.asarray(tail[::-1], float)])
    odds = (_binomial.Double(jnp.full(8000, x, float), jnp.zeros(8000)) for x in (p, 1 - p))
    assert (np.diff(np.asarray(_draw(uniform, jnp.full(8000, n), *odds))) >= 0).all()


_draw = jax.jit(_binomial.draw)


def test_multinomial_follows_its_law_as_a_whole_vector():
    p, n, rows = np.array([0.5, 0.125, 0.0, 0.375]), 4, 1_000_000
    drawn = np.asarray(multinomial(jr.key(3), jnp.full(rows, n), jnp.asarray(p, float)))
    vectors = [x for x in product(range(n + 1), repeat=4) if sum(x) == n and x[2] == 0]
    code = drawn @ (n + 1) ** np.arange(4)
    seen = np.array([(code == np.dot(x, (n + 1) ** np.arange(4))).sum() for x in vectors])
    assert seen.sum() == rows
    assert stats.chisquare(seen, rows * stats.multinomial.pmf(vectors, n, p)).pvalue > LEVEL


@pytest.fixture(params=["cpu", "gpu"])
def backend(request, monkeypatch):
    """The chains of both kinds of device, on this one."""
    monkeypatch.setattr(jax, "default_backend", lambda: request.param)
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.mark.parametrize(("v", "n"), [(40, 500), (256, 10_000)])
def test_multinomial_gives_every_token_its_rate(v, n, backend):
    """Pooled over rows the counts are Multinomial(rows · n, p); the number of unseen tokens has mean Σ (1 − p_i)^n."""
    rows, p = 2_000_000 // v, np.float32(1) / np.arange(1, v + 1, dtype=np.float32)
    drawn = np.asarray(jax.vmap(lambda key: multinomial(key, n, jnp.asarray(p)))(jr.split(jr.key(4), rows)))
    share = p.astype(float) / p.astype(float).sum()
    assert (drawn.sum(1) == n).all() and drawn.min() >= 0
    assert stats.chisquare(drawn.sum(0), rows * n * share).pvalue > LEVEL
    unseen = (drawn == 0).sum(1)
    due = np.exp(n * np.log1p(-share)).sum()
    assert abs(unseen.mean() - due) <= 4 * unseen.std() / np.sqrt(rows) + 1e-9


def test_pairs_of_counts_have_the_multinomial_covariance():
    rows, v, n = 20_000, 70, 300
    p = np.random.default_rng(1).dirichlet(np.ones(v)).astype(np.float32)
    drawn = np.asarray(multinomial(jr.key(5), jnp.full(rows, n), jnp.asarray(p))).astype(float)
    share = p.astype(float) / p.astype(float).sum()
    centred = drawn - n * share
    contrasts = np.random.default_rng(2).standard_normal((v, 40))
    squared = (centred @ contrasts) ** 2
    due = n * (share @ contrasts**2 - (share @ contrasts) ** 2)
    t = (squared.mean(0) - due) / (squared.std(0) / np.sqrt(rows))
    assert np.abs(t).max() <= stats.t.isf(LEVEL / 40, rows - 1)


def test_rare_tokens_keep_their_rate(backend):
    """Weights from 10⁻⁷ to 10⁻¹², before, between and after the common ones; 10¹² trials in all."""
    rare = 10.0 ** -np.arange(7, 13)
    p = np.concatenate([rare, [0.5], rare, np.full(60, 0.005), rare, [0.2], rare]).astype(np.float32)
    rows, n = 10_000, 10**8
    drawn = np.asarray(multinomial(jr.key(6), jnp.full(rows, n), jnp.asarray(p))).astype(np.int64).sum(0)
    due = rows * n * p.astype(float) / p.astype(float).sum()
    few = p < 1e-6
    below, above = stats.poisson.cdf(drawn[few], due[few]), stats.poisson.sf(drawn[few] - 1, due[few])
    assert min(below.min(), above.min()) > LEVEL / (2 * few.sum())


def test_zero_weights_are_never_drawn_and_counts_add_up(precision, backend):
    rng = np.random.default_rng(7)
    p = rng.dirichlet(np.ones(300), 400) * (rng.random((400, 300)) < rng.random((400, 1)) ** 2)
    p[:, 17] += 1e-3
    p[0] = np.eye(300)[299]
    n = np.concatenate([[2**31 - 1, 0, 1, 2, 3], np.geomspace(5, 2**31 - 1, 395).astype(np.int64)])
    drawn = np.asarray(multinomial(jr.key(8), n, jnp.asarray(p, float)))
    assert (drawn.astype(np.int64).sum(1) == n).all() and drawn.min() >= 0
    assert (drawn[np.asarray(jnp.asarray(p, float)) == 0] == 0).all()


def test_scale_of_the_weights_does_not_matter():
    p = jnp.asarray([1.0, 3.0, 0.0, 4.0])
    same = [multinomial(jr.key(9), 1000, p * 2.0**power) for power in (0, -60, 60)]
    assert (same[0] == same[1]).all() and (same[0] == same[2]).all()


@pytest.mark.parametrize("v", [1, 2, 70])
def test_vmapped_scanned_and_jitted_draws_equal_single_draws(v):
    keys, p = jr.split(jr.key(10), 7), jnp.arange(1.0, v + 1.0)
    draw = lambda key, n: multinomial(key, n, p)
    n = jnp.asarray([1, 10, 100, 1000, 10**5, 10**7, 2**31 - 1])
    single = jnp.stack([draw(key, size) for key, size in zip(keys, n, strict=True)])
    scanned = jax.lax.scan(lambda _, x: (None, draw(*x)), None, (keys, n))[1]
    for other in (jax.vmap(draw)(keys, n), jax.jit(jax.vmap(draw))(keys, n), scanned):
        assert (other == single).all()


def test_keys_of_every_kind_draw():
    p = jnp.ones(5)
    typed = multinomial(jr.key(11), 100, p)
    assert (multinomial(jr.PRNGKey(11), 100, p) == typed).all()
    assert (multinomial(jr.key(12), 100, p) != typed).any()
    for kind in ("rbg", "unsafe_rbg"):
        first, second = (multinomial(jr.key(seed, impl=kind), 100, p) for seed in (11, 12))
        assert first.sum() == 100 and (first != second).any()


def test_arguments_broadcast():
    assert binomial(jr.key(0), jnp.ones((3, 1), int), jnp.full(4, 0.5)).shape == (3, 4)
    assert multinomial(jr.key(0), 5, jnp.ones((2, 3))).shape == (2, 3)
    assert multinomial(jr.key(0), jnp.full((4, 1), 9), jnp.ones((2, 3))).sum(-1).tolist() == [[9, 9]] * 4
    assert len(np.unique(np.asarray(binomial(jr.key(0), jnp.full(100, 10**6), 0.5)))) > 90


P = np.array([0.5, 0.5])
BAD = (
    (lambda key: multinomial(key, 3, np.array([0.5, -0.1])), "p: got -0.1"),
    (lambda key: multinomial(key, 3, np.array([0.5, np.nan])), "p: got nan"),
    (lambda key: multinomial(key, 3, np.zeros(2)), "p: got weights with a sum of zero"),
    (lambda key: multinomial(key, 3, np.zeros((2, 0))), "p: got shape"),
    (lambda key: multinomial(key, np.array([1, 2, 3]), np.ones((2, 2))), "n, p.*: got shapes"),
    (lambda key: multinomial(key, -1, P), "n: got -1"),
    (lambda key: multinomial(key, 2.5, P), "n: got 2.5"),
    (lambda key: multinomial(key, np.inf, P), "n: got inf"),
    (lambda key: multinomial(key, np.nan, P), "n: got nan"),
    (lambda key: multinomial(key, 2**31, P), "n: got 2147483648"),
    (lambda key: multinomial(key, 2**70, P), "n: got"),
    (lambda key: binomial(key, 3, 1.5), "p: got 1.5"),
    (lambda key: binomial(key, 3, np.nan), "p: got nan"),
    (lambda key: binomial(key, np.array([1, 2, 3]), P), "n, p: got shapes"),
)


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(jr.key(0))


def test_traced_bad_input_gives_minus_one_in_that_row_alone():
    p = jnp.asarray([[0.5, 0.5], [0.5, -0.1], [jnp.nan, 1.0], [0.0, 0.0], [0.0, 0.0], [jnp.inf, 1.0], [1.0, 3.0]])
    drawn = jax.jit(multinomial)(jr.key(0), jnp.asarray([5, 5, 5, 5, 0, 5, -1]), p)
    assert (drawn == -1).all(1).tolist() == [False, True, True, True, False, True, True]
    assert drawn[0].sum() == 5 and drawn[4].tolist() == [0, 0]
    sizes = jax.jit(multinomial)(jr.key(0), jnp.asarray([4.0, 2.5, -1.0, jnp.nan, jnp.inf, 2.0**31]), jnp.ones((6, 2)))
    assert (sizes == -1).all(1).tolist() == [False, True, True, True, True, True]
    shares = jax.jit(binomial)(jr.key(0), jnp.full(5, 3), jnp.asarray([0.5, 1.5, -0.5, jnp.nan, 1.0]))
    assert (shares == -1).tolist() == [False, True, True, True, False] and shares[4] == 3


KNOWN_KEY = jr.key(3)


def test_an_n_that_is_known_while_tracing_gives_the_draws_of_a_traced_one():
    p = jnp.array([0.1, 0.2, 0.3, 0.4])
    rows = jnp.stack([p, p[::-1]])
    for n in (0, 5, 128, 129, 10**6, np.array([3, 128]), np.array([7, 5000]), np.float32(500)):
        traced = jax.jit(multinomial)(KNOWN_KEY, n, rows)
        array = jnp.asarray(n)
        for drawn in (multinomial(KNOWN_KEY, n, rows), jax.jit(lambda k, n=n: multinomial(k, n, rows))(KNOWN_KEY)):
            assert np.array_equal(drawn, traced)
        assert np.array_equal(jax.jit(lambda k, array=array: multinomial(k, array, rows))(KNOWN_KEY), traced)


def test_an_invalid_row_leaves_its_neighbours_alone():
    rows = jnp.array([[-1.0, 2.0], [1.0, 1.0]])
    good = jax.jit(multinomial)(KNOWN_KEY, np.array([200, 10]), jnp.abs(rows))
    for draw in (jax.jit(multinomial), lambda k, n, p: jax.jit(lambda p: multinomial(k, n, p))(p)):
        drawn = draw(KNOWN_KEY, np.array([200, 10]), rows)
        assert np.array_equal(drawn[0], [-1, -1]) and np.array_equal(drawn[1], good[1])


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda k: binomial(k, 5, 2.0), "p: got 2.0"),
        (lambda k: multinomial(k, 5, np.array([-1.0, 2.0])), "p: got -1.0"),
        (lambda k: multinomial(k, 5, np.zeros(2)), "p: got weights with a sum of zero"),
        (lambda k: multinomial(k, 5, np.array([1e37, 3e37])), r"p: got 3.0\d*e\+37, expected finite weights from 0 to"),
        (lambda k: binomial(k, np.float32(2**31), 0.5), "n: got 2147483648.0"),
        (lambda k: poisson(k, -1.0), "mean: got -1.0"),
        (lambda k: hypergeometric(k, np.array([1, 2]), 9), "n: got 9"),
    ],
)
def test_concrete_misuse_is_found_inside_a_trace_too(draw, message):
    for call in (draw, jax.jit(draw)):
        with pytest.raises(ValueError, match=message):
            call(KNOWN_KEY)


@pytest.mark.parametrize(
    ("key", "message"), [(jr.split(KNOWN_KEY, 2), r"shape \(2,\), expected one"), (0, "got 0"), (None, "got None")]
)
def test_what_is_no_single_key_is_refused(key, message):
    with pytest.raises(ValueError, match=f"key: .*{message}"):
        _words.cipher(key)
