"""Static files as plain ASGI, before Django, from memory.

So a page costs little, and a new version on the disk (an upgrade under way) mixes with nothing until the next start.
"""

import gzip
import mimetypes
from collections.abc import Iterable
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles.finders import find, get_finders

from tracker.bus.publish import Receive, Scope, Send

Header = tuple[bytes, bytes]
# Outside DEBUG the address tells the version, so that a browser need never ask again.
CACHE = b"no-cache" if settings.DEBUG else b"max-age=31536000, public, immutable"
WORTH_PACKING = 1000


class Kept:
    """A file: its `body`, and `packed` by gzip, made when it is first asked for."""

    def __init__(self, path: Path) -> None:
        self.body = path.read_bytes()
        type, _ = mimetypes.guess_type(path.name)
        self.text = bool(type) and (str(type).startswith("text/") or str(type).endswith(("javascript", "json", "xml")))
        self.type = f"{type or 'application/octet-stream'}{'; charset=utf-8' if self.text else ''}".encode()

    @cached_property
    def tag(self) -> bytes:
        """Its ETag: a digest of what is in it."""
        return f'"{sha256(self.body).hexdigest()[:20]}"'.encode()

    @cached_property
    def packed(self) -> bytes:
        """The body as gzip has it, or as it is where that saves nothing."""
        return gzip.compress(self.body, 6, mtime=0) if self.text and len(self.body) > WORTH_PACKING else self.body


class StaticFiles:
    """An ASGI application for everything under STATIC_URL that Django's finders find. In DEBUG each is read anew."""

    def __init__(self) -> None:
        self.files = {} if settings.DEBUG else {path: Kept(file) for path, file in _found()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the file, 304 when the client has it, 404, or 405 for what is no reading."""
        path = scope["path"].removeprefix(settings.STATIC_URL)
        kept = self._anew(path) if settings.DEBUG else self.files.get(path)
        if scope["method"] not in {"GET", "HEAD"}:
            await _answer(send, 405, [(b"allow", b"GET, HEAD")])
        elif kept is None:
            await _answer(send, 404, [])
        else:
            await _give(send, kept, dict(scope["headers"]), silent=scope["method"] == "HEAD")

    @staticmethod
    def _anew(path: str) -> Kept | None:
        found = find(path)
        return Kept(Path(found)) if isinstance(found, str) and Path(found).is_file() else None


def _found() -> Iterable[tuple[str, Path]]:
    # Of two files of one name the first finder's is shown, as `find` has it.
    for finder in reversed(list(get_finders())):
        for path, storage in finder.list([]):
            yield Path(path).as_posix(), Path(storage.path(path))


async def _give(send: Send, kept: Kept, asked: dict[bytes, bytes], *, silent: bool) -> None:
    headers = [(b"etag", kept.tag), (b"cache-control", CACHE), (b"vary", b"accept-encoding")]
    if asked.get(b"if-none-match") == kept.tag:
        await _answer(send, 304, headers)
        return
    headers += [(b"content-type", kept.type), (b"x-content-type-options", b"nosniff")]
    packs = b"gzip" in asked.get(b"accept-encoding", b"") and kept.packed is not kept.body
    if packs:
        headers.append((b"content-encoding", b"gzip"))
    await _answer(send, 200, headers, kept.packed if packs else kept.body, silent=silent)


async def _answer(send: Send, status: int, headers: list[Header], body: bytes = b"", *, silent: bool = False) -> None:
    # A 304 has no length of its own.
    length = [] if status == 304 else [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers + length})
    await send({"type": "http.response.body", "body": b"" if silent else body})
