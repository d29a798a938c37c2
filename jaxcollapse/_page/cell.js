// The selected cell: its history beside the exact one, its numbers, and the boundary as a table.

function drawTrajectory() {
  const m = metric(),
    h = m.history,
    c = state.cell;
  $("cell-title").textContent = `Cell: ${coordinates(c).join(", ")}`;
  $("trajectory").hidden = !h;
  $("no-trajectory").hidden = Boolean(h);
  $("kept").textContent = "";
  if (!h) {
    $("no-trajectory").textContent =
      `No history of ${m.name}: the sweep holds one value for each lineage. To see how it came about, ` +
      `return all generations from the experiment, as {"${m.name}": (("lineage", "generation"), values)}.`;
    return;
  }
  const t = h.generations,
    part = (curve) => curve.subarray(c * t.length, (c + 1) * t.length);
  const mean = part(h.mean),
    half = part(h.se).map((se) => se * value(m, "t", c));
  const known = [...mean, ...(h.exact ? part(h.exact) : [])].filter((v) => v > 0),
    span = [Math.min(...known), Math.max(...known)];
  const positive = h.log && span[1] > 5 * span[0],
    least = positive ? span[0] / 10 : -Infinity;
  const shown = (values) => Array.from(values, (v) => (Number.isNaN(v) || (positive && v <= 0) ? null : v));
  const line = { type: "scatter", mode: "lines", x: t },
    traces = [];
  if (half.some(Number.isFinite)) {
    const bound = (side) =>
      Array.from(mean, (v, i) => (Number.isNaN(v + half[i]) ? null : Math.max(v + side * half[i], least)));
    traces.push({ ...line, y: bound(-1), line: { width: 0 }, showlegend: false, hoverinfo: "skip" });
    traces.push({
      ...line,
      y: bound(1),
      line: { width: 0 },
      fill: "tonexty",
      fillcolor: "rgba(0,114,178,0.3)",
      name: "95 % interval",
      hoverinfo: "skip",
    });
  }
  const tips = t.map(
    (g, i) =>
      `generation ${g}<br>${m.simulated ? "mean of lineages" : m.name}: <b>${number(mean[i])}</b>` +
      (Number.isFinite(half[i])
        ? `<br>95 % interval: ${number(mean[i] - half[i])} to ${number(mean[i] + half[i])}`
        : "") +
      (h.exact ? `<br>exact: ${number(part(h.exact)[i])}` : "") +
      "<extra></extra>",
  );
  traces.push({
    ...line,
    mode: "lines+markers",
    y: shown(mean),
    name: m.simulated ? "mean of lineages" : m.name,
    line: { color: BLUE, width: 2.2 },
    marker: { size: 4 },
    hovertemplate: tips,
  });
  if (h.exact)
    traces.push({
      ...line,
      mode: part(h.exact).filter(Number.isFinite).length > 1 ? "lines" : "markers",
      y: shown(part(h.exact)),
      name: "exact",
      line: { color: "#000", width: 1.6, dash: "dash" },
      marker: { color: "#000", symbol: "diamond", size: 9 },
      hoverinfo: "skip",
    });
  const wide = t[0] > 0 && t[t.length - 1] / t[0] > 20;
  const axis = { ticks: "outside", automargin: true, gridcolor: "#e0e0e0", zeroline: false, exponentformat: "power" };
  Plotly.react(
    $("trajectory"),
    traces,
    {
      ...LAYOUT,
      plot_bgcolor: "#fff",
      margin: { t: 28, r: 10, b: 42, l: 60 },
      legend: LEGEND,
      xaxis: {
        ...axis,
        title: { text: "generation t", standoff: 5, font: { size: 13 } },
        type: wide ? "log" : "linear",
        ...(wide ? decades(t[0], t[t.length - 1]) : {}),
      },
      yaxis: {
        ...axis,
        title: { text: united(m), standoff: 5, font: { size: 13 } },
        type: positive ? "log" : "linear",
        ...(positive ? decades(...span, 1000) : {}),
      },
    },
    CONFIG,
  );
  if (t.length < h.recorded)
    $("kept").textContent = `${t.length} of ${h.recorded} recorded generations are on this page.`;
}

function drawCell() {
  const line = ([name, text]) => {
    const row = document.createElement("tr"),
      head = document.createElement("th"),
      data = document.createElement("td");
    head.scope = "row";
    head.textContent = name;
    data.textContent = text;
    row.append(head, data);
    return row;
  };
  $("cell").tBodies[0].replaceChildren(...rows(metric(), state.cell).map(line));
}

function drawWords() {
  const m = metric(),
    a = m.agreement;
  $("finding").textContent = a
    ? `${m.label}: simulation and exact value differ by at most ${number(a.worst, 3)} s.e. in ` +
      `${a.cells.toLocaleString("en")} cells; ` +
      `if means are normal, chance exceeds ${number(a.bound, 3)} once in a thousand such sweeps.`
    : `${m.label}: no exact value beside it.`;
  const others = VARYING.filter((k) => k !== state.x && k !== state.y);
  const held = DATA.grid && others.length ? ` at ${coordinates(state.cell, others).join(", ")}` : "";
  const over = state.y < 0 ? AXES[state.x].name : `${AXES[state.x].name} and ${AXES[state.y].name}`;
  const when = m.history && !last() ? `, generation ${m.history.generations[state.generation]}` : "";
  $("map-title").textContent = `${m.name} over ${over}${held}${when}`;
  const notes = ["Click a cell, or move the sliders."];
  if (!DATA.grid) notes.push("The points form no grid, so no boundary is drawn.");
  else if (!last() && Object.keys(m.boundary).length)
    notes.push("The boundary is that of the last generation, and drawn there.");
  if (DATA.left.length) notes.push(`Not shown: ${DATA.left.join("; ")}.`);
  $("legend").textContent = notes.join(" ");
}
