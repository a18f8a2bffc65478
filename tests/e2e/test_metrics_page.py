"""The page of metrics in a real browser: charts with tables behind them, by choice, in every light and width."""

import re

import pytest
from playwright.sync_api import expect

from tests.e2e.test_pages import Fleet, live, look


@pytest.fixture(scope="module")
def member(server, signed_in_as):
    """Signed in where agents have worked a little."""
    fleet = Fleet(server, "metrics-page")
    for number in range(3):
        fleet.whole_run(f"measured-{number}")
    fleet.client.close()
    return signed_in_as("viewer-of-metrics", "metrics-page", "viewer")


def test_charts_have_tables_behind_them(open_page, member, shots):
    page = open_page("/plans", state=member)
    page.get_by_role("link", name="Metrics").click()
    expect(page.get_by_role("heading", name="Metrics", exact=True)).to_be_visible()
    expect(page.locator(".tiles .card").filter(has_text="Success rate")).to_contain_text("50 %")
    chart = page.get_by_role("figure").first
    assert chart.locator("rect[data-part=completed]").count() == chart.locator("rect[data-part=failed]").count() == 1
    chart.get_by_text("Table", exact=True).click()
    row = chart.get_by_role("row").last  # this hour
    expect(row.get_by_role("cell")).to_have_text(["3", "3", "0", "3"])
    expect(page.get_by_role("row", name="parts-worker")).to_contain_text("9")
    live(page)
    look(page, "metrics", shots)


def test_another_choice_is_another_page(open_page, member):
    page = open_page("/metrics-page", state=member)
    page.get_by_text("7 days").click()
    expect(page).to_have_url(re.compile(r"/metrics-page\?period=7d&by=agent$"))
    page.get_by_text("Task types").click()
    expect(page.get_by_role("row", name="parts.check.requested")).to_contain_text("3")
    expect(page).to_have_url(re.compile(r"/metrics-page\?period=7d&by=task_type$"))


def test_without_tasks_it_says_so(open_page, signed_in_as, workspace, shots):
    page = open_page("/metrics-page", state=signed_in_as(f"viewer-{workspace}", workspace, "admin"))
    expect(page.get_by_role("heading", name="No task in the last 24 hours")).to_be_visible()
    look(page, "metrics-empty", shots)
