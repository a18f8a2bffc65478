// A form from a JSON Schema: text, numbers, yes or no, a choice, lists of these, objects inside objects. What is beyond
// that is left to raw JSON. The schema is a stranger's: nothing of it is taken for granted, all of it goes in as text.

import { h, icon } from "../lib/dom.js";

const BEYOND = ["$ref", "$dynamicRef", "oneOf", "anyOf", "allOf", "not", "if", "patternProperties", "dependentSchemas", "dependentRequired", "prefixItems", "contains", "propertyNames", "minProperties", "const"];
const DEEPEST = 4;
const MOST = 60; // fields
const FEW = 5; // choices that are all shown
const LONG_TEXT = 200; // characters from which a field has lines

const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
const text = (value) => (typeof value === "string" ? value : "");
const shown = (value) => (typeof value === "string" ? value : JSON.stringify(value));
const escape = (key) => String(key).replaceAll("~", "~0").replaceAll("/", "~1");
let made = 0;

class Beyond extends Error {}

/**
 * schemaForm(schema, {value}) -> {node, read(), show(errors), focus()} or null when the schema is beyond a form.
 * read() -> {value, errors: [{pointer, detail}]}; the value is right only without errors. show() puts errors at their fields.
 */
export function schemaForm(schema, { value } = {}) {
  try {
    const control = controlOf(schema, { name: "", required: true, value, depth: 0, budget: { left: MOST } });
    return { node: control.node, read: () => read(control), show: (errors) => show(control, errors), focus: () => control.node.querySelector("input, select, textarea")?.focus() };
  } catch (error) {
    if (error instanceof Beyond) return null;
    throw error;
  }
}

function read(control) {
  const errors = [];
  const value = control.read("", errors);
  show(control, errors);
  return { value, errors };
}

/** Errors that no field takes are given back. */
function show(control, errors) {
  control.clear();
  return errors.filter((error) => !control.take(error.pointer, error.detail));
}

function controlOf(schema, place) {
  if (!isObject(schema) || BEYOND.some((word) => word in schema) || place.depth > DEEPEST || (place.budget.left -= 1) < 0) throw new Beyond();
  const begin = { ...place, value: place.value === undefined ? schema.default : place.value };
  if ("enum" in schema) return choice(schema, begin);
  const make = KINDS[typeOf(schema)];
  if (!make) throw new Beyond();
  return make(schema, begin);
}

// "string", or ["string", "null"], which is a string that may be left out.
function typeOf(schema) {
  const types = Array.isArray(schema.type) ? schema.type.filter((type) => type !== "null") : [schema.type ?? (isObject(schema.properties) ? "object" : null)];
  return types.length === 1 ? types[0] : null;
}

const label = (schema, { name, required }) => [text(schema.title) || name || "Answer", required ? null : h("span", { class: "faint" }, " (optional)")];
const hint = (schema, id) => (text(schema.description) ? h("p", { class: "hint", id: `${id}-hint` }, schema.description) : null);

/** What all fields with one input have: its error below it, told to screen readers. */
function field(schema, place, input, value) {
  const id = `schema-${(made += 1)}`;
  const error = h("p", { class: "error", id: `${id}-error`, hidden: true });
  input.id = id;
  input.setAttribute("aria-describedby", [text(schema.description) ? `${id}-hint` : "", error.id].filter(Boolean).join(" "));
  if (place.required) input.setAttribute("aria-required", "true");
  const node = h("div", { class: "field" }, h("label", { for: id }, label(schema, place)), hint(schema, id), input, error);
  return { node, read: value, ...complaints(error, input) };
}

function complaints(error, ...inputs) {
  return {
    clear: () => {
      error.hidden = true;
      inputs.forEach((input) => input.removeAttribute("aria-invalid"));
    },
    take: (pointer, detail) => {
      error.textContent = detail;
      error.hidden = false;
      inputs.forEach((input) => input.setAttribute("aria-invalid", "true"));
      return true;
    },
  };
}

const complain = (errors, pointer, detail) => void errors.push({ pointer, detail });

