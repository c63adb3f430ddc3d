"""An event as it went, from what was stored while it ran: for whoever was not there."""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np

from vpp.domain.command import DispatchTick, PlanRevision
from vpp.domain.course import EventPower
from vpp.domain.grid_event import is_test
from vpp.domain.interval import to_epoch
from vpp.domain.quantities import IntColumn
from vpp.entrypoints.operations.desk import Desk, Json, instant
from vpp.entrypoints.operations.events import event_state
from vpp.ports import StoreUnavailable

FRAMES_MOST = 600
EVENINGS_KEPT = 20
QUIET = timedelta(minutes=5)
"""So long after the last tick of an event that is over no other one follows."""
UNSEEN = timedelta(seconds=60)
"""So long without a look nobody knows what was measured; control looks every quarter of a minute."""


async def keep_course(desk: Desk) -> None:
    """Look at the power of every event and store it; what the database cannot take now is stored later."""
    live = desk.running
    with suppress(StoreUnavailable):
        for event_id in live.unread():
            live.recall(event_id, await desk.store.course(event_id))
    live.note(desk.clock.now())
    unkept = list(live.unkept)
    with suppress(StoreUnavailable):
        await desk.store.add_course(unkept)
        del live.unkept[: len(unkept)]


async def show_evening(desk: Desk, *, event_id: str) -> Json:
    """Return how an event went, as its board showed it then.

    Returns:
        ``event_id, test, time_zone``; ``frames`` in order, about 600 at most: ``at, requested_w, planned_w,
        measured_w`` (battery output of the homes that were commanded)``, estimated_w`` (the part of it of
        silent homes; both None where nobody looked, as while the service was down)``, shortfall_w, sites``
        (commanded)``, commands`` (told until then)``, revision`` (of its plan).
    """
    history = await desk.history(event_id)
    kept = desk.live.evenings.get(event_id) if desk.live else None
    if kept is not None:
        return kept
    revisions = await desk.store.revisions(event_id)
    ticks = await desk.store.event_ticks(event_id)
    zone = desk.time_zone(history.latest.program_id)
    about: Json = {"event_id": event_id, "test": is_test(history), "time_zone": zone}
    if not revisions:
        return about | {"frames": []}
    seen = list(await desk.store.course(event_id))
    kept_until = seen[-1].at if seen else history.versions[0].committed_at
    unkept = desk.live.unkept if desk.live else ()
    seen += [each for each in unkept if each.event_id == event_id and each.at > kept_until]
    evening = _Evening(revisions, ticks)
    frames = [evening.frame(at, power) for at, power in _moments(seen, (*ticks, *revisions))]
    found = about | {"frames": _some(frames)}
    last_at = max([revisions[-1].at, *(each.at for each in seen), *(each.at for each in ticks)])
    over = event_state(history, desk.clock.now()) in ("ended", "cancelled")
    if desk.live is not None and over and desk.clock.now() - last_at > QUIET:
        # The plans of a large fleet take long to read, and they change no more.
        desk.live.evenings[event_id] = found
        while len(desk.live.evenings) > EVENINGS_KEPT:
            del desk.live.evenings[next(iter(desk.live.evenings))]
    return found


def _moments(
    seen: Sequence[EventPower], decided: Sequence[DispatchTick | PlanRevision]
) -> list[tuple[datetime, EventPower | None]]:
    """Return what was seen by its time, and where nobody looked for a minute the ticks and plans alone."""
    known_s = np.array([to_epoch(each.at) for each in seen], dtype=np.int64)
    gaps = [each.at + UNSEEN / 4 for each, following in pairwise(seen) if following.at - each.at > UNSEEN]
    unseen = {*gaps, *(each.at for each in decided if not _near(known_s, to_epoch(each.at)))}
    moments: list[tuple[datetime, EventPower | None]] = [(each.at, each) for each in seen]
    return sorted([*moments, *((at, None) for at in unseen)], key=lambda moment: moment[0])


def _near(known_s: IntColumn, at_s: int) -> bool:
    """Return whether somebody looked within a minute of an instant."""
    place = int(np.searchsorted(known_s, at_s))
    around_s = known_s[max(0, place - 1) : place + 1]
    return bool((np.abs(around_s - at_s) <= UNSEEN.total_seconds()).any())


def _some(frames: list[Json]) -> list[Json]:
    """Return every n-th frame, the last one, and those of which nothing is known: a gap stays one."""
    every = max(1, -(-len(frames) // FRAMES_MOST))
    last = len(frames) - 1
    return [
        frame
        for place, frame in enumerate(frames)
        if place % every == 0 or place == last or frame["measured_w"] is None
    ]


class _Evening:
    """The plan and the commands as of one moment; moments are asked for in order."""

    def __init__(self, revisions: Sequence[PlanRevision], ticks: Sequence[DispatchTick]) -> None:
        sites = max(len(revision.reason_code) for revision in revisions)
        self._revisions, self._reached = revisions, 0
        self._ticks, self._told, self._commands = ticks, 0, 0
        self._setpoint_w = np.zeros(sites, dtype=np.int64)

    def frame(self, at: datetime, seen: EventPower | None) -> Json:
        """Return a moment in figures: as it was seen, or what was decided alone."""
        while self._reached < len(self._revisions) and self._revisions[self._reached].at <= at:
            revision = self._revisions[self._reached]
            self._setpoint_w[revision.site_no] = revision.setpoint_w
            self._reached += 1
        while self._told < len(self._ticks) and self._ticks[self._told].at <= at:
            self._commands += sum(len(order.site_no) for order in self._ticks[self._told].orders)
            self._told += 1
        newest = self._revisions[max(0, self._reached - 1)]
        return {
            "at": instant(at),
            "requested_w": newest.requested_w if seen is None else seen.asked_w,
            "planned_w": int(self._setpoint_w.sum()) if seen is None else seen.planned_w,
            "measured_w": None if seen is None else seen.measured_w,
            "estimated_w": None if seen is None else seen.estimated_w,
            "shortfall_w": newest.shortfall_w if seen is None else seen.shortfall_w,
            "sites": int((self._setpoint_w > 0).sum()) if seen is None else seen.sites,
            "commands": self._commands,
            "revision": newest.revision,
        }
