"""Times that the database makes say what ours say."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from tests.accounts.factories import make_workspace
from tests.tracker.runs import Run
from tracker.models import Plan
from tracker.projections.instants import EpochMs, Moment
from tracker.projections.rows import moment

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "at",
    [
        datetime(2026, 11, 24, 6, 30, 58, tzinfo=UTC),
        datetime(2026, 11, 24, 6, 30, 58, 7, tzinfo=UTC),
        datetime(2026, 11, 24, 6, 30, 58, 123456, tzinfo=UTC),
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(2026, 1, 1, 1, 30, tzinfo=timezone(timedelta(hours=5))),
    ],
)
def test_a_time(at):
    plan_id, _ = Run(make_workspace()).plan()
    plans = Plan.objects.filter(plan_id=plan_id)
    plans.update(started_at=at)
    text, ms = plans.values_list(Moment("started_at"), EpochMs("started_at")).get()
    assert (text, ms) == (moment(at), round(at.timestamp() * 1000))


def test_no_time():
    plan_id, _ = Run(make_workspace()).plan()
    plans = Plan.objects.filter(plan_id=plan_id)
    plans.update(completed_at=None)
    assert plans.values_list(Moment("completed_at"), EpochMs("completed_at")).get() == (None, None)
