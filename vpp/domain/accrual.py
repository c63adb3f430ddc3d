"""What a month, a season or a year has earned so far, for programs that do not pay by the event.

Makes of the settlements of a period's events, or of being enrolled, one settlement of the period. It is
provisional while the period runs and final some days after its end, like an event's.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType

from vpp.domain.enrollment import Enrollment, OptOut
from vpp.domain.interval import Interval, clock_hours
from vpp.domain.program import Period, Program, TariffRule, Terms
from vpp.domain.quantities import MicroDollars, nearest, two_decimals
from vpp.domain.settlement import (
    BaselineDays,
    Settlement,
    SettlementLine,
    SettlementState,
    SiteQuality,
)
from vpp.domain.tariff import (
    NOTHING,
    Earned,
    average_power_kw,
    earned_by_power,
    earned_by_presence,
)
from vpp.domain.wholesale_price import Weights, WholesalePrice, weights_of

POWERWALL_WH = 13_500
"""Usable energy of one Powerwall; a site's capacity tells how many it has."""
_ALL_THE_SAME: Weights = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class AccrualPeriod:
    """A stretch that is paid as one. ``period_id`` stands in the ledger where an event's id would."""

    period_id: str
    interval: Interval
    terms: Terms


def accrual_period(program: Program, day: date) -> AccrualPeriod | None:
    """Return the period a local day belongs to; None where the program pays by the event or not at all."""
    terms = program.terms_on(day)
    if terms is None or terms.tariff.period is Period.EVENT:
        return None
    if terms.tariff.period is Period.SEASON:
        season = program.season_around(day)
        if season is None:
            return None
        return AccrualPeriod(f"season-{season.starts_at.astimezone(program.zone).date()}", season, terms)
    by_month = terms.tariff.period is Period.MONTH
    first = day.replace(day=1) if by_month else day.replace(month=1, day=1)
    after = (first + timedelta(days=32 if by_month else 366)).replace(day=1)
    edges = [datetime.combine(edge, time(), tzinfo=program.zone).astimezone(UTC) for edge in (first, after)]
    return AccrualPeriod(
        f"month-{first:%Y-%m}" if by_month else f"year-{first:%Y}", Interval(edges[0], edges[1]), terms
    )


def terms_of_period(program: Program, period_id: str) -> Terms | None:
    """Return the terms of a period by its id, such as ``season-2026-06-01`` or ``month-2026-09``.

    Where an edition begins within the period these are the first that hold in it; None where none does.
    """
    first = first_day(period_id)
    days = sorted(max(first, edition.effective_from) for edition in program.editions)
    periods = (accrual_period(program, day) for day in days)
    return next((each.terms for each in periods if each is not None and each.period_id == period_id), None)


def first_day(period_id: str) -> date:
    """Return the local day on which a period begins; its id leaves off a month or a day that is the first."""
    return date.fromisoformat(f"{period_id.partition('-')[2]}-01-01"[:10])


@dataclass(frozen=True, slots=True)
class PowerStretch:
    """A power with its weight in a period's mean: a whole event in a season, an hour of one in a month."""

    event_id: str
    weight: Fraction
    kw: Fraction


def accrue_events(
    program: Program,
    runs: Sequence[Settlement],
    opt_outs: Sequence[OptOut],
    owner_of: Mapping[str, str],
    *,
    at: datetime,
    prices: Sequence[WholesalePrice] = (),
) -> tuple[Settlement, ...]:
    """Return one settlement for each period that has events, by period, for programs that pay for power.

    A site's power in an event is its paid energy over the event's length, less what another event held
    it of that. An event it opted out of counts as zero power; one for which it was not needed, or of
    which another event held it all the time, does not count.

    Args:
        program: Whose events they are.
        runs: The newest settlement of each of the program's events.
        opt_outs: Of those events. Ones taken back do not count.
        owner_of: The owner of each site.
        at: Now.
        prices: The program's wholesale prices, in the order made, to weigh a month's hours.
    """
    declined = _declined(opt_outs)
    return tuple(
        _settled_period(
            program,
            period,
            _power_lines(period, gathered, _powers(program, period, gathered, declined, owner_of, prices)),
            at,
            corrected=any(run.state is SettlementState.CORRECTED for run in gathered),
        )
        for period, gathered in _by_period(program, runs)
    )


