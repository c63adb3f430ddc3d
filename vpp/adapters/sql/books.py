"""Settlements, the ledger and the chain's proof in the database."""

import asyncio
import hashlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, TypeVar

from sqlalchemy import func
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from vpp.adapters.sql.bulk import Asked, insert_new
from vpp.adapters.sql.chain import append_links, link_with, links, newest_link
from vpp.adapters.sql.dispatch import tick_of
from vpp.adapters.sql.engine import Database, from_us, to_us
from vpp.adapters.sql.money_tables import JournalEntryRow, PostingRow, SettlementLineRow, SettlementRunRow
from vpp.adapters.sql.signals import version_of
from vpp.adapters.sql.tables import ChainLinkRow, DispatchTickRow, GridEventRow, TickEventRow, table_of
from vpp.domain.command import DispatchTick
from vpp.domain.grid_event import GridEvent
from vpp.domain.interval import Interval
from vpp.domain.ledger import Account, EntryState, JournalEntry, Posting
from vpp.domain.quantities import MicroDollars
from vpp.domain.settlement import (
    Settlement,
    SettlementLine,
    SettlementState,
    SettlementTotals,
    adds_nothing,
    totals_of,
)
from vpp.money_ports import AlteredBooks
from vpp.ports import ConflictingFact
from vpp.wire import facts

ENTRY_COLUMNS = (
    "SELECT e.number, e.entry_id, e.at_us, e.state, e.memo, e.settles_owner_id, e.settles_site_id,"
    " e.settles_program_id, e.settles_period, e.resolves, e.corrects, p.account, p.party,"
    " p.amount_micro_dollars FROM journal_entry e JOIN posting p ON p.entry_id = e.entry_id"
)
_OF_PERIOD = (
    ", settling (entry_id) AS (SELECT s.entry_id FROM asked JOIN journal_entry s"
    " ON s.settles_program_id = asked.program_id AND s.settles_period = asked.period_id),"
    " wanted (entry_id) AS (SELECT entry_id FROM settling"
    " UNION SELECT o.entry_id FROM settling JOIN journal_entry o ON o.resolves = settling.entry_id"
    " UNION SELECT o.entry_id FROM settling JOIN journal_entry o ON o.corrects = settling.entry_id) "
    f"{ENTRY_COLUMNS} JOIN wanted ON wanted.entry_id = e.entry_id"
)
ENTRY_ORDER = "ORDER BY e.number, p.line_number"
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, zlib.error)
"""What reading a row may raise that somebody else wrote: SQLite takes any value in any column."""
RowT = TypeVar("RowT")
_OWNERS_ACCOUNTS = f"'{Account.OWNER_PAYABLE}', '{Account.PAID_OUT}'"
# Each half by its own index: where one of two conditions suffices, a database reads every entry there is.
_OF_OWNER = (
    ", wanted (entry_id) AS (SELECT s.entry_id FROM asked JOIN journal_entry s"
    " ON s.settles_owner_id = asked.owner_id"
    " UNION SELECT o.entry_id FROM asked JOIN posting o ON o.party = asked.owner_id"
    f" WHERE o.account IN ({_OWNERS_ACCOUNTS})) "
    f"{ENTRY_COLUMNS} JOIN wanted ON wanted.entry_id = e.entry_id"
)
_LINES_AT_ONCE = 1_000
"""Lines read or written before whatever else waits has a turn: a fleet's take seconds."""


