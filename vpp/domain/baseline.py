"""What homes would have done anyway: the average of similar days, chosen by a named method.

Knows days and clock hours in a program's own zone, over many sites at once. Where the days'
energies come from and what they are worth is not its business.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from fractions import Fraction
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from vpp.domain.delivery import QUALITY_CODES, Quality
from vpp.domain.interval import Interval
from vpp.domain.quantities import BoolColumn, IntColumn, column

LOOKBACK_DAYS = 45
"""Days before the event among which similar days are looked for."""
FEWEST_VALID_DAYS = 10
"""An account needs this many days of interval data, of any kind, for a valid baseline."""

_WORST_VALID = QUALITY_CODES.index(Quality.ESTIMATED)


class DayDropped(StrEnum):
    """Why a similar day was passed over."""

    EVENT = "event"  # the site was commanded, tests and unpaid events included
    DUAL_EVENT = "dual_event"
    OUTAGE = "outage"
    INVALID_DATA = "invalid_data"
    NOT_AMONG_HIGHEST = "not_among_highest"  # looked at by a method that averages the highest days


DROP_CODES: tuple[DayDropped | None, ...] = (None, *DayDropped)
"""A reason's number in a column is its position here; zero keeps the day."""


class UnknownBaseline(ValueError):
    """A program names a baseline method that is not built."""


@dataclass(frozen=True, slots=True)
class ClockHour:
    """A local clock hour of an event: days after the event's date, hour of the day, and which of two.

    ``fold`` is 1 for the second of the two equal hours in the night when clocks go back.
    """

    day_offset: int
    hour: int
    fold: int = 0

    def on(self, day: date, zone: ZoneInfo) -> Interval | None:
        """Return this hour of a day as UTC, or None where the clock skips it.

        On a day with one such hour the fold does not matter.
        """
        local = datetime.combine(day + timedelta(days=self.day_offset), time(self.hour), tzinfo=zone)
        starts_at = local.replace(fold=self.fold).astimezone(_UTC)
        if starts_at.astimezone(zone).hour != self.hour:
            return None
        return Interval(starts_at, starts_at + timedelta(hours=1))


_UTC = ZoneInfo("UTC")


def clock_hour_of(hour: Interval, event_day: date, zone: ZoneInfo) -> ClockHour:
    """Return which clock hour an interval of :func:`interval.clock_hours` is, seen from an event's date."""
    local = hour.starts_at.astimezone(zone)
    return ClockHour((local.date() - event_day).days, local.hour, local.fold)


@dataclass(frozen=True, slots=True)
class DayEnergies:
    """Metered energy of the days before an event, for many sites.

    Axes: site, day (newest first, the day before the event is 0), event clock hour. ``energy_wh`` is of
    the whole hour, signed; ``quality`` holds codes of ``QUALITY_CODES``; ``excluded`` (site, day) holds
    codes of ``DROP_CODES``.
    """

    event_day: date
    energy_wh: NDArray[np.int64]
    quality: NDArray[np.int64]
    excluded: NDArray[np.int64]

    def day(self, position: int) -> date:
        """Return the local date of a position on the day axis."""
        return self.event_day - timedelta(days=position + 1)


@dataclass(frozen=True, slots=True)
class Baselines:
    """The baseline of many sites, exact: ``sum_wh`` (site, hour) over ``divisor``.

    ``weights`` (site, day) is what each day counts, in whole parts of ``divisor``; ``dropped`` (site,
    day) are codes of similar days passed over on the way to them. ``valid`` is false for a site without
    enough days; its sums mean nothing. ``too_few_days`` tells which rule failed: true where not even ten
    days hold data.
    """

    sum_wh: NDArray[np.int64]
    divisor: IntColumn  # by site
    valid: BoolColumn
    too_few_days: BoolColumn
    weights: NDArray[np.int64]
    dropped: NDArray[np.int64]

    @property
    def chosen(self) -> NDArray[np.bool_]:
        """Return, by site and day, whether the day is averaged."""
        return self.weights > 0


Exact = NDArray[np.object_]
"""A column of Python integers: exact however large they are, and still no loop of ours."""

SelectDays = Callable[[DayEnergies, Callable[[date], bool]], Baselines]
"""Takes the days and the program's rule for weekend and holiday days; one entry per site comes back."""


