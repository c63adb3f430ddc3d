"""What an event would get, before anybody is asked: the plan, firm power, how much to ask, and the cost."""

from collections.abc import Callable, Sequence
from datetime import datetime
from fractions import Fraction
from functools import partial

import numpy as np

from vpp.domain.brake import Numbers
from vpp.domain.capacity import (
    PRIOR_COMMON_PERMILLE,
    PRIOR_EVENTS,
    PRIOR_SHARE_PERMILLE,
    Firm,
    TrackRecord,
    firm_by_group,
    firm_power,
    over_select,
)
from vpp.domain.demands import has_begun, most_asked_w, targeted_sites, targets_of
from vpp.domain.dispatch_plan import REASONS
from vpp.domain.event_plan import Demand, EventPlan
from vpp.domain.fleet import Names
from vpp.domain.grid_event import GridEvent, Step, steps_in_force
from vpp.domain.interval import Interval
from vpp.domain.nomination import month_of, standing
from vpp.domain.program import Period, Terms
from vpp.domain.quantities import IntColumn
from vpp.entrypoints.operations.beside import beside_others
from vpp.entrypoints.operations.board import by_word
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant, usd
from vpp.entrypoints.operations.live import Live
from vpp.entrypoints.operations.outlook import Outlook
from vpp.entrypoints.operations.records import track_record
from vpp.entrypoints.operations.starting import Wish, console_of, demand_of, read_wish, version_of

GROUPS_SHOWN = 200
PRIOR = (
    f"a home without a record is expected to give {PRIOR_SHARE_PERMILLE // 10} % of what it is asked; "
    f"{PRIOR_EVENTS} events of its own weigh as much; what all homes have in common varies by "
    f"{PRIOR_COMMON_PERMILLE // 10} %"
)


async def preview_event(
    desk: Desk,
    *,
    program_id: str,
    power_mw: str = "all",
    starts_at: str = "now",
    minutes: int = 60,
    targets: Sequence[str] = (),
    confidence_pct: int = 90,
    test: bool = False,
) -> Json:
    """Say what an event would get from the fleet as it is now. Nothing is stored and nobody is commanded.

    Planned as if granted, beside events that are on. Those that begin later are in ``scheduled_w`` only.

    Args:
        program_id: Whose homes.
        power_mw: Megawatts, or ``all`` that can be sustained.
        starts_at: ``now``, or a time; without an offset it is local in the program's zone.
        minutes: The length.
        targets: Names of utilities, groups, counties or feeders; none means all homes of the program.
        confidence_pct: How surely the power is to be reached, 50 to 99.
        test: Whether it would be a test, which is never paid.

    Returns:
        ``starts_at, ends_at, asked_w`` (None: all), ``now_w`` (what eligible homes can give at once),
        ``window_w`` (what they can hold to the end within the network's limits), ``planned_w, shortfall_w,
        sites, level_pct, reasons``; ``by_utility`` and ``by_county`` (``name, power_w, sites`` of the
        plan); ``nominated_w`` (the month's, None without) and ``over_nominated_w`` (what is asked beyond it);
        ``currency, cost_usd`` (the most it can cost), ``cost_p50_usd``: zero for a ``test``, None where the
        program pays by the month, season or year; ``paid_by`` (``event`` or one of these);
        ``takes_from`` (``event_id, name, test, sites, power_w``: what events which are on lose);
        ``scheduled`` (ids of other events that are not on yet and ask the same homes in this window, also
        where they wait for approval), ``scheduled_w`` (the most they ask together; None: all there is);
        ``out_of_program, limit_w`` (needs no second person). Of what can be held to the end, with charge
        as it is now: ``firm`` (``p90_w, p50_w, p10_w``: reached in 90, 50, 10 of 100 such events),
        ``firm_by_utility, firm_by_county, firm_by_feeder`` (``name, sites``, the same three, and of the plan
        ``planned_w, cost_usd``, each cut to the cent), ``events`` (looked at for the track record) and
        ``prior`` (what holds without one). ``selection``
        (``confidence_pct, ask_w, sites, reaches_w, enough``): how much to ask so that ``asked_w`` is
        reached that surely; None without a power.
    """
    if not 50 <= confidence_pct <= 99:
        raise OperationRefused(f"a confidence of {confidence_pct} % is not 50 to 99 %")
    wish = read_wish(desk, program_id, power_mw, starts_at, minutes, targets)
    live, now = desk.running, desk.clock.now()
    begins, ends = wish.interval(now)
    demand = demand_of(wish, live, begins, ends)
    version = await version_of(desk, wish, now, test=test)
    outlook, plan, takes_from = await _planned(desk, demand, version, now)
    record, held_w = await track_record(desk, program_id), outlook.held_w
    return {
        "program_id": program_id,
        "time_zone": wish.program.zone.key,
        "starts_at": instant(begins),
        "ends_at": instant(ends),
        "asked_w": wish.power_w,
        "now_w": int(outlook.offers.limit_w.sum()),
        "window_w": int(held_w.sum()),
        **_plan_facts(plan, live),
        **await _nominated(desk, wish, begins, int(plan.setpoint_w.sum())),
        "currency": wish.program.currency,
        **_costs(wish, begins, test, plan, record),
        **await _scheduled(desk, demand, wish, now),
        "takes_from": takes_from,
        "out_of_program": list(version.out_of_program),
        "limit_w": (await console_of(desk)).max_power_w,
        **_firm_blocks(held_w, record, live, plan.setpoint_w, partial(_cost, wish, begins, test)),
        "selection": _selection(outlook, wish, record, confidence_pct),
    }


