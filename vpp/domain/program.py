"""What a program pays for, when, and how: the terms, effective-dated, each number with its source."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from typing import assert_never
from zoneinfo import ZoneInfo

from vpp.domain.interval import Interval, union
from vpp.domain.quantities import Price


class MeterOfRecord(StrEnum):
    """Which meter's energy counts."""

    DEVICE = "device"  # the battery's own counters, both ways
    SITE = "site"  # the grid meter


class NegativePolicy(StrEnum):
    """What becomes of hours in which a home delivered less than its baseline."""

    NET_EVENT_FLOOR_ZERO = "net_event_floor_zero"
    CLAMP_INTERVAL = "clamp_interval"
    NET_SEASON_FLOOR_ZERO = "net_season_floor_zero"


class TariffRule(StrEnum):
    """What a program pays for."""

    PER_KWH_INCREMENTAL = "per_kwh_incremental"  # energy beyond the baseline
    PER_KWH_DELIVERED = "per_kwh_delivered"  # all energy discharged; there is no baseline
    PER_KW_SEASON_AVERAGE = "per_kw_season_average"  # mean power over the season's events
    PER_KW_MONTH_WEIGHTED = "per_kw_month_weighted"  # weighted mean power over a month's events
    FIXED_CREDIT = "fixed_credit"  # for each Powerwall, whatever it does


class Period(StrEnum):
    """How long a home's result is gathered before it is final."""

    EVENT = "event"
    MONTH = "month"
    SEASON = "season"
    YEAR = "year"


@dataclass(frozen=True, slots=True)
class Tariff:
    """How energy, power or presence become money, in the program's currency.

    The rate for a kilowatt-hour stands in ``Terms.rate``. Caps and the minimum hold for one site and
    one period; those in money bound what the owner gets, and the one in kWh holds where kWh are paid.
    Of a year's credit that is paid by the month they bound the whole year.
    """

    rule: TariffRule = TariffRule.PER_KWH_INCREMENTAL
    per_kw_season: Decimal = Decimal(0)
    per_kw_month: tuple[tuple[int, Decimal], ...] = ()  # (month, rate); a month not named pays nothing
    credit: Decimal = Decimal(0)  # for one Powerwall and ``credit_every``
    credit_every: Period = Period.MONTH
    credit_paid_every: Period | None = None  # a month, where a year's credit is paid in twelve parts
    bonus: Decimal = Decimal(1)  # multiplies what is earned
    cap_kwh: Decimal | None = None
    cap_amount: Decimal | None = None
    minimum_amount: Decimal = Decimal(0)

    @property
    def period(self) -> Period:
        """Return how long results are gathered."""
        match self.rule:
            case TariffRule.PER_KWH_INCREMENTAL | TariffRule.PER_KWH_DELIVERED:
                return Period.EVENT
            case TariffRule.PER_KW_SEASON_AVERAGE:
                return Period.SEASON
            case TariffRule.PER_KW_MONTH_WEIGHTED:
                return Period.MONTH
            case TariffRule.FIXED_CREDIT:
                return self.credit_paid_every or self.credit_every
            case _ as unreachable:
                assert_never(unreachable)

    @property
    def pays_in_twelfths(self) -> bool:
        """Return whether a year's credit is paid in twelve parts, one a month."""
        return self.credit_every is Period.YEAR and self.credit_paid_every is Period.MONTH

    @property
    def for_power(self) -> bool:
        """Return whether mean power is paid: an event that a home stayed out of then lowers the mean."""
        return self.rule in (TariffRule.PER_KW_SEASON_AVERAGE, TariffRule.PER_KW_MONTH_WEIGHTED)


_INCREMENTAL = Tariff()


class Departure(StrEnum):
    """How a signal leaves its program's terms. It is valid, but waits for an operator to force it."""

    NO_TERMS = "no_terms"  # no edition is in force on its day
    OUT_OF_SEASON = "out_of_season"
    OUT_OF_WINDOW = "out_of_window"
    TOO_SHORT = "too_short"
    TOO_LONG = "too_long"
    SEASON_CAP = "season_cap"


@dataclass(frozen=True, slots=True)
class Terms:
    """One edition of a program's terms, in force for event dates in ``[effective_from, effective_to)``."""

    effective_from: date
    effective_to: date | None
    season_first: tuple[int, int]  # month, day
    season_last: tuple[int, int]
    window_opens: time  # local
    window_closes: time
    event_min_s: int
    event_max_s: int
    season_cap_s: int
    season_minimum_s: int
    rate: Price
    owner_share: Decimal
    meter: MeterOfRecord
    baseline_method: str  # a name in ``domain/baseline.py``
    negative_policy: NegativePolicy
    holidays: str  # a calendar's name, such as "NERC"
    tariff: Tariff = _INCREMENTAL
    cap_cycles: int | None = None  # full cycles a home is asked for in a calendar year; what it gave is paid
    also_enrolled: tuple[str, ...] = ()  # programs of others that a home may be in at the same time
    ends_others: tuple[str, ...] = ()  # programs of others that a home leaves by joining this one

    @property
    def owner_micro_dollars_per_wh(self) -> Fraction:
        """Return exactly what an owner earns for one incremental watt-hour."""
        return self.rate.micro_dollars_per_wh * Fraction(self.owner_share)


