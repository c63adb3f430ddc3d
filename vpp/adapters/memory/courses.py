"""The power of events as it was seen, in memory."""

from collections.abc import Sequence
from datetime import datetime

from vpp.domain.course import EventPower


class MemoryCourses:
    """The part of the memory store that keeps how events went."""

    def __init__(self) -> None:
        self._powers: dict[tuple[str, datetime], EventPower] = {}

    async def add_course(self, powers: Sequence[EventPower]) -> None:
        """Store an event's power as it was seen; the first word about a moment stays."""
        for each in powers:
            self._powers.setdefault((each.event_id, each.at), each)

    async def course(self, event_id: str) -> Sequence[EventPower]:
        """Return an event's power as it was seen, in order."""
        found = [each for each in self._powers.values() if each.event_id == event_id]
        return sorted(found, key=lambda each: each.at)
