// The list of plans, kept true by the socket: rows change in place, new ones slide in at the top when they fit the filter.

import { h, icon, setStateBadge, setText } from "./lib/dom.js";
import { painter } from "./lib/painter.js";
import { drawProgress } from "./lib/progress.js";
import { Live, announce } from "./live.js";
import { PlansBulk } from "./plans-bulk.js";

const page = document.getElementById("plans");
const template = document.getElementById("plan-row");
const waiting = new Map(); // plan id -> newest item not painted yet
const LEAVE_AFTER = 250;
const bulk = new PlansBulk(page);

const body = () => page.querySelector("#plan-list tbody");
const rowOf = (planId) => body().querySelector(`tr[data-plan="${CSS.escape(planId)}"]`);

// The filter of the address, in the words of the stream. What fits it is the server's to say.
function filter() {
  const query = new URLSearchParams(location.search);
  const state = query.get("state") ?? "";
  return { state: state === "in_progress" ? ["in_progress", "pending"] : state ? [state] : [], q: query.get("q") ?? "" };
}

function fill(row, item) {
  const field = (name) => row.querySelector(`[data-f=${name}]`);
  row.dataset.plan = item.plan_id;
  row.dataset.seq = item.seq;
  row.dataset.created = item.created_at;
  setStateBadge(field("state"), item.state);
  setText(field("goal"), item.goal_event || "Goal not known yet");
  field("goal").href = `/plans/${encodeURIComponent(item.plan_id)}`;
  setText(field("id"), item.plan_id);
  row.querySelector("copy-button").setAttribute("value", item.plan_id);
  row.querySelector("[data-pick]")?.setAttribute("aria-label", `Select ${item.goal_event || item.plan_id}`);
  field("held").hidden = !item.held || item.state !== "paused";
  flag(field("stalled"), item.stalled_tasks, "stalled");
  flag(field("approvals"), item.approvals_pending, "to approve");
  drawProgress(field("progress"), { done: item.completed_tasks, failed: item.failed_tasks, cancelled: item.cancelled_tasks ?? 0, total: item.task_count });
  setText(field("agents"), item.agents.join(", "));
  field("age").setAttribute("datetime", item.created_at);
  field("duration").setAttribute("from", item.started_at ?? item.created_at);
  field("duration").setAttribute("to", item.completed_at ?? "");
}

function flag(tag, count, noun) {
  tag.hidden = !count;
  setText(tag.querySelector(".word"), `${count} ${noun}`);
}

// Newest first: before the first row that is older. Rows beyond the last loaded page are left to "Older plans".
function insert(row, item) {
  const later = [...body().querySelectorAll("tr[data-plan]")].find((each) => each.dataset.created < item.created_at);
  const older = body().querySelector("tr.older");
  if (!later && older) return;
  body().insertBefore(row, later ?? older);
  row.classList.add("arrived");
}

function leave(row) {
  row.classList.add("leaving");
  setTimeout(() => (row.remove(), showEmptiness()), LEAVE_AFTER);
}

function show(item) {
  const row = rowOf(item.plan_id);
  if (row) return Number(row.dataset.seq) > item.seq || fill(row, item);
  const fresh = template.content.firstElementChild.cloneNode(true);
  fill(fresh, item);
  insert(fresh, item);
}

function showEmptiness() {
  const some = Boolean(body().querySelector("tr"));
  page.querySelector("[data-f=table]").hidden = !some;
  page.querySelector("[data-f=none]").hidden = some;
  bulk.paint();
}

// An empty workspace has its first plan: the page becomes another one, but not while it shows a key that is shown only once.
function firstPlan() {
  if (!page.querySelector("[data-key-made]")) return location.reload();
  if (page.querySelector("#first-plan")) return;
  const link = h("a", { href: "/plans" }, "Show the plans");
  page.prepend(h("div", { class: "notice", id: "first-plan", role: "status", dataset: { state: "completed" } }, icon("completed"), h("p", {}, "The first plan is here. Keep the key, then: ", link)));
}

const paint = painter(() => {
  if (!body()) return firstPlan();
  waiting.forEach(show);
  waiting.clear();
  showEmptiness();
}, 150);

function received(items, { gone = [] } = {}) {
  for (const item of items) if (!(waiting.get(item.plan_id)?.seq > item.seq)) waiting.set(item.plan_id, item);
  for (const planId of gone) {
    waiting.delete(planId);
    const row = body() && rowOf(planId);
    if (row) leave(row);
  }
  if (waiting.size) paint();
}

const live = new Live();
announce(live);
const subscription = live.subscribe("plans", {
  filter: filter(),
  on: { snapshot: (data) => received(data.items), patch: received },
});
document.addEventListener("htmx:pushedIntoHistory", () => subscription.update({ filter: filter() }));
document.addEventListener("htmx:afterSettle", () => bulk.paint());

// --- keyboard ---

function move(step) {
  const links = [...page.querySelectorAll("tbody a.goal")];
  const at = links.indexOf(document.activeElement.closest("tr")?.querySelector("a.goal"));
  links[Math.min(links.length - 1, Math.max(0, at + step))]?.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const typing = event.target.closest("input:not([type=radio], [type=checkbox]), textarea, select");
  if (event.key === "Escape" && typing) return typing.blur();
  if (event.key === "Escape") return bulk.clear();
  if (typing) return;
  if (["j", "k"].includes(event.key)) move(event.key === "j" ? 1 : -1);
  else if (!bulk.key(event)) return;
  event.preventDefault();
});
