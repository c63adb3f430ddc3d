"""Plans, ticks and acknowledgements in the database; each commit checks the leader's epoch."""

import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import func
from sqlmodel import col, desc, select
from sqlmodel.ext.asyncio.session import AsyncSession

from vpp.adapters.sql.bulk import Asked, insert_new, insert_or_add
from vpp.adapters.sql.chain import append_links
from vpp.adapters.sql.engine import Database, clock_us, from_us, to_us
from vpp.adapters.sql.tables import (
    AcknowledgementRow,
    AnswerCountRow,
    DispatchTickRow,
    EnrollmentRow,
    LeaderRow,
    OptOutRow,
    PlanRevisionRow,
    ReserveChangeRow,
    TickBasisRow,
    TickEventRow,
    table_of,
)
from vpp.domain.command import (
    AckBatch,
    DispatchTick,
    Order,
    Pair,
    PlanRevision,
    Refusal,
    discharged_against,
    first_words,
)
from vpp.domain.interval import to_epoch
from vpp.domain.quantities import column
from vpp.domain.tick_basis import TickBasis
from vpp.ports import ConflictingFact, OwnerSpoke, StaleEpoch
from vpp.wire import facts

_DISPATCHER = "dispatcher"
_WORD = ("event_id", "epoch", "sequence", "refusal")  # what an answer is counted under


