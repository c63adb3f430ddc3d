"""The track record of a program's homes, read from what is stored about its latest events."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np

from vpp.domain.capacity import TrackRecord
from vpp.domain.command import AckBatch
from vpp.domain.delivery import QUALITY_CODES, Quality, counter_track, net_energy
from vpp.domain.enrollment import Enrollment
from vpp.domain.event_end import ended_at
from vpp.domain.grid_event import EventHistory
from vpp.domain.interval import Interval, from_epoch
from vpp.domain.program import MeterOfRecord
from vpp.domain.quantities import BoolColumn, IntColumn
from vpp.domain.track_record import (
    Asked,
    answers_of_sites,
    shares_of_sites,
)
from vpp.entrypoints.operations.desk import Desk
from vpp.ports import Store
from vpp.stages.cross_check import asked_in_event

EVENTS_LOOKED_AT = 5
CHUNK_SITES = 2_000
SHORTEST_SEEN = timedelta(minutes=15)
"""An event that ended sooner is no evidence: homes were starting still, and readings are few."""
_EDGE = timedelta(minutes=10)  # readings come every five minutes
_USABLE = QUALITY_CODES.index(Quality.ESTIMATED)


async def track_record(desk: Desk, program_id: str) -> TrackRecord:
    """Return what the program's homes gave of what they were asked in its latest events, test ones too.

    What was called off within minutes says nothing of them.
    """
    roster = await desk.store.enrollments()
    record, now = TrackRecord.empty(len(roster)), desk.clock.now()
    ended = [
        history
        for history in await desk.store.histories()
        if history.latest.program_id == program_id and _over(history, now) and _lasted(history)
    ]
    latest = sorted(ended, key=ended_at)[-EVENTS_LOOKED_AT:]
    acks: AckBatch | None = None
    for history in latest:
        event_id = history.latest.event_id
        asked = await asked_in_event(desk.store, history, len(roster), until=now)
        if asked.span is None:
            continue
        if acks is None:
            acks = await desk.store.acks(since=asked.span.starts_at - _EDGE)
        delivered_wh, metered = await delivered_by_sites(desk.store, roster, asked)
        accepted, _ = answers_of_sites(acks, event_id, len(roster))
        opted_out = await _opted_out(desk, event_id, roster)
        share, known, together = shares_of_sites(asked, delivered_wh, metered, accepted, opted_out)
        record = record.with_event(share, known, together)
    return record


def _over(history: EventHistory, now: datetime) -> bool:
    return ended_at(history) <= now


def _lasted(history: EventHistory) -> bool:
    asked = [each.interval for each in history.versions if each.interval is not None]
    return bool(asked) and ended_at(history) - asked[-1].starts_at >= SHORTEST_SEEN


async def delivered_by_sites(
    store: Store, roster: Sequence[Enrollment], asked: Asked
) -> tuple[IntColumn, BoolColumn]:
    """Return the net discharge of each site while it was asked, in Wh, and whose counters say so."""
    delivered, metered = np.zeros(len(roster), dtype=np.int64), np.zeros(len(roster), dtype=np.bool_)
    sites = asked.sites
    for begins in range(0, len(sites), CHUNK_SITES):
        rows = sites[begins : begins + CHUNK_SITES]
        from_s, until_s = asked.from_s[rows], asked.until_s[rows]
        window = Interval(from_epoch(int(from_s.min())) - _EDGE, from_epoch(int(until_s.max())) + _EDGE)
        readings = await store.readings([roster[row].site_id for row in rows.tolist()], [window])
        track = counter_track(readings, MeterOfRecord.DEVICE)
        energy_wh, quality = net_energy(track, np.arange(len(rows)), from_s, until_s)
        delivered[rows], metered[rows] = energy_wh, quality <= _USABLE
    return delivered, metered


async def _opted_out(desk: Desk, event_id: str, roster: Sequence[Enrollment]) -> BoolColumn:
    row_of = {enrollment.site_id: row for row, enrollment in enumerate(roster)}
    out = np.zeros(len(roster), dtype=np.bool_)
    for opt_out in await desk.store.opt_outs([event_id]):
        if opt_out.taken_back_at is None and opt_out.site_id in row_of:
            out[row_of[opt_out.site_id]] = True
    return out
