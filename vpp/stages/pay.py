"""Pay: book what a settlement says, once."""

from vpp.domain.interval import whole_second
from vpp.domain.ledger import JournalEntry, entries_due
from vpp.domain.settlement import Settlement
from vpp.ports import Books, Clock


async def pay(settlement: Settlement, *, books: Books, clock: Clock) -> tuple[JournalEntry, ...]:
    """Append the entries that make the books say what a settlement says, and return them.

    Booking the same settlement again appends nothing: what is due follows from the books themselves.
    """
    due = entries_due(settlement, await books.entries(), at=whole_second(clock.now()))
    await books.post(due)
    return due
