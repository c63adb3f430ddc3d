"""What a home really delivered: judged readings, and energy from lifetime counters.

Energy is a difference of counters at two instants, never summed power. A counter at an instant is the
reading there, or the straight line between its two neighbours, rounded half up to the watt-hour.
Proof of a single command is not here.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

import numpy as np

from vpp.domain.program import MeterOfRecord
from vpp.domain.quantities import BoolColumn, IntColumn, Permille, WattHours, Watts


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


CLOSE_NEIGHBOURS_S = 300
"""An instant between two readings at most this far apart counts as metered."""
FAR_NEIGHBOURS_S = 3600
"""Up to this far apart the straight line is an estimate; beyond it nothing is known."""

_OK, _ESTIMATED, _MISSING, _BAD = range(len(QUALITY_CODES))


@dataclass(frozen=True, slots=True)
class CounterTrack:
    """One meter's counters of many sites, made ready for asking: one row per site and instant.

    ``outward_wh`` and ``inward_wh`` rise only: they run on across a reset or a replaced meter, and
    count nothing between the last reading before and the first after. For the battery outward is
    discharge, for the grid meter export. The last three columns are counts over all rows before a
    row, one longer than the others, so that a stretch of rows is asked with one subtraction.
    """

    site: IntColumn
    at_s: IntColumn
    outward_wh: IntColumn
    inward_wh: IntColumn
    quality: IntColumn
    bad_before: IntColumn
    resets_before: IntColumn
    lost_before: IntColumn  # resets inside a gap too long to estimate across


def counter_track(readings: ReadingColumns, meter: MeterOfRecord) -> CounterTrack:
    """Return the counters of the meter of record as a track.

    The rows may come in any order and any number of copies. Two different values for one site and
    instant make that row BAD. A counter that falls is a reset or a replaced meter: a new segment
    begins, and no energy is counted across it, in either direction.

    Source: counters first, a decrease is a reset (ELRP leaves it open; this is our rule).
    """
    outward, inward = (
        (readings.discharged_wh, readings.charged_wh)
        if meter is MeterOfRecord.DEVICE
        else (readings.exported_wh, readings.imported_wh)
    )
    used = np.flatnonzero((outward != NOT_METERED) & (inward != NOT_METERED))
    order = used[np.lexsort((inward[used], outward[used], readings.at_s[used], readings.site[used]))]
    site, at_s = readings.site[order], readings.at_s[order]
    outward, inward, quality = outward[order], inward[order], readings.quality[order]
    first = np.append(True, (site[1:] != site[:-1]) | (at_s[1:] != at_s[:-1]))[: len(site)]
    quality = _worst_of_copies(first, outward, inward, quality)
    site, at_s, outward, inward = site[first], at_s[first], outward[first], inward[first]
    return _running(site, at_s, outward, inward, quality)


def _worst_of_copies(
    first: BoolColumn, outward: IntColumn, inward: IntColumn, quality: IntColumn
) -> IntColumn:
    """Return one quality per instant: the worst of its copies, BAD where they differ in value."""
    starts = np.flatnonzero(first)
    if not len(starts):
        return quality
    worst = np.maximum.reduceat(quality, starts)
    differs = np.zeros(len(starts), dtype=np.bool_)
    for counter in (outward, inward):
        differs |= np.maximum.reduceat(counter, starts) != np.minimum.reduceat(counter, starts)
    return np.where(differs, _BAD, worst)


def _running(
    site: IntColumn, at_s: IntColumn, outward: IntColumn, inward: IntColumn, quality: IntColumn
) -> CounterTrack:
    rows = len(site)
    same_site = np.zeros(rows, dtype=np.bool_)
    same_site[1:] = site[1:] == site[:-1]
    step_out, step_in = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64)
    step_out[1:], step_in[1:] = np.diff(outward), np.diff(inward)
    reset = same_site & ((step_out < 0) | (step_in < 0))
    gap_s = np.zeros(rows, dtype=np.int64)
    gap_s[1:] = np.diff(at_s)
    counts = same_site & ~reset
    return CounterTrack(
        site=site,
        at_s=at_s,
        outward_wh=np.cumsum(np.where(counts, step_out, 0)),
        inward_wh=np.cumsum(np.where(counts, step_in, 0)),
        quality=quality,
        bad_before=_count_before(quality == _BAD),
        resets_before=_count_before(reset),
        lost_before=_count_before(reset & (gap_s > FAR_NEIGHBOURS_S)),
    )


def _count_before(marked: BoolColumn) -> IntColumn:
    return np.append(0, np.cumsum(marked, dtype=np.int64))


@dataclass(frozen=True, slots=True)
class _Edges:
    """Where asked instants fall in a track: the rows around each, and what is known there."""

    before: IntColumn  # the row at or before; kept inside the site's rows
    after: IntColumn  # the row at or after
    outward_wh: IntColumn
    inward_wh: IntColumn
    quality: IntColumn


def _edges(track: CounterTrack, site: IntColumn, at_s: IntColumn) -> _Edges:
    """Find each instant in a track. A site without any reading must not be asked."""
    origin = int(min(track.at_s.min(), at_s.min()))
    stride = int(max(track.at_s.max(), at_s.max())) - origin + 1
    keys, asked = track.site * stride + (track.at_s - origin), site * stride + (at_s - origin)
    after = np.searchsorted(keys, asked, side="left")
    before = np.searchsorted(keys, asked, side="right") - 1
    last_row = len(keys) - 1
    has_before = (before >= 0) & (track.site[np.maximum(before, 0)] == site)
    has_after = (after <= last_row) & (track.site[np.minimum(after, last_row)] == site)
    before = np.where(has_before, before, np.minimum(after, last_row))
    after = np.where(has_after, after, before)
    gap_s = track.at_s[after] - track.at_s[before]
    into_s = at_s - track.at_s[before]
    quality = np.select(
        [~(has_before & has_after), gap_s <= CLOSE_NEIGHBOURS_S, gap_s <= FAR_NEIGHBOURS_S],
        [_MISSING, _OK, _ESTIMATED],
        default=_MISSING,
    )
    quality = np.maximum(quality, np.maximum(track.quality[before], track.quality[after]))
    return _Edges(
        before=before,
        after=after,
        outward_wh=_between(track.outward_wh, before, after, into_s, gap_s),
        inward_wh=_between(track.inward_wh, before, after, into_s, gap_s),
        quality=quality,
    )


def _between(
    counter: IntColumn, before: IntColumn, after: IntColumn, into_s: IntColumn, gap_s: IntColumn
) -> IntColumn:
    """Return the straight line between two rows at ``into_s`` after the first, rounded half up."""
    whole_s = np.maximum(gap_s, 1)
    rise = (counter[after] - counter[before]) * into_s
    line: IntColumn = counter[before] + (2 * rise + whole_s) // (2 * whole_s)
    return line


def net_energy(
    track: CounterTrack, site: IntColumn, from_s: IntColumn, until_s: IntColumn
) -> tuple[IntColumn, IntColumn]:
    """Return outward minus inward watt-hours of each asked stretch, and its quality code.

    The three columns are asked row by row; ``from_s <= until_s`` in seconds since 1970. Battery:
    positive is net discharge. Grid meter: positive is net export. The energy is zero where the
    quality is MISSING or BAD.

    - BAD: any reading that is BAD stands among those from the neighbour before the start to the
      neighbour after the end. A jump inside the stretch cannot be told from energy.
    - MISSING: an end has no reading on one side, or its neighbours are over 60 min apart; or a
      reset lies inside such a gap.
    - ESTIMATED: neighbours over 300 s apart, an ESTIMATED reading next to an end, or a reset inside.
    """
    if not len(site):
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
    energy = np.zeros(len(site), dtype=np.int64)
    quality = np.full(len(site), _MISSING, dtype=np.int64)
    known = np.isin(site, track.site)
    if not known.any():
        return energy, quality
    start = _edges(track, site[known], from_s[known])
    end = _edges(track, site[known], until_s[known])
    first, last = start.before, end.after
    worst = np.maximum(start.quality, end.quality)
    resets = track.resets_before[last + 1] - track.resets_before[first + 1]
    lost = track.lost_before[last + 1] - track.lost_before[first + 1]
    bad = track.bad_before[last + 1] - track.bad_before[first]
    worst = np.maximum(worst, np.where(resets > 0, _ESTIMATED, _OK))
    worst = np.maximum(worst, np.where(lost > 0, _MISSING, _OK))
    worst = np.where(bad > 0, _BAD, worst)
    net = (end.outward_wh - start.outward_wh) - (end.inward_wh - start.inward_wh)
    energy[known] = np.where(worst <= _ESTIMATED, net, 0)
    quality[known] = worst
    return energy, quality


class ReadingFault(StrEnum):
    """Why a reading is not taken at its word. LATE alone leaves the quality as the gateway gave it."""

    NEGATIVE_COUNTER = "negative_counter"
    IN_THE_FUTURE = "in_the_future"
    JUMP = "jump"
    LATE = "late"
    TWO_VALUES = "two_values"


PLAUSIBLE_POWER_PERCENT = 105
"""More energy than rated power could move, this margin included, is not believed."""
CLOCK_TOLERANCE = timedelta(seconds=30)
LATE_AFTER = timedelta(days=8)


def judge_reading(
    reading: MeterReading,
    *,
    previous: MeterReading | None,
    rated_discharge: Watts,
    rated_charge: Watts,
    received_at: datetime,
) -> MeterReading:
    """Return the reading with the quality and the reason it is stored with.

    Args:
        reading: As the gateway sent it.
        previous: The site's newest known reading before this one in time, of any quality: after a
            lasting jump only the first reading is BAD. None when there is none.
        rated_discharge: The most the battery gives; energy above 105 % of it over the time since
            ``previous``, and one watt-hour for the counter's own rounding, is a jump.
        rated_charge: The same for charging, which pays when it lowers a baseline.
        received_at: When the controller got it.
    """
    fault = _fault_of(reading, previous, rated_discharge, rated_charge, received_at)
    if fault is None:
        return reading
    quality = reading.quality if fault is ReadingFault.LATE else Quality.BAD
    return replace(reading, quality=quality, reason=fault.value)


def _fault_of(
    reading: MeterReading,
    previous: MeterReading | None,
    rated_discharge: Watts,
    rated_charge: Watts,
    received_at: datetime,
) -> ReadingFault | None:
    counters = (reading.discharged_wh, reading.charged_wh, reading.imported_wh, reading.exported_wh)
    if any(counter is not None and counter < 0 for counter in counters):
        return ReadingFault.NEGATIVE_COUNTER
    if reading.at > received_at + CLOCK_TOLERANCE:
        return ReadingFault.IN_THE_FUTURE
    if previous is not None and previous.at < reading.at:
        seconds = int((reading.at - previous.at).total_seconds())
        discharged = reading.discharged_wh - previous.discharged_wh
        charged = reading.charged_wh - previous.charged_wh
        if discharged > plausible_wh(rated_discharge, seconds) or charged > plausible_wh(
            rated_charge, seconds
        ):
            return ReadingFault.JUMP
    return ReadingFault.LATE if received_at - reading.at > LATE_AFTER else None


def plausible_wh(rated: Watts, seconds: int) -> int:
    """Return the most watt-hours a counter may rise in that time."""
    return rated * seconds * PLAUSIBLE_POWER_PERCENT // 360_000 + 1


def judge_message(
    message: MeterMessage,
    *,
    previous: MeterReading | None,
    rated_discharge: Watts,
    rated_charge: Watts,
    received_at: datetime,
) -> MeterMessage:
    """Return a message with every reading judged, each against the one before it in time."""
    judged: dict[int, MeterReading] = {}
    for position in sorted(range(len(message.readings)), key=lambda each: message.readings[each].at):
        reading = message.readings[position]
        judged[position] = judge_reading(
            reading,
            previous=previous,
            rated_discharge=rated_discharge,
            rated_charge=rated_charge,
            received_at=received_at,
        )
        if previous is None or previous.at < reading.at:
            previous = reading
    return replace(message, readings=tuple(judged[position] for position in range(len(message.readings))))
