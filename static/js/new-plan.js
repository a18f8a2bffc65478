// A definition is looked at while it is typed: its faults with their places, its machine as a picture; then it is started.

import "./elements/rel-time.js";
import { toast } from "./elements/toast.js";
import { h, icon } from "./lib/dom.js";
import { placeOf } from "./lib/json-place.js";
import { plural } from "./lib/words.js";

const form = document.getElementById("new-plan");
const text = document.getElementById("definition");
const tenant = document.getElementById("tenant");
const start = document.getElementById("start");
const said = document.getElementById("definition-said");
const faults = document.getElementById("faults");
const preview = document.getElementById("preview");
const PAUSE = 250; // ms without a key before the server is asked

let asked = 0;
let waiting = null;
let key = crypto.randomUUID(); // of this text: sent twice it is one plan

async function send(path, body, headers = {}) {
  const token = /(?:^|; )csrftoken=([^;]*)/.exec(document.cookie)?.[1] ?? "";
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json", "X-CSRFToken": token, ...headers },
    body,
  });
  return { status: answer.status, ok: answer.ok, body: await answer.json() };
}

function tell(state, words) {
  said.dataset.state = state;
  said.replaceChildren(icon(state), words);
}

function show(problems) {
  faults.hidden = !problems.length;
  faults.replaceChildren(
    ...problems.map(({ pointer, detail }) =>
      h("li", {}, h("button", { type: "button", onclick: () => select(pointer) }, h("span", {}, detail), h("code", {}, pointer || "/"))),
    ),
  );
}

function select(pointer) {
  const [from, to] = placeOf(text.value, pointer);
  text.focus();
  text.setSelectionRange(from, to);
  const line = text.value.slice(0, from).split("\n").length - 1;
  text.scrollTop = Math.max(0, (line / text.value.split("\n").length) * text.scrollHeight - text.clientHeight / 3);
}

function draw(svg, sentences) {
  preview.hidden = !svg;
  if (!svg) return;
  const drawn = new DOMParser().parseFromString(svg, "image/svg+xml").documentElement;
  if (drawn.localName === "svg") preview.querySelector(".machine-scroll").replaceChildren(document.importNode(drawn, true));
  preview.querySelector("ul").replaceChildren(...sentences.map((one) => h("li", {}, one)));
}

async function look() {
  const mine = ++asked;
  start.disabled = true;
  let document_;
  try {
    document_ = JSON.parse(text.value);
  } catch (error) {
    tell("failed", `No JSON yet: ${error.message}`);
    return show([]);
  }
  const answer = await send("/v1/plans/validate", text.value).catch(() => null);
  if (mine !== asked) return;
  if (!answer?.ok) return tell("failed", answer?.body.detail ?? "The server did not answer.");
  const { valid, problems, svg, text: sentences } = answer.body;
  draw(svg, sentences);
  show(problems);
  if (valid) tell("completed", `Nothing is wrong. ${plural(Object.keys(document_.states).length, "state")}.`);
  else tell("failed", `${plural(problems.length, "fault")}. Choose one to see where it is.`);
  start.disabled = !valid;
}

async function begin(event) {
  event.preventDefault();
  if (start.disabled) return;
  start.disabled = true;
  // Put in as text, so that numbers stay as they are written.
  const whole = /^\s*\{\s*\}\s*$/.test(text.value) || "tenant_id" in JSON.parse(text.value) ? text.value : text.value.replace("{", `{"tenant_id": ${JSON.stringify(tenant.value.trim())}, `);
  const answer = await send("/v1/plans", whole, { "Idempotency-Key": key }).catch(() => null);
  if (answer?.ok) return location.assign(`/plans/${encodeURIComponent(answer.body.plan_id)}`);
  start.disabled = false;
  toast(`The plan was not started: ${answer?.body.detail ?? "the server did not answer"}.`, { state: "failed", lasts: 10_000 });
  if (answer?.body.errors) show(answer.body.errors);
}

text.addEventListener("input", () => {
  key = crypto.randomUUID();
  start.disabled = true;
  clearTimeout(waiting);
  waiting = setTimeout(look, PAUSE);
});
tenant.addEventListener("input", () => (key = crypto.randomUUID()));
form.addEventListener("submit", begin);
look();
