"""A plan's page in Chromium through a bad network: it shows what the API says, or its badge says otherwise."""

import argparse
import random
import shutil
import sys
import time
from asyncio import run_coroutine_threadsafe
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

from playwright.sync_api import Browser, Page, sync_playwright

from soak.background import Background
from soak.live import SLOW_SECONDS, Extent, Scene
from soak.proxy import Proxy
from soak.stage import WORKSPACE, Stage
from soak.stream import Stream
from tests.e2e.conftest import CHROMIUM_FLAGS
from tests.e2e.plain import Tenant

SOON = 2.0  # seconds after a fault, within which the page is right again
DOUBT = 2.0  # seconds that a page may be wrong before it must say so: the silence after which it doubts the network
PATIENCE = 60.0
READ = """() => ({
  state: document.querySelector('#plan [data-f=state]').dataset.state,
  counts: Object.fromEntries([...document.querySelectorAll('.tl-legend button')].map(
    (button) => [button.dataset.state, Number(button.lastElementChild.textContent.replace(/[^0-9]/g, ''))])),
  rows: Number(document.querySelector('log-view [aria-rowcount]').getAttribute('aria-rowcount')),
})"""
# What the page claims, ten times a second: the time, how many rows of the log it has, what its badge says.
CLAIM = """() => {
  window.claims = [];
  const rows = document.querySelector('log-view [aria-rowcount]');
  const badge = document.querySelector('connection-badge');
  const claim = () => [Date.now(), Number(rows.getAttribute('aria-rowcount')), badge.dataset.link];
  setInterval(() => window.claims.push(claim()), 100);
}"""
LIVE = ("live", "polling")
PAINT = 300  # milliseconds between a commit and its picture that are no fault


@dataclass
class Shown:
    """What the page showed, in seconds."""

    after: list[tuple[str, float]] = field(default_factory=list)  # by fault: how long it took to be right again
    unsaid: float = 0.0  # the longest time without a break that it lacked rows and called itself live
    links: Counter[str] = field(default_factory=Counter)  # what its badge said, in tenths of a second

    @property
    def faults(self) -> list[tuple[str, float]]:
        """What took too long, and what was not said."""
        late = [one for one in self.after if one[1] > SOON]
        return late + ([("wrong and called live", self.unsaid)] if self.unsaid > DOUBT else [])

    def table(self) -> str:
        """What it comes to."""
        slowest = max(self.after, key=lambda one: one[1])
        return (
            f"  {len(self.after)} faults; the page right again after {slowest[1]:.2f} s at most ({slowest[0]})\n"
            f"  wrong and called live for {self.unsaid:.2f} s at most\n"
            f"  its badge said, in tenths of a second: {dict(self.links)}"
        )


def run(stage: Stage, rounds: int = 1, extent: Extent | None = None, only: str = "") -> Shown:
    """Every fault, or the one of this name, so many times, in random order."""
    extent, shown = extent or Extent(rate=40, share=1.0), Shown()
    with Background() as background, chromium() as browser:
        proxy = Proxy([server.port for server in stage.servers])
        background.call(proxy.start())
        scene, plan_id = Scene(stage, proxy, background, extent), f"page-{uuid4().hex[:12]}"
        try:
            page = _open(stage, browser, f"http://127.0.0.1:{proxy.port}", plan_id)
            faults = [one for one in scene.faults() if only in one[0]] * rounds
            random.shuffle(faults)
            for name, fault in faults:
                shown.after.append((name, _fault(scene, page, plan_id, name, fault)))
                print(f"  {name:<24} right after {shown.after[-1][1]:.2f} s", flush=True)
            _claims(stage, page, plan_id, shown)
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
    page.evaluate(CLAIM)
    return page


def _fault(scene: Scene, page: Page, plan_id: str, name: str, fault: Callable[[], None]) -> float:
    """Rows are committed, something breaks, it is mended, the last row is committed; how long the page then takes."""
    stream = Stream(scene.stage, [plan_id], scene.extent.rate)
    sending = run_coroutine_threadsafe(stream.run(), scene.background.loop)
    page.wait_for_timeout(500)
    fault()
    lasts = {"black hole": scene.extent.hole_seconds, "slow link": SLOW_SECONDS}.get(name, 0)
    page.wait_for_timeout(1000 * lasts + 500)
    stream.sending = False
    sending.result(60)
    tenant, began = scene.stage.tenant(), time.monotonic()
    while page.evaluate(READ) != truth(tenant, plan_id) and time.monotonic() < began + PATIENCE:
        page.wait_for_timeout(20)
    tenant.close()
    return time.monotonic() - began


def _claims(stage: Stage, page: Page, plan_id: str, shown: Shown) -> None:
    """Hold what the page claimed at each moment against when each row was recorded."""
    tenant = stage.tenant()
    recorded = [1000 * datetime.fromisoformat(row["recorded_at"]).timestamp() for row in tenant.log(plan_id)]
    tenant.close()
    since = None
    for at, rows, link in page.evaluate("() => window.claims"):
        shown.links[link] += 1
        if link not in LIVE or rows >= len(recorded) or recorded[rows] > at - PAINT:
            since = None
            continue
        since = since or at
        shown.unsaid = max(shown.unsaid, (at - since) / 1000)


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
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="postgresql")
    parser.add_argument("--rounds", type=int, default=3, help="how often each fault happens (3)")
    parser.add_argument("--only", default="", help="the faults whose name has this in it")
    parser.add_argument("--hole", type=float, default=30, help="seconds of the longest black hole")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the random moments")
    asked = parser.parse_args()
    random.seed(asked.seed)
    print(f"{asked.rounds} rounds, seed {asked.seed}", flush=True)
    with Stage(asked.database, ("daphne",) if asked.database == "sqlite" else ("daphne", "uvicorn")) as stage:
        shown = run(stage, asked.rounds, Extent(rate=40, hole_seconds=asked.hole, share=1.0), asked.only)
    print(shown.table())
    print("  right in time, or said so" if not shown.faults else f"  FAULTS {shown.faults}", flush=True)
    return bool(shown.faults)


if __name__ == "__main__":
    sys.exit(main())
