"""Whatever goes wrong under /v1 leaves as a problem document, also what never reaches a view of the API."""

import logging
from collections.abc import Callable
from http import HTTPStatus

from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from accounts.auth import caller_for_request
from tracker import errors, pool

log = logging.getLogger(__name__)
OPEN = ("/v1/openapi.json", "/v1/docs")
WORDS = {
    HTTPStatus.BAD_REQUEST: "the request cannot be read",
    HTTPStatus.NOT_FOUND: "there is nothing at this path",
    HTTPStatus.METHOD_NOT_ALLOWED: "this path has other methods: see Allow",
}


def answer(problem: errors.Problem) -> HttpResponse:
    """The problem as a response."""
    return HttpResponse(
        problem.body(), status=problem.status, content_type=errors.CONTENT_TYPE, headers=problem.headers
    )


def problem_of(request: HttpRequest, error: Exception) -> errors.Problem:
    """The problem that an exception is; what nobody expected is logged, and the caller hears no details."""
    if isinstance(error, errors.Problem):
        return error
    if isinstance(error, RequestDataTooBig):
        return errors.TooLarge("the body is larger than the server takes")
    if isinstance(error, OperationalError | InterfaceError):
        log.error("%s %s: the database: %s", request.method, request.path, error)
        pool.renew()
        return errors.Unavailable("the database does not take this right now", retry_after=1)
    log.error("%s %s", request.method, request.path, exc_info=error)
    return errors.Failed()


def problems_only(get_response: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware, the outermost: answers HEAD and OPTIONS under /v1, and turns Django's error pages into problems."""

    def respond(request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith("/v1/"):
            return get_response(request)
        method = request.method
        if method == "HEAD":
            request.method = "GET"  # the server that sends the answer leaves the body out
        response = get_response(request)
        request.method = method
        if response.status_code < 400 or response.get("Content-Type") == errors.CONTENT_TYPE:
            return response
        return _told(request, response)

    return respond


def _told(request: HttpRequest, response: HttpResponseBase) -> HttpResponse:
    """Django's answer as ours."""
    status = HTTPStatus(response.status_code)
    if status in {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED} and request.path not in OPEN:
        try:
            if caller_for_request(request) is None:
                return answer(errors.Unauthenticated("send a valid API key as 'Authorization: Bearer ...', or sign in"))
        except (OperationalError, InterfaceError) as error:
            return answer(problem_of(request, error))
    allow = _allowed(response)
    if status == HTTPStatus.METHOD_NOT_ALLOWED and request.method == "OPTIONS":
        return HttpResponse(status=HTTPStatus.NO_CONTENT, headers=allow)
    code, title = status.phrase.lower().replace(" ", "-"), status.phrase
    body = errors.problem_body(status, code, title, WORDS.get(status, "the server could not do this"))
    return HttpResponse(body, status=status, content_type=errors.CONTENT_TYPE, headers=allow)


def _allowed(response: HttpResponseBase) -> dict[str, str]:
    methods = {name.strip() for name in response.get("Allow", "").split(",")} - {""}
    if not methods:
        return {}
    return {"Allow": ", ".join(sorted(methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())))}
