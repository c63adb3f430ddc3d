"""Grid events as an operator sees them, and what a person may decide about them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus

from vpp.domain.access import Right, TrailEntry
from vpp.domain.command import Refusal
from vpp.domain.demands import waiting_power
from vpp.domain.event_end import cancelled, cancelled_at
from vpp.domain.grid_event import (
    EventHistory,
    EventStatus,
    Grant,
    GrantKind,
    GridEvent,
    Operation,
    Receipt,
    Step,
    authorized_power,
    is_test,
    steps_in_force,
)
from vpp.domain.interval import Interval, union, whole_second
from vpp.domain.settlement import SettlementTotals
from vpp.entrypoints.operations.desk import (
    Desk,
    Json,
    OperationRefused,
    instant,
    instant_or_none,
    percent,
    usd,
)
from vpp.entrypoints.operations.dispatched import Dispatched
from vpp.entrypoints.operations.granting import who_grants
from vpp.entrypoints.operations.paging import page

DISPATCHED_KEPT = 5


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


def next_instant(history: EventHistory, now: datetime) -> datetime:
    """Return the whole second at which an event's next version is said: later than all that stand.

    What was refused does not count: anybody may have said it, of any time.
    """
    changes = (each for each in history.versions if each.operation is not Operation.DELETE)
    later = (whole_second(each.modified_at) + timedelta(seconds=1) for each in changes)
    return max([whole_second(now), *later])


def _forced(history: EventHistory, version: int) -> bool:
    return any(grant.kind is GrantKind.FORCE and grant.version == version for grant in history.grants)


def departures_ever(history: EventHistory) -> tuple[str, ...]:
    """Return how any version of an event left its program's terms, each reason once, the oldest first."""
    return tuple(dict.fromkeys(each for version in history.versions for each in version.out_of_program))


@dataclass(frozen=True, slots=True)
class Leave:
    """What an event may use now without further approval, and the most of it that waits for one, in W.

    ``authorized_w`` None is no bound, ``waiting_w`` None whatever could be sustained beyond it.
    """

    authorized_w: int | None
    waiting_w: int | None


NO_LEAVE = Leave(0, 0)


def event_facts(
    desk: Desk, history: EventHistory, *, authorized_w: int | None, waiting_w: int | None = 0
) -> Json:
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
        "steps": step_facts(asked.steps),
        "authorized_w": authorized_w,
        "waiting_w": waiting_w,
        "out_of_program": list(departures_ever(history)),
        "forced": any(grant.kind is GrantKind.FORCE for grant in history.grants),
        "test": is_test(history),
    }


def step_facts(steps: Sequence[Step]) -> list[Json]:
    """Return steps with stable keys; a power of None asks for all that can be sustained."""
    return [
        {
            "starts_at": instant(step.interval.starts_at),
            "ends_at": instant(step.interval.ends_at),
            "power_w": step.power,
        }
        for step in steps
    ]


async def list_events(desk: Desk, *, cursor: str = "", limit: int | None = None) -> Json:
    """Return every event, by id.

    Returns:
        ``events``: ``event_id, name, state, version, status`` (of the newest version), ``source, program_id,
        time_zone, priority, targets, starts_at, ends_at, cancelled_at`` (None where it was not, or was over
        by then), ``steps`` (``starts_at, ends_at, power_w`` in W; None asks for all that can be sustained),
        ``authorized_w`` (what needs no further leave, in W; None: no bound), ``waiting_w`` (the most of what
        it still asks that waits for a second person, in W; None: what could be sustained beyond
        ``authorized_w``), ``out_of_program`` (reasons) and ``forced``, which stay for good, ``test``. Over
        HTTP also ``next_cursor``, where more follow.
    """
    histories, following = page(
        await desk.store.histories(), lambda each: each.latest.event_id, cursor=cursor, limit=limit
    )
    leave = await leave_now(desk)
    return {
        "events": [facts_with_leave(desk, history, leave) for history in histories],
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
    settled = await desk.store.settlement_totals(event_id)
    sums = await _dispatched(desk, event_id)
    return facts_with_leave(desk, history, await leave_now(desk)) | {
        "versions": [_version_facts(version) for version in history.versions],
        "grants": [_grant_facts(grant) for grant in history.grants],
        "receipts": [_receipt_facts(receipt) for receipt in await desk.store.receipts(event_id)],
        "requested_wh": requested_wh(history, sums.asked),
        "plan": _plan_facts(sums),
        "commands": _command_facts(sums, await desk.store.count_acks(event_id)),
        "settlement": settlement_facts(desk, settled) if settled else None,
    }


async def outline_event(desk: Desk, *, event_id: str) -> Json:
    """Return one event as ``vpp event list`` has it: no plan, command or settlement is read."""
    history = await desk.history(event_id)
    return facts_with_leave(desk, history, await leave_now(desk))


def facts_with_leave(desk: Desk, history: EventHistory, leaves: Mapping[str, Leave]) -> Json:
    """Return one event as ``vpp event list`` has it; ``leaves`` are those of ``leave_now``."""
    leave = leaves.get(history.latest.event_id, NO_LEAVE)
    return event_facts(desk, history, authorized_w=leave.authorized_w, waiting_w=leave.waiting_w)


async def leave_now(desk: Desk) -> Mapping[str, Leave]:
    """Return, by event id, the leave of events that are not over."""
    now = desk.clock.now()
    sources = {source.name: source for source in await desk.store.sources()}
    histories = await desk.store.histories(ending_after=now)
    waits = waiting_power(histories, sources, now)
    allowed = authorized_power(histories, sources, now)
    return {event_id: Leave(power_w, waits[event_id]) for event_id, power_w in allowed.items()}


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
        "steps": step_facts(version.steps),
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
    history: EventHistory, plans: Sequence[tuple[datetime, int]], *, but_for: Sequence[Interval] = ()
) -> int:
    """Return the energy an event asks for between its beginning and its end, in Wh.

    Where all that can be sustained is asked, it is what the plans in force took for the target.

    Args:
        history: The event.
        plans: When each of its plans was made and what it asked for, in W, in order.
        but_for: Instants to leave out, apart from each other, such as those of ``asks_for_all`` of a more
            important event: who is asked for everything cannot be asked for more.
    """
    watt_seconds = 0
    for step in steps_in_force(history):
        for interval, power_w in _asked_powers(step, plans):
            left_out = (each.overlap(interval) for each in but_for)
            seconds = interval.seconds - sum(each.seconds for each in left_out if each)
            watt_seconds += power_w * seconds
    return watt_seconds // 3600


