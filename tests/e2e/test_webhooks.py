"""Webhooks as a receiver gets them: a real server sends, a real one receives, the reference library verifies."""

import contextlib
import re
from email import message_from_bytes, policy
from uuid import uuid4

import pytest
from playwright.sync_api import expect
from standardwebhooks.webhooks import WebhookVerificationError

from tests.e2e.plain import FACTS, Tenant
from tests.e2e.test_pages import assert_in_shape
from tests.services.receiver import Receiver, verified
from tests.services.server import ServerProcess
from tests.services.waiting import wait_until

PAUSES = {"SOORMA_WEBHOOK_RETRIES": ",".join(["0.2"] * 100), "SOORMA_WEBHOOK_DISABLE_AFTER": "2"}


@pytest.fixture(scope="module")
def open_server():
    """A server that may send into private networks, and waits only a moment between two tries."""
    more = {"SOORMA_BASE_URL": "https://soorma.example", "SOORMA_EMAIL_BACKEND": "file"}
    with ServerProcess(SOORMA_WEBHOOKS_ALLOW_PRIVATE="1", **PAUSES, **more) as server:
        yield server


@pytest.fixture
def receiver():
    with Receiver() as one:
        yield one


@pytest.fixture(scope="module")
def tenant(open_server):
    with contextlib.closing(Tenant(open_server, "hooks", bound=False)) as one:
        yield one


@pytest.fixture
def hook(tenant):
    """Add an endpoint, until the end of the test: `hook(url, events=[...])` gives it with its secret."""
    added = []

    def hook(url, where=tenant, **more):
        answer = where.http.post("/v1/webhooks", json={"url": url, **more})
        assert answer.status_code == 201, answer.text
        added.append((where, answer.json()["id"]))
        return answer.json()

    yield hook
    for where, name in added:
        assert where.http.delete(f"/v1/webhooks/{name}").status_code == 204


def deliveries(tenant, endpoint):
    answer = tenant.http.get(f"/v1/webhooks/{endpoint['id']}/deliveries")
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]


def delivery(tenant, endpoint, state, seconds=20):
    """Wait until the endpoint's only delivery is in this state, and give it."""

    def found():
        items = deliveries(tenant, endpoint)
        return items[0] if items and items[0]["state"] == state else None

    return wait_until(found, seconds, lambda: f"{state}: {deliveries(tenant, endpoint)}")


def fail_a_plan(tenant, error="no brakes"):
    plan_id = f"plan-{uuid4().hex[:12]}"
    tenant.publish(FACTS, "plan.started", {"plan_id": plan_id, "goal": "maintenance.goal"}, plan_id=plan_id)
    tenant.publish(FACTS, "plan.failed", {"plan_id": plan_id, "error": error}, plan_id=plan_id)
    return plan_id


def test_a_failed_plan_is_told_and_verified(tenant, receiver, hook):
    endpoint = hook(receiver.url, events=["plan.failed"])
    plan_id = fail_a_plan(tenant)
    [call] = receiver.heard(1)
    told = verified(call, endpoint["secret"])
    assert told["type"] == "plan.failed"
    assert (told["data"]["plan_id"], told["data"]["error"]) == (plan_id, "no brakes")
    assert told["data"]["url"] == f"https://soorma.example/plans/{plan_id}"
    sent = delivery(tenant, endpoint, "delivered")
    assert (sent["id"], sent["payload"]) == (call.headers["webhook-id"], told)
    [one] = sent["tries"]
    assert (one["code"], one["response"], one["reason"]) == (200, "ok", "")
    with pytest.raises(WebhookVerificationError):
        verified(call, f"whsec_{'A' * 44}")


