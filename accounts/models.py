"""Workspaces, members, API keys, sign-in links and the audit trail."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth.models import AbstractUser
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts import tokens

SCOPES = ("publish", "read", "act")
NAME_LENGTH = 64
LINK_VALIDITY = timedelta(hours=1)


def plain_text(value: str) -> None:
    """Names that people read in lists: not blank, no blanks around, no control characters (also no NUL)."""
    if not value.strip():
        raise ValidationError("must not be blank", code="plain_text")
    if value != value.strip():
        raise ValidationError("must not begin or end with a blank", code="plain_text")
    if not value.isprintable():
        raise ValidationError("must not contain control characters", code="plain_text")


def known_scopes(value: object) -> None:
    """A list of distinct scopes, at least one."""
    if not isinstance(value, list) or not value:
        raise ValidationError(f"give at least one of {', '.join(SCOPES)}", code="scopes")
    unknown = sorted({str(scope) for scope in value} - set(SCOPES))
    if unknown:
        raise ValidationError(f"unknown scope {', '.join(unknown)}; known are {', '.join(SCOPES)}", code="scopes")
    if len(value) != len(set(value)):
        raise ValidationError("a scope is given twice", code="scopes")


class User(AbstractUser):
    """A person. What a person may do depends on the workspace: see Membership."""

    class Meta:
        ordering = ["username"]

    @property
    def by(self) -> str:
        """How the logs name this person."""
        return f"user:{self.username}"


class Workspace(models.Model):
    """The outer wall: nothing is ever visible across workspaces."""

    name = models.CharField(max_length=NAME_LENGTH, unique=True, validators=[plain_text])
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class Role(models.TextChoices):
    """What a member may do in one workspace."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Membership(models.Model):
    """One person in one workspace, with one role."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="memberships")
    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.VIEWER)
    wants_mail = models.BooleanField(default=True)  # when somebody is asked to decide, and the user has an address
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ["workspace__name", "user__username"]
        constraints = [
            models.UniqueConstraint(fields=["user", "workspace"], name="one_membership"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="membership_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user.username} ({self.role}) in {self.workspace.name}"


class ApiKeys(models.Manager["ApiKey"]):
    """Makes keys."""

    def issue(
        self,
        workspace: Workspace,
        *,
        name: str,
        scopes: Iterable[str] = SCOPES,
        tenant_id: str | None = None,
        user_id: str | None = None,
        created_by: User | None = None,
        expires_at: datetime | None = None,
    ) -> tuple[ApiKey, str]:
        """A new key and its token, which is not kept and cannot be shown again. Raises ValidationError."""
        token = tokens.new_key()
        key = self.model(
            workspace=workspace,
            name=name,
            prefix=token[: tokens.SHOWN],
            digest=tokens.digest(token),
            tenant_id=tenant_id,
            user_id=user_id,
            scopes=list(scopes),
            created_by=created_by,
            expires_at=expires_at,
        )
        key.full_clean()
        key.save(force_insert=True)
        return key, token


class ApiKey(models.Model):
    """A token's stored side. It stands for a workspace and, if bound, for a tenant and a user in it.

    `tenant_id` and `user_id` are the agents' names for their customers and users (text), not rows of ours.
    """

    workspace = models.ForeignKey(Workspace, on_delete=models.CASCADE, related_name="keys")
    name = models.CharField(max_length=NAME_LENGTH, validators=[plain_text])
    prefix = models.CharField(max_length=tokens.SHOWN, editable=False)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    tenant_id = models.CharField(max_length=NAME_LENGTH, null=True, blank=True, validators=[plain_text])
    user_id = models.CharField(max_length=NAME_LENGTH, null=True, blank=True, validators=[plain_text])
    scopes = models.JSONField(default=list, validators=[known_scopes])
    created_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ApiKeys()

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [
            # Absent means unbound; an empty name would be neither.
            models.CheckConstraint(
                condition=~Q(tenant_id="") & ~Q(user_id=""),
                name="key_binding_not_blank",
                violation_error_message="tenant and user must not be blank",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def state(self) -> str:
        """active, expired or revoked."""
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= timezone.now() else "active"

    def revoke(self) -> bool:
        """End the key now; False if it was ended before."""
        if self.revoked_at is not None:
            return False
        self.revoked_at = timezone.now()
        self.save(update_fields=["revoked_at"])
        return True


class SignInLinks(models.Manager["SignInLink"]):
    """Makes links and redeems them."""

    def issue(self, user: User, *, next: str = "", validity: timedelta = LINK_VALIDITY) -> str:
        """A new one-time secret for `/sign-in/<secret>`; it is stored as a digest only."""
        now = timezone.now()
        self.filter(user=user, expires_at__lt=now).delete()
        secret = tokens.new_link()
        self.create(user=user, digest=tokens.digest(secret), expires_at=now + validity, next=next)
        return secret

    def claim(self, secret: str) -> SignInLink | None:
        """Use a link up, of several callers one; None if it is unknown, used, expired or its user may not sign in."""
        now = timezone.now()
        usable = Q(used_at__isnull=True, expires_at__gt=now, user__is_active=True)
        link = self.select_related("user").filter(usable, digest=tokens.digest(secret)).first()
        if link is None or not self.filter(pk=link.pk, used_at__isnull=True).update(used_at=now):
            return None
        link.used_at = now
        return link


class SignInLink(models.Model):
    """A secret that signs its user in once, instead of a password."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="sign_in_links")
    digest = models.CharField(max_length=64, unique=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True, editable=False)
    next = models.CharField(max_length=500, blank=True, default="")

    objects = SignInLinks()

    class Meta:
        ordering = ["-created_at"]

    def __str__(self) -> str:
        return f"link of {self.user.username}"


class AuditEntry(models.Model):
    """One line of who did what to whom; rows are added by `audit.record` and never changed."""

    workspace = models.ForeignKey(Workspace, on_delete=models.SET_NULL, null=True, blank=True, related_name="audit")
    at = models.DateTimeField(default=timezone.now, editable=False)
    by = models.CharField(max_length=200)
    action = models.CharField(max_length=64)
    subject = models.CharField(max_length=200)
    detail = models.JSONField(default=dict, blank=True)
    address = models.CharField(max_length=64, blank=True, default="")

    class Meta:
        ordering = ["-at", "-id"]
        indexes = [models.Index(fields=["workspace", "-at"], name="audit_workspace_at")]
        verbose_name_plural = "audit entries"

    def __str__(self) -> str:
        return f"{self.by} {self.action} {self.subject}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Add the row; a row that exists is never written again."""
        kwargs["force_insert"] = True
        super().save(*args, **kwargs)
