// Approving several at once: those of one action below high risk, each named before, each with its own result.

import { h, icon, setIcon, setText } from "../lib/dom.js";
import { plural } from "../lib/words.js";
import { decide, why } from "./requests.js";
import { risk } from "./told.js";

/** Whether a request may be approved together with others of its action. */
export const together = (approval) => Boolean(approval.action) && approval.risk !== "high" && approval.allow.includes("approve");

export class ApproveMany {
  #list = []; // {approval, node}
  #running = false;

  /** dialog: #many-ask; onDone(id) after each that went through. */
  constructor(dialog, { onDone }) {
    Object.assign(this, { dialog, onDone, rows: dialog.querySelector(".many-list"), comment: dialog.querySelector("input"), confirm: dialog.querySelector("[type=submit]") });
    dialog.querySelector("form").addEventListener("submit", (event) => (event.preventDefault(), this.#approve()));
    dialog.addEventListener("cancel", (event) => this.#running && event.preventDefault());
  }

  /** The preview. */
  ask(approvals) {
    if (this.#running) return;
    setText(this.dialog.querySelector("h2"), `Approve ${plural(approvals.length, "request")}?`);
    setText(this.dialog.querySelector(".many-action"), approvals[0].action);
    setText(this.dialog.querySelector(".many-result"), "");
    setText(this.confirm, `Approve ${approvals.length}`);
    this.confirm.hidden = false;
    this.comment.value = "";
    this.#list = approvals.map((approval) => ({ approval, node: line(approval) }));
    this.rows.replaceChildren(...this.#list.map(({ node }) => node));
    this.dialog.showModal();
    this.confirm.focus();
  }

  async #approve() {
    if (this.#running || this.confirm.hidden) return;
    this.#running = true;
    this.confirm.disabled = true;
    const comment = this.comment.value.trim();
    let done = 0;
    for (const each of this.#list) done += await this.#one(each, comment);
    this.#running = this.confirm.disabled = false;
    this.confirm.hidden = true;
    const left = this.#list.length - done;
    setText(this.dialog.querySelector(".many-result"), left ? `${done} approved, ${left} not.` : `All ${done} approved.`);
    this.dialog.querySelector("footer [data-closes]").focus();
  }

  async #one({ approval, node }, comment) {
    try {
      const said = await decide(approval.id, { decision: "approve", expected_version: approval.version, ...(comment ? { comment } : {}) });
      result(node, "completed", said.state === "pending" ? "Your vote counts" : "Approved");
      this.onDone(approval.id);
      return 1;
    } catch (problem) {
      if (!("status" in problem)) throw problem;
      result(node, "failed", `Not approved: ${why(problem)}`);
      return 0;
    }
  }
}

function line(approval) {
  const { word } = risk(approval);
  return h("li", { dataset: { state: "pending" } }, icon("pending"), h("div", {}, h("strong", {}, approval.title), h("p", { class: "faint small" }, `${approval.goal_event || approval.plan_id} · ${word.toLowerCase()}`), h("p", { class: "many-said small" })));
}

function result(node, state, text) {
  node.dataset.state = state;
  setIcon(node.querySelector("svg"), state);
  setText(node.querySelector(".many-said"), text);
}
