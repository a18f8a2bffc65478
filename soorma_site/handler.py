"""Django's ASGI handler for an application whose views all block."""

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.http import HttpRequest
from django.http.response import HttpResponseBase


class BlockingHandler(ASGIHandler):
    """All middleware and the view run in one thread, one after the other, as under WSGI.

    Django's own handler changes the thread for each middleware, there and back; that took most of a request's time.
    """

    chunk_size = 2**22  # bytes of an answer in one message: a smaller one would be copied piece by piece

    def load_middleware(self, is_async: bool = False) -> None:
        """The chain as WSGI has it."""
        super().load_middleware(is_async=False)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """The answer of the whole chain, with one change of thread."""
        return await sync_to_async(self.get_response, thread_sensitive=True)(request)
