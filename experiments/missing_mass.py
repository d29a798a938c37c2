"""How does what a loop forgets fall with the size of its samples, and with how much of them is real?

    p_i ~ i^−β, c = 1 − 1/β       missing mass E = Σ p_i P(token i is lost)       n draws a generation, a share α real
    constant α                    E ~ (n f(α))^−c: a factor f(α)^−c, the exponent c of real text
    m = α n fresh ones, n → ∞     E ~ (2m ln(n/2m))^−c: a logarithm is left        squared risk 1/(1 + 2m): nothing is
    the same m for ever           E that of m real draws, exactly                  squared risk 1.5/m
    α = 0, retrieval of weight λ  the fitted table's law is that of α = λ, for a datastore of the truth

This is where the factor f of `scaling_laws.py` comes from, and what can be tested of it. One grid holds both readings:
n grows along rows of constant α, and along diagonals of constant inflow m = α n. The learner that memorises is that of
Hutter, arXiv 2102.04074; retrieval that of kNN-LM, arXiv 1911.00172.

    jaxcollapse run experiments/missing_mass.py
"""

import functools
import json

import jax
import jax.random as jr
import numpy as np
from scipy import stats
from scipy.interpolate import CubicSpline

import jaxcollapse as jc
from jaxcollapse import theory

AXES = {"alpha": 4.0 ** -np.arange(4), "n": 64.0 * 4.0 ** np.arange(5)}
SHORT = 16  # generations of the loops that need few
MEASURED = {
    "missing": "missing, fresh",
    "risk": "risk, fresh",
    "stock_missing": "missing, kept",
    "stock_risk": "risk, kept",
    "retrieval_missing": "missing, retrieval",
}
MARKERS = "os^vDP<>"
LABELS = (
    "missing mass, fresh: 2 ln(n/2m) + 0.2",
    "squared risk, fresh: at most 2",
    "missing mass, kept: 1",
    f"squared risk, kept: ⅔ in the end (here t = {SHORT})",
)


def experiment(alpha, n, *, key, generations=128, lineages=128, vocab=4096, exponent=2.0):
    """Missing mass and relative risk at T: real text fresh, kept, or consulted by retrieval with weight α."""
    p_star, scale = jc.zipf(vocab, exponent), jc.metrics.diversity(jc.zipf(vocab, exponent).probs)
    share, size = jc.Constant(alpha), jc.Constant(n)
    begins = jc.Piecewise((1,), (jc.Constant(alpha * n), size))

    def run(number, loop, at, table=lambda model: model):
        def record(lineage, batch):
            p = table(lineage.model).probs
            return jc.metrics.missing_mass(p, p_star.probs), jc.metrics.squared_error(p, p_star.probs) / scale

        return jc.ensemble(loop, at[-1], lineages=lineages, key=jr.fold_in(key, number), record=record, record_at=at)[1]

    memory = jc.Retrieval(jc.Tabular(), weight=alpha, datastore=p_star.probs)
    fresh = run(0, jc.Loop(p_star, jc.Tabular(), jc.Replace(), share, size), [generations])
    stock = run(1, jc.Loop(p_star, jc.Tabular(), jc.Anchor(), share, begins, split="fixed"), [1, SHORT])
    retrieval = run(2, jc.Loop(p_star, memory, jc.Replace(), jc.Constant(0.0), size), [SHORT], lambda m: m.parametric)
    found = dict(zip(MEASURED, (fresh[0], fresh[1], stock[0], stock[1], retrieval[0]), strict=True))
    return {name: ("lineage", value[:, -1], {"units": "1"}) for name, value in found.items()} | {
        "stock_change": ("lineage", abs(stock[0][:, 1] - stock[0][:, 0]), {"units": "1"})
    }


