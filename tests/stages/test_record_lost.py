"""The database came back from a backup: homes hold commands that nobody is known to have issued."""

import copy
from datetime import timedelta

from simulators.made_again import differences
from tests.stages.test_home_behind import ADA, BEN, online, samples, two_homes_discharging
from tests.stages.world import EVENING, World
from vpp.domain.board import hear_in_force
from vpp.domain.command import Action
from vpp.domain.notice import NoticeKind
from vpp.domain.orders import UNKNOWN_EVENT
from vpp.stages.stop import stop_everything
from vpp.stages.watch import of_dispatch


async def two_homes_of_a_lost_event() -> tuple[World, tuple[int, int]]:
    """Return a controller restored from before an event, and the pair that its two homes go on with."""
    world, _ = await two_homes_discharging()
    backup = copy.deepcopy(world.store)
    await world.signal(0, cancelled=True)
    tick = await world.tick(seconds=15)
    assert tick is not None
    await world.answer(tick)
    await world.signal(5_000, event_id="ev-2", starts_at=world.clock.now())
    tick = await world.tick(seconds=15)
    assert tick is not None
    await world.answer(tick)
    world.link.sent.clear()
    world.clock.step_to(world.clock.now() + timedelta(seconds=60))
    world.store = backup
    return world, (tick.epoch, tick.number)


async def restored(world: World, *, cancelled: bool) -> None:
    if cancelled:
        await world.signal(0, cancelled=True)
    await world.restart()
    world.sample(soc_permille=[850, 850], battery_w=[2_500, 2_500])


async def test_home_with_a_command_that_is_not_on_record_is_released_at_its_first_sample() -> None:
    world, (epoch, sequence) = await two_homes_of_a_lost_event()
    world.clock.step_to(EVENING + timedelta(hours=4))  # what the backup knows of is over long since
    await restored(world, cancelled=False)

    woken = hear_in_force(world.board, samples(world, (ADA, (epoch, sequence))), [], world.clock.now())
    tick = await world.tick()

    assert woken
    assert tick is not None
    assert [(order.event_id, order.action, order.site_no.tolist()) for order in tick.orders] == [
        (UNKNOWN_EVENT, Action.RELEASE, [ADA])
    ]
    assert world.link.take(Action.RELEASE).keys() == {ADA}
    assert await differences(world.store, EVENING) == []


async def test_home_that_holds_a_lost_command_is_told_again_until_it_answers() -> None:
    world, pair = await two_homes_of_a_lost_event()
    await restored(world, cancelled=True)

    told = []
    for seconds in (0, 30, 30):
        world.clock.step_to(world.clock.now() + timedelta(seconds=seconds))
        hear_in_force(world.board, samples(world, (ADA, pair), seconds=1), [], world.clock.now())
        tick = await world.tick(seconds=5)
        told.append(world.link.take(Action.RELEASE).keys() & {ADA})
    assert tick is not None
    await world.answer(tick)
    of_before = samples(world, (ADA, pair), seconds=-1)

    assert told == [{ADA}] * 3
    assert not hear_in_force(world.board, of_before, [], world.clock.now())


async def test_home_whose_release_is_not_on_record_discharges_again_for_the_event_that_stands() -> None:
    world, pair = await two_homes_of_a_lost_event()
    await restored(world, cancelled=False)

    hear_in_force(world.board, samples(world, (ADA, pair)), [online(world, BEN, pair)], world.clock.now())
    await world.tick()

    assert world.link.take(Action.DISCHARGE) == {ADA: 3_000, BEN: 3_000}


async def test_command_of_a_stored_tick_is_no_lost_one_and_neither_is_one_of_this_leader() -> None:
    world, pair = await two_homes_discharging()
    await world.restart()

    before = hear_in_force(world.board, samples(world, (ADA, pair), (BEN, pair)), [], world.clock.now())
    await world.signal(4_000)
    tick = await world.tick(seconds=15)
    assert tick is not None
    unanswered = (ADA, (tick.epoch, tick.number))
    after = hear_in_force(world.board, samples(world, unanswered), [], world.clock.now())

    assert not before
    assert not after
    assert not world.board.leases.astray.any()


async def test_stop_reaches_a_home_that_holds_a_lost_command() -> None:
    world, pair = await two_homes_of_a_lost_event()
    await restored(world, cancelled=True)
    while await world.tick(seconds=5) is not None:
        world.board.leases.running_until_s[:] = 0  # what the backup knew of has run out
    world.link.sent.clear()
    hear_in_force(world.board, samples(world, (BEN, pair), seconds=30), [], world.clock.now())

    stopped = await stop_everything(
        board=world.board, link=world.link, clock=world.clock, terms=world.terms, actor="ana"
    )

    assert stopped == 1
    assert world.link.take(Action.RELEASE).keys() == {BEN}


async def test_operators_are_told_of_lost_commands_for_half_an_hour_though_each_home_took_another() -> None:
    world, pair = await two_homes_of_a_lost_event()
    await restored(world, cancelled=True)
    none = of_dispatch(world.board, [], world.clock.now())
    hear_in_force(world.board, samples(world, (ADA, pair), (BEN, pair)), [], world.clock.now())
    tick = await world.tick()
    assert tick is not None
    await world.answer(tick)

    soon, later = (
        of_dispatch(world.board, [], world.clock.now() + timedelta(minutes=minutes)) for minutes in (29, 31)
    )

    assert none == []
    assert [(each.kind, each.facts["count"]) for each in soon] == [(NoticeKind.RECORD_LOST, "2")]
    assert later == []


async def test_home_that_names_unknown_commands_without_end_is_told_at_most_once_in_twenty_seconds() -> None:
    world, (epoch, sequence) = await two_homes_of_a_lost_event()
    world.clock.step_to(EVENING + timedelta(hours=4))  # what the backup knows of is over long since
    await restored(world, cancelled=False)

    ticks = 0
    for second in range(60):
        lie = (ADA, (epoch + 1_000_000, sequence + second))
        hear_in_force(world.board, samples(world, lie), [], world.clock.now())
        ticks += await world.tick(seconds=1) is not None and ADA in world.link.take(Action.RELEASE)

    assert ticks == 3
