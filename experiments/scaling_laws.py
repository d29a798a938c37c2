"""How should compute be split between parameters and tokens when a share of the text is a model's own?

    L(N, D) = E + A/N^a + B/(f D)^b,  C = 6 N D         Chinchilla, arXiv 2203.15556; refit, arXiv 2404.10102
    a share α of D is real     f = f(α)                 D/N × f^(−2b/(a+b)), as with compute f C: no new exponent
    D_R of D fresh and real    f D = D f(D_R/D)         ≈ 2 D_R (ln(D/2D_R) + 0.1003): a logarithm is left
    the same D_R for ever      f D = min(D, D_R)        nothing is left: L → E + B/D_R^b
    Kaplan                     L(N) = (8.8e13/N)^0.076, L(D) = (5.4e13/D)^0.095         arXiv 2001.08361

The factor f (`theory.survival_factor`) is a MODEL of what contamination does to a language model, not a fit to any: it
takes b for the exponent c of a missing mass, a stationary loop on its latest batch, and no interaction of α with N.
What it rests on is tested in `missing_mass.py`. Perplexities of kNN-LM are as published, not ours.

    jaxcollapse run experiments/scaling_laws.py
"""

import jax
import numpy as np
from jaxtyping import ArrayLike

import jaxcollapse as jc
from jaxcollapse import theory

BUDGET, ACTUAL = 5.76e23, (70e9, 1.4e12)  # operations; N and D of Chinchilla itself
AXES = {
    "alpha": np.array([1.0, 0.5, 0.25, 0.1, 0.05, 0.01, 0.001]),
    "compute": np.sort(np.append(10.0 ** np.arange(20, 35), BUDGET)),
}
LAWS = {"refit": theory.CHINCHILLA, "rounded": theory.CHINCHILLA_ROUNDED}
STOCK, STOCK_INTERVAL = 3e14, (1e14, 1e15)  # tokens of usable human text and 90 % interval, arXiv 2211.04325
EXPONENT_SE = 0.02  # of a and of b, published with the refit
OVERTRAINING = (1, 5, 10, 100)  # D/N over 20
RETRIEVAL = 0.25  # kNN-LM's λ, arXiv 1911.00172


def experiment(alpha, compute, *, key):
    """Best N, D and least loss at a constant real share α, for both sets of constants. Nothing here is random."""
    factor, found = theory.survival_factor(alpha), {}
    for name, law in LAWS.items():
        n, d = theory.compute_optimal(compute, factor, law)
        loss = theory.contaminated_loss(n, d, factor, law)
        found[f"{name}_parameters"] = ((), n, {"long_name": "best N", "units": "parameters"})
        found[f"{name}_tokens"] = ((), d, {"long_name": "best D", "units": "tokens"})
        found[f"{name}_loss"] = ((), loss, {"long_name": "least loss, a model", "units": "nats per token"})
    return found


def summary(run):
    """What the model says beside published values."""
    from rich.console import Group

    with jax.enable_x64(True):
        return Group(_budget(), _contaminated(run), _overtrained(), _limited(), _beside(), _retrieval())


def _table(title, *columns):
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=title, box=SIMPLE)
    for column in columns:
        table.add_column(column, justify="left" if column in ("law", "quantity") else "right")
    return table


def ratio(compute, factor: ArrayLike = 1.0, law=theory.CHINCHILLA):
    """D/N of `theory.compute_optimal`."""
    n, d = theory.compute_optimal(compute, factor, law)
    return d / n


def gain(law):
    """2b/(a + b): D/N is multiplied by f^−that."""
    return 2 * law.b / (law.a + law.b)


def _budget():
    title = f"Clean text at C = {BUDGET:g}: the rounded constants are not fit for use (Chinchilla: D/N = 20)"
    table = _table(title, "law", "D/N", "N", "D", "L there", "L at 20", "D ~ C^")
    for name, law in LAWS.items():
        n, d = theory.compute_optimal(BUDGET, 1.0, law)
        least, actual = (
            float(theory.contaminated_loss(*x, 1.0, law)) for x in ((n, d), theory.fixed_ratio(BUDGET, 20.0))
        )
        exponent = f"{law.a / (law.a + law.b):.3f}"
        table.add_row(name, f"{d / n:.2f}", f"{n:.2e}", f"{d:.2e}", f"{least:.4f}", f"{actual:.4f}", exponent)
    return table


