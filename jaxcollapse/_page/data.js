// The data of the page, as report.py wrote them, and what is said of a cell.

const DATA = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const BLUE = "#0072B2",
  RED = "#D55E00";
const LAYOUT = {
  font: { family: "system-ui, DejaVu Sans, sans-serif", size: 13, color: "#1a1a1a" },
  hovermode: "closest",
  paper_bgcolor: "#fff",
  plot_bgcolor: "#ededed",
  hoverlabel: { bgcolor: "#fff", font: { size: 13 }, align: "left" },
};
const LEGEND = {
  orientation: "h",
  x: 0,
  xanchor: "left",
  y: 1.01,
  yanchor: "bottom",
  font: { size: 12 },
  entrywidth: 0,
};
const CONFIG = {
  displaylogo: false,
  responsive: true,
  displayModeBar: innerWidth < 860 ? false : "hover", // it would lie on the legend
  modeBarButtons: [["toImage", "resetScale2d"]],
};
const FAR = 4; // z beyond it share a colour
const SMALLEST = 1e-6; // of the largest value: smaller ones share the darkest colour

// A loop is ten times as fast as Uint8Array.from.
function bytes(text) {
  const raw = atob(text),
    out = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i += 1) out[i] = raw.charCodeAt(i);
  return out;
}

const floats = (text) => new Float32Array(bytes(text).buffer);
const whole = (text) => new Uint32Array(bytes(text).buffer);

function levels(curve, log) {
  const [low, high] = [floats(curve.low), floats(curve.high)];
  const given = new Uint16Array(bytes(curve.codes).buffer),
    out = new Float64Array(given.length).fill(NaN);
  for (let i = 0; i < given.length; i += 1) {
    if (given[i] === 65535) continue;
    const c = Math.floor((i * low.length) / given.length); // generations of a cell lie side by side
    const value = low[c] + ((given[i] - 1) / 65533) * (high[c] - low[c]);
    out[i] = !log ? value : given[i] === 0 ? 0 : Math.exp(value);
  }
  return out;
}

const DIGITS = "⁰¹²³⁴⁵⁶⁷⁸⁹";
function number(x, digits = 4) {
  if (!Number.isFinite(x)) return "–";
  if (x === 0) return "0";
  const size = Math.abs(x);
  if (size >= 1e-3 && size < 1e6) {
    return String(Number(x.toPrecision(Math.max(digits, size >= 1000 ? 6 : 1)))).replace("-", "−");
  }
  const [mantissa, power] = x.toExponential(digits - 1).split("e");
  const raised = String(Number(power))
    .replace("-", "⁻")
    .replace(/\d/g, (d) => DIGITS[d]);
  return Number(mantissa) === 1 ? `10${raised}` : `${String(Number(mantissa)).replace("-", "−")}×10${raised}`;
}

// Ticks of a logarithmic axis or colour bar, in plain numbers.
function decades(low, high, reach = 1.001) {
  const digits = high < 300 * low ? [1, 2, 5] : high < 1e6 * low ? [1] : [],
    out = [];
  const step = digits.length ? 1 : Math.ceil(Math.log10(high / low) / 8);
  for (let power = -300; power < 300; power += 1) {
    if (!digits.length && power % step === 0) out.push(Number(`1e${power}`));
    for (const d of digits) out.push(Number(`${d}e${power}`));
  }
  const inside = out.filter((v) => v > low / reach && v < high * reach);
  return { tickvals: inside, ticktext: inside.map((v) => number(v, 2)) };
}

const AXES = DATA.axes,
  PLACES = DATA.places.map(whole),
  DONE = bytes(DATA.done),
  VALID = bytes(DATA.valid);
const STRIDES = AXES.map((_, k) => AXES.slice(k + 1).reduce((product, axis) => product * axis.values.length, 1));
const VARYING = AXES.map((_, k) => k).filter((k) => AXES[k].values.length > 1);
const opened = new Map();

// Decoded when it is first looked at.
function metric() {
  const raw = DATA.metrics[state.metric];
  if (!opened.has(raw)) {
    const map = Object.fromEntries(Object.entries(raw.map).map(([name, text]) => [name, floats(text)]));
    const h = raw.history;
    const history = h && {
      ...h,
      mean: levels(h.mean, h.log),
      se: levels(h.se, h.log),
      exact: h.exact && levels(h.exact, h.log),
    };
    const boundary = Object.fromEntries(Object.entries(raw.boundary).map(([axis, ends]) => [axis, ends.map(floats)]));
    opened.set(raw, { ...raw, map, history, boundary, count: whole(raw.count) });
  }
  return opened.get(raw);
}

