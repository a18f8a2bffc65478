"""The last look at each batch: what of it leaves the server as webhooks and mail, written in the same transaction."""

from planner import mail, webhooks
from planner.happenings import happenings
from planner.outbox import outbox
from tracker import deadlines, ledger
from tracker.runtime import runtime
from tracker.world import World


def register() -> None:
    """Join the ledger, the clock and the server's end."""
    ledger.register_change(webhooks.Tried, webhooks.tried)
    ledger.register_change(webhooks.Resend, webhooks.resend)
    ledger.register_change(webhooks.TestEvent, webhooks.test_event)
    ledger.register_change(mail.Mailed, mail.mailed)
    for name, falls_due in ((webhooks.DUE, webhooks.due), (webhooks.FORGET, webhooks.forget), (mail.DUE, mail.due)):
        deadlines.register(name, falls_due)
    ledger.register_witness(look)
    runtime.register_ending(outbox.stop)


def look(world: World) -> None:
    """File what people want to be told of."""
    told = list(happenings(world))
    if told:
        webhooks.file(world, told)
        mail.file(world, told)
