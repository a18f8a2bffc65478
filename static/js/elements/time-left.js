// <time-left until="ISO">: "4m 05s left", then "due now"; under a minute data-soon is set.

import { h, setText } from "../lib/dom.js";
import { everySecond } from "../lib/ticker.js";
import { duration, exact, now, toMs } from "../lib/time.js";

const SOON = 60_000;

class TimeLeft extends HTMLElement {
  static observedAttributes = ["until"];
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
    const until = toMs(this.getAttribute("until"));
    if (until === null) return this.replaceChildren();
    // A screen reader hears the moment, not every second.
    this.short = h("span", { "aria-hidden": "true" });
    this.replaceChildren(h("time", { datetime: this.getAttribute("until"), title: exact(until) }, this.short, h("span", { class: "sr-only" }, `until ${exact(until)}`)));
    this.#show(now());
  }

  #show(at) {
    const until = toMs(this.getAttribute("until"));
    if (until === null || !this.short) return;
    const left = until - at;
    setText(this.short, left > 0 ? `${left < 10_000 ? `${Math.ceil(left / 1000)} s` : duration(left)} left` : "due now");
    this.toggleAttribute("data-soon", left < SOON);
  }
}

customElements.define("time-left", TimeLeft);
