"""The guard rails of each program: its hours of this season, its window, its lengths."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import assert_never

from vpp.domain.interval import Interval
from vpp.domain.nomination import month_of, standing
from vpp.domain.program import Program, TariffRule, Terms, seconds_within
from vpp.domain.season_hours import counted_intervals, season_seconds
from vpp.entrypoints.operations.desk import Desk, Json
from vpp.entrypoints.operations.paging import page


async def list_programs(desk: Desk, *, cursor: str = "", limit: int | None = None) -> Json:
    """Return ``programs`` by id, with the terms in force today and what the season has used.

    Args:
        cursor: ``next_cursor`` of the page before.
        limit: At most this many; None takes all.

    Returns:
        ``program_id, name, utility, time_zone, currency``; ``nominated_w`` (for this month, None where
        nothing is); ``terms`` (None before the first edition): ``window_opens, window_closes`` (local),
        ``event_min_s, event_max_s, season_cap_s, season_used_s`` (with what is only
        scheduled, and counts already)``, season_scheduled_s`` (that part)``, season_left_s, season_minimum_s,
        season_first, season_last`` (month-day)``, season_starts_on`` (of the season with these hours: the
        one that runs, or else the last; None before any)``, season_over, rate_usd_per_kwh, also_enrolled``
        (other programs that a home may be in), ``ends_others`` (those it leaves by joining), and ``pays``,
        the rule and its rate for people. Also ``next_cursor``.
    """
    now = desk.clock.now()
    histories = await desk.store.histories()
    sources = {source.name: source for source in await desk.store.sources()}
    nominated = standing(await desk.store.nominations())
    found: list[Json] = []
    by_id = sorted(desk.programs.values(), key=lambda each: each.program_id)
    shown, following = page(by_id, lambda each: each.program_id, cursor=cursor, limit=limit)
    for program in shown:
        today = now.astimezone(program.zone).date()
        terms = program.terms_on(today)
        used_s = season_seconds(histories, sources, program, now)
        to_come_s = _to_come_s(counted_intervals(histories, sources, program.program_id), program, now)
        nomination = nominated.get((program.program_id, month_of(today)))
        found.append(
            {
                "program_id": program.program_id,
                "name": program.name,
                "utility": program.utility,
                "time_zone": program.zone.key,
                "currency": program.currency,
                "nominated_w": None if nomination is None else nomination.power,
                "terms": None
                if terms is None
                else _terms(terms, program.currency, used_s)
                | {"season_scheduled_s": to_come_s}
                | _season(program, today),
            }
        )
    return {"programs": found, "next_cursor": following}


def _terms(terms: Terms, currency: str, used_s: int) -> Json:
    return {
        "window_opens": f"{terms.window_opens:%H:%M}",
        "window_closes": f"{terms.window_closes:%H:%M}",
        "event_min_s": terms.event_min_s,
        "event_max_s": terms.event_max_s,
        "season_cap_s": terms.season_cap_s,
        "season_used_s": used_s,
        "season_left_s": max(0, terms.season_cap_s - used_s),
        "season_minimum_s": terms.season_minimum_s,
        "season_first": "{:02d}-{:02d}".format(*terms.season_first),
        "season_last": "{:02d}-{:02d}".format(*terms.season_last),
        "rate_usd_per_kwh": str(terms.rate.dollars_per_kwh),
        "also_enrolled": list(terms.also_enrolled),
        "ends_others": list(terms.ends_others),
        "pays": _pays(terms, currency),
    }


def _to_come_s(counted: Sequence[Interval], program: Program, now: datetime) -> int:
    """Return how much of what counts in the season that runs has not happened yet."""
    season = program.latest_season(now.astimezone(program.zone).date())
    if season is None or season.ends_at <= now:
        return 0
    return seconds_within(counted, Interval(max(season.starts_at, now), season.ends_at))


def _season(program: Program, today: date) -> Json:
    """Return which season is counted, and whether it is over: nothing of it can be used any more."""
    season = program.latest_season(today)
    return {
        "season_starts_on": None if season is None else _local(program, season.starts_at).isoformat(),
        "season_over": season is not None and _local(program, season.ends_at) <= today,
    }


def _local(program: Program, at: datetime) -> date:
    return at.astimezone(program.zone).date()


def _pays(terms: Terms, currency: str) -> str:
    """Return what a program pays for, in a few words and its own currency."""
    tariff = terms.tariff
    match tariff.rule:
        case TariffRule.PER_KWH_INCREMENTAL:
            return f"{terms.rate.dollars_per_kwh} {currency} per kWh beyond the baseline"
        case TariffRule.PER_KWH_DELIVERED:
            return f"{terms.rate.dollars_per_kwh} {currency} per kWh delivered"
        case TariffRule.PER_KW_SEASON_AVERAGE:
            return f"{tariff.per_kw_season} {currency} per kW and season"
        case TariffRule.PER_KW_MONTH_WEIGHTED:
            rates = [rate for _, rate in tariff.per_kw_month]
            return f"{min(rates)} to {max(rates)} {currency} per kW and month"
        case TariffRule.FIXED_CREDIT:
            monthly = ", paid by the month" if tariff.pays_in_twelfths else ""
            return f"{tariff.credit} {currency} per Powerwall and {tariff.credit_every.value}{monthly}"
        case _ as unreachable:
            assert_never(unreachable)
