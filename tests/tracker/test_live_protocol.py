"""The words on the socket."""

import json

import pytest

from tracker.live.protocol import LARGEST_FRAME, Item, Ping, Refused, Rows, Subscribe, Unsubscribe, digest, parse


def said(**frame):
    return parse(json.dumps(frame))


def test_a_plan_is_subscribed_with_and_without_after():
    assert said(op="sub", stream="plan:p/1") == Subscribe("plan:p/1")
    assert said(op="sub", stream="plan:p/1", after=41) == Subscribe("plan:p/1", after=41)
    assert said(op="unsub", stream="plan:p/1") == Unsubscribe("plan:p/1")


def test_a_ping_is_a_ping():
    assert said(op="ping") == Ping()


def test_filters_that_mean_the_same_are_one():
    one = said(op="sub", stream="plans", filter={"state": ["failed", "in_progress"], "q": ""})
    two = said(op="sub", stream="plans", filter={"q": None, "state": ["in_progress", "failed"]} | {"q": ""})
    assert one == two == Subscribe("plans", filter='{"state":["failed","in_progress"]}')
    assert said(op="sub", stream="plans", filter={"state": "failed"}).filter == '{"state":["failed"]}'
    assert said(op="sub", stream="plans", filter={"tenant": "acme"}) == Subscribe("plans", tenant="acme")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "bad-json"),
        ("{", "bad-json"),
        ("[]", "bad-json"),
        ('"sub"', "bad-json"),
        ("{}", "unknown-op"),
        ('{"op": "shout", "stream": "plans"}', "unknown-op"),
        ('{"op": "sub"}', "unknown-stream"),
        ('{"op": "sub", "stream": "goals"}', "unknown-stream"),
        ('{"op": "sub", "stream": "plan:"}', "unknown-stream"),
        ('{"op": "sub", "stream": ["plans"]}', "unknown-stream"),
        ('{"op": "unsub", "stream": 1}', "unknown-stream"),
        ('{"op": "sub", "stream": "plan:' + "x" * 300 + '"}', "unknown-stream"),
        ('{"op": "sub", "stream": "plan:p", "after": -1}', "bad-after"),
        ('{"op": "sub", "stream": "plan:p", "after": "4"}', "bad-after"),
        ('{"op": "sub", "stream": "plan:p", "after": true}', "bad-after"),
        ('{"op": "sub", "stream": "plan:p", "after": 9223372036854775808}', "bad-after"),
        ('{"op": "sub", "stream": "plans", "filter": []}', "bad-filter"),
        ('{"op": "sub", "stream": "plans", "filter": "failed"}', "bad-filter"),
        ('{"op": "sub", "stream": "plans", "filter": {"colour": "red"}}', "bad-filter"),
        ('{"op": "sub", "stream": "plans", "filter": {"state": "sleeping"}}', "bad-filter"),
        ('{"op": "sub", "stream": "plans", "filter": {"q": "a\\u0000"}}', "bad-filter"),
        ('{"op": "sub", "stream": "plans", "x": "' + "x" * LARGEST_FRAME + '"}', "too-large"),
    ],
)
def test_what_cannot_be_done_has_a_code(text, code):
    with pytest.raises(Refused) as refused:
        parse(text)
    assert (refused.value.code, bool(refused.value.detail)) == (code, True)


def test_rows_are_cut_where_a_reader_is():
    rows = Rows.of("plan:p", [{"seq": seq} for seq in (3, 4, 5)])
    assert rows.after(1) is rows
    assert rows.after(2) is rows
    assert rows.after(5) is None
    rest = rows.after(3)
    assert (rest.first, rest.last) == (4, 5)
    assert json.loads(rest.frame.text) == {"op": "rows", "stream": "plan:p", "rows": [{"seq": 4}, {"seq": 5}]}
    assert rest.frame.size == len(rest.frame.text)


def test_the_digest_is_crc32_of_ids_and_stamps():
    assert digest([]) == "00000000"
    # The CRC-32 of "123456789" is its well-known check value.
    lines = b"p-1:7\np-2:3\n"
    assert digest([Item("p-1", 7, {}), Item("p-2", 3, {})]) == f"{crc32(lines):08x}"
    assert crc32(b"123456789") == 0xCBF43926


def crc32(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0xEDB88320 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF
