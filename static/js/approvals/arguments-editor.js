// Arguments edited as JSON: checked while one types, and what differs is shown before it is sent.

import { h, icon } from "../lib/dom.js";
import { painter } from "../lib/painter.js";
import { plural } from "../lib/words.js";
import { changes } from "./json-changes.js";

const SHOWN = 100; // changes
const LONGEST = 300; // characters of a value in a change

/** A list of changes as one reads it: what was, what will be. */
export function changesView(list) {
  const rows = list.slice(0, SHOWN).map(({ path, ...sides }) => h("li", {}, h("code", { class: "change-path" }, path || "(all of it)"), side("before", "was", "del", sides), side("after", "now", "ins", sides)));
  const rest = list.length - SHOWN;
  return h("ul", { class: "changes" }, rows, rest > 0 ? h("li", { class: "faint" }, `and ${plural(rest, "more change")}`) : null);
}

function side(name, word, tag, sides) {
  if (!(name in sides)) return null;
  const text = JSON.stringify(sides[name]);
  return h(tag, {}, h("span", { class: "sr-only" }, `${word} `), text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text);
}

/** {node, read() -> {value} or {fault}, text, focus(), showFault(text)}; text: what to begin with, else `args`. */
export function argumentsEditor(args, { text = null, label = "Arguments", onInput = () => {}, compare = true } = {}) {
  const id = `args-${Math.random().toString(36).slice(2, 8)}`;
  const area = h("textarea", { id, class: "mono", rows: "10", spellcheck: "false", autocapitalize: "off", autocomplete: "off", "aria-describedby": `${id}-fault` });
  area.value = text ?? (args === undefined ? "" : JSON.stringify(args, null, 2));
  const fault = h("p", { class: "error", id: `${id}-fault`, hidden: true });
  const diff = h("div", { class: "diff", role: "group", "aria-label": "What you change" });
  const read = () => {
    try {
      return { value: JSON.parse(area.value) };
    } catch (error) {
      return { fault: area.value.trim() ? `This is not JSON: ${error.message}.` : "Nothing is there yet." };
    }
  };
  const showFault = (said) => {
    fault.hidden = !said;
    fault.textContent = said;
    area.toggleAttribute("aria-invalid", Boolean(said));
    if (said) area.setAttribute("aria-invalid", "true");
  };
  const paint = () => {
    const said = read();
    showFault(said.fault ?? "");
    if (compare) diff.replaceChildren(...("value" in said ? difference(args, said.value) : []));
  };
  const later = painter(paint, 150);
  area.addEventListener("input", () => (later(), onInput()));
  if (compare) paint();
  const node = h("div", { class: "field wide" }, h("label", { for: id }, label), area, fault, compare ? diff : null);
  return { node, read, showFault, focus: () => area.focus(), get text() { return area.value; } };
}

function difference(args, value) {
  const list = changes(args, value);
  return [h("p", { class: "small muted row" }, icon("edit"), list.length ? plural(list.length, "change") : "Nothing is changed yet."), list.length ? changesView(list) : ""];
}
