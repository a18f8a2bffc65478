"""What agents write as Markdown, and what of it reaches a page."""

from html.parser import HTMLParser

import pytest

from planner.markdown import LONGEST, html_of

ALLOWED = {
    "a", "blockquote", "br", "code", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s", "strong",
    "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
ATTRIBUTES = {"href", "title", "start", "rel", "target"}
PAYLOADS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![x](javascript:alert(1))",
    "![x](x){onerror=alert(1)}",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](vbscript:msgbox(1))",
    "<javascript:alert(1)>",
    '[x](http://a" onmouseover="alert(1))',
    "[x](<http://a onmouseover=alert(1)>)",
    '[x](http://a "t\\" onclick=alert(1)")',
    "[x]: javascript:alert(1)\n\n[x]",
    "<svg><script>alert(1)</script></svg>",
    "<svg/onload=alert(1)>",
    "<math><mtext><table><mglyph><style><img src onerror=alert(1)>",
    "<iframe src=javascript:alert(1)></iframe>",
    "<object data=javascript:alert(1)>",
    "<form action=javascript:alert(1)><button>x",
    "<style>*{background:url(//evil)}</style>",
    "<a href=javascript:alert(1)>x</a>",
    "<a href='x' style='position:fixed;inset:0'>x</a>",
    "<details open ontoggle=alert(1)>",
    "<input autofocus onfocus=alert(1)>",
    "<base href=//evil/>",
    "<meta http-equiv=refresh content=0;url=//evil>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "`<img src=x onerror=alert(1)>`",
    "```html\n<script>alert(1)</script>\n```",
    "~~<script>alert(1)</script>~~",
    "| a |\n|---|\n| <img src=x onerror=alert(1)> |",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\x00<script>alert(1)</script>",
    "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "<!--><img src=x onerror=alert(1)>-->",
    "<![CDATA[<img src=x onerror=alert(1)>]]>",
]


class Elements(HTMLParser):
    """Which elements and attributes a fragment has."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.attributes, self.addresses, self.text = set(), set(), [], ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attributes}
        self.addresses += [value for name, value in attributes if name == "href"]

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_gets_out_of_the_text(payload):
    found = Elements(html_of(payload))
    assert found.tags <= ALLOWED
    assert found.attributes <= ATTRIBUTES
    assert [each for each in found.addresses if not each.startswith(("http://", "https://", "mailto:"))] == []


def test_what_people_write_is_kept():
    text = "# Why\n\n**Six** _pads_ ~~now~~ `BRK-1`\n\n- one\n- two\n\n3. three\n\n> said\n\n"
    text += "| a | b |\n|---|--:|\n| 1 | 2 |\n"
    assert html_of(text).splitlines() == [
        "<h3>Why</h3>",
        "<p><strong>Six</strong> <em>pads</em> <s>now</s> <code>BRK-1</code></p>",
        *["<ul>", "<li>one</li>", "<li>two</li>", "</ul>"],
        *['<ol start="3">', "<li>three</li>", "</ol>"],
        *["<blockquote>", "<p>said</p>", "</blockquote>"],
        *["<table>", "<thead>", "<tr>", "<th>a</th>", "<th>b</th>", "</tr>", "</thead>"],
        *["<tbody>", "<tr>", "<td>1</td>", "<td>2</td>", "</tr>", "</tbody>", "</table>"],
    ]


@pytest.mark.parametrize(("marks", "tag"), [("#", "h3"), ("##", "h4"), ("####", "h6"), ("######", "h6")])
def test_headings_stand_below_the_title(marks, tag):
    assert html_of(f"{marks} Costs") == f"<{tag}>Costs</{tag}>"


def test_links_open_beside_what_is_typed_and_images_are_links():
    expected = '<a href="https://a.example/" target="_blank" rel="noopener noreferrer nofollow">the offer</a>'
    assert html_of("[the offer](https://a.example/)") == f"<p>{expected}</p>"
    assert html_of("![the offer](https://a.example/)") == f"<p>!{expected}</p>"
    assert Elements(html_of("[home](/sign-out) [there](//evil.example)")).addresses == []


def test_a_text_beyond_all_measure_is_shown_as_it_is():
    text = "> " * LONGEST + "<b>"
    assert html_of(text) == f"<pre>{'&gt; ' * LONGEST}&lt;b&gt;</pre>"


def test_deep_nesting_ends():
    found = Elements(html_of("> " * 20_000 + "deep"))
    assert found.tags <= ALLOWED


def test_no_text_no_html():
    assert html_of("") == ""
