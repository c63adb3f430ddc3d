"""What a grid operator asks of the fleet: one event, its versions, and what becomes of each signal.

Knows nothing of JSON or MQTT: ``wire/openadr.py`` makes a ``Signal`` of a message first. Refuses to
decide which signal counts (``verdict.py``) and who discharges (``dispatch_plan.py``).
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType

from vpp.domain.interval import Interval, whole_second
from vpp.domain.quantities import Watts

ENDLESS_S = 10**12
"""A step's length that stands for OpenADR's infinity, ``P9999Y``."""

FAR_FUTURE = datetime(9998, 1, 1, tzinfo=UTC)
"""Where an endless step ends, so that every instant can be written in every zone."""

LEAD = timedelta(seconds=120)
"""Commands leave this long ahead of a start."""

HISTORIES_KEPT = 1024
EVERYTHING_W = 1 << 62  # stands for "all that can be sustained" where powers are compared


class Operation(StrEnum):
    """What the operator does with the event."""

    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"


class ReceiptState(StrEnum):
    """What the controller answers to a signal."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"


class EventStatus(StrEnum):
    """Whether a version asks for anything."""

    SCHEDULED = "scheduled"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Step:
    """One stretch of an event. ``power`` is gross battery output of the fleet in watts.

    ``None`` asks for all that can be sustained, zero asks for nothing.
    """

    interval: Interval
    power: Watts | None


@dataclass(frozen=True, slots=True)
class SignalStep:
    """A step whose start may still be open: ``starts_at`` None means at the controller's first commit."""

    offset_s: int  # after the event's first start; meaningful only where ``starts_at`` is None
    starts_at: datetime | None
    duration_s: int
    power: Watts | None


@dataclass(frozen=True, slots=True)
class Signal:
    """One well-formed grid signal, before it is judged.

    ``steps`` is empty for a DELETE and for a cancel by duration ``PT0S`` (then ``cancels`` is true).
    """

    source: str
    event_id: str
    operation: Operation
    modified_at: datetime
    content_sha256: str  # of the object in RFC 8785 form
    program_id: str
    name: str
    priority: int | None
    targets: tuple[str, ...]
    steps: tuple[SignalStep, ...]
    cancels: bool
    test: bool = False


@dataclass(frozen=True, slots=True)
class RawSignal:
    """A grid message as it came, stored before anybody judges it."""

    key: str  # made by Ids, before the commit
    source: str
    topic: str
    payload: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class LimitRaise:
    """A higher limit of a source that one person asked for, and no second one has approved."""

    max_power_w: Watts
    actor: str
    asked_at: datetime


@dataclass(frozen=True, slots=True)
class GridSource:
    """Somebody who may send grid signals: by which key or secret (neither: unsigned), and how much power."""

    name: str
    public_key: bytes | None  # 32 raw bytes, Ed25519
    max_power_w: Watts
    added_at: datetime
    raise_asked: LimitRaise | None = None
    client_sha256: bytes | None = None  # of the secret that opens the OpenADR API to it


@dataclass(frozen=True, slots=True)
class Receipt:
    """The answer to one signal."""

    source: str
    event_id: str
    operation: Operation
    modified_at: datetime
    state: ReceiptState
    reason: str | None
    at: datetime


@dataclass(frozen=True, slots=True)
class GridEvent:
    """One accepted version of an event, immutable. ``version`` counts from 1 for each event id."""

    event_id: str
    version: int
    source: str
    operation: Operation
    modified_at: datetime
    content_sha256: str
    program_id: str
    name: str
    priority: int | None
    targets: tuple[str, ...]
    steps: tuple[Step, ...]
    status: EventStatus
    out_of_program: tuple[str, ...]  # reasons; empty when the signal lies inside the terms
    test: bool
    committed_at: datetime

    @property
    def interval(self) -> Interval | None:
        """Return the event from its first start to its last end, or None when it has no steps."""
        if not self.steps:
            return None
        return Interval(self.steps[0].interval.starts_at, self.steps[-1].interval.ends_at)


class GrantKind(StrEnum):
    """What a person allowed."""

    FORCE = "force"
    APPROVE = "approve"


@dataclass(frozen=True, slots=True)
class Grant:
    """A person's leave for one version of an event: forced out of program, or approved above a limit."""

    event_id: str
    version: int
    kind: GrantKind
    actor: str
    granted_at: datetime


