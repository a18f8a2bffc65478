// The two ways to hear the server: a socket, and, where none is let through, one question after the other.
//
// Both tell `to` (the page's Live): opened(link), heard(link, frame), closed(link, {code}). `proven`: something came.

import { serverSaid } from "./lib/time.js";

const WAIT = 8; // seconds that the server may keep a question
const GRACE = 4_000; // beyond that
const PACE = 200; // milliseconds between two questions, while much happens
const SIGNED_OUT = 4401; // the server's close code for a session that has ended

export class SocketLink {
  kind = "socket";
  proven = false;

  /** patience: milliseconds that the handshake may take. */
  constructor(to, { path = "/ws/live", patience }) {
    const url = new URL(path, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    this.to = to;
    this.socket = new WebSocket(url);
    this.handshake = setTimeout(() => this.close(), patience);
    this.socket.addEventListener("open", () => (clearTimeout(this.handshake), to.opened(this)));
    this.socket.addEventListener("message", ({ data }) => ((this.proven = true), to.heard(this, JSON.parse(data))));
    this.socket.addEventListener("close", ({ code }) => this.#ended(code));
  }

  get open() {
    return this.socket.readyState === WebSocket.OPEN;
  }

  ask({ stream, after, filter }) {
    this.send({ op: "sub", stream, ...(typeof after === "number" && { after }), ...(filter && { filter }) });
  }

  drop(stream) {
    this.send({ op: "unsub", stream });
  }

  ping() {
    this.send({ op: "ping" });
  }

  send(frame) {
    if (this.open) this.socket.send(JSON.stringify(frame));
  }

  /** Give up; a dead connection's own end could take minutes. */
  close() {
    this.socket.close();
    this.#ended(1006);
  }

  #ended(code) {
    clearTimeout(this.handshake);
    this.to.closed(this, { code });
    this.to = { opened() {}, heard() {}, closed() {} };
  }
}

export class PollLink {
  kind = "poll";
  proven = false;
  open = true;
  #question = null;

  /** patience: milliseconds that the first answer may take, for which the server does not wait. */
  constructor(to, { path = "/v1/live", patience }) {
    Object.assign(this, { to, path, patience });
    this.#run();
  }

  /** What is wanted has changed: ask anew. */
  ask() {
    this.#question?.abort("anew");
  }

  drop() {
    this.ask();
  }

  /** Each answer says that somebody is there. */
  ping() {}

  close() {
    if (!this.open) return;
    this.open = false;
    this.#question?.abort("closed");
    this.to.closed(this, { code: 1006 });
  }

  async #run() {
    await null; // the page knows this link only after its constructor
    this.to.opened(this);
    while (this.open) {
      const started = performance.now();
      const wanted = this.to.wanted();
      try {
        this.#take(wanted, wanted.length ? await this.#put(wanted) : await this.#nothing());
      } catch (error) {
        if (error !== "anew") return this.close();
      }
      await new Promise((done) => setTimeout(done, started + PACE - performance.now()));
    }
  }

  async #put(wanted) {
    this.#question = new AbortController();
    const patience = setTimeout(() => this.#question.abort("late"), this.proven ? WAIT * 1000 + GRACE : this.patience);
    try {
      const answer = await fetch(`${this.path}?${query(wanted, this.proven ? WAIT : 0)}`, { signal: this.#question.signal, cache: "no-store" });
      return { status: answer.status, said: await answer.json() };
    } finally {
      clearTimeout(patience);
    }
  }

  /** Nothing is wanted, until something is. */
  #nothing() {
    this.#question = new AbortController();
    return new Promise((_, failed) => this.#question.signal.addEventListener("abort", ({ target }) => failed(target.reason)));
  }

  #take(wanted, { status, said }) {
    if (!this.open) return;
    if (status === 401) return this.#end(SIGNED_OUT);
    if (status === 429 || status >= 500) throw new Error(said.detail);
    this.proven = true;
    if (status >= 400) return wanted.forEach(({ stream }) => this.to.heard(this, { op: "error", stream, code: said.code, detail: said.detail }));
    serverSaid(said.time);
    said.frames.forEach((frame) => this.open && this.to.heard(this, { ...frame, time: undefined }));
  }

  #end(code) {
    this.open = false;
    this.to.closed(this, { code });
  }
}

function query(wanted, wait) {
  const words = new URLSearchParams({ wait });
  for (const { stream, after, filter } of wanted) {
    words.append("stream", stream);
    words.append("after", after ?? "");
    for (const [name, value] of Object.entries(filter ?? {})) for (const each of [value].flat()) if (each !== "") words.append(name, each);
  }
  return words;
}
