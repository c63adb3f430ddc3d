"""Stop first where the database is down, and tell it as soon as it is back.

Nothing else may leave before its commit. A release that was sent is committed under the number it left
with, so that the record says what the homes were told.
"""

from contextlib import suppress
from datetime import datetime
from typing import Protocol

import numpy as np

from vpp.domain.access import TrailEntry
from vpp.domain.board import Board
from vpp.domain.command import DispatchTick, Unrecorded
from vpp.domain.demands import has_begun
from vpp.domain.dispatch_terms import DispatchTerms
from vpp.domain.event_end import cancelled
from vpp.domain.grid_event import EventStatus, is_test
from vpp.domain.interval import to_epoch, whole_second
from vpp.domain.lease import Due, note_sent
from vpp.domain.orders import batches_of, release_orders
from vpp.ports import Clock, ConflictingFact, DeviceLink, DispatchStore, SignalStore, StaleEpoch

STOP_ALL = "stop all"
"""What the trail calls it, of the fleet and of each event that it cancelled."""


class StopStore(SignalStore, DispatchStore, Protocol):
    """The part of the store that a stop is told to."""


async def stop_everything(
    *, board: Board, link: DeviceLink, clock: Clock, terms: DispatchTerms, actor: str
) -> int:
    """Release every home whose lease may run, without a commit; return how many there are."""
    board.stops += 1
    board.known = None  # what is told here is stored later than what a tick may tell meanwhile
    now = whole_second(clock.now())
    rows = np.flatnonzero((board.leases.running_until_s > to_epoch(now)) | board.leases.behind)
    nobody = np.zeros(0, dtype=np.int64)
    histories = board.facts.histories if board.facts is not None else ()
    orders = release_orders(
        board.leases,
        Due(discharge=nobody, release=rows),
        terms.orders,
        now,
        plans=board.plans,
        event_id_of=board.events.word,
        test_events={each.latest.event_id for each in histories if is_test(each)},
    )
    tick = DispatchTick(board.tick_number + 1, board.epoch, now, orders)
    board.tick_number = tick.number
    batches = tuple(batches_of(tick, board.plans))
    board.unrecorded.append(Unrecorded(tick, (), batches, stopped_by=actor))
    for batch in batches:
        note_sent(board.leases, batch, board.events.number(batch.order.event_id))
    await link.command(batches)
    return len(rows)


async def tell_again(board: Board, link: DeviceLink) -> None:
    """Send every release that is not recorded yet; a home that has it answers as it did before."""
    await link.command([batch for each in board.unrecorded for batch in each.batches])


async def record(board: Board, *, store: StopStore, clock: Clock) -> None:
    """Commit what left before the database knew of it, in order. Raises StoreUnavailable.

    What a newer leader has replaced is not committed any more: its tick numbers are taken.
    """
    while board.unrecorded:
        first = board.unrecorded[0]
        if first.stopped_by is not None:
            await _cancel_what_was_on(first.tick.at, first.stopped_by, store, clock)
        # It stood before its answer was lost, or somebody else leads: either way nothing is owed.
        with suppress(ConflictingFact, StaleEpoch):
            await store.commit(first.tick, first.revisions)
        board.unrecorded.pop(0)


async def _cancel_what_was_on(at: datetime, actor: str, store: StopStore, clock: Clock) -> None:
    for history in await store.histories(ending_after=at):
        if history.latest.status is not EventStatus.CANCELLED and has_begun(history, at):
            version = cancelled(history.latest, at=clock.now())
            entry = TrailEntry(version.committed_at, actor, STOP_ALL, f"event:{version.event_id}", "", "")
            await store.append_version(version, actor=actor, told=entry)
