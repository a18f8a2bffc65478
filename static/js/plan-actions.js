// What an operator does to a plan and its tasks: buttons where the state table allows it, a question first, then the
// answer in words. The state itself is changed by the rows that come of it, never here.

import { toast } from "./elements/toast.js";
import { actor } from "./lib/describe.js";
import { embedded, h, icon, setText } from "./lib/dom.js";
import { plural, words } from "./lib/words.js";

const told = (task) => (task.agent ? `${task.agent} is told.` : "No agent has it yet, and none will get it.");

function cancelsPlan(store) {
  const { open } = store.counts();
  if (!open) return "No task is open. The plan ends as cancelled.";
  return open === 1 ? "1 open task will be cancelled; its agent is told." : `${plural(open, "open task")} will be cancelled; their agents are told.`;
}

function pausesPlan(store) {
  const working = [...store.tasks.values()].filter((task) => task.state === "running").length;
  const goOn = working ? ` ${plural(working, "task")} with an agent ${working === 1 ? "goes" : "go"} on.` : "";
  return `Requests that no agent has yet are held back until somebody resumes the plan.${goOn}`;
}

// verb: of the state table; may: beyond the table; follows(store, task): what will happen, said before.
const PLAN_ORDERS = {
  pause: { verb: "pause", title: "Pause this plan?", confirm: "Pause plan", done: "The plan is paused.", failed: "The plan was not paused", follows: pausesPlan },
  hold: {
    verb: "resume", path: "pause", may: (plan) => !plan.held, title: "Hold this plan?", confirm: "Hold plan", done: "The plan is held.", failed: "The plan was not held",
    follows: () => "It waits for something by itself. Held, it stays paused when that has come, until somebody resumes it.",
  },
  resume: { verb: "resume", title: "Resume this plan?", confirm: "Resume plan", done: "The plan goes on.", failed: "The plan was not resumed", follows: () => "The plan goes on, and requests that were held back are handed over." },
  cancel: { verb: "cancel", danger: true, title: "Cancel this plan?", confirm: "Cancel plan", done: "The plan is cancelled.", failed: "The plan was not cancelled", follows: cancelsPlan },
};
const TASK_ORDERS = {
  retry: {
    verb: "retry", icon: "retry", label: "Retry", title: "Retry this task?", confirm: "Retry task", done: "The task starts anew.", failed: "The task was not started anew",
    follows: (_, task) => `It starts anew as attempt ${task.attempt + 1}, and its request is handed over again.`,
  },
  cancel: { verb: "cancel", icon: "cancelled", label: "Cancel", danger: true, title: "Cancel this task?", confirm: "Cancel task", done: "The task is cancelled.", failed: "The task was not cancelled", follows: (_, task) => `The task ends as cancelled. ${told(task)}` },
};

export class PlanActions {
  #moves = embedded("moves"); // the state table's part for operators; absent for those who only look
  #asked = null; // {order, subject(), url}
  #sending = false;

