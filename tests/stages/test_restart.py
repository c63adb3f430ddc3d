"""A controller that was killed knows again what it knew, and moves nothing for it."""

from datetime import timedelta

import numpy as np

from tests.stages.world import EVENING, World, a_request
from vpp.domain.board import HOLD_BACK_FIRST_S
from vpp.domain.command import AckBatch, Action, Refusal
from vpp.domain.enrollment import OptOut
from vpp.domain.interval import to_epoch
from vpp.domain.proof import ProofState
from vpp.stages.control import resume

CHARGE = [900, 900, 800, 210]


async def a_running_event(*, ticks: int = 26) -> World:
    """Return an event of 6 kW that all homes but the emptiest follow and some were renewed for."""
    world = await World.of([a_request(site) for site in range(4)], soc_permille=CHARGE)
    await world.signal(6_000)
    for _ in range(ticks):
        tick = await world.tick(seconds=15)
        if tick is not None:
            await world.answer(tick)
        world.deliver(soc_permille=CHARGE)
    world.link.sent.clear()
    return world


async def test_restart_knows_the_last_sample_of_each_commanded_home() -> None:
    world = await a_running_event()
    last_tick_s = int(world.board.leases.issued_at_s.max())

    await world.restart()

    fleet = world.fleet
    assert (fleet.sampled_at_s[:3] == last_tick_s - 15).all()
    assert fleet.soc_permille.tolist() == CHARGE
    assert (fleet.battery_w[:3] == world.board.plans["ev-1"].setpoint_w[:3]).all()
    assert fleet.online.all()


async def test_after_a_restart_nobody_is_judged_for_two_periods_and_nothing_is_sent() -> None:
    world = await a_running_event(ticks=10)
    before = world.board.plans["ev-1"].setpoint_w.tolist()

    await world.restart()
    ticks = [await world.tick(seconds=15) for _ in range(3)]

    assert world.board.assessment is not None
    assert world.board.assessment.count(ProofState.SILENT) == 0
    assert world.board.assessment.count(ProofState.SHORT) == 0
    assert world.board.plans["ev-1"].setpoint_w.tolist() == before
    assert ticks == [None] * 3


async def test_after_a_restart_only_what_was_not_acknowledged_is_sent_again() -> None:
    world = await World.of([a_request(site) for site in range(4)], soc_permille=CHARGE)
    await world.signal(6_000)
    first = await world.tick()
    assert first is not None
    answered = first.orders[0].site_no[:-1]
    unheard = int(first.orders[0].site_no[-1])
    await world.answer(first, sites=answered)
    world.link.sent.clear()

    await world.restart()
    await world.tick(seconds=15)

    assert list(world.link.take(Action.DISCHARGE)) == [unheard]
    assert world.link.sent == []


async def test_planned_home_whose_sample_is_old_stays_until_it_had_time_to_report() -> None:
    world = await a_running_event()
    await world.restart()
    world.fleet.sampled_at_s[0] = to_epoch(world.clock.now()) - 3_000

    await world.tick(seconds=15)
    planned_w = int(world.board.plans["ev-1"].setpoint_w[0])
    for _ in range(4):
        world.deliver(soc_permille=CHARGE)
        world.fleet.sampled_at_s[0] = to_epoch(world.clock.now()) - 3_000
        await world.tick(seconds=15)

    assert planned_w > 0
    assert world.board.assessment is not None
    assert world.board.assessment.state[0] == ProofState.SILENT


async def test_request_raised_while_the_controller_was_down_is_solved_from_the_stored_samples() -> None:
    world = await a_running_event()

    await world.signal(9_000)
    await world.restart()
    await world.tick(seconds=1)

    assert world.board.plans["ev-1"].setpoint_w.sum() == 9_000


async def test_home_that_was_enrolled_away_from_the_plan_is_stored_with_the_first_plan_only() -> None:
    world = await a_running_event()

    bases = await world.store.bases(since=world.clock.now().replace(year=2000))

    assert bases[0].samples.site_no.tolist() == [0, 1, 2, 3]
    assert all(3 not in basis.samples.site_no for basis in bases[1:] if not basis.plans)


async def two_homes_discharging() -> World:
    world = await World.of([a_request(site) for site in range(2)], soc_permille=[900, 800])
    await world.signal(6_000)
    first = await world.tick()
    assert first is not None
    await world.answer(first)
    return world


