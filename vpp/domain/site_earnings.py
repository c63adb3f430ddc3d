"""What each site earned in one event, hour by hour, with every number behind it.

From the counters to the cent everything is exact: watt-hours are integers, parts of an hour and
averages are fractions, and money is rounded once, for one site and one event. Who holds the readings
and where the result goes is not known here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple, assert_never

import numpy as np
from numpy.typing import NDArray

from vpp.domain.baseline import (
    DROP_CODES,
    LOOKBACK_DAYS,
    Baselines,
    DayEnergies,
    baseline_method,
    weighted_sum,
    without_baseline,
)
from vpp.domain.delivery import (
    QUALITY_CODES,
    Quality,
    ReadingColumns,
    counter_track,
)
from vpp.domain.interval import Interval, from_epoch, to_epoch
from vpp.domain.metered_hours import MeteredEnergy, by_readings
from vpp.domain.program import MeterOfRecord, NegativePolicy
from vpp.domain.quantities import IntColumn, Permille, WattHours, column
from vpp.domain.rest_days import rest_days
from vpp.domain.settled_event import (
    SettledEvent,
    adjustment_hours,
    adjustment_of,
    event_hours,
    hours_of_days,
)
from vpp.domain.settlement import (
    COUNTING,
    BaselineDays,
    HourLine,
    SettlementLine,
    SettlementReason,
    SiteQuality,
)
from vpp.domain.tariff import NOTHING, earned_in_event, paid_energy

NEVER_OPTED_OUT = 2**62
"""Stands in a column for the opt-out of a site that stayed in."""


@dataclass(frozen=True, slots=True)
class SettledSites:
    """Who is settled; one row per site in every column.

    ``opted_out_s`` is when the controller committed the site's own opt-out, in seconds since 1970, or
    ``NEVER_OPTED_OUT``. ``excluded`` comes from :func:`baseline.excluded_days`. ``carried_wh`` is the
    signed energy of the season's earlier events, needed only where a season nets. Without
    ``meter_accuracy`` nobody knows the class of any site's meter.
    """

    site_ids: tuple[str, ...]
    owner_ids: tuple[str, ...]
    opted_out_s: IntColumn
    excluded: NDArray[np.int64]
    carried_wh: tuple[Fraction, ...] | None = None
    meter_accuracy: tuple[Permille | None, ...] | None = None


@dataclass(frozen=True, slots=True)
class _EventEnergy:
    """What was metered while a site was settled; axes site, event clock hour."""

    seconds: NDArray[np.int64]
    metered_wh: NDArray[np.int64]
    quality: NDArray[np.int64]


def settle_sites(
    event: SettledEvent, sites: SettledSites, readings: ReadingColumns
) -> tuple[SettlementLine, ...]:
    """Return one line per site, in the order given.

    ``readings.site`` are positions in ``sites``. They must cover ``settled_event.reading_intervals``;
    their order and any copies of them do not matter. Incremental energy of an hour is metered minus
    baseline times the part of the hour; for the grid meter it is baseline times the part minus metered.

    Source: PG&E ELRP Group A terms (baseline, hourly), with the battery as meter of record for A.4.
    """
    return settle_metered(event, sites, by_readings(counter_track(readings, event.terms.meter)))


def settle_metered(
    event: SettledEvent, sites: SettledSites, energy: MeteredEnergy
) -> tuple[SettlementLine, ...]:
    """Return one line per site as ``settle_sites`` does, from energies however they were computed.

    ``energy`` is asked for whole clock hours of the event's day and the 45 days before, and for what of
    the event's own hours counts where an hour does not count whole.
    """
    hours = event_hours(event)
    sign = -1 if event.terms.meter is MeterOfRecord.SITE else 1  # load is import minus export
    metered = _metered(event, hours, energy, sites.opted_out_s)
    metered = replace(metered, metered_wh=sign * metered.metered_wh)
    days = _day_energies(event, hours, energy, sites.excluded)
    days = replace(days, energy_wh=sign * days.energy_wh)
    method = baseline_method(event.terms.baseline_method)
    select = method.select if hours else without_baseline  # no day is like one of which nothing counts
    baselines = select(days, rest_days(event.terms.holidays))
    adjustments = _adjustments(event, energy, sites, baselines)
    chosen_days = _chosen_days(days, baselines)
    energies = _exact_energies(event, metered, baselines, adjustments)
    verdicts = _verdicts(event, metered, baselines, sites.opted_out_s)
    return _lines(event, sites, hours, metered, energies, verdicts, adjustments, chosen_days)


@dataclass(frozen=True, slots=True)
class _Adjustments:
    """What each site's average of similar days is multiplied by, in lowest terms, as Python integers."""

    numerator: NDArray[np.object_]
    denominator: NDArray[np.object_]


