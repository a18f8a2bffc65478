// What this page hears of the server. A subscription is told only what it can trust: its rows come in order and without
// a gap, and when one is missing it is asked for, not guessed. The badge says "live" only of what has been proven.

import { waiting } from "./approvals/waiting.js";
import { toast } from "./elements/toast.js";
import { PollLink, SocketLink } from "./links.js";
import { serverSaid } from "./lib/time.js";

const SIGNED_OUT = 4401; // the server's close code for a session that has ended
const TICK = 250;
const QUIET = { seen: 900, hidden: 4_000 }; // without a word from the server it is asked for one; nobody looks at a hidden page
const ANSWER = 4_000; // which may take so long while nothing else is on its way
const LONG_ANSWER = 45_000; // or behind a large snapshot on a slow line
const DOUBT = { least: 850, most: 1_500 }; // without an answer the page is not called live; else three times as long as one takes
const PATIENCE = 3_000; // how long an answer to "sub" may take before it is asked again
const LOST = 20_000; // an answer to "sub" that does not come while others do
const HANDSHAKES = [3_000, 3_000, 6_000]; // how long a link may take to open, in turn: the server may just be far away
const REFUSALS = 2; // sockets in a row that never said a word: then the page polls
const PROBE = 60_000; // while it polls, how often it tries a socket
const FIRST_PROBE = 5_000; // perhaps it was only that the server started just then
const PAUSES = { first: 300, short: 1_500, long: 15_000, patient: 60_000 }; // the longer pauses after a minute

/** Badges, toasts and the count of approvals, which every page with a socket has. */
export function announce(live) {
  waiting.follow(live);
  document.querySelectorAll("connection-badge").forEach((badge) => badge.watch(live));
  live.addEventListener("signed-out", () => toast("You are signed out. Reload the page to sign in again.", { state: "failed", lasts: null }), { once: true });
  live.addEventListener("refused", ({ detail }) => toast(`The server does not send this page's updates: ${detail.detail ?? detail.code}.`, { state: "failed" }));
}

// Half fixed, half random: pages that lost one server do not come back in one wave.
const spread = (pause) => pause / 2 + (Math.random() * pause) / 2;

export class Live extends EventTarget {
  #link = null; // what feeds the page
  #probe = null; // a socket that is tried while the page polls
  #subscriptions = new Map();
  #attempts = 0;
  #refusals = 0;
  #wasLive = false;
  #offlineSince = null;
  #heard = 0;
  #pinged = 0; // when, as long as nothing came since
  #sounded = 0; // when the line was last sounded: the answer comes behind all that was sent before it
  #echo = 0; // the same, as long as that answer has not come
  #takes = 0; // milliseconds from a question to its answer, as a rule
  #late = false; // the last one took too long: what comes on this line is old
  #ticked = Date.now();
  #timers = {};
  #status = { link: "connecting" };

