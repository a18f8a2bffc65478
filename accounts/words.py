"""Errors in words."""

from django.core.exceptions import ValidationError


def said(error: ValidationError) -> str:
    """One line for all that is wrong: `tenant: must not be blank; scopes: unknown scope fly`."""
    if not hasattr(error, "error_dict"):
        return "; ".join(error.messages)
    parts = []
    for field, messages in error.message_dict.items():
        name = "" if field == "__all__" else field.removesuffix("_id").replace("username", "name") + ": "
        parts += [f"{name}{message}" for message in messages]
    return "; ".join(parts)
