// The page's script: puts the parts that the agent sends in place, and draws what HTML cannot. It asks and never changes.
"use strict";

const $ = id => document.getElementById(id);
const root = document.documentElement;
const rem = () => parseFloat(getComputedStyle(root).fontSize) / 16;  // a wall screen has larger letters

/** A new element: attributes by name, children as nodes or texts. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

async function ask(path) {
  const answer = await fetch(path, {cache: "no-store"});
  return answer.ok ? answer.json() : null;
}

// -- words: the agent's own HTML, put in place where it has changed

const placed = {};
let said = $("verdict").querySelector("h1").textContent;

/** Shows a view of /api/v1/live. */
function show(view) {
  for (const [id, html] of Object.entries(view.parts)) {
    const part = $(id);
    if (!part || placed[id] === html) continue;
    placed[id] = html;
    keeping(part, () => { part.innerHTML = html; });
  }
  const {title} = view.headline;
  if (title !== said) {
    said = title;
    $("said").textContent = `${title}. ${view.headline.lead}`;
    document.title = document.title.replace(/^.* · /, () => `${title} · `);
  }
}

/** Changes a part and leaves the reader where they were: focus, scrolling, what is folded out. */
function keeping(part, change) {
  const open = [...part.querySelectorAll("details[open]")].map(d => d.id);
  const scrolled = [...part.querySelectorAll("[tabindex]")].map(e => e.scrollTop);
  const focus = part.contains(document.activeElement) ? document.activeElement : null;
  const wanted = focus && (focus.dataset.at ? `a[data-at="${focus.dataset.at}"][href="${CSS.escape(focus.getAttribute("href"))}"]`
    : focus.id ? `#${focus.id}` : focus.matches("summary") ? "summary" : "[tabindex]");
  change();
  for (const id of open) part.querySelector(`#${id}`)?.setAttribute("open", "");
  [...part.querySelectorAll("[tabindex]")].forEach((e, i) => { e.scrollTop = scrolled[i] ?? 0; });
  if (wanted) part.querySelector(wanted)?.focus({preventScroll: true});
  if (part.id === "streams") mark();
}

// -- one stream: its reference and the present, bin by bin