  constructor() {
    super();
    for (const name of ["online", "offline", "pageshow"]) addEventListener(name, () => this.#wake());
    for (const name of ["visibilitychange", "resume"]) document.addEventListener(name, () => document.hidden || this.#wake());
    setInterval(() => this.#tick(), TICK);
  }

  /** {link: connecting | live | polling | catching-up | offline, behind?: rows, since?: milliseconds}; "polling" is live as well. */
  get status() {
    return this.#status;
  }

  /**
   * stream: "plan:<id>", "plans", "agents" ...; after: the seq that the page already shows, or null for a snapshot first.
   * on: {snapshot(data, seq), rows(rows), patch(items, frame), head(frame)}; returns a handle with update({filter}) and close().
   */
  subscribe(stream, { after = null, filter = null, on }) {
    const numbered = stream.startsWith("plan:");
    const sub = { stream, filter, on, numbered, seq: after, head: after ?? 0, asked: 0, caughtUp: false };
    this.#subscriptions.set(stream, sub);
    if (this.#link) this.#ask(sub);
    else this.#connect();
    return {
      update: (change) => {
        Object.assign(sub, change, { refused: null });
        this.#ask(sub);
      },
      close: () => {
        this.#subscriptions.delete(stream);
        this.#link?.drop(stream);
      },
    };
  }

  // --- the link: its open(), its words, its end ---

  #connect() {
    clearTimeout(this.#timers.retry);
    if (this.#link) return;
    const Link = this.#refusals < REFUSALS ? SocketLink : PollLink;
    this.#link = new Link(this, { patience: HANDSHAKES[this.#attempts % HANDSHAKES.length] });
  }

  /** For the links: what is asked for, and what is known of it. */
  wanted() {
    return [...this.#subscriptions.values()].filter((sub) => !sub.refused).map((sub) => this.#wish(sub));
  }

  #wish({ stream, numbered, seq, fresh, digest, filter }) {
    return { stream, after: numbered ? seq : fresh ? digest : null, filter };
  }

  opened(link) {
    link.ping(); // answered before all else: a socket that passes nothing is known at once
    if (link === this.#probe) return;
    this.#heard = this.#sounded = Date.now();
    this.#echo = 0;
    this.#late = false;
    this.#pinged = link.kind === "socket" ? Date.now() : 0;
    if (link.kind === "socket") for (const sub of this.#subscriptions.values()) this.#ask(sub);
    this.#show();
  }

  heard(link, frame) {
    if (link === this.#probe) this.#change(link);
    if (link !== this.#link) return;
    this.#heard = Date.now();
    this.#proven(link);
    if (frame.op === "pong") this.#answered();
    if (frame.time) serverSaid(frame.time);
    const sub = this.#subscriptions.get(frame.stream);
    if (frame.op === "error") this.#refused(sub, frame);
    else if (sub) this[`_${frame.op}`]?.(sub, frame);
    this.#show();
  }

  #answered() {
    if (!this.#echo) return;
    const took = Date.now() - this.#echo;
    this.#late = took > this.#doubt;
    if (!this.#late) this.#takes += (took - this.#takes) / 4;
    this.#echo = 0;
  }

  get #doubt() {
    return Math.min(DOUBT.most, Math.max(DOUBT.least, 3 * this.#takes));
  }

  #proven(link) {
    this.#pinged = 0;
    this.#attempts = 0;
    this.#offlineSince = null;
    if (link.kind === "socket") this.#refusals = 0;
    else this.#timers.probe ??= setTimeout(() => this.#tryASocket(), spread(FIRST_PROBE));
  }

  closed(link, { code }) {
    if (link === this.#probe) this.#probe = null;
    if (link !== this.#link) return;
    this.#link = null;
    this.#stopProbing();
    if (code === SIGNED_OUT) this.dispatchEvent(new Event("signed-out"));
    this.#count(link, code);
    // A connection that died in silence was last right when we heard of it.
    if (this.#wasLive || this.#attempts > REFUSALS) this.#offlineSince ??= this.#pinged ? this.#heard : Date.now();
    for (const sub of this.#subscriptions.values()) Object.assign(sub, { caughtUp: false, fresh: false });
    this.#timers.retry = setTimeout(() => this.#connect(), code === SIGNED_OUT ? PAUSES.long : this.#pause());
    this.#show();
  }

  // Sockets that open and never say a word are not let through. When polling fails as well it is the server that is
  // away: a socket comes first again.
  #count(link, code) {
    this.#attempts += 1;
    if (link.kind === "poll") this.#refusals = link.proven ? this.#refusals : REFUSALS - 1;
    else this.#refusals = link.proven || code >= 4000 ? 0 : this.#refusals + 1;
  }

  #pause() {
    if (this.#refusals === REFUSALS) return 0;
    const long = this.#offlineSince !== null && Date.now() - this.#offlineSince > PAUSES.patient;
    return spread(Math.min(long ? PAUSES.long : PAUSES.short, PAUSES.first * 2 ** this.#attempts));
  }

  // --- a socket instead of polls ---

  #tryASocket() {
    clearTimeout(this.#timers.probe);
    this.#probe ??= new SocketLink(this, { patience: HANDSHAKES.at(-1) });
    this.#timers.probe = setTimeout(() => this.#tryASocket(), spread(PROBE));
  }

  #stopProbing() {
    clearTimeout(this.#timers.probe);
    this.#timers.probe = null;
    this.#probe?.close();
  }

  #change(link) {
    const poll = this.#link;
    this.#link = link;
    this.#echo = 0;
    this.#probe = null;
    this.#stopProbing();
    poll?.close();
    for (const sub of this.#subscriptions.values()) this.#ask(sub);
  }

  // --- is anybody there? ---

  #tick() {
    const at = Date.now();
    const slept = at - this.#ticked > 5_000 && !document.hidden;
    this.#ticked = at;
    if (slept) this.#wake();
    if (this.#link?.kind === "socket" && this.#link.open) this.#watch(at);
    this.#show();
  }

  #watch(at) {
    const quiet = document.hidden ? QUIET.hidden : QUIET.seen;
    const subs = [...this.#subscriptions.values()];
    if (this.#pinged && at - this.#pinged > (!this.#link.proven || subs.every((sub) => sub.caughtUp) ? ANSWER : LONG_ANSWER)) this.#link.close();
    else if (at - this.#heard > quiet) this.#ping(at);
    else for (const sub of subs) if (!sub.caughtUp && !sub.refused && at - sub.asked > LOST) this.#ask(sub);
    if (!this.#echo && at - this.#sounded > quiet) this.#sound(at);
  }

  // On a line that is too slow rows keep coming, in order, and old: only how long an answer takes tells.
  #sound(at) {
    this.#sounded = this.#echo = at;
    this.#link.ping();
  }

  #ping(at) {
    if (this.#pinged) return;
    this.#pinged = at;
    this.#link.ping();
  }

  // Back from sleep, from another network, from the background: do not wait for the next turn.
  #wake() {
    if (!this.#subscriptions.size) return;
    if (!this.#link) this.#connect();
    else if (this.#link.kind === "poll") (this.#link.ask(), this.#tryASocket());
    else if (this.#link.open && Date.now() - this.#heard > 1_000) this.#ping(Date.now());
  }

  // --- the words ---

  #ask(sub) {
    sub.asked = Date.now();
    sub.caughtUp = false;
    // What was sent for an older filter may still be on its way: a list starts over with its snapshot.
    if (!sub.numbered) sub.fresh = false;
    this.#link?.ask(this.#wish(sub));
    this.#show();
  }

  _snapshot(sub, frame) {
    Object.assign(sub, { seq: frame.seq ?? sub.seq, head: frame.seq ?? 0, caughtUp: true, fresh: true, patched: false, digest: frame.digest });
    sub.on.snapshot?.(frame.data, frame.seq);
  }

  _rows(sub, frame) {
    const fresh = frame.rows.filter((row) => row.seq > (sub.seq ?? 0));
    if (!fresh.length) return;
    sub.head = Math.max(sub.head, frame.head ?? 0, fresh.at(-1).seq);
    if (fresh[0].seq !== (sub.seq ?? 0) + 1) return this.#gap(sub);
    sub.seq = fresh.at(-1).seq;
    sub.caughtUp = sub.seq >= sub.head;
    sub.on.rows?.(fresh);
  }

  _patch(sub, frame) {
    if (!sub.fresh) return;
    sub.patched = true;
    sub.on.patch?.(frame.items, frame);
  }

  _head(sub, frame) {
    sub.on.head?.(frame);
    if (!sub.numbered) return this.#compare(sub, frame.digest);
    sub.head = frame.seq;
    // A head below ours: the server's log was set back (a restored backup). Only a new snapshot is true.
    if (frame.seq < (sub.seq ?? 0)) this.#again(sub, null);
    else if (frame.seq > (sub.seq ?? 0)) this.#gap(sub);
    else sub.caughtUp = true;
  }

  // The server begins again with a snapshot by itself; until it is here nothing is certain.
  _resync(sub) {
    Object.assign(sub, { seq: null, caughtUp: false, fresh: false, asked: Date.now() });
  }

  // A list that looks different although nothing was said about it: something was missed.
  #compare(sub, digest) {
    if (!sub.fresh) return;
    const missed = digest !== sub.digest && !sub.patched;
    Object.assign(sub, { digest, patched: false, caughtUp: true });
    if (missed) this.#ask(sub);
  }

  #gap(sub) {
    sub.caughtUp = false;
    if (Date.now() - sub.asked < PATIENCE) return; // the rows between are on their way
    this.#again(sub, sub.seq);
  }

  #again(sub, after) {
    sub.seq = after;
    this.#ask(sub);
  }

  #refused(sub, frame) {
    if (sub && frame.code === "internal") {
      clearTimeout(sub.later);
      sub.later = setTimeout(() => this.#ask(sub), spread(10_000));
      return;
    }
    if (sub) sub.refused = Date.now();
    this.dispatchEvent(new CustomEvent("refused", { detail: frame }));
  }

  // --- the badge ---

  #show() {
    const next = this.#compute();
    if (next.link === "live" || next.link === "polling") this.#wasLive = true;
    if (JSON.stringify(next) === JSON.stringify(this.#status)) return;
    this.#status = next;
    this.dispatchEvent(new CustomEvent("status", { detail: next }));
  }

  #compute() {
    if (this.#offlineSince !== null) return { link: "offline", since: this.#offlineSince };
    if (!this.#link?.proven) return { link: "connecting" };
    const subs = [...this.#subscriptions.values()];
    const refused = subs.find((sub) => sub.refused);
    if (refused) return { link: "offline", since: refused.refused };
    const doubtful = this.#late || [this.#pinged, this.#echo].some((since) => since && Date.now() - since > this.#doubt);
    if (!doubtful && subs.every((sub) => sub.caughtUp)) return { link: this.#link.kind === "poll" ? "polling" : "live" };
    return { link: "catching-up", behind: subs.reduce((sum, sub) => sum + Math.max(0, sub.head - (sub.seq ?? 0)), 0) };
  }
}
