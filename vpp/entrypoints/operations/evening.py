"""An event as it went, from what was stored with its ticks: for whoever was not there."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from vpp.domain.command import DispatchTick, PlanRevision
from vpp.domain.fleet import FleetState
from vpp.domain.grid_event import is_test
from vpp.domain.tick_basis import write_stored
from vpp.entrypoints.operations.desk import Desk, Json, instant
from vpp.entrypoints.operations.events import event_state

FRAMES_MOST = 600
EVENINGS_KEPT = 20
QUIET = timedelta(minutes=5)
"""So long after the last tick of an event that is over no other one follows."""


async def show_evening(desk: Desk, *, event_id: str) -> Json:
    """Return how an event went, tick by tick.

    Returns:
        ``event_id, test``; ``frames`` in order, at most 600: ``at, requested_w, planned_w, measured_w``
        (battery output of the homes in the plan, as control knew it then)``, shortfall_w, sites`` (in the
        plan)``, commands`` (told until then)``, revision``.
    """
    history = await desk.history(event_id)
    kept = desk.live.evenings.get(event_id) if desk.live else None
    if kept is not None:
        return kept
    revisions = await desk.store.revisions(event_id)
    orders = {tick.number: tick for tick in await desk.store.event_ticks(event_id)}
    if not revisions:
        return {"event_id": event_id, "test": is_test(history), "frames": []}
    last_at = max(revisions[-1].at, max((tick.at for tick in orders.values()), default=revisions[-1].at))
    evening, frames = _Evening(revisions), []
    for tick in await desk.store.ticks(since=revisions[0].at):
        if tick.at > last_at:
            break
        await evening.reach(desk, tick)
        evening.tell(orders.get(tick.number))
        frames.append(evening.frame(tick.at))
    every = max(1, -(-len(frames) // FRAMES_MOST))
    shown = frames[::every]
    found: Json = {
        "event_id": event_id,
        "test": is_test(history),
        "frames": shown if shown[-1:] == frames[-1:] else [*shown, frames[-1]],
    }
    over = event_state(history, desk.clock.now()) in ("ended", "cancelled")
    if desk.live is not None and over and desk.clock.now() - last_at > QUIET:
        # What was known of a large fleet all evening takes seconds to read, and it changes no more.
        desk.live.evenings[event_id] = found
        while len(desk.live.evenings) > EVENINGS_KEPT:
            del desk.live.evenings[next(iter(desk.live.evenings))]
    return found


class _Evening:
    """The plan and the fleet's samples as of one tick."""

    def __init__(self, revisions: Sequence[PlanRevision]) -> None:
        sites = max(len(revision.reason_code) for revision in revisions)
        self._revisions, self._reached, self._commands = revisions, 0, 0
        self._fleet = FleetState()
        self._fleet.grow(sites)
        self._setpoint_w = np.zeros(sites, dtype=np.int64)

    async def reach(self, desk: Desk, tick: DispatchTick) -> None:
        """Take in what was known and planned at a tick."""
        for basis in await desk.store.bases(since=tick.at, until=tick.at):
            if basis.number == tick.number:
                write_stored(self._fleet, basis.samples)
        while self._reached < len(self._revisions) and self._revisions[self._reached].at <= tick.at:
            revision = self._revisions[self._reached]
            self._setpoint_w[revision.site_no] = revision.setpoint_w
            self._reached += 1

    def tell(self, orders: DispatchTick | None) -> None:
        """Count the commands that a tick told for the event."""
        self._commands += sum(len(order.site_no) for order in orders.orders) if orders else 0

    def frame(self, at: datetime) -> Json:
        """Return the tick in figures."""
        newest = self._revisions[max(0, self._reached - 1)]
        serving = np.flatnonzero(self._setpoint_w > 0)
        return {
            "at": instant(at),
            "requested_w": newest.requested_w,
            "planned_w": int(self._setpoint_w.sum()),
            "measured_w": int(self._fleet.battery_w.clip(0)[serving].sum()),
            "shortfall_w": newest.shortfall_w,
            "sites": len(serving),
            "commands": self._commands,
            "revision": newest.revision,
        }
