"""Make every plan, tick and command of an event again from stored facts, and say where they do not fit."""

import asyncio
import hashlib
from collections.abc import Sequence

from vpp.domain.command import LONGEST_LEASE, DispatchTick, PlanRevision
from vpp.domain.grid_event import is_test
from vpp.domain.replay import PlansAgain, StoredDispatch, replayed, stray_answers
from vpp.domain.ticks_again import TicksAgain
from vpp.entrypoints.operations.desk import Desk, Json, instant_or_none
from vpp.wire.gateway import command_body

COMMANDS_AT_ONCE = 1_000


async def replay_event(desk: Desk, *, event_id: str) -> Json:
    """Make an event's plans, ticks and commands again from what was stored with them, and its history.

    Returns:
        ``event_id, test, result`` (``same`` or ``different``)``, difference`` (the first, or None)``, ticks``
        (that told its homes something)``, ticks_made_again`` (of those, decided once more from what was
        stored with them)``, revisions, plans_made_again`` (revisions that were solved once more from the
        samples stored with their ticks)``, commands, bodies_sha256`` (over the exact body of each command,
        in order; the same on every machine that holds the same facts)``, stray_answers`` (to what no tick
        told: somebody else signs with our key)``, first_at, last_at``.
    """
    history = await desk.history(event_id)
    ticks = await desk.store.event_ticks(event_id)
    revisions = await desk.store.revisions(event_id)
    looked_at = await _looked_at(desk, ticks, revisions)
    # Dispatch may go on: what ticks follow from is read after them, and may hold more.
    roster = await desk.store.enrollments()
    stored = StoredDispatch(
        history=history,
        ticks=ticks,
        revisions=revisions,
        opt_outs=await desk.store.opt_outs([event_id]),
        site_no_of={enrollment.site_id: enrollment.site_no for enrollment in roster},
    )
    site_ids = [enrollment.site_id for enrollment in roster]
    digest, commands = hashlib.sha256(), 0
    difference: str | None = None
    for batch, fault in replayed(stored):
        difference = difference or fault
        for row, site_no in enumerate(batch.order.site_no.tolist()):
            if site_no < len(site_ids):
                digest.update(command_body(batch, row, site_ids[site_no]) + b"\n")
                commands += 1
                if commands % COMMANDS_AT_ONCE == 0:
                    await asyncio.sleep(0)  # dispatch goes on in between
    ticks_made_again = plans_made_again = stray = 0
    if looked_at:
        answers = await desk.store.acks(since=min(tick.at for tick in looked_at))
        plans, ticks_again = PlansAgain(roster, revisions), TicksAgain(roster, {event_id}, answers)
        fault = await _made_again(desk, event_id, looked_at, plans, ticks_again)
        difference = difference or fault
        ticks_made_again, plans_made_again = ticks_again.made, plans.made
        stray = stray_answers(answers, ticks, event_id)
    if difference is None:
        difference = await desk.store.verify_chain()
    return {
        "event_id": event_id,
        "test": is_test(history),
        "result": "same" if difference is None else "different",
        "difference": difference,
        "ticks": len(ticks),
        "ticks_made_again": ticks_made_again,
        "revisions": len(revisions),
        "plans_made_again": plans_made_again,
        "commands": commands,
        "stray_answers": stray,
        "bodies_sha256": digest.hexdigest(),
        "first_at": instant_or_none(ticks[0].at if ticks else None),
        "last_at": instant_or_none(ticks[-1].at if ticks else None),
    }


async def _looked_at(
    desk: Desk, ticks: Sequence[DispatchTick], revisions: Sequence[PlanRevision]
) -> list[DispatchTick]:
    """Return all ticks from an event's first on, for as long as a lease of its last one may run.

    A home may have had to be told to stop after that.
    """
    told_at = [*(each.at for each in ticks), *(each.at for each in revisions)]
    if not told_at:
        return []
    until, last = max(told_at) + LONGEST_LEASE, ticks[-1].number if ticks else 0
    found = await desk.store.ticks(since=min(told_at))
    return [tick for tick in found if tick.at <= until or tick.number <= last]


async def _made_again(
    desk: Desk,
    event_id: str,
    ticks: Sequence[DispatchTick],
    plans: PlansAgain,
    ticks_again: TicksAgain,
) -> str | None:
    """Make plans and ticks of an event again, in order, and return the first difference."""
    difference: str | None = None
    # One tick at a time: what was known of a large fleet all evening does not fit into memory.
    for tick in ticks:
        found = await desk.store.bases(since=tick.at, until=tick.at)
        basis = next((each for each in found if each.number == tick.number), None)
        for unread in ticks_again.unread(tick, basis):
            ticks_again.learn(unread, await desk.store.revisions(unread))
        plan_fault = None if basis is None else plans.fault_at(basis, event_id)
        tick_fault = ticks_again.fault_at(tick, basis)
        difference = difference or plan_fault or tick_fault
    return difference
