"""The reproduction ledger: its numbers come from stores, what disagrees stays, and what has not been run says so."""

import csv
import functools
import importlib
import inspect
import json
import math
import pathlib
import sys
import types

import jax.random as jr
import numpy as np
import pytest
import xarray as xr
from scipy import stats

import jaxcollapse as jc

ROOT = pathlib.Path(__file__).parent.parent
sys.path.append(str(ROOT))
claims = importlib.import_module("experiments.ledger.claims")
command = importlib.import_module("experiments.ledger.__main__")
estimates = importlib.import_module("experiments.ledger.estimates")
table = importlib.import_module("experiments.ledger.table")


def toy(n, *, key, generations=3, lineages=40):
    """Normal draws of mean n."""
    return {"x": ("lineage", n + jr.normal(key, (lineages,)))}


MEAN = lambda run, exact=5.0: estimates.mean(run.data.x.sel(n=5.0), exact)
AGREES = claims.Claim("A source", "the mean is 5", "toy", MEAN)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A store of the toy, which stands among the experiments."""
    module = types.ModuleType("toy")
    module.experiment, module.AXES = toy, {"n": [1.0, 5.0]}
    monkeypatch.setitem(sys.modules, "experiments.toy", module)
    jc.sweep(toy, key=jr.key(0), store=tmp_path / "toy", n=[1.0, 5.0])
    return tmp_path


def ledger(folder, *rows, options=()):
    return command.main(["--store-dir", str(folder), *options], rows)


def last_line(capsys):
    return capsys.readouterr().out.splitlines()[-1]


def test_a_row_says_what_the_store_holds(folder, capsys):
    out = folder / "out.csv"
    assert ledger(folder, AGREES, options=["--csv", str(out)]) == 0
    assert last_line(capsys) == "1 rows: 1 agree, 0 disagree, 0 refuted, 0 not run"
    (row,) = csv.DictReader(out.open())
    x = jc.open(folder / "toy").x.sel(n=5.0).values.astype(float)
    se = x.std(ddof=1) / np.sqrt(x.size)
    expected = {"ours": x.mean(), "se": se, "exact": 5.0, "z": (x.mean() - 5) / se, "bound": stats.t.isf(5e-4, 39)}
    assert {name: float(row[name]) for name in expected} == pytest.approx(expected)
    assert float(row["seconds"]) > 0 and row["file"] == "experiments/toy.py"


def test_a_row_that_disagrees_stays_and_is_counted(folder, capsys):
    wrong = AGREES._replace(measure=functools.partial(MEAN, exact=7.0), note="an explanation does not excuse it")
    assert ledger(folder, AGREES, wrong) == 1
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == "2 rows: 1 agree, 1 disagree, 0 refuted, 0 not run"
    assert "2: an explanation does not excuse it" in said


def test_a_published_value_is_refuted_if_the_exact_one_is_ours(folder, capsys):
    said = AGREES._replace(tested=7.0, note="it is 5")
    alone = said._replace(measure=functools.partial(MEAN, exact=math.nan))
    assert ledger(folder, said, alone) == 0  # no exact value is known: it disagrees, and says why
    assert last_line(capsys) == "2 rows: 0 agree, 1 disagree, 1 refuted, 0 not run"
    assert ledger(folder, alone._replace(note="")) == 1


@pytest.mark.parametrize(("side", "verdict"), [({"above": 4.0}, "agree"), ({"above": 4.9}, "refuted"),
                                               ({"below": 6.0}, "agree"), ({"below": 5.1}, "refuted")])  # fmt: skip
def test_more_and_less_are_claims_beyond_chance(side, verdict):
    row = table.Row(AGREES._replace(**side), estimates.Estimate(5.0, 0.1, 5.0, 40))
    assert table.verdict(row, table.bounds([row])[1]) == verdict


def test_what_is_computed_agrees_to_a_thousandth():
    verdicts = []
    for ours in (5.004, 5.006, math.nan):
        row = table.Row(AGREES, estimates.Estimate(ours, exact=5.0))
        assert math.isnan(row.z)
        verdicts.append(table.verdict(row, {}))
    assert verdicts == ["agree", "disagree", "disagree"]


@pytest.mark.parametrize("name", ["nothing", "toy,nothing"])
def test_an_unknown_name_is_a_usage_error(folder, capsys, name):
    with pytest.raises(SystemExit) as stop:
        ledger(folder, AGREES, options=["--run", name])
    assert stop.value.code == 2
    assert "--run: got nothing, expected all or names among toy; try --run toy" in capsys.readouterr().err


def test_a_missing_store_is_not_run(tmp_path, capsys):
    assert ledger(tmp_path, claims.CLAIMS[0], claims.CLAIMS[2]) == 3
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == "2 rows: 0 agree, 0 disagree, 0 refuted, 2 not run"
    assert "improvement" in said and "not run: there is no store" in said


def test_only_what_is_missing_is_run(folder, monkeypatch, capsys):
    asked = []
    monkeypatch.setattr(command.subprocess, "run", lambda words, **_: asked.append(words))
    ledger(folder, AGREES, claims.CLAIMS[0], options=["--run", "all"])
    name = claims.CLAIMS[0].experiment
    assert [words[3:] for words in asked] == [
        ["run", str(ROOT / "experiments" / f"{name}.py"), "--store", str(folder / name)]
    ]


def test_a_run_that_the_claims_do_not_speak_of_is_refused(folder, capsys):
    runs = {"longer": {"generations": 4}, "more": {"lineages": 80}, "elsewhere": {}}
    for name, settings in runs.items():
        grid = [5.0, 6.0] if name == "elsewhere" else [1.0, 5.0]
        jc.sweep(functools.partial(toy, **settings), key=jr.key(0), store=folder / name / "toy", n=grid)
    assert [ledger(folder / name, AGREES) for name in runs] == [3, 0, 3]
    said = capsys.readouterr().out
    assert "run with generations=4, not 3" in said and "run with other values of n" in said


def test_the_page_has_every_row_and_no_place_on_the_machine(folder):
    page = folder / "page.md"
    ledger(folder, AGREES, claims.CLAIMS[0], options=["--markdown", str(page)])
    text = page.read_text()
    assert "| 1 | A source | the mean is 5 |" in text and "| not run |" in text and str(folder) not in text


def test_the_committed_page_has_the_rows_of_today():
    text = (ROOT / "experiments" / "LEDGER.md").read_text()
    assert not [c.claim for c in claims.CLAIMS if c.claim.replace("|", r"\|") not in text]
    assert f"**{len(claims.CLAIMS)} rows: " in text and ", 0 not run.**" in text


def test_every_claim_names_an_experiment_and_a_source():
    for claim in claims.CLAIMS:
        assert (ROOT / "experiments" / f"{claim.experiment}.py").is_file() and claim.source and claim.claim
    assert len({claim.claim for claim in claims.CLAIMS if not claim.claim.startswith("…")}) > 20


def defaults(module):
    found = inspect.signature(module.experiment).parameters.values()
    return json.dumps({p.name: p.default for p in found if p.default is not p.empty})


def made_up(module, name, dims, **coords):
    """Random numbers in place of a variable of a run with the experiment's own settings."""
    sizes = [len(coords.get(dim, range(30))) for dim in dims]
    x = np.random.default_rng(0).uniform(0.5, 1.5, sizes)
    return estimates.Run(module, xr.Dataset({name: (dims, x)}, coords, {"settings": defaults(module)}))


