// The tasks of a plan over time: a tree of names on the left, a bar of state spans for each on the right.

import { h, icon, setIcon, setStateBadge, setText } from "../lib/dom.js";
import { duration, now, toMs } from "../lib/time.js";
import { VirtualRows } from "../lib/virtual.js";
import { TERMINAL, plural, whyStalled, words } from "../lib/words.js";
import { place, ticks, within, zoomed } from "./scale.js";
import { rowsOf, rowsOfState, shownState } from "./tree.js";

const ROW = 30;
const AXIS = 28;
const LABEL_ROOM = 90; // pixels that a duration beside its bar needs
const GROW_EVERY = 250;

export class Timeline {
  /** root: the section of plan.html; onOpen(task): a row was chosen. */
  constructor(root, store, { onOpen }) {
    Object.assign(this, { root, store, onOpen });
    this.scroller = root.querySelector(".tl-scroll");
    this.sizer = root.querySelector(".tl-sizer");
    this.tickLine = root.querySelector(".tl-ticks");
    this.grid = root.querySelector(".tl-grid");
    this.folded = new Set();
    this.rows = [];
    this.active = -1;
    this.selected = null;
    this.view = null; // null: everything fits
    this.knownUntil = null; // milliseconds: cut off since then, so nothing grows beyond it
    this.only = ""; // the one state that is shown, "" for all
    this.legend = root.querySelector(".tl-legend");
    this.list = new VirtualRows({ scroller: this.scroller, sizer: this.sizer, height: ROW, inset: AXIS, make: () => this.#makeRow(), fill: (node, index) => this.#fillRow(node, index) });
    this.#bindRows();
    this.#bindZoom();
    new ResizeObserver(([{ contentRect }]) => {
      this.width = contentRect.width;
      if (this.#painted) this.paint();
    }).observe(this.tickLine);
    setInterval(() => this.#grow(), GROW_EVERY);
  }

  #painted = 0; // when
  #structure = -1;

  paint() {
    this.#painted = performance.now();
    this.#drawLegend();
    this.#order();
    this.bounds = this.#bounds();
    this.frame = this.view ? within(this.view, this.bounds) : this.bounds;
    this.width ??= this.tickLine.clientWidth;
    this.#drawTicks();
    this.root.querySelector("[data-f=task-count]").textContent = this.store.tasks.size ? this.store.tasks.size.toLocaleString("en") : "";
    this.root.querySelector(".tl-empty").hidden = this.store.tasks.size > 0;
    this.scroller.hidden = !this.store.tasks.size;
    this.scroller.setAttribute("aria-rowcount", this.rows.length);
    this.list.update(this.rows.length);
  }

  /** Bring a task into view and mark it as chosen; its folded parents open. */
  show(taskId) {
    for (let task = this.store.tasks.get(taskId); task; task = this.store.tasks.get(task.parent_task_id)) if (task.task_id !== taskId) this.folded.delete(task.task_id);
    this.#structure = -1;
    this.selected = taskId;
    if (this.only && shownState(this.store.tasks.get(taskId)) !== this.only) this.only = "";
    this.paint();
    const index = this.rows.findIndex((row) => row.task.task_id === taskId);
    if (index < 0) return;
    this.active = index;
    this.list.reveal(index);
    this.list.render(true);
  }

  clear() {
    this.selected = null;
    this.list.render(true);
  }

  move(step) {
    if (!this.rows.length) return;
    this.active = Math.min(this.rows.length - 1, Math.max(0, this.active + step));
    this.list.reveal(this.active);
    this.list.render(true);
    this.scroller.setAttribute("aria-activedescendant", `tl-row-${this.active}`);
  }

  openActive() {
    if (this.rows[this.active]) this.onOpen(this.rows[this.active].task);
  }

  zoom(factor, share) {
    const next = zoomed(this.frame, factor, share);
    this.view = next.to - next.from >= this.bounds.to - this.bounds.from ? null : within(next, this.bounds);
    this.paint();
  }

  fit() {
    this.view = null;
    this.paint();
  }

  #grow() {
    const due = performance.now() - this.#painted >= GROW_EVERY - 10; // not when what comes paints it anyway
    if (!document.hidden && this.#painted && due && !this.#ended()) this.paint();
  }

  #ended() {
    return TERMINAL.has(this.store.plan.state) && this.store.counts().open === 0;
  }

  #order() {
    if (this.#structure === this.store.structure && !this.only) return;
    this.#structure = this.store.structure;
    this.rows = this.only ? rowsOfState(this.store.tasks, this.only) : rowsOf(this.store.tasks, this.folded);
    this.root.classList.toggle("flat", !this.rows.some((row) => row.children));
    this.active = Math.min(this.active, this.rows.length - 1);
  }

  // A button for each state that there is: how many, and, pressed, only those. It is the legend as well.
  #drawLegend() {
    const counts = new Map();
    for (const task of this.store.tasks.values()) counts.set(shownState(task), (counts.get(shownState(task)) ?? 0) + 1);
    if (this.only && !counts.has(this.only)) counts.set(this.only, 0);
    const known = new Map([...this.legend.children].map((button) => [button.dataset.state, button]));
    for (const [state, count] of counts) {
      const button = known.get(state) ?? this.legend.appendChild(this.#legendButton(state));
      setText(button.lastElementChild, `${count.toLocaleString("en")} ${words(state).toLowerCase()}`);
      button.setAttribute("aria-pressed", this.only === state);
      known.delete(state);
    }
    known.forEach((button) => button.remove());
  }

  #legendButton(state) {
    return h("button", { type: "button", class: "button small", dataset: { state }, onclick: () => this.#showOnly(this.only === state ? "" : state) }, icon(state), h("span"));
  }

  #showOnly(state) {
    this.only = state;
    this.#structure = -1;
    this.active = -1;
    this.scroller.scrollTop = 0;
    this.paint();
  }

  #bounds() {
    let from = toMs(this.store.plan.started_at) ?? toMs(this.store.plan.created_at) ?? Infinity;
    let to = from;
    for (const { spans } of this.store.tasks.values()) {
      if (!spans.length) continue;
      from = Math.min(from, spans[0][1]);
      to = Math.max(to, spans.at(-1)[1]);
    }
    if (!this.#ended()) to = Math.max(to, this.knownUntil ?? now());
    this.now = to;
    const span = Math.max(10, to - from);
    this.origin = from;
    return { from, to: to + span * (this.#ended() ? 0.09 : 0.04) };
  }

  #drawTicks() {
    const list = ticks(this.frame, this.origin, this.width);
    const mark = (className, at, text) => {
      const node = h("span", { class: className }, text);
      node.style.insetInlineStart = `${place(this.frame, at)}%`;
      return node;
    };
    this.tickLine.replaceChildren(...list.map(({ at, label }) => mark("tl-tick", at, label)));
    const lines = list.map(({ at }) => mark("tl-line", at, ""));
    if (!this.#ended()) lines.push(mark("tl-line now", this.now, ""));
    this.grid.replaceChildren(...lines);
    this.grid.style.blockSize = `${this.rows.length * ROW}px`;
  }

  #makeRow() {
    const twisty = h("button", { type: "button", class: "tl-twisty", tabindex: "-1" }, icon("chevron"));
    const state = h("span", { class: "state" }, icon("pending"), h("span", { class: "word" }));
    const name = h("span", { class: "tl-label truncate" });
    const extra = h("span", { class: "tl-extra faint" });
    const track = h("div", { class: "tl-track", role: "gridcell" }, h("span", { class: "tl-note" }));
    const row = h("div", { class: "tl-row", role: "row" }, h("div", { class: "tl-name", role: "gridcell" }, twisty, state, name, extra), track);
    row.parts = { twisty, state, name, extra, track, note: track.firstElementChild, bars: [] };
    return row;
  }

  #fillRow(row, index) {
    const { task, depth, children } = this.rows[index];
    const { twisty, state, name, extra } = row.parts;
    row.id = `tl-row-${index}`;
    row.dataset.index = index;
    row.setAttribute("aria-rowindex", index + 1);
    row.setAttribute("aria-level", depth + 1);
    row.setAttribute("aria-selected", task.task_id === this.selected);
    row.classList.toggle("active", index === this.active);
    row.style.setProperty("--depth", Math.min(depth, 8));
    twisty.classList.toggle("none", !children);
    if (children) {
      row.setAttribute("aria-expanded", !this.folded.has(task.task_id));
      twisty.setAttribute("aria-label", `${this.folded.has(task.task_id) ? "Show" : "Hide"} ${plural(children, "sub-task")}`);
    } else row.removeAttribute("aria-expanded");
    setStateBadge(state, shownState(task));
    setText(name, task.name);
    name.title = task.name;
    extra.title = task.stalled ? `Stalled: ${whyStalled(task)}` : "";
    setText(extra, [task.stalled ? words(task.stalled_reason.replaceAll("-", " ")).toLowerCase() : "", task.attempt > 1 ? `attempt ${task.attempt}` : "", this.folded.has(task.task_id) ? `+${children}` : ""].filter(Boolean).join(" "));
    this.#fillTrack(row.parts, task);
  }

  #fillTrack({ track, note, bars }, task) {
    // From the mark on, the bar says so.
    const spans = task.stalled ? [...task.spans, ["stalled", toMs(task.stalled_at)]] : task.spans;
    while (bars.length < spans.length) bars.push(track.appendChild(h("span", { class: "tl-bar" })));
    bars.forEach((bar, index) => this.#placeBar(bar, spans, index));
    if (!spans.length) return (note.hidden = true);
    const first = spans[0][1];
    const last = TERMINAL.has(task.state) ? spans.at(-1)[1] : this.now;
    this.#placeNote(note, task, place(this.frame, first), place(this.frame, last), last - first);
  }

  #placeBar(bar, spans, index) {
    const span = spans[index];
    bar.hidden = !span;
    if (!span) return;
    const [state, at] = span;
    const ends = TERMINAL.has(state);
    const last = index === spans.length - 1;
    const from = place(this.frame, at);
    const to = ends ? from : place(this.frame, last ? this.now : spans[index + 1][1]);
    bar.hidden = to < 0 || from > 100;
    if (bar.hidden) return;
    bar.dataset.state = state;
    bar.classList.toggle("end", ends);
    bar.classList.toggle("open", last && !ends);
    if (ends && !bar.firstElementChild) bar.append(icon(state));
    else if (ends) setIcon(bar.firstElementChild, state);
    else bar.replaceChildren();
    bar.style.insetInlineStart = `${Math.max(from, -1)}%`;
    bar.style.inlineSize = ends ? "" : `${Math.min(to, 101) - Math.max(from, -1)}%`;
    bar.title = ends ? words(state) : `${words(state)}, ${duration((last ? this.now : spans[index + 1][1]) - at)}`;
  }

  #placeNote(note, task, from, to, took) {
    const progress = task.progress !== null && task.progress !== undefined && task.state === "running" ? `${Math.round(task.progress * 100)}% · ` : "";
    setText(note, progress + duration(took));
    const room = (100 - to) * this.width > LABEL_ROOM * 100;
    const before = !room && from * this.width > LABEL_ROOM * 100;
    note.hidden = to < 0 || from > 100 || !(room || before);
    note.classList.toggle("before", before);
    note.style.insetInlineStart = room ? `${to}%` : "";
    note.style.insetInlineEnd = before ? `${100 - from}%` : "";
  }

  #fold(task, folded) {
    if (folded) this.folded.add(task.task_id);
    else this.folded.delete(task.task_id);
    this.#structure = -1;
    this.paint();
  }

