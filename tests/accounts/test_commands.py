"""The commands, as functions and once as processes."""

import io
import re
import subprocess
import sys

import pytest
from django.core.management import CommandError, call_command

from accounts.auth import caller_for_token
from accounts.models import ApiKey, AuditEntry, Membership, SignInLink, User, Workspace
from tests.accounts.factories import make_member, make_workspace
from tests.services.process import ROOT, clean_environment

KEY = re.compile(r"soorma_[\w-]{43}\n")
LINK = re.compile(r"http://127\.0\.0\.1:8000/sign-in/[\w-]{43}\n")


def run(command, *args):
    """What the command writes on stdout and stderr."""
    out, err = io.StringIO(), io.StringIO()
    call_command(command, *args, stdout=out, stderr=err, no_color=True)
    return out.getvalue(), err.getvalue()


def create_key(*args):
    out, err = run("create_api_key", "--workspace", "W", *args)
    assert KEY.fullmatch(out)
    assert err == ""
    return caller_for_token(out.strip())


@pytest.mark.django_db
def test_a_key_is_printed_alone_and_works():
    caller = create_key("--tenant", "T", "--user", "U")
    assert (caller.workspace, caller.tenant_id, caller.user_id) == ("W", "T", "U")
    assert caller.scopes == {"publish", "read", "act"}
    assert ApiKey.objects.get().name == "U"


@pytest.mark.django_db
def test_tenant_and_user_of_a_key_are_optional():
    caller = create_key("--scopes", "read, publish", "--name", "reader")
    assert (caller.tenant_id, caller.user_id, caller.scopes) == (None, None, {"read", "publish"})
    assert ApiKey.objects.get().name == "reader"


@pytest.mark.django_db
def test_keys_of_one_workspace_share_it():
    assert create_key().workspace_id == create_key().workspace_id
    assert Workspace.objects.count() == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["--workspace", ""], "name: "),
        (["--workspace", " "], "name: must not be blank"),
        (["--workspace", "a\0b"], "control characters"),
        (["--workspace", "x" * 65], "at most 64"),
        (["--workspace", "W", "--tenant", "x" * 65], "tenant: Ensure this value has at most 64"),
        (["--workspace", "W", "--tenant", ""], "must not be blank"),
        (["--workspace", "W", "--tenant", " "], "must not be blank"),
        (["--workspace", "W", "--user", "a\0b"], "user: must not contain control characters"),
        (["--workspace", "W", "--user", ""], "must not be blank"),
        (["--workspace", "W", "--name", ""], "name: "),
        (["--workspace", "W", "--scopes", "read,fly"], "scopes: unknown scope fly; known are publish, read, act"),
        (["--workspace", "W", "--scopes", "manage"], "unknown scope manage"),
        (["--workspace", "W", "--scopes", ","], "scopes: This field cannot be blank"),
        (["--workspace", "W", "--scopes", "read,read"], "twice"),
    ],
)
def test_a_key_that_cannot_be_is_refused_with_the_reason(args, reason):
    with pytest.raises(CommandError, match=re.escape(reason)):
        run("create_api_key", *args)
    assert not Workspace.objects.exists()


@pytest.mark.django_db
def test_a_member_is_made_once_and_changes_role():
    said = [run("create_member", "alice", "--workspace", "W", "--role", role) for role in ("viewer", "viewer", "admin")]
    assert said == [
        ("", "alice is viewer in W (made)\n"),
        ("", "alice is viewer in W (unchanged)\n"),
        ("", "alice is admin in W (changed)\n"),
    ]
    assert (User.objects.count(), Membership.objects.get().role) == (1, "admin")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (["", "--workspace", "W", "--role", "viewer"], "name: "),
        (["a b", "--workspace", "W", "--role", "viewer"], "name: Enter a valid username"),
        (["a\0", "--workspace", "W", "--role", "viewer"], "name: "),
        (["x" * 65, "--workspace", "W", "--role", "viewer"], "name: must have at most 64"),
        (["alice", "--workspace", " ", "--role", "viewer"], "must not be blank"),
        (["alice", "--workspace", "W", "--role", "owner"], "invalid choice: 'owner'"),
        (["alice", "--workspace", "W"], "--role"),
    ],
)
def test_a_member_who_cannot_be_is_refused_with_the_reason(args, reason):
    with pytest.raises(CommandError, match=re.escape(reason)):
        run("create_member", *args)
    assert not User.objects.exists()
    assert not Workspace.objects.exists()


@pytest.mark.django_db
def test_a_link_is_printed_alone():
    member = make_member(make_workspace(), name="alice")
    out, err = run("sign_in_link", "alice")
    assert LINK.fullmatch(out)
    assert err == ""
    assert SignInLink.objects.get().user == member.user
    assert AuditEntry.objects.filter(action="link.made", subject="alice").count() == 1


@pytest.mark.django_db
def test_a_link_leads_to_the_given_server():
    make_member(make_workspace(), name="alice")
    out, _ = run("sign_in_link", "alice", "--base-url", "https://tracker.example:8443/")
    assert out.startswith("https://tracker.example:8443/sign-in/")


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["", "nobody", "a\0b", "x" * 1000])
def test_a_link_for_nobody_is_refused(name):
    with pytest.raises(CommandError, match="There is no member"):
        run("sign_in_link", name)


@pytest.mark.django_db
@pytest.mark.parametrize("base_url", ["", "localhost:8000", "ftp://a", "javascript:alert(1)", "http://"])
def test_a_link_to_no_address_is_refused(base_url):
    make_member(make_workspace(), name="alice")
    with pytest.raises(CommandError, match="no http or https address"):
        run("sign_in_link", "alice", "--base-url", base_url)
    assert not SignInLink.objects.exists()


@pytest.mark.django_db
def test_a_disabled_member_gets_no_link():
    member = make_member(make_workspace(), name="alice")
    member.user.is_active = False
    member.user.save()
    with pytest.raises(CommandError, match="disabled"):
        run("sign_in_link", "alice")


def test_the_commands_work_as_processes(tmp_path):
    env = clean_environment(SOORMA_DATA_DIR=str(tmp_path))

    def manage(*args):
        command = [sys.executable, "manage.py", *args]
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)

    assert manage("migrate", "--verbosity", "0").returncode == 0
    key = manage("create_api_key", "--workspace", "W", "--tenant", "T", "--user", "U")
    assert (KEY.fullmatch(key.stdout) is not None, key.stderr, key.returncode) == (True, "", 0)
    member = manage("create_member", "alice", "--workspace", "W", "--role", "operator")
    assert (member.stdout, member.stderr, member.returncode) == ("", "alice is operator in W (made)\n", 0)
    link = manage("sign_in_link", "alice")
    assert (LINK.fullmatch(link.stdout) is not None, link.stderr, link.returncode) == (True, "", 0)
    nobody = manage("sign_in_link", "bob")
    assert (nobody.stdout, nobody.returncode) == ("", 1)
    assert nobody.stderr == "CommandError: There is no member 'bob'; `manage.py create_member` makes one.\n"
