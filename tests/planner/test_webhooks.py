"""What people are told of, how often it is tried, who may have it sent where; and the mails."""

import json
import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from django.core import mail as sent_mail
from django.db import connection
from django.test.utils import CaptureQueriesContext
from standardwebhooks import Webhook

from accounts.models import Membership, User
from planner import mail, webhooks
from planner.models import Mail, WebhookDelivery, WebhookEndpoint
from planner.posting import Posted, public
from tests.accounts.factories import make_workspace
from tests.planner.calls import Agent, code
from tests.tracker.runs import Run
from tracker.changes import Due
from tracker.ledger import record
from tracker.models import Deadline


@pytest.fixture
def run(db):
    return Run(make_workspace())


@pytest.fixture
def admin(run):
    """A key of the whole workspace."""
    return Agent(run.workspace)


def hook(caller, **more):
    answer = caller.post("/webhooks", {"url": "https://example.com/hook", **more})
    assert answer.status_code == 201, answer.content
    return WebhookEndpoint.objects.get(webhook_id=answer.json()["id"])


def told(endpoint):
    """What waits for an endpoint: (event, data)."""
    rows = WebhookDelivery.objects.filter(endpoint=endpoint).order_by("id")
    assert {row.pk for row in rows if row.state == "pending"} <= deadlines("webhook")
    return [(row.event, json.loads(row.body)["data"]) for row in rows]


def deadlines(kind):
    return set(Deadline.objects.filter(kind=kind).values_list("subject", flat=True))


def fail_plan(run):
    plan_id, (task,) = run.plan(1)
    run.result(plan_id, task, status="failed", error="no brakes")
    return plan_id


# -- what is told ------------------------------------------------------------------------------------------------------


def test_a_plan_that_fails_with_its_task_is_told(run, admin):
    endpoint = hook(admin)
    plan_id = fail_plan(run)
    [(event, data)] = told(endpoint)
    assert (event, data["plan_id"], data["failed_tasks"], data["tenant_id"]) == ("plan.failed", plan_id, 1, "acme")


def test_a_plan_that_fails_and_goes_on_in_one_batch_is_not_told(run, admin):
    endpoint = hook(admin)
    plan_id, (task,) = run.plan(1)
    result = run.message(
        "action-results", "parts.check.completed", {"task_id": task, "status": "failed"}, plan_id=plan_id
    )
    run.record(result, run.request_message(plan_id, "another"))
    assert told(endpoint) == []


def test_a_stalled_task_is_told(run, admin):
    endpoint = hook(admin, events=["task.stalled"])
    plan_id, (task,) = run.plan(1)
    run.running(plan_id, task)
    stall(run, task)
    [(event, data)] = told(endpoint)
    assert (event, data["task_id"], data["agent"]) == ("task.stalled", task, "parts-worker")


def stall(run, task_id):
    """As liveness does: a mark in the log."""
    from tracker import ledger

    def mark(world):
        task = world.task((run.workspace.pk, run.tenant), task_id)
        world.note(world.plans[task.plan_id], task, by="system", reason="silent", stalled=True)

    ledger._rules.insert(0, mark)
    try:
        run.record()
    finally:
        ledger._rules.remove(mark)


def test_only_what_was_asked_for_and_only_ones_own_tenant(run, admin):
    other = hook(admin, events=["task.stalled"])
    off = hook(admin)
    admin.call("PATCH", f"/webhooks/{off.webhook_id}", {"enabled": False})
    foreign = hook(Agent(make_workspace()))
    stranger = hook(Agent(run.workspace, "umbrella", "bob"))
    own = hook(Agent(run.workspace, "acme", "alice"))
    fail_plan(run)
    assert [len(told(one)) for one in (other, off, foreign, stranger, own)] == [0, 0, 0, 0, 1]


def test_a_batch_of_nothing_special_asks_for_no_endpoints(run, admin):
    hook(admin)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        plan_id, tasks = run.plan(20)
        run.result(plan_id, tasks[0], status="failed")
    assert [query["sql"] for query in queries if "planner_webhook" in query["sql"]] == []


