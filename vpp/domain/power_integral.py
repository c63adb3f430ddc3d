"""Energy from power samples, only to check what the counters say: counters are what is paid.

A counter and its meter's own power samples may differ by half a percent, the class of a revenue-grade
meter, or by 50 Wh where that is more. Beyond it nobody knows which of the two is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise

import numpy as np

from vpp.domain.delivery import (
    CLOSE_NEIGHBOURS_S,
    INSTANTS,
    QUALITY_CODES,
    CounterTrack,
    Quality,
    net_energy,
)
from vpp.domain.quantities import BoolColumn, IntColumn, WattHours, Watts

TOLERANCE = Fraction(5, 1000)
TOLERANCE_WH = 50
NONE_LOST_S = 45
"""In an event a gateway reports every 30 s: between two samples farther apart one was lost."""


class Sampling(StrEnum):
    """What a power sample stands for."""

    INSTANT = "instant"  # the power at that instant
    MEAN = "mean"  # the mean over the stretch that begins there


@dataclass(frozen=True, slots=True)
class PowerSample:
    """One power, at whole seconds since 1970. Discharge is positive."""

    at_s: int
    power: Watts


def integrated_wh(samples: Sequence[PowerSample], *, sampling: Sampling, until_s: int) -> Fraction:
    """Return the exact watt-hours from the first sample to ``until_s``.

    Instants are joined by straight lines and the last one must lie at ``until_s`` or after; means hold
    until the next sample. Samples may come in any order.

    Raises:
        ValueError: There is no sample, or the instants end before ``until_s``.
    """
    ordered = sorted(samples, key=lambda each: each.at_s)
    if not ordered:
        raise ValueError("no power sample: nothing can be integrated")
    if sampling is Sampling.MEAN:
        edges = [*(each.at_s for each in ordered[1:]), until_s]
        watt_s = sum(
            (each.power * (edge - each.at_s) for each, edge in zip(ordered, edges, strict=True)), start=0
        )
        return Fraction(watt_s, 3600)
    if ordered[-1].at_s < until_s:
        raise ValueError(f"the last power sample lies {until_s - ordered[-1].at_s} s before the end")
    total = Fraction(0)
    for one, other in pairwise(ordered):
        if one.at_s >= until_s:
            break
        ends_s = min(other.at_s, until_s)
        if other.at_s > one.at_s:
            slope = Fraction(other.power - one.power, other.at_s - one.at_s)
            at_end = one.power + slope * (ends_s - one.at_s)
            total += (one.power + at_end) / 2 * (ends_s - one.at_s)
    return total / 3600


def counters_agree(counted: WattHours, integrated: Fraction) -> bool:
    """Return whether a counter's difference is what the power samples make it, within the tolerance.

    Source: revenue-grade class of the meters, 0.5 %; the 50 Wh are for counters that move in steps.
    """
    apart = abs(counted - integrated)
    return apart <= TOLERANCE_WH or apart <= TOLERANCE * abs(integrated)


@dataclass(frozen=True, slots=True)
class PowerColumns:
    """Power samples of many sites, in any order and any number of copies; discharge is positive.

    Each is the mean since the site's sample before it, as gateways report.
    """

    site: IntColumn
    at_s: IntColumn
    power_w: IntColumn


@dataclass(frozen=True, slots=True)
class CrossCheck:
    """What counters and power samples say of the same stretch; one row per site in every column.

    The stretch runs from the first meter reading to the last of those that lie between a site's samples,
    so the counters are as read there. ``integrated_mwh`` is in thousandths of a watt-hour. ``known`` is
    false where a comparison has no ground: fewer than two readings, samples over 300 s apart, or counters
    that are MISSING or BAD; then only ``site`` means anything. ``open_mwh`` is what the integral may be off
    where a sample was lost between two, so that the battery may have rested there, or where power changed:
    one sent at once because something changed may give the power of its instant instead of the mean.
    """

    site: IntColumn
    from_s: IntColumn
    until_s: IntColumn
    counted_wh: IntColumn
    integrated_mwh: IntColumn
    known: BoolColumn
    open_mwh: IntColumn

    @property
    def refuted(self) -> BoolColumn:
        """Return whether they differ by more than the tolerance and what the samples themselves leave open.

        Then one of the two is wrong whatever samples were lost on the way: the counters are not believed.
        """
        apart = np.maximum(np.abs(self.counted_wh * 1_000 - self.integrated_mwh) - self.open_mwh, 0)
        beyond: BoolColumn = (apart > TOLERANCE_WH * 1_000) & (
            apart * TOLERANCE.denominator > np.abs(self.integrated_mwh) * TOLERANCE.numerator
        )
        return beyond & self.known

    @property
    def agrees(self) -> BoolColumn:
        """Return whether the two agree within the tolerance; false where nothing is known."""
        apart = np.abs(self.counted_wh * 1_000 - self.integrated_mwh)
        within: BoolColumn = (apart <= TOLERANCE_WH * 1_000) | (
            apart * TOLERANCE.denominator <= np.abs(self.integrated_mwh) * TOLERANCE.numerator
        )
        return within & self.known


def cross_check(samples: PowerColumns, track: CounterTrack, sites: int) -> CrossCheck:
    """Return the comparison for each site; ``site`` of samples and track are positions below ``sites``."""
    everyone = np.arange(sites, dtype=np.int64)
    key = samples.site * INSTANTS + samples.at_s
    key, first = np.unique(key, return_index=True)
    site, at_s, power_w = key // INSTANTS, key % INSTANTS, samples.power_w[first]
    begins = np.searchsorted(site, everyone, side="left")
    ends = np.searchsorted(site, everyone, side="right") - 1
    sampled = ends > begins
    if not sampled.any():
        nothing = np.zeros(sites, dtype=np.int64)
        return CrossCheck(everyone, nothing, nothing, nothing, nothing, sampled, nothing)
    last = len(key) - 1
    from_key, until_key = key[np.minimum(begins, last)], key[np.maximum(ends, 0)]
    reading = np.minimum(np.searchsorted(track.key, from_key, side="left"), max(len(track.key) - 1, 0))
    final = np.maximum(np.searchsorted(track.key, until_key, side="right") - 1, 0)
    known = sampled & (final > reading)
    from_s = np.where(known, track.key[reading] % INSTANTS if len(track.key) else 0, 0)
    until_s = np.where(known, track.key[final] % INSTANTS if len(track.key) else 0, 0)
    counted_wh, quality = net_energy(track, everyone, from_s, until_s)
    pieces = np.flatnonzero(site[1:] == site[:-1])
    longest_s = np.zeros(sites, dtype=np.int64)
    np.maximum.at(longest_s, site[pieces], at_s[pieces + 1] - at_s[pieces])
    known &= (longest_s <= CLOSE_NEIGHBOURS_S) & (quality <= QUALITY_CODES.index(Quality.ESTIMATED))
    # Each sample is the mean since the one before it, so it holds backwards: a rectangle.
    from_at, until_at = np.maximum(at_s[pieces], from_s[site[pieces]]), at_s[pieces + 1]
    inside_s = np.maximum(np.minimum(until_at, until_s[site[pieces]]) - from_at, 0)
    total = np.zeros(sites, dtype=np.int64)
    np.add.at(total, site[pieces], power_w[pieces + 1] * 1_000 * inside_s)
    left_open = np.zeros(sites, dtype=np.int64)
    one_w, other_w = power_w[pieces], power_w[pieces + 1]
    lost = at_s[pieces + 1] - at_s[pieces] > NONE_LOST_S
    unsure_w = np.where(lost, np.maximum(np.abs(one_w), np.abs(other_w)), 0)
    unsure_w = np.maximum(unsure_w, np.abs(other_w - one_w))
    np.add.at(left_open, site[pieces], unsure_w * 1_000 * inside_s)
    return CrossCheck(everyone, from_s, until_s, counted_wh, total // 3600, known, -(-left_open // 3600))
