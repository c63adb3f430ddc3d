"""An operator's own events: look first, start, let a second person approve, stop everything.

They are events of the source ``console``, which has this controller's own key and a limit like any source.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from http import HTTPStatus

import numpy as np

from vpp.domain.access import TrailEntry
from vpp.domain.dispatch_plan import REASONS, Reason, sustainable_w
from vpp.domain.event_plan import Delivered, Demand, EventPlan, Limits, eligibility, offers_of, plan_event
from vpp.domain.grid_event import (
    EventHistory,
    Grant,
    GrantKind,
    GridSource,
    Operation,
    Signal,
    SignalStep,
    counted_intervals,
    resolve_targets,
)
from vpp.domain.interval import to_epoch, whole_second
from vpp.domain.program import Program
from vpp.domain.quantities import IntColumn, Watts
from vpp.domain.verdict import Accepted, accept
from vpp.entrypoints.operations.board import by_word
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant, usd
from vpp.entrypoints.operations.events import authorized_now, cancel_event, event_facts, event_state
from vpp.entrypoints.operations.live import Live
from vpp.stages.control import LEAD, targeted_sites

CONSOLE = "console"
MINUTES_MOST = 24 * 60
_EVENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NONE: IntColumn = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Wish:
    """What an operator wants, checked: ``starts_at`` None means at the commit; power None all there is."""

    program: Program
    power_w: int | None
    starts_at: datetime | None
    seconds: int
    targets: tuple[str, ...]

    def interval(self, now: datetime) -> tuple[datetime, datetime]:
        """Return from when to when."""
        starts_at = self.starts_at or whole_second(now)
        return starts_at, starts_at + timedelta(seconds=self.seconds)


def _wish(
    desk: Desk, program_id: str, power_mw: str, starts_at: str, minutes: int, targets: Sequence[str]
) -> Wish:
    program = desk.programs.get(program_id)
    if program is None:
        raise OperationRefused(f"program {program_id[:60]!r} is not known; {', '.join(desk.programs)} are")
    if not 1 <= minutes <= MINUTES_MOST:
        raise OperationRefused(f"a length of {minutes} min is not 1 to {MINUTES_MOST}")
    begins = None if starts_at in ("", "now") else read_start(starts_at, program)
    if begins is not None and begins < desk.clock.now() - timedelta(minutes=1):
        raise OperationRefused(f"the start {instant(begins)} is over; give a later one, or now")
    words = tuple(word.strip() for word in targets if word.strip())
    return Wish(program, read_megawatts(power_mw), begins, minutes * 60, words)


def read_megawatts(text: str) -> int | None:
    """Return watts of megawatts as text; None for ``all``. Raises OperationRefused."""
    if text == "all":
        return None
    try:
        power_w = Decimal(text) * 1_000_000
    except InvalidOperation as failure:
        raise OperationRefused(f"a power of {text[:30]!r} is not a number of megawatts") from failure
    if not power_w.is_finite() or not 1 <= power_w <= 10**11 or power_w != int(power_w):
        raise OperationRefused(f"a power of {text[:30]} MW is not 0.000001 to 100000 MW in whole watts")
    return int(power_w)


def read_start(text: str, program: Program) -> datetime:
    """Return the instant; a time without an offset is local in the program's zone."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as failure:
        raise OperationRefused(f"a start of {text[:40]!r} is not a time like 2026-09-09T18:00") from failure
    return whole_second((at if at.tzinfo else at.replace(tzinfo=program.zone)).astimezone(UTC))


