"""Pages by opaque cursor: newest first, stable while new items arrive at the top."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from typing import Any, TypeVar

from django.db.models import Model, QuerySet

from tracker.errors import Invalid

M = TypeVar("M", bound=Model)
LARGEST = 2**63 - 1


def cursor_after(kind: str, key: int) -> str:
    """The cursor of the page that follows the item with this key, in lists of this kind."""
    return urlsafe_b64encode(f"{kind}:{key}".encode()).decode().rstrip("=")


def key_of(kind: str, cursor: str) -> int:
    """The key inside a cursor of this kind; raises Invalid for what is none."""
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
        of, _, digits = text.partition(":")
        key = int(digits) if of == kind and digits.isdecimal() and len(digits) < 20 else -1
    except (Error, ValueError):
        key = -1
    if not 0 <= key <= LARGEST or cursor_after(kind, key) != cursor:
        fault = {"pointer": "/cursor", "detail": "not a cursor of this list"}
        raise Invalid("the cursor cannot be read", errors=[fault])
    return key


def page(kind: str, rows: QuerySet[M], cursor: str | None, limit: int, by: str = "-id") -> tuple[list[M], str | None]:
    """One page of the rows in the order of the unique integer column `by` ("-": downwards), and the next cursor.

    One query; the cursor is None on the last page. Raises Invalid for a cursor that is none of this list.
    """
    column = by.removeprefix("-")
    if cursor:
        rows = rows.filter(**{f"{column}__{'lt' if by.startswith('-') else 'gt'}": key_of(kind, cursor)})
    found = list(rows.order_by(by)[: limit + 1])
    more = len(found) > limit
    return found[:limit], cursor_after(kind, getattr(found[limit - 1], column)) if more else None


def page_body(items: list[dict[str, Any]], next_cursor: str | None) -> dict[str, Any]:
    """The body of a page."""
    return {"items": items, "next_cursor": next_cursor}
