// Making nodes. Text always goes in as text: nothing here parses markup.

import { words } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";

/** h("p", {class: "muted", onclick: f, dataset: {state: "failed"}}, "text", node, null) -> element */
export function h(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(node.dataset, value);
    else if (name in node && typeof value === "boolean") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** An icon of the sprite that base.html carries. */
export function icon(name, className = "icon") {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", className);
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

export function setIcon(svg, name) {
  const use = svg.firstElementChild;
  if (use.getAttribute("href") !== `#i-${name}`) use.setAttribute("href", `#i-${name}`);
}

/** Icon and word of a state, as templates/tracker/_state.html. */
export function stateBadge(state, className = "state") {
  return h("span", { class: className, dataset: { state } }, icon(state), h("span", { class: "word" }, words(state)));
}

export function setStateBadge(badge, state) {
  if (badge.dataset.state === state) return;
  badge.dataset.state = state;
  setIcon(badge.querySelector("svg"), state);
  setText(badge.querySelector(".word"), words(state));
}

/** Writes only what changed, so that a selection in the text survives. */
export function setText(node, text) {
  if (node.textContent !== String(text)) node.textContent = text;
}

/** The JSON that Django's json_script left in the page; null when there is none. */
export function embedded(id) {
  const node = document.getElementById(id);
  return node ? JSON.parse(node.textContent) : null;
}
