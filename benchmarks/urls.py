"""The product's URLs, and `/v1/trivial`: as cheap as an operation can be, behind the same key and middleware."""

from django.http import HttpRequest

from soorma_site.api import api


@api.get("/trivial", include_in_schema=False)
def trivial(request: HttpRequest) -> dict[str, str]:
    """A fixed answer."""
    return {"status": "in_progress"}


# Only now: the URLs of the API are those that it has when they are asked for first.
from soorma_site import urls  # noqa: E402

urlpatterns = urls.urlpatterns
