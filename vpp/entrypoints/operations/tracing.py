"""Every command's life at one home, from the signal to the meter, out of what was committed."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import numpy as np

from vpp.domain.command import AckBatch, Action, DispatchTick, Order, PlanRevision
from vpp.domain.delivery import NOT_METERED, QUALITY_CODES, ReadingColumns
from vpp.domain.dispatch_plan import REASONS, Reason
from vpp.domain.enrollment import OptOut
from vpp.domain.grid_event import EventHistory, is_test, steps_in_force
from vpp.domain.interval import Interval, from_epoch
from vpp.entrypoints.operations.desk import Desk, Json, instant, instant_or_none, percent

EDGE = timedelta(minutes=5)
"""A meter reads this often, so the reading beside an event's edge is at most this far from it."""

_Step = tuple[datetime, Json]


async def trace_site(desk: Desk, *, site_id: str, event_id: str) -> Json:
    """Return what happened between an event and one home, in order, from the signal to the meter.

    Returns:
        ``site_id, event_id, test, time_zone``; ``steps``: ``at, what, detail``, and ``power_w, sequence``,
        and ``starts_at, expires_at`` of a command's lease, where it has them, else None. ``what``: ``signal``
        (a version), ``answered`` (the receipt), ``granted``, ``opted_out``, ``opted_in``, ``planned`` (power
        or reason changed), ``commanded``, ``released``, ``accepted``, ``refused``, ``metered`` (energy out
        of the battery since the reading before, which is what is paid).
    """
    enrollment, history = await desk.enrollment(site_id), await desk.history(event_id)
    site_no, store = enrollment.site_no, desk.store
    revisions = await store.revisions(event_id)
    ticks = await store.event_ticks(event_id)
    steps = [*_said(history)]
    steps += [
        (each.at, _step(each.at, "answered", f"{each.state}, {each.reason}" if each.reason else each.state))
        for each in await store.receipts(event_id)
    ]
    steps += _opt_outs([each for each in await store.opt_outs([event_id]) if each.site_id == site_id])
    steps += _planned(revisions, site_no)
    told = list(_commands(ticks, revisions, site_no))
    steps += [step for _, step in told]
    if told:
        acks = await store.acks(since=told[0][1][0], site_no=site_no)
        steps += _answers(acks, {key for key, _ in told}, site_no)
    window = _window(history)
    if window is not None:
        steps += _metered(await store.readings([site_id], [window]))
    steps.sort(key=lambda each: each[0])
    return {
        "site_id": site_id,
        "event_id": event_id,
        "test": is_test(history),
        "time_zone": desk.time_zone(history.latest.program_id),
        "steps": [step for _, step in steps],
    }


