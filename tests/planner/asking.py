"""Questions to people in tests: how agents ask, and what people answer."""

from datetime import UTC, datetime

from planner.asking import ASKED
from planner.models import Approval
from tests.planner.calls import Agent
from tests.tracker.runs import Run, unique
from tracker import deadlines
from tracker.models import LogRow

ANSWERED = "approval.decided"


class Asker(Run):
    """A tenant's agents that ask, and members who decide by keys of their own."""

    def ask(self, plan_id="", task_id=None, *, source="planner", answered=ANSWERED, correlation_id="", **data):
        """Ask; gives the approval, or None when none was put."""
        task_id = task_id or unique("question")
        self.say(
            "action-requests",
            ASKED,
            {"title": "Book it?", "task_id": task_id, **data},
            source=source,
            plan_id=plan_id or None,
            correlation_id=correlation_id or task_id,
            response_event=answered or None,
        )
        return Approval.objects.filter(workspace=self.workspace, task__task_id=task_id).order_by("-id").first()

    def clock(self):
        """Act on what is due, twice, as two processes may; gives what came of each."""
        due = deadlines.overdue(datetime.now(UTC))
        return [outcome.result for outcome in self.record(*due, *due)]

    def person(self, name):
        """Somebody who may act."""
        return Agent(self.workspace, self.tenant, name, scopes=["read", "act"])

    def answers(self):
        """The server's answers, oldest first."""
        rows = LogRow.objects.filter(workspace=self.workspace, kind="message", source="tracker")
        return list(rows.order_by("id"))


def decide(person, approval, decision="approve", **more):
    """What comes of a decision: the response."""
    return person.post(f"/approvals/{approval.approval_id}/decision", {"decision": decision, **more})