def test_a_receiver_that_was_down_gets_it_later_under_the_same_id(tenant, receiver, hook):
    endpoint = hook(receiver.url, events=["plan.failed"])
    receiver.stop()
    plan_id = fail_a_plan(tenant)
    wait_until(lambda: len(deliveries(tenant, endpoint)[0]["tries"]) >= 2, 20, "two tries in vain")
    assert deliveries(tenant, endpoint)[0]["state"] == "pending"
    receiver.status, receiver.text = 503, "down for repair"
    receiver.start()
    receiver.heard(2)
    receiver.status = 200
    sent = delivery(tenant, endpoint, "delivered")
    assert {call.headers["webhook-id"] for call in receiver.calls} == {sent["id"]}
    assert [call.answered for call in receiver.calls].count(200) == 1
    assert verified(receiver.calls[-1], endpoint["secret"])["data"]["plan_id"] == plan_id
    reasons = [one["reason"] for one in sent["tries"]]
    assert "Connect" in reasons[0]
    assert ("answered 503", "down for repair") in [(one["reason"], one["response"]) for one in sent["tries"]]
    assert reasons[-1] == ""


def test_both_secrets_sign_after_a_rotation(tenant, receiver, hook):
    endpoint = hook(receiver.url, events=["plan.failed"])
    newer = tenant.http.post(f"/v1/webhooks/{endpoint['id']}/rotate").json()
    assert newer["secret"] != endpoint["secret"]
    assert newer["old_secret_until"]
    assert tenant.http.get(f"/v1/webhooks/{endpoint['id']}").json()["secret"] is None
    tenant.http.post(f"/v1/webhooks/{endpoint['id']}/test")
    [call] = receiver.heard(1)
    assert verified(call, endpoint["secret"]) == verified(call, newer["secret"])
    assert verified(call, newer["secret"])["type"] == "webhook.test"


def test_a_redirect_is_refused_and_not_followed(tenant, receiver, hook):
    with Receiver() as elsewhere:
        receiver.status, receiver.headers = 302, {"Location": elsewhere.url}
        endpoint = hook(receiver.url)
        tenant.http.post(f"/v1/webhooks/{endpoint['id']}/test")
        refused = delivery(tenant, endpoint, "refused")
        assert elsewhere.calls == []
    [one] = refused["tries"]
    assert one["code"] == 302
    assert "redirect" in one["reason"]


@pytest.fixture(scope="module")
def closed(server):
    """A tenant of a server with the default settings."""
    with contextlib.closing(Tenant(server, "hooks")) as one:
        yield one


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "2130706433"])
def test_a_private_address_is_refused(closed, receiver, hook, host):
    endpoint = hook(f"http://{host}:{receiver.port}/hook", closed)
    closed.http.post(f"/v1/webhooks/{endpoint['id']}/test")
    [one] = delivery(closed, endpoint, "refused")["tries"]
    assert "not a public address" in one["reason"]
    assert receiver.calls == []


def test_it_is_resent_by_hand_under_the_same_id(tenant, receiver, hook):
    endpoint = hook(receiver.url)
    tenant.http.post(f"/v1/webhooks/{endpoint['id']}/test")
    sent = delivery(tenant, endpoint, "delivered")
    again = tenant.http.post(f"/v1/webhooks/{endpoint['id']}/deliveries/{sent['id']}/resend")
    assert again.json() == {"id": sent["id"]}
    one, other = receiver.heard(2)
    assert one.headers["webhook-id"] == other.headers["webhook-id"] == sent["id"]
    assert one.body == other.body


def test_an_endpoint_that_takes_nothing_is_turned_off(tenant, receiver, hook):
    receiver.status = 410
    endpoint = hook(receiver.url, events=["plan.failed"])
    fail_a_plan(tenant)
    delivery(tenant, endpoint, "failed")
    off = shown(tenant, endpoint)
    assert (off["enabled"], "410" in off["disabled_why"]) == (False, True)
    fail_a_plan(tenant)
    assert len(deliveries(tenant, endpoint)) == 1
    receiver.status = 200
    on = tenant.http.patch(f"/v1/webhooks/{endpoint['id']}", json={"enabled": True}).json()
    assert (on["enabled"], on["disabled_why"], on["failures"]) == (True, None, 0)
    fail_a_plan(tenant)
    receiver.heard(2)


