"""A long random life of the books: settled, changed, posted, corrected, paid out, called back, received.

Every fifth operation is an earlier one again. After each, the whole ledger as it lies in the store must sum
to zero, hold what was appended and nothing else, and say of every owner that was touched what the story says;
now and then, of every account there is.
"""

import random
from collections import Counter, defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from fractions import Fraction

from tests.adapters.ledger_sums import Key, Totals, sums_of, totals
from tests.adapters.store_world import NOON
from vpp.domain.ledger import (
    Account,
    EntryState,
    JournalEntry,
    balances,
    confirm,
    correct,
    live_settlements,
    post,
    void,
)
from vpp.domain.payout import (
    ProgramPayment,
    owed_to_owners,
    pay_out,
    payable,
    payout_runs,
    payouts,
    receive,
)
from vpp.domain.quantities import MicroDollars, cents_half_up
from vpp.domain.settlement import BaselineDays, SettlementLine, SiteQuality
from vpp.money_ports import Books

OWNERS = 40
PROGRAM = "elrp-a4-pge"
DUPLICATES = 0.2

Settles = tuple[str, str, str, str]


def a_line(settles: Settles, gross: int, share: Fraction) -> SettlementLine:
    """Return a line whose gross is divided between owner, margin and rounding."""
    amount = cents_half_up(gross * share)
    return SettlementLine(
        site_id=settles[1],
        owner_id=settles[0],
        settled=None,
        hours=(),
        baseline_days=BaselineDays((), ()),
        incremental_wh=Fraction(0),
        paid_wh=Fraction(0),
        amount=amount,
        gross=MicroDollars(gross),
        quality=SiteQuality.OK,
        reason=None,
        margin=MicroDollars(gross - int(gross * share)),
    )


