"""Settlements and the ledger, kept in memory."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from vpp.adapters.memory.chain import MemoryChain
from vpp.domain.ledger import Account, JournalEntry
from vpp.domain.payout import PayoutRun, owed_to_owners, payout_runs, payouts
from vpp.domain.quantities import MicroDollars
from vpp.domain.settlement import Settlement, SettlementTotals, adds_nothing, same_result, totals_of
from vpp.ports import ConflictingFact

Settles = tuple[str, str, str, str]  # owner, site, program, period


class MemoryBooks:
    """The books' part of the memory store."""

    def __init__(self, chain: MemoryChain) -> None:
        self._entry_chain = chain
        self._runs: dict[str, list[Settlement]] = {}
        self._entries: dict[str, JournalEntry] = {}
        self._sent: list[JournalEntry] = []  # of payouts
        self._resolved: set[str] = set()
        self._live: dict[Settles, str] = {}  # the entry that stands for each
        self._of_period: defaultdict[tuple[str, str], list[JournalEntry]] = defaultdict(list)
        self._of_owner: defaultdict[str, list[JournalEntry]] = defaultdict(list)

    async def settle(self, settlement: Settlement) -> SettlementTotals:
        """Store a run beside the older ones, if it says something new; return what the standing one says."""
        runs = self._runs.setdefault(settlement.event_id, [])
        if not runs or not (
            adds_nothing(settlement.state, runs[-1].state)
            and same_result(replace(settlement, state=runs[-1].state), runs[-1])
        ):
            runs.append(settlement)
        return totals_of(runs[-1])

    async def settlement(self, event_id: str) -> Settlement | None:
        """Return an event's newest settlement."""
        runs = self._runs.get(event_id)
        return runs[-1] if runs else None

    async def settlement_totals(self, event_id: str) -> SettlementTotals | None:
        """Return what an event's newest settlement comes to."""
        runs = self._runs.get(event_id)
        return totals_of(runs[-1]) if runs else None

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
        live: dict[Settles, str | None] = {}
        for entry in entries:
            known = self._entries.get(entry.entry_id, new.get(entry.entry_id))
            if known is not None and replace(known, at=entry.at) != entry:
                raise ConflictingFact(f"another journal entry is posted under {entry.entry_id}")
            if known is not None:
                continue
            if entry.resolves is not None:
                if entry.resolves in self._resolved or entry.resolves in resolved:
                    raise ConflictingFact(f"pending entry {entry.resolves} was ended once already")
                resolved.add(entry.resolves)
            self._stand(entry, new, live)
            new[entry.entry_id] = entry
        for entry in new.values():
            self._enter(entry)
        self._resolved |= resolved
        self._live.update({key: entry_id for key, entry_id in live.items() if entry_id is not None})
        for key, entry_id in live.items():
            if entry_id is None:
                self._live.pop(key, None)

    def _stand(
        self, entry: JournalEntry, new: Mapping[str, JournalEntry], live: dict[Settles, str | None]
    ) -> None:
        """Note in ``live`` what stands after an entry. Raises ConflictingFact where two would."""
        for ended in (entry.resolves, entry.corrects):
            settles = self._settles(ended, new)
            if settles is not None and live.get(settles, self._live.get(settles)) == ended:
                live[settles] = None
        if entry.settles is None:
            return
        standing = live.get(entry.settles, self._live.get(entry.settles))
        if standing is not None:
            raise ConflictingFact(f"{standing} stands for what {entry.entry_id} settles")
        live[entry.settles] = entry.entry_id

    def _settles(self, entry_id: str | None, new: Mapping[str, JournalEntry]) -> Settles | None:
        entry = None if entry_id is None else self._entries.get(entry_id, new.get(entry_id))
        return None if entry is None else entry.settles

    def _enter(self, entry: JournalEntry) -> None:
        self._entry_chain.append("journal_entry", entry)
        self._entries[entry.entry_id] = entry
        if any(each.account is Account.PAID_OUT for each in entry.postings):
            self._sent.append(entry)
        settles = entry.settles or self._settles(entry.resolves or entry.corrects, {})
        if settles is not None:
            self._of_period[settles[2], settles[3]].append(entry)
        for owner_id in _owners(entry):
            self._of_owner[owner_id].append(entry)

    async def entries(self, *, owner_id: str | None = None) -> Sequence[JournalEntry]:
        """Return journal entries in order; with an owner, those that touch that owner."""
        return list(self._entries.values() if owner_id is None else self._of_owner.get(owner_id, ()))

    async def payout_entries(
        self, *, owner_ids: Sequence[str] | None = None, ended_since: datetime | None = None
    ) -> Sequence[JournalEntry]:
        """Return, in order, the entries that send owners money, confirm that, or call it back."""
        return [
            entry
            for entry in self._sent
            if (owner_ids is None or _sent_to(entry) in owner_ids)
            and (ended_since is None or (entry.resolves is not None and entry.at >= ended_since))
        ]

    async def payout_runs(self) -> Sequence[PayoutRun]:
        """Return what every payout run comes to, in the order begun."""
        return list(payout_runs(payouts(self._sent)))

    async def paid_owners(self, *, after: str = "", limit: int | None = None) -> Sequence[str]:
        """Return owners to whom money was ever sent, each once, in one order; after one of them, the rest."""
        known = sorted({owner_id for entry in self._sent if (owner_id := _sent_to(entry)) > after})
        return known if limit is None else known[:limit]

    async def owed_to_owners(self) -> Mapping[str, MicroDollars]:
        """Return each owner's posted balance, by owner: what is on its way to them included."""
        return owed_to_owners(self._entries.values())

    async def period_entries(self, program_id: str, period: str) -> Sequence[JournalEntry]:
        """Return, in order, the entries that settle anything for one event or period of a program.

        With those that ended them or reversed them.
        """
        return list(self._of_period.get((program_id, period), ()))

    async def chain_head(self) -> str:
        """Return the head of the hash chain over ledger entries, grid events and ticks, in hex."""
        return self._entry_chain.head

    async def newest_link(self) -> tuple[int, str]:
        """Return which link is the newest, from 1, and the head with it; zero before any link."""
        return self._entry_chain.newest

    async def verify_chain(self) -> str | None:
        """Recompute the chain; return None when it holds, else what differs first."""
        return self._entry_chain.difference()

    async def link_with(self, head: str) -> tuple[int | None, int]:
        """Return which link, from 1, has a head that begins so, None for none; and how many there are."""
        heads = self._entry_chain.heads
        found = (number for number, each in enumerate(heads, start=1) if each.startswith(head))
        return next(found, None), len(heads)


def _sent_to(entry: JournalEntry) -> str:
    return next(each.party for each in entry.postings if each.account is Account.PAID_OUT)


def _owners(entry: JournalEntry) -> set[str]:
    of_owners = (Account.OWNER_PAYABLE, Account.PAID_OUT)
    found = {each.party for each in entry.postings if each.account in of_owners}
    return found if entry.settles is None else found | {entry.settles[0]}
