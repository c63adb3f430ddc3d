"""Settle an event as the controller does: its counters are compared with its power samples first."""

from vpp.domain.grid_event import EventHistory
from vpp.domain.settlement import Settlement
from vpp.entrypoints.operations.desk import Desk
from vpp.stages.cross_check import check_before_settling
from vpp.stages.settle import settle


async def checked_settlement(
    desk: Desk, history: EventHistory, *, correcting: bool = False
) -> Settlement | None:
    """Return the settlement that stands, made with no hour that the event's power samples refute.

    Raises:
        NoTerms: The program has no terms for the event's date.
        UnknownProgram: Its file is not here any more.
    """
    await check_before_settling(
        history, store=desk.store, programs=desk.programs, clock=desk.clock, correcting=correcting
    )
    return await settle(
        history, store=desk.store, programs=desk.programs, clock=desk.clock, correcting=correcting
    )
