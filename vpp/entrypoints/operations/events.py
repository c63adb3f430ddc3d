"""Grid events as an operator sees them, and what a person may decide about them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from http import HTTPStatus

import numpy as np

from vpp.domain.access import Right
from vpp.domain.command import Action, DispatchTick, PlanRevision
from vpp.domain.dispatch_plan import REASONS
from vpp.domain.event_end import cancelled_at
from vpp.domain.grid_event import (
    EventHistory,
    EventStatus,
    Grant,
    GrantKind,
    GridEvent,
    Receipt,
    Step,
    authorized_power,
    cancelled,
    is_test,
    steps_in_force,
)
from vpp.domain.interval import Interval, union
from vpp.domain.quantities import IntColumn
from vpp.domain.settlement import Settlement
from vpp.entrypoints.operations.desk import (
    Desk,
    Json,
    OperationRefused,
    instant,
    instant_or_none,
    percent,
    usd,
)
from vpp.entrypoints.operations.granting import who_grants
from vpp.entrypoints.operations.paging import page


def event_state(history: EventHistory, now: datetime, *, authorized_w: int | None = None) -> str:
    """Return what an event is at an instant, in one word.

    ``cancelled``, ``ended``, ``waiting_for_force`` (out of its program), ``waiting_for_approval`` (nothing of
    it may be dispatched: ``authorized_w`` is zero and it asks for power), ``scheduled`` or ``active``.
    """
    latest = history.latest
    interval = latest.interval
    if latest.status is EventStatus.CANCELLED and cancelled_at(history) is None:
        return "ended"
    if latest.status is EventStatus.CANCELLED or interval is None:
        return "cancelled"
    if interval.ends_at <= now:
        return "ended"
    if latest.out_of_program and not _forced(history, latest.version):
        return "waiting_for_force"
    if authorized_w == 0 and any(step.power != 0 for step in latest.steps):
        return "waiting_for_approval"
    return "active" if interval.starts_at <= now else "scheduled"


def _forced(history: EventHistory, version: int) -> bool:
    return any(grant.kind is GrantKind.FORCE and grant.version == version for grant in history.grants)


def departures_ever(history: EventHistory) -> tuple[str, ...]:
    """Return how any version of an event left its program's terms, each reason once, the oldest first."""
    return tuple(dict.fromkeys(each for version in history.versions for each in version.out_of_program))


def event_facts(desk: Desk, history: EventHistory, *, authorized_w: int | None) -> Json:
    """Return one event as JSON. A step's ``power_w`` is None where all that can be sustained is asked.

    ``out_of_program`` and ``forced`` are flags for good: no later version or cancel takes them away.
    """
    latest = history.latest
    asked = next((each for each in reversed(history.versions) if each.steps), latest)
    interval = asked.interval
    called_off_at = cancelled_at(history)
    ends_at = interval.ends_at if interval else None
    if interval and called_off_at and called_off_at > interval.starts_at:
        ends_at = called_off_at
    return {
        "event_id": latest.event_id,
        "name": latest.name,
        "state": event_state(history, desk.clock.now(), authorized_w=authorized_w),
        "version": latest.version,
        "status": latest.status.value,
        "source": latest.source,
        "program_id": latest.program_id,
        "time_zone": desk.time_zone(latest.program_id),
        "priority": latest.priority,
        "targets": list(latest.targets),
        "starts_at": instant(interval.starts_at) if interval else None,
        "ends_at": instant_or_none(ends_at),
        "cancelled_at": instant_or_none(called_off_at),
        "steps": _steps(asked),
        "authorized_w": authorized_w,
        "out_of_program": list(departures_ever(history)),
        "forced": any(grant.kind is GrantKind.FORCE for grant in history.grants),
        "test": is_test(history),
    }


def _steps(version: GridEvent) -> list[Json]:
    return [
        {
            "starts_at": instant(step.interval.starts_at),
            "ends_at": instant(step.interval.ends_at),
            "power_w": step.power,
        }
        for step in version.steps
    ]


async def list_events(desk: Desk, *, cursor: str = "", limit: int | None = None) -> Json:
    """Return every event, by id.

    Returns:
        ``events``: ``event_id, name, state, version, status`` (of the newest version), ``source, program_id,
        time_zone, priority, targets, starts_at, ends_at, cancelled_at`` (None where it was not, or was over
        by then), ``steps`` (``starts_at, ends_at, power_w`` in W; None asks for all that can be sustained),
        ``authorized_w`` (what needs no further leave, in W; None: no bound), ``out_of_program`` (reasons) and
        ``forced``, which stay for good, ``test``. Over HTTP also ``next_cursor``, where more follow.
    """
    histories, following = page(
        await desk.store.histories(), lambda each: each.latest.event_id, cursor=cursor, limit=limit
    )
    allowed = await authorized_now(desk)
    return {
        "events": [
            event_facts(desk, history, authorized_w=allowed.get(history.latest.event_id, 0))
            for history in histories
        ],
        "next_cursor": following,
    }


