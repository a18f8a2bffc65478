// One clock for everything on the page that counts: a callback a second, none while the page is hidden.

import { now } from "./time.js";

const listeners = new Set();
let timer = null;

/** Call `listener` about once a second until the returned function is called. */
export function everySecond(listener) {
  listeners.add(listener);
  start();
  return () => {
    listeners.delete(listener);
    if (!listeners.size) stop();
  };
}

const tick = () => listeners.forEach((listener) => listener(now()));

function start() {
  if (timer === null && listeners.size && !document.hidden) timer = setInterval(tick, 1000);
}

function stop() {
  clearInterval(timer);
  timer = null;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) return stop();
  tick();
  start();
});
