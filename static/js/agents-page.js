// The pages of agents: the socket says who is connected and what each is doing; the rest is read again now and then,
// and when somebody is new.

import { h, icon, stateBadge } from "./lib/dom.js";
import { Live, announce } from "./live.js";

const PRESENCE = { connected: ["live", "Connected"], live: ["note", "Heard recently"], silent: ["waiting", "Silent"], away: ["offline", "Signed off"] };
const known = new Map(); // agent id -> newest item

const table = () => document.getElementById("agents");
const rowsOf = () => table()?.querySelectorAll("tr[data-agent]") ?? [];
const taskUrl = ({ plan_id, task_id }) => `/plans/${encodeURIComponent(plan_id)}?task=${encodeURIComponent(task_id)}`;

function show() {
  for (const row of rowsOf()) {
    const item = known.get(row.dataset.agent);
    if (!item) continue;
    showPresence(row, item);
    showTasks(row.querySelector(".doing-now"), item);
  }
}

function showPresence(row, { presence, connected_since: since }) {
  const mark = row.querySelector(".presence");
  if (mark.dataset.presence !== presence) {
    mark.dataset.presence = presence;
    const [name, word] = PRESENCE[presence];
    mark.replaceChildren(icon(name), h("span", {}, word));
  }
  const shown = row.querySelector(".since");
  shown.hidden = !since;
  if (since) shown.querySelector("rel-time").setAttribute("datetime", since);
}

// A cell that says the same stays as it is, so that focus and selection in it survive.
function showTasks(cell, { tasks, more, holds }) {
  const told = JSON.stringify([tasks.map((task) => [task.task_id, task.state]), holds]);
  if (cell.dataset.told === told) return;
  cell.dataset.told = told;
  const links = tasks.map((task) => h("a", { class: "doing", href: taskUrl(task) }, stateBadge(task.state), h("span", { class: "truncate" }, task.name)));
  const focused = document.activeElement?.closest?.("a.doing")?.getAttribute("href");
  cell.replaceChildren(...(links.length ? links : [h("span", { class: "faint" }, "Nothing")]), ...(more ? [h("span", { class: "faint" }, `and ${more} more`)] : []));
  if (focused) links.find((link) => link.getAttribute("href") === focused)?.focus();
}

const concerns = (item) => !table()?.dataset.one || table().dataset.one === item.base_name;

function received(items, { gone = [] } = {}) {
  for (const item of items) known.set(item.agent_id, item);
  for (const id of gone) known.delete(id);
  if (!table() && known.size) return location.reload(); // the first agent: the page becomes another one
  const there = new Set([...rowsOf()].map((row) => row.dataset.agent));
  if (gone.some((id) => there.has(id)) || items.some((item) => concerns(item) && !there.has(item.agent_id))) table()?.dispatchEvent(new Event("refresh"));
  show();
}

const live = new Live();
announce(live);
live.subscribe("agents", { on: { snapshot: (data) => (known.clear(), received(data.items)), patch: received } });
document.addEventListener("htmx:afterSwap", show);