def shown(tenant, endpoint):
    return tenant.http.get(f"/v1/webhooks/{endpoint['id']}").json()


def test_what_waits_survives_the_death_of_the_server(open_server, tenant, receiver, hook):
    endpoint = hook(receiver.url, events=["plan.failed"])
    receiver.stop()
    plan_id = fail_a_plan(tenant)
    wait_until(lambda: deliveries(tenant, endpoint)[0]["tries"], 20, "a try in vain")
    waiting = deliveries(tenant, endpoint)[0]["id"]
    open_server.kill()
    receiver.start()
    open_server.start()
    sent = delivery(tenant, endpoint, "delivered", 120)
    assert sent["id"] == waiting == receiver.calls[-1].headers["webhook-id"]
    assert verified(receiver.calls[-1], endpoint["secret"])["data"]["plan_id"] == plan_id


# -- pages and mail ----------------------------------------------------------------------------------------------------


@pytest.fixture
def sign_in(open_server, browser, console_errors):
    """Open a page of the server that sends, as a member: `sign_in("ada", "admin", "/settings/webhooks")`."""
    contexts = []

    def sign_in(name, role, path, **options):
        open_server.member(name, "hooks", role)
        context = browser.new_context(base_url=open_server.base_url, **options)
        contexts.append(context)
        page = context.new_page()
        console_errors.watch(page)
        page.goto(open_server.sign_in_link(name))
        page.goto(path)
        return page

    yield sign_in
    for context in contexts:
        context.close()


def test_a_webhook_is_added_tried_resent_and_removed(sign_in, receiver, shots, console_errors):
    page = sign_in("ada", "admin", "/settings/webhooks")
    expect(page.get_by_role("heading", name="No webhook yet")).to_be_visible()
    shots(page, "webhooks-empty-light-1440")
    page.get_by_label("Address").fill("ftp://nowhere")
    page.get_by_role("button", name="Add").click()
    expect(page.get_by_text("must begin with https:// or http://")).to_be_visible()
    assert ["422" in each for each in console_errors] == [True]
    console_errors.clear()
    page.get_by_label("Address").fill(receiver.url)
    page.get_by_label("Description").fill("Pager of the depot")
    page.get_by_role("button", name="Add").click()
    secret = page.locator("#webhook-secret").inner_text()
    shots(page, "webhook-secret-light-1440")
    assert_in_shape(page)
    receiver.text = "taken <b>well</b>"
    page.get_by_role("button", name="Send a test").click()
    row = page.get_by_role("list", name="Deliveries, newest first").get_by_role("listitem")
    expect(row).to_contain_text("Delivered")
    [call] = receiver.heard(1)
    assert verified(call, secret)["data"]["by"] == "user:ada"
    row.locator("summary").first.click()
    expect(row.get_by_text("taken <b>well</b>")).to_be_visible()
    receiver.status = 500
    row.get_by_role("button", name="Send again").click()
    expect(row).to_contain_text("answered 500")
    row.locator("summary").first.click()
    receiver.status = 200
    expect(row).to_contain_text("Delivered")
    assert {each.headers["webhook-id"] for each in receiver.calls} == {call.headers["webhook-id"]}
    expect(row.get_by_text("What is sent")).to_be_visible()
    shots(page, "webhook-light-1440")
    assert_in_shape(page)
    page.get_by_role("button", name="Turn off").click()
    expect(page.get_by_text("The webhook is off now.")).to_be_visible()
    page.get_by_role("button", name="Turn on").click()
    page.get_by_role("link", name="New secret").click()
    page.get_by_role("button", name="Make it").click()
    assert page.locator("#webhook-secret").inner_text() != secret
    page.get_by_role("link", name="To the webhook").click()
    page.get_by_label("plan.failed").uncheck()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("The webhook is changed.")).to_be_visible()
    expect(page.get_by_label("plan.failed")).not_to_be_checked()
    page.set_viewport_size({"width": 390, "height": 800})
    page.emulate_media(color_scheme="dark")
    shots(page, "webhook-dark-390")
    assert_in_shape(page)
    page.goto("/settings/webhooks")
    shots(page, "webhooks-dark-390")
    assert_in_shape(page)
    page.get_by_role("link", name=receiver.url).click()
    page.get_by_role("link", name="Remove").click()
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_text("The webhook is removed.")).to_be_visible()
    expect(page.get_by_role("heading", name="No webhook yet")).to_be_visible()


