"""Double-entry books in integer micro-dollars: append-only, every entry sums to zero.

Knows what is booked for a settlement, how a pending entry ends, and what stands on each account. Where
entries are kept, and how money leaves, is not known here.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from vpp.domain.quantities import MicroDollars
from vpp.domain.settlement import Settlement, SettlementLine, SettlementState


class UnbalancedEntry(ValueError):
    """A journal entry has fewer than two postings or does not sum to zero."""


class Account(StrEnum):
    """The accounts of the books. Debits are positive, credits negative."""

    PROGRAM_RECEIVABLE = "program_receivable"
    OWNER_PAYABLE = "owner_payable"
    AGGREGATOR_MARGIN = "aggregator_margin"
    ROUNDING = "rounding"
    PAID_OUT = "paid_out"
    RECEIVED = "received"  # what programs really paid us


class EntryState(StrEnum):
    """Money moves in two phases. A pending entry is later posted or voided, once."""

    PENDING = "pending"
    POSTED = "posted"
    VOIDED = "voided"


@dataclass(frozen=True, slots=True)
class Posting:
    """One line of an entry. ``party`` is the owner or the program the account belongs to."""

    account: Account
    party: str
    amount: MicroDollars  # positive debits, negative credits


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """One immutable movement. ``settles`` is (owner, site, program, period) where it pays an owner.

    ``resolves`` names the pending entry that a VOIDED or POSTED one ends; ``corrects`` the entry that
    a correction reverses.
    """

    entry_id: str
    at: datetime
    state: EntryState
    memo: str
    postings: tuple[Posting, ...]
    settles: tuple[str, str, str, str] | None = None
    resolves: str | None = None
    corrects: str | None = None

    def __post_init__(self) -> None:
        total = sum(posting.amount for posting in self.postings)
        if len(self.postings) < 2 or total != 0:
            raise UnbalancedEntry(
                f"entry {self.entry_id} has {len(self.postings)} postings that sum to {total} micro-dollars; "
                "an entry needs at least two that sum to zero"
            )


def post(
    line: SettlementLine, *, event_id: str, program_id: str, at: datetime, replaces: str | None = None
) -> JournalEntry:
    """Return the pending entry for one site's part of one event.

    The program owes gross; the owner is owed whole cents; the margin is ours; what rounding leaves
    goes to the rounding account. ``replaces`` names the entry this one follows, so that going back to
    an earlier amount still makes a new entry; the id follows from content alone, never from the time.
    """
    residual = MicroDollars(line.gross - line.amount - line.margin)
    postings = [
        Posting(Account.PROGRAM_RECEIVABLE, program_id, line.gross),
        Posting(Account.OWNER_PAYABLE, line.owner_id, MicroDollars(-line.amount)),
    ]
    if line.margin:
        postings.append(Posting(Account.AGGREGATOR_MARGIN, program_id, MicroDollars(-line.margin)))
    if residual:
        postings.append(Posting(Account.ROUNDING, program_id, MicroDollars(-residual)))
    settles = (line.owner_id, line.site_id, program_id, event_id)
    amounts = [f"{posting.account} {posting.amount}" for posting in postings]
    return JournalEntry(
        entry_id=identity("settlement", *settles, *amounts, replaces),
        at=at,
        state=EntryState.PENDING,
        memo=f"{_SETTLEMENT}{event_id}, site {line.site_id}",
        postings=tuple(postings),
        settles=settles,
    )


_COMPACT = json.JSONEncoder(separators=(",", ":"))


def identity(kind: str, *content: str | None) -> str:
    """Return an id that begins with the kind and follows from content alone; a part may be missing."""
    written = _COMPACT.encode([kind, *content]).encode()
    return f"{kind}-{hashlib.sha256(written).hexdigest()[:32]}"


def void(pending: JournalEntry, *, at: datetime) -> JournalEntry:
    """Return the entry that ends a pending one without effect: its postings, turned round."""
    return JournalEntry(
        entry_id=identity("void", pending.entry_id),
        at=at,
        state=EntryState.VOIDED,
        memo=f"Void: {pending.memo}",
        postings=reversed_postings(pending),
        resolves=pending.entry_id,
    )


def confirm(pending: JournalEntry, *, at: datetime) -> JournalEntry:
    """Return the posted entry that makes a pending one count, with the same postings."""
    return replace(
        pending,
        entry_id=identity("posted", pending.entry_id),
        at=at,
        state=EntryState.POSTED,
        resolves=pending.entry_id,
    )


def correct(
    posted: JournalEntry, line: SettlementLine, *, at: datetime, note: str = ""
) -> tuple[JournalEntry, JournalEntry]:
    """Return a reversal of a posted settlement entry and the entry that stands in its place.

    Both name what they correct. The reversal settles nothing; the new entry settles the same owner,
    site, program and period, so exactly one live entry does.

    Raises:
        ValueError: The entry is not a posted settlement.
    """
    if posted.state is not EntryState.POSTED or posted.settles is None:
        raise ValueError(f"entry {posted.entry_id} is not a posted settlement, so nothing corrects it")
    reversal = JournalEntry(
        entry_id=identity("reversal", posted.entry_id),
        at=at,
        state=EntryState.POSTED,
        memo=f"Reversal: {posted.memo}",
        postings=reversed_postings(posted),
        corrects=posted.entry_id,
    )
    program_id, event_id = posted.settles[2:]
    new = post(line, event_id=event_id, program_id=program_id, at=at, replaces=posted.entry_id)
    new = replace(_noted(new, note), state=EntryState.POSTED, corrects=posted.entry_id)
    return reversal, new


def _noted(entry: JournalEntry, note: str) -> JournalEntry:
    """Return an entry of a correction: its memo says who started it, and why."""
    return replace(entry, memo=f"{note or _CORRECTION}: {entry.memo}")


def reversed_postings(entry: JournalEntry) -> tuple[Posting, ...]:
    """Return the entry's postings with debit and credit exchanged."""
    return tuple(replace(posting, amount=MicroDollars(-posting.amount)) for posting in entry.postings)


