"""Evidence of one event, gathered from the store, so that anyone can compute it again without us."""

import base64
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus

from vpp.domain.accrual import AccrualPeriod, PowerStretch, accrual_period, prices_that_count
from vpp.domain.delivery import ReadingColumns, together
from vpp.domain.grid_event import EventHistory, EventStatus
from vpp.domain.ledger import live_settlements, owed_by
from vpp.domain.program import NegativePolicy, TariffRule
from vpp.domain.quantities import MicroDollars
from vpp.domain.season_netting import EarlierEnergy, earlier_energies, netted_again
from vpp.domain.settled_event import Grounds, event_hours, reading_intervals
from vpp.domain.settlement import Settlement, SettlementLine, SettlementState, same_result
from vpp.domain.tariff import MICRO_DOLLARS
from vpp.entrypoints.operations.desk import Desk, OperationRefused, not_settled
from vpp.stages.pay import powers_of_program
from vpp.stages.settle import settlement_grounds
from vpp.wire.evidence import Bundle, EvidenceEvent, EvidenceVersion
from vpp.wire.evidence_check import write_bundle
from vpp.wire.evidence_csv import EvidenceSite
from vpp.wire.price_file import PriceRow

SITES_AT_ONCE = 250


async def export_evidence(desk: Desk, *, event_id: str) -> dict[str, bytes]:
    """Return the files of an event's evidence bundle by name, with a signed manifest.

    ``settlement.csv`` and ``totals.csv`` say what was booked. Where a program pays for the mean power of a
    month or a season, the amounts are those of that period, and ``period.csv`` holds what its other events
    add to it; where a season nets, ``carried.csv`` holds what its earlier events carried to this one.

    Raises:
        OperationRefused: The event is not known or not settled, or not since an earlier one of its season
            was settled again; or its program's file is not here.
    """
    history = await desk.history(event_id)
    settlement = await desk.store.settlement(event_id)
    program = desk.programs.get(history.latest.program_id)
    if settlement is None or program is None or not program.text:
        raise OperationRefused(
            not_settled(history)
            if settlement is None
            else f"program {history.latest.program_id} has no file here; evidence needs its terms",
            HTTPStatus.CONFLICT,
        )
    grounds = await settlement_grounds(history, settlement, store=desk.store, programs=desk.programs)
    if grounds is None:
        raise OperationRefused(
            f"event {event_id} was never on, so there is no evidence of it", HTTPStatus.CONFLICT
        )
    carried = await _carried(desk, grounds, settlement)
    bundle = Bundle(
        event=_event(history, grounds),
        program_text=program.text,
        program=program,
        sites=tuple(_site(grounds, place) for place in range(len(grounds.sites))),
        readings=await _readings(desk, grounds),
        excluded=grounds.excluded,
        prices=await _prices(desk, grounds),
        carried=carried,
        powers=await _powers(desk, grounds),
    )
    return write_bundle(
        bundle,
        await _booked(desk, grounds, settlement),
        chain_head=await desk.store.chain_head(),
        sign=desk.keys.sign,
        signer=(desk.keys.kid, base64.urlsafe_b64encode(desk.keys.public_key).decode().rstrip("=")),
    )


async def _prices(desk: Desk, grounds: Grounds) -> tuple[PriceRow, ...]:
    """Return the prices of the event's hours, where its month's hours weigh by price."""
    event, month = grounds.event, _period(grounds)
    if month is None or event.terms.tariff.rule is not TariffRule.PER_KW_MONTH_WEIGHTED:
        return ()
    program_id = event.program.program_id
    runs = await _runs(desk, program_id)
    counting = prices_that_count(event.program, month, runs, await desk.store.prices(program_id))
    hours = (hour.starts_at for hour in event_hours(event) if hour.starts_at in counting)
    return tuple(PriceRow(program_id, at, MicroDollars(int(counting[at] * MICRO_DOLLARS))) for at in hours)


async def _runs(desk: Desk, program_id: str) -> list[Settlement]:
    return [run for run in await desk.store.settlements() if run.program_id == program_id]


def _period(grounds: Grounds) -> AccrualPeriod | None:
    """Return the month or season whose mean power the event is a part of; None where no power is paid."""
    event = grounds.event
    return accrual_period(event.program, event.day) if event.terms.tariff.for_power else None


