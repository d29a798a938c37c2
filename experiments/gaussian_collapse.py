"""How fast does a normal law collapse that is fitted to its own draws, and do its numbers agree with the exact laws?

    (μ_t, σ_t²) fitted to n draws of N(μ_{t−1}, σ_{t−1}²), no real data after generation 0,  k = t + 1 fits

    variance          unbiased: E σ² = 1 at every k, carried by ever fewer lineages, while the median falls as e^(−k/2n)
                      maximum likelihood: E σ² = (1 − 1/n)^k
    distance          E W2² = k/n + 2(1 − c₄^k) ≈ (3/2) k/n, without bound (Shumailov et al., Nature 631:755)
    tails             P(σ_k > ε) against its bound e^(−k/(4n − 1))/ε (Suresh et al., arXiv 2412.17646, Theorem 3)
    accumulation      E σ² = Π_j (1 − 1/(n j²)) → sin(π/√n)/(π/√n): no collapse (Kazdan et al., arXiv 2410.16713)

    jaxcollapse run experiments/gaussian_collapse.py
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
from scipy import stats

import jaxcollapse as jc

AXES = {"n": np.array([10.0, 100.0])}
EPSILON = 0.1
# 95 of 100 lineages lie between these standard deviations of ln σ, whose law is nearly normal.
BAND = 1.96
LOOKS = {  # colour, line and marker of each workflow
    "unbiased": ("#0072B2", "-", "o"),
    "likelihood": ("#D55E00", "-.", "s"),
    "accumulate": ("#009E73", "-", "^"),
}


def experiment(n, *, key, generations=199, lineages=20_000):
    """W2², σ and ln σ of lineages without real data, with both variances, and σ with accumulation."""
    truth = jc.Normal(0.0, 1.0)
    times = np.arange(1, generations + 1)
    found: dict[str, tuple] = {"generation": ("generation", times, {"long_name": "generation t"})}

    def record(lineage, batch):
        mean, sigma = lineage.model.mean[0], lineage.model.factor[0, 0]
        return mean**2 + (sigma - 1) ** 2, sigma

    for i, (name, learner, regime) in enumerate(workflows()):
        loop = jc.Loop(target=truth, learner=learner, regime=regime, alpha=jc.Constant(0.0), n=jc.Constant(n))
        own = jax.random.fold_in(key, i)
        _, (distance, sigma) = jc.ensemble(loop, generations, lineages=lineages, key=own, record=record)
        statistics = {
            "sigma2": (sigma**2, f"σ², {name}"),
            "log_sigma": (jnp.log(sigma), f"ln σ, {name}"),
            "w2": (distance, f"W2², {name}"),
            "alive": ((sigma > EPSILON).astype(float), f"σ > {EPSILON}, {name}"),
        }
        for quantity, (value, label) in statistics.items():
            mean, error = value.mean(0), value.std(0, ddof=1) / np.sqrt(lineages)
            found[f"{quantity}_{name}"] = ("generation", mean, {"long_name": f"mean of {label}"})
            found[f"{quantity}_{name}_se"] = ("generation", error, {"long_name": f"standard error of {label}"})
        quantiles = jnp.quantile(sigma, jnp.array([0.025, 0.5, 0.975]), 0)
        found[f"quantiles_{name}"] = (("quantile", "generation"), quantiles, {"long_name": f"quantiles of σ, {name}"})
    return found


def workflows():
    return (
        ("unbiased", jc.Gaussian(unbiased=True), jc.Replace()),
        ("likelihood", jc.Gaussian(), jc.Replace()),
        ("accumulate", jc.Gaussian(), jc.Accumulate()),
    )


def exact(n, generations):
    """The exact means of t = 1..T by quantity and workflow, and the bound on survival."""
    size, nothing = jc.Constant(n), jc.Constant(0.0)
    fits = np.arange(2, generations + 2)
    with jax.enable_x64(True):
        later = lambda x: np.asarray(x)[1:]
        found = {"sigma2_accumulate": later(jc.theory.gaussian_accumulation(n, generations))}
        for name, unbiased in (("unbiased", True), ("likelihood", False)):
            found[f"sigma2_{name}"] = later(jc.theory.gaussian(nothing, size, generations, unbiased=unbiased).variance)
            found[f"w2_{name}"] = later(jc.theory.gaussian_wasserstein(size, generations, unbiased=unbiased))
            scale = jc.theory.gaussian_log_scale(size, generations, unbiased=unbiased)
            found[f"log_sigma_{name}"], found[f"spread_{name}"] = later(scale.mean), later(np.sqrt(scale.variance))
            found[f"alive_{name}"] = jc.theory.gaussian_survival(EPSILON, int(n), fits, unbiased=unbiased)
        found["bound"] = later(jc.theory.gaussian_survival_bound(EPSILON, n, generations))
    return found


NAMES = {
    "sigma2_accumulate": "E σ², accumulate",
    "sigma2_likelihood": "E σ², likelihood",
    "log_sigma_unbiased": "E ln σ, unbiased",
    "log_sigma_likelihood": "E ln σ, likelihood",
    "w2_unbiased": "E W2², unbiased",
    "w2_likelihood": "E W2², likelihood",
    "alive_unbiased": f"P(σ > {EPSILON}), unbiased",
    "alive_likelihood": f"P(σ > {EPSILON}), likelihood",
}
TIMES = (20, 100)  # fits k at which the table compares, beside the last


def comparisons(run, lineages):
    """(quantity, n, k, exact, ours, standard error, z) wherever the mean over lineages can be tested, the last k too.

    A mean that a few lineages carry (k > 2n for moments of σ and of W2) or a share of them that no one has reached has
    no standard error worth the name.
    """
    rows, last = [], run.sizes["generation"] + 1
    for n in run.n.values:
        known = exact(float(n), run.sizes["generation"])
        for quantity, label in NAMES.items():
            for k in (*(k for k in TIMES if k < last), last):
                at = {"n": n, "generation": k - 1}
                value, se = (float(run[name].sel(at)) for name in (quantity, f"{quantity}_se"))
                due = float(known[quantity][k - 2])
                moment = quantity.startswith(("w2", "sigma2_likelihood")) and k > 2 * n
                rare = quantity.startswith("alive") and lineages * min(due, 1 - due) < 20
                if not (moment or rare):
                    rows.append((label, int(n), k, due, value, se, (value - due) / se))
    return rows


def summary(run):
    """The table of exact values beside ours, and the worst of the comparisons."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    lineages = json.loads(run.attrs["settings"])["lineages"]
    rows = comparisons(run, lineages)
    table = Table(title=f"Exact value, and the mean over {lineages:,} lineages", box=SIMPLE, collapse_padding=True)
    for name in ("quantity", "n", "fits k", "exact", "ours ± s.e.", "z"):
        table.add_column(name, justify="left" if name == "quantity" else "right")
    for label, n, k, due, value, se, z in rows:
        table.add_row(label, str(n), str(k), f"{due:.5f}", f"{value:.5f} ± {se:.5f}", f"{z:+.2f}")
    bound = stats.t.isf(5e-4 / len(rows), lineages - 1)
    worst = max(abs(row[-1]) for row in rows)
    told = f"worst |z| {worst:.2f} over {len(rows)} comparisons (bound {bound:.2f})"
    return Group(table, told, "left out: moments at k > 2n, which rare lineages carry, and shares of fewer than 20")


