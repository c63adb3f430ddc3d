"""What every message must be before anybody reads its fields."""

import contextlib
import json
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp.wire.strict_json import (
    MalformedMessage,
    encode,
    optional_integer,
    optional_text,
    parse,
    percent,
    require_flag,
    require_integer,
    require_list,
    require_object,
    require_permille,
    require_schema,
    require_text,
    require_time,
    require_time_s,
    time_text,
)

BYTES = 4_096


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\xef\xbb\xbf{}", "begins with a byte order mark"),
        (b'{"a":"\xff"}', "not UTF-8"),
        ('{"a":1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a":NaN}', "NaN or Infinity is not a number here"),
        (b'{"a":-Infinity}', "NaN or Infinity is not a number here"),
        (b'{"a":1,"a":1}', "a key stands twice in one object"),
        (b'{"a":{"b":1,"b":2}}', "a key stands twice in one object"),
        (b'{"a":9007199254740992}', "an integer is 2^53 or larger"),
        (b'{"a":-9007199254740992}', "an integer is 2^53 or larger"),
        (b'{"a":' + b"9" * 4_000 + b"}", "an integer is 2^53 or larger"),
        (b'{"a":1e999999999}', "a number has an exponent beyond 30"),
        (b'{"a":1e-999999999999999999999999}', "not JSON"),
        (b'{"a":0.' + b"1" * 100 + b"}", "a number is longer than 40 characters"),
        (b'{"a":"\\ud800"}', "a text holds NUL or half of a surrogate pair"),
        (b'{"\\u0000":1}', "a text holds NUL or half of a surrogate pair"),
        (b'{"a":"\x00"}', "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"null", "not a JSON object"),
        (b"", "not JSON"),
        (b"{}{}", "not JSON"),
        (b"{'a':1}", "not JSON"),
        (b'{"a":1,}', "not JSON"),
        (b'{"a":01}', "not JSON"),
        (b'{"a":"tab\there"}', "not JSON"),
        (b'{"a":' * 8 + b"1" + b"}" * 8 + b" " * BYTES, f"longer than {BYTES} bytes"),
        (b'{"a":' * 9 + b"1" + b"}" * 9, "nests deeper than 8"),
        (b'{"a":' + b"[" * 8 + b"]" * 8 + b"}", "nests deeper than 8"),
        (b"[" * BYTES, "nests deeper than 8"),
    ],
)
def test_message_that_two_readers_could_read_differently_is_malformed(payload: bytes, reason: str) -> None:
    with pytest.raises(MalformedMessage) as refused:
        parse(payload, max_bytes=BYTES)

    assert refused.value.reason == reason


def test_message_eight_deep_with_many_brackets_is_taken() -> None:
    payload = b'{"a":' * 7 + b'{"b":[],"c":[]}'.replace(b"[]", b"0") + b"}" * 7

    assert parse(payload, max_bytes=BYTES)
    assert parse(b'{"a":[' + b"[[]]," * 30 + b"[]]}", max_bytes=BYTES)


def test_brackets_inside_texts_are_not_nesting() -> None:
    assert parse(b'{"a":"[[[[[[[[[[{{{{{{{{"}', max_bytes=BYTES) == {"a": "[" * 10 + "{" * 8}


def test_numbers_keep_every_digit_and_are_never_floats() -> None:
    body = parse(b'{"soc_pct":79.9,"wh":9007199254740991,"hex":"00000000000000000000"}', max_bytes=BYTES)

    assert body == {"soc_pct": Decimal("79.9"), "wh": 2**53 - 1, "hex": "0" * 20}
    assert not any(isinstance(value, float) for value in body.values())


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_an_object_or_malformed(payload: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        assert isinstance(parse(payload, max_bytes=BYTES), dict)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=30,
)


@given(st.dictionaries(st.text(), JSON))
def test_arbitrary_json_is_an_object_or_malformed(value: dict[str, object]) -> None:
    with contextlib.suppress(MalformedMessage):
        assert isinstance(parse(json.dumps(value).encode(), max_bytes=BYTES), dict)


@given(st.integers(0, 1000))
def test_permille_survive_the_wire(permille: int) -> None:
    line = encode({"soc_pct": percent(permille)})

    assert require_permille(parse(line, max_bytes=BYTES), "soc_pct") == permille


@pytest.mark.parametrize("value", ["79.95", "-0.1", "100.1", '"80"', "true", "null"])
def test_percentage_out_of_range_or_too_fine_is_malformed(value: str) -> None:
    body = parse(f'{{"soc_pct":{value}}}'.encode(), max_bytes=BYTES)

    with pytest.raises(MalformedMessage, match="soc_pct is not a percentage"):
        require_permille(body, "soc_pct")


def test_whole_percentages_may_come_with_or_without_a_point() -> None:
    body = parse(b'{"a":20,"b":20.0,"c":20.00}', max_bytes=BYTES)

    assert [require_permille(body, name) for name in "abc"] == [200, 200, 200]


def test_a_flag_or_a_fraction_is_no_integer() -> None:
    body = parse(b'{"flag":true,"point":1.0,"text":"1","ten":10}', max_bytes=BYTES)

    for name in ("flag", "point", "text", "absent"):
        with pytest.raises(MalformedMessage, match=f"{name} is not an integer from 0 to 9"):
            require_integer(body, name, high=9)
    with pytest.raises(MalformedMessage, match="ten is not an integer from 0 to 9"):
        require_integer(body, "ten", high=9)
    assert require_integer(body, "ten") == 10
    assert optional_integer(body, "absent") is None


def test_time_is_whole_seconds_of_utc() -> None:
    body: dict[str, object] = {"at": "2026-09-10T01:05:00Z"}

    assert require_time(body, "at") == datetime(2026, 9, 10, 1, 5, tzinfo=UTC)
    assert require_time_s(body, "at") == 1_789_002_300
    assert time_text(require_time(body, "at")) == "2026-09-10T01:05:00Z"


@pytest.mark.parametrize(
    "text",
    [
        "2026-09-10T01:05:00.5Z",
        "2026-09-10T01:05:00+00:00",
        "2026-09-10 01:05:00Z",
        "2026-13-10T01:05:00Z",
        "2026-09-10T01:05:60Z",
        "0000-01-01T00:00:00Z",
        "٢٠٢٦-09-10T01:05:00Z",
        "2026-09-10T01:05:00Z\n",
        1789002300,
        None,
    ],
)
def test_time_in_another_spelling_is_malformed(text: object) -> None:
    with pytest.raises(MalformedMessage, match="at is not a time"):
        require_time({"at": text}, "at")


def test_readers_name_the_field_that_is_missing() -> None:
    body: dict[str, object] = {"text": "", "list": [1, 2, 3], "schema": "vpp.ack/2", "flag": 1}

    with pytest.raises(MalformedMessage, match="text is not a text of 1 to 128 characters"):
        require_text(body, "text")
    with pytest.raises(MalformedMessage, match="list is not a list of 1 to 2"):
        require_list(body, "list", longest=2)
    with pytest.raises(MalformedMessage, match="list is not an object"):
        require_object(body, "list")
    with pytest.raises(MalformedMessage, match="flag is not true or false"):
        require_flag(body, "flag")
    with pytest.raises(MalformedMessage, match=r"schema is not vpp\.ack/1"):
        require_schema(body, "vpp.ack/1")
    assert optional_text(body, "absent") is None
