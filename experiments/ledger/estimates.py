"""How a finished run answers a claim: ours with its standard error over lineages, and the exact value of the theory.

Each function makes the `measure` of one kind of row, `Run -> Estimate`. Exact values are computed for the settings of
the very run that is read, in double precision; none is typed in.
"""

import functools
import json
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

import jaxcollapse as jc


class Estimate(NamedTuple):
    """What a run shows; se NaN: computed and not drawn, exact NaN: no exact value is known."""

    ours: float
    se: float = math.nan
    exact: float = math.nan
    lineages: int = 0


class Run:
    """A finished run with the module that made it; what `analyse` finds is computed once."""

    def __init__(self, here: ModuleType, data: xr.Dataset):
        self.here, self.data, self.settings = here, data, json.loads(data.attrs["settings"])

    @functools.cached_property
    def found(self) -> Any:
        return self.here.analyse(self.data)


Measure = Callable[[Run], Estimate]


def mean(lineages, exact, unit: float = 1.0) -> Estimate:
    """Mean and standard error over lineages."""
    x = unit * np.asarray(lineages, float).ravel()
    return Estimate(x.mean(), x.std(ddof=1) / math.sqrt(x.size), float(exact), x.size)


def quotient(x, y, exact) -> Estimate:
    """Quotient of two means over the same lineages, its error to first order."""
    x, y = (np.asarray(values, float).ravel() for values in (x, y))
    ours, spread = x.mean() / y.mean(), (x / x.mean() - y / y.mean()).std(ddof=1)
    return Estimate(ours, abs(ours) * spread / math.sqrt(x.size), float(exact), x.size)


def apart(x: Estimate, y: Estimate) -> Estimate:
    """Quotient of two independent estimates, its error to first order."""
    ours = x.ours / y.ours
    return Estimate(ours, abs(ours) * math.hypot(x.se / x.ours, y.se / y.ours), x.exact / y.exact, x.lineages)


def near(data: xr.DataArray | xr.Dataset, **labels: float) -> Any:
    """The cell with these labels; `KeyError` where the run has none."""
    return data.sel(labels, method="nearest", tolerance=1e-6)


def inflation(family: str, regime: str, n: float) -> Measure:
    """accumulate_vs_replace: error of the last generation over that of generation 0."""

    def measure(run: Run) -> Estimate:
        exact = run.here.exact(family, regime, n, run.settings["generations"], run.settings["dimension"])
        return mean(near(run.data[f"{family}, {regime}"], n=n).isel(generation=-1), exact[-1])

    return measure


def improved(factor: float, generation: int) -> Measure:
    """improvement: r_t/r_0 at α_1 = 0.1, n_1 = f n_0."""

    def measure(run: Run) -> Estimate:
        r = run.here.exact([0.1], [factor], run.settings)[0][0, 0]
        x = near(run.data.risk, alpha=0.1, factor=factor, generation=generation)
        return mean(x / r[0], r[generation] / r[0])

    return measure


def contradictions(run: Run) -> Estimate:
    """improvement: cells whose first generation is on the wrong side of the threshold."""
    exact, simulated = (run.found[f"{kind} verdicts"]["first generation"] for kind in ("exact", "simulated"))
    return Estimate(float((exact != simulated)[run.found["clear"]].sum()))


def check_point(a: float, b: float) -> Measure:
    """phase_horizons: r_T at (a, b)."""

    def measure(run: Run) -> Estimate:
        alpha, n = run.here.schedules(a, b, run.settings["a0"], run.settings["n0"])
        exact = jc.theory.risk(alpha, n, run.settings["generations"])[-1]
        return mean(near(run.data.risk, decay=a, growth=b).isel(generation=-1), exact)

    return measure


def boundary(a: float) -> Measure:
    """phase_boundary: where r_T = ½ is crossed at decay a; s.e. from its 95 % interval."""

    def measure(run: Run) -> Estimate:
        i, found = int(abs(run.found["a"] - a).argmin()), run.found["boundary"]
        se = (found.high[i] - found.low[i]) / (2 * 1.96)
        return Estimate(found.root[i], se, run.found["exact boundary"][i], run.found["lineages"])

    return measure


def coverage(run: Run) -> Estimate:
    """phase_boundary: share of slices whose 95 % interval holds the exact boundary; s.e. of a binomial share."""
    found, exact = run.found["boundary"], run.found["exact boundary"]
    inside = ((found.low <= exact) & (exact <= found.high))[np.isfinite(found.root) & np.isfinite(exact)]
    return Estimate(inside.mean(), math.sqrt(0.95 * 0.05 / inside.size), 0.95, inside.size)


