"""Raw signals, event versions, grants and receipts in the database."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby

from sqlalchemy import and_, or_
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from vpp.adapters.sql.accounts import trail_row
from vpp.adapters.sql.chain import append_links
from vpp.adapters.sql.engine import Database, from_us, to_us
from vpp.adapters.sql.tables import (
    EventGrantRow,
    GridEventRow,
    JudgedSignalRow,
    RawSignalRow,
    SignalReceiptRow,
)
from vpp.domain.access import TrailEntry
from vpp.domain.grid_event import (
    EventHistory,
    EventStatus,
    Grant,
    GrantKind,
    GridEvent,
    Operation,
    RawSignal,
    Receipt,
    ReceiptState,
    Signal,
    Step,
)
from vpp.ports import ConflictingFact
from vpp.wire import facts


class SqlSignals:
    """The signals' part of the store."""

    def __init__(self, database: Database) -> None:
        self._signal_database = database

    async def keep(self, signals: Sequence[RawSignal]) -> None:
        """Store signals as they came; each stays pending until it is answered."""
        async with self._signal_database.write() as session:
            for signal in signals:
                known = await _raw(session, signal.key)
                if known is not None and _signal_of(known) != signal:
                    raise ConflictingFact(f"another signal is kept under {signal.key}")
                if known is None:
                    session.add(
                        RawSignalRow(
                            key=signal.key,
                            source=signal.source,
                            topic=signal.topic,
                            payload=signal.payload,
                            received_at_us=to_us(signal.received_at),
                        )
                    )
                    await session.flush()  # keeps the order of arrival

    async def pending(self) -> Sequence[RawSignal]:
        """Return unanswered signals, oldest first."""
        wanted = (
            select(RawSignalRow)
            .where(col(RawSignalRow.key).not_in(select(SignalReceiptRow.raw_key)))
            .order_by(col(RawSignalRow.received_at_us), col(RawSignalRow.number))
        )
        async with self._signal_database.read() as session:
            return [_signal_of(each) for each in (await session.exec(wanted)).all()]

    async def history(self, event_id: str) -> EventHistory | None:
        """Return all versions and grants of an event, or None for an unseen id."""
        async with self._signal_database.read() as session:
            found = await _histories(session, [event_id])
        return found[0] if found else None

    async def histories(self, *, ending_after: datetime | None = None) -> Sequence[EventHistory]:
        """Return events by id; with a time, those with a version ending after it; a cancel ends at once."""
        wanted = select(GridEventRow.event_id).distinct()
        if ending_after is not None:
            ends, after_us = col(GridEventRow.ends_at_us), to_us(ending_after)
            cancelled_after = and_(ends.is_(None), col(GridEventRow.committed_at_us) > after_us)
            wanted = wanted.where(or_(cancelled_after, ends > after_us))
        async with self._signal_database.read() as session:
            return await _histories(session, (await session.exec(wanted)).all())

    async def seen(self, signal: Signal) -> bool:
        """Return whether a signal of the same key was answered before (accepted or superseded)."""
        async with self._signal_database.read() as session:
            return await session.get(JudgedSignalRow, _judged_row(signal).model_dump()) is not None

    async def decide(
        self,
        raw_key: str,
        receipt: Receipt,
        *,
        signal: Signal | None = None,
        version: GridEvent | None = None,
    ) -> None:
        """Answer one raw signal: receipt, the signal's key where it was judged, the version if any."""
        async with self._signal_database.write() as session:
            if await _raw(session, raw_key) is None:
                raise ConflictingFact(f"no signal is kept under {raw_key}, so it cannot be answered")
            wanted = select(SignalReceiptRow).where(SignalReceiptRow.raw_key == raw_key)
            known = (await session.exec(wanted)).one_or_none()
            if known is not None and _receipt_of(known) != receipt:
                raise ConflictingFact(f"signal {raw_key} was answered {known.state} already")
            if version is not None:
                await _append(session, version, actor=None)
            if known is None:
                session.add(_receipt_row(raw_key, receipt))
            counts = receipt.state in (ReceiptState.ACCEPTED, ReceiptState.SUPERSEDED)
            if signal is not None and counts:
                await session.merge(_judged_row(signal))

    async def append_version(self, version: GridEvent, *, actor: str, told: TrailEntry | None = None) -> None:
        """Append a person's version (such as a cancel), with its trail entry; a known one adds neither."""
        async with self._signal_database.write() as session:
            if await _append(session, version, actor=actor) and told is not None:
                session.add(trail_row(told))

    async def grant(self, grant: Grant, told: TrailEntry | None = None) -> None:
        """Append a person's leave with its trail entry; granting twice keeps the first and adds neither."""
        row = EventGrantRow(
            event_id=grant.event_id,
            version=grant.version,
            kind=grant.kind.value,
            actor=grant.actor,
            granted_at_us=to_us(grant.granted_at),
        )
        key = (row.event_id, row.version, row.kind)
        async with self._signal_database.write() as session:
            if await session.get(EventGrantRow, key) is None:
                session.add(row)
                if told is not None:
                    session.add(trail_row(told))

    async def receipts(self, event_id: str) -> Sequence[Receipt]:
        """Return what was answered about an event, in order."""
        wanted = (
            select(SignalReceiptRow)
            .where(SignalReceiptRow.event_id == event_id)
            .order_by(col(SignalReceiptRow.number))
        )
        async with self._signal_database.read() as session:
            return [_receipt_of(each) for each in (await session.exec(wanted)).all()]

    async def accepted_signals(
        self, source: str, *, event_id: str | None = None
    ) -> Sequence[tuple[Receipt, RawSignal]]:
        """Return a source's accepted signals, of one event or all, with their answers, in their order."""
        wanted = (
            select(SignalReceiptRow, RawSignalRow)
            .join(RawSignalRow, col(RawSignalRow.key) == col(SignalReceiptRow.raw_key))
            .where(SignalReceiptRow.source == source, SignalReceiptRow.state == ReceiptState.ACCEPTED.value)
            .order_by(col(SignalReceiptRow.number))
        )
        if event_id is not None:
            wanted = wanted.where(SignalReceiptRow.event_id == event_id)
        async with self._signal_database.read() as session:
            return [(_receipt_of(said), _signal_of(raw)) for said, raw in (await session.exec(wanted)).all()]


