// <rel-time datetime="2026-11-24T05:38:03Z">: "3 min ago", kept true, the exact time on hover and for screen readers.

import { h, setText } from "../lib/dom.js";
import { everySecond } from "../lib/ticker.js";
import { age, exact, now, toMs } from "../lib/time.js";

class RelTime extends HTMLElement {
  static observedAttributes = ["datetime"];
  #stop = null;

  connectedCallback() {
    this.#stop = everySecond((at) => this.#show(at));
    this.#render();
  }

  disconnectedCallback() {
    this.#stop?.();
  }

  attributeChangedCallback(_name, before, after) {
    if (this.isConnected && before !== after) this.#render();
  }

  #render() {
    const ms = toMs(this.getAttribute("datetime"));
    if (ms === null) return this.replaceChildren();
    const iso = this.getAttribute("datetime");
    this.short = h("span", { "aria-hidden": "true" });
    this.replaceChildren(h("time", { datetime: iso, title: exact(ms) }, this.short, h("span", { class: "sr-only" }, exact(ms))));
    this.#show(now());
  }

  #show(at) {
    const ms = toMs(this.getAttribute("datetime"));
    if (ms !== null && this.short) setText(this.short, age(ms, at));
  }
}

customElements.define("rel-time", RelTime);
