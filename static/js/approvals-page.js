// The inbox: the queue at the side, the chosen request beside it. Those that wait come over the socket; those that are
// over are read page by page.

import "./elements/approval-card.js";
import { toast } from "./elements/toast.js";
import { ApproveMany, together } from "./approvals/many.js";
import { readEnded, why } from "./approvals/requests.js";
import { toastOf } from "./approvals/toast-of.js";
import { belongs, ended, person, risk, standing, urgency, waitsFor } from "./approvals/told.js";
import { me, waiting } from "./approvals/waiting.js";
import { embedded, h, icon, setText } from "./lib/dom.js";
import { painter } from "./lib/painter.js";
import { plural } from "./lib/words.js";
import { Live, announce } from "./live.js";

const inbox = document.getElementById("inbox");
const list = inbox.querySelector(".inbox-rows");
const none = inbox.querySelector(".inbox-none");
const more = inbox.querySelector(".inbox-more");
const pane = inbox.querySelector(".inbox-card");
const card = inbox.querySelector("approval-card");
const manyButton = document.getElementById("many");

const ticked = new Set(); // ids that are to be approved together
const over = { items: [], cursor: null, reading: 0 }; // of the states that are over
let selected = null;
let stays = null; // an approval that was settled while it is open: its row stays until one leaves it
let shown = []; // the rows' approvals, in order

const addressOf = (id) => (id ? `/approvals/${encodeURIComponent(id)}` : "/approvals");
const linkOf = (id) => list.querySelector(`[data-id="${CSS.escape(id ?? "")}"] .inbox-name`);
const chosen = (name) => inbox.querySelector(`[name=${name}]:checked`).value;

// --- the list ---

function visible() {
  const whose = chosen("whose");
  if (chosen("state")) return over.items.filter((item) => belongs(item, whose, me.by));
  const open = [...waiting.items.values()].filter((item) => belongs(item, whose, me.by));
  const kept = stays && !waiting.items.has(stays.id) ? [stays] : [];
  return [...open, ...kept].sort(urgency);
}

function row(approval) {
  const open = approval.state === "pending";
  const mark = open ? risk(approval) : standing(approval);
  const link = h("a", { class: "inbox-name", href: addressOf(approval.id) }, approval.title);
  link.addEventListener("click", (event) => event.ctrlKey || event.metaKey || event.shiftKey || (event.preventDefault(), select(approval.id, { open: true })));
  return h("li", { class: "inbox-row", dataset: { id: approval.id, state: mark.state } },
    open && mayTick(approval) ? tick(approval) : h("span", { class: "inbox-mark" }, icon(mark.icon)),
    h("div", { class: "inbox-what" },
      link,
      h("span", { class: "inbox-from" }, h("span", { class: "truncate" }, [person(approval.requested_by), approval.goal_event].filter(Boolean).join(" · ")), h("rel-time", { datetime: open ? approval.requested_at : approval.decided_at ?? approval.requested_at })),
      h("span", { class: "inbox-tags" },
        open ? h("span", { class: "tag risk", dataset: { state: mark.state } }, icon(mark.icon), mark.word) : h("span", { class: "state" }, icon(mark.icon), ended(approval)),
        open && approval.expires_at ? h("span", { class: "tag" }, icon("deadline"), h("time-left", { until: approval.expires_at })) : null,
        approval.quorum > 1 && open ? h("span", { class: "tag" }, icon("members"), `${approval.votes.filter((vote) => vote.decision !== "reject").length} of ${approval.quorum}`) : null,
        open && me.decides && !waitsFor(approval, me.by) ? h("span", { class: "tag dashed" }, approval.votes.some((vote) => vote.by === me.by) ? "You voted" : `For ${approval.assignees.join(", ")}`) : null,
      ),
    ));
}

const mayTick = (approval) => me.decides && waitsFor(approval, me.by) && together(approval);

function tick(approval) {
  const action = [...ticked].map((id) => waiting.items.get(id)?.action).find(Boolean);
  const box = h("input", { type: "checkbox", "aria-label": `Approve ${approval.title} with others`, checked: ticked.has(approval.id), disabled: Boolean(action) && action !== approval.action });
  box.addEventListener("change", () => toggle(approval.id));
  return h("label", { class: "inbox-tick", title: box.disabled ? "Only requests for the same action are approved together" : "Approve with others of this action" }, box);
}

function toggle(id) {
  const approval = waiting.items.get(id);
  const action = [...ticked].map((each) => waiting.items.get(each)?.action).find(Boolean);
  if (!approval || !mayTick(approval) || (action && action !== approval.action)) return;
  if (!ticked.delete(id)) ticked.add(id);
  paint();
}

// Rows are made anew only when they say something else, so that focus, hover and a pressed mouse survive.
const made = new Map(); // id -> {key, node}
function rowOf(approval) {
  const action = [...ticked].map((id) => waiting.items.get(id)?.action).find(Boolean) ?? "";
  const key = [approval.stamp ?? `${approval.state}/${approval.version}`, ticked.has(approval.id), action].join("|");
  const known = made.get(approval.id);
  if (known?.key === key) return known.node;
  const node = row(approval);
  made.set(approval.id, { key, node });
  return node;
}

function paint() {
  for (const id of [...ticked]) if (!waiting.items.has(id) || !mayTick(waiting.items.get(id))) ticked.delete(id);
  shown = visible();
  place(shown.map(rowOf));
  for (const id of [...made.keys()]) if (!shown.some((item) => item.id === id)) made.delete(id);
  for (const node of list.children) mark(node.querySelector(".inbox-name"), node.dataset.id === selected);
  list.hidden = !shown.length;
  paintNone();
  more.hidden = !chosen("state") || !over.cursor;
  manyButton.hidden = ticked.size < 2;
  setText(manyButton.querySelector(".word"), `Approve ${ticked.size}…`);
}

