// What went wrong: the story of a plan, which the server tells. It is told again when asked, since a reader is reading.

import { copy } from "./elements/copy-button.js";
import { toast } from "./elements/toast.js";
import { h, icon, setIcon, setText } from "./lib/dom.js";
import { TERMINAL } from "./lib/words.js";

const RESTS = 1500;

async function copyMarkdown(button, story) {
  const text = story.querySelector(`#${button.dataset.copies}`).value;
  if (!(await copy(text))) return toast("The browser did not allow copying.", { state: "failed" });
  setIcon(button.querySelector("svg"), "check");
  setText(button.querySelector(".word"), "Copied");
  setTimeout(() => (setIcon(button.querySelector("svg"), "copy"), setText(button.querySelector(".word"), "Copy as Markdown")), RESTS);
}

/** Gives life to the buttons of a story that stands in `node`. */
export function bindStory(node) {
  node.querySelectorAll("[data-copies]").forEach((button) => button.addEventListener("click", () => copyMarkdown(button, node)));
}

export class PlanStory {
  #body = h("div", { class: "story-frame" });
  #asked = 0;

  /** root: the page's #plan; its link carries data-explains. go: {show(title, body), task(id), row(seq), orders(task)} */
  constructor(root, store, go) {
    Object.assign(this, { store, go, link: root.querySelector("[data-explains]") });
    this.link?.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
      event.preventDefault();
      this.open();
    });
  }

  /** Shows the story, told anew. */
  open() {
    if (!this.link) return;
    if (!this.#body.querySelector(".story")) this.#body.replaceChildren(h("p", { class: "faint", role: "status" }, "Looking into it"));
    this.go.show(this.#title(), this.#body);
    this.#tell();
  }

  /** The link says what there is to ask; an open story says when the plan has moved on. */
  paint() {
    if (!this.link) return;
    setText(this.link.querySelector(".word"), this.#title());
    const story = this.#body.querySelector(".story");
    if (story) story.querySelector(".story-old").hidden = Number(story.dataset.seq) >= this.store.seq;
  }

  #title() {
    const { state } = this.store.plan;
    if (state === "failed" || state === "cancelled" || this.store.counts().failed || this.store.counts().stalled) return "What went wrong?";
    return TERMINAL.has(state) ? "How did it go?" : "How does it stand?";
  }

  async #tell() {
    const asked = ++this.#asked;
    const html = await this.#read().catch(() => null);
    if (asked !== this.#asked) return;
    if (html === null) return this.#body.replaceChildren(h("div", { class: "notice", dataset: { state: "failed" } }, icon("failed"), h("p", {}, "The server did not answer. ", h("button", { type: "button", class: "as-link", onclick: () => this.#tell() }, "Ask again"))));
    const focused = this.#body.contains(document.activeElement);
    this.#body.replaceChildren(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
    this.#bind();
    if (focused) this.#body.querySelector("[data-again]")?.focus();
    this.paint();
  }

  async #read() {
    const answer = await fetch(`${this.link.getAttribute("href")}?part`);
    if (!answer.ok || answer.redirected) throw new Error(answer.status);
    return answer.text();
  }

  #bind() {
    bindStory(this.#body);
    this.#body.querySelector("[data-again]")?.addEventListener("click", () => this.#tell());
    for (const link of this.#body.querySelectorAll("a[data-task], a[data-row]")) link.addEventListener("click", (event) => this.#follow(event, link.dataset));
    for (const place of this.#body.querySelectorAll("[data-orders]")) {
      const task = this.store.tasks.get(place.dataset.orders);
      if (task) place.replaceChildren(...this.go.orders(task));
    }
  }

  #follow(event, { task, row }) {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    if (task !== undefined && !this.store.tasks.has(task)) return;
    event.preventDefault();
    if (task !== undefined) this.go.task(task);
    else this.go.row(Number(row));
  }
}
