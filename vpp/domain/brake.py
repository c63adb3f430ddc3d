"""How fast the fleet's power may change: ramp caps in watts per minute, in total and for each zone.

Rises wait for their turn, and what falls on schedule, to a smaller power or to nothing, is wound down ahead
of that, in the fleet and in each zone. Nothing else is braked downwards. Whoever said no, or is cancelled, is
released at once. A newer version that asks for less is followed at once, and for one that ends earlier power
falls at once to what can still be wound down: nobody goes on with what is not asked. A zone is a county.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from vpp.domain.dispatch_plan import MIN_COMMAND_W
from vpp.domain.quantities import BoolColumn, IntColumn, any_of, bounded

Numbers = NDArray[np.integer]
"""A column of small dense numbers, of any width."""

UNBOUNDED_W = 10**12
FALL_S = 60
LONGEST_S = 10**6  # an endless event ends further away than any fall takes
_NO_ZONES: IntColumn = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class RampCaps:
    """Most rise, or scheduled fall, of power in a minute.

    ``zone_w_per_min`` is indexed by zone, empty without zone caps.

    A decision is made once in ``pace_s`` at least: no more than that part of a minute's change is let
    through in as long.
    """

    fleet_w_per_min: int = UNBOUNDED_W
    zone_w_per_min: IntColumn = field(default_factory=lambda: _NO_ZONES)
    pace_s: int = 15

    @property
    def slows(self) -> bool:
        """Return whether anything is capped."""
        return self.fleet_w_per_min < UNBOUNDED_W or any_of(self.zone_w_per_min < UNBOUNDED_W)

    def slowed_sites(self, zone_no: Numbers) -> BoolColumn:
        """Return the sites that stand under a cap: they start when told, not spread by a hash."""
        if self.fleet_w_per_min < UNBOUNDED_W or not len(self.zone_w_per_min):
            return np.full(len(zone_no), self.fleet_w_per_min < UNBOUNDED_W)
        return self.zone_w_per_min[zone_no] < UNBOUNDED_W

    def shared_by(self, events: int) -> "RampCaps":
        """Return the part of each of several events that may end at the same time.

        What has no cap has none for any of them.
        """
        if events <= 1:
            return self
        fleet_w, zone_w = self.fleet_w_per_min, self.zone_w_per_min
        # A part of no cap would be the cap of a zone that can give everything, and leave the others nothing.
        return RampCaps(
            fleet_w if fleet_w >= UNBOUNDED_W else fleet_w // events,
            np.where(zone_w < UNBOUNDED_W, zone_w // events, zone_w),
            self.pace_s,
        )


@dataclass(frozen=True, slots=True)
class Brake:
    """What one event's plan may do now. What is indexed by zone is empty without zone caps.

    ``rise_w`` bounds the sum of all rises, ``ceiling_w`` the sum of all setpoints: above it the event
    could not be wound down in time, or its source's limit would be passed. What is taken leaves each zone
    ``zone_floor_w``, if others have enough: below it the zone would fall too fast.
    """

    rise_w: int = UNBOUNDED_W
    zone_rise_w: IntColumn = field(default_factory=lambda: _NO_ZONES)
    ceiling_w: int = UNBOUNDED_W
    zone_ceiling_w: IntColumn = field(default_factory=lambda: _NO_ZONES)
    slows: bool = False
    zone_floor_w: IntColumn = field(default_factory=lambda: _NO_ZONES)

    def lowered(self, setpoint_w: IntColumn, charge: IntColumn, zone_no: Numbers) -> IntColumn:
        """Return setpoints under the ceilings; the emptiest homes end first."""
        kept, ceiling_w = setpoint_w, max(self.ceiling_w, 0)
        if not len(self.zone_ceiling_w) and int(kept.sum()) <= ceiling_w:
            return np.where(kept < MIN_COMMAND_W, 0, kept)
        last = np.lexsort((np.arange(len(charge)), -charge))
        if len(self.zone_ceiling_w):
            kept = first_come(kept, last, zone_no, self.zone_ceiling_w)
        over_w = int(kept.sum()) - ceiling_w
        if len(self.zone_floor_w) and over_w > 0:
            first, above_w = last[::-1], _by_zone(kept, zone_no, len(self.zone_floor_w)) - self.zone_floor_w
            spare = first_come(kept, first, zone_no, np.maximum(above_w, 0))
            kept = kept - _first_of_all(spare, first, over_w)
        kept = _first_of_all(kept, last, ceiling_w)
        return np.where(kept < MIN_COMMAND_W, 0, kept)

    def beside(self, deaf_w: IntColumn, zone_no: Numbers) -> "Brake":
        """Return what ceilings and floors leave the others where homes go on with these setpoints anyway."""
        ceiling_w, floor_w = (
            np.maximum(each - _by_zone(deaf_w, zone_no, len(each)), 0) if len(each) else each
            for each in (self.zone_ceiling_w, self.zone_floor_w)
        )
        left_w = self.ceiling_w - int(deaf_w.sum())
        return replace(self, ceiling_w=left_w, zone_ceiling_w=ceiling_w, zone_floor_w=floor_w)

    def let_go(self, leaving: BoolColumn, setpoint_w: IntColumn, zone_no: Numbers) -> BoolColumn:
        """Return which homes may leave, the smallest first, so that no zone comes under its floor.

        Nor may more leave than the fleet may rise: what they give has to be asked of others first.
        """
        leaving_w = np.where(leaving, setpoint_w, 0)
        if not len(self.zone_floor_w) and int(leaving_w.sum()) <= self.rise_w:
            return leaving
        smallest_first = np.lexsort((np.arange(len(leaving_w)), leaving_w))
        allowed: BoolColumn = _first_of_all(leaving_w, smallest_first, self.rise_w) == leaving_w
        if len(self.zone_floor_w):
            spare_w = _by_zone(setpoint_w, zone_no, len(self.zone_floor_w)) - self.zone_floor_w
            by_zone_w = first_come(leaving_w, smallest_first, zone_no, np.maximum(spare_w, 0))
            allowed &= by_zone_w == leaving_w
        return leaving & allowed

    def slowed(self, before_w: IntColumn, after_w: IntColumn, zone_no: Numbers) -> IntColumn:
        """Return the new setpoints with no more rise than allowed, the largest rises first."""
        rise_w, kept_w = np.maximum(after_w - before_w, 0), np.minimum(before_w, after_w)
        most_w = max(0, min(self.rise_w, self.ceiling_w - int(kept_w.sum())))
        if not len(self.zone_rise_w) and int(rise_w.sum()) <= most_w:
            return np.where(after_w < MIN_COMMAND_W, 0, after_w)
        order = np.lexsort((np.arange(len(rise_w)), -rise_w))
        if len(self.zone_rise_w):
            rise_w = first_come(rise_w, order, zone_no, self.zone_rise_w)
        slowed_w = kept_w + _first_of_all(rise_w, order, most_w)
        return np.where(slowed_w < MIN_COMMAND_W, 0, slowed_w)


NO_BRAKE = Brake()


def first_come(watts: IntColumn, order: IntColumn, group_no: Numbers, caps_w: IntColumn) -> IntColumn:
    """Return watts cut so that no group passes its cap; who stands first in the order gets all of it."""
    by_group = order[np.argsort(group_no[order], kind="stable")]
    group = group_no[by_group]
    total = np.cumsum(watts[by_group])
    begins = np.searchsorted(group, np.arange(len(caps_w)))
    before_group = np.append(0, total)[begins]
    used = total - watts[by_group] - before_group[group]
    given = watts.copy()
    given[by_group] = bounded(caps_w[group] - used, 0, watts[by_group])
    return given


def _first_of_all(watts: IntColumn, order: IntColumn, cap_w: int) -> IntColumn:
    """Return watts cut so that their sum does not pass the cap; the first in the order get all of theirs."""
    in_order = watts[order]
    given = watts.copy()
    given[order] = bounded(cap_w - (np.cumsum(in_order) - in_order), 0, in_order)
    return given


def _by_zone(watts: IntColumn, zone_no: Numbers, zones: int) -> IntColumn:
    total_w = np.zeros(zones, dtype=np.int64)
    np.add.at(total_w, zone_no, watts)
    return total_w


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much setpoints may change now: rise in total and by zone, and fall on schedule by zone."""

    rise_w: int
    zone_rise_w: IntColumn
    zone_fall_w: IntColumn

    def less(self, change_w: IntColumn, zone_no: Numbers) -> "Allowance":
        """Return what is left beside a plan's changes, one per site, rises above zero and falls below."""
        rise_w, fall_w = np.maximum(change_w, 0), np.maximum(-change_w, 0)
        zones = len(self.zone_rise_w)
        zone_rise_w, zone_fall_w = (
            np.maximum(allowed_w - _by_zone(each, zone_no, zones), 0) if zones else allowed_w
            for allowed_w, each in ((self.zone_rise_w, rise_w), (self.zone_fall_w, fall_w))
        )
        return Allowance(max(0, self.rise_w - int(rise_w.sum())), zone_rise_w, zone_fall_w)


