// A row of the log in words: what happened, to whom, by whom.

import { words } from "./words.js";

const MESSAGE_ICONS = { "action-requests": "request", "action-results": "result" };

/** "agent:parts-worker" -> "parts-worker"; other actors as they are. */
export const actor = (by) => (by ?? "").replace(/^agent:/, "");

// {current_state: "scheduling"} -> "Current state: scheduling"; the first few, and only what fits a line.
function changed(row) {
  const short = Object.entries(row.data ?? {}).filter(([, value]) => ["string", "number", "boolean"].includes(typeof value) && value !== "");
  return short.slice(0, 3).map(([name, value]) => `${words(name)}: ${value}`).join(" · ");
}

function what(row) {
  if (row.kind === "message") return row.type;
  if (row.kind === "transition") return row.from_state ? `${words(row.from_state)} → ${words(row.to_state)}` : `Created, ${words(row.to_state).toLowerCase()}`;
  const { progress, message } = row.data ?? {};
  const share = typeof progress === "number" ? `${Math.round(progress * 100)}%` : "";
  if (row.type === "task.stalled") return `Stalled: ${row.reason}`;
  if (row.type === "task.alive") return `No longer stalled: ${row.reason}`;
  if (row.type === "plan.entered" && row.data?.entered) return [`Enters ${row.data.entered}`, row.reason].filter(Boolean).join(" · ");
  return [share, message ?? row.reason].filter(Boolean).join(" · ") || changed(row) || words((row.type ?? "note").replaceAll(".", " "));
}

function who(row) {
  if (row.kind === "message") return row.topic ? `${row.source} → ${row.topic}` : row.source ?? "";
  return row.reason && row.kind === "transition" ? `${actor(row.by)} · ${row.reason}` : actor(row.by);
}

const iconOf = (row) => {
  if (row.refused) return "refused";
  if (row.kind === "message") return MESSAGE_ICONS[row.topic] ?? "message";
  if (row.type === "task.stalled") return "stalled";
  return row.kind === "transition" ? row.to_state : "note";
};

/** {icon, state, subject, what, who} of a log row; subject is the task's name, or "Plan". */
export function describe(row, tasks) {
  return {
    icon: iconOf(row),
    state: row.refused ? "failed" : row.kind === "transition" ? row.to_state : row.type === "task.stalled" ? "stalled" : "",
    subject: row.task_id ? tasks.get(row.task_id)?.name ?? row.task_id : "Plan",
    what: what(row),
    who: who(row),
  };
}

/** Everything of a row that a text filter looks through, in lower case. */
export function haystack(row, tasks) {
  const { subject, what: text, who: by } = describe(row, tasks);
  return [subject, text, by, row.type, row.task_id, row.event_id, row.correlation_id, row.reason, row.refused ? "refused" : "", row.inferred ? "inferred" : ""].join(" ").toLowerCase();
}
