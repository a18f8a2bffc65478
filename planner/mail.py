"""E-mail to those who are asked to decide: after the commit, in a thread of its own, tried again when it fails.

It goes through Django's backends. Without SOORMA_EMAIL_BACKEND nothing is written at all.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from smtplib import SMTPException
from typing import Any

from django.conf import settings
from django.core.mail import EmailMessage

from accounts.models import Membership, Role
from planner.happenings import REQUESTED, Happening
from planner.models import Mail
from planner.outbox import outbox
from tracker.changes import Change, Outcome
from tracker.world import World

log = logging.getLogger(__name__)
DUE = "mail"  # kind of the deadline
PAUSES = [timedelta(seconds=seconds) for seconds in (30, 300, 1800, 7200, 18000)]  # between two tries
SUBJECT = 150  # characters


@dataclass(slots=True, kw_only=True)
class Mailed(Change):
    """A mail was handed to the mail server, or was not, because of `error`. `number`: tries before."""

    mail: int
    number: int
    error: str = ""


def file(world: World, told: Iterable[Happening]) -> None:
    """Write the mails of these happenings, due at once."""
    asked = [one for one in told if one.event == REQUESTED]
    if not (settings.MAIL_ENABLED and asked):
        return
    new = [mail for one in asked for mail in _mails(world, one)]
    for mail in Mail.objects.bulk_create(new) if new else ():
        world.deadlines[(DUE, mail.pk)] = world.now


def _mails(world: World, one: Happening) -> list[Mail]:
    subject = " ".join(f"To decide: {one.data['title']}".split())[:SUBJECT]
    return [Mail(to=to, subject=subject, body=_body(one.data), created_at=world.now) for to in _asked(one)]


def _asked(one: Happening) -> list[str]:
    """Addresses of those who may decide it and want to hear; the named ones, or all operators when nobody is named."""
    members = Membership.objects.filter(
        workspace_id=one.workspace_id, role__in=[Role.OPERATOR, Role.ADMIN], wants_mail=True, user__is_active=True
    ).exclude(user__email="")
    if one.asks:
        members = members.filter(user__username__in=one.asks)
    return sorted(set(members.values_list("user__email", flat=True)))


def _body(data: dict[str, Any]) -> str:
    facts = {
        "Action": data["action"],
        "Risk": data["risk"],
        "Asked by": data["requested_by"].removeprefix("agent:"),
        "Plan": data["goal_event"] or data["plan_id"],
        "Decide by": data["expires_at"],
    }
    lines = [data["title"], "", *(f"{word}: {value}" for word, value in facts.items() if value)]
    where = data["url"] or "on the approvals page (set SOORMA_BASE_URL to have a link here)"
    return "\n".join([*lines, "", f"Decide here: {where}", "", "Settings, Notifications turns these mails off.", ""])


def due(world: World, key: int) -> None:
    """It is time to send a mail: claim it for this process."""
    if mail := Mail.objects.filter(pk=key).first():
        outbox.claim(world, (DUE, key), DUE, partial(_send, mail))


async def _send(mail: Mail) -> Change:
    error = await asyncio.to_thread(_hand_over, mail)
    return Mailed(workspace_id=0, tenant_id="", by="system", mail=mail.pk, number=mail.try_count, error=error)


def _hand_over(mail: Mail) -> str:
    """Why it could not be sent, empty when it was."""
    name = f"<{mail.pk}.{int(mail.created_at.timestamp())}@soorma-site>"  # the same at every try
    message = EmailMessage(mail.subject, mail.body, settings.EMAIL_FROM, [mail.to], headers={"Message-ID": name})
    try:
        message.send()
    except (OSError, SMTPException, ValueError) as error:
        return f"{type(error).__name__}: {error}"[:500]
    return ""


def mailed(world: World, change: Mailed) -> Outcome:
    """A mail that was sent is forgotten; one that was not waits, for a while."""
    mail = Mail.objects.select_for_update().filter(pk=change.mail, try_count=change.number).first()
    if mail is None:
        return Outcome("duplicate")
    world.deadlines[(DUE, mail.pk)] = None
    if change.error and mail.try_count < len(PAUSES):
        log.warning("mail %d to %s not sent, trying again: %s", mail.pk, mail.to, change.error)
        world.deadlines[(DUE, mail.pk)] = world.now + PAUSES[mail.try_count]
        mail.try_count += 1
        mail.save(update_fields=["try_count"])
        return Outcome("recorded")
    if change.error:
        log.error("mail %d to %s given up: %s", mail.pk, mail.to, change.error)
    mail.delete()
    return Outcome("recorded")
