// The /design page: what elsewhere comes from the socket is set by hand.

import { toast } from "./elements/toast.js";

const shown = { live: { link: "live" }, "catching-up": { link: "catching-up", behind: 1240 }, offline: { link: "offline", since: Date.now() - 42_000 } };
document.querySelectorAll("connection-badge[data-show]").forEach((badge) => badge.show(shown[badge.dataset.show]));
document.getElementById("toast-good").addEventListener("click", () => toast("The plan is paused."));
document.getElementById("toast-bad").addEventListener("click", () => toast("The plan could not be paused: it is completed.", { state: "failed" }));