Powers = Mapping[tuple[str, str], Sequence[PowerStretch]]
"""What a period's mean is made of, by owner and site, in the order of the events."""


def powers_of_periods(
    program: Program,
    runs: Sequence[Settlement],
    opt_outs: Sequence[OptOut],
    owner_of: Mapping[str, str],
    *,
    prices: Sequence[WholesalePrice] = (),
) -> Mapping[str, Powers]:
    """Return, by period id, the powers that ``accrue_events`` averages."""
    declined = _declined(opt_outs)
    return {
        period.period_id: _powers(program, period, gathered, declined, owner_of, prices)
        for period, gathered in _by_period(program, runs)
    }


def _declined(opt_outs: Sequence[OptOut]) -> Mapping[str, Sequence[str]]:
    """Return the sites that stayed out, by event; a no that was taken back is none."""
    declined: dict[str, list[str]] = {}
    for opt_out in opt_outs:
        if opt_out.taken_back_at is None:
            declined.setdefault(opt_out.event_id, []).append(opt_out.site_id)
    return declined


def _by_period(
    program: Program, runs: Sequence[Settlement]
) -> list[tuple[AccrualPeriod, Sequence[Settlement]]]:
    """Return each period that has events and pays for power, by its id, with those events."""
    periods: dict[str, AccrualPeriod] = {}
    gathered: dict[str, list[Settlement]] = {}
    for run in runs:
        days = [day for line in run.lines if (day := _day_of(line, program)) is not None]
        period = accrual_period(program, min(days)) if days else None
        if period is not None and period.terms.tariff.rule is not TariffRule.FIXED_CREDIT:
            periods[period.period_id] = period
            gathered.setdefault(period.period_id, []).append(run)
    return [(periods[period_id], gathered[period_id]) for period_id in sorted(periods)]


def _day_of(line: SettlementLine, program: Program) -> date | None:
    return line.day if line.settled is None else program.local_day(line.settled)


def _power_lines(
    period: AccrualPeriod, runs: Sequence[Settlement], powers: Powers
) -> tuple[SettlementLine, ...]:
    lines: dict[tuple[str, str], list[SettlementLine]] = {}
    for run in runs:
        for line in run.lines:
            lines.setdefault((line.owner_id, line.site_id), []).append(line)
    return tuple(
        power_line(period, owner_id, site_id, lines.get((owner_id, site_id), ()), found)
        for (owner_id, site_id), found in sorted(powers.items(), key=lambda each: each[0])
    )


def _weights(
    program: Program, period: AccrualPeriod, runs: Sequence[Settlement], prices: Sequence[WholesalePrice]
) -> Weights:
    """Return what each hour of a month's events weighs; empty where all weigh the same.

    By price once every one of those hours has a price above zero: some beside none would say nothing, and
    no mean can be made of hours that weigh nothing or less. And once every one is known: an event that was
    settled before its parts were kept, and in which no home stayed to the end, does not tell its last hours.
    """
    weights = weights_of(prices, before=_prices_count_until(program, period, runs)) if prices else {}
    for run in runs if weights else ():
        hours = _hours_of(program, run)
        event_s = max((line.event_s for line in run.lines), default=0)
        told = sum(hours.values(), start=Fraction(0)) * 3600 >= event_s
        if not told or any(weights.get(at, 0) <= 0 for at in hours):
            return _ALL_THE_SAME
    return weights


