"""docs/api.md: every request that the page shows works as it stands, and it shows the paths that there are."""

import json
import re
import shlex
from argparse import ArgumentParser

import httpx
import pytest

from tests.services.process import ROOT

PAGE = (ROOT / "docs/api.md").read_text()
COMMAND = re.compile(r"^    (curl .*(?:\n      .*)*)", re.MULTILINE)
# In this order one request finds what another has made.
ORDER = ("POST", "PUT", "GET", "DELETE")


def request_of(command):
    """The method, address, headers and body of a curl command line."""
    parser = ArgumentParser()
    parser.add_argument("-s", action="store_true")
    parser.add_argument("-N", action="store_true")
    parser.add_argument("-X")
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("-d")
    parser.add_argument("address")
    said = parser.parse_args(shlex.split(command.replace("\\\n", " "))[1:])
    return said.X or ("POST" if said.d else "GET"), said.address, said.H, said.d


REQUESTS = sorted((request_of(command) for command in COMMAND.findall(PAGE)), key=lambda one: ORDER.index(one[0]))


def status_of(client, key, request):
    """The status of the answer; of an endless stream, as soon as it begins."""
    method, address, headers, body = request
    pairs = [line.replace("$AUTH", f"Authorization: Bearer {key}").split(": ", 1) for line in headers]
    with client.stream(method, address.replace("$SOORMA", ""), headers=dict(pairs), content=body) as answer:
        return answer.status_code


def test_every_request_of_the_page_works(server, workspace):
    key = server.api_key(workspace, "demo", "fleet")
    with httpx.Client(base_url=server.base_url, timeout=30, trust_env=False) as client:
        statuses = [(status_of(client, key, request), *request[:2]) for request in REQUESTS]
    assert [one for one in statuses if one[0] >= 300] == []


@pytest.fixture(scope="module")
def operations(server):
    """What the server's own description lists, as (method, path)."""
    document = json.loads(httpx.get(f"{server.base_url}/v1/openapi.json", trust_env=False).text)
    return {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}


def test_the_page_names_every_path(operations):
    named = re.sub(r"\{\w+\}", "{}", PAGE)
    missing = {path for _, path in operations if re.sub(r"\{\w+\}", "{}", path) not in named}
    assert missing == set()
