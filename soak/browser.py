"""A plan's page in Chromium through a bad network: it shows what the API says, or its badge says otherwise."""

import argparse
import random
import shutil
import sys
import time
from asyncio import run_coroutine_threadsafe
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from uuid import uuid4

from playwright.sync_api import Browser, Page, sync_playwright

from soak.background import Background
from soak.live import Extent, Scene
from soak.proxy import Proxy
from soak.stage import WORKSPACE, Stage
from soak.stream import Stream
from tests.e2e.conftest import CHROMIUM_FLAGS
from tests.e2e.plain import Tenant

SOON = 2.0  # seconds after a fault, within which the page is right again
DOUBT = 8.0  # seconds that a page may be wrong before it must say so: the silence after which it doubts the network
PATIENCE = 60.0
READ = """() => ({
  state: document.querySelector('#plan [data-f=state]').dataset.state,
  counts: Object.fromEntries([...document.querySelectorAll('.tl-legend button')].map(
    (button) => [button.dataset.state, Number(button.lastElementChild.textContent.replace(/[^0-9]/g, ''))])),
  rows: Number(document.querySelector('log-view [aria-rowcount]').getAttribute('aria-rowcount')),
  link: document.querySelector('connection-badge').dataset.link,
})"""


@dataclass
class Shown:
    """By fault, in seconds: how long the page took to be right, and how long it was wrong and called itself live."""

    after: list[tuple[str, float]] = field(default_factory=list)
    unsaid: list[tuple[str, float]] = field(default_factory=list)
    links: set[str] = field(default_factory=set)  # what the badge said

    @property
    def faults(self) -> list[tuple[str, float]]:
        """What took too long, and what was not said."""
        return [one for one in self.after if one[1] > SOON] + [one for one in self.unsaid if one[1] > DOUBT]

    def table(self) -> str:
        """One fault a line."""
        longest = dict(self.unsaid)
        lines = [f"  {name:<24} right after {after:5.2f} s" for name, after in self.after]
        lines += [f"  wrong and called live, at most {max(longest.values(), default=0.0):.2f} s"]
        return "\n".join([*lines, f"  the badge said {sorted(self.links)}"])


def run(stage: Stage, rounds: int = 1, extent: Extent | None = None) -> Shown:
    """Every fault so many times, in random order."""
    extent, shown = extent or Extent(rate=40), Shown()
    with Background() as background, chromium() as browser:
        proxy = Proxy([server.port for server in stage.servers])
        background.call(proxy.start())
        scene, plan_id = Scene(stage, proxy, background, extent), f"page-{uuid4().hex[:12]}"
        try:
            page = _open(stage, browser, f"http://127.0.0.1:{proxy.port}", plan_id)
            faults = scene.faults() * rounds
            random.shuffle(faults)
            for name, fault in faults:
                _fault(scene, page, plan_id, name, fault, shown)
                print(f"  {name:<24} right after {shown.after[-1][1]:.2f} s", flush=True)
        finally:
            background.call(proxy.close())
    return shown


@contextmanager
def chromium() -> Iterator[Browser]:
    """Debian's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


def _open(stage: Stage, browser: Browser, base_url: str, plan_id: str) -> Page:
    tenant = stage.tenant()
    tenant.ask("soak.task.requested", plan_id=plan_id)
    tenant.close()
    stage.servers[0].manage("create_member", "watcher", "--workspace", WORKSPACE, "--role", "admin")
    page = browser.new_page()
    page.goto(stage.servers[0].manage("sign_in_link", "watcher", "--base-url", base_url))
    page.wait_for_url(f"{base_url}/plans")
    page.goto(f"{base_url}/plans/{plan_id}")
    page.wait_for_selector("connection-badge[data-link=live]")
    return page


def _fault(scene: Scene, page: Page, plan_id: str, name: str, fault: object, shown: Shown) -> None:
    """Rows are committed, something breaks, it is mended, the last row is committed: now the page has two seconds."""
    stream = Stream(scene.stage, [plan_id], scene.extent.rate)
    sending = run_coroutine_threadsafe(stream.run(), scene.background.loop)
    time.sleep(0.5)
    fault()
    tenant = scene.stage.tenant()
    if name in ("black hole", "slow link"):
        _watch(page, tenant, plan_id, scene.extent.hole_seconds if name == "black hole" else 15, name, shown)
    stream.sending = False
    sending.result(60)
    began = time.monotonic()
    shown.after.append((name, _watch(page, tenant, plan_id, PATIENCE, name, shown, until_right=True) - began))
    tenant.close()


def _watch(
    page: Page, tenant: Tenant, plan_id: str, seconds: float, name: str, shown: Shown, *, until_right: bool = False
) -> float:
    """Compare until the time is over, or until the page is right; gives when that was."""
    end, right_at = time.monotonic() + seconds, time.monotonic()
    unsaid = 0.0
    while time.monotonic() < end:
        before, seen = truth(tenant, plan_id), page.evaluate(READ)
        shown.links.add(link := seen.pop("link"))
        # Between two questions the truth may have moved on: the page may be as far as either.
        if seen == before or seen["rows"] > before["rows"]:
            right_at = time.monotonic()
            if until_right and seen == before:
                break
        elif link in ("live", "polling"):
            unsaid = max(unsaid, time.monotonic() - right_at)
        else:
            right_at = time.monotonic()  # it says so
        page.wait_for_timeout(50)
    shown.unsaid.append((name, unsaid))
    return time.monotonic()


def truth(tenant: Tenant, plan_id: str) -> dict[str, object]:
    """What the page should show, by the API."""
    plan = tenant.get(f"plans/{plan_id}")
    counts: dict[str, int] = {}
    for task in plan["tasks"].values():
        counts[task["state"]] = counts.get(task["state"], 0) + 1
    return {"state": plan["state"], "counts": counts, "rows": plan["seq"]}


def main() -> int:
    """Run what the command line says; 1 when the page was wrong too long, or did not say so."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often each fault happens (3)")
    parser.add_argument("--hole", type=float, default=30, help="seconds of the longest black hole")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random moments")
    asked = parser.parse_args()
    random.seed(asked.seed)
    print(f"{asked.rounds} rounds, seed {asked.seed}", flush=True)
    with Stage("postgresql", ("daphne", "uvicorn")) as stage:
        shown = run(stage, asked.rounds, Extent(rate=40, hole_seconds=asked.hole))
    print(shown.table())
    print("  right in time, or said so" if not shown.faults else f"  FAULTS {shown.faults}", flush=True)
    return bool(shown.faults)


if __name__ == "__main__":
    sys.exit(main())
