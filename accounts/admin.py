"""What the Django admin shows: people and workspaces can be changed, keys, links and the audit trail only read."""

from typing import Any

from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.http import HttpRequest

from accounts.models import ApiKey, AuditEntry, Membership, SignInLink, User, Workspace


class ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]
    """To look at only: changes have to pass the pages and commands, which also write the audit trail."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


admin.site.register(User, UserAdmin)


@admin.register(Workspace)
class WorkspaceAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["name", "created_at"]
    search_fields = ["name"]


@admin.register(Membership)
class MembershipAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["user", "workspace", "role"]
    list_filter = ["role"]
    list_select_related = ["user", "workspace"]
    search_fields = ["user__username", "workspace__name"]


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnly):
    list_display = ["prefix", "name", "workspace", "tenant_id", "user_id", "state", "last_used_at"]
    list_select_related = ["workspace"]
    search_fields = ["prefix", "name", "workspace__name"]
    exclude = ["digest"]


@admin.register(SignInLink)
class SignInLinkAdmin(ReadOnly):
    list_display = ["user", "created_at", "expires_at", "used_at"]
    list_select_related = ["user"]
    exclude = ["digest"]


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnly):
    list_display = ["at", "by", "action", "subject", "workspace", "address"]
    list_filter = ["action"]
    list_select_related = ["workspace"]
    search_fields = ["by", "subject"]