def version_of(row: GridEventRow) -> GridEvent:
    """Return the event version that a row holds."""
    return GridEvent(
        event_id=row.event_id,
        version=row.version,
        source=row.source,
        operation=Operation(row.operation),
        modified_at=from_us(row.modified_at_us),
        content_sha256=row.content_sha256,
        program_id=row.program_id,
        name=row.name,
        priority=row.priority,
        targets=facts.decode_texts(row.targets),
        steps=facts.decode_many(Step, row.steps),
        status=EventStatus(row.status),
        out_of_program=facts.decode_texts(row.out_of_program),
        test=row.test,
        committed_at=from_us(row.committed_at_us),
    )


async def _append(session: AsyncSession, version: GridEvent, *, actor: str | None) -> bool:
    """Append a version and return whether it is new. Raises ConflictingFact."""
    key = {"event_id": version.event_id, "version": version.version}
    known = await session.get(GridEventRow, key)
    if known is not None:
        if version_of(known) != version:
            raise ConflictingFact(f"event {version.event_id} has another version {version.version}")
        return False
    interval = version.interval
    session.add(
        GridEventRow(
            event_id=version.event_id,
            version=version.version,
            source=version.source,
            operation=version.operation.value,
            modified_at_us=to_us(version.modified_at),
            content_sha256=version.content_sha256,
            program_id=version.program_id,
            name=version.name,
            priority=version.priority,
            targets=facts.encode(version.targets).decode(),
            steps=facts.encode(version.steps).decode(),
            status=version.status.value,
            out_of_program=facts.encode(version.out_of_program).decode(),
            test=version.test,
            committed_at_us=to_us(version.committed_at),
            ends_at_us=None if interval is None else to_us(interval.ends_at),
            actor=actor,
        )
    )
    await append_links(session, [("grid_event", (version.event_id, version.version), version)], actor=actor)
    return True


async def _histories(session: AsyncSession, event_ids: Sequence[str]) -> list[EventHistory]:
    """Return the histories of these events, by event id."""
    versions = (
        await session.exec(select(GridEventRow).where(col(GridEventRow.event_id).in_(event_ids)))
    ).all()
    granted = (
        await session.exec(select(EventGrantRow).where(col(EventGrantRow.event_id).in_(event_ids)))
    ).all()
    # Sorted here: databases order text by their own locale.
    ordered = sorted(versions, key=lambda each: (each.event_id, each.version))
    grants = sorted(
        (_grant_of(each) for each in granted), key=lambda each: (each.granted_at, each.version, each.kind)
    )
    return [
        EventHistory(
            versions=tuple(version_of(each) for each in rows),
            grants=tuple(each for each in grants if each.event_id == event_id),
        )
        for event_id, rows in groupby(ordered, key=lambda each: each.event_id)
    ]


async def _raw(session: AsyncSession, key: str) -> RawSignalRow | None:
    return (await session.exec(select(RawSignalRow).where(RawSignalRow.key == key))).one_or_none()


def _signal_of(row: RawSignalRow) -> RawSignal:
    return RawSignal(row.key, row.source, row.topic, row.payload, from_us(row.received_at_us))


def _receipt_of(row: SignalReceiptRow) -> Receipt:
    return Receipt(
        source=row.source,
        event_id=row.event_id,
        operation=Operation(row.operation),
        modified_at=from_us(row.modified_at_us),
        state=ReceiptState(row.state),
        reason=row.reason,
        at=from_us(row.at_us),
    )


def _receipt_row(raw_key: str, receipt: Receipt) -> SignalReceiptRow:
    return SignalReceiptRow(
        raw_key=raw_key,
        source=receipt.source,
        event_id=receipt.event_id,
        operation=receipt.operation.value,
        modified_at_us=to_us(receipt.modified_at),
        state=receipt.state.value,
        reason=receipt.reason,
        at_us=to_us(receipt.at),
    )


def _grant_of(row: EventGrantRow) -> Grant:
    return Grant(row.event_id, row.version, GrantKind(row.kind), row.actor, from_us(row.granted_at_us))


def _judged_row(signal: Signal) -> JudgedSignalRow:
    return JudgedSignalRow(
        source=signal.source,
        event_id=signal.event_id,
        operation=signal.operation.value,
        modified_at_us=to_us(signal.modified_at),
        content_sha256=signal.content_sha256,
    )
