"""The atlas: collapse against recovery over (a, b) for three models and four regimes, by adaptive refinement.

    α_t = min(1, a₀ t^−a),   n_t = n₀ t^b,   a contour r_T = level of the exact recursion with rounded n_t

    regime       r is measured from          level                              T → ∞
    replace      p*                          ½                                  `theory.phase`
    accumulate   p*                          ½ r_0, twice as good as D_0        recovery iff a = 0, else frozen
    retained     the law of D_0 (`Anchor`)   0.73/(2 n₀ + 1), below the cap     plateau if b ≤ 1, else frozen
    real-only    p* (labels, latest batch)   ½                                  recovery iff b > a; frozen iff a > 1 + b

Models: a table of 50 tokens (Zipf); a normal law in 4 dimensions; bigrams over 16 classes of letters, n₀ draws a class,
contexts weighted by π_c H*_c. A normal law has the tables' r_t; for bigrams replace and real-only have an exact r_t.
`theory.phase` and the recursions are derived for this project.

    python experiments/phase_atlas.py --store runs/atlas              all maps, horizons, paths and schedules; resumable
    python experiments/phase_atlas.py --store runs/atlas --quick      the table's maps on coarser meshes, no schedules
    jaxcollapse run experiments/phase_atlas.py --set "regime='accumulate'" --store runs/accumulate      one map, a grid
"""

import argparse
import functools
import importlib
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from scipy import stats

import jaxcollapse as jc

AXES = {"growth": np.linspace(0, 2, 17), "decay": np.linspace(0, 2, 17)}  # cells of like n_t side by side
COARSE = {"growth": np.linspace(0, 2, 9), "decay": np.linspace(0, 2, 9)}
MODELS, REGIMES = ("tabular", "gaussian", "bigram"), ("replace", "accumulate", "retained", "real-only")
CLASSES, VOCAB, DIMENSIONS = 16, 50, 4


def experiment(
    decay, growth, *, key, model="tabular", regime="replace", generations=100, lineages=128, a0=0.5, n0=20.0
):
    """Relative risk r_T and diversity of every lineage, measured from p* or, if retained, from the law of D_0."""
    looped = loop(decay, growth, model, regime, a0, n0)
    measured = functools.partial(measure, looped.target, regime)
    _, (risk, diversity) = jc.ensemble(
        looped, generations, lineages=lineages, key=key, record=measured, record_at=[generations]
    )
    return {
        "risk": ("lineage", risk[:, 0], {"long_name": "relative risk r_T", "units": "1"}),
        "diversity": ("lineage", diversity[:, 0], {"long_name": "relative diversity", "units": "1"}),
    }


def target(model):
    if model == "gaussian":
        return jc.Normal(np.zeros(DIMENSIONS), np.eye(DIMENSIONS))
    return jc.zipf(VOCAB) if model == "tabular" else jc.from_counts(class_counts())


@functools.cache
def class_counts():
    """Shakespeare's letter bigrams: the 15 most frequent symbols are a class each, all the others the 16th."""
    counts = jc.corpora.load("letters", None, 2).counts
    rank = np.argsort(np.argsort(-counts.sum(1), kind="stable"))
    member = np.eye(CLASSES)[np.minimum(rank, CLASSES - 1)]
    return member.T @ counts @ member


def schedules(decay, growth, model, a0=0.5, n0=20.0):
    """n₀ draws, or as many for each class of bigrams."""
    return jc.PowerLaw(a0, exponent=-decay, cap=1), jc.PowerLaw(size(model, n0), exponent=growth)


def size(model, n0):
    return n0 * CLASSES if model == "bigram" else n0


def loop(decay, growth, model, regime, a0, n0):
    kept = {"accumulate": jc.Accumulate(), "retained": jc.Anchor(), "real-only": jc.RealOnly(jc.Replace())}
    learner = jc.Gaussian() if model == "gaussian" else jc.Tabular()
    split = "fixed" if regime == "retained" else "random"
    alpha_n = schedules(decay, growth, model, a0, n0)
    return jc.Loop(target(model), learner, kept.get(regime, jc.Replace()), *alpha_n, split=split)


