"""What of an event is settled: the part inside its terms, its clock hours, and the same hours before."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from vpp.domain.baseline import (
    LOOKBACK_DAYS,
    ClockHour,
    DayDropped,
    DayOfAdjustment,
    baseline_method,
    clock_hour_of,
)
from vpp.domain.enrollment import Enrollment
from vpp.domain.grid_event import EventHistory
from vpp.domain.interval import Interval, clock_hours, to_epoch, union
from vpp.domain.program import MeterOfRecord, Program, Terms
from vpp.domain.quantities import IntColumn, column
from vpp.domain.rest_days import rest_days


class NoTerms(ValueError):
    """A program has no edition of its terms for an event's date."""


@dataclass(frozen=True, slots=True)
class SettledEvent:
    """What of an event is settled, and under which terms.

    ``day`` is the local date on which the event starts. ``on`` is from when to when it was really on,
    None if it never was. ``parts`` are in order and apart; they lie inside the event and inside the
    terms, and are empty when nothing does. ``held_elsewhere`` is true where another event took some of them.
    """

    event_id: str
    program: Program
    terms: Terms
    day: date
    parts: tuple[Interval, ...]
    on: Interval | None = None
    held_elsewhere: bool = False


def settled_event(
    event_id: str,
    program: Program,
    intervals: Sequence[Interval],
    span: Interval | None,
    *,
    season_left_s: int | None = None,
) -> SettledEvent:
    """Return the part of an event that is settled.

    Args:
        event_id: The event.
        program: Whose terms hold.
        intervals: What the version that counts asks for, at least one, in order and apart.
        span: From when to when the event was really on: it begins at the latest of its start, its
            first commit and the leave it needed, and ends at its end or its cancel. None: never.
        season_left_s: What other events left of the season's hours; None where that bounds nothing.

    Raises:
        NoTerms: The program has no terms for the event's date.
    """
    day = intervals[0].starts_at.astimezone(program.zone).date()
    terms = program.terms_on(day)
    if terms is None:
        raise NoTerms(f"program {program.program_id} has no terms for {day}; nothing can be settled")
    held = [part for each in intervals if span is not None and (part := each.overlap(span)) is not None]
    on = Interval(held[0].starts_at, held[-1].ends_at) if held else None
    longest_s = terms.event_max_s if season_left_s is None else min(terms.event_max_s, season_left_s)
    parts = inside_terms(held, program, terms, longest_s=longest_s)
    return SettledEvent(event_id, program, terms, day, parts, on)


@dataclass(frozen=True, slots=True)
class SiteGrounds:
    """A settled site, when its own opt-out was committed, and when another event held it.

    Of a site that was never commanded the opt-out is no later than the event's beginning.
    """

    enrollment: Enrollment
    opted_out_at: datetime | None
    held_elsewhere: tuple[Interval, ...]


@dataclass(frozen=True, slots=True)
class Grounds:
    """All that an event's settlement stands on, besides the readings; sites by their number.

    ``on`` are the stretches in which the event was on. ``excluded`` are (site id or ``*``, local day,
    why), of the settled sites and the days that baselines look back to. What came from ``before`` on was
    not known to the settlement.
    """

    event: SettledEvent
    on: tuple[Interval, ...]
    sites: tuple[SiteGrounds, ...]
    excluded: tuple[tuple[str, date, DayDropped], ...]
    before: datetime


def earliest_start(history: EventHistory) -> datetime:
    """Return when an event was to begin by the earliest of all its versions; its last commit if by none."""
    starts = (step.interval.starts_at for version in history.versions for step in version.steps)
    return min(starts, default=history.latest.committed_at)


def closing_time(ended_at: datetime, program: Program) -> datetime:
    """Return until when readings of an event that ended then are taken."""
    return ended_at + timedelta(days=program.close_after_days)


def inside_terms(
    parts: Sequence[Interval], program: Program, terms: Terms, *, longest_s: int
) -> tuple[Interval, ...]:
    """Return what of the parts lies inside season and daily window, its first ``longest_s`` seconds.

    An event inside its program loses nothing; one that was forced is paid for this part only. The
    shortest length does not cut: it is a rule for signals, not for energy that was delivered.
    """
    allowed: list[Interval] = []
    left_s = longest_s
    for part in parts:
        for window in _windows(part, program, terms):
            inside = part.overlap(window)
            if inside is None or left_s <= 0:
                continue
            ends_at = min(inside.ends_at, inside.starts_at + timedelta(seconds=left_s))
            allowed.append(Interval(inside.starts_at, ends_at))
            left_s -= allowed[-1].seconds
    return tuple(allowed)


def _windows(part: Interval, program: Program, terms: Terms) -> list[Interval]:
    """Return the program's daily windows, in UTC, of the season's days that the part touches."""
    windows = []
    # A window that passes midnight belongs to the day before.
    day = part.starts_at.astimezone(program.zone).date() - timedelta(days=1)
    last = part.ends_at.astimezone(program.zone).date()
    while day <= last:
        if program.season_around(day) is not None:
            closes_on = day if terms.window_closes > terms.window_opens else day + timedelta(days=1)
            opens = datetime.combine(day, terms.window_opens, tzinfo=program.zone)
            closes = datetime.combine(closes_on, terms.window_closes, tzinfo=program.zone)
            windows.append(Interval(opens.astimezone(UTC), closes.astimezone(UTC)))
        day += timedelta(days=1)
    return windows


