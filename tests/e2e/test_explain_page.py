"""What went wrong, in a real browser: beside the plan, as a page, and failures by kind."""

import json
import re
from uuid import uuid4

import pytest
from playwright.sync_api import expect

from tests.e2e.test_pages import Fleet, assert_in_shape, live, look


class Workshop(Fleet):
    """Agents that fail in ways of their own."""

    def fail(self, plan, task, error, source="parts-worker"):
        data = {"task_id": task, "status": "failed", "error": error}
        self.say("action-results", f"{task}.done", data, source, plan_id=plan, correlation_id=task)

    def good_run(self, plan):
        self.start(plan)
        for task in ("parts", "tyres", "bay"):
            self.ask(plan, f"{plan}-{task}", f"{task}.check.requested")
            self.answer(plan, f"{plan}-{task}")

    def bad_run(self, plan):
        """One task went well, one fails, one waits for an agent that there is not."""
        self.start(plan)
        for task in ("parts", "tyres", "bay"):
            self.ask(plan, f"{plan}-{task}", f"{task}.check.requested")
        self.answer(plan, f"{plan}-parts")
        self.fail(plan, f"{plan}-tyres", f"PartNotFound: no tyre 'T-{uuid4().hex[:6]}' in /var/stock/north.db")


@pytest.fixture(scope="module")
def workshop(server):
    workshop = Workshop(server, "workshop")
    yield workshop
    workshop.client.close()


@pytest.fixture(scope="module")
def operator(signed_in_as):
    return signed_in_as("operator-of-workshop", "workshop", "operator")


@pytest.fixture
def plan():
    return f"plan-{uuid4().hex[:12]}"


def details(page):
    return page.get_by_role("complementary", name="Details")


def test_the_story_beside_the_plan(open_page, operator, workshop, plan, shots):
    workshop.good_run(f"{plan}-good")
    workshop.bad_run(plan)
    page = open_page(f"/plans/{plan}", state=operator, permissions=["clipboard-read", "clipboard-write"])
    live(page)
    page.keyboard.press("w")
    panel = details(page)
    expect(panel.get_by_role("heading", level=2)).to_have_text("What went wrong?")
    expect(panel.locator(".verdict")).to_contain_text("tyres-check failed at parts-worker: PartNotFound: no tyre")
    expect(panel).to_contain_text("no registered agent consumes bay.check.requested")
    expect(panel.locator(".twin .parts")).to_contain_text("tyres-check")
    look(page, "explain", shots)
    page.set_viewport_size({"width": 1440, "height": 900})
    panel.get_by_role("button", name="Copy as Markdown").click()
    expect(panel.get_by_role("button", name="Copied")).to_be_visible()
    text = page.evaluate("navigator.clipboard.readText()")
    assert text.startswith(
        "## vehicle.maintenance.goal: in progress\n\ntyres-check failed at parts-worker: PartNotFound"
    )
    # It stands still while it is read, and says when the plan has moved on.
    retry = panel.get_by_role("button", name="Retry")
    retry.click()
    page.get_by_role("button", name="Retry task").click()
    expect(panel.locator(".story-old")).to_be_visible()
    panel.get_by_role("button", name="Look again").click()
    expect(panel.locator(".verdict")).to_contain_text("Nothing is failed now; 1 task was tried again after a failure")
    expect(panel.locator(".story-old")).to_be_hidden()
    panel.get_by_role("link", name="tyres-check").first.click()
    expect(panel.get_by_role("heading", level=2)).to_have_text("tyres-check")


def test_the_address_opens_the_story(open_page, operator, workshop, plan):
    workshop.good_run(plan)
    page = open_page(f"/plans/{plan}#why", state=operator)
    expect(details(page).get_by_role("heading", level=2)).to_have_text("How did it go?")
    expect(details(page).locator(".verdict")).to_contain_text("Nothing went wrong: the plan completed at")
    page.keyboard.press("Escape")
    expect(details(page)).to_be_hidden()
    assert "#" not in page.url


def test_a_plan_is_taken_away(open_page, operator, workshop, plan, shots):
    workshop.good_run(f"{plan}-good")
    workshop.bad_run(plan)
    page = open_page(f"/plans/{plan}/explain", state=operator)
    shots(page, "story-light-1440")
    assert_in_shape(page)
    for name, suffix in (("Plan as JSON", "json"), ("Log as NDJSON", "ndjson")):
        with page.expect_download() as started:
            page.get_by_role("link", name=name).click()
        assert started.value.suggested_filename == f"plan-{plan}.{suffix}"
        text = started.value.path().read_text()
        if suffix == "json":
            assert json.loads(text)["plan"]["plan_id"] == plan
        else:
            rows = [json.loads(line)["seq"] for line in text.splitlines()]
            assert rows == list(range(1, len(rows) + 1))


def test_failures_by_kind(open_page, operator, workshop, plan, shots):
    for number in range(3):
        workshop.bad_run(f"{plan}-{number}")
    page = open_page("/failures", state=operator)
    live(page)
    kind = page.locator("details[data-kind]").filter(has_text="PartNotFound no tyre value in path").first
    for key in ("j", "Enter"):
        page.keyboard.press(key)
    opened = page.locator("details[data-kind][open]")
    expect(opened).to_have_count(1)
    expect(opened.locator(".k-each li").first).to_be_visible()
    look(page, "failures", shots)
    page.set_viewport_size({"width": 1440, "height": 900})
    page.get_by_label("Task type").select_option("tyres.check.requested")
    expect(page).to_have_url(re.compile("type=tyres.check.requested"))
    expect(kind).to_be_visible()
    kind.locator("summary").click()
    kind.locator(".k-each a").first.click()
    expect(page).to_have_url(re.compile(r"/plans/.*#seq=\d+"))


def test_what_fails_meanwhile_is_shown_or_offered(open_page, operator, workshop, plan):
    word = uuid4().hex.translate(str.maketrans("0123456789", "ghijklmnop"))
    workshop.bad_run(plan)
    page = open_page("/failures", state=operator)
    live(page)
    workshop.fail(plan, f"{plan}-bay", f"alpha{word}")
    expect(page.locator("#failure-list")).to_contain_text(f"alpha{word}")
    page.locator("details[data-kind] summary").first.click()
    workshop.start(f"{plan}-2")
    workshop.ask(f"{plan}-2", f"{plan}-2-t")
    workshop.fail(f"{plan}-2", f"{plan}-2-t", f"beta{word}")
    offer = page.get_by_role("button", name="Something else has failed. Show it")
    expect(offer).to_be_visible()
    expect(page.locator("details[data-kind][open]")).to_have_count(1)
    offer.click()
    expect(page.locator("#failure-list")).to_contain_text(f"beta{word}")


def test_an_empty_page_of_failures(open_page, signed_in_as, workspace, shots):
    page = open_page("/failures", state=signed_in_as(f"admin-{workspace}", workspace, "admin"))
    expect(page.get_by_role("heading", name="Nothing has failed")).to_be_visible()
    look(page, "failures-empty", shots)