def measure(p_star, regime, lineage, batch):
    """(r, diversity) of a lineage: means over directions, or over contexts with weights π_c H_c."""
    model, kept = lineage.model, lineage.memory
    if isinstance(p_star, jc.Normal):
        mean, variance = jnp.zeros(DIMENSIONS), jnp.ones(DIMENSIONS)
        if regime == "retained":
            mean, variance = kept.mean, jnp.sum(kept.root**2, -1) / kept.weight
        return jnp.mean((model.mean - mean) ** 2 / variance), jnp.mean(jnp.sum(model.factor**2, -1) / variance)
    p, q = model.probs, p_star.probs
    if regime == "retained":  # a context without any kept data holds one draw for ever
        rows = kept.counts.sum(-1, keepdims=True)
        q = jnp.where(rows > 0, kept.counts / jnp.maximum(rows, 1), p)
    pi = jnp.ones(()) if p_star.contexts is None else p_star.contexts
    scale = jnp.sum(pi * jc.metrics.diversity(q))
    return jnp.sum(pi * jc.metrics.squared_error(p, q)) / scale, jnp.sum(pi * jc.metrics.diversity(p)) / scale


def context_weights():
    """π_c H*_c / Σ π_c H*_c."""
    p_star = target("bigram")
    weights = p_star.contexts * jc.metrics.diversity(p_star.probs)
    return weights / weights.sum()


def level(model, regime, n0=20.0):
    """What separates the two sides of a map."""
    if regime in ("replace", "real-only"):
        return 0.5
    sizes = [n0] if model != "bigram" else size(model, n0) * np.asarray(target(model).contexts)
    weights = np.ones(1) if model != "bigram" else np.asarray(context_weights())
    if regime == "retained":
        return float(weights @ (0.73 / (2 * np.asarray(sizes) + 1)))
    start = jc.theory.context_risk(jc.Constant(1.0), jc.Constant(size(model, n0)), target("bigram").contexts, 1)[0]
    return 0.5 / n0 if model != "bigram" else 0.5 * float(start @ weights)


def has_exact(model, regime):
    """Where contexts pool random numbers of draws the recursion of the mean does not close."""
    return model != "bigram" or regime in ("replace", "real-only")


def exact(decay, growth, model, regime, generations, a0=0.5, n0=20.0):
    """r_T by the recursion with rounded n_t."""
    alpha, n = schedules(decay, growth, model, a0, n0)
    arguments = alpha, n, generations
    if model == "bigram" and regime == "replace":
        return jc.theory.context_risk(alpha, n, target(model).contexts, generations)[-1] @ context_weights()
    if model == "bigram":
        alpha_t, n_t = jc.evaluate(alpha, n, generations)
        return _real_rows(alpha_t, n_t, target(model).contexts) @ context_weights()
    if regime == "retained":
        return (jc.theory.retained(*arguments)[-1] - 1 / n0) / (1 - 1 / n0)
    if model == "gaussian" and regime != "real-only":
        return jc.theory.gaussian(*arguments, accumulate=regime == "accumulate").squared_error[-1]
    exact = {"replace": jc.theory.risk, "accumulate": jc.theory.accumulate, "real-only": jc.theory.real_only}[regime]
    return exact(*arguments)[-1]


def _real_rows(alpha_t, n_t, contexts):
    """r_{c,T} of rows refitted to their k ~ Binomial(n_t, α_t π_c) real draws: E[1/k; k ≥ 1] + P(k = 0) r_{c,t−1}."""

    def step(r, now):
        q = now[0] * contexts
        return jc.theory.reciprocal_moment(now[1], q) + jnp.exp(now[1] * jnp.log1p(-q)) * r, None

    return jax.lax.scan(step, jnp.ones_like(contexts), (alpha_t, n_t))[0]


@functools.cache
def contour(model, regime, decays, generations, a0=0.5, n0=20.0, halvings=40):
    """The growth b in [0, 2] at which the exact r_T falls through the level, for each decay; NaN where it does not."""
    with jax.enable_x64(True):
        a, at = jnp.asarray(decays, float), level(model, regime, n0)
        above = jax.jit(jax.vmap(lambda a, b: exact(a, b, model, regime, generations, a0, n0) > at))
        low, high = jnp.zeros_like(a), jnp.full_like(a, 2.0)
        start, end = above(a, low), above(a, high)
        for _ in range(halvings):
            middle = (low + high) / 2
            same = above(a, middle) == start
            low, high = jnp.where(same, middle, low), jnp.where(same, high, middle)
        return np.where(start != end, (low + high) / 2, np.nan)


def phase_name(decay, growth, regime, a0=0.5, n0=20.0):
    """What happens as T → ∞."""
    if regime == "replace":
        return jc.theory.phase(*schedules(decay, growth, "tabular", a0, n0)).name
    if regime == "accumulate":
        return "recovery" if decay == 0 else "frozen"
    if regime == "retained":
        return "plateau" if growth <= 1 else "frozen"
    return "recovery" if growth > decay else "plateau" if growth == decay else _real_only_below(decay, growth)


def _real_only_below(decay, growth):
    return "frozen" if decay > 1 + growth else "collapse"


