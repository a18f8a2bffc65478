// Times on the page: everything inside is milliseconds since the epoch, everything shown is made here.

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const exactFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const dateFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const dayFormat = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const zoneName = new Intl.DateTimeFormat("en", { timeZoneName: "short" }).formatToParts(new Date()).find((p) => p.type === "timeZoneName").value;

/** ISO text, milliseconds or nothing -> milliseconds or null. */
export function toMs(value) {
  if (value === null || value === undefined || value === "") return null;
  const ms = typeof value === "number" ? value : Date.parse(value);
  return Number.isNaN(ms) ? null : ms;
}

let skew = 0; // what has to be added to this machine's clock to have the server's

/** Tell what the server's clock says; small differences are the way here, not the clock. */
export function serverSaid(iso) {
  const difference = Date.parse(iso) - Date.now();
  if (Number.isFinite(difference)) skew = Math.abs(difference) > 2 * SECOND ? difference : 0;
}

/** The server's time in milliseconds. */
export const now = () => Date.now() + skew;

/** When a row of the log happened: by the server's clock, or at the earlier time that somebody reported for it. */
export const momentOf = (row) => (row.source ? row.recorded_at : row.occurred_at);

/** "24 Nov 2026, 05:38:03 UTC" */
export const exact = (ms) => `${exactFormat.format(ms)} ${zoneName}`;

/** "24 Nov 2026, 05:38:03.120 UTC" */
export const precise = (ms) => `${dateFormat.format(ms)}, ${clock(ms, true)} ${zoneName}`;

/** "05:38:03" and, with milliseconds, "05:38:03.120" */
export function clock(ms, withMillis = false) {
  const text = clockFormat.format(ms);
  return withMillis ? `${text}.${String(Math.floor(((ms % 1000) + 1000) % 1000)).padStart(3, "0")}` : text;
}

/** "now", "42 s ago", "3 min ago", "2 h ago", "5 d ago", "24 Nov" */
export function age(ms, at = now()) {
  const gone = at - ms;
  if (gone < 5 * SECOND) return "now";
  if (gone < MINUTE) return `${Math.floor(gone / SECOND)} s ago`;
  if (gone < HOUR) return `${Math.floor(gone / MINUTE)} min ago`;
  if (gone < DAY) return `${Math.floor(gone / HOUR)} h ago`;
  if (gone < 30 * DAY) return `${Math.floor(gone / DAY)} d ago`;
  return dayFormat.format(ms);
}

/** "340 ms", "4.2 s", "42 s", "3m 05s", "2h 14m", "5d 3h" */
export function duration(ms) {
  if (ms === null || ms === undefined) return "";
  const value = Math.max(0, ms);
  if (value < SECOND) return `${Math.round(value)} ms`;
  if (value < 10 * SECOND) return `${(Math.floor(value / 100) / 10).toFixed(1)} s`;
  if (value < MINUTE) return `${Math.floor(value / SECOND)} s`;
  if (value < HOUR) return `${Math.floor(value / MINUTE)}m ${pad((value % MINUTE) / SECOND)}s`;
  if (value < DAY) return `${Math.floor(value / HOUR)}h ${pad((value % HOUR) / MINUTE)}m`;
  return `${Math.floor(value / DAY)}d ${Math.floor((value % DAY) / HOUR)}h`;
}

const pad = (value) => String(Math.floor(value)).padStart(2, "0");
