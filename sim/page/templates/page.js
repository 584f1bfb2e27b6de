"use strict";
// Tables that sort and filter, and curves that zoom. Without this script the page says the same.

function number(cell) {
  return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
}

function compare(a, b, column, isNumber) {
  const [x, y] = [a.cells[column], b.cells[column]];
  if (!isNumber) return x.textContent.trim().localeCompare(y.textContent.trim(), "en", {numeric: true});
  const [m, n] = [number(x), number(y)];
  if (m === null || n === null) return m === n ? 0 : m === null ? Infinity : -Infinity;  // what has no value stays last
  return m - n;
}

function sort(table, column, button) {
  const head = button.closest("th"), falling = head.getAttribute("aria-sort") === "ascending";
  const isNumber = head.classList.contains("number"), body = table.tBodies[0];
  const rows = [...body.rows].sort((a, b) => {
    const order = compare(a, b, column, isNumber);
    return Number.isFinite(order) && falling ? -order : order;
  });
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
  body.append(...rows);
  const printed = Number(table.dataset.printed || rows.length);
  rows.forEach((row, i) => row.classList.toggle("unprinted", i >= printed));
}

function sortable(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const name = head.querySelector(".head"), button = document.createElement("button");
    button.type = "button";
    button.textContent = name.textContent;
    button.addEventListener("click", () => sort(table, column, button));
    name.replaceChildren(button);
  });
}

// The rows that are shown, as CSV. A text that a spreadsheet would take for a formula gets a sign before it.
function csv(table) {
  const quoted = text => /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const safe = text => /^[=+\-@\t\r]/.test(text) && !Number.isFinite(Number(text)) ? `'${text}` : text;
  const heads = [...table.tHead.rows[0].cells].map(head => head.textContent.trim().replace(/\s+/g, " "));
  const rows = [...table.tBodies[0].rows].filter(row => !row.hidden);
  const cells = rows.map(row => [...row.cells].map(cell => cell.dataset.value ?? safe(cell.textContent.trim())));
  return [heads, ...cells].map(line => line.map(quoted).join(",")).join("\n") + "\n";
}

function save(table) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([csv(table)], {type: "text/csv"}));
  link.download = table.dataset.file;
  link.click();
  URL.revokeObjectURL(link.href);
}

function filterable(table) {
  const saving = document.createElement("button");
  saving.type = "button";
  saving.textContent = "Save these rows as CSV";
  saving.addEventListener("click", () => save(table));
  const box = document.createElement("div"), label = document.createElement("label");
  const field = document.createElement("input"), count = document.createElement("span");
  box.className = "filter";
  field.type = "search";
  count.setAttribute("role", "status");
  label.append("Only rows with ", field);
  box.append(label, saving, count);
  table.closest(".scroll").before(box);
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rows = [...table.tBodies[0].rows];
    for (const row of rows) row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
    count.textContent = `${rows.filter(row => !row.hidden).length} of ${rows.length} rows`;
  });
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

const LOOKS = {line1: ["c1", []], line2: ["c2", [6, 3]], line3: ["c3", [2, 2]],
  busy: ["c1", []], draining: ["c6", [8, 3]], idle: ["pale", [2, 3]], starting: ["c5", [6, 3]], asleep: ["grey", [1, 3]]};

// Of stacked curves the sums are drawn, the largest first, so that each area is seen down to the one below it.
function drawn(data) {
  if (!data.stacked) return data.curves;
  const sums = [];
  for (const curve of data.curves) {
    const below = sums.length ? sums[sums.length - 1].values : null;
    sums.push({...curve, own: curve.values, values: curve.values.map((v, i) => v + (below ? below[i] : 0))});
  }
  return sums.reverse();
}

function shown(v) {
  return v === null || v === undefined ? "–" : String(Number(v.toPrecision(4)));
}

function options(data, curves, width) {
  const axis = {stroke: colour("soft"), grid: {stroke: colour("line"), width: 1}, ticks: {stroke: colour("line"), width: 1}};
  const series = curves.map(curve => {
    const [name, dash] = LOOKS[curve.look], ink = colour(name);
    return {label: curve.name, stroke: ink, dash: data.stacked ? [] : dash, fill: data.stacked ? ink : undefined,
      width: data.stacked ? 0.5 : 1.8, points: {show: false}, paths: uPlot.paths.stepped({align: 1}),
      value: (_, v, __, i) => shown(i === null ? null : curve.own ? curve.own[i] : v)};
  });
  const top = (_, low, high) => [Math.min(0, low ?? 0), (high ?? 1) * 1.05 || 1];
  return {width, height: width > 500 ? 260 : 220, scales: {x: {time: false}, y: {range: top}},
    cursor: {drag: {x: true, y: false}},
    axes: [{...axis, label: `time, ${data.unit}`, labelSize: 22}, {...axis, label: data.label, labelSize: 22, size: 58}],
    series: [{label: data.unit, value: (_, v) => shown(v)}, ...series]};
}

function zoomTo(plot, low, high) {
  const x = plot.data[0], first = x[0], last = x[x.length - 1], length = Math.min(high - low, last - first);
  const begin = Math.min(Math.max(low, first), last - length);
  plot.setScale("x", {min: begin, max: begin + length});
}

const STEPS = [["Zoom in", 0, .25], ["Zoom out", 0, -.5], ["Earlier", -.4, 0], ["Later", .4, 0], ["All", 0, -1e9]];

function zoomable(figure) {
  const data = JSON.parse(figure.querySelector(".curves").textContent), curves = drawn(data);
  const place = document.createElement("div"), buttons = document.createElement("div"), hint = document.createElement("span");
  place.className = "plot";
  buttons.className = "zoom-buttons";
  figure.querySelector(".drawing").after(place, buttons);
  figure.classList.add("has-plot");
  let plot = null;
  const draw = () => {
    const range = plot && [plot.scales.x.min, plot.scales.x.max];
    if (plot) plot.destroy();
    plot = new uPlot(options(data, curves, place.clientWidth), [data.x, ...curves.map(curve => curve.values)], place);
    if (range) zoomTo(plot, ...range);
    figure.plot = plot;
  };
  for (const [name, shift, shrink] of STEPS) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = name;
    button.addEventListener("click", () => {
      const {min, max} = plot.scales.x, length = max - min;
      zoomTo(plot, min + length * (shift + shrink), max + length * (shift - shrink));
    });
    buttons.append(button);
  }
  hint.textContent = "or drag over the curve";
  buttons.append(hint);
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("resize", () => { if (plot.width !== place.clientWidth) draw(); });
}

for (const table of document.querySelectorAll("table.sortable")) { sortable(table); filterable(table); }
if (typeof uPlot !== "undefined") for (const figure of document.querySelectorAll(".zoomable")) zoomable(figure);
