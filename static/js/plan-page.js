// The page of one plan: store, socket, timeline, log and panel put together.

import "./elements/log-view.js";
import { PlanStory } from "./explain.js";
import { embedded, setStateBadge, setText } from "./lib/dom.js";
import { painter } from "./lib/painter.js";
import { drawProgress } from "./lib/progress.js";
import { setTitle } from "./lib/title.js";
import { TERMINAL } from "./lib/words.js";
import { Live, announce } from "./live.js";
import { LogSource } from "./log-source.js";
import { MachineGraph } from "./machine-graph.js";
import { PlanActions } from "./plan-actions.js";
import { PlanApprovals } from "./plan-approvals.js";
import { warnOfDeafness } from "./nobody-listens.js";
import { rowBody, taskBody } from "./plan-panel.js";
import { PlanStore } from "./plan-store.js";
import { Timeline } from "./timeline/view.js";

const root = document.getElementById("plan");
const store = new PlanStore();
const source = new LogSource(store, root.dataset.logUrl || null);
const actions = new PlanActions(root, store);
const log = root.querySelector("log-view");
const machine = new MachineGraph(document.getElementById("machine"), store);
const panel = document.getElementById("panel");
let lastList = "timeline";
let opened = null; // {task: id}, {seq} or {approval: id}

store.applySnapshot(embedded("snapshot"));
const timeline = new Timeline(document.getElementById("timeline"), store, { onOpen: (task) => openTask(task.task_id) });

const field = (name) => root.querySelector(`[data-f=${name}]`);
const asks = new PlanApprovals(field("asks"), () => store.plan, { onOpen: openApproval });
const story = new PlanStory(root, store, { show: openStory, task: openTask, row: openRow, orders: (task) => go.orders(task) });

function paintHead() {
  const { plan } = store;
  setStateBadge(field("state"), plan.state);
  setText(field("goal"), plan.goal_event || plan.plan_id);
  setTitle(plan.goal_event || plan.plan_id);
  const counts = store.counts();
  drawProgress(field("progress"), { done: counts.completed, failed: counts.failed, cancelled: counts.cancelled, total: counts.total });
  field("started").setAttribute("datetime", plan.started_at ?? plan.created_at ?? "");
  field("duration").setAttribute("from", plan.started_at ?? plan.created_at ?? "");
  field("duration").setAttribute("to", plan.completed_at ?? (TERMINAL.has(plan.state) ? plan.updated_at : "") ?? "");
  setText(field("current"), plan.current_state ?? "");
  field("current-row").hidden = !plan.current_state;
  field("held").hidden = !plan.held;
  field("stalled").hidden = !counts.stalled;
  setText(field("stalled-count"), counts.stalled);
  field("error").hidden = !plan.error;
  setText(field("error-text"), typeof plan.error === "string" ? plan.error : plan.error ? JSON.stringify(plan.error) : "");
}

function paintAll() {
  paintHead();
  actions.paint();
  asks.paint();
  timeline.paint();
  machine.paint();
  log.paint();
  story.paint();
  if (opened?.task) refreshTask();
}

const paint = painter(paintAll);

// --- the panel ---

const go = { task: openTask, row: openRow, everything: readAll, orders: (task) => [...asks.buttonsOf(task), ...actions.buttonsOf(task)] };

async function readAll() {
  const taskId = opened?.task;
  await source.needAll(new AbortController().signal);
  if (taskId && opened?.task === taskId) openTask(taskId);
}

function showPanel(title, kicker, body) {
  setText(panel.querySelector("h2"), title);
  setText(panel.querySelector(".kicker"), kicker);
  panel.querySelector(".panel-body").replaceChildren(...body.filter(Boolean));
  panel.hidden = false;
  root.classList.add("with-panel");
}

function openTask(taskId) {
  const task = store.tasks.get(taskId);
  if (!task) return;
  opened = { task: taskId, version: `${task.version}/${task.message}/${task.progress}/${task.stalled}` };
  log.clear();
  timeline.show(taskId);
  address({ task: taskId });
  showPanel(task.name, "Task", taskBody(task, store, go));
}

function refreshTask() {
  const task = store.tasks.get(opened.task);
  const version = task && `${task.version}/${task.message}/${task.progress}/${task.stalled}`;
  if (!task || version === opened.version) return;
  opened.version = version;
  const body = panel.querySelector(".panel-body");
  const top = body.scrollTop;
  const focused = body.contains(document.activeElement);
  showPanel(task.name, "Task", taskBody(task, store, go));
  body.scrollTop = top;
  if (focused) body.focus({ preventScroll: true });
}