def _contaminated(run):
    title = f"A MODEL: a constant real share α is a factor f on D, at C = {BUDGET:g}; the best run is that of clean f C"
    names = ("α", "f(α)", "D/N ×", "± s.e.", "D/N", "rounded", "L − L(1)", "D ~ C^")
    table, law = _table(title, *names), theory.CHINCHILLA
    clean = theory.contaminated_loss(*theory.compute_optimal(BUDGET))
    for alpha in run.alpha.values:
        f, tokens = float(theory.survival_factor(alpha)), run.refit_tokens.sel(alpha=alpha)
        both = [float(ratio(BUDGET, f, constants)) for constants in LAWS.values()]
        extra = float(theory.contaminated_loss(*theory.compute_optimal(BUDGET, f), f) - clean)
        spread = abs(np.log(f)) * f ** -gain(law) * gain_error()
        exponent = np.polyfit(np.log(run["compute"].values), np.log(tokens.values.astype(float)), 1)[0]
        cells = (f"{f:.4f}", f"{f ** -gain(law):.3f}", f"{spread:.2f}", f"{both[0]:.1f}", f"{both[1]:.0f}")
        table.add_row(f"{alpha:g}", *cells, f"{extra:.4f}", f"{exponent:.4f}")
    return table


def at_ratio(compute, rho):
    """Loss on clean text with D = ρ N."""
    n, d = theory.fixed_ratio(compute, rho)
    return theory.contaminated_loss(n, d)


def gain_error():
    """s.e. of 2b/(a + b) for errors of a and b of 0.02 that are independent."""
    law = theory.CHINCHILLA
    return 2 * EXPONENT_SE * np.hypot(law.a, law.b) / (law.a + law.b) ** 2


def _overtrained():
    title = f"Over-training: cost at C = {BUDGET:g} of clean text; C where D is the stock of {STOCK:g}; α that wants it"
    names = ("D/N", "L − L(best)", "worth", "C at the stock", "90 %", "best at α")
    table, law = _table(title, *names), theory.CHINCHILLA
    least = float(theory.contaminated_loss(*theory.compute_optimal(BUDGET)))
    shares = np.geomspace(1, 1e-5, 2001)
    factors = np.asarray(theory.survival_factor(shares))
    for over in OVERTRAINING:
        rho = 20.0 * over
        loss = float(at_ratio(BUDGET, rho))
        worth = ((loss - law.floor) / (least - law.floor)) ** -(1 / law.a + 1 / law.b)
        wall = [6 * stock**2 / rho for stock in (STOCK, *STOCK_INTERVAL)]
        best = np.interp(-((float(ratio(BUDGET)) / rho) ** (1 / gain(law))), -factors, shares)
        walls = (f"{wall[0]:.2g}", f"{wall[1]:.0e}..{wall[2]:.0e}")
        table.add_row(f"20 × {over}", f"{loss - least:.4f}", f"{worth:.0%}", *walls, f"{best:.2g}")
    return table


def _limited():
    title = f"A MODEL: real text is limited to {STOCK:g} tokens, a generation or in all; L − E"
    names = ("C", "clean D/N", "L − E", "inflow D/N", "L − E", "α", "stock D/N", "L − E")
    table, law = _table(title, *names), theory.CHINCHILLA
    compute = 10.0 ** np.arange(26, 35, 2)
    runs = limited(compute)
    for i, c in enumerate(compute):
        cells = []
        for name, reading in runs.items():
            n, d, f_d = (float(x[i]) for x in reading)
            cells += [f"{d / n:.3g}", f"{law.a_scale / n**law.a + law.b_scale / f_d**law.b:.5f}"]
            cells += [f"{min(1, STOCK / d):.3g}"] if name == "inflow" else []
        table.add_row(f"{c:.0e}", *cells)
    return table


