// <copy-button value="text">, or for="id of the element whose text is copied", label="what it copies".

import { h, icon, setIcon } from "../lib/dom.js";
import { toast } from "./toast.js";

/** Copies without a toast of its own; false when the browser refuses. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text);
  }
}

// Pages on plain http (not localhost) have no clipboard API.
function copyBySelection(text) {
  const field = h("textarea", { class: "sr-only", readonly: true }, text);
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}

class CopyButton extends HTMLElement {
  static observedAttributes = ["value"];

  connectedCallback() {
    if (this.firstElementChild) return;
    const label = `Copy ${this.getAttribute("label") ?? ""}`.trim();
    this.append(h("button", { type: "button", "aria-label": label, title: label, onclick: (event) => this.#copy(event) }, icon("copy")));
  }

  async #copy(event) {
    event.stopPropagation();
    event.preventDefault();
    const source = this.getAttribute("for");
    const done = await copy(source ? document.getElementById(source).textContent.trim() : this.getAttribute("value") ?? "");
    if (!done) return toast("The browser did not allow copying. Select the text instead.", { state: "failed" });
    const svg = this.querySelector("svg");
    setIcon(svg, "check");
    this.dataset.copied = "";
    this.querySelector("button").setAttribute("aria-label", "Copied");
    setTimeout(() => this.#rest(svg), 1500);
  }

  #rest(svg) {
    setIcon(svg, "copy");
    delete this.dataset.copied;
    this.querySelector("button").setAttribute("aria-label", `Copy ${this.getAttribute("label") ?? ""}`.trim());
  }
}

customElements.define("copy-button", CopyButton);