  /** root: the page's #plan; its buttons carry data-order, its dialog is #act. */
  constructor(root, store) {
    Object.assign(this, { root, store, buttons: [...root.querySelectorAll("[data-order]")], dialog: document.getElementById("act") });
    if (!this.#moves) return;
    this.reason = this.dialog.querySelector("input");
    this.confirm = this.dialog.querySelector("[type=submit]");
    this.buttons.forEach((button) => button.addEventListener("click", () => this.#askPlan(PLAN_ORDERS[button.dataset.order], button.dataset.order)));
    this.dialog.querySelector("form").addEventListener("submit", (event) => (event.preventDefault(), this.#send()));
    this.dialog.addEventListener("close", () => (this.#asked = null));
  }

  /** The buttons and an open question follow the store. */
  paint() {
    if (!this.#moves) return;
    const { plan } = this.store;
    const left = this.buttons.find((button) => button === document.activeElement);
    for (const button of this.buttons) button.hidden = !this.#may("plan", PLAN_ORDERS[button.dataset.order], plan);
    if (left?.hidden) this.buttons.find((button) => !button.hidden)?.focus();
    if (this.#asked) this.#paintQuestion();
  }

  /** Buttons for what may be done to a task now; none for those who only look. */
  buttonsOf(task) {
    if (!this.#moves) return [];
    const button = ([name, order]) => h("button", { type: "button", class: `button small${order.danger ? " danger" : ""}`, onclick: () => this.#askTask(order, name, task.task_id) }, icon(order.icon), order.label);
    return Object.entries(TASK_ORDERS).filter(([, order]) => this.#may("task", order, task)).map(button);
  }

  #may(kind, order, { state, stalled, held }) {
    const legal = this.#moves[kind].some(([verb, source, onlyStalled]) => verb === order.verb && source === state && (stalled || !onlyStalled));
    return legal && (order.may?.({ held }) ?? true);
  }

  #askPlan(order, name) {
    const { plan_id: id } = this.store.plan;
    this.#ask({ kind: "plan", order, subject: () => this.store.plan, url: `/v1/plans/${encodeURIComponent(id)}/${order.path ?? name}` });
  }

  #askTask(order, name, id) {
    this.#ask({ kind: "task", order, subject: () => this.store.tasks.get(id), url: `/v1/tracker/tasks/${encodeURIComponent(id)}/${name}` });
  }

  #ask(question) {
    if (this.#sending) return;
    this.#asked = question;
    const { order } = question;
    setText(this.dialog.querySelector("h2"), order.title);
    setText(this.confirm, order.confirm);
    this.confirm.className = `button ${order.danger ? "danger-solid" : "primary"}`;
    this.reason.value = "";
    this.#paintQuestion();
    this.dialog.showModal();
    this.reason.focus();
  }

  // Somebody else may be faster while the question is open.
  #paintQuestion() {
    const { kind, order, subject } = this.#asked;
    const legal = this.#may(kind, order, subject());
    const text = legal ? order.follows(this.store, subject()) : `The ${kind} is ${words(subject().state).toLowerCase()} now.`;
    setText(this.dialog.querySelector(".act-subject"), kind === "task" ? subject().name : subject().goal_event || subject().plan_id);
    setText(this.dialog.querySelector(".act-follows"), text);
    this.confirm.disabled = this.#sending || !legal;
  }

  async #send() {
    if (this.#sending || !this.#asked || this.confirm.disabled) return;
    const asked = this.#asked;
    this.#sending = this.confirm.disabled = true;
    const problem = await post(asked.url, this.reason.value.trim()).catch(() => ({ detail: "the server did not answer" }));
    this.#sending = false;
    if (this.#asked === asked) this.dialog.close();
    if (problem) toast(`${asked.order.failed}: ${this.#why(asked, problem)}.`, { state: "failed", lasts: 10_000 });
    else toast(asked.order.done);
    this.paint();
  }

  #why({ kind, subject }, problem) {
    if (problem.status === 401) return "you are signed out";
    if (problem.code !== "invalid-transition" && problem.code !== "task-ended") return (problem.detail ?? "the server refused").replace(/\.$/, "");
    const state = words(problem.state).toLowerCase();
    const last = [...this.store.rows.values()].filter((row) => (row.task_id ?? null) === (subject()?.task_id ?? null) && row.to_state && !row.refused).at(-1);
    return last?.to_state === problem.state ? `${actor(last.by).replace(/^user:/, "")} was faster, the ${kind} is ${state}` : `the ${kind} is ${state}`;
  }
}

/** null when it is done, else the problem. */
async function post(url, reason) {
  const token = /(?:^|; )csrftoken=([^;]*)/.exec(document.cookie)?.[1] ?? "";
  const headers = { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": token };
  const answer = await fetch(url, { method: "POST", headers, body: JSON.stringify(reason ? { reason } : {}) });
  return answer.ok ? null : { status: answer.status, ...(await answer.json()) };
}
