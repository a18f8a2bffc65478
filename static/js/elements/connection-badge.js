// <connection-badge>: how far this page can be trusted, in words. `watch(live)` binds it to the page's socket.

import { h, icon } from "../lib/dom.js";
import { clock } from "../lib/time.js";

const ICONS = { live: "live", "catching-up": "catching-up", offline: "offline", connecting: "catching-up" };

const wording = ({ link, behind, since }) =>
  ({
    live: "Live",
    connecting: "Connecting",
    "catching-up": behind ? `Catching up ${behind.toLocaleString("en")}` : "Catching up",
    offline: `Offline since ${since ? clock(since) : ""}`,
  })[link];

class ConnectionBadge extends HTMLElement {
  watch(live) {
    live.addEventListener("status", (event) => this.show(event.detail));
    this.show(live.status);
  }

  show(status) {
    // The number that counts down is for the eye; a screen reader hears only that the kind changed.
    if (!this.spoken) this.#build();
    const text = wording(status);
    this.visible.replaceChildren(icon(ICONS[status.link]), text);
    if (this.dataset.link !== status.link) this.spoken.textContent = text;
    this.dataset.link = status.link;
  }

  #build() {
    this.spoken = h("span", { class: "sr-only", role: "status", "aria-live": "polite" });
    this.visible = h("span", { class: "row nowrap", "aria-hidden": "true" });
    this.replaceChildren(this.visible, this.spoken);
  }
}

customElements.define("connection-badge", ConnectionBadge);
