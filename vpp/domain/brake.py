"""How fast the fleet's power may change: ramp caps in watts per minute, in total and for each zone.

Rises wait for their turn, and what falls on schedule is wound down ahead of that: to nothing in the fleet
and in each zone, between two powers of an event in the fleet only. Nothing else is braked downwards. Whoever
said no, or is cancelled, is released at once. A newer version that asks for less is followed at once, and for
one that ends earlier power falls at once to what can still be wound down: nobody goes on with what is no
longer asked. A zone is a county.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from vpp.domain.dispatch_plan import MIN_COMMAND_W
from vpp.domain.quantities import BoolColumn, IntColumn, bounded

Numbers = NDArray[np.integer]
"""A column of small dense numbers, of any width."""

UNBOUNDED_W = 10**12
LONGEST_S = 10**6  # an endless event ends further away than any fall takes
_NO_ZONES: IntColumn = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class RampCaps:
    """Most rise, or scheduled fall, of power in a minute.

    ``zone_w_per_min`` is indexed by zone, empty without zone caps; it bounds rises and falls to nothing.

    A decision is made once in ``pace_s`` at least: no more than that part of a minute's change is let
    through in as long.
    """

    fleet_w_per_min: int = UNBOUNDED_W
    zone_w_per_min: IntColumn = field(default_factory=lambda: _NO_ZONES)
    pace_s: int = 15

    @property
    def slows(self) -> bool:
        """Return whether anything is capped."""
        return self.fleet_w_per_min < UNBOUNDED_W or bool((self.zone_w_per_min < UNBOUNDED_W).any())

    def slowed_sites(self, zone_no: Numbers) -> BoolColumn:
        """Return the sites that stand under a cap: they start when told, not spread by a hash."""
        if self.fleet_w_per_min < UNBOUNDED_W or not len(self.zone_w_per_min):
            return np.full(len(zone_no), self.fleet_w_per_min < UNBOUNDED_W)
        return self.zone_w_per_min[zone_no] < UNBOUNDED_W

    def shared_by(self, events: int) -> "RampCaps":
        """Return the part of each of several events that may end at the same time."""
        if events <= 1:
            return self
        return RampCaps(self.fleet_w_per_min // events, self.zone_w_per_min // events, self.pace_s)


@dataclass(frozen=True, slots=True)
class Brake:
    """What one event's plan may do now. ``zone_rise_w`` and ``zone_ceiling_w`` are empty without zone caps.

    ``rise_w`` bounds the sum of all rises, ``ceiling_w`` the sum of all setpoints: above it the event
    could not be wound down in time, or its source's limit would be passed.
    """

    rise_w: int = UNBOUNDED_W
    zone_rise_w: IntColumn = field(default_factory=lambda: _NO_ZONES)
    ceiling_w: int = UNBOUNDED_W
    zone_ceiling_w: IntColumn = field(default_factory=lambda: _NO_ZONES)
    slows: bool = False

    def lowered(self, setpoint_w: IntColumn, charge: IntColumn, zone_no: Numbers) -> IntColumn:
        """Return setpoints under the ceilings; the emptiest homes end first."""
        kept, ceiling_w = setpoint_w, max(self.ceiling_w, 0)
        if not len(self.zone_ceiling_w) and int(kept.sum()) <= ceiling_w:
            return np.where(kept < MIN_COMMAND_W, 0, kept)
        last = np.lexsort((np.arange(len(charge)), -charge))
        if len(self.zone_ceiling_w):
            kept = _first_come(kept, last, zone_no, self.zone_ceiling_w)
        kept = _first_of_all(kept, last, ceiling_w)
        return np.where(kept < MIN_COMMAND_W, 0, kept)

    def slowed(self, before_w: IntColumn, after_w: IntColumn, zone_no: Numbers) -> IntColumn:
        """Return the new setpoints with no more rise than allowed, the largest rises first."""
        rise_w, kept_w = np.maximum(after_w - before_w, 0), np.minimum(before_w, after_w)
        most_w = max(0, min(self.rise_w, self.ceiling_w - int(kept_w.sum())))
        if not len(self.zone_rise_w) and int(rise_w.sum()) <= most_w:
            return np.where(after_w < MIN_COMMAND_W, 0, after_w)
        order = np.lexsort((np.arange(len(rise_w)), -rise_w))
        if len(self.zone_rise_w):
            rise_w = _first_come(rise_w, order, zone_no, self.zone_rise_w)
        slowed_w = kept_w + _first_of_all(rise_w, order, most_w)
        return np.where(slowed_w < MIN_COMMAND_W, 0, slowed_w)


NO_BRAKE = Brake()


def _first_come(watts: IntColumn, order: IntColumn, group_no: Numbers, caps_w: IntColumn) -> IntColumn:
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


@dataclass(slots=True)
class RampLog:
    """Rises that were committed lately. After a restart nothing may rise until one pace has passed."""

    since_s: int = 0
    _rises: list[tuple[int, int, IntColumn]] = field(default_factory=list)

    def allowance(self, caps: RampCaps, now_s: int) -> tuple[int, IntColumn]:
        """Return how much all setpoints may rise now, in total and by zone."""
        self._rises = [each for each in self._rises if each[0] > now_s - caps.pace_s]
        if now_s < self.since_s + caps.pace_s:
            return 0, np.zeros_like(caps.zone_w_per_min)
        spent_w = sum(fleet_w for _, fleet_w, _ in self._rises)
        by_zone = caps.zone_w_per_min * caps.pace_s // 60
        for _, _, zone_w in self._rises:
            by_zone[: len(zone_w)] -= zone_w[: len(by_zone)]
        return max(0, caps.fleet_w_per_min * caps.pace_s // 60 - spent_w), np.maximum(by_zone, 0)

    def note(self, rise_w: IntColumn, zone_no: Numbers, caps: RampCaps, now_s: int) -> None:
        """Remember a committed rise, one row per site."""
        if caps.slows and rise_w.any():
            zone_w = np.zeros_like(caps.zone_w_per_min)
            if len(zone_w):
                np.add.at(zone_w, zone_no, rise_w)
            self._rises.append((now_s, int(rise_w.sum()), zone_w))


def brake_for(
    caps: RampCaps,
    allowance: tuple[int, IntColumn],
    *,
    stretches: Sequence[tuple[int | None, int]],
    starts_in_s: int,
    planned_w: int,
    events: int,
) -> Brake:
    """Return what an event may do now so that neither its rise nor its scheduled ends pass a cap.

    Args:
        caps: Of fleet and zones.
        allowance: How much setpoints may rise now, less what more important events took.
        stretches: Power and seconds of what is left, the one to hold now first.
        starts_in_s: Until the first stretch begins; commands that wait for it all start together.
        planned_w: What the event's plan asks already.
        events: How many events share the caps.

    The ceilings come down ahead of each scheduled fall and are down one pace before it. A zone has one only
    ahead of a stretch that asks for nothing: what it keeps of a smaller power depends on which homes are
    emptiest by then, so a fall between two powers may pass a zone's cap. What a stretch will ask that asks
    for all that can be sustained is not known ahead.
    """
    if not caps.slows:
        return NO_BRAKE
    rise_w, zone_rise_w = allowance
    if starts_in_s > 0:
        # What leaves ahead of the start moves at one moment, whenever it was sent.
        rise_w = max(0, min(rise_w, caps.fleet_w_per_min * caps.pace_s // 60 - planned_w))
        zone_rise_w = zone_rise_w if planned_w == 0 else np.zeros_like(zone_rise_w)
    share = caps.shared_by(events)
    ceiling_w, zone_ceiling_w = UNBOUNDED_W, np.full(len(share.zone_w_per_min), UNBOUNDED_W)
    ahead_s = max(0, starts_in_s) - caps.pace_s
    falls = [*(power for power, _ in stretches[1:]), 0]
    for (_, length_s), next_w in zip(stretches, falls, strict=True):
        ahead_s = min(ahead_s + length_s, LONGEST_S)
        if next_w is None:
            continue
        # A home cut under 500 W ends whole: that much more than the ceiling asks may fall in a minute.
        ceiling_w = min(ceiling_w, next_w + _fallen_w(share.fleet_w_per_min - MIN_COMMAND_W, ahead_s))
        if next_w == 0:
            fall_w = np.maximum(share.zone_w_per_min - MIN_COMMAND_W, 0) * max(0, ahead_s) // 60
            zone_ceiling_w = np.minimum(zone_ceiling_w, fall_w)
    return Brake(rise_w, zone_rise_w, ceiling_w, zone_ceiling_w, slows=True)


def _fallen_w(w_per_min: int, seconds: int) -> int:
    return max(0, w_per_min) * max(0, seconds) // 60
