"""The OpenAPI document and its page: public, complete, from this server alone."""

import re

import pytest
from django.conf import settings
from django.contrib.staticfiles import finders
from django.test import Client

from tracker.envelope import TOPICS


@pytest.fixture(scope="module")
def document():
    response = Client().get("/v1/openapi.json")
    assert response.status_code == 200
    return response.json()


def operations(document):
    return [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_queries_are_in_it(document):
    ends = (
        "",
        "/{plan_id}",
        "/{plan_id}/actions",
        "/{plan_id}/tasks",
        "/{plan_id}/timeline",
        "/{plan_id}/log",
        "/{plan_id}/hierarchy",
        "/{plan_id}/state",
        "/{plan_id}/sub-plans",
    )
    for path in [
        *(f"/v1/tracker/plans{end}" for end in ends),
        "/v1/tracker/tasks",
        "/v1/tracker/tasks/{task_id}",
        "/v1/tracker/metrics",
        "/v1/tracker/sessions/{session_id}/plans",
        "/v1/tracker/delegation-groups/{group_id}",
    ]:
        assert "get" in document["paths"][path], path


def test_the_hot_routes_are_in_it(document):
    publish = document["paths"]["/v1/events/publish"]["post"]
    body = document["components"]["schemas"]["PublishBody"]
    assert publish["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/PublishBody"
    }
    assert body["properties"]["event"] == {"$ref": "#/components/schemas/Envelope"}
    envelope = document["components"]["schemas"]["Envelope"]
    assert envelope["properties"]["topic"]["enum"] == list(TOPICS)
    assert {"source", "type", "topic", "tenant_id", "user_id"} == set(envelope["required"])
    batch = document["paths"]["/v1/events/batch"]["post"]["requestBody"]["content"]
    assert set(batch) == {"application/json", "application/cloudevents-batch+json"}
    assert batch["application/json"]["schema"]["items"] == {"$ref": "#/components/schemas/Envelope"}
    stream = document["paths"]["/v1/events/stream"]["get"]
    assert list(stream["responses"]["200"]["content"]) == ["text/event-stream"]
    assert {one["name"]: one["required"] for one in stream["parameters"]} == {
        "topics": True,
        "agent_id": True,
        "agent_name": False,
    }


def test_every_reference_leads_somewhere(document):
    schemas = document["components"]["schemas"]
    for name in re.findall(r'"#/components/schemas/([^"]+)"', Client().get("/v1/openapi.json").content.decode()):
        assert name in schemas


def test_every_operation_says_what_it_does_and_that_it_wants_a_key(document):
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    for path, _, operation in operations(document):
        assert operation["security"], path
        assert operation.get("description"), path
        assert "401" in operation["responses"], path


def test_problems_have_their_media_type(document):
    for path, _, operation in operations(document):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert list(response["content"]) == ["application/problem+json"], (path, status)


def test_the_page_needs_no_key_and_loads_nothing_from_elsewhere():
    response = Client().get("/v1/docs")
    assert response.status_code == 200
    page = response.content.decode()
    links = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert links
    assert [link for link in links if not link.startswith(settings.STATIC_URL)] == []
    for link in links:
        assert finders.find(link.removeprefix(settings.STATIC_URL)), link
    assert response["Content-Security-Policy"] == Client().get("/health")["Content-Security-Policy"]
