"""What never reaches a view of the API, or goes wrong in one, leaves as a problem document all the same."""

import json
import logging

import httpx
import pytest
from django.db import OperationalError

from tests.planner.calls import Agent, an_agent, code
from tests.tracker.live_client import in_thread
from tests.tracker.served import code as problem_code
from tests.tracker.served import served

pytestmark = pytest.mark.django_db


@pytest.fixture
def agent():
    return an_agent()


@pytest.mark.parametrize(
    "path", ["/nowhere", "/", "/tracker", "/tracker/plans/p/log/", "/events/", "/docs/x", "/openapi"]
)
def test_an_unknown_path(agent, path):
    assert code(agent.get(path))[0] == 404
    assert code(Agent.call(nobody(), "GET", path)) == (401, "unauthenticated")


def nobody():
    agent = an_agent()
    agent._client.defaults.pop("HTTP_AUTHORIZATION", None)
    agent._client.headers = {}
    return agent


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/tracker/plans", "GET, HEAD, OPTIONS"),
        ("PUT", "/tracker/plans/p", "GET, HEAD, OPTIONS"),
        ("PATCH", "/agents", "GET, HEAD, OPTIONS, POST"),
        ("GET", "/live-tickets", "OPTIONS, POST"),
        ("HEAD", "/live-tickets", "OPTIONS, POST"),
    ],
)
def test_another_method(agent, method, path, allow):
    response = agent.call(method, path)
    assert (response.status_code, response["Allow"]) == (405, allow)
    assert response["Content-Type"] == "application/problem+json"
    assert Agent.call(nobody(), method, path).status_code == 401


def test_head_is_get_without_a_body(agent):
    got, head = agent.get("/tracker/plans"), agent.call("HEAD", "/tracker/plans")
    assert (head.status_code, head.content, head["Content-Type"]) == (200, b"", got["Content-Type"])
    assert agent.call("HEAD", "/tracker/plans/nothing").status_code == 404
    assert Agent.call(nobody(), "HEAD", "/tracker/plans").status_code == 401


def test_options_says_what_is_allowed(agent):
    response = agent.call("OPTIONS", "/agents")
    assert (response.status_code, response["Allow"], response.content) == (204, "GET, HEAD, OPTIONS, POST", b"")
    assert Agent.call(nobody(), "OPTIONS", "/agents").status_code == 401


def test_the_open_paths_are_open(agent):
    assert Agent.call(nobody(), "GET", "/openapi.json").status_code == 200
    assert Agent.call(nobody(), "GET", "/docs").status_code == 200


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[" * 100_000, b"{" * 900, b"nonsense", b'{"a": 1}{}'])
def test_a_body_that_is_no_json_is_400(agent, body):
    assert code(agent.post("/agents", body)) == (400, "bad-request")
    assert code(agent.post("/memory/plans", body)) == (400, "bad-request")


def test_a_body_that_is_too_large_is_413(agent, settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    assert code(agent.post("/agents", {"agent": {"name": "x" * 200}})) == (413, "too-large")


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/agents", {"agent": {"name": 7}}, "/agent/"),
        ("/memory/plans", {"planId": 7}, "/"),
        ("/memory/working/p/k", {}, "/value"),
    ],
)
def test_pointers_lead_into_the_document(agent, path, body, pointer):
    method = "PUT" if "working" in path else "POST"
    response = agent.call(method, path, body)
    assert code(response) == (422, "invalid")
    for fault in response.json()["errors"]:
        assert fault["pointer"].startswith(pointer)
        assert not fault["pointer"].startswith("/body")


def test_a_wrong_host_is_a_problem(agent):
    response = agent._client.get("/v1/agents", headers={"Host": "evil.example"})
    assert code(response) == (400, "bad-request")


def broken_by(error):
    def broken(*_, **__):
        raise error

    return broken


def test_an_error_that_nobody_expected(agent, monkeypatch, caplog):
    monkeypatch.setattr("tracker.projections.lookup.Sight.of", broken_by(RuntimeError("secret")))
    response = agent.get("/tracker/plans")
    assert code(response) == (500, "internal-error")
    assert "secret" not in response.text
    [record] = [r for r in caplog.records if r.name == "soorma_site.problems"]
    assert (record.levelno, "secret" in caplog.text) == (logging.ERROR, True)


def test_a_database_that_is_away(agent, monkeypatch):
    monkeypatch.setattr("tracker.projections.lookup.Sight.of", broken_by(OperationalError("secret")))
    response = agent.get("/tracker/plans")
    assert (code(response), response["Retry-After"]) == ((503, "unavailable"), "1")
    assert "secret" not in response.text


@pytest.mark.parametrize("path", ["/v1/agents", "/v1/nowhere"])
def test_a_database_that_is_away_while_the_key_is_read(agent, monkeypatch, path):
    monkeypatch.setattr("accounts.auth.caller_for_token", broken_by(OperationalError("secret")))
    response = agent.call("GET", path.removeprefix("/v1"))
    assert (code(response), response["Retry-After"]) == ((503, "unavailable"), "1")


def test_pages_keep_their_own_errors(client):
    response = client.get("/nowhere")
    assert (response.status_code, response["Content-Type"]) == (404, "text/html; charset=utf-8")


@pytest.mark.django_db(transaction=True)
async def test_a_body_without_a_length_is_bounded_before_it_is_kept(settings):
    settings.MAX_BODY_BYTES = 1000
    agent = await in_thread(an_agent)
    headers = {"Authorization": f"Bearer {agent.token}", "Content-Type": "application/json"}

    async def endless():
        while True:
            yield b"x" * 100

    async with served() as http:
        assert isinstance(http, httpx.AsyncClient)
        response = await http.post("/v1/agents", content=endless(), headers=headers)
        assert problem_code(response) == (413, "too-large")
        small = {"agent": {"name": "a"}}
        response = await http.post("/v1/agents", content=json.dumps(small).encode(), headers=headers)
        assert response.status_code == 422


@pytest.mark.parametrize(
    "id", ["a%00b", "%00", "%ED%A0%80", "%FF", "x" * 3000, "%F0%9F%9A%80", "a%0Ab", ".", "%2e%2e%2f"]
)
def test_ids_of_any_kind_are_looked_up_and_not_found(agent, id):
    """NUL, which PostgreSQL cannot hold, bytes that are no text, and ids longer than any."""
    paths = [f"/tracker/plans/{id}", f"/tracker/plans/{id}/log", f"/tracker/tasks/{id}", f"/memory/plan-context/{id}"]
    found = [agent.get(path).status_code for path in paths]
    found += [agent.post(f"/tracker/tasks/{id}/transitions", {"to": "running"}).status_code]
    found += [Agent(agent.workspace).post(f"/tracker/tasks/{id}/progress", {"progress": 1}).status_code]
    assert set(found) <= {404, 422}, found


@pytest.mark.parametrize("name", ["q", "goal", "session", "agent", "tenant", "cursor", "since", "state"])
def test_filters_of_any_kind_never_break_a_query(agent, name):
    for value in ("\x00", "\ud800".encode("utf-8", "surrogatepass"), "%", "\\", "'", "x" * 5000, "\N{ROCKET}"):
        assert agent.get("/tracker/plans", **{name: value}).status_code in {200, 422}, value
