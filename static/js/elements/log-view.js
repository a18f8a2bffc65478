// <log-view>: the rows of a plan's log, as many as fit on screen. Set `source` (a LogSource), call `paint()` on changes.

import { describe, haystack } from "../lib/describe.js";
import { h, icon, setIcon, setText } from "../lib/dom.js";
import { clock, exact, momentOf, toMs } from "../lib/time.js";
import { VirtualRows } from "../lib/virtual.js";

const narrow = matchMedia("(width < 50rem)");
const rowHeight = () => (narrow.matches ? 46 : 30); // as log.css has it

class LogView extends HTMLElement {
  #filter = { kind: "", text: "" };
  #matches = null; // null: no filter, row i is seq i + 1; else the seqs that match
  #scanned = 0;
  #loading = null;
  active = 0; // seq
  selected = 0; // seq

  /** source: LogSource; onOpen(seq); onFollow(on) when following the tail starts or ends. */
  start({ source, onOpen, onFollow }) {
    Object.assign(this, { source, onOpen, onFollow, following: true });
    this.sizer = h("div", { class: "log-sizer", role: "rowgroup" });
    this.scroller = h("div", { class: "log-scroll", role: "grid", tabindex: "0", "aria-label": "Log", "aria-colcount": "5" }, this.sizer);
    this.note = h("p", { class: "log-note", role: "status", hidden: true });
    this.replaceChildren(this.note, this.scroller);
    this.list = new VirtualRows({ scroller: this.scroller, sizer: this.sizer, height: rowHeight(), make: () => this.#makeRow(), fill: (node, index) => this.#fillRow(node, index) });
    this.#bind();
    source.addEventListener("change", () => this.#rescan());
    source.addEventListener("trouble", () => this.#say("Older rows could not be read. Scroll to try again."));
    this.paint();
  }

  get length() {
    return this.#matches ? this.#matches.length : this.source.length;
  }

  seqAt(index) {
    return this.#matches ? this.#matches[index] : index + 1;
  }

  paint() {
    this.#scanNew();
    this.scroller.setAttribute("aria-rowcount", this.length);
    this.list.update(this.length, this.following);
    if (!this.#matches) this.source.forget(...this.list.range());
    this.#noteCount();
  }

  filter(change) {
    Object.assign(this.#filter, change);
    this.#loading?.abort();
    if (!this.#filter.kind && !this.#filter.text) {
      this.#matches = null;
      this.source.whole = false;
    } else {
      this.#matches = [];
      this.#loading = new AbortController();
      this.source.needAll(this.#loading.signal).then(() => this.#noteCount());
    }
    this.#scanned = 0;
    this.paint();
    if (!this.following && this.selected) this.#revealSeq(this.selected);
  }

  follow(on) {
    this.following = on;
    if (on) this.list.toEnd();
    this.onFollow(on);
  }

  /** Mark a row as chosen and bring it into view. */
  show(seq) {
    this.selected = this.active = seq;
    if (seq < this.source.length) this.follow(false);
    this.paint();
    this.#revealSeq(seq);
  }

  clear() {
    this.selected = 0;
    this.list.render(true);
  }

  move(step) {
    if (!this.length) return;
    const from = this.#indexOf(this.active);
    const index = from < 0 ? this.length - 1 : Math.min(this.length - 1, Math.max(0, from + step));
    this.active = this.seqAt(index);
    if (step < 0) this.follow(false);
    this.list.reveal(index);
    this.list.render(true);
    this.scroller.setAttribute("aria-activedescendant", `log-row-${this.active}`);
  }

  openActive() {
    if (this.active) this.onOpen(this.active);
  }

  #indexOf(seq) {
    return this.#matches ? this.#matches.indexOf(seq) : seq - 1;
  }

  #revealSeq(seq) {
    const index = this.#indexOf(seq);
    const { scrollTop, clientHeight } = this.scroller;
    const [first, last] = [scrollTop / this.list.height, (scrollTop + clientHeight) / this.list.height];
    if (index >= 0 && (index < first || index + 1 > last)) this.list.centre(index);
    this.list.render(true);
  }

  #rescan() {
    this.#scanned = 0;
    if (this.#matches) this.#matches = [];
    this.paint();
  }

  #scanNew() {
    if (!this.#matches) return;
    for (let seq = this.#scanned + 1; seq <= this.source.length; seq += 1) {
      const row = this.source.get(seq);
      if (row && this.#fits(row)) this.#matches.push(seq);
    }
    this.#scanned = this.source.length;
  }

  #fits(row) {
    if (this.#filter.kind && row.kind !== this.#filter.kind) return false;
    return !this.#filter.text || haystack(row, this.source.store.tasks).includes(this.#filter.text);
  }

  #noteCount() {
    if (!this.#matches) return this.#say("");
    const known = this.source.store.rows.size;
    const all = this.source.length;
    const of = known < all ? `, ${known.toLocaleString("en")} of ${all.toLocaleString("en")} searched` : ` of ${all.toLocaleString("en")}`;
    this.#say(this.#matches.length || known < all ? `${this.#matches.length.toLocaleString("en")} rows match${of}` : "No row matches.");
  }

  #say(text) {
    this.note.hidden = !text;
    setText(this.note, text);
  }

  #makeRow() {
    const seq = h("span", { class: "log-seq num", role: "gridcell" });
    const time = h("time", {});
    const mark = h("span", { class: "log-icon" }, icon("note"));
    const subject = h("span", { class: "log-subject truncate", role: "gridcell" });
    const what = h("span", { class: "truncate" });
    const flag = h("span", { class: "tag", hidden: true });
    const who = h("span", { class: "log-who truncate", role: "gridcell" });
    const row = h("div", { class: "log-row", role: "row" }, seq, h("span", { class: "log-time num", role: "gridcell" }, time), subject, h("span", { class: "log-what", role: "gridcell" }, mark, what, flag), who);
    row.parts = { seq, time, mark, subject, what, flag, who };
    return row;
  }

  #fillRow(node, index) {
    const seq = this.seqAt(index);
    const row = this.source.get(seq);
    node.dataset.seq = seq;
    node.id = `log-row-${seq}`;
    node.setAttribute("aria-rowindex", index + 1);
    node.setAttribute("aria-selected", seq === this.selected);
    node.classList.toggle("active", seq === this.active);
    node.classList.toggle("absent", !row);
    setText(node.parts.seq, seq);
    if (row) this.#fillParts(node, row);
    else this.source.need(seq, seq);
  }

  #fillParts(node, row) {
    const { time, mark, subject, what, flag, who } = node.parts;
    const text = describe(row, this.source.store.tasks);
    const at = toMs(momentOf(row));
    node.dataset.kind = row.kind;
    if (text.state) node.dataset.state = text.state;
    else delete node.dataset.state;
    setText(time, clock(at, true));
    time.dateTime = momentOf(row);
    time.title = exact(at);
    setIcon(mark.firstElementChild, text.icon);
    setText(subject, text.subject);
    setText(what, text.what);
    setText(who, text.who);
    who.title = text.who;
    flag.hidden = !row.refused && !row.inferred;
    flag.className = row.refused ? "tag" : "tag dashed";
    setText(flag, row.refused ? "Refused" : "Inferred");
  }

  #bind() {
    this.scroller.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    narrow.addEventListener("change", () => {
      this.list.resize(rowHeight());
      if (this.following) this.list.toEnd();
    });
    // A notice above the log, or a smaller window, takes room from it: the newest row stays in sight.
    new ResizeObserver(() => this.following && this.list.toEnd()).observe(this.scroller);
    this.sizer.addEventListener("click", (event) => {
      const row = event.target.closest(".log-row");
      if (row && !getSelection().toString()) this.onOpen(Number(row.dataset.seq));
    });
    this.scroller.addEventListener("keydown", (event) => {
      const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: 20, PageUp: -20, Home: -Infinity, End: Infinity };
      if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.move(Math.max(-this.length, Math.min(this.length, steps[event.key])));
    });
  }

  #scrolled() {
    const top = this.scroller.scrollTop;
    const up = top < (this.lastTop ?? 0);
    this.lastTop = top;
    if (up && this.following && !this.list.atEnd) this.follow(false);
    else if (!up && !this.following && this.list.atEnd && !this.selected) this.follow(true);
  }
}

customElements.define("log-view", LogView);
