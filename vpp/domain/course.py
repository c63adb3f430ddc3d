"""The power of an event as it was seen while it ran: asked, planned, measured, and the part estimated."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class EventPower:
    """What people were told of an event at one moment, in watts; ``(event_id, at)`` is the key.

    ``measured_w`` is battery output of the homes that were commanded; ``estimated_w`` the part of it that
    nobody measured: what silent homes counted at. ``sites`` is how many were commanded.
    """

    event_id: str
    at: datetime
    asked_w: int
    planned_w: int
    measured_w: int
    estimated_w: int
    shortfall_w: int
    sites: int
