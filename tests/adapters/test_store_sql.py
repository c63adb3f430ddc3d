"""What only a database promises: migrations, triggers, restarts, and what is said when it is away."""

import asyncio
import sqlite3
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from tests.adapters.store_world import (
    BOOT,
    EVENT,
    NOON,
    a_message,
    a_raw_signal,
    a_receipt,
    a_request,
    a_revision,
    a_settlement,
    a_signal,
    a_tick,
    a_version,
    acks,
    after,
    an_entry,
)
from tests.postgres import Postgres
from vpp.adapters.sql import engine
from vpp.adapters.sql.engine import UnknownDatabase, driver_url, make_engine
from vpp.adapters.sql.store import SqlStore
from vpp.adapters.sql.tables import APPEND_ONLY, Row
from vpp.domain.course import EventPower
from vpp.domain.delivery import MeterReceipt
from vpp.domain.dispute import DisputeWord, WordKind
from vpp.domain.quantities import MicroDollars
from vpp.domain.settlement import totals_of
from vpp.domain.wholesale_price import WholesalePrice
from vpp.ports import StaleEpoch, StoreUnavailable
from vpp.wire import facts


async def fill(store: SqlStore) -> None:
    """Store one fact of every kind."""
    await store.enroll([a_request("s-ada")], at=NOON)
    await store.keep([a_raw_signal("k-1"), a_raw_signal("k-2")])
    await store.decide("k-1", a_receipt(), signal=a_signal(), version=a_version())
    epoch = await store.take_epoch(at=NOON)
    await store.commit(a_tick(1, epoch), [a_revision()])
    await store.record_acks(acks((0, epoch, 1, None)))
    await store.append([a_message("s-ada", 1, 2)], at=NOON)
    await store.settle(a_settlement())
    await store.post([an_entry("e-1")])
    await store.say(DisputeWord("o-ada", EVENT, WordKind.ASKED, NOON, "owner:o-ada", "Why so little?"))
    await store.add_prices([WholesalePrice("dsgs-3", NOON, MicroDollars(184_250_000), NOON)])
    await store.add_course([EventPower(EVENT, NOON, 4_000, 4_000, 3_900, 0, 0, 1)])
    await store.exclude_day("s-ada", NOON.date(), "outage", at=NOON)


async def execute(url: str, statement: str) -> None:
    """Run a statement beside the store, as somebody with a database client would."""
    made = make_engine(driver_url(url))
    try:
        async with made.begin() as connection:
            await connection.execute(text(statement))
    finally:
        await made.dispose()


async def test_everything_is_there_after_a_restart(database_url: str) -> None:
    before = await SqlStore.open(database_url)
    await fill(before)
    head = await before.chain_head()
    await before.close()

    store = await SqlStore.open(database_url)
    try:
        assert [each.site_id for each in await store.enrollments()] == ["s-ada"]
        assert await store.pending() == [a_raw_signal("k-2")]
        assert await store.seen(a_signal())
        assert (await store.last_tick()).sequence == 1
        assert facts.same(await store.revisions(EVENT), [a_revision()])
        assert (await store.acks(since=NOON)).site_no.tolist() == [0]
        assert await store.append([a_message("s-ada", 3)], at=NOON) == [MeterReceipt("s-ada", BOOT, 3)]
        assert await store.settlement(EVENT) == a_settlement()
        assert await store.entries() == [an_entry("e-1")]
        assert await store.take_epoch(at=after(-60)) == int(NOON.timestamp()) + 1
        assert (await store.chain_head(), await store.verify_chain()) == (head, None)
    finally:
        await store.close()


async def test_totals_of_a_run_from_before_they_were_kept_come_from_its_lines(
    sql_store: SqlStore, database_url: str
) -> None:
    run = a_settlement()
    await sql_store.settle(replace(run, event_id="ev-b"))  # so that the database has its tables and a run
    parts = facts.encode(run.parts).decode()
    await execute(
        database_url,
        "INSERT INTO settlement_run (number, event_id, program_id, state, settled_at_us, parts, totals,"
        f" lines_sha256) SELECT 77, '{EVENT}', program_id, state, settled_at_us, '{parts}', '', ''"
        " FROM settlement_run",
    )
    await execute(
        database_url,
        "INSERT INTO settlement_line (site_id, run_number, place, owner_id, amount_micro_dollars, body)"
        " SELECT site_id, 77, place, owner_id, amount_micro_dollars, body FROM settlement_line",
    )

    assert await sql_store.settlement_totals(EVENT) == totals_of(run)


