"""Energy by the clock hour, computed as readings come: what a settlement reads instead of the readings.

An hour's energy depends on the readings inside it and on those within an hour of either end, on nothing
else. So it can be written down when it is complete, and again whenever a reading comes that reaches it.
Where it is kept is not known here.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpp.domain.delivery import (
    INSTANTS,
    QUALITY_CODES,
    CounterTrack,
    Quality,
    ReadingColumns,
    counter_track,
    net_energy,
)
from vpp.domain.program import MeterOfRecord
from vpp.domain.quantities import BoolColumn, IntColumn

HOUR_S = 3600
_MISSING = QUALITY_CODES.index(Quality.MISSING)

ROWS_AT_ONCE = 2**16
"""Hours of sites that are asked of the readings together: some ten columns of half a megabyte."""


@dataclass(frozen=True, slots=True)
class HourEnergies:
    """Net energy of whole clock hours of UTC, for many sites of one meter.

    Axes: site, hour. ``starts_s`` are the hours in ascending order, in seconds since 1970. ``energy_wh``
    is signed: discharge less charge of a battery, export less import of a grid meter; zero where
    ``quality`` (a code of ``QUALITY_CODES``) is MISSING or BAD.
    """

    starts_s: IntColumn
    energy_wh: NDArray[np.int64]
    quality: NDArray[np.int64]


def no_hours(sites: int, starts_s: IntColumn) -> HourEnergies:
    """Return hours of which nothing is known yet: MISSING, to be filled in."""
    shape = (sites, len(starts_s))
    return HourEnergies(starts_s, np.zeros(shape, np.int64), np.full(shape, _MISSING, dtype=np.int64))


def hour_energies(
    readings: ReadingColumns, sites: int, starts_s: IntColumn, meter: MeterOfRecord
) -> HourEnergies:
    """Return the hours' energies from readings that reach an hour beyond them on both sides."""
    return _whole_hours(counter_track(readings, meter), sites, starts_s)


