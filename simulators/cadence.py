"""When a gateway speaks by itself: what falls due in and out of an event, at each home's own second."""

import hashlib

IDLE_SAMPLE_S, EVENT_SAMPLE_S = 300, 30
IDLE_METER_S, EVENT_METER_S = 3600, 900
READING_S = 300


class Cadence:
    """The next sample, meter message and reading of one home, in whole seconds since 1970."""

    def __init__(self, site_id: str) -> None:
        self._phase = int.from_bytes(hashlib.sha256(site_id.encode()).digest()[:4], "big")
        self.sample_due_s = self.meter_due_s = self.reading_due_s = 0

    @property
    def next_due_s(self) -> int:
        """Return when the first of the three falls due."""
        return min(self.sample_due_s, self.meter_due_s, self.reading_due_s)

    def boots(self, now_s: int, *, in_event: bool) -> None:
        """Begin anew: nothing of what was due before is known any more."""
        self.reading_due_s = now_s // READING_S * READING_S + READING_S
        self.changes(now_s, in_event=in_event)

    def changes(self, now_s: int, *, in_event: bool) -> None:
        """Keep another pace from now on, as an event begins or ends."""
        self.sampled(now_s, in_event=in_event)
        # Also when an event ends: the reading at its last boundary is what closes its last hour.
        self.meter_due_s = self._next_s(now_s, EVENT_METER_S)

    def sampled(self, now_s: int, *, in_event: bool) -> None:
        """Plan the sample after the one that was due now."""
        self.sample_due_s = self._next_s(now_s, EVENT_SAMPLE_S if in_event else IDLE_SAMPLE_S)

    def metered(self, now_s: int, *, in_event: bool) -> None:
        """Plan the meter message after the one that was due now."""
        self.meter_due_s = self._next_s(now_s, EVENT_METER_S if in_event else IDLE_METER_S)

    def has_read(self) -> None:
        """Plan the reading after the one that was due."""
        self.reading_due_s += READING_S

    def _next_s(self, now_s: int, period_s: int) -> int:
        """Return the next instant of a period at this site's own offset, so that no two homes are alike."""
        return now_s + ((self._phase - now_s) % period_s or period_s)
