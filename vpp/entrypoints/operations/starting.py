"""An operator's own events: start, let a second person approve, stop everything.

They are events of the source ``console``, which has this controller's own key and a limit like any source.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from http import HTTPStatus

from vpp.domain.access import Right
from vpp.domain.demands import has_begun, targeted_sites
from vpp.domain.enrollment import Enrollment
from vpp.domain.event_plan import Demand
from vpp.domain.grid_event import (
    EventHistory,
    Grant,
    GrantKind,
    GridEvent,
    GridSource,
    Operation,
    Signal,
    SignalStep,
    is_test,
)
from vpp.domain.interval import whole_second
from vpp.domain.program import Program
from vpp.domain.quantities import Watts
from vpp.domain.season_hours import counted_intervals
from vpp.domain.targets import Targets, resolve_targets
from vpp.domain.verdict import Accepted, accept
from vpp.entrypoints.operations.desk import Desk, Json, OperationRefused, instant, local_words
from vpp.entrypoints.operations.events import cancel_now, event_state, facts_with_leave, leave_now
from vpp.entrypoints.operations.granting import who_grants
from vpp.entrypoints.operations.in_time import in_time
from vpp.entrypoints.operations.live import Live
from vpp.ports import ConflictingFact, StoreUnavailable
from vpp.stages.stop import STOP_ALL

CONSOLE = "console"
MINUTES_MOST = 24 * 60
STOP_WAITS_S = 1.0  # for the database; homes are to be released within two seconds
_EVENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


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


def read_wish(
    desk: Desk, program_id: str, power_mw: str, starts_at: str, minutes: int, targets: Sequence[str]
) -> Wish:
    """Return a wish as it was typed, checked. Raises OperationRefused."""
    program = desk.programs.get(program_id)
    if program is None:
        raise OperationRefused(
            f"program {program_id[:60]!r} is not known; {', '.join(desk.programs)} are", field="program_id"
        )
    if not 1 <= minutes <= MINUTES_MOST:
        raise OperationRefused(f"a length of {minutes} min is not 1 to {MINUTES_MOST}", field="minutes")
    begins = None if starts_at in ("", "now") else read_start(starts_at, program)
    if begins is not None and begins < desk.clock.now() - timedelta(minutes=1):
        at = local_words(begins, program.zone.key)
        raise OperationRefused(f"the start {at} is over; give a later one, or now", field="starts_at")
    power_w = read_megawatts(power_mw)
    return Wish(program, power_w, begins, minutes * 60, read_targets(desk, program, targets))


def read_targets(desk: Desk, program: Program | None, targets: Sequence[str]) -> tuple[str, ...]:
    """Return target words without what is empty. Raises OperationRefused where one names nobody.

    Who enrolled is known to a running controller only; without one every word is taken.
    """
    words = tuple(word.strip() for word in targets if word.strip())
    if desk.live is not None:
        unknown = whom(words, program, desk.live).unknown
        if unknown:
            raise OperationRefused(
                f"no utility, group, county or feeder is called {', '.join(unknown)}", field="targets"
            )
    return words


def whom(words: Sequence[str], program: Program | None, live: Live) -> Targets:
    """Return what target words name among the enrolled homes."""
    roster = live.controller.roster
    return resolve_targets(
        words,
        utilities=roster.utilities.words,
        groups=program.groups if program else (),
        counties=roster.counties.words,
        feeders=roster.feeders.words,
    )


def means(desk: Desk, event: GridEvent, home: Enrollment) -> bool:
    """Return whether a version of an event means a home; every one where no controller runs."""
    if desk.live is None:
        return True
    program = desk.programs.get(event.program_id)
    targets = whom(event.targets, program, desk.live)
    groups = program.groups if program else ()
    return targets.selects(utility=home.utility, groups=groups, county=home.county, feeder=home.feeder)


def read_megawatts(text: str) -> int | None:
    """Return watts of megawatts as text; None for ``all``. Raises OperationRefused."""
    if text == "all":
        return None
    power_w = megawatts(text)
    if power_w is None:
        raise OperationRefused(f"a power of {text[:30]!r} is not a number of megawatts", field="power_mw")
    if not power_w.is_finite() or not 1 <= power_w <= 10**11 or power_w != int(power_w):
        raise OperationRefused(
            f"a power of {text[:30]} MW is not 0.000001 to 100000 MW in whole watts", field="power_mw"
        )
    return int(power_w)


def megawatts(text: str) -> Decimal | None:
    """Return exact watts of megawatts as text; None where it is no number in plain digits."""
    # Decimal alone would take digits of any script, and underscores.
    if not re.fullmatch(r"[0-9A-Za-z.+-]{1,40}", text):
        return None
    try:
        return Decimal(text) * 1_000_000
    except InvalidOperation:
        return None


def read_start(text: str, program: Program) -> datetime:
    """Return the instant; a time without an offset is local in the program's zone."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError as failure:
        raise OperationRefused(
            f"a start of {text[:40]!r} is not a time like 2026-09-09T18:00", field="starts_at"
        ) from failure
    return whole_second((at if at.tzinfo else at.replace(tzinfo=program.zone)).astimezone(UTC))


