"""How much synthetic data should each generation draw, where real data arrive at a given rate and cannot be stored?

    m_t = m_0 t^g real draws arrive; n_t ≥ m_t is chosen, α_t = m_t/n_t;   r_t = 1/n_t + (1 − 1/n_t)(1 − α_t)² r_{t−1}
    least of   m_0 V(r) + c · mean_t (n_t − m_t)/m_0,     V = mean_t r_t, or max_t r_t, or r_T alone

c is the price of m_0 synthetic draws in units of 1/m_0, the risk of m_0 real ones: from c = 1 on none pays at constant
inflow. Adam (optax) descends through the exact recursion on ln(n_t/m_t) ≥ 0. The problem is not convex, in n_t, 1/n_t
or ln n_t; so the optimum of the mean is checked by dynamic programming on r, polished by L-BFGS-B with the adjoint

    λ_t = w_t + φ_{t+1} λ_{t+1},   λ_t ∂r_t/∂n_t + c/(T m_0²) = 0,  or ≥ 0 where n_t = m_t

Free draws: r_t grows with r_{t−1}, so the least r_t step by step is the least at every t. At constant inflow it is
n_t = m (t + 1), α_t = 1/(t + 1), r_t = (1 + 1/(t + 1))/(2m) for m → ∞: at best half the risk of the real draws alone.
V = r_T alone is degenerate: at constant inflow only the last generations spend, however long the run.
Derived here. Compared with the best constant share, the best power law, and the golden ratio (He, Xu and Cheng, arXiv
2502.18049): as a share of a pool, α = 0.618, and as a weight, which needs labels (m_t synthetic draws, w = 0.618).

    jaxcollapse run experiments/optimal_schedule.py
"""

import functools
import json

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from scipy import optimize, stats

import jaxcollapse as jc

AXES = {"growth": np.array([-0.5, 0.0, 0.5]), "price": np.array([0.003, 0.03, 0.3])}
GOLDEN = (5**0.5 - 1) / 2
RULES = {  # colour, marker
    "optimal, mean": (0, "o"),
    "optimal, worst": (5, "P"),
    "optimal, last": (3, "X"),
    "best power law": (1, "s"),
    "best constant": (2, "D"),
    "golden share": (4, "^"),
    "real data alone": (None, "v"),
    "golden weight, labels": (None, "*"),
}
NAMES = list(RULES)
RECORDED = 12


def experiment(growth, price, *, key, generations=60, lineages=1000, vocab=10, inflow=100.0, steps=2000):
    """Relative risks of all rules at log-spaced generations, and n_t/m_t − 1, the synthetic draws for each real one."""
    p_star, m_t = jc.zipf(vocab), inflows(growth, inflow, generations)
    n_t = jnp.concatenate([rules(m_t, price, steps), (2 * m_t).at[0].set(m_t[0])[None]])
    scale, kept = jc.metrics.diversity(p_star.probs), times(generations)
    record = lambda lineage, batch: jc.metrics.squared_error(lineage.model.probs, p_star.probs) / scale

    def simulated(n_t, key, regime, split):
        at = lambda values: jax.tree_util.Partial(lambda v, t: v[t], values)
        loop = jc.Loop(p_star, jc.Tabular(), regime, at(m_t / n_t), at(n_t), split=split)
        return jc.ensemble(loop, generations, lineages=lineages, key=key, record=record, record_at=kept)[1]

    *keys, last = jr.split(key, len(n_t))
    pooled = jax.vmap(lambda n_t, key: simulated(n_t, key, jc.Replace(), "random"))(n_t[:-1], jnp.stack(keys))
    weighted = simulated(n_t[-1], last, jc.Weighted(jc.Replace(), GOLDEN), "fixed")
    risk = jnp.concatenate([pooled, weighted[None]])
    return {
        "risk": (("rule", "lineage", "generation"), risk, {"long_name": "risk r relative to 1 − ‖p*‖²", "units": "1"}),
        "synthetic": (
            ("rule", "time"),
            n_t / m_t[None] - 1,
            {"long_name": "synthetic draws per real one", "units": "1"},
        ),
        "generation": ("generation", kept, {"long_name": "generation t"}),
    }


def inflows(growth, inflow, generations):
    """m_t = m_0 t^g, t = 0..T, in whole draws."""
    return jnp.maximum(jnp.rint(inflow * jnp.maximum(jnp.arange(generations + 1.0), 1) ** growth), 1)