def test_only_admins_see_webhooks(sign_in, console_errors):
    page = sign_in("oskar", "operator", "/settings/webhooks")
    expect(page.get_by_role("heading", name="Your role does not allow this")).to_be_visible()
    assert ["403" in each for each in console_errors] == [True]
    console_errors.clear()
    page.goto("/settings/keys")
    expect(page.get_by_role("link", name="Webhooks")).to_have_count(0)


def test_who_is_asked_gets_a_mail_with_a_link(open_server, tenant, sign_in, shots):
    page = sign_in("olga", "operator", "/settings/keys")
    page.get_by_role("link", name="Notifications").click()
    page.get_by_label("E-mail address").fill("olga@example.com")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Your notifications are changed.")).to_be_visible()
    shots(page, "notifications-light-1440")
    assert_in_shape(page)
    ask(tenant, "Buy four tyres?")
    [mail] = wait_until(lambda: mails(open_server), 20, "a mail")
    assert (mail["To"], mail["Subject"]) == ("olga@example.com", "To decide: Buy four tyres?")
    items = tenant.http.get("/v1/approvals", params={"state": "pending"}).json()["items"]
    [approval] = [one for one in items if one["title"] == "Buy four tyres?"]
    assert f"https://soorma.example/approvals/{approval['id']}" in mail.get_content()
    page.get_by_label("Write to me when I am asked to decide").uncheck()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_label("Write to me when I am asked to decide")).not_to_be_checked()
    ask(tenant, "Buy four more?")
    page.goto(f"/approvals/{approval['id']}")
    expect(page.get_by_role("heading", name="Buy four tyres?").first).to_be_visible()
    assert len(mails(open_server)) == 1


def ask(tenant, title):
    tenant.ask("approval.requested", {"title": title}, plan_id=f"plan-{uuid4().hex[:8]}", response_event="bought")


def mails(server):
    """What the mail backend has written to files."""
    texts = [
        text
        for path in (server.data_dir / "mail").glob("*.log")
        for text in re.split(rb"(?m)^-{79}$", path.read_bytes())
    ]
    return [message_from_bytes(text.strip(), policy=policy.default) for text in texts if text.strip()]


def test_approvals_are_told_from_the_question_to_the_decision(tenant, receiver, hook):
    endpoint = hook(receiver.url, events=["approval.requested", "approval.decided", "approval.expired"])
    ask(tenant, "Book it?")
    ask(tenant, "Book more?")
    requested = [verified(call, endpoint["secret"]) for call in receiver.heard(2)]
    assert {told["data"]["title"] for told in requested} == {"Book it?", "Book more?"}
    approval = requested[0]["data"]["approval_id"]
    answer = tenant.http.post(f"/v1/approvals/{approval}/decision", json={"decision": "reject", "comment": "too dear"})
    assert answer.status_code == 200, answer.text
    told = verified(receiver.heard(3)[-1], endpoint["secret"])
    assert told["type"] == "approval.decided"
    assert {name: told["data"][name] for name in ("approval_id", "decision", "comment")} == {
        "approval_id": approval, "decision": "reject", "comment": "too dear",
    }  # fmt: skip
    tenant.ask("approval.requested", {"title": "Quick?", "expires_in": 0.3}, plan_id="plan-quick")
    last = [verified(call, endpoint["secret"]) for call in receiver.heard(5)[3:]]
    assert [one["type"] for one in last] == ["approval.requested", "approval.expired"]
