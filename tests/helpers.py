"""Statistical comparisons with stated error rates, and the code of a page."""

import re

import numpy as np
from scipy import stats


def t_bound(comparisons: int, lineages: int) -> float:
    """The largest |t| that one run in a thousand exceeds somewhere among N comparisons; 4 for a single one."""
    return 4.0 if comparisons == 1 else float(stats.t.isf(5e-4 / comparisons, lineages - 1))


def assert_mean(samples, exact, axis=0):
    """The means of the samples (`L ...`) equal the exact values within the bound for their number."""
    samples, exact = np.asarray(samples, np.float64), np.asarray(exact, np.float64)
    lineages = samples.shape[axis]
    mean, se = samples.mean(axis), samples.std(axis, ddof=1) / np.sqrt(lineages)
    assert np.isfinite(mean).all()
    assert (abs(mean - exact)[se == 0] < 1e-6).all(), "a constant sample differs from the exact value"
    z = abs(mean - exact) / np.where(se > 0, se, np.inf)
    bound = t_bound(z.size, lineages)
    assert z.max() <= bound, f"worst |t| = {z.max():.2f} at {np.unravel_index(z.argmax(), z.shape)}, bound {bound:.2f}"


def two_sample_p(a, b) -> float:
    """p-value of homogeneity of two samples of whole vectors (`L k`), rare vectors pooled."""
    both = np.concatenate([a, b])
    _, code = np.unique(both, axis=0, return_inverse=True)
    code = code.ravel()
    table = np.stack(
        [np.bincount(code[: len(a)], minlength=code.max() + 1), np.bincount(code[len(a) :], minlength=code.max() + 1)]
    )
    rare = table.sum(0) < 20
    assert table[:, rare].sum() < 0.2 * table.sum(), "too many rare vectors for a test with power"
    table = np.concatenate([table[:, ~rare], table[:, rare].sum(1, keepdims=True)], axis=1)
    table = table[:, table.sum(0) > 0]
    return float(stats.chi2_contingency(table).pvalue)


def code_blocks(page: str, language: str = "python") -> list[str]:
    """The fenced blocks of that language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.S | re.M)


def run_blocks(name: str, blocks: list[str]) -> dict:
    """Runs the blocks one after another in one namespace, and returns it."""
    names: dict = {"__name__": name}
    for code in blocks:
        exec(compile(code, name, "exec"), names)
    return names
