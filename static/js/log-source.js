// The log of a plan as far as this page knows it. seq has no gap, so a row's place is its number; pages that are
// missing are fetched when they are looked at.

const PAGE = 500;

export class LogSource extends EventTarget {
  #asked = new Set();
  whole = false; // all rows are wanted: somebody searches

  /** url: of the plan's log API, or null where everything is already in the store. */
  constructor(store, url) {
    super();
    this.store = store;
    this.url = url;
  }

  get length() {
    return this.store.seq;
  }

  get(seq) {
    return this.store.rows.get(seq);
  }

  /** Fetch what is missing of first..last; "change" tells when it has come. */
  need(first, last) {
    for (let page = Math.floor((first - 1) / PAGE); page <= Math.floor((last - 1) / PAGE); page += 1) this.#fetchPage(page, first, last);
  }

  /** Rows far from first..last need not be held. */
  forget(first, last) {
    if (this.url && !this.whole) this.store.forget(first - PAGE, last + PAGE);
  }

  /** Fetch everything, newest pages first, until `signal` aborts; resolves when all is known. */
  async needAll(signal) {
    this.whole = true;
    for (let page = Math.floor((this.length - 1) / PAGE); page >= 0 && !signal.aborted; page -= 1) {
      await this.#fetchPage(page, page * PAGE + 1, Math.min(this.length, (page + 1) * PAGE));
    }
  }

  /** The full row (payload and envelope), asked from the server when the list carried less. */
  async full(seq) {
    const known = this.get(seq);
    if (known && (known.kind !== "message" || known.envelope || !this.url)) return known;
    const [row] = await this.#read(seq - 1, 1);
    if (row) this.store.remember([row]);
    return row ?? known;
  }

  async #fetchPage(page, first, last) {
    if (!this.url || this.#asked.has(page) || this.#complete(Math.max(first, page * PAGE + 1), Math.min(last, (page + 1) * PAGE))) return;
    this.#asked.add(page);
    try {
      this.store.remember(await this.#read(page * PAGE, PAGE));
      this.dispatchEvent(new Event("change"));
    } catch {
      this.dispatchEvent(new Event("trouble"));
    } finally {
      this.#asked.delete(page);
    }
  }

  #complete(first, last) {
    for (let seq = first; seq <= Math.min(last, this.length); seq += 1) if (!this.get(seq)) return false;
    return true;
  }

  async #read(after, limit) {
    const answer = await fetch(`${this.url}?after=${after}&limit=${limit}`, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error(`The log answered ${answer.status}.`);
    return (await answer.json()).items;
  }
}
