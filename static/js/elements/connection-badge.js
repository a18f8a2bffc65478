// <connection-badge>: how far this page can be trusted, in words. `watch(live)` binds it to the page's socket.

import { h, icon, setIcon, setText } from "../lib/dom.js";
import { clock } from "../lib/time.js";

const ICONS = { live: "live", polling: "live", "catching-up": "catching-up", offline: "offline", connecting: "catching-up" };

const wording = ({ link, since }) =>
  ({ live: "Live", polling: "Live by polling", connecting: "Connecting", "catching-up": "Catching up", offline: `Offline since ${since ? clock(since) : ""}` })[link];

class ConnectionBadge extends HTMLElement {
  watch(live) {
    live.addEventListener("status", (event) => this.show(event.detail));
    this.show(live.status);
  }

  show(status) {
    if (!this.text) this.#build();
    setIcon(this.mark, ICONS[status.link]);
    setText(this.text, wording(status));
    // The number that counts down is for the eye; a screen reader hears only that the kind changed.
    setText(this.count, status.behind ? ` ${status.behind.toLocaleString("en")}` : "");
    this.dataset.link = status.link;
  }

  #build() {
    this.mark = icon("catching-up");
    this.text = h("span", { role: "status", "aria-live": "polite" });
    this.count = h("span", { "aria-hidden": "true" });
    this.replaceChildren(this.mark, h("span", { class: "nowrap" }, this.text, this.count));
  }
}

customElements.define("connection-badge", ConnectionBadge);
