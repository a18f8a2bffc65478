"""What Prometheus reads: by its own parser, with labels that agents cannot multiply, at a cost that does not grow."""

import json
import re
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from accounts.models import Workspace
from tests.services.process import ROOT
from tests.tracker.runs import unique
from tracker import observers, prometheus
from tracker.models import Plan, Task
from tracker.states import PLAN, TASK

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
DASHBOARD = ROOT / "docs/grafana-dashboard.json"


@pytest.fixture
def scrape(client):
    """What a scraper reads now: {name: {labels: value}}, by Prometheus' own parser."""

    def scrape():
        prometheus.kept.forget()
        return read(client.get("/metrics").content.decode())

    return scrape


def read(text):
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = {}
    for sample in samples:
        found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def record(run, *changes):
    """As the server's writer records: what looks on is told."""
    return observers.record(changes).outcomes


def test_counts_by_state_are_those_of_the_tables(run, scrape):
    plan_id, (first, second, _) = run.plan(3)
    run.running(plan_id, first)
    run.result(plan_id, first)
    run.running(plan_id, second)
    found = scrape()
    assert found["soorma_tasks"] == {
        (("state", state),): Task.objects.filter(state=state).count() for state in TASK.states
    }
    assert found["soorma_plans"] == {
        (("state", state),): Plan.objects.filter(state=state).count() for state in PLAN.states
    }
    assert found["soorma_tasks"][(("state", "completed"),)] >= 1
    assert found["soorma_database_up"] == {(): 1}


def test_commits_are_counted_and_timed(run, scrape):
    before = scrape()
    record(run, run.request_message("p", "a"), run.request_message("p", "b"))
    record(run, run.request_message("p", "a", id="once"), run.request_message("p", "a", id="once"))
    after = scrape()

    def grown(name, *labels):
        return after[name][labels] - before.get(name, {}).get(labels, 0)

    assert grown("soorma_ledger_batch_size_sum") == 4
    assert grown("soorma_ledger_batch_size_count") == grown("soorma_ledger_commit_seconds_count") == 2
    assert grown("soorma_changes_total", ("kind", "Message"), ("result", "recorded")) == 3
    assert grown("soorma_changes_total", ("kind", "Message"), ("result", "duplicate")) == 1
    assert grown("soorma_log_rows_total") > 3


def test_agents_cannot_make_series(run, scrape):
    run.plan()
    names = {name: set(values) for name, values in scrape().items()}
    for number in range(20):
        run.agent(f"agent-{number}-{uuid4().hex}")
        plan_id, (task,) = run.plan(type=f"kind.{number}.{uuid4().hex}.requested")
        run.running(plan_id, task, source=f"agent-{uuid4().hex}")
        run.say("business-facts", f"fact.{uuid4().hex}")
    Workspace.objects.create(name=unique("another"))
    after = {name: set(values) for name, values in scrape().items()}
    assert after == names


def test_a_scrape_costs_so_many_queries_however_much_there_is(run, client):
    def cost():
        prometheus.kept.forget()
        with CaptureQueriesContext(
            connection,
        ) as queries:
            client.get("/metrics")
            first = len(queries)
            client.get("/metrics")  # within a second: nothing is read again
        assert len(queries) == first
        return first

    run.plan()
    few = cost()
    for _ in range(5):
        run.plan(20)
        run.agent()
    assert cost() == few < 12


def test_openmetrics_for_those_who_ask_for_it(db, client):
    answer = client.get("/metrics", headers={"Accept": OPENMETRICS})
    assert answer["Content-Type"].startswith("application/openmetrics-text")
    families = {family.name for family in openmetrics.text_string_to_metric_families(answer.content.decode())}
    assert {"soorma_changes", "soorma_sockets", "soorma_told_seconds", "python_info"} <= families


def test_other_packages_add_figures(db, scrape, monkeypatch):
    monkeypatch.setattr(prometheus, "_figures", dict(prometheus._figures))
    prometheus.register_collector("test_plain", "A figure", lambda: 3)
    prometheus.register_collector("test_by_kind", "Two figures", lambda: {"a": 1, "b": 2}, label="kind")
    found = scrape()
    assert found["soorma_test_plain"] == {(): 3}
    assert found["soorma_test_by_kind"] == {(("kind", "a"),): 1, (("kind", "b"),): 2}


@pytest.mark.parametrize(
    "scraper",
    [
        {"REMOTE_ADDR": "192.0.2.7"},
        {"REMOTE_ADDR": ""},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": "192.0.2.7"},
        {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_PROTO": "https"},
    ],
)
def test_without_a_token_only_this_machine_reads(db, client, scraper):
    answer = client.get("/metrics", **scraper)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_with_a_token_whoever_has_it(db, client, settings):
    settings.METRICS_TOKEN = "let me see"
    answer = client.get("/metrics")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert client.get("/metrics", headers={"Authorization": "Bearer let me"}).status_code == 401
    sent = {"Authorization": "Bearer let me see"}
    assert client.get("/metrics", headers=sent, REMOTE_ADDR="192.0.2.7").status_code == 200


def test_the_dashboard_asks_for_what_there_is(run, scrape):
    record(run, run.request_message("p", "a"))
    found = scrape()
    asked = set(re.findall(r"soorma_[a-z_]+", DASHBOARD.read_text()))
    assert asked <= set(found)
    ours = {name for name in found if name.startswith("soorma_") and not name.endswith(("_count", "_sum", "_bucket"))}
    assert ours - asked == set()
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel["targets"]:
            assert_labels_exist(target["expr"], found)


def assert_labels_exist(expression, found):
    for name, matchers in re.findall(r"(soorma_[a-z_]+)\{([^}]*)\}", expression):
        wanted = dict(re.findall(r'(\w+)="([^"]*)"', matchers))
        assert any(wanted.items() <= dict(labels).items() for labels in found[name]), (name, wanted)