@dataclass(frozen=True, slots=True)
class EventHistory:
    """Everything the controller committed about one event id: versions in order, and grants."""

    versions: tuple[GridEvent, ...]
    grants: tuple[Grant, ...]

    def __hash__(self) -> int:
        # A key of caches in every tick: equal histories have equal ids and lengths, quick to hash.
        event_id = self.versions[0].event_id if self.versions else ""
        return hash((event_id, len(self.versions), len(self.grants)))

    @property
    def latest(self) -> GridEvent:
        """Return the newest version."""
        return self.versions[-1]


@dataclass(frozen=True, slots=True)
class InForce:
    """The version that an event is dispatched by: whom it names, its program, its rank, whether it is a test.

    While part of it waits for approval, power above its source's limit may rest on the leave for an older
    version, ``within``: then only homes that both name may serve.
    """

    version: GridEvent
    within: GridEvent | None = None


def in_force(history: EventHistory, *, at: datetime, max_power_w: int | None) -> InForce:
    """Return the newest version of which anything may be dispatched; where all wait, the newest of all.

    One that waits names nobody, changes no rank and stops nobody: it only lowers power and end.

    Args:
        history: The event.
        at: What is committed and granted later counts for nothing.
        max_power_w: What its source may ask without approval; None: no approval is waited for.
    """
    return _in_force(history, stands_since(history, at), max_power_w)


@lru_cache(maxsize=HISTORIES_KEPT)
def _in_force(history: EventHistory, at: datetime, max_power_w: int | None) -> InForce:
    found: InForce | None = None
    approved: GridEvent | None = None
    for version in history.versions:
        if whole_second(version.committed_at) > at:
            break
        if version.status is EventStatus.CANCELLED:
            approved = None
        elif not _forced(history, version, at):
            continue
        elif max_power_w is None or _granted(history, version, GrantKind.APPROVE, at):
            found, approved = InForce(version), version
        elif _most(version) <= max_power_w:
            found, approved = InForce(version), None
        elif max_power_w > 0 and (approved is None or _terms(approved) == _terms(version)):
            goes_on = approved is not None and _asked(approved, max(at, _start(approved))) > max_power_w
            found = InForce(version, approved if goes_on else None)
    return found or InForce(history.latest)


@lru_cache(maxsize=HISTORIES_KEPT)  # asked for every running event several times a tick
def steps_in_force(history: EventHistory) -> tuple[Step, ...]:
    """Return what the event asks, instant by instant, without regard to approval.

    Only stretches that ask for something, in order and apart. A version out of its program counts once
    it is forced; until then each instant takes the smaller power of what it would replace and of itself.
    Nothing is asked before the first commit or after a cancel's.

    Interpretation: what ran at the commit of a version that waits is lowered by it and ends earlier, but
    is not stopped by a later start: nobody may have meant to stop.
    """
    edges = _edges_of(history)
    return _steps((Interval(*pair), _power(history, pair[0], None)) for pair in pairwise(edges))


@lru_cache(maxsize=HISTORIES_KEPT)
def is_test(history: EventHistory) -> bool:
    """Return whether an event is a test, which is never paid and never counted.

    Interpretation: what it was when its first commands could leave, it stays for good. Homes were told so,
    and neither is work done for a test paid by a later word, nor paid work made a test.
    """
    asked = steps_in_force(history)
    if not asked:
        return history.latest.test
    begins_at = asked[0].interval.starts_at
    able: list[GridEvent] = []
    for version in history.versions:
        if version.status is EventStatus.CANCELLED:
            able = [] if whole_second(version.committed_at) <= begins_at else able
        elif not version.out_of_program or _granted(history, version, GrantKind.FORCE, begins_at):
            able.append(version)
    told_at = max(begins_at - LEAD, whole_second(able[0].committed_at))
    return [version.test for version in able if whole_second(version.committed_at) <= told_at][-1]


def authorized_steps(
    histories: Sequence[EventHistory],
    *,
    max_power_w: int,
    planned_w: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, tuple[Step, ...]]:
    """Return, by event id, what the events of one source may use at each instant.

    ``max_power_w`` bounds their sum: the most important event takes its part first, among equals what was
    said first, then who asks for all. Approval of a version lifts the bound for it, and what was approved
    stays allowed under a newer version that asks for no less. An event with a setpoint uses it up, whatever
    its homes can give; one that asks for all uses its plan's power, where ``planned_w`` has it.
    """
    planned = {each.latest.event_id for each in histories if ever_asks_for_all(each)} & planned_w.keys()
    plans = tuple((event_id, planned_w[event_id]) for event_id in sorted(planned))
    return dict(_authorized_steps(tuple(histories), max_power_w, plans))


