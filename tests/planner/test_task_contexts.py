import pytest
from soorma_common.models import TaskContextResponse

from planner.models import DelegatedTask, TaskContext
from tests.accounts.factories import make_workspace
from tests.planner.calls import Agent, a_plan, a_task_context, an_agent, code, publish
from tracker.models import Link, Task

pytestmark = pytest.mark.django_db
PATH = "/memory/task-context"


def delegated():
    return {link.key: (link.group_id, link.done) for link in Link.objects.filter(kind=Link.Kind.SUBTASK)}


def test_a_context_is_stored_and_teaches_the_tracker_its_sub_tasks():
    agent = an_agent()
    saved = agent.post(PATH, a_task_context())
    assert saved.status_code == 200
    context = TaskContextResponse.model_validate_json(saved.content)
    assert (context.task_id, context.tenant_id, context.user_id, context.plan_id) == ("task-1", "acme", "alice", None)
    assert (context.event_type, context.response_event, context.response_topic) == (
        "parts.check.requested",
        "parts.check.completed",
        "action-results",
    )
    assert (context.data, context.sub_tasks) == ({"part": "brake"}, ["sub-1", "sub-2"])
    assert context.state == a_task_context()["state"]
    assert agent.get(f"{PATH}/task-1").content == saved.content
    assert agent.get(f"{PATH}/by-subtask/sub-2").content == saved.content
    assert delegated() == {"sub-1": ("group-1", True), "sub-2": ("group-1", False)}


def test_storing_again_overwrites():
    agent = an_agent()
    first = agent.post(PATH, a_task_context()).json()
    again = a_task_context(
        planId="plan-1", responseEvent=None, responseTopic="x", data={}, subTasks=["sub-3"], state={}
    )
    second = agent.post(PATH, again).json()
    assert second == first | {
        "plan_id": "plan-1",
        "response_event": None,
        "response_topic": "x",
        "data": {},
        "sub_tasks": ["sub-3"],
        "state": {},
        "updated_at": second["updated_at"],
    }
    assert code(agent.get(f"{PATH}/by-subtask/sub-1")) == (404, "not-found")
    assert agent.get(f"{PATH}/by-subtask/sub-3").json() == second
    assert TaskContext.objects.count() == 1


def test_an_update_changes_what_it_names():
    agent = an_agent()
    first = agent.post(PATH, a_task_context()).json()
    done = {"_sub_tasks": {"sub-2": {"status": "completed", "parallel_group_id": "group-1"}}, "n": 1}
    second = agent.put(f"{PATH}/task-1", {"state": done}).json()
    assert second == first | {"state": done, "updated_at": second["updated_at"]}
    assert delegated()["sub-2"] == ("group-1", True)
    third = agent.put(f"{PATH}/task-1", {"sub_tasks": ["sub-2", "sub-9"]}).json()
    assert third["state"] == done
    assert agent.get(f"{PATH}/by-subtask/sub-9").json() == third
    assert code(agent.get(f"{PATH}/by-subtask/sub-1")) == (404, "not-found")
    assert code(agent.put(f"{PATH}/task-2", {"state": {}})) == (404, "not-found")


def test_deleting_forgets_the_context_and_keeps_what_the_tracker_learned():
    agent = an_agent()
    agent.post(PATH, a_task_context("a/b"))
    deleted = agent.delete(f"{PATH}/a/b")
    assert (deleted.status_code, deleted.content) == (204, b"")
    for path in (f"{PATH}/a/b", f"{PATH}/by-subtask/sub-1"):
        assert code(agent.get(path)) == (404, "not-found")
    assert code(agent.delete(f"{PATH}/a/b")) == (404, "not-found")
    assert (DelegatedTask.objects.count(), len(delegated())) == (0, 2)


@pytest.mark.parametrize(
    "notes",
    [
        None,
        7,
        [],
        {"sub-1": None},
        {"sub-1": {"parallel_group_id": 7, "status": []}},
        {"sub-1": {"parallel_group_id": "\x00"}},
    ],
)
def test_strange_notes_on_sub_tasks_are_stored_and_mean_nothing(notes):
    agent = an_agent()
    state = {"_sub_tasks": notes}
    assert agent.post(PATH, a_task_context(subTasks=["sub-1", "", "sub-1"], state=state)).json()["state"] == state
    assert delegated() == {"sub-1": ("", False)}


