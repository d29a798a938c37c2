"""The report in a real headless Chromium: it renders, menus, sliders and clicks work, nothing is asked of a network.

Without Chromium, its driver or selenium these tests are skipped, "not run". On Debian:
apt-get install chromium chromium-driver
"""

import json
import shutil

import numpy as np
import pytest
import xarray as xr

from jaxcollapse import report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
MISSING = "not run: no Chromium, or no driver for it (apt-get install chromium chromium-driver)"
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=MISSING)
OPTIONS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1280,940")
OPTIONS += ("--proxy-server=127.0.0.1:9", "--force-prefers-reduced-motion")


@pytest.fixture
def browser():
    webdriver = pytest.importorskip("selenium.webdriver", reason="not run: no selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def sweep(decays=100, growths=50):
    """Two lineages a cell, r = 1 / (1 + (d + m) t / 2 g) without noise in their mean; a column lost, another NaN."""
    decay, growth, memory = np.linspace(0, 2, decays), np.geomspace(1, 100, growths), np.array([0.0, 1.0])
    t = np.unique(np.rint(np.geomspace(1, 100, 20)).astype(int))
    risk = 1 / (1 + (decay[:, None, None, None] + memory[:, None]) * t / (2 * growth[:, None, None]))
    samples = risk[..., None, :] + np.array([[-0.01], [0.01]])
    samples[-1, -1] = np.nan
    dims = ("decay", "growth", "memory")
    done = np.ones(risk.shape[:3], bool)
    done[0, 0] = False
    variables = {
        "risk": ((*dims, "lineage", "generation"), samples, {"long_name": "relative risk"}),
        "risk_exact": ((*dims, "generation"), risk),
        "length": ((*dims, "lineage"), 10 + samples[..., -1], {"units": "tokens"}),
    }
    coordinates = {"decay": decay, "growth": growth, "memory": memory, "generation": t}
    coordinates |= {"done": (dims, done), "valid": (dims, np.isfinite(samples).all((3, 4)) & done)}
    return xr.Dataset(variables, coordinates, {"axes": list(dims)})


def choose(browser, menu, text):
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("id", menu)).select_by_visible_text(text)


def text(browser, name):
    return browser.find_element("id", name).text


def trace(browser, plot, index, key):
    return browser.execute_script(f"return document.getElementById('{plot}').data[{index}].{key}")


def click(browser, x, y):
    """A real click at these coordinates of the map."""
    from selenium.webdriver import ActionChains
    from selenium.webdriver.support.ui import WebDriverWait

    place = """const map = document.getElementById("map"), { xaxis: x, yaxis: y } = map._fullLayout;
        const box = map.getBoundingClientRect(), [left, down] = arguments;
        return [x._offset + x.d2p(left) - box.width / 2, y._offset + y.d2p(down) - box.height / 2]"""
    element = browser.find_element("id", "map")
    left, down = browser.execute_script(place, x, y)
    ActionChains(browser).move_to_element_with_offset(element, round(left), round(down)).perform()
    WebDriverWait(browser, 20).until(lambda seen: seen.find_elements("css selector", "#map .hoverlayer .hovertext"))
    ActionChains(browser).click().perform()