def _whole_hours(track: CounterTrack, sites: int, starts_s: IntColumn) -> HourEnergies:
    found = no_hours(sites, starts_s)
    everyone = np.arange(sites, dtype=np.int64)
    places = _within_reach(track, starts_s)
    at_once = max(1, ROWS_AT_ONCE // max(1, sites))
    for first in range(0, len(places), at_once):
        some = places[first : first + at_once]
        from_s = np.repeat(starts_s[some], sites)
        energy_wh, quality = net_energy(track, np.tile(everyone, len(some)), from_s, from_s + HOUR_S)
        found.energy_wh[:, some] = energy_wh.reshape(len(some), sites).T
        found.quality[:, some] = quality.reshape(len(some), sites).T
    return found


def _within_reach(track: CounterTrack, starts_s: IntColumn) -> IntColumn:
    """Return the places of the hours of which any reading can say something; of the others none can."""
    if not len(track.key):
        return np.zeros(0, dtype=np.int64)
    at_s = track.key % INSTANTS
    near = (starts_s - HOUR_S <= at_s.max()) & (starts_s + 2 * HOUR_S >= at_s.min())
    return np.flatnonzero(near)


@dataclass(frozen=True, slots=True)
class MeteredEnergy:
    """Net energy of sites by their position: from whole hours where these are known, else from readings.

    Sites without a known hour have no row in ``hours``; the readings say what there is to say of them.
    """

    track: CounterTrack
    hours: HourEnergies

    def of_stretches(
        self, site: IntColumn, from_s: IntColumn, until_s: IntColumn
    ) -> tuple[IntColumn, IntColumn]:
        """Return net watt-hours and quality codes of stretches, each by site, start and end."""
        hours = self.hours
        if not len(hours.starts_s) or not len(site):
            return net_energy(self.track, site, from_s, until_s)
        place = np.minimum(np.searchsorted(hours.starts_s, from_s), len(hours.starts_s) - 1)
        whole = (hours.starts_s[place] == from_s) & (until_s - from_s == HOUR_S)
        if not whole.any():
            return net_energy(self.track, site, from_s, until_s)
        energy, quality = hours.energy_wh[site, place], hours.quality[site, place]
        if not whole.all():
            rest = np.flatnonzero(~whole)
            energy[rest], quality[rest] = net_energy(self.track, site[rest], from_s[rest], until_s[rest])
        return energy, quality

    def of_hours(self, sites: int, starts_s: IntColumn) -> HourEnergies:
        """Return whole clock hours of the first ``sites`` positions, in the order asked, also twice."""
        found, hours = no_hours(sites, starts_s), self.hours
        known = np.zeros(len(starts_s), dtype=np.bool_)
        if len(hours.starts_s):
            place = np.minimum(np.searchsorted(hours.starts_s, starts_s), len(hours.starts_s) - 1)
            known = hours.starts_s[place] == starts_s
            found.energy_wh[:, known] = hours.energy_wh[:, place[known]]
            found.quality[:, known] = hours.quality[:, place[known]]
        rest = _whole_hours(self.track, sites, starts_s[~known])
        found.energy_wh[:, ~known], found.quality[:, ~known] = rest.energy_wh, rest.quality
        return found


def by_readings(track: CounterTrack) -> MeteredEnergy:
    """Return energies asked of the readings themselves."""
    return MeteredEnergy(track, no_hours(0, np.zeros(0, dtype=np.int64)))


@dataclass(frozen=True, slots=True)
class NewReadings:
    """When readings just stored were taken; ``site`` is a position, ``bad`` marks those that are BAD."""

    site: IntColumn
    at_s: IntColumn
    bad: BoolColumn


@dataclass(frozen=True, slots=True)
class SiteHours:
    """Hours of sites, in order and each once, by a site's position and the hour's start."""

    site: IntColumn
    start_s: IntColumn


def hours_changed(new: NewReadings, newest_s: IntColumn, in_order: BoolColumn) -> SiteHours:
    """Return the hours whose energy new readings may have changed.

    A good reading newer than all before it completes the hour that ended last and changes no other, so
    a meter that reports as it should has each hour computed once. Any other reading can change the four
    hours that it reaches: from the one that ended an hour before it to the one that begins after it.

    Args:
        new: The readings; none of them counted for anything before.
        newest_s: By site, when its newest reading before these was taken; -1 where there was none.
        in_order: By site, whether that newest reading was a good one, and the only one of its instant.
    """
    usual = in_order.copy()
    instants, copies = np.unique(new.site * _INSTANTS + new.at_s, return_counts=True)
    usual[instants[copies > 1] // _INSTANTS] = False  # two readings of one instant may contradict each other
    np.logical_and.at(usual, new.site, (new.at_s > newest_s[new.site]) & ~new.bad)
    own = new.at_s // HOUR_S
    ended = usual[new.site] & (own * HOUR_S > newest_s[new.site])
    reaching = ~usual[new.site]
    keys = [_key(new.site[ended], own[ended] - 1)]
    keys += [_key(new.site[reaching], own[reaching] + step) for step in (-2, -1, 0, 1)]
    every = np.unique(np.concatenate(keys))
    return SiteHours(every // _HOURS, every % _HOURS * HOUR_S)


_INSTANTS = 2**34
_HOURS = 2**24
"""More hours than there are from 1970 to the year 3800: one number holds a site and an hour."""


def _key(site: IntColumn, hour: IntColumn) -> IntColumn:
    key: IntColumn = site * _HOURS + hour
    return key


def reading_spans(hours: SiteHours) -> tuple[IntColumn, IntColumn, IntColumn]:
    """Return site, start and end of the spans whose readings the hours need; those that touch are joined."""
    if not len(hours.site):
        return hours.site, hours.start_s, hours.start_s
    apart = (np.diff(hours.site) != 0) | (np.diff(hours.start_s) > 3 * HOUR_S)
    first, last = np.append(True, apart), np.append(apart, True)
    return hours.site[first], hours.start_s[first] - HOUR_S, hours.start_s[last] + 2 * HOUR_S
