"""JSON as every wire of ours takes it: one object, UTF-8, nothing that two readers could read differently.

Knows how a message may be malformed and how a field is read out of it. Refuses to know any message.
Reasons come from a bounded set (field names and fixed sentences, never values from the message), so
that they can be counted by reason without a hostile sender choosing how many counters there are.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final, NoReturn

from vpp.domain.interval import require_utc, to_epoch, whole_second
from vpp.domain.quantities import Permille

DEEPEST = 8
LARGEST_INTEGER = 2**53 - 1  # the largest that every JSON reader keeps exactly
GATEWAY_MESSAGE_BYTES = 4_096
GRID_MESSAGE_BYTES = 16_384

_LONGEST_NUMBER = 40
_LARGEST_EXPONENT = 30  # int(Decimal("1e999999999")) would eat the memory
_MAYBE_HUGE = re.compile(rb"[0-9]{16}")
_WIRE_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", re.ASCII)

JsonObject = dict[str, object]


class MalformedMessage(ValueError):
    """A message breaks a rule of its wire; ``reason`` says which. It changes nothing."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason: Final = reason


def parse(payload: bytes, *, max_bytes: int) -> JsonObject:
    """Return the message's object; numbers with a point or exponent are ``Decimal``, never float.

    Raises:
        MalformedMessage: Too large, not UTF-8, a byte order mark, NUL or lone surrogate, not JSON, not an
            object at the top, NaN or Infinity, a key twice, an integer of 2^53 or more, a number of
            absurd length or exponent, or nesting deeper than 8.
    """
    if len(payload) > max_bytes:
        raise MalformedMessage(f"longer than {max_bytes} bytes")
    if payload.startswith(b"\xef\xbb\xbf"):
        raise MalformedMessage("begins with a byte order mark")
    decoder = _EXACT if _MAYBE_HUGE.search(payload) else _FAST
    try:
        value = decoder.decode(payload.decode("utf-8"))
    except MalformedMessage:
        raise
    except UnicodeDecodeError as error:
        raise MalformedMessage("not UTF-8") from error
    except RecursionError as error:
        raise MalformedMessage(f"nests deeper than {DEEPEST}") from error
    except (ValueError, InvalidOperation) as error:
        raise MalformedMessage("not JSON") from error
    if not isinstance(value, dict):
        raise MalformedMessage("not a JSON object")
    # Fewer brackets than the limit cannot nest deeper; nearly every message ends here.
    if payload.count(b"{") + payload.count(b"[") > DEEPEST:
        _require_shallow(value)
    if b"\\u" in payload:  # only an escape can smuggle in what UTF-8 itself refuses
        _require_storable_text(value)
    return value


def encode(body: Mapping[str, object]) -> bytes:
    """Return the object as one compact line of UTF-8, members in the order given."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def encode_text(text: str) -> str:
    """Return a text as JSON writes it, quotes included."""
    return json.dumps(text, ensure_ascii=False)


def _object(pairs: list[tuple[str, object]]) -> JsonObject:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise MalformedMessage("a key stands twice in one object")
    return members


def _constant(_: str) -> NoReturn:
    raise MalformedMessage("NaN or Infinity is not a number here")


def _decimal(text: str) -> Decimal:
    if len(text) > _LONGEST_NUMBER:
        raise MalformedMessage(f"a number is longer than {_LONGEST_NUMBER} characters")
    number = Decimal(text)
    if abs(number.adjusted()) > _LARGEST_EXPONENT:
        raise MalformedMessage(f"a number has an exponent beyond {_LARGEST_EXPONENT}")
    return number


def _integer(text: str) -> int:
    if len(text) > _LONGEST_NUMBER or abs(number := int(text)) > LARGEST_INTEGER:
        raise MalformedMessage("an integer is 2^53 or larger")
    return number


# The plain ``int`` keeps CPython's C scanner at full speed; 16 digits in a row are rare enough to pay
# for a checking function then.
_FAST = json.JSONDecoder(object_pairs_hook=_object, parse_float=_decimal, parse_constant=_constant)
_EXACT = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_decimal, parse_constant=_constant, parse_int=_integer
)


def _children(values: list[object]) -> list[object]:
    inside: list[object] = []
    for value in values:
        if type(value) is dict:
            inside.extend(value.values())
        elif type(value) is list:
            inside.extend(value)
    return inside


def _require_shallow(top: JsonObject) -> None:
    level: list[object] = [top]
    for _ in range(DEEPEST):
        level = _children(level)
    if any(isinstance(value, dict | list) for value in level):
        raise MalformedMessage(f"nests deeper than {DEEPEST}")


def _require_storable_text(top: JsonObject) -> None:
    level: list[object] = [top]
    while level:
        for value in level:
            texts = [value] if isinstance(value, str) else list(value) if isinstance(value, dict) else []
            for text in texts:
                if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
                    raise MalformedMessage("a text holds NUL or half of a surrogate pair")
        level = _children(level)


def require_text(body: Mapping[str, object], name: str, *, longest: int = 128) -> str:
    """Return a field's text of 1 to ``longest`` characters."""
    value = body.get(name)
    if type(value) is not str or not 1 <= len(value) <= longest:
        raise MalformedMessage(f"{name} is not a text of 1 to {longest} characters")
    return value