@dataclass(frozen=True, slots=True)
class DayOfAdjustment:
    """How a grid meter's baseline follows the event day itself: by a ratio inside these bounds.

    The ratio compares the first three of the four clock hours before the event with the same hours of
    the days averaged; with ``after_too``, the last three of the four after it count as well.
    """

    lowest: Fraction
    highest: Fraction
    after_too: bool = False

    def factor(self, metered_wh: int, baseline_wh: Fraction) -> Fraction:
        """Return the factor of one site: see :meth:`factors`."""
        told = (metered_wh, baseline_wh.numerator, baseline_wh.denominator)
        numerator, denominator = self.factors(*(np.array([each], dtype=object) for each in told))
        return Fraction(numerator[0], denominator[0])

    def factors(self, metered_wh: Exact, baseline_sum_wh: Exact, divisor: Exact) -> tuple[Exact, Exact]:
        """Return what baselines are multiplied by, as numerators and denominators in lowest terms, by site.

        Metered over baseline energy, inside the bounds; where the baseline of those hours is nothing or
        export, a ratio has no meaning: then one.

        Args:
            metered_wh: Energy of those hours on the event's day, by site, as Python integers.
            baseline_sum_wh: The same of the days averaged, to be divided by ``divisor``.
            divisor: As of :class:`Baselines`.
        """
        above, below = metered_wh * divisor, np.where(baseline_sum_wh > 0, baseline_sum_wh, 1)
        above = np.where(baseline_sum_wh > 0, above, 1)
        for bound, beyond in ((self.lowest, np.less), (self.highest, np.greater)):
            out = beyond(above * bound.denominator, bound.numerator * below).astype(bool)
            out &= (baseline_sum_wh > 0).astype(bool)
            above, below = np.where(out, bound.numerator, above), np.where(out, bound.denominator, below)
        common = np.gcd(above, below)
        return above // common, below // common


@dataclass(frozen=True, slots=True)
class BaselineMethod:
    """How days are chosen and weighed, and how a grid meter's baseline follows the event day.

    A battery's own counters are never adjusted: what the home uses does not show in them.
    """

    select: SelectDays
    adjustment: DayOfAdjustment | None


def ten_of_ten(days: DayEnergies, is_rest_day: Callable[[date], bool]) -> Baselines:
    """Return the average of the ten most recent similar weekdays, or four weekend and holiday days.

    A day is passed over when it is excluded or when one of the event's clock hours is MISSING or BAD.

    Source: PG&E ELRP Group A terms, "average of the preceding similar days"; the counts of ten and four
    are PG&E's Capacity Bidding wording, read as the same here.
    """
    wanted = 4 if is_rest_day(days.event_day) else 10
    return average_of_latest(days, is_rest_day, latest=wanted, weights=[1] * wanted)


def five_of_ten(days: DayEnergies, is_rest_day: Callable[[date], bool]) -> Baselines:
    """Return the five highest of the ten latest weekdays, or the three highest of five rest days, weighted.

    Weekend and holiday days count 50, 30 and 20 hundredths, the highest most. A day is as high as its
    energy in all the event's clock hours; of equal days the later one counts as higher.

    Source: PG&E Power Saver Rewards (ELRP A.6), powersaver.pge.com/faq; the weights are decided here,
    the page says only "weighted".
    """
    if is_rest_day(days.event_day):
        return average_of_latest(days, is_rest_day, latest=5, weights=[50, 30, 20])
    return average_of_latest(days, is_rest_day, latest=10, weights=[1] * 5)


def without_baseline(days: DayEnergies, _: Callable[[date], bool]) -> Baselines:
    """Return zero for every site, for programs that pay all that is delivered. No day is looked at."""
    sites, _days, hours = days.energy_wh.shape
    nothing = np.zeros((sites, days.energy_wh.shape[1]), dtype=np.int64)
    return Baselines(
        sum_wh=np.zeros((sites, hours), dtype=np.int64),
        divisor=column(np.ones(sites)),
        valid=np.ones(sites, dtype=np.bool_),
        too_few_days=np.zeros(sites, dtype=np.bool_),
        weights=nothing,
        dropped=nothing,
    )


