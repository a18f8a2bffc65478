"""Static files, over the ASGI application that serves them."""

import gzip
from pathlib import Path

import pytest
from asgiref.testing import ApplicationCommunicator
from django.conf import settings
from django.contrib.staticfiles.finders import find

from soorma_site.static_files import StaticFiles

STYLE = "css/app.css"


@pytest.fixture(scope="module")
def static_files():
    return StaticFiles()


async def get(app, path, method="GET", **headers):
    """(status, headers, body) of an answer."""
    named = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": method, "path": settings.STATIC_URL + path, "headers": named}
    client = ApplicationCommunicator(app, scope)
    start = await client.receive_output()
    body = await client.receive_output()
    return start["status"], {name.decode(): value.decode() for name, value in start["headers"]}, body["body"]


def content(path):
    return Path(find(path)).read_bytes()


async def test_a_file_may_be_kept_for_ever_under_its_address(static_files):
    status, headers, body = await get(static_files, STYLE)
    assert (status, body) == (200, content(STYLE))
    assert headers["content-type"] == "text/css; charset=utf-8"
    assert headers["cache-control"] == "max-age=31536000, public, immutable"
    assert headers["x-content-type-options"] == "nosniff"


async def test_text_is_packed_for_those_who_take_it(static_files):
    path = "js/plan-page.js"
    _, headers, body = await get(static_files, path, accept_encoding="gzip, br")
    assert headers["content-encoding"] == "gzip"
    assert headers["content-length"] == str(len(body))
    assert gzip.decompress(body) == content(path)
    _, headers, body = await get(static_files, path)
    assert "content-encoding" not in headers
    assert body == content(path)


async def test_who_has_it_is_told_so(static_files):
    _, headers, _ = await get(static_files, STYLE)
    status, _, body = await get(static_files, STYLE, if_none_match=headers["etag"])
    assert (status, body) == (304, b"")
    assert (await get(static_files, STYLE, if_none_match='"other"'))[0] == 200


async def test_a_head_has_the_length_and_no_body(static_files):
    status, headers, body = await get(static_files, STYLE, "HEAD")
    assert (status, headers["content-length"], body) == (200, str(len(content(STYLE))), b"")


@pytest.mark.parametrize("path", ["", "css/none.css", "../manage.py", "css/../../manage.py", "css"])
async def test_what_is_not_there_is_not_found(static_files, path):
    assert (await get(static_files, path))[0] == 404


async def test_nothing_but_reading(static_files):
    status, headers, _ = await get(static_files, STYLE, "POST")
    assert (status, headers["allow"]) == (405, "GET, HEAD")


async def test_in_debug_a_file_is_read_anew(settings):
    settings.DEBUG = True
    app = StaticFiles()
    assert (await get(app, STYLE))[2] == content(STYLE)
    assert (await get(app, "css"))[0] == 404
    assert (await get(app, "css/none.css"))[0] == 404


async def test_packages_bring_files_of_their_own(static_files):
    assert (await get(static_files, "django_htmx/htmx-2.min.js"))[0] == 200
