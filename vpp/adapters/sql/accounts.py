"""People, logins and their trail in the database."""

from collections.abc import Sequence

from sqlmodel import col, delete, select
from sqlmodel.ext.asyncio.session import AsyncSession

from vpp.adapters.sql.engine import Database, from_us, to_us
from vpp.adapters.sql.registry import enrollments_where
from vpp.adapters.sql.tables import (
    EnrollmentRow,
    KeptAnswerRow,
    LoginLinkRow,
    LoginSessionRow,
    PersonRow,
    TrailRow,
)
from vpp.domain.access import ANSWERS_KEPT, KeptAnswer, LoginLink, Role, Session, TrailEntry, User
from vpp.domain.enrollment import Enrollment


class SqlAccounts:
    """The accounts' part of the store."""

    def __init__(self, database: Database) -> None:
        self._account_database = database

    async def keep_user(self, user: User) -> None:
        """Add somebody, or replace the one of that name; a replaced one's sessions and links end."""
        async with self._account_database.write() as session:
            await session.exec(delete(LoginSessionRow).where(col(LoginSessionRow.user_name) == user.name))
            await session.exec(delete(LoginLinkRow).where(col(LoginLinkRow.user_name) == user.name))
            await session.merge(
                PersonRow(
                    name=user.name,
                    role=user.role.value,
                    owner_id=user.owner_id,
                    password_hash=user.password_hash,
                    added_at_us=to_us(user.added_at),
                )
            )

    async def user(self, name: str) -> User | None:
        """Return somebody by name, None for an unknown one."""
        async with self._account_database.read() as session:
            row = await session.get(PersonRow, name)
            return None if row is None else _user(row)

    async def users(self) -> Sequence[User]:
        """Return everybody by name."""
        async with self._account_database.read() as session:
            rows = (await session.exec(select(PersonRow))).all()
        # Sorted here: databases order text by their own locale.
        return [_user(row) for row in sorted(rows, key=lambda row: row.name)]

    async def begin_session(self, session: Session) -> None:
        """Store a login; sessions that ended before it began are forgotten."""
        started_us = to_us(session.started_at)
        async with self._account_database.write() as database:
            await database.exec(
                delete(LoginSessionRow).where(col(LoginSessionRow.expires_at_us) <= started_us)
            )
            database.add(
                LoginSessionRow(
                    key=session.key,
                    user_name=session.user_name,
                    started_at_us=started_us,
                    expires_at_us=to_us(session.expires_at),
                )
            )

    async def session(self, key: str) -> Session | None:
        """Return a session by its key, None for an unknown or ended one; it may have expired."""
        async with self._account_database.read() as database:
            row = await database.get(LoginSessionRow, key)
            if row is None:
                return None
            return Session(row.key, row.user_name, from_us(row.started_at_us), from_us(row.expires_at_us))

    async def end_session(self, key: str) -> None:
        """End a session; an unknown one is ended already."""
        async with self._account_database.write() as database:
            await database.exec(delete(LoginSessionRow).where(col(LoginSessionRow.key) == key))

    async def add_login_link(self, link: LoginLink) -> None:
        """Store a link that logs in once."""
        async with self._account_database.write() as database:
            database.add(
                LoginLinkRow(
                    key=link.key,
                    user_name=link.user_name,
                    made_at_us=to_us(link.made_at),
                    expires_at_us=to_us(link.expires_at),
                )
            )

    async def use_login_link(self, key: str) -> LoginLink | None:
        """Return the link and forget it, None for an unknown or used one: of two at once one gets it."""
        async with self._account_database.write() as database:
            row = await database.get(LoginLinkRow, key)
            if row is None:
                return None
            link = LoginLink(row.key, row.user_name, from_us(row.made_at_us), from_us(row.expires_at_us))
            await database.delete(row)
            return link

    async def leave_trail(self, entries: Sequence[TrailEntry]) -> None:
        """Append what people did or read; nothing of it is ever changed."""
        async with self._account_database.write() as database:
            database.add_all(trail_row(entry) for entry in entries)

    async def read_homes(self, owner_id: str, entry: TrailEntry) -> Sequence[Enrollment]:
        """Return an owner's homes, with the entry that says who reads them stored in the same transaction."""
        async with self._account_database.write() as database:
            database.add(trail_row(entry))
            await database.flush()
            return await enrollments_where(database, col(EnrollmentRow.owner_id) == owner_id)

    async def trail(self, *, subject: str | None = None, limit: int = 200) -> Sequence[TrailEntry]:
        """Return the newest entries first, with a subject those about it."""
        async with self._account_database.read() as database:
            return await _newest(database, subject, limit)

    async def keep_answer(self, answer: KeptAnswer) -> None:
        """Keep a command's answer; the first under a key stays. Those older than a day are forgotten."""
        async with self._account_database.write() as database:
            forgotten_us = to_us(answer.at - ANSWERS_KEPT)
            await database.exec(delete(KeptAnswerRow).where(col(KeptAnswerRow.at_us) <= forgotten_us))
            if await database.get(KeptAnswerRow, answer.key) is None:
                database.add(
                    KeptAnswerRow(
                        key=answer.key,
                        request_sha256=answer.request_sha256,
                        status=answer.status,
                        body=answer.body,
                        at_us=to_us(answer.at),
                    )
                )

    async def kept_answer(self, key: str) -> KeptAnswer | None:
        """Return the answer kept under a key, None where there is none or it is forgotten."""
        async with self._account_database.read() as database:
            row = await database.get(KeptAnswerRow, key)
            if row is None:
                return None
            return KeptAnswer(row.key, row.request_sha256, row.status, row.body, from_us(row.at_us))


def _user(row: PersonRow) -> User:
    return User(row.name, Role(row.role), row.owner_id, row.password_hash, from_us(row.added_at_us))


def trail_row(entry: TrailEntry) -> TrailRow:
    """Return an entry of the trail as its row."""
    return TrailRow(
        at_us=to_us(entry.at),
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        reason=entry.reason,
        request_id=entry.request_id,
    )


async def _newest(database: AsyncSession, subject: str | None, limit: int) -> list[TrailEntry]:
    wanted = select(TrailRow).order_by(col(TrailRow.number).desc()).limit(limit)
    if subject is not None:
        wanted = wanted.where(col(TrailRow.subject) == subject)
    return [
        TrailEntry(from_us(row.at_us), row.actor, row.action, row.subject, row.reason, row.request_id)
        for row in (await database.exec(wanted)).all()
    ]
