"""Contacts, notices, alarms and calendar feeds, kept in memory."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from vpp.domain.notice import ANNOUNCING, Alarm, CalendarFeed, Contact, Delivery, Notice


class MemoryNotices:
    """The notices' part of the memory store."""

    def __init__(self) -> None:
        self._contacts: dict[str, Contact] = {}
        self._notices: dict[str, tuple[Notice, Delivery]] = {}  # in the order they were written
        self._alarms: dict[str, Alarm] = {}
        self._feeds: dict[str, CalendarFeed] = {}

    async def keep_contact(self, contact: Contact) -> None:
        """Keep how somebody is written to, in place of what was kept."""
        self._contacts[contact.party] = contact

    async def contact(self, party: str) -> Contact | None:
        """Return how somebody is written to, None where nothing was ever kept."""
        return self._contacts.get(party)

    async def contacts(self, *, staff: bool = False) -> Sequence[Contact]:
        """Return every owner who has an address, by party; or the staff who have one."""
        found = [self._contacts[party] for party in sorted(self._contacts)]
        return [each for each in found if each.address and each.is_staff == staff]

    async def write_notices(self, notices: Sequence[Notice]) -> int:
        """Append notices to be sent and return how many were new; one whose key stands is passed over."""
        before = len(self._notices)
        for notice in notices:
            self._notices.setdefault(notice.key, (notice, Delivery()))
        return len(self._notices) - before

    async def notices_to_send(self, *, now: datetime, limit: int = 100) -> Sequence[tuple[Notice, Delivery]]:
        """Return unsent notices whose next try is due, oldest first."""
        due = [
            (notice, delivery)
            for notice, delivery in self._notices.values()
            if delivery.sent_at is None
            and not delivery.given_up
            and (delivery.next_try_at is None or delivery.next_try_at <= now)
        ]
        return due[:limit]

    async def notices_of(self, party: str, *, limit: int = 100) -> Sequence[tuple[Notice, Delivery]]:
        """Return what was written to somebody, newest first."""
        found = [each for each in reversed(self._notices.values()) if each[0].party == party]
        return found[:limit]

    async def announcements(self, event_id: str) -> Sequence[Notice]:
        """Return the notices that said when an event is, or that it is not, in the order written."""
        said = [notice for notice, _ in self._notices.values() if notice.kind in ANNOUNCING]
        return [notice for notice in said if notice.subject == event_id]

    async def record_delivery(self, key: str, delivery: Delivery) -> None:
        """Store how far a notice came."""
        self._notices[key] = (self._notices[key][0], delivery)

    async def raise_alarm(self, alarm: Alarm) -> bool:
        """Append an alarm and return whether it was new."""
        return self._alarms.setdefault(alarm.key, alarm) is alarm

    async def alarms(self, *, limit: int | None = 100) -> Sequence[Alarm]:
        """Return the newest alarms and every one that is not over, however old; newest first."""
        found = sorted(self._alarms.values(), key=lambda each: (each.raised_at, each.key), reverse=True)
        if limit is None:
            return found
        return found[:limit] + [each for each in found[limit:] if each.cleared_at is None]

    async def past_alarms(self, *, before: tuple[datetime, str], limit: int) -> Sequence[Alarm]:
        """Return alarms that are over, raised before a time (at it, with a lower key); newest first."""
        found = await self.alarms(limit=None)
        past = [each for each in found if each.cleared_at and (each.raised_at, each.key) < before]
        return past[:limit]

    async def tell_alarm(self, key: str, *, rank: int, at: datetime, notices: Sequence[Notice]) -> None:
        """Append an alarm's notices, and note whom it was told, as one."""
        self._alarms[key] = replace(self._alarms[key], told_rank=rank, told_at=at)
        await self.write_notices(notices)

    async def answer_alarm(self, key: str, *, actor: str, at: datetime) -> Alarm | None:
        """Note who answered an alarm; the first stays. None for an unknown one."""
        known = self._alarms.get(key)
        if known is not None and known.answered_at is None:
            self._alarms[key] = replace(known, answered_by=actor, answered_at=at)
        return self._alarms.get(key)

    async def clear_alarm(self, key: str, *, at: datetime) -> None:
        """Note that what an alarm is about is over; the first time stays."""
        known = self._alarms[key]
        self._alarms[key] = replace(known, cleared_at=known.cleared_at or at)

    async def open_calendar(self, feed: CalendarFeed) -> None:
        """Store an owner's calendar feed in place of the one before."""
        await self.close_calendar(feed.owner_id)
        self._feeds[feed.key] = feed

    async def close_calendar(self, owner_id: str) -> None:
        """End an owner's calendar feed; without one nothing changes."""
        self._feeds = {key: each for key, each in self._feeds.items() if each.owner_id != owner_id}

    async def calendar(self, *, key: str = "", owner_id: str = "") -> CalendarFeed | None:
        """Return a feed by its key or by its owner, None for an unknown or ended one."""
        found = (each for each in self._feeds.values() if key == each.key or owner_id == each.owner_id)
        return next(found, None)