def strategy(name: str, over: str = "", a: float = 0.5, b: float = 1.0) -> Measure:
    """strategies: risk of one at T, or its quotient with that of another."""

    def measure(run: Run) -> Estimate:
        here, cells = near(run.data, decay=a, growth=b).isel(generation=-1), run.found["cells"]
        exact = cells[a, b, name]["exact"][-1]
        return (
            quotient(here[name], here[over], exact / cells[a, b, over]["exact"][-1])
            if over
            else mean(here[name], exact)
        )

    return measure


def slope(run: Run) -> Estimate:
    """strategies: −d ln R/d ln t of A over the last factor of time."""
    cell = run.found["cells"][0.5, 1.0, "A"]
    return Estimate(cell["slope"], cell["slope se"], cell["exact slope"], run.found["lineages"])


def share(name: str, workflow: str, n: float = 100.0) -> Measure:
    """real_share: a quantity of a class of models at T."""

    def measure(run: Run) -> Estimate:
        exact = run.here.exact(name, workflow, n, run.settings["generations"], run.settings["dimension"])
        return mean(run.here.samples(run.data, name, workflow, n)[:, -1], exact[-1])

    return measure


def bigrams(name: str, workflow: int, start: bool = False) -> Measure:
    """real_text: a quantity of Shakespeare's word pairs at T, or over that of generation 0."""

    def measure(run: Run) -> Estimate:
        cell = run.found[0]
        exact = np.asarray(cell["exact"][name][workflow])
        ours, se = (cell[kind][name][workflow][-1] for kind in ("mean", "se"))
        unit = 1 / exact[0] if start else 1.0
        return Estimate(unit * ours, unit * se, unit * exact[-1], run.data.sizes["lineage"])

    return measure


def best_weight(i: int) -> Measure:
    """golden_ratio: where a cubic through nine cells is least, through exact and simulated values alike."""

    def measure(run: Run) -> Estimate:
        _, _, exact, ours, se = run.found["minima"][i]
        return Estimate(ours, se, exact, run.found["lineages"])

    return measure


def least_risk(run: Run) -> Estimate:
    """golden_ratio: n_r r at the weight of the grid nearest to the best one, k = 1."""
    found, n_r = run.found, run.settings["synthetic"]
    j = abs(found["weight"] - found["best"][1]).argmin()
    ours, se, exact = (n_r * found[name][1, j] for name in ("mean", "se", "exact"))
    return Estimate(ours, se, exact, found["lineages"])


@functools.cache
def laws_of(exact: Callable, n: float, generations: int) -> dict[str, np.ndarray]:
    """What several rows ask for."""
    return exact(n, generations)


def normal(quantity: str, n: float, k: int) -> Measure:
    """gaussian_collapse: a mean after k fits."""

    def measure(run: Run) -> Estimate:
        exact = laws_of(run.here.exact, n, run.settings["generations"])[quantity][k - 2]
        ours, se = (float(near(run.data[x], n=n, generation=k - 1)) for x in (quantity, f"{quantity}_se"))
        return Estimate(ours, se, float(exact), run.settings["lineages"])

    return measure


def rare(name: str, alpha: float) -> Measure:
    """rare_tokens: a quantity at T for Zipf's law, exponent 1."""

    def measure(run: Run) -> Estimate:
        i = run.data.alpha.values.tolist().index(alpha)
        ours, se, exact = (run.found[kind][name][i, 0, -1] for kind in ("mean", "se", "exact"))
        return Estimate(ours, se, exact, run.found["lineages"])

    return measure


def good_turing(run: Run) -> Estimate:
    """rare_tokens: (hapaxes/n) over missing mass at α = 0.1, T."""
    here, i = near(run.data, alpha=0.1, exponent=1.0).isel(generation=-1), run.data.alpha.values.tolist().index(0.1)
    hapaxes, missing = (run.found["exact"][name][i, 0, -1] for name in ("hapaxes", "missing"))
    return quotient(here["hapaxes"], here["missing"], hapaxes / missing)


def errors(cell: tuple[int, int, int]) -> Measure:
    """three_errors: squared error at T with these errors on."""

    def measure(run: Run) -> Estimate:
        ours, se, terms = (run.found[kind][cell][-1] for kind in ("mean", "se", "terms"))
        return Estimate(ours, se, terms.sum(), run.data.sizes["lineage"])

    return measure


