"""The sockets for money: the chain, settlements and ledger, metered hours, disputes, nominations, prices.

With what a store says of books that it cannot read.

As in ``vpp.ports``, every store method is one transaction.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from vpp.domain.delivery import ReadingFault
from vpp.domain.dispute import DisputeWord
from vpp.domain.interval import Interval
from vpp.domain.ledger import JournalEntry
from vpp.domain.metered_hours import HourEnergies
from vpp.domain.nomination import Nomination
from vpp.domain.payout import PayoutRun
from vpp.domain.program import MeterOfRecord
from vpp.domain.quantities import IntColumn, MicroDollars
from vpp.domain.settlement import Settlement, SettlementTotals
from vpp.domain.wholesale_price import WholesalePrice


class AlteredBooks(Exception):
    """What is stored as a journal entry is none: somebody changed the database. Nothing may be summed."""


class Chain(Protocol):
    """The hash chain over ledger entries, grid events and ticks. A head is 64 hexadecimal digits."""

    async def chain_head(self) -> str:
        """Return the head of the chain as it is now."""
        ...

    async def newest_link(self) -> tuple[int, str]:
        """Return which link is the newest, from 1, and the head with it; zero before any link."""
        ...

    async def verify_chain(self) -> str | None:
        """Recompute the chain; return None when it holds, else what differs first."""
        ...

    async def link_with(self, head: str) -> tuple[int | None, int]:
        """Return which link, from 1, has a head that begins so, None for none; and how many there are."""
        ...


class Books(Chain, Protocol):
    """Settlements and the ledger."""

    async def settle(self, settlement: Settlement) -> SettlementTotals:
        """Store a run beside the older ones, if it says something new; return what the standing one says."""
        ...

    async def settlement(self, event_id: str) -> Settlement | None:
        """Return an event's newest settlement."""
        ...

    async def settlement_totals(self, event_id: str) -> SettlementTotals | None:
        """Return what an event's newest settlement comes to; no line of it is read."""
        ...

    async def settlements(self, *, owner_id: str | None = None) -> Sequence[Settlement]:
        """Return every event's newest settlement, by event id; with an owner, with that owner's lines."""
        ...

    async def post(self, entries: Sequence[JournalEntry]) -> None:
        """Append entries, all or none; one already present under its id changes nothing.

        ConflictingFact: a pending entry would end twice, or two settlements of the same would stand.
        """
        ...

    async def entries(self, *, owner_id: str | None = None) -> Sequence[JournalEntry]:
        """Return journal entries in order; with an owner, those that touch that owner."""
        ...

    async def payout_entries(
        self, *, owner_ids: Sequence[str] | None = None, ended_since: datetime | None = None
    ) -> Sequence[JournalEntry]:
        """Return, in order, the entries that send owners money, confirm that, or call it back.

        With owners, those of these; with an instant, those that confirm or call back since then.
        """
        ...

    async def payout_runs(self) -> Sequence[PayoutRun]:
        """Return what every payout run comes to, in the order begun."""
        ...

    async def paid_owners(self, *, after: str = "", limit: int | None = None) -> Sequence[str]:
        """Return owners to whom money was ever sent, each once, in one order; after one of them, the rest."""
        ...

    async def owed_to_owners(self) -> Mapping[str, MicroDollars]:
        """Return each owner's posted balance, by owner: what is on its way to them included.

        AlteredBooks: An entry does not sum to zero, or is none: nothing may be paid from such books.
        """
        ...

    async def period_entries(self, program_id: str, period: str) -> Sequence[JournalEntry]:
        """Return, in order, what settles an event or period of a program, ended it, or reversed it."""
        ...


class MeteredHours(Protocol):
    """Energy by the hour of UTC, kept as the readings come: what a settlement reads instead of these."""

    async def hour_energies(
        self, site_ids: Sequence[str], starts_s: IntColumn, meter: MeterOfRecord
    ) -> HourEnergies:
        """Return net energy of the hours of UTC that start then (ascending), from all stored so far."""
        ...

    async def sites_changed_since(
        self, site_ids: Sequence[str], starts_s: IntColumn, since: datetime
    ) -> IntColumn:
        """Return the positions of the sites of which a reading received since then may touch these hours.

        In order. Of all others the hours are as if nothing had been received since.
        """
        ...

    async def refuse_stretches(self, stretches: Sequence[tuple[str, Interval]], *, at: datetime) -> None:
        """Make what gateways read at those sites then BAD, both ends included, with what follows from it.

        Of the boots that have spoken then; again changes nothing, and nothing takes it back.
        """
        ...

    async def reading_faults(
        self, site_id: str, interval: Interval, *, before: datetime | None = None
    ) -> Mapping[datetime, ReadingFault]:
        """Return why readings of a site in an interval (both ends included) are BAD, by their instant.

        Those that came BAD without a reason of ours are left out. With ``before``, as known until then.
        """
        ...


class Disputes(Protocol):
    """What owners ask about their money, and what staff answer."""

    async def say(self, word: DisputeWord) -> None:
        """Append a word; nothing of it is ever changed."""
        ...

    async def words(self, *, owner_id: str | None = None) -> Sequence[DisputeWord]:
        """Return everything that was said in the order said; with an owner, about that owner's money."""
        ...

    async def open_disputes(self) -> int:
        """Return how many disputes wait for an answer: those in which an owner had the last word."""
        ...


class Nominations(Protocol):
    """The power each program was told to count on, month by month."""

    async def nominate(self, nomination: Nomination) -> None:
        """Append a nomination; it stands in place of earlier ones, which are never changed."""
        ...

    async def nominations(self) -> Sequence[Nomination]:
        """Return every nomination in the order made."""
        ...


class WholesalePrices(Protocol):
    """What energy cost on the wholesale market, by program and clock hour."""

    async def add_prices(self, prices: Sequence[WholesalePrice]) -> None:
        """Append prices, all or none; each stands in place of earlier ones of its hour."""
        ...

    async def prices(self, program_id: str) -> Sequence[WholesalePrice]:
        """Return every price of a program in the order made."""
        ...