def test_all_plans_of_a_batch_are_told_with_one_look_for_endpoints(run, admin):
    endpoint = hook(admin)
    plans = [run.plan(1) for _ in range(10)]
    facts = [run.message("system-events", "plan.failed", {"plan_id": p}, plan_id=p) for p, _ in plans]
    with CaptureQueriesContext(connection) as queries:
        run.record(*facts)
    assert len(told(endpoint)) == 10
    assert len([q for q in queries if 'FROM "planner_webhookendpoint"' in q["sql"]]) == 1


# -- tries -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def delivery(run, admin):
    endpoint = hook(admin)
    fail_plan(run)
    return endpoint.deliveries.get()


def tried(delivery, result="failed", **more):
    """One try came out like this."""
    delivery.refresh_from_db()
    posted = Posted(result, 12, **{"reason": "answered 500", "status": 500, **more})
    change = webhooks.Tried(
        workspace_id=delivery.endpoint.workspace_id, tenant_id="", by="system", delivery=delivery.pk,
        number=delivery.try_count, at=datetime.now(UTC), posted=posted,
    )  # fmt: skip
    [outcome] = record([change]).outcomes
    delivery.refresh_from_db()
    delivery.endpoint.refresh_from_db()
    return outcome.result


def test_pauses_grow_for_about_a_day_then_it_is_given_up(delivery, settings):
    pauses = []
    while delivery.state == "pending":
        tried(delivery)
        if delivery.next_try_at:
            pauses.append((delivery.next_try_at - datetime.now(UTC)).total_seconds())
            assert Deadline.objects.get(kind="webhook", subject=delivery.pk).due_at == delivery.next_try_at
    assert (delivery.state, delivery.try_count, len(json.loads(delivery.tries))) == ("failed", 8, 8)
    for asked, pause in zip(settings.WEBHOOK_RETRIES, pauses, strict=True):
        assert asked - 1 <= pause <= asked * 1.1
    assert 20 * 3600 < sum(pauses) < 28 * 3600
    assert deadlines("webhook") == set()
    assert delivery.endpoint.given_up == 1


def test_a_receiver_that_asks_for_time_gets_it(delivery):
    tried(delivery, retry_after=3000)
    assert delivery.next_try_at > datetime.now(UTC) + timedelta(seconds=2900)


def test_a_try_is_noted_once(delivery):
    change = webhooks.Tried(
        workspace_id=1, tenant_id="", by="system", delivery=delivery.pk, number=0, at=datetime.now(UTC),
        posted=Posted("delivered", 5, 200),
    )  # fmt: skip
    assert [o.result for o in record([change, change]).outcomes] == ["recorded", "duplicate"]


def test_five_given_up_in_a_row_turn_it_off_and_one_that_arrives_counts_anew(run, delivery):
    endpoint = delivery.endpoint
    for number in range(4):
        tried(delivery, "refused")
        assert delivery.endpoint.given_up == number + 1
        fail_plan(run)
        delivery = endpoint.deliveries.order_by("-id").first()
    tried(delivery, "delivered", reason="", status=200)
    assert (delivery.state, delivery.endpoint.given_up) == ("delivered", 0)
    for _ in range(5):
        fail_plan(run)
        delivery = endpoint.deliveries.order_by("-id").first()
        tried(delivery, "refused", reason="private")
    assert not delivery.endpoint.enabled
    assert delivery.endpoint.disabled_why == "5 deliveries in a row were given up; the last one: private"
    fail_plan(run)
    assert endpoint.deliveries.order_by("-id").first() == delivery


def test_what_waits_for_an_endpoint_that_was_turned_off_is_not_sent(delivery):
    WebhookEndpoint.objects.update(enabled=False)
    record([Due(workspace_id=0, tenant_id="", by="system", kind="webhook", subject=delivery.pk)])
    delivery.refresh_from_db()
    assert (delivery.state, json.loads(delivery.tries)[0]["reason"]) == ("failed", "the endpoint is off")


