"""The OpenAPI document and its page: what Ninja knows of its routes, and the hot routes that it does not serve."""

import re
from datetime import datetime
from functools import cache
from typing import Any, Literal

from ninja import NinjaAPI
from ninja.errors import ValidationError, ValidationErrorContext
from ninja.openapi.schema import OpenAPISchema
from ninja.operation import Operation
from pydantic import BaseModel

from planner.definition import Declared
from tracker.bus import cloudevents
from tracker.envelope import TOPICS, Envelope
from tracker.errors import CONTENT_TYPE
from tracker.live.poll import WAIT_SECONDS

REF = "#/components/schemas/{model}"
JSON = "application/json"
EVENT_STREAM = "text/event-stream"
TEXT = {"type": "string"}
REPEATED = {"type": "array", "items": TEXT}


class PublishBody(BaseModel):
    """An event to be published."""

    event: Envelope


class Published(BaseModel):
    """The event is recorded; what follows from it is on its way."""

    success: bool
    event_id: str
    message: str


class Fault(BaseModel):
    """What is wrong with an event, and where in the body it stands."""

    pointer: str
    detail: str


class BatchOutcome(BaseModel):
    """What came of one event. `invalid`: it was not recorded; `refused`: it was, and changed nothing."""

    event_id: str | None
    outcome: Literal["recorded", "duplicate", "refused", "invalid"]
    seq: int | None
    plan_id: str | None
    task_id: str | None
    detail: str | None
    errors: list[Fault] = []


class BatchAnswer(BaseModel):
    """What came of each event, in their order."""

    results: list[BatchOutcome]


class LiveAnswer(BaseModel):
    """What is new on the streams: the frames that a socket would send, at least one of each stream."""

    frames: list[dict[str, Any]]
    time: datetime


class DescribedAPI(NinjaAPI):
    """A NinjaAPI whose document is made once, names problems by their media type, and has the hot routes in it."""

    def get_openapi_schema(
        self, *, path_prefix: str | None = None, path_params: dict[str, Any] | None = None
    ) -> OpenAPISchema:
        """The document; the same object each time."""
        return _document(self, self.get_root_path(path_params or {}) if path_prefix is None else path_prefix)

    def validation_error_from_error_contexts(
        self, error_contexts: list[ValidationErrorContext[Any]]
    ) -> ValidationError:
        """Faults of the input, each with its place in what was sent."""
        faults = [
            {"loc": _place(context.model, fault["loc"]), "msg": fault["msg"]}
            for context in error_contexts
            for fault in context.pydantic_validation_error.errors(include_url=False, include_input=False)
        ]
        return ValidationError(faults)

    def get_openapi_operation_id(self, operation: Operation) -> str:
        """Module and name of the view; its path as well where one view serves several."""
        view = operation.view_func
        words = [view.__module__.rsplit(".", 1)[-1], view.__name__]
        if len(operation.methods) > 1:
            words += re.findall(r"\w+", operation.path)
        return "_".join(words)