function string(schema, place) {
  const longest = Number.isInteger(schema.maxLength) ? schema.maxLength : null;
  const begin = place.value === undefined || place.value === null ? "" : shown(place.value);
  const lines = longest === null ? /multiline|markdown|textarea/.test(text(schema.format)) || begin.includes("\n") : longest > LONG_TEXT;
  const type = { email: "email", uri: "url", date: "date", time: "time" }[text(schema.format)] ?? "text";
  const input = lines ? h("textarea", { rows: "4" }) : h("input", { type, autocomplete: "off" });
  input.value = begin;
  return field(schema, place, input, (pointer, errors) => {
    const value = input.value;
    if (!value) return place.required ? complain(errors, pointer, "This is needed.") : undefined;
    if (longest !== null && [...value].length > longest) return complain(errors, pointer, `At most ${longest} characters.`);
    if (Number.isInteger(schema.minLength) && [...value].length < schema.minLength) return complain(errors, pointer, `At least ${schema.minLength} characters.`);
    return value;
  });
}

function number(schema, place) {
  const whole = typeOf(schema) === "integer";
  const input = h("input", { type: "text", inputmode: whole ? "numeric" : "decimal", autocomplete: "off" });
  input.value = typeof place.value === "number" ? String(place.value) : "";
  return field(schema, place, input, (pointer, errors) => {
    const said = input.value.trim();
    if (!said) return place.required ? complain(errors, pointer, "This is needed.") : undefined;
    const value = Number(said);
    const fault = numberFault(value, schema, whole);
    return fault ? complain(errors, pointer, fault) : value;
  });
}

function numberFault(value, { minimum, maximum, exclusiveMinimum, exclusiveMaximum }, whole) {
  if (!Number.isFinite(value)) return "This is not a number.";
  if (whole && !Number.isInteger(value)) return "A whole number, please.";
  if (whole && !Number.isSafeInteger(value)) return "A number this large is not exact here.";
  if (typeof minimum === "number" && value < minimum) return `At least ${minimum}.`;
  if (typeof maximum === "number" && value > maximum) return `At most ${maximum}.`;
  if (typeof exclusiveMinimum === "number" && value <= exclusiveMinimum) return `More than ${exclusiveMinimum}.`;
  if (typeof exclusiveMaximum === "number" && value >= exclusiveMaximum) return `Less than ${exclusiveMaximum}.`;
  return "";
}

function boolean(schema, place) {
  const id = `schema-${(made += 1)}`;
  const input = h("input", { type: "checkbox", id });
  input.checked = place.value === true;
  const error = h("p", { class: "error", hidden: true });
  const node = h("div", { class: "field" }, h("label", { class: "tick", for: id }, input, h("span", {}, text(schema.title) || place.name || "Yes")), hint(schema, id), error);
  return { node, read: () => input.checked, ...complaints(error, input) };
}

function choice(schema, place) {
  const values = schema.enum;
  if (!Array.isArray(values) || !values.length || values.length > 1000 || values.some((value) => value !== null && typeof value === "object")) throw new Beyond();
  return values.length <= FEW && place.required ? radios(schema, place, values) : select(schema, place, values);
}

function radios(schema, place, values) {
  const name = `schema-${(made += 1)}`;
  const inputs = values.map((value, index) => {
    const input = h("input", { type: "radio", name, value: String(index) });
    input.checked = value === place.value;
    return input;
  });
  const error = h("p", { class: "error", hidden: true });
  const ticks = values.map((value, index) => h("label", { class: "tick" }, inputs[index], h("span", {}, shown(value))));
  const node = h("fieldset", { class: "field" }, h("legend", {}, label(schema, place)), hint(schema, name), ticks, error);
  const chosen = (pointer, errors) => {
    const index = inputs.findIndex((input) => input.checked);
    return index < 0 ? complain(errors, pointer, "Choose one.") : values[index];
  };
  return { node, read: chosen, ...complaints(error, ...inputs) };
}

function select(schema, place, values) {
  const input = h("select", {}, h("option", { value: "" }, "–"), values.map((value, index) => h("option", { value: String(index) }, shown(value))));
  const begin = values.indexOf(place.value);
  input.value = begin < 0 ? "" : String(begin);
  return field(schema, place, input, (pointer, errors) => {
    if (input.value === "") return place.required ? complain(errors, pointer, "Choose one.") : undefined;
    return values[Number(input.value)];
  });
}

