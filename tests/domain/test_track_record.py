"""What homes gave of what they were asked: refusals, shortness and silence count, missing meters do not."""

import numpy as np

from tests.stages.world import EVENING, World, a_request
from vpp.domain.command import Refusal
from vpp.domain.interval import to_epoch
from vpp.domain.quantities import column, flags
from vpp.domain.track_record import (
    Asked,
    answers_of_sites,
    asked_of_sites,
    commands_in_order,
    shares_of_sites,
)

BEGINS_S = to_epoch(EVENING)


async def two_hours(
    world: World, *, short: dict[int, int] | None = None, refusals: dict[int, Refusal] | None = None
) -> Asked:
    """Let an event of two hours run; return what it asked."""
    sites = len(world.fleet)
    for _ in range(4 * 120):
        world.deliver(soc_permille=[900] * sites, short=short)
        tick = await world.tick(seconds=15)
        if tick is not None and tick.orders:
            await world.answer(tick, refusals)
    batches = commands_in_order(
        await world.store.event_ticks("ev-1"), await world.store.revisions("ev-1"), sites
    )
    return asked_of_sites(batches, sites, until_s=BEGINS_S + 7_200)


async def test_home_that_stays_is_asked_its_setpoint_for_the_whole_event() -> None:
    world = await World.of([a_request(site) for site in range(3)], soc_permille=[900] * 3)
    await world.signal(6_000)

    asked = await two_hours(world)

    lasted_s = 7_200 - 15
    assert asked.watt_seconds.tolist() == [2_000 * lasted_s] * 3
    assert asked.until_s.tolist() == [BEGINS_S + 7_200] * 3


async def test_home_that_is_lowered_for_being_short_was_asked_the_whole() -> None:
    world = await World.of([a_request(site) for site in range(4)], soc_permille=[900] * 4)
    await world.signal(8_000)

    asked = await two_hours(world, short={0: 800})

    assert asked.watt_seconds[0] > 2_000 * 3_600
    gave = column([1_600, *(asked.watt_seconds[1:] // 3_600)])
    share, known, _ = shares_of_sites(asked, gave, flags([True] * 4), flags([True] * 4), flags([False] * 4))
    assert known.tolist() == [0, 1, 2, 3]
    assert share[0] < 600
    assert (share[1:] >= 999).all()


async def test_home_that_refuses_gave_nothing() -> None:
    world = await World.of([a_request(site) for site in range(4)], soc_permille=[900] * 4)
    await world.signal(8_000)

    asked = await two_hours(world, refusals={0: Refusal.FAULTED})
    accepted, refused = answers_of_sites(await world.store.acks(since=EVENING), "ev-1", 4)

    share, known, _ = shares_of_sites(
        asked, np.zeros(4, dtype=np.int64), flags([False] * 4), accepted, flags([False] * 4)
    )
    assert asked.watt_seconds[0] > 0
    assert (accepted.tolist(), refused.tolist()) == ([False, True, True, True], [True, False, False, False])
    assert (known.tolist(), share[0]) == ([0], 0)


def test_owner_who_said_no_gave_nothing_to_that_event() -> None:
    asked = Asked(
        column([0, 7_200_000]), column([0, 3_600]), column([0, BEGINS_S]), column([0, BEGINS_S + 3_600])
    )
    nobody, everybody = flags([False, False]), flags([True, True])

    share, known, _ = shares_of_sites(asked, column([0, 2_000]), everybody, everybody, flags([True, True]))

    assert known.tolist() == [0, 1]
    assert share.tolist() == [0, 0]
    kept, _, together = shares_of_sites(asked, column([0, 1_000]), everybody, everybody, nobody)
    assert (kept[1], together) == (500, 500)


async def test_commands_are_read_in_order_as_they_were_sent() -> None:
    world = await World.of([a_request(site) for site in range(4)], soc_permille=[900] * 4)
    await world.signal(8_000)
    await two_hours(world, short={0: 800})
    sent = [(batch.sequence, batch.setpoint_w.tolist()) for batch in world.link.sent]

    batches = commands_in_order(await world.store.event_ticks("ev-1"), await world.store.revisions("ev-1"), 4)

    assert [(batch.sequence, batch.setpoint_w.tolist()) for batch, _ in batches] == sent
