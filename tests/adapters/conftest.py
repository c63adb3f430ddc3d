"""Stores under test: in memory, on SQLite, and on a real PostgreSQL."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.postgres import Postgres
from vpp.adapters.memory.store import MemoryStore
from vpp.adapters.sql.store import SqlStore
from vpp.ports import Store


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for the session."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a SQLite file with the newest tables stands, once the first test has made it."""
    return tmp_path_factory.mktemp("sqlite") / "migrated.db"


@pytest.fixture(params=["sqlite", "postgresql"])
async def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new database with the newest tables."""
    return await _new_database(request, tmp_path)


@pytest.fixture(params=["sqlite", "postgresql"])
async def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a new database without tables."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        return await server.empty_database()
    return f"sqlite:///{tmp_path / 'empty.db'}"


@pytest.fixture
async def sql_store(database_url: str) -> AsyncIterator[SqlStore]:
    """An empty store on each database."""
    store = await SqlStore.open(database_url)
    yield store
    await store.close()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store of each kind: what one promises, all promise."""
    opened: Store
    if request.param == "memory":
        opened = MemoryStore()
    else:
        opened = await SqlStore.open(await _new_database(request, tmp_path))
    yield opened
    await opened.close()


def _migrated(file: Path) -> bool:
    return file.exists()


async def _new_database(request: pytest.FixtureRequest, folder: Path) -> str:
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        return await server.database()
    migrated: Path = request.getfixturevalue("migrated_file")
    if not _migrated(migrated):
        store = await SqlStore.open(f"sqlite:///{migrated}")
        await store.close()
    shutil.copy(migrated, folder / "vpp.db")
    return f"sqlite:///{folder / 'vpp.db'}"
