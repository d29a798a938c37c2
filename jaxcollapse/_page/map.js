// The map: heat where the points form a grid, squares where they do not, a line over a single axis.

// Of the cells, of which the plot wants one more than values.
function edges(axis) {
  const v = axis.kind === "category" ? axis.values.map((_, i) => i) : axis.values.slice();
  const log = axis.kind === "log";
  const u = log ? v.map(Math.log) : v;
  if (u.length === 1) return [u[0] - 0.5, u[0] + 0.5].map((e) => (log ? Math.exp(e) : e));
  const inner = u.slice(1).map((e, i) => (e + u[i]) / 2);
  const outer = [1.5 * u[0] - 0.5 * u[1], ...inner, 1.5 * u[u.length - 1] - 0.5 * u[u.length - 2]];
  return log ? outer.map(Math.exp) : outer;
}

function scale(axis) {
  const style = {
    title: { text: axis.label, standoff: 6, font: { size: 13 } },
    zeroline: false,
    showgrid: false,
    ticks: "outside",
    automargin: true,
  };
  const span = edges(axis),
    log = axis.kind === "log";
  if (DATA.grid)
    style.range = log ? [Math.log10(span[0]), Math.log10(span[span.length - 1])] : [span[0], span[span.length - 1]];
  if (axis.kind !== "category")
    return { ...style, type: axis.kind, ...(log ? decades(span[0], span[span.length - 1]) : {}) };
  return { ...style, type: "linear", tickvals: axis.values.map((_, i) => i), ticktext: axis.values };
}

// One scale for all slices and generations of a metric.
function colours(m) {
  const values = [...(state.shade === "z" ? Array.from(DONE, (_, c) => z(m, c)) : m.map[state.shade])].filter(
    Number.isFinite,
  );
  const [low, high] = values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
  if (state.shade === "z") {
    const ends = [low < -FAR ? "≤ " : "", high > FAR ? "≥ " : ""],
      ticks = [-FAR, -2, 0, 2, FAR];
    return {
      of: (v) => v,
      colorscale: "Cividis",
      zmin: -FAR,
      zmax: FAR,
      colorbar: { tickvals: ticks, ticktext: ticks.map((v, i) => (ends[i / 4] ?? "") + number(v)) },
    };
  }
  const positive = values.filter((v) => v > 0),
    smallest = positive.reduce((a, v) => Math.min(a, v), Infinity);
  const least = Math.max(smallest, high * SMALLEST);
  const log = low > -1e-2 * high && high > 30 * least && positive.length > 0.5 * values.length;
  if (!log)
    return { of: (v) => v, colorscale: "Viridis", zmin: low, zmax: high > low ? high : low + 1, colorbar: {} };
  const ticks = decades(least * 1.2, high).tickvals;
  const bottom = positive.length < values.length || least > smallest ? "≤ " : "";
  return {
    of: (v) => Math.log10(Math.max(v, least)),
    colorscale: "Viridis",
    zmin: Math.log10(least),
    zmax: Math.log10(high),
    colorbar: {
      tickvals: [least, ...ticks].map(Math.log10),
      ticktext: [bottom + number(least, 2), ...ticks.map((v) => number(v, 2))],
    },
  };
}

// The cells themselves: heat where they form a grid, squares where they do not.
function field(m) {
  const { of, colorbar, ...range } = colours(m),
    x = AXES[state.x],
    y = AXES[state.y];
  const narrow = innerWidth < 860,
    label = { mean: united(m), z: SHADES.z }[state.shade] ?? `${SHADES[state.shade]}: ${united(m)}`;
  if (narrow && colorbar.tickvals) {
    const every = Math.ceil(colorbar.tickvals.length / 5),
      few = (list) => list.filter((_, i) => i % every === 0);
    Object.assign(colorbar, { tickvals: few(colorbar.tickvals), ticktext: few(colorbar.ticktext), tickangle: 0 });
  }
  const bar = {
    ...colorbar,
    title: { text: label, side: narrow ? "top" : "right", font: { size: 12 } },
    thickness: 14,
    outlinewidth: 0,
    ...(narrow ? { orientation: "h", y: -0.22, yanchor: "top", len: 1 } : {}),
  };
  if (!DATA.grid) return squares(m, of, range, bar);
  const grid = y.values.map((_, j) => x.values.map((_, i) => moved(moved(state.cell, state.x, i), state.y, j)));
  const heat = grid.map((row) => row.map((c) => of(shade(m, c))).map((v) => (Number.isFinite(v) ? v : null)));
  const text = grid.map((row) => row.map((c) => hover(m, c).replace("<extra></extra>", "")));
  const trace = {
    type: "heatmap",
    x: edges(x),
    y: edges(y),
    z: heat,
    text,
    hovertemplate: "%{text}<extra></extra>",
    colorbar: bar,
    hoverongaps: true,
  };
  return [{ ...trace, ...range }, grid.flat().filter((c) => missing(m, c))];
}

