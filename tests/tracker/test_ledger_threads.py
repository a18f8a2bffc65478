"""The ledger under threads, each with a connection of its own: one winner, no gap, nothing twice, nothing lost."""

import random
import threading

import pytest
from django.db import connections

from tests.tracker.factories import counts_of, picture, plan_of, task_of
from tests.tracker.runs import Run
from tracker.models import LogRow, Plan

THREADS = 8


def together(work, threads=THREADS):
    """Call `work(number)` in that many threads at once; their answers by number. An error in one is raised."""
    start, answers, errors = threading.Barrier(threads), {}, []

    def one(number):
        try:
            start.wait()
            answers[number] = work(number)
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    running = [threading.Thread(target=one, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    assert errors == []
    return [answers[number] for number in range(threads)]


def test_of_equal_versions_one_wins(shared_run):
    run = shared_run
    _, [task_id] = run.plan()
    run.move(task_id, "running")
    for to in ("waiting", "running") * 3:
        version = task_of(run, task_id).version
        outcomes = together(lambda _, to=to, version=version: run.move(task_id, to, expected_version=version))
        assert sorted(o.result for o in outcomes) == ["recorded"] + ["refused"] * (THREADS - 1)
        assert {o.detail for o in outcomes if o.result == "refused"} == {"version-conflict"}
        assert task_of(run, task_id).version == version + 1


def test_of_contradicting_results_one_wins(shared_run):
    run = shared_run
    plan_id, [task_id] = run.plan()
    outcomes = together(lambda n: run.result(plan_id, task_id, status="completed" if n % 2 else "failed"))
    assert [o.result for o in outcomes].count("recorded") == 1
    assert picture(run, plan_id)["counts"] in {(1, 1, 0, 0), (1, 0, 1, 0)}
    assert plan_of(run, plan_id).log.filter(kind="message").count() == 1 + THREADS


def test_one_message_from_many_senders_is_recorded_once(shared_run):
    run = shared_run
    message = run.request_message("plan", "task", id="once")
    outcomes = together(lambda _: run.record(message)[0])
    assert sorted(o.result for o in outcomes) == [*["duplicate"] * (THREADS - 1), "recorded"]
    assert {(o.plan_id, o.task_id, o.seq) for o in outcomes} == {("plan", "task", outcomes[0].seq)}
    assert Plan.objects.get().task_count == 1


def test_twenty_plans_of_eight_writers(shared_run):
    """Each writer brings its share of the messages in an order and in batches of its own; each message comes thrice."""
    run = shared_run
    plans, tasks = [f"plan-{n}" for n in range(20)], 5
    changes = []
    for plan_id in plans:
        for number in range(tasks):
            task_id, named = f"{plan_id}-{number}", {"plan_id": plan_id, "correlation_id": f"{plan_id}-{number}"}
            said = {"success": number > 0, "task_id": task_id}
            changes += [
                run.request_message(plan_id, task_id),
                run.message("action-results", "parts.check.completed", said, **named),
            ]

    def write(number):
        shuffle = random.Random(number)
        mine = [change for place, change in enumerate(changes) if (place + number) % 8 < 3]
        shuffle.shuffle(mine)
        results = []
        while mine:
            size = shuffle.randint(1, 12)
            results += [o.result for o in run.record(*mine[:size])]
            mine = mine[size:]
        return results

    results = [result for each in together(write) for result in each]
    assert (results.count("recorded"), results.count("duplicate")) == (len(changes), 2 * len(changes))
    for plan_id in plans:
        assert counts_of(run, plan_id) == picture(run, plan_id)["counts"] == (tasks, tasks - 1, 1, 0)
        assert plan_of(run, plan_id).state == "failed"


def test_answers_that_name_no_plan_meet_their_requests(shared_run):
    """A tool's result and its request come at the same time, by two writers: neither may miss the other."""
    run, rounds = shared_run, 40

    def write(number):
        for place in range(rounds):
            correlation = f"c-{place}-{number // 2}"
            if number % 2:
                run.request(f"plan-{place % 4}", f"t-{correlation}", correlation_id=correlation)
            else:
                run.say("action-results", "parts.check.completed", {"success": True}, correlation_id=correlation)

    together(write)
    assert LogRow.objects.filter(plan=None).count() == 0
    assert sum(counts_of(run, f"plan-{n}")[1] for n in range(4)) == rounds * THREADS // 2
    assert {picture(run, f"plan-{n}")["plan"] for n in range(4)} == {"completed"}


def test_a_plan_and_the_messages_that_wait_for_it_meet(shared_run):
    run, rounds = shared_run, 30

    def write(number):
        for place in range(rounds):
            plan_id = f"plan-{place}"
            if number == 0:
                run.file_plan(plan_id, goal="other.goal")
            else:
                run.say("action-requests", f"w{number}.requested", correlation_id=plan_id, response_event="x")

    together(write)
    assert LogRow.objects.filter(plan=None).count() == 0
    assert [counts_of(run, f"plan-{n}")[0] for n in range(rounds)] == [THREADS - 1] * rounds


@pytest.mark.parametrize("tenants", [1, 2])
def test_delegation_by_many_writers(shared_run, tenants):
    runs = [shared_run, Run(shared_run.workspace, tenant="globex")][:tenants]
    for run in runs:
        for number in range(THREADS):
            run.request(f"plan-{number % 3}", f"task-{number}")

    def write(number):
        for run in runs:
            plan_id, task_id = f"plan-{number % 3}", f"task-{number}"
            subs = [f"{task_id}-sub-{n}" for n in range(4)]
            run.delegate(plan_id, task_id, subs, group=f"group-{number}")
            for sub in subs:
                said = {"task_id": sub, "success": True}
                run.say("action-results", "stock.count.completed", said, correlation_id=sub)
            run.result(plan_id, task_id)

    together(write)
    for run in runs:
        assert {picture(run, f"plan-{n}")["plan"] for n in range(3)} == {"completed"}
        assert sum(counts_of(run, f"plan-{n}")[1] for n in range(3)) == THREADS * 5
