"""Energy by the clock hour, computed as readings come: what a settlement reads instead of the readings.

An hour's energy depends on the readings inside it and on those within an hour of either end, on nothing
else. So it can be written down when it is complete, and again whenever a reading comes that reaches it.
Where it is kept is not known here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vpp.domain.delivery import (
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

EnergyOf = Callable[[IntColumn, IntColumn, IntColumn], tuple[IntColumn, IntColumn]]
"""Net watt-hours and quality codes of stretches, each asked by site, start and end; as ``net_energy``."""


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
    track = counter_track(readings, meter)
    found = no_hours(sites, starts_s)
    everyone = np.arange(sites, dtype=np.int64)
    for place, start_s in enumerate(starts_s.tolist()):
        from_s = np.full(sites, start_s, dtype=np.int64)
        found.energy_wh[:, place], found.quality[:, place] = net_energy(
            track, everyone, from_s, from_s + HOUR_S
        )
    return found


def by_readings(track: CounterTrack) -> EnergyOf:
    """Return energies asked of the readings themselves."""
    return lambda site, from_s, until_s: net_energy(track, site, from_s, until_s)


def by_hours(hours: HourEnergies, track: CounterTrack) -> EnergyOf:
    """Return energies asked of whole hours where these are known, of the readings for any other stretch."""

    def energy_of(site: IntColumn, from_s: IntColumn, until_s: IntColumn) -> tuple[IntColumn, IntColumn]:
        """Return net watt-hours and quality codes of the stretches."""
        if not len(hours.starts_s) or not len(site):
            return net_energy(track, site, from_s, until_s)
        # Nearly always the same hour of many homes: then one search finds it for all of them.
        if (from_s == from_s[0]).all() and (until_s == until_s[0]).all():
            at = int(np.searchsorted(hours.starts_s, from_s[0]))
            known = at < len(hours.starts_s) and hours.starts_s[at] == from_s[0]
            if not known or until_s[0] - from_s[0] != HOUR_S:
                return net_energy(track, site, from_s, until_s)
            return hours.energy_wh[:, at][site], hours.quality[:, at][site]
        place = np.minimum(np.searchsorted(hours.starts_s, from_s), len(hours.starts_s) - 1)
        whole = (hours.starts_s[place] == from_s) & (until_s - from_s == HOUR_S)
        if not whole.any():
            return net_energy(track, site, from_s, until_s)
        energy, quality = hours.energy_wh[site, place], hours.quality[site, place]
        if not whole.all():
            rest = np.flatnonzero(~whole)
            energy[rest], quality[rest] = net_energy(track, site[rest], from_s[rest], until_s[rest])
        return energy, quality

    return energy_of


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
