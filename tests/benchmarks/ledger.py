"""The books through a million random operations in memory, and twenty thousand on each database."""

import tempfile
import time
from pathlib import Path

from tests.adapters.ledger_story import LedgerStory
from tests.benchmarks.measuring import Figure, at_most
from tests.postgres import Postgres
from vpp.adapters.memory.store import MemoryStore
from vpp.adapters.sql.store import SqlStore
from vpp.money_ports import Books

IN_MEMORY = at_most(1_000_000)
ON_EACH_DATABASE = at_most(20_000)


async def told(name: str, books: Books, operations: int) -> Figure:
    """Return operations a second; anything that does not balance fails."""
    story = LedgerStory(books, seed=7)
    began = time.perf_counter()
    await story.run(operations)
    taken = time.perf_counter() - began
    await story.require_all()
    return Figure(f"{operations:,} ledger operations, {name}: every sum zero", operations / taken, "per s")


async def on_database(name: str, url: str) -> Figure:
    """Return operations a second, each a commit."""
    store = await SqlStore.open(url)
    try:
        return await told(name, store, ON_EACH_DATABASE)
    finally:
        await store.close()


async def run() -> list[Figure]:
    """Return operations a second, a fifth of them said before; each is checked when it is done."""
    figures = [await told("in memory", MemoryStore(), IN_MEMORY)]
    with tempfile.TemporaryDirectory(prefix="vpp-benchmark-") as folder:
        figures.append(await on_database("SQLite", f"sqlite:///{Path(folder) / 'books.db'}"))
    with Postgres() as server:
        figures.append(await on_database("PostgreSQL", await server.database()))
    return figures