def figure(run):
    """σ with its quantiles, W2² and the survival of tails: ours against the exact curves, one row a sample size."""
    import matplotlib.pyplot as plt

    sizes = run.n.values
    drawn, axes = plt.subplots(len(sizes), 3, figsize=(14, 4.1 * len(sizes) + 0.9), layout="constrained", squeeze=False)
    for row, n in zip(axes, sizes, strict=True):
        one, known = run.sel(n=n), exact(float(n), run.sizes["generation"])
        fits = one.generation.values + 1
        _scales(row[0], fits, one, known)
        _distances(row[1], fits, one, known, n)
        _tails(row[2], fits, one, known)
        for ax in row:
            ax.set_title(f"n = {n:g}", fontsize=11)
            ax.set_xlabel("fits k = t + 1")
    _key(drawn)
    drawn.suptitle(
        "A normal law fitted to its own draws: most lineages lose their scale and their tails while the mean distance "
        "grows; accumulated data keep the scale\n"
        f"α = 0; points: simulated ± 2 s.e. ({json.loads(run.attrs['settings'])['lineages']:,} lineages); lines: exact",
        fontsize=12,
    )
    return drawn


def _key(drawn):
    """One legend for all panels."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    names = {"unbiased": "unbiased variance", "likelihood": "maximum likelihood", "accumulate": "accumulated, √E σ²"}
    keys = [
        Line2D([], [], color=LOOKS[name][0], ls=LOOKS[name][1], marker=LOOKS[name][2], ms=4, label=label)
        for name, label in names.items()
    ]
    keys += [
        Line2D([], [], color="black", marker="_", ls="", label="95 % of lineages; shaded: E ln σ ± 1.96 s.d."),
        Line2D([], [], color="0.3", ls=":", label="(3/2) k/n"),
        Line2D([], [], color="black", ls="--", label="bound on the unbiased"),
        Patch(color="0.85", label="k > 2n: rare lineages carry E W2², bars are too short"),
    ]
    drawn.legend(handles=keys, loc="outside lower center", ncols=4, frameon=False, fontsize=9)


def _shown(fits):
    return slice(min(3, len(fits) - 1), None, max(1, len(fits) // 12))


def _points(ax, fits, one, quantity, name):
    at, (colour, _, marker) = _shown(fits), LOOKS[name]
    mean, se = one[f"{quantity}_{name}"].values[at], one[f"{quantity}_{name}_se"].values[at]
    ax.errorbar(fits[at], mean, 2 * se, fmt=marker, ms=4, color=colour, capsize=2)


def _scales(ax, fits, one, known):
    at = _shown(fits)
    for name in ("unbiased", "likelihood"):
        colour, line, marker = LOOKS[name]
        middle, spread = known[f"log_sigma_{name}"], BAND * known[f"spread_{name}"]
        ax.plot(fits, np.exp(middle), color=colour, ls=line)
        ax.fill_between(fits, np.exp(middle - spread), np.exp(middle + spread), color=colour, alpha=0.15, lw=0)
        low, half, high = one[f"quantiles_{name}"].values[:, at]
        ax.plot(fits[at], half, marker, ms=4, color=colour)
        ax.plot(fits[at], low, "_", fits[at], high, "_", color=colour)
    colour, line, marker = LOOKS["accumulate"]
    ax.plot(fits, np.sqrt(known["sigma2_accumulate"]), color=colour, ls=line)
    ax.plot(fits[at], np.sqrt(one.sigma2_accumulate.values[at]), marker, ms=4, color=colour)
    ax.set_yscale("log")
    ax.set_ylabel("σ/σ*: medians, on lines e^(E ln σ)")


def _distances(ax, fits, one, known, n):
    for name in ("unbiased", "likelihood"):
        ax.plot(fits, known[f"w2_{name}"], color=LOOKS[name][0], ls=LOOKS[name][1])
        _points(ax, fits, one, "w2", name)
    ax.plot(fits, 1.5 * fits / n, color="0.3", ls=":")
    if fits[-1] > 2 * n:
        ax.axvspan(2 * n, fits[-1], color="0.85", alpha=0.6, lw=0)
    ax.set_ylim(0, 1.25 * float(known["w2_unbiased"][-1]))
    ax.set_ylabel("E W2², in units of σ*²")


def _tails(ax, fits, one, known):
    for name in ("unbiased", "likelihood"):
        ax.plot(fits, known[f"alive_{name}"], color=LOOKS[name][0], ls=LOOKS[name][1])
        _points(ax, fits, one, "alive", name)
    ax.plot(fits, known["bound"], color="black", ls="--")
    ax.set_ylim(-0.03, 1.06)
    ax.set_ylabel(f"P(σ > {EPSILON} σ*)")
