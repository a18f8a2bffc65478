// Rows that exist only while they can be seen. The scroller keeps the height of all of them; a few dozen nodes are reused.

const OVERSCAN = 6;

export class VirtualRows {
  /**
   * scroller: the element that scrolls; sizer: its child that is as high as all rows; height: of a row, in pixels;
   * make: () => element; fill: (element, index) => void; inset: pixels at the top that a sticky header covers.
   */
  constructor({ scroller, sizer, height, make, fill, inset = 0 }) {
    Object.assign(this, { scroller, sizer, height, make, fill, inset });
    this.count = 0;
    this.shown = new Map();
    this.spare = [];
    this.measure();
    scroller.addEventListener("scroll", () => this.seen(), { passive: true });
    new ResizeObserver(() => this.seen()).observe(scroller);
  }

  // Kept, because whoever asks for it after a change makes the browser lay out the page there and then.
  measure() {
    this.top = this.scroller.scrollTop;
    this.room = this.scroller.clientHeight;
  }

  seen() {
    this.measure();
    this.render(false);
  }

  scrollTo(top) {
    const end = this.count * this.height + this.inset - this.room;
    const next = Math.max(0, Math.min(top, end));
    if (next === this.top) return;
    this.top = next;
    this.scroller.scrollTop = next;
  }

  /** Set the number of rows and repaint those in view, which with `end` are the last. */
  update(count, end = false) {
    if (count !== this.count) {
      this.count = count;
      this.sizer.style.blockSize = `${count * this.height}px`;
    }
    if (!this.room) this.measure();
    if (end) this.scrollTo(Infinity);
    this.render(true);
  }

  /** Rows of another height: everything is placed anew. */
  resize(height) {
    this.height = height;
    this.sizer.style.blockSize = `${this.count * height}px`;
    for (const [index, node] of this.shown) node.style.transform = `translateY(${index * height}px)`;
    this.render(false);
  }

  range() {
    const first = Math.max(0, Math.floor(this.top / this.height) - OVERSCAN);
    const last = Math.min(this.count, Math.ceil((this.top + this.room) / this.height) + OVERSCAN);
    return [first, last];
  }

  /** refill: also rows that were in view before. */
  render(refill) {
    const [first, last] = this.range();
    for (const [index, node] of this.shown) {
      if (index >= first && index < last) continue;
      node.hidden = true;
      node.removeAttribute("id"); // which another node may get
      this.spare.push(node);
      this.shown.delete(index);
    }
    for (let index = first; index < last; index += 1) {
      const known = this.shown.get(index);
      if (!known) this.fill(this.place(index), index);
      else if (refill) this.fill(known, index);
    }
  }

  place(index) {
    const node = this.spare.pop() ?? this.sizer.appendChild(this.make());
    node.hidden = false;
    node.style.transform = `translateY(${index * this.height}px)`;
    this.shown.set(index, node);
    return node;
  }

  /** Scroll as little as needed to bring a row into full view. */
  reveal(index) {
    const top = index * this.height;
    const room = this.room - this.inset;
    if (top < this.top) this.scrollTo(top);
    else if (top + this.height > this.top + room) this.scrollTo(top + this.height - room);
    this.render(false);
  }

  centre(index) {
    this.scrollTo(index * this.height - this.room / 2);
    this.render(false);
  }

  get atEnd() {
    const { scrollTop, clientHeight, scrollHeight } = this.scroller;
    return scrollTop + clientHeight >= scrollHeight - this.height;
  }

  toEnd() {
    this.scrollTo(Infinity);
    this.render(false);
  }
}
