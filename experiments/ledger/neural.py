"""How the runs of learners that are trained by gradient descent answer a claim: `estimates` for these experiments."""

import math

from experiments.ledger.estimates import Estimate, Measure, Run, apart, mean, near, quotient


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


def language(decoding: str, workflow: int, quantity: str = "perplexity") -> Measure:
    """language_collapse: perplexity on real text, or another quantity, of the last generation over generation 0."""

    def measure(run: Run) -> Estimate:
        x = run.found["each"][quantity][run.found["decodings"].index(decoding), workflow]
        return quotient(x[:, -1], x[:, 0], math.nan)

    return measure


def penalised(workflow: int) -> Measure:
    """language_collapse: perplexity on real text of the last generation under five beams, penalised over plain."""

    def measure(run: Run) -> Estimate:
        x = run.found["each"]["perplexity"][:, workflow, :, -1]
        ours, plain = (run.found["decodings"].index(f"five beams{more}") for more in (" with penalty 2", ""))
        return quotient(x[ours], x[plain], math.nan)

    return measure


def transformer(name: str, i: int, j: int, over_table: bool = False) -> Measure:
    """neural_phase_transformer: a quantity in the cell (n, α) with these places, or a risk over the table's."""

    def measure(run: Run) -> Estimate:
        x = run.data[name].transpose("n", "alpha", "lineage").values[i, j]
        return mean(x / run.found["table"][i, j] if over_table else x, math.nan)

    return measure


def lost(arm: str, alpha: float) -> Measure:
    """experts: KL that the loop costs this arm over what it costs the dense one, to first order in all four means."""

    def measure(run: Run) -> Estimate:
        ours, dense = run.found[arm, alpha], run.found["dense", alpha]
        ends, alone = quotient(ours["lost"], dense["lost"], math.nan), ours["lost"].mean() / dense["lost"].mean()
        real = (ours["alone"] - alone * dense["alone"]).std(ddof=1) / math.sqrt(ours["alone"].size)
        return ends._replace(se=math.hypot(ends.se, real / dense["lost"].mean()))

    return measure


def load(arm: str, alpha: float) -> Measure:
    """experts: evenness of the loads at T over that at t = 1."""

    def measure(run: Run) -> Estimate:
        x = near(run.data[f"{arm}_load"], alpha=alpha).transpose("lineage", "generation").values.astype(float)
        return quotient(x[:, -1], x[:, 0], math.nan)

    return measure


def moved(task: str, alpha: float) -> Measure:
    """thresholds: the width or rank at the threshold over that of clean training, at T."""

    def measure(run: Run) -> Estimate:
        one, at = run.found[task], lambda a: int(abs(run.found["alpha"] - a).argmin())
        ours, clean = (one["threshold"][at(a), -1] for a in (alpha, 1.0))
        se = math.hypot(*(one["threshold se"][at(a), -1] for a in (alpha, 1.0)))
        factor = 2 ** (ours - clean)
        return Estimate(factor, factor * math.log(2) * se, math.nan, run.found["lineages"])

    return measure


def datastore(weight: float, over: float | None = None) -> Measure:
    """neighbours: released r_T with this λ over that with another, or over what it is for a table."""

    def measure(run: Run) -> Estimate:
        last = lambda w: near(run.data.released, weight=w).isel(generation=-1).values
        if over is not None:
            return apart(mean(last(weight), math.nan), mean(last(over), math.nan))
        i = int(abs(run.found["weight"] - weight).argmin())
        return mean(last(weight) / run.found["exact released"][i, -1], math.nan)

    return measure
