"""Ramp caps of zones while an event goes from one power to another, and to nothing."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from tests.stages.test_brakes import forty_homes, greatest_change_in_a_minute
from tests.stages.world import World
from vpp.domain.enrollment import OptOut
from vpp.domain.interval import to_epoch

EDGE = 4 * 60  # ticks in an hour
RIM_W = 500  # beside a power: what is not worth a command


async def courses(world: World, ticks: int, *, silent: Sequence[int] = ()) -> dict[str, list[int]]:
    """Return live setpoints after each tick, of the fleet and of each county."""
    names = world.roster.counties.words
    found: dict[str, list[int]] = {"fleet": [], **{name: [] for name in names}}
    for _ in range(ticks):
        charge = [900 if site % 2 else 880 for site in range(40)]  # Marin ends first
        world.deliver(soc_permille=charge, silent=list(silent))
        world.fleet.online[list(silent)] = False
        tick = await world.tick(seconds=15)
        if tick is not None and tick.orders:
            await world.answer(tick)
        live = world.board.leases.discharging(to_epoch(world.clock.now()))
        live_w = np.where(live, world.board.leases.setpoint_w, 0)
        found["fleet"].append(int(live_w.sum()))
        for number, name in enumerate(names):
            found[name].append(int(live_w[world.fleet.county_no == number].sum()))
    return found


def keep_to(caps: Mapping[str, int], found: Mapping[str, list[int]], *, sign: int) -> None:
    for name, cap_w in caps.items():
        assert greatest_change_in_a_minute([0, 0, 0, 0, *found[name]], sign) <= cap_w, name


async def test_zone_is_wound_down_before_a_smaller_power_and_the_others_stand_in() -> None:
    world = await forty_homes(zone_ramp_w_per_min={"Marin": 20_000})
    await world.signal(None, hours=1, steps=[140_000, 40_000])

    found = await courses(world, EDGE + 40)

    keep_to({"Marin": 20_000}, found, sign=-1)
    keep_to({"Marin": 20_000}, found, sign=1)
    assert set(found["fleet"][60 : EDGE - 1]) == {140_000}, "nobody falls early where no cap asks for it"
    assert found["Marin"][EDGE - 1] <= 40_000 < found["Marin"][EDGE - 20]
    assert found["fleet"][EDGE + 1] == pytest.approx(40_000, abs=RIM_W)


async def test_zone_is_wound_down_to_what_silent_homes_elsewhere_leave_of_a_smaller_power() -> None:
    world = await forty_homes(zone_ramp_w_per_min={"Marin": 20_000})
    await world.signal(None, hours=1, steps=[140_000, 40_000])
    before = await courses(world, EDGE - 24)

    found = await courses(world, 40, silent=range(1, 31, 2))

    keep_to({"Marin": 20_000}, {"Marin": before["Marin"] + found["Marin"]}, sign=-1)
    assert before["Marin"][-1] > 60_000
    assert found["Marin"][23] == 0, "they go on with more than is asked from then on"


async def test_two_zones_fall_together_each_by_its_own_cap() -> None:
    caps = {"Marin": 20_000, "Alameda": 8_000}
    world = await forty_homes(zone_ramp_w_per_min=caps)
    await world.signal(None, hours=1, steps=[140_000, 40_000])

    found = await courses(world, EDGE + 40)

    keep_to(caps, found, sign=-1)
    assert max(found["fleet"]) >= 139_000
    assert found["fleet"][EDGE + 1] == pytest.approx(40_000, abs=2 * RIM_W)


@pytest.mark.parametrize("steps", [[140_000], [140_000, 40_000], [40_000, 140_000, 30_000], [None, 40_000]])
async def test_fleet_and_its_zones_keep_to_their_caps_together(steps: list[int | None]) -> None:
    caps = {"fleet": 50_000, "Marin": 30_000, "Alameda": 30_000}
    world = await forty_homes(
        fleet_ramp_w_per_min=caps["fleet"],
        zone_ramp_w_per_min={name: cap for name, cap in caps.items() if name != "fleet"},
    )
    await world.signal(None, hours=1, steps=steps)

    found = await courses(world, len(steps) * EDGE - 1)
    for course in found.values():
        course += [0] * 5

    keep_to(caps, found, sign=-1)
    keep_to(caps, found, sign=1)
    assert max(found["fleet"]) >= 139_000


async def test_all_that_can_be_sustained_after_a_power_moves_no_zone_faster_than_its_cap() -> None:
    caps = {"Marin": 20_000, "fleet": 60_000}
    world = await forty_homes(fleet_ramp_w_per_min=60_000, zone_ramp_w_per_min={"Marin": 20_000})
    await world.signal(None, hours=1, steps=[60_000, None])

    found = await courses(world, EDGE + 60)

    keep_to(caps, found, sign=1)
    keep_to(caps, found, sign=-1)
    assert found["fleet"][-1] > 130_000


async def test_newer_version_that_asks_for_less_takes_what_no_cap_holds_first() -> None:
    world = await forty_homes(zone_ramp_w_per_min={"Marin": 20_000})
    await world.signal(140_000, hours=1)
    before = await courses(world, 60)
    await world.signal(60_000, hours=1)

    found = await courses(world, 1)

    assert before["fleet"][-1] == 140_000
    assert found["fleet"] == [pytest.approx(60_000, abs=RIM_W)]
    assert before["Marin"][-1] - found["Marin"][0] <= 20_000


async def test_owners_who_say_no_are_released_at_once_whatever_the_cap_of_their_zone() -> None:
    world = await forty_homes(zone_ramp_w_per_min={"Marin": 20_000})
    await world.signal(100_000, hours=1)
    await courses(world, 60)

    for site in range(0, 40, 2):
        await world.store.opt_out(OptOut(f"s-{site:04d}", "ev-1", world.clock.now(), "portal"))
    found = await courses(world, 1)

    assert found["Marin"] == [0]


@pytest.mark.parametrize(("smaller_w", "other_w"), [(40_000, 150_000), (70_000, 100_000)])
async def test_event_leaves_homes_to_another_no_faster_than_their_zone_may_fall(
    smaller_w: int, other_w: int
) -> None:
    world = await forty_homes(zone_ramp_w_per_min={"Marin": 8_000})
    await world.signal(None, event_id="ev-1", hours=1, steps=[100_000, smaller_w], priority=0)
    await world.signal(other_w, event_id="ev-2", hours=2, priority=5)

    found = await courses(world, EDGE + 80)

    keep_to({"Marin": 8_000}, found, sign=-1)
    keep_to({"Marin": 8_000}, found, sign=1)
    assert found["fleet"][-1] == pytest.approx(smaller_w + other_w, rel=0.01), "nobody is moved for less"


async def test_event_whose_zone_is_wound_down_takes_no_more_homes_elsewhere_than_it_needs() -> None:
    world = await forty_homes(zone_ramp_w_per_min={"Marin": 20_000})
    await world.signal(None, event_id="ev-1", hours=1, steps=[100_000, 40_000], priority=0)
    await world.signal(150_000, event_id="ev-2", hours=2, priority=5)
    await courses(world, EDGE - 12)

    found = await courses(world, 20)

    assert min(found["fleet"]) > 185_000, "the other event takes over what is wound down"