def prices_that_count(
    program: Program, period: AccrualPeriod, runs: Sequence[Settlement], prices: Sequence[WholesalePrice]
) -> Weights:
    """Return the prices by which a period's hours weigh, by hour; none where all weigh the same.

    Args:
        program: Whose period it is.
        period: A month; nothing else is weighed by prices.
        runs: The newest settlement of each of the program's events.
        prices: The program's wholesale prices, in the order made.
    """
    return _weights(program, period, _inside(program, period, runs), prices)


def _prices_count_until(program: Program, period: AccrualPeriod, runs: Sequence[Settlement]) -> datetime:
    """Return before when a price of a period had to come: its close, or the last correction in it."""
    inside = _inside(program, period, runs)
    corrected = [run.settled_at for run in inside if run.state is SettlementState.CORRECTED]
    return max([_closes_at(program, period), *(at + timedelta(seconds=1) for at in corrected)])


def _inside(program: Program, period: AccrualPeriod, runs: Sequence[Settlement]) -> list[Settlement]:
    return [run for each, gathered in _by_period(program, runs) if each == period for run in gathered]


def _hours_of(program: Program, run: Settlement) -> dict[datetime, Fraction]:
    """Return the part of each clock hour that an event had: of its parts, or as its fullest home shows it."""
    found: dict[datetime, Fraction] = {}
    for part in run.parts:
        for whole in clock_hours(part, program.zone):
            inside = whole.overlap(part)
            assert inside is not None, "clock hours of a part overlap it"
            found[whole.starts_at] = found.get(whole.starts_at, Fraction(0)) + Fraction(inside.seconds, 3600)
    if found:
        return found
    for line in run.lines:
        for hour in line.hours:
            at = hour.hour.starts_at
            found[at] = max(found.get(at, Fraction(0)), hour.fraction)
    return found


def _closes_at(program: Program, period: AccrualPeriod) -> datetime:
    return period.interval.ends_at + timedelta(days=program.close_after_days)


def _powers(
    program: Program,
    period: AccrualPeriod,
    runs: Sequence[Settlement],
    declined: Mapping[str, Sequence[str]],
    owner_of: Mapping[str, str],
    prices: Sequence[WholesalePrice],
) -> dict[tuple[str, str], list[PowerStretch]]:
    """Return each site's powers. One without any event that counts keeps its place, with none."""
    found: dict[tuple[str, str], list[PowerStretch]] = {}
    by_event = period.terms.tariff.rule is TariffRule.PER_KW_SEASON_AVERAGE
    weights = _ALL_THE_SAME if by_event else _weights(program, period, runs, prices)
    for run in runs:
        hours = _hours_of(program, run) if weights else {}
        event_h = Fraction(max((line.event_s for line in run.lines), default=0), 3600)
        for line in run.lines:
            powers = [_event_power(line)] if by_event else _hour_powers(line, hours, weights)
            stretches = [PowerStretch(run.event_id, weight, kw) for weight, kw in powers]
            # A home without any event that counts keeps its line: what was booked for it is taken back.
            found.setdefault((line.owner_id, line.site_id), []).extend(stretches if line.event_s else ())
        settled = {line.site_id for line in run.lines if line.event_s}
        for site_id in declined.get(run.event_id, ()):
            if site_id not in settled and site_id in owner_of and event_h:
                weight = Fraction(1) if by_event else _weight_left(event_h, hours, {}, weights)
                stayed_out = PowerStretch(run.event_id, weight, Fraction(0))
                found.setdefault((owner_of[site_id], site_id), []).append(stayed_out)
    return found


def _event_power(line: SettlementLine) -> tuple[Fraction, Fraction]:
    """Return an event's mean power with its weight in a season, one."""
    return Fraction(1), _kilowatts(line.paid_wh, line.event_s)


