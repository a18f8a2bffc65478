// The page's one socket. A subscription is told only what it can trust: its rows come in order and without a gap, and
// when one is missing the socket asks again instead of guessing.

import { toast } from "./elements/toast.js";
import { serverSaid } from "./lib/time.js";

const SILENCE = 45_000; // the server speaks at least every 20 s
const SIGNED_OUT = 4401; // the server's close code for a session that has ended
const LONGEST_PAUSE = 15_000;
const SETTLED = 1_500; // a stream that had nothing to catch up on may stay silent
const PATIENCE = 3_000; // how long an answer to "sub" may take before it is asked again

/** Badges and toasts that every page with a socket has. */
export function announce(live) {
  document.querySelectorAll("connection-badge").forEach((badge) => badge.watch(live));
  live.addEventListener("signed-out", () => toast("You are signed out. Reload the page to sign in again.", { state: "failed", lasts: null }), { once: true });
  live.addEventListener("refused", ({ detail }) => toast(`The server does not send this page's updates: ${detail.detail ?? detail.code}.`, { state: "failed" }));
}

export class Live extends EventTarget {
  #socket = null;
  #subscriptions = new Map();
  #attempts = 0;
  #offlineSince = null;
  #heard = 0;
  #timers = {};
  #status = { link: "connecting" };

  constructor(path = "/ws/live") {
    super();
    this.path = path;
    addEventListener("online", () => this.#retryNow());
    document.addEventListener("visibilitychange", () => !document.hidden && this.#retryNow());
    setInterval(() => this.#checkSilence(), 5_000);
  }

  /** {link: connecting | live | catching-up | offline, behind?: rows, since?: milliseconds} */
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
    if (this.#socket?.readyState === WebSocket.OPEN) this.#ask(sub);
    else if (!this.#socket) this.#open();
    return {
      update: (change) => {
        Object.assign(sub, change);
        if (this.#socket?.readyState === WebSocket.OPEN) this.#ask(sub);
      },
      close: () => {
        this.#subscriptions.delete(stream);
        this.#send({ op: "unsub", stream });
      },
    };
  }

  #open() {
    const url = new URL(this.path, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url);
    this.#socket = socket;
    socket.addEventListener("open", () => this.#opened());
    socket.addEventListener("message", (event) => this.#received(JSON.parse(event.data)));
    socket.addEventListener("close", ({ code }) => socket === this.#socket && this.#closed(code));
  }

  #opened() {
    this.#attempts = 0;
    this.#offlineSince = null;
    this.#heard = Date.now();
    for (const sub of this.#subscriptions.values()) this.#ask(sub);
    this.#show();
  }

  #closed(code) {
    this.#socket = null;
    this.#offlineSince ??= Date.now();
    if (code === SIGNED_OUT) this.dispatchEvent(new Event("signed-out"));
    for (const sub of this.#subscriptions.values()) sub.caughtUp = false;
    const pause = Math.min(LONGEST_PAUSE, 400 * 2 ** this.#attempts);
    this.#attempts += 1;
    clearTimeout(this.#timers.retry);
    // Half fixed, half random: pages that lost one server do not come back in one wave.
    this.#timers.retry = setTimeout(() => this.#open(), pause / 2 + (Math.random() * pause) / 2);
    this.#show();
  }

  #retryNow() {
    if (this.#socket || !this.#subscriptions.size) return;
    clearTimeout(this.#timers.retry);
    this.#open();
  }

  #checkSilence() {
    if (this.#socket?.readyState === WebSocket.OPEN && Date.now() - this.#heard > SILENCE) this.#socket.close();
  }

  #send(frame) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(frame));
  }

  #ask(sub) {
    const frame = { op: "sub", stream: sub.stream };
    if (sub.numbered && sub.seq !== null) frame.after = sub.seq;
    if (sub.filter) frame.filter = sub.filter;
    sub.asked = Date.now();
    // What was sent for an older filter may still be on its way: a list starts over with its snapshot.
    if (!sub.numbered) sub.fresh = false;
    this.#send(frame);
    clearTimeout(this.#timers.settle);
    this.#timers.settle = setTimeout(() => this.#settle(), SETTLED);
  }

  #settle() {
    for (const sub of this.#subscriptions.values()) sub.caughtUp ||= sub.numbered && sub.seq !== null && sub.head <= sub.seq;
    this.#show();
  }

  #received(frame) {
    this.#heard = Date.now();
    if (frame.time) serverSaid(frame.time);
    const sub = this.#subscriptions.get(frame.stream);
    if (frame.op === "error") {
      this.dispatchEvent(new CustomEvent("refused", { detail: frame }));
      return;
    }
    if (!sub) return;
    this[`_${frame.op}`]?.(sub, frame);
    this.#show();
  }

  _snapshot(sub, frame) {
    Object.assign(sub, { seq: frame.seq ?? sub.seq, head: frame.seq ?? 0, asked: 0, caughtUp: true, fresh: true, digest: frame.digest });
    sub.on.snapshot?.(frame.data, frame.seq);
  }

  _rows(sub, frame) {
    const fresh = frame.rows.filter((row) => row.seq > (sub.seq ?? 0));
    if (!fresh.length) return;
    sub.head = Math.max(sub.head, fresh.at(-1).seq);
    if (fresh[0].seq !== (sub.seq ?? 0) + 1) return this.#gap(sub);
    sub.asked = 0;
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
    else Object.assign(sub, { caughtUp: true, asked: 0 });
  }

  // The server begins again with a snapshot by itself; until it is here nothing is certain.
  _resync(sub) {
    Object.assign(sub, { seq: null, caughtUp: false, fresh: false, asked: Date.now() });
  }

  // A list that looks different although nothing was said about it: something was missed.
  #compare(sub, digest) {
    if (!sub.fresh) return;
    const missed = digest !== sub.digest && !sub.patched;
    Object.assign(sub, { digest, patched: false });
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

  #show() {
    const next = this.#compute();
    if (JSON.stringify(next) === JSON.stringify(this.#status)) return;
    this.#status = next;
    this.dispatchEvent(new CustomEvent("status", { detail: next }));
  }

  #compute() {
    if (this.#socket?.readyState !== WebSocket.OPEN) {
      return this.#offlineSince === null ? { link: "connecting" } : { link: "offline", since: this.#offlineSince };
    }
    const subs = [...this.#subscriptions.values()];
    if (subs.every((sub) => sub.caughtUp)) return { link: "live" };
    return { link: "catching-up", behind: subs.reduce((sum, sub) => sum + Math.max(0, sub.head - (sub.seq ?? 0)), 0) };
  }
}
