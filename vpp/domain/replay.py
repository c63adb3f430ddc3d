"""Read an event's dispatch again from what was stored: every command follows from tick, plan and history.

Finds where what was sent could not have followed from what was known, and decides again: with the samples
that were stored at each tick every plan revision is solved once more, and must come out the same.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np

from vpp.domain.command import LONGEST_LEASE, AckBatch, Action, CommandBatch, DispatchTick, PlanRevision
from vpp.domain.dispatch_plan import MIN_COMMAND_W
from vpp.domain.enrollment import Enrollment, OptOut
from vpp.domain.fleet import FleetState, Roster, enroll
from vpp.domain.grid_event import EventHistory, authorized_steps, is_test, steps_in_force
from vpp.domain.interval import union
from vpp.domain.plan_revision import plan_at
from vpp.domain.quantities import BoolColumn, IntColumn
from vpp.domain.tick_basis import TickBasis, contradicted, first_difference, plan_again, write_stored
from vpp.domain.track_record import commands_in_order

KNOWN_WITHIN = timedelta(seconds=60)
"""Control reads what people said at least this often, and at once where somebody wakes it."""


@dataclass(frozen=True, slots=True)
class StoredDispatch:
    """Everything stored about one event's dispatch; ticks hold the orders of this event only."""

    history: EventHistory
    ticks: Sequence[DispatchTick]
    revisions: Sequence[PlanRevision]
    opt_outs: Sequence[OptOut]
    site_no_of: Mapping[str, int]

    @property
    def sites(self) -> int:
        """Return how many sites there are."""
        return len(self.site_no_of)


def replayed(stored: StoredDispatch) -> Iterator[tuple[CommandBatch, str | None]]:
    """Yield every batch that was told, in order, with what is wrong with it; None where nothing is.

    A fault in the numbering of ticks or revisions comes with the first batch after it.
    """
    faults = [*_revision_faults(stored.revisions, stored.history), *_tick_faults(stored.ticks)]
    for batch, _ in commands_in_order(stored.ticks, stored.revisions, stored.sites):
        fault = faults.pop(0) if faults else _order_fault(batch, stored)
        yield batch, None if fault is None else f"tick {batch.sequence}: {fault}"


def _revision_faults(revisions: Sequence[PlanRevision], history: EventHistory) -> Iterator[str]:
    versions = {version.version: version for version in history.versions}
    for place, revision in enumerate(revisions, start=1):
        if revision.revision != place:
            yield f"plan revision {place} is not there; {revision.revision} stands in its place"
            return
        if place > 1 and revision.at < revisions[place - 2].at:
            yield f"plan revision {place} is older than the one before it"
        version = versions.get(revision.version)
        if version is None or version.committed_at > revision.at + timedelta(seconds=1):
            yield f"plan revision {place} answers version {revision.version}, which was not known then"


def _tick_faults(ticks: Sequence[DispatchTick]) -> Iterator[str]:
    for before, tick in pairwise(ticks):
        if tick.number <= before.number:
            yield f"tick {tick.number} follows tick {before.number}"
        if tick.epoch < before.epoch:
            yield f"tick {tick.number} is of epoch {tick.epoch}, after one of epoch {before.epoch}"
        if tick.at < before.at:
            yield f"tick {tick.number} is older than the one before it"


def _newest_revisions(revisions: Sequence[PlanRevision], at: datetime) -> range:
    """Return the numbers that may have been the newest at a tick; several may be of one second."""
    before = max((revision.revision for revision in revisions if revision.at < at), default=0)
    until = max((revision.revision for revision in revisions if revision.at <= at), default=0)
    return range(before, until + 1)


def _order_fault(batch: CommandBatch, stored: StoredDispatch) -> str | None:
    order = batch.order
    newest = _newest_revisions(stored.revisions, batch.issued_at)
    if order.revision not in newest:
        return f"it names plan revision {order.revision}, and {newest[-1]} was the newest"
    if len(order.site_no) and (
        (np.diff(order.site_no) <= 0).any() or not 0 <= order.site_no[0] <= order.site_no[-1] < stored.sites
    ):
        return "its sites are not sorted, once each, and enrolled"
    if order.action is Action.RELEASE:
        return None
    too_low = order.site_no[batch.setpoint_w < MIN_COMMAND_W]
    if len(too_low):
        return f"site {too_low[0]} is told to discharge; its plan says {_watts(batch, too_low[0])} W"
    return _time_fault(batch, stored.history) or _opt_out_fault(batch, stored)


def _watts(batch: CommandBatch, site_no: int) -> int:
    return int(batch.setpoint_w[batch.order.site_no == site_no][0])


