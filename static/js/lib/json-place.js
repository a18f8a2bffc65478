// Where in a JSON text a pointer's value stands: for showing the place of a fault.

const SPACE = /\s/;

/** [from, to] of the value at the pointer, or of the nearest member above it that is there. The text must be JSON. */
export function placeOf(text, pointer) {
  const path = pointer.split("/").slice(1).map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
  let [from, to] = valueAt(text, 0);
  for (const part of path) {
    const inner = memberOf(text, from, part);
    if (!inner) break;
    [from, to] = inner;
  }
  return [from, to];
}

function skip(text, at) {
  while (at < text.length && SPACE.test(text[at])) at += 1;
  return at;
}

function endOfString(text, at) {
  for (at += 1; text[at] !== '"'; at += 1) if (text[at] === "\\") at += 1;
  return at + 1;
}

function valueAt(text, at) {
  const from = skip(text, at);
  if (text[from] === '"') return [from, endOfString(text, from)];
  if (!"{[".includes(text[from])) {
    let to = from;
    while (to < text.length && !",]}".includes(text[to]) && !SPACE.test(text[to])) to += 1;
    return [from, to];
  }
  let depth = 0;
  for (let to = from; to < text.length; to += 1) {
    if (text[to] === '"') to = endOfString(text, to) - 1;
    else if ("{[".includes(text[to])) depth += 1;
    else if ("}]".includes(text[to]) && --depth === 0) return [from, to + 1];
  }
  return [from, text.length];
}

function memberOf(text, from, name) {
  const object = text[from] === "{";
  if (!object && text[from] !== "[") return null;
  let at = skip(text, from + 1);
  for (let number = 0; !"}]".includes(text[at]); number += 1) {
    let key = String(number);
    if (object) {
      const end = endOfString(text, at);
      key = JSON.parse(text.slice(at, end));
      at = skip(text, skip(text, end) + 1);
    }
    const [start, end] = valueAt(text, at);
    if (key === name) return [start, end];
    at = skip(text, end);
    if (text[at] === ",") at = skip(text, at + 1);
  }
  return null;
}