  #bindRows() {
    this.sizer.addEventListener("click", (event) => {
      const row = event.target.closest(".tl-row");
      if (!row || this.dragged) return;
      const entry = this.rows[Number(row.dataset.index)];
      this.active = Number(row.dataset.index);
      if (event.target.closest(".tl-twisty")) this.#fold(entry.task, !this.folded.has(entry.task.task_id));
      else this.onOpen(entry.task);
    });
    this.scroller.addEventListener("keydown", (event) => this.#key(event));
  }

  #key(event) {
    const entry = this.rows[this.active];
    const keys = {
      ArrowDown: () => this.move(1),
      ArrowUp: () => this.move(-1),
      Home: () => this.move(-this.rows.length),
      End: () => this.move(this.rows.length),
      ArrowLeft: () => entry?.children && this.#fold(entry.task, true),
      ArrowRight: () => entry?.children && this.#fold(entry.task, false),
      "+": () => this.zoom(1 / 1.6),
      "=": () => this.zoom(1 / 1.6),
      "-": () => this.zoom(1.6),
      0: () => this.fit(),
    };
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  }

  #bindZoom() {
    const factors = { in: 1 / 1.6, out: 1.6 };
    this.root.querySelectorAll("[data-zoom]").forEach((button) =>
      button.addEventListener("click", () => (button.dataset.zoom === "fit" ? this.fit() : this.zoom(factors[button.dataset.zoom]))),
    );
    this.scroller.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.scroller.addEventListener("pointerdown", (event) => this.#drag(event));
  }

  #share(event) {
    const box = this.tickLine.getBoundingClientRect();
    return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  }

  #wheel(event) {
    const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (!event.ctrlKey && !event.metaKey && !(sideways && this.view)) return;
    event.preventDefault();
    if (sideways) return this.#pan(event.deltaX / this.width);
    this.zoom(1.0015 ** event.deltaY, this.#share(event));
  }

  #pan(share) {
    const shift = (this.frame.to - this.frame.from) * share;
    this.view = within({ from: this.frame.from + shift, to: this.frame.to + shift }, this.bounds);
    this.paint();
  }

  // On the axis a drag selects the time to zoom into; on the bars it moves a zoomed view.
  #drag(event) {
    const onAxis = event.target.closest(".tl-ticks");
    const onTrack = event.target.closest(".tl-track");
    if (event.button !== 0 || event.pointerType === "touch" || (!onAxis && !(onTrack && this.view))) return;
    const start = this.#share(event);
    const frame = this.frame;
    this.dragged = false;
    const done = new AbortController();
    const band = onAxis ? this.tickLine.appendChild(h("span", { class: "tl-band" })) : null;
    const moveBand = (share) => {
      band.style.insetInlineStart = `${Math.min(start, share) * 100}%`;
      band.style.inlineSize = `${Math.abs(share - start) * 100}%`;
    };
    const moved = (moving) => {
      const share = this.#share(moving);
      if (Math.abs(share - start) * this.width > 4) this.dragged = true;
      if (band) return moveBand(share);
      const shift = (frame.to - frame.from) * (start - share);
      this.view = within({ from: frame.from + shift, to: frame.to + shift }, this.bounds);
      this.paint();
    };
    const released = (ending) => {
      done.abort();
      band?.remove();
      if (band && this.dragged) this.#zoomTo(frame, start, this.#share(ending));
      setTimeout(() => (this.dragged = false)); // after the click that ends the drag
    };
    addEventListener("pointermove", moved, { signal: done.signal });
    addEventListener("pointerup", released, { signal: done.signal });
    addEventListener("pointercancel", released, { signal: done.signal });
  }

  #zoomTo(frame, a, b) {
    const span = frame.to - frame.from;
    const [from, to] = [Math.min(a, b), Math.max(a, b)].map((share) => frame.from + span * share);
    this.view = within({ from, to: Math.max(to, from + 5) }, this.bounds);
    this.paint();
  }
}
