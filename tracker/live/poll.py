"""`GET /v1/live`: the streams by long-poll, where sockets are not let through. A plain ASGI application.

A poll is a connection to the hub that ends with the first thing it is told: sockets and polls go one way. While it
waits there is no thread and no query for it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from tracker.bus.publish import Receive, Scope, Send, only, respond, with_problems
from tracker.errors import Forbidden, Invalid, Problem, Unauthenticated, Unavailable
from tracker.live.access import Visitor, visitor
from tracker.live.connection import UNAUTHENTICATED, Connection
from tracker.live.gathered import Gathered
from tracker.live.hub import hub
from tracker.live.protocol import FILTERS, PLAN, Refused, Subscribe, subscription

WAIT_SECONDS = 25.0  # unless the client says so
LONGEST_WAIT = 30.0
PATIENCE = 10.0  # beyond the wait, for a database that does not answer
MOST_STREAMS = 20
POINTERS = {"unknown-stream": "/stream", "bad-after": "/after", "bad-filter": "/filter"}


@dataclass(frozen=True, slots=True)
class Poll:
    """What is asked for: streams, what the client has of each (a seq, a digest, or None), seconds to wait."""

    streams: list[Subscribe]
    known: Mapping[str, int | str | None]
    wait: float


@with_problems
async def live_poll(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what is new, at once or as soon as there is something; after the wait with heads."""
    only(scope, "GET")
    asked = asked_for(scope["query_string"])
    answer = asyncio.create_task(_answer(scope, asked), name="live-poll")
    gone = asyncio.create_task(_gone(receive), name="live-poll-gone")
    try:
        await asyncio.wait({answer, gone}, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            await respond(send, 200, answer.result(), "application/json", {"Cache-Control": "no-store"})
    finally:
        answer.cancel()
        gone.cancel()
        await asyncio.gather(answer, gone, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def asked_for(query: bytes) -> Poll:
    """What a query string asks for; raises Invalid.

    `stream` may be repeated; then so is `after`, in the same order, empty for a stream of which nothing is known.
    """
    given = parse_qs(query.decode("utf-8", "replace"), keep_blank_values=True)
    streams, afters = given.pop("stream", []), given.pop("after", [])
    wait = _wait(given.pop("wait", [str(WAIT_SECONDS)])[-1])
    if not 0 < len(streams) <= MOST_STREAMS or len(set(streams)) < len(streams):
        raise _invalid("/stream", f"name 1 to {MOST_STREAMS} streams, each once")
    if len(afters) not in {0, len(streams)}:
        raise _invalid("/after", "there is one for each stream, or none")
    if unknown := given.keys() - FILTERS:
        raise _invalid(f"/{min(unknown)}", "is no parameter")
    filter = {name: values if name == "state" else values[-1] for name, values in given.items()}
    known = dict(zip(streams, afters or [""] * len(streams), strict=True))
    try:
        wanted = [_subscribe(stream, after, filter) for stream, after in known.items()]
    except Refused as refused:
        raise _invalid(POINTERS[refused.code], refused.detail) from None
    return Poll(wanted, {each.stream: each.after or known[each.stream] or None for each in wanted}, wait)


def _subscribe(stream: str, after: str, filter: Mapping[str, Any]) -> Subscribe:
    """The subscription; `after` is a seq for a plan, and for a list only the poll's affair."""
    if not stream.startswith(PLAN):
        return subscription(stream, None, dict(filter) if stream == "plans" else {})
    if after and not (after.isascii() and after.isdigit() and len(after) < 20):
        raise Refused("bad-after", "after is the seq of a row, 0 or larger", stream)
    return subscription(stream, int(after) if after else None, {})


def _wait(text: str) -> float:
    try:
        return min(max(float(text), 0.0), LONGEST_WAIT)
    except ValueError:
        raise _invalid("/wait", f"is a number of seconds, 0 to {LONGEST_WAIT:g}") from None


def _invalid(pointer: str, detail: str) -> Invalid:
    return Invalid("the query cannot be answered", errors=[{"pointer": pointer, "detail": detail}])


async def _answer(scope: Scope, asked: Poll) -> bytes:
    until = asyncio.get_running_loop().time() + asked.wait
    try:
        async with asyncio.timeout(asked.wait + PATIENCE):
            who = await hub.reader.read(visitor, scope)
            if who is None:
                raise Unauthenticated("send a valid API key as 'Authorization: Bearer ...', or sign in")
            if not who.caller.may("read"):
                raise Forbidden("this needs the scope 'read'")
            return await _listen(who, asked, until)
    except TimeoutError:
        raise Unavailable("the streams cannot be read right now", retry_after=1) from None


async def _listen(who: Visitor, asked: Poll, until: float) -> bytes:
    """Listen until there is an answer, or until that time of the event loop's clock."""
    gathered = Gathered(asked.known)
    connection = Connection(gathered, who, passing=True)
    hub.enter(connection)
    try:
        for each in asked.streams:
            hub.subscribe(connection, each)
        await _wait_for(gathered, connection, until)
    finally:
        hub.leave(connection)
        await connection.end()
    if gathered.closed is not None:
        raise _let_go(*gathered.closed)
    return gathered.body()


async def _wait_for(gathered: Gathered, connection: Connection, until: float) -> None:
    loop, asked = asyncio.get_running_loop(), set[str]()
    while not gathered.complete and await gathered.stirred(until - loop.time()):
        for stream in gathered.unfinished_lists - asked:
            hub.ask_head(connection, stream)
        asked |= gathered.unfinished_lists


def _let_go(code: int, reason: str) -> Problem:
    return Unauthenticated(reason) if code == UNAUTHENTICATED else Unavailable(reason, retry_after=1)
