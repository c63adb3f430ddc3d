"""How many meter readings a second the store takes and gives back, beside the drivers' own bulk path."""

import sqlite3
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]  # asyncpg carries no types

from tests.benchmarks.measuring import ROUNDS, Figure, at_most, medians_awaited
from tests.benchmarks.street import EVENING, requests, site_of
from tests.postgres import Postgres
from vpp.adapters.sql.store import SqlStore
from vpp.domain.delivery import MeterMessage, MeterReading, Quality
from vpp.domain.quantities import Permille, WattHours

SITES = at_most(1_000)
AT_ONCE = 12  # readings in a message
ROWS = SITES * AT_ONCE
BOOT = "b91c5e7702d144f8b91c5e7702d144f8"
COLUMNS = (
    "site_id", "boot_id", "reading_index", "at_s", "discharged_wh", "charged_wh", "soc_permille",
    "imported_wh", "exported_wh", "quality", "reason", "received_at_us",
)  # fmt: skip


def messages(hour: int) -> list[MeterMessage]:
    """Return an hour of five-minute readings of every home."""
    first = hour * AT_ONCE + 1
    return [
        MeterMessage(
            site_of(number),
            BOOT,
            1,
            tuple(
                MeterReading(
                    site_id=site_of(number),
                    boot_id=BOOT,
                    index=index,
                    at=EVENING + timedelta(minutes=5 * index),
                    discharged_wh=WattHours(12_000_000 + 350 * index),
                    charged_wh=WattHours(13_000_000),
                    soc_permille=Permille(800),
                    quality=Quality.OK,
                )
                for index in range(first, first + AT_ONCE)
            ),
        )
        for number in range(SITES)
    ]


def rows(hour: int) -> list[tuple[Any, ...]]:
    """Return the same readings as the drivers take them."""
    return [
        (
            each.site_id, each.boot_id, each.index, int(each.at.timestamp()), each.discharged_wh,
            each.charged_wh, each.soc_permille, None, None, 0, None, 0,
        )
        for message in messages(hour)
        for each in message.readings
    ]  # fmt: skip


@asynccontextmanager
async def a_store(url: str) -> AsyncIterator[SqlStore]:
    """Give an open store with every home enrolled."""
    store = await SqlStore.open(url)
    try:
        await store.enroll(requests(SITES), at=EVENING)
        yield store
    finally:
        await store.close()


def appending(store: SqlStore) -> Callable[[], Awaitable[object]]:
    """Return a call that appends the next hour of every home through our adapter."""
    hours = iter([messages(hour) for hour in range(ROUNDS + 1)])

    async def append() -> None:
        await store.append(next(hours), at=EVENING)

    return append


async def on_sqlite(folder: Path) -> list[Figure]:
    """Return our rate on SQLite beside one ``executemany`` of the same rows into the same table."""
    async with a_store(f"sqlite:///{folder / 'ours.db'}") as store:
        async with a_store(f"sqlite:///{folder / 'plain.db'}"):
            pass
        with closing(sqlite3.connect(folder / "plain.db", isolation_level=None)) as plain:
            plain.execute("PRAGMA synchronous = FULL")
            marks = ", ".join("?" for _ in COLUMNS)
            hours = iter([rows(hour) for hour in range(ROUNDS + 1)])

            async def executemany() -> None:
                plain.execute("BEGIN IMMEDIATE")
                statement = f"INSERT INTO meter_reading ({', '.join(COLUMNS)}) VALUES ({marks})"
                plain.executemany(statement, next(hours))
                plain.execute("COMMIT")

            taken = await medians_awaited({"plain": executemany, "ours": appending(store)})
    return [figure("SQLite", taken, "executemany")]


async def on_postgresql() -> list[Figure]:
    """Return our rate on PostgreSQL beside one COPY of the same rows into the same table."""
    with Postgres() as server:
        plain_url = await server.database()
        async with a_store(await server.database()) as store:
            async with a_store(plain_url):
                pass
            plain = await asyncpg.connect(plain_url)
            hours = iter([rows(hour) for hour in range(ROUNDS + 1)])

            async def copy() -> None:
                await plain.copy_records_to_table("meter_reading", records=next(hours), columns=COLUMNS)

            try:
                taken = await medians_awaited({"plain": copy, "ours": appending(store)})
            finally:
                await plain.close()
    return [figure("PostgreSQL", taken, "COPY")]


def figure(database: str, taken: dict[str, float], beside: str) -> Figure:
    """Return rows a second and the ratio to the plain path."""
    ours, plain = ROWS / taken["ours"], ROWS / taken["plain"]
    name = f"meter readings on {database}, {ROWS:,} a commit"
    return Figure(name, ours, "rows/s", f"plain {beside}", ours / plain)


async def run() -> list[Figure]:
    """Return rows a second on both databases: checked, deduplicated, and counted for receipts."""
    with tempfile.TemporaryDirectory(prefix="vpp-benchmark-") as folder:
        return [*await on_sqlite(Path(folder)), *await on_postgresql()]
