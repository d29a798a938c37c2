"""How the runs of learners that are trained by gradient descent answer a claim: `estimates` for these experiments."""

import math

from experiments.ledger.estimates import Estimate, Measure, Run, mean, near, quotient


def softmax(start: str, i: int, j: int, over_table: bool = False) -> Measure:
    """neural_phase_map: r_T in the cell (n, α) with these places, or r_T over the table's, which is not its value."""

    def measure(run: Run) -> Estimate:
        exact = run.found["exact"][i, j]
        x = run.data[start].transpose("n", "alpha", "lineage").values[i, j]
        return mean(x / exact, math.nan) if over_table else mean(x, exact)

    return measure


def logistic(regime: str) -> Measure:
    """logistic: error of β at T over that of generation 0, at the largest n; exact for n → ∞."""

    def measure(run: Run) -> Estimate:
        cell = run.found[0]["coefficients", regime]
        ours, se = (cell[name][-1, -1] for name in ("mean", "se"))
        return Estimate(ours, se, cell["exact"][-1], run.data.sizes["lineage"])

    return measure


def distilled(name: str, labels: str, i: int, j: int) -> Measure:
    """distillation: r_T of a learner in cell (n, α) with these places."""

    def measure(run: Run) -> Estimate:
        ours, se = (x[i, j, -1] for x in run.found[name, labels])
        exact = run.found[f"exact {labels}"][i, j, -1] if name == "table" else math.nan
        return Estimate(ours, se, exact, run.found["lineages"])

    return measure


def autoencoder(target: str, quantity: str, noise: float, alpha: float) -> Measure:
    """vae_digits: a quantity of the last generation over that of generation 0."""

    def measure(run: Run) -> Estimate:
        x = near(run.data[f"{target}_{quantity}"], noise=noise, alpha=alpha).transpose("lineage", "generation").values
        return quotient(x[:, -1], x[:, 0], math.nan)

    return measure


def slope(name: str, alpha: float) -> Measure:
    """calibration: slope of the truth on what a table or a softmax says, at T; exact for tables."""

    def measure(run: Run) -> Estimate:
        i = int(abs(run.found["alpha"] - alpha).argmin())
        ours, se = (x[i, -1] for x in run.found[name]["slope"])
        exact = run.found["exact"]["slope"][i, -1] if name == "table" else math.nan
        return Estimate(ours, se, exact, run.data.sizes["lineage"])

    return measure