class SqlDispatch:
    """The dispatch's part of the store."""

    def __init__(self, database: Database) -> None:
        self._dispatch_database = database

    async def take_epoch(self, *, at: datetime) -> int:
        """Become leader: store and return ``max(stored + 1, seconds since 1970)``."""
        async with self._dispatch_database.write() as session:
            leader = await session.get(LeaderRow, _DISPATCHER) or LeaderRow(role=_DISPATCHER, epoch=0)
            epoch = leader.epoch = max(leader.epoch + 1, to_epoch(at))
            leader.lead_until_us = 0
            session.add(leader)
        return epoch

    async def take_free_lead(self, *, at: datetime, holder: str, lease_s: int) -> int | None:
        """Become leader as ``take_epoch`` does, unless somebody else's lease runs: then None."""
        async with self._dispatch_database.write() as session:
            leader = await session.get(LeaderRow, _DISPATCHER) or LeaderRow(role=_DISPATCHER, epoch=0)
            now_us = await clock_us(session)
            if leader.lead_until_us > now_us and leader.holder != holder:
                return None
            epoch = leader.epoch = max(leader.epoch + 1, to_epoch(at))
            leader.holder, leader.lead_until_us = holder, now_us + lease_s * 1_000_000
            session.add(leader)
        return epoch

    async def renew_lead(self, epoch: int, *, lease_s: int) -> bool:
        """Let the lease of this epoch run for so long from now; False for a replaced leader."""
        async with self._dispatch_database.write() as session:
            leader = await session.get(LeaderRow, _DISPATCHER)
            if leader is None or leader.epoch != epoch:
                return False
            leader.lead_until_us = await clock_us(session) + lease_s * 1_000_000
            session.add(leader)
        return True

    async def last_tick(self) -> Pair:
        """Return epoch and number of the newest committed tick, zeros before any."""
        newest = select(DispatchTickRow.epoch, DispatchTickRow.number)
        async with self._dispatch_database.read() as session:
            found = (await session.exec(newest.order_by(desc(col(DispatchTickRow.number))).limit(1))).first()
        return Pair(0, 0) if found is None else Pair(*found)

    async def commit(
        self,
        tick: DispatchTick,
        revisions: Sequence[PlanRevision],
        *,
        words: tuple[int, int] | None = None,
        basis: TickBasis | None = None,
    ) -> None:
        """Commit a tick, its revisions and what was known. Raises StaleEpoch for a replaced leader.

        Raises OwnerSpoke when the owner of a site that it discharges spoke after ``words``.
        """
        async with self._dispatch_database.write() as session:
            # Ordered transactions follow one another, so no takeover can come between check and commit.
            leader = await session.get(LeaderRow, _DISPATCHER)
            epoch = 0 if leader is None else leader.epoch
            if tick.epoch != epoch:
                raise StaleEpoch(
                    f"tick {tick.number} was made in epoch {tick.epoch}; the leader's is {epoch}"
                )
            if words is not None:
                spoken = discharged_against(tick, await _words_since(session, words))
                if spoken:
                    raise OwnerSpoke(spoken)
            for revision in revisions:
                await _append_revision(session, revision)
            if await _append_tick(session, tick) and basis is not None:
                session.add(TickBasisRow(number=basis.number, body=_packed(basis)))

    async def revisions(self, event_id: str, *, after: int = 0) -> Sequence[PlanRevision]:
        """Return an event's plan revisions with a number above ``after``, in order."""
        wanted = (
            select(PlanRevisionRow)
            .where(PlanRevisionRow.event_id == event_id, col(PlanRevisionRow.revision) > after)
            .order_by(col(PlanRevisionRow.revision))
        )
        async with self._dispatch_database.read() as session:
            return [_revision_of(each) for each in (await session.exec(wanted)).all()]

    async def ticks(self, *, since: datetime) -> Sequence[DispatchTick]:
        """Return ticks committed at or after a time, in order."""
        wanted = (
            select(DispatchTickRow)
            .where(DispatchTickRow.at_us >= to_us(since))
            .order_by(col(DispatchTickRow.number))
        )
        async with self._dispatch_database.read() as session:
            return [tick_of(each) for each in (await session.exec(wanted)).all()]

    async def event_ticks(self, event_id: str, *, after: int = 0) -> Sequence[DispatchTick]:
        """Return the ticks above ``after`` that hold an order of the event, with that event's orders only."""
        wanted = (
            select(DispatchTickRow)
            .join(TickEventRow, col(TickEventRow.number) == col(DispatchTickRow.number))
            .where(TickEventRow.event_id == event_id, col(TickEventRow.number) > after)
            .order_by(col(DispatchTickRow.number))
        )
        async with self._dispatch_database.read() as session:
            found = [tick_of(each) for each in (await session.exec(wanted)).all()]
        return [
            replace(tick, orders=tuple(each for each in tick.orders if each.event_id == event_id))
            for tick in found
        ]

    async def bases(self, *, since: datetime, until: datetime | None = None) -> Sequence[TickBasis]:
        """Return what was known at the ticks committed from ``since`` through ``until``, in order."""
        wanted = (
            select(TickBasisRow)
            .join(DispatchTickRow, col(DispatchTickRow.number) == col(TickBasisRow.number))
            .where(DispatchTickRow.at_us >= to_us(since))
            .order_by(col(TickBasisRow.number))
        )
        if until is not None:
            wanted = wanted.where(DispatchTickRow.at_us <= to_us(until))
        async with self._dispatch_database.read() as session:
            rows = (await session.exec(wanted)).all()
        return [facts.decode(TickBasis, zlib.decompress(row.body)) for row in rows]

    async def record_acks(self, acks: AckBatch) -> None:
        """Store what gateways decided, keyed (site, epoch, sequence); the first word stays."""
        unheard = first_words(acks)
        while True:
            columns = _ack_columns(unheard)
            async with self._dispatch_database.write(ordered=False) as session:
                if await insert_new(session, table_of(AcknowledgementRow), columns) == len(unheard):
                    await _count_answers(session, columns)
                    return
                # An insert says how many were new, not which; looking first would make every batch dearer.
                await session.rollback()
            unheard = await self._unheard(unheard)

    async def _unheard(self, acks: AckBatch) -> AckBatch:
        """Return the answers that are not stored yet, in order."""
        keys = {
            "site_no": acks.site_no.tolist(),
            "epoch": acks.epoch.tolist(),
            "sequence": acks.sequence.tolist(),
        }
        async with self._dispatch_database.read() as session:
            rows = await Asked(session, {"asked": {"place": range(len(acks)), **keys}}).rows(
                "SELECT asked.place FROM asked LEFT JOIN acknowledgement a ON a.site_no = asked.site_no"
                " AND a.epoch = asked.epoch AND a.sequence = asked.sequence"
                " WHERE a.site_no IS NULL ORDER BY asked.place"
            )
        return acks.of_rows(column(row[0] for row in rows))

    async def count_acks(self, event_id: str) -> Mapping[Refusal | None, int]:
        """Return how many answers to an event's commands gave each refusal; None counts the accepted."""
        wanted = (
            select(AnswerCountRow.refusal, func.sum(AnswerCountRow.answers))
            .join(TickEventRow, col(TickEventRow.event_id) == col(AnswerCountRow.event_id))
            .join(DispatchTickRow, col(DispatchTickRow.number) == col(TickEventRow.number))
            .where(
                AnswerCountRow.event_id == event_id,
                col(AnswerCountRow.sequence) == col(DispatchTickRow.number),
                col(AnswerCountRow.epoch) == col(DispatchTickRow.epoch),
            )
            .group_by(col(AnswerCountRow.refusal))
        )
        async with self._dispatch_database.read() as session:
            rows = (await session.exec(wanted)).all()
        return {Refusal(word) if word else None: int(count) for word, count in rows}

    async def acks(self, *, since: datetime, site_no: int | None = None, refused: bool = False) -> AckBatch:
        """Return acknowledgements of commands issued at or after a time, by command and site."""
        columns: dict[str, Sequence[object]] = {"since_us": [to_us(since)]}
        of_site = ""
        if site_no is not None:
            columns["site_no"] = [site_no]
            of_site = " AND a.site_no = asked.site_no"
        refusals = " WHERE a.refusal IS NOT NULL" if refused else ""
        async with self._dispatch_database.read() as session:
            rows = await Asked(session, {"asked": columns}).rows(
                "SELECT a.site_no, a.epoch, a.sequence, a.at_s, a.event_id, a.refusal FROM asked"
                " JOIN dispatch_tick t ON t.at_us >= asked.since_us"
                f" JOIN acknowledgement a ON a.epoch = t.epoch AND a.sequence = t.number{of_site}{refusals}"
                " ORDER BY a.epoch, a.sequence, a.site_no"
            )
        return AckBatch(
            site_no=column(row[0] for row in rows),
            epoch=column(row[1] for row in rows),
            sequence=column(row[2] for row in rows),
            at_s=column(row[3] for row in rows),
            event_id=tuple(row[4] for row in rows),
            refusal=tuple(None if row[5] is None else Refusal(row[5]) for row in rows),
        )


