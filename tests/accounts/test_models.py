from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit
from accounts.models import ApiKey, AuditEntry, Membership, Role, SignInLink, Workspace
from accounts.names import set_member, user_named, workspace_named
from tests.accounts.factories import make_key, make_member, make_workspace

pytestmark = pytest.mark.django_db

UNUSABLE = ["", " ", " a", "a ", "a\nb", "a\0b", "x" * 65]


def test_a_key_is_stored_as_a_digest_with_a_visible_beginning():
    key, token = make_key()
    assert (key.prefix, len(key.prefix)) == (token[:12], 12)
    stored = ApiKey.objects.filter(pk=key.pk).values().get()
    assert [name for name, value in stored.items() if token in str(value)] == []


@pytest.mark.parametrize("text", UNUSABLE)
@pytest.mark.parametrize("field", ["name", "tenant_id", "user_id"])
def test_a_key_with_an_unusable_name_is_refused(field, text):
    with pytest.raises(ValidationError):
        make_key(**{field: text})
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("scopes", [[], ["fly"], ["read", "manage"], ["read", "read"]])
def test_a_key_with_wrong_scopes_is_refused(scopes):
    with pytest.raises(ValidationError):
        make_key(scopes=scopes)


def test_the_database_refuses_a_key_bound_to_nothing_in_particular():
    key, _ = make_key(tenant_id="acme")
    with pytest.raises(IntegrityError), transaction.atomic():
        ApiKey.objects.filter(pk=key.pk).update(tenant_id="")


def test_the_database_refuses_an_unknown_role():
    member = make_member(make_workspace())
    with pytest.raises(IntegrityError), transaction.atomic():
        Membership.objects.filter(pk=member.pk).update(role="owner")


def test_the_database_refuses_a_second_membership():
    member = make_member(make_workspace())
    with pytest.raises(IntegrityError), transaction.atomic():
        Membership.objects.create(user=member.user, workspace=member.workspace, role=Role.VIEWER)


def test_a_keys_state_follows_its_life():
    key, _ = make_key(expires_at=timezone.now() + timedelta(days=1))
    assert key.state == "active"
    key.expires_at = timezone.now()
    assert key.state == "expired"
    assert key.revoke()
    assert key.state == "revoked"


def test_a_key_is_revoked_once():
    key, _ = make_key()
    assert [key.revoke(), key.revoke()] == [True, False]


@pytest.mark.parametrize("name", UNUSABLE)
def test_a_workspace_with_an_unusable_name_is_refused(name):
    with pytest.raises(ValidationError):
        workspace_named(name, by="system")
    assert not Workspace.objects.exists()


def test_a_workspace_is_made_once():
    first, made = workspace_named("Acme fleet", by="system")
    second, made_again = workspace_named("Acme fleet", by="system")
    assert (made, made_again, first) == (True, False, second)


@pytest.mark.parametrize("name", ["", "a b", "a\0", "x" * 65, "a/b"])
def test_a_user_with_an_unusable_name_is_refused(name):
    with pytest.raises(ValidationError):
        user_named(name)


def test_a_user_has_no_password():
    user, made = user_named("alice")
    assert (made, user.has_usable_password(), user.by) == (True, False, "user:alice")


def test_setting_a_member_says_what_was_done():
    workspace = make_workspace()
    user, _ = user_named("alice")
    done = [set_member(user, workspace, role, by="user:root") for role in ("viewer", "viewer", "admin")]
    assert done == ["made", "unchanged", "changed"]
    assert Membership.objects.get(user=user).role == "admin"
    trail = AuditEntry.objects.filter(workspace=workspace).order_by("pk").values_list("by", "action", "detail")
    assert list(trail) == [
        ("user:root", "member.made", {"role": "viewer"}),
        ("user:root", "member.role_changed", {"from": "viewer", "to": "admin"}),
    ]


def test_a_link_is_claimed_once():
    user, _ = user_named("alice")
    secret = SignInLink.objects.issue(user, next="/plans/1")
    first = SignInLink.objects.claim(secret)
    assert (first.user, first.next) == (user, "/plans/1")
    assert SignInLink.objects.claim(secret) is None


def test_a_link_ends():
    user, _ = user_named("alice")
    assert SignInLink.objects.claim(SignInLink.objects.issue(user, validity=timedelta(0))) is None


def test_a_disabled_user_cannot_use_a_link():
    user, _ = user_named("alice")
    secret = SignInLink.objects.issue(user)
    user.is_active = False
    user.save()
    assert SignInLink.objects.claim(secret) is None


def test_links_that_have_ended_are_cleared_away():
    user, _ = user_named("alice")
    SignInLink.objects.issue(user, validity=timedelta(0))
    SignInLink.objects.issue(user)
    assert SignInLink.objects.count() == 1


def test_an_audit_entry_is_never_written_again():
    entry = audit.record("key.made", "k", by="system")
    entry.by = "user:mallory"
    with pytest.raises(IntegrityError), transaction.atomic():
        entry.save()
    assert AuditEntry.objects.get().by == "system"


def test_the_audit_trail_outlives_its_workspace():
    workspace = make_workspace()
    audit.record("workspace.made", workspace.name, by="system", workspace=workspace)
    workspace.delete()
    assert AuditEntry.objects.get().workspace is None
