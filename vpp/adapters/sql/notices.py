"""Contacts, notices, alarms and calendar feeds in the database."""

import json
from collections.abc import Sequence
from datetime import datetime
from types import MappingProxyType

from sqlmodel import and_, col, delete, or_, select
from sqlmodel.ext.asyncio.session import AsyncSession

from vpp.adapters.sql.accounts import trail_row
from vpp.adapters.sql.bulk import insert_new
from vpp.adapters.sql.engine import Database, from_us, maybe_from_us, maybe_us, to_us
from vpp.adapters.sql.notice_tables import AlarmRow, CalendarFeedRow, ContactRow, NoticeRow
from vpp.adapters.sql.tables import LoginLinkRow, LoginSessionRow, PersonRow, table_of
from vpp.domain.access import TrailEntry
from vpp.domain.notice import (
    ANNOUNCING,
    STAFF,
    Alarm,
    CalendarFeed,
    Contact,
    Delivery,
    Forgotten,
    Notice,
    NoticeKind,
)

_NEWEST_FIRST = (col(AlarmRow.raised_at_us).desc(), col(AlarmRow.key).desc())


_BIT_BY_BIT = {"yield_per": 1_000}
"""What is read of every owner: between some of them whatever else waits has a turn."""


class SqlNotices:
    """The notices' part of the store."""

    def __init__(self, database: Database) -> None:
        self._notice_database = database

    async def forget_owner(self, owner_id: str, entry: TrailEntry) -> Forgotten:
        """Delete an owner's address, messages, calendar feed and logins; keep the entry that says so."""
        named = select(PersonRow.name).where(PersonRow.owner_id == owner_id)
        async with self._notice_database.write() as session:
            await session.exec(delete(LoginSessionRow).where(col(LoginSessionRow.user_name).in_(named)))
            await session.exec(delete(LoginLinkRow).where(col(LoginLinkRow.user_name).in_(named)))
            counts = [
                (await session.exec(delete(rows).where(col(column) == owner_id))).rowcount
                for rows, column in (
                    (ContactRow, ContactRow.party),
                    (NoticeRow, NoticeRow.party),
                    (CalendarFeedRow, CalendarFeedRow.owner_id),
                    (PersonRow, PersonRow.owner_id),
                )
            ]
            session.add(trail_row(entry))
        return Forgotten(*counts)

    async def keep_contact(self, contact: Contact) -> None:
        """Keep how somebody is written to, in place of what was kept."""
        async with self._notice_database.write() as session:
            await session.merge(
                ContactRow(
                    party=contact.party,
                    language=contact.language,
                    address=contact.address,
                    muted=json.dumps(sorted(contact.muted)),
                    rank=contact.rank,
                    home_names=json.dumps(dict(contact.home_names)),
                )
            )

    async def contact(self, party: str) -> Contact | None:
        """Return how somebody is written to, None where nothing was ever kept."""
        async with self._notice_database.read() as session:
            row = await session.get(ContactRow, party)
            return None if row is None else _contact(row)

    async def contacts(self, *, staff: bool = False) -> Sequence[Contact]:
        """Return every owner who has an address, by party; or the staff who have one."""
        of_staff = col(ContactRow.party).startswith(STAFF)
        which = (col(ContactRow.address) != "") & (of_staff if staff else ~of_staff)
        async with self._notice_database.read() as session:
            rows = await session.stream_scalars(
                select(ContactRow).where(which), execution_options=_BIT_BY_BIT
            )
            found = [_contact(row) async for row in rows]
        # Sorted here: databases order text by their own locale.
        return sorted(found, key=lambda contact: contact.party)

    async def write_notices(self, notices: Sequence[Notice]) -> int:
        """Append notices to be sent and return how many were new; one whose key stands is passed over."""
        if not notices:
            return 0
        async with self._notice_database.write() as session:
            return await insert_new(session, table_of(NoticeRow), _columns(notices))

    async def notices_to_send(self, *, now: datetime, limit: int = 100) -> Sequence[tuple[Notice, Delivery]]:
        """Return unsent notices whose next try is due, oldest first."""
        due = select(NoticeRow).where(col(NoticeRow.next_try_at_us) <= to_us(now))
        async with self._notice_database.read() as session:
            rows = (await session.exec(due.order_by(col(NoticeRow.number)).limit(limit))).all()
        return [(_notice(row), _delivery(row)) for row in rows]

    async def notices_of(self, party: str, *, limit: int = 100) -> Sequence[tuple[Notice, Delivery]]:
        """Return what was written to somebody, newest first."""
        wanted = select(NoticeRow).where(NoticeRow.party == party).order_by(col(NoticeRow.number).desc())
        async with self._notice_database.read() as session:
            rows = (await session.exec(wanted.limit(limit))).all()
        return [(_notice(row), _delivery(row)) for row in rows]

    async def announcements(self, event_id: str) -> Sequence[Notice]:
        """Return the notices that said when an event is, or that it is not, in the order written."""
        kinds = [kind.value for kind in ANNOUNCING]
        wanted = select(NoticeRow).where(NoticeRow.subject == event_id, col(NoticeRow.kind).in_(kinds))
        wanted = wanted.order_by(col(NoticeRow.number))
        async with self._notice_database.read() as session:
            rows = await session.stream_scalars(wanted, execution_options=_BIT_BY_BIT)
            return [_notice(row) async for row in rows]

    async def record_delivery(self, key: str, delivery: Delivery) -> None:
        """Store how far a notice came."""
        async with self._notice_database.write() as session:
            row = (await session.exec(select(NoticeRow).where(NoticeRow.key == key))).one()
            row.tries = delivery.tries
            row.next_try_at_us = None if delivery.given_up else maybe_us(delivery.next_try_at)
            row.sent_at_us = maybe_us(delivery.sent_at)
            row.trouble = delivery.trouble
            session.add(row)

    async def raise_alarm(self, alarm: Alarm) -> bool:
        """Append an alarm and return whether it was new."""
        columns: dict[str, list[object]] = {
            "key": [alarm.key],
            "kind": [alarm.kind.value],
            "subject": [alarm.subject],
            "raised_at_us": [to_us(alarm.raised_at)],
            "facts": [json.dumps(dict(alarm.facts))],
            "told_rank": [alarm.told_rank],
        }
        async with self._notice_database.write() as session:
            return await insert_new(session, table_of(AlarmRow), columns) == 1

    async def alarms(self, *, limit: int | None = 100) -> Sequence[Alarm]:
        """Return the newest alarms and every one that is not over, however old; newest first."""
        wanted = select(AlarmRow).order_by(*_NEWEST_FIRST)
        lasting = wanted.where(col(AlarmRow.cleared_at_us).is_(None))
        async with self._notice_database.read() as session:
            newest = (await session.exec(wanted.limit(limit))).all()
            known = {row.key for row in newest}
            older = [row for row in (await session.exec(lasting)).all() if row.key not in known]
            return [_alarm(row) for row in (*newest, *older)]

    async def past_alarms(self, *, before: tuple[datetime, str], limit: int) -> Sequence[Alarm]:
        """Return alarms that are over, raised before a time (at it, with a lower key); newest first."""
        at_us, key = to_us(before[0]), before[1]
        same = and_(col(AlarmRow.raised_at_us) == at_us, col(AlarmRow.key) < key)
        wanted = select(AlarmRow).where(
            col(AlarmRow.cleared_at_us).is_not(None), or_(col(AlarmRow.raised_at_us) < at_us, same)
        )
        async with self._notice_database.read() as session:
            found = (await session.exec(wanted.order_by(*_NEWEST_FIRST).limit(limit))).all()
            return [_alarm(row) for row in found]

    async def tell_alarm(self, key: str, *, rank: int, at: datetime, notices: Sequence[Notice]) -> None:
        """Append an alarm's notices, and note whom it was told, as one."""
        async with self._notice_database.write() as session:
            row = await _alarm_row(session, key)
            assert row is not None
            row.told_rank, row.told_at_us = rank, to_us(at)
            session.add(row)
            await insert_new(session, table_of(NoticeRow), _columns(notices))

    async def answer_alarm(self, key: str, *, actor: str, at: datetime) -> Alarm | None:
        """Note who answered an alarm; the first stays. None for an unknown one."""
        async with self._notice_database.write() as session:
            row = await _alarm_row(session, key)
            if row is None:
                return None
            if row.answered_at_us is None:
                row.answered_by, row.answered_at_us = actor, to_us(at)
                session.add(row)
            return _alarm(row)

    async def clear_alarm(self, key: str, *, at: datetime) -> None:
        """Note that what an alarm is about is over; the first time stays."""
        async with self._notice_database.write() as session:
            row = await _alarm_row(session, key)
            assert row is not None
            row.cleared_at_us = to_us(at) if row.cleared_at_us is None else row.cleared_at_us
            session.add(row)

    async def open_calendar(self, feed: CalendarFeed) -> None:
        """Store an owner's calendar feed in place of the one before."""
        async with self._notice_database.write() as session:
            await session.exec(delete(CalendarFeedRow).where(col(CalendarFeedRow.owner_id) == feed.owner_id))
            made_at_us = to_us(feed.made_at)
            session.add(CalendarFeedRow(key=feed.key, owner_id=feed.owner_id, made_at_us=made_at_us))

    async def close_calendar(self, owner_id: str) -> None:
        """End an owner's calendar feed; without one nothing changes."""
        async with self._notice_database.write() as session:
            await session.exec(delete(CalendarFeedRow).where(col(CalendarFeedRow.owner_id) == owner_id))

    async def calendar(self, *, key: str = "", owner_id: str = "") -> CalendarFeed | None:
        """Return a feed by its key or by its owner, None for an unknown or ended one."""
        which = (CalendarFeedRow.key == key) | (CalendarFeedRow.owner_id == owner_id)
        async with self._notice_database.read() as session:
            row = (await session.exec(select(CalendarFeedRow).where(which))).first()
            return None if row is None else CalendarFeed(row.key, row.owner_id, from_us(row.made_at_us))