async def _carried(desk: Desk, grounds: Grounds, settlement: Settlement) -> tuple[EarlierEnergy, ...] | None:
    """Return what the season's earlier events carried to the settled sites, where it nets."""
    event = grounds.event
    if event.terms.negative_policy is not NegativePolicy.NET_SEASON_FLOOR_ZERO:
        return None
    runs = await _runs(desk, event.program.program_id)
    provisional = settlement.state is SettlementState.PROVISIONAL
    if provisional and not same_result(settlement, netted_again(event, settlement, runs)):
        raise OperationRefused(
            f"an earlier event of the season was settled again since {event.event_id} was; "
            f"vpp settle {event.event_id} takes in what it carries now",
            HTTPStatus.CONFLICT,
        )
    return tuple(earlier_energies(event, settlement, runs))


async def _powers(desk: Desk, grounds: Grounds) -> dict[str, list[PowerStretch]] | None:
    """Return the settled sites' powers in the period's other events, where their mean is paid."""
    period = _period(grounds)
    if period is None:
        return None
    powers = (await powers_of_program(grounds.event.program, store=desk.store)).get(period.period_id, {})
    homes = [site.enrollment for site in grounds.sites]
    return {
        home.site_id: [
            each
            for each in powers.get((home.owner_id, home.site_id), ())
            if each.event_id != grounds.event.event_id
        ]
        for home in homes
    }


def _event(history: EventHistory, grounds: Grounds) -> EvidenceEvent:
    """Return the versions as they were committed and, where they alone would not tell, what was really on.

    A forced or approved event is on later than its versions say, and one beyond the season's hours pays
    for a part of it.
    """
    program = grounds.event.program
    versions = tuple(
        EvidenceVersion(
            each.committed_at.replace(microsecond=0),
            each.status,
            tuple(step.interval for step in each.steps if step.power != 0),
        )
        for each in history.versions
    )
    told = EvidenceEvent(history.latest.event_id, program.program_id, program.zone.key, versions)
    if any(each.intervals for each in versions) and told.settled(program) == grounds.event:
        return told
    latest_word = max([versions[-1].effective_at, *(each.granted_at for each in history.grants)])
    on = grounds.on if _told_by(told, grounds) else grounds.event.parts
    return replace(
        told,
        versions=(
            *versions,
            EvidenceVersion(latest_word.replace(microsecond=0), EventStatus.SCHEDULED, on or grounds.on),
        ),
    )


def _told_by(told: EvidenceEvent, grounds: Grounds) -> bool:
    """Return whether the stretches in which the event was on, cut by the terms alone, are what is settled."""
    last = EvidenceVersion(told.versions[-1].effective_at, EventStatus.SCHEDULED, grounds.on)
    whole = replace(told, versions=(*told.versions, last))
    return whole.settled(grounds.event.program).parts == grounds.event.parts


def _site(grounds: Grounds, place: int) -> EvidenceSite:
    site = grounds.sites[place]
    return EvidenceSite(
        site.enrollment.site_id,
        site.enrollment.owner_id,
        grounds.event.terms.meter,
        site.opted_out_at,
        site.held_elsewhere,
    )


async def _readings(desk: Desk, grounds: Grounds) -> ReadingColumns:
    """Return all readings that the settlement knew; ``site`` is the position among the settled sites."""
    site_ids = [site.enrollment.site_id for site in grounds.sites]
    intervals = reading_intervals(grounds.event)
    found = []
    for first in range(0, len(site_ids), SITES_AT_ONCE):
        part = await desk.store.readings(
            site_ids[first : first + SITES_AT_ONCE], intervals, before=grounds.before
        )
        found.append(replace(part, site=part.site + first))
    return together(found)


async def _booked(desk: Desk, grounds: Grounds, settlement: Settlement) -> Sequence[SettlementLine]:
    """Return the event's lines with what the ledger owes for them: by the event, or by its period."""
    period = _period(grounds)
    period_id = settlement.event_id if period is None else period.period_id
    live = live_settlements(await desk.store.period_entries(settlement.program_id, period_id))
    entries = (
        live.get((each.owner_id, each.site_id, settlement.program_id, period_id)) for each in settlement.lines
    )
    return [
        replace(line, amount=MicroDollars(0 if entry is None else owed_by(entry, line.owner_id)))
        for line, entry in zip(settlement.lines, entries, strict=True)
    ]