@functools.cache
def exact_missing(alpha, n, generations, vocab, exponent, largest=256):
    """E missing mass at T with a share α of fresh real draws.

    n ≤ 256: −ln P(absent)/p from two-token chains at 20 probabilities, interpolated (10⁻⁵). Above: Σ p e^(−p F_T), less
    its relative error at n = 256, which falls as 1/n at constant α (2·10⁻⁴ remain).
    """
    p, f_t = law(vocab, exponent), effective(alpha, n, generations)
    by_draws = (p * np.exp(-p * f_t)).sum()
    if n > largest:
        small = (alpha, largest, generations, vocab, exponent)
        ratio = (p * np.exp(-p * effective(*small[:3]))).sum() / exact_missing(*small)
        return by_draws / (1 + (ratio - 1) * largest / n)
    nodes = np.geomspace(max(0.003 / f_t, 0.99 * p[-1]), min(40 / f_t, 0.7), 20)
    lost = np.array([theory.two_token_chain(q, alpha, int(n)).laws(generations)[-1, 0] for q in nodes])
    rate = CubicSpline(np.log(nodes), np.log(-np.log(np.maximum(lost, 1e-300)) / nodes))
    return (p * np.exp(-p * np.exp(rate(np.log(np.clip(p, nodes[0], nodes[-1])))))).sum()


def law(vocab, exponent):
    p = np.arange(1.0, vocab + 1) ** -exponent
    return p / p.sum()


def effective(alpha, n, generations):
    return float(n) * float(theory.survival_factor(float(alpha), generations))


def exact(name, alpha, n, set_):
    """The expectation of each measured quantity in one cell."""
    tokens, generations = (set_["vocab"], set_["exponent"]), set_["generations"]
    if name == "missing":
        return exact_missing(alpha, n, generations, *tokens)
    if name == "retrieval_missing":
        return exact_missing(alpha, n, SHORT, *tokens)
    if name == "stock_missing":
        p = law(*tokens)
        return (p * (1 - p) ** (alpha * n)).sum()
    return exact_risk(name, alpha, n, generations)


@functools.cache
def exact_risk(name, alpha, n, generations):
    """Relative risk at T of fresh draws, and of m = α n that are kept at generation `SHORT`."""
    share, size = jc.Constant(alpha), jc.Constant(n)
    if name == "risk":
        return float(theory.risk(share, size, generations)[-1])
    return float(theory.retained(share, jc.Piecewise((1,), (jc.Constant(alpha * n), size)), SHORT)[-1])


def analyse(run):
    """Means, s.e. and exact values of all cells, alpha × n."""
    set_ = json.loads(run.attrs["settings"])
    found = set_ | {"lineages": run.sizes["lineage"], "alpha": run.alpha.values, "n": run.n.values}
    with jax.enable_x64(True):
        for name in MEASURED:
            x = run[name].transpose("alpha", "n", "lineage").values.astype(float)
            mean, se = x.mean(-1), x.std(-1, ddof=1) / np.sqrt(x.shape[-1])
            value = np.array([[exact(name, float(a), float(n), set_) for n in run.n.values] for a in run.alpha.values])
            found[name] = {"mean": mean, "se": se, "exact": value, "z": (mean - value) / se}
    found["change"] = float(run.stock_change.max())
    return found


def slope(n, mean, se, value):
    """−d ln E/d ln n by least squares over all n: measured, its s.e., exact."""
    x = np.log(n) - np.log(n).mean()
    k = -x / (x**2).sum()
    return k @ np.log(mean), np.sqrt(((k * se / mean) ** 2).sum()), k @ np.log(value)


def diagonals(found):
    """Cells of equal inflow α n = m, from n = m to three or more sizes: (m, indices of α, indices of n)."""
    inflow = np.multiply.outer(found["alpha"], found["n"])
    for m in np.unique(inflow.round(9)):
        i, j = np.nonzero(np.isclose(inflow, m))
        if len(i) >= 3 and np.isclose(found["n"][j].min(), m):
            order = np.argsort(found["n"][j])
            yield m, i[order], j[order]


