"""Why an hour is not simply metered: which readings are missing, apart, estimated or not believed.

Follows from the same readings as the hour's energy, so whoever holds them finds the same reason. What the
hour is worth is not its business.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np

from vpp.domain.delivery import (
    CLOSE_NEIGHBOURS_S,
    FAR_NEIGHBOURS_S,
    INSTANTS,
    QUALITY_CODES,
    CounterTrack,
    Quality,
    net_energy,
)
from vpp.domain.interval import Interval, from_epoch, to_epoch
from vpp.domain.quantities import column


class HourFault(StrEnum):
    """What keeps an hour from being OK."""

    BAD_READING = "bad_reading"
    NO_READING = "no_reading"  # between two instants too far apart to bridge
    READINGS_APART = "readings_apart"  # bridged by counters, so the total is exact and its split a guess
    COUNTER_RESET = "counter_reset"
    ESTIMATED_READING = "estimated_reading"


@dataclass(frozen=True, slots=True)
class HourReason:
    """Why an hour is not OK, and where: at the readings of these instants, or between them.

    ``from_at`` is None where no reading is known before, ``until_at`` where none is after; both are the same
    for a single reading.
    """

    fault: HourFault
    from_at: datetime | None
    until_at: datetime | None


def hour_reason(track: CounterTrack, site: int, stretch: Interval) -> HourReason | None:
    """Return why a stretch of a site is not OK; None where it is.

    Args:
        track: The meter's counters, as far as they reach an hour beyond the stretch or farther.
        site: The site's position in the track.
        stretch: The part of a clock hour that counts.
    """
    edges = [to_epoch(stretch.starts_at), to_epoch(stretch.ends_at)]
    _, (code,) = net_energy(track, column([site]), column(edges[:1]), column(edges[1:]))
    quality = QUALITY_CODES[int(code)]
    if quality is Quality.OK:
        return None
    rows = np.flatnonzero(track.key // INSTANTS == site)
    at_s = track.key[rows] % INSTANTS
    around = [_around(at_s, each) for each in edges]
    first, last = around[0][0], around[1][1]
    inside = rows[slice(0 if first is None else first, None if last is None else last + 1)]
    inside = inside[np.abs(track.key[inside] % INSTANTS - np.mean(edges)) <= _reach(stretch)]
    match quality:
        case Quality.BAD:
            found = _first(track, inside[track.quality[inside] == QUALITY_CODES.index(Quality.BAD)])
            return None if found is None else HourReason(HourFault.BAD_READING, found, found)
        case Quality.MISSING:
            gap = _gap(at_s, around, FAR_NEIGHBOURS_S)
            return _between(HourFault.NO_READING, gap) or _at_a_reset(track, inside)
    gap = _gap(at_s, around, CLOSE_NEIGHBOURS_S)
    estimated = _first(track, inside[track.quality[inside] == QUALITY_CODES.index(Quality.ESTIMATED)])
    return (
        _between(HourFault.READINGS_APART, gap)
        or _at_a_reset(track, inside)
        or (None if estimated is None else HourReason(HourFault.ESTIMATED_READING, estimated, estimated))
    )


_Around = tuple[int | None, int | None]
_Gap = tuple[datetime | None, datetime | None]


def _reach(stretch: Interval) -> float:
    """Return how far from its middle a reading still says something of a stretch, in seconds."""
    return stretch.seconds / 2 + FAR_NEIGHBOURS_S


def _around(at_s: np.ndarray, edge_s: int) -> _Around:
    """Return the places of the readings at or before an edge and at or after it."""
    before, after = int(np.searchsorted(at_s, edge_s, "right")) - 1, int(np.searchsorted(at_s, edge_s))
    return (before if before >= 0 else None), (after if after < len(at_s) else None)


def _gap(at_s: np.ndarray, around: list[_Around], at_most_s: int) -> _Gap | None:
    """Return the first gap around an edge that is longer; one without a reading on a side is."""
    for before, after in around:
        if before is None or after is None or at_s[after] - at_s[before] > at_most_s:
            times = (None if place is None else from_epoch(int(at_s[place])) for place in (before, after))
            return next(times), next(times)
    return None


def _between(fault: HourFault, gap: _Gap | None) -> HourReason | None:
    return None if gap is None else HourReason(fault, *gap)


def _first(track: CounterTrack, rows: np.ndarray) -> datetime | None:
    return from_epoch(int(track.key[rows[0]] % INSTANTS)) if len(rows) else None


def _at_a_reset(track: CounterTrack, inside: np.ndarray) -> HourReason | None:
    """Return the first reading in which a counter is lower than in the one before, if that is inside."""
    at = _first(track, np.intersect1d(track.falls, inside[1:]))
    return None if at is None else HourReason(HourFault.COUNTER_RESET, at, at)
