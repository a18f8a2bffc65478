// One order to many plans of the list: pick them, see what would come of it, then one portion after the other with a
// result for each. The rows themselves are changed by what the socket brings, never here.

import { toast } from "./elements/toast.js";
import { h, icon, setText } from "./lib/dom.js";
import { plural } from "./lib/words.js";
import { send } from "./lib/send.js";

const PORTION = 25; // plans of one request, so that the bar moves
const ORDERS = {
  pause: { title: "Pause", confirm: "Pause", done: "paused", undo: "resume", follows: "Requests that no agent has yet are held back until somebody resumes them." },
  resume: { title: "Resume", confirm: "Resume", done: "resumed", undo: "pause", follows: "Requests that were held back are handed over." },
  cancel: { title: "Cancel", confirm: "Cancel", done: "cancelled", danger: true, follows: "Their open tasks end with them, and their agents are told. This cannot be undone." },
};
const MARKS = { possible: "arrow", done: "completed", refused: "refused", unknown: "refused", not_tried: "refused" };

export class PlansBulk {
  #order = null;
  #names = []; // of the open question
  #possible = [];
  #phase = "closed"; // asking, working, over
  #last = null; // the box that was picked last, for Shift

  /** page: #plans; nothing happens for those who only look. */
  constructor(page) {
    Object.assign(this, { page, bar: page.querySelector("#picked"), dialog: page.querySelector("#bulk") });
    if (!this.bar) return;
    this.parts = Object.fromEntries([...this.dialog.querySelectorAll("[data-f]")].map((node) => [node.dataset.f, node]));
    this.list = this.dialog.querySelector(".bulk-list");
    this.reason = this.dialog.querySelector("input");
    page.addEventListener("click", (event) => event.target.matches("[data-pick]") && this.#picked(event.target, event.shiftKey));
    page.addEventListener("change", (event) => event.target.matches("[data-pick-all]") && this.#pickAll(event.target.checked));
    this.bar.querySelectorAll("[data-bulk]").forEach((button) => button.addEventListener("click", () => this.#ask(button.dataset.bulk, this.#chosen())));
    this.bar.querySelector("[data-unpick]").addEventListener("click", () => this.clear());
    this.dialog.querySelector("form").addEventListener("submit", (event) => (event.preventDefault(), this.#confirmed()));
    this.dialog.addEventListener("cancel", (event) => this.#phase === "working" && event.preventDefault());
    // Undo closes it and opens it again before the event comes.
    this.dialog.addEventListener("close", () => this.dialog.open || this.#left());
    this.parts.undo.addEventListener("click", () => this.#undo());
  }

  #boxes = () => [...this.page.querySelectorAll("tbody [data-pick]")];
  #chosen = () => this.#boxes().filter((box) => box.checked).map((box) => box.closest("tr").dataset.plan);

  /** The keys of the list: x picks the row that has the focus. Whether it was one of ours. */
  key(event) {
    const box = event.target.closest("tr")?.querySelector("[data-pick]");
    if (!this.bar || event.key !== "x" || !box) return false;
    box.checked = !box.checked;
    this.#picked(box, false);
    return true;
  }

  clear() {
    this.#boxes().forEach((box) => (box.checked = false));
    this.paint();
  }

  /** Rows have come or gone. */
  paint() {
    if (!this.bar) return;
    const boxes = this.#boxes();
    const count = boxes.filter((box) => box.checked).length;
    const all = this.page.querySelector("[data-pick-all]");
    if (all) Object.assign(all, { checked: Boolean(count) && count === boxes.length, indeterminate: Boolean(count) && count < boxes.length });
    setText(this.bar.querySelector("[data-f=picked]"), count);
    if (!count && this.bar.contains(document.activeElement)) all?.focus();
    this.bar.hidden = !count;
  }

  #picked(box, range) {
    const boxes = this.#boxes();
    const from = boxes.indexOf(this.#last);
    const to = boxes.indexOf(box);
    if (range && from >= 0) boxes.slice(Math.min(from, to), Math.max(from, to) + 1).forEach((each) => (each.checked = box.checked));
    this.#last = box;
    this.paint();
  }

  #pickAll(checked) {
    this.#boxes().forEach((box) => (box.checked = checked));
    this.paint();
  }

  // --- the question ---

  async #ask(name, planIds) {
    if (this.#phase !== "closed" || !planIds.length) return;
    Object.assign(this, { name });
    this.#order = ORDERS[name];
    this.#names = planIds;
    this.#phase = "asking";
    this.reason.value = "";
    setText(this.dialog.querySelector("h2"), `${this.#order.title} ${plural(planIds.length, "plan")}?`);
    this.parts.confirm.className = `button ${this.#order.danger ? "danger-solid" : "primary"}`;
    this.#show({ confirm: true, why: true });
    this.parts.confirm.disabled = true;
    setText(this.parts.confirm, this.#order.confirm);
    setText(this.dialog.querySelector("#bulk-follows"), "Looking at what would come of it…");
    this.list.replaceChildren();
    this.dialog.showModal();
    const answer = await this.#post({ plan_ids: planIds, preview: true });
    if (this.#names !== planIds || !this.dialog.open) return;
    answer.problem ? this.#failed(answer.problem) : this.#preview(answer.results);
  }

  #preview(results) {
    this.list.replaceChildren(...results.map(line));
    this.#possible = results.filter((each) => each.outcome === "possible").map((each) => each.plan_id);
    const [can, cannot] = [this.#possible.length, results.length - this.#possible.length];
    const tasks = results.filter((each) => each.outcome === "possible").reduce((sum, each) => sum + each.open_tasks, 0);
    const open = this.name === "cancel" && tasks ? `, with ${plural(tasks, "open task")}` : "";
    const left = cannot ? ` ${plural(cannot, "plan")} cannot be ${this.#order.done}, as said below.` : "";
    setText(this.dialog.querySelector("#bulk-follows"), can ? `${plural(can, "plan")} will be ${this.#order.done}${open}. ${this.#order.follows}${left}` : `None of these can be ${this.#order.done}.`);
    setText(this.parts.confirm, `${this.#order.confirm} ${plural(can, "plan")}`);
    this.parts.confirm.disabled = !can;
    if (can) this.reason.focus();
  }

  // --- the batch ---

  async #confirmed() {
    if (this.#phase !== "asking" || this.parts.confirm.disabled) return;
    this.#phase = "working";
    const reason = this.reason.value.trim();
    const results = [];
    this.#show({ progress: true });
    this.list.replaceChildren();
    this.list.focus();
    for (let at = 0; at < this.#possible.length; at += PORTION) {
      this.#progress(at);
      const answer = await this.#post({ plan_ids: this.#possible.slice(at, at + PORTION), ...(reason ? { reason } : {}) });
      if (answer.problem) return this.#over(results, answer.problem);
      results.push(...answer.results);
      this.list.append(...answer.results.map(line));
    }
    this.#progress(this.#possible.length);
    this.#over(results, null);
  }

  #progress(count) {
    Object.assign(this.parts.progress, { max: this.#possible.length, value: count });
    setText(this.dialog.querySelector("#bulk-follows"), `${count} of ${plural(this.#possible.length, "plan")}…`);
  }

  #over(results, problem) {
    const done = results.filter((each) => each.outcome === "done").map((each) => each.plan_id);
    const left = this.#possible.length - done.length;
    const undo = this.#order.undo && done.length ? ORDERS[this.#order.undo] : null;
    this.#phase = this.dialog.open ? "over" : "closed";
    this.#names = done;
    this.#show({ undo: Boolean(undo) });
    if (undo) setText(this.parts.undo, `Undo: ${undo.title.toLowerCase()} ${plural(done.length, "plan")}`);
    setText(this.parts.leave, "Close");
    setText(this.dialog.querySelector("h2"), left ? (done.length ? "Done in part" : "Nothing was done") : "Done");
    const why = problem ? ` ${problem}.` : "";
    setText(this.dialog.querySelector("#bulk-follows"), `${plural(done.length, "plan")} ${this.#order.done}.${left ? ` ${plural(left, "plan")} not.` : ""}${why}`);
    this.parts.leave.focus();
    this.clear();
    if (!this.dialog.open) toast(`${plural(done.length, "plan")} ${this.#order.done}.`);
  }

  #undo() {
    const [name, names] = [this.#order.undo, this.#names];
    this.dialog.close();
    this.#left();
    this.#ask(name, names);
  }

  #left() {
    if (this.#phase !== "working") this.#phase = "closed";
  }

  #failed(problem) {
    setText(this.dialog.querySelector("#bulk-follows"), `The server could not say: ${problem}.`);
  }

  #show({ confirm = false, why = false, progress = false, undo = false }) {
    Object.entries({ confirm, why, progress, undo }).forEach(([name, shown]) => (this.parts[name].hidden = !shown));
    this.parts.leave.hidden = progress;
    setText(this.parts.leave, "Not now");
  }

  async #post(body) {
    const answer = await send("POST", "/v1/plans/bulk", { action: this.name, ...body });
    return answer.problem ? { problem: answer.problem } : answer.body;
  }
}

/** A plan of the question or of its answer. */
function line({ plan_id: id, goal_event: goal, outcome, detail, state }) {
  const name = h("span", { class: "truncate" }, goal || id);
  const mark = h("span", { class: "bulk-mark", dataset: { state: outcome === "done" ? "completed" : MARKS[outcome] === "refused" ? "failed" : state } }, icon(MARKS[outcome]));
  return h("li", { dataset: { outcome } }, mark, h("span", { class: "stack-lines" }, name, h("span", { class: "id" }, h("span", { class: "truncate" }, id))), h("span", { class: "muted small" }, detail ?? ""));
}
