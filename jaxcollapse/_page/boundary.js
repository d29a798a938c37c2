// The boundary along the vertical axis in the slice that the map shows: on the map, in words, as a table.

// The boundary along the vertical axis, for every value of the horizontal one.
function slice(m) {
  const ends = last() && state.y >= 0 ? m.boundary[AXES[state.y].name] : null;
  if (!ends) return [];
  const others = AXES.map((_, k) => k).filter((k) => k !== state.y);
  return AXES[state.x].values.map((_, i) => {
    const index = others.reduce(
      (sum, k) => sum * AXES[k].values.length + (k === state.x ? i : place(k, state.cell)),
      0,
    );
    const [root, low, high, exact] = ends.map((curve) => curve[index]);
    return { i, root, low, high, exact };
  });
}

function boundary(m) {
  const found = slice(m),
    x = AXES[state.x],
    span = edges(AXES[state.y]),
    name = `${m.name} = ${DATA.level}`;
  const inside = (v) => Math.min(Math.max(v, span[0]), span[span.length - 1]),
    traces = [];
  const curve = { type: "scatter", x: found.map(({ i }) => at(x, i)), hoverinfo: "skip" };
  if (found.some(({ exact }) => Number.isFinite(exact))) {
    const line = { ...curve, mode: "lines", y: found.map(({ exact }) => exact) };
    traces.push({ ...line, line: { color: "#fff", width: 5 }, showlegend: false });
    traces.push({ ...line, line: { color: "#000", width: 2.2 }, name: `${name}: exact` });
  }
  if (found.some(({ root }) => Number.isFinite(root))) {
    const bars = found.some(({ low }) => !Number.isNaN(low));
    const text = found.map((b) => `${x.name} = ${named(x, b.i)}: boundary at ${boundaryWords(b)}<extra></extra>`);
    traces.push({
      ...curve,
      mode: "markers",
      y: found.map(({ root }) => root),
      hoverinfo: "all",
      hovertemplate: text,
      name: `${name}: simulated${bars ? ", 95 % interval" : ""}`,
      marker: {
        symbol: "circle",
        size: found.length > 60 ? 4 : 7,
        color: "#fff",
        line: { color: "#000", width: 1.2 },
      },
      error_y: bars
        ? {
            type: "data",
            symmetric: false,
            color: "#000",
            thickness: 1.4,
            width: 0,
            array: found.map((b) => inside(b.high) - b.root),
            arrayminus: found.map((b) => b.root - inside(b.low)),
          }
        : undefined,
    });
  }
  return traces;
}

const open = (v) => (v === Infinity || v === -Infinity ? "open" : number(v));

function boundaryWords({ root, low, high, exact }) {
  const ends = Number.isNaN(low) ? "" : ` (95 % interval ${open(low)} to ${open(high)})`;
  return `${number(root)}${ends}${Number.isFinite(exact) ? `, exact ${number(exact)}` : ""}`;
}

function drawBoundaryTable() {
  const m = metric(),
    found = slice(m).filter((b) => Number.isFinite(b.root) || Number.isFinite(b.exact)),
    [table] = $("boundary").getElementsByTagName("table");
  $("boundary").hidden = !found.length;
  if (!found.length) return;
  const line = (cells, tag) => {
    const row = document.createElement("tr");
    row.append(...cells.map((text) => Object.assign(document.createElement(tag), { textContent: text })));
    return row;
  };
  const y = AXES[state.y].name;
  table.tHead.replaceChildren(
    line([AXES[state.x].name, `${y} where ${m.name} = ${DATA.level}`, "95 % interval", "exact"], "th"),
  );
  table.tBodies[0].replaceChildren(
    ...found.map((b) =>
      line(
        [
          named(AXES[state.x], b.i),
          number(b.root),
          Number.isNaN(b.low) ? "–" : `${open(b.low)} to ${open(b.high)}`,
          number(b.exact),
        ],
        "td",
      ),
    ),
  );
}