async def _planned(
    desk: Desk, demand: Demand, version: GridEvent, now: datetime
) -> tuple[Outlook, EventPlan, list[Json]]:
    """Return what the event would find and get beside those that are on, and what it takes from each."""
    beside = await beside_others(desk, version, now)
    if beside is None:
        outlook = Outlook.of(desk.running, demand, now)
        return outlook, outlook.plan(), []
    turn, takes_from = beside
    outlook = Outlook(desk.running.controller.fleet, demand, turn.codes, turn.limits)
    return outlook, turn.plan, takes_from


def _plan_facts(plan: EventPlan, live: Live) -> Json:
    """Return what is planned, in all and by place, and why homes are in or out."""
    roster, fleet = live.controller.roster, live.controller.fleet
    counts = np.bincount(plan.reason_code, minlength=len(REASONS))
    return {
        "planned_w": int(plan.setpoint_w.sum()),
        "shortfall_w": plan.shortfall_w,
        "sites": int((plan.setpoint_w > 0).sum()),
        "level_pct": round(plan.level_permille / 10, 1),
        "reasons": {each.value: int(counts[place]) for place, each in enumerate(REASONS) if counts[place]},
        "by_utility": by_word(fleet.utility_no, roster.utilities.words, plan.setpoint_w),
        "by_county": by_word(fleet.county_no, roster.counties.words, plan.setpoint_w),
    }


def _firm_blocks(
    held_w: IntColumn,
    record: TrackRecord,
    live: Live,
    planned_w: IntColumn,
    cost: Callable[[int], str | None],
) -> Json:
    """Return what is firm of the power that can be held: in all, by place, and what that rests on."""
    roster, fleet = live.controller.roster, live.controller.fleet

    def by_name(group_no: Numbers, names: Names) -> list[Json]:
        """Return firm power by name, and beside it what is planned there."""
        planned = np.bincount(group_no, weights=planned_w, minlength=len(names.words)).astype(np.int64)
        return [
            row | {"planned_w": int(planned[place]), "cost_usd": cost(int(planned[place]))}
            for place, row in _by_name(held_w, record, group_no, names.words)
        ]

    return {
        "firm": _firm_facts(firm_power(held_w, record)),
        "firm_by_utility": by_name(fleet.utility_no, roster.utilities),
        "firm_by_county": by_name(fleet.county_no, roster.counties),
        "firm_by_feeder": by_name(fleet.feeder_no, roster.feeders),
        "events": len(record.fleet_shares_permille),
        "prior": PRIOR,
    }


