"""What owners ask about their money and what staff answer, word by word; nothing of it is ever changed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import takewhile
from zoneinfo import ZoneInfo

LONGEST_WORD = 1_000
ANSWERED_WITHIN_DAYS = 2
"""So many whole working days staff have for an answer before they are alarmed."""
OFFICE_OPENS = time(9)
"""When that alarm comes: a question about money wakes nobody."""


class WordKind(StrEnum):
    """What somebody did about a dispute."""

    ASKED = "asked"  # the owner, or staff for them
    ANSWERED = "answered"
    CORRECTED = "corrected"  # answered, and the event was settled again


@dataclass(frozen=True, slots=True)
class DisputeWord:
    """One thing said about what one owner got for one event or period."""

    owner_id: str
    period: str  # an event's id, or a month, season or year as in the ledger
    kind: WordKind
    at: datetime
    actor: str
    text: str


@dataclass(frozen=True, slots=True)
class Dispute:
    """All that was said between one owner and staff about one event or period, oldest first."""

    owner_id: str
    period: str
    words: tuple[DisputeWord, ...]

    @property
    def is_open(self) -> bool:
        """Return whether the owner had the last word, so that staff owe an answer."""
        return self.words[-1].kind is WordKind.ASKED

    @property
    def waits_since(self) -> datetime | None:
        """Return when the owner asked what nobody answered; asking again meanwhile changes nothing of it."""
        unanswered = list(takewhile(lambda word: word.kind is WordKind.ASKED, reversed(self.words)))
        return unanswered[-1].at if unanswered else None


def overdue_at(asked_at: datetime, zone: ZoneInfo, is_rest_day: Callable[[date], bool]) -> datetime:
    """Return from when a question without an answer is overdue: an office morning in the staff's zone.

    The day of asking does not count, and neither do weekends and holidays.
    """
    day, passed = asked_at.astimezone(zone).date(), 0
    while passed <= ANSWERED_WITHIN_DAYS:
        day += timedelta(days=1)
        passed += not is_rest_day(day)
    return datetime.combine(day, OFFICE_OPENS, zone).astimezone(UTC)


def disputes(words: Iterable[DisputeWord]) -> tuple[Dispute, ...]:
    """Return every dispute in the order in which each began; words come in the order they were said."""
    found: dict[tuple[str, str], list[DisputeWord]] = {}
    for word in words:
        found.setdefault((word.owner_id, word.period), []).append(word)
    return tuple(Dispute(owner_id, period, tuple(said)) for (owner_id, period), said in found.items())
