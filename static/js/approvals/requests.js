// What the page says to the server about approvals, and the answer in words.

import { clock, toMs } from "../lib/time.js";
import { person, standing } from "./told.js";

const path = (id) => `/v1/approvals/${encodeURIComponent(id)}`;

/** The card of an approval, as the page's server makes it; throws the problem. */
export const readCard = (id) => ask(`/approvals/${encodeURIComponent(id)}/card`);

/** One page of those that are over: {items, next_cursor}. */
export function readEnded({ state, assignee, cursor }) {
  const query = new URLSearchParams({ state, limit: 50 });
  if (assignee) query.set("assignee", assignee);
  if (cursor) query.set("cursor", cursor);
  return ask(`/v1/approvals?${query}`);
}

/** decision: {decision, comment?, payload?}; the approval as it stands after it, or the problem thrown. */
export const decide = (id, decision) => ask(`${path(id)}/decision`, "POST", decision);

/** Take one's vote back. */
export const takeBack = (id) => ask(`${path(id)}/vote`, "DELETE");

async function ask(url, method = "GET", body = undefined) {
  const token = /(?:^|; )csrftoken=([^;]*)/.exec(document.cookie)?.[1] ?? "";
  const headers = { Accept: "application/json", ...(body ? { "Content-Type": "application/json" } : {}), ...(method === "GET" ? {} : { "X-CSRFToken": token }) };
  let answer;
  try {
    answer = await fetch(url, { method, headers, body: body && JSON.stringify(body) });
  } catch {
    throw { status: 0, code: "away", detail: "the server did not answer" };
  }
  const said = answer.status === 204 ? null : await answer.json().catch(() => null);
  if (!answer.ok) throw { status: answer.status, ...(said ?? { detail: "the server refused" }) };
  return said;
}

/** Whether a problem says that it is over. */
export const isOver = (problem) => ["already-decided", "expired", "withdrawn"].includes(problem.code);

/** A problem as the end of a sentence. */
export function why(problem) {
  if (problem.status === 401) return "you are signed out";
  if (isOver(problem) && problem.decided_at) return tooLate(problem);
  return (problem.detail ?? "the server refused").replace(/\.$/, "");
}

// Who was faster, and when.
function tooLate({ state, decision, decided_by: by, decided_at: at }) {
  const word = standing({ state, decision }).word.toLowerCase();
  const when = `at ${clock(toMs(at))}`;
  if (state === "decided") return `${person(by)} was faster, it was ${word} ${when}`;
  return state === "withdrawn" ? `it was withdrawn ${when}` : `it expired ${when}`;
}
