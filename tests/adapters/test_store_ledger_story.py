"""The books through a long random life, on every store; the full length is ``tests.benchmarks ledger``."""

import pytest
from sqlalchemy import text

from tests.adapters.ledger_story import LedgerStory
from vpp.adapters.memory.store import MemoryStore
from vpp.adapters.sql.store import SqlStore
from vpp.ports import Store

ON_EACH_STORE = 200
IN_MEMORY = 10_000


async def test_books_balance_after_every_operation_whatever_comes_twice(store: Store) -> None:
    story = LedgerStory(store, seed=1)

    await story.run(ON_EACH_STORE)

    await story.require_all()


@pytest.mark.parametrize("seed", [2, 3])
async def test_books_balance_through_many_operations(seed: int) -> None:
    story = LedgerStory(MemoryStore(), seed)

    await story.run(IN_MEMORY)

    await story.require_all()


ON_ANOTHER_ACCOUNT = (
    "INSERT INTO posting (entry_id, line_number, account, party, amount_micro_dollars)"
    " SELECT entry_id, 9, 'owner_payable', 'o-nobody', {amount} FROM journal_entry WHERE number = 1"
)


@pytest.mark.parametrize("amounts", [(1,), (1, -1)], ids=["one micro-dollar", "two that balance"])
async def test_a_posting_anywhere_in_a_database_that_nobody_made_is_found_after_the_next_operation(
    sql_store: SqlStore, amounts: tuple[int, ...]
) -> None:
    story = LedgerStory(sql_store, seed=4)
    await story.run(50)
    async with sql_store._whole_database.write() as session:
        for place, amount in enumerate(amounts):
            stray = ON_ANOTHER_ACCOUNT.format(amount=amount).replace("9", str(9 + place))
            await (await session.connection()).execute(text(stray))

    with pytest.raises(AssertionError):
        await story.run(1)


async def test_an_entry_that_memory_lost_is_found_after_the_next_operation() -> None:
    store = MemoryStore()
    story = LedgerStory(store, seed=5)
    await story.run(50)
    del store._entries[next(iter(store._entries))]

    with pytest.raises(AssertionError):
        await story.run(1)