def _time_fault(batch: CommandBatch, history: EventHistory) -> str | None:
    order, at = batch.order, batch.issued_at
    spans = _spans_known(history, at)
    if not spans:
        return f"a discharge was ordered at {at:%H:%M:%S} UTC, when the event asked for nothing"
    if order.event_ends_at not in {ends_at for _, ends_at in spans}:
        return f"its event end {order.event_ends_at:%H:%M:%S} UTC is of no version known then"
    if order.starts_at not in {max(starts_at, at) for starts_at, _ in spans}:
        return f"its start {order.starts_at:%H:%M:%S} UTC is neither the event's nor that of the tick"
    if not at < order.expires_at <= min(order.event_ends_at, order.starts_at + LONGEST_LEASE):
        return f"its lease ends at {order.expires_at:%H:%M:%S} UTC"
    if order.test != is_test(history):
        return "it is marked as a test and the event is none" if order.test else "it is not marked as a test"
    return None


def _spans_known(history: EventHistory, at: datetime) -> set[tuple[datetime, datetime]]:
    """Return when the event asked without a gap, as control may have known it in the second of a tick.

    Within its leave it may end earlier than it asks: at the end of what was approved, where its source may
    ask nothing without.
    """
    spans = set()
    for known in _known(history, at):
        approved = authorized_steps([known], max_power_w=0)[known.latest.event_id]
        for steps in (steps_in_force(known), approved):
            spans |= {(each.starts_at, each.ends_at) for each in union(step.interval for step in steps)}
    return spans


def _known(history: EventHistory, at: datetime) -> Iterator[EventHistory]:
    """Yield the event as it was before each word about it that may not have been read yet, and after all."""
    until = at + timedelta(seconds=1)
    said = {version.committed_at for version in history.versions}
    said |= {grant.granted_at for grant in history.grants}
    for cut in sorted({until, *(each for each in said if at - KNOWN_WITHIN <= each < until)}):
        versions = tuple(version for version in history.versions if version.committed_at < cut)
        if versions:
            yield EventHistory(versions, tuple(grant for grant in history.grants if grant.granted_at < cut))


def _opt_out_fault(batch: CommandBatch, stored: StoredDispatch) -> str | None:
    """Return who was told to discharge after a no.

    One said at home is heard first and stored then, by a controller that was stopped in between later than
    others command; the home itself refuses meanwhile. And what a tick goes by is read after its time was
    taken, so a no that was taken back soon after may have been gone by then.
    """
    at = batch.issued_at
    for opt_out in stored.opt_outs:
        site_no = stored.site_no_of.get(opt_out.site_id)
        back_at = opt_out.taken_back_at
        heard_by = at - KNOWN_WITHIN if opt_out.said_at_home else at
        stands = opt_out.opted_out_at < heard_by and (back_at is None or at + KNOWN_WITHIN < back_at)
        if stands and site_no is not None and site_no in batch.order.site_no:
            return f"site {opt_out.site_id} is told to discharge after its opt-out"
    return None


class PlansAgain:
    """Makes an event's plan revisions again, in order, from what was known at each tick.

    ``made`` counts them. A revision whose tick kept nothing, from before samples were kept or after they
    were deleted, is passed over, and so are those after it until a tick kept the whole fleet.
    """

    def __init__(self, roster: Sequence[Enrollment], revisions: Sequence[PlanRevision]) -> None:
        self.made = 0
        self._enrollments = roster
        self._revisions = revisions
        self._fleet, self._roster = FleetState(), Roster()
        self._known = False

    def fault_at(self, basis: TickBasis, event_id: str) -> str | None:
        """Return where the event's plan of this tick differs from the stored one, None where it does not."""
        mine = next((plan for plan in basis.plans if plan.event_id == event_id), None)
        self._learn(basis)
        if mine is None or not 0 < mine.revision <= len(self._revisions):
            return None
        self._known = self._known or mine.revision == 1
        if not self._known:
            return None
        self.made += 1
        sites = len(mine.eligible_code)
        before = plan_at(self._revisions, mine.revision - 1, sites)
        stored = plan_at(self._revisions, mine.revision, sites)
        fleet = self._fleet.copied()
        difference = contradicted(mine, fleet) or first_difference(plan_again(before, mine, fleet), stored)
        return None if difference is None else f"plan revision {mine.revision}: {difference}"

    def _learn(self, basis: TickBasis) -> None:
        known = [len(plan.eligible_code) for plan in basis.plans] + (basis.samples.site_no[-1:] + 1).tolist()
        new = self._enrollments[len(self._roster.enrollments) : max(known, default=0)]
        enroll(self._fleet, self._roster, new)
        write_stored(self._fleet, basis.samples)


def stray_answers(acks: AckBatch, ticks: Sequence[DispatchTick], event_id: str) -> int:
    """Return how many acknowledgements of an event answer nothing that its ticks told.

    Our facts may agree all the same: a home answers whoever holds the controller's key.
    """
    told: dict[tuple[int, int], list[IntColumn]] = {}
    for tick in ticks:
        told.setdefault((tick.epoch, tick.number), []).extend(order.site_no for order in tick.orders)
    mine: BoolColumn = np.array([named == event_id for named in acks.event_id], dtype=np.bool_)
    stray = 0
    for row in np.flatnonzero(mine).tolist():
        key = (int(acks.epoch[row]), int(acks.sequence[row]))
        stray += not any(acks.site_no[row] in sites for sites in told.get(key, ()))
    return stray
