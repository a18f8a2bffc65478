// The plan page's warning that tasks wait for an agent that is not there: what the socket says of agents, held against
// the plan's pending tasks.

import { h, icon } from "./lib/dom.js";
import { everySecond } from "./lib/ticker.js";
import { now, toMs } from "./lib/time.js";

const PATIENCE = 5_000; // a request that came just now is being handed over
const SHOWN = 3; // types

/** Keep `place` (empty when all is well) true to the plan of `store`. */
export function warnOfDeafness(live, store, place) {
  const agents = new Map();
  let heard = false; // without the list of agents nothing is known
  let told = "";

  function unheard(at) {
    if (!heard || store.plan.held) return [];
    const consumed = new Set([...agents.values()].filter((agent) => agent.connected).flatMap((agent) => agent.consumed_events));
    const types = new Map();
    for (const task of store.tasks.values()) {
      if (task.state !== "pending" || consumed.has(task.event_type)) continue;
      const since = toMs(task.created_at) ?? at;
      const one = types.get(task.event_type) ?? { type: task.event_type, count: 0, since };
      types.set(task.event_type, { ...one, count: one.count + 1, since: Math.min(one.since, since) });
    }
    return [...types.values()].filter((one) => at - one.since > PATIENCE).sort((a, b) => a.since - b.since);
  }

  function show(at = now()) {
    const found = unheard(at);
    const says = JSON.stringify(found);
    if (says === told) return;
    told = says;
    place.hidden = !found.length;
    place.replaceChildren(...(found.length ? [icon("stalled"), h("div", {}, found.slice(0, SHOWN).map(line), rest(found.length - SHOWN))] : []));
  }

  const take = (items) => items.forEach((item) => agents.set(item.agent_id, item));
  live.subscribe("agents", {
    on: {
      snapshot: (data) => (agents.clear(), take(data.items), (heard = true), show()),
      patch: (items, { gone = [] }) => (take(items), gone.forEach((id) => agents.delete(id)), show()),
    },
  });
  everySecond(show);
}

function line({ type, count, since }) {
  const waits = count === 1 ? "A task waits" : `${count} tasks wait`;
  const time = h("rel-time", { datetime: new Date(since).toISOString() });
  return h("p", {}, `${waits}: no connected agent consumes `, h("span", { class: "mono" }, type), ". Since ", time, ". ", h("a", { href: "/agents" }, "Agents"));
}

const rest = (more) => (more > 0 ? h("p", {}, `And ${more} more event types.`) : null);
