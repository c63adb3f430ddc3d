"""A home that says it holds an older command than it accepted is told again what stands now."""

from dataclasses import replace
from datetime import timedelta

import numpy as np

from tests.stages.world import World, a_request
from vpp.domain.board import hear_in_force
from vpp.domain.command import Action
from vpp.domain.delivery import SiteStatus
from vpp.domain.enrollment import OptOut
from vpp.domain.fleet import TelemetryBatch
from vpp.domain.interval import to_epoch
from vpp.domain.proof import ProofState
from vpp.domain.quantities import column, flags

ADA, BEN = 0, 1
NOTHING = (0, 0)


async def two_homes_discharging() -> tuple[World, tuple[int, int]]:
    """Return homes that accepted the first command of an event, and that command's pair."""
    world = await World.of([a_request(ADA), a_request(BEN)], soc_permille=[900, 900])
    await world.signal(6_000)
    tick = await world.tick()
    assert tick is not None
    await world.answer(tick)
    world.link.take(Action.DISCHARGE)
    return world, (tick.epoch, tick.number)


def samples(world: World, *said: tuple[int, tuple[int, int]], seconds: int = 0) -> TelemetryBatch:
    """Return samples taken now, or seconds later, each of a home that names the pair it holds."""
    zeros, at_s = column([0] * len(said)), to_epoch(world.clock.now()) + seconds
    no = flags([False] * len(said))
    return TelemetryBatch(
        site_no=column(site for site, _ in said),
        at_s=column([at_s] * len(said)),
        epoch=column(pair[0] for _, pair in said),
        sequence=column(pair[1] for _, pair in said),
        soc_permille=zeros, battery_w=zeros, discharge_limit_w=zeros, energy_full_wh=zeros,
        reserve_permille=zeros, discharged_wh=zeros, charged_wh=zeros,
        grid_connected=no, storm_mode=no, opted_out=no, faulted=no,
    )  # fmt: skip


def online(world: World, site_no: int, pair: tuple[int, int]) -> SiteStatus:
    """Return a live word of a home that came back a second after now."""
    at = world.clock.now() + timedelta(seconds=1)
    return SiteStatus(site_no, True, False, at, *pair, clock_offset_ms=0, firmware="1")


async def test_home_that_comes_back_without_its_command_is_told_again_at_once() -> None:
    world, pair = await two_homes_discharging()

    again = hear_in_force(
        world.board,
        samples(world),
        [online(world, ADA, NOTHING), online(world, BEN, pair)],
        world.clock.now(),
    )
    tick = await world.tick(seconds=2)

    assert again
    assert tick is not None
    assert tick.number > pair[1]
    assert list(world.link.take(Action.DISCHARGE)) == [ADA]


async def test_home_that_comes_and_goes_without_end_gets_one_command_in_a_samples_period() -> None:
    world, _ = await two_homes_discharging()

    ticks = 0
    for _ in range(60):  # two words a second
        again = hear_in_force(
            world.board, samples(world), [online(world, ADA, NOTHING)] * 2, world.clock.now()
        )
        ticks += again
        if (tick := await world.tick(seconds=1)) is not None:
            await world.answer(tick)

    assert ticks == 2
    assert len(world.link.sent) <= 2 + 1  # and a renewal at most


async def test_live_status_is_believed_whatever_the_clock_of_the_home_says() -> None:
    world, _ = await two_homes_discharging()
    set_back = replace(online(world, ADA, NOTHING), at=world.clock.now() - timedelta(seconds=20))
    in_the_same_second = replace(online(world, BEN, NOTHING), at=world.clock.now())

    again = hear_in_force(world.board, samples(world), [set_back, in_the_same_second], world.clock.now())
    await world.tick(seconds=2)

    assert again
    assert sorted(world.link.take(Action.DISCHARGE)) == [ADA, BEN]


async def test_silent_home_is_told_as_soon_as_it_says_that_it_lost_its_command() -> None:
    world, _ = await two_homes_discharging()
    world.board.judged_from_s = 0
    last_heard_s = to_epoch(world.clock.now())
    for _ in range(20):
        world.deliver(soc_permille=[900, 900])
        world.fleet.sampled_at_s[ADA] = last_heard_s
        await world.tick(seconds=15)
    assert world.board.assessment is not None
    assert world.board.assessment.state[ADA] == ProofState.SILENT
    world.link.take(Action.DISCHARGE)

    hear_in_force(world.board, samples(world), [online(world, ADA, NOTHING)], world.clock.now())
    await world.tick(seconds=2)

    assert ADA in world.link.take(Action.DISCHARGE)


async def test_one_old_sample_may_be_a_late_one_and_a_second_is_believed() -> None:
    world, _ = await two_homes_discharging()

    first = hear_in_force(world.board, samples(world, (ADA, NOTHING), seconds=5), [], world.clock.now())
    same = hear_in_force(world.board, samples(world, (ADA, NOTHING), seconds=5), [], world.clock.now())
    second = hear_in_force(world.board, samples(world, (ADA, NOTHING), seconds=35), [], world.clock.now())

    assert (first, same, second) == (False, False, True)


