// The console: asks /status.json every second and shows it; runs, topics and tables when they are looked at.
import { draw, number } from "/graph.js";

const HISTORY_SECONDS = 300;
const COLORS = ["#0b7a86", "#c2662d", "#5b5fc7", "#3f8f4f", "#b0413e", "#8a6d1d"];
const at = (id) => document.getElementById(id);
const state = { pipeline: null, last: null, rates: new Map(), history: new Map(), run: null, topic: null, table: null, chart: null };

async function ask(path, options) {
  const answer = await fetch(path, options);
  if (!answer.ok) {
    const text = await answer.text();
    let why = text;
    try { const body = JSON.parse(text); why = body.error ?? body.detail ?? text; } catch { /* plain text */ }
    throw new Error(why.trim() || `status ${answer.status}`);
  }
  return answer.json();
}

function cell(row, text, kind) {
  const td = row.insertCell();
  if (kind) td.className = kind;
  td.textContent = text;
  return td;
}

function header(table, names) {
  const row = table.createTHead().insertRow();
  for (const name of names) {
    const th = document.createElement("th");
    th.textContent = name;
    row.append(th);
  }
  return table.createTBody();
}

function time(iso) {
  return iso ? new Date(iso).toLocaleTimeString("en-GB", { hour12: false }) : "";
}

// ---- the state: header, systems, graph ----

const total = (node) => node.counters.results ?? node.counters.events ?? node.counters.fetched ?? node.counters.table_rows ?? node.counters.rows ?? 0;

function follow(status, pipeline) {
  const now = Date.parse(status.now);
  if (state.last && state.last.name === pipeline.name) {
    const seconds = (now - state.last.now) / 1000;
    for (const node of pipeline.nodes) {
      const before = state.last.totals.get(node.id);
      if (before !== undefined && seconds > 0) state.rates.set(node.id, Math.max(0, (total(node) - before) / seconds));
    }
    for (const node of pipeline.nodes.filter((one) => one.kind === "topic")) {
      const points = state.history.get(node.name) ?? [];
      points.push({ x: now, y: state.rates.get(node.id) ?? 0 });
      while (points.length && points[0].x < now - HISTORY_SECONDS * 1000) points.shift();
      state.history.set(node.name, points);
    }
  }
  state.last = { name: pipeline.name, now, totals: new Map(pipeline.nodes.map((node) => [node.id, total(node)])) };
}

function showHead(status) {
  const seconds = Math.floor((Date.parse(status.now) - Date.parse(status.started)) / 1000);
  const uptime = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60].map((n) => String(n).padStart(2, "0")).join(":");
  at("ready").textContent = status.ready ? "ready" : "not ready";
  at("ready").className = `badge ${status.ready ? "good" : "warn"}`;
  at("facts").textContent = `version ${status.version} · up ${uptime} · ${Math.round(status.memory_bytes / 1048576)} MB · data in ${status.data}`;
  const nodes = status.pipelines.flatMap((pipeline) => pipeline.nodes.filter((node) => node.error && status.ready));
  const trouble = [...status.reasons, ...nodes.map((node) => `${node.kind} ${node.name}: ${node.error}`)];
  at("trouble").hidden = trouble.length === 0;
  at("trouble").textContent = trouble.join("\n");
  at("seams").replaceChildren(...status.seams.map((seam) => {
    const box = document.createElement("div");
    const name = document.createElement("b"), where = document.createElement("code"), kind = document.createElement("span");
    box.className = "seam";
    name.textContent = seam.name;
    where.textContent = seam.address || "starting";
    kind.className = `quiet ${seam.ready ? "" : "warn-text"}`;
    kind.textContent = `${seam.embedded ? "embedded" : "real"}${seam.ready ? "" : ", starting"}`;
    box.append(name, where, document.createElement("br"), kind);
    return box;
  }));
}

function showPipelines(status) {
  const choice = at("pipeline-choice");
  const names = status.pipelines.map((pipeline) => pipeline.name);
  if (!names.includes(state.pipeline)) state.pipeline = names[0];
  choice.hidden = names.length < 2;
  if (choice.options.length !== names.length) choice.replaceChildren(...names.map((name) => new Option(name)));
  choice.value = state.pipeline;
  const pipeline = status.pipelines.find((one) => one.name === state.pipeline);
  if (!pipeline) return;
  follow(status, pipeline);
  at("pipeline-name").textContent = pipeline.name;
  const next = pipeline.paused ? "paused" : pipeline.next_due ? `next run ${time(pipeline.next_due)}` : "";
  at("pipeline-facts").textContent = [pipeline.about, pipeline.schedule, next].filter(Boolean).join(" · ");
  at("trigger").hidden = at("pause").hidden = pipeline.steps === 0;
  at("pause").textContent = pipeline.paused ? "Go on" : "Pause";
  at("pause").dataset.paused = pipeline.paused;
  draw(at("graph"), pipeline, state.rates, (node) => {
    if (node.kind === "topic") chooseTopic(node.name);
    else if (node.name.startsWith("cassandra/")) chooseTable(node.name.slice("cassandra/".length));
  });
}