def live_settlements(entries: Iterable[JournalEntry]) -> Mapping[tuple[str, str, str, str], JournalEntry]:
    """Return the one entry that stands for each (owner, site, program, period): pending or posted.

    Entries come in the order of the books. Voided and reversed ones stand for nothing.
    """
    live: dict[tuple[str, str, str, str], JournalEntry] = {}
    key_of: dict[str, tuple[str, str, str, str]] = {}
    for entry in entries:
        ended = entry.resolves if entry.state is EntryState.VOIDED else entry.corrects
        key = key_of.get(ended) if ended is not None else None
        if key is not None and key in live and live[key].entry_id == ended:
            del live[key]
        if entry.settles is not None:
            live[entry.settles] = entry
            key_of[entry.entry_id] = entry.settles
    return live


@dataclass(frozen=True, slots=True)
class Correction:
    """How a person's correction changed what one owner is owed for one site and period."""

    settles: tuple[str, str, str, str]
    at: datetime
    before: MicroDollars
    after: MicroDollars
    why: str  # who started it, and what they said


def corrections(entries: Sequence[JournalEntry], owner_id: str) -> tuple[Correction, ...]:
    """Return every correction of an owner's closed amounts, in the order of the books.

    Also of what was nothing before: there no entry is reversed, and the memo alone tells it.
    """
    posted = {entry.entry_id: entry for entry in entries if entry.state is EntryState.POSTED}
    found = []
    for entry in posted.values():
        reversed_entry = posted.get(entry.corrects or "")
        if entry.settles is not None and (reversed_entry or entry.memo.startswith(_CORRECTION)):
            before = MicroDollars(owed_by(reversed_entry, owner_id) if reversed_entry else 0)
            why = entry.memo.partition(f": {_SETTLEMENT}")[0]
            after = MicroDollars(owed_by(entry, owner_id))
            found.append(Correction(entry.settles, entry.at, before, after, why))
    return tuple(found)


_CORRECTION, _SETTLEMENT = "Correction", "Settlement of "
"""How the memo of a correction begins, and that of every settlement's entry."""


def owed_by(entry: JournalEntry, owner_id: str) -> int:
    """Return what an entry owes an owner, in micro-dollars; below zero where it takes back."""
    return -sum(
        posting.amount
        for posting in entry.postings
        if posting.account is Account.OWNER_PAYABLE and posting.party == owner_id
    )


