// The page of metrics: another choice is another page; the socket is only for the badge.

import { Live, announce } from "./live.js";

document.getElementById("choices").addEventListener("change", (event) => event.currentTarget.requestSubmit());

const live = new Live();
announce(live);
live.subscribe("agents", { on: {} });
