// Failures by kind. The plans' stream tells when something has failed: the list is read again, unless somebody reads in it.

import { Live, announce } from "./live.js";
import { painter } from "./lib/painter.js";

const page = document.getElementById("failures");
const button = document.getElementById("refresh");
const failed = new Map(); // plan id -> how many of its tasks had failed, and whether the plan had

const list = () => document.getElementById("failure-list");
const isRead = () => Boolean(list().querySelector("details[open]") || list().contains(document.activeElement) || new URLSearchParams(location.search).has("cursor"));

function readAgain() {
  button.hidden = true;
  window.htmx.ajax("GET", location.pathname + location.search, { target: "#failure-list", swap: "outerHTML" });
}

const offer = painter(() => (isRead() || !window.htmx ? (button.hidden = false) : readAgain()), 1000);

const worth = (item) => item.failed_tasks + (item.state === "failed" ? 1 : 0);

function known({ items }) {
  for (const item of items) failed.set(item.plan_id, worth(item));
}

function received(items) {
  const more = items.filter((item) => worth(item) > (failed.get(item.plan_id) ?? 0));
  known({ items });
  if (more.length) offer();
}

const live = new Live();
announce(live);
let first = true;
live.subscribe("plans", {
  // A later snapshot comes after an interruption: what it brings may be new.
  on: { snapshot: (data) => (first ? known(data) : received(data.items), (first = false)), patch: received },
});
button.addEventListener("click", readAgain);

// --- keyboard ---

function move(step) {
  const rows = [...page.querySelectorAll(".kind > details > summary, .older a")];
  const at = rows.indexOf(document.activeElement.closest("summary, .older a") ?? document.activeElement.closest("details")?.querySelector("summary"));
  rows[Math.min(rows.length - 1, Math.max(0, at + step))]?.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.closest("input:not([type=radio]), textarea, select")) return;
  if (event.key === "Escape") {
    const open = document.activeElement.closest("details[open]");
    if (!open) return;
    open.open = false;
    open.querySelector("summary").focus();
  } else if (["j", "k"].includes(event.key)) {
    move(event.key === "j" ? 1 : -1);
    event.preventDefault();
  }
});
