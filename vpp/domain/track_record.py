"""What homes were asked in an event and what they gave of it, from stored ticks, answers and readings."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from vpp.domain.command import AckBatch, Action, CommandBatch, DispatchTick, PlanRevision
from vpp.domain.dispatch_plan import Reason, reason_code
from vpp.domain.event_plan import EventPlan
from vpp.domain.interval import Interval, from_epoch, to_epoch
from vpp.domain.orders import commands_of
from vpp.domain.quantities import BoolColumn, IntColumn

_HELD_BACK = reason_code(Reason.HELD_BACK)


@dataclass(slots=True)
class _Unfolding:
    """An event's plan as its revisions are read, one after another."""

    setpoint_w: IntColumn
    floor_permille: IntColumn
    reason_code: IntColumn
    revision: int = 0

    def until(self, revisions: Sequence[PlanRevision], number: int) -> None:
        """Bring the plan to where it stood at a revision."""
        while self.revision < min(number, len(revisions)):
            each = revisions[self.revision]
            self.setpoint_w[each.site_no] = each.setpoint_w
            self.floor_permille[each.site_no] = each.reserve_floor_permille
            self.reason_code[: len(each.reason_code)] = each.reason_code
            self.revision += 1


def commands_in_order(
    ticks: Sequence[DispatchTick], revisions: Sequence[PlanRevision], sites: int
) -> Iterator[tuple[CommandBatch, IntColumn]]:
    """Yield every batch that an event's ticks told, in order, and the reason codes of its sites then.

    Args:
        ticks: The event's, with its orders only, in order.
        revisions: All of the event's, numbered from 1 without a gap.
        sites: How many sites there are.
    """
    zeros = np.zeros(sites, dtype=np.int64)
    plan = _Unfolding(zeros.copy(), zeros.copy(), zeros.copy())
    for tick in ticks:
        for order in tick.orders:
            plan.until(revisions, order.revision)
            then = EventPlan(
                order.revision, None, plan.setpoint_w, plan.floor_permille, plan.reason_code, 0, 0, 0
            )
            yield commands_of(tick, order, then), plan.reason_code[order.site_no]


def told_in_order(
    ticks: Sequence[DispatchTick], revisions: Mapping[str, Sequence[PlanRevision]], sites: int
) -> list[CommandBatch]:
    """Return every batch that ticks of several events told, in order; revisions are given by event id."""
    of_event: dict[str, list[DispatchTick]] = {}
    for tick in ticks:
        for event_id, part in tick.by_event():
            of_event.setdefault(event_id, []).append(part)
    told: list[CommandBatch] = []
    for event_id, mine in sorted(of_event.items()):
        told += [batch for batch, _ in commands_in_order(mine, revisions[event_id], sites)]
    return sorted(told, key=lambda batch: batch.sequence)


@dataclass(frozen=True, slots=True)
class Asked:
    """What one event asked of every site: energy, for how long, from when to when; zeros where never."""

    watt_seconds: IntColumn
    seconds: IntColumn
    from_s: IntColumn
    until_s: IntColumn

    @property
    def sites(self) -> IntColumn:
        """Return the sites that were asked for anything, for a time."""
        return np.flatnonzero((self.watt_seconds != 0) & (self.until_s > self.from_s))

    @property
    def span(self) -> Interval | None:
        """Return the time from the first site's start to the last one's end; None where none was asked."""
        sites = self.sites
        if not len(sites):
            return None
        return Interval(from_epoch(int(self.from_s[sites].min())), from_epoch(int(self.until_s[sites].max())))


def asked_of_sites(batches: Iterable[tuple[CommandBatch, IntColumn]], sites: int, *, until_s: int) -> Asked:
    """Return what an event asked until a moment.

    A home that is held back after a refusal or a short delivery is lowered or released by us: that does
    not lessen what it was asked, or every home would have given all of it.
    """
    total, seconds, power, since, ends, first, last = (np.zeros(sites, dtype=np.int64) for _ in range(7))

    def count(rows: IntColumn, now_s: int) -> None:
        """Add the energy of these sites up to now, or to the end of what they were told."""
        upto = np.minimum(np.minimum(ends[rows], now_s), until_s)
        lasted = np.where(power[rows] > 0, np.maximum(upto - since[rows], 0), 0)
        total[rows] += power[rows] * lasted
        seconds[rows] += lasted
        last[rows] = np.where(power[rows] > 0, np.maximum(last[rows], upto), last[rows])

    for batch, reasons in batches:
        rows, now_s = batch.order.site_no, to_epoch(batch.issued_at)
        stays = reasons == _HELD_BACK
        if batch.order.action is Action.RELEASE:
            rows = rows[~stays]
            count(rows, now_s)
            power[rows] = 0
            continue
        starts_s = to_epoch(batch.order.starts_at)
        count(rows, starts_s)
        power[rows] = np.where(stays, np.maximum(power[rows], batch.setpoint_w), batch.setpoint_w)
        since[rows] = starts_s
        ends[rows] = to_epoch(batch.order.expires_at)
        first[rows] = np.where(first[rows] == 0, starts_s, first[rows])
    everybody = np.arange(sites)
    count(everybody, until_s)
    return Asked(total, seconds, first, last)


def answers_of_sites(acks: AckBatch, event_id: str, sites: int) -> tuple[BoolColumn, BoolColumn]:
    """Return which sites accepted anything of an event, and which refused anything."""
    accepted, refused = np.zeros(sites, dtype=np.bool_), np.zeros(sites, dtype=np.bool_)
    mine = np.array([named == event_id for named in acks.event_id], dtype=np.bool_)
    no = np.array([refusal is not None for refusal in acks.refusal], dtype=np.bool_)
    accepted[acks.site_no[mine & ~no]] = True
    refused[acks.site_no[mine & no]] = True
    return accepted, refused


def shares_of_sites(
    asked: Asked,
    delivered_wh: IntColumn,
    metered: BoolColumn,
    accepted: BoolColumn,
    opted_out: BoolColumn,
) -> tuple[IntColumn, IntColumn, int]:
    """Return each site's share in permille, the sites whose share is known, and that of all together.

    Args:
        asked: What the event asked.
        delivered_wh: Net discharge between each site's first and last second.
        metered: Whose counters are known at both ends.
        accepted: Who accepted a command. Accepted but not metered says nothing; neither accepted nor
            metered is a home that did not answer, and gave nothing.
        opted_out: Whose owner said no to the event: nothing, whatever was given before.
    """
    share = np.where(metered, 3_600_000 * np.maximum(delivered_wh, 0) // np.maximum(asked.watt_seconds, 1), 0)
    share = np.where(opted_out, 0, np.clip(share, 0, 1000))
    was_asked = asked.watt_seconds > 0
    known = np.flatnonzero((was_asked & (metered | ~accepted)) | opted_out)
    counted = known[was_asked[known]]
    whole = int(asked.watt_seconds[counted].sum())
    given = int((asked.watt_seconds[counted] * share[counted] // 1000).sum())
    return share, known, 1000 * given // whole if whole else 0