/** [model, feature] of the address, else of the strongest evidence. */
function chosen() {
  const place = location.hash.match(/^#stream=(.+)$/)?.[1]
    ?? $("streams").querySelector("a[data-at]")?.getAttribute("href").slice("#stream=".length);
  try {
    const names = place?.split("/").map(decodeURIComponent);
    return names?.length === 2 ? names : null;
  } catch {
    return null;
  }
}

function mark() {
  const now = chosen()?.map(encodeURIComponent).join("/");
  for (const link of $("streams").querySelectorAll("a[data-at]")) {
    const names = link.getAttribute("href").slice("#stream=".length).split("/").map(decodeURIComponent);
    if (names.map(encodeURIComponent).join("/") === now) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

let shape = null;

async function drawShape() {
  const names = chosen();
  mark();
  shape = names && await ask(`/api/v1/distributions?model=${encodeURIComponent(names[0])}&feature=${encodeURIComponent(names[1])}`)
    .catch(() => shape);
  $("shape").hidden = !shape;
  if (!shape) return;
  const moved = shape.current ? shape.bins.map((name, i) => ({name, from: shape.reference[i], to: shape.current[i]}))
    .reduce((a, b) => Math.abs(b.to - b.from) > Math.abs(a.to - a.from) ? b : a) : null;
  const rows = shape.rows.toLocaleString("en");
  const now = !shape.current ? `${rows} rows so far, too few to compare`
    : shape.began ? `${rows} rows since ${clock(shape.began)} UTC` : `now, about ${rows} rows`;
  const [title, words] = $("shape").querySelectorAll("h2, figcaption p");
  title.textContent = shape.part ? `${shape.feature}: ${shape.part}` : shape.feature;
  words.replaceChildren(
    make("span", {class: "key key-before"}, "reference"), " ", make("span", {class: "key key-now"}, now),
    moved && moved.from !== moved.to ? `. Most moved: ${shape.kind === "numeric" ? moved.name : `‘${moved.name}’`} ${percent(moved.from)} → ${percent(moved.to)}.` : "");
  bars($("shape").querySelector(".drawing"), shape, words.textContent);
  numbers($("shape").querySelector("details .wide"), shape);
  evidence();
}

/** Paired bars, a pair a bin, in pixels of their own so that texts stay legible on a phone. */
function bars(place, {bins, reference, current}, label) {
  const width = Math.max(place.clientWidth, 200), height = 230 * rem(), left = 48 * rem(), bottom = 34 * rem(), top = 8;
  const most = round(Math.max(...reference, ...(current ?? [])) || 1);
  const group = (width - left) / bins.length, tall = height - top - bottom;
  const y = share => top + tall * (1 - share / most);
  const svg = draw("svg", {viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Share of each bin: ${label}`});
  for (const share of [0, most / 2, most]) {
    svg.append(draw("line", {class: "grid", x1: left, x2: width, y1: y(share), y2: y(share)}),
      draw("text", {x: left - 6, y: y(share) + 4, "text-anchor": "end"}, percent(share)));
  }
  const every = Math.ceil(64 * rem() / group), room = Math.max(Math.floor(every * group / 7 / rem()), 3);
  bins.forEach((name, i) => {
    const x = left + i * group, wide = Math.max(group * (current ? .42 : .8), 1);
    const said = `${name}: ${percent(reference[i])}${current ? ` → ${percent(current[i])}` : ""}`;
    const pair = draw("g", {}, draw("title", {}, said), bar("before", x + group * .08, wide, reference[i]));
    if (current) pair.append(bar("now", x + group * .08 + wide, wide, current[i]));
    svg.append(pair);
    if (i % every === 0) {
      const text = name.length > room ? `${name.slice(0, room - 1)}…` : name;
      svg.append(draw("text", {x: x + group / 2, y: height - bottom + 16 * rem(), "text-anchor": i ? "middle" : "start"}, text));
    }
  });
  place.replaceChildren(svg);

  function bar(kind, x, wide, share) {
    return draw("rect", {class: kind, x, width: wide, y: y(share), height: Math.max(top + tall - y(share), 0)});
  }
}

/** The next number upwards that is easy to read, and half of it too. */
function round(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return unit * [1, 2, 3, 4, 6, 8, 10].find(step => step * unit >= value * .999);
}

function draw(tag, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** The same as a table, for those who cannot see the bars and those who want the numbers. */
function numbers(place, {feature, bins, reference, current}) {
  const head = ["Bin", "Reference", "Now"].map((name, i) => make("th", i ? {scope: "col", class: "num"} : {scope: "col"}, name));
  const body = bins.map((name, i) => make("tr", {}, make("th", {scope: "row"}, name),
    make("td", {class: "num"}, percent(reference[i])), make("td", {class: "num"}, current ? percent(current[i]) : "–")));
  place.replaceChildren(make("table", {}, make("caption", {class: "unseen"}, `Shares of each bin of ${feature}`),
    make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body)));
}

// -- numbers for people

const percent = share => `${(100 * share).toLocaleString("en", {maximumSignificantDigits: share >= .1 ? 3 : 2})} %`;
const clock = at => new Date(at * 1000).toISOString().slice(11, 19);
const plain = value => value.toLocaleString("en", {maximumSignificantDigits: 3});

/** A value with the unit that makes it readable. */
function worded(value, unit) {
  if (value === null || value === undefined) return "–";
  if (unit === "bytes" || unit === "bytes/s") {
    const step = value < 1 ? 0 : Math.min(Math.floor(Math.log2(value) / 10), 4);
    return `${plain(value / 1024 ** step)} ${["B", "KiB", "MiB", "GiB", "TiB"][step]}${unit.slice(5)}`;
  }
  if (unit === "ratio") return percent(value);
  if (unit === "s") return value >= 1 || value === 0 ? `${plain(value)} s` : value >= 1e-3 ? `${plain(value * 1e3)} ms` : `${plain(value * 1e6)} µs`;
  return unit ? `${plain(value)} ${unit}` : plain(value);
}

// -- charts: what is drawn of the history, and how

const CHARTS = [
  {place: "traffic", title: "Requests", metric: "pilotfish_requests_total", by: "code", unit: "/s"},
  {place: "traffic", title: "Latency", metric: "pilotfish_request_duration_seconds", by: "quantile", unit: "s", join: Math.max},
  {place: "traffic", title: "Predictions", metric: "pilotfish_predictions_total", by: "class", unit: "/s"},
  {place: "traffic", title: "In flight", metric: "pilotfish_requests_in_flight", by: "target", unit: ""},
  {place: "traffic", title: "First token", metric: "pilotfish_time_to_first_token_seconds", by: "quantile", unit: "s", join: Math.max},
  {place: "traffic", title: "Tokens generated", metric: "pilotfish_output_tokens_total", by: "model", unit: "/s"},
  {place: "hardware", title: "CPU, cores in use", metric: "pilotfish_process_cpu_seconds_total", by: "mode", unit: ""},
  {place: "hardware", title: "Waiting for a CPU, threads", metric: "pilotfish_process_run_delay_seconds_total", by: "target", unit: ""},
  {place: "hardware", title: "Memory, resident", metric: "pilotfish_process_resident_memory_bytes", by: "target", unit: "bytes"},
  {place: "hardware", title: "Storage", metric: "pilotfish_process_io_bytes_total", by: "direction", unit: "bytes/s"},
  {place: "hardware", title: "Open files", metric: "pilotfish_process_open_fds", by: "target", unit: ""},
  {place: "hardware", title: "Threads", metric: "pilotfish_process_threads", by: "target", unit: ""},
  {place: "hardware", title: "Held back by the CPU limit", metric: "pilotfish_cgroup_cpu_throttled_seconds_total", by: "target", unit: "s/s"},
  {place: "hardware", title: "Memory of the control group", metric: "pilotfish_cgroup_memory_bytes", by: "target", unit: "bytes"},
  {place: "hardware", title: "Pressure: time some task waited", metric: "pilotfish_cgroup_pressure_waiting_seconds_total", by: "resource", unit: "ratio"},
  {place: "hardware", title: "Power of the model", metric: "pilotfish_process_energy_joules_total", by: "source", unit: "W"},
  {place: "gpus", title: "GPU busy", metric: "pilotfish_gpu_utilization_ratio", by: "gpu", unit: "ratio"},
  {place: "gpus", title: "SM time of the model", metric: "pilotfish_process_gpu_sm_utilization_ratio", by: "gpu", unit: "ratio"},
  {place: "gpus", title: "SM active", metric: "pilotfish_gpu_sm_active_ratio", by: "gpu", unit: "ratio"},
  {place: "gpus", title: "Tensor cores active", metric: "pilotfish_gpu_tensor_active_ratio", by: "gpu", unit: "ratio"},
  {place: "gpus", title: "GPU memory of the model", metric: "pilotfish_process_gpu_memory_bytes", by: "gpu", unit: "bytes"},
  {place: "gpus", title: "GPU power", metric: "pilotfish_gpu_power_watts", by: "gpu", unit: "W"},
];
const EVIDENCE = {title: "Evidence over its alarm line", metric: "pilotfish_drift_evidence_ratio", by: "feature", unit: "", line: 1};
const SPANS = {"15m": ["10s", 900, "15 min"], "1h": ["10s", 3600, "hour"], "24h": ["1m", 86400, "24 h"]};
const LINES = 5;

/** A model just started gains series in its first minutes: the list is read more often then. */
const YOUNG_MS = 180_000;

const charts = new Map();
let series = [], asked = -Infinity, wanted = "", points = {at: [], values: {}};
const span = () => document.querySelector("input[name=span]:checked").value;

/** The series of a chart by the label that tells them apart. */
function lines(spec) {
  const found = new Map();
  for (const one of series) {
    if (one.metric !== spec.metric || spec.only && !spec.only(one.labels)) continue;
    const name = one.labels[spec.by] ?? "all";
    found.set(name, [...found.get(name) ?? [], one]);
  }
  return [...found].map(([label, all]) => ({label, name: named(spec.by, label), all}));
}

const named = (by, name) => by === "quantile" ? {"0.5": "median", "0.99": "99 %"}[name] ?? name : name;

/** The history's numbers of a line: several series become one. */
function valuesOf(line, spec) {
  const columns = line.all.map(one => points.values[one.id] ?? []);
  return points.at.map((_, i) => {
    const here = columns.map(c => c[i] ?? null).filter(v => v !== null);
    return here.length ? (spec.join ?? ((...all) => all.reduce((a, b) => a + b)))(...here) : null;
  });
}

/** Fetches what is drawn: all of the span at first, when other series are drawn, or on demand; else the newest points. */
async function load({anew = false} = {}) {
  const [step, seconds] = SPANS[span()];
  if (performance.now() - asked > (performance.now() > YOUNG_MS && points.at.length ? 60_000 : 8_000)) {
    asked = performance.now();
    series = (await ask("/api/v1/history?span=0s"))?.series ?? series;
  }
  const drawn = CHARTS.flatMap(lines).concat(lines(evidenceOf())).flatMap(line => line.all.map(one => one.id)).slice(0, 100);
  if (!drawn.length) return;
  const ids = drawn.map(encodeURIComponent).join(","), fresh = anew || ids !== wanted;
  wanted = ids;
  const history = await ask(`/api/v1/history?span=${fresh ? span() : step === "10s" ? "1m" : "5m"}&series=${ids}`);
  const found = history?.steps?.[step];
  if (!found) return;
  const values = found.values ?? found.last;
  if (fresh) points = {at: found.at, values};
  else append(found.at, values, seconds);
  drawAll();
}

/** Newer points behind those we have; what has left the span goes. */
function append(at, values, seconds) {
  const last = points.at.at(-1) ?? -Infinity, from = at.findIndex(t => t > last);
  if (from < 0) return;
  const length = points.at.length, whole = [...points.at, ...at.slice(from)];
  const drop = Math.max(whole.findIndex(t => t >= whole.at(-1) - seconds), 0);
  const ids = new Set([...Object.keys(points.values), ...Object.keys(values)]);
  points = {at: whole.slice(drop), values: Object.fromEntries([...ids].map(id => {
    const old = points.values[id] ?? Array(length).fill(null), young = values[id]?.slice(from) ?? Array(at.length - from).fill(null);
    return [id, [...old, ...young].slice(drop)];
  }))};
}

function drawAll() {
  $("charts").hidden = false;
  for (const spec of CHARTS) chart(spec, $(spec.place));
  evidence();
  performance.mark("drawn");
}

/** The chosen stream's evidence, under its distribution. */
function evidence() {
  const figure = $("shape");
  if (shape) chart(evidenceOf(), figure, figure.querySelector("details"));
}

function evidenceOf() {
  const [model, feature] = chosen() ?? [];
  return {...EVIDENCE, only: labels => labels.feature === feature && (labels.model ?? model) === model};
}

/** Draws or moves on one chart; one without a series is not there: absent is not zero. */
function chart(spec, place, before = null) {
  let found = lines(spec).map(line => ({...line, values: valuesOf(line, spec)})).filter(l => l.values.some(v => v !== null));
  found = found.sort((a, b) => peak(b) - peak(a)).slice(0, LINES).sort((a, b) => a.label < b.label ? -1 : 1);
  const key = spec.title, now = charts.get(key), names = found.map(l => l.name).join("\n");
  if (now && now.names !== names) remove(key);
  if (!found.length) return;
  const data = [points.at, ...found.map(l => l.values)];
  if (charts.has(key)) {
    const {plot} = charts.get(key);
    plot.setData(data);
  } else {
    const box = make("div", {role: "img"}), time = make("b"), keys = make("div", {class: "keys"});
    const figure = make("figure", {class: place.id === "shape" ? "small" : "card chart"},
      make("figcaption", {}, make("span", {}, spec.title), time), keys, box);
    place.insertBefore(figure, before);
    const one = {spec, figure, box, time, keys, names, found};
    charts.set(key, one);
    one.plot = new uPlot(options(one, box.clientWidth), data, box);
  }
  const one = charts.get(key);
  one.found = found;
  legend(one, null);
  one.box.setAttribute("aria-label", `${spec.title}, the last ${SPANS[span()][2]}: ${found.map(l => summary(l, spec)).join("; ")}`);
}

const peak = line => Math.max(...line.values.filter(v => v !== null));
const last = values => values.findLast(v => v !== null);

function summary({name, values}, {unit}) {
  const known = values.filter(v => v !== null);
  return `${name} ${worded(last(values), unit)}, between ${worded(Math.min(...known), unit)} and ${worded(Math.max(...known), unit)}`;
}

/** Names and values: the newest, or those under the pointer. */
function legend({spec, keys, time, found}, index) {
  const alone = found.length === 1 && spec.by === "target";
  keys.replaceChildren(...found.map(({name, values}, i) =>
    make("span", {class: `key key${i}`}, alone ? "" : `${name} `,
      make("b", {}, worded(index === null ? last(values) : values[index], spec.unit)))));
  time.textContent = index === null ? "" : `${clock(points.at[index])} UTC`;
}

function options(one, width) {
  const colour = name => getComputedStyle(root).getPropertyValue(name).trim();
  const axis = {stroke: colour("--soft"), font: `${11 * rem()}px system-ui, sans-serif`, grid: {stroke: colour("--line"), width: 1},
    ticks: {show: false}};
  const {spec, found} = one;
  return {
    width, height: (spec.line ? 110 : 140) * rem(),
    tzDate: at => uPlot.tzDate(new Date(at * 1000), "Etc/UTC"),
    legend: {show: false},
    cursor: {sync: {key: "time"}, y: false, drag: {x: false, y: false}, points: {size: 6}},
    scales: {y: {range: (_, low, high) => [0, Math.max(high ?? 0, spec.line ?? 0) * 1.1 || 1]}},
    axes: [{...axis, space: 60 * rem(), size: 26 * rem(), values: [[3600, "{HH}:{mm}"], [60, "{HH}:{mm}"], [1, "{HH}:{mm}:{ss}"]].map(([s, f]) => [s, f, null, null, null, null, null, null, 1])},
      {...axis, size: 62 * rem(), space: 34 * rem(), values: (_, all) => all.map(v => worded(v, spec.unit))}],
    series: [{}, ...found.map((_, i) => ({stroke: colour(`--c${i}`), width: 1.5, points: {size: 4}}))],
    hooks: {
      setCursor: [plot => legend(one, plot.cursor.idx ?? null)],
      draw: spec.line ? [plot => rule(plot, spec.line, colour("--bad"))] : [],
    },
  };
}

/** A dashed line at a value that matters. */
function rule(plot, value, colour) {
  const {ctx, bbox} = plot, y = Math.round(plot.valToPos(value, "y", true));
  ctx.save();
  ctx.strokeStyle = colour;
  ctx.setLineDash([6, 5]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.restore();
}

function remove(key) {
  const {plot, figure} = charts.get(key);
  plot.destroy();
  figure.remove();
  charts.delete(key);
}

/** Everything anew: other colours, or another width. */
function redraw() {
  [...charts.keys()].forEach(remove);
  if (points.at.length) drawAll();
  if (shape) bars($("shape").querySelector(".drawing"), shape, $("shape").querySelector("figcaption p").textContent);
}

// -- life: views are sent; where something in between holds them back, they are asked for

const PATIENCE = 4000;  // a view comes each second
let source = null, judged = null, loaded = 0, heard = -Infinity, lived = 0;

function live() {
  lived = performance.now();
  source?.close();
  source = new EventSource("/api/v1/live");
  source.addEventListener("view", event => take(JSON.parse(event.data)));
  source.addEventListener("error", mind);
}

function take(view) {
  heard = performance.now();
  root.className = "live";
  $("lost").textContent = "";
  show(view);
  if (view.judged !== judged || view.judged === null) {
    judged = view.judged;
    drawShape();
  }
  if (heard - loaded > 10_000) {
    loaded = heard;
    load().catch(() => {});
  }
}

/** Asks for what was not sent; says so when there is no answer to that either. */
async function mind() {
  if (document.hidden || performance.now() - heard < PATIENCE && source.readyState === EventSource.OPEN) return;
  try {
    take(await ask("/api/v1/view"));
    // Refused: a browser does not try that again by itself.
    if (source.readyState === EventSource.CLOSED && performance.now() - lived > 5 * PATIENCE) live();
  } catch {
    root.className = "live stale";
    $("lost").textContent ||= `The agent has not answered since ${clock(Date.now() / 1000)} UTC; what stands here is older.`;
  }
}

function start() {
  loaded = performance.now();
  load().catch(() => {});
  drawShape();
  live();
}

setInterval(mind, PATIENCE);
addEventListener("hashchange", () => drawShape().then(() => load()).catch(() => {}));
for (const input of document.querySelectorAll("input[name=span]")) input.addEventListener("change", () => load({anew: true}).catch(() => {}));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
let width = innerWidth, settle = 0;
addEventListener("resize", () => {
  if (innerWidth === width) return;
  width = innerWidth;
  clearTimeout(settle);
  settle = setTimeout(redraw, 150);
});
// Up and down walk through the streams.
$("streams").addEventListener("keydown", event => {
  const step = {ArrowDown: 1, ArrowUp: -1}[event.key], links = [...$("streams").querySelectorAll("a[data-at]")];
  const at = links.indexOf(document.activeElement);
  if (!step || at < 0) return;
  event.preventDefault();
  links[Math.min(Math.max(at + step, 0), links.length - 1)].focus();
});
// A page that nobody looks at costs the agent nothing.
document.addEventListener("visibilitychange", () => document.hidden ? source?.close() : start());
start();
