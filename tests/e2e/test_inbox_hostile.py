"""Whatever agents put into a request: it is text on the page, nothing runs, and no element of theirs appears."""

import json
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from tests.e2e.test_inbox import asker, button, card, inbox, one_asker  # noqa: F401 - fixtures
from tests.planner.test_markdown import PAYLOADS

MARK = "alert(1)"
RUNS = [payload for payload in PAYLOADS if MARK in payload]
TEMPLATES = [
    "{{ 7*7 }}",
    "${alert(1)}",
    "{% csrf_token %}",
    "</script><script>alert(1)</script>",
    "'\"><img src=x onerror=alert(1)>",
]
FOREIGN = "script, iframe, object, embed, form[action], img, base, meta[http-equiv], style, link, math, svg :not(use)"
WATCH = """
window.ran = [];
for (const name of ["alert", "confirm", "prompt"]) window[name] = (text) => window.ran.push(text);
"""


STRANGE = """(foreign) => {
    const attributes = [...document.querySelectorAll("approval-card *")].flatMap((node) => [...node.attributes]);
    const links = [...document.querySelectorAll(".shell a[href], .shell [src]")];
    const addresses = links.map((node) => node.href ?? node.src);
    return [
        ...[...document.querySelectorAll(`approval-card :is(${foreign})`)].map((node) => node.outerHTML.slice(0, 200)),
        ...attributes.map(({ name }) => name).filter((name) => name.startsWith("on") || name === "style"),
        ...addresses.filter((address) => !/^(https?|mailto):/.test(address)),
    ];
}"""


@pytest.fixture
def watched(inbox):  # noqa: F811 - a fixture
    """The inbox, in a page that notes what runs."""

    def open_watched(path):
        page = inbox("/plans")
        page.add_init_script(WATCH)
        page.goto(path)
        return page

    return open_watched


EVERY = [*RUNS, *TEMPLATES]
TEXT = "\n\n".join(EVERY)
NASTY = {payload: {"deep": [payload]} for payload in EVERY}
FIELDS = {
    f"{payload} {number}": {"type": "string", "title": payload, "description": payload, "default": payload}
    for number, payload in enumerate(EVERY)
}
CHOICE = {"type": "string", "enum": EVERY, "title": TEXT[:900]}
QUESTION = {
    "description": TEXT,
    "action": EVERY[1],
    "args": NASTY,
    "options": [*EVERY, NASTY, {"label": EVERY[1]}],
    "response_schema": {
        "type": "object",
        "title": EVERY[0],
        "properties": {**FIELDS, "choice": CHOICE, "__proto__": {"type": "integer"}},
    },
    "assignees": ["olga-of-inbox", EVERY[0]],
    "risk": "low",
    "plan_id": "plan-<img src=x onerror=alert(1)>",
    "source": "<b onclick=alert(1)>planner</b>",
    "blocks": "<i>task</i>",
}


def test_nothing_of_it_runs_and_no_element_of_it_appears(asker, watched, console_errors):  # noqa: F811 - fixtures
    approval = asker.ask(f"{EVERY[0]} {TEMPLATES[3]}", **QUESTION)
    page = watched(f"/approvals/{approval['id']}")
    expect(card(page).get_by_role("heading", level=2)).to_have_text(approval["title"])
    page.locator("json-viewer summary").evaluate_all("all => all.forEach((one) => (one.parentElement.open = true))")
    shows_only_ours(page)
    button(page, "Edit").click()
    page.get_by_label("Arguments, as JSON").fill(json.dumps({EVERY[0]: EVERY}))
    expect(page.get_by_role("group", name="What you change")).to_contain_text("<script>")
    shows_only_ours(page)
    page.get_by_role("button", name="Back").click()
    button(page, "Answer").click()
    expect(page.locator(".schema-form .field").first).to_be_visible()
    shows_only_ours(page)
    page.get_by_role("button", name="Back").click()
    card(page).get_by_role("textbox").last.fill(TEXT[:5000].replace("\x00", ""))
    button(page, "Reject").click()
    expect(card(page)).to_contain_text("Rejected by olga-of-inbox")
    shows_only_ours(page)
    page.goto(f"/plans/{quote(approval['plan_id'])}?approval={approval['id']}")
    expect(card(page)).to_contain_text("Rejected by olga-of-inbox")
    shows_only_ours(page)
    assert [each for each in console_errors if "Content Security Policy" in each] == []


def shows_only_ours(page):
    """Nothing ran; in the card are no elements, attributes and addresses but those that the page itself makes."""
    assert page.evaluate("window.ran") == []
    assert page.evaluate(STRANGE, FOREIGN) == []


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"type": "string", "pattern": "(a+)+$", "format": "uri", "default": 7}}},
        {
            "type": "object",
            "required": ["a"],
            "properties": {"a": {"type": ["string", "null"], "enum": ["x", None, 3]}},
        },
        {"properties": {"a": {"type": "array", "items": {"type": "integer"}, "minItems": 10_000_000}}},
        {"type": "array", "items": {"type": "array"}},
        {"$ref": "#/$defs/a", "$defs": {"a": {"type": "integer"}}},
        {"type": "object"},
        {"type": "object", "properties": {f"f{n}": {"type": "integer"} for n in range(300)}},
        {},
    ],
    ids=[
        "odd texts",
        "mixed choices",
        "very long",
        "lists of lists",
        "references",
        "anything",
        "many fields",
        "nothing",
    ],
)
def test_any_schema_can_be_answered(asker, inbox, schema):  # noqa: F811 - fixtures
    asker.ask("Answer?", response_schema=schema, allow=["respond"])
    page = inbox()
    expect(button(page, "Send the answer")).to_be_enabled()
    expect(card(page).get_by_role("textbox").or_(card(page).get_by_role("radio")).first).to_be_visible()
