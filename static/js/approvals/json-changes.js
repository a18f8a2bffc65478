// What differs between two JSON values, by path.

const isBranch = (value) => value !== null && typeof value === "object";
const kindOf = (value) => (Array.isArray(value) ? "array" : typeof value);
const alike = (one, other) => one === other || (isBranch(one) && isBranch(other) && JSON.stringify(one) === JSON.stringify(other));
const step = (path, key) => (/^[A-Za-z_][\w-]*$/.test(key) ? (path ? `${path}.${key}` : key) : `${path}[${JSON.stringify(key)}]`);

/** [{path, before?, after?}], in the order of the value; a member that is only in one has only that side. */
export function changes(before, after, path = "") {
  if (!isBranch(before) || !isBranch(after) || kindOf(before) !== kindOf(after)) return Object.is(before, after) ? [] : [{ path, before, after }];
  return Array.isArray(before) ? ofArrays(before, after, path) : ofObjects(before, after, path);
}

function ofObjects(before, after, path) {
  const found = [];
  for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) {
    const here = step(path, key);
    if (!Object.hasOwn(after, key)) found.push({ path: here, before: before[key] });
    else if (!Object.hasOwn(before, key)) found.push({ path: here, after: after[key] });
    else found.push(...changes(before[key], after[key], here));
  }
  return found;
}

// What is the same at both ends stays; between them, place by place when there are as many, else out and in.
function ofArrays(before, after, path) {
  let start = 0;
  while (start < Math.min(before.length, after.length) && alike(before[start], after[start])) start += 1;
  let end = 0;
  while (end < Math.min(before.length, after.length) - start && alike(before.at(-1 - end), after.at(-1 - end))) end += 1;
  const [old, fresh] = [before.slice(start, before.length - end), after.slice(start, after.length - end)];
  const at = (index) => `${path}[${start + index}]`;
  if (old.length === fresh.length) return old.flatMap((value, index) => changes(value, fresh[index], at(index)));
  return [...old.map((value, index) => ({ path: at(index), before: value })), ...fresh.map((value, index) => ({ path: at(index), after: value }))];
}
