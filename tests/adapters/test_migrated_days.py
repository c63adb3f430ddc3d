"""Days that were excluded before they could be taken back."""

from datetime import date
from importlib import import_module

from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import Connection

from tests.adapters.store_world import after
from tests.adapters.test_store_sql import execute
from vpp.adapters.sql.engine import driver_url, make_engine
from vpp.adapters.sql.store import SqlStore


async def test_days_that_were_excluded_stay_so_since_when_they_were(database_url: str) -> None:
    await (await SqlStore.open(database_url)).close()
    await execute(database_url, "DROP TABLE day_word")
    await execute(
        database_url,
        "CREATE TABLE excluded_day (site_id VARCHAR, day VARCHAR, reason VARCHAR, excluded_at_us BIGINT)",
    )
    said_at_us = int(after(2).timestamp()) * 1_000_000
    await execute(
        database_url, f"INSERT INTO excluded_day VALUES ('s-ada', '2026-09-08', 'outage', {said_at_us})"
    )
    migration = import_module("vpp.adapters.sql.migrations.versions.0091_day_words")

    def upgrade(connection: Connection) -> None:
        with Operations.context(MigrationContext.configure(connection)):
            migration.upgrade()

    engine = make_engine(driver_url(database_url))
    async with engine.begin() as connection:
        await connection.run_sync(upgrade)
    await engine.dispose()

    store = await SqlStore.open(database_url)
    try:
        assert await store.excluded_days() == [("s-ada", date(2026, 9, 8), "outage")]
        assert await store.excluded_days(before=after(2)) == []
        await store.include_day("s-ada", date(2026, 9, 8), at=after(9))
        assert await store.excluded_days() == []
    finally:
        await store.close()