async function openRow(seq) {
  if (!Number.isInteger(seq) || seq < 1 || seq > store.seq) return;
  opened = { seq };
  timeline.clear();
  log.show(seq);
  address({ seq });
  const known = store.rows.get(seq);
  if (known) showRow(known);
  const row = await source.full(seq).catch(() => known);
  if (row && opened?.seq === seq && row !== known) showRow(row);
}

function showRow(row) {
  const kinds = { message: row.type, transition: "Transition", note: "Note" };
  showPanel(kinds[row.kind], `#${row.seq} · ${row.kind === "message" ? "Message" : store.tasks.get(row.task_id)?.name ?? "Plan"}`, rowBody(row, store, go));
  panel.querySelector(".panel-body").scrollTop = 0;
}

function openStory(title, body) {
  opened = { story: true };
  timeline.clear();
  log.clear();
  address({ why: true });
  showPanel(title, "Plan", [body]);
}

function openApproval(id) {
  opened = { approval: id };
  timeline.clear();
  log.clear();
  address({ approval: id });
  showPanel("Approval", "A person decides", [asks.open(id)]);
}

function closePanel() {
  opened = null;
  panel.hidden = true;
  root.classList.remove("with-panel");
  timeline.clear();
  log.clear();
  address({});
  list().scroller.focus({ preventScroll: true });
}

function address({ why, task, seq, approval }) {
  const url = new URL(location.href);
  if (task) url.searchParams.set("task", task);
  else url.searchParams.delete("task");
  if (approval) url.searchParams.set("approval", approval);
  else url.searchParams.delete("approval");
  url.hash = why ? "why" : seq ? `seq=${seq}` : "";
  history.replaceState(null, "", url.hash ? url : url.href.replace(/#$/, ""));
}

function openFromAddress() {
  const seq = Number(/^#seq=(\d+)$/.exec(location.hash)?.[1]);
  const task = new URLSearchParams(location.search).get("task");
  const approval = new URLSearchParams(location.search).get("approval");
  if (location.hash === "#why") story.open();
  else if (seq) openRow(seq);
  else if (approval) openApproval(approval);
  else if (task) openTask(task);
}

// --- keyboard and controls ---

const list = () => (lastList === "log" ? log : timeline);

function bindKeys() {
  timeline.scroller.addEventListener("focusin", () => (lastList = "timeline"));
  log.addEventListener("focusin", () => (lastList = "log"));
  timeline.root.addEventListener("pointerdown", () => (lastList = "timeline"));
  log.addEventListener("pointerdown", () => (lastList = "log"));
  const keys = { j: () => list().move(1), k: () => list().move(-1), Enter: () => list().openActive(), f: () => timeline.fit(), w: () => story.open() };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
    const typing = event.target.closest("input:not([type=radio]), textarea, select");
    if (event.key === "Escape") return typing ? typing.blur() : panel.hidden || closePanel();
    if (typing || !keys[event.key] || (event.key === "Enter" && event.target.closest("button, a, summary, input"))) return;
    event.preventDefault();
    keys[event.key]();
  });
}

function bindControls() {
  panel.querySelector("[data-close]").addEventListener("click", closePanel);
  const follow = document.getElementById("follow");
  follow.addEventListener("click", () => log.follow(!log.following));
  const search = document.getElementById("log-search");
  const apply = painter(() => log.filter({ text: search.value.trim().toLowerCase() }), 200);
  search.addEventListener("input", apply);
  root.querySelectorAll("[name=kind]").forEach((radio) => radio.addEventListener("change", () => log.filter({ kind: radio.value })));
  addEventListener("hashchange", openFromAddress);
  log.start({ source, onOpen: openRow, onFollow: (on) => follow.setAttribute("aria-pressed", on) });
}

// --- live ---

function connect() {
  const live = new Live();
  announce(live);
  live.addEventListener("status", ({ detail }) => {
    timeline.knownUntil = detail.since ?? null;
    paint();
  });
  warnOfDeafness(live, store, field("unheard"));
  live.subscribe(`plan:${store.plan.plan_id}`, {
    after: store.seq,
    on: {
      snapshot: (data, seq) => (store.applySnapshot(data, seq), paint()),
      rows: (rows) => (store.applyRows(rows), paint()),
    },
  });
}

bindControls();
bindKeys();
paintAll();
openFromAddress();
if (!root.dataset.still) connect();
