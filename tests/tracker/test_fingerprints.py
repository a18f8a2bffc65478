"""When two failures are of one kind, and when they are not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.fingerprints import LONGEST, kind_of, normalised

SAME = [
    ("part 17 is missing", "part 4,112.5 is missing"),
    ("TRK-1042 is unknown", "TRK-7 is unknown"),
    ("no answer after 30s", "no answer after 0.25s"),
    ("job 3f2504e0-4f89-11d3-9a0c-0305e82c3301 died", "job 7c0f9a52-5a0e-4d8e-9a3b-2f6d1c0e4b11 died"),
    ("bad token a94f3cde", "bad token 00ff12ab99"),
    ("object at 0x7f33ab90", "object at 0x1"),
    ("run k3jf93mfk20dk4 is gone", "run 9dk2mfn30smdk3 is gone"),
    ("no part 'BRK-001'", "no part 'a very long name of a part'"),
    ('no key "a"', 'no key "b \\" c"'),
    ("cannot read /var/lib/a/b.db", "cannot read /srv/x"),
    ("cannot read C:\\a\\b.txt", "cannot read D:\\c\\d\\e.txt"),
    ("GET https://a.example/x?y=1 gave 503", "GET http://b.example gave 502"),
    ("10.0.0.1:5432 refused", "192.168.7.20 refused"),
    ("mail to a.b@example.org failed", "mail to c@d.example failed"),
    ("late since 2026-01-02T03:04:05.678Z", "late since 2025-12-31 23:59"),
    ("ValueError: bad  part", "ValueError: bad part\nwith a second line"),
    ("Traceback (most recent call last):\n  File \"a.py\", line 3\nKeyError: 'a'", "KeyError: 'b'"),
    ("requests.exceptions.ReadTimeout: after 3", "ReadTimeout: after 4"),
    ('{"type": "E7", "message": "shelf 3 is empty"}', '{"message": "shelf 44 is empty", "type": "E7"}'),
]
OTHERS = [
    ("part is missing", "part is broken"),
    ("ValueError: bad part", "KeyError: bad part"),
    ("ValueError: bad part", "bad part"),
    ("", "something"),
    ("and/or", "either/or"),
    ("don't wait", "won't wait"),
    ("a decade of facade", "a decade of face"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_of_one_kind(one, other):
    assert kind_of("parts.check", one) == kind_of("parts.check", other)


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_of_two_kinds(one, other):
    assert kind_of("parts.check", one).fingerprint != kind_of("parts.check", other).fingerprint


def test_the_same_error_of_another_type_of_task_is_another_kind():
    assert kind_of("a.requested", "no stock").fingerprint != kind_of("b.requested", "no stock").fingerprint


@pytest.mark.parametrize(
    ("error", "error_type", "message"),
    [
        ("ValueError: no part 'x'", "ValueError", "no part <value>"),
        ("a.b.CustomException", "CustomException", ""),
        ("PartNotFound: no part 3", "PartNotFound", "no part <n>"),
        ("Warehouse: no part 3", "", "Warehouse: no part <n>"),
        ('{"code": 42, "detail": "shelf 3"}', "42", "shelf <n>"),
        ('{"broken": ', "", "{<value>:"),
        ("{}", "", "{}"),
        ("", "", ""),
        ("HTTP 503 at 12:30", "", "HTTP <n> at <time>"),
    ],
)
def test_type_and_message(error, error_type, message):
    assert kind_of("t", error)[1:] == (error_type, message)


@given(st.text(max_size=3000))
def test_whatever_agents_say(error):
    kind = kind_of("t", error)
    assert len(kind.message) <= LONGEST
    assert kind == kind_of("t", error)


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=200))
def test_what_is_replaced_stays_replaced(error):
    """A message without what differs has nothing more that does: numbers are gone."""
    assert not any(char.isdigit() for char in normalised(error))
