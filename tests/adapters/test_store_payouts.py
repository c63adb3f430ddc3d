"""What every store promises about payouts: found among all else that was booked, and summed as they are."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest

from tests.adapters.store_world import NOON, a_request, after, an_entry
from tests.adapters.test_store_sql import execute
from vpp.adapters.sql.store import SqlStore
from vpp.domain.ledger import EntryState, JournalEntry, confirm, void
from vpp.domain.payout import PayoutRun, PayoutState, pay_out
from vpp.domain.quantities import MicroDollars
from vpp.money_ports import AlteredBooks
from vpp.ports import Store

OWNERS = ("o-C", "o-a", "o-b")


def earned(owner_id: str, amount: int = 16_000_000) -> JournalEntry:
    return an_entry(f"e-{owner_id}", owner_id=owner_id, amount=amount, state=EntryState.POSTED)


def sent(run_id: str, owner_id: str, *, at: datetime = NOON, last: str | None = None) -> JournalEntry:
    return pay_out(run_id, owner_id, MicroDollars(1_000_000), at=at, after=last)


async def two_runs(store: Store) -> list[JournalEntry]:
    """Return the payouts of two runs: one called back to one owner and paid to the rest, one on its way."""
    october = [sent("october", each) for each in OWNERS]
    back = void(october[0], at=after(1))
    paid = [confirm(each, at=after(2)) for each in october[1:]]
    november = [sent("november", "o-a", at=after(3), last=october[1].entry_id)]
    await store.post([earned(each) for each in OWNERS])
    for some in (october, [back, *paid], november):
        await store.post(some)
    return [*october, back, *paid, *november]


async def test_payouts_are_given_back_in_order_and_nothing_else(store: Store) -> None:
    all_sent = await two_runs(store)

    assert await store.payout_entries() == all_sent
    assert await store.payout_entries(owner_ids=["o-C", "o-nobody"]) == [all_sent[0], all_sent[3]]
    assert await store.payout_entries(owner_ids=[]) == []


async def test_what_ended_since_an_instant_are_confirmations_and_calls_back(store: Store) -> None:
    *_, back, paid_to_a, paid_to_b, _ = await two_runs(store)

    assert await store.payout_entries(ended_since=NOON) == [back, paid_to_a, paid_to_b]
    assert await store.payout_entries(ended_since=after(2)) == [paid_to_a, paid_to_b]
    assert await store.payout_entries(ended_since=after(3)) == []
    assert await store.payout_entries(ended_since=after(2), owner_ids=["o-b"]) == [paid_to_b]


async def test_runs_come_with_their_sums_and_states(store: Store) -> None:
    await two_runs(store)

    assert await store.payout_runs() == [
        PayoutRun("october", 3, MicroDollars(3_000_000), PayoutState.PAID, NOON),
        PayoutRun("november", 1, MicroDollars(1_000_000), PayoutState.ON_ITS_WAY, after(3)),
    ]


async def test_owners_who_were_sent_money_come_page_by_page_each_once(store: Store) -> None:
    assert await store.paid_owners() == []
    await two_runs(store)

    whole = await store.paid_owners()
    pages: list[Sequence[str]] = []
    last = ""
    while some := await store.paid_owners(after=last, limit=2):
        pages.append(some)
        last = some[-1]

    assert sorted(whole) == sorted(OWNERS)
    assert [owner_id for some in pages for owner_id in some] == whole
    assert [len(some) for some in pages] == [2, 1]


async def test_what_owners_are_owed_is_what_was_posted_less_what_was_paid(store: Store) -> None:
    await two_runs(store)
    await store.post([an_entry("e-pending", owner_id="o-pending")])

    assert await store.owed_to_owners() == {"o-C": 16_000_000, "o-a": 15_000_000, "o-b": 15_000_000}


async def test_enrolled_programs_are_those_of_all_homes(store: Store) -> None:
    assert await store.enrolled_programs() == frozenset()
    await store.enroll([a_request("s-1"), a_request("s-2")], at=NOON)

    assert await store.enrolled_programs() == {a_request("s-1").program_id}


async def test_homes_of_more_owners_than_a_statement_can_name_are_found(store: Store) -> None:
    await store.enroll([a_request("s-1", owner_id="o-1"), a_request("s-2", owner_id="o-2")], at=NOON)
    many = [f"o-{number}" for number in range(2, 40_000)]

    assert [each.site_id for each in await store.enrollments(owner_ids=many)] == ["s-2"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("UPDATE posting SET amount_micro_dollars = 1 WHERE line_number = 0", "does not sum to zero"),
        ("UPDATE posting SET account = 'mine' WHERE line_number = 0", "an account is none"),
        ("UPDATE journal_entry SET state = 'gone'", "its state is none"),
    ],
)
async def test_nothing_is_owed_by_books_that_somebody_changed(tmp_path: Path, change: str, why: str) -> None:
    url = f"sqlite:///{tmp_path / 'vpp.sqlite'}"
    store = await SqlStore.open(url)
    await store.post([earned("o-a")])
    for table in ("posting", "journal_entry"):
        await execute(url, f"DROP TRIGGER {table}_refuses_update")
    await execute(url, change)

    with pytest.raises(AlteredBooks, match=f"entry e-o-a was changed in the database: .*{why}"):
        await store.owed_to_owners()
    await store.close()
