"""One way into the database: transactions, errors and bulk rows, the same on SQLite and PostgreSQL.

Knows the two engines' differences so that nothing else in this package does. On both there is one
writer of ordered facts at a time; reading never waits for it.
"""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing, nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # asyncpg carries no types
from sqlalchemy import URL, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlmodel.ext.asyncio.session import AsyncSession

from vpp.ports import ConflictingFact, StoreUnavailable

BUSY_TIMEOUT_MS = 10_000
SQLITE_CACHE_KIB = 32_768
CONNECT_TIMEOUT_S = 10
POOLED_CONNECTIONS = 5

STATEMENT_S = 60.0
"""How long a statement on PostgreSQL may take: far longer than any of a running service does.

A server that vanished without a word (a lost host, a network that swallows packets) never ends a connection;
dispatch would wait for its answer for ever, also when another server has long taken the address over.
"""

WRITER_IDLE_MS = 10_000
"""How long a writer on PostgreSQL may pause between two statements of one transaction."""

WRITER_LOCK = 5_067_077
"""The PostgreSQL advisory lock that orders everything the hash chain runs over."""

_PASSING_STATES = frozenset(
    (
        "08",  # connection
        "28",  # authorization: an operator mends it
        "3D",  # no such database
        "40",  # deadlock, serialization
        "53",  # out of disk, memory or connections
        "55",  # lock not available
        "57",  # shutdown, starting up
    )
)
"""Classes of SQLSTATE that say nothing about the fact itself."""

_POSTGRESQL_OPTIONS = frozenset(("host", "port", "ssl"))

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class UnknownDatabase(ValueError):
    """A database URL names neither a SQLite file nor a PostgreSQL server."""


def to_us(at: datetime) -> int:
    """Return whole microseconds since 1970."""
    return (at - _EPOCH) // _MICROSECOND


def from_us(microseconds: int) -> datetime:
    """Return the UTC instant that many microseconds after 1970."""
    return _EPOCH + microseconds * _MICROSECOND


def maybe_us(at: datetime | None) -> int | None:
    """Return ``to_us`` of an instant that may be absent."""
    return None if at is None else to_us(at)


def maybe_from_us(microseconds: int | None) -> datetime | None:
    """Return ``from_us`` of a number that may be absent."""
    return None if microseconds is None else from_us(microseconds)


def driver_url(given: str) -> URL:
    """Return the URL with the asynchronous driver for ``sqlite:///path`` or ``postgresql://…``.

    Raises:
        UnknownDatabase: Another scheme, or a SQLite database without a file.
    """
    try:
        url = make_url(given)
    except ArgumentError:
        raise UnknownDatabase("database URL is neither sqlite:///path nor postgresql://…") from None
    engine = url.get_backend_name()
    if engine == "sqlite":
        if not url.database or url.database == ":memory:":
            raise UnknownDatabase(f"database URL {given!r} names no file; write sqlite:///path")
        return url.set(drivername="sqlite+aiosqlite")
    if engine in ("postgresql", "postgres"):
        return _asyncpg_url(url)
    raise UnknownDatabase(f"database URL names {engine!r}; write sqlite:///path or postgresql://…")


def _asyncpg_url(url: URL) -> URL:
    # libpq's word for encryption, which everybody types, is not asyncpg's.
    query = {"ssl" if name == "sslmode" else name: value for name, value in url.query.items()}
    unknown = sorted(query.keys() - _POSTGRESQL_OPTIONS)
    if unknown:
        raise UnknownDatabase(f"database URL has an option {unknown[0]!r}; known are host, port and sslmode")
    return url.set(drivername="postgresql+asyncpg", query=query)


