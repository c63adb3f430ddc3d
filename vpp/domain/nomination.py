"""Nominations: the power a program was told to count on, month by month.

What is nominated is stated before the month and compared with what was asked and delivered. Nothing is
paid for it here: no program at hand pays for capacity by nomination.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from vpp.domain.quantities import Watts


class NotAMonth(ValueError):
    """A text does not name a month."""


def month_of(day: date) -> str:
    """Return a day's month as it is written, such as ``2026-09``."""
    return f"{day:%Y-%m}"


def read_month(text: str) -> str:
    """Return the month that a text names.

    Raises:
        NotAMonth: It is not written as ``2026-09``.
    """
    try:
        month = month_of(date.fromisoformat(f"{text}-01"))
    except ValueError as failure:
        raise NotAMonth(f"{text[:20]!r} is not a month such as 2026-09") from failure
    if month != text:
        raise NotAMonth(f"{text[:20]!r} is not a month such as 2026-09")
    return month


@dataclass(frozen=True, slots=True)
class Nomination:
    """The power nominated for one program and month. A later one stands in place of an earlier one."""

    program_id: str
    month: str
    power: Watts
    nominated_at: datetime
    actor: str


Standing = Mapping[tuple[str, str], Nomination]


def standing(nominations: Iterable[Nomination]) -> Standing:
    """Return the nomination that stands for each (program, month); they come in the order made."""
    return {(each.program_id, each.month): each for each in nominations}
