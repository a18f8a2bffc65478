// The approvals of this plan that wait for a person: a line each above the tasks, and the card in the panel.

import "./elements/approval-card.js";
import { toastOf } from "./approvals/toast-of.js";
import { person, risk, waitsFor } from "./approvals/told.js";
import { me, waiting } from "./approvals/waiting.js";
import { h, icon } from "./lib/dom.js";

const KEYS = { a: (card) => card.arm("approve"), r: (card) => card.arm("reject"), e: (card) => card.arm("edit"), s: (card) => card.arm("respond"), c: (card) => card.comment() };

export class PlanApprovals {
  #said = "";

  /** node: where the lines go; plan(): of the store; onOpen(id): the card is wanted. */
  constructor(node, plan, { onOpen }) {
    Object.assign(this, { node, plan, onOpen, card: document.createElement("approval-card") });
    waiting.addEventListener("change", () => this.paint());
    this.card.addEventListener("decided", ({ detail }) => (toastOf(detail), this.card.focusTitle()));
    document.addEventListener("keydown", (event) => this.#key(event));
  }

  get #mine() {
    const { plan_id: id, tenant_id: tenant } = this.plan();
    return [...waiting.items.values()].filter((item) => item.plan_id === id && item.tenant_id === tenant);
  }

  paint() {
    const said = this.#mine.map((item) => item.stamp).join();
    if (said === this.#said) return;
    this.#said = said;
    const held = this.node.contains(document.activeElement) ? document.activeElement.dataset.id : null;
    this.node.replaceChildren(...this.#mine.map((item) => this.#line(item)));
    this.node.hidden = !this.node.children.length;
    if (held) this.node.querySelector(`[data-id="${CSS.escape(held)}"]`)?.focus();
  }

  #line(item) {
    const { state, icon: mark, word } = risk(item);
    return h("div", { class: "notice plan-ask", dataset: { state: "awaiting_approval" } }, icon("awaiting_approval"),
      h("p", {}, h("strong", {}, item.title), h("span", { class: "muted" }, ` asked by ${person(item.requested_by)}`)),
      h("span", { class: "tag risk", dataset: { state } }, icon(mark), word),
      item.expires_at ? h("span", { class: "tag" }, icon("deadline"), h("time-left", { until: item.expires_at })) : null,
      this.#button(item, "Look"));
  }

  #button(item, otherwise) {
    const mine = me.decides && waitsFor(item, me.by);
    const word = mine ? "Decide" : otherwise;
    return h("button", { type: "button", class: `button small${mine ? " primary" : ""}`, "aria-label": `${word}: ${item.title}`, dataset: { id: item.id }, onclick: () => this.onOpen(item.id) }, word);
  }

  /** The way from a task to its card. */
  buttonsOf(task) {
    return this.#mine.filter((item) => item.task_id === task.task_id).map((item) => this.#button(item, "What is asked"));
  }

  /** The card of this approval, for the panel. */
  open(id) {
    this.card.open(id).then(() => this.card.isConnected && this.card.focusTitle());
    return this.card;
  }

  #key(event) {
    if (!this.card.isConnected || !this.card.checkVisibility() || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || document.querySelector("dialog[open]")) return;
    if (event.target.closest("input:not([type=radio], [type=checkbox]), textarea, select") || !KEYS[event.key]) return;
    if (KEYS[event.key](this.card) !== false) event.preventDefault();
  }
}