def entries_due(
    settlement: Settlement, booked: Sequence[JournalEntry], *, at: datetime, note: str = ""
) -> tuple[JournalEntry, ...]:
    """Return what must be appended to the books so that they say what a settlement says.

    Nothing when they do already, so paying twice books once. While provisional, an amount that changed
    voids its pending entry and makes a new one. A final run posts them. A posted amount is touched by a
    corrected run only, which a person started: then by a reversal and a new entry. The memo of each new
    entry of such a run holds ``note``, also where nothing stood before.
    """
    live = live_settlements(booked)
    last_for = {entry.settles: entry.entry_id for entry in booked if entry.settles is not None}
    due: list[JournalEntry] = []
    for line in settlement.lines:
        key = (line.owner_id, line.site_id, settlement.program_id, settlement.event_id)
        standing = live.get(key)
        wanted = post(
            line,
            event_id=settlement.event_id,
            program_id=settlement.program_id,
            at=at,
            replaces=last_for.get(key),
        )
        due.extend(_steps(standing, wanted, line, settlement.state, at, note))
    return tuple(due)


def _steps(
    standing: JournalEntry | None,
    wanted: JournalEntry,
    line: SettlementLine,
    state: SettlementState,
    at: datetime,
    note: str,
) -> list[JournalEntry]:
    """Return how one line gets from the entry that stands to the one wanted."""
    if standing is not None and standing.state is EntryState.POSTED:
        if state is SettlementState.CORRECTED and standing.postings != wanted.postings:
            return list(correct(standing, line, at=at, note=note))
        return []
    steps: list[JournalEntry] = []
    if standing is not None and standing.postings != wanted.postings:
        steps.append(void(standing, at=at))
        standing = None
    if standing is None and any(posting.amount for posting in wanted.postings):
        standing = _noted(wanted, note) if state is SettlementState.CORRECTED else wanted
        steps.append(standing)
    if standing is not None and state is not SettlementState.PROVISIONAL:
        steps.append(confirm(standing, at=at))
    return steps


@dataclass(frozen=True, slots=True)
class Balance:
    """What stands on one account of one party. Debits are positive, credits negative."""

    posted: int
    pending: int


def balances(entries: Iterable[JournalEntry]) -> Mapping[tuple[Account, str], Balance]:
    """Return every balance, by account and party, in order. Each column sums to zero over all."""
    pending: dict[str, JournalEntry] = {}
    posted: defaultdict[tuple[Account, str], int] = defaultdict(int)
    for entry in entries:
        if entry.resolves is not None:
            pending.pop(entry.resolves, None)
        if entry.state is EntryState.PENDING:
            pending[entry.entry_id] = entry
        elif entry.state is EntryState.POSTED:
            for posting in entry.postings:
                posted[posting.account, posting.party] += posting.amount
    waiting: defaultdict[tuple[Account, str], int] = defaultdict(int)
    for entry in pending.values():
        for posting in entry.postings:
            waiting[posting.account, posting.party] += posting.amount
    keys = sorted(set(posted) | set(waiting))
    return {key: Balance(posted=posted[key], pending=waiting[key]) for key in keys}


HOME_CURRENCY = "USD"
_OF_OWNERS = (Account.OWNER_PAYABLE, Account.PAID_OUT)


class MixedCurrencies(ValueError):
    """Money of two currencies met in one entry, or on one owner's account."""


def currencies(entries: Iterable[JournalEntry], currency_of: Mapping[str, str]) -> Mapping[str, str]:
    """Return each entry's currency, by entry id: that of its program, or of its owner's program.

    Args:
        entries: The books, or an owner's part of them, in their order.
        currency_of: By program; one that is not named pays US dollars.

    Raises:
        MixedCurrencies: An entry, or an owner's account, holds two. Nothing may be summed then.
    """
    of_owner: dict[str, str] = {}
    found: dict[str, str] = {}
    for entry in entries:
        owners = [posting.party for posting in entry.postings if posting.account in _OF_OWNERS]
        programs = {
            posting.party.partition("/")[0] for posting in entry.postings if posting.account not in _OF_OWNERS
        }
        named = {currency_of.get(program_id, HOME_CURRENCY) for program_id in programs}
        named |= {of_owner[owner_id] for owner_id in owners if owner_id in of_owner}
        if len(named) > 1:
            raise MixedCurrencies(f"entry {entry.entry_id} joins {' and '.join(sorted(named))}")
        currency = next(iter(named), HOME_CURRENCY)
        of_owner |= dict.fromkeys(owners, currency)
        found[entry.entry_id] = currency
    return found
