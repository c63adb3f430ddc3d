"""What owners ask about their money and what staff answer, word by word; nothing of it is ever changed."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

LONGEST_WORD = 1_000


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


def disputes(words: Iterable[DisputeWord]) -> tuple[Dispute, ...]:
    """Return every dispute in the order in which each began; words come in the order they were said."""
    found: dict[tuple[str, str], list[DisputeWord]] = {}
    for word in words:
        found.setdefault((word.owner_id, word.period), []).append(word)
    return tuple(Dispute(owner_id, period, tuple(said)) for (owner_id, period), said in found.items())