function showChart() {
  if (!window.Chart) return;
  const quiet = getComputedStyle(document.documentElement).getPropertyValue("--quiet");
  const line = getComputedStyle(document.documentElement).getPropertyValue("--line");
  const sets = [...state.history].map(([label, data], i) => ({ label, data, borderColor: COLORS[i % COLORS.length], backgroundColor: COLORS[i % COLORS.length], borderWidth: 1.6, pointRadius: 0, tension: 0.2 }));
  if (!state.chart) {
    state.chart = new window.Chart(at("chart"), {
      type: "line",
      data: { datasets: sets },
      options: {
        animation: false, maintainAspectRatio: false, parsing: false, normalized: true,
        interaction: { mode: "nearest", intersect: false },
        plugins: { legend: { position: "bottom", labels: { color: quiet, boxWidth: 12, boxHeight: 2 } }, tooltip: { callbacks: { title: (items) => new Date(items[0].parsed.x).toLocaleTimeString("en-GB") } } },
        scales: {
          x: { type: "linear", ticks: { color: quiet, maxTicksLimit: 6, maxRotation: 0, callback: (value) => new Date(value).toLocaleTimeString("en-GB") }, grid: { color: line } },
          y: { beginAtZero: true, suggestedMax: 5, ticks: { color: quiet, maxTicksLimit: 5 }, grid: { color: line } },
        },
      },
    });
  }
  state.chart.data.datasets = sets;
  const now = state.last?.now ?? Date.now();
  state.chart.options.scales.x.min = now - HISTORY_SECONDS * 1000;
  state.chart.options.scales.x.max = now;
  state.chart.update("none");
}

async function refresh() {
  try {
    const status = await ask("/status.json");
    showHead(status);
    showPipelines(status);
    showChart();
  } catch (error) {
    at("ready").textContent = "not reachable";
    at("ready").className = "badge bad";
    at("trouble").hidden = false;
    at("trouble").textContent = `Millrace does not answer: ${error.message}`;
  }
}

// ---- runs ----

const MOODS = { success: "good-text", failed: "bad-text", running: "warn-text", queued: "warn-text" };

async function showRuns() {
  if (!state.pipeline) return;
  try {
    const { dag_runs: runs, total_entries: count } = await ask(`/api/v1/dags/${encodeURIComponent(state.pipeline)}/dagRuns?limit=25`);
    const table = document.createElement("table");
    const body = header(table, ["due", "state", "took", "how"]);
    at("runs-facts").textContent = count ? `${number(count)} kept` : "none yet";
    for (const run of runs) {
      const row = body.insertRow();
      row.className = `pick ${state.run === run.dag_run_id ? "chosen" : ""}`;
      cell(row, time(run.execution_date));
      cell(row, run.state, MOODS[run.state]);
      cell(row, run.start_date && run.end_date ? `${Date.parse(run.end_date) - Date.parse(run.start_date)} ms` : "", "number");
      cell(row, run.run_type);
      row.addEventListener("click", () => { state.run = run.dag_run_id; showRuns(); });
    }
    if (!state.run && runs.length) state.run = runs.find((run) => run.state !== "running")?.dag_run_id ?? null;
    table.id = "runs";
    at("runs").replaceWith(table);
    await showLog();
  } catch (error) {
    at("runs-facts").textContent = error.message;
  }
}

async function showLog() {
  if (!state.run) return;
  const base = `/api/v1/dags/${encodeURIComponent(state.pipeline)}/dagRuns/${encodeURIComponent(state.run)}/taskInstances`;
  const { task_instances: tasks } = await ask(base);
  const parts = [];
  for (const task of tasks) {
    let log = "";
    if (task.try_number > 0) {
      try { log = (await ask(`${base}/${encodeURIComponent(task.task_id)}/logs/${task.try_number}`)).content; } catch (error) { log = error.message; }
    }
    parts.push(`── ${task.task_id}: ${task.state}${task.duration ? `, ${(task.duration * 1000).toFixed(0)} ms` : ""}\n${log}`);
  }
  at("log").textContent = parts.join("\n");
}

// ---- topics ----

