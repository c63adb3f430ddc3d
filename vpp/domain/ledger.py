"""Double-entry books in integer micro-dollars: append-only, every entry sums to zero."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from vpp.domain.quantities import MicroDollars


class UnbalancedEntry(ValueError):
    """A journal entry has fewer than two postings or does not sum to zero."""


class Account(StrEnum):
    """The accounts of the books. Debits are positive, credits negative."""

    PROGRAM_RECEIVABLE = "program_receivable"
    OWNER_PAYABLE = "owner_payable"
    AGGREGATOR_MARGIN = "aggregator_margin"
    ROUNDING = "rounding"
    PAID_OUT = "paid_out"


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
