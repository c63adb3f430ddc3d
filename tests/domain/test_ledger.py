"""The books: what is booked for a settlement, and that they always balance."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpp.domain.ledger import (
    Account,
    EntryState,
    JournalEntry,
    MixedCurrencies,
    Posting,
    UnbalancedEntry,
    balances,
    correct,
    currencies,
    entries_due,
    live_settlements,
    post,
    void,
)
from vpp.domain.payout import begin_run, owed_to_owners
from vpp.domain.quantities import MicroDollars
from vpp.domain.settlement import BaselineDays, Settlement, SettlementLine, SettlementState, SiteQuality

NOON = datetime(2026, 9, 10, 12, tzinfo=UTC)
PROVISIONAL, FINAL, CORRECTED = SettlementState


def a_line(
    cents: int = 1_600, *, site: str = "s-1", owner: str = "o-1", gross: int | None = None, margin: int = 0
):
    amount = MicroDollars(cents * 10_000)
    return SettlementLine(
        site_id=site,
        owner_id=owner,
        settled=None,
        hours=(),
        baseline_days=BaselineDays((), ()),
        incremental_wh=Fraction(0),
        paid_wh=Fraction(0),
        amount=amount,
        gross=amount if gross is None else MicroDollars(gross),
        quality=SiteQuality.OK,
        reason=None,
        margin=MicroDollars(margin),
    )


def a_settlement(*lines: SettlementLine, state: SettlementState = PROVISIONAL) -> Settlement:
    return Settlement("ev-1", "elrp-a4-pge", state, NOON, lines)


def booked(books: Sequence[JournalEntry], settlement: Settlement) -> list[JournalEntry]:
    return [*books, *entries_due(settlement, books, at=NOON)]


def owed(books: Sequence[JournalEntry], owner: str = "o-1") -> tuple[int, int]:
    """Return what the owner is owed: posted and pending, in cents."""
    balance = balances(books).get((Account.OWNER_PAYABLE, owner))
    return (0, 0) if balance is None else (-balance.posted // 10_000, -balance.pending // 10_000)


def test_an_entry_that_does_not_sum_to_zero_is_no_entry():
    lonely = Posting(Account.OWNER_PAYABLE, "o-1", MicroDollars(0))
    with pytest.raises(UnbalancedEntry, match="1 postings that sum to 0"):
        JournalEntry("e", NOON, EntryState.POSTED, "", (lonely,))
    with pytest.raises(UnbalancedEntry, match="2 postings that sum to 5"):
        JournalEntry("e", NOON, EntryState.POSTED, "", (lonely, replace(lonely, amount=MicroDollars(5))))


def test_a_settlement_line_books_the_programs_debt_the_owners_claim_the_margin_and_the_rest():
    line = a_line(1_040, gross=13_004_000, margin=2_600_800)

    entry = post(line, event_id="ev-1", program_id="elrp", at=NOON)

    assert [(each.account, each.party, each.amount) for each in entry.postings] == [
        (Account.PROGRAM_RECEIVABLE, "elrp", 13_004_000),
        (Account.OWNER_PAYABLE, "o-1", -10_400_000),
        (Account.AGGREGATOR_MARGIN, "elrp", -2_600_800),
        (Account.ROUNDING, "elrp", -3_200),
    ]
    assert entry.state is EntryState.PENDING
    assert entry.settles == ("o-1", "s-1", "elrp", "ev-1")


def test_a_provisional_settlement_is_owed_but_pending():
    books = booked([], a_settlement(a_line(1_600)))

    assert owed(books) == (0, 1_600)


def test_the_same_settlement_twice_books_nothing_more():
    books = booked([], a_settlement(a_line()))

    assert entries_due(a_settlement(a_line()), books, at=NOON) == ()


def test_settling_again_voids_the_pending_entry_and_makes_a_new_one():
    books = booked(booked([], a_settlement(a_line(1_600))), a_settlement(a_line(1_700)))

    assert [entry.state for entry in books] == [EntryState.PENDING, EntryState.VOIDED, EntryState.PENDING]
    assert books[1].resolves == books[0].entry_id
    assert owed(books) == (0, 1_700)


def test_going_back_to_an_earlier_amount_is_a_new_entry():
    books = booked(booked([], a_settlement(a_line(1_600))), a_settlement(a_line(1_700)))
    books = booked(books, a_settlement(a_line(1_600)))

    assert owed(books) == (0, 1_600)
    assert len({entry.entry_id for entry in books}) == len(books) == 5


def test_the_final_run_posts_what_was_pending():
    books = booked(booked([], a_settlement(a_line())), a_settlement(a_line(), state=FINAL))

    assert owed(books) == (1_600, 0)
    assert books[-1].resolves == books[0].entry_id


def test_a_final_run_without_any_before_it_makes_and_posts_the_entry():
    assert owed(booked([], a_settlement(a_line(), state=FINAL))) == (1_600, 0)


def test_a_posted_amount_is_not_touched_by_another_final_run():
    books = booked([], a_settlement(a_line(1_600), state=FINAL))

    assert entries_due(a_settlement(a_line(1_700), state=FINAL), books, at=NOON) == ()
    assert entries_due(a_settlement(a_line(1_700)), books, at=NOON) == ()


def test_a_correction_reverses_and_names_what_it_corrects():
    books = booked([], a_settlement(a_line(1_600), state=FINAL))
    posted = books[-1]

    books = booked(books, a_settlement(a_line(1_700), state=CORRECTED))

    reversal, new = books[-2:]
    assert reversal.corrects == new.corrects == posted.entry_id
    assert [each.amount for each in reversal.postings] == [-each.amount for each in posted.postings]
    assert owed(books) == (1_700, 0)
    assert list(live_settlements(books).values()) == [new]


def test_a_correction_of_what_earned_nothing_says_who_started_it_and_why():
    books = booked([], a_settlement(a_line(0), state=FINAL))
    assert books == []
    corrected = a_settlement(a_line(1_600), state=CORRECTED)

    pending, posted = entries_due(corrected, books, at=NOON, note="Correction by ben: late readings")

    assert pending.memo == posted.memo == "Correction by ben: late readings: Settlement of ev-1, site s-1"
    assert (posted.state, posted.resolves) == (EntryState.POSTED, pending.entry_id)
    assert entries_due(corrected, [pending, posted], at=NOON, note="again") == ()


def test_a_correction_can_be_corrected():
    books = booked([], a_settlement(a_line(1_600), state=FINAL))
    for cents in (1_700, 1_600, 0):
        books = booked(books, a_settlement(a_line(cents), state=CORRECTED))
        assert entries_due(a_settlement(a_line(cents), state=CORRECTED), books, at=NOON) == ()

    assert owed(books) == (0, 0)


def test_only_a_posted_settlement_can_be_corrected():
    pending = post(a_line(), event_id="ev-1", program_id="elrp", at=NOON)

    with pytest.raises(ValueError, match="not a posted settlement"):
        correct(pending, a_line(1_700), at=NOON)


def test_nothing_is_booked_for_nothing():
    assert entries_due(a_settlement(a_line(0), state=FINAL), [], at=NOON) == ()


def test_an_amount_that_becomes_nothing_is_voided():
    books = booked(booked([], a_settlement(a_line())), a_settlement(a_line(0)))

    assert owed(books) == (0, 0)
    assert [entry.state for entry in books] == [EntryState.PENDING, EntryState.VOIDED]


def test_an_entry_is_named_by_its_content_and_never_by_the_time():
    later = datetime(2027, 1, 1, tzinfo=UTC)

    first = entries_due(a_settlement(a_line()), [], at=NOON)[0]

    assert entries_due(a_settlement(a_line()), [], at=later)[0].entry_id == first.entry_id
    assert entries_due(a_settlement(a_line(1_601)), [], at=NOON)[0].entry_id != first.entry_id
    assert void(first, at=NOON).entry_id == void(first, at=later).entry_id


CENTS = st.lists(st.integers(-500, 3_000), min_size=3, max_size=3)
RUNS = st.lists(st.tuples(st.sampled_from([PROVISIONAL, PROVISIONAL, FINAL, CORRECTED]), CENTS), max_size=8)


@given(runs=RUNS)
def test_the_books_sum_to_zero_after_every_entry(runs: list[tuple[SettlementState, list[int]]]):
    books: list[JournalEntry] = []
    for state, cents in runs:
        lines = [
            a_line(each, site=f"s-{number}", owner=f"o-{number}", gross=each * 10_000 + number, margin=number)
            for number, each in enumerate(cents)
        ]
        for entry in entries_due(a_settlement(*lines, state=state), books, at=NOON):
            books.append(entry)
            every = balances(books).values()
            assert sum(balance.posted for balance in every) == 0
            assert sum(balance.pending for balance in every) == 0
        assert len({entry.entry_id for entry in books}) == len(books)
        assert entries_due(a_settlement(*lines, state=state), books, at=NOON) == ()


@given(runs=RUNS)
def test_every_owner_has_exactly_one_live_settlement_and_is_owed_just_that(
    runs: list[tuple[SettlementState, list[int]]],
):
    books: list[JournalEntry] = []
    for state, cents in runs:
        lines = [a_line(each, site=f"s-{number}", owner=f"o-{number}") for number, each in enumerate(cents)]
        books = booked(books, a_settlement(*lines, state=state))

    live = live_settlements(books)
    for number in range(3):
        entry = live.get((f"o-{number}", f"s-{number}", "elrp-a4-pge", "ev-1"))
        claimed = 0 if entry is None else -entry.postings[1].amount // 10_000
        assert sum(owed(books, f"o-{number}")) == claimed


def test_reversals_and_payouts_are_in_the_currency_of_what_they_follow():
    books = booked([], a_settlement(a_line(), state=FINAL))
    books = [*books, *entries_due(a_settlement(a_line(900), state=CORRECTED), books, at=NOON)]
    books += begin_run("run", owed_to_owners(books), books, at=NOON)

    found = currencies(books, {"elrp-a4-pge": "AUD"})

    assert len(found) == len(books) == 5
    assert set(found.values()) == {"AUD"}
    assert set(currencies(books, {}).values()) == {"USD"}


def test_an_owner_who_is_owed_two_currencies_has_no_sum():
    books = booked([], a_settlement(a_line()))
    books.append(post(a_line(), event_id="ev-2", program_id="tesla-energy-plan-au", at=NOON))

    with pytest.raises(MixedCurrencies, match="joins AUD and USD"):
        currencies(books, {"tesla-energy-plan-au": "AUD"})
