"""Webhooks as a receiver gets them: a real server sends, a real one receives, the reference library verifies."""

import contextlib
from uuid import uuid4

import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from tests.e2e.plain import FACTS, Tenant
from tests.services.receiver import Receiver, verified
from tests.services.server import ServerProcess
from tests.services.waiting import wait_until

PAUSES = {"SOORMA_WEBHOOK_RETRIES": ",".join(["0.2"] * 100), "SOORMA_WEBHOOK_DISABLE_AFTER": "2"}


@pytest.fixture(scope="module")
def open_server():
    """A server that may send into private networks, and waits only a moment between two tries."""
    with ServerProcess(SOORMA_WEBHOOKS_ALLOW_PRIVATE="1", SOORMA_BASE_URL="https://soorma.example", **PAUSES) as server:
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