def without(event: SettledEvent, taken: Sequence[Interval]) -> SettledEvent:
    """Return the event without the stretches in which another one held the site."""
    parts = event.parts
    for each in taken:
        kept: list[Interval] = []
        for part in parts:
            if part.starts_at < min(each.starts_at, part.ends_at):
                kept.append(Interval(part.starts_at, min(each.starts_at, part.ends_at)))
            if max(each.ends_at, part.starts_at) < part.ends_at:
                kept.append(Interval(max(each.ends_at, part.starts_at), part.ends_at))
        parts = tuple(kept)
    return replace(event, parts=parts, held_elsewhere=parts != event.parts)


def event_hours(event: SettledEvent) -> tuple[Interval, ...]:
    """Return the clock hours that the settled parts touch, each once, in order."""
    touched = {hour for part in event.parts for hour in clock_hours(part, event.program.zone)}
    return tuple(sorted(touched))


def adjustment_hours(event: SettledEvent) -> tuple[Interval, ...]:
    """Return the clock hours by which a grid meter's baseline is adjusted, in order; none for a battery.

    The first three of the four before the clock hour in which the event begins and, where the method
    asks for it, the last three of the four after the one in which it ends.

    Source: PG&E Capacity Bidding wording, read as the same for ELRP. Interpretation: the hours after are
    taken as the mirror of those before.
    """
    adjustment = adjustment_of(event)
    if adjustment is None or event.on is None:
        return ()
    hours = tuple(clock_hours(event.on, event.program.zone))
    first, last = hours[0].starts_at, hours[-1].ends_at
    asked = [first - timedelta(hours=back) for back in (4, 3, 2)]
    if adjustment.after_too:
        asked += [last + timedelta(hours=past) for past in (1, 2, 3)]
    return tuple(Interval(starts_at, starts_at + timedelta(hours=1)) for starts_at in asked)


def adjustment_of(event: SettledEvent) -> DayOfAdjustment | None:
    """Return how the event's baselines are adjusted; None where the battery's own counters count."""
    if event.terms.meter is not MeterOfRecord.SITE:
        return None
    return baseline_method(event.terms.baseline_method).adjustment


READ_AROUND = timedelta(hours=1)
"""How far beyond an hour a reading can matter: farther neighbours say nothing."""
LIKELY_DAYS = (10, 20)
"""Similar days among which a baseline is looked for first, and where one of them fails, before all 45 are."""


def reading_intervals(event: SettledEvent) -> tuple[Interval, ...]:
    """Return when readings can matter: the event's clock hours on its day and on the 45 days before.

    In order and apart, with an hour on either side for the neighbours of the edges; with the hours by
    which a grid meter's baseline is adjusted.
    """
    hours = _asked_hours(event, range(LOOKBACK_DAYS))
    return union(Interval(hour.starts_at - READ_AROUND, hour.ends_at + READ_AROUND) for hour in hours)


def every_hour(event: SettledEvent) -> IntColumn:
    """Return the starts of all clock hours that can matter, in order, in seconds since 1970."""
    return _starts_s(_asked_hours(event, range(LOOKBACK_DAYS)))


def likely_hours(event: SettledEvent, excluded: NDArray[np.int64], days: int) -> IntColumn:
    """Return the starts of the clock hours that matter for a site whose latest similar days are whole.

    A baseline that is found in these is the one that all hours give; a site without one needs more.

    Args:
        event: The event.
        excluded: Codes (site, day) of :func:`baseline.excluded_days`. A day kept out of every site's
            baseline is not asked for, one kept out of most sites' is asked for beyond the number.
        days: How many similar days.
    """
    is_rest_day = rest_days(event.terms.holidays)
    kind = is_rest_day(event.day)
    kept = np.count_nonzero(excluded == 0, axis=0).tolist()
    asked: set[int] = set()
    found = 0
    for back in range(LOOKBACK_DAYS):
        if kept[back] and is_rest_day(event.day - timedelta(days=back + 1)) == kind and found < days:
            asked.add(back)
            found += 2 * kept[back] > len(excluded)
    # The days of any kind show that the account has enough data, where few similar days are averaged.
    near = range(days) if kind else ()
    return _starts_s(_asked_hours(event, sorted({*asked, *near})))


def broken_hours(event: SettledEvent) -> tuple[Interval, ...]:
    """Return the clock hours that do not count whole, because the event begins or ends within them."""
    whole = {hour for hour in event_hours(event) if any(part.overlap(hour) == hour for part in event.parts)}
    return tuple(hour for hour in event_hours(event) if hour not in whole)


def _starts_s(hours: Iterable[Interval]) -> IntColumn:
    return column(sorted({to_epoch(hour.starts_at) for hour in hours}))


def _asked_hours(event: SettledEvent, days_back: Iterable[int]) -> list[Interval]:
    hours = (*event_hours(event), *adjustment_hours(event))
    on_days = hours_of_days(event, hours)
    return [*hours, *(hour for back in days_back for hour in on_days[back] if hour is not None)]


def hours_of_days(event: SettledEvent, hours: Sequence[Interval]) -> tuple[tuple[Interval | None, ...], ...]:
    """Return the event's clock hours on each earlier day, newest first; None where a clock skips one."""
    return _on_days_before(event.day, tuple(hours), event.program.zone)


@lru_cache(maxsize=256)  # an event is settled many times, and its homes in several groups
def _on_days_before(
    day: date, hours: tuple[Interval, ...], zone: ZoneInfo
) -> tuple[tuple[Interval | None, ...], ...]:
    wall: list[ClockHour] = [clock_hour_of(hour, day, zone) for hour in hours]
    return tuple(
        tuple(each.on(day - timedelta(days=back + 1), zone) for each in wall) for back in range(LOOKBACK_DAYS)
    )