@dataclass(frozen=True, slots=True)
class _Change:
    at_s: int
    rise_w: int
    zone_rise_w: IntColumn
    zone_fall_w: IntColumn


@dataclass(slots=True)
class RampLog:
    """Changes that were committed lately. After a restart nothing may rise until one pace has passed."""

    since_s: int = 0
    _changes: list[_Change] = field(default_factory=list)

    def allowance(self, caps: RampCaps, now_s: int) -> Allowance:
        """Return how much all setpoints may rise now and, by zone, fall: in this pace, in this minute too."""
        self._changes = [each for each in self._changes if each.at_s > now_s - FALL_S]
        lately = [each for each in self._changes if each.at_s > now_s - caps.pace_s]
        rise_w = caps.fleet_w_per_min * caps.pace_s // 60 - sum(each.rise_w for each in lately)
        zone_rise_w = caps.zone_w_per_min * caps.pace_s // 60
        at_once_w = zone_rise_w.copy()
        known_s = min(max(now_s - self.since_s, 0), FALL_S)  # what fell before a restart is not known
        zone_fall_w = (caps.zone_w_per_min - 2 * MIN_COMMAND_W) * known_s // FALL_S
        for each in lately:
            zone_rise_w[: len(each.zone_rise_w)] -= each.zone_rise_w[: len(zone_rise_w)]
            at_once_w[: len(each.zone_fall_w)] -= each.zone_fall_w[: len(at_once_w)]
        for each in self._changes:
            zone_fall_w[: len(each.zone_fall_w)] -= each.zone_fall_w[: len(zone_fall_w)]
        if now_s < self.since_s + caps.pace_s:
            rise_w, zone_rise_w = 0, np.zeros_like(caps.zone_w_per_min)
        zone_fall_w = np.minimum(zone_fall_w, at_once_w)
        return Allowance(max(0, rise_w), np.maximum(zone_rise_w, 0), np.maximum(zone_fall_w, 0))

    def note(self, change_w: IntColumn, zone_no: Numbers, caps: RampCaps, now_s: int) -> None:
        """Remember a committed change, one row per site: rises above zero, falls below."""
        if caps.slows and change_w.any():
            rise_w, fall_w = np.maximum(change_w, 0), np.maximum(-change_w, 0)
            zones = len(caps.zone_w_per_min)
            by_zone = [_by_zone(each, zone_no, zones) if zones else _NO_ZONES for each in (rise_w, fall_w)]
            self._changes.append(_Change(now_s, int(rise_w.sum()), *by_zone))