def analyse(run):
    """A map: means and s.e. on its grid, the boundary with intervals, and the exact contour."""
    set_ = json.loads(run.attrs["settings"])
    names = {name: set_[name] for name in ("model", "regime", "generations", "a0", "n0")}
    where = {name: names[name] for name in ("model", "regime", "n0")}
    grid = jc.interpolate(run, "risk", along="growth") if "resolution" in run.attrs else _whole(run)
    grid = grid.transpose("decay", "growth", ...)
    a, b, at = grid.decay.values, grid.growth.values, level(**where)
    mean, se = grid["mean"].values, grid.se.values
    found = names | {
        "lineages": run.sizes["lineage"],
        "a": a,
        "b": b,
        "mean": mean,
        "se": se,
        "level": at,
        "runs": run.risk.size // run.sizes["lineage"],
    }
    found["boundary"] = boundary(grid, at)
    found["phase"] = np.array([[phase_name(x, y, names["regime"], names["a0"], names["n0"]) for y in b] for x in a])
    found["measured"] = grid.measured.values
    if has_exact(names["model"], names["regime"]):
        found["exact"] = contour(decays=tuple(a), **names)
        found |= _scores(run, names)
    return found


def boundary(grid, level):
    """The boundary in b for each a; between the points of a mesh the means share their noise."""
    grid = grid.transpose("decay", "growth", ...)
    spread = {"covariance": grid.covariance.values} if "covariance" in grid else {"se": grid.se.values}
    return jc.phase.boundary(grid["mean"].values, grid.growth.values, axis=1, level=level, **spread)


def _whole(run):
    """A grid of `sweep`, as `interpolate` returns it."""
    risk = run.risk if "repeat" not in run.dims else run.risk.stack(all=("repeat", "lineage")).rename(all="lineage")
    mean, count = risk.mean("lineage"), risk.sizes["lineage"]
    se = risk.std("lineage", ddof=1) / np.sqrt(count)
    return mean.to_dataset(name="mean").assign(se=se, measured=mean.notnull())


def _scores(run, names):
    """z of one repeat of each of the coarsest points, where the diversity left can be tested: lineages × (1 − r) ≥ 20.
    """
    first = run
    if "resolution" in run.attrs:
        coarse = run.isel(point=np.flatnonzero(run.depth == 0))
        first = coarse.isel(point=np.unique([coarse.decay, coarse.growth], axis=1, return_index=True)[1])
    flat = first if "point" in first.dims else first.stack(point=("growth", "decay"))
    risk = flat.risk.transpose("point", "lineage", ...).values.astype(float)
    with jax.enable_x64(True):
        at = functools.partial(exact, **names)
        r = np.asarray(jax.jit(jax.vmap(at))(jnp.asarray(flat.decay.values, float), jnp.asarray(flat.growth.values)))
    lineages = risk.shape[1]
    se = risk.std(1, ddof=1) / np.sqrt(lineages)
    testable = (lineages * (1 - r) >= 20) & (se > 0)
    return {"z": ((risk.mean(1) - r) / np.where(testable, se, 1.0))[testable], "lineages": lineages}


def inside(found):
    """Slices that the exact contour crosses, and those of them whose 95 % interval holds it."""
    simulated, exact_ = found["boundary"], found["exact"]
    crossed = np.isfinite(exact_)
    return crossed, crossed & (simulated.low <= exact_) & (exact_ <= simulated.high)


def summary(run):
    """The boundary against the exact contour, and every coarse cell against the recursion."""
    return table([analyse(run)])


def table(maps):
    from rich.box import SIMPLE
    from rich.table import Table

    title = f"Boundaries of {maps[0]['generations']} generations: simulated against the exact contour r_T = level"
    shown = Table(title=title, box=SIMPLE, padding=0)
    columns = ("model", "regime", "level", "runs", "slices", "exact in 95 %", "open", "mean |Δb|", "median width")
    for name in (*columns, "worst |z|", "bound"):
        shown.add_column(name, justify="left" if name in ("model", "regime") else "right", no_wrap=True)
    for found in maps:
        edge = found["boundary"]
        start = [found["model"], found["regime"], f"{found['level']:.4f}", str(found["runs"])]
        closed = np.isfinite(edge.root) & np.isfinite(edge.low) & np.isfinite(edge.high)
        ends = str(int((np.isinf(edge.low) | np.isinf(edge.high)).sum()))
        width = f"{np.median((edge.high - edge.low)[closed]):.3f}" if closed.any() else "open"
        if "exact" not in found:
            shown.add_row(*start, str(int(np.isfinite(edge.root).sum())), "no recursion", ends, "", width, "", "")
            continue
        both, within = inside(found)
        gap = abs(edge.root - found["exact"])
        off = f"{gap[np.isfinite(gap)].mean():.4f}" if np.isfinite(gap).any() else ""
        z = abs(found["z"])
        bound = stats.t.isf(5e-4 / max(z.size, 1), found["lineages"] - 1)
        worst = f"{z.max(initial=0):.2f} of {z.size}"
        shown.add_row(*start, str(both.sum()), f"{within.sum()}", ends, off, width, worst, f"{bound:.2f}")
    return shown


