"""What owners were paid in a year, for tax."""

from pathlib import Path

from tests.entrypoints.test_books_and_payouts import closed_books, facts
from vpp.domain.ledger import confirm
from vpp.domain.payout import pay_out
from vpp.domain.quantities import MicroDollars
from vpp.entrypoints.operations import payouts


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
