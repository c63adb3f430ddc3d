"""From a settlement to the books: booked once, replaced while pending, corrected by reversal."""

from datetime import timedelta

from tests.domain.money_world import EVENT_DAY, a_meter, an_evening_history, local
from tests.stages.money_story import ENDS_AT, TEN_DAYS, MoneyStory, a_dispatched_home
from vpp.domain.ledger import EntryState, balances
from vpp.stages.pay import pay

CLOSED_AT = ENDS_AT + timedelta(days=8)


async def test_an_owner_sees_the_money_of_a_provisional_settlement_as_pending():
    story = await a_dispatched_home()

    await story.settled_and_paid()

    assert await story.owed("home") == (0, 1_800)


async def test_paying_the_same_settlement_again_books_nothing():
    story = await a_dispatched_home()
    settlement = await story.settled_and_paid()
    before = await story.books()

    story.clock.step_to(ENDS_AT + timedelta(hours=1))
    assert await pay(settlement, books=story.store, clock=story.clock) == ()

    assert await story.books() == before


async def test_money_is_posted_when_the_settlement_is_final():
    story = await a_dispatched_home()
    await story.settled_and_paid()
    story.clock.step_to(CLOSED_AT)

    await story.settled_and_paid()

    assert await story.owed("home") == (1_800, 0)


async def test_an_event_settled_only_after_its_close_is_posted_at_once():
    story = await a_dispatched_home()
    story.clock.step_to(CLOSED_AT)

    await story.settled_and_paid()

    assert await story.owed("home") == (1_800, 0)


async def a_home_with_late_readings() -> tuple[MoneyStory, list]:
    rows = a_meter(an_evening_history([4_000] * 3, TEN_DAYS))
    in_time = [row for row in rows if row[0] <= local(EVENT_DAY, 20)]
    story = MoneyStory()
    await story.home("home")
    await story.metered("home", in_time)
    await story.event()
    await story.dispatched(0)
    return story, rows[len(in_time) :]


async def test_late_readings_replace_the_pending_entry():
    story, late = await a_home_with_late_readings()
    await story.settled_and_paid()
    assert await story.owed("home") == (0, 1_200)

    await story.metered("home", late)
    await story.settled_and_paid()

    assert await story.owed("home") == (0, 1_800)
    assert [entry.state for entry in await story.books()] == [
        EntryState.PENDING, EntryState.VOIDED, EntryState.PENDING
    ]  # fmt: skip


async def test_after_the_close_only_a_correction_changes_what_is_owed():
    story, late = await a_home_with_late_readings()
    story.clock.step_to(CLOSED_AT)
    await story.settled_and_paid()
    await story.metered("home", late)

    await story.settled_and_paid()
    assert await story.owed("home") == (1_200, 0)

    await story.settled_and_paid(correcting=True)
    assert await story.owed("home") == (1_800, 0)
    reversal, new = (await story.books())[-2:]
    assert reversal.corrects == new.corrects is not None


async def test_the_books_balance_and_the_chain_holds_through_it_all():
    story, late = await a_home_with_late_readings()
    await story.settled_and_paid()
    await story.metered("home", late)
    await story.settled_and_paid()
    story.clock.step_to(CLOSED_AT)
    await story.settled_and_paid()

    every = balances(await story.books()).values()
    assert sum(balance.posted for balance in every) == sum(balance.pending for balance in every) == 0
    assert await story.store.verify_chain() is None
