"""Hours of a database that was filled before hours were written down."""

from tests.adapters.store_world import NOON, a_request
from tests.adapters.test_store_meter_hours import EVERY_HOUR, HOMES, stories
from tests.adapters.test_store_sql import execute
from vpp.adapters.sql.store import SqlStore
from vpp.domain.program import MeterOfRecord


async def test_a_database_from_before_has_its_hours_computed_when_it_is_opened(database_url: str) -> None:
    before = await SqlStore.open(database_url)
    await before.enroll([a_request(site_id) for site_id in HOMES], at=NOON)
    for batch in stories(1):
        await before.append(batch, at=NOON)
    expected = await before.hour_energies(HOMES, EVERY_HOUR, MeterOfRecord.DEVICE)
    await before.close()
    await execute(database_url, "DROP TABLE meter_hour")
    await execute(database_url, "UPDATE alembic_version SET version_num = '0005'")

    store = await SqlStore.open(database_url)

    try:
        found = await store.hour_energies(HOMES, EVERY_HOUR, MeterOfRecord.DEVICE)
        assert found.energy_wh.tolist() == expected.energy_wh.tolist()
        assert found.quality.tolist() == expected.quality.tolist()
    finally:
        await store.close()