def test_exact_values_are_those_of_the_theory():
    improvement, share = (importlib.import_module(f"experiments.{name}") for name in ("improvement", "real_share"))
    grid = {"alpha": [0.1], "factor": [1.0, 32.0], "generation": np.arange(1, 41)}
    run = made_up(improvement, "risk", ("alpha", "factor", "lineage", "generation"), **grid)
    found = estimates.improved(1.0, 1)(run)
    assert found.exact == pytest.approx(1.8019, abs=1e-6)  # 100 (1/100 + 0.99 · 0.81/100)
    assert found.ours == pytest.approx(100 * float(run.data.risk[0, 0, :, 0].mean()))
    run = made_up(share, "preserved", ("n", "lineage", "generation"), n=[100.0], generation=share.times(60))
    found = estimates.share("table", "10 % preserved")(run)
    assert found.exact == pytest.approx(5.9296, abs=1e-3)  # 100 (1/n + (1 − 1/n) ρ), in closed form
    assert found.lineages == 30 and found.ours == pytest.approx(float(run.data.preserved[0, :, -1].mean()))


def test_the_error_of_a_quotient_knows_that_both_are_of_the_same_lineages():
    rng = np.random.default_rng(1)
    y = rng.uniform(1, 2, 400)
    same, apart = (estimates.quotient(2 * y, other, 2.0) for other in (y, rng.permutation(y)))
    assert same.ours == pytest.approx(2) and same.se < 1e-12 and apart.se > 0.02
