// The part of a card where one decides. It is kept while it holds something typed, whatever happens to the approval.

import { h, icon, setText } from "../lib/dom.js";
import { answerForm } from "./answer-form.js";
import { argumentsEditor } from "./arguments-editor.js";
import { decide, isOver, why } from "./requests.js";

const KEYS = { approve: "A", edit: "E", respond: "S", reject: "R" };
const START = {
  approve: { icon: "check", label: "Approve", look: "primary" },
  edit: { icon: "edit", label: "Edit", look: "" },
  respond: { icon: "respond", label: "Answer", look: "" },
  reject: { icon: "x", label: "Reject", look: "danger" },
};
const OPENED = { edit: { icon: "check", label: "Approve with changes", look: "primary" }, respond: { icon: "respond", label: "Send the answer", look: "primary" } };
const DONE = { approve: "Approved", edit: "Approved with changes", respond: "Answered", reject: "Rejected" };
let made = 0;

export class DecisionForm extends EventTarget {
  #mode = null; // edit or respond while that part is open
  #armed = null; // what Enter in the comment sends
  #sending = false;
  #closed = false; // nothing can be decided any more
  #editor = null;
  #answer = null;

  /** "decided": {decision, word, said}; "over": {problem}: somebody, or the clock, was faster. */
  constructor(approval) {
    super();
    this.approval = approval;
    this.can = ["approve", "edit", "respond", "reject"].filter((each) => approval.allow.includes(each) && (each !== "edit" || approval.args !== null));
    this.#build();
    if (this.can.includes("respond") && !this.can.includes("approve")) this.#open("respond");
    this.#paint();
  }

