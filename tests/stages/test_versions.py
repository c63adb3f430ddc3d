"""What becomes of running homes when a newer version of their event comes and waits for somebody's leave."""

from dataclasses import replace

import pytest

from tests.stages.version_story import MINUTE, approve, faults, newer, planned, run, stretch
from tests.stages.world import EVENING, GRID, World, a_request
from vpp.domain.command import Action, DispatchTick
from vpp.domain.grid_event import Grant, GrantKind
from vpp.domain.quantities import Watts

OUT = ("out_of_length",)


async def two_counties(*, max_power_w: int = GRID.max_power_w) -> World:
    """Return three homes in Alameda and three in Kern, and a source with so much power of its own."""
    homes = [a_request(site, county="Alameda" if site < 3 else "Kern") for site in range(6)]
    world = await World.of(homes, soc_permille=[900] * 6)
    await world.store.add_source(replace(GRID, max_power_w=Watts(max_power_w)))
    return world


async def started(world: World) -> DispatchTick:
    """Let homes begin and answer; forget what was sent to them."""
    tick = await world.tick()
    assert tick is not None
    await world.answer(tick)
    world.clock.step_to(world.clock.now() + 4 * MINUTE)
    world.deliver(soc_permille=[890] * len(world.fleet))
    world.link.sent.clear()
    return tick


@pytest.mark.parametrize("leave", list(GrantKind))
async def test_version_that_waits_neither_dispatches_its_homes_nor_stops_those_that_run(
    leave: GrantKind,
) -> None:
    world = await two_counties(max_power_w=0)
    await world.signal(6_000, targets=("Alameda",))
    await approve(world, 1)
    await started(world)

    await newer(world, targets=("Kern",), out_of_program=OUT if leave is GrantKind.FORCE else ())
    await world.tick(seconds=1)

    assert planned(world) == [2_000, 2_000, 2_000, 0, 0, 0]
    assert world.link.take(Action.RELEASE) == {}


async def test_version_that_waited_uses_its_own_homes_as_soon_as_it_is_forced() -> None:
    world = await two_counties()
    await world.signal(6_000, targets=("Alameda",))
    await started(world)
    await newer(world, targets=("Kern",), out_of_program=OUT)
    await world.tick(seconds=1)

    await world.store.grant(Grant("ev-1", 2, GrantKind.FORCE, "second", world.clock.now()))
    await world.tick(seconds=15)

    assert planned(world) == [0, 0, 0, 2_000, 2_000, 2_000]
    assert world.board.plans["ev-1"].asked is not None
    assert world.board.plans["ev-1"].asked[0] == 2


async def test_version_that_waits_to_begin_later_does_not_stop_what_runs() -> None:
    world = await two_counties()
    await world.signal(6_000)
    await started(world)
    before = planned(world)

    later = stretch(6_000, begins=60 * MINUTE, ends=360 * MINUTE)
    await newer(world, steps=(later,), out_of_program=OUT)
    await world.tick(seconds=1)

    assert planned(world) == before
    assert world.link.take(Action.RELEASE) == {}


async def test_version_that_waits_lowers_the_power_at_once() -> None:
    world = await two_counties()
    await world.signal(6_000)
    await started(world)

    lower = stretch(3_000, begins=0 * MINUTE, ends=300 * MINUTE)
    await newer(world, steps=(lower,), out_of_program=OUT)
    await world.tick(seconds=1)

    assert sum(planned(world)) == 3_000


async def test_version_that_waits_takes_no_home_from_a_more_important_event() -> None:
    world = await World.of([a_request(site) for site in range(4)], soc_permille=[950] * 4)
    await world.signal(14_000, event_id="urgent", priority=1)
    await world.signal(14_000, event_id="other", priority=2)
    await started(world)
    before = planned(world, "urgent"), planned(world, "other")

    await newer(world, "other", priority=0, out_of_program=OUT)
    await world.tick(seconds=1)

    assert (planned(world, "urgent"), planned(world, "other")) == before


async def test_part_within_the_limit_is_dispatched_at_once_in_the_homes_it_names() -> None:
    world = await two_counties(max_power_w=2_000)
    await world.signal(1_500, targets=("Alameda",))
    await started(world)

    more = stretch(6_000, begins=0 * MINUTE, ends=120 * MINUTE)
    await newer(world, steps=(more,), targets=("Kern",))
    await world.tick(seconds=1)

    assert sum(planned(world)[3:]) == sum(planned(world)) == 2_000


async def test_approved_power_is_not_carried_over_to_homes_that_nobody_approved() -> None:
    world = await two_counties(max_power_w=2_000)
    await world.signal(6_000, targets=("Alameda",))
    await approve(world, 1)
    await started(world)

    await newer(world, targets=("Alameda", "Kern"))
    await world.tick(seconds=1)
    waits = planned(world)
    await newer(world, targets=("Kern",))
    await world.tick(seconds=15)

    assert waits == planned(world) == [2_000, 2_000, 2_000, 0, 0, 0]


async def test_event_that_nobody_approved_asks_for_no_home_at_all() -> None:
    world = await two_counties(max_power_w=0)
    await world.signal(6_000)

    await world.tick()

    assert sum(planned(world)) == 0
    assert world.link.take(Action.DISCHARGE) == {}


async def test_lease_ends_where_what_was_approved_ends_while_a_longer_version_waits() -> None:
    world = await two_counties(max_power_w=0)
    await world.signal(6_000, hours=1)
    await approve(world, 1)
    await started(world)
    await world.signal(6_000, hours=3)

    orders = await run(world, until=62 * MINUTE)

    ends_at = EVENING + 60 * MINUTE
    assert len(orders) > 3
    assert {order.event_ends_at for _, order in orders} == {ends_at}
    assert all(order.expires_at <= ends_at for _, order in orders)
    assert all(order.action is Action.DISCHARGE and order.ramp_s == 30 for _, order in orders)
    assert await faults(world) == []


async def test_longer_version_runs_on_from_its_approval() -> None:
    world = await two_counties(max_power_w=0)
    await world.signal(6_000, hours=1)
    await approve(world, 1)
    await started(world)
    await world.signal(6_000, hours=3)
    await world.tick(seconds=15)

    await approve(world, 2)
    orders = await run(world, until=62 * MINUTE)

    assert {order.event_ends_at for _, order in orders} == {EVENING + 180 * MINUTE}
    assert sum(planned(world)) == 6_000
    assert await faults(world) == []


async def test_energy_that_nobody_approved_is_not_saved_up_for() -> None:
    world = await two_counties(max_power_w=0)
    await world.signal(20_000, hours=1)
    await approve(world, 1)
    await started(world)
    before = planned(world)

    await world.signal(20_000, hours=6)
    await world.tick(seconds=1)

    assert planned(world) == before
