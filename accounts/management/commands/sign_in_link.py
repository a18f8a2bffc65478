"""`sign_in_link`: a one-time link for a member, printed alone on stdout."""

from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.validators import URLValidator

from accounts import audit
from accounts.bootstrap import sign_in_url
from accounts.models import User


class Command(BaseCommand):
    """The link is valid for an hour and for one use."""

    help = "Print a one-time sign-in link of a member, alone on stdout."

    def add_arguments(self, parser: CommandParser) -> None:
        """Whose link, and where the server is."""
        parser.add_argument("name", help="user name")
        parser.add_argument("--base-url", default="http://127.0.0.1:8000", help="address of the server (%(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the link, or raise CommandError with the reason."""
        name = options["name"]
        user = User.objects.filter(username=name).first() if name.isprintable() else None
        if user is None:
            raise CommandError(f"There is no member {name!r}; `manage.py create_member` makes one.")
        if not user.is_active:
            raise CommandError(f"{name} is disabled and cannot sign in.")
        link = sign_in_url(user, _checked(options["base_url"]))
        audit.record("link.made", name, by="system")
        self.stdout.write(link)


def _checked(base_url: str) -> str:
    try:
        URLValidator(schemes=["http", "https"])(base_url)
    except ValidationError as error:
        raise CommandError(f"--base-url {base_url!r} is no http or https address") from error
    return base_url