def _adjustments(
    event: SettledEvent, energy: MeteredEnergy, sites: SettledSites, baselines: Baselines
) -> _Adjustments:
    """Return each site's day-of adjustment of its baseline.

    It is one where an adjustment hour is MISSING or BAD on the event's day or on a day averaged: no
    ratio is guessed.
    """
    hours, adjustment = adjustment_hours(event), adjustment_of(event)
    count = len(sites.site_ids)
    one = np.ones(count, dtype=object)
    if adjustment is None or not hours:
        return _Adjustments(one, one)
    on_day = energy.of_hours(count, column(to_epoch(hour.starts_at) for hour in hours))
    load_wh = -on_day.energy_wh.sum(axis=1)
    worst = on_day.quality.max(axis=1)
    days = _day_energies(event, hours, energy, sites.excluded)
    averaged_wh = -weighted_sum(baselines.weights, days.energy_wh).sum(axis=1)
    on_days = np.where(baselines.chosen[:, :, None], days.quality, 0).max(axis=(1, 2))
    known = baselines.valid & (np.maximum(worst, on_days) <= QUALITY_CODES.index(Quality.ESTIMATED))
    numerator, denominator = adjustment.factors(
        load_wh.astype(object), averaged_wh.astype(object), baselines.divisor.astype(object)
    )
    return _Adjustments(np.where(known, numerator, one), np.where(known, denominator, one))


def stayed_out(event: SettledEvent, site_id: str, owner_id: str) -> SettlementLine:
    """Return the line of a home whose owner said no before it was commanded: nothing of the whole event."""
    return SettlementLine(
        site_id=site_id,
        owner_id=owner_id,
        settled=None,
        hours=(),
        baseline_days=BaselineDays((), ()),
        incremental_wh=_NOTHING_WH,
        paid_wh=_NOTHING_WH,
        amount=NOTHING.amount,
        gross=NOTHING.gross,
        margin=NOTHING.margin,
        event_s=_length_s(event),
        day=event.day,
        quality=SiteQuality.OK,
        reason=SettlementReason.OPTED_OUT,
    )


def _length_s(event: SettledEvent) -> int:
    return sum(part.seconds for part in event.parts)


def _metered(
    event: SettledEvent, hours: Sequence[Interval], energy: MeteredEnergy, opted_out_s: IntColumn
) -> _EventEnergy:
    sites = len(opted_out_s)
    shape = (sites, len(hours))
    result = _EventEnergy(np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, np.int64))
    for position, hour in enumerate(hours):
        for part in event.parts:
            stretch = part.overlap(hour)
            if stretch is None:
                continue
            from_s = np.full(sites, to_epoch(stretch.starts_at), dtype=np.int64)
            until_s = np.minimum(to_epoch(stretch.ends_at), opted_out_s)
            inside = np.flatnonzero(until_s > from_s)
            metered_wh, quality = energy.of_stretches(inside, from_s[inside], until_s[inside])
            result.seconds[inside, position] += until_s[inside] - from_s[inside]
            result.metered_wh[inside, position] += metered_wh
            result.quality[inside, position] = np.maximum(result.quality[inside, position], quality)
    return result


def _day_energies(
    event: SettledEvent, hours: Sequence[Interval], energy: MeteredEnergy, excluded: NDArray[np.int64]
) -> DayEnergies:
    sites = len(excluded)
    shape = (sites, LOOKBACK_DAYS, len(hours))
    energy_wh = np.zeros(shape, dtype=np.int64)
    quality = np.full(shape, QUALITY_CODES.index(Quality.MISSING), dtype=np.int64)
    asked = [
        (back, position, to_epoch(hour.starts_at))
        for back, on_day in enumerate(hours_of_days(event, hours))
        for position, hour in enumerate(on_day)
        if hour is not None
    ]
    back, position, starts_s = (column(each[part] for each in asked) for part in range(3))
    found = energy.of_hours(sites, starts_s)
    energy_wh[:, back, position], quality[:, back, position] = found.energy_wh, found.quality
    return DayEnergies(event.day, energy_wh, quality, excluded)


