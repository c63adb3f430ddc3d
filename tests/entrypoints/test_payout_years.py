"""What owners were paid in a year, for tax."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.entrypoints.test_books_and_payouts import closed_books, facts
from vpp.adapters.sql.store import SqlStore
from vpp.domain.ledger import confirm
from vpp.domain.payout import pay_out
from vpp.domain.quantities import MicroDollars
from vpp.entrypoints.operations import money, payouts
from vpp.entrypoints.operations.desk import OperationRefused


async def test_a_year_adds_up_what_was_paid(tmp_path: Path):
    _, desk = await closed_books(tmp_path)
    await payouts.run_payout(desk, run_id="2026-10")
    await payouts.confirm_payout(desk, run_id="2026-10")

    assert (await payouts.total_year(desk, year=2026))["owners"] == [
        {"owner_id": "owner-home", "paid": "18.00", "currency": "USD"}
    ]
    assert (await payouts.total_year(desk, year=2025))["owners"] == []


async def test_a_year_of_many_owners_comes_page_by_page(tmp_path: Path):
    _, desk = await closed_books(tmp_path)
    owners = [f"owner-{number}" for number in range(5)]
    begun = [pay_out("2026-09", each, MicroDollars(2_000_000), at=desk.clock.now()) for each in owners]
    await desk.store.post(begun)
    await desk.store.post([confirm(each, at=desk.clock.now()) for each in begun])

    whole = facts(await payouts.total_year(desk, year=2026))
    pages = [facts(await payouts.total_year(desk, year=2026, limit=2))]
    while cursor := pages[-1]["next_cursor"]:
        pages.append(facts(await payouts.total_year(desk, year=2026, limit=2, cursor=cursor)))

    assert [each["owner_id"] for each in whole["owners"]] == owners
    assert {each["paid"] for each in whole["owners"]} == {"2.00"}
    assert whole["next_cursor"] is None
    assert len(pages) == 3
    assert [each for some in pages for each in some["owners"]] == whole["owners"]


async def test_a_run_of_many_owners_comes_page_by_page(tmp_path: Path):
    _, desk = await closed_books(tmp_path)
    owners = [f"owner-{number}" for number in range(5)]
    for run_id, some in (("2026-08", owners[:2]), ("2026-09", owners[2:])):
        await desk.store.post(
            [pay_out(run_id, each, MicroDollars(2_000_000), at=desk.clock.now()) for each in some]
        )

    whole = facts(await payouts.show_run(desk, run_id="2026-09"))
    pages = [facts(await payouts.show_run(desk, run_id="2026-09", limit=2))]
    while cursor := pages[-1]["next_cursor"]:
        pages.append(facts(await payouts.show_run(desk, run_id="2026-09", limit=2, cursor=cursor)))

    assert [each["owner_id"] for each in whole["payouts"]] == owners[2:]
    assert (whole["owners"], whole["totals"], whole["next_cursor"]) == (3, {"USD": "6.00"}, None)
    assert [each for some in pages for each in some["payouts"]] == whole["payouts"]
    assert [len(some["payouts"]) for some in pages] == [0, 2, 1]
    with pytest.raises(OperationRefused, match="payout run 2026-07 is not known"):
        await payouts.show_run(desk, run_id="2026-07")


async def test_sums_of_payout_runs_that_somebody_changed_are_found(tmp_path: Path):
    store = await SqlStore.open(f"sqlite:///{tmp_path / 'vpp.db'}")
    _, desk = await closed_books(tmp_path)
    desk = replace(desk, store=store)
    await store.post([pay_out("2026-09", "owner-1", MicroDollars(2_000_000), at=desk.clock.now())])
    untouched = facts(await money.verify_ledger(desk))
    with closing(sqlite3.connect(tmp_path / "vpp.db")) as database, database:
        database.execute("UPDATE payout_run SET amount_micro_dollars = 1")

    found = facts(await money.verify_ledger(desk))

    assert (untouched["balanced"], untouched["differs"]) == (True, None)
    assert (found["balanced"], found["chain_holds"]) == (True, True)
    assert found["differs"] == "what the database keeps of payout runs is not what was booked"
    await store.close()
