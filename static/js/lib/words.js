// Names of states on the wire -> words on the page.

export const TERMINAL = new Set(["completed", "failed", "cancelled"]);

/** "awaiting_approval" -> "Awaiting approval" */
export function words(state) {
  const text = String(state).replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** plural(3, "task") -> "3 tasks" */
export const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
