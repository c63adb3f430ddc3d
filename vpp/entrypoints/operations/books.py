"""The books as others need them: exported, corrected by a person, and held against what programs paid."""

from http import HTTPStatus

from vpp.domain.interval import whole_second
from vpp.domain.ledger import JournalEntry
from vpp.domain.payout import Receivable, receivables, receive, round_off
from vpp.domain.settlement import Settlement, same_result, totals_of
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, not_settled, usd
from vpp.entrypoints.operations.events import event_state, settlement_facts
from vpp.ports import ConflictingFact
from vpp.stages.pay import accrue, pay
from vpp.stages.settle import settle, settle_later
from vpp.wire.ledger_file import read_payments, write_beancount, write_ledger_csv
from vpp.wire.table import BadFile


async def export_ledger(desk: Desk, *, layout: str) -> Json:
    """Return all journal entries as text: ``csv``, one line per posting, or ``beancount``.

    Returns:
        ``layout, entries, chain_head`` of the books, ``chain_link`` (which link of the chain it is), and
        ``text``. CSV: ``entry_id, at, state, memo, account, party, amount`` (six decimals, debits
        positive), ``currency, owner_id, site_id, program_id, period, resolves, corrects``.
        Beancount: what is posted, and with ``!`` what is pending still.
    """
    writers = {"csv": write_ledger_csv, "beancount": write_beancount}
    if layout not in writers:
        raise OperationRefused(f"layout {layout[:40]!r} is not one of {', '.join(writers)}")
    entries = await desk.store.entries()
    currency_of = {program_id: program.currency for program_id, program in desk.programs.items()}
    link, head = await desk.store.newest_link()
    return {
        "layout": layout,
        "entries": len(entries),
        "chain_head": head,
        "chain_link": link,
        "text": writers[layout](entries, currency_of).decode(),
    }


async def reconcile_ledger(desk: Desk, *, content: bytes, file_name: str) -> Json:
    """Book what programs really paid against what they owe, and list the differences by event.

    A file with columns ``program_id, period`` (an event id, or a month, season or year as in the ledger),
    ``reference`` (the payer's) and ``paid``. All of it is booked or nothing; a reference that is booked
    already changes nothing. A program owes parts of a cent and pays whole cents: where less than a cent is
    open, that is the payer's rounding, and it is booked to the rounding account.

    Returns:
        ``booked`` (new payments), ``known`` (booked before); ``open``: ``program_id, period, due_usd,
        received_usd, rounded_usd, difference_usd`` where a cent or more is open; ``rounded``: the same of
        what was settled within a cent now.
    """
    try:
        payments = read_payments(content, file_name=file_name)
    except BadFile as failure:
        raise OperationRefused(
            f"{file_name}: {len(failure.faults)} faults, nothing of it was booked", faults=failure.faults
        ) from failure
    entries = await desk.store.entries()
    due = {(each.program_id, each.period) for each in receivables(entries)}
    strange = [
        f"{file_name}:{line}: {each.program_id} owes nothing for {each.period}"
        for line, each in payments.items()
        if (each.program_id, each.period) not in due
    ]
    if strange:
        raise OperationRefused(
            f"{file_name}: {len(strange)} payments are for nothing that was posted, nothing was booked",
            faults=strange,
        )
    new = {line: receive(each, at=whole_second(desk.clock.now())) for line, each in payments.items()}
    known = {entry.entry_id: entry.postings for entry in entries}
    otherwise = [
        f"{file_name}:{line}: reference {payments[line].reference[:40]!r} is booked with another amount"
        for line, entry in new.items()
        if known.get(entry.entry_id, entry.postings) != entry.postings
    ]
    twice = f"{file_name}: a reference is booked with another amount, nothing was booked"
    if otherwise:
        raise OperationRefused(twice, HTTPStatus.CONFLICT, otherwise)
    try:
        await desk.store.post(list(new.values()))
    except ConflictingFact as failure:  # somebody booked it in this moment
        raise OperationRefused(twice, HTTPStatus.CONFLICT) from failure
    rounded = await _round_off(desk)
    return {
        "booked": sum(entry.entry_id not in known for entry in new.values()),
        "known": sum(entry.entry_id in known for entry in new.values()),
        "open": [
            _receivable_facts(each) for each in receivables(await desk.store.entries()) if each.difference
        ],
        "rounded": [_receivable_facts(each) for each in rounded],
    }


