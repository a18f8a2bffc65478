"""The machine of a declared plan as a picture and in words: pure, and for the same definition always the same.

A layered drawing from top to bottom. Ways that lead back are found first and drawn in lanes at the right; all others go
down, past other layers by way of bends. The order within a layer is that of the neighbours' middle, a few times over.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from planner.definition import Edge as Way
from planner.definition import StateConfig, edges
from planner.machine import Run

WIDTH, HEIGHT = 184, 58  # of a state
GAP_X, GAP_Y, MARGIN, LANE = 32, 62, 20, 18
BEND = 12  # room for a way that passes a layer
SWEEPS = 6
NAME_CHARS, NOTE_CHARS, LABEL_CHARS = 21, 25, 24


@dataclass(slots=True)
class Node:
    """A state in the picture; `state` is current, visited, completed, failed, or empty."""

    name: str
    x: float = 0
    y: float = 0
    lines: list[str] = field(default_factory=list)
    note: str = ""
    full: str = ""
    terminal: bool = False
    initial: bool = False
    state: str = ""
    visits: int = 0

    @property
    def mark(self) -> str:
        """The icon that says its state besides the colour."""
        return {"": "check", "visited": "check", "current": "in_progress"}.get(self.state, self.state)


@dataclass(slots=True)
class Line:
    """One or more ways between two states, drawn as one; `kind` is way, failure or back."""

    source: str
    target: str
    kind: str
    path: str = ""
    label: str = ""
    label_x: float = 0
    label_y: float = 0
    full: str = ""
    taken: bool = False


@dataclass(slots=True)
class Drawing:
    """What there is to draw, in pixels."""

    width: int
    height: int
    nodes: list[Node]
    lines: list[Line]
    node_width: int = WIDTH
    node_height: int = HEIGHT


@dataclass
class _Graph:
    """Names in layers; a bend is a name with the way that it belongs to and the layer that it passes."""

    layers: list[list[str]]
    down: dict[str, list[str]]  # neighbours below, also of bends
    up: dict[str, list[str]]
    bends: dict[tuple[str, str], list[str]]


def draw(states: dict[str, StateConfig], initial: str, run: Run | None = None) -> Drawing:
    """The picture of a machine; with a run, where it stands and the ways that it went."""
    ways = [way for way in edges(states) if way.target in states]
    back = _leading_back(list(states), ways, initial)
    ranks = _ranks(list(states), ways, back, initial)
    graph = _layered(list(states), ways, back, ranks)
    for turn in range(SWEEPS):
        _sort(graph, downwards=turn % 2 == 0)
    columns = _columns(graph)
    nodes = {name: _node(name, states[name], initial, run) for name in states}
    for name, node in nodes.items():
        node.x, node.y = columns[name] - WIDTH / 2, MARGIN + ranks[name] * (HEIGHT + GAP_Y)
    lines, right = _lines(states, ways, back, nodes, graph, columns, run)
    height = MARGIN * 2 + max(ranks.values()) * (HEIGHT + GAP_Y) + HEIGHT
    return Drawing(round(right + MARGIN), round(height), list(nodes.values()), lines)


# --- layers -----------------------------------------------------------------------------------------------------------


def _leading_back(names: list[str], ways: list[Way], initial: str) -> set[tuple[str, str]]:
    """Ways that lead to a state above, or to itself: without them there is no circle."""
    after: dict[str, list[str]] = {name: [] for name in names}
    for way in ways:
        after[way.source].append(way.target)
    found: set[tuple[str, str]] = set()
    done: set[str] = set()
    for root in [initial, *names] if initial in after else names:
        open_: dict[str, int] = {}  # on the path from the root: which way comes next
        stack = [root] if root not in done else []
        while stack:
            name = stack[-1]
            place = open_.setdefault(name, 0)
            if place == len(after[name]):
                done.add(stack.pop())
                del open_[name]
                continue
            open_[name] += 1
            target = after[name][place]
            if target in open_:
                found.add((name, target))
            elif target not in done:
                stack.append(target)
    return found


def _ranks(names: list[str], ways: list[Way], back: set[tuple[str, str]], initial: str) -> dict[str, int]:
    """The layer of each state: below all from which a way leads to it."""
    before: dict[str, set[str]] = {name: set() for name in names}
    for way in ways:
        if (way.source, way.target) not in back:
            before[way.target].add(way.source)
    ranks: dict[str, int] = {}
    waiting = [initial, *names] if initial in before else list(names)
    while waiting:
        name = waiting[-1]
        missing = sorted(before[name] - ranks.keys())
        if missing:
            waiting += missing
        else:
            ranks.setdefault(name, max((ranks[b] + 1 for b in before[name]), default=0))
            waiting.pop()
    return ranks


def _layered(names: list[str], ways: list[Way], back: set[tuple[str, str]], ranks: dict[str, int]) -> _Graph:
    graph = _Graph([[] for _ in range(max(ranks.values()) + 1)], {}, {}, {})
    for name in names:
        graph.layers[ranks[name]].append(name)
        graph.down[name], graph.up[name] = [], []
    for pair in dict.fromkeys((way.source, way.target) for way in ways):
        if pair in back:
            continue
        chain = [pair[0]]
        for layer in range(ranks[pair[0]] + 1, ranks[pair[1]]):
            bend = f"\0{layer}\0{pair[0]}\0{pair[1]}"
            graph.layers[layer].append(bend)
            graph.down[bend], graph.up[bend] = [], []
            chain.append(bend)
        chain.append(pair[1])
        graph.bends[pair] = chain[1:-1]
        for above, below in pairwise(chain):
            graph.down[above].append(below)
            graph.up[below].append(above)
    return graph


def _sort(graph: _Graph, *, downwards: bool) -> None:
    """Put each layer into the order of the middle of its neighbours in the layer before."""
    layers = graph.layers if downwards else graph.layers[::-1]
    near = graph.up if downwards else graph.down
    for before, layer in pairwise(layers):
        place = {name: i for i, name in enumerate(before)}
        own = {name: i for i, name in enumerate(layer)}

        def middle(name: str, place: dict[str, int] = place, own: dict[str, int] = own) -> tuple[float, int]:
            places = [place[n] for n in near[name] if n in place]
            return (sum(places) / len(places) if places else own[name], own[name])

        layer.sort(key=middle)


def _columns(graph: _Graph) -> dict[str, float]:
    """The middle of each name from left to right: near its neighbours, and never over another one."""
    found: dict[str, float] = {}
    for layer in graph.layers:
        _spread(layer, {name: i * (WIDTH + GAP_X) * 1.0 for i, name in enumerate(layer)}, found)
    for turn in range(SWEEPS):
        near = graph.up if turn % 2 == 0 else graph.down
        for layer in graph.layers if turn % 2 == 0 else graph.layers[::-1]:
            wish = {n: _mean([found[m] for m in near[n]], found[n]) for n in layer}
            _spread(layer, wish, found)
    left = min(found[name] - _wide(name) / 2 for name in found)
    return {name: at - left + MARGIN for name, at in found.items()}


def _mean(values: list[float], default: float) -> float:
    return sum(values) / len(values) if values else default


def _wide(name: str) -> float:
    return BEND if name.startswith("\0") else WIDTH


def _spread(layer: list[str], wish: dict[str, float], found: dict[str, float]) -> None:
    """Give each name its wish, pushed apart as far as needed; what was pushed is shared by all that touch."""
    groups: list[tuple[list[str], list[float], float]] = []  # names, their offsets, where the first one is
    for name in layer:
        names, offsets, at = [name], [0.0], wish[name]
        while groups and at < groups[-1][2] + groups[-1][1][-1] + _apart(groups[-1][0][-1], names[0]):
            before, shifts, _ = groups.pop()
            step = shifts[-1] + _apart(before[-1], names[0])
            names, offsets = before + names, shifts + [step + offset for offset in offsets]
            at = sum(wish[n] - o for n, o in zip(names, offsets, strict=True)) / len(names)
        groups.append((names, offsets, at))
    for names, offsets, at in groups:
        found.update({name: at + offset for name, offset in zip(names, offsets, strict=True)})


def _apart(one: str, other: str) -> float:
    return (_wide(one) + _wide(other)) / 2 + GAP_X


# --- states -----------------------------------------------------------------------------------------------------------


def _node(name: str, state: StateConfig, initial: str, run: Run | None) -> Node:
    asked = list(state.asked.values())
    note = asked[0].event_type if len(asked) == 1 else f"{len(asked)} side by side, {state.join}" if asked else ""
    if not asked and not state.is_terminal and state.default_next is None and state.transitions:
        note = f"waits for {state.transitions[0].on_event}"
    told = ", ".join(action.event_type for action in asked)
    full = ": ".join(part for part in (name, state.description or told) if part)
    node = Node(name, lines=wrapped(name), note=elided(note, NOTE_CHARS), full=full, terminal=state.is_terminal)
    node.initial = name == initial
    if run:
        node.visits = run.visited.get(name, 0)
        here = run.state == name and run.phase != "new"
        node.state = (run.phase if run.over else "current") if here else "visited" if node.visits else ""
    return node


def wrapped(name: str) -> list[str]:
    """A name on one line or on two."""
    if len(name) <= NAME_CHARS:
        return [name]
    cut = max(name.rfind(sign, 0, NAME_CHARS) for sign in "-_. :/") + 1 or NAME_CHARS
    return [name[:cut].rstrip(), elided(name[cut:].lstrip(), NAME_CHARS)]


def elided(text: str, most: int) -> str:
    """A text that is too long without its middle."""
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - end - 1]}\N{HORIZONTAL ELLIPSIS}{text[-end:]}"


# --- ways -------------------------------------------------------------------------------------------------------------


def _lines(
    states: dict[str, StateConfig],
    ways: list[Way],
    back: set[tuple[str, str]],
    nodes: dict[str, Node],
    graph: _Graph,
    columns: dict[str, float],
    run: Run | None,
) -> tuple[list[Line], float]:
    """The lines, and how far to the right anything goes."""
    edge = max(columns[name] + _wide(name) / 2 for name in columns)
    together: dict[tuple[str, str], list[Way]] = {}
    for way in ways:
        together.setdefault((way.source, way.target), []).append(way)
    exits = {name: [p for p in together if p[0] == name and p not in back] for name in nodes}
    entries = {name: [p for p in together if p[1] == name and p not in back] for name in nodes}
    for name in nodes:
        exits[name].sort(key=lambda pair: columns[(graph.bends[pair] or [pair[1]])[0]])
        entries[name].sort(key=lambda pair: columns[(graph.bends[pair] or [pair[0]])[-1]])
    lines, lanes = [], 0
    for pair, some in together.items():
        line = Line(*pair, kind="failure" if all(way.why == "failure" for way in some) else "way")
        line.label, line.full = _said(states[pair[0]], some)
        line.taken = bool(run and pair in run.taken)
        source, target = nodes[pair[0]], nodes[pair[1]]
        if pair in back:
            line.kind = line.kind if line.kind == "failure" else "back"
            lanes += 1
            passed = graph.layers[_layer(target) : _layer(source) + 1]
            beside = max(columns[name] + _wide(name) / 2 for layer in passed for name in layer)
            _draw_back(line, source, target, beside + LANE * lanes, lanes)
        else:
            start = _port(source, exits[pair[0]], pair)
            points = [(columns[b], nodes_y) for b, nodes_y in _bend_points(graph.bends[pair], source)]
            if line.label and len(exits[pair[0]]) > 1:  # side by side they would run into each other
                line.label_y = 15.0 * (exits[pair[0]].index(pair) % 2) - 7.5
            _draw_down(line, (start, source.y + HEIGHT), points, (_port(target, entries[pair[1]], pair), target.y))
        lines.append(line)
    labels = [line.label_x + len(line.label) * 3.4 for line in lines if line.label]
    return lines, max([edge + LANE * lanes, *labels])


def _layer(node: Node) -> int:
    return round((node.y - MARGIN) / (HEIGHT + GAP_Y))


def _bend_points(bends: list[str], source: Node) -> Iterable[tuple[str, float]]:
    for i, bend in enumerate(bends, 1):
        yield bend, source.y + i * (HEIGHT + GAP_Y)


def _port(node: Node, pairs: list[tuple[str, str]], pair: tuple[str, str]) -> float:
    """Where a line touches a state: several share its width."""
    step = WIDTH / (len(pairs) + 1)
    return node.x + step * (pairs.index(pair) + 1)


def _draw_down(
    line: Line, start: tuple[float, float], bends: list[tuple[float, float]], end: tuple[float, float]
) -> None:
    """From the foot of a state to the head of one below, straight through the layers in between."""
    path, (x, y) = f"M{start[0]:.0f},{start[1]:.0f}", start
    for column, top in [*bends, end]:
        middle = (y + top) / 2
        path += f"C{x:.0f},{middle:.0f} {column:.0f},{middle:.0f} {column:.0f},{top:.0f}"
        x, y = column, top
        if (column, top) != end:
            y = top + HEIGHT
            path += f"V{y:.0f}"
    first = bends[0] if bends else end
    line.path = path
    line.label_x, line.label_y = (start[0] + first[0]) / 2, line.label_y + (start[1] + first[1]) / 2 + 4


def _draw_back(line: Line, source: Node, target: Node, lane: float, number: int) -> None:
    """From the side of a state up a lane at the right, and into the side of one above, or of itself."""
    shift = 10 if source is target else 0
    leave, come = source.y + HEIGHT / 2 + shift, target.y + HEIGHT / 2 - shift - (0 if shift else 5 * (number % 4))
    right, into = source.x + WIDTH, target.x + WIDTH
    r = min(8.0, abs(leave - come) / 2)
    line.path = (
        f"M{right:.0f},{leave:.0f}H{lane - r:.0f}Q{lane:.0f},{leave:.0f} {lane:.0f},{leave - r:.0f}"
        f"V{come + r:.0f}Q{lane:.0f},{come:.0f} {lane - r:.0f},{come:.0f}H{into:.0f}"
    )
    line.label_x, line.label_y = right + len(line.label) * 3.4 + 8, leave - 5


def _said(state: StateConfig, ways: list[Way]) -> tuple[str, str]:
    """What stands at a line, in short and in full; nothing where there is only one way on."""
    words = [_word(way) for way in ways]
    plain = sum(1 for way in state.transitions) + (state.default_next is not None) == 1
    if plain and not any(way.condition or way.why == "failure" for way in ways):
        return "", " or ".join(words)
    if not any(way.condition or way.why for way in ways):
        return "else", "else"
    short = ways[0].condition or ("on failure" if ways[0].why == "failure" else ways[0].why)
    more = f" +{len(ways) - 1}" if len(ways) > 1 else ""
    return elided(short, LABEL_CHARS - len(more)) + more, " or ".join(words)


def _word(way: Way) -> str:
    if way.why == "failure":
        return "on failure"
    return f"on {way.why}{f' if {way.condition}' if way.condition else ''}" if way.why else "else"


# --- in words ---------------------------------------------------------------------------------------------------------


def told(states: dict[str, StateConfig], initial: str) -> list[str]:
    """The machine in sentences, one a state: for those who do not see the picture."""
    return [_sentence(name, state, initial) for name, state in states.items()]


def _sentence(name: str, state: StateConfig, initial: str) -> str:
    asked = [action.event_type for action in state.asked.values()]
    joined = f" ({state.join} of them)" if len(asked) > 1 else ""
    parts = [f"asks for {', '.join(asked)}{joined}"] if asked else []
    parts += [f"goes to {way.target} {_word(way)}" if way.why else "" for way in edges({name: state})]
    if state.default_next is not None:
        parts.append(f"{'otherwise ' if state.transitions else ''}goes on to {state.default_next}")
    if state.is_terminal:
        parts.append("ends the plan")
    begins = " (the first)" if name == initial else ""
    return f"{name}{begins}: {'; '.join(part for part in parts if part) or 'leads nowhere'}."
