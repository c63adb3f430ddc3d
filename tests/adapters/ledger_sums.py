"""What a store's whole ledger sums to, asked of what lies in it and of no entry that the story remembers.

Databases sum their own rows after every operation. In memory, where a million operations are told, only the
entries that were appended since are added: they are frozen, and now and then all are summed again.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from sqlalchemy import text

from vpp.adapters.memory.store import MemoryStore
from vpp.adapters.sql.engine import Database
from vpp.adapters.sql.store import SqlStore
from vpp.domain.ledger import JournalEntry

Key = tuple[str, str, str]  # account, party, state of the entry
Totals = Mapping[Key, int]


def totals(entries: Collection[JournalEntry]) -> Counter[Key]:
    """Return what entries move on each account, by party and state; what comes to nothing is kept."""
    found = Counter[Key]()
    for entry in entries:
        for posting in entry.postings:
            found[posting.account.value, posting.party, entry.state.value] += posting.amount
    return found


class Sums(Protocol):
    """The whole ledger of one store, summed."""

    async def whole(self) -> tuple[int, int]:
        """Return how many postings there are, and the sum of all of them in micro-dollars."""

    async def of_parties(self, parties: Collection[str]) -> Totals:
        """Return the sums of everything that stands on these parties' accounts."""

    async def of_all(self) -> Totals:
        """Return the sums of every account, from every posting there is."""


@dataclass
class MemorySums:
    """Sums of a memory store."""

    store: MemoryStore
    _seen: int = 0
    _postings: int = 0
    _of_party: defaultdict[str, Counter[Key]] = field(default_factory=lambda: defaultdict(Counter))
    _sum: int = 0

    async def whole(self) -> tuple[int, int]:
        """Return count and sum, after taking in what was appended since."""
        entries = self.store._entries
        new = list(islice(reversed(entries.values()), len(entries) - self._seen))
        self._seen = len(entries)
        self._postings += sum(len(entry.postings) for entry in new)
        for key, amount in totals(new).items():
            self._of_party[key[1]][key] += amount
            self._sum += amount
        return self._postings, self._sum

    async def of_parties(self, parties: Collection[str]) -> Totals:
        """Return the sums as of the last ``whole``."""
        return {key: amount for party in parties for key, amount in self._of_party[party].items()}

    async def of_all(self) -> Totals:
        """Return the sums, from all entries again."""
        return totals(self.store._entries.values())


_BY_ACCOUNT = (
    "SELECT p.account, p.party, e.state, SUM(p.amount_micro_dollars) FROM posting p"
    " LEFT JOIN journal_entry e ON e.entry_id = p.entry_id {where} GROUP BY p.account, p.party, e.state"
)


@dataclass
class SqlSums:
    """Sums of a database, which it computes itself."""

    database: Database

    async def whole(self) -> tuple[int, int]:
        """Return count and sum of every posting."""
        rows = await self._rows("SELECT COUNT(*), COALESCE(SUM(amount_micro_dollars), 0) FROM posting")
        return int(rows[0][0]), int(rows[0][1])

    async def of_parties(self, parties: Collection[str]) -> Totals:
        """Return the sums on these parties' accounts."""
        names = {f"party{place}": party for place, party in enumerate(sorted(parties))}
        wanted = ", ".join(f":{name}" for name in names)
        return await self._by_account(_BY_ACCOUNT.format(where=f"WHERE p.party IN ({wanted})"), names)

    async def of_all(self) -> Totals:
        """Return the sums of every account."""
        return await self._by_account(_BY_ACCOUNT.format(where=""), {})

    async def _by_account(self, statement: str, names: Mapping[str, str]) -> Totals:
        rows = await self._rows(statement, names)
        return {(account, party, state): int(amount) for account, party, state, amount in rows}

    async def _rows(self, statement: str, names: Mapping[str, str] | None = None) -> list[Any]:
        async with self.database.read() as session:
            return list((await (await session.connection()).execute(text(statement), names or {})).all())


def sums_of(store: object) -> Sums:
    """Return what sums a store's ledger."""
    if isinstance(store, MemoryStore):
        return MemorySums(store)
    assert isinstance(store, SqlStore)
    return SqlSums(store._whole_database)