def brake_for(
    caps: RampCaps,
    allowance: Allowance,
    *,
    stretches: Sequence[tuple[int | None, int]],
    starts_in_s: int,
    planned_w: IntColumn,
    silent: BoolColumn,
    zone_no: Numbers,
    events: int,
) -> Brake:
    """Return what an event may do now so that neither its rise nor its scheduled falls pass a cap.

    Args:
        caps: Of fleet and zones.
        allowance: How much setpoints may change now, less what more important events took.
        stretches: Power and seconds of what is left, the one to hold now first.
        starts_in_s: Until the first stretch begins; commands that wait for it all start together.
        planned_w: What the event's plan asks already, by site.
        silent: The sites that nobody can tell less: they go on through a fall to a smaller power.
        zone_no: The zone of each site.
        events: How many events share the caps.

    The ceilings come down ahead of each scheduled fall and are down one pace before it. Where no cap holds
    it, power falls when that is asked. What a stretch will ask that asks for all that can be sustained is
    not known ahead.
    """
    if not caps.slows:
        return NO_BRAKE
    planned_zone_w = _by_zone(planned_w, zone_no, zones) if (zones := len(caps.zone_w_per_min)) else _NO_ZONES
    deaf_w = np.where(silent, planned_w, 0)
    deaf_zone_w = _by_zone(deaf_w, zone_no, zones) if zones and deaf_w.any() else _NO_ZONES
    rise_w, zone_rise_w = allowance.rise_w, allowance.zone_rise_w
    if starts_in_s > 0:
        # What leaves ahead of the start moves at one moment, whenever it was sent.
        rise_w = max(0, min(rise_w, caps.fleet_w_per_min * caps.pace_s // 60 - int(planned_w.sum())))
        zone_rise_w = np.where(planned_zone_w.any(), 0, zone_rise_w)
    share = caps.shared_by(events)
    capped = caps.zone_w_per_min < UNBOUNDED_W
    floor_w = np.where(capped, np.maximum(planned_zone_w - allowance.zone_fall_w, 0), 0)
    ceiling_w, zone_ceiling_w = UNBOUNDED_W, np.full(zones, UNBOUNDED_W)
    ahead_s = max(0, starts_in_s) - caps.pace_s
    falls = [*(power for power, _ in stretches[1:]), 0]
    for (_, length_s), next_w in zip(stretches, falls, strict=True):
        ahead_s = min(ahead_s + length_s, LONGEST_S)
        if next_w is None:
            continue
        if caps.fleet_w_per_min < UNBOUNDED_W:
            # A home cut under 500 W ends whole, one in each zone that is cut by itself: that much more than
            # the ceiling asks may fall in a minute.
            whole_w = min(MIN_COMMAND_W * (1 + int(capped.sum())), share.fleet_w_per_min // 4)
            fall_w = (share.fleet_w_per_min - whole_w) * max(0, ahead_s) // 60
            ceiling_w = min(ceiling_w, next_w + fall_w)
        ceilings_w = _zone_ceilings(share, planned_zone_w, floor_w, next_w, ahead_s)
        if len(deaf_zone_w):
            left_w = max(0, next_w - int(deaf_w.sum()))
            beside_w = _ceilings_beside(deaf_zone_w, share, planned_zone_w, floor_w, left_w, ahead_s)
            ceilings_w = np.minimum(ceilings_w, beside_w)
        zone_ceiling_w = np.minimum(zone_ceiling_w, ceilings_w)
    return Brake(rise_w, zone_rise_w, ceiling_w, zone_ceiling_w, slows=True, zone_floor_w=floor_w)


def _ceilings_beside(
    deaf_w: IntColumn, caps: RampCaps, zone_w: IntColumn, floor_w: IntColumn, left_w: int, ahead_s: int
) -> IntColumn:
    """Return what each zone may carry where its silent homes go on, and what all of them leave is ``left_w``.

    The others have to be down to that, but no faster than their floors allow: that a home is silent is
    known too late for more.
    """
    others_w, others_floor_w = zone_w - deaf_w, np.maximum(floor_w - deaf_w, 0)
    ceiling_w = deaf_w + _zone_ceilings(caps, others_w, others_floor_w, left_w, ahead_s)
    return np.where(ceiling_w < floor_w, floor_w, ceiling_w)


def _zone_ceilings(
    caps: RampCaps, zone_w: IntColumn, floor_w: IntColumn, next_w: int, ahead_s: int
) -> IntColumn:
    """Return what each capped zone may carry so that all of them can fall to a power in time.

    What a zone cannot shed in that time it keeps, and all that is kept is at most ``next_w``. Where it
    would be more, zones fall by the same multiple of their caps, at first to their floors: as it grows by
    one second's caps in a second, none has to fall faster than its own. What is left is shared by those
    that may still rise.
    """
    capped = caps.zone_w_per_min < UNBOUNDED_W
    rate = np.where(capped, np.maximum(caps.zone_w_per_min - MIN_COMMAND_W, 0), 0)
    fall_w = rate * max(0, ahead_s) // 60
    kept_w = np.where(capped, np.maximum(zone_w - fall_w, 0), 0)
    over_w = int(kept_w.sum()) - next_w
    if over_w > 0:
        kept_w = kept_w - _alike(np.minimum(kept_w, zone_w - floor_w), rate, over_w)
        kept_w = kept_w - _alike(kept_w, rate, int(kept_w.sum()) - next_w)
    elif rate.any():
        kept_w = kept_w - over_w * rate // int(rate.sum())
    return np.where(capped, fall_w + kept_w, UNBOUNDED_W)


def _alike(most_w: IntColumn, rate: IntColumn, sum_w: int) -> IntColumn:
    """Return parts of a sum, each the same multiple of its rate but where that is more than it can give."""
    given_w, left_w, rates = np.zeros_like(most_w), max(0, sum_w), int(rate.sum())
    # Exactly in order, or a zone with a low cap would give what is left beside those with very high ones.
    multiples = [Fraction(each, max(by, 1)) for each, by in zip(most_w.tolist(), rate.tolist(), strict=True)]
    for place in sorted(range(len(multiples)), key=multiples.__getitem__):
        part_w = left_w * int(rate[place]) // rates if rates else left_w
        given_w[place] = min(int(most_w[place]), part_w)
        left_w, rates = left_w - int(given_w[place]), rates - int(rate[place])
    return given_w
