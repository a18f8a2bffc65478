// The state of one plan on this page: a snapshot, then rows of its log applied in order of seq. No DOM, no network.

import { momentOf, toMs } from "./lib/time.js";
import { TERMINAL } from "./lib/words.js";

const KEPT = 4_000; // rows of the log
const SLACK = 1_000; // rows beyond that, so that forgetting is seldom
const TASK_FIELDS = [
  "name", "event_type", "parent_task_id", "position", "attempt", "agent", "agent_id", "progress", "message", "stalled", "stalled_reason", "stalled_at", "error", "started_at", "ended_at",
];

export class PlanStore {
  constructor() {
    this.plan = {};
    this.tasks = new Map();
    this.rows = new Map();
    this.seq = 0;
    // Grows when tasks come or move: whoever keeps an order of them looks at this.
    this.structure = 0;
  }

  /** {plan, tasks, log} as it was at seq, which from now on belong to the store; rows known from before stay known. */
  applySnapshot(data, seq = data.plan.seq) {
    this.plan = { ...data.plan };
    this.tasks = new Map(data.tasks.map((task) => [task.task_id, task]));
    // A log that was set back (a restored backup) has forgotten what came after.
    for (const known of this.rows.keys()) if (known > seq) this.rows.delete(known);
    this.remember(data.log);
    this.seq = seq;
    this.structure += 1;
  }

  /** Rows in order; those already applied are kept for reading but change nothing. */
  applyRows(rows) {
    for (const row of rows) {
      this.rows.set(row.seq, row);
      if (row.seq <= this.seq) continue;
      this.seq = row.seq;
      this.plan.seq = row.seq;
      this.plan.updated_at = row.recorded_at;
      this.#apply(row);
    }
  }

  /** Rows read for display alone (older pages of the log). */
  remember(rows) {
    for (const row of rows) this.rows.set(row.seq, row);
  }

  /** Forget old rows of the log but those from first to last; they can be read again. A page may be open for days. */
  forget(first, last) {
    if (this.rows.size <= KEPT + SLACK) return;
    for (const seq of this.rows.keys()) if (seq <= this.seq - KEPT && (seq < first || seq > last)) this.rows.delete(seq);
  }

  /** {total, completed, failed, cancelled, open, stalled} of the tasks. */
  counts() {
    const counts = { total: this.tasks.size, completed: 0, failed: 0, cancelled: 0, open: 0, stalled: 0 };
    for (const task of this.tasks.values()) {
      counts[TERMINAL.has(task.state) ? task.state : "open"] += 1;
      if (task.stalled) counts.stalled += 1;
    }
    return counts;
  }

  #apply(row) {
    if (row.refused || row.kind === "message") return;
    if (row.task_id) this.#applyToTask(row);
    else this.#applyToPlan(row);
  }

  #applyToPlan(row) {
    const data = row.data ?? {};
    if (row.kind === "transition" && row.to_state) {
      this.plan.state = row.to_state;
      this.plan.version = row.version ?? this.plan.version;
      if (row.to_state === "in_progress") this.plan.started_at ??= row.recorded_at;
      this.plan.completed_at = TERMINAL.has(row.to_state) ? row.recorded_at : null;
    }
    for (const [field, value] of Object.entries(data)) if (field in this.plan) this.plan[field] = value;
  }

  #applyToTask(row) {
    const data = row.data ?? {};
    const task = this.tasks.get(row.task_id) ?? this.#create(row);
    if ("parent_task_id" in data && data.parent_task_id !== task.parent_task_id) this.structure += 1;
    if (row.kind === "transition" && row.to_state) this.#move(task, row);
    for (const field of TASK_FIELDS) if (field in data) task[field] = data[field];
  }

  #create(row) {
    const task = {
      task_id: row.task_id, name: row.task_id, event_type: null, state: "pending", version: 0, attempt: 1, agent: null, parent_task_id: null,
      progress: null, message: null, stalled: false, stalled_reason: null, stalled_at: null, error: null, position: this.tasks.size, created_at: row.recorded_at, started_at: null,
      ended_at: null, spans: [],
    };
    this.tasks.set(row.task_id, task);
    this.structure += 1;
    return task;
  }

  #move(task, row) {
    // By the server's clock, since senders' clocks differ; but a move reported for an earlier time of its own is at that time.
    const at = momentOf(row);
    task.state = row.to_state;
    task.version = row.version ?? task.version;
    Object.assign(task, { stalled: false, stalled_reason: null, stalled_at: null });
    const before = task.spans.at(-1)?.[1] ?? 0;
    task.spans.push([row.to_state, Math.max(toMs(at), before)]); // time on the bar does not run backwards
    if (row.to_state === "running") task.started_at ??= at;
    task.ended_at = TERMINAL.has(row.to_state) ? at : null;
    if (row.to_state === "pending" && row.from_state) Object.assign(task, { error: null, progress: null, message: null, started_at: null });
  }
}