def _hour_powers(
    line: SettlementLine, hours: Mapping[datetime, Fraction], weights: Weights
) -> list[tuple[Fraction, Fraction]]:
    """Return each hour's power with its weight in a month; what a site left undone counts as zero."""
    found = [
        (
            hour.fraction * weights.get(hour.hour.starts_at, Fraction(1)),
            hour.incremental_wh / hour.fraction / 1_000,
        )
        for hour in line.hours
    ]
    given = {hour.hour.starts_at: hour.fraction for hour in line.hours}
    left_h = Fraction(line.event_s, 3600) - sum(given.values(), start=Fraction(0))
    return [*found, (_weight_left(left_h, hours, given, weights), Fraction(0))] if left_h > 0 else found


def _weight_left(
    left_h: Fraction,
    hours: Mapping[datetime, Fraction],
    given: Mapping[datetime, Fraction],
    weights: Weights,
) -> Fraction:
    """Return what the hours weigh that a home left undone: those of the event without what it was there for.

    Where these are more than it left, because another event held it for some, it left their mean.
    """
    if not weights:
        return left_h
    undone = {at: part - given.get(at, Fraction(0)) for at, part in hours.items()}
    length_h = sum((max(part, Fraction(0)) for part in undone.values()), start=Fraction(0))
    weight = sum((weights[at] * max(part, Fraction(0)) for at, part in undone.items()), start=Fraction(0))
    return left_h * weight / length_h


def _kilowatts(energy_wh: Fraction, seconds: int) -> Fraction:
    return energy_wh * 3600 / (seconds * 1_000) if seconds else Fraction(0)


def power_line(
    period: AccrualPeriod,
    owner_id: str,
    site_id: str,
    lines: Sequence[SettlementLine],
    stretches: Sequence[PowerStretch],
) -> SettlementLine:
    """Return what one site's powers earn in a period; ``reason`` says from how many of them."""
    average_kw, per_kw = mean_kw(stretches), rate_per_kw(period.terms, period.period_id)
    by_event = period.terms.tariff.rule is TariffRule.PER_KW_SEASON_AVERAGE
    several, one = ("events", "event") if by_event else ("stretches of events", "stretch of an event")
    counted = f"{len(stretches)} {one if len(stretches) == 1 else several}"
    said = f"{two_decimals(average_kw)} kW, the mean of {counted}"
    return _line(
        owner_id,
        site_id,
        earned_by_power(period.terms, average_kw, per_kw) if stretches else NOTHING,
        said,
        incremental_wh=sum((line.incremental_wh for line in lines), start=Fraction(0)),
        paid_wh=sum((line.paid_wh for line in lines), start=Fraction(0)),
    )


def mean_kw(stretches: Sequence[PowerStretch]) -> Fraction:
    """Return the weighted mean of powers, never below zero; zero of none."""
    return max(Fraction(0), average_power_kw([(each.weight, each.kw) for each in stretches]))


def rate_per_kw(terms: Terms, period_id: str) -> Decimal:
    """Return what a kilowatt earns in a period; nothing in a month that the program does not name."""
    if terms.tariff.rule is TariffRule.PER_KW_SEASON_AVERAGE:
        return terms.tariff.per_kw_season
    return dict(terms.tariff.per_kw_month).get(int(period_id[-2:]), Decimal(0))


def accrue_credits(program: Program, roster: Sequence[Enrollment], *, at: datetime) -> tuple[Settlement, ...]:
    """Return one settlement for each period of a fixed credit up to now, by period.

    A home is credited for each period that began after its enrolment and that has not ended after its
    withdrawal; of a year's credit that is paid by the month it so gets its months. How many Powerwalls it
    has follows from its enrolled capacity.
    """
    homes = [each for each in roster if each.program_id == program.program_id]
    day = min((each.enrolled_at for each in homes), default=at).astimezone(program.zone).date()
    found: list[Settlement] = []
    while datetime.combine(day, time(), tzinfo=program.zone).astimezone(UTC) <= at:
        period = accrual_period(program, day)
        if period is None or period.terms.tariff.rule is not TariffRule.FIXED_CREDIT:
            day += timedelta(days=1)
            continue
        day = period.interval.ends_at.astimezone(program.zone).date()
        credited = [home for home in homes if _credited(home, period)]
        month = first_day(period.period_id).month
        lines = tuple(
            _line(
                home.owner_id,
                home.site_id,
                earned_by_presence(period.terms, powerwalls(home), month),
                f"{powerwalls(home)} Powerwalls enrolled",
            )
            for home in sorted(credited, key=lambda each: (each.owner_id, each.site_id))
        )
        if lines:
            found.append(_settled_period(program, period, lines, at))
    return tuple(found)


