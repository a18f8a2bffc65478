"""The words on the socket: what a browser may say, and the frames that it is told.

A frame is encoded once and the same text goes to everybody who gets it.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
from pydantic import ValidationError

from tracker.projections.rows import moment
from tracker.schemas import PlanFilter

LARGEST_FRAME = 64 * 1024  # characters that a client may send at once
LONGEST_STREAM = 300  # characters of a stream's name
LARGEST_SEQ = 2**63 - 1
PLAN = "plan:"
FILTERS = frozenset(PlanFilter.model_fields) - {"cursor", "limit"}
LISTS = ["plans", "agents"]  # other packages add theirs: see `Hub.register_list`


class Refused(Exception):
    """What the client said cannot be done; it is told so, and the socket stays open."""

    def __init__(self, code: str, detail: str, stream: str = "") -> None:
        """`code` is for programs, `detail` for people, `stream` names the subscription if there is one."""
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.stream = stream


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Send this stream: for a plan, the rows after `after` (None: a snapshot first); for plans, those that match.

    `filter`: the members of a PlanFilter that were given, as JSON in one order; `tenant`: only that tenant's.
    """

    stream: str
    after: int | None = None
    filter: str = "{}"
    tenant: str | None = None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Stop sending this stream."""

    stream: str


@dataclass(frozen=True, slots=True)
class Ping:
    """Say something, so that the client knows that it is heard."""


def parse(text: str) -> Subscribe | Unsubscribe | Ping:
    """What a client's frame asks for; raises Refused."""
    if len(text) > LARGEST_FRAME:
        raise Refused("too-large", f"a frame may have {LARGEST_FRAME} characters")
    try:
        said = orjson.loads(text)
    except ValueError:
        raise Refused("bad-json", "a frame is one JSON object") from None
    if not isinstance(said, dict):
        raise Refused("bad-json", "a frame is one JSON object")
    op = said.get("op")
    if op == "sub":
        return _subscribe(said)
    if op == "unsub":
        return Unsubscribe(_stream(said))
    if op == "ping":
        return Ping()
    raise Refused("unknown-op", "op is sub, unsub or ping")


def subscription(stream: str, after: int | None, filter: dict[str, Any]) -> Subscribe:
    """What was asked for in other ways than by a frame, under the same rules; raises Refused."""
    return _subscribe({"stream": stream, "after": after, "filter": filter})


def _subscribe(said: dict[str, Any]) -> Subscribe:
    stream = _stream(said)
    return Subscribe(stream, _after(said, stream), *_filter(said, stream))


def _stream(said: dict[str, Any]) -> str:
    stream = said.get("stream")
    if not isinstance(stream, str) or len(stream) > LONGEST_STREAM:
        raise Refused("unknown-stream", "stream is a name")
    if stream not in LISTS and (not stream.startswith(PLAN) or stream == PLAN):
        raise Refused("unknown-stream", f"stream is {PLAN}<id>, {' or '.join(LISTS)}", stream)
    return stream


def _after(said: dict[str, Any], stream: str) -> int | None:
    after = said.get("after")
    if after is None or (type(after) is int and 0 <= after <= LARGEST_SEQ):
        return after
    raise Refused("bad-after", "after is the seq of a row, 0 or larger", stream)


def _filter(said: dict[str, Any], stream: str) -> tuple[str, str | None]:
    wanted = {} if said.get("filter") is None else said["filter"]
    if not isinstance(wanted, dict) or wanted.keys() - FILTERS:
        raise Refused("bad-filter", f"filter may have {', '.join(sorted(FILTERS))}", stream)
    if isinstance(wanted.get("state"), str):
        wanted["state"] = [wanted["state"]]
    try:
        which = PlanFilter.model_validate(wanted)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise Refused("bad-filter", told, stream) from None
    which.state.sort()
    return which.model_dump_json(exclude_defaults=True, exclude={"tenant"}), which.tenant or None


@dataclass(slots=True)
class Frame:
    """A frame ready to be sent; `size` in bytes.

    `op`, `stream` and `at` (a seq, or a list's digest) are what it says of itself; `framed`: what a transport has made
    of it, for all its sockets.
    """

    text: str
    size: int
    op: str = ""
    stream: str = ""
    at: int | str | None = None
    framed: Any = None


def encode(op: str, **members: Any) -> Frame:
    """A frame of the server."""
    raw = orjson.dumps({"op": op, **members})
    at = members.get("digest", members.get("seq"))
    return Frame(raw.decode(), len(raw), op, members.get("stream", ""), at)


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one plan, contiguous from `first` to `last`, with their frame."""

    stream: str
    first: int
    last: int
    rows: list[dict[str, Any]]
    frame: Frame

    @classmethod
    def of(cls, stream: str, rows: list[dict[str, Any]], head: int | None = None) -> "Rows":
        """Encode rows, which are at least one and in order of seq. `head`: how far the log reaches, if beyond them."""
        more = {} if head is None or head == rows[-1]["seq"] else {"head": head}
        return cls(stream, rows[0]["seq"], rows[-1]["seq"], rows, encode("rows", stream=stream, rows=rows, **more))

    def after(self, seq: int) -> "Rows | None":
        """What of these has a larger seq: all, as it is encoded; some; or None."""
        if seq < self.first:
            return self
        if seq >= self.last:
            return None
        return Rows.of(self.stream, [row for row in self.rows if row["seq"] > seq])


@dataclass(frozen=True, slots=True)
class Item:
    """A line of a list stream. `stamp` changes whenever the line does."""

    id: str
    stamp: int
    body: dict[str, Any]


def stamp_of(body: dict[str, Any]) -> int:
    """A stamp for a body that has no seq."""
    return zlib.crc32(orjson.dumps(body))


def digest(items: Iterable[Item]) -> str:
    """What a list looks like, in eight hex digits: CRC-32 over the lines `id:stamp`, each ended by a line feed."""
    lines = "".join(f"{item.id}:{item.stamp}\n" for item in items)
    return f"{zlib.crc32(lines.encode()):08x}"


def now() -> str:
    """The server's time, for clients that want to know how far off their clock is."""
    return str(moment(datetime.now(UTC)))
