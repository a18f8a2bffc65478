// What a person answers with: a form from the request's JSON Schema, raw JSON where the schema is beyond one, a choice of
// the request's options, or plain text.

import { h } from "../lib/dom.js";
import { argumentsEditor } from "./arguments-editor.js";
import { schemaForm } from "./schema-form.js";

let made = 0;

/** An option in a word or two: a text as it is, of an object its label, title or name. */
export function optionLabel(option) {
  if (typeof option === "string") return option;
  const named = option !== null && typeof option === "object" && ["label", "title", "name"].map((key) => option[key]).find((value) => typeof value === "string" && value);
  return named || JSON.stringify(option);
}

/** {node, read() -> {value, errors: [{pointer, detail}]}, show(errors) -> those without a place, focus()} */
export function answerForm({ response_schema: schema, options }) {
  if (schema) return schemaForm(schema) ?? rawForm(schema);
  return options?.length ? optionsForm(options) : textForm();
}

function rawForm(schema) {
  const editor = argumentsEditor(undefined, { label: "Answer, as JSON", compare: false });
  const viewer = h("json-viewer", { label: "What is asked for (JSON Schema)" });
  viewer.value = schema;
  const read = () => {
    const said = editor.read();
    editor.showFault(said.fault ?? "");
    return { value: said.value, errors: said.fault ? [{ pointer: "", detail: said.fault }] : [] };
  };
  const show = (errors) => (editor.showFault(errors.map(({ pointer, detail }) => `${pointer ? `${pointer}: ` : ""}${detail}`).join(" ")), []);
  return { node: h("div", { class: "stack tight" }, editor.node, viewer), read, show, focus: editor.focus };
}

function optionsForm(options) {
  const name = `option-${(made += 1)}`;
  const inputs = options.map((_, index) => h("input", { type: "radio", name, value: String(index) }));
  const error = h("p", { class: "error", hidden: true });
  const ticks = options.map((option, index) => h("label", { class: "tick" }, inputs[index], h("span", {}, optionLabel(option))));
  const index = () => inputs.findIndex((input) => input.checked);
  const node = h("fieldset", { class: "field wide" }, h("legend", {}, "Choose one"), ticks, error);
  return plainForm(node, error, () => inputs[Math.max(0, index())].focus(), () => options[index()], () => index() >= 0, "Choose one.");
}

function textForm() {
  const id = `answer-${(made += 1)}`;
  const area = h("textarea", { id, rows: "3" });
  const error = h("p", { class: "error", hidden: true });
  const node = h("div", { class: "field wide" }, h("label", { for: id }, "Answer"), area, error);
  return plainForm(node, error, () => area.focus(), () => area.value, () => area.value.trim(), "Nothing is written yet.");
}

// One value with one place for what is wrong with it.
function plainForm(node, error, focus, value, isThere, missing) {
  const show = (errors) => {
    error.hidden = !errors.length;
    error.textContent = errors[0]?.detail ?? "";
    return [];
  };
  const read = () => {
    const errors = isThere() ? [] : [{ pointer: "", detail: missing }];
    show(errors);
    return { value: value(), errors };
  };
  return { node, read, show, focus };
}
