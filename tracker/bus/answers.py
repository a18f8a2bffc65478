"""Answers that the server itself gave (a person's decision): whoever recorded them is told when they have left."""

import asyncio
import logging
from collections.abc import Callable

from tracker import writer
from tracker.changes import Change
from tracker.errors import Problem

log = logging.getLogger(__name__)
Sent = Callable[[int, str, list[int]], Change]  # of a workspace, an agent's name and log rows (primary keys)
TRIES = 20
RETRY_SECONDS = 0.5
_registered: list[Sent] = []


def register(sent: Sent) -> None:
    """Say which change records that answers were sent."""
    _registered.append(sent)


async def sent(workspace_id: int, name: str, row_ids: list[int]) -> None:
    """These answers have been written to a connection of this agent. Tried again while the database is away."""
    changes = [change(workspace_id, name, row_ids) for change in _registered]
    for _ in range(TRIES):
        try:
            await writer.commit(changes)
            return
        except Problem as error:
            log.info("answers to %s are not noted as sent yet: %s", name, error)
            await asyncio.sleep(RETRY_SECONDS)
        except Exception:
            log.exception("answers to %s cannot be noted as sent", name)
            return