function list(schema, place) {
  const items = schema.items;
  if (!isObject(items) || ["object", "array"].includes(typeOf(items))) throw new Beyond();
  const begin = Array.isArray(place.value) ? place.value : [];
  const rows = [];
  const body = h("div", { class: "schema-list" });
  const error = h("p", { class: "error", hidden: true });
  const noun = text(schema.title) || place.name || "list";
  const add = (value) => {
    const control = controlOf(items, { name: `${noun} ${rows.length + 1}`, required: true, value, depth: place.depth + 1, budget: { left: 1 } });
    const remove = h("button", { type: "button", class: "button quiet icon-only small", "aria-label": `Remove from ${noun}`, onclick: () => (rows.splice(rows.indexOf(row), 1), row.node.remove(), more.focus()) }, icon("x"));
    const row = { control, node: h("div", { class: "schema-item" }, control.node, remove) };
    rows.push(row);
    body.append(row.node);
    return control;
  };
  const more = h("button", { type: "button", class: "button small", onclick: () => add(undefined).node.querySelector("input, select, textarea").focus() }, icon("plus"), "Add");
  controlOf(items, { name: "", required: true, value: undefined, depth: place.depth + 1, budget: { left: 1 } }); // beyond a form: known now, not at the first row
  (begin.length ? begin : Array.from({ length: Math.min(Number.isInteger(schema.minItems) ? schema.minItems : 0, 20) })).forEach(add);
  const node = h("fieldset", { class: "field" }, h("legend", {}, label(schema, place)), hint(schema, `schema-${(made += 1)}`), body, error, h("div", {}, more));
  const own = complaints(error);
  return {
    node,
    read: (pointer, errors) => {
      const values = rows.map((row, index) => row.control.read(`${pointer}/${index}`, errors));
      const fault = listFault(values, schema, place);
      if (fault) complain(errors, pointer, fault);
      return values.length || place.required ? values : undefined;
    },
    clear: () => (own.clear(), rows.forEach((row) => row.control.clear())),
    take: (pointer, detail) => {
      const [, index, rest] = /^\/(\d+)(.*)$/.exec(pointer) ?? [];
      return rows[index] ? rows[index].control.take(rest, detail) : own.take(pointer, detail);
    },
  };
}

function listFault(values, { minItems, maxItems, uniqueItems }, { required }) {
  if (!values.length && !required) return "";
  if (Number.isInteger(minItems) && values.length < minItems) return `At least ${minItems}.`;
  if (Number.isInteger(maxItems) && values.length > maxItems) return `At most ${maxItems}.`;
  return uniqueItems === true && new Set(values).size < values.length ? "Each only once." : "";
}

function object(schema, place) {
  if (!isObject(schema.properties ?? {}) || isObject(schema.additionalProperties)) throw new Beyond();
  const needed = new Set(Array.isArray(schema.required) ? schema.required : []);
  const entries = Object.entries(schema.properties ?? {});
  if (!entries.length) throw new Beyond();
  const begin = isObject(place.value) ? place.value : {};
  const controls = entries.map(([name, inner]) => [
    name,
    controlOf(inner, { name, required: needed.has(name), value: Object.hasOwn(begin, name) ? begin[name] : undefined, depth: place.depth + 1, budget: place.budget }),
  ]);
  const error = h("p", { class: "error", hidden: true });
  const own = complaints(error);
  const heading = place.depth || text(schema.title) ? h("legend", {}, place.depth ? label(schema, place) : schema.title) : null;
  const node = h("fieldset", { class: place.depth ? "schema-group" : "schema-form" }, heading, hint(schema, `schema-${(made += 1)}`), controls.map(([, control]) => control.node), error);
  return {
    node,
    read: (pointer, errors) => {
      const said = [];
      const inside = [];
      for (const [name, control] of controls) {
        const value = control.read(`${pointer}/${escape(name)}`, inside);
        if (value !== undefined) said.push([name, value]);
      }
      // A group that may be left out, and in which nothing was said, is left out.
      const empty = place.depth > 0 && !place.required && said.every(([, value]) => value === false);
      if (empty) return undefined;
      errors.push(...inside);
      return Object.fromEntries(said);
    },
    clear: () => (own.clear(), controls.forEach(([, control]) => control.clear())),
    take: (pointer, detail) => {
      const found = controls.find(([name]) => pointer === `/${escape(name)}` || pointer.startsWith(`/${escape(name)}/`));
      return found ? found[1].take(pointer.slice(escape(found[0]).length + 1), detail) : own.take(pointer, detail);
    },
  };
}

const KINDS = { string, number, integer: number, boolean, array: list, object };
