"""What every store promises about what stands: one settlement for each owner, site, program and period."""

from dataclasses import replace

import pytest

from tests.adapters.store_world import EVENT, an_entry
from vpp.domain.ledger import EntryState, JournalEntry, confirm, reversed_postings, void
from vpp.ports import ConflictingFact, Store

PROGRAM = "elrp-a4-pge"


def a_correction(posted: JournalEntry, *, entry_id: str) -> tuple[JournalEntry, JournalEntry]:
    reversal = replace(
        posted,
        entry_id=f"reversal-{posted.entry_id}",
        postings=reversed_postings(posted),
        settles=None,
        resolves=None,
        corrects=posted.entry_id,
    )
    return reversal, replace(posted, entry_id=entry_id, resolves=None, corrects=posted.entry_id)


async def test_a_second_settlement_of_the_same_is_refused_with_its_whole_batch(store: Store) -> None:
    await store.post([an_entry("e-1", period=EVENT)])

    with pytest.raises(ConflictingFact):
        await store.post([an_entry("e-2"), an_entry("e-3", period=EVENT, amount=10_000)])

    assert [each.entry_id for each in await store.entries()] == ["e-1"]
    assert await store.verify_chain() is None


async def test_two_settlements_of_the_same_in_one_batch_are_refused(store: Store) -> None:
    with pytest.raises(ConflictingFact):
        await store.post([an_entry("e-1", period=EVENT), an_entry("e-2", period=EVENT)])

    assert await store.entries() == []


async def test_a_voided_settlement_makes_room_for_the_next(store: Store) -> None:
    first, second = an_entry("e-1", period=EVENT), an_entry("e-2", period=EVENT, amount=10_000)

    await store.post([first, void(first, at=first.at), second])

    with pytest.raises(ConflictingFact):
        await store.post([an_entry("e-3", period=EVENT)])


async def test_a_posted_settlement_stands_until_it_is_reversed(store: Store) -> None:
    pending = an_entry("e-1", period=EVENT)
    posted = confirm(pending, at=pending.at)
    await store.post([pending, posted])
    with pytest.raises(ConflictingFact):
        await store.post([an_entry("e-2", period=EVENT, state=EntryState.POSTED)])
    reversal, corrected = a_correction(posted, entry_id="e-3")

    await store.post([reversal, corrected])

    with pytest.raises(ConflictingFact):
        await store.post([an_entry("e-4", period=EVENT)])
    again, third = a_correction(corrected, entry_id="e-5")
    await store.post([again, third])
    assert len(await store.entries()) == 6


async def test_the_entries_of_a_period_are_given_with_those_that_ended_them(store: Store) -> None:
    pending = an_entry("e-1", period=EVENT)
    posted = confirm(pending, at=pending.at)
    voided = an_entry("e-9", owner_id="o-ben", period=EVENT)
    ended = void(voided, at=voided.at)
    reversal, corrected = a_correction(posted, entry_id="e-3")
    other = an_entry("e-0")
    await store.post([pending, other, posted, voided, ended, reversal, corrected])

    assert await store.period_entries(PROGRAM, EVENT) == [
        pending, posted, voided, ended, reversal, corrected
    ]  # fmt: skip
    assert await store.period_entries("another", EVENT) == []
    assert await store.period_entries(PROGRAM, "for-e-0") == [other]


async def test_thousands_of_settlements_in_one_batch_stand_all_or_none(store: Store) -> None:
    many = [an_entry(f"e-{number}", period=f"ev-{number}") for number in range(2_345)]
    await store.post(many)
    ended = [void(each, at=each.at) for each in many]
    twice = an_entry("e-twice", period="ev-new")

    with pytest.raises(ConflictingFact):
        await store.post([*ended, twice, replace(twice, entry_id="e-again")])
    untouched = await store.entries()
    await store.post(ended)

    assert untouched == many
    assert await store.entries() == [*many, *ended]
    assert await store.verify_chain() is None
