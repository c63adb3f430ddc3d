"""The whole database in one file and back: a SQLite file with the product's own tables, from either engine.

A backup of one moment, made while others write. It opens as a database by itself, so it can be looked at
with nothing but SQLite, and restores into SQLite or PostgreSQL alike. Restoring fills an empty database
only: nothing is ever overwritten.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Integer, Table, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from vpp.adapters.sql.engine import Database, driver_url, make_engine, translated
from vpp.adapters.sql.store import SqlStore
from vpp.adapters.sql.tables import KEPT_BY_TRIGGER, Row
from vpp.ports import StoreUnavailable

ROWS_AT_ONCE = 2_000


class BackupRefused(Exception):
    """A backup or restore cannot be made; nothing was written. The message says why and what to do."""


async def back_up(url: str, file: Path) -> Mapping[str, int]:
    """Write a backup of one moment and return how many rows each table has in it.

    The file is made with mode 0600; it holds personal data and password hashes, never the signing key.

    Raises:
        BackupRefused: The file exists, its folder cannot be written, or the chain does not hold.
        StoreUnavailable: The database cannot be read.
    """
    draft = file.with_name(file.name + ".part")
    try:
        await asyncio.to_thread(_begin, file, draft)
        if driver_url(url).get_backend_name() == "sqlite":
            await asyncio.to_thread(_copy_file, str(driver_url(url).database), draft)
        else:
            await _copy_tables(url, f"sqlite:///{draft}")
        await _verify(f"sqlite:///{draft}")
        counts = await asyncio.to_thread(_seal, draft)
        await asyncio.to_thread(draft.rename, file)
    except OSError as failure:
        raise BackupRefused(f"{file} cannot be written: {failure.strerror}") from failure
    finally:
        await asyncio.to_thread(_clear, draft)
    return counts


def _begin(file: Path, draft: Path) -> None:
    if file.exists():
        raise BackupRefused(f"{file} exists; name a file that does not")
    draft.unlink(missing_ok=True)
    os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _clear(draft: Path) -> None:
    for end in ("", "-wal", "-shm", "-journal"):
        with suppress(OSError):
            draft.with_name(draft.name + end).unlink(missing_ok=True)


async def restore(file: Path, url: str) -> Mapping[str, int]:
    """Fill an empty database from a backup and return how many rows each table got.

    An older backup is brought to the newest tables on a copy first. It is one transaction: all or nothing.

    Raises:
        BackupRefused: The file is no backup, the database holds something already, or the facts that
            came out do not give the chain's head.
        StoreUnavailable: The database cannot be reached.
    """
    copy = file.with_name(file.name + ".restoring")
    try:
        await asyncio.to_thread(_copy_backup, file, copy)
        await _verify(f"sqlite:///{copy}")
        counts = await _copy_tables(f"sqlite:///{copy}", url)
    except sqlite3.Error as failure:
        raise BackupRefused(f"{file} is no backup of ours: {failure}") from failure
    except OSError as failure:
        raise BackupRefused(f"{file}: {failure.strerror}") from failure
    finally:
        await asyncio.to_thread(_clear, copy)
    return counts


def _copy_file(database: str, draft: Path) -> None:
    """Copy a SQLite database as it stands at one moment, while others write."""
    try:
        with (
            closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(draft)) as target,
        ):
            source.backup(target)
    except sqlite3.Error as failure:
        raise StoreUnavailable(f"the database file cannot be read: {failure}") from failure


def _copy_backup(file: Path, copy: Path) -> None:
    """Copy a backup beside itself, because bringing its tables up to date writes into it."""
    if not file.is_file():
        raise BackupRefused(f"{file} is not a file")
    copy.unlink(missing_ok=True)
    os.close(os.open(copy, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as source:
        known = {name for (name,) in source.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        if not {"alembic_version", "dispatch_tick", "enrollment"} <= known:
            raise BackupRefused(f"{file} is no backup of ours: it lacks our tables")
        with closing(sqlite3.connect(copy)) as target:
            source.backup(target)


def _seal(draft: Path) -> Mapping[str, int]:
    """Leave one plain file on the disk, and count its rows."""
    with closing(sqlite3.connect(draft)) as database:
        database.execute("PRAGMA journal_mode = DELETE")
        found = database.execute("PRAGMA integrity_check").fetchone()[0]
        if found != "ok":
            raise BackupRefused(f"the copy is damaged: {found}; look at the disk")
        counts = {
            table.name: int(database.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0])
            for table in Row.metadata.sorted_tables
        }
    descriptor = os.open(draft, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return counts


async def _verify(url: str) -> None:
    """Bring a copy's tables up to date and compute its chain again. Raises BackupRefused."""
    store = await SqlStore.open(url)
    try:
        difference = await store.verify_chain()
    finally:
        await store.close()
    if difference is not None:
        raise BackupRefused(f"the facts in it do not give the chain's head: {difference}")


async def _copy_tables(from_url: str, to_url: str) -> Mapping[str, int]:
    """Copy every table, from one moment and in one transaction, into a database that holds nothing."""
    for url in (from_url, to_url):
        store = await SqlStore.open(url)  # brings its tables up to date
        await store.close()
    source, target = make_engine(driver_url(from_url)), make_engine(driver_url(to_url))
    try:
        async with _one_moment(source) as reading, Database(target).write() as session:
            writing = await session.connection()
            await _require_empty(writing)
            counts = {
                table.name: await _copy_table(table, reading, writing) for table in Row.metadata.sorted_tables
            }
            await _count_on(writing)
    finally:
        await source.dispose()
        await target.dispose()
    return counts


@asynccontextmanager
async def _one_moment(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """Give a connection whose every read sees the same moment."""
    if engine.dialect.name == "postgresql":
        engine = engine.execution_options(isolation_level="REPEATABLE READ")
    with translated():
        async with engine.connect() as connection:
            yield connection


async def _require_empty(writing: AsyncConnection) -> None:
    for table in Row.metadata.sorted_tables:
        if (await writing.execute(select(func.count()).select_from(table))).scalar_one():
            raise BackupRefused(
                f"the database holds something already (table {table.name}); name an empty one with "
                "VPP_DATABASE_URL or another VPP_STATE_DIR"
            )


async def _copy_table(table: Table, reading: AsyncConnection, writing: AsyncConnection) -> int:
    if table.info.get(KEPT_BY_TRIGGER):
        return int((await writing.execute(select(func.count()).select_from(table))).scalar_one())
    copied = 0
    found = await reading.stream(select(table).execution_options(yield_per=ROWS_AT_ONCE))
    async for part in found.mappings().partitions(ROWS_AT_ONCE):
        rows: list[dict[str, Any]] = [dict(row) for row in part]
        await writing.execute(insert(table), rows)
        copied += len(rows)
    return copied


async def _count_on(writing: AsyncConnection) -> None:
    """Let numbers that PostgreSQL counts up go on above those that were copied; SQLite does by itself."""
    if writing.dialect.name != "postgresql":
        return
    for table in Row.metadata.sorted_tables:
        for column in table.primary_key:
            if column.autoincrement is True and isinstance(column.type, Integer):
                await writing.execute(
                    text(
                        f"SELECT setval(pg_get_serial_sequence('{table.name}', '{column.name}'),"
                        f" greatest(1, (SELECT coalesce(max({column.name}), 0) FROM {table.name})))"
                    )
                )