class SqlBooks:
    """The books' part of the store."""

    def __init__(self, database: Database) -> None:
        self._book_database = database

    async def settle(self, settlement: Settlement) -> SettlementTotals:
        """Store a run beside the older ones, if it says something new; return what the standing one says.

        Runs are told apart by their written form: to read a whole fleet's lines again took as long as to
        settle them. So one that was written in another form, by an older release, is followed by its like.
        """
        bodies = await _written(settlement.lines)
        totals = totals_of(settlement)
        run = SettlementRunRow(
            event_id=settlement.event_id,
            program_id=settlement.program_id,
            state=settlement.state.value,
            settled_at_us=to_us(settlement.settled_at),
            parts=facts.encode(settlement.parts).decode(),
            totals=facts.encode(totals).decode(),
            lines_sha256=_sha256(bodies),
        )
        async with self._book_database.write() as session:
            for newest in await _newest_runs(session, settlement.event_id):
                if _says_the_same(run, newest):
                    return await _totals_of(session, newest)
            session.add(run)
            await session.flush()
            lines = settlement.lines
            columns: dict[str, Sequence[object]] = {
                "site_id": [each.site_id for each in lines],
                "run_number": [run.number] * len(lines),
                "place": range(len(lines)),
                "owner_id": [each.owner_id for each in lines],
                "amount_micro_dollars": [each.amount for each in lines],
                "body": bodies,
            }
            await insert_new(session, table_of(SettlementLineRow), columns)
        return totals

    async def settlement(self, event_id: str) -> Settlement | None:
        """Return an event's newest settlement."""
        async with self._book_database.read() as session:
            newest = await _newest_runs(session, event_id)
            return await _settlement_of(session, newest[0]) if newest else None

    async def settlement_totals(self, event_id: str) -> SettlementTotals | None:
        """Return what an event's newest settlement comes to; no line of it is read."""
        async with self._book_database.read() as session:
            newest = await _newest_runs(session, event_id)
            return await _totals_of(session, newest[0]) if newest else None

    async def settlements(self, *, owner_id: str | None = None) -> Sequence[Settlement]:
        """Return every event's newest settlement, by event id.

        With an owner, those with a line of that owner, holding no other lines.
        """
        async with self._book_database.read() as session:
            runs = await _newest_runs(session)
            if owner_id is None:
                return [await _settlement_of(session, each) for each in runs]
            lines = await _lines_of_owner(session, owner_id)
        return [await _settlement(run, lines[run.number]) for run in runs if run.number in lines]

    async def post(self, entries: Sequence[JournalEntry]) -> None:
        """Append entries; one already present under its id changes nothing, whenever it is made again."""
        async with self._book_database.write() as session:
            asked = {"asked": {"entry_id": sorted({each.entry_id for each in entries})}}
            rows = await Asked(session, asked).rows(
                f"{ENTRY_COLUMNS} JOIN asked ON asked.entry_id = e.entry_id {ENTRY_ORDER}"
            )
            known = {each.entry_id: each for each in await entries_of(rows)}
            new = []
            for entry in entries:
                present = known.setdefault(entry.entry_id, entry)
                if present is entry:
                    new.append(entry)
                elif replace(present, at=entry.at) != entry:
                    raise ConflictingFact(f"another journal entry is posted under {entry.entry_id}")
            await _append(session, new)

    async def entries(self, *, owner_id: str | None = None) -> Sequence[JournalEntry]:
        """Return journal entries in order; with an owner, those that touch that owner.

        Raises:
            AlteredBooks: One of them was changed in the database, so that it is none any more.
        """
        async with self._book_database.read() as session:
            if owner_id is None:
                every = Asked(session, {"asked": {"one": [1]}})
                return await entries_of(await every.rows(f"{ENTRY_COLUMNS} {ENTRY_ORDER}"))
            owned = Asked(session, {"asked": {"owner_id": [owner_id]}})
            return await entries_of(await owned.rows(f"{_OF_OWNER} {ENTRY_ORDER}"))

    async def period_entries(self, program_id: str, period: str) -> Sequence[JournalEntry]:
        """Return, in order, the entries that settle anything for one event or period of a program.

        With those that ended them or reversed them.
        """
        asked = {"asked": {"program_id": [program_id], "period_id": [period]}}
        async with self._book_database.read() as session:
            return await entries_of(await Asked(session, asked).rows(f"{_OF_PERIOD} {ENTRY_ORDER}"))

    async def chain_head(self) -> str:
        """Return the head of the hash chain over ledger entries, grid events and ticks, in hex."""
        return (await self.newest_link())[1]

    async def newest_link(self) -> tuple[int, str]:
        """Return which link is the newest, from 1, and the head with it; zero before any link."""
        async with self._book_database.read() as session:
            return await newest_link(session)

    async def link_with(self, head: str) -> tuple[int | None, int]:
        """Return which link, from 1, has a head that begins so, None for none; and how many there are."""
        async with self._book_database.read() as session:
            return await link_with(session, head), (await newest_link(session))[0]

    async def verify_chain(self) -> str | None:
        """Recompute the chain; return None when it holds, else what differs first.

        A fact that was changed so that it cannot even be read differs.
        """
        head = facts.GENESIS
        position = 0
        async with self._book_database.read() as session:
            async for some in links(session):
                present = await _facts_of(session, some)
                for link in some:
                    position += 1
                    key = " ".join(str(part) for part in (link.kind, link.fact_id, link.fact_number) if part)
                    said = f"link {position}: {key}"
                    found = present.get((link.kind, link.fact_id, link.fact_number))
                    if link.position != position or found is None:
                        return f"{said} is missing"
                    if isinstance(found[0], AlteredBooks):
                        return f"{said} cannot be read: {found[0]}"
                    head = facts.next_link(head, link.kind, found[0], actor=found[1])
                    if head != link.head:
                        return f"{said} does not give the stored hash {link.head[:12]}"
            unlinked = await _unlinked_facts(session)
        if unlinked:
            return f"{unlinked} {'fact stands' if unlinked == 1 else 'facts stand'} outside the chain"
        return None


