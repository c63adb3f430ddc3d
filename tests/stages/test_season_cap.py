"""A home that has done its part of the season is asked no more, in the middle of an event too."""

from dataclasses import replace
from datetime import time, timedelta
from decimal import Decimal

from tests.stages.world import EVENING, PROGRAM, TERMS, World, a_program, a_request
from vpp.domain.command import Action
from vpp.domain.dispatch_plan import REASONS, Reason
from vpp.domain.program import MeterOfRecord, NegativePolicy, Terms
from vpp.domain.quantities import Price


async def a_capped_world(hours: int) -> World:
    """Return six homes in a program with a season, each of which may be asked for so many hours."""
    world = await World.of([a_request(site) for site in range(6)], soc_permille=[900] * 6)
    terms = Terms(
        effective_from=EVENING.date() - timedelta(days=400), effective_to=None, season_first=(5, 1),
        season_last=(10, 31), window_opens=time(16), window_closes=time(21), event_min_s=3_600,
        event_max_s=10_800, season_cap_s=216_000, season_minimum_s=0, rate=Price(Decimal("2.00")),
        owner_share=Decimal("1.00"), meter=MeterOfRecord.DEVICE, baseline_method="ten_of_ten",
        negative_policy=NegativePolicy.NET_EVENT_FLOOR_ZERO, holidays="NERC",
    )  # fmt: skip
    world.programs[PROGRAM] = replace(a_program(), editions=(terms,))
    world.terms = replace(TERMS, site_season_cap_s=hours * 3_600)
    return world


async def a_world_of_cycles(cap_cycles: int) -> World:
    """Return six homes of 13.5 kWh whose program asks a home for so many full cycles in a year."""
    world = await a_capped_world(1)
    (terms,) = world.programs[PROGRAM].editions
    terms = replace(terms, cap_cycles=cap_cycles)
    world.programs[PROGRAM] = replace(world.programs[PROGRAM], editions=(terms,))
    world.terms = TERMS
    return world


async def run(world: World, minutes: int, *, every_s: int = 15) -> None:
    for _ in range(60 * minutes // every_s):
        world.deliver(soc_permille=[900] * 6)
        tick = await world.tick(seconds=every_s)
        if tick is not None and tick.orders:
            await world.answer(tick)


async def test_home_is_released_when_its_hours_are_done() -> None:
    world = await a_capped_world(1)
    await world.signal(12_000, hours=2)

    await run(world, 59)
    at_first = int((world.board.plans["ev-1"].setpoint_w > 0).sum())
    await run(world, 8)

    plan = world.board.plans["ev-1"]
    assert at_first == 6
    assert {REASONS[code] for code in plan.reason_code} == {Reason.SEASON_CAP}
    assert plan.shortfall_w == 12_000
    assert set(world.link.take(Action.RELEASE)) == set(range(6))


async def test_hours_of_earlier_events_count_and_others_take_over() -> None:
    world = await a_capped_world(1)
    for site in range(3, 6):
        world.fleet.max_discharge_w[site] = 0
        world.fleet.discharge_limit_w[site] = 0
    await world.signal(6_000, event_id="ev-1", hours=1)
    for _ in range(4 * 61):
        world.sample(soc_permille=[900] * 6, limit_w=[5_000] * 3 + [0] * 3,
                     battery_w=world.board.leases.setpoint_w.tolist())  # fmt: skip
        tick = await world.tick(seconds=15)
        if tick is not None and tick.orders:
            await world.answer(tick)
    world.fleet.max_discharge_w[3:] = 5_000

    await world.signal(6_000, event_id="ev-2", starts_at=EVENING + timedelta(hours=2), hours=1)
    await run(world, 65)

    plan = world.board.plans["ev-2"]
    assert [REASONS[code] for code in plan.reason_code[:3]] == [Reason.SEASON_CAP] * 3
    assert plan.setpoint_w[3:].sum() == 6_000


async def test_restart_knows_the_hours_that_were_done() -> None:
    world = await a_capped_world(1)
    await world.signal(12_000, hours=2)
    await run(world, 66)

    await world.restart()
    await run(world, 2)

    assert not world.board.plans["ev-1"].setpoint_w.any()


async def two_evenings(world: World) -> None:
    """Ask each home for 7.5 kWh, and then for 2.5 kW so long that it passes 12.825 kWh at minute 128."""
    await world.signal(15_000, hours=3)
    await run(world, 181, every_s=30)
    await world.signal(15_000, event_id="ev-2", starts_at=world.clock.now(), hours=3)


async def test_home_is_asked_no_more_when_the_cycles_of_its_year_are_done() -> None:
    world = await a_world_of_cycles(1)
    await two_evenings(world)

    await run(world, 125, every_s=30)
    before = world.board.plans["ev-2"].setpoint_w.tolist()
    await run(world, 9, every_s=30)

    plan = world.board.plans["ev-2"]
    assert before == [2_500] * 6
    assert {REASONS[code] for code in plan.reason_code} == {Reason.SEASON_CAP}
    assert set(world.link.take(Action.RELEASE)) == set(range(6))


async def test_cycles_are_known_after_a_restart_and_begin_anew_with_the_year() -> None:
    world = await a_world_of_cycles(1)
    await two_evenings(world)
    await run(world, 134, every_s=30)

    await world.restart()
    await run(world, 2)
    after_restart = world.board.plans["ev-2"].setpoint_w.tolist()
    world.clock.step_to(world.clock.now() + timedelta(days=150))
    await world.signal(6_000, event_id="ev-3", starts_at=world.clock.now(), hours=1)
    await run(world, 4)

    assert after_restart == [0] * 6
    assert world.board.plans["ev-3"].setpoint_w.sum() == 6_000


async def test_home_with_cycles_left_is_asked_on() -> None:
    world = await a_world_of_cycles(2)
    await two_evenings(world)

    await run(world, 134, every_s=30)

    assert world.board.plans["ev-2"].setpoint_w.tolist() == [2_500] * 6


async def test_hours_are_counted_while_nothing_is_on_and_no_more_often_than_in_an_event() -> None:
    world = await a_capped_world(1)
    await world.signal(12_000, hours=2)
    await run(world, 66)
    world.clock.step_to(world.clock.now() + timedelta(hours=3))
    await world.restart()
    counted = []

    for _ in range(4 * 11):
        await world.tick(seconds=15)
        counted.append(world.board.season.read_at)

    assert world.board.facts is not None
    assert not world.board.facts.histories
    assert world.board.season.reached(3_600, 6).all()
    assert len(set(counted)) == 3
