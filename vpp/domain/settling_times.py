"""When an event that is over is settled again: soon after a reading that counts, and never all the time.

Knows moments and event ids. What a settlement says, and which readings it waits for, is not its business.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

SOON = timedelta(minutes=1)
QUIET = timedelta(seconds=20)
"""Homes that spoke have stopped for now when none spoke for so long. With what a settlement of 100,000 homes
takes, it stands within a minute of the last reading."""
RESTS = 2
"""Times as long as the last settlement took are left to everything else before the next: homes that come
one by one cost a third of a core at most."""
AT_LEAST_EVERY = timedelta(hours=1)
"""Whatever comes: an event's close date passes too."""
WHILE_HOMES_COME = 0.5
"""Thousands of homes may take an hour to speak, and each settlement reads all of them."""
FOR_OTHER_READINGS = 3.0
"""Readings that no settlement waits for seldom say anything new."""


@dataclass(frozen=True, slots=True)
class _Run:
    """When an event's last settlement began, and how long it took."""

    began_at: datetime
    took: timedelta


@dataclass(slots=True)
class SettlingTimes:
    """What decides when each ended event is settled next, by event id.

    An event is settled at its end, and again once every home that its settlement waits for has spoken, or
    those that spoke have stopped: nobody knows whether the others ever will. While homes come one by one
    without a pause, a minute after it was settled last, then each time half as long again after its end; for
    other readings each time four times as long after its end; and once an hour.
    """

    _runs: dict[str, _Run] = field(default_factory=dict)
    _read_at: datetime | None = None
    _answered_at: dict[str, datetime] = field(default_factory=dict)
    _at_once: set[str] = field(default_factory=set)

    def note_readings(self, at: datetime) -> None:
        """Note that readings were stored, of whatever home."""
        self._read_at = at

    def note_answered(self, event_id: str, at: datetime, *, by_all: bool) -> None:
        """Note that some of the homes that an event's settlement waits for have spoken, or all of them."""
        self._answered_at[event_id] = at
        if by_all:
            self._at_once.add(event_id)

    def is_due(self, event_id: str, ended_at: datetime, now: datetime) -> bool:
        """Return whether an event that ended then is to be settled now."""
        run = self._runs.get(event_id)
        if run is None or event_id in self._at_once or now - run.began_at >= AT_LEAST_EVERY:
            return True
        answered_at = self._answered_at.get(event_id)
        if answered_at is not None and now >= _after_pause(answered_at, run):
            return True
        read = self._read_at is not None and self._read_at >= run.began_at
        share = FOR_OTHER_READINGS if answered_at is None else WHILE_HOMES_COME
        return read and now - run.began_at >= max(SOON, share * (run.began_at - ended_at))

    def any_spoke(self, now: datetime) -> bool:
        """Return whether an event is due because homes that it waits for have spoken, whatever else is."""
        return any(
            event_id in self._at_once or now >= _after_pause(answered_at, run)
            for event_id, answered_at in self._answered_at.items()
            if (run := self._runs.get(event_id)) is not None
        )

    def begin(self, event_id: str) -> None:
        """Forget who has spoken; whoever does from now on may not be in the settlement that begins."""
        self._at_once.discard(event_id)
        self._answered_at.pop(event_id, None)

    def note_settled(self, event_id: str, began_at: datetime, done_at: datetime) -> None:
        """Note that a settlement stands, when it began and when it was done."""
        self._runs[event_id] = _Run(began_at, done_at - began_at)

    def note_failed(self, event_id: str) -> None:
        """Let an event be settled at the next chance."""
        self._at_once.add(event_id)


def _after_pause(answered_at: datetime, run: _Run) -> datetime:
    """Return when homes that spoke last then are settled, unless more of them speak before."""
    return max(answered_at + QUIET, run.began_at + (1 + RESTS) * run.took)
