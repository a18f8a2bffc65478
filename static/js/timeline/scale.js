// Time -> place. A view is the part of time that is on screen: {from, to} in milliseconds.

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const STEPS = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, SECOND, 2 * SECOND, 5 * SECOND, 10 * SECOND, 15 * SECOND, 30 * SECOND, MINUTE, 2 * MINUTE, 5 * MINUTE,
  10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 2 * HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 14 * DAY, 30 * DAY,
];
const SHORTEST_VIEW = 5;

/** Percent of the view's width, not clipped. */
export const place = (view, ms) => ((ms - view.from) / (view.to - view.from)) * 100;

/** Ticks counted from `origin`: [{at, label}], about one per `room` pixels. */
export function ticks(view, origin, width, room = 110) {
  const span = view.to - view.from;
  const wanted = span / Math.max(1, width / room);
  const step = STEPS.find((each) => each >= wanted) ?? Math.ceil(wanted / (30 * DAY)) * 30 * DAY;
  const first = Math.ceil((view.from - origin) / step) * step;
  const list = [];
  for (let offset = first; origin + offset <= view.to; offset += step) list.push({ at: origin + offset, label: offsetLabel(offset, step) });
  return list;
}

/** "0", "250 ms", "1.5 s", "2:30", "1h 05m", "2d 6h": exact at the step's precision. */
export function offsetLabel(offset, step) {
  if (offset === 0) return "0";
  const sign = offset < 0 ? "−" : "";
  const ms = Math.abs(offset);
  if (ms < SECOND) return `${sign}${ms} ms`;
  if (ms < MINUTE) return `${sign}${Number((ms / SECOND).toFixed(step < SECOND ? 3 : 0))} s`;
  const seconds = Math.floor((ms % MINUTE) / SECOND);
  const fraction = step < SECOND ? `.${String(ms % SECOND).padStart(3, "0")}` : "";
  if (ms < HOUR) return `${sign}${Math.floor(ms / MINUTE)}:${two(seconds)}${fraction}`;
  if (ms < DAY) return `${sign}${Math.floor(ms / HOUR)}h ${two((ms % HOUR) / MINUTE)}m${step < MINUTE ? ` ${two(seconds)}s${fraction}` : ""}`;
  return `${sign}${Math.floor(ms / DAY)}d${ms % DAY ? ` ${Math.floor((ms % DAY) / HOUR)}h` : ""}`;
}

const two = (value) => String(Math.floor(value)).padStart(2, "0");

/** A view `factor` times as long, in which the moment at `share` (0..1) stays where it is. */
export function zoomed(view, factor, share = 0.5) {
  const span = Math.max(SHORTEST_VIEW, (view.to - view.from) * factor);
  const anchor = view.from + (view.to - view.from) * share;
  return { from: anchor - span * share, to: anchor + span * (1 - share) };
}

/** The view moved or cut so that it stays inside `bounds`. */
export function within(view, bounds) {
  const span = Math.min(view.to - view.from, bounds.to - bounds.from);
  const from = Math.min(Math.max(view.from, bounds.from), bounds.to - span);
  return { from, to: from + span };
}
