"""Intake: a raw grid signal becomes a version of an event, and its source gets a receipt.

Knows the order: keep, judge, commit, answer. Refuses to decide anything; ``domain/verdict.py`` does.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from vpp.domain.fleet import Roster
from vpp.domain.grid_event import (
    EventHistory,
    GridEvent,
    GridSource,
    Operation,
    RawSignal,
    Receipt,
    ReceiptState,
    Signal,
)
from vpp.domain.interval import Interval
from vpp.domain.program import Program
from vpp.domain.season_hours import counted_intervals
from vpp.domain.targets import resolve_targets
from vpp.domain.verdict import Accepted, Duplicate, Rejected, Superseded, Verdict, accept
from vpp.ports import Clock, Malformed, Registry, SignalFeed, SignalStore

UNKNOWN_SOURCE = "unknown_source"
_ANSWERED = frozenset({ReceiptState.ACCEPTED, ReceiptState.SUPERSEDED})


class UnreadableSignal(Exception):
    """A kept signal names no event, operation or time any more, so it cannot be answered."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """What came of raw signals: those kept for judging and answering, and why others cannot be judged.

    ``readable`` are the keys of those kept whose verdict is still open, ``stopping`` those among them that
    cancel; ``refused`` has by key the reason of what cannot be believed or read, answered or not;
    ``unknown_fields`` counts what the standard does not know.
    """

    kept: tuple[RawSignal, ...]
    readable: frozenset[str] = frozenset()
    stopping: frozenset[str] = frozenset()
    refused: Mapping[str, str] = field(default_factory=dict)
    unknown_fields: Counter[str] = field(default_factory=Counter)


async def arrive(
    signals: Sequence[RawSignal], *, feed: SignalFeed, store: SignalStore, registry: Registry
) -> Arrival:
    """Keep the raw signals that can be answered; the others change nothing and are only counted.

    Not kept are sources that were never added, messages that nobody vouches for, and messages out of which
    the event id, operation and modification time cannot be read, so that no receipt could name them. Other
    messages that cannot be read are kept for their receipt, and counted as refused all the same.
    """
    sources = {source.name: source for source in await registry.sources()}
    kept: list[RawSignal] = []
    readable: set[str] = set()
    stopping: set[str] = set()
    refused: dict[str, str] = {}
    unknown_fields: Counter[str] = Counter()
    for raw in signals:
        source = sources.get(raw.source)
        if source is None:
            refused[raw.key] = UNKNOWN_SOURCE
            continue
        decoded = feed.decode(raw, source, unknown_fields)
        if isinstance(decoded, Malformed):
            refused[raw.key] = decoded.reason
        else:
            readable.add(raw.key)
            stopping |= {raw.key} if decoded.cancels else set()
        if not isinstance(decoded, Malformed) or (decoded.vouched and _addressee(decoded) is not None):
            kept.append(raw)
    await store.keep(kept)
    return Arrival(tuple(kept), frozenset(readable), frozenset(stopping), refused, unknown_fields)


async def intake(
    raw: RawSignal,
    *,
    feed: SignalFeed,
    store: SignalStore,
    registry: Registry,
    programs: Mapping[str, Program],
    roster: Roster,
    clock: Clock,
) -> Receipt:
    """Judge one kept signal, commit the answer with its version, then send the receipt.

    Doing it again after a crash anywhere leads to the same rows: the key of the raw signal is answered
    once, and a signal judged before is a duplicate.

    Raises:
        UnreadableSignal: It names nothing to answer; it stays pending and visible.
    """
    sources = {source.name: source for source in await registry.sources()}
    source = sources.get(raw.source)
    if source is None:
        raise UnreadableSignal(f"source {raw.source} of signal {raw.key} was never added: vpp source add")
    now = clock.now()
    decoded = feed.decode(raw, source)
    if isinstance(decoded, Malformed):
        receipt = _rejection(decoded, raw, now)
        await store.decide(raw.key, receipt)
    else:
        verdict = await _judge(decoded, store, sources, programs, roster, now)
        receipt, version = _answer(decoded, verdict, now)
        await store.decide(raw.key, receipt, signal=decoded, version=version)
    await feed.answer([receipt])
    return receipt


async def _judge(
    signal: Signal,
    store: SignalStore,
    sources: Mapping[str, GridSource],
    programs: Mapping[str, Program],
    roster: Roster,
    now: datetime,
) -> Verdict:
    history = await store.history(signal.event_id)
    seen = await store.seen(signal)
    program = programs.get(signal.program_id)
    counted: tuple[Interval, ...] = ()
    unknown_targets: tuple[str, ...] = ()
    if program is not None and signal.steps:
        counted = await _counted_elsewhere(signal, store, sources)
        unknown_targets = resolve_targets(
            signal.targets,
            utilities=(*roster.utilities.words, *(each.utility for each in programs.values())),
            groups=program.groups,
            counties=roster.counties.words,
            feeders=roster.feeders.words,
        ).unknown
    return accept(
        signal,
        history,
        program=program,
        counted=counted,
        unknown_targets=unknown_targets,
        seen=seen,
        contradicted=not seen and await _contradicted(signal, history, store),
        now=now,
    )


async def _counted_elsewhere(
    signal: Signal, store: SignalStore, sources: Mapping[str, GridSource]
) -> tuple[Interval, ...]:
    others = [each for each in await store.histories() if each.latest.event_id != signal.event_id]
    return counted_intervals(others, sources, signal.program_id)


async def _contradicted(signal: Signal, history: EventHistory | None, store: SignalStore) -> bool:
    """Return whether the source said something else under the same id, operation and time."""
    if history is None:
        return False
    return any(
        receipt.source == signal.source
        and receipt.operation is signal.operation
        and receipt.modified_at == signal.modified_at
        and receipt.state in _ANSWERED
        for receipt in await store.receipts(signal.event_id)
    )


def _answer(signal: Signal, verdict: Verdict, now: datetime) -> tuple[Receipt, GridEvent | None]:
    version: GridEvent | None = None
    reason: str | None = None
    match verdict:
        case Accepted():
            state, reason, version = ReceiptState.ACCEPTED, verdict.reason, verdict.version
        case Superseded():
            state = ReceiptState.SUPERSEDED
        case Duplicate():
            state = ReceiptState.DUPLICATE
        case Rejected():
            state, reason = ReceiptState.REJECTED, verdict.reason
    receipt = Receipt(
        source=signal.source,
        event_id=signal.event_id,
        operation=signal.operation,
        modified_at=signal.modified_at,
        state=state,
        reason=reason,
        at=now,
    )
    return receipt, version


def _addressee(malformed: Malformed) -> tuple[str, Operation, datetime] | None:
    """Return what a receipt must name, or None where one of it could not be read."""
    if malformed.event_id is None or malformed.operation is None or malformed.modified_at is None:
        return None
    return malformed.event_id, Operation(malformed.operation), malformed.modified_at


def _rejection(malformed: Malformed, raw: RawSignal, now: datetime) -> Receipt:
    addressee = _addressee(malformed)
    if addressee is None:
        raise UnreadableSignal(f"signal {raw.key} from {raw.source} cannot be answered: {malformed.reason}")
    event_id, operation, modified_at = addressee
    return Receipt(
        source=raw.source,
        event_id=event_id,
        operation=operation,
        modified_at=modified_at,
        state=ReceiptState.REJECTED,
        reason=malformed.reason,
        at=now,
    )