def without_repeats(steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return steps for people: of releases that follow one another unanswered, the first and the last.

    A release is told every tick until it is answered, or its lease has run out.
    """
    shown: list[Mapping[str, Any]] = []
    for what, alike in groupby(steps, key=lambda step: step["what"]):
        told = list(alike)
        if what == "released" and len(told) > 2:
            told = [told[0], {**told[-1], "detail": f"told {len(told)} times until then, not answered"}]
        shown += told
    return shown


def _step(
    at: datetime,
    what: str,
    detail: str,
    *,
    power_w: int | None = None,
    sequence: int | None = None,
    lease: Interval | None = None,
) -> Json:
    return {
        "at": instant(at),
        "what": what,
        "detail": detail,
        "power_w": power_w,
        "sequence": sequence,
        "starts_at": instant_or_none(lease.starts_at if lease else None),
        "expires_at": instant_or_none(lease.ends_at if lease else None),
    }


def _said(history: EventHistory) -> Iterator[_Step]:
    for each in history.versions:
        power_w = each.steps[0].power if each.steps else None
        detail = f"version {each.version} from {each.source}, {each.operation.value.lower()}"
        yield each.committed_at, _step(each.committed_at, "signal", detail, power_w=power_w)
    for grant in history.grants:
        yield grant.granted_at, _step(grant.granted_at, "granted", f"{grant.kind.value} by {grant.actor}")


def _opt_outs(said: Sequence[OptOut]) -> Iterator[_Step]:
    for each in said:
        yield each.opted_out_at, _step(each.opted_out_at, "opted_out", f"heard at the {each.origin}")
        if each.taken_back_at is not None:
            yield each.taken_back_at, _step(each.taken_back_at, "opted_in", "")


def _planned(revisions: Sequence[PlanRevision], site_no: int) -> Iterator[_Step]:
    """Yield each plan that says something new of the site."""
    before: tuple[int, Reason] | None = None
    for revision, power_w, floor_permille in _powers(revisions, site_no):
        known = site_no < len(revision.reason_code)
        reason = REASONS[int(revision.reason_code[site_no])] if known else Reason.NOT_ENROLLED
        if (power_w, reason) != before:
            floor = f", not below {percent(floor_permille):g} %" if power_w else ""
            detail = f"plan {revision.revision}: {reason.value}{floor}"
            yield revision.at, _step(revision.at, "planned", detail, power_w=power_w)
        before = (power_w, reason)


def _powers(revisions: Sequence[PlanRevision], site_no: int) -> Iterator[tuple[PlanRevision, int, int]]:
    """Yield every revision with the site's power and floor in it."""
    power_w = floor_permille = 0
    for revision in revisions:
        row = int(np.searchsorted(revision.site_no, site_no))
        if row < len(revision.site_no) and revision.site_no[row] == site_no:
            power_w = int(revision.setpoint_w[row])
            floor_permille = int(revision.reserve_floor_permille[row])
        yield revision, power_w, floor_permille


def _commands(
    ticks: Sequence[DispatchTick], revisions: Sequence[PlanRevision], site_no: int
) -> Iterator[tuple[tuple[int, int], _Step]]:
    """Yield every command to the site with its epoch and sequence."""
    power_of = {revision.revision: power_w for revision, power_w, _ in _powers(revisions, site_no)}
    for tick in ticks:
        for order in tick.orders:
            if site_no in order.site_no:
                step = _command(tick, order, power_of.get(order.revision, 0))
                yield (tick.epoch, tick.number), (tick.at, step)


def _command(tick: DispatchTick, order: Order, power_w: int) -> Json:
    if order.action is Action.RELEASE:
        return _step(tick.at, "released", "to be obeyed at once", power_w=0, sequence=tick.number)
    lease = Interval(order.starts_at, order.expires_at)
    return _step(tick.at, "commanded", "", power_w=power_w, sequence=tick.number, lease=lease)


def _answers(acks: AckBatch, asked: set[tuple[int, int]], site_no: int) -> Iterator[_Step]:
    rows = zip(acks.site_no, acks.epoch, acks.sequence, acks.at_s, acks.refusal, strict=True)
    for number, epoch, sequence, at_s, refusal in rows:
        if number == site_no and (int(epoch), int(sequence)) in asked:
            at, what = from_epoch(int(at_s)), "accepted" if refusal is None else "refused"
            yield at, _step(at, what, refusal.value if refusal else "", sequence=int(sequence))


def _window(history: EventHistory) -> Interval | None:
    steps = steps_in_force(history)
    if not steps:
        return None
    return Interval(steps[0].interval.starts_at - EDGE, steps[-1].interval.ends_at + EDGE)


def _lasting(seconds: int) -> str:
    """Return how long in minutes, with the seconds that are over; a start or a stop falls where it falls."""
    minutes, over = divmod(seconds, 60)
    return " ".join([f"{minutes} min"] * bool(minutes) + [f"{over} s"] * bool(over or not minutes))


def _metered(found: ReadingColumns) -> Iterator[_Step]:
    """Yield the energy between each two readings that follow one another."""
    kept = (found.discharged_wh != NOT_METERED) & (found.charged_wh != NOT_METERED)
    net_wh = (found.discharged_wh - found.charged_wh)[kept].tolist()
    times, quality = found.at_s[kept].tolist(), found.quality[kept].tolist()
    for before, after in zip(range(len(times)), range(1, len(times)), strict=False):
        seconds, energy_wh = times[after] - times[before], net_wh[after] - net_wh[before]
        detail = f"{energy_wh:,} Wh in {_lasting(seconds)}, {QUALITY_CODES[quality[after]].value}"
        at = from_epoch(times[after])
        yield at, _step(at, "metered", detail, power_w=energy_wh * 3600 // seconds if seconds else None)