def summary(run):
    """Exponents, ratios and what a fixed amount of real text is worth, exact beside simulated."""
    from rich.console import Group

    found = analyse(run)
    z = np.abs([found[name]["z"] for name in MEASURED])
    bound = stats.t.isf(5e-4 / z.size, found["lineages"] - 1)
    worst = ", ".join(f"{abs(found[name]['z']).max():.2f} {label}" for name, label in MEASURED.items())
    lines = (
        f"all {z.size} cells against exact values, worst |z| (bound {bound:.2f}): {worst}",
        f"a kept stock's missing mass changed by {found['change']:.1g} at most, generations 1 to {SHORT}, all lineages",
    )
    return Group(_shares(found), _inflows(found), *lines)


def _table(title, *columns):
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=title, box=SIMPLE)
    for column in columns:
        table.add_column(column, justify="left" if column == "quantity" else "right")
    return table


def _shares(found):
    c, n, x, real = 1 - 1 / found["exponent"], found["n"], found["missing"], int(found["alpha"].argmax())
    title = (
        f"Constant α: missing mass, −d ln E/d ln n over n = {n[0]:g}..{n[-1]:g} (c = {c:.3g} as n → ∞), and E(α)/E(1) "
        f"at n = {n[-1]:g} (f^−c as n → ∞)"
    )
    table = _table(title, "α", "slope, exact", "ours ± s.e.", "z", "f^−c", "ratio, exact", "ours ± s.e.", "z")
    for i, alpha in enumerate(found["alpha"]):
        ours, se, value = slope(n, x["mean"][i], x["se"][i], x["exact"][i])
        f = float(theory.survival_factor(float(alpha))) ** -c
        row = (f"{value:.4f}", f"{ours:.4f} ± {se:.4f}", f"{(ours - value) / se:+.2f}", f"{f:.3f}")
        table.add_row(f"{alpha:g}", *row, *_ratio(x, i, real))
    return table


def _ratio(x, i, real):
    """E(α)/E(1) at the largest n: exact, ours, z."""
    if i == real:
        return "1", "", ""
    value, ours = (x[kind][i, -1] / x[kind][real, -1] for kind in ("exact", "mean"))
    se = ours * np.hypot(x["se"][i, -1] / x["mean"][i, -1], x["se"][real, -1] / x["mean"][real, -1])
    return f"{value:.3f}", f"{ours:.3f} ± {se:.3f}", f"{(ours - value) / se:+.2f}"


def _inflows(found):
    title = "m = α n real draws a generation, fresh or for ever the same: missing mass and squared risk, −d ln/d ln n"
    table, c = _table(title, "m", "n", "quantity", "clean", "exact", "ours ± s.e.", "z"), 1 - 1 / found["exponent"]
    for m, i, j in diagonals(found):
        n = found["n"][j]
        for name in list(MEASURED)[:4]:
            ours, se, value = slope(n, *(found[name][kind][i, j] for kind in ("mean", "se", "exact")))
            cells = (f"{1.0 if name.endswith('risk') else c:.3g}", f"{value:.3f}", f"{ours:.3f} ± {se:.3f}")
            table.add_row(f"{m:g}", f"{n[0]:g}..{n[-1]:g}", MEASURED[name], *cells, f"{(ours - value) / se:+.2f}")
    return table


def figure(run):
    """Missing mass over n at constant α and at constant inflow, and what a fixed amount of real text is worth."""
    import matplotlib.pyplot as plt

    found = analyse(run)
    figure, axes = plt.subplots(1, 2, figsize=(12.5, 5.8), layout="constrained")
    _rows(axes[0], found)
    _worth(axes[1], found)
    figure.suptitle(
        "A constant share of real text keeps the exponent; a fixed amount of it stops data scaling up to a logarithm.\n"
        rf"Zipf's law $\beta$ = {found['exponent']:g}, {found['vocab']} tokens, {found['lineages']} lineages; "
        "points: simulated ± 2 s.e., lines: exact"
    )
    return figure


