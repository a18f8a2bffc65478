// The agents page: the socket says who is connected; what they do is read again now and then, and when somebody is new.

import { h, icon } from "./lib/dom.js";
import { Live, announce } from "./live.js";

const PRESENCE = { connected: ["live", "Connected"], live: ["note", "Heard recently"], silent: ["waiting", "Silent"], away: ["offline", "Signed off"] };
const known = new Map(); // agent id -> newest item

const table = () => document.getElementById("agents");
const presenceOf = (item) => (item.connected ? "connected" : item.live ? "live" : "silent");

function show() {
  for (const row of table()?.querySelectorAll("tr[data-agent]") ?? []) {
    const item = known.get(row.dataset.agent);
    const mark = row.querySelector(".presence");
    if (!item || mark.dataset.presence === presenceOf(item)) continue;
    mark.dataset.presence = presenceOf(item);
    const [name, word] = PRESENCE[presenceOf(item)];
    mark.replaceChildren(icon(name), h("span", {}, word));
  }
}

function received(items, { gone = [] } = {}) {
  for (const item of items) known.set(item.agent_id, item);
  for (const id of gone) known.delete(id);
  const rows = new Set([...(table()?.querySelectorAll("tr[data-agent]") ?? [])].map((row) => row.dataset.agent));
  if (!table() && known.size) return location.reload(); // the first agent: the page becomes another one
  if (gone.length || items.some((item) => !rows.has(item.agent_id))) table()?.dispatchEvent(new Event("refresh"));
  show();
}

const live = new Live();
announce(live);
live.subscribe("agents", { on: { snapshot: (data) => (known.clear(), received(data.items)), patch: received } });
document.addEventListener("htmx:afterSwap", show);
