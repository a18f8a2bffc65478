// <approval-card>: one approval with all that a decision needs. open(id) reads and shows it; from then on it follows the
// page's list of those that wait, and what is typed stays whatever happens.
// "decided" {id, word, settled} after a decision of this person; "shown" when a card has come.

import "./json-viewer.js";
import "./live-duration.js";
import "./rel-time.js";
import "./time-left.js";
import { optionLabel } from "../approvals/answer-form.js";
import { changesView } from "../approvals/arguments-editor.js";
import { changes } from "../approvals/json-changes.js";
import { DecisionForm } from "../approvals/decision-form.js";
import { readCard, takeBack, why } from "../approvals/requests.js";
import { asked, atDeadline, ended, person, quorum, risk, standing, voteOf } from "../approvals/told.js";
import { me, waiting } from "../approvals/waiting.js";
import { h, icon, stateBadge } from "../lib/dom.js";
import { precise, toMs } from "../lib/time.js";
import { plural } from "../lib/words.js";
import { toast } from "./toast.js";

const KEPT = 20; // forms with something typed
const kept = new Map(); // approval id -> its form, as long as there is something in it

const badge = ({ state, icon: mark, word }, className = "tag") => h("span", { class: className, dataset: { state } }, icon(mark), h("span", { class: "word" }, word));
const section = (title, ...body) => h("section", { class: "card-section" }, h("h3", {}, title), ...body);
const fact = (label, ...value) => (value.every((each) => !each) ? null : h("div", {}, h("dt", {}, label), h("dd", {}, ...value)));
const planPath = (id) => `/plans/${encodeURIComponent(id)}`;
const notice = (state, mark, ...body) => h("div", { class: "notice", dataset: { state } }, icon(mark), h("p", {}, ...body));

function viewer(label, value) {
  const node = h("json-viewer", { label });
  node.value = value;
  return node;
}

class ApprovalCard extends HTMLElement {
  #id = null;
  #card = null; // what the server said of it
  #form = null;
  #asking = 0;
  #opening = null;
  #following = null; // the plan's log, until whoever asked has gone on
  #away = false; // it was out of the page, and heard nothing

