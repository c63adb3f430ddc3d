"""Settlements and the ledger, kept in memory."""

from collections.abc import Sequence
from dataclasses import replace

from vpp.adapters.memory.chain import MemoryChain
from vpp.domain.ledger import Account, JournalEntry
from vpp.domain.settlement import Settlement
from vpp.ports import ConflictingFact


class MemoryBooks:
    """The books' part of the memory store."""

    def __init__(self, chain: MemoryChain) -> None:
        self._entry_chain = chain
        self._runs: dict[str, list[Settlement]] = {}
        self._entries: dict[str, JournalEntry] = {}
        self._resolved: set[str] = set()

    async def settle(self, settlement: Settlement) -> None:
        """Store a settlement run; the newest of an event replaces none, it stands beside them."""
        runs = self._runs.setdefault(settlement.event_id, [])
        if not runs or runs[-1] != settlement:
            runs.append(settlement)

    async def settlement(self, event_id: str) -> Settlement | None:
        """Return an event's newest settlement."""
        runs = self._runs.get(event_id)
        return runs[-1] if runs else None

    async def settlements(self, *, owner_id: str | None = None) -> Sequence[Settlement]:
        """Return every event's newest settlement, by event id.

        With an owner, those with a line of that owner, holding no other lines.
        """
        newest = [self._runs[event_id][-1] for event_id in sorted(self._runs)]
        if owner_id is None:
            return newest
        owned = [
            replace(each, lines=tuple(line for line in each.lines if line.owner_id == owner_id))
            for each in newest
        ]
        return [each for each in owned if each.lines]

    async def post(self, entries: Sequence[JournalEntry]) -> None:
        """Append entries; one already present under its id changes nothing, whenever it is made again."""
        new: dict[str, JournalEntry] = {}
        resolved: set[str] = set()
        for entry in entries:
            known = self._entries.get(entry.entry_id, new.get(entry.entry_id))
            if known is not None and replace(known, at=entry.at) != entry:
                raise ConflictingFact(f"another journal entry is posted under {entry.entry_id}")
            if known is not None:
                continue
            if entry.resolves is not None:
                if entry.resolves in self._resolved | resolved:
                    raise ConflictingFact(f"pending entry {entry.resolves} was ended once already")
                resolved.add(entry.resolves)
            new[entry.entry_id] = entry
        for entry in new.values():
            self._entry_chain.append("journal_entry", entry)
        self._entries.update(new)
        self._resolved |= resolved

    async def entries(self, *, owner_id: str | None = None) -> Sequence[JournalEntry]:
        """Return journal entries in order; with an owner, those that touch that owner."""
        return [each for each in self._entries.values() if owner_id is None or _touches(each, owner_id)]

    async def chain_head(self) -> str:
        """Return the head of the hash chain over ledger entries, grid events and ticks, in hex."""
        return self._entry_chain.head

    async def verify_chain(self) -> str | None:
        """Recompute the chain; return None when it holds, else what differs first."""
        return self._entry_chain.difference()


def _touches(entry: JournalEntry, owner_id: str) -> bool:
    if entry.settles is not None and entry.settles[0] == owner_id:
        return True
    of_owners = (Account.OWNER_PAYABLE, Account.PAID_OUT)
    return any(each.account in of_owners and each.party == owner_id for each in entry.postings)