def node(graph: str, over: str = "") -> Measure:
    """network: relative risk of a node at T without real data, or its quotient with that in another graph."""

    def measure(run: Run) -> Estimate:
        def here(name):
            at = (run.found["graphs"].index(name), run.found["alpha"].tolist().index(0.0), -1, 0)
            ours, se, exact = (run.found[kind][at] for kind in ("mean", "se", "exact"))
            return Estimate(ours, se, exact, run.found["lineages"])

        return apart(here(graph), here(over)) if over else here(graph)

    return measure


def dominated(vocab: int, temperature: float, start: int) -> Measure:
    """temperature: largest mass at T; start 0: from the truth, 1: from a dominated law."""

    def measure(run: Run) -> Estimate:
        exact = run.here.exact(run.settings["alpha"], vocab, temperature, bool(start))
        return mean(near(run.data.largest, vocab=vocab, temperature=temperature).isel(start=start), exact)

    return measure


def paths(name: str, a: float) -> Measure:
    """phase_paths: changes of the dominant one of two tokens, or departures less their own chances, b = 0."""

    def measure(run: Run) -> Estimate:
        cell = next(c for c in run.found if (c["a"], c["b"]) == (a, 0.0))
        ours, se = cell[name]
        return Estimate(ours, se, cell["two"] if name == "pair" else 0.0, run.data.sizes["lineage"])

    return measure


def exponential(rho: float, g: float) -> Measure:
    """phase_schedules: r_T at α = 0.1, n = 100."""

    def measure(run: Run) -> Estimate:
        exact = jc.theory.risk(*run.here.schedules(0.1, 100.0, rho, g), run.settings["generations"])[-1]
        return mean(near(run.data.risk, alpha=0.1, n=100.0, rho=rho, g=g).isel(generation=-1), exact)

    return measure


def year(overtraining: int, quantile: int = 2) -> Measure:
    """data_exhaustion: 5, 10, 50, 90, 95 % quantiles of the year in which α_t leaves 1."""
    return lambda run: Estimate(float(run.here.propagated()["k", overtraining]["year"][quantile]))


def scenario(reading: str) -> Measure:
    """data_exhaustion: n_0 r at T with 300 T tokens and h = 5 %."""

    def measure(run: Run) -> Estimate:
        cell, n0 = run.found["cells"]["300 T, h = 5 %", reading], run.settings["n0"]
        ours, se, exact = (n0 * cell[name][-1] for name in ("risk", "risk se", "exact"))
        return Estimate(ours, se, exact, run.found["lineages"])

    return measure


def tokens_a_parameter(law: str, alpha: float = 1.0) -> Measure:
    """scaling_laws: best D/N at Chinchilla's budget; at α < 1 over that at α = 1, which is to be f^(−2b/(a + b))."""

    def measure(run: Run) -> Estimate:
        at = run.data.sel(compute=run.here.BUDGET, method="nearest")
        best = at[f"{law}_tokens"] / at[f"{law}_parameters"]
        if alpha == 1:
            return Estimate(float(best.sel(alpha=1.0)))
        exact = jc.theory.survival_factor(alpha) ** -run.here.gain(run.here.LAWS[law])
        return Estimate(float(near(best, alpha=alpha) / near(best, alpha=1.0)), exact=float(exact))

    return measure


def excess_loss(law: str) -> Measure:
    """scaling_laws: loss at D/N = 20 over the least one at Chinchilla's budget, nats a token."""

    def measure(run: Run) -> Estimate:
        budget, constants = run.here.BUDGET, run.here.LAWS[law]
        loss = lambda n, d: jc.theory.contaminated_loss(n, d, 1.0, constants)
        best = loss(*jc.theory.compute_optimal(budget, 1.0, constants))
        return Estimate(float(loss(*jc.theory.fixed_ratio(budget, 20.0)) - best))

    return measure


def lost_exponent(alpha: int) -> Measure:
    """missing_mass: −d ln E/d ln n at the share with this number."""

    def measure(run: Run) -> Estimate:
        x = run.found["missing"]
        ours, se, exact = run.here.slope(run.found["n"], x["mean"][alpha], x["se"][alpha], x["exact"][alpha])
        return Estimate(ours, se, exact, run.found["lineages"])

    return measure


def lost_ratio(alpha: int) -> Measure:
    """missing_mass: E(α)/E(1) at the largest n, two independent runs."""

    def measure(run: Run) -> Estimate:
        x, lineages = run.found["missing"], run.found["lineages"]
        cells = (Estimate(x["mean"][i, -1], x["se"][i, -1], x["exact"][i, -1], lineages) for i in (alpha, 0))
        return apart(*cells)

    return measure