def make_engine(url: URL, *, durable: bool = True, statement_s: float | None = None) -> AsyncEngine:
    """Return an engine that commits to the disk; nothing is connected yet.

    Args:
        url: What ``driver_url`` gave.
        durable: False for a SQLite file that is thrown away with its process: no commit waits for the disk.
        statement_s: How long one statement may take on PostgreSQL; None, as for a migration, for any time.
    """
    if url.get_backend_name() == "postgresql":
        return create_async_engine(
            url,
            pool_pre_ping=True,
            pool_size=POOLED_CONNECTIONS,
            connect_args={"timeout": CONNECT_TIMEOUT_S, "command_timeout": statement_s},
        )
    engine = create_async_engine(url, pool_size=POOLED_CONNECTIONS)
    event.listen(engine.sync_engine, "connect", _prepare_sqlite)
    if not durable:
        event.listen(engine.sync_engine, "connect", _commit_to_memory)
    event.listen(engine.sync_engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver's own BEGIN would be deferred, and fail when it upgrades
    cursor = connection.cursor()
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "journal_mode = WAL",
        "synchronous = FULL",  # a commit that was answered survives a power cut
        "foreign_keys = ON",
        f"cache_size = -{SQLITE_CACHE_KIB}",  # a settlement reads far more than the default 2 MiB
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _commit_to_memory(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = OFF")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    writes = connection.get_execution_options().get("vpp_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _open_once(file: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA schema_version").fetchone()


async def clock_us(session: AsyncSession) -> int:
    """Return the database's own time in microseconds since 1970: the one clock that all its users share."""
    connection = await session.connection()
    if connection.dialect.name == "sqlite":
        now = "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000"
    else:
        now = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"
    return int((await connection.execute(text(now))).scalar_one())


async def _begin_postgresql(connection: AsyncConnection, ordered: bool) -> None:
    """Take the turn of an ordered writer; the server ends a transaction whose process stands still.

    A process that is frozen in the middle of one would else keep its locks, and nobody could take the lead.
    """
    idle = f"SELECT set_config('idle_in_transaction_session_timeout', '{WRITER_IDLE_MS}', true)"
    turn = f", pg_advisory_xact_lock({WRITER_LOCK})" if ordered else ""
    await connection.execute(text(idle + turn))


class Database:
    """Transactions on one database. Every store method opens exactly one."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._writing_engine = engine.execution_options(vpp_writes=True)
        # SQLite has one writer; waiting here costs no thread and never meets the busy timeout.
        self._sqlite_writer = asyncio.Lock()

    @property
    def is_sqlite(self) -> bool:
        """Return whether this is SQLite; otherwise it is PostgreSQL."""
        return self._engine.dialect.name == "sqlite"

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncSession]:
        """Give a session for one reading transaction. Raises StoreUnavailable."""
        with translated():
            async with AsyncSession(self._engine) as session:
                yield session

    @asynccontextmanager
    async def write(self, *, ordered: bool = True) -> AsyncIterator[AsyncSession]:
        """Give a session for one writing transaction, committed when the block ends.

        ``ordered`` transactions follow one another; the others (bulk evidence that has its own keys)
        may run beside them on PostgreSQL.

        Raises:
            StoreUnavailable: The database cannot be reached, or is busy for too long.
            ConflictingFact: The database refused a fact that another transaction got in before.
        """
        with translated():
            async with self._turn(), AsyncSession(self._writing_engine) as session, session.begin():
                if not self.is_sqlite:
                    await _begin_postgresql(await session.connection(), ordered)
                yield session

    async def probe(self) -> None:
        """Return when a SQLite file can be opened; a server is found by its first transaction.

        Raises:
            StoreUnavailable: Its directory is not there, it may not be written, or it is another file.
        """
        # The asynchronous driver leaves its thread behind when the first opening fails.
        if self.is_sqlite:
            with translated():
                await asyncio.to_thread(_open_once, str(self._engine.url.database))

    async def close(self) -> None:
        """Let go of every connection."""
        await self._engine.dispose()

    def _turn(self) -> AbstractAsyncContextManager[Any]:
        return self._sqlite_writer if self.is_sqlite else nullcontext()


class translated:  # noqa: N801  # reads as a statement: with translated()
    """Turns what drivers raise into the promises of the port."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        match error:
            case IntegrityError():
                raise ConflictingFact(f"the database refused a fact: {_first_line(error)}") from error
            case sqlite3.Error():
                raise StoreUnavailable(f"the database file cannot be used: {error}") from error
            case OperationalError() | InterfaceError() | PoolTimeout() | OSError():
                raise StoreUnavailable(f"the database cannot be used now: {_first_line(error)}") from error
            case DBAPIError() if error.connection_invalidated or _is_passing(error):
                raise StoreUnavailable(f"the database cannot be used now: {_first_line(error)}") from error
            case asyncpg.PostgresError() | asyncpg.InterfaceError():
                # Only connecting raises these bare; everything later is wrapped by SQLAlchemy.
                raise StoreUnavailable(f"the database takes no connection: {_first_line(error)}") from error


def _is_passing(error: DBAPIError) -> bool:
    """Return whether PostgreSQL's code says that the same fact may be taken another time."""
    return str(getattr(error.orig, "sqlstate", None) or "")[:2] in _PASSING_STATES


def _first_line(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return str(cause).partition("\n")[0] or type(cause).__name__
