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
    scroller.addEventListener("scroll", () => this.render(false), { passive: true });
    new ResizeObserver(() => this.render(false)).observe(scroller);
  }

  /** Set the number of rows and repaint those in view. */
  update(count) {
    if (count !== this.count) {
      this.count = count;
      this.sizer.style.blockSize = `${count * this.height}px`;
    }
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
    const top = this.scroller.scrollTop;
    const first = Math.max(0, Math.floor(top / this.height) - OVERSCAN);
    const last = Math.min(this.count, Math.ceil((top + this.scroller.clientHeight) / this.height) + OVERSCAN);
    return [first, last];
  }

  /** refill: also rows that were in view before. */
  render(refill) {
    const [first, last] = this.range();
    for (const [index, node] of this.shown) {
      if (index >= first && index < last) continue;
      node.hidden = true;
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
    const room = this.scroller.clientHeight - this.inset;
    if (top < this.scroller.scrollTop) this.scroller.scrollTop = top;
    else if (top + this.height > this.scroller.scrollTop + room) this.scroller.scrollTop = top + this.height - room;
    this.render(false);
  }

  centre(index) {
    this.scroller.scrollTop = Math.max(0, index * this.height - this.scroller.clientHeight / 2);
    this.render(false);
  }

  get atEnd() {
    const { scrollTop, clientHeight, scrollHeight } = this.scroller;
    return scrollTop + clientHeight >= scrollHeight - this.height;
  }

  toEnd() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
    this.render(false);
  }
}
