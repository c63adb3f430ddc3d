"""Answers of a database that was filled before they were counted as they came."""

from importlib import import_module

from tests.adapters.store_world import EVENT, NOON, a_tick, acks
from tests.adapters.test_store_sql import execute
from vpp.adapters.sql.engine import driver_url, make_engine
from vpp.adapters.sql.store import SqlStore
from vpp.domain.command import Refusal


async def test_a_migration_counts_the_answers_that_are_there(database_url: str) -> None:
    before = await SqlStore.open(database_url)
    epoch = await before.take_epoch(at=NOON)
    await before.commit(a_tick(1, epoch), [])
    said = acks((0, epoch, 1, None), (1, epoch, 1, None), (5, epoch, 1, Refusal.ISLANDED))
    await before.record_acks(said)
    await before.close()
    await execute(database_url, "DELETE FROM answer_count")
    migration = import_module("vpp.adapters.sql.migrations.versions.0060_answer_counts")
    engine = make_engine(driver_url(database_url))

    async with engine.begin() as connection:
        await connection.run_sync(migration.fill)

    await engine.dispose()
    store = await SqlStore.open(database_url)
    try:
        assert dict(await store.count_acks(EVENT)) == {None: 2, Refusal.ISLANDED: 1}
        await store.record_acks(acks((7, epoch, 1, None), (0, epoch, 1, None)))
        assert dict(await store.count_acks(EVENT)) == {None: 3, Refusal.ISLANDED: 1}
    finally:
        await store.close()
