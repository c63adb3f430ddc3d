"""Two events over one fleet at the same time: each gets its homes, by a rule that can be said."""

from dataclasses import replace
from datetime import timedelta

import numpy as np

from tests.stages.world import EVENING, GRID, World, a_request
from vpp.domain.grid_event import Grant, GrantKind
from vpp.domain.quantities import Watts


async def a_street(*, homes: int = 24, charge: int = 900) -> World:
    return await World.of([a_request(site) for site in range(homes)], soc_permille=[charge] * homes)


async def run(world: World, *, ticks: int, charge: int = 900) -> None:
    for _ in range(ticks):
        tick = await world.tick(seconds=15)
        if tick is not None and tick.orders:
            await world.answer(tick)
        world.deliver(soc_permille=[charge] * len(world.fleet))


def power(world: World, event_id: str) -> int:
    return int(world.board.plans[event_id].setpoint_w.sum())


async def test_two_untargeted_events_both_get_their_power_from_one_fleet() -> None:
    world = await a_street()
    await world.signal(12_000, event_id="ev-first")
    await world.signal(12_000, event_id="ev-second", priority=3)

    await world.tick()

    first, second = world.board.plans["ev-first"], world.board.plans["ev-second"]
    assert (power(world, "ev-first"), power(world, "ev-second")) == (12_000, 12_000)
    assert not ((first.setpoint_w > 0) & (second.setpoint_w > 0)).any()


async def test_event_that_comes_later_gets_homes_of_one_that_is_spread_over_all() -> None:
    world = await a_street()
    await world.signal(14_400, event_id="ev-first")
    await run(world, ticks=16)
    assert (world.board.plans["ev-first"].setpoint_w > 0).all()

    await world.signal(12_000, event_id="ev-second", priority=3)
    await run(world, ticks=2)

    assert (power(world, "ev-first"), power(world, "ev-second")) == (14_400, 12_000)


async def test_event_that_will_ask_for_more_leaves_another_the_homes_that_it_will_never_need() -> None:
    world = await a_street()
    await world.signal(None, event_id="ev-first", hours=1, steps=[15_000, 60_000])
    await world.signal(50_000, event_id="ev-second", hours=1, priority=3)

    await run(world, ticks=4)

    assert (power(world, "ev-first"), power(world, "ev-second")) == (15_000, 50_000)


async def test_less_important_event_that_will_ask_for_more_has_all_that_it_asks_now() -> None:
    world = await a_street()
    await world.signal(None, event_id="ev-first", hours=1, steps=[40_000, 40_000])
    await world.signal(None, event_id="ev-second", hours=1, steps=[10_000, 100_000], priority=3)

    await run(world, ticks=4)

    assert (power(world, "ev-first"), power(world, "ev-second")) == (40_000, 10_000)


async def test_homes_do_not_change_hands_while_both_events_run() -> None:
    world = await a_street()
    await world.signal(12_000, event_id="ev-first")
    await world.signal(9_000, event_id="ev-second", priority=3)
    await run(world, ticks=2)
    before = {name: plan.setpoint_w.tolist() for name, plan in world.board.plans.items()}

    for minutes in range(1, 40):
        await run(world, ticks=4, charge=900 - 4 * minutes)

    assert {name: plan.setpoint_w.tolist() for name, plan in world.board.plans.items()} == before


async def test_where_it_does_not_reach_for_both_the_more_important_event_is_whole() -> None:
    world = await a_street(homes=8, charge=500)
    await world.signal(12_000, event_id="ev-first")
    await world.signal(12_000, event_id="ev-second", priority=3)

    await world.tick()

    assert power(world, "ev-first") == 12_000
    assert 0 < power(world, "ev-second") < 12_000


async def test_home_that_fails_in_one_event_is_replaced_although_another_runs() -> None:
    world = await a_street()
    await world.signal(12_000, event_id="ev-first")
    await world.signal(12_000, event_id="ev-second", priority=3)
    await run(world, ticks=16)
    failing = int(np.flatnonzero(world.board.plans["ev-first"].setpoint_w)[0])

    for _ in range(20):
        world.deliver(soc_permille=[900] * 24, short={failing: 0})
        tick = await world.tick(seconds=15)
        if tick is not None and tick.orders:
            await world.answer(tick)

    assert world.board.plans["ev-first"].setpoint_w[failing] == 0
    assert power(world, "ev-first") >= 11_500
    assert power(world, "ev-second") >= 11_500


async def test_when_the_one_event_ends_the_other_goes_on() -> None:
    world = await a_street()
    await world.signal(12_000, event_id="ev-first", hours=1)
    await world.signal(12_000, event_id="ev-second", priority=3)
    await run(world, ticks=4 * 61)

    assert world.clock.now() > EVENING + timedelta(hours=1)
    assert power(world, "ev-second") == 12_000


async def test_event_that_waits_for_approval_takes_no_approved_power_of_one_that_runs() -> None:
    world = await a_street()
    await world.store.add_source(replace(GRID, max_power_w=Watts(12_000)))
    await world.signal(8_000, event_id="ev-first")
    await run(world, ticks=4)

    await world.signal(20_000, event_id="ev-second")
    await run(world, ticks=4)
    waiting_w = power(world, "ev-first"), power(world, "ev-second")
    await world.store.grant(Grant("ev-second", 1, GrantKind.APPROVE, "staff:ben", world.clock.now()))
    await run(world, ticks=4)

    assert waiting_w == (8_000, 4_000)
    assert (power(world, "ev-first"), power(world, "ev-second")) == (8_000, 20_000)


async def test_a_test_takes_no_home_and_no_power_from_a_real_event() -> None:
    world = await a_street(homes=6)
    await world.store.add_source(replace(GRID, max_power_w=Watts(30_000)))
    await world.signal(25_000, event_id="ev-real", priority=None)
    await run(world, ticks=16)
    real = world.board.plans["ev-real"].setpoint_w.copy()

    await world.signal(20_000, event_id="ev-test", priority=0, test=True)
    await run(world, ticks=4)

    assert np.array_equal(world.board.plans["ev-real"].setpoint_w, real)
    assert real.sum() == 25_000
    assert power(world, "ev-test") <= 5_000


async def test_a_real_event_takes_the_homes_of_a_test() -> None:
    world = await a_street(homes=6)
    await world.signal(25_000, event_id="ev-test", priority=0, test=True)
    await run(world, ticks=16)

    await world.signal(25_000, event_id="ev-real", priority=None)
    await run(world, ticks=4)

    assert power(world, "ev-real") == 25_000
