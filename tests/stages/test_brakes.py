"""What holds the fleet back: ramp caps, network limits over several events, approval by a second person."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from tests.stages.world import EVENING, GRID, TERMS, World, a_request
from vpp.domain.command import Action, DispatchTick
from vpp.domain.enrollment import OptOut
from vpp.domain.grid_event import Grant, GrantKind
from vpp.domain.interval import to_epoch
from vpp.domain.quantities import Watts

MINUTE_CAP_W = 60_000


async def forty_homes(**terms: object) -> World:
    world = await World.of(
        [a_request(site, county="Alameda" if site % 2 else "Marin") for site in range(40)],
        soc_permille=[900] * 40,
    )
    world.terms = replace(TERMS, **terms)  # type: ignore[arg-type]  # names and values are those of the terms
    world.board.ramp.since_s = 0
    return world


async def next_tick(world: World, *, seconds: int = 15) -> DispatchTick | None:
    """Let every home deliver what it is asked, and control look once."""
    world.deliver(soc_permille=[900] * 40)
    tick = await world.tick(seconds=seconds)
    if tick is not None and tick.orders:
        await world.answer(tick)
    return tick


def live_w(world: World) -> int:
    running = world.board.leases.discharging(to_epoch(world.clock.now()))
    return int(world.board.leases.setpoint_w[running].sum())


async def course_of(world: World, ticks: int) -> list[int]:
    """Return the sum of live setpoints after each tick."""
    course = []
    for _ in range(ticks):
        await next_tick(world)
        course.append(live_w(world))
    return course


def greatest_change_in_a_minute(course: list[int], sign: int) -> int:
    return max(sign * (after - before) for before, after in zip(course, course[4:], strict=False))


async def test_fleet_rises_no_faster_than_its_ramp_cap_and_arrives() -> None:
    world = await forty_homes(fleet_ramp_w_per_min=MINUTE_CAP_W)
    await world.signal(140_000)

    course = [0, 0, 0, 0, *await course_of(world, 14)]

    assert greatest_change_in_a_minute(course, 1) <= MINUTE_CAP_W
    assert course[-1] == 140_000


async def test_scheduled_end_is_wound_down_within_the_cap_and_in_time() -> None:
    world = await forty_homes(fleet_ramp_w_per_min=MINUTE_CAP_W)
    await world.signal(140_000, hours=1)

    course = [*await course_of(world, 4 * 60 - 1), 0, 0, 0, 0]

    assert course[100] == 140_000
    assert greatest_change_in_a_minute(course, -1) <= MINUTE_CAP_W
    assert course[-5] == 0


async def test_fall_between_two_powers_of_an_event_keeps_to_the_cap() -> None:
    world = await forty_homes(fleet_ramp_w_per_min=MINUTE_CAP_W)
    await world.signal(None, hours=1, steps=[140_000, 40_000])

    course = await course_of(world, 4 * 90)

    assert course[4 * 60 + 2] == pytest.approx(40_000, abs=500)
    assert course[100] == 140_000
    assert greatest_change_in_a_minute(course, -1) <= MINUTE_CAP_W
    assert max(course[4 * 60 :]) <= 40_500


async def test_version_that_asks_for_less_is_followed_at_once() -> None:
    world = await forty_homes(fleet_ramp_w_per_min=MINUTE_CAP_W)
    await world.signal(140_000, hours=1)
    before = (await course_of(world, 14))[-1]
    await world.signal(20_000, hours=1)

    (after,) = await course_of(world, 1)

    assert (before, after) == (140_000, 20_000)


async def test_homes_under_a_ramp_cap_start_when_told_and_the_others_spread() -> None:
    world = await forty_homes(zone_ramp_w_per_min={"Marin": MINUTE_CAP_W})
    await world.signal(140_000)

    tick = await next_tick(world)

    assert tick is not None
    spread = {int(site): order.spread_s for order in tick.orders for site in order.site_no}
    assert {site % 2 for site, seconds in spread.items() if seconds == 0} == {0}
    assert {site % 2 for site, seconds in spread.items() if seconds == 60} == {1}
    sent = world.link.take(Action.DISCHARGE)
    marin_w = sum(watts for site, watts in sent.items() if site % 2 == 0)
    assert marin_w <= MINUTE_CAP_W // 4


async def test_zone_never_changes_faster_than_its_cap() -> None:
    world = await forty_homes(zone_ramp_w_per_min={"Marin": MINUTE_CAP_W})
    await world.signal(140_000, hours=1)

    course = [0] * 4
    for _ in range(4 * 60 + 4):
        await next_tick(world)
        running = world.board.leases.discharging(to_epoch(world.clock.now()))
        course.append(int(world.board.leases.setpoint_w[running & (world.fleet.county_no == 0)].sum()))

    assert world.roster.counties.word(0) == "Marin"
    assert max(course) > MINUTE_CAP_W
    assert greatest_change_in_a_minute(course, 1) <= MINUTE_CAP_W
    assert greatest_change_in_a_minute(course, -1) <= MINUTE_CAP_W


async def test_release_knows_no_brake() -> None:
    world = await forty_homes(fleet_ramp_w_per_min=MINUTE_CAP_W)
    await world.signal(140_000)
    await course_of(world, 14)

    for site in range(20):
        await world.store.opt_out(OptOut(f"s-{site:04d}", "ev-1", world.clock.now(), "portal"))
    await next_tick(world, seconds=1)
    released = set(world.link.take(Action.RELEASE))
    await world.signal(0, cancelled=True)
    await next_tick(world, seconds=1)

    assert released == set(range(20))
    assert live_w(world) == 0


async def test_event_leaves_homes_to_another_no_faster_than_the_fleet_may_rise_elsewhere() -> None:
    world = await forty_homes(fleet_ramp_w_per_min=MINUTE_CAP_W)
    await world.signal(110_000, event_id="ev-1", priority=0)
    before = (await course_of(world, 20))[-1]
    await world.signal(80_000, event_id="ev-2", priority=5)

    course = await course_of(world, 40)

    assert before == 110_000
    assert min(course) >= 110_000, "nobody is missing it before another gives it"
    assert course[-1] == pytest.approx(190_000, abs=1_000)


async def test_last_watts_of_an_event_cost_another_none_of_its_homes() -> None:
    world = await forty_homes(fleet_ramp_w_per_min=30_000)
    await world.signal(None, event_id="ev-1", hours=1, steps=[100_000, 140_000], priority=0)
    begins = EVENING + timedelta(minutes=20)
    await world.signal(170_000, event_id="ev-2", starts_at=begins, hours=2, priority=5)

    course = await course_of(world, 4 * 65)

    assert world.board.plans["ev-1"].setpoint_w.sum() >= 139_000
    assert course[-1] >= 190_000


async def test_restart_in_the_middle_of_a_rise_keeps_to_the_cap() -> None:
    world = await forty_homes(fleet_ramp_w_per_min=MINUTE_CAP_W)
    await world.signal(140_000)
    course = [0, 0, 0, 0, *await course_of(world, 4)]

    await world.restart()
    course += await course_of(world, 12)

    assert greatest_change_in_a_minute(course, 1) <= MINUTE_CAP_W
    assert course[-1] == 140_000


async def test_two_events_together_never_pass_a_feeders_cap() -> None:
    world = await forty_homes(feeder_caps_w={"f-0": 20_000})
    await world.signal(50_000, event_id="ev-1", targets=("Marin",))
    await world.signal(50_000, event_id="ev-2", targets=("Alameda",))

    await next_tick(world)

    on_feeder = world.fleet.feeder_no == world.roster.feeders.find("f-0")
    both = world.board.plans["ev-1"].setpoint_w + world.board.plans["ev-2"].setpoint_w
    assert both.sum() == 100_000
    assert both[on_feeder].sum() <= 20_000


async def test_part_of_a_feeder_that_silent_homes_go_on_with_is_given_to_nobody() -> None:
    world = await forty_homes(feeder_caps_w={"f-0": 20_000})
    await world.signal(90_000)
    await course_of(world, 12)
    on_feeder = world.fleet.feeder_no == world.roster.feeders.find("f-0")
    silent = np.flatnonzero(on_feeder & (world.board.leases.setpoint_w > 0))[:6]
    heard_s = world.fleet.sampled_at_s[silent]

    for _ in range(12):
        world.deliver(soc_permille=[900] * 40)
        world.fleet.online[silent], world.fleet.sampled_at_s[silent] = False, heard_s
        tick = await world.tick(seconds=15)
        if tick is not None and tick.orders:
            await world.answer(tick)
        running = world.board.leases.discharging(to_epoch(world.clock.now()))
        assert world.board.leases.setpoint_w[running & on_feeder].sum() <= 20_000

    assert live_w(world) > 90_000, "others stand in for them"


async def test_feeders_cap_that_was_lowered_binds_after_the_restart() -> None:
    world = await forty_homes()
    await world.signal(120_000)
    await next_tick(world)

    await world.restart()
    world.terms = replace(TERMS, feeder_caps_w={"f-0": 10_000})
    await course_of(world, 8)

    on_feeder = world.fleet.feeder_no == world.roster.feeders.find("f-0")
    assert world.board.plans["ev-1"].setpoint_w[on_feeder].sum() <= 10_000


async def test_part_within_the_sources_limit_goes_at_once_and_the_rest_after_approval() -> None:
    world = await forty_homes()
    await world.store.add_source(replace(GRID, max_power_w=Watts(40_000)))
    await world.signal(100_000)

    await next_tick(world)
    at_once_w = live_w(world)
    await course_of(world, 4)
    waiting_w = live_w(world)
    await world.store.grant(Grant("ev-1", 1, GrantKind.APPROVE, "operator:second", world.clock.now()))
    await next_tick(world, seconds=1)

    assert (at_once_w, waiting_w) == (40_000, 40_000)
    assert live_w(world) == 100_000


async def test_effective_power_never_passes_what_is_approved() -> None:
    world = await forty_homes()
    await world.store.add_source(replace(GRID, max_power_w=Watts(40_000)))
    await world.signal(100_000)

    for number in range(60):
        world.deliver(soc_permille=[900] * 40, short={0: 900, 1: 0} if number > 10 else None)
        if number > 20:
            world.fleet.sampled_at_s[2:5] = to_epoch(EVENING) + 300
        tick = await world.tick(seconds=15)
        if tick is not None and tick.orders:
            await world.answer(tick)
        assert world.board.assessment is not None
        assert world.board.assessment.effective_w.sum() <= 40_000
        assert live_w(world) <= 44_000


@pytest.mark.parametrize(
    "braked", [{}, {"fleet_ramp_w_per_min": MINUTE_CAP_W}, {"zone_ramp_w_per_min": {"Alameda": MINUTE_CAP_W}}]
)
async def test_few_watts_that_another_event_of_the_source_takes_are_not_given_beyond_its_limit(
    braked: dict[str, object],
) -> None:
    world = await forty_homes(**braked)
    await world.store.add_source(replace(GRID, max_power_w=Watts(20_000)))
    await world.signal(16_000, event_id="ev-1", targets=("Marin",), priority=0)
    await world.signal(3_300, event_id="ev-2", targets=("Alameda",), priority=5)
    before = (await course_of(world, 10))[-1]
    await world.signal(17_000, event_id="ev-1", targets=("Marin",), priority=0)

    after = (await course_of(world, 4))[-1]

    plan = world.board.plans["ev-2"]
    assert (before, plan.requested_w) == (19_300, 3_000)
    assert 19_500 <= after <= 20_000, "less than the deadband is still no reason to give more"


async def test_approval_of_one_version_does_not_approve_the_next() -> None:
    world = await forty_homes()
    await world.store.add_source(replace(GRID, max_power_w=Watts(40_000)))
    await world.signal(60_000)
    await world.store.grant(Grant("ev-1", 1, GrantKind.APPROVE, "operator:second", world.clock.now()))
    await next_tick(world)

    world.clock.step_to(world.clock.now() + timedelta(seconds=30))
    await world.signal(100_000)
    await next_tick(world)

    assert live_w(world) == 60_000


async def test_what_silent_homes_go_on_with_while_their_event_is_wound_down_is_given_to_no_other() -> None:
    world = await forty_homes(fleet_ramp_w_per_min=MINUTE_CAP_W)
    await world.store.add_source(replace(GRID, max_power_w=Watts(60_000)))
    await world.signal(None, event_id="ev-1", hours=1, steps=[50_000, 5_000], targets=("Marin",), priority=0)
    await world.signal(60_000, event_id="ev-2", hours=2, targets=("Alameda",), priority=5)
    for _ in range(4 * 56):
        await next_tick(world)
    silent = np.flatnonzero(world.board.plans["ev-1"].setpoint_w > 0)[:7]

    for _ in range(4 * 6):
        world.deliver(soc_permille=[900] * 40, silent=silent.tolist())
        world.fleet.online[silent] = False
        tick = await world.tick(seconds=15)
        if tick is not None and tick.orders:
            await world.answer(tick)
        assert (world.board.plans["ev-1"].setpoint_w[silent] == 2_500).all()
        assert live_w(world) <= 66_000