  /** Whether something is typed or chosen that would be lost. */
  get dirty() {
    return Boolean(this.comment.value.trim() || this.#touched);
  }

  #touched = false;

  #build() {
    const id = `comment-${(made += 1)}`;
    this.comment = h("textarea", { id, rows: "2", maxlength: "10000", "aria-describedby": `${id}-hint` });
    this.note = h("span", { class: "faint" });
    this.hint = h("p", { class: "hint", id: `${id}-hint`, hidden: true });
    this.error = h("p", { class: "error", role: "alert" });
    this.more = h("div", { class: "decision-more" });
    this.buttons = h("div", { class: "decision-buttons", role: "group", "aria-label": "Decision" });
    const label = h("label", { for: id }, "Comment ", this.note);
    this.node = h("form", { class: "decision", "aria-label": "Decide", novalidate: true }, this.more, h("div", { class: "field wide" }, label, this.comment, this.hint), this.error, this.buttons);
    this.node.addEventListener("submit", (event) => event.preventDefault());
    this.node.addEventListener("input", (event) => event.target !== this.comment && (this.#touched = true));
    this.comment.addEventListener("keydown", (event) => this.#keyInComment(event));
    this.node.addEventListener("keydown", (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && (event.preventDefault(), this.#send(this.#mode ?? this.#armed)));
  }

  #keyInComment(event) {
    if (event.key !== "Enter" || event.shiftKey || event.ctrlKey || event.metaKey || event.isComposing || !this.#armed) return;
    event.preventDefault();
    this.#send(this.#armed);
  }

  // --- what is shown ---

  #paint() {
    const focused = document.activeElement?.dataset?.decision;
    const needed = this.approval.reject_needs_comment && this.can.includes("reject");
    setText(this.note, this.#armed === "reject" && needed ? "(needed to reject)" : needed ? "(needed to reject, kept in the log)" : "(optional, kept in the log)");
    this.hint.hidden = !this.#armed;
    setText(this.hint, this.#armed ? `Enter: ${START[this.#armed].label.toLowerCase()}. Shift Enter: a new line.` : "");
    const shown = this.#mode ? [this.#mode, "back", "reject"] : this.can;
    this.buttons.replaceChildren(...shown.map((name) => this.#button(name)).filter(Boolean));
    if (focused) this.buttons.querySelector(`[data-decision=${focused}]`)?.focus();
  }

  #button(name) {
    if (name === "back") return this.can.includes("approve") || this.can.includes("edit") ? h("button", { type: "button", class: "button quiet", onclick: () => this.#leaveMode() }, "Back") : null;
    if (!this.can.includes(name)) return null;
    const { icon: mark, label, look } = (this.#mode === name && OPENED[name]) || START[name];
    const opens = !this.#mode && name in OPENED;
    const props = { type: "button", class: `button ${look}`, disabled: this.#sending || this.#closed, dataset: { decision: name }, "aria-keyshortcuts": KEYS[name], onclick: () => this.#press(name) };
    if (opens) props["aria-expanded"] = "false";
    return h("button", props, icon(mark), `${label}${opens ? "…" : ""}`, h("kbd", { "aria-hidden": "true" }, KEYS[name]));
  }

  #press(name) {
    if (name in OPENED && this.#mode !== name) this.#enter(name);
    else this.#send(name);
  }

  #enter(name) {
    this.#open(name);
    this.#paint();
    (name === "edit" ? this.#editor : this.#answer).focus();
  }

  #open(name) {
    this.#mode = name;
    this.#armed = null;
    if (name === "edit") this.#editor ??= argumentsEditor(this.approval.args, { label: "Arguments, as JSON" });
    else this.#answer ??= answerForm(this.approval);
    this.more.replaceChildren((name === "edit" ? this.#editor : this.#answer).node);
    this.#complain("");
  }

  #leaveMode() {
    const left = this.#mode;
    this.#mode = null;
    this.more.replaceChildren();
    this.#complain("");
    this.#paint();
    this.buttons.querySelector(`[data-decision=${left}]`)?.focus();
  }

  // --- keys ---

  /** The key of a decision: it goes to its button, its field, or the reason that is missing. */
  arm(name) {
    if (!this.can.includes(name) || this.#closed) return false;
    if (name in OPENED) this.#enter(name);
    else if (name === "reject" && this.#lacksReason()) this.#askReason();
    else this.#goTo(name);
    return true;
  }

  #goTo(name) {
    if (this.#mode && name === "approve") this.#leaveMode();
    this.buttons.querySelector(`[data-decision=${name}]`)?.focus();
  }

  focusComment() {
    this.comment.focus();
  }

  #lacksReason() {
    return this.approval.reject_needs_comment && !this.comment.value.trim();
  }

  #askReason() {
    this.#armed = "reject";
    this.#paint();
    this.comment.focus();
  }

  // --- sending ---

  #complain(text) {
    setText(this.error, text);
    this.comment.toggleAttribute("aria-invalid", false);
  }

  /** The answer's body, or null when something is missing and said so. */
  #body(name) {
    const comment = this.comment.value.trim();
    const body = { decision: name, ...(comment ? { comment } : {}) };
    if (name === "reject" && this.#lacksReason()) {
      this.#askReason();
      this.comment.setAttribute("aria-invalid", "true");
      setText(this.error, "Say why: whoever asked wants a reason for a rejection.");
      return null;
    }
    if (name === "edit") return this.#withArguments(body);
    if (name === "respond") return this.#withAnswer(body);
    return body;
  }

  #withArguments(body) {
    const said = this.#editor.read();
    this.#editor.showFault(said.fault ?? "");
    if (said.fault) this.#editor.focus();
    return said.fault ? null : { ...body, payload: said.value };
  }

  #withAnswer(body) {
    const { value, errors } = this.#answer.read();
    if (!errors.length) return { ...body, payload: value };
    this.#complain(errors.length > 1 ? `${errors.length} fields need another look.` : "One field needs another look.");
    (this.#answer.node.querySelector("[aria-invalid=true]") ?? this.comment).focus();
    return null;
  }

  async #send(name) {
    if (!name || this.#sending || this.#closed) return;
    this.#complain("");
    const body = this.#body(name);
    if (!body) return;
    this.#busy(true);
    try {
      const said = await decide(this.approval.id, body);
      this.#touched = false;
      this.comment.value = "";
      this.dispatchEvent(new CustomEvent("decided", { detail: { decision: name, word: DONE[name], said } }));
    } catch (problem) {
      if (!("status" in problem)) throw problem;
      this.#refused(problem);
    } finally {
      this.#busy(false);
    }
  }

  #busy(on) {
    this.#sending = on;
    this.node.toggleAttribute("aria-busy", on);
    this.buttons.querySelectorAll("[data-decision]").forEach((button) => (button.disabled = on || this.#closed));
  }

  #refused(problem) {
    if (isOver(problem)) {
      this.close();
      this.#complain(`Too late: ${why(problem)}. Nothing was changed by you.`);
      return this.dispatchEvent(new CustomEvent("over", { detail: { problem } }));
    }
    const left = this.#place(problem.errors ?? []);
    const details = left.map(({ pointer, detail }) => [pointer, detail].filter(Boolean).join(": "));
    this.#complain(`Not sent: ${[why(problem), ...details].join(". ")}.`);
  }

  // Faults that the server found, at their fields; those without one are given back.
  #place(errors) {
    const inside = errors.filter(({ pointer }) => pointer?.startsWith("/payload")).map((error) => ({ ...error, pointer: error.pointer.slice("/payload".length) }));
    const others = errors.filter(({ pointer }) => !pointer?.startsWith("/payload"));
    if (this.#mode === "respond" && inside.length) return [...others, ...this.#answer.show(inside)];
    return [...others, ...inside];
  }

  /** It is over: nothing can be sent, and what is typed stays. */
  close() {
    this.#closed = true;
    this.#armed = null;
    this.#paint();
  }
}
