"""Does a datastore of real text hold up a transformer that is trained on its own output?

    p = λ p_kNN + (1 − λ) p_LM      released, and writing the next generation's data; α = 0, no real data are trained on
    r = E‖p(· | x_<i) − P(· | x_{i−1})‖²/E(1 − ‖P(· | x_{i−1})‖²)       P the Markov chain that is the truth

A table with the same words a context, n (ℓ − 1)/v, and as many stored ones follows `theory.retrieval`: collapse for
λ = 0, a plateau for λ > 0. The transformer adds what it does not learn, and its neighbours are not always of the same
context. Source of the mixture: Khandelwal et al., arXiv 1911.00172 (λ = 0.25).

    jaxcollapse run experiments/neighbours.py
"""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxcollapse as jc

AXES = {"weight": np.array([0.0, 0.1, 0.25, 0.5])}
MEASURED = {"released": "released, λ p_kNN + (1 − λ) p_LM", "parametric": "the transformer, p_LM"}
VOCAB, LENGTH = 8, 16


def chain():
    """A Markov chain of rows from a Dirichlet law, none of its probabilities below 1/80."""
    rows = np.random.default_rng(0).dirichlet(np.full(VOCAB, 0.5), VOCAB)
    with jax.ensure_compile_time_eval():  # its stationary law is computed outside of any trace
        return jc.Markov(0.9 * rows + 0.1 / VOCAB, LENGTH)


def experiment(weight, *, key, generations=8, lineages=8, n=32, stored=64, steps=80, width=32):
    """r of every lineage and generation, of the mixture, of the transformer alone and of the neighbours alone."""
    target = chain()
    inner = jc.Transformer(layers=1, width=width, heads=2, capacity=n, steps=steps, rate=5e-3)
    learner = jc.Neighbours(inner, weight, sequences=stored)
    x = target.test[:64]
    truth = jnp.exp(target.next_log_probs(x))[:, 1:]
    scale = jnp.mean(jc.metrics.diversity(truth))
    error = lambda probs: jnp.mean(jc.metrics.squared_error(probs[:, 1:], truth)) / scale

    def record(lineage, batch):
        model = lineage.model
        return {
            "released": error(jnp.exp(model.next_log_probs(x))),
            "parametric": error(jnp.exp(model.inner.next_log_probs(x))),
            "neighbours": error(jax.lax.map(model.neighbour_probs, model.inner.representations(x))),
        }

    loop = jc.Loop(target, learner, jc.Replace(), jc.Constant(0.0), jc.Constant(n))
    _, found = jc.ensemble(loop, generations, lineages=lineages, key=key, record=record)
    at = times(generations)
    return {"generation": ("generation", at, {"long_name": "generation t"})} | {
        name: (("lineage", "generation"), value, {"long_name": f"relative risk r, {name}", "units": "1"})
        for name, value in found.items()
    }


def times(generations):
    return np.arange(1, generations + 1)


def table(weight, generations, n, stored):
    """Exact r_t, t = 0..T, of a table with as many words in a context: released and parametric."""
    words = (LENGTH - 1) / VOCAB
    with jax.enable_x64(True):
        sizes = jc.Constant(round(n * words)), generations, weight, stored * words
        return {name: np.asarray(x) for name, x in jc.theory.retrieval(jc.Constant(0.0), *sizes)._asdict().items()}


def analyse(run) -> dict[str, Any]:
    """Means over lineages and their s.e., axes weight × generation, beside the table's exact r."""
    set_: dict = json.loads(run.attrs["settings"])
    weights = run.weight.values
    exact = [table(float(w), set_["generations"], set_["n"], set_["stored"]) for w in weights]
    found: dict[str, Any] = {"weight": weights, "settings": set_, "times": run.generation.values}
    for name in (*MEASURED, "neighbours"):
        x = run[name].transpose("weight", "generation", "lineage").values.astype(float)
        found[name] = x.mean(-1), x.std(-1, ddof=1) / np.sqrt(x.shape[-1])
    return found | {f"exact {name}": np.array([e[name] for e in exact]) for name in MEASURED}


def summary(run):
    """The first and the last generation, beside the table's."""
    from rich.box import SIMPLE
    from rich.console import Group
    from rich.table import Table

    found = analyse(run)
    last = found["times"][-1]
    table_ = Table(title="Risk r, transformer ± s.e. and table, exact", box=SIMPLE, collapse_padding=True)
    for column in ("λ", "t", "released", "table", "p_LM", "table", "p_kNN"):
        table_.add_column(column, justify="right", no_wrap=True)
    for i, weight in enumerate(found["weight"]):
        for t in (1, last):
            ours = {name: f"{x[0][i, t - 1]:.3f} ± {x[1][i, t - 1]:.3f}" for name, x in _measured(found)}
            law = [f"{found[f'exact {name}'][i, t]:.3f}" for name in MEASURED]
            cells = ours["released"], law[0], ours["parametric"], law[1], ours["neighbours"].split(" ±")[0]
            table_.add_row(f"{weight:g}" if t == 1 else "", str(t), *cells)
    return Group(table_, _verdict(found))


def _measured(found):
    return [(name, found[name]) for name in (*MEASURED, "neighbours")]


def _verdict(found):
    grown = found["released"][0][:, -1] / found["released"][0][:, 0]
    due = found["exact released"][:, -1] / found["exact released"][:, 1]
    said = ", ".join(f"{g:.2f} (table {d:.2f})" for g, d in zip(grown, due, strict=True))
    return f"released risk, last over first generation, by λ: {said}"


def figure(run):
    """Released risk over time, and both risks at the end over λ."""
    import matplotlib.pyplot as plt

    found = analyse(run)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
    for i, (weight, colour, marker) in enumerate(zip(found["weight"], jc.plot.COLOURS, "osD^v<", strict=False)):
        mean, se = (x[i] for x in found["released"])
        style = {"fmt": marker, "ms": 5, "color": colour, "lw": 1, "capsize": 2}
        left.errorbar(found["times"], mean, 2 * se, label=f"λ = {weight:g}", **style)
        left.plot(found["exact released"][i], color=colour, lw=1.2, ls="--")
    left.plot([], [], color="0.3", ls="--", label="table, exact")
    left.set(yscale="log", xlabel="generation t", ylabel="risk r of what is released (± 2 s.e.)")
    left.legend(frameon=False, fontsize=8)
    for (name, said), colour, marker in zip(MEASURED.items(), jc.plot.COLOURS, "os", strict=False):
        mean, se = (x[:, -1] for x in found[name])
        style = {"fmt": marker, "ms": 5, "color": colour, "lw": 1, "capsize": 2}
        right.errorbar(found["weight"], mean, 2 * se, label=said, **style)
        right.plot(found["weight"], found[f"exact {name}"][:, -1], color=colour, lw=1.2, ls="--")
    right.set(yscale="log", xlabel="weight λ of the datastore", ylabel=f"risk r at t = {found['times'][-1]} (± 2 s.e.)")
    right.legend(frameon=False, fontsize=8)
    first, last = (found["released"][0][i, -1] for i in (0, -1))
    figure.suptitle(
        f"Trained on its own output, r = {first:.2g} at t = {found['times'][-1]} without a datastore, {last:.2g} with "
        f"λ = {found['weight'][-1]:g}\n{run.sizes['lineage']} lineages, α = 0; dashed: tables with as many words",
        fontsize=11,
    )
    return figure
