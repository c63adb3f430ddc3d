"""Energy from power samples, only to check what the counters say: counters are what is paid.

A counter and its meter's own power samples may differ by half a percent, the class of a revenue-grade
meter, or by 50 Wh where that is more. Beyond it nobody knows which of the two is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise

from vpp.domain.quantities import WattHours, Watts

TOLERANCE = Fraction(5, 1000)
TOLERANCE_WH = 50


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