async def test_sample_that_names_the_accepted_command_ends_the_doubt() -> None:
    world, pair = await two_homes_discharging()

    for seconds, said in ((5, NOTHING), (35, pair), (65, NOTHING)):
        assert not hear_in_force(
            world.board, samples(world, (ADA, said), seconds=seconds), [], world.clock.now()
        )


async def test_two_samples_of_a_home_in_one_batch_count_as_two() -> None:
    world, _ = await two_homes_discharging()
    early, late = (samples(world, (ADA, NOTHING), seconds=seconds) for seconds in (5, 35))
    both = replace(late, **{
        name: np.concatenate((getattr(late, name), getattr(early, name))) for name in TelemetryBatch.__slots__
    })  # fmt: skip

    assert hear_in_force(world.board, both, [], world.clock.now())


async def test_what_was_measured_before_the_home_accepted_proves_nothing() -> None:
    world, _ = await two_homes_discharging()

    for seconds in (-60, -30):
        assert not hear_in_force(
            world.board, samples(world, (ADA, NOTHING), seconds=seconds), [], world.clock.now()
        )


async def test_home_that_is_no_longer_wanted_gets_a_release_with_a_new_sequence() -> None:
    world, pair = await two_homes_discharging()
    await world.signal(None, cancelled=True)
    released = await world.tick(seconds=15)
    assert released is not None
    await world.answer(released)
    world.link.take(Action.RELEASE)

    hear_in_force(world.board, samples(world), [online(world, BEN, pair)], world.clock.now())
    tick = await world.tick(seconds=15)

    assert tick is not None
    assert tick.number > released.number
    assert list(world.link.take(Action.RELEASE)) == [BEN]


async def test_restart_does_not_doubt_homes_that_obey_the_leader_before() -> None:
    world, pair = await two_homes_discharging()
    await world.restart()

    for seconds in (5, 35):
        assert not hear_in_force(
            world.board, samples(world, (ADA, pair), seconds=seconds), [], world.clock.now()
        )
    assert hear_in_force(world.board, samples(world), [online(world, ADA, NOTHING)], world.clock.now())


async def test_home_that_missed_its_release_while_it_was_away_hears_it_as_soon_as_it_is_back() -> None:
    world, pair = await two_homes_discharging()
    await world.store.opt_out(OptOut("s-0000", "ev-1", world.clock.now(), "portal"))
    await world.tick(seconds=1)
    world.link.sent.clear()  # a broker that forgot who listens lost it

    again = hear_in_force(world.board, samples(world), [online(world, ADA, pair)], world.clock.now())
    await world.tick(seconds=1)

    assert again
    assert world.link.take(Action.RELEASE) == {ADA: 0}


async def test_owner_who_says_no_to_what_the_home_may_still_run_does_not_wait_for_its_renewal() -> None:
    world, _ = await two_homes_discharging()
    await world.signal(None, event_id="ev-0")
    tick = await world.tick(seconds=15)
    assert tick is not None
    await world.answer(tick, sites=np.array([BEN]))  # Ada never hears that she serves another event now
    while tick is not None:
        world.deliver(soc_permille=[900, 900])
        tick = await world.tick(seconds=15)
    world.link.take(Action.DISCHARGE)

    await world.store.opt_out(OptOut("s-0000", "ev-1", world.clock.now(), "portal"))
    await world.tick(seconds=1)

    assert set(world.link.take(Action.DISCHARGE)) == {ADA}


async def test_home_that_doubts_its_release_after_a_restart_stops_nobody_else() -> None:
    world, _ = await two_homes_discharging()
    for _ in range(8):  # to the end of the event
        tick = await world.tick(seconds=900)
        if tick is not None:
            await world.answer(tick)
        world.sample(soc_permille=[900, 900])
    for _ in range(9):  # Ada takes each release, and says afterwards that she has heard of nothing
        world.clock.step_to(world.clock.now() + timedelta(minutes=5))
        world.sample(soc_permille=[150, 900])
        hear_in_force(world.board, samples(world, (ADA, NOTHING)), [], world.clock.now())
        tick = await world.tick()
        if tick is not None:
            await world.answer(tick)
    await world.signal(3_000, event_id="ev-2", starts_at=world.clock.now())
    tick = await world.tick()
    assert tick is not None
    await world.answer(tick)
    await world.restart()

    for _ in range(2):
        world.clock.step_to(world.clock.now() + timedelta(seconds=30))
        world.sample(soc_permille=[150, 900], battery_w=[0, 3_000])
        hear_in_force(world.board, samples(world, (ADA, NOTHING)), [], world.clock.now())
    await world.store.opt_out(OptOut("s-0001", "ev-2", world.clock.now(), "portal"))
    world.link.sent.clear()
    await world.tick(seconds=5)

    assert BEN in world.link.take(Action.RELEASE)
