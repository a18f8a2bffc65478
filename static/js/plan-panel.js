// What the panel beside a plan shows: one task, or one row of the log.

import { actor, describe } from "./lib/describe.js";
import { h, icon, stateBadge } from "./lib/dom.js";
import { clock, exact, precise, toMs } from "./lib/time.js";
import { TERMINAL, whyStalled, words } from "./lib/words.js";

const fact = (label, ...value) => (value.every((each) => each === null || each === undefined || each === "") ? null : h("div", {}, h("dt", {}, label), h("dd", {}, ...value)));
const facts = (...rows) => h("dl", { class: "facts column" }, rows);
const id = (value, label) => (value ? h("span", { class: "id" }, h("span", { class: "wrap" }, value), h("copy-button", { value, label })) : null);
const moment = (value) => (value ? h("time", { datetime: value }, precise(toMs(value))) : null);
const section = (title, ...body) => h("section", { class: "panel-section" }, h("h3", {}, title), ...body);

function viewer(label, value) {
  const node = h("json-viewer", { label });
  node.value = value;
  return node;
}

function spansTable(task) {
  const rows = task.spans.map(([state, at], index) => {
    const next = task.spans[index + 1]?.[1];
    const took = TERMINAL.has(state) ? "" : h("live-duration", { from: new Date(at).toISOString(), to: next ? new Date(next).toISOString() : "" });
    return h("tr", {}, h("td", {}, stateBadge(state)), h("td", { class: "num", title: exact(at) }, clock(at, true)), h("td", { class: "num end" }, took));
  });
  const head = h("tr", {}, h("th", { scope: "col" }, "State"), h("th", { scope: "col" }, "From"), h("th", { scope: "col", class: "end" }, "For"));
  return h("table", { class: "spans" }, h("thead", {}, head), h("tbody", {}, rows));
}

function tookSoFar({ spans, state }) {
  const [first, last] = [spans[0][1], spans.at(-1)[1]].map((ms) => new Date(ms).toISOString());
  return h("live-duration", { from: first, to: TERMINAL.has(state) ? last : "" });
}

const link = (text, onclick) => h("button", { type: "button", class: "as-link", onclick }, text);

function rowList(rows, store, onRow) {
  const item = (row) => {
    const text = describe(row, store.tasks);
    return h("li", {}, h("button", { type: "button", class: "panel-row", dataset: text.state ? { state: text.state } : {}, onclick: () => onRow(row.seq) }, h("span", { class: "num faint" }, row.seq), icon(text.icon), h("span", { class: "truncate" }, text.what)));
  };
  return h("ol", { class: "panel-rows" }, rows.map(item));
}

// The page knows the newest rows; those of an old task may be further back.
function olderRows(go) {
  const button = h("button", { type: "button", class: "button small" }, "Look through the whole log");
  button.addEventListener("click", () => {
    button.disabled = true;
    go.everything();
  });
  return h("p", {}, button);
}

/** Body of the panel for a task. go: {task(id), row(seq), everything(), orders(task)} */
export function taskBody(task, store, go) {
  const parent = store.tasks.get(task.parent_task_id);
  const below = [...store.tasks.values()].filter((each) => each.parent_task_id === task.task_id);
  const rows = [...store.rows.values()].filter((row) => row.task_id === task.task_id).sort((a, b) => a.seq - b.seq);
  return [
    h("div", { class: "row" }, stateBadge(task.state, "state pill"), task.stalled ? stateBadge("stalled", "state pill") : null, h("span", { class: "orders" }, go.orders(task))),
    task.stalled ? h("div", { class: "notice", dataset: { state: "stalled" } }, icon("stalled"), h("p", {}, `Stalled: ${whyStalled(task)}. Since `, moment(task.stalled_at), ".")) : null,
    task.error ? h("div", { class: "notice", dataset: { state: "failed" } }, icon("failed"), h("p", {}, typeof task.error === "string" ? task.error : JSON.stringify(task.error))) : null,
    task.message ? h("div", { class: "notice" }, icon("note"), h("p", {}, typeof task.progress === "number" ? `${Math.round(task.progress * 100)}% · ` : "", task.message)) : null,
    facts(
      fact("Agent", task.agent),
      fact("Event type", task.event_type ? h("code", {}, task.event_type) : null),
      fact("Attempt", task.attempt),
      fact("Took", task.spans.length ? tookSoFar(task) : null),
      fact("Task id", id(task.task_id, "task id")),
      fact("Part of", parent ? link(parent.name, () => go.task(parent.task_id)) : null),
    ),
    section("States", spansTable(task)),
    below.length ? section(`Sub-tasks (${below.length})`, h("ol", { class: "panel-rows" }, below.map((each) => h("li", {}, h("button", { type: "button", class: "panel-row", dataset: { state: each.state }, onclick: () => go.task(each.task_id) }, icon(each.state), h("span", { class: "truncate" }, each.name), h("span", { class: "faint" }, words(each.state))))))) : null,
    section("Log of this task", rowList(rows, store, go.row), store.rows.size < store.seq ? olderRows(go) : null),
  ];
}

const ENVELOPE = ["event_id", "type", "topic", "source", "correlation_id", "parent_event_id", "occurred_at", "recorded_at", "task_id"];

function envelopeOf(row) {
  const named = Object.fromEntries(ENVELOPE.filter((name) => row[name] !== null && row[name] !== undefined).map((name) => [name, row[name]]));
  return { ...named, ...(row.envelope ?? {}) };
}

/** Body of the panel for a log row; `row` is the full row. */
export function rowBody(row, store, go) {
  const task = store.tasks.get(row.task_id);
  const text = describe(row, store.tasks);
  const moved = row.kind === "transition" ? h("div", { class: "row" }, row.from_state ? [stateBadge(row.from_state, "state pill"), icon("arrow")] : null, stateBadge(row.to_state, "state pill")) : null;
  return [
    moved,
    row.refused ? h("div", { class: "notice", dataset: { state: "failed" } }, icon("refused"), h("p", {}, `Refused: ${row.reason ?? "the state table does not allow it"}`)) : null,
    row.inferred ? h("div", { class: "notice" }, icon("inferred"), h("p", {}, "Inferred: nobody reported this step; a later fact proves that it happened.")) : null,
    facts(
      fact("What", row.kind === "note" ? text.what : null),
      fact("Task", task ? link(task.name, () => go.task(task.task_id)) : null),
      fact("By", actor(row.by)),
      fact("Reason", row.refused ? null : row.reason),
      fact("Happened", moment(row.occurred_at)),
      fact("Recorded", moment(row.recorded_at)),
      fact("Version", row.version),
      fact("Event id", id(row.event_id, "event id")),
      fact("Correlation", id(row.correlation_id, "correlation id")),
    ),
    row.kind === "message" ? viewer("Payload", row.data ?? null) : null,
    row.kind === "message" ? viewer("Envelope", envelopeOf(row)) : null,
    row.kind !== "message" && row.data && Object.keys(row.data).length ? viewer("Changed", row.data) : null,
  ];
}

