import pytest
from soorma_common.models import SessionSummary

from planner.models import Session
from tests.planner.calls import Agent, an_agent, code

pytestmark = pytest.mark.django_db
PATH = "/memory/sessions"


def ids(response):
    assert response.status_code == 200
    return [item["session_id"] for item in response.json()]


def test_sessions_are_stored_and_listed_by_last_interaction():
    agent = an_agent()
    for name in ("s-1", "s-2", "s-3"):
        saved = agent.post(PATH, {"sessionId": name, "name": None, "metadata": {"someKey": 0}})
        assert saved.status_code == 201
        assert SessionSummary.model_validate_json(saved.content).metadata == {"someKey": 0}
    assert ids(agent.get(PATH)) == ["s-3", "s-2", "s-1"]
    first = agent.get(PATH).json()[2]
    again = agent.post(PATH, {"session_id": "s-1", "name": "Talk"}).json()
    assert again == first | {"name": "Talk", "metadata": {}, "last_interaction": again["last_interaction"]}
    assert ids(agent.get(PATH)) == ["s-1", "s-3", "s-2"]
    assert ids(agent.get(PATH, limit=1)) == ["s-1"]
    assert Session.objects.count() == 3


@pytest.mark.parametrize(
    "body", [{}, {"sessionId": ""}, {"sessionId": "\x00"}, {"sessionId": "s", "name": "\x00"}, "s"]
)
def test_what_does_not_fit_is_refused(body):
    assert code(an_agent().post(PATH, body)) == (422, "invalid")


def test_sessions_belong_to_workspace_tenant_and_user():
    alice = an_agent()
    alice.post(PATH, {"sessionId": "s-1"})
    for other in (an_agent(), Agent(alice.workspace, "acme", "bob"), Agent(alice.workspace, "other", "alice")):
        assert ids(other.get(PATH)) == []
    assert ids(Agent(alice.workspace).get(PATH)) == ["s-1"]
