// Short messages that come and go: toast("Saved"), toast("Key revoked", {state: "failed"}).

import { h, icon } from "../lib/dom.js";

/** state gives icon and colour; lasts: milliseconds, null = until it is closed. */
export function toast(text, { state = "completed", lasts = 5000 } = {}) {
  const close = h("button", { type: "button", class: "button quiet icon-only small", "aria-label": "Dismiss", onclick: () => node.remove() }, icon("x"));
  const node = h("div", { class: "toast", dataset: { state } }, icon(state), h("p", {}, text), close);
  document.getElementById("toasts").append(node);
  if (lasts) setTimeout(() => node.matches(":hover, :focus-within") || node.remove(), lasts);
  return node;
}
