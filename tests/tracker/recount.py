"""The figures of tasks counted plainly, one by one, by other code than the server's."""

from collections import Counter, defaultdict
from math import ceil

from django.db.models import Count, Q

from tracker.rollups import micros
from tracker.states import TASK
from tracker.tallies import percentiles

QUANTILES = (0.5, 0.95, 0.99)
NAME = {
    "agent": lambda task: task.agent,
    "task_type": lambda task: task.event_type,
    "goal": lambda task: task.plan.goal_event,
}


def recounted(which, bucket=0):
    """{(name, bucket): what is to be said of its tasks}, from the rows alone."""
    rows = which.sight.tasks().select_related("plan")
    stalls = Count("log", filter=Q(log__type="task.stalled"))
    groups = defaultdict(list)
    for task in rows.annotate(stalls=stalls):
        name, created = NAME[which.kind](task), micros(task.created_at)
        wanted = which.names is None or name in which.names
        if wanted and which.since <= created < which.until and (name or which.kind == "goal"):
            groups[name, created // bucket if bucket else 0].append(task)
    return {key: told(tasks) for key, tasks in groups.items()}


def told(tasks):
    states = Counter(task.state for task in tasks)
    worked = [micros(t.ended_at) - micros(t.started_at) for t in tasks if t.state == "completed" and t.started_at]
    waited = [micros(t.started_at) - micros(t.created_at) for t in tasks if t.started_at]
    return {
        "states": {state: states[state] for state in TASK.states},
        "retries": sum(task.attempt - 1 for task in tasks),
        "stalled": sum(task.stalled for task in tasks),
        "stalls": sum(task.stalls for task in tasks),
        "work_us": sum(max(0, us) for us in worked),
        "work": ranked([max(0, us) // 1000 for us in worked]),
        "queue": ranked([max(0, us) // 1000 for us in waited]),
    }


def ranked(values):
    values = sorted(values)
    return [values[max(0, ceil(q * len(values)) - 1)] if values else None for q in QUANTILES]


def figures(found):
    """The same of what the server counted."""
    return {
        (name, number): {
            "states": tally.states,
            "retries": tally.retries,
            "stalled": tally.stalled,
            "stalls": tally.stalls,
            "work_us": tally.work_us,
            "work": percentiles(tally.work, QUANTILES),
            "queue": percentiles(tally.queue, QUANTILES),
        }
        for name, one in found.items()
        for number, tally in one.buckets.items()
    }
