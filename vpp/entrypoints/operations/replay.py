"""Make every command of an event again from stored facts, and say where they do not fit."""

import hashlib

from vpp.domain.replay import StoredDispatch, replayed, stray_answers
from vpp.entrypoints.operations.desk import Desk, Json, instant_or_none
from vpp.wire.gateway import command_body


async def replay_event(desk: Desk, *, event_id: str) -> Json:
    """Make an event's commands again from its stored ticks, plan revisions and history.

    Returns:
        ``event_id, result`` (``same`` or ``different``)``, difference`` (the first one, or None)``, ticks,
        revisions, commands, bodies_sha256`` (over the exact body of each command, in order; the same
        on every machine that holds the same facts)``, stray_answers`` (to what no tick told: somebody
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
    stray = stray_answers(await desk.store.acks(since=ticks[0].at), ticks, event_id) if ticks else 0
    if difference is None:
        difference = await desk.store.verify_chain()
    return {
        "event_id": event_id,
        "result": "same" if difference is None else "different",
        "difference": difference,
        "ticks": len(ticks),
        "revisions": len(revisions),
        "commands": commands,
        "stray_answers": stray,
        "bodies_sha256": digest.hexdigest(),
        "first_at": instant_or_none(ticks[0].at if ticks else None),
        "last_at": instant_or_none(ticks[-1].at if ticks else None),
    }
