"""What a home really delivered: readings, and energy from lifetime counters.

Energy is a difference of counters at two instants, never summed power. A counter at an instant is the
reading there, or the straight line between its two neighbours, rounded half up to the watt-hour.
Proof of a single command is not here, nor what makes a reading BAD.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise

import numpy as np

from vpp.domain.program import MeterOfRecord
from vpp.domain.quantities import BoolColumn, IntColumn, Permille, WattHours


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
    share them; battery counters are None only in imported readings of a home that is metered at the
    site. ``reason`` says why a reading is not OK.
    """

    site_id: str
    boot_id: str
    index: int
    at: datetime
    discharged_wh: WattHours | None
    charged_wh: WattHours | None
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

    def by_site(self, sites: int) -> Iterator["ReadingColumns"]:
        """Yield the readings of each position from zero on, of ``sites`` in all; some may have none."""
        edges = np.searchsorted(self.site, np.arange(sites + 1)).tolist()
        for first, end in pairwise(edges):
            yield ReadingColumns(*(getattr(self, name)[first:end] for name in ReadingColumns.__slots__))


def together(parts: Sequence[ReadingColumns]) -> ReadingColumns:
    """Return the readings of all parts in one; none of no parts."""
    nothing = np.zeros(0, dtype=np.int64)
    return ReadingColumns(
        *(
            np.concatenate([nothing, *(getattr(part, name) for part in parts)])
            for name in ReadingColumns.__slots__
        )
    )


CLOSE_NEIGHBOURS_S = 300
"""An instant between two readings at most this far apart counts as metered."""
FAR_NEIGHBOURS_S = 3600
"""Up to this far apart the straight line is an estimate; beyond it nothing is known."""
UNCOUNTED_S = 900
"""So long may nothing be counted at a reset for the hour to be an estimate; beyond it nothing is known."""

_OK, _ESTIMATED, _MISSING, _BAD = range(len(QUALITY_CODES))


INSTANTS = 2**34
"""More than the seconds since 1970 until the year 2500: one number orders readings by site and time."""


@dataclass(frozen=True, slots=True)
class CounterTrack:
    """One meter's counters of many sites, made ready for asking: one row per site and instant.

    ``key`` orders the rows by site and time. ``outward_wh`` and ``inward_wh`` rise only: they run on
    across a reset or a replaced meter, and count nothing between the last reading before and the first
    after. For the battery outward is discharge, for the grid meter export. ``said_outward_wh`` and
    ``said_inward_wh`` are the counters themselves, ``falls`` the rows in which one of them is lower than
    in the row before. The last three columns are counts over all rows before a row, one longer than the
    others, so that a stretch of rows is asked with one subtraction.
    """

    key: IntColumn
    outward_wh: IntColumn
    inward_wh: IntColumn
    said_outward_wh: IntColumn
    said_inward_wh: IntColumn
    falls: IntColumn
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
    key, quality = readings.site * INSTANTS + readings.at_s, readings.quality
    metered = (outward != NOT_METERED) & (inward != NOT_METERED)
    if not metered.all():
        key, quality = key[metered], quality[metered]
        outward, inward = outward[metered], inward[metered]
    if not (key[1:] > key[:-1]).all():  # a store gives them in order, one per instant
        order = np.lexsort((inward, outward, key))
        key, quality, outward, inward = key[order], quality[order], outward[order], inward[order]
        first = np.append(True, key[1:] != key[:-1])
        quality = _worst_of_copies(first, outward, inward, quality)
        key, outward, inward = key[first], outward[first], inward[first]
    return _running(key, outward, inward, quality)


def _worst_of_copies(
    first: BoolColumn, outward: IntColumn, inward: IntColumn, quality: IntColumn
) -> IntColumn:
    """Return one quality per instant: the worst of its copies, BAD where they differ in value."""
    starts = np.flatnonzero(first)
    worst = np.maximum.reduceat(quality, starts)
    differs = np.zeros(len(starts), dtype=np.bool_)
    for counter in (outward, inward):
        differs |= np.maximum.reduceat(counter, starts) != np.minimum.reduceat(counter, starts)
    return np.where(differs, _BAD, worst)


