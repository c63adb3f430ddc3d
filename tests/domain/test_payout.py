"""Nothing is paid twice, nothing on its way is forgotten, and what comes in clears what was due."""

from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.domain.test_ledger import CORRECTED, FINAL, NOON, PROVISIONAL, a_line, a_settlement, booked
from vpp.domain.ledger import Account, JournalEntry, balances
from vpp.domain.payout import (
    PayoutState,
    ProgramPayment,
    begin_run,
    end_run,
    owed_to_owners,
    paid_in_year,
    pay_out,
    payable,
    payouts,
    receivables,
    receive,
    round_off,
)
from vpp.domain.quantities import MicroDollars

LOS_ANGELES = ZoneInfo("America/Los_Angeles")


def books_that_owe(*cents: int) -> list[JournalEntry]:
    lines = [a_line(each, site=f"s-{number}", owner=f"o-{number}") for number, each in enumerate(cents)]
    return booked([], a_settlement(*lines, state=FINAL))


def after(books: Sequence[JournalEntry], *more: Sequence[JournalEntry]) -> list[JournalEntry]:
    return [*books, *(entry for part in more for entry in part)]


def states(books: Sequence[JournalEntry]) -> list[PayoutState]:
    return [payout.state for payout in payouts(books)]


def test_a_run_pays_every_owner_what_is_posted_and_only_once():
    books = books_that_owe(1_600, 250)

    begun = after(books, begin_run("october", owed_to_owners(books), books, at=NOON))

    assert [(each.owner_id, each.amount) for each in payouts(begun)] == [
        ("o-0", 16_000_000),
        ("o-1", 2_500_000),
    ]
    assert begin_run("october", owed_to_owners(begun), begun, at=NOON) == ()
    assert begin_run("november", owed_to_owners(begun), begun, at=NOON) == ()
    assert payable(owed_to_owners(begun), begun) == {}


def test_what_is_pending_is_not_paid_out():
    books = booked([], a_settlement(a_line(), state=PROVISIONAL))

    assert begin_run("october", owed_to_owners(books), books, at=NOON) == ()


def test_a_payout_counts_when_it_is_paid():
    books = books_that_owe(1_600)
    begun = after(books, begin_run("october", owed_to_owners(books), books, at=NOON))

    paid = after(begun, end_run("october", begun, paid=True, at=NOON))

    assert balances(begun)[Account.OWNER_PAYABLE, "o-0"].posted == -16_000_000
    assert balances(paid)[Account.OWNER_PAYABLE, "o-0"].posted == 0
    assert states(paid) == [PayoutState.PAID]
    assert end_run("october", paid, paid=False, at=NOON) == ()


def test_a_run_that_is_called_back_leaves_the_owner_to_the_next_one():
    books = books_that_owe(1_600)
    begun = after(books, begin_run("october", owed_to_owners(books), books, at=NOON))
    back = after(begun, end_run("october", begun, paid=False, at=NOON))

    again = after(back, begin_run("november", owed_to_owners(back), back, at=NOON))

    assert states(again) == [PayoutState.CALLED_BACK, PayoutState.ON_ITS_WAY]
    assert len({entry.entry_id for entry in again}) == len(again)


def test_of_two_runs_made_at_once_only_one_can_be_stored():
    books = books_that_owe(1_600)

    (october,), (november,) = (
        begin_run(run, owed_to_owners(books), books, at=NOON) for run in ("october", "november")
    )

    assert october.entry_id == november.entry_id
    assert october != november


def test_an_owner_who_is_owed_nothing_is_paid_nothing():
    with pytest.raises(ValueError, match="owed 0 micro-dollars"):
        pay_out("october", "o-1", MicroDollars(0), at=NOON)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["settle", "final", "correct", "begin", "paid", "back"]), st.integers(-500, 3_000)
    ),
    max_size=12,
)


