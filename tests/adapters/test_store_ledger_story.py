"""The books through a long random life, on every store; the full length is ``tests.benchmarks ledger``."""

import pytest

from tests.adapters.ledger_story import LedgerStory
from vpp.adapters.memory.store import MemoryStore
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