def test_resent_it_keeps_its_id_and_begins_another_round(delivery, admin):
    tried(delivery, "refused")
    path = f"/webhooks/{delivery.endpoint.webhook_id}/deliveries/{delivery.message_id}/resend"
    assert admin.post(path, {}).json() == {"id": delivery.message_id}
    delivery.refresh_from_db()
    assert (delivery.state, delivery.try_count, len(json.loads(delivery.tries))) == ("pending", 0, 1)
    assert delivery.pk in deadlines("webhook")
    assert deadlines("webhook-forget") == set()
    WebhookEndpoint.objects.update(enabled=False)
    assert code(admin.post(path, {})) == (409, "webhook-off")


def test_an_ended_delivery_is_forgotten_in_the_end(delivery):
    tried(delivery, "delivered")
    Deadline.objects.filter(kind="webhook-forget").update(due_at=datetime.now(UTC))
    record([Due(workspace_id=0, tenant_id="", by="system", kind="webhook-forget", subject=delivery.pk)])
    assert WebhookDelivery.objects.count() == 0


def test_after_a_day_the_old_secret_signs_no_more(delivery):
    endpoint, now = delivery.endpoint, datetime.now(UTC)
    old = endpoint.secret
    webhooks.rotate(endpoint, now - timedelta(hours=25))
    [signature] = webhooks.signed(endpoint, "msg_1", "{}", now)["webhook-signature"].split(" ")
    assert signature == Webhook(endpoint.secret).sign("msg_1", now, "{}") != Webhook(old).sign("msg_1", now, "{}")


@pytest.mark.parametrize(
    ("address", "open"),
    [
        ("1.1.1.1", True), ("2606:4700::1111", True), ("::ffff:1.1.1.1", True), ("64:ff9b::1.1.1.1", True),
        ("10.1.2.3", False), ("127.0.0.1", False), ("0.0.0.0", False), ("169.254.169.254", False),
        ("100.64.0.1", False), ("fec0::1", False), ("ff02::1", False), ("::ffff:10.0.0.1", False),
        ("192.168.0.1", False), ("172.16.0.1", False), ("224.0.0.1", False), ("255.255.255.255", False),
        ("240.0.0.1", False),
        ("::1", False), ("::", False), ("fe80::1", False), ("fc00::1", False),
        ("64:ff9b::10.0.0.1", False), ("2002:7f00:1::", False), ("::127.0.0.1", False),
    ],
)  # fmt: skip
def test_which_addresses_are_public(address, open):
    assert public(ip_address(address)) is open


# -- who may -----------------------------------------------------------------------------------------------------------


def test_a_secret_is_shown_once(admin):
    made = admin.post("/webhooks", {"url": "https://example.com/h?x=1", "description": " Ops "}).json()
    assert re.fullmatch(r"whsec_[A-Za-z0-9+/]{43}=", made["secret"])
    assert (made["events"], made["description"]) == (
        ["approval.requested", "approval.decided", "approval.expired", "plan.failed", "task.stalled"], "Ops",
    )  # fmt: skip
    again = admin.get(f"/webhooks/{made['id']}").json()
    assert again == made | {"secret": None}
    assert admin.get("/webhooks").json()["items"] == [again]


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com", "https://", "/hook", "https://user:pw@example.com/", "https://example.com/#x",
        "https://a b/",
        "https://exämple.com", "http://example.com:99999/", "http://example.com:x/", "https://e.com/\\n",
        "https://e.com\\@x",
        "http://[::1", "javascript:alert(1)",
    ],
)  # fmt: skip
def test_an_address_that_cannot_be(admin, url):
    answer = admin.post("/webhooks", {"url": url})
    assert code(answer) == (422, "invalid")
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/url"]


