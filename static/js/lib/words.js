// Names of states on the wire -> words on the page.

export const TERMINAL = new Set(["completed", "failed", "cancelled"]);

/** "awaiting_approval" -> "Awaiting approval" */
export function words(state) {
  const text = String(state).replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

const STALLS = {
  disconnected: "the connection of its agent was lost",
  restarted: "its agent was started anew and knows nothing of it",
  silent: "nothing is heard of its agent",
  "no-progress": "no progress in the time that it has",
};

/** Why a task has stalled, as the end of a sentence. */
export const whyStalled = ({ stalled_reason: reason }) => STALLS[reason] ?? reason ?? "";

/** plural(3, "task") -> "3 tasks" */
export const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