def limited(compute):
    """(N, D, f D) of the best run on clean text, on a fresh inflow, and on a stock kept for ever."""
    clean, inflow = theory.compute_optimal(compute), theory.inflow_optimal(compute, STOCK)
    stock = theory.stock_optimal(compute, STOCK)
    return {
        "clean": (*clean, clean[1]),
        "inflow": (*inflow, theory.inflow_draws(inflow[1], STOCK)),
        "stock": (*stock, stock[1]),
    }


def _beside():
    """Kaplan's L(N) and L(D), without a floor, beside Chinchilla's data term, and what the model makes of them."""
    title = "Kaplan's laws at N = 70e9, D = 1.4e12 (compare factors, not levels); factors for α, for 1000 D_R tokens"
    table = _table(title, "law", "nats", "α = 0.1", "clean", "fresh inflow", "kept stock")
    law, f = theory.CHINCHILLA, float(theory.survival_factor(0.1))
    table.add_row("Kaplan L(N)", f"{theory.kaplan_loss(ACTUAL[0]):.3f}", *4 * ("",))
    terms = {
        "Kaplan L(D)": (theory.kaplan_loss(tokens=ACTUAL[1]), theory.KAPLAN.b),
        "Chinchilla B/D^b": (law.b_scale / ACTUAL[1] ** law.b, law.b),
    }
    for name, (value, b) in terms.items():
        factors = (f**-b, 1000**-b, float(theory.inflow_draws(1000.0, 1.0)) ** -b, 1.0)
        table.add_row(name, f"{value:.3f}", *(f"× {factor:.3f}" for factor in factors))
    return table


def _retrieval():
    """kNN-LM as published, and its λ read as a real share."""
    f, share = float(theory.survival_factor(RETRIEVAL)), RETRIEVAL * (2 - RETRIEVAL)
    return (
        "kNN-LM, λ = 0.25, WikiText-103, perplexities as published, not ours: 16.12 on the test set (18.65 without), "
        f"15.79 with a continuous cache.\nλ read as a real share α, a datastore of the truth: α(2 − α) = {share:.4f}, "
        f"f = {f:.3f}, D/N × {f ** -gain(theory.CHINCHILLA):.2f}: a model."
    )


# ── figure ──

READINGS = {
    "clean": ("clean text", "-"),
    "inflow": ("fresh real inflow $D_R$ a generation", "--"),
    "stock": ("the same $D_R$ for ever", ":"),
}


