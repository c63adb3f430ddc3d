"""Pay: book what settlements say, once; and what a month, a season or a year has come to."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from vpp.domain.accrual import Powers, accrue_credits, accrue_events, powers_of_periods
from vpp.domain.enrollment import Enrollment, OptOut
from vpp.domain.interval import whole_second
from vpp.domain.ledger import JournalEntry, entries_due
from vpp.domain.program import Period, Program
from vpp.domain.settlement import Settlement
from vpp.money_ports import Books, WholesalePrices
from vpp.ports import Clock, Registry


class PayStore(Registry, Books, WholesalePrices, Protocol):
    """What accruals are computed from, and where they are booked."""


async def pay(
    settlement: Settlement, *, books: Books, clock: Clock, note: str = ""
) -> tuple[JournalEntry, ...]:
    """Append the entries that make the books say what a settlement says, and return them.

    Booking the same settlement again appends nothing: what is due follows from the books themselves.
    ``note`` stands in the memo of corrections: who started them, and why.
    """
    booked = await books.period_entries(settlement.program_id, settlement.event_id)
    due = entries_due(settlement, booked, at=whole_second(clock.now()), note=note)
    await books.post(due)
    return due


async def accrue(
    programs: Mapping[str, Program], *, store: PayStore, clock: Clock, note: str = ""
) -> tuple[JournalEntry, ...]:
    """Append what periods longer than an event have come to, for every program that pays by them.

    Pending while a period runs; posted when it is closed. Doing it again appends nothing by itself.
    ``note`` stands in the memo of what the correction of an event changes in a closed period.
    """
    by_period = [
        program_id
        for program_id in sorted(programs)
        if any(each.tariff.period is not Period.EVENT for each in programs[program_id].editions)
    ]
    if not by_period:
        return ()
    # Most programs that are shipped have no home here: their settlements are not even read.
    enrolled = await store.enrolled_programs()
    appended: list[JournalEntry] = []
    for program_id in by_period:
        if program_id not in enrolled:
            continue
        for run in await accruals(programs[program_id], store=store, clock=clock):
            appended += await pay(run, books=store, clock=clock, note=note)
    return tuple(appended)


async def accruals(program: Program, *, store: PayStore, clock: Clock) -> tuple[Settlement, ...]:
    """Return one settlement for each month, season or year of a program that has anything to pay."""
    now = whole_second(clock.now())
    roster = await store.enrollments()
    events = await _events_of(program, roster, store)
    prices = await store.prices(program.program_id)
    return (*accrue_events(program, *events, at=now, prices=prices), *accrue_credits(program, roster, at=now))


async def powers_of_program(program: Program, *, store: PayStore) -> Mapping[str, Powers]:
    """Return the powers that a program's months or seasons average, by period."""
    events = await _events_of(program, await store.enrollments(), store)
    return powers_of_periods(program, *events, prices=await store.prices(program.program_id))


async def _events_of(
    program: Program, roster: Sequence[Enrollment], store: PayStore
) -> tuple[Sequence[Settlement], Sequence[OptOut], Mapping[str, str]]:
    """Return a program's settled events, who stayed out of them, and the owner of each of its homes."""
    runs = [run for run in await store.settlements() if run.program_id == program.program_id]
    opt_outs = await store.opt_outs([run.event_id for run in runs])
    owner_of = {each.site_id: each.owner_id for each in roster if each.program_id == program.program_id}
    return runs, opt_outs, owner_of