def times(generations):
    return np.unique(np.rint(np.geomspace(1, generations, RECORDED)).astype(int))


def rules(m_t, price, steps):
    """Whole n_t of all rules that train on the pool of real and synthetic draws, t = 0..T; n_0 = m_0."""
    time = len(m_t) - 1
    ln_t, free, mean = jnp.log(jnp.arange(1.0, time + 1)), jnp.eye(time), jnp.full(time, 1 / time)
    constant = jnp.zeros((time, time)).at[:, 0].set(1.0)
    families = jnp.stack([free, free, free, constant.at[:, 1].set(ln_t), constant])
    weights = jnp.stack([mean, jnp.zeros(time), jnp.zeros(time).at[-1].set(1.0), mean, mean])
    start = jnp.full((5, time), 0.5).at[3:, 1:].set(0.0)
    low = jnp.zeros((5, time)).at[3, 1:].set(-jnp.inf)  # α_t may grow, but α_1 is at most 1
    solve = functools.partial(optimal, m_t, price, steps=steps)
    found = jax.vmap(lambda *x: solve(x[0], family=x[1], low=x[2], start=x[3]))(weights, families, low, start)
    z_t = jnp.concatenate([found, jnp.full((1, time), -np.log(GOLDEN)), jnp.zeros((1, time))])
    return jnp.rint(m_t[None] * jnp.exp(jnp.pad(z_t, ((0, 0), (1, 0)))))


def optimal(m_t, price, weights, steps, family=None, low=0.0, start=0.5):
    """ln(n_t/m_t), t = 1..T, that minimises `objective`: any, or the best of max(0, family · p)."""
    import optax

    law = lambda p: jnp.maximum(p if family is None else family @ p, 0.0)
    sharpness = lambda step: 10.0 ** (1 + 2 * step / steps)
    loss = lambda p, step: objective(m_t, jnp.pad(law(p), (1, 0)), price, weights, sharpness(step))
    optimizer = optax.adam(optax.cosine_decay_schedule(0.1, steps))

    def descend(carry, step):
        p, state = carry
        updates, state = optimizer.update(jax.grad(loss)(p, step), state)
        return (optax.projections.projection_box(optax.apply_updates(p, updates), low, jnp.inf), state), None

    p = jnp.broadcast_to(jnp.asarray(start, float), weights.shape)
    with jax.numpy_dtype_promotion("standard"):  # optax mixes whole numbers and floats
        (p, _), _ = jax.lax.scan(descend, (p, optimizer.init(p)), jnp.arange(steps))
    return law(p)


def objective(m_t, z_t, price, weights, sharpness):
    """m_0 Σ w_t r_t + c · mean (n_t − m_t)/m_0 of n_t = m_t exp(z_t); where all w_t are 0, a soft maximum of r_t."""
    risk = m_t[0] * jc.theory.recursion(jnp.exp(-z_t), m_t * jnp.exp(z_t))[1:]
    worst = jax.nn.logsumexp(sharpness * risk) / sharpness
    value = jnp.where((weights == 0).all(), worst, weights @ risk)
    return value + price * (m_t * jnp.expm1(z_t))[1:].mean() / m_t[0]


def independent(m, price):
    """ln(n_t/m_t), t = 0..T, that minimises the mean's objective, without JAX, and its value by dynamic programming.

    V_t(r) = min_n [w m_0 r' + c (n − m_t)/(T m_0) + V_{t+1}(r')], on grids of r and n; what it finds is polished.
    """
    grid, fine, last = np.geomspace(0.1 / (len(m) * m.max()), 1, 240), np.linspace(0, 7, 4000), len(m) - 1

    def cost(t, z, r, later):
        n = m[t] * np.exp(z)
        risk = 1 / n + (1 - 1 / n) * (1 - m[t] / n) ** 2 * r
        now = m[0] / last * risk + price / last * (n - m[t]) / m[0]
        return now + np.interp(np.log(risk), np.log(grid), later), risk

    values = [np.zeros(len(grid))]
    for t in range(last, 0, -1):
        values.insert(0, cost(t, fine[::20], grid[:, None], values[0])[0].min(1))
    z, r = [], 1 / m[0]
    for t in range(1, last + 1):
        total, risk = cost(t, fine, r, values[t])
        z.append(fine[total.argmin()])
        r = risk[total.argmin()]
    found = optimize.minimize(
        lambda z: adjoint(m, z, price), z, jac=True, bounds=[(0, None)] * last, options={"ftol": 1e-15, "gtol": 1e-10}
    )
    return found.x, float(np.interp(np.log(1 / m[0]), np.log(grid), values[0]))


