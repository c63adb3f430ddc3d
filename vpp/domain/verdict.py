"""What becomes of a grid signal: accepted, superseded, duplicate or rejected.

Knows versions, ownership, cancel and the program's terms. Refuses to know signatures and JSON: a signal
that comes here is well formed and its source was checked.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from vpp.domain.grid_event import (
    ENDLESS_S,
    FAR_FUTURE,
    EventHistory,
    EventStatus,
    GridEvent,
    Operation,
    Signal,
    SignalStep,
    Step,
)
from vpp.domain.interval import Interval, whole_second
from vpp.domain.program import Program

FURTHEST_AHEAD = timedelta(minutes=5)
"""How far a modification time may lie ahead of our clock."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The signal counts; ``version`` is to be stored, None where what it asks stands already.

    ``reason`` says what the operator should know.
    """

    version: GridEvent | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class Superseded:
    """A newer signal of this event was accepted before; this one is kept and changes nothing."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The very same signal was answered before."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The signal breaks a rule and changes nothing."""

    reason: str


Verdict = Accepted | Superseded | Duplicate | Rejected

NOT_YOUR_EVENT = "not_your_event"
CONFLICTING_CONTENT = "conflicting_content"
UNKNOWN_PROGRAM = "unknown_program"
CANCELLED = "cancelled"
TOO_FAR_AHEAD = "modified_too_far_ahead"

ALARMING = frozenset({NOT_YOUR_EVENT, CONFLICTING_CONTENT})
"""Reasons that an operator must see at once: somebody speaks for somebody else."""

_OPERATION_ORDER = (Operation.CREATE, Operation.UPDATE, Operation.DELETE)


def accept(
    signal: Signal,
    history: EventHistory | None,
    *,
    program: Program | None,
    counted: Sequence[Interval],
    unknown_targets: Sequence[str],
    seen: bool,
    contradicted: bool,
    now: datetime,
) -> Verdict:
    """Return what becomes of a well-formed signal whose source was checked.

    Args:
        signal: The signal.
        history: What was committed about its event id, None for an unseen id.
        program: The program it names, None when there is none of that name.
        counted: What the program's other events use of the season.
        unknown_targets: Its targets that name no utility, group, county or feeder.
        seen: A signal of the same key was accepted or superseded before.
        contradicted: One of the same source, id, time and operation but other content was.
        now: The moment of the commit.
    """
    if history is not None and history.versions[0].source != signal.source:
        return Rejected(NOT_YOUR_EVENT)
    if seen:
        return Duplicate()
    if contradicted:
        return Rejected(CONFLICTING_CONTENT)
    if signal.operation is Operation.DELETE:
        return Accepted(None if is_final(history) else _version(signal, history, (), (), now), None)
    if is_final(history):
        return Rejected(CANCELLED)
    if program is None:
        return Rejected(UNKNOWN_PROGRAM)
    if signal.modified_at > now + FURTHEST_AHEAD:
        return Rejected(TOO_FAR_AHEAD)
    if history is not None and _order(signal) < max(_order(version) for version in history.versions):
        return Superseded()
    if signal.cancels:
        return Accepted(_version(signal, history, (), (), now), None)
    first_commit = whole_second(history.versions[0].committed_at if history is not None else now)
    steps = tuple(_step(step, first_commit) for step in signal.steps)
    out = out_of_program(program, steps, counted)
    return Accepted(_version(signal, history, steps, out, now), _remarks(unknown_targets, out))


def is_final(history: EventHistory | None) -> bool:
    """Return whether the event was deleted: nothing that comes later can change it."""
    return history is not None and any(each.operation is Operation.DELETE for each in history.versions)


def names_a_test(name: str) -> bool:
    """Return whether an event called so is a test, whoever asks for it: TEST is the first word of its name.

    Interpretation: a grid operator may mark a test by its name alone. What a person here calls so is one
    too: nobody should read TEST above an event that is paid.
    """
    return name.split()[:1] == ["TEST"]


def asked_span(steps: Sequence[Step]) -> Interval | None:
    """Return from the first to the last instant that asks for power, or None when none does.

    Interpretation: a stretch that is only announced (SIMPLE 0 or 1) asks for nothing, so it can neither
    leave the program's window nor use up its hours.
    """
    asking = [step.interval for step in steps if step.power != 0]
    return Interval(asking[0].starts_at, asking[-1].ends_at) if asking else None


def out_of_program(program: Program, steps: Sequence[Step], counted: Sequence[Interval]) -> tuple[str, ...]:
    """Return how steps leave a program's terms beside what other events use; () where they ask nothing."""
    asked = asked_span(steps)
    if asked is None:
        return ()
    stretches = [step.interval for step in steps if step.power != 0]
    return tuple(str(each) for each in program.departures(asked, counted, stretches=stretches))


def _order(signal: Signal | GridEvent) -> tuple[datetime, int]:
    # An UPDATE of the same instant as its CREATE came after it, whichever arrives first.
    return signal.modified_at, _OPERATION_ORDER.index(signal.operation)


def _step(step: SignalStep, first_commit: datetime) -> Step:
    starts_at = step.starts_at or first_commit + timedelta(seconds=step.offset_s)
    endless = step.duration_s >= ENDLESS_S
    ends_at = FAR_FUTURE if endless else starts_at + timedelta(seconds=step.duration_s)
    return Step(Interval(starts_at, ends_at), step.power)


def _remarks(unknown_targets: Sequence[str], out_of_program: Sequence[str]) -> str | None:
    remarks = [f"unknown_target:{word}" for word in unknown_targets]
    remarks += [f"out_of_program:{each}" for each in out_of_program]
    return "; ".join(remarks) or None


def _version(
    signal: Signal,
    history: EventHistory | None,
    steps: tuple[Step, ...],
    out_of_program: tuple[str, ...],
    now: datetime,
) -> GridEvent:
    cancelled = signal.cancels or signal.operation is Operation.DELETE
    before = history.latest if history is not None else None
    # A cancel may say nothing but the id; the event stays the one it was.
    known = before if cancelled and before is not None else signal
    return GridEvent(
        event_id=signal.event_id,
        version=before.version + 1 if before is not None else 1,
        source=signal.source,
        operation=signal.operation,
        modified_at=signal.modified_at,
        content_sha256=signal.content_sha256,
        program_id=known.program_id,
        name=known.name,
        priority=known.priority,
        targets=known.targets,
        steps=steps,
        status=EventStatus.CANCELLED if cancelled else EventStatus.SCHEDULED,
        out_of_program=out_of_program,
        test=known.test or names_a_test(known.name),
        committed_at=whole_second(now),
    )
