"""Make every plan and command of an event again from stored facts, and say where they do not fit."""

import asyncio
import hashlib
from collections.abc import Sequence

from vpp.domain.command import DispatchTick, PlanRevision
from vpp.domain.enrollment import Enrollment
from vpp.domain.replay import PlansAgain, StoredDispatch, replayed, stray_answers
from vpp.entrypoints.operations.desk import Desk, Json, instant_or_none
from vpp.wire.gateway import command_body

COMMANDS_AT_ONCE = 1_000


async def replay_event(desk: Desk, *, event_id: str) -> Json:
    """Make an event's plans and commands again from its stored ticks, samples and history.

    Returns:
        ``event_id, result`` (``same`` or ``different``)``, difference`` (the first one, or None)``, ticks,
        revisions, plans_made_again`` (revisions that were solved once more from the samples stored with
        their ticks)``, commands, bodies_sha256`` (over the exact body of each command, in order; the
        same on every machine that holds the same facts)``, stray_answers`` (to what no tick told: somebody
        else signs with our key)``, first_at, last_at``.
    """
    history = await desk.history(event_id)
    roster = await desk.store.enrollments()
    ticks = await desk.store.event_ticks(event_id)
    revisions = await desk.store.revisions(event_id)
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
    plans_made_again, fault = await _plans_again(desk, event_id, roster, ticks, revisions)
    difference = difference or fault
    stray = stray_answers(await desk.store.acks(since=ticks[0].at), ticks, event_id) if ticks else 0
    if difference is None:
        difference = await desk.store.verify_chain()
    return {
        "event_id": event_id,
        "result": "same" if difference is None else "different",
        "difference": difference,
        "ticks": len(ticks),
        "revisions": len(revisions),
        "plans_made_again": plans_made_again,
        "commands": commands,
        "stray_answers": stray,
        "bodies_sha256": digest.hexdigest(),
        "first_at": instant_or_none(ticks[0].at if ticks else None),
        "last_at": instant_or_none(ticks[-1].at if ticks else None),
    }


async def _plans_again(
    desk: Desk,
    event_id: str,
    roster: Sequence[Enrollment],
    ticks: Sequence[DispatchTick],
    revisions: Sequence[PlanRevision],
) -> tuple[int, str | None]:
    """Return how many plan revisions were made again, and the first difference."""
    if not revisions:
        return 0, None
    again, difference = PlansAgain(roster, revisions), None
    last_at = max(revisions[-1].at, ticks[-1].at if ticks else revisions[-1].at)
    # One tick at a time: what was known of a large fleet all evening does not fit into memory.
    for tick in await desk.store.ticks(since=revisions[0].at):
        if tick.at > last_at:
            break
        for basis in await desk.store.bases(since=tick.at, until=tick.at):
            if basis.number == tick.number:
                difference = difference or again.fault_at(basis, event_id)
    return again.made, difference