@dataclass(frozen=True, slots=True)
class Program:
    """A program: its id, the groups and utility it answers to, its zone and its editions of terms."""

    program_id: str
    name: str
    utility: str
    groups: tuple[str, ...]  # names a signal may target it by, lower case
    zone: ZoneInfo
    close_after_days: int  # late readings are taken until then
    editions: tuple[Terms, ...]
    currency: str = "USD"
    text: str = field(default="", repr=False, compare=False)  # the file it came from, for evidence

    @property
    def nets_seasons(self) -> bool:
        """Return whether a season nets under any of its editions."""
        nets = NegativePolicy.NET_SEASON_FLOOR_ZERO
        return any(terms.negative_policy is nets for terms in self.editions)

    def terms_on(self, day: date) -> Terms | None:
        """Return the terms in force for an event on a local date, or None before the first edition."""
        for terms in self.editions:
            if terms.effective_from <= day and (terms.effective_to is None or day < terms.effective_to):
                return terms
        return None

    def local_day(self, interval: Interval) -> date:
        """Return the local date on which an event starts; it belongs to that day's edition."""
        return interval.starts_at.astimezone(self.zone).date()

    def season_around(self, day: date) -> Interval | None:
        """Return the season that a local day lies in, in UTC, or None out of season or of any edition."""
        terms = self.terms_on(day)
        if terms is None:
            return None
        over_new_year = terms.season_first > terms.season_last
        month_day = (day.month, day.day)
        if over_new_year:
            inside = month_day >= terms.season_first or month_day <= terms.season_last
        else:
            inside = terms.season_first <= month_day <= terms.season_last
        if not inside:
            return None
        first_year = day.year - 1 if over_new_year and month_day <= terms.season_last else day.year
        last = date(first_year + over_new_year, *terms.season_last)
        return Interval(
            self._utc(date(first_year, *terms.season_first), time()),
            self._utc(last + timedelta(days=1), time()),
        )

    def latest_season(self, day: date) -> Interval | None:
        """Return the season that a local day lies in, or else the last one before it; None before any."""
        around = (self.season_around(day - timedelta(days=back)) for back in range(367))
        return next((season for season in around if season is not None), None)

    def departures(
        self, asked: Interval, counted: Sequence[Interval] = (), *, stretches: Sequence[Interval] = ()
    ) -> tuple[Departure, ...]:
        """Return how an event leaves the terms of its local day; empty when it lies inside them.

        Args:
            asked: From the event's first start to its last end.
            counted: What other events of this program use of the season, in any order; hours that
                overlap count once.
            stretches: In which the event asks for something; all of it where none is named. Its gaps
                belong to its length, but use none of the season.
        """
        day = self.local_day(asked)
        terms = self.terms_on(day)
        if terms is None:
            return (Departure.NO_TERMS,)
        season = self.season_around(day)
        found: list[Departure] = []
        if season is None:
            found.append(Departure.OUT_OF_SEASON)
        if not self._inside_window(asked, day, terms):
            found.append(Departure.OUT_OF_WINDOW)
        if asked.seconds < terms.event_min_s:
            found.append(Departure.TOO_SHORT)
        if asked.seconds > terms.event_max_s:
            found.append(Departure.TOO_LONG)
        used = [*counted, *(stretches or (asked,))]
        if season is not None and seconds_within(used, season) > terms.season_cap_s:
            found.append(Departure.SEASON_CAP)
        return tuple(found)

    def _inside_window(self, asked: Interval, day: date, terms: Terms) -> bool:
        if terms.window_opens == terms.window_closes:
            return True  # open around the clock
        closes_on = day if terms.window_closes > terms.window_opens else day + timedelta(days=1)
        opens_at = self._utc(day, terms.window_opens)
        return opens_at <= asked.starts_at and asked.ends_at <= self._utc(closes_on, terms.window_closes)

    def _utc(self, day: date, at: time) -> datetime:
        return datetime.combine(day, at, tzinfo=self.zone).astimezone(UTC)


def zone_of_most(programs: Mapping[str, Program], homes: Mapping[str, int]) -> str:
    """Return the name of the zone in which staff read what belongs to no event: that of most homes.

    ``homes`` counts them by program id; where no known program has any, it is the zone of most programs, and
    UTC without programs.
    """
    known = {program_id: count for program_id, count in homes.items() if count and program_id in programs}
    weights: Counter[str] = Counter()
    for program_id, count in (known or dict.fromkeys(programs, 1)).items():
        weights[programs[program_id].zone.key] += count
    return max(sorted(weights), key=lambda zone: weights[zone], default="UTC")


def seconds_within(intervals: Sequence[Interval], season: Interval) -> int:
    """Return how many seconds of a season the intervals cover; what overlaps counts once."""
    return sum(inside.seconds for each in union(intervals) if (inside := each.overlap(season)) is not None)