async def show_event(desk: Desk, *, event_id: str) -> Json:
    """Return everything about one event.

    Returns:
        What ``vpp event list`` has, and ``requested_wh``, what was asked in all. ``versions``: ``version,
        operation, status, modified_at`` (the source's), ``committed_at`` (ours), ``steps, out_of_program``.
        ``grants``: ``kind`` (force or approve), ``version, actor, granted_at``. ``receipts``: ``operation,
        modified_at, state, reason, at``. ``plan``, None before one: ``revision, version, planned_at,
        requested_w, planned_w, shortfall_w, level_pct, sites`` (asked for power), ``reasons`` (sites by
        reason). ``commands``: ``ticks, sent, accepted, refused`` (by reason), ``sites_dispatched``, and how
        many of those were last told to stop, ``sites_released``. ``settlement``, None before one: ``state,
        settled_at, sites, delivered_wh`` (battery output while the program's terms held; what was forced
        outside of them is metered and not settled), ``incremental_wh`` (beyond the baseline), ``currency,
        paid_usd, gross_usd`` (before the owner's share), ``qualities`` (sites by quality).
    """
    history = await desk.history(event_id)
    settlement = await desk.store.settlement(event_id)
    ticks = await desk.store.event_ticks(event_id)
    revisions = await desk.store.revisions(event_id)
    allowed = await authorized_now(desk)
    return event_facts(desk, history, authorized_w=allowed.get(event_id, 0)) | {
        "versions": [_version_facts(version) for version in history.versions],
        "grants": [_grant_facts(grant) for grant in history.grants],
        "receipts": [_receipt_facts(receipt) for receipt in await desk.store.receipts(event_id)],
        "requested_wh": requested_wh(history, revisions),
        "plan": _plan_facts(revisions),
        "commands": await _command_facts(desk, event_id, ticks),
        "settlement": settlement_facts(desk, settlement) if settlement else None,
    }


async def outline_event(desk: Desk, *, event_id: str) -> Json:
    """Return one event as ``vpp event list`` has it: no plan, command or settlement is read."""
    history = await desk.history(event_id)
    allowed = await authorized_now(desk)
    return event_facts(desk, history, authorized_w=allowed.get(event_id, 0))


async def authorized_now(desk: Desk) -> Mapping[str, int | None]:
    """Return what events that are not over may use now, in W, by event id; None means no bound."""
    now = desk.clock.now()
    sources = {source.name: source for source in await desk.store.sources()}
    return authorized_power(await desk.store.histories(ending_after=now), sources, now)


def _version_facts(version: GridEvent) -> Json:
    return {
        "version": version.version,
        "operation": version.operation.value,
        "status": version.status.value,
        "modified_at": instant(version.modified_at),
        "committed_at": instant(version.committed_at),
        "steps": _steps(version),
        "out_of_program": list(version.out_of_program),
    }


def _grant_facts(grant: Grant) -> Json:
    return {
        "kind": grant.kind.value,
        "version": grant.version,
        "actor": grant.actor,
        "granted_at": instant(grant.granted_at),
    }


def _receipt_facts(receipt: Receipt) -> Json:
    return {
        "operation": receipt.operation.value,
        "modified_at": instant(receipt.modified_at),
        "state": receipt.state.value,
        "reason": receipt.reason,
        "at": instant(receipt.at),
    }


def requested_wh(
    history: EventHistory, revisions: Sequence[PlanRevision], *, but_for: Sequence[Interval] = ()
) -> int:
    """Return the energy an event asks for between its beginning and its end, in Wh.

    Where all that can be sustained is asked, it is what the plans in force took for the target.

    Args:
        history: The event.
        revisions: Its plans in order.
        but_for: Instants to leave out, apart from each other, such as those of ``asks_for_all`` of a more
            important event: who is asked for everything cannot be asked for more.
    """
    watt_seconds = 0
    for step in steps_in_force(history):
        for interval, power_w in _asked_powers(step, revisions):
            left_out = (each.overlap(interval) for each in but_for)
            seconds = interval.seconds - sum(each.seconds for each in left_out if each)
            watt_seconds += power_w * seconds
    return watt_seconds // 3600


def _asked_powers(step: Step, revisions: Sequence[PlanRevision]) -> Iterator[tuple[Interval, int]]:
    if step.power is not None:
        yield step.interval, step.power
        return
    follows = [*(revision.at for revision in revisions[1:]), step.interval.ends_at]
    for revision, until in zip(revisions, follows, strict=False):
        begins, ends = max(revision.at, step.interval.starts_at), min(until, step.interval.ends_at)
        if begins < ends:
            yield Interval(begins, ends), revision.requested_w


def asks_for_all(history: EventHistory) -> tuple[Interval, ...]:
    """Return when an event asks for all that can be sustained."""
    return union(step.interval for step in steps_in_force(history) if step.power is None)