@pytest.mark.parametrize("table", APPEND_ONLY)
async def test_database_itself_refuses_to_edit_facts(
    sql_store: SqlStore, database_url: str, table: str
) -> None:
    await fill(sql_store)
    await execute(database_url, "INSERT INTO reserve_change VALUES (9, 's-ada', 500, 0, 'o-ada')")
    await execute(database_url, "INSERT INTO event_grant VALUES ('ev', 1, 'force', 'op-lin', 0)")
    await execute(database_url, "INSERT INTO consent_withdrawal VALUES ('s-ada', 0, 'o-ada')")
    column = next(iter(Row.metadata.tables[table].columns)).name

    for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"):
        with pytest.raises(DBAPIError, match="append-only"):
            await execute(database_url, statement)


def _beside_its_key(table: str) -> list[str]:
    return [each.name for each in Row.metadata.tables[table].columns if not each.primary_key]


@pytest.mark.parametrize("table", [each for each in APPEND_ONLY if _beside_its_key(each)])
async def test_a_replaced_row_stays_as_it_was(tmp_path: Path, table: str) -> None:
    url = f"sqlite:///{tmp_path / 'vpp.sqlite'}"
    store = await SqlStore.open(url)
    await fill(store)
    await store.close()
    await execute(url, "INSERT INTO reserve_change VALUES (9, 's-ada', 500, 0, 'o-ada')")
    await execute(url, "INSERT INTO event_grant VALUES ('ev', 1, 'force', 'op-lin', 0)")
    await execute(url, "INSERT INTO consent_withdrawal VALUES ('s-ada', 0, 'o-ada')")
    before = await rows_of(url, table)
    names = [each.name for each in Row.metadata.tables[table].columns]
    changed = _beside_its_key(table)[-1]
    values = ", ".join("'1'" if name == changed else name for name in names)

    with suppress(IntegrityError):
        await execute(url, f"REPLACE INTO {table} ({', '.join(names)}) SELECT {values} FROM {table}")

    assert len(before) > 0
    assert await rows_of(url, table) == before


async def rows_of(url: str, table: str) -> list[tuple[object, ...]]:
    made = make_engine(driver_url(url))
    try:
        async with made.connect() as connection:
            return [tuple(row) for row in await connection.execute(text(f"SELECT * FROM {table}"))]
    finally:
        await made.dispose()


@pytest.mark.parametrize(
    ("tampering", "said"),
    [
        ("UPDATE posting SET amount_micro_dollars = 2 * amount_micro_dollars", "journal_entry e-1 does not"),
        ("UPDATE posting SET amount_micro_dollars = 1", "journal_entry e-1 cannot be read: entry e-1 was"),
        ("UPDATE posting SET account = 'cash'", "journal_entry e-1 cannot be read: entry e-1 was changed"),
        ("UPDATE grid_event SET name = 'Exercise'", "grid_event ev-2026-09-09-1 1 does not"),
        ("UPDATE grid_event SET actor = 'op-eve'", "grid_event ev-2026-09-09-1 1 does not"),
        ("UPDATE dispatch_tick SET at_us = at_us + 1000000", "dispatch_tick 1 does not"),
        ("UPDATE grid_event SET status = 'over'", "grid_event ev-2026-09-09-1 1 cannot be read: it was"),
        ("UPDATE grid_event SET steps = '[{}]'", "grid_event ev-2026-09-09-1 1 cannot be read: it was"),
        ("UPDATE dispatch_tick SET orders = substr(orders, 2)", "dispatch_tick 1 cannot be read: it was"),
        ("UPDATE grid_event SET ends_at_us = ends_at_us - 1", "grid_event ev-2026-09-09-1 1 cannot be read"),
        ("DELETE FROM tick_event", "dispatch_tick 1 cannot be read: tick_event does not name it for event"),
        ("DELETE FROM dispatch_tick", "dispatch_tick 1 is missing"),
        ("DELETE FROM chain_link WHERE position = 2", "link 2"),
        ("DELETE FROM chain_link WHERE position = 3", "1 fact stands outside the chain"),
    ],
)
async def test_chain_names_the_first_fact_that_was_edited_behind_its_back(
    sql_store: SqlStore, database_url: str, tampering: str, said: str
) -> None:
    await fill(sql_store)
    table = tampering.replace("DELETE FROM ", "UPDATE ").split()[1]
    if database_url.startswith("sqlite"):
        edit = tampering.split()[0].lower()
        await execute(database_url, f"DROP TRIGGER {table}_refuses_{edit}")
    else:
        await execute(database_url, f"DROP TRIGGER {table}_refuses_edits ON {table}")

    await execute(database_url, tampering)

    assert said in str(await sql_store.verify_chain())