def requests(browser):
    """Every address that the page has asked for."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]


def show(browser, folder, table):
    page = folder / "page.html"
    page.write_text(report.page(table), encoding="utf-8")
    browser.get(page.as_uri())


def complaints(browser):
    return [entry["message"] for entry in browser.get_log("browser")]


def test_a_page_of_ten_thousand_cells_works_and_asks_for_nothing(browser, tmp_path):
    table = sweep()
    show(browser, tmp_path, table)
    it_renders_every_cell_and_the_boundary(browser, table)
    a_click_selects_a_cell_and_shows_its_history(browser, table)
    sliders_move_the_cell_by_keyboard(browser, table)
    menus_change_the_map(browser, table)
    assert complaints(browser) == []
    asked = requests(browser)
    assert asked[0].startswith("file:") and all(url.startswith("data:") for url in asked[1:])
    # These checks can fail: a request is seen to be refused.
    browser.execute_script("new Image().src = 'http://127.0.0.1:9/image.png'")
    assert any("Content Security Policy" in line for line in complaints(browser))


def it_renders_every_cell_and_the_boundary(browser, table):
    assert "10,000 cells = 100 decay × 50 growth × 2 memory; 2 lineages a cell; 2 not" in browser.page_source
    assert text(browser, "map-title") == "risk over decay and growth at memory = 1"
    heat = np.array(trace(browser, "map", 0, "z"), float)
    assert heat.shape == (50, 100) and np.isnan(heat).sum() == 2
    mean = table.risk[..., 1, :, -1].mean("lineage").where(table.done[..., 1])
    assert np.allclose(10**heat, mean.values.T, rtol=1e-4, equal_nan=True)
    shown = browser.execute_script("return document.querySelectorAll('#map .heatmaplayer image').length")
    assert shown == 1 and "exact: <b>" in trace(browser, "map", 0, "text[5][7]")
    assert "not computed yet" in trace(browser, "map", 0, "text[0][0]")
    assert "NaN" in trace(browser, "map", 0, "text[49][99]")
    names = browser.execute_script("return document.getElementById('map').data.map((one) => one.name ?? null)")
    for name in ("risk = 0.5: exact", "risk = 0.5: simulated, 95 % interval"):
        root = np.array(trace(browser, "map", names.index(name), "y"), float)
        assert np.isfinite(root).sum() >= 48  # where (d + 1) 100 / 2 g = 1 has a solution up to g = 100
        assert np.nanmax(abs(root / (50 * (table.decay.values + 1)) - 1)) < 1e-3
    assert "differ by at most" in text(browser, "finding")


def history(browser):
    """What the panel shows: mean and exact curve."""
    drawn = browser.execute_script("return document.getElementById('trajectory').data.map((one) => [one.name, one.y])")
    return {name: np.array(curve, float) for name, curve in drawn if name}


def a_click_selects_a_cell_and_shows_its_history(browser, table):
    before = history(browser)
    click(browser, table.decay[70].item(), table.growth[10].item())
    shown, known = history(browser), table.isel(decay=70, growth=10, memory=1)
    assert not np.allclose(before["exact"], shown["exact"], rtol=0.01)
    assert np.allclose(shown["exact"], known.risk_exact, rtol=1e-3)
    assert np.allclose(shown["mean of lineages"], known.risk.mean("lineage"), rtol=1e-3)
    assert text(browser, "cell-title") == f"Cell: decay = {known.decay:.4g}, growth = {known.growth:.4g}, memory = 1"
    assert f"{known.risk_exact[-1]:.4g}" in text(browser, "cell")


def sliders_move_the_cell_by_keyboard(browser, table):
    browser.find_element("id", "at-0").send_keys("\ue014")  # an arrow to the right
    known = table.isel(decay=71, growth=10)
    assert np.allclose(history(browser)["exact"], known.isel(memory=1).risk_exact, rtol=1e-3)
    browser.find_element("id", "at-2").send_keys("\ue012")  # to the left: another slice
    assert np.allclose(history(browser)["exact"], known.isel(memory=0).risk_exact, rtol=1e-3)
    mean = table.risk[..., 0, :, -1].mean("lineage").where(table.done[..., 0])
    heat = np.array(trace(browser, "map", 0, "z"), float)
    assert np.allclose(10 ** heat[1:-1, 1:-1], mean.values.T[1:-1, 1:-1], rtol=1e-4)


def menus_change_the_map(browser, table):
    choose(browser, "generation", "5")
    at = table.isel(memory=0).sel(generation=5).risk.mean("lineage").values.T
    assert np.allclose(10 ** np.array(trace(browser, "map", 0, "z"), float)[1:-1], at[1:-1], rtol=1e-3)
    choose(browser, "shade", "z = (estimate − exact) / s.e.")
    heat = np.array(trace(browser, "map", 0, "z"), float)  # s.e. 0.01; 16 bits tell that from r
    assert np.nanmax(abs(heat)) < 0.05 and np.isfinite(heat).mean() > 0.9
    choose(browser, "generation", "100 (last)")
    choose(browser, "shade", "z = (estimate − exact) / s.e.")
    assert np.nanmax(abs(np.array(trace(browser, "map", 0, "z"), float))) < 1e-3
    choose(browser, "x", "memory")
    assert np.shape(trace(browser, "map", 0, "z")) == (50, 2)
    choose(browser, "y", "decay")
    assert text(browser, "map-title").startswith("risk over memory and decay at growth = ")
    choose(browser, "metric", "length")
    assert np.shape(trace(browser, "map", 0, "z")) == (100, 2) and "tokens" in text(browser, "cell")
    assert text(browser, "no-trajectory").startswith("No history of length: the sweep holds one value")


def test_a_list_of_points_and_a_single_axis_work_on_a_phone(browser, tmp_path):
    size = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    table = sweep(6, 5)
    show(browser, tmp_path, table.stack(point=table.attrs["axes"], create_index=False).isel(point=slice(0, 60, 7)))
    points = trace(browser, "map", 0, "customdata")
    assert points == list(range(1, 9)) and trace(browser, "map", 0, "type") == "scatter"
    assert "no grid, so no boundary" in text(browser, "legend")
    x, y = (trace(browser, "map", 0, f"{axis}[3]") for axis in "xy")
    click(browser, x, y)
    assert f"decay = {x:.4g}" in text(browser, "cell-title")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390
    show(browser, tmp_path, table.isel(growth=2, memory=[1]).assign_attrs(axes=["decay", "memory"]))
    assert trace(browser, "map", 0, "name") == "estimate, 95 % interval"
    assert np.allclose(trace(browser, "map", 1, "y"), table.risk_exact[:, 2, 1, -1], rtol=1e-4)
    click(browser, table.decay[4].item(), table.risk[4, 2, 1, :, -1].mean().item())
    assert text(browser, "cell-title") == "Cell: decay = 1.6, memory = 1"
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 390 and complaints(browser) == []
