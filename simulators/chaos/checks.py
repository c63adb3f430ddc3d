"""What must hold after every kill, read from the database and compared with what was heard outside.

Each check returns faults: the kind, and a sentence. None means all is well. Nothing here asks the controller:
the database is opened beside it, as an auditor would.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from simulators.chaos.wire import Fault, Heard, digest
from simulators.made_again import differences
from vpp.adapters.sql.engine import Database, driver_url, make_engine
from vpp.adapters.sql.store import SqlStore
from vpp.domain.command import CommandBatch
from vpp.domain.grid_event import EventStatus, ReceiptState
from vpp.domain.ledger import EntryState, JournalEntry, balances
from vpp.domain.meter_source import IMPORT_BOOT
from vpp.domain.payout import PayoutState, payouts
from vpp.domain.replay import StoredDispatch, replayed
from vpp.wire.gateway import command_body

# By way of the boots: imported readings are a hundred times as many as those of a short run.
_KEPT = (
    "SELECT r.site_id, r.boot_id, COUNT(*), MIN(r.reading_index), MAX(r.reading_index)"
    " FROM meter_boot b JOIN meter_reading r ON r.site_id = b.site_id AND r.boot_id = b.boot_id"
    " WHERE b.boot_id <> :imported AND r.reading_index >= 1 GROUP BY r.site_id, r.boot_id"
)
_EVER = datetime(1970, 1, 1, tzinfo=UTC)
_ROWS = "SELECT reading_index FROM meter_reading WHERE site_id = :site AND boot_id = :boot"


@dataclass(slots=True)
class Auditor:
    """Reads one database beside the controller; events that are over and checked are not read again."""

    url: str
    epoch: int = 0
    over: set[str] = field(default_factory=set)
    _site_ids: list[str] = field(default_factory=list)  # nobody enrols during a run
    _booked: int = -1  # entries in the books when they were read last

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[SqlStore, AsyncConnection]]:
        """Give the store and a connection for plain questions, without touching the schema."""
        database = Database(make_engine(driver_url(self.url)))
        try:
            async with database.read() as session:
                yield SqlStore(database), await session.connection()
        finally:
            await database.close()

    async def made_again(self) -> list[Fault]:
        """Return where plans, ticks and commands made again from the database are not those of the run."""
        async with self.opened() as (store, _):
            return [("wrong", f"made again, {each}") for each in await differences(store, _EVER)]

    async def audit(self, heard: Heard, *, chain: bool = False) -> list[Fault]:
        """Return everything that does not hold now; with ``chain``, recompute the hash chain too."""
        confirmed = dict(heard.confirmed)
        faults, heard.faults = heard.faults, []
        async with self.opened() as (store, connection):
            faults += await self._dispatch(store, heard)
            faults += await self._answers(store, heard)
            faults += await _readings(connection, confirmed)
            faults += await self._leader(connection)
            faults += await self._books(store, connection)
            broken = await store.verify_chain() if chain else None
        return faults if broken is None else [*faults, ("wrong", f"the hash chain: {broken}")]

    async def unplanned(self) -> list[str]:
        """Return the events in force whose newest version no plan answers yet."""
        waiting = []
        async with self.opened() as (store, _):
            for history in await store.histories():
                latest = history.latest
                if latest.status is EventStatus.CANCELLED or latest.out_of_program:
                    continue
                revisions = await store.revisions(latest.event_id)
                if not revisions or revisions[-1].version != latest.version:
                    waiting.append(f"{latest.event_id} version {latest.version}")
        return waiting

    async def short_w(self, event_id: str) -> int:
        """Return what the newest plan of an event lacks of the request."""
        async with self.opened() as (store, _):
            revisions = await store.revisions(event_id)
            return revisions[-1].shortfall_w if revisions else 0

    async def standing(self, event_id: str) -> set[str]:
        """Return the sites whose owner said no to an event, as the database has it."""
        async with self.opened() as (store, _):
            said = await store.opt_outs([event_id])
        return {each.site_id for each in said if each.taken_back_at is None}

    async def settled(self) -> list[str]:
        """Return the events that were settled."""
        async with self.opened() as (store, _):
            return [each.event_id for each in await store.settlements()]

    async def owner_ids(self) -> list[str]:
        """Return the owners in the order in which their homes were enrolled."""
        async with self.opened() as (store, _):
            return list(dict.fromkeys(each.owner_id for each in await store.enrollments()))

    async def traces(self, owner_id: str) -> list[Fault]:
        """Return what still names an owner who was forgotten."""
        async with self.opened() as (store, _):
            left = {
                "an address": await store.contact(owner_id),
                "notices": await store.notices_of(owner_id),
                "a calendar": await store.calendar(owner_id=owner_id),
            }
        return [
            ("wrong", f"owner {owner_id} was forgotten and has {what}")
            for what, found in left.items()
            if found
        ]

    async def entries(self) -> Sequence[JournalEntry]:
        """Return the books."""
        async with self.opened() as (store, _):
            return await store.entries()

    async def _dispatch(self, store: SqlStore, heard: Heard) -> list[Fault]:
        """Compare every command heard with the one that the committed ticks and plans make again."""
        fresh, heard.fresh = set(heard.fresh), []
        if not self._site_ids:
            self._site_ids = [each.site_id for each in await store.enrollments()]
        faults: list[Fault] = []
        histories = await store.histories()
        for history in sorted(histories, key=lambda each: each.latest.event_id in self.over):
            event_id = history.latest.event_id
            if event_id in self.over and not fresh:
                break
            for batch, fault in await self._replayed(store, event_id):
                if fault is not None:
                    faults.append(("wrong", f"event {event_id}: {fault}"))
                for row, site_no in enumerate(batch.order.site_no.tolist()):
                    site_id = self._site_ids[site_no]
                    pair = (site_id, batch.epoch, batch.sequence)
                    if pair not in fresh:
                        continue
                    fresh.remove(pair)
                    if digest(command_body(batch, row, site_id)) != heard.commands[pair]:
                        said = f"command {pair} was sent with another body than was committed"
                        faults.append(("doubled", said))
        lost = (f"command {pair} was sent and no committed tick holds it" for pair in sorted(fresh))
        return [*faults, *(("wrong", said) for said in lost)]

    async def _replayed(self, store: SqlStore, event_id: str) -> Iterator[tuple[CommandBatch, str | None]]:
        # The controller goes on meanwhile: what a tick follows from is read after it, and holds more.
        ticks, revisions = await store.event_ticks(event_id), await store.revisions(event_id)
        opt_outs, history = await store.opt_outs([event_id]), await store.history(event_id)
        assert history is not None
        site_no_of = {site_id: number for number, site_id in enumerate(self._site_ids)}
        return replayed(StoredDispatch(history, ticks, revisions, opt_outs, site_no_of))

    async def _books(self, store: SqlStore, connection: AsyncConnection) -> list[Fault]:
        """Check the books if there is more in them than last time; the chain shows that nothing changed."""
        booked = (await connection.execute(text("SELECT COUNT(*) FROM journal_entry"))).scalar_one()
        if booked == self._booked:
            return []
        self._booked = booked
        return ledger_faults(await store.entries())

    async def _answers(self, store: SqlStore, heard: Heard) -> list[Fault]:
        """Return accepted signals whose version the database does not hold."""
        faults: list[Fault] = []
        fresh, heard.checked_answers = heard.answers[heard.checked_answers :], len(heard.answers)
        for receipt in fresh:
            if receipt.state is not ReceiptState.ACCEPTED:
                continue
            history = await store.history(receipt.event_id)
            times = () if history is None else tuple(each.modified_at for each in history.versions)
            if receipt.modified_at not in times:
                said = f"signal {receipt.event_id} of {receipt.modified_at:%H:%M:%S} UTC"
                faults.append(("lost", f"{said} was accepted and is not stored"))
        return faults

    async def _leader(self, connection: AsyncConnection) -> list[Fault]:
        rows = (await connection.execute(text("SELECT epoch FROM leader"))).all()
        before, self.epoch = self.epoch, int(rows[0][0]) if rows else 0
        return [("wrong", f"the epoch fell from {before} to {self.epoch}")] if self.epoch < before else []


async def _readings(connection: AsyncConnection, confirmed: Mapping[tuple[str, str], int]) -> list[Fault]:
    """Return every receipt that was sent for a reading which is not in the database."""
    faults: list[Fault] = []
    kept = {
        (row[0], row[1]): (row[2], row[3], row[4])
        for row in (await connection.execute(text(_KEPT), {"imported": IMPORT_BOOT})).all()
    }
    for (site_id, boot_id), through in confirmed.items():
        count, first, last = kept.get((site_id, boot_id), (0, 1, 0))
        if through == 0 or (first == 1 and last == count and last >= through):
            continue
        found = await connection.execute(text(_ROWS), {"site": site_id, "boot": boot_id})
        missing = set(range(1, through + 1)) - {row[0] for row in found.all()}
        if missing:
            said = f"site {site_id} got a receipt through {through} of boot {boot_id[:8]}"
            faults.append(("lost", f"{said}, and reading {min(missing)} is not stored"))
    return faults


def ledger_faults(entries: Sequence[JournalEntry]) -> list[Fault]:
    """Return what is wrong with the books: sums, a settlement that stands twice, money sent twice."""
    faults: list[Fault] = [
        ("wrong", f"entry {entry.entry_id} does not sum to zero")
        for entry in entries
        if sum(posting.amount for posting in entry.postings) != 0
    ]
    found = balances(entries).values()
    if sum(each.posted for each in found) or sum(each.pending for each in found):
        faults.append(("wrong", "the ledger does not balance"))
    reversed_ids = {entry.corrects for entry in entries if entry.entry_id.startswith("reversal-")}
    ended = {entry.resolves for entry in entries if entry.resolves is not None}
    standing = Counter(
        entry.settles
        for entry in entries
        if entry.settles is not None
        and entry.entry_id not in reversed_ids
        and not (entry.state is EntryState.PENDING and entry.entry_id in ended)
    )
    faults += [("doubled", f"settlement {key} stands {n} times") for key, n in standing.items() if n > 1]
    begun = Counter((each.run_id, each.owner_id) for each in payouts(entries))
    return [*faults, *(("doubled", f"payout {key} was made {n} times") for key, n in begun.items() if n > 1)]


def misspent(entries: Sequence[JournalEntry], owed: Mapping[str, int]) -> list[Fault]:
    """Return the owners to whom more, or less, has left than settlements came to, in micro-dollars."""
    paid: Counter[str] = Counter()
    for payout in payouts(entries):
        if payout.state is PayoutState.PAID:
            paid[payout.owner_id] += payout.amount
    return [
        (
            "doubled" if paid[owner_id] > owed.get(owner_id, 0) else "lost",
            f"owner {owner_id} was paid {paid[owner_id]} and was owed {owed.get(owner_id, 0)} micro-dollars",
        )
        for owner_id in sorted(set(paid) | set(owed))
        if paid[owner_id] != owed.get(owner_id, 0)
    ]


@dataclass(slots=True)
class Executed:
    """What homes executed, by their own reports of what is new: the last command of each, and how many."""

    count: int = 0
    last: dict[str, tuple[int, int]] = field(default_factory=dict)

    def faults(self, new: Mapping[str, Sequence[Sequence[int]]]) -> list[Fault]:
        """Return the homes that executed a command twice, or an older one after a newer."""
        faults: list[Fault] = []
        for site_id, pairs in new.items():
            before = self.last.get(site_id, (0, 0))
            for epoch, sequence in pairs:
                if (epoch, sequence) <= before:
                    faults.append(("doubled", f"site {site_id} executed {(epoch, sequence)} after {before}"))
                before = (epoch, sequence)
            self.last[site_id] = before
            self.count += len(pairs)
        return faults
