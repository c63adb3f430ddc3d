"""A backup is the whole database of one moment, from either engine and into either."""

import asyncio
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from tests.adapters.store_world import (
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
from vpp.adapters.sql.backup import BackupRefused, back_up, restore
from vpp.adapters.sql.store import SqlStore
from vpp.domain.access import TrailEntry
from vpp.domain.course import EventPower
from vpp.domain.interval import Interval
from vpp.domain.quantities import MicroDollars
from vpp.domain.wholesale_price import WholesalePrice
from vpp.ports import StoreUnavailable
from vpp.wire import facts


async def fill(store: SqlStore) -> int:
    """Store one fact of every kind; return the epoch."""
    await store.enroll([a_request("s-ada"), a_request("s-ben")], at=NOON)
    await store.keep([a_raw_signal("k-1"), a_raw_signal("k-2")])
    await store.decide("k-1", a_receipt(), signal=a_signal(), version=a_version())
    epoch = await store.take_epoch(at=NOON)
    await store.commit(a_tick(1, epoch), [a_revision()])
    await store.record_acks(acks((0, epoch, 1, None)))
    await store.append([a_message("s-ada", 1, 2)], at=NOON)
    await store.settle(a_settlement())
    await store.post([an_entry("e-1")])
    await store.leave_trail([TrailEntry(NOON, "staff:ana", "start", f"event:{EVENT}", "", "r-1")])
    await store.add_prices([WholesalePrice("dsgs-3", NOON, MicroDollars(-4_500_000), NOON)])
    await store.add_course([EventPower(EVENT, NOON, 4_000, 4_000, 3_900, 0, 0, 1)])
    return epoch


async def content(store: SqlStore) -> list[object]:
    """Return what the store says, in bytes where it is a fact."""
    readings = await store.readings(["s-ada"], [a_window()])
    return [
        await store.chain_head(),
        [facts.encode(each) for each in await store.enrollments()],
        facts.encode(await store.history(EVENT)),
        [facts.encode(each) for each in await store.ticks(since=NOON)],
        [facts.encode(each) for each in await store.revisions(EVENT)],
        facts.encode(await store.acks(since=NOON)),
        facts.encode(await store.settlement(EVENT)),
        [facts.encode(each) for each in await store.entries()],
        [each.key for each in await store.pending()],
        [column.tolist() for column in (readings.at_s, readings.discharged_wh)],
        await store.trail(),
        await store.prices("dsgs-3"),
        await store.course(EVENT),
    ]


def a_window() -> Interval:
    return Interval(NOON, after(60))


@pytest.fixture(params=["sqlite", "postgresql"])
async def second_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        return await server.empty_database()
    return f"sqlite:///{tmp_path / 'second.db'}"


async def test_what_was_backed_up_is_restored_to_the_last_fact(
    database_url: str, second_url: str, tmp_path: Path
) -> None:
    store = await SqlStore.open(database_url)
    epoch = await fill(store)
    before = await content(store)

    saved = await back_up(database_url, tmp_path / "vpp.backup")
    restored = await restore(tmp_path / "vpp.backup", second_url)

    second = await SqlStore.open(second_url)
    assert saved == restored
    assert saved["dispatch_tick"] == 1
    assert await content(second) == before
    assert await second.verify_chain() is None
    assert await second.take_epoch(at=NOON) > epoch
    await second.post([an_entry("e-2")])  # numbers go on
    await second.leave_trail([TrailEntry(NOON, "staff:ben", "approve", "event:x", "", "r-2")])
    assert len(await second.trail()) == 2
    await store.close()
    await second.close()


async def test_backup_is_of_one_moment_while_others_write(database_url: str, tmp_path: Path) -> None:
    store = await SqlStore.open(database_url)
    epoch = await fill(store)

    async def write_on() -> int:
        number = 2
        while not (tmp_path / "vpp.backup").exists() and number < 2_000:
            await store.commit(a_tick(number, epoch), [a_revision(number)])
            number += 1
        return number

    (saved, written) = await asyncio.gather(back_up(database_url, tmp_path / "vpp.backup"), write_on())

    assert saved["dispatch_tick"] == saved["plan_revision"]
    assert 1 <= saved["dispatch_tick"] < written
    await store.close()


async def test_backup_is_one_file_for_its_user_alone(
    sql_store: SqlStore, database_url: str, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    await fill(sql_store)

    await back_up(database_url, folder / "vpp.backup")

    assert [path.name for path in folder.iterdir()] == ["vpp.backup"]
    assert stat.S_IMODE((folder / "vpp.backup").stat().st_mode) == 0o600
    with closing(sqlite3.connect(folder / "vpp.backup")) as database:
        assert database.execute("SELECT count(*) FROM enrollment").fetchone() == (2,)


async def test_file_that_exists_is_never_overwritten(database_url: str, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")

    with pytest.raises(BackupRefused, match="name a file that does not"):
        await back_up(database_url, tmp_path / "mine")

    assert (tmp_path / "mine").read_text() == "precious"


async def test_database_that_holds_anything_is_never_overwritten(
    sql_store: SqlStore, database_url: str, tmp_path: Path
) -> None:
    await fill(sql_store)
    await back_up(database_url, tmp_path / "vpp.backup")
    head = await sql_store.chain_head()

    with pytest.raises(BackupRefused, match="holds something already"):
        await restore(tmp_path / "vpp.backup", database_url)

    assert await sql_store.chain_head() == head


async def test_what_is_no_backup_is_refused(second_url: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a database at all, only words" * 100)
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE song (title TEXT)")

    for name in ("text", "other.db", "absent"):
        with pytest.raises(BackupRefused):
            await restore(tmp_path / name, second_url)


async def test_backup_that_somebody_changed_is_refused(
    sql_store: SqlStore, database_url: str, second_url: str, tmp_path: Path
) -> None:
    await fill(sql_store)
    await back_up(database_url, tmp_path / "vpp.backup")
    with closing(sqlite3.connect(tmp_path / "vpp.backup")) as database:
        database.execute("DROP TRIGGER posting_refuses_update")
        database.execute("UPDATE posting SET amount_micro_dollars = amount_micro_dollars * 2")
        database.commit()

    with pytest.raises(BackupRefused, match="do not give the chain's head"):
        await restore(tmp_path / "vpp.backup", second_url)

    empty = await SqlStore.open(second_url)
    assert await empty.enrollments() == []
    await empty.close()


async def test_database_that_is_away_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable):
        await back_up(f"sqlite:///{tmp_path / 'nowhere' / 'vpp.db'}", tmp_path / "vpp.backup")

    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []
