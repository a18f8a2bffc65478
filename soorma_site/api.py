"""The one NinjaAPI: its routers and how errors leave it (RFC 9457, always)."""

from http import HTTPStatus

from django.http import Http404, HttpRequest, HttpResponse
from ninja.errors import HttpError, ValidationError

from accounts.auth import AuthError, CallerAuth
from planner.api import approvals, bulk, declared, memory, webhooks
from planner.api import plans as controls
from soorma_site.openapi import DescribedAPI
from soorma_site.problems import answer, problem_of
from tracker import errors
from tracker.api import agents, events, explain, failures, live, plans, policies, reports, schemas, sdk, tasks
from tracker.api import metrics as figures
from tracker.api import roster as crew

api = DescribedAPI(title="Soorma Site", version="1", auth=CallerAuth())
# An id may hold slashes: `/plans/{id}/actions` (sdk) comes before `/plans/{id}`.
for router in (
    events.router,
    agents.router,
    schemas.router,
    sdk.router,
    explain.router,
    failures.router,
    plans.router,
    reports.router,
    tasks.router,
    crew.router,
    figures.router,
    live.router,
    policies.router,
    memory.router,
    bulk.router,
    controls.router,
    declared.router,
    webhooks.router,
    approvals.router,
):
    api.add_router("", router)


@api.exception_handler(Exception)
def any_other(request: HttpRequest, error: Exception) -> HttpResponse:
    """Problems of our own, a database that is away, and what nobody expected."""
    return answer(problem_of(request, error))


@api.exception_handler(ValidationError)
def does_not_fit(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """Input that does not fit its schema: 422 with a pointer for each fault."""
    return answer(errors.Invalid("some fields are missing or wrong", errors=errors.pointers(error.errors)))


@api.exception_handler(AuthError)
def may_not(request: HttpRequest, error: AuthError) -> HttpResponse:
    """No key or session, a session without its CSRF token, or too few scopes."""
    kind = errors.Unauthenticated if error.status == HTTPStatus.UNAUTHORIZED else errors.Forbidden
    return answer(kind(str(error), code=error.code))


@api.exception_handler(Http404)
def not_here(request: HttpRequest, error: Http404) -> HttpResponse:
    """Unknown and foreign ids answer alike."""
    return answer(errors.NotFound("unknown id"))


@api.exception_handler(HttpError)
def ninjas_own(request: HttpRequest, error: HttpError) -> HttpResponse:
    """What Ninja itself refuses: a body that is no JSON, for example."""
    status = HTTPStatus(error.status_code)
    code = status.phrase.lower().replace(" ", "-")
    body = errors.problem_body(status, code, status.phrase, str(error))
    return HttpResponse(body, status=status, content_type=errors.CONTENT_TYPE)
