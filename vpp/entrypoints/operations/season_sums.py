"""What an owner's events, months, seasons and years sum to, by program and season."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from fractions import Fraction

from vpp.domain.accrual import first_day
from vpp.entrypoints.operations.desk import Desk, Json
from vpp.wire.evidence_check import exact


@dataclass(slots=True)
class _Sum:
    """What is gathered of one season; two homes share one event and one period."""

    events: set[str] = field(default_factory=set)
    periods: set[str] = field(default_factory=set)
    incremental_wh: Fraction = Fraction(0)
    paid_wh: Fraction = Fraction(0)
    amount: Decimal = Decimal(0)


def season_facts(desk: Desk, lines: Sequence[Json], periods: Sequence[Json]) -> list[Json]:
    """Return the sums of an owner's events and periods, by program and season, in order.

    A period belongs to the season in which it begins. Energy is that of the events.
    """
    sums: dict[tuple[str, str], _Sum] = {}
    for line in lines:
        starts_at = line["starts_at"]
        if starts_at is None:
            continue
        at = datetime.fromisoformat(str(starts_at))
        program = desk.programs.get(str(line["program_id"]))
        found = _of_season(desk, sums, line, at.astimezone(program.zone).date() if program else None)
        if found is not None:
            found.events.add(str(line["event_id"]))
            found.incremental_wh += Fraction(str(line["incremental_wh"]))
            found.paid_wh += Fraction(str(line["paid_wh"]))
            found.amount += Decimal(str(line["amount_usd"]))
    for period in periods:
        found = _of_season(desk, sums, period, first_day(str(period["period"])))
        if found is not None:
            found.periods.add(str(period["period"]))
            found.amount += Decimal(str(period["amount_usd"]))
    return [
        {
            "program_id": program_id,
            "currency": desk.currency(program_id),
            "season_starts_on": starts_on,
            "events": len(each.events),
            "periods": len(each.periods),
            "incremental_wh": exact(each.incremental_wh),
            "paid_wh": exact(each.paid_wh),
            "amount_usd": str(each.amount),
        }
        for (program_id, starts_on), each in sorted(sums.items(), key=lambda each: each[0])
    ]


def _of_season(desk: Desk, sums: dict[tuple[str, str], _Sum], row: Json, day: date | None) -> _Sum | None:
    """Return the sum that a row belongs to; None out of any season."""
    program = desk.programs.get(str(row["program_id"]))
    season = None if program is None or day is None else program.season_around(day)
    if program is None or season is None:
        return None
    starts_on = season.starts_at.astimezone(program.zone).date().isoformat()
    return sums.setdefault((program.program_id, starts_on), _Sum())
