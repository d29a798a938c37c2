// Menus, sliders and clicks: they change `state`, and draw again what depends on it.

function options(select, entries, chosen) {
  select.replaceChildren(
    ...entries.map(([key, text]) =>
      Object.assign(document.createElement("option"), { value: key, textContent: text }),
    ),
  );
  select.value = String(chosen);
  select.parentElement.hidden = entries.length < 2;
}

function menus() {
  const m = metric(),
    axes = VARYING.map((k) => [k, AXES[k].label]);
  options(
    $("metric"),
    DATA.metrics.map((one, i) => [i, one.label]),
    state.metric,
  );
  const shades = [
    "mean",
    ...(m.map.exact ? ["exact"] : []),
    ...(m.agreement ? ["z"] : []),
    ...(m.simulated ? ["se"] : []),
  ];
  if (!shades.includes(state.shade)) state.shade = "mean";
  options(
    $("shade"),
    shades.map((key) => [key, SHADES[key]]),
    state.shade,
  );
  options($("x"), axes, state.x);
  options($("y"), state.y < 0 ? [] : axes, state.y);
  const t = m.history ? m.history.generations : [];
  if (state.generation >= t.length - 1) state.generation = -1;
  options(
    $("generation"),
    [...t.slice(0, -1).map((g, i) => [i, g]), ...t.slice(-1).map((g) => [-1, `${g} (last)`])],
    state.generation,
  );
}

function sliders() {
  const single = !DATA.grid,
    ks = single ? [-1] : VARYING;
  $("sliders").replaceChildren(
    ...ks.map((k) => {
      const box = document.createElement("div"),
        label = document.createElement("label"),
        input = document.createElement("input");
      Object.assign(input, {
        type: "range",
        id: `at-${k}`,
        min: 0,
        max: (single ? DATA.cells : AXES[k].values.length) - 1,
        step: 1,
      });
      label.htmlFor = input.id;
      label.append(`${single ? "point" : AXES[k].label} `, document.createElement("output"));
      input.addEventListener("input", () =>
        select(single ? Number(input.value) : moved(state.cell, k, Number(input.value))),
      );
      box.append(label, input);
      return box;
    }),
  );
}

// The sliders say where the cell is.
function follow() {
  for (const input of $("sliders").getElementsByTagName("input")) {
    const k = Number(input.id.slice(3)),
      c = state.cell;
    input.value = k < 0 ? c : place(k, c);
    const text = k < 0 ? `${c + 1} of ${DATA.cells}` : named(AXES[k], place(k, c));
    input.previousElementSibling.lastElementChild.textContent = text;
    input.setAttribute("aria-valuetext", text);
  }
}

function select(c) {
  const same = (k) => !DATA.grid || k === state.x || k === state.y || place(k, c) === place(k, state.cell);
  const redraw = !AXES.every((_, k) => same(k));
  state.cell = c;
  if (redraw) drawMap();
  else {
    const [mark] = selected(metric()),
      count = $("map").data.length;
    Plotly.restyle($("map"), { x: [mark.x], y: [mark.y] }, [count - 2, count - 1]);
  }
  if (redraw) drawBoundaryTable();
  drawTrajectory();
  drawCell();
  drawWords();
  follow();
}

// On the axis as it is drawn.
function nearest(axis, v) {
  const u = (w) => (axis.kind === "log" ? Math.log(w) : w);
  return axis.values.reduce(
    (best, _, i) => (Math.abs(u(at(axis, i)) - u(v)) < Math.abs(u(at(axis, best)) - u(v)) ? i : best),
    0,
  );
}

function clicked({ points: [point] }) {
  if (Number.isInteger(point.customdata)) return select(point.customdata);
  if (state.y < 0 || !DATA.grid) return undefined;
  const [j, i] =
    point.data.type === "heatmap"
      ? point.pointNumber
      : [nearest(AXES[state.y], point.y), nearest(AXES[state.x], point.x)];
  return select(moved(moved(state.cell, state.x, i), state.y, j));
}

function draw() {
  menus();
  drawMap();
  drawTrajectory();
  drawCell();
  drawBoundaryTable();
  drawWords();
  follow();
}

function choose(event) {
  const { id, value: chosen } = event.target;
  if (id === "shade") state.shade = chosen;
  else if (id === "x" && Number(chosen) === state.y) [state.x, state.y] = [state.y, state.x];
  else if (id === "y" && Number(chosen) === state.x) [state.x, state.y] = [state.y, state.x];
  else state[id] = Number(chosen);
  draw();
}

// The cell to begin with.
function middle() {
  if (!DATA.grid) return 0;
  const c = AXES.reduce((sum, axis, k) => sum + Math.floor(axis.values.length / 2) * STRIDES[k], 0);
  return DONE[c] ? c : Math.max(DONE.indexOf(1), 0);
}

state.cell = middle();
sliders();
draw();
$("map").on("plotly_click", clicked);
$("menus").addEventListener("change", choose);
matchMedia("(max-width: 860px)").addEventListener("change", drawMap);
