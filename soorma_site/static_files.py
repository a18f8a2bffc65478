"""Static files as plain ASGI, before Django: from where they lie, without a collect step and without a middleware."""

from wsgiref.headers import Headers

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from servestatic import ServeStaticASGI

YEAR = 365 * 24 * 3600


def static_app() -> ServeStaticASGI:
    """An ASGI application for everything under STATIC_URL; 404 for what is not there. Made once: it looks at all files.

    Outside DEBUG the address holds a digest of the files, so that a browser need never ask for one again; a file that
    changes under a running server is broken until the next start. In DEBUG each file is looked at anew.
    """
    app = ServeStaticASGI(
        None,
        autorefresh=settings.DEBUG,
        max_age=0 if settings.DEBUG else YEAR,
        allow_all_origins=False,
        add_headers_function=_add_headers,
        immutable_file_test=lambda path, url: not settings.DEBUG,
    )
    for finder in get_finders():
        for storage in getattr(finder, "storages", {}).values():
            app.add_files(storage.location, prefix=settings.STATIC_URL)
    return app


def _add_headers(headers: Headers, path: str, url: str) -> None:
    headers["X-Content-Type-Options"] = "nosniff"