def _plan_facts(revisions: Sequence[PlanRevision]) -> Json | None:
    if not revisions:
        return None
    newest = revisions[-1]
    setpoint_w = np.zeros(max(len(revision.reason_code) for revision in revisions), dtype=np.int64)
    for revision in revisions:
        setpoint_w[revision.site_no] = revision.setpoint_w
    counts = np.bincount(newest.reason_code, minlength=len(REASONS)).tolist()
    reasons = {reason.value: count for reason, count in zip(REASONS, counts, strict=True) if count}
    return {
        "revision": newest.revision,
        "version": newest.version,
        "planned_at": instant(newest.at),
        "requested_w": newest.requested_w,
        "planned_w": int(setpoint_w.sum()),
        "shortfall_w": newest.shortfall_w,
        "level_pct": percent(newest.level_permille),
        "sites": int((setpoint_w > 0).sum()),
        "reasons": dict(sorted(reasons.items())),
    }


_DISCHARGING, _RELEASED = 1, 2


async def _command_facts(desk: Desk, event_id: str, ticks: Sequence[DispatchTick]) -> Json:
    orders = [order for tick in ticks for order in tick.orders]
    last: IntColumn = np.zeros(
        1 + max((order.site_no.max(initial=0) for order in orders), default=0), np.int64
    )
    for order in orders:
        last[order.site_no] = _DISCHARGING if order.action is Action.DISCHARGE else _RELEASED
    answers = await desk.store.count_acks(event_id)
    refused = {refusal.value: count for refusal, count in answers.items() if refusal is not None}
    return {
        "ticks": len(ticks),
        "sent": sum(len(order.site_no) for order in orders),
        "accepted": answers.get(None, 0),
        "refused": dict(sorted(refused.items())),
        "sites_dispatched": int((last != 0).sum()),
        "sites_released": int((last == _RELEASED).sum()),
    }


def settlement_facts(desk: Desk, settlement: Settlement) -> Json:
    """Return a settlement's totals; energy in whole Wh, money in dollars as a string."""
    delivered_wh = sum(hour.metered_wh or 0 for line in settlement.lines for hour in line.hours)
    return {
        "state": settlement.state.value,
        "settled_at": instant(settlement.settled_at),
        "sites": len(settlement.lines),
        "delivered_wh": delivered_wh,
        "incremental_wh": round(sum(line.incremental_wh for line in settlement.lines)),
        "currency": desk.currency(settlement.program_id),
        "paid_usd": usd(sum(line.amount for line in settlement.lines)),
        "gross_usd": usd(sum(line.gross for line in settlement.lines)),
        "qualities": dict(sorted(Counter(line.quality.value for line in settlement.lines).items())),
    }


async def force_event(
    desk: Desk, *, event_id: str, actor: str, login: str = "", password: str = "", claimed: bool = False
) -> Json:
    """Dispatch a valid event that lies outside its program's terms; it stays flagged for good.

    What a person started or changed here is forced by somebody whom a login names, on its page or with --as
    NAME and the password on standard input.

    Args:
        event_id: The event.
        actor: Who asks.
        login: Login of whoever forces it; given after the event began it does not count.
        password: What proves the login.
        claimed: Nobody but the caller says who the actor is.

    Returns:
        ``event_id, version, out_of_program, forced_by, forced_at``. Asking again changes nothing.
    """
    history = await desk.history(event_id)
    now = desk.clock.now()
    latest = history.latest
    state = event_state(history, now)
    if state in ("cancelled", "ended"):
        raise OperationRefused(f"event {event_id} is {state}; nothing changed", HTTPStatus.CONFLICT)
    if not latest.out_of_program:
        raise OperationRefused(
            f"event {event_id} lies inside its program's terms and needs no force; nothing changed",
            HTTPStatus.CONFLICT,
        )
    by = await who_grants(
        desk, event_id, right=Right.DISPATCH, actor=actor, claimed=claimed, login=login, password=password
    )
    for known in history.grants:
        if known.kind is GrantKind.FORCE and known.version == latest.version:
            grant = known
            break
    else:
        grant = Grant(event_id, latest.version, GrantKind.FORCE, by, now)
        await desk.store.grant(grant)
        desk.changed()
    return {
        "event_id": event_id,
        "version": grant.version,
        "out_of_program": list(latest.out_of_program),
        "forced_by": grant.actor,
        "forced_at": instant(grant.granted_at),
    }


async def cancel_event(desk: Desk, *, event_id: str, actor: str) -> Json:
    """End an event now: every home is released, and what was delivered until now is settled.

    Returns:
        ``event_id, version, cancelled_at``. Cancelling again changes nothing.
    """
    history = await desk.history(event_id)
    latest = history.latest
    now = desk.clock.now()
    if event_state(history, now) == "ended":
        raise OperationRefused(f"event {event_id} is over; nothing changed", HTTPStatus.CONFLICT)
    if latest.status is not EventStatus.CANCELLED:
        latest = cancelled(latest, at=now)
        await desk.store.append_version(latest, actor=actor)
        desk.changed()
    return {
        "event_id": event_id,
        "version": latest.version,
        "cancelled_at": instant(latest.committed_at),
    }