async def _alarm_row(session: AsyncSession, key: str) -> AlarmRow | None:
    return await session.get(AlarmRow, key)


def _contact(row: ContactRow) -> Contact:
    muted = frozenset(NoticeKind(word) for word in json.loads(row.muted))
    names = MappingProxyType(json.loads(row.home_names))
    return Contact(row.party, row.language, row.address, muted, row.rank, names)


def _columns(notices: Sequence[Notice]) -> dict[str, list[object]]:
    return {
        "key": [each.key for each in notices],
        "party": [each.party for each in notices],
        "kind": [each.kind.value for each in notices],
        "subject": [each.subject for each in notices],
        "at_us": [to_us(each.at) for each in notices],
        "facts": [json.dumps(dict(each.facts)) for each in notices],
        "tries": [0 for _ in notices],
        "next_try_at_us": [to_us(each.at) for each in notices],
    }


def _notice(row: NoticeRow) -> Notice:
    kind = NoticeKind(row.kind)
    return Notice(row.key, row.party, kind, row.subject, from_us(row.at_us), json.loads(row.facts))


def _delivery(row: NoticeRow) -> Delivery:
    first = row.tries == 0  # it is due from the moment it was written
    next_try_at = None if first else maybe_from_us(row.next_try_at_us)
    return Delivery(row.tries, next_try_at, maybe_from_us(row.sent_at_us), row.trouble)


def _alarm(row: AlarmRow) -> Alarm:
    return Alarm(
        row.key,
        NoticeKind(row.kind),
        row.subject,
        from_us(row.raised_at_us),
        json.loads(row.facts),
        row.told_rank,
        maybe_from_us(row.told_at_us),
        row.answered_by,
        maybe_from_us(row.answered_at_us),
        maybe_from_us(row.cleared_at_us),
    )
