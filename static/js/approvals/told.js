// What the lists and cards say about an approval: words, icons, order. No DOM, no network.

import { plural } from "../lib/words.js";

/** "user:alice", "agent:fleet-planner" -> "alice", "fleet-planner" */
export const person = (by) => (by ?? "").replace(/^(user|agent):/, "");

const DECIDED = {
  approve: ["completed", "completed", "Approved"],
  edit: ["completed", "completed", "Approved with changes"],
  respond: ["completed", "completed", "Answered"],
  reject: ["failed", "failed", "Rejected"],
};
const OTHER = {
  pending: ["awaiting_approval", "awaiting_approval", "Waits for a decision"],
  expired: ["stalled", "deadline", "Expired"],
  withdrawn: ["cancelled", "cancelled", "Withdrawn"],
};
const RISKS = { low: ["pending", "risk-low", "Low risk"], medium: ["waiting", "risk-medium", "Medium risk"], high: ["failed", "risk-high", "High risk"] };
const named = ([state, icon, word]) => ({ state, icon, word });

/** How it stands: {state: of the colour, icon, word}. */
export const standing = ({ state, decision }) => named(state === "decided" ? DECIDED[decision] ?? DECIDED.approve : OTHER[state] ?? OTHER.pending);

/** Its risk: {state: of the colour, icon, word}. */
export const risk = (approval) => named(RISKS[approval.risk] ?? RISKS.medium);

/** "Approved by alice", "Expired: rejected", "Withdrawn by fleet-planner" */
export function ended({ state, decision, decided_by: by }) {
  if (state === "expired") return decision === "approve" ? "Expired, and approved by that" : "Expired, and rejected by that";
  const { word } = standing({ state, decision });
  return by ? `${word} by ${person(by)}` : word;
}

/** What happens when nobody decides in time. */
export function atDeadline({ on_expiry: then, escalate_to: next, assignees }) {
  if (then === "approve") return "it counts as approved";
  if (then === "escalate" && next?.length) return assignees.length ? `${next[0]} is asked as well` : `${next[0]} alone is asked`;
  return "it counts as rejected";
}

/** "1 of 2 approvals" and what a rejection needs, or "" when one vote settles it. */
export function quorum({ quorum: needed, reject_quorum: against, votes }) {
  if (needed < 2 && against < 2) return "";
  const no = votes.filter((vote) => vote.decision === "reject").length;
  return [`${votes.length - no} of ${plural(needed, "approval")}`, against > 1 || no ? `${no} of ${plural(against, "rejection")}` : ""].filter(Boolean).join(", ");
}

/** Whether this person is asked: by name, or as anybody who may decide. */
export const asked = (approval, me) => !approval.assignees.length || byName(approval, me);
const byName = (approval, me) => approval.assignees.includes(person(me));

/** The vote of this person, if there is one. */
export const voteOf = (approval, me) => approval.votes.find((vote) => vote.by === me);

/** Whether it waits for this person. */
export const waitsFor = (approval, me) => approval.state === "pending" && asked(approval, me) && !voteOf(approval, me);

// Whose: named; named or anybody's; everybody's.
const WHOSE = { mine: byName, workspace: asked, all: () => true };
export const belongs = (approval, whose, me) => (WHOSE[whose] ?? asked)(approval, me);

const RANK = { high: 0, medium: 1, low: 2 };
const byText = (one, other) => (one < other ? -1 : one > other ? 1 : 0);

/** For sort(): the nearest deadline first, then the highest risk, then the oldest. */
export function urgency(one, other) {
  if (one.expires_at !== other.expires_at) return one.expires_at && other.expires_at ? byText(one.expires_at, other.expires_at) : one.expires_at ? -1 : 1;
  return RANK[one.risk] - RANK[other.risk] || byText(one.requested_at, other.requested_at) || byText(one.id, other.id);
}
