// The order of the rows: tasks by position, sub-tasks under their parent.

const byPosition = (a, b) => (a.position ?? 0) - (b.position ?? 0) || (a.created_at < b.created_at ? -1 : 1);

function childrenByParent(tasks) {
  const children = new Map();
  for (const task of tasks.values()) {
    const parent = tasks.has(task.parent_task_id) ? task.parent_task_id : null;
    if (!children.has(parent)) children.set(parent, []);
    children.get(parent).push(task);
  }
  for (const list of children.values()) list.sort(byPosition);
  return children;
}

/** Tasks of one state in the same order, all at the top level; "stalled" goes before the state it stands in. */
export function rowsOfState(tasks, state) {
  return [...tasks.values()].filter((task) => shownState(task) === state).sort(byPosition).map((task) => ({ task, depth: 0, children: 0 }));
}

/** What a task's icon and word say. */
export const shownState = (task) => (task.stalled ? "stalled" : task.state);

/** tasks: Map id -> task; folded: Set of ids -> [{task, depth, children (count)}], those to show, in order. */
export function rowsOf(tasks, folded) {
  const children = childrenByParent(tasks);
  const rows = [];
  const seen = new Set();
  // A stack instead of recursion: chains of delegation may be deep, and a loop in the data must not hang the page.
  const stack = (children.get(null) ?? []).map((task) => ({ task, depth: 0 })).reverse();
  while (stack.length) {
    const { task, depth } = stack.pop();
    if (seen.has(task.task_id)) continue;
    seen.add(task.task_id);
    const below = children.get(task.task_id) ?? [];
    rows.push({ task, depth, children: below.length });
    if (!folded.has(task.task_id)) stack.push(...below.map((child) => ({ task: child, depth: depth + 1 })).reverse());
  }
  return rows;
}
