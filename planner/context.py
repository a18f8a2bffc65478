"""What the page shell shows of approvals."""

from functools import cache
from typing import Any

from django.db.models import Q
from django.http import HttpRequest

from accounts.auth import current_membership, member_caller
from planner import cards
from planner.models import Approval

MOST = 100  # shown as 99+


def approvals(request: HttpRequest) -> dict[str, Any]:
    """`approvals_waiting`: how many wait for whoever is signed in, 100 at most; one query, if it is shown."""

    @cache
    def waiting() -> int:
        membership = current_membership(request)
        if membership is None:
            return 0
        caller = member_caller(membership)
        return count_for(caller.workspace_id, caller.by) if caller.may("act") else 0

    return {"approvals_waiting": waiting}


def count_for(workspace_id: int, by: str) -> int:
    """How many pending approvals ask this person or anybody, and have no vote of theirs; 100 at most."""
    rows = Approval.objects.filter(workspace_id=workspace_id, state=Approval.State.PENDING)
    return rows.filter(Q(assignees="[]") | cards.assigned(by)).exclude(votes__by=by)[:MOST].count()
