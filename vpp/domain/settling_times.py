"""When an event that is over is settled again: soon after a reading that counts, and never all the time.

Knows moments and event ids. What a settlement says, and which readings it waits for, is not its business.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

SOON = timedelta(minutes=1)
AT_LEAST_EVERY = timedelta(hours=1)
"""Whatever comes: an event's close date passes too."""
WHILE_HOMES_COME = 0.5
"""Thousands of homes may take an hour to speak, and each settlement reads all of them."""
FOR_OTHER_READINGS = 3.0
"""Readings that no settlement waits for seldom say anything new."""


@dataclass(slots=True)
class SettlingTimes:
    """What decides when each ended event is settled next, by event id.

    An event is settled at its end, and again once every home that its settlement waits for has spoken.
    While homes come one by one, a minute after it was settled last, then each time half as long again after
    its end; for other readings each time four times as long after its end; and once an hour.
    """

    _settled_at: dict[str, datetime] = field(default_factory=dict)
    _read_at: datetime | None = None
    _answered: set[str] = field(default_factory=set)
    _at_once: set[str] = field(default_factory=set)

    def note_readings(self, at: datetime) -> None:
        """Note that readings were stored, of whatever home."""
        self._read_at = at

    def note_answered(self, event_id: str, *, by_all: bool) -> None:
        """Note that some of the homes that an event's settlement waits for have spoken, or all of them."""
        (self._at_once if by_all else self._answered).add(event_id)

    def is_due(self, event_id: str, ended_at: datetime, now: datetime) -> bool:
        """Return whether an event that ended then is to be settled now."""
        settled_at = self._settled_at.get(event_id)
        if settled_at is None or event_id in self._at_once or now - settled_at >= AT_LEAST_EVERY:
            return True
        read = self._read_at is not None and self._read_at >= settled_at
        share = WHILE_HOMES_COME if event_id in self._answered else FOR_OTHER_READINGS
        return read and now - settled_at >= max(SOON, share * (settled_at - ended_at))

    def begin(self, event_id: str) -> None:
        """Forget who has spoken; whoever does from now on may not be in the settlement that begins."""
        self._at_once.discard(event_id)
        self._answered.discard(event_id)

    def note_settled(self, event_id: str, at: datetime) -> None:
        """Note that the settlement that began then stands."""
        self._settled_at[event_id] = at

    def note_failed(self, event_id: str) -> None:
        """Let an event be settled at the next chance."""
        self._at_once.add(event_id)