def adjoint(m, z, price):
    """The mean's objective at ln(n_t/m_t), t = 1..T, and its gradient by the recursion of λ backwards."""
    last, n, keep = len(z), m[1:] * np.exp(z), np.exp(-z)
    phi, r = (1 - 1 / n) * (1 - keep) ** 2, [1 / m[0]]
    for t in range(last):
        r.append(1 / n[t] + phi[t] * r[t])
    slope = -1 / n + np.array(r[:-1]) * ((1 - keep) ** 2 / n + (1 - 1 / n) * 2 * (1 - keep) * keep)  # n ∂r_t/∂n_t
    multiplier, gradient = 0.0, price / last * n / m[0]
    for t in reversed(range(last)):
        multiplier = m[0] / last + (phi[t + 1] * multiplier if t + 1 < last else 0.0)
        gradient[t] += multiplier * slope[t]
    return m[0] * np.mean(r[1:]) + price * (n - m[1:]).mean() / m[0], gradient


@functools.cache
def theory(growths, prices, settings):
    """Of every cell in double precision: m_t, the optimum of the mean from several starts, and how it is checked.

    And how many generations draw synthetic data for r_T alone, and for r_2T alone, at constant inflow. All are solved
    side by side up to 2T, where draws after the last risk that counts are none.
    """
    set_, cells = json.loads(settings), {}
    time, steps, keys = set_["generations"], set_["steps"], [(g, c) for g in growths for c in prices]
    inflow = lambda g: np.asarray(inflows(g, set_["inflow"], 2 * time))
    mean, last = np.append(np.full(time, 1 / time), np.zeros(time)), np.eye(2 * time)[time - 1 :: time]
    starts = np.concatenate([np.full((1, 2 * time), 0.5), np.random.default_rng(0).uniform(0, 3, (3, 2 * time))])
    with jax.enable_x64(True):
        rows = [(inflow(g), 2 * c, mean, start) for g, c in keys for start in starts]
        rows += [(inflow(0.0), 2 * prices[len(prices) // 2], weights, starts[0]) for weights in last]
        solve = jax.jit(jax.vmap(lambda m, c, w, z: optimal(m, c, w, steps, start=z)))
        *found, short, long = np.asarray(solve(*(jnp.asarray(np.stack(column)) for column in zip(*rows, strict=True))))
        for (g, c), z in zip(keys, np.reshape(found, (len(keys), len(starts), -1))[..., :time], strict=True):
            cells[g, c] = _checked(inflow(g)[: time + 1], z, c)
    return cells, [int((z > 1e-6).sum()) for z in (short, long)]


def _checked(m, starts, price):
    """The schedule that was found from the first start, beside all of them and what other methods find."""
    polished, estimate = independent(m, price)
    values, gradient = [adjoint(m, z, price)[0] for z in starts], adjoint(m, starts[0], price)[1]
    left = np.where((starts[0] <= 0) & (gradient > 0), 0, gradient)
    found = {"m": m, "value": values[0], "starts": np.ptp(values), "slope": abs(left).max()}
    return found | {"other": adjoint(m, polished, price)[0], "estimate": estimate}


def exact(m, n, name):
    """r_t, t = 0..T."""
    with jax.enable_x64(True):
        if name != NAMES[-1]:
            return np.asarray(jc.theory.recursion(m / n, n))
    r, w = [1 / m[0]], GOLDEN
    for real, synthetic in zip(m[1:], (n - m)[1:], strict=True):
        r.append(w**2 / real + (1 - w) ** 2 * (1 / synthetic + (1 - 1 / synthetic) * r[-1]))
    return np.array(r)


def analyse(run):
    """For every cell and rule: exact risks of the schedule that was simulated, its objective, and the simulation's."""
    set_, t = json.loads(run.attrs["settings"]), run.generation.values
    cells, twice = theory(tuple(run.growth.values), tuple(run.price.values), run.attrs["settings"])
    lines = {}
    for (g, c), cell in cells.items():
        here, m = run.sel(growth=g, price=c), cell["m"]
        for name, ratio, risk in zip(
            NAMES,
            here.synthetic.transpose("rule", "time").values.astype(float),
            here.risk.transpose("rule", "lineage", "generation").values.astype(float),
            strict=True,
        ):
            n = m + np.rint(ratio * m)
            r, mean, se = exact(m, n, name), risk.mean(0), risk.std(0, ddof=1) / np.sqrt(len(risk))
            spent = ((n - m)[1:] / m[0]).mean()
            lines[g, c, name] = {
                "n": n, "r": r, "mean": mean, "se": se, "z": (mean - r[t]) / se, "spent": spent,
                "value": m[0] * r[1:].mean() + c * spent,
            }  # fmt: skip
    z = np.abs([line["z"] for line in lines.values()])
    bound = stats.t.isf(5e-4 / z.size, run.sizes["lineage"] - 1)
    found = {"cells": cells, "lines": lines, "z": z, "bound": bound, "twice": twice, "times": t, "settings": set_}
    return found | {"lineages": run.sizes["lineage"]}


def summary(run):
    """What each rule costs, how the optimum is checked, and the simulation against the exact recursion."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    found = analyse(run)
    prices = run.price.values
    title = "m₀ mean r + c · mean synthetic/m₀ of each rule, exact; its excess over the optimum [%]"
    table = Table(title=title, box=SIMPLE, padding=0)
    for head in ("inflow", "rule", *(x for c in prices for x in (f"c = {c:g}", "%"))):
        table.add_column(head, justify="left" if head == "rule" else "right", no_wrap=True)
    for g in run.growth.values:
        for name in NAMES:
            both = [(found["lines"][g, c, name]["value"], found["cells"][g, c]["value"]) for c in prices]
            cells = [x for mine, best in both for x in (f"{mine:.4f}", f"{100 * (mine / best - 1):+.1f}")]
            table.add_row(f"t^{g:g}" if name == NAMES[0] else "", name, *cells, end_section=name == NAMES[-1])
    return Group(table, _checks(found), *_lines(found))


def _checks(found):
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title="The optimum of the mean, checked", box=SIMPLE, padding=0)
    heads = ("g, c", "optax", "L-BFGS-B", "gap", "slope", "starts", "DP")
    for head in heads:
        table.add_column(head, justify="right", no_wrap=True)
    for (g, c), cell in found["cells"].items():
        gap = cell["value"] / cell["other"] - 1
        small = (f"{x:.0e}" for x in (gap, cell["slope"], cell["starts"] / cell["value"]))
        table.add_row(
            f"{g:g}, {c:g}", f"{cell['value']:.7f}", f"{cell['other']:.7f}", *small, f"{cell['estimate']:.4f}"
        )
    return table


def _lines(found):
    time, (short, long) = found["settings"]["generations"], found["twice"]
    yield (
        "optax: Adam; gap: to L-BFGS-B from the schedule of dynamic programming (DP: its value, as exact as its grid), "
        "relative; slope: largest derivative left; starts: spread from four starts, relative\n"
    )
    yield (
        f"for r_T alone, at constant inflow, only the last {short} of {time} generations draw synthetic data, and the "
        f"last {long} of {2 * time}: all before have the risk of the real data alone"
    )
    yield (
        f"simulated against the exact recursion: worst |z| {found['z'].max():.2f} of {found['z'].size} "
        f"(bound {found['bound']:.2f})"
    )


def figure(run):
    """Schedules and risks at constant inflow, risks where inflow falls, and what each rule costs beyond the optimum."""
    import matplotlib.pyplot as plt

    found, prices = analyse(run), run.price.values
    middle, growths = prices[prices.size // 2], run.growth.values
    figure, axes = plt.subplots(2, 2, figsize=(13, 10), layout="constrained")
    steady = growths[abs(growths).argmin()]
    _draw_schedules(axes[0, 0], found, steady, prices)
    _draw_risks(axes[0, 1], found, steady, middle)
    _draw_risks(axes[1, 0], found, growths.min(), middle)
    _draw_costs(axes[1, 1], found)
    law, share = (_excess(found, name) for name in ("best power law", "golden share"))
    figure.suptitle(
        f"The best power law of $\\alpha_t$ costs {law.min():.1f} to {law.max():.0f} % more than the best schedule, "
        f"the golden share {share.min():.1f} to {share.max():.0f} %",
        fontsize=14,
    )
    figure.legend(*axes[0, 1].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False)
    return figure


def _excess(found, name):
    """Of the mean's objective over its optimum, in %, in every cell."""
    return np.array([100 * (found["lines"][*at, name]["value"] / x["value"] - 1) for at, x in found["cells"].items()])


def _style(name):
    number, marker = RULES[name]
    colour = jc.plot.COLOURS[number] if number is not None else "black" if "labels" in name else "0.45"
    return {"color": colour, "marker": marker}


def _inflow(growth):
    return f"inflow $m_t = m_0 t^{{{growth:g}}}$" if growth else "constant inflow"


def _draw_schedules(ax, found, growth, prices):
    t = np.arange(1, found["settings"]["generations"] + 1)
    ratio = lambda c, name: found["lines"][growth, c, name]["n"][1:] / found["cells"][growth, c]["m"][1:] - 1
    for c, style in zip(prices, ("-", "--", "-.", ":") * len(prices), strict=False):
        ax.plot(t, ratio(c, NAMES[0]), color=jc.plot.COLOURS[0], ls=style, lw=2, label=f"mean risk, c = {c:g}")
    c = prices[len(prices) // 2]
    for name, label in (("optimal, worst", "worst risk"), ("optimal, last", "last risk")):
        ax.plot(t, ratio(c, name), **_style(name), ms=5, markevery=5, lw=1.2, label=f"{label}, c = {c:g}")
    if growth == 0:
        ax.plot(t, t, color="black", lw=1.2, ls=(0, (1, 2)), label="any, free draws: $n_t = m\\,(t + 1)$")
    top = max(ratio(c, NAMES[0]).max() for c in prices)
    ax.set(
        xlabel="generation $t$",
        ylabel="synthetic draws for each real one,  $n_t/m_t - 1$",
        ylim=(-0.05 * top, 1.75 * top),
    )
    says = "" if growth else ": for the last risk alone, nothing until the end"
    ax.set_title(f"Best schedules, {_inflow(growth)}{says}", fontsize=10.5)
    ax.legend(frameon=False, fontsize=9, loc="upper right", title="least …")


def _draw_risks(ax, found, growth, price):
    m0 = found["settings"]["inflow"]
    for name in NAMES:
        line, style = found["lines"][growth, price, name], _style(name)
        ax.plot(np.arange(1, len(line["r"])), m0 * line["r"][1:], color=style["color"], lw=1.2)
        bars = {"yerr": 2 * m0 * line["se"], "ls": "none", "ms": 5, "capsize": 2}
        ax.errorbar(found["times"], m0 * line["mean"], label=name, **style, **bars)
    ax.plot([], [], color="black", lw=1.2, label="lines: exact")
    ax.plot([], [], "k.", label="points: simulated ± 2 s.e.")
    ax.set(xscale="log", xlabel="generation $t$", ylabel="risk in units of $1/m_0$,  $m_0\\, r_t$")
    says = "old real data are worth copying on"
    if growth == 0:
        ax.axhline(0.5, color="0.6", lw=0.8, ls=":", zorder=0)
        ax.text(1, 0.505, "free draws, $t \\to \\infty$", color="0.4", fontsize=9)
        says = "at best half the risk of real data alone"
    ax.set_title(f"Risk, {_inflow(growth)}, c = {price:g}: {says}", fontsize=10.5)


def _draw_costs(ax, found):
    shown, keys = [name for name in NAMES if name != NAMES[0]], list(found["cells"])
    growths, prices = (sorted(set(values)) for values in zip(*keys, strict=True))
    excess = {name: dict(zip(keys, _excess(found, name), strict=True)) for name in shown}
    for g, c in keys:
        i = growths.index(g)
        place = np.arange(len(shown)) + 0.22 * (i - (len(growths) - 1) / 2)
        style = {"color": jc.plot.COLOURS[i % 6], "marker": "osD^"[i % 4], "ms": 4 + 3 * prices.index(c)}
        values = [excess[name][g, c] for name in shown]
        ax.plot(values, place, ls="none", mec="black", mew=0.5, label=f"{_inflow(g)}, c = {c:g}", **style)
    ax.axvline(0, color="black", lw=0.8)
    ax.set_xscale("symlog", linthresh=1)
    ax.margins(x=0.08)
    ax.set_yticks(range(len(shown)), labels=shown)
    ax.invert_yaxis()
    ax.set(xlabel="excess of the mean's objective over its optimum [%]")
    ax.set_title("What other rules cost: only labels can beat the best pool", fontsize=10.5)
    ax.legend(frameon=False, fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.45, -0.12))
