"""What a key stands for, how long, and what it costs to ask."""

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from accounts import auth
from accounts.auth import MISS, Caller, ScopeMissing, bearer, cached_caller, caller_for_token, write_uses
from accounts.models import ApiKey
from accounts.tokens import new_key
from tests.accounts.factories import make_key, make_workspace

pytestmark = pytest.mark.django_db


def test_a_bound_key_stands_for_its_tenant_and_user():
    workspace = make_workspace("fleet")
    key, token = make_key(workspace, tenant_id="acme", user_id="alice", scopes=["publish", "read"])
    assert caller_for_token(token) == Caller(
        workspace_id=workspace.pk,
        workspace="fleet",
        tenant_id="acme",
        user_id="alice",
        scopes=frozenset({"publish", "read"}),
        by="user:alice",
        key_id=key.pk,
    )


def test_a_free_key_stands_for_all_of_its_workspace():
    key, token = make_key()
    caller = caller_for_token(token)
    assert (caller.tenant_id, caller.user_id, caller.by) == (None, None, f"key:{key.prefix}")
    assert caller.scopes == {"publish", "read", "act"}


def test_a_tenants_key_sees_its_tenant_only():
    _, bound = make_key(tenant_id="acme")
    _, free = make_key()
    assert [caller_for_token(bound).sees(tenant) for tenant in ("acme", "Acme", "other", None)] == [True] + [False] * 3
    assert [caller_for_token(free).sees(tenant) for tenant in ("acme", None)] == [True, True]


def test_a_scope_that_is_missing_is_named():
    caller = caller_for_token(make_key(scopes=["read"])[1])
    caller.require("read")
    with pytest.raises(ScopeMissing, match="'publish'") as refusal:
        caller.require("publish")
    assert (refusal.value.scope, caller.may("read"), caller.may("publish")) == ("publish", True, False)


@pytest.mark.parametrize(
    "token", ["", "soorma_", "x", "soorma_\0", "soorma_ü", "soorma_" + "a" * 100_000, "soorma_" + "a" * 43]
)
def test_what_is_no_key_stands_for_nobody(token):
    assert caller_for_token(token) is None


def test_a_key_is_the_whole_token():
    _, token = make_key()
    assert [caller_for_token(other) for other in (token[:-1], token + "a", token.upper(), token[:12])] == [None] * 4


def test_the_answer_is_at_hand_after_the_first_time(django_assert_num_queries):
    _, token = make_key()
    with django_assert_num_queries(1):
        first = caller_for_token(token)
    with django_assert_num_queries(0):
        assert [caller_for_token(token), cached_caller(token)] == [first, first]


def test_that_a_token_is_unknown_is_at_hand_as_well(django_assert_num_queries):
    token = new_key()
    with django_assert_num_queries(1):
        assert [caller_for_token(token), caller_for_token(token), cached_caller(token)] == [None] * 3


def test_the_event_loop_hears_of_a_miss(django_assert_num_queries):
    _, token = make_key()
    with django_assert_num_queries(0):
        assert cached_caller(token) is MISS
        assert cached_caller("no key at all") is None


def test_a_key_ends_at_its_time():
    _, token = make_key(expires_at=timezone.now())
    assert [caller_for_token(token), cached_caller(token)] == [None, None]


def test_a_remembered_key_ends_at_its_time_too(monkeypatch):
    _, token = make_key(expires_at=timezone.now() + timedelta(seconds=1))
    assert caller_for_token(token) is not None
    key = ApiKey.objects.get()
    monkeypatch.setattr(auth._known, "_clock", key.expires_at.timestamp)
    assert cached_caller(token) is MISS


def test_a_revoked_key_ends_at_once():
    key, token = make_key()
    assert caller_for_token(token) is not None
    key.revoke()
    assert [cached_caller(token), caller_for_token(token), cached_caller(token)] == [MISS, None, None]


def test_a_deleted_workspace_takes_its_keys_along():
    workspace = make_workspace()
    _, token = make_key(workspace)
    assert caller_for_token(token) is not None
    workspace.delete()
    assert caller_for_token(token) is None


@pytest.mark.django_db(transaction=True)
def test_a_reader_beside_the_revocation_does_not_bring_the_key_back(run_in_thread):
    key, token = make_key()
    with transaction.atomic():
        key.revoke()
        assert run_in_thread(caller_for_token, token) is not None  # it still reads the row of before
    assert caller_for_token(token) is None


def test_the_last_use_is_written_afterwards(django_assert_num_queries):
    key, token = make_key()
    caller_for_token(token)
    assert ApiKey.objects.get(pk=key.pk).last_used_at is None
    assert write_uses() == 1
    assert abs(ApiKey.objects.get(pk=key.pk).last_used_at - timezone.now()) < timedelta(minutes=1)
    with django_assert_num_queries(0):
        assert write_uses() == 0


def test_the_last_use_is_written_once_a_minute():
    key, token = make_key()
    for _ in range(3):
        caller_for_token(token)
    assert write_uses() == 1
    cached_caller(token)
    assert write_uses() == 0
    ApiKey.objects.filter(pk=key.pk).update(last_used_at=timezone.now() - timedelta(minutes=2))
    cached_caller(token)
    assert write_uses() == 1


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([], None),
        ([(b"host", b"a")], None),
        ([(b"authorization", b"Bearer abc")], "abc"),
        ([(b"host", b"a"), (b"authorization", b"bearer  abc ")], "abc"),
        ([(b"authorization", b"Basic abc")], None),
        ([(b"authorization", b"Bearer")], ""),
        ([(b"authorization", b"Bearer \xff\xfe")], "ÿþ"),
    ],
)
def test_the_bearer_header_is_read(headers, token):
    assert bearer(headers) == token
