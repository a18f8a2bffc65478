// What every page has: the elements, the theme button, menus that close, the keyboard help, the connection badge.

import "./elements/connection-badge.js";
import "./elements/copy-button.js";
import "./elements/json-viewer.js";
import "./elements/live-duration.js";
import "./elements/rel-time.js";
import { setIcon, setText } from "./lib/dom.js";

const THEMES = ["auto", "light", "dark"];
const isTyping = (target) => target.closest?.("input:not([type=radio], [type=checkbox]), textarea, select, [contenteditable]");

function bindTheme() {
  const button = document.getElementById("theme");
  if (!button) return;
  const show = (theme) => {
    setIcon(button.querySelector("svg"), `theme-${theme}`);
    setText(button.querySelector(".word"), `Theme: ${theme === "auto" ? "system" : theme}`);
  };
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(window.soormaTheme.get()) + 1) % THEMES.length];
    window.soormaTheme.set(next);
    show(next);
  });
  show(window.soormaTheme.get());
}

function bindMenus() {
  const close = (except) => document.querySelectorAll("details.menu[open]").forEach((menu) => menu !== except && (menu.open = false));
  document.addEventListener("click", (event) => close(event.target.closest("details.menu")));
  document.addEventListener("keydown", (event) => {
    const menu = event.key === "Escape" && document.activeElement?.closest("details.menu[open]");
    if (!menu) return;
    menu.open = false;
    menu.querySelector("summary").focus();
  });
}

function bindKeys() {
  const help = document.getElementById("help");
  document.querySelectorAll("[data-opens]").forEach((button) => button.addEventListener("click", () => document.getElementById(button.dataset.opens).showModal()));
  document.querySelectorAll("dialog [data-closes]").forEach((button) => button.addEventListener("click", () => button.closest("dialog").close()));
  document.querySelectorAll("dialog").forEach((dialog) => dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target) || document.querySelector("dialog[open]")) return;
    if (event.key === "?" && help) help.showModal();
    else if (event.key === "/") document.querySelector("[data-focus-key]")?.focus();
    else return;
    event.preventDefault();
  });
}

bindTheme();
bindMenus();
bindKeys();