  connectedCallback() {
    waiting.addEventListener("change", this.#moved);
  }

  disconnectedCallback() {
    waiting.removeEventListener("change", this.#moved);
    this.#unfollow();
    this.#away = true;
  }

  /** The approval as it is shown; null while there is none. */
  get approval() {
    return this.#card?.approval ?? null;
  }

  /** Show this approval, until it is there; what was typed for it before is still there. */
  open(id) {
    if (this.#id === id && !this.#away) return this.#opening;
    this.#away = false;
    if (this.#id === id && this.#card) return this.refresh();
    this.#leave();
    this.#id = id;
    this.#card = null;
    this.replaceChildren(h("div", { class: "card-loading", role: "status" }, icon("catching-up"), "Reading the request"));
    this.#opening = this.#read(() => this.#build());
    return this.#opening;
  }

  /** Show nothing. */
  clear() {
    this.#leave();
    this.#id = null;
    this.#card = null;
    this.replaceChildren();
  }

  #leave() {
    this.#unfollow();
    this.#forget();
  }

  #forget() {
    if (this.#form && !this.#form.dirty) kept.delete(this.#id);
    this.#form = null;
  }

  async #read(then) {
    const asking = (this.#asking += 1);
    const id = this.#id;
    try {
      const card = await readCard(id);
      if (asking !== this.#asking) return;
      this.#card = card;
      then();
      this.dispatchEvent(new CustomEvent("shown", { detail: { id } }));
    } catch (problem) {
      if (!("status" in problem)) throw problem;
      if (asking === this.#asking) this.#cannotRead(problem);
    }
  }

  #cannotRead(problem) {
    if (this.#card) return toast(`The request could not be read again: ${why(problem)}.`, { state: "failed" });
    const gone = problem.status === 404;
    const again = h("button", { type: "button", class: "button", onclick: () => this.#read(() => this.#build()) }, "Try again");
    this.replaceChildren(h("div", { class: "empty" }, icon(gone ? "search" : "offline", "icon large"), h("h2", { tabindex: "-1" }, gone ? "There is no request with this id" : "The request could not be read"), h("p", {}, gone ? "It may belong to another workspace." : `The reason: ${why(problem)}.`), gone ? null : h("p", { class: "row" }, again)));
  }

  // Of what the list says, only that something is different: the card is read again, once for what comes together.
  #moved = ({ detail: { moved, gone } }) => {
    if (!this.#card || this.#card.approval.state !== "pending") return;
    const item = moved.includes(this.#id) && waiting.items.get(this.#id);
    if (gone.includes(this.#id) || (item && item.version !== this.#card.approval.version)) this.refresh();
  };

  /** Read again how it stands; what is typed stays. */
  refresh() {
    return this.#read(() => this.#repaint());
  }

  // --- the parts ---

  #build() {
    const { approval } = this.#card;
    this.head = h("div", { class: "card-standing row" });
    this.news = h("div", { class: "card-news", role: "status", "aria-live": "polite" });
    this.side = h("aside", { class: "card-side stack", "aria-label": "What hangs on it" });
    this.foot = h("div", { class: "card-foot" });
    const id = `approval-${approval.id}`;
    const title = h("h2", { id, tabindex: "-1" }, approval.title);
    const article = h("article", { "aria-labelledby": id }, h("header", { class: "card-head" }, this.head, title, this.#who(approval)), this.news, h("div", { class: "card-columns" }, h("div", { class: "card-main stack" }, this.#request()), this.side), this.foot);
    this.replaceChildren(article);
    this.#repaint();
  }

  #who(approval) {
    const plan = h("a", { class: "link", href: planPath(approval.plan_id) }, approval.goal_event || approval.plan_id);
    return h("dl", { class: "facts" }, fact("Asked by", person(approval.requested_by)), fact("", h("rel-time", { datetime: approval.requested_at })), fact("Plan", plan), fact("For", approval.assignees.map(person).join(", ")));
  }

  #request() {
    const { approval, description_html: html } = this.#card;
    const prose = html ? h("div", { class: "prose" }) : null;
    // The server's own HTML: Markdown that has passed its allow-list.
    if (prose) prose.innerHTML = html;
    const { action, args, options } = approval;
    const act = action || args !== null ? section("What will be done", action ? h("p", {}, h("code", { class: "card-action" }, action)) : null, args === null ? null : viewer("Arguments", args)) : null;
    const choices = options?.length ? section("Options", h("ul", { class: "card-options" }, options.map((option) => h("li", {}, optionLabel(option), typeof option === "string" ? null : viewer("Option", option))))) : null;
    return [prose, act, choices].filter(Boolean);
  }

  #repaint() {
    const { approval } = this.#card;
    const needed = quorum(approval);
    this.head.replaceChildren(badge(standing(approval), "state pill"), ...(approval.state === "pending" || approval.risk === "high" ? [badge(risk(approval), "tag risk")] : []), ...(needed ? [h("span", { class: "tag" }, icon("members"), needed)] : []));
    this.side.replaceChildren(...[this.#consequence(), this.#deadline(), this.#votes(), this.#decision(), this.#afterwards()].filter(Boolean));
    this.#paintFoot();
    this.#follow();
  }

  // --- what hangs on it ---

  #consequence() {
    const { approval, plan, blocked } = this.#card;
    const open = approval.state === "pending";
    const waits = h("live-duration", { from: approval.requested_at, to: approval.decided_at ?? "" });
    const task = blocked ? h("a", { class: "link row", href: `${planPath(approval.plan_id)}?task=${encodeURIComponent(blocked.task_id)}` }, stateBadge(blocked.state), blocked.name) : approval.blocks;
    return section(
      open ? "Waits for this" : "Waited for this",
      h("dl", { class: "facts column" },
        fact("Plan", h("span", { class: "row" }, plan ? stateBadge(plan.state) : null, h("span", { class: "truncate" }, plan?.current_state || ""))),
        fact("Task", task),
        fact("Others open", plan?.open_tasks ? plural(plan.open_tasks, "task") : ""),
        fact(open ? "Waiting for" : "Waited", waits),
      ),
    );
  }

  #deadline() {
    const { approval } = this.#card;
    if (approval.state !== "pending") return null;
    if (!approval.expires_at) return section("Deadline", h("p", { class: "muted small" }, "None. It waits until somebody decides."));
    return section("Deadline", h("p", { class: "card-deadline" }, icon("deadline"), h("span", {}, h("time-left", { until: approval.expires_at }), h("span", { class: "muted" }, `, then ${atDeadline(approval)}`))), h("p", { class: "faint small" }, precise(toMs(approval.expires_at))));
  }

  #votes() {
    const { approval } = this.#card;
    const several = approval.quorum > 1 || approval.reject_quorum > 1;
    if (!approval.votes.length || (!several && approval.state !== "pending")) return null;
    const line = (vote) => h("li", {}, badge(standing({ state: "decided", decision: vote.decision }), "state"), h("span", {}, person(vote.by), " ", h("span", { class: "faint" }, h("rel-time", { datetime: vote.at }))), vote.comment ? h("p", { class: "said" }, vote.comment) : null);
    return section(quorum(approval) ? `Votes: ${quorum(approval)}` : "Votes", h("ul", { class: "card-votes" }, approval.votes.map(line)));
  }

  #decision() {
    const { approval } = this.#card;
    if (approval.state === "pending") return null;
    const { state, icon: mark } = standing(approval);
    const edited = approval.decision === "edit" ? [changesView(changes(approval.args, approval.payload)), viewer("Arguments as decided", approval.payload)] : [];
    const answered = approval.decision === "respond" ? [viewer("Answer", approval.payload)] : [];
    return section("Decision", notice(state, mark, h("strong", {}, ended(approval)), ", ", h("rel-time", { datetime: approval.decided_at })), approval.comment ? h("p", { class: "said" }, approval.comment) : null, ...edited, ...answered);
  }

  // What became of the decision: handed over, and the next step of whoever asked.
  #afterwards() {
    const { approval, answered } = this.#card;
    if (!["decided", "expired"].includes(approval.state) || !approval.response_event) return null;
    const agent = person(approval.requested_by);
    const step = (done, text, at) => h("li", { class: done ? "" : "faint" }, icon(done ? "check" : "waiting"), h("span", {}, text, at ? [" ", h("span", { class: "faint" }, h("rel-time", { datetime: at }))] : null));
    const next = answered ? ["The next step: ", h("a", { class: "link", href: `${planPath(approval.plan_id)}#seq=${answered.seq}` }, answered.type)] : `${agent} has not gone on yet`;
    return section("What became of it", h("ol", { class: "card-steps" }, step(true, "Decided", approval.decided_at), step(approval.delivered_at, approval.delivered_at ? `Handed to ${agent}` : `Not handed to ${agent} yet`, approval.delivered_at), step(answered, next, answered?.at)));
  }

  // Until the one that asked has gone on, the plan's log tells what becomes of a decision.
  #follow() {
    const { approval, plan, answered } = this.#card;
    const over = ["decided", "expired"].includes(approval.state) && approval.response_event;
    if (!over || (answered && approval.delivered_at)) return this.#unfollow();
    this.#following ??= waiting.followPlan(approval.plan_id, plan.seq, (rows) => {
      const agent = person(approval.requested_by);
      if (rows.some((row) => row.type === "approval.delivered" || (row.kind === "message" && row.source === agent))) this.refresh();
    });
  }

  #unfollow() {
    this.#following?.close();
    this.#following = null;
  }

  // --- the decision ---

  #paintFoot() {
    const { approval } = this.#card;
    const open = approval.state === "pending";
    const mine = voteOf(approval, me.by);
    this.#form ??= kept.get(this.#id) ?? null;
    const typed = Boolean(this.#form?.dirty);
    if (open && me.decides && asked(approval, me.by) && !mine) return this.#showForm();
    const focused = this.foot.contains(document.activeElement);
    if (!open && typed) return this.#overWhileTyping(focused);
    this.#forget();
    this.news.replaceChildren();
    this.foot.replaceChildren(...(open ? [this.#cannot(approval, mine)] : []));
    if (focused) this.focusTitle();
  }

  #showForm() {
    this.news.replaceChildren();
    if (this.#form && this.foot.contains(this.#form.node)) return;
    this.#form ??= this.#newForm();
    this.foot.replaceChildren(this.#form.node);
  }

  #newForm() {
    const id = this.#id;
    const form = new DecisionForm(this.#card.approval);
    form.addEventListener("decided", ({ detail }) => this.#decided(id, detail));
    form.addEventListener("over", () => this.#id === id && this.refresh());
    kept.set(id, form);
    for (const [old] of [...kept].slice(0, Math.max(0, kept.size - KEPT))) kept.delete(old);
    return form;
  }

  // Somebody else was faster while something is typed: it stays to be read and copied.
  #overWhileTyping() {
    const { approval } = this.#card;
    this.#form.close();
    if (!this.foot.contains(this.#form.node)) this.foot.replaceChildren(this.#form.node);
    const { state, icon: mark } = standing(approval);
    const drop = h("button", { type: "button", class: "as-link", onclick: () => this.#drop() }, "Drop it");
    this.news.replaceChildren(notice(state, mark, h("strong", {}, ended(approval)), " while you were writing. What you typed is kept below; it was not sent. ", drop));
  }

  #drop() {
    kept.delete(this.#id);
    this.#form = null;
    this.news.replaceChildren();
    this.foot.replaceChildren();
    this.focusTitle();
  }

  #cannot(approval, mine) {
    if (mine) return this.#voted(mine);
    const text = me.decides ? `This is for ${approval.assignees.map(person).join(" and ")} to decide.` : "You can read this, but not decide it: that takes the role operator or admin in this workspace.";
    return h("p", { class: "card-cannot muted" }, icon("held"), text);
  }

  #voted(mine) {
    const button = h("button", { type: "button", class: "button small" }, icon("undo"), "Take the vote back");
    button.addEventListener("click", () => this.#takeBack(button));
    return h("div", { class: "row apart" }, h("p", { class: "row" }, badge(standing({ state: "decided", decision: mine.decision }), "state"), "Your vote counts. It can be taken back until it is settled."), button);
  }

  async #takeBack(button) {
    button.disabled = true;
    const id = this.#id;
    try {
      await takeBack(id);
      toast("The vote is taken back.");
    } catch (problem) {
      if (!("status" in problem)) throw problem;
      toast(`The vote was not taken back: ${why(problem)}.`, { state: "failed", lasts: 10_000 });
    }
    if (this.#id === id) await this.refresh();
    button.disabled = false;
  }

  #decided(id, { word, said }) {
    kept.delete(id);
    const settled = said.state !== "pending";
    if (this.#id === id) {
      this.#form = null;
      this.#card = { ...this.#card, approval: said, answered: said.answered };
      this.foot.replaceChildren();
      this.#repaint();
    }
    this.dispatchEvent(new CustomEvent("decided", { detail: { id, word, settled, title: said.title } }));
  }

  // --- keys ---

  /** The key of a decision: approve, reject, edit, respond; false when it is not to be had. */
  arm(name) {
    return this.#form?.arm(name) ?? false;
  }

  comment() {
    this.#form?.focusComment();
  }

  focusTitle() {
    this.querySelector("h2")?.focus({ preventScroll: true });
  }
}

customElements.define("approval-card", ApprovalCard);