def _chosen_days(days: DayEnergies, baselines: Baselines) -> list[BaselineDays]:
    """Return each site's days; sites with the same days share one object, made once."""
    # What each day is to a site is one digit, and as many of them as fit make one number to compare.
    kinds = 2 * len(DROP_CODES)
    chosen, dropped = baselines.chosen, baselines.dropped
    what = chosen * len(DROP_CODES) + dropped
    alike = np.zeros(len(what), dtype=np.int64)
    for first in range(0, what.shape[1], _DAYS_IN_A_NUMBER):
        some = what[:, first : first + _DAYS_IN_A_NUMBER]
        number = some @ (kinds ** np.arange(some.shape[1], dtype=np.int64))
        ranks = [np.unique(each, return_inverse=True)[1].astype(np.int64) for each in (alike, number)]
        alike = ranks[0] * len(what) + ranks[1]
    _, first_of, group = np.unique(alike, return_index=True, return_inverse=True)
    found = [_days_of(days, chosen[site], dropped[site]) for site in first_of.tolist()]
    return [found[each] for each in group.tolist()]


_DAYS_IN_A_NUMBER = 16
"""Twelve kinds of days to the sixteenth power fit into 63 bits."""


def _days_of(days: DayEnergies, chosen: NDArray[np.bool_], dropped: NDArray[np.int64]) -> BaselineDays:
    passed_over = ((back, DROP_CODES[int(dropped[back])]) for back in np.flatnonzero(dropped).tolist())
    return BaselineDays(
        chosen=tuple(days.day(back) for back in np.flatnonzero(chosen).tolist()),
        dropped=tuple((days.day(back), reason.value) for back, reason in passed_over if reason),
    )


@dataclass(frozen=True, slots=True)
class _ExactEnergies:
    """Energies over one denominator per site, as Python integers: no width limits them.

    ``baseline`` and ``incremental`` are numerators by site and hour; ``incremental`` is zero where an hour
    does not count.
    """

    denominator: NDArray[np.object_]
    baseline: NDArray[np.object_]
    incremental: NDArray[np.object_]


def _exact_energies(
    event: SettledEvent, metered: _EventEnergy, baselines: Baselines, adjustments: _Adjustments
) -> _ExactEnergies:
    denominator = baselines.divisor.astype(object) * adjustments.denominator * 3600
    baseline = baselines.sum_wh.astype(object) * metered.seconds * adjustments.numerator[:, None]
    beyond = metered.metered_wh.astype(object) * denominator[:, None] - baseline
    counts = (metered.quality <= QUALITY_CODES.index(Quality.ESTIMATED)) & baselines.valid[:, None]
    sign = 1 if event.terms.meter is MeterOfRecord.DEVICE else -1
    return _ExactEnergies(denominator, baseline, np.where(counts, sign * beyond, 0))


def _lines(
    event: SettledEvent,
    sites: SettledSites,
    hours: Sequence[Interval],
    metered: _EventEnergy,
    energies: _ExactEnergies,
    verdicts: Sequence[tuple[SiteQuality, SettlementReason | None]],
    adjustments: _Adjustments,
    chosen_days: Sequence[BaselineDays],
) -> tuple[SettlementLine, ...]:
    """Put the columns into one line per site: nothing is computed here but sums and the cent."""
    event_s = _length_s(event)
    fractions = {seconds: Fraction(seconds, 3600) for seconds in np.unique(metered.seconds).tolist()}
    clamps = event.terms.negative_policy is NegativePolicy.CLAMP_INTERVAL
    out_s = sites.opted_out_s.tolist()
    settled = {each: _settled(event, each) for each in set(out_s)}
    accuracies = sites.meter_accuracy or (None,) * len(out_s)
    adjusted = map(_over, adjustments.numerator.tolist(), adjustments.denominator.tolist())
    found = []
    for site, ((quality, reason), row) in enumerate(zip(verdicts, _rows(metered, energies), strict=True)):
        beyond, divisor = row.incremental, row.denominator
        incremental = _over(sum(beyond), divisor)
        netted = _over(sum(each for each in beyond if each > 0), divisor) if clamps else incremental
        carried = sites.carried_wh[site] if sites.carried_wh is not None else _NOTHING_WH
        paid = paid_energy([netted], event.terms.negative_policy, carried)
        lines = _hour_lines(hours, row, fractions, quality)
        earned = earned_in_event(event.terms, paid, counts=bool(lines) and quality in COUNTING)
        found.append(
            SettlementLine(
                site_id=sites.site_ids[site],
                owner_id=sites.owner_ids[site],
                settled=settled[out_s[site]],
                hours=lines,
                baseline_days=chosen_days[site],
                incremental_wh=incremental,
                paid_wh=paid,
                amount=earned.amount,
                gross=earned.gross,
                margin=earned.margin,
                event_s=event_s,
                day=event.day if settled[out_s[site]] is None else None,
                adjustment=next(adjusted),
                quality=quality,
                reason=reason,
                meter_accuracy_permille=accuracies[site],
            )
        )
    return tuple(found)