@lru_cache(maxsize=HISTORIES_KEPT)  # the same from tick to tick, and whenever an event is settled again
def _authorized_steps(
    histories: tuple[EventHistory, ...], max_power_w: int, plans: tuple[tuple[str, int], ...]
) -> Mapping[str, tuple[Step, ...]]:
    planned_w = dict(plans)
    course: dict[str, list[tuple[Interval, int]]] = {each.latest.event_id: [] for each in histories}
    spans = [(each, _may_ask(each)) for each in histories]
    for starts_at, ends_at in pairwise(sorted({edge for each in histories for edge in _edges_of(each)})):
        asking = [each for each, span in spans if span is not None and span.contains(starts_at)]
        powers = _authorized_at(asking, starts_at, max_power_w, planned_w)
        for event_id, power in powers.items():
            course[event_id].append((Interval(starts_at, ends_at), power))
    return {event_id: _steps(stretches) for event_id, stretches in course.items()}


def authorized_power(
    histories: Sequence[EventHistory],
    sources: Mapping[str, GridSource],
    now: datetime,
    planned_w: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, int | None]:
    """Return, by event id, the power each event may use now, or at its next start where it asks nothing now.

    None means no bound. A source that is not known any more may ask nothing without approval. One that asks
    for all that can be sustained uses no more of its source's bound than its plan in ``planned_w``, and
    leaves the rest to the events after it.
    """
    allowed: dict[str, int | None] = {}
    for source, group in by_source(histories).items():
        max_power_w = sources[source].max_power_w if source in sources else 0
        powers: dict[datetime, dict[str, int]] = {}  # most events are asked about at the same instant
        for history in group:
            starts_at = next(
                (step.interval.starts_at for step in steps_in_force(history) if step.interval.ends_at > now),
                now,
            )
            at = max(now, starts_at)
            if at not in powers:
                powers[at] = _authorized_at(group, at, max_power_w, planned_w)
            power = powers[at][history.latest.event_id]
            allowed[history.latest.event_id] = None if power >= EVERYTHING_W else power
    return allowed