async def _newest_runs(session: AsyncSession, event_id: str | None = None) -> list[SettlementRunRow]:
    newest = select(func.max(SettlementRunRow.number)).group_by(SettlementRunRow.event_id)
    if event_id is not None:
        newest = newest.where(SettlementRunRow.event_id == event_id)
    found = await session.exec(select(SettlementRunRow).where(col(SettlementRunRow.number).in_(newest)))
    return sorted(found.all(), key=lambda each: each.event_id)


async def _settlement_of(session: AsyncSession, run: SettlementRunRow) -> Settlement:
    wanted = (
        select(SettlementLineRow.body)
        .where(SettlementLineRow.run_number == run.number)
        .order_by(col(SettlementLineRow.place))
    )
    return await _settlement(run, (await session.exec(wanted)).all())


async def _totals_of(session: AsyncSession, run: SettlementRunRow) -> SettlementTotals:
    """Return what a run comes to; of one from before that was kept, from its lines."""
    if run.totals:
        return facts.decode(SettlementTotals, run.totals)
    return totals_of(await _settlement_of(session, run))


async def _written(lines: Sequence[SettlementLine]) -> list[str]:
    """Return the written form of a run's lines."""
    bodies: list[str] = []
    for first in range(0, len(lines), _LINES_AT_ONCE):
        bodies += [facts.encode(each).decode() for each in lines[first : first + _LINES_AT_ONCE]]
        await asyncio.sleep(0)
    return bodies


