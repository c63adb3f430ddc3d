"""An owner's events as a calendar (RFC 5545): one entry for each event, its changes and its cancel.

The identity of an entry never changes and its SEQUENCE rises, so that a calendar that has read it before
moves it, and does not show it twice. Says when events are and nothing about the home.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from icalendar import Calendar, Event


@dataclass(frozen=True, slots=True)
class CalendarEntry:
    """One event as a calendar shows it. ``sequence`` counts its changes from zero.

    ``tentative``: somebody must still confirm it, and it may never happen.
    """

    event_id: str
    starts_at: datetime
    ends_at: datetime
    changed_at: datetime
    sequence: int
    cancelled: bool
    tentative: bool
    summary: str
    description: str


def write_calendar(name: str, entries: Sequence[CalendarEntry]) -> bytes:
    """Return the calendar file, entries in the order given."""
    calendar = Calendar()
    calendar.add("prodid", "-//vpp//owner events//EN")
    calendar.add("version", "2.0")
    calendar.add("method", "PUBLISH")
    calendar.add("x-wr-calname", name)
    for entry in entries:
        event = Event()
        event.add("uid", f"{entry.event_id}@vpp")
        event.add("dtstamp", entry.changed_at)
        event.add("last-modified", entry.changed_at)
        event.add("dtstart", entry.starts_at)
        event.add("dtend", entry.ends_at)
        event.add("sequence", entry.sequence)
        confirmed = "TENTATIVE" if entry.tentative else "CONFIRMED"
        event.add("status", "CANCELLED" if entry.cancelled else confirmed)
        event.add("transp", "TRANSPARENT")  # nobody is busy while a battery works
        event.add("summary", entry.summary)
        event.add("description", entry.description)
        calendar.add_component(event)
    return bytes(calendar.to_ical())