@dataclass
class LedgerStory:
    """Draws operations, keeps what the books must say after them, and asks the books."""

    books: Books
    seed: int
    drawn: random.Random = field(init=False)
    done: list[list[JournalEntry]] = field(default_factory=list)
    live: dict[Settles, JournalEntry] = field(default_factory=dict)
    last: dict[Settles, str] = field(default_factory=dict)
    owed: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    recent: deque[Settles] = field(default_factory=lambda: deque(maxlen=300))
    sent: dict[str, JournalEntry] = field(default_factory=dict)
    newest_payout: dict[str, str] = field(default_factory=dict)
    entries: int = 0
    postings: int = 0
    accounts: defaultdict[str, Counter[Key]] = field(default_factory=lambda: defaultdict(Counter))  # by party
    at: datetime = NOON
    _next_of_all: int = 100

    def __post_init__(self) -> None:
        self.drawn = random.Random(self.seed)
        self.sums = sums_of(self.books)

    async def run(self, operations: int) -> None:
        """Carry out that many operations, checking after each."""
        for number in range(operations):
            self.at += timedelta(seconds=1)
            again = bool(self.done) and self.drawn.random() < DUPLICATES
            entries = self.drawn.choice(self.done) if again else self._next(number)
            await self.books.post(entries)
            if not again:
                self.done.append(entries)
                self._append(entries)
            await self._check(entries)
            if self.entries >= self._next_of_all:  # ever more seldom: each asks for everything there is
                self._next_of_all = self.entries + self.entries // 10 + 100
                assert _of_something(await self.sums.of_all()) == self._said(self.accounts)

    def _append(self, entries: list[JournalEntry]) -> None:
        self.entries += len(entries)
        self.postings += sum(len(entry.postings) for entry in entries)
        for key, amount in totals(entries).items():
            self.accounts[key[1]][key] += amount

    def _said(self, parties: Iterable[str]) -> dict[Key, int]:
        """Return what the story says of parties' accounts."""
        return _of_something({key: each for party in parties for key, each in self.accounts[party].items()})

    def _next(self, number: int) -> list[JournalEntry]:
        made = self.drawn.choice((self._settle, self._settle, self._go_on, self._go_on, self._pay, self._end))
        return made() or self._receive(number)

    def _settle(self) -> list[JournalEntry]:
        owner = f"o-{self.drawn.randrange(OWNERS)}"
        settles = (owner, f"s-{owner}", PROGRAM, f"ev-{self.drawn.randrange(10 + len(self.done) // 20)}")
        return [] if settles in self.live else [self._post(settles)]

    def _line(self, settles: Settles) -> SettlementLine:
        share = self.drawn.choice((Fraction(1), Fraction(4, 5)))
        return a_line(settles, self.drawn.randrange(30_000_000), share)

    def _post(self, settles: Settles) -> JournalEntry:
        line = self._line(settles)
        entry = post(
            line, event_id=settles[3], program_id=PROGRAM, at=self.at, replaces=self.last.get(settles)
        )
        self.live[settles], self.last[settles] = entry, entry.entry_id
        self.recent.append(settles)
        return entry

    def _go_on(self) -> list[JournalEntry]:
        """Take one settlement further: another amount, posted, corrected, or voided for good."""
        settles = self.drawn.choice(self.recent) if self.recent else None
        if settles is None or settles not in self.live:
            return []
        standing = self.live.pop(settles)
        if standing.state is EntryState.POSTED:
            return self._corrected(settles, standing)
        if self.drawn.random() < 0.6:
            self.live[settles] = confirm(standing, at=self.at)
            self.last[settles] = self.live[settles].entry_id
            self.owed[settles[0]] += _owed(standing)
            return [self.live[settles]]
        voided = void(standing, at=self.at)
        return [voided, self._post(settles)] if self.drawn.random() < 0.7 else [voided]

    def _corrected(self, settles: Settles, standing: JournalEntry) -> list[JournalEntry]:
        reversal, new = correct(standing, self._line(settles), at=self.at, note="Correction by a person")
        self.owed[settles[0]] += _owed(new) - _owed(standing)
        self.live[settles], self.last[settles] = new, new.entry_id
        return [reversal, new]

    def _pay(self) -> list[JournalEntry]:
        owner = f"o-{self.drawn.randrange(OWNERS)}"
        if owner in self.sent or self.owed[owner] <= 0:
            return []
        amount = MicroDollars(self.owed[owner])
        entry = pay_out(
            f"run-{len(self.done)}", owner, amount, at=self.at, after=self.newest_payout.get(owner)
        )
        self.sent[owner], self.newest_payout[owner] = entry, entry.entry_id
        return [entry]

    def _end(self) -> list[JournalEntry]:
        if not self.sent:
            return []
        owner, entry = self.sent.popitem()
        if self.drawn.random() < 0.2:
            return [void(entry, at=self.at)]
        self.owed[owner] -= entry.postings[0].amount
        return [confirm(entry, at=self.at)]

    def _receive(self, number: int) -> list[JournalEntry]:
        payment = ProgramPayment(
            PROGRAM, "ev-1", f"ref-{number}", MicroDollars(self.drawn.randrange(1, 10**9))
        )
        return [receive(payment, at=self.at)]

    async def _check(self, entries: list[JournalEntry]) -> None:
        """Ask the whole ledger for its sums, and the books for what the operation touched, one of a kind."""
        assert await self.sums.whole() == (self.postings, 0)
        touched = {posting.party for entry in entries for posting in entry.postings} - {PROGRAM}
        assert _of_something(await self.sums.of_parties(touched)) == self._said(touched)
        settles = next((each.settles for each in entries if each.settles), None)
        if settles is not None:
            found = await self.books.period_entries(PROGRAM, settles[3])
            assert sum(posting.amount for entry in found for posting in entry.postings) == 0
            known = {each.entry_id for each in found}
            assert len(known) == len(found)
            assert known >= {each.entry_id for each in entries}
            standing = live_settlements(found).get(settles)
            assert (standing and standing.entry_id) == self._standing(settles)

    def _standing(self, settles: Settles) -> str | None:
        return self.live[settles].entry_id if settles in self.live else None

    async def require_all(self) -> None:
        """Ask the books for everything: nothing lost, nothing twice, every sum zero, the chain whole."""
        entries = await self.books.entries()
        assert len(entries) == self.entries
        assert _of_something(await self.sums.of_all()) == self._said(self.accounts)
        found = balances(entries)
        assert sum(each.posted for each in found.values()) == 0
        assert sum(each.pending for each in found.values()) == 0
        posted = {party: -each.posted for (account, party), each in found.items() if account in _OWED}
        assert {owner: owed for owner, owed in posted.items() if owed} == {
            owner: owed for owner, owed in self.owed.items() if owed
        }
        on_its_way = {owner: entry.postings[0].amount for owner, entry in self.sent.items()}
        left = {owner: owed - on_its_way.get(owner, 0) for owner, owed in self.owed.items()}
        owed_to, sent = await self.books.owed_to_owners(), await self.books.payout_entries()
        assert owed_to == owed_to_owners(entries)
        assert payouts(sent) == payouts(entries)
        assert await self.books.payout_runs() == list(payout_runs(payouts(entries)))
        assert payable(owed_to, sent) == {owner: amount for owner, amount in left.items() if amount > 0}
        assert {key: each.entry_id for key, each in live_settlements(entries).items()} == {
            key: each.entry_id for key, each in self.live.items()
        }
        assert await self.books.verify_chain() is None


def _of_something(sums: Totals) -> dict[Key, int]:
    return {key: amount for key, amount in sums.items() if amount}


_OWED = (Account.OWNER_PAYABLE,)


def _owed(entry: JournalEntry) -> int:
    return -sum(each.amount for each in entry.postings if each.account is Account.OWNER_PAYABLE)