def optional_text(body: Mapping[str, object], name: str, *, longest: int = 128) -> str | None:
    """Return a field's text, or None where it is absent or null."""
    return None if body.get(name) is None else require_text(body, name, longest=longest)


def require_integer(
    body: Mapping[str, object], name: str, *, low: int = 0, high: int = LARGEST_INTEGER
) -> int:
    """Return a field's integer inside ``low`` and ``high``, both included. A bool or 1.0 is none."""
    value = body.get(name)
    if type(value) is not int or not low <= value <= high:
        raise MalformedMessage(f"{name} is not an integer from {low} to {high}")
    return value


def optional_integer(
    body: Mapping[str, object], name: str, *, low: int = 0, high: int = LARGEST_INTEGER
) -> int | None:
    """Return a field's integer, or None where it is absent or null."""
    return None if body.get(name) is None else require_integer(body, name, low=low, high=high)


def require_permille(body: Mapping[str, object], name: str) -> Permille:
    """Return a field in percent, 0 to 100 with at most one decimal, as whole permille."""
    value = body.get(name)
    if type(value) is int and 0 <= value <= 100:
        return Permille(value * 10)
    if type(value) is Decimal and 0 <= value <= 100:
        tenths = value * 10
        whole = int(tenths)
        if whole == tenths:
            return Permille(whole)
    raise MalformedMessage(f"{name} is not a percentage from 0 to 100 with at most one decimal")


def require_flag(body: Mapping[str, object], name: str) -> bool:
    """Return a field that is true or false; 0 and 1 are neither."""
    value = body.get(name)
    if type(value) is not bool:
        raise MalformedMessage(f"{name} is not true or false")
    return value


def require_object(body: Mapping[str, object], name: str) -> JsonObject:
    """Return a field that is an object."""
    value = body.get(name)
    if type(value) is not dict:
        raise MalformedMessage(f"{name} is not an object")
    return value


def require_list(body: Mapping[str, object], name: str, *, longest: int) -> list[object]:
    """Return a field that is a list of 1 to ``longest`` values."""
    value = body.get(name)
    if type(value) is not list or not 1 <= len(value) <= longest:
        raise MalformedMessage(f"{name} is not a list of 1 to {longest}")
    return value


def require_schema(body: Mapping[str, object], schema: str) -> None:
    """Return only if the body names the schema. Another number has another meaning."""
    if body.get("schema") != schema:
        raise MalformedMessage(f"schema is not {schema}")


def require_time(body: Mapping[str, object], name: str) -> datetime:
    """Return a field's time, RFC 3339 with whole seconds and ``Z``, as aware UTC."""
    value = body.get(name)
    at = _wire_time(value) if type(value) is str else None
    if at is None:
        raise MalformedMessage(f"{name} is not a time such as 2026-09-10T01:05:00Z")
    return at


def require_time_s(body: Mapping[str, object], name: str) -> int:
    """Return a field's time as whole seconds since 1970."""
    return to_epoch(require_time(body, name))


@lru_cache(maxsize=4096)  # thousands of homes report the same second
def _wire_time(text: str) -> datetime | None:
    if not _WIRE_TIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None


@lru_cache(maxsize=4096)  # as above; formatting a time costs as much as the rest of a short message
def time_text(at: datetime) -> str:
    """Return an instant as the wire writes it: ``2026-09-10T01:05:00Z``, a part of a second cut off."""
    return whole_second(require_utc(at)).isoformat().replace("+00:00", "Z")  # strftime pads no early year


def percent(permille: int) -> float:
    """Return permille as the wire's percent; JSON writes it with one decimal. Never calculate with it."""
    return permille / 10
