"""What a program is told of an event: each clock hour over all settled sites, with how far it is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from vpp.domain.delivery import QUALITY_CODES, Quality
from vpp.domain.interval import Interval
from vpp.domain.settlement import Settlement, SettlementLine, SiteQuality


@dataclass(frozen=True, slots=True)
class HourTotal:
    """One clock hour of an event over all settled sites. Energies are of the part that counts.

    ``counted`` sites have energy and a baseline; only they are summed. ``quality`` is the worst hour of
    any site in it; a site without a baseline counts as MISSING.
    """

    hour: Interval
    sites: int
    counted: int
    metered_wh: int
    baseline_wh: Fraction
    incremental_wh: Fraction
    quality: Quality


@dataclass(frozen=True, slots=True)
class StorageTotal:
    """What the settled batteries held together at a moment: when full, then, and the power they can give."""

    usable_wh: int  # above zero
    stored_wh: int
    max_discharge_w: int


def hour_totals(settlement: Settlement) -> tuple[HourTotal, ...]:
    """Return the hours of a settled event, in order; none where no site was settled."""
    lines: dict[Interval, list[SettlementLine]] = {}
    for line in settlement.lines:
        for hour in line.hours:
            lines.setdefault(hour.hour, []).append(line)
    return tuple(_total(hour, lines[hour]) for hour in sorted(lines))


def _total(hour: Interval, lines: Sequence[SettlementLine]) -> HourTotal:
    metered, counted, worst = 0, 0, 0
    baseline, incremental = Fraction(0), Fraction(0)
    for line in lines:
        of_hour = next(each for each in line.hours if each.hour == hour)
        quality = Quality.MISSING if line.quality is SiteQuality.NO_BASELINE else of_hour.quality
        worst = max(worst, QUALITY_CODES.index(quality))
        if of_hour.metered_wh is None or of_hour.baseline_wh is None:
            continue
        counted += 1
        metered += of_hour.metered_wh
        baseline += of_hour.baseline_wh
        incremental += of_hour.incremental_wh
    return HourTotal(hour, len(lines), counted, metered, baseline, incremental, QUALITY_CODES[worst])
