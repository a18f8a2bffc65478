"""The one NinjaAPI: its routers and how errors leave it (RFC 9457, always)."""

from http import HTTPStatus

from django.http import Http404, HttpRequest, HttpResponse
from ninja.errors import AuthenticationError, HttpError, ValidationError

from accounts.auth import AuthError, CallerAuth
from planner.api import memory
from soorma_site.openapi import DescribedAPI
from tracker import errors
from tracker.api import agents, events, live, plans, reports, schemas, sdk, tasks

api = DescribedAPI(title="Soorma Site", version="1", auth=CallerAuth())
# An id may hold slashes: `/plans/{id}/actions` (sdk) comes before `/plans/{id}`.
for router in (
    events.router,
    agents.router,
    schemas.router,
    sdk.router,
    plans.router,
    reports.router,
    tasks.router,
    live.router,
    memory.router,
):
    api.add_router("", router)


def problem(status: int, body: bytes) -> HttpResponse:
    """A response that carries a problem document."""
    return HttpResponse(body, status=status, content_type=errors.CONTENT_TYPE)


@api.exception_handler(errors.Problem)
def our_own(request: HttpRequest, error: errors.Problem) -> HttpResponse:
    """A problem that our code raised."""
    return problem(error.status, error.body())


@api.exception_handler(ValidationError)
def does_not_fit(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """Input that does not fit its schema: 422 with a pointer for each fault."""
    return our_own(request, errors.Invalid("some fields are missing or wrong", errors=errors.pointers(error.errors)))


@api.exception_handler(AuthenticationError)
def who_are_you(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    """No key, an unknown one, or one that has ended."""
    return our_own(request, errors.Unauthenticated("send a valid API key as 'Authorization: Bearer ...', or sign in"))


@api.exception_handler(AuthError)
def may_not(request: HttpRequest, error: AuthError) -> HttpResponse:
    """No key or session, a session without its CSRF token, or too few scopes."""
    title = errors.Unauthenticated.__doc__ if error.status == HTTPStatus.UNAUTHORIZED else errors.Forbidden.__doc__
    return problem(error.status, errors.problem_body(error.status, error.code, str(title), str(error)))


@api.exception_handler(Http404)
def not_here(request: HttpRequest, error: Http404) -> HttpResponse:
    """Unknown and foreign ids answer alike."""
    return our_own(request, errors.NotFound("unknown id"))


@api.exception_handler(HttpError)
def ninjas_own(request: HttpRequest, error: HttpError) -> HttpResponse:
    """What Ninja itself refuses: a body that is no JSON, for example."""
    status = HTTPStatus(error.status_code)
    code = status.phrase.lower().replace(" ", "-")
    return problem(status, errors.problem_body(status, code, status.phrase, str(error)))