def average_of_latest(
    days: DayEnergies, is_rest_day: Callable[[date], bool], *, latest: int, weights: Sequence[int]
) -> Baselines:
    """Return the weighted average over the highest of the latest days of the event's own kind.

    Args:
        days: What was metered.
        is_rest_day: Tells the two kinds of days apart.
        latest: How many days are looked at; a site with fewer has no baseline.
        weights: What the highest day counts, the second, and so on; whole parts of their sum.
    """
    wants_rest = is_rest_day(days.event_day)
    positions = range(days.energy_wh.shape[1])
    similar = np.array([is_rest_day(days.day(position)) == wants_rest for position in positions], dtype=bool)
    has_data = (days.quality <= _WORST_VALID).all(axis=2)
    code = np.where(days.excluded > 0, days.excluded, 0)
    code = np.where((code == 0) & ~has_data, DROP_CODES.index(DayDropped.INVALID_DATA), code)
    eligible = similar & (code == 0)
    rank = np.cumsum(eligible, axis=1)
    looked_at = eligible & (rank <= latest)
    # Days older than the last one looked at were never looked at, so they are not "passed over".
    reached = rank - eligible < latest
    counts = _weigh(looked_at, days.energy_wh, latest, weights)
    code = np.where(looked_at & (counts == 0), DROP_CODES.index(DayDropped.NOT_AMONG_HIGHEST), code)
    too_few_days = has_data.sum(axis=1) < FEWEST_VALID_DAYS
    return Baselines(
        sum_wh=weighted_sum(counts, days.energy_wh),
        divisor=column(np.full(len(counts), sum(weights))),
        valid=(looked_at.sum(axis=1) == latest) & ~too_few_days,
        too_few_days=too_few_days,
        weights=counts,
        dropped=np.where(similar & reached, code, 0),
    )


def _weigh(
    looked_at: NDArray[np.bool_], energy_wh: NDArray[np.int64], latest: int, weights: Sequence[int]
) -> NDArray[np.int64]:
    if len(weights) == latest and len(set(weights)) == 1:
        return looked_at * np.int64(weights[0])
    height = np.where(looked_at, energy_wh.sum(axis=2), np.iinfo(np.int64).min)
    # A stable sort of the turned-round days keeps the later of equal days last, so it is the higher one.
    order = np.argsort(height[:, ::-1], axis=1, kind="stable")[:, ::-1]
    highest = height.shape[1] - 1 - order[:, : len(weights)]
    counts = np.zeros(looked_at.shape, dtype=np.int64)
    np.put_along_axis(counts, highest, np.array(weights, dtype=np.int64)[None, :], axis=1)
    return np.where(looked_at, counts, 0)


def weighted_sum(weights: NDArray[np.int64], energy_wh: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return, by site and hour, the energies of the days times what each day counts."""
    summed: NDArray[np.int64] = np.einsum("sd,sdh->sh", weights, energy_wh)
    return summed


METHODS: Mapping[str, BaselineMethod] = {
    "ten_of_ten": BaselineMethod(ten_of_ten, DayOfAdjustment(Fraction(1), Fraction(140, 100))),
    "caiso_ten_of_ten": BaselineMethod(ten_of_ten, DayOfAdjustment(Fraction(80, 100), Fraction(120, 100))),
    "five_of_ten": BaselineMethod(
        five_of_ten, DayOfAdjustment(Fraction(60, 100), Fraction(140, 100), after_too=True)
    ),
    "none": BaselineMethod(without_baseline, None),
}
"""Every baseline method by the name that program files use."""


def baseline_method(name: str) -> BaselineMethod:
    """Return the method of that name.

    Raises:
        UnknownBaseline: There is none; the message lists those there are.
    """
    if name not in METHODS:
        raise UnknownBaseline(f"baseline method {name!r} is not one of {', '.join(sorted(METHODS))}")
    return METHODS[name]


def excluded_days(
    event_day: date,
    sites: int,
    exclusions: Sequence[tuple[IntColumn | None, date, DayDropped]],
) -> NDArray[np.int64]:
    """Return exclusion codes (site, day) for the days before an event.

    Args:
        event_day: The event's local date.
        sites: How many sites there are.
        exclusions: Positions of sites (None: all), the local day, why. Several for one day keep the
            reason named first in :class:`DayDropped`, whatever their order.
    """
    codes = np.zeros((sites, LOOKBACK_DAYS), dtype=np.int64)
    for positions, day, reason in sorted(exclusions, key=lambda each: -DROP_CODES.index(each[2])):
        back = (event_day - day).days - 1
        if 0 <= back < LOOKBACK_DAYS:
            codes[slice(None) if positions is None else positions, back] = DROP_CODES.index(reason)
    return codes