async def test_migrations_lead_to_exactly_the_tables_that_the_rows_describe(empty_database_url: str) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), Row.metadata))

    await (await SqlStore.open(empty_database_url)).close()

    engine = make_engine(driver_url(empty_database_url))
    async with engine.connect() as connection:
        found = [
            each for each in await connection.run_sync(differences) if "alembic_version" not in str(each)
        ]
    await engine.dispose()
    assert found == []


async def test_two_processes_that_start_at_once_make_the_tables_once(empty_database_url: str) -> None:
    program = (
        "import asyncio, sys\n"
        "from vpp.adapters.sql.store import SqlStore\n"
        "async def main():\n"
        "    await (await SqlStore.open(sys.argv[1])).close()\n"
        "asyncio.run(main())\n"
    )
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", program, empty_database_url)
        for _ in range(2)
    ]

    assert [await each.wait() for each in processes] == [0, 0]


async def test_nothing_of_a_process_killed_before_its_commit_can_be_seen(
    sql_store: SqlStore, database_url: str
) -> None:
    program = (
        "import asyncio, os, signal, sys\n"
        "from tests.adapters.store_world import a_message, a_request, NOON\n"
        "from vpp.adapters.sql import registry\n"
        "from vpp.adapters.sql.store import SqlStore\n"
        "insert = registry.insert_new\n"
        "async def insert_and_die(session, table, columns):\n"
        "    await insert(session, table, columns)\n"
        "    if table.name == 'enrollment':\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "registry.insert_new = insert_and_die\n"
        "async def main():\n"
        "    store = await SqlStore.open(sys.argv[1])\n"
        "    await store.enroll([a_request('s-ada')], at=NOON)\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, database_url)
    assert await process.wait() == -9

    assert await sql_store.enrollments() == []
    assert [each.site_no for each in await sql_store.enroll([a_request("s-ada")], at=NOON)] == [0]


async def test_takeover_by_a_second_process_shuts_the_first_one_out(
    sql_store: SqlStore, database_url: str
) -> None:
    replaced = await sql_store.take_epoch(at=NOON)
    standby = await SqlStore.open(database_url)
    epoch = await standby.take_epoch(at=NOON)

    with pytest.raises(StaleEpoch):
        await sql_store.commit(a_tick(1, replaced), [])
    await standby.commit(a_tick(1, epoch), [])

    await standby.close()
    assert [each.epoch for each in await sql_store.ticks(since=NOON)] == [epoch]


async def test_writers_of_two_processes_wait_for_one_another(sql_store: SqlStore, database_url: str) -> None:
    other = await SqlStore.open(database_url)

    await asyncio.gather(
        *(
            store.post([an_entry(f"e-{number}-{place}")])
            for number in range(10)
            for place, store in enumerate((sql_store, other))
        )
    )

    await other.close()
    assert len(await sql_store.entries()) == 20
    assert await sql_store.verify_chain() is None


async def test_leader_frozen_in_the_middle_of_a_commit_does_not_keep_the_lead(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "WRITER_IDLE_MS", 300)
    url = await postgres.database()
    frozen, standby = await SqlStore.open(url), await SqlStore.open(url)
    taken: list[int | None] = []

    async def freeze_until_somebody_leads() -> None:
        async with frozen._whole_database.write() as session:
            taken.append(await standby.take_free_lead(at=NOON, holder="standby", lease_s=8))
            await session.execute(text("SELECT 1"))  # awake again, it finds that its turn is over

    try:
        async with asyncio.timeout(10):
            with pytest.raises(StoreUnavailable):
                await freeze_until_somebody_leads()
        assert taken != [None]
    finally:
        await frozen.close()
        await standby.close()


async def test_readings_of_one_home_from_two_writers_lose_nothing(
    sql_store: SqlStore, database_url: str
) -> None:
    await sql_store.enroll([a_request("s-ada")], at=NOON)
    other = await SqlStore.open(database_url)

    await asyncio.gather(
        *(
            store.append([a_message("s-ada", index, index + 1)], at=NOON)
            for index in range(1, 20)
            for store in (sql_store, other)
        )
    )

    await other.close()
    assert await sql_store.append([a_message("s-ada", 21)], at=NOON) == [MeterReceipt("s-ada", BOOT, 21)]


async def test_unique_keys_are_kept_by_the_database(sql_store: SqlStore, database_url: str) -> None:
    await fill(sql_store)
    await execute(database_url, "INSERT INTO opt_out VALUES (7, 's-ada', 'ev', 0, 'portal', NULL)")

    for statement in (
        "INSERT INTO opt_out VALUES (8, 's-ada', 'ev', 1, 'operator', NULL)",
        "INSERT INTO meter_reading SELECT * FROM meter_reading",
        "INSERT INTO acknowledgement SELECT * FROM acknowledgement",
        "INSERT INTO dispatch_tick SELECT * FROM dispatch_tick",
        "INSERT INTO journal_entry SELECT * FROM journal_entry",
        "INSERT INTO meter_boot VALUES ('s-eve', 'b', 1, 1, 1, 0, 0)",
    ):
        with pytest.raises(DBAPIError):
            await execute(database_url, statement)


async def test_server_that_does_not_answer_is_unavailable() -> None:
    with pytest.raises(StoreUnavailable):
        await SqlStore.open("postgresql://vpp:secret@127.0.0.1:1/vpp")


async def test_database_that_the_server_does_not_hold_is_unavailable(postgres: Postgres) -> None:
    with pytest.raises(StoreUnavailable, match="does not exist"):
        await SqlStore.open(postgres.url("nobody_made_it"))


async def test_connection_cut_by_the_server_comes_back_by_itself(postgres: Postgres) -> None:
    url = await postgres.database()
    cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    store = await SqlStore.open(url)
    await store.enroll([a_request("s-ada")], at=NOON)

    with pytest.raises(DBAPIError):
        await execute(url, cut)  # it cuts its own connection too

    assert [each.site_id for each in await store.enrollments()] == ["s-ada"]
    await store.close()


async def test_file_in_a_folder_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        await SqlStore.open(f"sqlite:///{tmp_path / 'missing' / 'vpp.db'}")


def test_option_that_the_driver_does_not_know_is_refused_by_name() -> None:
    with pytest.raises(UnknownDatabase, match="'options'"):
        driver_url("postgresql://db/vpp?options=-csearch_path%3Dvpp")


async def test_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "vpp.db").write_text("a letter to the grid operator\n" * 100)

    with pytest.raises(StoreUnavailable, match="not a database"):
        await SqlStore.open(f"sqlite:///{tmp_path / 'vpp.db'}")


