"""`create_member`: a person with a role in a workspace."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from accounts.models import Role
from accounts.names import set_member, user_named, workspace_named
from accounts.words import said


class Command(BaseCommand):
    """Idempotent; a different role replaces the old one."""

    help = "Make a member of a workspace, or change the role; makes the user and the workspace if they are missing."

    def add_arguments(self, parser: CommandParser) -> None:
        """Who, where, and as what."""
        parser.add_argument("name", help="user name: letters, digits and @.+-_")
        parser.add_argument("--workspace", required=True, help="name of the workspace, made if it is missing")
        parser.add_argument("--role", required=True, choices=Role.values)

    def handle(self, *args: Any, **options: Any) -> None:
        """Say on stderr what was done, or raise CommandError with the reason."""
        try:
            with transaction.atomic():
                workspace, _ = workspace_named(options["workspace"], by="system")
                user, _ = user_named(options["name"])
                done = set_member(user, workspace, options["role"], by="system")
        except ValidationError as error:
            raise CommandError(said(error)) from error
        self.stderr.write(f"{user.username} is {options['role']} in {workspace.name} ({done})", self.style.NOTICE)