def _credited(home: Enrollment, period: AccrualPeriod) -> bool:
    stayed = home.withdrawn_at is None or home.withdrawn_at >= period.interval.ends_at
    return home.enrolled_at <= period.interval.starts_at and stayed


def powerwalls(home: Enrollment) -> int:
    """Return how many Powerwalls an enrolled capacity is nearest to, at least one.

    An aged Powerwall holds less than a new one, and a fresh one may hold a little more: both are one.
    """
    return max(1, nearest(home.full_energy_wh, POWERWALL_WH))


def _settled_period(
    program: Program,
    period: AccrualPeriod,
    lines: tuple[SettlementLine, ...],
    at: datetime,
    *,
    corrected: bool = False,
) -> Settlement:
    closed = at >= _closes_at(program, period)
    state = SettlementState.CORRECTED if corrected and closed else SettlementState.FINAL
    return Settlement(
        event_id=period.period_id,
        program_id=program.program_id,
        state=state if closed else SettlementState.PROVISIONAL,
        settled_at=at,
        lines=lines,
    )


def _line(
    owner_id: str,
    site_id: str,
    earned: Earned,
    reason: str,
    *,
    incremental_wh: Fraction = Fraction(0),
    paid_wh: Fraction = Fraction(0),
) -> SettlementLine:
    return SettlementLine(
        site_id=site_id,
        owner_id=owner_id,
        settled=None,
        hours=(),
        baseline_days=BaselineDays((), ()),
        incremental_wh=incremental_wh,
        paid_wh=paid_wh,
        amount=earned.amount,
        gross=earned.gross,
        quality=SiteQuality.OK,
        reason=reason,
        margin=MicroDollars(earned.margin),
    )


@dataclass(frozen=True, slots=True)
class PartOfPeriod:
    """One event's settlement with the amounts of its period, and the mean power of each site there."""

    period: AccrualPeriod
    run: Settlement
    average_kw: Mapping[str, Fraction]


def as_part_of_period(
    program: Program,
    run: Settlement,
    others: Mapping[str, Sequence[PowerStretch]] = MappingProxyType({}),
    *,
    prices: Sequence[WholesalePrice] = (),
) -> PartOfPeriod | None:
    """Return an event's settlement with what its month or season has come to; None where no power is paid.

    Args:
        program: Whose event it is.
        run: The event's settlement.
        others: The powers of the period's other events by site; without any the event is its only one.
        prices: Of the program's hours, to weigh those of the event.
    """
    for period, runs in _by_period(program, [run]):
        powers = _powers(program, period, runs, {}, {}, prices)
        whole = {site_id: [*own, *others.get(site_id, ())] for (_, site_id), own in powers.items()}
        lines = [
            _with_amount(line, power_line(period, line.owner_id, line.site_id, (), whole[line.site_id]))
            for line in run.lines
        ]
        means = {site_id: mean_kw(stretches) for site_id, stretches in whole.items()}
        return PartOfPeriod(period, replace(run, lines=tuple(lines)), means)
    return None


def _with_amount(line: SettlementLine, of_period: SettlementLine) -> SettlementLine:
    return replace(line, amount=of_period.amount, gross=of_period.gross, margin=of_period.margin)
