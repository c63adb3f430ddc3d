"""Payout runs: balances leave once, a run can be called back, and a year adds up for tax."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from http import HTTPStatus
from zoneinfo import ZoneInfo

from vpp.domain.interval import whole_second
from vpp.domain.ledger import HOME_CURRENCY
from vpp.domain.payout import (
    Payout,
    PayoutRun,
    PayoutState,
    begin_run,
    end_run,
    paid_in_year,
    payouts,
)
from vpp.domain.quantities import MicroDollars, dollars
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant, instant_or_none
from vpp.entrypoints.operations.paging import cursor_of, key_at, page
from vpp.stages.pay import accrue
from vpp.wire.ledger_file import write_payouts_csv

_RUN_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


async def run_payout(desk: Desk, *, run_id: str) -> Json:
    """Send every owner's posted balance on its way, once, and return the run with its file for the bank.

    Credits and averages of months, seasons and years are brought up to date first. The same run again
    changes nothing and returns the same. Nothing counts as paid before ``vpp payout confirm``.

    Returns:
        ``run_id, owners, begun_at, totals`` (by currency), ``payouts`` (``owner_id, amount, currency, state,
        reference, ended_at``) and ``file``, CSV text: ``run_id, owner_id, amount, currency, reference,
        state``.
    """
    if not _RUN_NAME.fullmatch(run_id):
        raise OperationRefused(
            f"run {run_id[:64]!r} is not a name of 1 to 64 of a-z, A-Z, 0-9, '.', '_', '-'"
        )
    await accrue(desk.programs, store=desk.store, clock=desk.clock)
    owed_to, sent = await desk.store.owed_to_owners(), await desk.store.payout_entries()
    await desk.store.post(begin_run(run_id, owed_to, sent, at=whole_second(desk.clock.now())))
    made = await _run(desk, run_id)
    if not made:
        raise OperationRefused("no owner is owed a posted balance, so no run was made", HTTPStatus.CONFLICT)
    return await _facts(desk, run_id, made)


async def show_run(desk: Desk, *, run_id: str, cursor: str = "", limit: int | None = None) -> Json:
    """Return a payout run; nothing is sent on its way by it.

    Args:
        run_id: The run.
        cursor: ``next_cursor`` of the page before.
        limit: At most this many payouts; a page that holds fewer may be followed by another.

    Returns:
        What ``vpp payout run`` does, without its file for the bank; ``next_cursor``.
    """
    found = [run for run in await desk.store.payout_runs() if run.run_id == run_id]
    if not found:
        raise _unknown(run_id)
    looked_at, following = await _owners_paid(desk, cursor, limit)
    sent = await desk.store.payout_entries(owner_ids=looked_at)
    made = [each for each in payouts(sent) if each.run_id == run_id]
    homes = await desk.store.enrollments(owner_ids=looked_at)
    currency_of = {each.owner_id: desk.currency(each.program_id) for each in homes}
    return {
        "run_id": run_id,
        "owners": found[0].owners,
        "begun_at": instant(found[0].begun_at),
        "totals": (await _totals_by_run(desk, found))[run_id],
        "payouts": [_payout_facts(each, currency_of) for each in made],
        "next_cursor": following,
    }


async def _owners_paid(desk: Desk, cursor: str, limit: int | None) -> tuple[Sequence[str], str | None]:
    """Return a page of the owners to whom money was ever sent, and the cursor to the next one."""
    found = await desk.store.paid_owners(after=key_at(cursor) if cursor else "", limit=limit)
    return found, cursor_of(found[-1]) if limit is not None and len(found) == limit else None


async def confirm_payout(desk: Desk, *, run_id: str) -> Json:
    """Book a run as paid: what was on its way is posted. Returns the run as ``vpp payout run`` does."""
    return await _ended(desk, run_id, paid=True)


async def cancel_payout(desk: Desk, *, run_id: str) -> Json:
    """Call a run back: what was on its way is voided, and owed again. What is paid stays paid."""
    return await _ended(desk, run_id, paid=False)


async def _ended(desk: Desk, run_id: str, *, paid: bool) -> Json:
    made = await _run(desk, run_id)
    if not made:
        raise _unknown(run_id)
    wanted = PayoutState.PAID if paid else PayoutState.CALLED_BACK
    if any(each.state not in (wanted, PayoutState.ON_ITS_WAY) for each in made):
        raise OperationRefused(
            f"payout run {run_id} is {made[0].state.value.replace('_', ' ')}; it stays so",
            HTTPStatus.CONFLICT,
        )
    sent = await desk.store.payout_entries()
    await desk.store.post(end_run(run_id, sent, paid=paid, at=whole_second(desk.clock.now())))
    return await _facts(desk, run_id, await _run(desk, run_id))


def _unknown(run_id: str) -> OperationRefused:
    return OperationRefused(
        f"payout run {run_id} is not known; vpp payout list names all", HTTPStatus.NOT_FOUND
    )


async def list_payouts(desk: Desk, *, cursor: str = "", limit: int | None = None) -> Json:
    """Return every payout run in the order made.

    Returns:
        ``runs``: ``run_id, owners, totals, state, begun_at``; ``time_zone`` (in which staff read them),
        ``next_cursor``.
    """
    numbered = list(enumerate(await desk.store.payout_runs()))
    shown, following = page(numbered, lambda each: f"{each[0]:012d}", cursor=cursor, limit=limit)
    runs = [run for _, run in shown]
    totals = await _totals_by_run(desk, runs)
    return {
        "runs": [
            {
                "run_id": run.run_id,
                "owners": run.owners,
                "totals": totals[run.run_id],
                "state": run.state.value,
                "begun_at": instant(run.begun_at),
            }
            for run in runs
        ],
        "time_zone": desk.staff_zone,
        "next_cursor": following,
    }


async def total_year(desk: Desk, *, year: int, cursor: str = "", limit: int | None = None) -> Json:
    """Return what each owner was paid in a calendar year, for tax. It ends at midnight where the home is.

    Args:
        year: The year.
        cursor: ``next_cursor`` of the page before.
        limit: At most this many owners; a page that holds fewer may be followed by another.

    Returns:
        ``year``; ``owners``: ``owner_id, paid, currency``; ``next_cursor``.
    """
    looked_at, following = await _owners_paid(desk, cursor, limit)
    homes = await desk.store.enrollments(owner_ids=looked_at)
    sent = await desk.store.payout_entries(owner_ids=looked_at)
    zone_of = {each.owner_id: ZoneInfo(desk.time_zone(each.program_id)) for each in homes}
    currency_of = {each.owner_id: desk.currency(each.program_id) for each in homes}
    return {
        "year": year,
        "owners": [
            {
                "owner_id": owner_id,
                "paid": dollars(amount),
                "currency": currency_of.get(owner_id, HOME_CURRENCY),
            }
            for owner_id, amount in paid_in_year(sent, year, zone_of).items()
        ],
        "next_cursor": following,
    }


async def _run(desk: Desk, run_id: str) -> Sequence[Payout]:
    return [each for each in payouts(await desk.store.payout_entries()) if each.run_id == run_id]


async def _currencies(desk: Desk, owner_ids: Set[str]) -> Mapping[str, str]:
    """Return the currency of these owners' programs, by owner; the fleet is read only where they differ."""
    only = await _only_currency(desk)
    if only is not None or not owner_ids:
        return dict.fromkeys(owner_ids, only or HOME_CURRENCY)
    return {each.owner_id: desk.currency(each.program_id) for each in await desk.store.enrollments()}