async def preview_event(
    desk: Desk, *, program_id: str, power_mw: str, starts_at: str = "now", minutes: int = 60,
    targets: Sequence[str] = (),
) -> Json:  # fmt: skip
    """Say what an event would get from the fleet as it is now. Nothing is stored and nobody is commanded.

    Args:
        program_id: Whose homes.
        power_mw: Megawatts, or ``all`` that can be sustained.
        starts_at: ``now``, or a time; without an offset it is local in the program's zone.
        minutes: The length.
        targets: Names of utilities, groups, counties or feeders; none means all homes of the program.

    Returns:
        ``starts_at, ends_at, asked_w`` (None: all), ``now_w`` (what eligible homes can give at once),
        ``window_w`` (what they can hold to the end), ``planned_w, shortfall_w, sites, level_pct,
        reasons``; ``by_utility`` and ``by_county`` (``name, power_w, sites`` of the plan); ``cost_usd``
        (the most it can cost); ``out_of_program, unknown_targets, limit_w`` (needs no second person).
    """
    wish = _wish(desk, program_id, power_mw, starts_at, minutes, targets)
    live, now = desk.running, desk.clock.now()
    fleet, roster = live.controller.fleet, live.controller.roster
    begins, ends = wish.interval(now)
    demand, unknown = _demand(wish, live, begins, ends)
    nobody = np.zeros(len(fleet), dtype=np.bool_)
    codes = eligibility(
        fleet, demand, opted_out=nobody, held_back=nobody, busy=live.busy(now), planned=nobody,
        waiting=nobody, now_s=to_epoch(now),
    )  # fmt: skip
    zero = np.zeros(len(fleet), dtype=np.int64)
    plan = plan_event(
        EventPlan.empty(len(fleet)), demand, fleet, codes, Limits(_NONE, _NONE),
        Delivered(zero, nobody, nobody, nobody),
    )  # fmt: skip
    able = offers_of(fleet, np.flatnonzero(codes == REASONS.index(Reason.SELECTED)), Limits(_NONE, _NONE))
    planned_w = int(plan.setpoint_w.sum())
    counts = np.bincount(plan.reason_code, minlength=len(REASONS))
    terms = wish.program.terms_on(begins.astimezone(wish.program.zone).date())
    cost = terms.rate.micro_dollars_per_wh * planned_w * wish.seconds / 3600 if terms else 0
    out = await _departures(desk, wish, now)
    return {
        "program_id": program_id,
        "time_zone": wish.program.zone.key,
        "starts_at": instant(begins),
        "ends_at": instant(ends),
        "asked_w": wish.power_w,
        "now_w": int(able.limit_w.sum()),
        "window_w": int(sustainable_w(able, wish.seconds).sum()),
        "planned_w": planned_w,
        "shortfall_w": plan.shortfall_w,
        "sites": int((plan.setpoint_w > 0).sum()),
        "level_pct": round(plan.level_permille / 10, 1),
        "reasons": {each.value: int(counts[place]) for place, each in enumerate(REASONS) if counts[place]},
        "by_utility": by_word(fleet.utility_no, roster.utilities.words, plan.setpoint_w),
        "by_county": by_word(fleet.county_no, roster.counties.words, plan.setpoint_w),
        "cost_usd": usd(int(cost) // 10_000 * 10_000),
        "out_of_program": list(out),
        "unknown_targets": list(unknown),
        "limit_w": (await _console(desk)).max_power_w,
    }


def _demand(wish: Wish, live: Live, begins: datetime, ends: datetime) -> tuple[Demand, tuple[str, ...]]:
    roster = live.controller.roster
    words = resolve_targets(
        wish.targets,
        utilities=roster.utilities.words,
        groups=wish.program.groups,
        counties=roster.counties.words,
        feeders=roster.feeders.words,
    )
    program_no = roster.programs.find(wish.program.program_id)
    demand = Demand(
        event_id="preview",
        event_no=-1,
        version=1,
        program_no=-1 if program_no is None else program_no,
        targeted=targeted_sites(words, live.controller.fleet, roster),
        stretches=((wish.power_w, wish.seconds),),
        authorized_w=None,
        starts_at=begins,
        ends_at=ends,
        test=False,
    )
    return demand, words.unknown


async def _departures(desk: Desk, wish: Wish, now: datetime) -> tuple[str, ...]:
    verdict = await _judge(desk, _signal(wish, "preview", "preview", False, now), wish, now)
    return verdict.version.out_of_program


def _signal(wish: Wish, event_id: str, name: str, test: bool, now: datetime) -> Signal:
    begins = instant(wish.starts_at) if wish.starts_at else "now"
    content = [
        event_id,
        wish.program.program_id,
        wish.power_w,
        begins,
        wish.seconds,
        *wish.targets,
        test,
        name,
    ]
    return Signal(
        source=CONSOLE,
        event_id=event_id,
        operation=Operation.CREATE,
        modified_at=whole_second(now),
        content_sha256=hashlib.sha256(json.dumps(content).encode()).hexdigest(),
        program_id=wish.program.program_id,
        name=name,
        priority=None,
        targets=wish.targets,
        steps=(
            SignalStep(
                0, wish.starts_at, wish.seconds, None if wish.power_w is None else Watts(wish.power_w)
            ),
        ),
        cancels=False,
        test=test,
    )


async def _judge(desk: Desk, signal: Signal, wish: Wish, now: datetime) -> Accepted:
    sources = {source.name: source for source in await desk.store.sources()}
    others = [each for each in await desk.store.histories() if each.latest.event_id != signal.event_id]
    verdict = accept(
        signal,
        None,
        program=wish.program,
        counted=counted_intervals(others, sources, wish.program.program_id),
        unknown_targets=(),
        seen=False,
        contradicted=False,
        now=now,
    )
    assert isinstance(verdict, Accepted)  # a new id, a known program and a time of now leave nothing else
    return verdict


async def _console(desk: Desk) -> GridSource:
    """Return the console's source; made with a limit of zero, so that at first two persons are needed.

    Its key is this controller's own, so that nobody else can signal under its name.
    """
    known = {source.name: source for source in await desk.store.sources()}.get(CONSOLE)
    if known is not None and known.public_key == desk.keys.public_key:
        return known
    limit_w = known.max_power_w if known is not None else Watts(0)
    console = GridSource(CONSOLE, desk.keys.public_key, limit_w, desk.clock.now())
    await desk.store.add_source(console)
    return console


async def start_event(
    desk: Desk, *, event_id: str, program_id: str, power_mw: str, starts_at: str = "now", minutes: int = 60,
    targets: Sequence[str] = (), name: str = "", test: bool = False, actor: str,
) -> Json:  # fmt: skip
    """Start an event of the console. The same again under the same id changes nothing.

    Args:
        event_id: 1 to 64 of A-Z, a-z, 0-9 and ``._-``; the key that makes a resend harmless.
        program_id: Whose homes.
        power_mw: Megawatts, or ``all`` that can be sustained.
        starts_at: ``now``, or a time; without an offset it is local in the program's zone.
        minutes: The length.
        targets: Names of utilities, groups, counties or feeders; none means all homes of the program.
        name: What people call it.
        test: Never paid and never counted.
        actor: Who starts it.

    Returns:
        What ``vpp event list`` has for it, and ``limit_w``: above it a second person has to approve.
    """
    if not _EVENT_ID.fullmatch(event_id):
        raise OperationRefused(f"event id {event_id[:70]!r} is not 1-64 of A-Z, a-z, 0-9 and '._-'")
    wish, now = _wish(desk, program_id, power_mw, starts_at, minutes, targets), desk.clock.now()
    if desk.live is not None:
        unknown = _demand(wish, desk.live, now, now)[1]
        if unknown:
            raise OperationRefused(f"no utility, group, county or feeder is called {', '.join(unknown)}")
    console = await _console(desk)
    signal = _signal(wish, event_id, name[:120] or f"Console {event_id}", test, now)
    known = await desk.store.history(event_id)
    if known is not None:
        if known.versions[0].content_sha256 != signal.content_sha256:
            raise OperationRefused(
                f"another event has the id {event_id}; nothing changed", HTTPStatus.CONFLICT
            )
        return await _facts(desk, known) | {"limit_w": console.max_power_w}
    verdict = await _judge(desk, signal, wish, now)
    await desk.store.leave_trail([TrailEntry(now, actor, "start", f"event:{event_id}", power_mw + " MW", "")])
    await desk.store.append_version(verdict.version, actor=actor)
    desk.changed()
    return await _facts(desk, await desk.history(event_id)) | {"limit_w": console.max_power_w}


async def _facts(desk: Desk, history: EventHistory) -> Json:
    authorized = await authorized_now(desk)
    return event_facts(desk, history, authorized_w=authorized.get(history.latest.event_id, 0))


async def approve_event(desk: Desk, *, event_id: str, actor: str) -> Json:
    """Be the second person: lift the source's limit for the newest version of an event.

    Whoever started or changed it is the first person, under whatever name they came in.

    Returns:
        ``event_id, version, approved_by, approved_at``. Approving again changes nothing.
    """
    history = await desk.history(event_id)
    state = event_state(history, desk.clock.now())
    if state in ("cancelled", "ended"):
        raise OperationRefused(f"event {event_id} is {state}; nothing changed", HTTPStatus.CONFLICT)
    trail = await desk.store.trail(subject=f"event:{event_id}")
    first = {_person(entry.actor): entry.action for entry in trail if entry.action in ("start", "modify")}
    if _person(actor) in first:
        did = "started" if first[_person(actor)] == "start" else "changed"
        raise OperationRefused(
            f"{actor} {did} event {event_id}; somebody else has to approve it", HTTPStatus.CONFLICT
        )
    latest = history.latest
    grants = [
        each for each in history.grants
        if each.kind is GrantKind.APPROVE and each.version == latest.version
    ]  # fmt: skip
    if not grants:
        grants = [Grant(event_id, latest.version, GrantKind.APPROVE, actor, desk.clock.now())]
        await desk.store.grant(grants[0])
        desk.changed()
    return {
        "event_id": event_id,
        "version": grants[0].version,
        "approved_by": grants[0].actor,
        "approved_at": instant(grants[0].granted_at),
    }


def _person(actor: str) -> str:
    """Return who stands behind an actor: the same name is one person, at a page or at a terminal."""
    return actor.rpartition(":")[2]


async def stop_all(desk: Desk, *, actor: str) -> Json:
    """Cancel every event that is on or has homes commanded; every home is released within seconds.

    One that waits for approval or force is cancelled too, where an earlier version runs or its time has
    come: nothing may begin again behind the operator's back.

    Returns:
        ``cancelled`` (event ids), ``homes`` (asked for power until now), ``scheduled`` (left standing).
    """
    now, live = desk.clock.now(), desk.live
    cancelled, scheduled, homes = [], [], 0
    for history in await desk.store.histories(ending_after=now):
        event_id, state = history.latest.event_id, event_state(history, now)
        asked = int(live.serving(event_id, now).sum()) if live else 0
        if state not in ("cancelled", "ended") and (asked or _has_begun(history, now)):
            await cancel_event(desk, event_id=event_id, actor=actor)
            cancelled.append(event_id)
            homes += asked
        elif state not in ("cancelled", "ended"):
            scheduled.append(event_id)
    return {"cancelled": cancelled, "homes": homes, "scheduled": scheduled}


def _has_begun(history: EventHistory, now: datetime) -> bool:
    """Return whether any version asks for power now, or so soon that its commands may have left."""
    return any(
        step.interval.starts_at - LEAD <= now < step.interval.ends_at
        for version in history.versions
        for step in version.steps
    )