async def _count_answers(session: AsyncSession, columns: Mapping[str, Sequence[Any]]) -> None:
    """Add answers that are new to what each tick was answered."""
    words = Counter(zip(*(columns[name] for name in _WORD), strict=True))
    # Sorted: two that write at once wait for each other in turn, never both.
    told = sorted((*command, refusal or "", count) for (*command, refusal), count in words.items())
    if told:
        counted = dict(zip((*_WORD, "answers"), zip(*told, strict=True), strict=True))
        await insert_or_add(session, table_of(AnswerCountRow), counted, "answers")


def _ack_columns(acks: AckBatch) -> dict[str, Sequence[object]]:
    return {
        "site_no": acks.site_no.tolist(),
        "epoch": acks.epoch.tolist(),
        "sequence": acks.sequence.tolist(),
        "at_s": acks.at_s.tolist(),
        "event_id": acks.event_id,
        "refusal": [None if each is None else each.value for each in acks.refusal],
    }


def tick_of(row: DispatchTickRow) -> DispatchTick:
    """Return the tick that a row holds."""
    orders = facts.decode_many(Order, zlib.decompress(row.orders))
    return DispatchTick(row.number, row.epoch, from_us(row.at_us), orders)


def _packed(basis: TickBasis) -> bytes:
    # Several columns for each site of the fleet: the fastest level takes a quarter of the time.
    return zlib.compress(facts.encode(basis), 1)


def _revision_of(row: PlanRevisionRow) -> PlanRevision:
    return facts.decode(PlanRevision, zlib.decompress(row.body))


async def _words_since(session: AsyncSession, words: tuple[int, int]) -> list[tuple[int, str | None]]:
    """Return site and event of later opt-outs that stand, and site and None of later reserve changes."""
    refused = (
        select(EnrollmentRow.site_no, OptOutRow.event_id)
        .join(OptOutRow, col(OptOutRow.site_id) == col(EnrollmentRow.site_id))
        .where(col(OptOutRow.number) > words[0], col(OptOutRow.taken_back_at_us).is_(None))
    )
    changed = (
        select(EnrollmentRow.site_no)
        .join(ReserveChangeRow, col(ReserveChangeRow.site_id) == col(EnrollmentRow.site_id))
        .where(col(ReserveChangeRow.number) > words[1])
    )
    found: list[tuple[int, str | None]] = list((await session.exec(refused)).all())
    return found + [(site_no, None) for site_no in (await session.exec(changed)).all()]


async def _append_revision(session: AsyncSession, revision: PlanRevision) -> None:
    known = await session.get(PlanRevisionRow, (revision.event_id, revision.revision))
    body = facts.encode(revision)
    if known is None:
        session.add(
            PlanRevisionRow(
                event_id=revision.event_id,
                revision=revision.revision,
                at_us=to_us(revision.at),
                body=zlib.compress(body),
            )
        )
    elif zlib.decompress(known.body) != body:
        raise ConflictingFact(f"event {revision.event_id} has another plan revision {revision.revision}")


async def _append_tick(session: AsyncSession, tick: DispatchTick) -> bool:
    """Append a tick; return whether it was new."""
    known = await session.get(DispatchTickRow, tick.number)
    if known is not None:
        if not facts.same(tick_of(known), tick):
            raise ConflictingFact(f"another tick {tick.number} is committed")
        return False
    session.add(
        DispatchTickRow(
            number=tick.number,
            epoch=tick.epoch,
            at_us=to_us(tick.at),
            orders=zlib.compress(facts.encode(tick.orders)),
        )
    )
    for event_id in sorted({each.event_id for each in tick.orders}):
        session.add(TickEventRow(event_id=event_id, number=tick.number))
    await append_links(session, [("dispatch_tick", ("", tick.number), tick)])
    return True
