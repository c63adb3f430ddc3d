"""Which kills, in which order: drawn from a seed, so that a run can be repeated."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from vpp.adapters.crash_points import LABELS, POINTS

DAYS_LATER = (
    "settlement", "ledger-posted", "payout", "ledger-voided", "excluded-day", "ledger-reversed", "consent",
    "alarm-end", "forgetting",
)  # fmt: skip
"""Points that are passed when an event is final, minutes after an alarm, or by an owner who leaves."""

BY_VISITORS = (
    "session", "login", "logout", "contact", "calendar", "calendar-end", "case", "alarm", "alarm-notice",
    "alarm-answer", "notice", "notice-send", "notice-delivery", "prices",
)  # fmt: skip
"""Points that owners and staff pass, by their pages and by what they are told."""

BY_TIMER = ("notice", "notice-send", "notice-delivery", "alarm", "alarm-notice", "course")
"""Points that are passed some seconds after the start of a life: people are told every five seconds, and as
often the power of an event is stored."""

_ELSEWHERE = {"enrolment", "source", "ledger-posted", "ledger-voided", "ledger-reversed", "payout",
              "excluded-day", "included-day", "quarantine", "consent", "alarm-end", "forgetting"}  # fmt: skip
SERVING = tuple(point for point in POINTS if point not in _ELSEWHERE)
ENDING = ("cancel", "settlement", "ledger-pending")
LATE = (*ENDING, "case")  # an owner asks about what ended
AT_ANY_INSTANT, AT_REST, BROKER = "any instant", "at rest", "broker"
SLOW_AMONG_THE_FIRST = 4
FEW_HOMES = 200
BROKER_SHARE, INSTANT_SHARE, REST_SHARE = 12, 9, 20  # one of so many kills


@dataclass(frozen=True, slots=True)
class Kill:
    """One kill: a label and its passing, an instant, or the broker."""

    target: str
    passing: int = 1

    @property
    def point(self) -> str:
        """Return the point that the label stands at; empty where there is none."""
        return self.target.partition("-")[2] if self.target in LABELS else ""

    @property
    def setting(self) -> str:
        """Return what the controller is told; empty where it is killed from outside."""
        return f"{self.target}:{self.passing}" if self.point else ""


def kills(count: int, random: Random) -> Iterator[Kill]:
    """Yield the kills of a run: every label in turn before any comes again, others strewn in."""
    labels: list[str] = []
    for number in range(1, count + 1):
        if number % BROKER_SHARE == 0:
            yield Kill(BROKER)
        elif number % REST_SHARE == 0:
            yield Kill(AT_REST)
        elif number % INSTANT_SHARE == 0:
            yield Kill(AT_ANY_INSTANT)
        else:
            if not labels:
                labels = _in_turn(random)
            target = labels.pop()
            once = target.endswith(("-epoch", "-migration", "-key-file", "-lease-of-lead"))
            once = once or target.partition("-")[2] in (*BY_VISITORS, *BY_TIMER)
            yield Kill(target, 1 if once else random.choice((1, 1, 2)))


def _in_turn(random: Random) -> list[str]:
    """Return every label once, the last one to be killed first.

    An event that ends at once delivers nothing, and nothing of it is booked: an ending comes last. Before it
    come most of the slow ones, so that a short run is not long because of them.
    """
    labels = [f"{when}-{point}" for point in SERVING for when in ("before", "after")]
    random.shuffle(labels)
    slow = [label for label in labels if label.partition("-")[2] in BY_TIMER]
    put_off = slow[SLOW_AMONG_THE_FIRST:]
    labels.sort(key=lambda label: (label.partition("-")[2] not in LATE, label not in put_off))
    return labels


def hours_touched(homes: int, count: int, minute: int) -> int:
    """Return how many clock hours of the day, from the present one on, a run's events may deliver in.

    Each event is cancelled before its hour is over, the last one at the end. Of a large fleet a kill takes
    some five seconds; a quarter of a minute is allowed for each, and a quarter of an hour for the rest.

    Args:
        homes: Of few the history of the whole day is worth importing.
        count: How many kills are to come.
        minute: Minutes of the present hour that are over.
    """
    return 24 if homes <= FEW_HOMES else min(24, 1 + (minute + 15 + count // 4) // 60)
