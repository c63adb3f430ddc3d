"""The sockets for what people are told: who is written to, what was written, and who answered.

As in ``vpp.ports``, every store method is one transaction.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Protocol

from vpp.domain.access import TrailEntry
from vpp.domain.delivery import ReadingFault
from vpp.domain.notice import Alarm, CalendarFeed, Contact, Delivery, Forgotten, Notice


class Messenger(Protocol):
    """The way to people outside."""

    async def send(self, notice: Notice, contact: Contact) -> str | None:
        """Word a notice in the contact's language and send it; return what went wrong, None when sent."""
        ...


class Doubts(Protocol):
    """What the store found about meter evidence that somebody must look into."""

    async def contested_since(self, since: datetime) -> Mapping[ReadingFault, Sequence[str]]:
        """Return, by reason, the sites whose boots were found since then not to count beside each other.

        Every reason for that is there; sites are sorted.
        """
        ...


class Notices(Doubts, Protocol):
    """Who is written to, what was written and answered, and the calendars that may be read."""

    async def forget_owner(self, owner_id: str, entry: TrailEntry) -> Forgotten:
        """Delete an owner's address, messages, calendar feed and logins, with the entry that says so stored.

        Sessions and links of those logins end. Nothing else of the owner changes.
        """
        ...

    async def keep_contact(self, contact: Contact) -> None:
        """Keep how somebody is written to, in place of what was kept."""
        ...

    async def contact(self, party: str) -> Contact | None:
        """Return how somebody is written to, None where nothing was ever kept."""
        ...

    async def contacts(self, *, staff: bool = False) -> Sequence[Contact]:
        """Return every owner who has an address, by party; or the staff who have one."""
        ...

    async def write_notices(self, notices: Sequence[Notice]) -> int:
        """Append notices to be sent and return how many were new; one whose key stands is passed over."""
        ...

    async def notices_to_send(self, *, now: datetime, limit: int = 100) -> Sequence[tuple[Notice, Delivery]]:
        """Return unsent notices whose next try is due, oldest first."""
        ...

    async def notices_of(self, party: str, *, limit: int = 100) -> Sequence[tuple[Notice, Delivery]]:
        """Return what was written to somebody, newest first."""
        ...

    async def announcements(self, event_id: str) -> Sequence[Notice]:
        """Return the notices that said when an event is, or that it is not, in the order written."""
        ...

    async def record_delivery(self, key: str, delivery: Delivery) -> None:
        """Store how far a notice came."""
        ...

    async def raise_alarm(self, alarm: Alarm) -> bool:
        """Append an alarm and return whether it was new."""
        ...

    async def alarms(self, *, limit: int | None = 100) -> Sequence[Alarm]:
        """Return the newest alarms and every one that is not over, however old; newest first."""
        ...

    async def past_alarms(self, *, before: tuple[datetime, str], limit: int) -> Sequence[Alarm]:
        """Return alarms that are over, raised before a time (at it, with a lower key); newest first."""
        ...

    async def tell_alarm(self, key: str, *, rank: int, at: datetime, notices: Sequence[Notice]) -> None:
        """Append an alarm's notices, and note whom it was told, as one."""
        ...

    async def answer_alarm(self, key: str, *, actor: str, at: datetime) -> Alarm | None:
        """Note who answered an alarm; the first stays. None for an unknown one."""
        ...

    async def clear_alarm(self, key: str, *, at: datetime) -> None:
        """Note that what an alarm is about is over; the first time stays."""
        ...

    async def open_calendar(self, feed: CalendarFeed) -> None:
        """Store an owner's calendar feed in place of the one before."""
        ...

    async def close_calendar(self, owner_id: str) -> None:
        """End an owner's calendar feed; without one nothing changes."""
        ...

    async def calendar(self, *, key: str = "", owner_id: str = "") -> CalendarFeed | None:
        """Return a feed by its key or by its owner, None for an unknown or ended one."""
        ...
