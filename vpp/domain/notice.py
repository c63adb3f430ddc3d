"""What people are told: whom, about what, where to, and how long until somebody answers.

Contacts stand apart from everything else: nothing else names an address, or says what an owner calls a home.
Knows no channel and no wording.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType

STARTING_BEFORE = timedelta(minutes=15)
ANSWER_WITHIN = timedelta(minutes=5)
"""How long one rank of operators has to answer before the next is told too."""
STAFF = "staff:"
"""Begins the party of somebody who keeps the fleet running; owner ids never begin so."""
TRIES_MOST = 12
FIRST_WAIT = timedelta(seconds=15)
LONGEST_WAIT = timedelta(minutes=30)


class NoticeKind(StrEnum):
    """What a notice is about: five kinds for owners, ten for operators."""

    SCHEDULED = "scheduled"
    CHANGED = "changed"
    STARTING = "starting"
    ENDED = "ended"
    PAID = "paid"
    SHORTFALL = "shortfall"
    FEED_LOST = "feed_lost"
    APPROVER_MISSING = "approver_missing"
    MASS_SILENCE = "mass_silence"
    SIGNAL_CONTESTED = "signal_contested"
    TWO_GATEWAYS = "two_gateways"
    RECORD_LOST = "record_lost"
    COUNTERS_DOUBTED = "counters_doubted"
    QUESTION_WAITS = "question_waits"
    LIMIT_WAITS = "limit_waits"


OWNER_KINDS = (
    NoticeKind.SCHEDULED,
    NoticeKind.CHANGED,
    NoticeKind.STARTING,
    NoticeKind.ENDED,
    NoticeKind.PAID,
)
ANNOUNCING = (NoticeKind.SCHEDULED, NoticeKind.CHANGED)
"""Say when an event is, or that it is not."""
OPERATOR_KINDS = tuple(kind for kind in NoticeKind if kind not in OWNER_KINDS)


@dataclass(frozen=True, slots=True)
class Contact:
    """Where and how somebody is written to. ``party`` is an owner id, or ``staff:`` and a name.

    ``rank`` orders operators: zero is told first, the next when nobody of a rank answered. ``home_names``
    is what an owner calls each home, by site id.
    """

    party: str
    language: str = "en"
    address: str = ""  # empty: nothing is sent
    muted: frozenset[NoticeKind] = frozenset()
    rank: int = 0
    home_names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def is_staff(self) -> bool:
        """Return whether this is somebody who keeps the fleet running."""
        return self.party.startswith(STAFF)

    def wants(self, kind: NoticeKind) -> bool:
        """Return whether a notice of that kind is written and sent."""
        return bool(self.address) and kind not in self.muted


@dataclass(frozen=True, slots=True)
class Notice:
    """One message to one party. ``key`` follows from what it is about, so it is written once.

    ``facts`` fills the wording: text, already in the units that people read.
    """

    key: str
    party: str
    kind: NoticeKind
    subject: str  # the event or the payout run
    at: datetime
    facts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far a notice came. ``sent_at`` ends it, and so does being given up after too many tries."""

    tries: int = 0
    next_try_at: datetime | None = None
    sent_at: datetime | None = None
    trouble: str | None = None

    @property
    def given_up(self) -> bool:
        """Return whether nobody tries any more."""
        return self.sent_at is None and self.tries >= TRIES_MOST


def after_try(before: Delivery, *, at: datetime, trouble: str | None) -> Delivery:
    """Return how far a notice is after one more try; the wait doubles up to half an hour."""
    tries = before.tries + 1
    if trouble is None:
        return Delivery(tries, None, at, None)
    wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(tries - 1, 10))
    return Delivery(tries, at + wait, None, trouble[:200])


def unwanted(before: Delivery) -> Delivery:
    """Return a delivery that ends unsent: nobody wants it any more."""
    return Delivery(max(before.tries, TRIES_MOST), None, None, "no longer wanted")


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something operators must answer. ``told_rank`` is the highest rank that was told, -1 before any."""

    key: str
    kind: NoticeKind
    subject: str
    raised_at: datetime
    facts: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    told_rank: int = -1
    told_at: datetime | None = None
    answered_by: str | None = None
    answered_at: datetime | None = None
    cleared_at: datetime | None = None

    @property
    def stands(self) -> bool:
        """Return whether somebody still has to answer."""
        return self.answered_at is None and self.cleared_at is None


def rank_to_tell(alarm: Alarm, *, highest: int, now: datetime) -> int | None:
    """Return the rank that is told next, or None while an answer may still come or none is needed.

    The last rank is told again and again: an alarm that nobody answers does not go quiet.
    """
    if not alarm.stands or highest < 0:
        return None
    if alarm.told_at is None:
        return 0
    if now - alarm.told_at < ANSWER_WITHIN:
        return None
    return min(alarm.told_rank + 1, highest)


@dataclass(frozen=True, slots=True)
class CalendarFeed:
    """An address that shows an owner's events to a calendar. ``key`` is the sha256 of its secret."""

    key: str
    owner_id: str
    made_at: datetime


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How much was destroyed of what names an owner."""

    addresses: int
    messages: int
    calendars: int
    logins: int
