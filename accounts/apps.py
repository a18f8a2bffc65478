"""Who may do what: workspaces, members and their roles, API keys, sign-in links, the audit trail."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """The app's registration."""

    name = "accounts"

    def ready(self) -> None:
        """Connect the signals that end a revoked key at once."""
        from accounts import auth  # noqa: F401 - models must be loaded first
