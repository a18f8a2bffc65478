"""What agents send and are sent: names in camelCase or snake_case, free-form JSON untouched."""

import json
from typing import Annotated, Any

import orjson
from django.http import HttpRequest, HttpResponse
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from accounts.auth import Caller
from tracker import errors
from tracker.envelope import Text


class CallerRequest(HttpRequest):
    """A request behind the API's auth."""

    caller: Caller


class FromAgent(BaseModel):
    """A body or a part of one, its names in camelCase or snake_case. What the server does not know is dropped."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class Problem(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str


def _no_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain NUL characters")
    return text


Id = Annotated[Text, StringConstraints(min_length=1)]
Prose = Annotated[str, AfterValidator(_no_nul)]  # of any length
Ids = Annotated[list[Text], Field(max_length=10_000)]
REFUSALS: dict[int, Any] = dict.fromkeys((401, 403, 422), Problem)
MISSING: dict[int, Any] = {404: Problem, **REFUSALS}


def json_text(value: Any, at: str) -> str:
    """Free-form JSON as the text that is stored. `at` names the member in the problem.

    Raises Invalid for what Python reads although it is no JSON (NaN, infinities, half a surrogate pair), and for what
    is nested too deeply.
    """
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except (ValueError, RecursionError) as reason:
        too_deep = isinstance(reason, RecursionError)
        detail = "nested too deeply" if too_deep else "holds a number or a character that JSON does not have"
        fault = {"loc": at.split("/"), "msg": detail}
        raise errors.Invalid(f"{at}: {detail}", errors=errors.pointers([fault])) from reason
    return text


def stored(text: str) -> orjson.Fragment:
    """Stored JSON text as a member of an answer, untouched."""
    return orjson.Fragment(text)


def answer(body: Any, status: int = 200) -> HttpResponse:
    """An answer in JSON; `body` may hold `stored` text."""
    return HttpResponse(orjson.dumps(body), status=status, content_type="application/json")


def no_content() -> HttpResponse:
    """204."""
    return HttpResponse(status=204)
