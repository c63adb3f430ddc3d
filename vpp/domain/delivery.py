"""What a home really delivered: judged readings, energy from counters, and proof of each command."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from vpp.domain.quantities import IntColumn, Permille, WattHours


class Quality(StrEnum):
    """How far a reading or an hour can be trusted. OK and ESTIMATED pay."""

    OK = "OK"
    ESTIMATED = "ESTIMATED"
    MISSING = "MISSING"
    BAD = "BAD"


@dataclass(frozen=True, slots=True)
class MeterReading:
    """Lifetime counters of one site's meter at one instant.

    ``(site_id, boot_id, index)`` is the key. Site-meter counters are None unless the owner agreed to
    share them. ``reason`` says why a reading is not OK.
    """

    site_id: str
    boot_id: str
    index: int
    at: datetime
    discharged_wh: WattHours
    charged_wh: WattHours
    soc_permille: Permille | None
    quality: Quality
    reason: str | None = None
    imported_wh: WattHours | None = None
    exported_wh: WattHours | None = None


@dataclass(frozen=True, slots=True)
class MeterMessage:
    """Readings as a gateway sent them together. ``oldest_index`` is the oldest it still holds."""

    site_id: str
    boot_id: str
    oldest_index: int
    readings: tuple[MeterReading, ...]


@dataclass(frozen=True, slots=True)
class MeterReceipt:
    """The promise to a gateway that nothing from its oldest reading up to here is missing."""

    site_id: str
    boot_id: str
    stored_through: int


@dataclass(frozen=True, slots=True)
class SiteStatus:
    """A gateway's presence. A retained copy tells only online or offline."""

    site_no: int
    online: bool
    retained: bool
    at: datetime | None
    epoch: int
    sequence: int
    clock_offset_ms: int | None
    firmware: str | None


QUALITY_CODES: tuple[Quality, ...] = (Quality.OK, Quality.ESTIMATED, Quality.MISSING, Quality.BAD)
"""A quality's number in a column is its position here: the higher, the worse."""

NOT_METERED = -1
"""Stands in a column for a counter that the home does not report."""


@dataclass(frozen=True, slots=True)
class ReadingColumns:
    """Meter readings of many sites as columns of equal length, sorted by site, then time.

    ``site`` is a position in a list of site ids that the asker holds. Counters are lifetime watt-hours.
    """

    site: IntColumn
    at_s: IntColumn
    discharged_wh: IntColumn
    charged_wh: IntColumn
    imported_wh: IntColumn  # NOT_METERED where the home does not share its grid meter
    exported_wh: IntColumn
    quality: IntColumn  # codes of QUALITY_CODES

    def __len__(self) -> int:
        return len(self.site)