def test_a_key_needs_both_scopes_and_sees_its_tenant(run, admin):
    for scopes in (["act"], ["read"], ["publish", "read"]):
        assert code(Agent(run.workspace, scopes=scopes).get("/webhooks")) == (403, "forbidden")
    own, other = Agent(run.workspace, "acme", "alice"), Agent(run.workspace, "umbrella", "bob")
    endpoint = hook(own)
    assert [one["tenant_id"] for one in admin.get("/webhooks").json()["items"]] == ["acme"]
    assert own.get(f"/webhooks/{endpoint.webhook_id}").status_code == 200
    assert other.get("/webhooks").json() == {"items": []}
    assert code(other.call("PATCH", f"/webhooks/{endpoint.webhook_id}", {"enabled": False})) == (404, "not-found")
    assert code(other.delete(f"/webhooks/{endpoint.webhook_id}")) == (404, "not-found")


def test_there_is_an_end_to_the_number(admin):
    for _ in range(50):
        hook(admin)
    assert code(admin.post("/webhooks", {"url": "https://example.com/"})) == (409, "too-many")


# -- mail --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def mailing(settings):
    settings.MAIL_ENABLED, settings.BASE_URL = True, "https://soorma.example"


def member(run, name, role="operator", email="", **more):
    user = User.objects.create(username=name, email=email or f"{name}@example.com")
    return Membership.objects.create(user=user, workspace=run.workspace, role=role, **more)


def ask(run, **data):
    data = {"title": "Buy 4 tyres?\r\nBcc: x@example.com", "action": "buy"} | data
    run.say("action-requests", "approval.requested", data, plan_id="plan-1", response_event="bought")


def waiting():
    assert {row.pk for row in Mail.objects.all()} == deadlines("mail")
    return sorted(Mail.objects.values_list("to", flat=True))


def test_all_operators_are_written_to_unless_somebody_is_named(run, mailing):
    for name, more in {
        "alice": {}, "bob": {"role": "admin"}, "vera": {"role": "viewer"}, "olga": {"wants_mail": False},
    }.items():  # fmt: skip
        member(run, name, **more)
    member(run, "mute", email=" ")
    User.objects.filter(username="mute").update(email="")
    ask(run)
    assert waiting() == ["alice@example.com", "bob@example.com"]
    Mail.objects.all().delete()
    Deadline.objects.filter(kind="mail").delete()
    ask(run, assignees=["alice", "vera", "nobody"])
    assert waiting() == ["alice@example.com"]


def test_without_a_backend_nothing_is_written(run):
    member(run, "alice")
    ask(run)
    assert waiting() == []


def test_a_mail_has_a_link_and_one_subject_line(run, mailing):
    member(run, "alice")
    ask(run)
    assert mail._hand_over(Mail.objects.get()) == ""
    [message] = sent_mail.outbox
    assert (message.subject, message.to) == ("To decide: Buy 4 tyres? Bcc: x@example.com", ["alice@example.com"])
    assert re.search(r"https://soorma\.example/approvals/\S+", message.body)


def test_a_mail_server_that_is_away_is_tried_again_and_given_up(run, mailing, settings, caplog):
    settings.EMAIL_BACKEND, settings.EMAIL_PORT = "django.core.mail.backends.smtp.EmailBackend", 9
    settings.EMAIL_HOST = "127.0.0.1"
    member(run, "alice")
    ask(run)
    one = Mail.objects.get()
    error = mail._hand_over(one)
    assert error.startswith("ConnectionRefusedError")
    for number in range(6):
        change = mail.Mailed(workspace_id=0, tenant_id="", by="system", mail=one.pk, number=number, error=error)
        assert [o.result for o in record([change, change]).outcomes] == ["recorded", "duplicate"]
        assert waiting() == (["alice@example.com"] if number < 5 else [])
    assert "given up" in caplog.text


def test_a_mail_that_was_sent_is_gone(run, mailing):
    member(run, "alice")
    ask(run)
    record([mail.Mailed(workspace_id=0, tenant_id="", by="system", mail=Mail.objects.get().pk, number=0)])
    assert waiting() == []
    assert deadlines("mail") == set()
