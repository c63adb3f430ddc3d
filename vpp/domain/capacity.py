"""How much power can be promised for a window, and how surely.

A home that was asked gives a share of what it was asked. Its expected share comes from its track
record, and from a stated prior as long as it has little of one. Homes fail for themselves, and to a
part together: an outage, a heat wave, our own blindness. Forecasts only: nothing here commands anybody.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import isqrt
from statistics import NormalDist

import numpy as np

from vpp.domain.brake import Numbers
from vpp.domain.quantities import IntColumn

PRIOR_SHARE_PERMILLE = 900
"""What a home without any record is expected to give of what it is asked."""
PRIOR_EVENTS = 5
"""How many events of its own weigh as much as the prior."""
PRIOR_COMMON_PERMILLE = 50
"""Standard deviation of what all homes have in common, before events have shown it."""
LONGEST_SEARCH = 24


@dataclass(frozen=True, slots=True)
class Firm:
    """Power that is reached or exceeded in 90, 50 and 10 of 100 such events, in watts."""

    p90_w: int
    p50_w: int
    p10_w: int


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """What sites gave of what they were asked: one row per site.

    ``share_sum_permille`` adds up the shares of ``events``. ``fleet_shares_permille`` has one share for
    each event, of all sites together.
    """

    events: IntColumn
    share_sum_permille: IntColumn
    fleet_shares_permille: tuple[int, ...] = ()

    @classmethod
    def empty(cls, sites: int) -> "TrackRecord":
        """Return the record of sites that were never asked."""
        nothing = np.zeros(sites, dtype=np.int64)
        return cls(nothing, nothing)

    def with_event(
        self, share_permille: IntColumn, known: IntColumn, fleet_share_permille: int
    ) -> "TrackRecord":
        """Return the record with one more event; ``known`` are the sites whose share is known."""
        events, shares = self.events.copy(), self.share_sum_permille.copy()
        events[known] += 1
        shares[known] += share_permille[known]
        return TrackRecord(events, shares, (*self.fleet_shares_permille, fleet_share_permille))

    def expected_permille(self) -> IntColumn:
        """Return the share expected of each site, the prior weighed in."""
        prior = PRIOR_EVENTS * PRIOR_SHARE_PERMILLE
        expected: IntColumn = (prior + self.share_sum_permille) // (PRIOR_EVENTS + self.events)
        return expected

    @property
    def common_permille(self) -> int:
        """Return the standard deviation of what all homes have in common, the prior weighed in."""
        shares = self.fleet_shares_permille
        mean = sum(shares) // len(shares) if shares else 0
        squares = sum((share - mean) ** 2 for share in shares) + PRIOR_EVENTS * PRIOR_COMMON_PERMILLE**2
        return isqrt(squares // (PRIOR_EVENTS + len(shares)))


def deviations_milli(confidence_permille: int) -> int:
    """Return by how many thousandths of a standard deviation the expected power is to be lowered."""
    return round(1000 * NormalDist().inv_cdf(confidence_permille / 1000))


def power_reached_w(
    power_w: IntColumn, expected_permille: IntColumn, common_permille: int, *, confidence_permille: int
) -> int:
    """Return the power that is reached with that confidence when sites are asked for ``power_w``.

    Each site is taken to give all or nothing, with its expected share as the chance: that spreads more
    than any other outcome of the same mean. What homes have in common is added, because it does not
    average out over a large fleet.
    """
    one = np.zeros(len(power_w), dtype=np.int64)
    reached = _reached(power_w, expected_permille, common_permille, one, 1, confidence_permille)
    return int(reached[0])


def _reached(
    power_w: IntColumn,
    expected_permille: IntColumn,
    common_permille: int,
    group_no: Numbers,
    groups: int,
    confidence_permille: int,
) -> IntColumn:
    mean_w, own_variance, most_w = (np.zeros(groups, dtype=np.int64) for _ in range(3))
    np.add.at(mean_w, group_no, power_w * expected_permille)
    mean_w //= 1000
    np.add.at(
        own_variance,
        group_no,
        power_w * power_w // 1000 * (expected_permille * (1000 - expected_permille) // 1000),
    )
    np.add.at(most_w, group_no, power_w)
    milli = deviations_milli(confidence_permille)
    deviation_w = np.array(
        [
            isqrt(variance + (mean * common_permille // 1000) ** 2)
            for mean, variance in zip(mean_w.tolist(), own_variance.tolist(), strict=True)
        ],
        dtype=np.int64,
    )
    reached: IntColumn = np.clip(mean_w - deviation_w * milli // 1000, 0, most_w)
    return reached


def firm_by_group(
    power_w: IntColumn, record: TrackRecord, group_no: Numbers, groups: int
) -> tuple[IntColumn, IntColumn, IntColumn]:
    """Return p90, p50 and p10 in watts for each group of sites; all sites in group 0 for the whole fleet."""
    expected, common = record.expected_permille(), record.common_permille
    p90, p50, p10 = (
        _reached(power_w, expected, common, group_no, groups, confidence) for confidence in (900, 500, 100)
    )
    return p90, p50, p10


def firm_power(power_w: IntColumn, record: TrackRecord) -> Firm:
    """Return what sites that can hold ``power_w`` reach together."""
    p90, p50, p10 = firm_by_group(power_w, record, np.zeros(len(power_w), dtype=np.int64), 1)
    return Firm(int(p90[0]), int(p50[0]), int(p10[0]))


@dataclass(frozen=True, slots=True)
class OverSelection:
    """How much to ask of the fleet so that a target is reached surely enough; ``reaches_w`` says how much is.

    Where even the whole fleet does not reach it, the whole fleet is asked.
    """

    asked_w: int
    reaches_w: int
    setpoint_w: IntColumn


def over_select(
    target_w: int,
    most_w: int,
    record: TrackRecord,
    share_out: Callable[[int], IntColumn],
    *,
    confidence_permille: int,
) -> OverSelection:
    """Return the least power that, shared out over the fleet, reaches the target with that confidence.

    Args:
        target_w: What was promised.
        most_w: All that the fleet can hold.
        record: Of the sites, aligned with what ``share_out`` returns.
        share_out: Returns each site's setpoint when that much is asked of the fleet.
        confidence_permille: How surely.
    """
    expected, common = record.expected_permille(), record.common_permille

    def reached(asked_w: int) -> tuple[int, IntColumn]:
        """Return what is surely reached when that much is asked, and each site's setpoint."""
        setpoint_w = share_out(asked_w)
        sure_w = power_reached_w(setpoint_w, expected, common, confidence_permille=confidence_permille)
        return sure_w, setpoint_w

    too_little, enough = min(target_w, most_w), most_w
    best_w, best = reached(enough)
    for _ in range(LONGEST_SEARCH):
        if best_w < target_w or enough - too_little <= max(500, target_w // 1000):
            break
        middle = (too_little + enough) // 2
        found_w, found = reached(middle)
        if found_w >= target_w:
            enough, best_w, best = middle, found_w, found
        else:
            too_little = middle
    return OverSelection(enough, best_w, best)
