"""Markdown that agents wrote, as HTML that is safe in a page.

Two locks: the parser lets no HTML of the text through, and what it makes passes an allow-list.
"""

import nh3
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

LONGEST = 50_000  # characters that are read as Markdown; a longer text is shown as it is
UNDER_A_TITLE = 2  # a heading of the text stands below the h2 of the card it is in
LOWEST = 6

# An image would tell its host who looks; without the rule it is a link.
_parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"]).disable("image")
_cleaner = nh3.Cleaner(
    tags={
        "a", "blockquote", "br", "code", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s", "strong",
        "table", "tbody", "td", "th", "thead", "tr", "ul",
    },
    attributes={"a": {"href", "title"}, "ol": {"start"}},
    url_schemes={"http", "https", "mailto"},
    url_relative="deny",  # whoever follows a link has seen where it leads
    link_rel="noopener noreferrer nofollow",
    set_tag_attribute_values={"a": {"target": "_blank"}},  # what is typed beside it stays
)  # fmt: skip


def html_of(text: str) -> SafeString:
    """Markdown as safe HTML: CommonMark, tables and strikethrough; headings from h3 on; no images, no HTML.

    Links open in another tab. Texts over 50,000 characters are shown as they are, in a `pre`.
    """
    if len(text) > LONGEST:
        return format_html("<pre>{}</pre>", text)
    tokens = _parser.parse(text)
    for token in tokens:
        if token.type in {"heading_open", "heading_close"}:
            token.tag = f"h{min(int(token.tag[1:]) + UNDER_A_TITLE, LOWEST)}"
    made = _parser.renderer.render(tokens, _parser.options, {})
    return mark_safe(_cleaner.clean(made).strip())  # noqa: S308 - the allow-list is just above
