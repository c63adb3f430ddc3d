"""A season's hours are paid once: what forced events beyond them are paid, and what an event uses of them."""

from dataclasses import replace
from datetime import date, datetime, timedelta

from tests.domain.money_world import EVENT_DAY, a_program, an_evening_history, local
from tests.stages.money_story import ENDS_AT, STARTS_AT, TEN_DAYS, MoneyStory
from vpp.adapters.clock import SteppedClock
from vpp.domain.grid_event import Grant, GrantKind, Step
from vpp.domain.interval import Interval
from vpp.domain.quantities import Watts
from vpp.domain.season_hours import season_seconds

BEFORE = EVENT_DAY - timedelta(days=1)


async def a_season_of(hours: int) -> MoneyStory:
    story = MoneyStory(
        clock=SteppedClock(ENDS_AT + timedelta(hours=1)), program=a_program(season_cap_s=hours * 3_600)
    )
    await story.home("home", an_evening_history([4_000] * 3, TEN_DAYS))
    return story


async def an_evening(
    story: MoneyStory,
    event_id: str,
    day: date,
    *,
    committed_at: datetime,
    forced_at: datetime | None = None,
) -> None:
    """Commit and dispatch an event from 18:00 to 21:00; one that is forced passes the season's hours."""
    await story.event(
        event_id,
        starts_at=local(day, 18),
        ends_at=local(day, 21),
        committed_at=committed_at,
        out_of_program=("season_cap",) if forced_at else (),
    )
    if forced_at is not None:
        await story.store.grant(Grant(event_id, 1, GrantKind.FORCE, "olga", forced_at))
    await story.dispatched(0, event_id=event_id, at=local(day, 18))


async def hours_settled(story: MoneyStory, event_id: str) -> float:
    settlement = await story.settled(event_id)
    assert settlement is not None
    return sum(line.event_s for line in settlement.lines) / 3_600


async def test_a_forced_event_has_what_a_later_one_accepted_before_it_leaves_of_the_season():
    story = await a_season_of(hours=4)
    await an_evening(story, "ev-later", EVENT_DAY, committed_at=local(BEFORE, 8))
    await an_evening(story, "ev-forced", BEFORE, committed_at=local(BEFORE, 9), forced_at=local(BEFORE, 10))

    assert (await hours_settled(story, "ev-later"), await hours_settled(story, "ev-forced")) == (3, 1)


async def test_of_two_forced_events_the_one_forced_first_comes_first_whichever_starts_first():
    story = await a_season_of(hours=4)
    await an_evening(story, "ev-later", EVENT_DAY, committed_at=local(BEFORE, 8), forced_at=local(BEFORE, 9))
    await an_evening(story, "ev-earlier", BEFORE, committed_at=local(BEFORE, 8), forced_at=local(BEFORE, 10))

    assert (await hours_settled(story, "ev-later"), await hours_settled(story, "ev-earlier")) == (3, 1)


async def test_an_event_accepted_while_another_waited_to_be_forced_comes_before_it():
    story = await a_season_of(hours=4)
    await an_evening(story, "ev-forced", BEFORE, committed_at=local(BEFORE, 8), forced_at=local(BEFORE, 10))
    await an_evening(story, "ev-inside", EVENT_DAY, committed_at=local(BEFORE, 9))

    assert (await hours_settled(story, "ev-inside"), await hours_settled(story, "ev-forced")) == (3, 1)


async def test_a_season_counts_of_an_event_with_a_gap_what_is_settled_of_it():
    story = await a_season_of(hours=60)
    await story.event()
    first = (await story.history()).latest
    steps = (
        Step(Interval(STARTS_AT, local(EVENT_DAY, 19)), Watts(9_000)),
        Step(Interval(local(EVENT_DAY, 20), ENDS_AT), Watts(9_000)),
    )
    asked_again = replace(first, version=2, steps=steps, committed_at=first.committed_at + timedelta(hours=1))
    await story.store.append_version(asked_again, actor="caiso")
    await story.dispatched(0)

    sources = {each.name: each for each in await story.store.sources()}
    season_s = season_seconds(await story.store.histories(), sources, story.program, STARTS_AT)

    assert (await hours_settled(story, "ev-1"), season_s / 3_600) == (2, 2)
