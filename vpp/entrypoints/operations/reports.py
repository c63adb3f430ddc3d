"""Reports for programs: what an event delivered, hour by hour and site by site."""

from fractions import Fraction
from http import HTTPStatus

from vpp.domain.grid_event import EventHistory, steps_in_force
from vpp.domain.interval import Interval
from vpp.domain.nomination import month_of, standing
from vpp.domain.program_report import hour_totals
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, not_settled
from vpp.entrypoints.operations.storage import storage_by_hour
from vpp.wire.evidence_check import write_settlement_csv
from vpp.wire.program_report import openadr_report, write_hours_csv


async def report_event(desk: Desk, *, event_id: str) -> Json:
    """Return what a settled event delivered, as a program wants it told.

    Returns:
        ``event_id, program_id, state``; ``hours_csv`` and ``sites_csv``, texts: each clock hour over all
        sites (nominated, asked, metered, baseline, incremental and paid Wh, what the program owes, quality;
        summed it is the event's receivable in the books), and each site's hours as in an
        evidence bundle's ``settlement.csv``; ``openadr_report``, an OpenADR 3.1 report object with
        ``BASELINE``, ``DELTA_USAGE``, ``DATA_QUALITY`` and, where the controller's samples tell it,
        ``STORAGE_USABLE_CAPACITY``, ``STORAGE_CHARGE_LEVEL`` and ``STORAGE_MAX_DISCHARGE_POWER``.
    """
    history = await desk.history(event_id)
    settlement = await desk.store.settlement(event_id)
    program = desk.programs.get(history.latest.program_id)
    if settlement is None or program is None:
        raise OperationRefused(not_settled(history), HTTPStatus.CONFLICT)
    first = min((hour.hour for line in settlement.lines for hour in line.hours), default=None)
    terms = None if first is None else program.terms_on(program.local_day(first))
    totals = () if terms is None else hour_totals(settlement, terms)
    asked = {total.hour.starts_at: _asked_wh(history, total.hour) for total in totals}
    nominated = standing(await desk.store.nominations())
    counted_on = {
        hour: Fraction(nomination.power * _event_s(history, hour), 3600)
        for hour in (total.hour for total in totals)
        if (month := month_of(hour.starts_at.astimezone(program.zone).date()))
        and (nomination := nominated.get((program.program_id, month))) is not None
    }
    report = (
        openadr_report(
            program.program_id,
            event_id,
            totals,
            terms.meter,
            storage=await storage_by_hour(
                desk, event_id, [each.hour for each in totals], [each.site_id for each in settlement.lines]
            ),
            created_at=settlement.settled_at,
        )
        if terms
        else None
    )
    return {
        "event_id": event_id,
        "program_id": program.program_id,
        "state": settlement.state.value,
        "hours_csv": write_hours_csv(
            program.program_id,
            event_id,
            totals,
            program.zone,
            currency=program.currency,
            nominated_wh={hour.starts_at: energy_wh for hour, energy_wh in counted_on.items()},
            asked_wh=asked,
        ).decode(),
        "sites_csv": write_settlement_csv(settlement.lines).decode(),
        "openadr_report": report,
    }


def _asked_wh(history: EventHistory, hour: Interval) -> Fraction | None:
    """Return what the grid asked for in an hour; None where it set no bound."""
    found = Fraction(0)
    for step in steps_in_force(history):
        inside = step.interval.overlap(hour)
        if inside is not None:
            if step.power is None:
                return None
            found += Fraction(step.power * inside.seconds, 3600)
    return found


def _event_s(history: EventHistory, hour: Interval) -> int:
    parts = (step.interval.overlap(hour) for step in steps_in_force(history))
    return sum(part.seconds for part in parts if part is not None)
