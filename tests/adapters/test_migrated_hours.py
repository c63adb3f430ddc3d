"""Hours of a database that was filled before hours were written down."""

from importlib import import_module

from tests.adapters.store_world import NOON, a_request
from tests.adapters.test_store_meter_hours import EVERY_HOUR, HOMES, stories
from tests.adapters.test_store_sql import execute
from vpp.adapters.sql.engine import driver_url, make_engine
from vpp.adapters.sql.store import SqlStore
from vpp.domain.program import MeterOfRecord


async def test_a_migration_computes_the_hours_of_readings_that_are_there(database_url: str) -> None:
    before = await SqlStore.open(database_url)
    await before.enroll([a_request(site_id) for site_id in HOMES], at=NOON)
    for batch in stories(1, one_source=True):
        await before.append(batch, at=NOON)
    expected = await before.hour_energies(HOMES, EVERY_HOUR, MeterOfRecord.DEVICE)
    await before.close()
    await execute(database_url, "DELETE FROM meter_hour")
    migration = import_module("vpp.adapters.sql.migrations.versions.0010_meter_hours")
    engine = make_engine(driver_url(database_url))

    async with engine.begin() as connection:
        await connection.run_sync(migration.fill)

    await engine.dispose()
    store = await SqlStore.open(database_url)
    try:
        found = await store.hour_energies(HOMES, EVERY_HOUR, MeterOfRecord.DEVICE)
        assert found.energy_wh.tolist() == expected.energy_wh.tolist()
        assert found.quality.tolist() == expected.quality.tolist()
    finally:
        await store.close()
