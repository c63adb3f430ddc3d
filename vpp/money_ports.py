"""The sockets for what is said about money: owners' disputes, and what programs were told to count on.

With what a store says of books that it cannot read.

As in ``vpp.ports``, every store method is one transaction.
"""

from collections.abc import Sequence
from typing import Protocol

from vpp.domain.dispute import DisputeWord
from vpp.domain.nomination import Nomination


class AlteredBooks(Exception):
    """What is stored as a journal entry is none: somebody changed the database. Nothing may be summed."""


class Disputes(Protocol):
    """What owners ask about their money, and what staff answer."""

    async def say(self, word: DisputeWord) -> None:
        """Append a word; nothing of it is ever changed."""
        ...

    async def words(self, *, owner_id: str | None = None) -> Sequence[DisputeWord]:
        """Return everything that was said in the order said; with an owner, about that owner's money."""
        ...


class Nominations(Protocol):
    """The power each program was told to count on, month by month."""

    async def nominate(self, nomination: Nomination) -> None:
        """Append a nomination; it stands in place of earlier ones, which are never changed."""
        ...

    async def nominations(self) -> Sequence[Nomination]:
        """Return every nomination in the order made."""
        ...
