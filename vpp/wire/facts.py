"""The one written form of every fact: what the database keeps and what the hash chain runs over.

Compact JSON with sorted keys, so equal facts are equal bytes on every machine. Integer columns become
their differences in the narrowest width that holds them: no compressor takes part, because its output
may change with its version and a hash must not.
"""

import base64
import hashlib
import json
import types
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from functools import cache
from json.encoder import encode_basestring
from typing import Any, NewType, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np

from vpp.domain.interval import Interval
from vpp.domain.quantities import IntColumn
from vpp.domain.settlement import BaselineDays

FactT = TypeVar("FactT")

GENESIS = "0" * 64
"""The head of a chain without links, in hex."""

_WIDTHS = ("i1", "i2", "i4", "i8")


def encode(fact: object) -> bytes:
    """Return a fact as canonical JSON in UTF-8; equal facts give equal bytes."""
    return _text(fact).encode()


def decode(kind: type[FactT], body: bytes | str) -> FactT:
    """Return the fact of that dataclass from its canonical JSON."""
    read: Callable[[Any], FactT] = _reader(cast("Any", kind))
    return read(json.loads(body))


def decode_many(kind: type[FactT], body: bytes | str) -> tuple[FactT, ...]:
    """Return the facts of that dataclass from a canonical JSON list."""
    read: Callable[[Any], FactT] = _reader(cast("Any", kind))
    return tuple(read(each) for each in json.loads(body))


def decode_texts(body: bytes | str) -> tuple[str, ...]:
    """Return the texts of a canonical JSON list."""
    return tuple(str(each) for each in json.loads(body))


def same(one: object, other: object) -> bool:
    """Return whether two facts say the same; columns are compared by value."""
    return encode(one) == encode(other)


def next_link(head: str, kind: str, fact: object, *, actor: str | None = None) -> str:
    """Return the chain's head in hex after one more fact was linked to it."""
    linked = f'{{"actor":{_text(actor)},"fact":{_text(fact)},"kind":{_text(kind)}}}'
    return hashlib.sha256(bytes.fromhex(head) + linked.encode()).hexdigest()


def column_text(values: IntColumn) -> str:
    """Return a column as ``first:width:base64 of the differences``; empty for an empty column."""
    if not len(values):
        return ""
    # Differences of extreme values wrap around in int64 and wrap back when they are summed up.
    steps = np.diff(values)
    width = _narrowest(steps)
    coded = base64.b64encode(steps.astype(f"<{width}").tobytes()).decode()
    return f"{int(values[0])}:{width}:{coded}"


def text_column(text: str) -> IntColumn:
    """Return the read-only column that ``column_text`` wrote."""
    if not text:
        values = np.zeros(0, dtype=np.int64)
    else:
        first, width, coded = text.split(":")
        steps = np.frombuffer(base64.b64decode(coded), dtype=f"<{width}").astype(np.int64)
        values = np.concatenate((np.array([int(first)], dtype=np.int64), steps)).cumsum(dtype=np.int64)
    values.flags.writeable = False
    return values


def _narrowest(steps: IntColumn) -> str:
    if not len(steps):
        return "i1"
    low, high = int(steps.min()), int(steps.max())
    for width in _WIDTHS:
        limits = np.iinfo(np.dtype(width))
        if limits.min <= low and high <= limits.max:
            return width
    raise AssertionError("a difference of int64 fits int64")


class _Writers(dict[Any, Callable[[Any], str]]):
    """How each type is written as JSON; found once for a type.

    A settlement of a hundred thousand homes is ten million values: a dict for each of them on the way to
    the text took three times as long.
    """

    def __missing__(self, kind: Any) -> Callable[[Any], str]:
        write = self[kind] = _writer_of(kind)
        return write


def _writer_of(kind: Any) -> Callable[[Any], str]:
    if issubclass(kind, str):
        return encode_basestring
    if issubclass(kind, Enum):
        return lambda value: _text(value.value)
    for base in (np.integer, tuple, dict):
        if issubclass(kind, base):
            return _WRITERS[base]
    if is_dataclass(kind):
        return _dataclass_writer(kind)
    raise TypeError(f"{kind.__name__} has no written form")


