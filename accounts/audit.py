"""The audit trail: who signed in, made or revoked a key, changed a member."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest

from accounts.models import AuditEntry, Workspace


def record(
    action: str,
    subject: str,
    *,
    by: str,
    workspace: Workspace | None = None,
    detail: Mapping[str, Any] | None = None,
    request: HttpRequest | None = None,
) -> AuditEntry:
    """Add one entry in the caller's transaction.

    `action` is a dotted past tense (`key.made`, `member.role_changed`), `by` as everywhere (`user:alice`, `system`),
    `subject` the thing it was done to, `detail` JSON. The address is the peer's: headers can be forged.
    """
    address = str(request.META.get("REMOTE_ADDR") or "")[:64] if request is not None else ""
    return AuditEntry.objects.create(
        workspace=workspace,
        by=by[:200],
        action=action,
        subject=subject[:200],
        detail=dict(detail or {}),
        address=address,
    )