def _sha256(bodies: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for body in bodies:
        digest.update(body.encode())
        digest.update(b"\n")  # which no body holds: two lines are not one
    return digest.hexdigest()


def _says_the_same(run: SettlementRunRow, newest: SettlementRunRow) -> bool:
    if not adds_nothing(SettlementState(run.state), SettlementState(newest.state)):
        return False
    return (run.program_id, run.parts, run.lines_sha256) == (
        newest.program_id, newest.parts, newest.lines_sha256,
    )  # fmt: skip


async def _lines_of_owner(session: AsyncSession, owner_id: str) -> Mapping[int | None, list[str]]:
    """Return the owner's lines of every run, by its number.

    Asked by the owner alone: with the run beside it SQLite reads a whole fleet's lines of that run.
    """
    wanted = (
        select(SettlementLineRow.run_number, SettlementLineRow.body)
        .where(SettlementLineRow.owner_id == owner_id)
        .order_by(col(SettlementLineRow.place))
    )
    found: dict[int | None, list[str]] = {}
    for number, body in (await session.exec(wanted)).all():
        found.setdefault(number, []).append(body)
    return found


async def _settlement(run: SettlementRunRow, bodies: Sequence[str]) -> Settlement:
    lines: list[SettlementLine] = []
    for first in range(0, len(bodies), _LINES_AT_ONCE):
        lines += [facts.decode(SettlementLine, each) for each in bodies[first : first + _LINES_AT_ONCE]]
        await asyncio.sleep(0)
    return Settlement(
        event_id=run.event_id,
        program_id=run.program_id,
        state=SettlementState(run.state),
        settled_at=from_us(run.settled_at_us),
        lines=tuple(lines),
        parts=facts.decode_many(Interval, run.parts),
    )


async def entries_of(rows: Sequence[Any]) -> list[JournalEntry]:
    """Return the entries of rows ordered by number and line; each row is an entry and one posting."""
    found: list[JournalEntry] = []
    for _, lines in groupby(rows, key=lambda row: row[0]):
        found.append(_entry_of(list(lines)))
        if not len(found) % _LINES_AT_ONCE:
            await asyncio.sleep(0)
    return found


def _entry_of(rows: Sequence[Any]) -> JournalEntry:
    """Return one entry. Raises AlteredBooks where its rows are none."""
    _, entry_id, at_us, state, memo, *settles, resolves, corrects = rows[0][:11]
    try:
        return JournalEntry(
            entry_id=entry_id,
            at=from_us(at_us),
            state=EntryState(state),
            memo=memo,
            postings=tuple(
                Posting(Account(account), party, MicroDollars(amount)) for *_, account, party, amount in rows
            ),
            settles=None if settles[0] is None else (settles[0], settles[1], settles[2], settles[3]),
            resolves=resolves,
            corrects=corrects,
        )
    except _UNREADABLE as failure:  # it does not sum to zero, or names an account or a state that is none
        raise AlteredBooks(f"entry {entry_id} was changed in the database: {failure}") from failure


def _entry_or_why(rows: Sequence[Any]) -> JournalEntry | AlteredBooks:
    try:
        return _entry_of(rows)
    except AlteredBooks as failure:
        return failure


def _fact_or_why(read: Callable[[RowT], object], row: RowT) -> object:
    try:
        return read(row)
    except _UNREADABLE as failure:
        return AlteredBooks(f"it was changed in the database: {failure}")


async def _append(session: AsyncSession, entries: Sequence[JournalEntry]) -> None:
    """Append entries that are not there yet, each numbered by its link in the chain."""
    if not entries:
        return
    first = await append_links(session, [("journal_entry", (each.entry_id, 0), each) for each in entries])
    nobody = (None, None, None, None)
    columns: dict[str, Sequence[object]] = {
        "number": range(first, first + len(entries)),
        "entry_id": [each.entry_id for each in entries],
        "at_us": [to_us(each.at) for each in entries],
        "state": [each.state.value for each in entries],
        "memo": [each.memo for each in entries],
        "settles_owner_id": [(each.settles or nobody)[0] for each in entries],
        "settles_site_id": [(each.settles or nobody)[1] for each in entries],
        "settles_program_id": [(each.settles or nobody)[2] for each in entries],
        "settles_period": [(each.settles or nobody)[3] for each in entries],
        "resolves": [each.resolves for each in entries],
        "corrects": [each.corrects for each in entries],
    }
    if await insert_new(session, table_of(JournalEntryRow), columns) < len(entries):
        raise ConflictingFact("a pending entry can be ended once only; nothing was posted")
    lines = [
        (entry.entry_id, place, posting) for entry in entries for place, posting in enumerate(entry.postings)
    ]
    postings: dict[str, Sequence[object]] = {
        "entry_id": [entry_id for entry_id, _, _ in lines],
        "line_number": [place for _, place, _ in lines],
        "account": [posting.account.value for _, _, posting in lines],
        "party": [posting.party for _, _, posting in lines],
        "amount_micro_dollars": [posting.amount for _, _, posting in lines],
    }
    await insert_new(session, table_of(PostingRow), postings)


async def _facts_of(
    session: AsyncSession, some: Sequence[ChainLinkRow]
) -> dict[tuple[str, str, int], tuple[object, str | None]]:
    """Return the facts behind some links, each with the person who made it, by kind and key."""
    found: dict[tuple[str, str, int], tuple[object, str | None]] = {}
    ids = [each.fact_id for each in some if each.kind == "journal_entry"]
    if ids:
        asked = Asked(session, {"asked": {"entry_id": ids}})
        rows = await asked.rows(f"{ENTRY_COLUMNS} JOIN asked ON asked.entry_id = e.entry_id {ENTRY_ORDER}")
        for _, lines in groupby(rows, key=lambda row: row[0]):
            of_entry = list(lines)
            found["journal_entry", of_entry[0][1], 0] = (_entry_or_why(of_entry), None)
    ids = [each.fact_id for each in some if each.kind == "grid_event"]
    if ids:
        versions = await session.exec(select(GridEventRow).where(col(GridEventRow.event_id).in_(ids)))
        found.update(
            {
                ("grid_event", each.event_id, each.version): (
                    _fact_or_why(_version_found_by_its_end, each),
                    each.actor,
                )
                for each in versions.all()
            }
        )
    numbers = [each.fact_number for each in some if each.kind == "dispatch_tick"]
    if numbers:
        ticks = (
            await session.exec(select(DispatchTickRow).where(col(DispatchTickRow.number).in_(numbers)))
        ).all()
        read = {each.number: _fact_or_why(tick_of, each) for each in ticks}
        lost = await _lost_to_their_events(session, read)
        found.update(
            {("dispatch_tick", "", number): (lost.get(number, read[number]), None) for number in read}
        )
    return found


def _version_found_by_its_end(row: GridEventRow) -> GridEvent:
    """Return a version; beside it stands when it ends, by which histories are looked up."""
    version = version_of(row)
    interval = version.interval
    if row.ends_at_us != (None if interval is None else to_us(interval.ends_at)):
        raise ValueError("ends_at_us is not when its last step ends")
    return version


async def _lost_to_their_events(
    session: AsyncSession, ticks: Mapping[int, object]
) -> dict[int, AlteredBooks]:
    """Return, by number, the ticks that an event no longer finds, though they hold an order of it.

    Settlement asks an event for its ticks: who commanded which home would be forgotten unseen. A tick that
    an event finds without an order of it says nothing.
    """
    held = {
        (order.event_id, number)
        for number, tick in ticks.items()
        if isinstance(tick, DispatchTick)
        for order in tick.orders
    }
    if not held:
        return {}
    known = await session.exec(
        select(TickEventRow).where(
            col(TickEventRow.event_id).in_({event_id for event_id, _ in held}),
            col(TickEventRow.number).between(min(ticks), max(ticks)),
        )
    )
    lost = held - {(each.event_id, each.number) for each in known.all()}
    return {
        number: AlteredBooks(f"tick_event does not name it for event {event_id} any more")
        for event_id, number in lost
    }


async def _unlinked_facts(session: AsyncSession) -> int:
    """Return how many facts have no link; one statement sees all that is committed meanwhile or none."""
    counts = [
        select(func.count()).select_from(row).scalar_subquery()
        for row in (JournalEntryRow, GridEventRow, DispatchTickRow, ChainLinkRow)
    ]
    entries, versions, ticks, linked = counts
    return int((await session.exec(select(entries + versions + ticks - linked))).one())
