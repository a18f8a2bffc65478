// <json-viewer>: a tree of a JSON value. Branches are made when they are opened and in pages, so that 200 kB open at once.

import { h, icon, setIcon } from "../lib/dom.js";
import { copy } from "./copy-button.js";

const PAGE = 100;
const LONG_STRING = 2000;
const OPEN_BELOW = 12; // branches with fewer children are open to begin with
const OPEN_DEPTH = 2;

const isBranch = (value) => value !== null && typeof value === "object";
const keyLabel = (key, inArray) => h("span", { class: inArray ? "peek" : "key" }, inArray ? `${key}: ` : `${JSON.stringify(key)}: `);

function peek(value) {
  const size = Array.isArray(value) ? value.length : Object.keys(value).length;
  const text = Array.isArray(value) ? `[ ${size} ]` : `{ ${size} }`;
  return h("span", { class: "peek" }, size ? text : text.replace(/ 0 /, ""));
}

function leafText(value) {
  if (typeof value !== "string") return h("span", { class: typeof value === "number" ? "number" : "literal" }, String(value));
  const text = JSON.stringify(value);
  const node = h("span", { class: "string" }, text.slice(0, LONG_STRING));
  if (text.length <= LONG_STRING) return node;
  const more = h("button", { type: "button", class: "button small", onclick: () => (more.remove(), (node.textContent = text)) }, `${(text.length - LONG_STRING).toLocaleString("en")} more characters`);
  return [node, " ", more];
}

function item(key, value, depth, inArray) {
  const label = key === null ? null : keyLabel(key, inArray);
  if (!isBranch(value) || !Object.keys(value).length) return h("div", { class: "leaf" }, label, isBranch(value) ? peek(value) : leafText(value));
  const body = h("div");
  const node = h("details", {}, h("summary", {}, label, peek(value)), body);
  const fill = () => body.childElementCount || page(body, Object.entries(value), depth + 1, Array.isArray(value), 0);
  node.addEventListener("toggle", () => node.open && fill());
  if (depth < OPEN_DEPTH && (depth === 0 || Object.keys(value).length < OPEN_BELOW)) {
    node.open = true;
    fill();
  }
  return node;
}

function page(body, entries, depth, inArray, from) {
  body.append(...entries.slice(from, from + PAGE).map(([key, value]) => item(key, value, depth, inArray)));
  const left = entries.length - from - PAGE;
  if (left <= 0) return;
  const more = h("button", { type: "button", class: "button small more" }, `${left.toLocaleString("en")} more`);
  more.addEventListener("click", () => (more.remove(), page(body, entries, depth, inArray, from + PAGE)));
  body.append(more);
}

class JsonViewer extends HTMLElement {
  connectedCallback() {
    const source = this.getAttribute("source");
    if (source && !this.firstElementChild) this.value = JSON.parse(document.getElementById(source).textContent);
  }

  /** Any JSON value; setting it rebuilds the tree. */
  set value(value) {
    const head = h("div", { class: "json-head" }, h("span", {}, this.getAttribute("label") ?? "JSON"), this.#copyButton(value));
    const tree = h("div", { class: "json-tree", tabindex: "0", role: "group", "aria-label": this.getAttribute("label") ?? "JSON" }, item(null, value, 0, false));
    this.replaceChildren(head, tree);
  }

  #copyButton(value) {
    const mark = icon("copy");
    const button = h("button", { type: "button", class: "button quiet small", "aria-label": `Copy ${this.getAttribute("label") ?? "JSON"}` }, mark, "Copy");
    button.addEventListener("click", async () => {
      if (await copy(JSON.stringify(value, null, 2))) setIcon(mark, "check");
      setTimeout(() => setIcon(mark, "copy"), 1500);
    });
    return button;
  }
}

customElements.define("json-viewer", JsonViewer);