const mark = (link, current) => (current ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current"));

// A row that is put anew, or moved, would lose the focus.
function place(nodes) {
  if (nodes.length === list.children.length && nodes.every((node, index) => list.children[index] === node)) return;
  const held = document.activeElement.closest(".inbox-row");
  const [id, kind] = [held?.dataset.id, document.activeElement.localName];
  list.replaceChildren(...nodes);
  if (id) nodes.find((node) => node.dataset.id === id)?.querySelector(kind)?.focus({ preventScroll: true });
}

function paintNone() {
  const state = chosen("state");
  none.hidden = Boolean(shown.length) || over.reading > 0;
  const words = { decided: "Nothing was decided yet", expired: "Nothing has expired", withdrawn: "Nothing was withdrawn" };
  const elsewhere = !state && waiting.items.size > shown.length;
  setText(none.querySelector("h2"), state ? words[state] : elsewhere ? "Nothing waits here" : "Nothing waits for a decision");
  setText(none.querySelector("p"), state ? "What was once asked of people is kept here." : elsewhere ? `${plural(waiting.items.size, "request")} of others: see All.` : "When an agent asks a person, the request appears here by itself.");
}

// --- the chosen one ---

async function select(id, { focus = true, open = false } = {}) {
  if (id !== selected) stays = null;
  selected = id;
  pane.hidden = !id;
  if (open && id) inbox.dataset.open = "";
  history.replaceState(null, "", addressOf(id));
  paint();
  if (!id) return card.clear();
  linkOf(id)?.scrollIntoView({ block: "nearest" });
  await card.open(id);
  if (focus && id === selected) card.focusTitle();
}

function move(step) {
  const at = shown.findIndex((item) => item.id === selected);
  const next = shown[Math.min(shown.length - 1, Math.max(0, at < 0 ? 0 : at + step))];
  if (!next) return;
  if (next.id !== selected) select(next.id, { focus: false });
  linkOf(next.id)?.focus({ preventScroll: true });
}

// What comes after a decision: the next that waits for this person, below first.
function nextAfter(id) {
  const at = shown.findIndex((item) => item.id === id);
  return [...shown.slice(at + 1), ...shown.slice(0, Math.max(0, at))].find((item) => item.id !== id && waitsFor(item, me.by));
}

function decided({ detail }) {
  const { id, settled } = detail;
  const next = id === selected ? nextAfter(id) : null;
  toastOf(detail);
  if (id !== selected) return;
  if (next) select(next.id);
  else card.focusTitle();
  if (settled && next === undefined) stays = card.approval;
  paint();
}

// A card that was settled keeps its row while it is open.
function cardShown() {
  const { approval } = card;
  if (!approval) return;
  stays = approval.state !== "pending" && !chosen("state") ? { ...approval } : null;
  paint();
}

// --- what is over ---

async function readOver({ again = true } = {}) {
  const state = chosen("state");
  if (again) Object.assign(over, { items: [], cursor: null });
  if (!state) return paint();
  over.reading += 1;
  list.setAttribute("aria-busy", "true");
  paint();
  try {
    const assignee = chosen("whose") === "mine" ? person(me.by) : "";
    const page = await readEnded({ state, assignee, cursor: over.cursor });
    if (state === chosen("state")) Object.assign(over, { items: [...over.items, ...page.items], cursor: page.next_cursor });
  } catch (problem) {
    if (!("status" in problem)) throw problem;
    toast(`The list could not be read: ${why(problem)}.`, { state: "failed" });
  }
  over.reading -= 1;
  if (!over.reading) list.removeAttribute("aria-busy");
  paint();
}

// --- keyboard ---

const KEYS = {
  j: () => move(1), k: () => move(-1),
  a: () => card.arm("approve"), r: () => card.arm("reject"), e: () => card.arm("edit"), s: () => card.arm("respond"), c: () => card.comment(),
  x: () => selected && toggle(selected), Enter: (event) => !event.target.closest("button, a, summary, input, [role=group]") && selected !== null && open(),
};

function open() {
  inbox.dataset.open = "";
  card.focusTitle();
}

function back() {
  delete inbox.dataset.open;
  linkOf(selected)?.focus();
}

function bindKeys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    const typing = event.target.closest("input:not([type=radio], [type=checkbox]), textarea, select");
    if (event.key === "Escape") return typing ? (typing.blur(), card.focusTitle()) : back();
    const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (typing || !act || event.shiftKey) return;
    if (act(event) !== false) event.preventDefault();
  });
}

// --- together ---

const later = painter(paint, 100);
for (const item of embedded("waiting")) waiting.items.set(item.id, item);
waiting.addEventListener("change", later);
card.addEventListener("decided", decided);
card.addEventListener("shown", cardShown);
inbox.querySelectorAll("[name=state], [name=whose]").forEach((radio) => radio.addEventListener("change", () => readOver()));
more.querySelector("button").addEventListener("click", () => readOver({ again: false }));
inbox.querySelector(".inbox-back button").addEventListener("click", back);
const many = new ApproveMany(document.getElementById("many-ask"), { onDone: (id) => ticked.delete(id) });
manyButton.addEventListener("click", () => many.ask(shown.filter((item) => ticked.has(item.id))));
bindKeys();
announce(new Live());
paint();
const first = inbox.dataset.selected || (matchMedia("(width >= 64rem)").matches ? shown[0]?.id : "");
if (first) select(first, { focus: false, open: Boolean(inbox.dataset.selected) });
