"""What the SDK can ask for and this server does not have: it says so, instead of pretending."""

from django.http import HttpResponse
from ninja import Router

from accounts.auth import needs
from tracker.api.wire import REFUSALS, CallerRequest, Problem, answer
from tracker.errors import NotOffered

router = Router(tags=["memory"])
NOT_OFFERED = {501: Problem, **REFUSALS}
ANY = ["GET", "POST", "PUT", "PATCH", "DELETE"]


@router.get("/memory/procedural/context", response={200: list[dict[str, object]], **REFUSALS})
@needs("read")
def procedural(request: CallerRequest) -> HttpResponse:
    """Skills and prompts for an agent: none are kept here."""
    return answer([])


@router.api_operation(ANY, "/memory/semantic", response=NOT_OFFERED)
@router.api_operation(ANY, "/memory/semantic/query", response=NOT_OFFERED)
@needs("read")
def semantic(request: CallerRequest) -> HttpResponse:
    """Knowledge with search by meaning: not offered."""
    raise NotOffered("semantic memory is not offered by this server; working memory and the contexts are")


@router.api_operation(ANY, "/memory/episodic", response=NOT_OFFERED)
@router.api_operation(ANY, "/memory/episodic/recent", response=NOT_OFFERED)
@router.api_operation(ANY, "/memory/episodic/search", response=NOT_OFFERED)
@needs("read")
def episodic(request: CallerRequest) -> HttpResponse:
    """The history of interactions: not offered."""
    raise NotOffered("episodic memory is not offered by this server; the log of a plan tells what happened in it")


@router.api_operation(ANY, "/identity/{id:rest}", response=NOT_OFFERED, tags=["identity"])
@needs("read")
def identity(request: CallerRequest, rest: str) -> HttpResponse:
    """Principals and tokens: not offered."""
    raise NotOffered("identities are not issued by this server: make an API key for each tenant and user instead")
