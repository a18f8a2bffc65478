// Where the machine of a declared plan stands, kept live in the picture that the server drew.

import { TERMINAL } from "./lib/words.js";

const MARKS = { current: "in_progress", visited: "check" };

export class MachineGraph {
  /** root: #machine, null on pages of other plans; store: the page's PlanStore. */
  constructor(root, store) {
    this.root = root;
    this.store = store;
    if (!root) return;
    this.visit = Number(root.dataset.visit);
    this.seen = null; // seq up to which rows were taken in
    this.visits = new Map();
    for (const node of this.#all("[data-node]")) {
      const many = Number(node.querySelector(".machine-visits").textContent.slice(1)) || (node.dataset.state ? 1 : 0);
      this.visits.set(node.dataset.node, many);
    }
    this.#show(root.querySelector("[data-state=current]"));
  }

  /** Take in what the log has told since, and mark what it says. */
  paint() {
    if (!this.root) return;
    this.seen ??= this.store.seq;
    for (; this.seen < this.store.seq; this.seen += 1) {
      const row = this.store.rows.get(this.seen + 1);
      if (row === undefined) {
        this.seen = this.store.seq;
        this.#ask();
        break;
      }
      if (row.type === "plan.entered" && !row.refused) this.#enter(row.data);
    }
    this.#mark(this.store.plan.current_state, TERMINAL.has(this.store.plan.state) ? this.store.plan.state : "current");
  }

  #all(selector) {
    return [...this.root.querySelectorAll(selector)];
  }

  #enter({ visit, from, entered: name }) {
    if (!(visit > this.visit)) return;
    this.visit = visit;
    this.visits.set(name, (this.visits.get(name) ?? 0) + 1);
    if (from) this.#go(from, name);
  }

  #go(from, to) {
    const line = this.#all("[data-from]").find((one) => one.dataset.from === from && one.dataset.to === to);
    if (line) line.dataset.taken = "yes";
  }

  #mark(current, state) {
    for (const node of this.#all("[data-node]")) {
      const many = this.visits.get(node.dataset.node) ?? 0;
      const now = node.dataset.node === current ? state : many ? "visited" : "";
      node.querySelector(".machine-visits").textContent = many > 1 ? `×${many}` : "";
      if (node.dataset.state === now) continue;
      node.dataset.state = now;
      node.querySelector("use").setAttribute("href", `#i-${MARKS[now] ?? (now || "check")}`);
      if (now === "current") this.#show(node);
    }
  }

  #show(node) {
    const box = this.root.querySelector(".machine-scroll");
    if (!node || box.matches(":hover, :focus")) return;
    const [inner, outer] = [node.getBoundingClientRect(), box.getBoundingClientRect()];
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    box.scrollBy({
      top: inner.top + inner.height / 2 - outer.top - outer.height / 2,
      left: inner.left + inner.width / 2 - outer.left - outer.width / 2,
      behavior: calm ? "instant" : "smooth",
    });
  }

  // Rows were missed: the server knows where the machine stands.
  async #ask() {
    const answer = await fetch(`/v1/plans/${encodeURIComponent(this.store.plan.plan_id)}/machine`).catch(() => null);
    if (!answer?.ok) return;
    const machine = await answer.json();
    if (machine.visit < this.visit) return;
    this.visit = machine.visit;
    this.visits = new Map(Object.entries(machine.visited));
    for (const [from, to] of machine.taken) this.#go(from, to);
    this.paint();
  }
}