_NOTHING_WH = Fraction(0)


class _Row(NamedTuple):
    """One site's columns as Python numbers, by hour; energies over ``denominator``."""

    seconds: list[int]
    metered_wh: list[WattHours]
    quality: list[int]
    denominator: int
    baseline: list[int]
    incremental: list[int]


def _rows(metered: _EventEnergy, energies: _ExactEnergies) -> Iterator[_Row]:
    columns = (
        metered.seconds, metered.metered_wh, metered.quality,
        energies.denominator, energies.baseline, energies.incremental,
    )  # fmt: skip
    return map(_Row, *(each.tolist() for each in columns))


def _hour_lines(
    hours: Sequence[Interval], row: _Row, fractions: Mapping[int, Fraction], quality_of_site: SiteQuality
) -> tuple[HourLine, ...]:
    divisor, valid = row.denominator, quality_of_site is not SiteQuality.NO_BASELINE
    columns = zip(hours, row.seconds, row.metered_wh, row.quality, row.baseline, row.incremental, strict=True)
    # By position, because a fleet has hundreds of thousands of these.
    return tuple(
        [
            HourLine(
                hour,
                fractions[seconds],
                energy if code <= _WORST_PAID else None,
                _over(baseline, divisor) if valid else None,
                _over(beyond, divisor),
                QUALITY_CODES[code],
            )
            for hour, seconds, energy, code, baseline, beyond in columns
            if seconds > 0
        ]
    )


@lru_cache(maxsize=2**17)
def _over(numerator: int, denominator: int) -> Fraction:
    """Return a quotient. Homes of a fleet share a denominator and most numerators: one in ten is new."""
    return Fraction(numerator, denominator)


_WORST_PAID = QUALITY_CODES.index(Quality.ESTIMATED)


def _settled(event: SettledEvent, opted_out_s: int) -> Interval | None:
    if not event.parts:
        return None
    starts_at, ends_at = event.parts[0].starts_at, event.parts[-1].ends_at
    if opted_out_s < to_epoch(ends_at):
        ends_at = from_epoch(opted_out_s)
    return Interval(starts_at, ends_at) if starts_at < ends_at else None


def _verdicts(
    event: SettledEvent, metered: _EventEnergy, baselines: Baselines, opted_out_s: IntColumn
) -> list[tuple[SiteQuality, SettlementReason | None]]:
    """Return, for each site, the worst that an owner must know, and the reason for it if there is one."""
    if not event.parts:
        return [(SiteQuality.OK, _why_nothing(event))] * len(opted_out_s)
    worst = np.where(metered.seconds > 0, metered.quality, 0).max(axis=1, initial=0)
    stayed = opted_out_s >= to_epoch(event.parts[-1].ends_at)
    without = metered.seconds.any(axis=1) & ~baselines.valid
    few = (SettlementReason.TOO_FEW_SIMILAR_DAYS, SettlementReason.TOO_FEW_DAYS_OF_DATA)
    told = [_verdict(each, opted_out=out) for each in QUALITY_CODES for out in (True, False)]
    told += [(SiteQuality.NO_BASELINE, each) for each in few]
    which = np.where(without, 2 * len(QUALITY_CODES) + baselines.too_few_days, 2 * worst + stayed)
    return [told[each] for each in which.tolist()]


def _why_nothing(event: SettledEvent) -> SettlementReason:
    if event.on is None:
        return SettlementReason.NEVER_ON
    return SettlementReason.HELD_ELSEWHERE if event.held_elsewhere else SettlementReason.OUTSIDE_TERMS


def _verdict(worst: Quality, *, opted_out: bool) -> tuple[SiteQuality, SettlementReason | None]:
    match worst:
        case Quality.BAD:
            return SiteQuality.BAD, SettlementReason.READINGS_BAD
        case Quality.MISSING:
            return SiteQuality.MISSING, SettlementReason.READINGS_MISSING
        case Quality.OK | Quality.ESTIMATED:
            reason = SettlementReason.OPTED_OUT if opted_out else None
            return SiteQuality(worst.value), reason
        case _ as unreachable:
            assert_never(unreachable)