async def _round_off(desk: Desk) -> list[Receivable]:
    """Book what is open by less than a cent to the rounding account, and return it as it stands then."""
    at = whole_second(desk.clock.now())
    rests = [each for each in receivables(await desk.store.entries()) if each.within_a_cent]
    if not rests:
        return []
    try:
        await desk.store.post([round_off(each, at=at) for each in rests])
    except ConflictingFact as failure:  # what is due changed, and somebody rounded it off in this moment
        raise OperationRefused(
            "the payments are booked, but others book at the same time; reconcile the file again",
            HTTPStatus.CONFLICT,
        ) from failure
    done = {(each.program_id, each.period) for each in rests}
    found = receivables(await desk.store.entries())
    return [each for each in found if (each.program_id, each.period) in done]


def _receivable_facts(found: Receivable) -> Json:
    return {
        "program_id": found.program_id,
        "period": found.period,
        "due_usd": usd(found.due),
        "received_usd": usd(found.received),
        "rounded_usd": usd(found.rounded),
        "difference_usd": usd(found.difference),
    }


MOST_TRIES = 10


async def correct_event(desk: Desk, *, event_id: str, reason: str, actor: str) -> Json:
    """Settle a closed event again from all readings there are now, late ones included.

    Each amount that changed is reversed and booked anew; who started it and why stands in the entries. An
    event that is still open needs no correction. Where a season nets, the events after it whose amounts
    change by that are settled again too.

    Returns:
        ``event_id, entries`` (how many were appended) and the settlement's totals as in ``vpp event show``.
    """
    if not 1 <= len(reason) <= 200 or not reason.isprintable():
        raise OperationRefused("a correction needs a reason of 1 to 200 printable characters")
    history = await desk.history(event_id)
    standing = await desk.store.settlement_totals(event_id)
    if standing is None and event_state(history, desk.clock.now()) in ("ended", "cancelled"):
        raise OperationRefused(not_settled(history), HTTPStatus.CONFLICT)
    if standing is None or standing.state.value == "provisional":
        raise OperationRefused(
            f"event {event_id} is not closed; vpp settle {event_id} takes in late readings until then",
            HTTPStatus.CONFLICT,
        )
    corrected = await settle(
        history, store=desk.store, programs=desk.programs, clock=desk.clock, correcting=True
    )
    assert corrected is not None
    note = f"Correction by {actor}: {reason}"
    entries = await _book(desk, corrected, note)
    for later in await settle_later(corrected, store=desk.store, programs=desk.programs, clock=desk.clock):
        of_earlier = f"Correction of {event_id} by {actor}: {reason}"
        entries += await _book(desk, later, of_earlier)
    entries += await accrue(desk.programs, store=desk.store, clock=desk.clock, note=note)
    return {"event_id": event_id, "entries": len(entries)} | settlement_facts(desk, totals_of(corrected))


async def _book(desk: Desk, run: Settlement, note: str) -> list[JournalEntry]:
    """Book an event's settlement, and return what was appended.

    Where another correction stored or booked something of the event meanwhile, what stands by then is booked:
    whoever books last looks once more, so the books say in the end what the settlement says.
    """
    entries: list[JournalEntry] = []
    for _ in range(MOST_TRIES):
        try:
            entries += await pay(run, books=desk.store, clock=desk.clock, note=note)
            booked = run
        except ConflictingFact:
            booked = None
        standing = await desk.store.settlement(run.event_id)
        assert standing is not None, f"event {run.event_id} was settled a moment ago"
        if booked is not None and same_result(standing, booked):
            return entries
        run = standing
    raise OperationRefused(
        f"event {run.event_id} is being corrected by others as well; correct it again", HTTPStatus.CONFLICT
    )