def _rows(ax, found):
    """Missing mass against n."""
    n, x, stock = found["n"], found["missing"], found["stock_missing"]
    for i, (alpha, marker) in enumerate(zip(found["alpha"], MARKERS, strict=False)):
        colour = jc.plot.COLOURS[i % len(jc.plot.COLOURS)]
        label = rf"$\alpha$ = 1/{1 / alpha:g}" if alpha < 1 else r"$\alpha$ = 1, real text alone"
        ax.plot(n, x["exact"][i], color=colour, lw=1.2)
        ax.errorbar(n, x["mean"][i], 2 * x["se"][i], fmt=marker, ms=4.5, color=colour, label=label)
    for _, i, j in diagonals(found):
        ax.plot(n[j], x["exact"][i, j], "--", color="black", lw=1.2)
        ax.plot(n[j], stock["exact"][i, j], ":", color="black", lw=1.4)
        ax.errorbar(n[j], stock["mean"][i, j], 2 * stock["se"][i, j], fmt="x", color="black", ms=6, capsize=2)
    sizes = ", ".join(f"{m:g}" for m, *_ in diagonals(found))
    ax.plot([], [], "--", color="black", lw=1.2, label=f"m fresh ones a generation, m = {sizes}")
    ax.plot([], [], "x:", color="black", ms=6, label="the same m kept for ever")
    c = 1 - 1 / found["exponent"]
    ax.set(xscale="log", yscale="log", xlabel="draws a generation, n", ylabel="missing mass, the share of text lost")
    ax.set_title(f"(a) Exponent c = {c:.3g} for every constant share; none for text that is kept", fontsize=11)
    ax.legend(fontsize=8.5, loc="lower left")


def _worth(ax, found):
    """Real draws with the same missing mass or squared risk, over m, along diagonals."""
    m = next(diagonals(found))[0]
    fine = np.geomspace(1, found["n"][-1] / m, 60)
    few = np.geomspace(1, fine[-1], 9)
    kept = np.interp(fine, few, [1 / (1024 * exact("stock_risk", 1 / x, 1024 * x, found)) for x in few])
    lines = (theory.inflow_draws(fine, 1.0), 2 - 1 / fine, np.ones_like(fine), kept)
    for k, (name, line) in enumerate(zip(MEASURED, lines, strict=False)):
        colour, x = jc.plot.COLOURS[k], found[name]
        ax.plot(fine, line, ("-", "--", ":", "-.")[k], color=colour)
        ax.plot([], [], MARKERS[k] + ("-", "--", ":", "-.")[k], color=colour, label=LABELS[k])
        for shift, (m, i, j) in zip((0.94, 1.0, 1.06), diagonals(found), strict=False):
            worth, low, high = (draws(name, x["mean"][i, j] + s * x["se"][i, j], found) / m for s in (0, 2, -2))
            bars = {"fmt": MARKERS[k], "ms": 4.5, "color": colour, "capsize": 2}
            ax.errorbar(shift * found["n"][j] / m, worth, [worth - low, high - worth], **bars)
    ax.set(xscale="log", xlabel=r"draws over real ones, $n/m = 1/\alpha$", ylabel="worth in real draws, over m", ylim=0)
    ax.set_title("(b) m real draws: fresh ones gain a logarithm, kept ones nothing", fontsize=11)
    sizes = ", ".join(f"{m:g}" for m, *_ in diagonals(found))
    ax.legend(fontsize=8.5, loc="upper left", title=f"side by side: m = {sizes}; lines: large m", title_fontsize=8.5)


def draws(name, value, found):
    """How many real draws alone have this missing mass or squared risk."""
    if name.endswith("risk"):
        return 1 / value
    p = law(found["vocab"], found["exponent"])
    count = np.geomspace(1, 10 * found["n"][-1], 400)
    lost = np.array([(p * np.exp(k * np.log1p(-p))).sum() for k in count])
    return np.exp(np.interp(-np.log(value), -np.log(lost), np.log(count)))