@pytest.mark.parametrize(
    "fields",
    [
        {"taskId": ""},
        {"taskId": "a\x00b"},
        {"eventType": None},
        {"data": []},
        {"subTasks": "sub-1"},
        {"subTasks": ["\x00"]},
    ],
)
def test_what_does_not_fit_is_refused(fields):
    agent = an_agent()
    assert code(agent.post(PATH, a_task_context() | fields)) == (422, "invalid")
    assert not TaskContext.objects.exists()


def test_contexts_belong_to_workspace_tenant_and_user():
    alice = an_agent()
    alice.post(PATH, a_task_context())
    for other in (an_agent(), Agent(alice.workspace, "acme", "bob"), Agent(alice.workspace, "other", "alice")):
        for path in (f"{PATH}/task-1", f"{PATH}/by-subtask/sub-1"):
            assert code(other.get(path)) == (404, "not-found")
        assert code(other.put(f"{PATH}/task-1", {"state": {}})) == (404, "not-found")
        assert code(other.delete(f"{PATH}/task-1")) == (404, "not-found")
    assert Agent(alice.workspace).get(f"{PATH}/by-subtask/sub-1").json()["task_id"] == "task-1"


def owner_of(response):
    assert response.status_code == 200
    return response.json()["tenant_id"], response.json()["user_id"]


def test_an_unbound_key_stores_for_the_owner_of_the_task():
    workspace = make_workspace()
    worker = Agent(workspace)
    publish(workspace, "parts.check.requested", plan_id="plan-1", data={"action_id": "task-1"})
    assert Task.objects.get().task_id == "task-1"
    assert owner_of(worker.post(PATH, a_task_context())) == ("acme", "alice")


def test_an_unbound_key_stores_for_the_owner_of_the_request_that_the_context_repeats():
    workspace = make_workspace()
    worker = Agent(workspace)
    Agent(workspace, "other", "oscar").post("/memory/plans", a_plan("plan-1"))
    publish(
        workspace,
        "parts.check.requested",
        correlation_id="plan-1",
        tenant_id="other",
        user_id="oscar",
        data={"part": "brake"},
    )
    publish(workspace, "parts.check.requested", data={"part": "belt"})
    assert owner_of(worker.post(PATH, a_task_context("made-up", userId=""))) == ("other", "oscar")
    assert owner_of(worker.post(PATH, a_task_context("made-up-2", data={"part": "belt"}))) == ("acme", "alice")
    assert owner_of(worker.post(PATH, a_task_context("made-up", data={}))) == ("other", "oscar")
    assert TaskContext.objects.count() == 2


def test_an_unbound_key_stores_a_delegated_task_for_the_owner_of_its_parent():
    workspace = make_workspace()
    worker = Agent(workspace)
    Agent(workspace, "acme", "alice").post("/memory/plans", a_plan("plan-1"))
    publish(workspace, "parts.check.requested", correlation_id="plan-1", data={"part": "brake"})
    worker.post(PATH, a_task_context("made-up"))
    nested = a_task_context("sub-1", eventType="stock.requested", data={}, subTasks=["deep-1"], userId=None)
    assert owner_of(worker.post(PATH, nested)) == ("acme", "alice")


def test_an_unbound_key_stores_for_the_named_user_when_nothing_else_is_known():
    assert owner_of(Agent(make_workspace()).post(PATH, a_task_context(userId="zoe"))) == ("", "zoe")


def test_the_lookup_for_each_result_is_one_query(django_assert_num_queries):
    agent = an_agent()
    for number in range(30):
        agent.post(PATH, a_task_context(f"task-{number}", subTasks=[f"sub-{number}"]))
    for sub_task, status in (("sub-7", 200), ("nothing", 404)):
        with django_assert_num_queries(1):
            assert agent.get(f"{PATH}/by-subtask/{sub_task}").status_code == status
