// The approvals that wait for a decision, as the page's socket tells them: one subscription for all that shows them,
// which on every page is the count in the navigation.

import { setText } from "../lib/dom.js";
import { setTitleCount } from "../lib/title.js";
import { waitsFor } from "./told.js";

const SHOWN = 99;

class Waiting extends EventTarget {
  items = new Map(); // id -> newest item
  known = false; // a snapshot was here
  #live = null;

  /** Begin to listen; once for a page. */
  follow(live) {
    this.#live = live;
    live.subscribe("approvals", {
      on: {
        snapshot: (data) => this.#all(data.items),
        patch: (items, { gone = [] } = {}) => this.#some(items, gone),
      },
    });
  }

  /** Hear the rows of a plan's log after `seq`; gives the subscription. Where a page shows the plan itself, none. */
  followPlan(planId, seq, rows) {
    return document.getElementById("plan") ? null : this.#live?.subscribe(`plan:${planId}`, { after: seq, on: { rows } });
  }

  #all(items) {
    const gone = [...this.items.keys()].filter((id) => !items.some((item) => item.id === id));
    const moved = items.filter((item) => this.items.get(item.id)?.stamp !== item.stamp);
    const first = !this.known;
    this.known = true;
    if (first || gone.length || moved.length) this.#some(moved, gone);
  }

  #some(items, gone) {
    for (const item of items) this.items.set(item.id, item);
    for (const id of gone) this.items.delete(id);
    this.dispatchEvent(new CustomEvent("change", { detail: { moved: items.map((item) => item.id), gone } }));
  }
}

export const waiting = new Waiting();

const entry = document.getElementById("nav-approvals");

/** Who looks: {by: "user:alice", decides: whether the role may}. */
export const me = { by: entry?.dataset.me ?? "", decides: entry?.dataset.decides === "yes" };

function countMine() {
  const mine = me.decides ? [...waiting.items.values()].filter((item) => waitsFor(item, me.by)).length : 0;
  const text = mine > SHOWN ? `${SHOWN}+` : String(mine);
  const badge = entry.querySelector(".count");
  badge.hidden = !mine;
  setText(badge.querySelector("[aria-hidden]"), text);
  setText(badge.querySelector(".sr-only"), `${text} wait for you`);
  setTitleCount(mine ? text : "");
}

if (entry) waiting.addEventListener("change", countMine);
