"""Where a season nets, no owner's cents depend on when, or in which order, its events were settled."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.domain.money_world import EVENT_DAY, Row, a_program, an_evening_history, local
from tests.stages.money_story import ENDS_AT, STARTS_AT, TEN_DAYS, MoneyStory
from vpp.domain.delivery import Quality
from vpp.domain.interval import Interval
from vpp.domain.program import NegativePolicy
from vpp.domain.season_netting import netted_again
from vpp.domain.settled_event import settled_event
from vpp.domain.settlement import SettlementLine, SettlementState

CLOSING = timedelta(days=8)
NOT_BELIEVED: list[Row] = [(local(EVENT_DAY, 20, 30), 1, 1, Quality.OK)]
"""A second value within the evening's last hour: that hour counts for nothing then."""


async def an_evening(*metered_wh: int) -> MoneyStory:
    """Return a home that usually gives 1 kWh an hour, in a program whose season nets."""
    story = MoneyStory(program=a_program(negative_policy=NegativePolicy.NET_SEASON_FLOOR_ZERO))
    await story.home("home", an_evening_history(metered_wh, TEN_DAYS))
    return story


async def one_event_inside_another() -> MoneyStory:
    """Return a home that lost 2 kWh in a long event, and gave 3 kWh in a short one in the middle of it."""
    story = await an_evening(0, 4_000, 0)
    middle = (local(EVENT_DAY, 19), local(EVENT_DAY, 20))
    await story.event("long")
    await story.event("short", starts_at=middle[0], ends_at=middle[1])
    await story.dispatched(0, event_id="long")
    await story.dispatched(0, event_id="short", at=middle[0])
    return story


async def line_of(story: MoneyStory, event_id: str) -> tuple[str, int, int]:
    """Return what stands of an event: its state, the watt-hours beyond the baseline and those paid."""
    run = await story.store.settlement(event_id)
    assert run is not None
    return run.state.value, int(run.lines[0].incremental_wh), int(run.lines[0].paid_wh)


async def test_an_event_is_final_only_when_every_event_that_carries_to_it_is_closed():
    story = await one_event_inside_another()
    story.clock.step_to(ENDS_AT + CLOSING - timedelta(minutes=30))  # the short one closed half an hour ago
    for event_id in ("long", "short"):
        await story.settled_and_paid(event_id)
    early = await line_of(story, "short")
    await story.metered("home", NOT_BELIEVED)  # of the long one, which is still open
    story.clock.step_to(ENDS_AT + CLOSING)

    for event_id in ("long", "short"):
        await story.settled_and_paid(event_id)

    assert early == ("provisional", 3_000, 1_000)
    assert await line_of(story, "long") == ("final", -1_000, 0)
    assert await line_of(story, "short") == ("final", 3_000, 2_000)
    assert await story.owed("home") == (400, 0)


@pytest.mark.parametrize("order", [("long", "short"), ("short", "long")])
async def test_after_days_without_a_controller_the_order_of_settling_changes_no_cents(order: tuple[str, str]):
    story = await one_event_inside_another()
    story.clock.step_to(ENDS_AT + CLOSING + timedelta(days=1))

    for event_id in order:
        await story.settled_and_paid(event_id)

    assert await line_of(story, "long") == ("final", -2_000, 0)
    assert await line_of(story, "short") == ("final", 3_000, 1_000)
    assert await story.owed("home") == (200, 0)


async def test_a_final_event_takes_in_what_came_for_a_provisional_one_since_that_was_settled():
    story = await one_event_inside_another()
    for event_id in ("long", "short"):
        await story.settled_and_paid(event_id)
    await story.metered("home", NOT_BELIEVED)
    story.clock.step_to(ENDS_AT + CLOSING + timedelta(days=1))

    await story.settled_and_paid("short")  # and the long one still stands as it was

    assert await line_of(story, "long") == ("provisional", -2_000, 0)
    assert await line_of(story, "short") == ("final", 3_000, 2_000)


@pytest.mark.parametrize("first", ["ev-a", "ev-b"])
async def test_of_two_events_at_once_the_one_that_held_the_home_first_carries_to_the_other(first: str):
    story = await an_evening(0, 4_000, 1_000)
    other = "ev-b" if first == "ev-a" else "ev-a"
    told: list[tuple[str, datetime]] = [(first, STARTS_AT), (other, local(EVENT_DAY, 19))]
    for event_id, _ in told:
        await story.event(event_id)
    for event_id, at in told:
        await story.dispatched(0, event_id=event_id, at=at)
    story.clock.step_to(ENDS_AT + CLOSING + timedelta(days=1))

    for event_id in ("ev-a", "ev-b"):
        await story.settled_and_paid(event_id)

    assert await line_of(story, first) == ("final", -1_000, 0)
    assert await line_of(story, other) == ("final", 3_000, 2_000)


async def test_who_takes_over_a_home_begins_the_season_with_nothing():
    story = await one_event_inside_another()
    long, short = await story.settled("long"), await story.settled("short")
    assert long is not None
    assert short is not None
    on = Interval(local(EVENT_DAY, 19), local(EVENT_DAY, 20))
    event = settled_event("short", story.program, [on], on)
    sold: SettlementLine = replace(short.lines[0], owner_id="owner-new")

    kept = netted_again(event, short, [long])
    taken_over = netted_again(event, replace(short, lines=(sold,)), [long])

    assert short.state is SettlementState.PROVISIONAL
    assert (kept.lines[0].paid_wh, taken_over.lines[0].paid_wh) == (1_000, 3_000)
