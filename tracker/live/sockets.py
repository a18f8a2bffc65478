"""The browser's socket as a plain ASGI application.

Not a Channels consumer: the hub needs no channel of a layer for each socket, only somebody who hears the client.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from accounts.models import ApiKey, Membership, User
from tracker.live.access import same_origin, visitor
from tracker.live.connection import UNAUTHENTICATED, Connection
from tracker.live.hub import hub
from tracker.live.protocol import Ping, Refused, Subscribe, now, parse
from tracker.live.transport import Send, transport_of

FORBIDDEN = 4403
Receive = Callable[[], Awaitable[dict[str, Any]]]


async def live_socket(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Serve one socket until either side closes it."""
    await receive()  # websocket.connect
    if not same_origin(scope):
        await send({"type": "websocket.close", "code": FORBIDDEN})
        return
    who = await hub.reader.read(visitor, scope)
    await send({"type": "websocket.accept"})
    if who is None or not who.caller.may("read"):
        # After accepting, so that the page learns the reason: a refused handshake has none.
        await send({"type": "websocket.close", "code": UNAUTHENTICATED, "reason": "sign in"})
        return
    await _serve(Connection(transport_of(send), who), receive)


async def _serve(connection: Connection, receive: Receive) -> None:
    hub.enter(connection)
    listening = asyncio.create_task(_listen(connection, receive), name="live-listen")
    ended = asyncio.create_task(connection.ended(), name="live-ended")
    try:
        await asyncio.wait([listening, ended], return_when=asyncio.FIRST_COMPLETED)
    finally:
        hub.leave(connection)
        for task in (listening, ended):
            task.cancel()
        await connection.end()
        await asyncio.gather(listening, ended, return_exceptions=True)


async def _listen(connection: Connection, receive: Receive) -> None:
    while (message := await receive())["type"] != "websocket.disconnect":
        try:
            asked = parse(message.get("text") or "")
            if isinstance(asked, Subscribe):
                hub.subscribe(connection, asked)
            elif isinstance(asked, Ping):
                connection.tell("pong", time=now())
            else:
                hub.unsubscribe(connection, asked)
        except Refused as refused:
            connection.tell("error", refused.stream, code=refused.code, detail=refused.detail)


@receiver([post_save, post_delete], sender=Membership, dispatch_uid="live.access.membership")
@receiver([post_save, post_delete], sender=ApiKey, dispatch_uid="live.access.key")
@receiver([post_save, post_delete], sender=User, dispatch_uid="live.access.user")
@receiver(post_delete, sender=Session, dispatch_uid="live.access.session")
def _access_changed(created: bool = False, **_: Any) -> None:
    if not created:
        transaction.on_commit(hub.access_changed)
