"""What belongs to one workspace, or to one tenant of it, does not exist for the others."""

import contextlib
import json
from uuid import uuid4

import pytest
from websockets.sync.client import connect

from tests.e2e.plain import REQUESTS, RESULTS, Listener, PlainWorker, Tenant
from tests.services.waiting import wait_until

MARK = "confidential"  # in everything that the owner says
OWN = {
    "plan_id", "declared_id", "task_id", "approval_id", "webhook_id", "delivery_id", "agent_id", "session_id",
    "group_id", "correlation_id", "sub_task_id", "name", "key",
}  # fmt: skip
# Answered without a look at anything, or tried below.
NO_DATA = ("/v1/identity/", "/v1/memory/semantic", "/v1/memory/episodic", "/v1/events/stream", "/v1/live-tickets")
# What a workspace's tenants share: the registry's definitions.
SHARED = ("/v1/events", "/v1/schemas")


class Owner(Tenant):
    """A tenant with something of everything; `ids` names it by the API's parameters."""

    def __init__(self, server, workspace):
        super().__init__(server, workspace)
        tag = uuid4().hex[:8]
        self.ids = {
            "plan_id": f"plan-{tag}", "task_id": f"task-{tag}", "session_id": f"talk-{tag}", "group_id": f"group-{tag}",
            "sub_task_id": f"sub-{tag}", "correlation_id": f"corr-{tag}", "name": f"Schema{tag}", "version": "1.0.0",
            "key": f"key-{tag}", "rest": "principals", "approval_id": f"question-{tag}",
            "declared_id": f"declared-{tag}",
        }  # fmt: skip
        ids = self.ids
        self.ids["agent_id"] = self.register(f"{MARK}-agent", [f"{MARK}.requested"], f"agent-{tag}")
        self.ask(
            f"{MARK}.requested", {"text": MARK, "task_id": ids["task_id"]}, task_id=ids["task_id"],
            plan_id=ids["plan_id"], session_id=ids["session_id"],
        )  # fmt: skip
        self.post("/v1/schemas", schema={"schemaName": ids["name"], "version": "1.0.0", "jsonSchema": {"title": MARK}})
        self.post("/v1/events", event={"eventName": f"{MARK}.requested", "topic": REQUESTS, "description": MARK})
        self.put(f"/v1/memory/working/{ids['plan_id']}/{ids['key']}", value=MARK)
        self.post("/v1/memory/sessions", sessionId=ids["session_id"], name=MARK, metadata={})
        self.post(
            "/v1/memory/plan-context", planId=ids["plan_id"], sessionId=ids["session_id"], goalEvent=f"{MARK}.goal",
            goalData={"text": MARK}, responseEvent=None, state={"status": "running", "text": MARK},
            currentState="start", correlationIds=[ids["correlation_id"]],
        )  # fmt: skip
        sub = {"sub_task_id": ids["sub_task_id"], "parallel_group_id": ids["group_id"], "status": "pending"}
        self.post(
            "/v1/memory/task-context", taskId=ids["task_id"], planId=ids["plan_id"], eventType=f"{MARK}.requested",
            responseEvent=None, responseTopic=RESULTS, data={"text": MARK}, subTasks=[ids["sub_task_id"]],
            state={"_sub_tasks": {ids["sub_task_id"]: sub}}, userId=self.user,
        )  # fmt: skip
        self.ask("approval.requested", {"title": MARK}, task_id=ids["approval_id"], plan_id=ids["plan_id"])

        end = {"is_terminal": True, "description": MARK}
        self.post("/v1/plans", plan_id=ids["declared_id"], goal=f"{MARK}.walk", states={"start": end})
        hook = self.post("/v1/webhooks", url="http://127.0.0.1:9/", description=MARK, events=["task.stalled"])
        self.ids["webhook_id"] = hook["id"]
        self.ids["delivery_id"] = self.post(f"/v1/webhooks/{hook['id']}/test")["id"]

    def post(self, path, **body):
        answer = self.http.post(path, json=body)
        assert answer.is_success, f"{path}: {answer.text}"
        return answer.json()

    def put(self, path, **body):
        answer = self.http.put(path, json=body)
        assert answer.is_success, f"{path}: {answer.text}"

    def everything(self):
        """All that a change of somebody else would show in."""
        working = f"/v1/memory/working/{self.ids['plan_id']}/{self.ids['key']}"
        return [
            self.log(self.ids["plan_id"]),
            self.tasks(self.ids["plan_id"]),
            self.http.get("/v1/agents").json(),
            [(one["id"], one["url"], one["enabled"]) for one in self.http.get("/v1/webhooks").json()["items"]],
            *(self.http.get(path).json() for path in (working, f"/v1/memory/plan-context/{self.ids['plan_id']}")),
            self.http.get(f"/v1/memory/task-context/{self.ids['task_id']}").json(),
        ]


@pytest.fixture(scope="module")
def owner(server):
    with contextlib.closing(Owner(server, "owners")) as one:
        yield one


@pytest.fixture(scope="module", params=["another workspace", "another tenant"])
def outsider(server, request):
    where = ("strangers", "acme", "alice") if request.param == "another workspace" else ("owners", "umbrella", "bob")
    with contextlib.closing(Tenant(server, *where)) as one:
        yield one