def _place(model: Any, place: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """A place in what was sent; Ninja's begins with the parameter of the view that it was read into."""
    if getattr(model, "__read_from_single_attr__", None):
        return place[1:]
    sent: dict[tuple[int | str, ...], tuple[str, ...]] = model.__ninja_flatten_map_reverse__
    known = next((n for n in range(len(place), 0, -1) if place[:n] in sent), 0)
    return (*sent[place[:known]], *place[known:]) if known else place


@cache
def _document(api: NinjaAPI, path_prefix: str) -> OpenAPISchema:
    document = OpenAPISchema(api, path_prefix)
    for path, operations in document["paths"].items():
        document["paths"][path] = {method: _told(operation) for method, operation in operations.items()}
        if len({id(operation) for operation in operations.values()}) < len(operations):
            # One view for several methods.
            for method, operation in document["paths"][path].items():
                operation["operationId"] += f"_{method}"
    for model in (PublishBody, Published, BatchAnswer, LiveAnswer, Declared):
        schema = model.model_json_schema(ref_template=REF)
        document["components"]["schemas"] |= {**schema.pop("$defs", {}), model.__name__: schema}
    security: list[dict[str, list[str]]] = [{name: []} for name in document["components"].get("securitySchemes", {})]
    hot = (
        ("events/publish", "post", _publish()),
        ("events/batch", "post", _batch()),
        ("events/stream", "get", _stream()),
        ("live", "get", _live()),
    )
    for path, method, operation in hot:
        document["paths"][f"/{path_prefix}/{path}".replace("//", "/")] = {method: {**operation, "security": security}}
    return document


def _told(operation: dict[str, Any]) -> dict[str, Any]:
    """The operation, its summary being what its view says first."""
    summary = re.split(r"[.:;] |[.:;]?\n|[.:;]?$", operation.get("description", ""), maxsplit=1)[0]
    return {**operation, "summary": summary or operation["summary"], "responses": _named(operation["responses"])}


def _named(responses: dict[int, dict[str, Any]]) -> dict[int, dict[str, Any]]:
    """The responses, those with problems under the problems' media type."""
    return {
        status: {**response, "content": {CONTENT_TYPE: response["content"][JSON]}}
        if int(status) >= 400 and JSON in response.get("content", {})
        else response
        for status, response in responses.items()
    }


def _content(media_type: str, model: str) -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": REF.format(model=model)}}}


def _problems(said: dict[int, str]) -> dict[str, Any]:
    said = {401: "No valid key", 403: "The key may not do this"} | said
    return {
        str(status): {"description": text, "content": _content(CONTENT_TYPE, "Problem")}
        for status, text in said.items()
    }


def _publish() -> dict[str, Any]:
    return {
        "operationId": "publish_event",
        "tags": ["bus"],
        "summary": "Publish one event",
        "description": (
            "Publish one event, as an envelope or as a CloudEvent; answered once it is recorded. "
            "Needs the scope `publish`."
        ),
        "requestBody": {
            "required": True,
            "content": {**_content(JSON, "PublishBody"), cloudevents.EVENT: {"schema": {"type": "object"}}},
        },
        "responses": {
            "200": {"description": "Recorded", "content": _content(JSON, "Published")},
            **_problems(
                {
                    413: "The body or the event is too large",
                    422: "The event does not fit its schema",
                    503: "The server cannot take events right now",
                }
            ),
        },
    }


def _batch() -> dict[str, Any]:
    envelopes = {"type": "array", "items": {"$ref": REF.format(model="Envelope")}}
    cloud = {"type": "array", "items": {"type": "object"}}
    return {
        "operationId": "publish_batch",
        "tags": ["bus"],
        "summary": "Publish many events",
        "description": (
            "Publish many events, as envelopes or as CloudEvents; answered once they are recorded. One that is invalid "
            "or refused is told by its outcome and does not keep the others. Needs the scope `publish`."
        ),
        "requestBody": {
            "required": True,
            "content": {JSON: {"schema": envelopes}, cloudevents.BATCH: {"schema": cloud}},
        },
        "responses": {
            "200": {"description": "What came of each", "content": _content(JSON, "BatchAnswer")},
            **_problems(
                {
                    413: "The body is too large, or there are too many events in it",
                    422: "The body is no array",
                    503: "The server cannot take events right now",
                }
            ),
        },
    }


def _stream() -> dict[str, Any]:
    return {
        "operationId": "event_stream",
        "tags": ["bus"],
        "summary": "Listen to events",
        "description": (
            "Server-sent events: `connected` at once, `message` with an envelope for each event of the topics, "
            "`heartbeat` in silence, `disconnected` at the end. Connections of one `agent_name` share its events. "
            "Needs the scope `read`."
        ),
        "parameters": [
            _parameter("topics", f"comma separated; `*` and `>` are all of them: {', '.join(TOPICS)}", required=True),
            _parameter("agent_id", "the listening instance", required=True),
            _parameter("agent_name", "whose share of the events it takes; without it only its own", required=False),
        ],
        "responses": {
            "200": {"description": "The stream; `data` of a `message`", "content": _content(EVENT_STREAM, "Envelope")},
            **_problems({400: "No topic is given", 422: "A parameter is missing"}),
        },
    }


def _live() -> dict[str, Any]:
    return {
        "operationId": "live",
        "tags": ["live"],
        "summary": "What is new on live streams, by long-poll",
        "description": (
            "The frames of `/ws/live` where sockets are not let through: answered as soon as there are some, "
            "after `wait` with heads. Filters of `GET /v1/tracker/plans` hold for the stream `plans`. "
            "Needs the scope `read`."
        ),
        "parameters": [
            _parameter("stream", "`plan:ID`, `plans`, `agents` or `approvals`", required=True, schema=REPEATED),
            _parameter(
                "after",
                "what is known of each stream, in the same order: the seq of a plan, the digest of a list, or nothing",
                required=False,
                schema=REPEATED,
            ),
            _parameter("wait", "seconds, 0 to 30", required=False, schema={"type": "number", "default": WAIT_SECONDS}),
        ],
        "responses": {
            "200": {"description": "What is new", "content": _content(JSON, "LiveAnswer")},
            **_problems(
                {
                    404: "There are no such streams",
                    422: "The query cannot be answered",
                    503: "The server restarts, or cannot read the streams right now",
                }
            ),
        },
    }


def _parameter(name: str, description: str, *, required: bool, schema: dict[str, Any] = TEXT) -> dict[str, Any]:
    return {"in": "query", "name": name, "description": description, "required": required, "schema": schema}