def figure(run):
    """One map, with the exact contours of longer horizons."""
    found = analyse(run)
    return figures().maps(
        [found], {(found["model"], found["regime"]): longer(found["model"], found["regime"], (1000,))}
    )


def figures():
    """The drawing, in the file beside this one."""
    if (folder := str(Path(__file__).parent)) not in sys.path:
        sys.path.append(folder)
    return importlib.import_module("phase_atlas_figures")


def longer(model, regime, horizons):
    """Exact contours at longer horizons, T -> (decays, growths)."""
    if not has_exact(model, regime):
        return {}
    decays = tuple(np.linspace(0, 2, 17).tolist())
    like = "tabular" if model == "gaussian" else model  # the same recursion
    return {T: (decays, contour(like, regime, decays, T, halvings=20).tolist()) for T in horizons}


def refined(store, model, regime, quick):
    """One map by adaptive refinement: halved where the level is crossed, repeated where noise is what limits it.

    What is returned are fresh draws: those that decided where to look would make intervals too narrow.
    """
    settings = {"model": model, "regime": regime, "lineages": 64 if quick and regime != "retained" else 128}
    mesh = {"resolution": 1 / 8, "max_repeats": 2} if quick else {"resolution": 1 / 32, "max_repeats": 4}
    axes = COARSE if not quick else {name: np.linspace(0, 2, 5) for name in COARSE}
    return jc.refine(
        functools.partial(experiment, **settings), key=jr.key(6), measure="risk", level=level(model, regime),
        store=Path(store) / f"{model}-{regime}{'-quick' if quick else ''}", fresh=True, **mesh, **axes,
    )  # fmt: skip


def _kept(file, make):
    """What a JSON file holds, or what is made now and written to it."""
    if not file.exists():
        file.write_text(json.dumps(make()))
    return json.loads(file.read_text())


def _maps(store, quick, say):
    wanted = [(m, r) for m in MODELS for r in REGIMES if not quick or m == "tabular"]
    found, horizons = [], {}
    for model, regime in wanted:
        found.append(analyse(refined(store, model, regime, quick)))
        steps = (1000,) if quick else (1000, 10_000) if model == "bigram" else (1000, 10_000, 100_000)
        file = Path(store) / f"contours-{model}-{regime}{'-quick' if quick else ''}.json"
        horizons[model, regime] = _kept(file, functools.partial(longer, model, regime, steps))
        say(f"{model}, {regime}: {found[-1]['runs']} runs of {found[-1]['lineages']} lineages")
    return found, horizons


BESIDE = {"phase_horizons": {"generations": 100, "lineages": 64}, "phase_paths": {"generations": 400, "lineages": 100}}
BESIDE |= {"phase_schedules": None}  # with the settings of a quick run, or left out of it


def main(arguments=None):
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--store", required=True, help="a folder; what it holds is not computed again")
    parser.add_argument("--quick", action="store_true", help="the table's maps alone, coarser meshes, fewer lineages")
    options = parser.parse_args(arguments)
    from rich.console import Console

    store, started = Path(options.store), time.perf_counter()
    console = Console(width=None if sys.stdout.isatty() else 120)
    store.mkdir(parents=True, exist_ok=True)

    def say(text):
        console.print(f"{time.perf_counter() - started:6.1f} s, {time.process_time():6.1f} CPU s  {text}")

    say(f"maps into {store}; what is there is not computed again")
    found, horizons = _maps(store, options.quick, say)
    console.print(table(found))
    drawing, suffix = figures(), "-quick" if options.quick else ""
    drawing.maps(found, horizons).savefig(store / f"maps{suffix}.png", dpi=150)
    for name, settings in BESIDE.items():
        if options.quick and settings is None:
            continue
        module = importlib.import_module(name)
        made = functools.partial(module.experiment, **(settings or {} if options.quick else {}))
        run = jc.sweep(made, key=jr.key(6), store=store / f"{name}{suffix}", **module.AXES)
        console.print(module.summary(run))
        module.figure(run).savefig(store / f"{name}{suffix}.png", dpi=150)
        say(name)


if __name__ == "__main__":
    main()