def figure(run):
    """D/N against α, loss along the best runs, and the data term under three readings."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(18, 5.8), layout="constrained")
    with jax.enable_x64(True):
        _allocation(axes[0], run)
        _frontier(axes[1])
        _data_term(axes[2])
    figure.suptitle(
        "A constant share of real text costs a factor; a fixed amount of it stops data scaling, up to a logarithm.  "
        "A MODEL: Chinchilla's law (refit) with f D in place of D"
    )
    return figure


def _allocation(ax, run):
    """D/N over α at the budget of Chinchilla."""
    share = np.geomspace(1e-3, 1, 200)
    f = np.asarray(theory.survival_factor(share))
    for (name, law), colour, line in zip(LAWS.items(), jc.plot.COLOURS, ("-", "--"), strict=False):
        swept = (run[f"{name}_tokens"] / run[f"{name}_parameters"]).sel(compute=BUDGET, method="nearest")
        ax.plot(run.alpha, swept, "o", color=colour, ms=4)
        ax.plot(share, ratio(BUDGET, f, law), line, color=colour, label=f"{name} constants")
    best, spread = np.asarray(ratio(BUDGET, f)), f ** -gain_error()
    ax.fill_between(share, best / spread, best * spread, color=jc.plot.COLOURS[0], alpha=0.25, lw=0,
                    label="s.e. of the factor, independent errors of a, b")  # fmt: skip
    for over in OVERTRAINING:
        ax.axhline(20 * over, color="0.45", lw=0.8, ls=":")
        said = "20, Chinchilla as trained" if over == 1 else f"20 × {over}"
        ax.annotate(said, (1.15e-3, 20 * over), xytext=(0, 2), textcoords="offset points", fontsize=8, color="0.3")
    ax.plot([], [], color="0.45", lw=0.8, ls=":", label="customary, and over-trained × 5, 10, 100")
    at = float(ratio(BUDGET, theory.survival_factor(RETRIEVAL)))
    ax.plot(
        RETRIEVAL, at, "D", color="black", markersize=6, label=rf"kNN-LM's $\lambda$ = {RETRIEVAL:g} read as $\alpha$"
    )
    ax.set(xscale="log", yscale="log", xlabel=r"share of real text $\alpha$", ylabel="best D/N, tokens a parameter")
    ax.set(xlim=(1e-3, 1), ylim=(8, 5e4))
    ax.set_title(f"(a) Contaminated text wants more tokens a parameter (C = {BUDGET:g})", fontsize=11)
    ax.legend(fontsize=8.5, loc="upper right")


def _frontier(ax):
    """L − E of the best runs against compute."""
    compute, law = np.geomspace(1e22, 1e34, 121), theory.CHINCHILLA
    for (name, (n, _, f_d)), colour in zip(limited(compute).items(), jc.plot.COLOURS, strict=False):
        label, line = READINGS[name]
        ax.plot(compute, law.a_scale / n**law.a + law.b_scale / f_d**law.b, line, color=colour, lw=1.8, label=label)
    f = float(theory.survival_factor(0.1))
    share = theory.contaminated_loss(*theory.compute_optimal(compute, f), f) - law.floor
    ax.plot(compute, share, "-.", color=jc.plot.COLOURS[3], label=rf"$\alpha$ = 0.1: as clean at {f:.2f} C")
    over = at_ratio(compute, 2000.0) - law.floor
    ax.plot(compute, over, color="0.5", lw=1, dashes=(8, 2), label="clean text, over-trained × 100")
    ax.axhline(law.b_scale / STOCK**law.b, color="0.6", lw=0.8)
    ax.annotate(
        "$B/D_R^b$", (1.3e22, law.b_scale / STOCK**law.b), xytext=(0, 3), textcoords="offset points", fontsize=9
    )
    low, high = (float(6 * s**2 / ratio(6 * s**2 / 15)) for s in STOCK_INTERVAL)
    ax.axvspan(low, high, color="0.85", lw=0, zorder=0, label="clean text runs out (90 % interval of $D_R$)")
    ax.set(
        xscale="log", yscale="log", xlabel="compute C = 6 N D, operations", ylabel="loss above the floor, L − E, nats"
    )
    ax.set_title("(b) A fixed amount of real text, $D_R = 3 \\cdot 10^{14}$, bends the frontier", fontsize=11)
    ax.legend(fontsize=8.5, loc="lower left")


def _data_term(ax):
    """What D tokens are worth in Chinchilla's and Kaplan's laws, relative to D = D_R."""
    d = np.geomspace(0.03, 3e4, 200)
    worth = {"clean": d, "inflow": np.asarray(theory.inflow_draws(d, 1.0)), "stock": np.minimum(d, 1)}
    for (name, f_d), colour in zip(worth.items(), jc.plot.COLOURS, strict=False):
        for b, width in ((theory.CHINCHILLA.b, 2.0), (theory.KAPLAN.b, 1.0)):
            ax.plot(
                d, f_d**-b, READINGS[name][1], color=colour, lw=width, label=READINGS[name][0] if width > 1 else None
            )
    ax.plot([], [], color="0.3", lw=2, label=f"thick: Chinchilla's B/(f D)$^b$, b = {theory.CHINCHILLA.b:g}")
    ax.plot([], [], color="0.3", lw=1, label=f"thin: Kaplan's L(D), exponent {theory.KAPLAN.b:g}, no floor")
    ax.axvline(1, color="0.7", lw=0.8)
    ax.set(xscale="log", yscale="log", xlabel=r"tokens a generation over real ones, $D/D_R = 1/\alpha$",
           ylabel="data term, relative to $D = D_R$")  # fmt: skip
    ax.set_title("(c) A model's own text adds a logarithm to fresh text, nothing to old", fontsize=11)
    ax.legend(fontsize=8.5)
