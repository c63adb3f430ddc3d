"""Reports for programs: what an event delivered, hour by hour and site by site."""

from datetime import datetime
from fractions import Fraction
from http import HTTPStatus

from vpp.domain.grid_event import steps_in_force
from vpp.domain.program_report import hour_totals
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused
from vpp.wire.evidence_check import write_settlement_csv
from vpp.wire.program_report import openadr_report, write_hours_csv


async def report_event(desk: Desk, *, event_id: str) -> Json:
    """Return what a settled event delivered, as a program wants it told.

    Returns:
        ``event_id, program_id, state``; ``hours_csv`` and ``sites_csv``, texts: each clock hour over all
        sites (asked, metered, baseline, incremental Wh, quality), and each site's hours as in an evidence
        bundle's ``settlement.csv``; ``openadr_report``, an OpenADR 3.1 report object with ``BASELINE``,
        ``DELTA_USAGE`` and ``DATA_QUALITY``.
    """
    history = await desk.history(event_id)
    settlement = await desk.store.settlement(event_id)
    program = desk.programs.get(history.latest.program_id)
    if settlement is None or program is None:
        raise OperationRefused(
            f"event {event_id} is not settled; vpp settle {event_id} does it after its end",
            HTTPStatus.CONFLICT,
        )
    totals = hour_totals(settlement)
    asked: dict[datetime, Fraction | None] = {}
    for total in totals:
        found = Fraction(0)
        bound = True
        for step in steps_in_force(history):
            inside = step.interval.overlap(total.hour)
            if inside is not None:
                bound = bound and step.power is not None
                found += Fraction((step.power or 0) * inside.seconds, 3600)
        asked[total.hour.starts_at] = found if bound else None
    terms = program.terms_on(totals[0].hour.starts_at.astimezone(program.zone).date()) if totals else None
    report = (
        openadr_report(program.program_id, event_id, totals, terms.meter, created_at=settlement.settled_at)
        if terms
        else None
    )
    return {
        "event_id": event_id,
        "program_id": program.program_id,
        "state": settlement.state.value,
        "hours_csv": write_hours_csv(program.program_id, event_id, totals, asked, program.zone).decode(),
        "sites_csv": write_settlement_csv(settlement.lines).decode(),
        "openadr_report": report,
    }
