"""The forms of the settings pages."""

from datetime import datetime, timedelta
from typing import Any

from django import forms
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.utils import timezone

from accounts.models import NAME_LENGTH, SCOPES, Role, plain_text

SCOPE_WORDS = {
    "publish": "events and what agents store",
    "read": "plans, tasks and streams",
    "act": "decide, cancel, retry, pause, start plans",
}
VALIDITY = {"": "never", "30": "in 30 days", "90": "in 90 days", "365": "in a year"}


class PlainText(forms.CharField):
    """A name of at most 64 characters; None when it is left out."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("empty_value", None)
        super().__init__(max_length=NAME_LENGTH, validators=[plain_text], **kwargs)


class KeyForm(forms.Form):
    """What a new key is for and what it may do."""

    name = PlainText(help_text="What the key is for, as you will find it in the list.")
    tenant_id = PlainText(
        required=False,
        label="Tenant",
        help_text="The only tenant it publishes for and sees; empty: all.",
    )
    user_id = PlainText(
        required=False, label="User", help_text="The user it stands for; empty: whoever an event names."
    )
    scopes = forms.MultipleChoiceField(
        choices=[(scope, f"{scope}: {SCOPE_WORDS[scope]}") for scope in SCOPES],
        initial=list(SCOPES),
        widget=forms.CheckboxSelectMultiple,
    )
    expires_in = forms.ChoiceField(choices=list(VALIDITY.items()), required=False, label="Expires")

    # The plans page's empty state asks for nothing.
    QUICK = {"name": "first agent", "scopes": list(SCOPES)}

    def expires_at(self) -> datetime | None:
        """When the key ends, None for never."""
        days = self.cleaned_data["expires_in"]
        return timezone.now() + timedelta(days=int(days)) if days else None


class RoleForm(forms.Form):
    """What a member may do."""

    role = forms.ChoiceField(choices=Role.choices, initial=Role.VIEWER)


class MemberForm(RoleForm):
    """A new member."""

    username = forms.CharField(
        max_length=NAME_LENGTH,
        label="Name",
        validators=[UnicodeUsernameValidator()],
        help_text="Letters, digits and @ . + - _",
    )
    field_order = ["username", "role"]