def _running(key: IntColumn, outward: IntColumn, inward: IntColumn, quality: IntColumn) -> CounterTrack:
    rows = len(key)
    step_out, step_in = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64)
    gap_s = np.zeros(rows, dtype=np.int64)
    step_out[1:], step_in[1:], gap_s[1:] = np.diff(outward), np.diff(inward), np.diff(key)
    site = key // INSTANTS
    same_site = np.zeros(rows, dtype=np.bool_)
    same_site[1:] = site[1:] == site[:-1]
    reset = same_site & ((step_out < 0) | (step_in < 0))
    counts = same_site & ~reset
    return CounterTrack(
        key=key,
        outward_wh=np.cumsum(np.where(counts, step_out, 0)),
        inward_wh=np.cumsum(np.where(counts, step_in, 0)),
        said_outward_wh=outward,
        said_inward_wh=inward,
        falls=np.flatnonzero(reset),
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

    before: IntColumn  # the row at or before, within an hour; where there is none, the one after
    after: IntColumn  # the row at or after, within an hour; where there is none, the one before
    outward_wh: IntColumn
    inward_wh: IntColumn
    quality: IntColumn
    known: BoolColumn  # false where no row is near; the rest then means nothing


def _edges(track: CounterTrack, site: IntColumn, at_s: IntColumn) -> _Edges:
    """Find each instant in a track of at least one row."""
    asked, last_row = site * INSTANTS + at_s, len(track.key) - 1
    found = np.searchsorted(track.key, asked, side="left")
    after = np.minimum(found, last_row)
    before = np.where(track.key[after] == asked, after, np.maximum(found - 1, 0))
    # Farther neighbours say nothing. Not even looking at them makes an hour depend on what is near it only.
    to_before, to_after = asked - track.key[before], track.key[after] - asked
    has_before = (to_before >= 0) & (to_before <= FAR_NEIGHBOURS_S)
    has_after = (to_after >= 0) & (to_after <= FAR_NEIGHBOURS_S)
    before, after = np.where(has_before, before, after), np.where(has_after, after, before)
    gap_s = track.key[after] - track.key[before]
    into_s = asked - track.key[before]
    quality = np.where(gap_s <= CLOSE_NEIGHBOURS_S, _OK, _ESTIMATED)
    quality = np.where(has_before & has_after & (gap_s <= FAR_NEIGHBOURS_S), quality, _MISSING)
    return _Edges(
        before=before,
        after=after,
        outward_wh=_between(track.outward_wh, before, after, into_s, gap_s),
        inward_wh=_between(track.inward_wh, before, after, into_s, gap_s),
        quality=np.maximum(quality, np.maximum(track.quality[before], track.quality[after])),
        known=has_before | has_after,
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
      neighbour after the end, each at most an hour away. A jump inside the stretch cannot be told
      from energy.
    - MISSING: an end has no reading on one side, or its neighbours are over 60 min apart; or a
      counter falls inside such a gap, or is reset inside one of over 15 min, which no counter bridges.
    - ESTIMATED: neighbours over 300 s apart, an ESTIMATED reading next to an end, or a reset inside.

    A counter that falls, but not below where the stretch began and not to zero, was no reset: it is back
    on its old series, and what it had risen beyond that is taken off again.
    """
    if not len(site) or not len(track.key):
        return np.zeros(len(site), dtype=np.int64), np.full(len(site), _MISSING, dtype=np.int64)
    start, end = _edges(track, site, from_s), _edges(track, site, until_s)
    first, last = start.before, end.after
    quality = np.maximum(start.quality, end.quality)
    resets = track.resets_before[last + 1] - track.resets_before[first + 1]
    lost = track.lost_before[last + 1] - track.lost_before[first + 1]
    bad = track.bad_before[last + 1] - track.bad_before[first]
    quality = np.maximum(quality, np.where(resets > 0, _ESTIMATED, _OK))
    quality = np.maximum(quality, np.where(lost > 0, _MISSING, _OK))
    quality = np.where(bad > 0, _BAD, quality)
    quality = np.where(start.known & end.known, quality, _MISSING)
    net = (end.outward_wh - start.outward_wh) - (end.inward_wh - start.inward_wh)
    fallen = np.flatnonzero((resets > 0) & (quality <= _ESTIMATED))
    taken_back, uncounted = _falls(track, first[fallen], last[fallen])
    net[fallen] += taken_back
    quality[fallen[uncounted]] = _MISSING
    return np.where(quality <= _ESTIMATED, net, 0), quality


def _falls(track: CounterTrack, first: IntColumn, last: IntColumn) -> tuple[IntColumn, BoolColumn]:
    """Return what falls within stretches mean, by stretch.

    The steps down that are no resets, outward less inward; and whether a reset left more uncounted than
    can be estimated.
    """
    said_out, said_in = track.said_outward_wh, track.said_inward_wh
    taken_back = np.zeros(len(first), dtype=np.int64)
    uncounted = np.zeros(len(first), dtype=np.bool_)
    for place, (begin, end) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):  # few fall
        lowest, highest = np.searchsorted(track.falls, (begin + 1, end + 1))
        for row in track.falls[lowest:highest].tolist():
            anew = not said_out[row] and not said_in[row]
            if not anew and said_out[row] >= said_out[begin] and said_in[row] >= said_in[begin]:
                taken_back[place] += said_out[row] - said_out[row - 1] - said_in[row] + said_in[row - 1]
            else:
                begin = row  # a reset or a replaced meter: from here on its counter is the measure
                uncounted[place] |= track.key[row] - track.key[row - 1] > UNCOUNTED_S
    return taken_back, uncounted


class ReadingFault(StrEnum):
    """Why a reading is not taken at its word. LATE alone leaves the quality as the gateway gave it."""

    NEGATIVE_COUNTER = "negative_counter"
    IN_THE_FUTURE = "in_the_future"
    JUMP = "jump"
    LATE = "late"
    TWO_VALUES = "two_values"
    BEFORE_CONSENT = "before_consent"
    TWO_GATEWAYS = "two_gateways"
    BESIDE_THE_GATEWAY = "beside_the_gateway"
    POWER_DIFFERS = "power_differs"  # its own power samples tell another energy
