"""Payout runs: balances leave once, a run can be called back, and a year adds up for tax."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from http import HTTPStatus
from zoneinfo import ZoneInfo

from vpp.domain.interval import whole_second
from vpp.domain.payout import Payout, PayoutState, begin_run, end_run, paid_in_year, payouts
from vpp.domain.quantities import MicroDollars, dollars
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant, instant_or_none
from vpp.entrypoints.operations.paging import page
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
    entries = await desk.store.entries()
    await desk.store.post(begin_run(run_id, entries, at=whole_second(desk.clock.now())))
    made = await _run(desk, run_id)
    if not made:
        raise OperationRefused("no owner is owed a posted balance, so no run was made", HTTPStatus.CONFLICT)
    return await _facts(desk, run_id, made)


async def show_run(desk: Desk, *, run_id: str) -> Json:
    """Return a payout run as ``vpp payout run`` does; nothing is sent on its way by it."""
    made = await _run(desk, run_id)
    if not made:
        raise _unknown(run_id)
    return await _facts(desk, run_id, made)


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
    entries = await desk.store.entries()
    await desk.store.post(end_run(run_id, entries, paid=paid, at=whole_second(desk.clock.now())))
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
    runs: dict[str, list[Payout]] = {}
    for payout in payouts(await desk.store.entries()):
        runs.setdefault(payout.run_id, []).append(payout)
    numbered = list(enumerate(runs.items()))
    shown, following = page(numbered, lambda each: f"{each[0]:012d}", cursor=cursor, limit=limit)
    currency_of = await _currencies(desk, {each.owner_id for _, (_, made) in shown for each in made})
    return {
        "runs": [
            {
                "run_id": run_id,
                "owners": len(made),
                "totals": _totals(made, currency_of),
                "state": made[0].state.value,
                "begun_at": instant(made[0].entry.at),
            }
            for _, (run_id, made) in shown
        ],
        "time_zone": desk.staff_zone,
        "next_cursor": following,
    }


async def total_year(desk: Desk, *, year: int) -> Json:
    """Return what each owner was paid in a calendar year, for tax. It ends at midnight where the home is.

    Returns:
        ``year`` and ``owners``: ``owner_id, paid, currency``.
    """
    zone_of = {
        each.owner_id: ZoneInfo(desk.time_zone(each.program_id)) for each in await desk.store.enrollments()
    }
    paid = paid_in_year(await desk.store.entries(), year, zone_of)
    currency_of = await _currencies(desk, set(paid))
    return {
        "year": year,
        "owners": [
            {"owner_id": owner_id, "paid": dollars(amount), "currency": currency_of.get(owner_id, "USD")}
            for owner_id, amount in paid.items()
        ],
    }


async def _run(desk: Desk, run_id: str) -> Sequence[Payout]:
    return [each for each in payouts(await desk.store.entries()) if each.run_id == run_id]


async def _currencies(desk: Desk, owner_ids: Set[str]) -> Mapping[str, str]:
    """Return the currency of these owners' programs, by owner; the fleet is read only where they differ."""
    currencies = {program.currency for program in desk.programs.values()}
    if len(currencies) == 1 or not owner_ids:
        return dict.fromkeys(owner_ids, currencies.pop() if currencies else "USD")
    return {
        each.owner_id: desk.programs[each.program_id].currency
        for each in await desk.store.enrollments()
        if each.program_id in desk.programs
    }


def _totals(made: Sequence[Payout], currency_of: Mapping[str, str]) -> Json:
    sums: defaultdict[str, int] = defaultdict(int)
    for payout in made:
        sums[currency_of.get(payout.owner_id, "USD")] += payout.amount
    return {currency: dollars(MicroDollars(sums[currency])) for currency in sorted(sums)}


async def _facts(desk: Desk, run_id: str, made: Sequence[Payout]) -> Json:
    currency_of = await _currencies(desk, {each.owner_id for each in made})
    return {
        "run_id": run_id,
        "owners": len(made),
        "begun_at": instant(made[0].entry.at),
        "totals": _totals(made, currency_of),
        "payouts": [
            {
                "owner_id": each.owner_id,
                "amount": dollars(each.amount),
                "currency": currency_of.get(each.owner_id, "USD"),
                "state": each.state.value,
                "reference": each.entry.entry_id,
                "ended_at": instant_or_none(each.ended_at),
            }
            for each in made
        ],
        "file": write_payouts_csv(made, currency_of).decode(),
    }
