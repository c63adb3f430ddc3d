"""Which days are no weekdays: weekends, and the holidays of a named calendar."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from functools import lru_cache

_MONDAY, _THURSDAY, _SATURDAY, _SUNDAY = 0, 3, 5, 6


class UnknownCalendar(ValueError):
    """A program names a holiday calendar that is not built."""


@lru_cache(maxsize=64)  # asked for each of the days before each event that is settled
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
        UnknownCalendar: No such calendar is built; ``NERC`` and ``none`` are.
    """
    if calendar not in ("NERC", "none"):
        raise UnknownCalendar(f"holiday calendar {calendar!r} is not one of NERC, none")

    def is_rest_day(day: date) -> bool:
        """Return whether a local day is a weekend day or a holiday."""
        if day.weekday() >= _SATURDAY:
            return True
        return calendar == "NERC" and day in nerc_holidays(day.year)

    return is_rest_day