async function listTopics() {
  const { topics } = await ask("/console/topics");
  const names = topics.filter((topic) => !topic.internal).concat(topics.filter((topic) => topic.internal)).map((topic) => topic.name);
  const choice = at("topic-choice");
  if ([...choice.options].map((option) => option.value).join() !== names.join()) choice.replaceChildren(...names.map((name) => new Option(name)));
  if (!state.topic || !names.includes(state.topic)) state.topic = names.find((name) => name.includes("created")) ?? names[0] ?? null;
  if (state.topic) choice.value = state.topic;
}

async function showRecords() {
  try {
    await listTopics();
    if (!state.topic) return;
    const answer = await ask(`/console/topics/${encodeURIComponent(state.topic)}/records?limit=30`);
    const table = document.createElement("table");
    const body = header(table, ["partition", "offset", "time", "key", "value"]);
    at("topic-facts").textContent = `${answer.partitions} partitions, ${number(answer.offsets)} offsets`;
    for (const record of answer.records) {
      const row = body.insertRow();
      cell(row, record.partition, "number");
      cell(row, number(record.offset), "number");
      cell(row, time(record.timestamp_ms));
      cell(row, record.key ?? "null");
      const value = cell(row, "", "wrap"), code = document.createElement("code");
      code.textContent = typeof record.value === "string" ? record.value : JSON.stringify(record.value);
      value.title = record.format + (record.schema_id >= 0 ? `, schema ${record.schema_id}` : "");
      value.append(code);
      row.className = "pick";
      row.addEventListener("click", () => row.classList.toggle("open"));
    }
    table.id = "records";
    at("records").replaceWith(table);
  } catch (error) {
    at("topic-facts").textContent = error.message;
  }
}

function chooseTopic(name) {
  state.topic = name;
  at("topic-choice").value = name;
  showRecords();
  at("topic-choice").scrollIntoView({ behavior: "smooth", block: "center" });
}

// ---- tables ----

async function showRows() {
  try {
    const { tables } = await ask("/console/tables");
    const names = tables.map((table) => `${table.keyspace}.${table.table}`);
    const choice = at("table-choice");
    if ([...choice.options].map((option) => option.value).join() !== names.join()) choice.replaceChildren(...names.map((name) => new Option(name)));
    if (!state.table || !names.includes(state.table)) state.table = names[0] ?? null;
    if (!state.table) { at("table-facts").textContent = "no tables yet"; return; }
    choice.value = state.table;
    const [keyspace, name] = state.table.split(".");
    const answer = await ask(`/console/tables/${encodeURIComponent(keyspace)}/${encodeURIComponent(name)}?limit=50`);
    const table = document.createElement("table");
    const body = header(table, answer.columns.map((column) => column.name));
    at("table-facts").textContent = `${answer.rows.length}${answer.more ? " of more" : ""} rows shown`;
    for (const values of answer.rows) {
      const row = body.insertRow();
      for (const value of values) cell(row, value ?? "null", value === null ? "quiet" : "");
    }
    table.id = "rows";
    at("rows").replaceWith(table);
  } catch (error) {
    at("table-facts").textContent = error.message;
  }
}

function chooseTable(name) {
  state.table = name;
  showRows();
  at("table-choice").scrollIntoView({ behavior: "smooth", block: "center" });
}

// ---- what a person does ----

at("trigger").addEventListener("click", async () => {
  await ask(`/api/v1/dags/${encodeURIComponent(state.pipeline)}/dagRuns`, { method: "POST", headers: { "Content-Type": "application/json" }, body: "{}" });
  state.run = null;
  setTimeout(showRuns, 400);
});
at("pause").addEventListener("click", async () => {
  const paused = at("pause").dataset.paused !== "true";
  await ask(`/api/v1/dags/${encodeURIComponent(state.pipeline)}`, { method: "PATCH", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ is_paused: paused }) });
  refresh();
});
at("pipeline-choice").addEventListener("change", (event) => { state.pipeline = event.target.value; state.run = null; state.history.clear(); state.last = null; refresh(); showRuns(); });
at("topic-choice").addEventListener("change", (event) => { state.topic = event.target.value; showRecords(); });
at("table-choice").addEventListener("change", (event) => { state.table = event.target.value; showRows(); });

async function slow() {
  if (!document.hidden) {
    await showRuns();
    const reading = document.querySelector("#records tr.open") !== null;
    if (at("topic-live").checked && !reading) await showRecords();
    await showRows();
  }
  setTimeout(slow, 4000);
}
async function fast() {
  if (!document.hidden) await refresh();
  setTimeout(fast, 1000);
}
await fast();
slow();
