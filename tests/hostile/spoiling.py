"""How a well-formed input is spoiled: bytes, JSON values and CSV cells, drawn from one seeded generator."""

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

ODD_TEXTS = (
    "", " ", "\x00", "\ufeff", "\u2028", "\u0663", "\ud800", "é" * 200, "=1+1", "@SUM(A1)", "-", "-0", "0x10",
    "1e5", "1_000", "NaN", "Infinity", "null", "true", "9" * 40, "0.1", "1/0", "10/3", "../../etc/passwd",
    "'; DROP TABLE owner; --", "{{7*7}}", "%s%n", "<script>", "P9999Y", "PT0S", "-PT1H",
    "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", "2026-02-30T00:00:00Z", "2026-11-01T01:30:00-08:00",
    "2026-13-01", "24:00",
    "1969-12-31T23:59:59Z", "2026-09-09T18:00:60Z", "x" * 5_000, '"', '""', "\r", "\n", "\t", "\\", "a,b",
)  # fmt: skip
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**53, -(2**53), 2**63, 10**30, 0.1, -0.0, 1e300, float("nan"),
    float("inf"), [], {}, [[]], [None], {"": ""}, [0] * 2_000, *ODD_TEXTS,
)  # fmt: skip
ODD_BYTES = (
    b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xc0\x80", b"\xed\xa0\x80", b"\r\n", b"\n\n", b"\r", b'"', b",",
    b"{", b"}", b"[" * 50, b"]", b":", b"\\u0000", b"\\ud800", b"NaN", b"1e999", b"-", b"0" * 30,
    b"9" * 400, b"=", b"#", b"[[", b"'''", b";", b"\x1a", b"\x80" * 5, b"..",
)  # fmt: skip
MOST_SPOILINGS = 4


def spoil(random: Random, samples: Sequence[bytes]) -> bytes:
    """Return one of the samples after a few small damages, now and then nothing but noise."""
    if random.random() < 0.03:
        return random.randbytes(random.randrange(200))
    spoiled = random.choice(samples)
    for _ in range(random.randrange(1, MOST_SPOILINGS + 1)):
        spoiled = random.choice(WAYS)(random, spoiled, samples)
    return spoiled


def _flip(random: Random, text: bytes, _: Sequence[bytes]) -> bytes:
    if not text:
        return text
    at = random.randrange(len(text))
    return text[:at] + bytes([text[at] ^ 1 << random.randrange(8)]) + text[at + 1 :]


def _cut_out(random: Random, text: bytes, _: Sequence[bytes]) -> bytes:
    begins = random.randrange(len(text) + 1)
    return text[:begins] + text[begins + random.randrange(1, 20) :]


def _cut_off(random: Random, text: bytes, _: Sequence[bytes]) -> bytes:
    return text[: random.randrange(len(text) + 1)]


def _put_in(random: Random, text: bytes, _: Sequence[bytes]) -> bytes:
    at = random.randrange(len(text) + 1)
    return text[:at] + random.choice(ODD_BYTES) + text[at:]


def _say_again(random: Random, text: bytes, _: Sequence[bytes]) -> bytes:
    begins = random.randrange(len(text) + 1)
    ends = min(len(text), begins + random.randrange(1, 80))
    return text[:ends] + text[begins:ends] + text[ends:]


def _splice(random: Random, text: bytes, samples: Sequence[bytes]) -> bytes:
    other = random.choice(samples)
    return text[: random.randrange(len(text) + 1)] + other[random.randrange(len(other) + 1) :]


def _odd_member(random: Random, text: bytes, _: Sequence[bytes]) -> bytes:
    """Give a value somewhere in a JSON object another one, take it away, or add one nobody knows."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not isinstance(body, dict) or not body:
        return text
    place: Any = body
    while True:
        key = random.choice(list(place)) if isinstance(place, dict) else random.randrange(len(place))
        inner = place[key]
        if not isinstance(inner, dict | list) or not inner or random.random() < 0.3:
            break
        place = inner
    draw = random.random()
    if draw < 0.15:
        del place[key]
    elif draw < 0.25 and isinstance(place, dict):
        place[random.choice(ODD_TEXTS)] = random.choice(ODD_VALUES)
    else:
        place[key] = random.choice(ODD_VALUES)
    return json.dumps(body, ensure_ascii=random.random() < 0.5).encode("utf-8", "surrogatepass")


def _odd_cell(random: Random, text: bytes, _: Sequence[bytes]) -> bytes:
    """Give a cell of a CSV file, or a word of any other text, another content."""
    lines = text.split(b"\n")
    at = random.randrange(len(lines))
    cells = lines[at].split(b"," if b"," in lines[at] else b" ")
    odd = random.choice(ODD_TEXTS).encode("utf-8", "surrogatepass")
    cells[random.randrange(len(cells))] = odd
    lines[at] = b",".join(cells)
    return b"\n".join(lines)


def _odd_line(random: Random, text: bytes, _: Sequence[bytes]) -> bytes:
    """Say a line twice, take one away, or change the order of two."""
    lines = text.split(b"\n")
    one, other = random.randrange(len(lines)), random.randrange(len(lines))
    draw = random.random()
    if draw < 0.3:
        lines.insert(one, lines[other])
    elif draw < 0.6:
        del lines[one]
    else:
        lines[one], lines[other] = lines[other], lines[one]
    return b"\n".join(lines)


WAYS: tuple[Callable[[Random, bytes, Sequence[bytes]], bytes], ...] = (
    _flip, _cut_out, _cut_off, _put_in, _say_again, _splice, _odd_member, _odd_member, _odd_cell, _odd_cell,
    _odd_line,
)  # fmt: skip
