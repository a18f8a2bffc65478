"""Errors as users of the API meet them: RFC 9457 problems. The docstring of a problem is its title."""

from typing import Any

import orjson

CONTENT_TYPE = "application/problem+json"


class Problem(Exception):
    """The request could not be carried out"""

    status = 400
    code = "bad-request"

    def __init__(self, detail: str, **more: Any) -> None:
        """`detail` is for people.

        `more` are further members of the problem (state, errors ...); `code` among them replaces the class's.
        """
        super().__init__(detail)
        self.detail = detail
        self.code = more.pop("code", self.code)
        self.more = more

    @property
    def headers(self) -> dict[str, str]:
        """Header lines that go with it."""
        named = {"Retry-After": self.more.get("retry_after"), "Allow": self.more.get("allow")}
        return {name: str(value) for name, value in named.items() if value}

    def body(self) -> bytes:
        """The problem document."""
        return problem_body(self.status, self.code, (type(self).__doc__ or "").strip(), self.detail, **self.more)


class Unauthenticated(Problem):
    """No valid key or session"""

    status, code = 401, "unauthenticated"


class Forbidden(Problem):
    """The key or member may not do this"""

    status, code = 403, "forbidden"


class NotFound(Problem):
    """There is no such thing here"""

    status, code = 404, "not-found"


class NotAllowed(Problem):
    """The path is there, the method is not"""

    status, code = 405, "method-not-allowed"


class Conflict(Problem):
    """The current state does not allow this"""

    status, code = 409, "conflict"


class VersionMismatch(Conflict):
    """The version is not the one that was asked for"""

    status, code = 412, "version-conflict"


class TooLarge(Problem):
    """The request is too large"""

    status, code = 413, "too-large"


class Invalid(Problem):
    """The request does not fit its schema"""

    status, code = 422, "invalid"


class Failed(Problem):
    """The server failed"""

    status, code = 500, "internal-error"

    def __init__(self) -> None:
        """What went wrong is in the server's log, and no business of the caller's."""
        super().__init__("the server could not do this; its log says why")


class NotOffered(Problem):
    """This server does not offer that"""

    status, code = 501, "not-offered"


class Unavailable(Problem):
    """The server cannot take this right now"""

    status, code = 503, "unavailable"


def problem_body(status: int, code: str, title: str, detail: str, **more: Any) -> bytes:
    """A problem document as JSON bytes."""
    return orjson.dumps(
        {"type": f"about:blank#{code}", "title": title, "status": status, "detail": detail, "code": code, **more},
        default=str,
    )


def pointers(errors: list[Any]) -> list[dict[str, str]]:
    """Pydantic's list of errors as JSON pointers with a reason each."""
    return [
        {
            "pointer": "/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in e["loc"]),
            "detail": e["msg"],
        }
        for e in errors
    ]
