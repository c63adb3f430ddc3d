"""What a program pays for, when, and how: the terms, effective-dated, each number with its source."""

from dataclasses import dataclass
from datetime import date, time
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from zoneinfo import ZoneInfo

from vpp.domain.quantities import Price


class MeterOfRecord(StrEnum):
    """Which meter's energy counts."""

    DEVICE = "device"  # the battery's own counters, both ways
    SITE = "site"  # the grid meter


class NegativePolicy(StrEnum):
    """What becomes of hours in which a home delivered less than its baseline."""

    NET_EVENT_FLOOR_ZERO = "net_event_floor_zero"
    CLAMP_INTERVAL = "clamp_interval"
    NET_SEASON_FLOOR_ZERO = "net_season_floor_zero"


@dataclass(frozen=True, slots=True)
class Terms:
    """One edition of a program's terms, in force for event dates in ``[effective_from, effective_to)``."""

    effective_from: date
    effective_to: date | None
    season_first: tuple[int, int]  # month, day
    season_last: tuple[int, int]
    window_opens: time  # local
    window_closes: time
    event_min_s: int
    event_max_s: int
    season_cap_s: int
    season_minimum_s: int
    rate: Price
    owner_share: Decimal
    meter: MeterOfRecord
    baseline_method: str  # a name in ``domain/baseline.py``
    negative_policy: NegativePolicy
    holidays: str  # a calendar's name, such as "NERC"

    @property
    def owner_micro_dollars_per_wh(self) -> Fraction:
        """Return exactly what an owner earns for one incremental watt-hour."""
        return self.rate.micro_dollars_per_wh * Fraction(self.owner_share)


@dataclass(frozen=True, slots=True)
class Program:
    """A program: its id, the groups and utility it answers to, its zone and its editions of terms."""

    program_id: str
    name: str
    utility: str
    groups: tuple[str, ...]  # names a signal may target it by, lower case
    zone: ZoneInfo
    close_after_days: int  # late readings are taken until then
    editions: tuple[Terms, ...]

    def terms_on(self, day: date) -> Terms | None:
        """Return the terms in force for an event on a local date, or None before the first edition."""
        for terms in self.editions:
            if terms.effective_from <= day and (terms.effective_to is None or day < terms.effective_to):
                return terms
        return None