def operations(server, without=()):
    """Every operation of the API that looks at something: (method, path with its parameters, query parameters)."""
    with server.client() as client:
        paths = client.get("/v1/openapi.json").json()["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            if not path.startswith(NO_DATA) and not (without and path.startswith(without)):
                yield (
                    method.upper(),
                    path,
                    [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"],
                )


def asked(client, method, path, query, ids):
    """The answer with these ids filled in, without the ids themselves: (status, text)."""
    values = {name: ids[name] for name in query if name in ids}
    values |= {"period": "1h"} if "period" in query else {}
    answer = client.request(method, path.format(**ids), params=values, json=None if method in {"GET", "DELETE"} else {})
    text = answer.text
    for name, value in sorted(ids.items()):
        text = text.replace(value, f"<{name}>") if name in OWN else text
    return answer.status_code, text


def test_an_id_of_others_is_answered_like_one_that_is_not_there(server, owner, outsider):
    before = owner.everything()
    made_up = {
        name: value if name in {"version", "rest"} else f"{name}-{uuid4().hex[:8]}" for name, value in owner.ids.items()
    }
    tried = 0
    shared = SHARED if outsider.workspace == owner.workspace else ()
    for method, path, query in operations(server, without=shared):
        theirs = asked(outsider.http, method, path, query, owner.ids)
        unknown = asked(outsider.http, method, path, query, made_up)
        assert theirs == unknown, (method, path)
        assert MARK not in theirs[1], (method, path)
        tried += 1
    assert tried >= 40
    assert owner.everything() == before


def test_the_owner_does_see_all_of_it(server, owner):
    """Else the test above would prove nothing."""
    seen = set()
    for method, path, query in operations(server):
        if method == "GET" and "{" in path:
            status, _ = asked(owner.http, method, path, query, owner.ids)
            seen.add((status, path))
    assert [path for status, path in seen if status != 200] == []


def test_the_same_ids_in_another_tenant_are_other_things(server, outsider):
    with contextlib.closing(Owner(server, "owners")) as owner:
        told_apart(owner, outsider)


def told_apart(owner, outsider):
    before = owner.everything()
    outsider.ask("other.requested", task_id=owner.ids["task_id"], plan_id=owner.ids["plan_id"])
    assert outsider.states(owner.ids["plan_id"]) == {owner.ids["task_id"]: "pending"}
    assert MARK not in json.dumps([outsider.log(owner.ids["plan_id"]), outsider.plan(owner.ids["plan_id"])])
    assert owner.everything() == before


def test_streams_bring_nothing_of_others(owner, outsider):
    with (
        Listener(outsider, ">", name=f"{MARK}-agent", agent_id=owner.ids["agent_id"]) as ear,
        Listener(owner, ">", name="own-ear") as own_ear,
    ):
        sent = owner.publish("system-events", "thing.seen", {"text": MARK}, plan_id=owner.ids["plan_id"])
        own = outsider.publish("system-events", "thing.seen")
        own_ear.heard(1)
        ear.heard(1)
        assert (own_ear.ids, ear.ids) == ([sent["id"]], [own["id"]])


def test_work_is_not_handed_to_others(owner, outsider):
    """An agent of the same name that consumes the same type, and was away or is there."""
    asked_type, plan_id = f"handed-{uuid4().hex[:8]}.requested", f"plan-{uuid4().hex[:8]}"
    owner.ask(asked_type, plan_id=plan_id)
    with PlainWorker(outsider, asked_type, name="thief") as thief:
        owner.ask(asked_type, plan_id=plan_id)
        mine = outsider.ask(asked_type, plan_id=plan_id)["data"]["task_id"]
        wait_until(lambda: thief.done)
        assert thief.done == [mine]
    assert set(owner.states(plan_id).values()) == {"pending"}


def test_a_key_speaks_for_its_own_tenant_and_user_alone(owner):
    for wrong in ({"tenant_id": "umbrella"}, {"user_id": "bob"}):
        event = owner.envelope(REQUESTS, "x.requested", plan_id="forged", **wrong)
        assert owner.http.post("/v1/events/publish", json={"event": event}).status_code == 403
    assert owner.plan("forged") is None


def test_sockets_bring_nothing_of_others(server, owner, outsider):
    with connect(server.live_url, additional_headers={"Authorization": f"Bearer {outsider.key}"}, proxy=None) as socket:

        def said(stream):
            socket.send(json.dumps({"op": "sub", "stream": stream}))
            return json.loads(socket.recv(20))

        made_up = said(f"plan:plan-{uuid4().hex}")
        theirs = said(f"plan:{owner.ids['plan_id']}")
        if theirs["op"] == "error":
            assert theirs["code"] == made_up["code"]
        assert MARK not in json.dumps([theirs, said("plans"), said("agents"), said("approvals")])
        owner.publish("system-events", "thing.seen", {"text": MARK}, plan_id=owner.ids["plan_id"])
        marker = f"plan-{uuid4().hex}"
        outsider.publish("system-events", "thing.seen", plan_id=marker)
        heard = ""
        while marker not in heard:
            heard += socket.recv(20)
        assert MARK not in heard


def test_pages_show_nothing_of_others(server, owner):
    server.member("mallory", "strangers")
    with server.client(follow_redirects=True) as browser:
        browser.get(server.sign_in_link("mallory"))
        page = browser.get("/plans")
        assert page.status_code == 200
        foreign, unknown = browser.get(f"/plans/{owner.ids['plan_id']}"), browser.get("/plans/nothing")
        assert foreign.status_code == unknown.status_code == 404
        texts = [
            page,
            foreign,
            browser.get("/agents"),
            browser.get(f"/plans?q={MARK[:6]}"),
            browser.get("/settings/keys"),
        ]
        assert not [one.url for one in texts if MARK in one.text]
    server.member("olivia", "owners")
    with server.client(follow_redirects=True) as browser:
        browser.get(server.sign_in_link("olivia"))
        assert MARK in browser.get(f"/plans/{owner.ids['plan_id']}").text
        assert MARK in browser.get("/plans").text
        assert MARK in browser.get("/agents").text
