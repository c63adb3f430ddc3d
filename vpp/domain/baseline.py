"""What homes would have done anyway: the average of similar days, chosen by a named method.

Knows days, holidays and clock hours in a program's own zone, over many sites at once. Where the days'
energies come from and what they are worth is not its business.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
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
_MONDAY, _THURSDAY, _SATURDAY, _SUNDAY = 0, 3, 5, 6


class DayDropped(StrEnum):
    """Why a similar day was passed over."""

    EVENT = "event"  # the site was commanded, tests and unpaid events included
    DUAL_EVENT = "dual_event"
    OUTAGE = "outage"
    INVALID_DATA = "invalid_data"


DROP_CODES: tuple[DayDropped | None, ...] = (None, *DayDropped)
"""A reason's number in a column is its position here; zero keeps the day."""


class UnknownBaseline(ValueError):
    """A program names a baseline method or a holiday calendar that is not built."""


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

    ``valid`` is false for a site without enough days; its sums mean nothing. ``too_few_days`` tells
    which rule failed: true where not even ten days hold data. ``chosen`` (site, day) are the days
    averaged, ``dropped`` (site, day) codes of similar days passed over on the way to them.
    """

    sum_wh: NDArray[np.int64]
    divisor: IntColumn  # by site
    valid: BoolColumn
    too_few_days: BoolColumn
    chosen: NDArray[np.bool_]
    dropped: NDArray[np.int64]


BaselineMethod = Callable[[DayEnergies, Callable[[date], bool]], Baselines]
"""Takes the days and the program's rule for weekend and holiday days; one entry per site comes back."""


def ten_of_ten(days: DayEnergies, is_rest_day: Callable[[date], bool]) -> Baselines:
    """Return the average of the ten most recent similar weekdays, or four weekend and holiday days.

    A day is passed over when it is excluded or when one of the event's clock hours is MISSING or BAD.

    Source: PG&E ELRP Group A terms, "average of the preceding similar days"; the counts of ten and four
    are PG&E's Capacity Bidding wording, read as the same here.
    """
    return average_of_latest(days, is_rest_day, weekdays=10, rest_days=4)


def average_of_latest(
    days: DayEnergies, is_rest_day: Callable[[date], bool], *, weekdays: int, rest_days: int
) -> Baselines:
    """Return the plain average over the latest days of the event's own kind."""
    wants_rest = is_rest_day(days.event_day)
    wanted = rest_days if wants_rest else weekdays
    positions = range(days.energy_wh.shape[1])
    similar = np.array([is_rest_day(days.day(position)) == wants_rest for position in positions], dtype=bool)
    has_data = (days.quality <= _WORST_VALID).all(axis=2)
    code = np.where(days.excluded > 0, days.excluded, 0)
    code = np.where((code == 0) & ~has_data, DROP_CODES.index(DayDropped.INVALID_DATA), code)
    eligible = similar & (code == 0)
    rank = np.cumsum(eligible, axis=1)
    chosen = eligible & (rank <= wanted)
    # Days older than the last chosen one were never looked at, so they are not "passed over".
    reached = rank - eligible < wanted
    enough_similar = chosen.sum(axis=1) == wanted
    too_few_days = has_data.sum(axis=1) < FEWEST_VALID_DAYS
    return Baselines(
        sum_wh=np.where(chosen[:, :, None], days.energy_wh, 0).sum(axis=1),
        divisor=column(np.full(len(chosen), wanted)),
        valid=enough_similar & ~too_few_days,
        too_few_days=too_few_days,
        chosen=chosen,
        dropped=np.where(similar & reached, code, 0),
    )


METHODS: Mapping[str, BaselineMethod] = {"ten_of_ten": ten_of_ten}
"""Every baseline method by the name that program files use."""


def baseline_method(name: str) -> BaselineMethod:
    """Return the method of that name.

    Raises:
        UnknownBaseline: There is none; the message lists those there are.
    """
    if name not in METHODS:
        raise UnknownBaseline(f"baseline method {name!r} is not one of {', '.join(sorted(METHODS))}")
    return METHODS[name]


def nerc_holidays(year: int) -> Sequence[date]:
    """Return the six NERC holidays of a year, in order.

    New Year, Memorial, Independence, Labor, Thanksgiving and Christmas Day. One that falls on a Sunday
    is kept on the Monday after; on a Saturday it stays.

    Source: NERC, "Additional Off-peak Days".
    """
    return (
        _off_sunday(date(year, 1, 1)),
        _last_monday_of_may(year),
        _off_sunday(date(year, 7, 4)),
        _nth(1, _MONDAY, year, 9),
        _nth(4, _THURSDAY, year, 11),
        _off_sunday(date(year, 12, 25)),
    )


def _off_sunday(day: date) -> date:
    return day + timedelta(days=1) if day.weekday() == _SUNDAY else day


def _last_monday_of_may(year: int) -> date:
    last = date(year, 5, 31)
    return last - timedelta(days=last.weekday())


def _nth(count: int, weekday: int, year: int, month: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (count - 1))


def rest_days(calendar: str) -> Callable[[date], bool]:
    """Return the rule that tells weekend and holiday days from weekdays in a named calendar.

    Raises:
        UnknownBaseline: No such calendar is built; ``NERC`` and ``none`` are.
    """
    if calendar not in ("NERC", "none"):
        raise UnknownBaseline(f"holiday calendar {calendar!r} is not one of NERC, none")

    def is_rest_day(day: date) -> bool:
        """Return whether a local day is a weekend day or a holiday."""
        if day.weekday() >= _SATURDAY:
            return True
        return calendar == "NERC" and day in nerc_holidays(day.year)

    return is_rest_day


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