def _asked_powers(step: Step, plans: Sequence[tuple[datetime, int]]) -> Iterator[tuple[Interval, int]]:
    if step.power is not None:
        yield step.interval, step.power
        return
    follows = [*(at for at, _ in plans[1:]), step.interval.ends_at]
    for (at, requested_w), until in zip(plans, follows, strict=False):
        begins, ends = max(at, step.interval.starts_at), min(until, step.interval.ends_at)
        if begins < ends:
            yield Interval(begins, ends), requested_w


def asks_for_all(history: EventHistory) -> tuple[Interval, ...]:
    """Return when an event asks for all that can be sustained."""
    return union(step.interval for step in steps_in_force(history) if step.power is None)


async def _dispatched(desk: Desk, event_id: str) -> Dispatched:
    """Return what an event's plans and commands come to; kept beside a running controller."""
    kept = desk.live.dispatched if desk.live is not None else {}
    sums = kept.setdefault(event_id, Dispatched())
    while len(kept) > DISPATCHED_KEPT:
        del kept[next(iter(kept))]
    ticks = await desk.store.event_ticks(event_id, after=sums.tick_number)
    sums.add(await desk.store.revisions(event_id, after=sums.revision), ticks)
    return sums


def _plan_facts(sums: Dispatched) -> Json | None:
    newest = sums.newest
    if newest is None:
        return None
    planned_w, sites = sums.planned
    return {
        "revision": newest.revision,
        "version": newest.version,
        "planned_at": instant(newest.at),
        "requested_w": newest.requested_w,
        "planned_w": planned_w,
        "shortfall_w": newest.shortfall_w,
        "level_pct": percent(newest.level_permille),
        "sites": sites,
        "reasons": dict(sorted(sums.reasons.items())),
    }


def _command_facts(sums: Dispatched, answers: Mapping[Refusal | None, int]) -> Json:
    refused = {refusal.value: count for refusal, count in answers.items() if refusal is not None}
    dispatched, released = sums.told
    return {
        "ticks": sums.ticks,
        "sent": sums.sent,
        "accepted": answers.get(None, 0),
        "refused": dict(sorted(refused.items())),
        "sites_dispatched": dispatched,
        "sites_released": released,
    }


def settlement_facts(desk: Desk, settled: SettlementTotals) -> Json:
    """Return a settlement's totals; energy in whole Wh, money in dollars as a string."""
    return {
        "state": settled.state.value,
        "settled_at": instant(settled.settled_at),
        "sites": settled.sites,
        "delivered_wh": settled.delivered_wh,
        "incremental_wh": round(settled.incremental_wh),
        "currency": desk.currency(settled.program_id),
        "paid_usd": usd(settled.amount),
        "gross_usd": usd(settled.gross),
        "qualities": {quality.value: sites for quality, sites in settled.qualities},
    }


async def force_event(
    desk: Desk, *, event_id: str, actor: str, login: str = "", password: str = "", claimed: bool = False
) -> Json:
    """Dispatch a valid event that lies outside its program's terms; it stays flagged for good.

    An event of a grid source needs one operator. What a person started or changed here somebody else forces,
    who logs in: on its page, or with --as NAME and the password on standard input. Without a running service
    another user of the system will do.

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
        await desk.store.grant(grant, desk.trail_entry(by, "force", f"event:{event_id}"))
        desk.changed()
    return {
        "event_id": event_id,
        "version": grant.version,
        "out_of_program": list(latest.out_of_program),
        "forced_by": grant.actor,
        "forced_at": instant(grant.granted_at),
        "time_zone": desk.time_zone(latest.program_id),
    }


async def cancel_event(desk: Desk, *, event_id: str, actor: str) -> Json:
    """End an event now: every home is released, and what was delivered until now is settled.

    Returns:
        ``event_id, version, cancelled_at, time_zone``. Cancelling again changes nothing.
    """
    history = await desk.history(event_id)
    latest = history.latest
    now = desk.clock.now()
    if event_state(history, now) == "ended":
        raise OperationRefused(f"event {event_id} is over; nothing changed", HTTPStatus.CONFLICT)
    if latest.status is not EventStatus.CANCELLED:
        latest = await cancel_now(desk, history, desk.trail_entry(actor, "cancel", f"event:{event_id}"))
    return {
        "event_id": event_id,
        "version": latest.version,
        "cancelled_at": instant(latest.committed_at),
        "time_zone": desk.time_zone(latest.program_id),
    }


async def cancel_now(desk: Desk, history: EventHistory, entry: TrailEntry) -> GridEvent:
    """Cancel an event that is neither over nor cancelled, for whoever the entry names; return its version."""
    version = cancelled(history.latest, at=desk.clock.now())
    await desk.store.append_version(version, actor=entry.actor, told=entry)
    desk.changed()
    return version
