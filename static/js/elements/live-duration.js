// <live-duration from="ISO" to="ISO or empty">: how long something took, or takes so far.

import { setText } from "../lib/dom.js";
import { everySecond } from "../lib/ticker.js";
import { duration, now, toMs } from "../lib/time.js";

class LiveDuration extends HTMLElement {
  static observedAttributes = ["from", "to"];
  #stop = null;

  connectedCallback() {
    this.#render();
  }

  disconnectedCallback() {
    this.#still();
  }

  attributeChangedCallback() {
    if (this.isConnected) this.#render();
  }

  #still() {
    this.#stop?.();
    this.#stop = null;
  }

  #render() {
    const from = toMs(this.getAttribute("from"));
    const to = toMs(this.getAttribute("to"));
    this.#still();
    if (from === null) return setText(this, "–");
    setText(this, duration((to ?? now()) - from));
    if (to === null) this.#stop = everySecond((at) => setText(this, duration(at - from)));
  }
}

customElements.define("live-duration", LiveDuration);