def _selection(outlook: Outlook, wish: Wish, record: TrackRecord, confidence_pct: int) -> Json | None:
    """Return how much to ask so that what is wished is reached that surely."""
    if wish.power_w is None:
        return None
    share_out: Callable[[int], IntColumn] = outlook.shared
    most_w = int(outlook.held_w.sum())
    found = over_select(wish.power_w, most_w, record, share_out, confidence_permille=10 * confidence_pct)
    return {
        "confidence_pct": confidence_pct,
        "ask_w": found.asked_w,
        "sites": int((found.setpoint_w > 0).sum()),
        "reaches_w": found.reaches_w,
        "enough": found.reaches_w >= wish.power_w,
    }


async def _scheduled(desk: Desk, demand: Demand, wish: Wish, now: datetime) -> Json:
    """Return what events that are not on yet ask, in the same window, of homes that the wish names."""
    live, window = desk.running, Interval(demand.starts_at, demand.ends_at)
    fleet, roster = live.controller.fleet, live.controller.roster
    found: dict[str, list[Step]] = {}
    for history in await desk.store.histories(ending_after=demand.starts_at):
        event = history.latest
        if event.program_id != wish.program.program_id or has_begun(history, now):
            continue
        asked = targeted_sites(targets_of(event, wish.program, roster), fleet, roster)
        steps = [step for step in steps_in_force(history) if step.interval.overlap(window) is not None]
        if steps and (asked & demand.targeted).any():
            found[event.event_id] = steps
    together = (step for steps in found.values() for step in steps)
    return {"scheduled": sorted(found), "scheduled_w": most_asked_w(together, window)}


async def _nominated(desk: Desk, wish: Wish, begins: datetime, planned_w: int) -> Json:
    """Return what the program was told to count on in the month of the event, and what is asked beyond it."""
    month = month_of(begins.astimezone(wish.program.zone).date())
    found = standing(await desk.store.nominations()).get((wish.program.program_id, month))
    if found is None:
        return {"nominated_w": None, "over_nominated_w": 0}
    asked_w = planned_w if wish.power_w is None else wish.power_w
    return {"nominated_w": int(found.power), "over_nominated_w": max(0, asked_w - found.power)}


def _costs(wish: Wish, begins: datetime, test: bool, plan: EventPlan, record: TrackRecord) -> Json:
    """Return what the plan can cost and what it will likely cost, and what a payment is for."""
    terms, planned_w = _terms(wish, begins), int(plan.setpoint_w.sum())
    return {
        "cost_usd": _cost(wish, begins, test, planned_w),
        "cost_p50_usd": _cost(wish, begins, test, firm_power(plan.setpoint_w, record).p50_w),
        "paid_by": (terms.tariff.period if terms else Period.EVENT).value,
        "test": test,
    }


def _cost(wish: Wish, begins: datetime, test: bool, power_w: int) -> str | None:
    """Return dollars for the power held over the window, cut to the cent; a forecast, never a booking.

    None where the program pays no kilowatt-hours: what one event adds to a month or season is not known.
    """
    terms = _terms(wish, begins)
    if terms is None or test:
        return usd(0)
    if terms.tariff.period is not Period.EVENT:
        return None
    rate = terms.rate.micro_dollars_per_wh * Fraction(terms.tariff.bonus)
    return usd(int(rate * Fraction(power_w * wish.seconds, 3600)) // 10_000 * 10_000)


def _terms(wish: Wish, begins: datetime) -> Terms | None:
    return wish.program.terms_on(begins.astimezone(wish.program.zone).date())


def _firm_facts(firm: Firm) -> Json:
    return {"p90_w": firm.p90_w, "p50_w": firm.p50_w, "p10_w": firm.p10_w}


def _by_name(
    power_w: IntColumn, record: TrackRecord, group_no: Numbers, words: Sequence[str]
) -> list[tuple[int, Json]]:
    """Return group numbers with firm power by name, the largest first; without power they are left out."""
    columns = firm_by_group(power_w, record, group_no, len(words))
    sites = np.bincount(group_no[power_w > 0], minlength=len(words))
    order = [place for place in np.argsort(-columns[1], kind="stable").tolist() if sites[place]]
    return [
        (
            place,
            {"name": words[place], "sites": int(sites[place])}
            | _firm_facts(Firm(*(int(column[place]) for column in columns))),
        )
        for place in order[:GROUPS_SHOWN]
    ]
