"""One page of a list, and the cursor to the next one."""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

from vpp.entrypoints.operations.desk import OperationRefused

T = TypeVar("T")


def cursor_of(key: str) -> str:
    """Return a cursor to what follows a key. Callers hand it back as it is."""
    return base64.urlsafe_b64encode(key.encode()).rstrip(b"=").decode()


def not_given(cursor: str) -> OperationRefused:
    """Return what is raised for a cursor that was not made here."""
    return OperationRefused(f"cursor {cursor[:40]!r} was not given here; begin without one")


def key_at(cursor: str) -> str:
    """Return the key that a cursor stands behind. Raises OperationRefused for one that was not made here."""
    try:
        key = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
    except (binascii.Error, ValueError):
        key = ""
    if cursor_of(key) != cursor or not key:
        raise not_given(cursor)
    return key


def offset_at(cursor: str) -> int:
    """Return how many a cursor passes over, in a list that is only counted. Raises OperationRefused."""
    key = key_at(cursor)
    if not (key.isascii() and key.isdecimal()) or len(key) > 9:
        raise not_given(cursor)
    return int(key)


def page(
    found: Sequence[T], key: Callable[[T], str], *, cursor: str = "", limit: int | None = None
) -> tuple[list[T], str | None]:
    """Return the part of a list behind a cursor and the cursor to the next part, None at the end.

    Args:
        found: The whole list, by ``key``.
        key: What a list is ordered by; never the same twice.
        cursor: From an earlier page; empty begins.
        limit: At most this many; None takes all.

    Raises:
        OperationRefused: The cursor was not given here.
    """
    known = key_at(cursor) if cursor else ""
    behind = [each for each in found if key(each) > known] if known else list(found)
    if limit is None or len(behind) <= limit:
        return behind, None
    return behind[:limit], cursor_of(key(behind[limit - 1]))
