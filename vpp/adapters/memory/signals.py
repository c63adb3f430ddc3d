"""Raw signals, event versions, grants and receipts, kept in memory."""

from collections.abc import Sequence
from datetime import datetime

from vpp.adapters.memory.chain import MemoryChain
from vpp.domain.grid_event import (
    EventHistory,
    Grant,
    GrantKind,
    GridEvent,
    RawSignal,
    Receipt,
    ReceiptState,
    Signal,
)
from vpp.ports import ConflictingFact
from vpp.wire import facts

_Judged = tuple[str, str, datetime, str, str]


class MemorySignals:
    """The signals' part of the memory store."""

    def __init__(self, chain: MemoryChain) -> None:
        self._event_chain = chain
        self._raw: dict[str, RawSignal] = {}
        self._receipts: dict[str, Receipt] = {}  # by the raw signal's key
        self._judged: set[_Judged] = set()
        self._versions: dict[str, dict[int, GridEvent]] = {}
        self._grants: dict[str, dict[tuple[int, GrantKind], Grant]] = {}
        self._as_asked: dict[str, EventHistory] = {}  # as last asked for; versions and grants are only added

    async def keep(self, signals: Sequence[RawSignal]) -> None:
        """Store signals as they came; each stays pending until it is answered."""
        new: dict[str, RawSignal] = {}
        for signal in signals:
            known = self._raw.get(signal.key, new.get(signal.key))
            if known is not None and known != signal:
                raise ConflictingFact(f"another signal is kept under {signal.key}")
            if known is None:
                new[signal.key] = signal
        self._raw.update(new)

    async def pending(self) -> Sequence[RawSignal]:
        """Return unanswered signals, oldest first."""
        waiting = [each for key, each in self._raw.items() if key not in self._receipts]
        return sorted(waiting, key=lambda each: each.received_at)

    async def history(self, event_id: str) -> EventHistory | None:
        """Return all versions and grants of an event, or None for an unseen id."""
        versions, grants = self._versions.get(event_id), self._grants.get(event_id, {})
        if versions is None:
            return None
        known = self._as_asked.get(event_id)
        if known is None or (len(known.versions), len(known.grants)) != (len(versions), len(grants)):
            known = self._as_asked[event_id] = EventHistory(
                versions=tuple(versions[number] for number in sorted(versions)),
                grants=tuple(
                    sorted(grants.values(), key=lambda each: (each.granted_at, each.version, each.kind))
                ),
            )
        return known

    async def histories(self, *, ending_after: datetime | None = None) -> Sequence[EventHistory]:
        """Return events by id; with a time, those with a version ending after it; a cancel ends at once."""
        found = [await self.history(event_id) for event_id in sorted(self._versions)]
        return [
            each
            for each in found
            if each is not None
            and (ending_after is None or any(_ends_after(version, ending_after) for version in each.versions))
        ]

    async def seen(self, signal: Signal) -> bool:
        """Return whether a signal of the same key was answered before (accepted or superseded)."""
        return _judged_key(signal) in self._judged

    async def decide(
        self,
        raw_key: str,
        receipt: Receipt,
        *,
        signal: Signal | None = None,
        version: GridEvent | None = None,
    ) -> None:
        """Answer one raw signal: receipt, the signal's key where it was judged, the version if any."""
        if raw_key not in self._raw:
            raise ConflictingFact(f"no signal is kept under {raw_key}, so it cannot be answered")
        known = self._receipts.get(raw_key)
        if known is not None and known != receipt:
            raise ConflictingFact(f"signal {raw_key} was answered {known.state} already")
        if version is not None:
            self._append(version, actor=None)
        self._receipts.setdefault(raw_key, receipt)
        if signal is not None and receipt.state in (ReceiptState.ACCEPTED, ReceiptState.SUPERSEDED):
            self._judged.add(_judged_key(signal))

    async def receipts(self, event_id: str) -> Sequence[Receipt]:
        """Return what was answered about an event, in order."""
        return [each for each in self._receipts.values() if each.event_id == event_id]

    async def accepted_signals(
        self, source: str, *, event_id: str | None = None
    ) -> Sequence[tuple[Receipt, RawSignal]]:
        """Return a source's accepted signals, of one event or all, with their answers, in their order."""
        return [
            (receipt, self._raw[key])
            for key, receipt in self._receipts.items()
            if receipt.source == source
            and receipt.state is ReceiptState.ACCEPTED
            and event_id in (None, receipt.event_id)
        ]

    def _append(self, version: GridEvent, *, actor: str | None) -> bool:
        """Append a version and return whether it is new. Raises ConflictingFact."""
        versions = self._versions.get(version.event_id, {})
        known = versions.get(version.version)
        if known is None:
            self._event_chain.append("grid_event", version, actor=actor)
            self._versions.setdefault(version.event_id, {})[version.version] = version
        elif not facts.same(known, version):
            raise ConflictingFact(f"event {version.event_id} has another version {version.version}")
        return known is None


def _ends_after(version: GridEvent, at: datetime) -> bool:
    return (version.committed_at if version.interval is None else version.interval.ends_at) > at


def _judged_key(signal: Signal) -> _Judged:
    return (signal.source, signal.event_id, signal.modified_at, signal.operation.value, signal.content_sha256)
