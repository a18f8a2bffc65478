"""The log of the server: a line for each commit and each refusal, with ids, and never a word of a payload."""

import json
import logging
import sys

import pytest

from soorma_site.logs import logging_settings
from tests.tracker.factories import told
from tracker import observers
from tracker.changes import TaskMove

SECRET = "the-combination-is-4711"


@pytest.fixture
def lines(caplog):
    """What the server logs, as JSON lines parsed."""

    def lines():
        formatter = json_formatter()
        return [json.loads(formatter.format(record)) for record in caplog.records]

    caplog.set_level(logging.INFO)
    return lines


def json_formatter():
    settings = dict(logging_settings("INFO", "json")["formatters"]["line"])
    return settings.pop("()")(**settings)


def record(*changes):
    return observers.record(changes).outcomes


def test_a_line_for_each_commit(run, lines):
    record(run.request_message("p", "a"), run.request_message("p", "b"))
    [line] = lines()
    assert (line["event"], line["changes"], line["recorded"], line["plans"]) == ("batch", 2, 2, 1)
    assert line["rows"] > 2
    assert {"timestamp", "level", "logger", "ms"} <= set(line)


def test_a_single_change_is_named(run, lines):
    message = run.request_message("p", "a", id="e-1", correlation_id="c-1", trace_id="t-1")
    record(message)
    [line] = lines()
    named = {name: line[name] for name in ("kind", "event_id", "plan_id", "task_id", "correlation_id", "trace_id")}
    assert named == {
        "kind": "Message", "event_id": "e-1", "plan_id": "p", "task_id": "a",
        "correlation_id": "c-1", "trace_id": "t-1",
    }  # fmt: skip


def test_a_line_for_each_refusal_says_why(run, lines):
    plan_id, (task, _) = run.plan(2)
    run.running(plan_id, task)
    run.result(plan_id, task)
    record(
        run.message("action-results", "parts.check.completed", {"task_id": task, "status": "failed"}, plan_id=plan_id)
    )
    batch, refused = lines()
    assert batch["refused"] == 1
    assert (refused["event"], refused["task_id"], refused["plan_id"]) == ("refused", task, plan_id)
    assert told(run, plan_id, seq=refused["seq"], refused=True)  # there it says why


def test_a_refused_order_has_its_code(run, lines):
    _, (task,) = run.plan()
    record(run.change(TaskMove, task_id=task, to="completed"), run.change(TaskMove, task_id="nobody", to="running"))
    _, refused, unknown = lines()
    assert (refused["result"], refused["reason"], refused["task_id"]) == ("refused", "invalid-transition", task)
    assert (unknown["result"], unknown["task_id"]) == ("unknown", "nobody")


def test_never_a_word_of_a_payload(run, caplog):
    caplog.set_level(logging.DEBUG)
    plan_id, (task, _) = run.plan(2)
    data = {"task_id": task, "status": "completed", "result": {"code": SECRET}, "error": SECRET, "message": SECRET}
    message = run.message("action-results", "parts.check.completed", data, plan_id=plan_id)
    record(run.request_message(plan_id, "again", data={"code": SECRET}), message)
    record(run.message("action-results", "parts.check.completed", {**data, "status": "failed"}, plan_id=plan_id))
    record(run.message("system-events", "task.state_changed", {"task_id": task, "new_state": SECRET}, plan_id=plan_id))
    record(run.message("system-events", "task.progress", {"task_id": task, "progress": SECRET}, plan_id=plan_id))
    assert len(caplog.records) >= 4
    written = "\n".join(json_formatter().format(record) for record in caplog.records)
    assert SECRET not in written


def test_what_is_bound_stands_in_every_line(run, lines):
    import structlog

    with structlog.contextvars.bound_contextvars(request_id="r-1"):
        logging.getLogger("anybody").warning("plain words: %s", 7)
        record(run.request_message("p", "a"))
        plain, batch = lines()  # written while it is bound, as the server does
    assert (plain["request_id"], plain["event"]) == ("r-1", "plain words: 7")
    assert (batch["request_id"], batch["event"]) == ("r-1", "batch")


def test_a_traceback_shows_no_values(caplog):
    settings = dict(logging_settings("INFO", "console")["formatters"]["line"])
    formatter = settings.pop("()")(**settings)
    payload = SECRET
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        record = logging.LogRecord("x", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    assert payload == SECRET
    text = formatter.format(record)
    assert "RuntimeError: broken" in text
    assert SECRET not in text
