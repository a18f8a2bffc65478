"""The whole product from outside: a server process, agents of the SDK, a browser."""

import re
import shutil
from pathlib import Path
from uuid import uuid4

import pytest

from tests.services.agents import AgentProcess
from tests.services.process import ROOT
from tests.services.server import ServerProcess

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
SHOTS = ROOT / "test-results" / "shots"


@pytest.fixture(scope="session")
def server():
    """One server on SQLite for all tests that do not end it; use `workspace` where others would disturb."""
    with ServerProcess() as process:
        yield process


@pytest.fixture
def start_server():
    """Start servers for this test alone: `start_server(server="uvicorn", DATABASE_URL=...)`; each must end cleanly."""
    started = []

    def start(**options):
        started.append(ServerProcess(**options).__enter__())
        return started[-1]

    yield start
    _leave(started)


@pytest.fixture
def start_agent():
    """Start agents for this test: `start_agent(server, code_or_path, key)`; they are connected when it returns."""
    started = []

    def start(*arguments, **options):
        started.append(AgentProcess(*arguments, **options).__enter__())
        return started[-1]

    yield start
    _leave(started)


@pytest.fixture
def workspace():
    """The name of a workspace that no other test uses."""
    return f"w-{uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def base_url(server):
    """Pages are opened by their path."""
    return server.base_url


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    chromium = shutil.which("chromium")
    assert chromium, "the browser tests need chromium on the PATH; `make test` installs it where apt-get is allowed to"
    return {**browser_type_launch_args, "executable_path": chromium, "args": CHROMIUM_FLAGS, "headless": True}


@pytest.fixture(scope="session")
def signed_in_as(server, browser):
    """The browser state of a member: `browser.new_context(storage_state=signed_in_as("alice", role="viewer"))`.

    It is got as a person gets it, through the one-time link, once for each member.
    """
    known = {}

    def state(name="admin", workspace="default", role="admin"):
        member = (name, workspace, role)
        if member not in known:
            server.member(name, workspace, role)
            context = browser.new_context(base_url=server.base_url)
            page = context.new_page()
            page.goto(server.sign_in_link(name))
            page.wait_for_url(re.compile(rf"^{re.escape(server.base_url)}/plans"))
            known[member] = context.storage_state()
            context.close()
        return known[member]

    return state


@pytest.fixture
def open_page(server, browser, console_errors):
    """Open a page: `open_page("/plans", state=signed_in_as("alice", w, "viewer"), color_scheme="dark")`."""
    contexts = []

    def open_page(path, *, state, **options):
        context = browser.new_context(storage_state=state, base_url=server.base_url, **options)
        contexts.append(context)
        page = context.new_page()
        console_errors.watch(page)
        page.goto(path)
        return page

    yield open_page
    for context in contexts:
        context.close()


@pytest.fixture
def page(signed_in_as, new_context, console_errors):
    """A page of the server's admin, whose console must stay free of errors."""
    page = new_context(storage_state=signed_in_as()).new_page()
    console_errors.watch(page)
    return page


class ConsoleErrors(list):
    """What went wrong in the watched pages: errors of the console and of scripts, and answers of 500 and above."""

    def watch(self, page):
        page.on("console", lambda message: message.type == "error" and self.append(message.text))
        page.on("pageerror", lambda error: self.append(str(error)))
        page.on(
            "response", lambda response: response.status >= 500 and self.append(f"{response.status} {response.url}")
        )


@pytest.fixture
def console_errors():
    """The errors of this test's pages; a test that provokes some takes them out, any that are left fail it."""
    errors = ConsoleErrors()
    yield errors
    assert errors == []


@pytest.fixture
def shots():
    """Keep a picture of a whole page: `shots(page, "plans-dark-390")` is test-results/shots/plans-dark-390.png."""

    def shoot(page, name) -> Path:
        path = SHOTS / f"{name}.png"
        page.screenshot(path=path, full_page=True, animations="disabled")
        return path

    return shoot


def _leave(entered):
    """Leave in reverse order, all of them, whatever goes wrong with one; the first error is the test's."""
    errors = []
    for each in reversed(entered):
        try:
            each.__exit__()
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]
