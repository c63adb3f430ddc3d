"""Events whose power changes from interval to interval: what is kept for later, and what is asked now."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from tests.stages.version_story import MINUTE, faults, newer, run, stretch
from tests.stages.world import EVENING, GRID, World, a_request
from vpp.domain.command import Action
from vpp.domain.dispatch_plan import REASONS, Reason
from vpp.domain.grid_event import Grant, GrantKind
from vpp.domain.quantities import Watts

HOUR = timedelta(hours=1)
USABLE_WH = 51_300  # of ten packs of 13.5 kWh at 60 %, above a reserve of 20 %


async def a_street(*, charge: int = 600, max_power_w: int = GRID.max_power_w) -> World:
    world = await World.of([a_request(site) for site in range(10)], soc_permille=[charge] * 10)
    await world.store.add_source(replace(GRID, max_power_w=Watts(max_power_w)))
    return world


def sent_w(world: World, event_id: str = "ev-1") -> int:
    return int(world.board.plans[event_id].setpoint_w.sum())


@pytest.mark.parametrize("powers", [(20_000, 50_000), (50_000, 20_000)])
async def test_energy_for_a_later_interval_is_kept_and_what_lacks_is_spread_flat(
    powers: tuple[int, int],
) -> None:
    world = await a_street()
    await world.signal(None, steps=powers, hours=1)

    await world.tick()

    plan = world.board.plans["ev-1"]
    assert sent_w(world) == pytest.approx(powers[0] * USABLE_WH / sum(powers), abs=25)
    assert sent_w(world) + plan.shortfall_w == powers[0]


async def test_both_intervals_get_the_same_part_of_what_they_ask() -> None:
    world = await a_street()
    await world.signal(None, steps=(20_000, 50_000), hours=1)
    first = await world.tick()
    assert first is not None
    await world.answer(first)
    left_wh, given_wh = [float(USABLE_WH) / 10] * 10, [0.0, 0.0]

    while world.clock.now() < EVENING + 2 * HOUR - timedelta(seconds=15):
        hour = int(world.clock.now() >= EVENING + HOUR)
        powers = [
            watts if left > 0 else 0
            for watts, left in zip(world.board.leases.setpoint_w.tolist(), left_wh, strict=True)
        ]
        given_wh[hour] += sum(powers) * 15 / 3600
        left_wh = [left - watts * 15 / 3600 for watts, left in zip(powers, left_wh, strict=True)]
        charge = [200 + int(left * 1000 / (0.95 * 13_500)) for left in left_wh]
        world.sample(soc_permille=charge, battery_w=powers)
        tick = await world.tick(seconds=15)
        if tick is not None and tick.orders:
            await world.answer(tick)

    parts = [given / asked for given, asked in zip(given_wh, (20_000, 50_000), strict=True)]
    assert parts == pytest.approx([USABLE_WH / 70_000] * 2, abs=0.01)


async def test_small_first_interval_is_served_although_its_share_of_every_home_is_too_small() -> None:
    world = await a_street(charge=950)
    await world.signal(None, steps=(4_000, 50_000), hours=1)

    await world.tick()

    assert sent_w(world) == 4_000
    assert world.board.plans["ev-1"].shortfall_w == 0


async def test_home_that_can_serve_the_peak_is_not_below_its_reserve_before_it() -> None:
    world = await a_street(charge=300)  # 1.28 kWh each, for an event that is over in two hours
    await world.signal(None, steps=(1_000, 20_000), hours=1)

    await world.tick()

    plan = world.board.plans["ev-1"]
    below = REASONS.index(Reason.BELOW_RESERVE)
    assert not (plan.reason_code == below).any()
    assert sent_w(world) == pytest.approx(1_000 * 12_825 / 21_000, abs=10)


async def test_later_interval_counts_only_as_far_as_it_will_be_authorized() -> None:
    world = await a_street(max_power_w=20_000)
    await world.signal(None, steps=(20_000, 50_000), hours=1)

    await world.tick()
    within_limit_w = sent_w(world)
    await world.store.grant(Grant("ev-1", 1, GrantKind.APPROVE, "second", world.clock.now()))
    await world.tick(seconds=15)

    assert within_limit_w == 20_000
    assert sent_w(world) == pytest.approx(20_000 * USABLE_WH / 70_000, abs=100)


async def test_power_that_another_event_will_need_is_not_counted_for_a_later_interval() -> None:
    world = await a_street(max_power_w=20_000)
    await world.signal(20_000, event_id="urgent", starts_at=EVENING + HOUR, hours=1, priority=0)
    await world.signal(None, event_id="long", steps=(20_000, 50_000), hours=1, priority=5)

    await world.tick()

    # All that its source may ask goes to the other event in the second hour.
    assert sent_w(world, "long") == 20_000
    assert np.count_nonzero(world.board.plans["long"].setpoint_w) == 10


@pytest.mark.parametrize("gap_s", [1, 60, 120, 300])
async def test_gap_asks_nothing_however_short_it_is(gap_s: int) -> None:
    world = await a_street()
    ends, begins = 10 * MINUTE, 10 * MINUTE + timedelta(seconds=gap_s)
    both = (stretch(6_000, begins=0 * MINUTE, ends=ends), stretch(6_000, begins=begins, ends=2 * ends))
    await world.signal(6_000)
    await newer(world, steps=both)

    orders = await run(world, until=2 * ends, charge=600)

    told = [(at, each) for at, each in orders if each.action is Action.DISCHARGE]
    before = [each for _, each in told if each.starts_at < EVENING + ends]
    after = [each for at, each in told if each.starts_at >= EVENING + begins]
    assert len(before) + len(after) == len(told)
    assert before
    assert after
    assert all(each.expires_at <= each.event_ends_at == EVENING + ends for each in before)
    assert all(each.event_ends_at == EVENING + 2 * ends for each in after)
    assert after[0].spread_s == world.terms.spread_s
    assert all(at >= ends for at, each in told if each.starts_at >= EVENING + begins)
    assert await faults(world) == []


async def test_what_an_event_with_a_setpoint_lacks_is_not_given_to_another_of_its_source() -> None:
    homes = [a_request(site, county="Alameda" if site < 1 else "Kern") for site in range(6)]
    world = await World.of(homes, soc_permille=[900] * 6)
    await world.store.add_source(replace(GRID, max_power_w=Watts(10_000)))
    await world.signal(8_000, event_id="short", priority=0, targets=("Alameda",))
    await world.signal(10_000, event_id="other", priority=1, targets=("Kern",))

    await world.tick()

    assert sent_w(world, "short") < 5_000
    assert sent_w(world, "other") == 2_000
