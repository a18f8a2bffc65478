"""`create_api_key`: a key for an agent, printed alone on stdout."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from accounts import audit
from accounts.models import SCOPES, ApiKey
from accounts.names import workspace_named
from accounts.words import said


class Command(BaseCommand):
    """Makes the workspace too if it is missing."""

    help = "Make an API key and print it alone on stdout; it cannot be shown again."

    def add_arguments(self, parser: CommandParser) -> None:
        """The binding, the scopes and a name."""
        parser.add_argument("--workspace", required=True, help="name of the workspace, made if it is missing")
        parser.add_argument("--tenant", help="the only tenant this key publishes for and sees")
        parser.add_argument("--user", help="the user this key stands for")
        parser.add_argument("--scopes", default=",".join(SCOPES), help="comma separated, among %(default)s")
        parser.add_argument("--name", help="what the key is for, shown in lists")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the key, or raise CommandError with the reason."""
        scopes = [part.strip() for part in options["scopes"].split(",") if part.strip()]
        try:
            token = self._issue(options, scopes)
        except ValidationError as error:
            raise CommandError(said(error)) from error
        self.stdout.write(token)

    @transaction.atomic
    def _issue(self, options: dict[str, Any], scopes: list[str]) -> str:
        workspace, _ = workspace_named(options["workspace"], by="system")
        bound_to = options["user"] or options["tenant"] or "command line"
        name = bound_to if options["name"] is None else options["name"]
        key, token = ApiKey.objects.issue(
            workspace, name=name, scopes=scopes, tenant_id=options["tenant"], user_id=options["user"]
        )
        audit.record("key.made", str(key), by="system", workspace=workspace, detail={"scopes": scopes})
        return token