// The same for points that form no grid.
function squares(m, of, { zmin, zmax, colorscale }, colorbar) {
  const all = Array.from(DONE, (_, c) => c),
    seen = all.filter((c) => !missing(m, c));
  const marker = {
    symbol: "square",
    size: seen.length > 1500 ? 5 : 9,
    color: seen.map((c) => of(shade(m, c))),
    cmin: zmin,
    cmax: zmax,
    colorscale,
    colorbar,
    line: { width: 0.5, color: "#fff" },
  };
  const text = { customdata: seen, hovertemplate: seen.map((c) => hover(m, c)) };
  const points = { type: "scatter", mode: "markers", ...spot(seen), marker, showlegend: false, ...text };
  return [points, all.filter((c) => missing(m, c))];
}

function spot(cells) {
  return {
    x: cells.map((c) => at(AXES[state.x], place(state.x, c))),
    y: cells.map((c) => at(AXES[state.y], place(state.y, c))),
  };
}

function drawMap() {
  const m = metric();
  if (state.y < 0) return drawLine(m);
  const [cells, lost] = field(m),
    traces = [cells, ...boundary(m)];
  for (const [label, symbol, some] of [
    ["NaN", "x-thin", lost.filter((c) => DONE[c])],
    ["not computed", "circle-open", lost.filter((c) => !DONE[c])],
  ]) {
    if (!some.length) continue;
    traces.push({
      type: "scatter",
      mode: "markers",
      ...spot(some),
      name: label,
      customdata: some,
      hovertemplate: some.map((c) => hover(m, c)),
      marker: { symbol, size: some.length > 400 ? 4 : 7, color: "#404040", line: { color: "#404040", width: 1.5 } },
    });
  }
  const layout = {
    ...LAYOUT,
    margin: { t: 30, r: 10, b: 45, l: 55 },
    legend: LEGEND,
    xaxis: scale(AXES[state.x]),
    yaxis: scale(AXES[state.y]),
  };
  return Plotly.react($("map"), [...traces, ...selected(m)], layout, CONFIG);
}

// A single axis: the quantity itself is the vertical one.
function drawLine(m) {
  const x = AXES[state.x],
    all = Array.from(DONE, (_, c) => c),
    seen = all.filter((c) => Number.isFinite(shade(m, c)));
  const values = seen.map((c) => shade(m, c)),
    span = [Math.min(...values), Math.max(...values)],
    log = state.shade !== "z" && span[0] > 0 && span[1] > 30 * span[0];
  const curve = (name) => ({
    type: "scatter",
    x: seen.map((c) => at(x, place(state.x, c))),
    y: seen.map((c) => (name === "z" ? z(m, c) : value(m, name, c))),
  });
  const half = seen.map((c) => value(m, "t", c) * value(m, "se", c));
  const bars =
    state.shade === "mean" && half.some(Number.isFinite)
      ? { type: "data", array: half, color: BLUE, thickness: 1.5, width: 3 }
      : undefined;
  const traces = [
    {
      ...curve(state.shade),
      mode: "lines+markers",
      line: { color: BLUE, width: 1 },
      marker: { color: BLUE, size: 7 },
      customdata: seen,
      name: SHADES[state.shade] + (bars ? ", 95 % interval" : ""),
      error_y: bars,
      hovertemplate: seen.map((c) => hover(m, c)),
    },
  ];
  if (m.map.exact && state.shade === "mean")
    traces.push({
      ...curve("exact"),
      mode: "lines",
      line: { color: "#000", width: 1.6, dash: "dash" },
      name: "exact",
      hoverinfo: "skip",
    });
  const title = {
    text: state.shade === "mean" ? united(m) : `${m.label}: ${SHADES[state.shade]}`,
    standoff: 6,
    font: { size: 13 },
  };
  const layout = {
    ...LAYOUT,
    plot_bgcolor: "#fff",
    margin: { t: 30, r: 10, b: 45, l: 60 },
    legend: LEGEND,
    xaxis: scale(x),
    yaxis: {
      title,
      type: log ? "log" : "linear",
      ...(log ? decades(...span, 1000) : {}),
      ticks: "outside",
      automargin: true,
      gridcolor: "#e0e0e0",
    },
  };
  return Plotly.react($("map"), [...traces, ...selected(m)], layout, CONFIG);
}

// Always the last two traces.
function selected(m) {
  const where =
    state.y < 0
      ? { x: [at(AXES[state.x], place(state.x, state.cell))], y: [shade(m, state.cell)] }
      : spot([state.cell]);
  const mark = (color, width) => ({
    type: "scatter",
    mode: "markers",
    ...where,
    hoverinfo: "skip",
    showlegend: false,
    marker: { symbol: "square-open", size: 15, color, line: { color, width } },
  });
  return [mark("#fff", 6), mark(RED, 3)];
}