async def test_release_that_was_committed_and_perhaps_never_left_leaves_at_once_after_a_restart() -> None:
    world = await two_homes_discharging()
    world.clock.step_to(EVENING + timedelta(seconds=30))
    await world.store.opt_out(OptOut("s-0000", "ev-1", world.clock.now(), "portal"))
    await world.tick()
    world.link.sent.clear()  # killed before it was sent

    await world.restart()
    await world.tick(seconds=1)

    assert world.link.take(Action.RELEASE) == {0: 0}


async def test_release_that_was_answered_is_not_repeated_after_a_restart() -> None:
    world = await two_homes_discharging()
    world.clock.step_to(EVENING + timedelta(seconds=30))
    await world.store.opt_out(OptOut("s-0000", "ev-1", world.clock.now(), "portal"))
    released = await world.tick()
    assert released is not None
    await world.answer(released)
    world.link.sent.clear()

    await world.restart()
    await world.tick(seconds=1)

    assert world.link.take(Action.RELEASE) == {}


async def refused_twice() -> World:
    """Return a world in which the fullest home refused, and refused again as soon as it was asked again."""
    world = await World.of([a_request(site) for site in range(3)], soc_permille=[950, 600, 600])
    await world.signal(None)
    for _ in range(2 * HOLD_BACK_FIRST_S // 15):
        tick = await world.tick(seconds=15)
        if tick is not None:
            await world.answer(tick, {0: Refusal.FAULTED})
        world.deliver(soc_permille=[950, 600, 600], short={0: 0})
        await world.signal(None)
    return world


def holds(world: World) -> tuple[list[int], list[int]]:
    return world.board.held_back_until_s.tolist(), world.board.held_back_for_s.tolist()


async def test_after_a_restart_a_home_that_refused_is_held_back_for_as_long_as_before() -> None:
    world = await refused_twice()
    before = holds(world)

    await world.restart()
    world.sample(soc_permille=[950, 600, 600])
    world.link.sent.clear()
    await world.signal(8_000)
    await world.tick(seconds=1)

    assert before[1][0] == 2 * HOLD_BACK_FIRST_S
    assert holds(world) == before
    assert 0 not in world.link.take(Action.DISCHARGE)


async def test_copy_of_a_refusal_that_arrives_after_a_restart_holds_nobody_back_longer() -> None:
    world = await two_homes_discharging()
    await world.signal(7_000)
    tick = await world.tick(seconds=1)
    assert tick is not None
    await world.answer(tick, {0: Refusal.ISLANDED})
    before = holds(world)

    await world.restart()
    await world.answer(tick, {0: Refusal.ISLANDED})

    assert holds(world) == before


async def test_home_whose_clock_is_hours_behind_is_held_back_after_a_restart_as_well() -> None:
    world = await two_homes_discharging()
    await world.signal(7_000)
    tick = await world.tick(seconds=1)
    assert tick is not None
    one = np.ones(1, dtype=np.int64)
    early = one * (to_epoch(EVENING) - 9_000)
    acks = AckBatch(0 * one, one * tick.epoch, one * tick.number, early, ("ev-1",), (Refusal.CLOCK_UNSURE,))
    await world.store.record_acks(acks)

    await world.restart()

    assert world.board.held_back_until_s[0] == to_epoch(tick.at) + HOLD_BACK_FIRST_S


async def test_after_a_restart_a_home_that_proved_short_is_asked_for_no_more_than_before() -> None:
    world = await World.of([a_request(site) for site in range(6)], soc_permille=[900] * 6)
    await world.signal(12_000)
    for _ in range(20):
        tick = await world.tick(seconds=15)
        if tick is not None:
            await world.answer(tick)
        world.deliver(soc_permille=[900] * 6, short={0: 800, 1: 200})
    before = holds(world)
    assert [held > 0 for held in before[1]] == [True, True, False, False, False, False]

    await world.restart()

    assert holds(world) == before


async def test_what_is_read_back_in_the_same_process_keeps_proofs_and_holds() -> None:
    world = await refused_twice()
    before, judged_from_s, proof = holds(world), world.board.judged_from_s, world.board.proof

    world.clock.step_to(world.clock.now() + timedelta(seconds=5))
    world.board = await resume(
        store=world.store, fleet=world.fleet, clock=world.clock, epoch=world.board.epoch, known=world.board
    )

    assert holds(world) == before
    assert world.board.judged_from_s == judged_from_s
    assert world.board.proof is proof
