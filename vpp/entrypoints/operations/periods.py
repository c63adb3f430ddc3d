"""What an owner earns by the month, the season or the year, with every number that leads to the cent."""

from collections.abc import Iterable, Mapping

from vpp.domain.accrual import Powers, first_day, mean_kw, powerwalls, rate_per_kw, terms_of_period
from vpp.domain.enrollment import Enrollment
from vpp.domain.program import Period, Program
from vpp.domain.settlement import Settlement, SettlementLine
from vpp.domain.tariff import credit_to_date
from vpp.entrypoints.operations.desk import Desk, Json, usd
from vpp.stages.pay import accruals, powers_of_program
from vpp.wire.evidence_check import exact

Settles = tuple[str, str, str, str]
"""Owner, site, program and period of an entry that settles."""


async def period_facts(
    desk: Desk, owner_id: str, homes: Iterable[Enrollment], booked: Mapping[Settles, int]
) -> list[Json]:
    """Return an owner's months, seasons and years, also those that came to nothing.

    Args:
        homes: The owner's.
        booked: What the entry that stands owes for each.
    """
    found: list[Json] = []
    home_of = {each.site_id: each for each in homes}
    before = {program_id for owner, _, program_id, _ in booked if owner == owner_id}
    for program_id in sorted(before | {each.program_id for each in home_of.values()}):
        program = desk.programs.get(program_id)
        if program is None or all(each.tariff.period is Period.EVENT for each in program.editions):
            continue
        powers = await powers_of_program(program, store=desk.store)
        for run in await accruals(program, store=desk.store, clock=desk.clock):
            found += [
                _facts(program, run, line, booked.get((owner_id, line.site_id, program_id, run.event_id), 0))
                | _factors(program, run.event_id, line, powers.get(run.event_id))
                | _to_date(program, run.event_id, home_of.get(line.site_id))
                for line in run.lines
                if line.owner_id == owner_id
            ]
    return found


def _facts(program: Program, run: Settlement, line: SettlementLine, booked: int) -> Json:
    return {
        "period": run.event_id,
        "program_id": program.program_id,
        "currency": program.currency,
        "site_id": line.site_id,
        "state": run.state.value,
        "paid_wh": exact(line.paid_wh),
        "amount_usd": usd(line.amount),
        "booked_usd": usd(booked),
        "how": line.reason,
    }


def _factors(program: Program, period_id: str, line: SettlementLine, powers: Powers | None) -> Json:
    """Return what the amount is the product of, and what a mean power is the mean of."""
    terms = terms_of_period(program, period_id)
    assert terms is not None  # a period without terms accrues nothing
    tariff, mine = terms.tariff, () if powers is None else powers.get((line.owner_id, line.site_id), ())
    paid_for = "Powerwall" if powers is None else "kW"
    rate = tariff.credit if powers is None else rate_per_kw(terms, period_id)
    return {
        "average_kw": None if powers is None else exact(mean_kw(mine)),
        "parts": [
            {"event_id": each.event_id, "weight": str(each.weight), "kw": exact(each.kw)} for each in mine
        ],
        "rate_usd": str(rate),
        "paid_for": paid_for,
        "bonus_multiplier": str(tariff.bonus),
        "owner_share": str(terms.owner_share),
        "cap_amount": None if tariff.cap_amount is None else str(tariff.cap_amount),
        "minimum_amount": str(tariff.minimum_amount) if tariff.minimum_amount else None,
    }


def _to_date(program: Program, period_id: str, home: Enrollment | None) -> Json:
    """Return what a year's credit has come to around a month; None for each where it is not paid so."""
    terms = terms_of_period(program, period_id)
    if home is None or terms is None or not terms.tariff.pays_in_twelfths:
        return dict.fromkeys(("month_of_year", "to_date_usd", "before_usd"))
    month = first_day(period_id).month
    to_date, before = (credit_to_date(terms, powerwalls(home), each) for each in (month, month - 1))
    return {
        "month_of_year": month,
        "to_date_usd": usd(to_date.amount),
        "before_usd": usd(before.amount),
    }