@given(steps=STEPS)
def test_no_owner_is_ever_sent_more_than_was_posted_for_them(steps: list[tuple[str, int]]):
    books: list[JournalEntry] = []
    for number, (step, cents) in enumerate(steps):
        earned = max(0, int(-sum(balance.posted for (account, _), balance in balances(books).items()
                                 if account is Account.OWNER_PAYABLE)))  # fmt: skip
        if step in ("settle", "final", "correct"):
            state = {"settle": PROVISIONAL, "final": FINAL, "correct": CORRECTED}[step]
            books = booked(books, a_settlement(a_line(cents), state=state))
        elif step == "begin":
            run = begin_run(f"run-{number}", owed_to_owners(books), books, at=NOON)
            on_its_way = sum(
                each.amount for each in payouts(after(books, run)) if each.state is PayoutState.ON_ITS_WAY
            )
            assert on_its_way <= earned or not run
            books = after(books, run)
        else:
            for payout in payouts(books):
                books = after(books, end_run(payout.run_id, books, paid=step == "paid", at=NOON))
        assert sum(balance.posted for balance in balances(books).values()) == 0
        assert sum(balance.pending for balance in balances(books).values()) == 0


def test_a_year_ends_at_midnight_where_the_owners_live():
    books = books_that_owe(1_600)
    begun = after(books, begin_run("december", owed_to_owners(books), books, at=NOON))
    new_years_eve = datetime(2027, 1, 1, 5, tzinfo=UTC)  # 21:00 in California

    paid = after(begun, end_run("december", begun, paid=True, at=new_years_eve))

    assert paid_in_year(paid, 2026, {"o-0": LOS_ANGELES}) == {"o-0": 16_000_000}
    assert paid_in_year(paid, 2027, {}) == {"o-0": 16_000_000}  # in UTC it is the new year


def test_what_comes_in_clears_what_was_due_event_by_event():
    books = books_that_owe(1_600, 250)
    short = ProgramPayment("elrp-a4-pge", "ev-1", "wire-7", MicroDollars(18_000_000))

    (open_,) = receivables(after(books, [receive(short, at=NOON)]))

    assert (open_.period, open_.due, open_.received, open_.difference) == (
        "ev-1",
        18_500_000,
        18_000_000,
        500_000,
    )


def paid_by_program(amount: int, reference: str) -> JournalEntry:
    payment = ProgramPayment("elrp-a4-pge", "ev-1", reference, MicroDollars(amount))
    return receive(payment, at=NOON)


def test_less_than_a_cent_is_rounded_off_and_again_when_what_is_due_was_corrected_and_paid_back():
    books = books_that_owe(1_600)
    (first,) = receivables(after(books, [paid_by_program(15_996_400, "wire-1")]))
    books = after(books, [paid_by_program(15_996_400, "wire-1"), round_off(first, at=NOON)])
    (cleared,) = receivables(books)
    books = booked(books, a_settlement(a_line(1_000, site="s-0", owner="o-0"), state=CORRECTED))
    (open_,) = receivables(books)
    books = after(books, [paid_by_program(-5_996_400, "wire-2")])
    (second,) = receivables(books)
    (end,) = receivables(after(books, [round_off(second, at=NOON)]))

    assert (first.difference, first.within_a_cent) == (3_600, True)
    assert (cleared.difference, cleared.rounded) == (0, 3_600)
    assert (open_.difference, open_.within_a_cent) == (-6_000_000, False)
    assert (second.difference, second.roundings) == (-3_600, 1)
    assert (end.difference, end.rounded, end.roundings) == (0, 0, 2)


def test_a_cent_is_no_rounding_and_neither_is_nothing():
    for paid in (15_990_000, 16_010_000, 16_000_000):
        (found,) = receivables(after(books_that_owe(1_600), [paid_by_program(paid, "wire-1")]))
        with pytest.raises(ValueError, match="that is under one cent"):
            round_off(found, at=NOON)


def test_a_correction_changes_what_is_due():
    books = booked(
        books_that_owe(1_600), a_settlement(a_line(1_000, site="s-0", owner="o-0"), state=CORRECTED)
    )

    assert [each.due for each in receivables(books)] == [10_000_000]


def test_a_payment_is_booked_once_under_its_reference():
    payment = ProgramPayment("elrp-a4-pge", "ev-1", "wire-7", MicroDollars(1))
    later = datetime(2027, 1, 1, tzinfo=UTC)

    assert receive(payment, at=NOON).entry_id == receive(payment, at=later).entry_id