const state = { metric: 0, shade: "mean", x: VARYING[0] ?? 0, y: VARYING[1] ?? -1, cell: 0, generation: -1 };
const last = () => state.generation < 0;

// At the generation of the map; the last one is kept in full.
function value(m, name, c) {
  const kept = m.map[name];
  if (last() || name === "t") return kept ? kept[kept.length > 1 ? c : 0] : NaN;
  const h = m.history;
  return h[name] ? h[name][c * h.generations.length + state.generation] : NaN;
}

// NaN without a spread, and where the 16 bits of a history would make an error of more than 0.05.
function z(m, c) {
  const se = value(m, "se", c),
    found = (value(m, "mean", c) - value(m, "exact", c)) / se;
  if (!(se > 0) || last()) return se > 0 ? found : NaN;
  const error = blur(m, "mean", c) + blur(m, "exact", c) + Math.abs(found) * blur(m, "se", c);
  return error < 0.05 * se ? found : NaN;
}

// The largest error of a value in 16 bits: half a step between the largest and the smallest of its history.
function blur(m, name, c) {
  const t = m.history.generations.length,
    curve = m.history[name]
      .subarray(c * t, (c + 1) * t)
      .filter((v) => Number.isFinite(v) && (v > 0 || !m.history.log)),
    [low, high] = [Math.min(...curve), Math.max(...curve)];
  return (m.history.log ? Math.log(high / low) * value(m, name, c) : high - low) / 65533 / 2;
}

const SHADES = { mean: "estimate", exact: "exact value", z: "z = (estimate − exact) / s.e.", se: "standard error" };
const shade = (m, c) => (state.shade === "z" ? z(m, c) : value(m, state.shade, c));
const place = (k, c) => PLACES[k][c];
const at = (axis, i) => (axis.kind === "category" ? i : axis.values[i]);
const named = (axis, i) => (axis.kind === "category" ? axis.values[i] : number(axis.values[i]));
const moved = (c, k, i) => c + (i - place(k, c)) * STRIDES[k]; // in a grid: the same cell but for axis k
const united = (m) => m.label + (m.units ? ` (${m.units})` : "");
const coordinates = (c, ks = AXES.keys()) => [...ks].map((k) => `${AXES[k].name} = ${named(AXES[k], place(k, c))}`);

function missing(m, c) {
  if (!DONE[c]) return "not computed yet";
  return Number.isFinite(value(m, "mean", c)) ? "" : "NaN: its arguments were out of range, or it overflowed";
}

function interval(m, c) {
  const mean = value(m, "mean", c),
    half = value(m, "t", c) * value(m, "se", c);
  return Number.isFinite(half) ? `${number(mean - half)} to ${number(mean + half)}` : "";
}

// What is known of a cell, for its table and for the hover.
function rows(m, c) {
  const lost = missing(m, c),
    t = m.history ? m.history.generations : null;
  const found = AXES.map((axis, k) => [axis.label, named(axis, place(k, c))]);
  if (t) found.push(["generation", String(last() ? t[t.length - 1] : t[state.generation])]);
  if (lost) return [...found, [m.label, lost]];
  if (!VALID[c]) found.push(["flag", "this cell holds NaN, in another quantity or generation"]);
  found.push([m.label, number(value(m, "mean", c)) + (m.units ? ` ${m.units}` : "")]);
  if (interval(m, c)) found.push([`95 % interval${m.known_se && m.map.exact ? ", exact s.e." : ""}`, interval(m, c)]);
  if (m.map.exact) found.push(["exact", number(value(m, "exact", c))]);
  if (m.map.exact && m.simulated)
    found.push([
      "z",
      Number.isFinite(z(m, c))
        ? number(z(m, c), 3)
        : `– (${value(m, "se", c) > 0 ? "more than 16 bits" : "no spread"})`,
    ]);
  if (!m.simulated || !last() || !Number.isFinite(m.map.median[c])) return found;
  found.push([
    "median; 5 to 95 % of lineages",
    `${number(m.map.median[c])}; ${number(m.map.low[c])} to ${number(m.map.high[c])}`,
  ]);
  return [...found, ["lineages", String(m.count[m.count.length > 1 ? c : 0])]];
}

const hover = (m, c) =>
  rows(m, c)
    .map(([name, text]) => `${name}: <b>${text}</b>`)
    .join("<br>") + "<extra></extra>";
