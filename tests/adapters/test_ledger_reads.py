"""What is read of a ledger of millions is found by an index: one owner's page may not read every entry."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from tests.adapters.store_world import NOON
from tests.adapters.test_store_payouts import two_runs
from vpp.adapters.sql.store import SqlStore

READS: dict[str, Callable[[SqlStore], Awaitable[object]]] = {
    "an owner's entries": lambda store: store.entries(owner_id="o-a"),
    "a period's entries": lambda store: store.period_entries("elrp-a4-pge", "ev-1"),
    "an owner's payouts": lambda store: store.payout_entries(owner_ids=["o-a"]),
    "what ended since": lambda store: store.payout_entries(ended_since=NOON),
    "every payout": lambda store: store.payout_entries(),
    "the first owners who were paid": lambda store: store.paid_owners(limit=2),
    "an owner's lines": lambda store: store.settlements(owner_id="o-a"),
}
BY_THE_INDEX_OF_PAYOUTS = "ix_posting_paid_out"


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[tuple[SqlStore, Path]]:
    file = tmp_path / "vpp.sqlite"
    store = await SqlStore.open(f"sqlite:///{file}")
    await two_runs(store)
    yield store, file
    await store.close()


@pytest.mark.parametrize("read", READS)
async def test_a_part_of_the_ledger_is_read_by_an_index(ledger: tuple[SqlStore, Path], read: str) -> None:
    store, file = ledger
    asked: list[tuple[str, Any]] = []

    def hear(_connection: object, _cursor: object, statement: str, values: Any, *_: object) -> None:
        asked.append((statement, values))

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        await READS[read](store)
    finally:
        event.remove(Engine, "before_cursor_execute", hear)

    with closing(sqlite3.connect(file)) as database:
        steps = [
            step
            for statement, values in asked
            if statement.lstrip().startswith(("SELECT", "WITH"))
            for *_, step in database.execute(f"EXPLAIN QUERY PLAN {statement}", values)
        ]
    tables = ("e", "p", "s", "o", "posting", "journal_entry", "settlement_line")
    scanned = [step for step in steps if step.startswith("SCAN") and step.split()[1] in tables]
    assert steps
    if read == "what ended since":
        assert any("ix_journal_entry_payout_ended" in each for each in steps)
    assert [each for each in scanned if BY_THE_INDEX_OF_PAYOUTS not in each] == []