def _dataclass_writer(kind: Any) -> Callable[[Any], str]:
    names = sorted(each.name for each in fields(kind))
    parts = ",".join(f'"{name}":{{text[(part := value.{name}).__class__](part)}}' for name in names)
    # Compiled, as dataclasses compile their own methods: gathering the parts of ten million values in lists
    # took a quarter longer.
    source = f"lambda value: f'{{{{{parts}}}}}'"
    written: Callable[[Any], str] = eval(source, {"text": _WRITERS})  # noqa: S307  # made of field names only
    return written


def _remembered(write: Callable[[Any], str]) -> Callable[[Any], str]:
    """Return a writer that knows the objects it wrote lately: their hash would take as long as their text."""
    known: dict[int, tuple[Any, str]] = {}

    def text(value: Any) -> str:
        found = known.get(id(value))
        if found is None:
            if len(known) >= _REMEMBERED:
                known.clear()
            # Kept with its text, so that its id stays its own.
            found = known[id(value)] = (value, write(value))
        return found[1]

    return text


def _text(value: Any) -> str:
    """Return JSON for anything a fact may hold."""
    return _WRITERS[type(value)](value)


def _list_text(values: Any) -> str:
    return "[" + ",".join([_WRITERS[type(each)](each) for each in values]) + "]"


def _dict_text(values: Any) -> str:
    return (
        "{" + ",".join([f"{encode_basestring(name)}:{_text(values[name])}" for name in sorted(values)]) + "}"
    )


_REMEMBERED = 1_024
_WRITERS = _Writers(
    {
        type(None): lambda _: "null",
        bool: lambda value: "true" if value else "false",
        int: int.__repr__,
        str: encode_basestring,
        datetime: lambda value: f'"{value.isoformat()}"',
        date: cache(lambda value: f'"{value.isoformat()}"'),
        Fraction: lambda value: f'"{value}"',
        Decimal: lambda value: f'"{value}"',
        bytes: lambda value: f'"{base64.b64encode(value).decode()}"',
        np.integer: lambda value: str(int(value)),
        np.ndarray: lambda value: f'"{column_text(value)}"',
        tuple: _list_text,
        list: _list_text,
        dict: _dict_text,
    }
)
# A settlement says the same hours and the same days for nearly every home.
_WRITERS[Interval] = _remembered(_dataclass_writer(Interval))
_WRITERS[BaselineDays] = _remembered(_dataclass_writer(BaselineDays))


@cache
def _reader(kind: Any) -> Callable[[Any], Any]:
    """Return the function that makes a value of one type from JSON; built once for each type."""
    if isinstance(kind, NewType):
        return _reader(kind.__supertype__)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _optional_reader(kind)
    if origin is tuple:
        return _tuple_reader(get_args(kind))
    if origin is np.ndarray:
        return text_column
    if is_dataclass(kind):
        return _dataclass_reader(kind)
    if kind in (datetime, date):
        from_iso: Callable[[Any], Any] = kind.fromisoformat
        return from_iso
    if kind is bytes:
        return base64.b64decode
    if isinstance(kind, type) and issubclass(kind, (Enum, Fraction, Decimal)):
        return kind
    if kind in (int, str, bool):
        return _as_it_is
    raise TypeError(f"{kind!r} has no written form")


def _as_it_is(value: Any) -> Any:
    return value


def _optional_reader(kind: Any) -> Callable[[Any], Any]:
    (inner,) = (each for each in get_args(kind) if each is not type(None))
    read = _reader(inner)
    return lambda value: None if value is None else read(value)


def _tuple_reader(parts: tuple[Any, ...]) -> Callable[[Any], Any]:
    if len(parts) == 2 and parts[1] is Ellipsis:
        read = _reader(parts[0])
        return lambda values: tuple([read(each) for each in values])
    readers = [_reader(each) for each in parts]
    return lambda values: tuple(read(each) for read, each in zip(readers, values, strict=True))


def _dataclass_reader(kind: Any) -> Callable[[Any], Any]:
    hints = get_type_hints(kind)
    readers = [(each.name, _reader(hints[each.name])) for each in fields(kind)]
    # A fact written before a field existed takes the field's default.
    return lambda values: kind(**{name: read(values[name]) for name, read in readers if name in values})