async def _only_currency(desk: Desk) -> str | None:
    """Return the currency in which every home here is paid, None where there are several."""
    found = {desk.currency(program_id) for program_id in await desk.store.enrolled_programs()}
    return found.pop() if len(found) == 1 else None


async def _totals_by_run(desk: Desk, runs: Sequence[PayoutRun]) -> Mapping[str, Json]:
    """Return each run's totals by currency, by run; its payouts are read only where currencies differ."""
    only = await _only_currency(desk)
    if only is not None or not runs:
        return {run.run_id: {only or HOME_CURRENCY: dollars(run.amount)} for run in runs}
    made: dict[str, list[Payout]] = {run.run_id: [] for run in runs}
    for payout in payouts(await desk.store.payout_entries()):
        if payout.run_id in made:
            made[payout.run_id].append(payout)
    currency_of = await _currencies(desk, {each.owner_id for parts in made.values() for each in parts})
    return {run_id: _totals(parts, currency_of) for run_id, parts in made.items()}


def _totals(made: Sequence[Payout], currency_of: Mapping[str, str]) -> Json:
    sums: defaultdict[str, int] = defaultdict(int)
    for payout in made:
        sums[currency_of.get(payout.owner_id, HOME_CURRENCY)] += payout.amount
    return {currency: dollars(MicroDollars(sums[currency])) for currency in sorted(sums)}


async def _facts(desk: Desk, run_id: str, made: Sequence[Payout]) -> Json:
    currency_of = await _currencies(desk, {each.owner_id for each in made})
    return {
        "run_id": run_id,
        "owners": len(made),
        "begun_at": instant(made[0].entry.at),
        "totals": _totals(made, currency_of),
        "payouts": [_payout_facts(each, currency_of) for each in made],
        "file": write_payouts_csv(made, currency_of).decode(),
    }


def _payout_facts(payout: Payout, currency_of: Mapping[str, str]) -> Json:
    return {
        "owner_id": payout.owner_id,
        "amount": dollars(payout.amount),
        "currency": currency_of.get(payout.owner_id, HOME_CURRENCY),
        "state": payout.state.value,
        "reference": payout.entry.entry_id,
        "ended_at": instant_or_none(payout.ended_at),
    }