def demand_of(wish: Wish, live: Live, begins: datetime, ends: datetime) -> Demand:
    """Return what the wish would ask of the fleet."""
    roster = live.controller.roster
    program_no = roster.programs.find(wish.program.program_id)
    return Demand(
        event_id="",  # no event's, so that no home serves it
        event_no=-1,
        version=1,
        program_no=-1 if program_no is None else program_no,
        targeted=targeted_sites(whom(wish.targets, wish.program, live), live.controller.fleet, roster),
        stretches=((wish.power_w, wish.seconds),),
        authorized_w=None,
        starts_at=begins,
        ends_at=ends,
        test=False,
    )


async def version_of(desk: Desk, wish: Wish, now: datetime, *, test: bool = False) -> GridEvent:
    """Return the version that the wish would be, under an id that nothing is stored by."""
    return await _judge(desk, _signal(wish, "preview", "preview", test, now), wish, now)


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


async def _judge(desk: Desk, signal: Signal, wish: Wish, now: datetime) -> GridEvent:
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
    assert verdict.version is not None
    return verdict.version


async def console_of(desk: Desk) -> GridSource:
    """Return the console's source; made with a limit of zero, so that at first two persons are needed.

    Its key is this controller's own, so that nobody else can signal under its name.
    """
    known = {source.name: source for source in await desk.store.sources()}.get(CONSOLE)
    if known is not None and known.public_key == desk.keys.public_key:
        return known
    limit_w = known.max_power_w if known is not None else Watts(0)
    waits = known.raise_asked if known is not None else None
    console = GridSource(CONSOLE, desk.keys.public_key, limit_w, desk.clock.now(), waits)
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
        name: What people call it, the program's name without it; with TEST as its first word it is a test.
        test: Never paid and never counted.
        actor: Who starts it.

    Returns:
        What ``vpp event list`` has for it, and ``limit_w``: above it a second person has to approve.
    """
    if not _EVENT_ID.fullmatch(event_id):
        raise OperationRefused(f"event id {event_id[:70]!r} is not 1-64 of A-Z, a-z, 0-9 and '._-'")
    wish, now = read_wish(desk, program_id, power_mw, starts_at, minutes, targets), desk.clock.now()
    console = await console_of(desk)
    signal = _signal(wish, event_id, (name or wish.program.name)[:120], test, now)
    known = await desk.store.history(event_id)
    if known is not None:
        if known.versions[0].content_sha256 != signal.content_sha256:
            raise OperationRefused(
                f"another event has the id {event_id}; nothing changed", HTTPStatus.CONFLICT
            )
        return await _facts(desk, known) | {"limit_w": console.max_power_w}
    version = await _judge(desk, signal, wish, now)
    entry = desk.trail_entry(actor, "start", f"event:{event_id}", f"{power_mw} MW")
    await desk.store.append_version(version, actor=actor, told=entry)
    desk.changed()
    return await _facts(desk, await desk.history(event_id)) | {"limit_w": console.max_power_w}


async def _facts(desk: Desk, history: EventHistory) -> Json:
    return facts_with_leave(desk, history, await leave_now(desk))


async def approve_event(
    desk: Desk, *, event_id: str, actor: str, login: str = "", password: str = "", claimed: bool = False
) -> Json:
    """Be the second person: lift the source's limit for the newest version of an event.

    An event of a grid source needs one operator. Whoever started or changed it here is the first person,
    under whatever name they came in; then somebody else approves, who logs in: on its page, or with --as
    NAME and the password on standard input. Without a running service another user of the system will do.

    Args:
        event_id: The event.
        actor: Who asks.
        login: Login of whoever approves, with the right to; given after the event began it does not count.
        password: What proves the login.
        claimed: Nobody but the caller says who the actor is.

    Returns:
        ``event_id, version, approved_by, approved_at, time_zone``. Approving again changes nothing.
    """
    history = await desk.history(event_id)
    state = event_state(history, desk.clock.now())
    if state in ("cancelled", "ended"):
        raise OperationRefused(f"event {event_id} is {state}; nothing changed", HTTPStatus.CONFLICT)
    by = await who_grants(
        desk, event_id, right=Right.APPROVE, actor=actor, claimed=claimed, login=login, password=password
    )
    latest = history.latest
    grants = [
        each for each in history.grants
        if each.kind is GrantKind.APPROVE and each.version == latest.version
    ]  # fmt: skip
    if not grants:
        grants = [Grant(event_id, latest.version, GrantKind.APPROVE, by, desk.clock.now())]
        await desk.store.grant(grants[0], desk.trail_entry(by, "approve", f"event:{event_id}"))
        desk.changed()
    return {
        "event_id": event_id,
        "version": grants[0].version,
        "approved_by": grants[0].actor,
        "approved_at": instant(grants[0].granted_at),
        "time_zone": desk.time_zone(latest.program_id),
    }


@dataclass(slots=True)
class _Stopping:
    """What a stop has done in the database so far; once it is ``late`` it cancels no further event there."""

    cancelled: list[str] = field(default_factory=list)
    scheduled: list[str] = field(default_factory=list)
    tests: list[str] = field(default_factory=list)
    homes: int = 0
    late: bool = False


async def stop_all(desk: Desk, *, actor: str) -> Json:
    """Cancel every event that is on or has homes commanded; every home is released within seconds.

    One that waits for approval or force is cancelled too, where an earlier version runs or its time has
    come: nothing may begin again behind the operator's back. A database that is down, or does not answer
    within a second, is not waited for.

    Returns:
        ``cancelled`` (event ids), ``homes`` (asked for power until now), ``scheduled`` (left standing),
        ``recorded`` (false where the database did not answer: the homes were released all the same),
        ``unrecorded`` (event ids: stopped, and to be cancelled in the database as soon as it answers, by the
        controller that runs now), ``tests`` (which of all these events are tests).
    """
    live, stopping = desk.live, _Stopping()
    booking = _cancel_all(desk, stopping, actor=actor)
    try:
        if live is None:
            await booking
        else:
            with live.controller.stopping():
                await in_time(booking, STOP_WAITS_S)
    except (StoreUnavailable, ConflictingFact):
        stopping.late = True
        if live is None:
            raise
        return await _stop_first(live, stopping, desk.clock.now(), actor)
    return {
        "cancelled": stopping.cancelled,
        "homes": stopping.homes,
        "scheduled": stopping.scheduled,
        "recorded": True,
        "unrecorded": [],
        "tests": stopping.tests,
    }


async def _stop_first(live: Live, stopping: _Stopping, now: datetime, actor: str) -> Json:
    """Release the homes before the database knows: only a stop may. It is told as soon as it answers."""
    board = live.controller.board
    known = board.facts.histories if board is not None and board.facts is not None else ()
    standing = [
        each for each in known
        if event_state(each, now) not in ("cancelled", "ended")
        and each.latest.event_id not in stopping.cancelled
    ]  # fmt: skip
    on = [each for each in standing if _is_on(live, each, now)]
    homes = await live.controller.stop_everything(actor)
    return {
        "cancelled": list(stopping.cancelled),
        "homes": homes,
        "scheduled": [each.latest.event_id for each in standing if each not in on],
        "recorded": False,
        "unrecorded": [each.latest.event_id for each in on],
        "tests": sorted({*stopping.tests, *(each.latest.event_id for each in standing if is_test(each))}),
    }


def _is_on(live: Live | None, history: EventHistory, now: datetime) -> bool:
    served = live is not None and bool(live.serving(history.latest.event_id, now).any())
    return served or has_begun(history, now)


async def _cancel_all(desk: Desk, stopping: _Stopping, *, actor: str) -> None:
    now, live = desk.clock.now(), desk.live
    for history in await desk.store.histories(ending_after=now):
        event_id, state = history.latest.event_id, event_state(history, now)
        if stopping.late:
            return
        if state in ("cancelled", "ended"):
            continue
        if is_test(history):
            stopping.tests.append(event_id)
        if not _is_on(live, history, now):
            stopping.scheduled.append(event_id)
            continue
        asked = int(live.serving(event_id, now).sum()) if live else 0
        await cancel_now(desk, history, desk.trail_entry(actor, STOP_ALL, f"event:{event_id}"))
        stopping.cancelled.append(event_id)
        stopping.homes += asked
    if not stopping.late:
        await desk.store.leave_trail([desk.trail_entry(actor, STOP_ALL, "fleet")])
