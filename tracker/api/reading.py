"""What all queries share: ids in routes, and what the caller sees."""

from django.urls import register_converter

from tracker.api.wire import CallerRequest
from tracker.projections.lookup import Sight


class IdConverter:
    """`<id:...>` in a route: an identifier of the wire, which may hold any character, also slashes and line breaks."""

    regex = r"[\s\S]+"

    def to_python(self, value: str) -> str:
        """As it came; nothing has an id with a NUL, which PostgreSQL cannot even be asked for."""
        if "\x00" in value:
            raise ValueError("an id holds no NUL")
        return value

    def to_url(self, value: str) -> str:
        """As it is; Django quotes it."""
        return value


register_converter(IdConverter, "id")


def sight(request: CallerRequest, tenant: str | None = None) -> Sight:
    """What the caller sees, narrowed to the tenant that was asked for."""
    return Sight.of(request.caller, tenant)