@pytest.mark.parametrize(
    ("given", "driver"),
    [
        ("sqlite:////var/lib/vpp/vpp.db", "sqlite+aiosqlite:////var/lib/vpp/vpp.db"),
        ("sqlite:///vpp.db", "sqlite+aiosqlite:///vpp.db"),
        ("postgresql://vpp:pw@db:5433/vpp", "postgresql+asyncpg://vpp:pw@db:5433/vpp"),
        ("postgres://db/vpp", "postgresql+asyncpg://db/vpp"),
        ("postgresql://db/vpp?sslmode=require", "postgresql+asyncpg://db/vpp?ssl=require"),
        ("postgresql:///vpp?host=/run/postgresql", "postgresql+asyncpg:///vpp?host=%2Frun%2Fpostgresql"),
    ],
)
def test_urls_are_taken_as_people_type_them(given: str, driver: str) -> None:
    assert driver_url(given).render_as_string(hide_password=False) == driver


@pytest.mark.parametrize("given", ["", "vpp.db", "mysql://db/vpp", "sqlite://", "sqlite:///:memory:"])
def test_url_of_no_database_we_know_is_refused(given: str) -> None:
    with pytest.raises(UnknownDatabase, match="sqlite:///path"):
        driver_url(given)


async def test_an_owners_settlements_are_found_by_the_owner_and_never_among_a_whole_fleets(
    tmp_path: Path,
) -> None:
    store = await SqlStore.open(f"sqlite:///{tmp_path / 'vpp.db'}")
    await fill(store)
    asked: list[tuple[str, object]] = []

    def listen(_connection: object, _cursor: object, statement: str, values: object, *_more: object) -> None:
        if "FROM settlement_line" in statement:
            asked.append((statement, values))

    event.listen(Engine, "before_cursor_execute", listen)
    try:
        found = await store.settlements(owner_id="o-ada")
    finally:
        event.remove(Engine, "before_cursor_execute", listen)
    await store.close()

    ((statement, values),) = asked
    with sqlite3.connect(tmp_path / "vpp.db") as database:
        plan = " ".join(row[3] for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", values))  # type: ignore[call-overload]  # as the driver gave them
    database.close()
    assert [line.owner_id for each in found for line in each.lines] == ["o-ada"]
    assert "USING INDEX ix_settlement_line_owner_id" in plan