def precedence_key(event: GridEvent, *, test: bool) -> tuple[bool, bool, int, float, str]:
    """Return what sorts the event that holds a shared site first: never a ``test`` before a real one.

    Then the lowest priority number (absent is last), then the later modification, then the id.
    """
    later_first = -(event.modified_at - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    return test, event.priority is None, event.priority or 0, later_first, event.event_id


def by_source(histories: Iterable[EventHistory]) -> dict[str, list[EventHistory]]:
    """Return histories by their source, each source's in the order given."""
    groups: dict[str, list[EventHistory]] = {}
    for history in histories:
        groups.setdefault(history.versions[0].source, []).append(history)
    return groups


def _authorized_at(
    histories: Sequence[EventHistory], at: datetime, max_power_w: int, planned_w: Mapping[str, int]
) -> dict[str, int]:
    powers = {each.latest.event_id: 0 for each in histories}
    left_w = max_power_w
    asking = [each for each in histories if any(_asked(version, at) for version in each.versions)]
    for history in sorted(asking, key=lambda each: _leave_key(each, at, max_power_w)):
        power = _power(history, at, left_w)
        powers[history.latest.event_id] = power
        used_w = power
        if _asks_for_all(history, at):
            used_w = min(power, planned_w.get(history.latest.event_id, power))
        left_w = max(0, left_w - used_w)
    return powers


def ever_asks_for_all(history: EventHistory) -> bool:
    """Return whether any version has a step without a setpoint: only then its plan binds other events."""
    return any(step.power is None for version in history.versions for step in version.steps)


def stands_since(history: EventHistory, at: datetime) -> datetime:
    """Return since when an event stands as it does at an instant: what was worked out for then holds."""
    edges = _edges_of(history)
    place = bisect_right(edges, at)
    return edges[place - 1] if place else at


def _leave_key(history: EventHistory, at: datetime, max_power_w: int) -> tuple[tuple[int, ...], float, str]:
    """Return what sorts a source's events by their turn at its limit: among equals who said so much first."""
    version = in_force(history, at=at, max_power_w=max_power_w).version
    *rank, later_first, event_id = precedence_key(version, test=is_test(history))
    if _asks_for_all(history, at):
        return (*rank, True), later_first, event_id
    asked_w, said_at = _asked(version, at), version.committed_at
    for each in reversed(history.versions[: history.versions.index(version)]):
        if _asked(each, at) < asked_w or not _forced(history, each, at):
            break
        said_at = each.committed_at
    return (*rank, False), said_at.timestamp(), event_id


def _may_ask(history: EventHistory) -> Interval | None:
    """Return outside of which an event has no power: where no version asks, or it is cancelled for good."""
    steps = [step.interval for version in history.versions for step in version.steps]
    latest = history.latest
    ends = [each.ends_at for each in steps]
    if latest.status is EventStatus.CANCELLED:
        ends = [min(each, whole_second(latest.committed_at)) for each in ends]
    starts_at = min((each.starts_at for each in steps), default=latest.committed_at)
    ends_at = max(ends, default=starts_at)
    return Interval(starts_at, ends_at) if starts_at < ends_at else None


def _asks_for_all(history: EventHistory, at: datetime) -> bool:
    return _power(history, at, None) >= EVERYTHING_W


def _power(history: EventHistory, at: datetime, share_w: int | None) -> int:
    """Return watts at an instant; ``share_w`` bounds what nobody approved, None bounds nothing."""
    power_w, runs_by = 0, None
    most_w = EVERYTHING_W  # that a version which waits leaves
    for version in history.versions:
        if whole_second(version.committed_at) > at:
            break
        if version.status is EventStatus.CANCELLED:
            power_w, runs_by, most_w = 0, None, EVERYTHING_W
            continue
        asked_w = _asked(version, at)
        if not _forced(history, version, at):
            ran = runs_by is not None and _asked(runs_by, whole_second(version.committed_at)) > 0
            most_w = EVERYTHING_W if ran and at < _start(version) else asked_w
            continue
        runs_by, most_w = version, EVERYTHING_W
        approved = share_w is None or _granted(history, version, GrantKind.APPROVE, at)
        power_w = asked_w if approved else min(asked_w, max(share_w or 0, power_w))
    return min(power_w, most_w)


def _asked(version: GridEvent, at: datetime) -> int:
    for step in version.steps:
        if step.interval.contains(at):
            return EVERYTHING_W if step.power is None else step.power
    return 0


def _start(version: GridEvent) -> datetime:
    return version.steps[0].interval.starts_at


def _most(version: GridEvent) -> int:
    return max(EVERYTHING_W if step.power is None else step.power for step in version.steps)


def _terms(version: GridEvent) -> tuple[str, bool]:
    """Return what no leave for another version carries over to: the contract, and whether owners are paid."""
    return version.program_id, version.test


def _forced(history: EventHistory, version: GridEvent, at: datetime) -> bool:
    """Return whether a version lies inside its program, or somebody let it leave it."""
    return not version.out_of_program or _granted(history, version, GrantKind.FORCE, at)


def _granted(history: EventHistory, version: GridEvent, kind: GrantKind, at: datetime) -> bool:
    return any(
        grant.version == version.version and grant.kind is kind and whole_second(grant.granted_at) <= at
        for grant in history.grants
    )


@lru_cache(maxsize=HISTORIES_KEPT)
def _edges_of(history: EventHistory) -> list[datetime]:
    edges = {whole_second(grant.granted_at) for grant in history.grants}
    for version in history.versions:
        edges.add(whole_second(version.committed_at))
        for step in version.steps:
            edges.update((step.interval.starts_at, step.interval.ends_at))
    return sorted(edges)


def _steps(stretches: Iterable[tuple[Interval, int]]) -> tuple[Step, ...]:
    """Return the stretches that ask for something; neighbours of equal power become one."""
    joined: list[tuple[Interval, int]] = []
    for interval, power in stretches:
        if power == 0:
            continue
        if joined and joined[-1][1] == power and joined[-1][0].ends_at == interval.starts_at:
            interval = Interval(joined.pop()[0].starts_at, interval.ends_at)
        joined.append((interval, power))
    return tuple(
        Step(interval, None if power >= EVERYTHING_W else Watts(power)) for interval, power in joined
    )
