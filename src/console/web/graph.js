// The pipeline as a graph: nodes in layers from source to sink, drawn as SVG, told anew every second.
const WIDTH = 200, HEIGHT = 84, GAP_X = 34, GAP_Y = 14, PAD = 4;
const SCALE_MIN = 0.72, NARROW = 700, RAIL = 26;
const LABELS = {
  fetched: "fetched", rows: "rows", changes: "changes", events: "events", in: "in", results: "results",
  table_rows: "rows", dead: "dead", late: "late", lag: "lag", latency_us: "latency",
};
const GOOD = new Set(["ready", "running", "checkpointing", "streaming", "snapshot", "scheduled"]);

export function number(value) {
  return Number(value).toLocaleString("en-US");
}

function element(name, attributes, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

function cut(text, length) {
  return text.length > length ? text.slice(0, length - 1) + "…" : text;
}

// The layer of a node is one past the deepest of those before it.
function layers(nodes, edges) {
  const depth = new Map(nodes.map((node) => [node.id, 0]));
  for (let round = 0; round < nodes.length; round++) {
    let moved = false;
    for (const [from, to] of edges) {
      if (depth.has(from) && depth.has(to) && depth.get(to) < depth.get(from) + 1) {
        depth.set(to, depth.get(from) + 1);
        moved = true;
      }
    }
    if (!moved) break;
  }
  return depth;
}

function counts(node) {
  const parts = [];
  for (const [key, label] of Object.entries(LABELS)) {
    const value = node.counters[key];
    if (value === undefined || (value <= 0 && ["dead", "late", "latency_us"].includes(key) && key !== "dead")) continue;
    if (key === "lag" && value < 0) continue;
    parts.push(key === "latency_us" ? `${(value / 1000).toFixed(1)} ms` : `${label} ${number(value)}`);
  }
  return parts;
}

// Wide: a column a layer. Narrow: one column, in the order of the layers, with a rail for the edges.
function place(pipeline, narrow) {
  const depth = layers(pipeline.nodes, pipeline.edges);
  const spots = new Map();
  if (narrow) {
    const order = [...pipeline.nodes].sort((a, b) => depth.get(a.id) - depth.get(b.id));
    order.forEach((node, i) => spots.set(node.id, { x: PAD + RAIL, y: PAD + i * (HEIGHT + GAP_Y) }));
    return { spots, width: WIDTH + RAIL + 2 * PAD, height: order.length * (HEIGHT + GAP_Y) - GAP_Y + 2 * PAD };
  }
  const columns = [];
  for (const node of pipeline.nodes) (columns[depth.get(node.id)] ??= []).push(node);
  const tallest = Math.max(...columns.map((column) => column?.length ?? 0));
  const full = tallest * (HEIGHT + GAP_Y) - GAP_Y;
  columns.forEach((column, x) => {
    const own = column.length * (HEIGHT + GAP_Y) - GAP_Y;
    column.forEach((node, y) => spots.set(node.id, { x: PAD + x * (WIDTH + GAP_X), y: PAD + (full - own) / 2 + y * (HEIGHT + GAP_Y) }));
  });
  return { spots, width: columns.length * (WIDTH + GAP_X) - GAP_X + 2 * PAD, height: full + 2 * PAD };
}

function curve(a, b, narrow) {
  if (narrow) {
    const y1 = a.y + HEIGHT / 2, y2 = b.y + HEIGHT / 2, out = a.x - Math.min(RAIL - 4, 6 + Math.abs(y2 - y1) / 40);
    return `M${a.x},${y1} C${out},${y1} ${out},${y2} ${b.x},${y2}`;
  }
  const x1 = a.x + WIDTH, y1 = a.y + HEIGHT / 2, x2 = b.x, y2 = b.y + HEIGHT / 2, mid = (x1 + x2) / 2;
  return `M${x1},${y1} C${mid},${y1} ${mid},${y2} ${x2},${y2}`;
}

function drawNode(node, spot, rate, pick) {
  const mood = node.error ? (node.state === "failed" ? "bad" : "warn") : GOOD.has(node.state) ? "good" : "warn";
  const kinds = { topic: true, sink: true };
  const group = element("g", { class: `node ${mood} ${kinds[node.kind] ? "pick" : ""}`, transform: `translate(${spot.x},${spot.y})` });
  group.append(element("title", {}, [node.about, node.where, node.error ? `${node.state}: ${node.error}` : node.state].filter(Boolean).join("\n")));
  group.append(element("rect", { class: "box", width: WIDTH, height: HEIGHT, rx: 8 }));
  group.append(element("rect", { class: "bar", width: 5, height: HEIGHT - 16, x: 0, y: 8, rx: 2 }));
  const [sink, name] = node.kind === "sink" ? node.name.split("/", 2) : [null, node.name];
  const state = ["capture", "stream"].includes(node.kind) ? ` · ${node.state}` : sink ? ` · ${sink}` : "";
  group.append(element("text", { class: "kind", x: 15, y: 18 }, cut(node.kind + state, 28)));
  group.append(element("text", { class: "name", x: 15, y: 36 }, cut(name, 22)));
  const parts = counts(node);
  group.append(element("text", { class: "count", x: 15, y: 54 }, cut(parts.slice(0, 2).join("  ") || node.about, 26)));
  const rest = parts.slice(2).join("  ");
  const last = rest || (rate > 0 ? `${number(Math.round(rate))}/s` : node.where);
  group.append(element("text", { class: rest ? "count" : "where", x: 15, y: 71 }, cut(last, rest ? 30 : 32)));
  if (kinds[node.kind]) group.addEventListener("click", () => pick(node));
  return group;
}

// `rates`: node id -> records a second. `pick` is told when a topic or a table is clicked.
export function draw(holder, pipeline, rates, pick) {
  const room = holder.clientWidth, narrow = room < NARROW;
  const { spots, width, height } = place(pipeline, narrow);
  const scale = narrow ? Math.min(1.25, room / width) : Math.min(1, Math.max(SCALE_MIN, room / width));
  const svg = element("svg", { width: width * scale, height: height * scale, viewBox: `0 0 ${width} ${height}`, role: "img" });
  for (const [from, to] of pipeline.edges) {
    const a = spots.get(from), b = spots.get(to);
    if (a && b) svg.append(element("path", { class: `edge ${rates.get(to) > 0 || rates.get(from) > 0 ? "flow" : ""}`, d: curve(a, b, narrow) }));
  }
  for (const node of pipeline.nodes) svg.append(drawNode(node, spots.get(node.id), rates.get(node.id) ?? 0, pick));
  holder.replaceChildren(svg);
}
