"""What control sends, when, and what it never sends."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.stages.world import EVENING, GRID, PROGRAM, World, a_request
from vpp.domain.command import Action, Refusal
from vpp.domain.dispatch_plan import REASONS, Reason
from vpp.domain.enrollment import OptOut
from vpp.domain.interval import to_epoch
from vpp.domain.plan_revision import plan_at
from vpp.domain.proof import ProofState
from vpp.domain.quantities import Watts
from vpp.ports import StaleEpoch


async def four_homes() -> World:
    return await World.of([a_request(site) for site in range(4)], soc_permille=[900, 900, 800, 210])


async def test_signal_becomes_leases_for_the_fullest_homes_and_nobody_at_reserve() -> None:
    world = await four_homes()
    await world.signal(6_000)

    tick = await world.tick()

    sent = world.link.take(Action.DISCHARGE)
    assert tick is not None
    assert sum(sent.values()) == 6_000
    assert 3 not in sent
    (order,) = tick.orders
    assert (order.expires_at - tick.at).total_seconds() == 900
    assert order.event_ends_at == EVENING.replace(hour=3)


async def test_nothing_is_sent_again_while_leases_are_young_and_acknowledged() -> None:
    world = await four_homes()
    await world.signal(6_000)
    first = await world.tick()
    assert first is not None
    await world.answer(first)

    quiet = []
    for _ in range(10):
        world.deliver(soc_permille=[900, 900, 800, 210])
        quiet.append(await world.tick(seconds=15))

    assert quiet == [None] * 10


async def test_leases_are_renewed_at_the_same_power_after_a_third_and_not_all_at_once() -> None:
    world = await World.of([a_request(site) for site in range(40)], soc_permille=[900] * 40)
    await world.signal(40_000)
    first = await world.tick()
    assert first is not None
    await world.answer(first)
    powers = world.link.take(Action.DISCHARGE)

    renewals = []
    for _ in range(32):  # eight minutes: a third of the lease, and its spread
        world.deliver(soc_permille=[900] * 40)
        tick = await world.tick(seconds=15)
        renewals += [] if tick is None else [tick]

    assert all((tick.at - first.at).total_seconds() >= 300 for tick in renewals)
    assert len(renewals) > 3
    assert world.link.take(Action.DISCHARGE) == powers


async def test_command_without_an_answer_is_sent_again_three_times_and_then_waits_for_its_renewal() -> None:
    world = await World.of([a_request(0)], soc_permille=[900])
    await world.signal(2_000)

    ticks = []
    for _ in range(18):  # four and a half minutes
        world.deliver(soc_permille=[900])
        ticks.append(await world.tick(seconds=15))

    assert sum(tick is not None for tick in ticks) == 4


async def test_commands_of_a_scheduled_event_leave_two_minutes_ahead_and_start_with_it() -> None:
    world = await four_homes()
    starts_at = EVENING.replace(minute=10)
    await world.signal(6_000, starts_at=starts_at)

    early = await world.tick(seconds=7 * 60)
    tick = await world.tick(seconds=60)

    assert early is None
    assert tick is not None
    assert tick.orders[0].starts_at == starts_at
    assert tick.orders[0].expires_at == tick.at + timedelta(minutes=15), "a lease is counted from now"


async def test_cancel_releases_every_home_until_each_has_said_so() -> None:
    world = await four_homes()
    await world.signal(6_000)
    first = await world.tick()
    assert first is not None
    await world.answer(first)
    used = set(world.link.take(Action.DISCHARGE))

    await world.signal(0, cancelled=True)
    release = await world.tick(seconds=1)
    again = await world.tick(seconds=15)
    assert release is not None
    assert again is not None
    await world.answer(again)
    quiet = await world.tick(seconds=15)

    assert set(world.link.take(Action.RELEASE)) == used
    assert quiet is None


async def test_shorter_end_that_a_home_does_not_hear_is_followed_by_releases_until_its_lease_ends() -> None:
    world = await World.of([a_request(0)], soc_permille=[900])
    await world.signal(2_000)
    first = await world.tick()
    assert first is not None
    await world.answer(first)

    await world.signal(2_000, minutes=5)
    released = []
    for _ in range(80):  # twenty minutes in which it hears nothing more
        world.deliver(soc_permille=[900])
        tick = await world.tick(seconds=15)
        if tick is not None and any(order.action is Action.RELEASE for order in tick.orders):
            released.append((tick.at - EVENING).total_seconds())

    assert released == list(range(5 * 60, 15 * 60, 15))


async def test_home_that_opts_out_is_released_and_the_others_take_its_place() -> None:
    world = await four_homes()
    await world.signal(6_000)
    first = await world.tick()
    assert first is not None
    await world.answer(first)
    world.link.take(Action.DISCHARGE)

    await world.store.opt_out(OptOut("s-0000", "ev-1", world.clock.now(), "portal"))
    tick = await world.tick(seconds=1)

    released = world.link.take(Action.RELEASE)
    plan = world.board.plans["ev-1"]
    assert tick is not None
    assert set(released) == {0}
    assert plan.setpoint_w.sum() == 6_000
    assert plan.setpoint_w[0] == 0
    assert REASONS[plan.reason_code[0]] is Reason.OPTED_OUT


async def test_home_that_refuses_is_held_back_and_substituted() -> None:
    world = await four_homes()
    await world.signal(6_000)
    first = await world.tick()
    assert first is not None

    urgent = await world.answer(first, {1: Refusal.ISLANDED})
    await world.tick(seconds=1)

    plan = world.board.plans["ev-1"]
    assert urgent
    assert REASONS[plan.reason_code[1]] is Reason.HELD_BACK
    assert plan.setpoint_w.sum() == 6_000


async def test_more_important_event_takes_the_homes_and_the_other_keeps_what_is_left() -> None:
    world = await four_homes()
    await world.signal(6_000, event_id="ev-watch", priority=5)
    first = await world.tick()
    assert first is not None
    await world.answer(first)

    await world.signal(None, event_id="ev-emergency", priority=0)
    await world.tick(seconds=15)

    emergency, watch = world.board.plans["ev-emergency"], world.board.plans["ev-watch"]
    assert not ((emergency.setpoint_w > 0) & (watch.setpoint_w > 0)).any()
    assert (emergency.setpoint_w > 0).sum() == 3
    assert watch.shortfall_w == 6_000


async def test_restart_moves_no_power_and_sends_only_what_is_due() -> None:
    world = await four_homes()
    await world.signal(6_000)
    first = await world.tick()
    assert first is not None
    await world.answer(first)
    before = world.board.plans["ev-1"].setpoint_w.tolist()
    world.link.sent.clear()

    await world.restart()
    tick = await world.tick(seconds=15)

    assert tick is None
    assert world.link.sent == []
    assert world.board.plans["ev-1"].setpoint_w.tolist() == before


async def test_replaced_leader_commits_nothing_more() -> None:
    world = await four_homes()
    await world.store.take_epoch(at=world.clock.now())
    await world.signal(6_000)

    with pytest.raises(StaleEpoch):
        await world.tick()

    assert world.link.sent == []


async def test_any_command_can_be_made_again_from_stored_facts() -> None:
    world = await four_homes()
    await world.signal(6_000)
    tick = await world.tick()
    assert tick is not None

    (stored,) = await world.store.event_ticks("ev-1")
    plan = plan_at(await world.store.revisions("ev-1"), stored.orders[0].revision, len(world.fleet))

    sent = world.link.take(Action.DISCHARGE)
    assert {int(site): int(plan.setpoint_w[site]) for site in stored.orders[0].site_no} == sent


async def test_every_site_has_one_reason() -> None:
    world = await four_homes()
    world.sample(soc_permille=[900, 900, 800, 210])
    await world.signal(2_000)
    await world.tick()

    codes = world.board.plans["ev-1"].reason_code

    words = [REASONS[code] for code in codes]
    assert words[3] is Reason.BELOW_RESERVE
    assert Reason.SELECTED in words
    assert len(words) == 4
    assert PROGRAM in world.programs


async def test_home_that_proves_short_keeps_what_it_gives_and_others_make_it_good() -> None:
    world = await World.of([a_request(site) for site in range(6)], soc_permille=[900] * 6)
    await world.signal(12_000)
    first = await world.tick()
    assert first is not None
    await world.answer(first)

    for _ in range(20):
        world.deliver(soc_permille=[900] * 6, short={0: 800})
        tick = await world.tick(seconds=15)
        if tick is not None:
            await world.answer(tick)

    plan = world.board.plans["ev-1"]
    assert plan.setpoint_w[0] == 800
    assert plan.setpoint_w.sum() == 12_000
    assert REASONS[plan.reason_code[0]] is Reason.HELD_BACK


async def test_silent_home_fades_is_replaced_and_is_not_renewed() -> None:
    world = await World.of([a_request(site) for site in range(6)], soc_permille=[900] * 6)
    await world.signal(12_000)
    first = await world.tick()
    assert first is not None
    await world.answer(first)

    commanded_last = 0
    for number in range(80):
        world.deliver(soc_permille=[900] * 6)
        world.fleet.sampled_at_s[0] = min(world.fleet.sampled_at_s[0], to_epoch(EVENING) + 180)
        tick = await world.tick(seconds=15)
        if tick is not None:
            await world.answer(tick)
            if any(0 in order.site_no for order in tick.orders if order.action is Action.DISCHARGE):
                commanded_last = number

    plan = world.board.plans["ev-1"]
    assert commanded_last * 15 < 400
    assert plan.setpoint_w[0] == 0
    assert plan.setpoint_w.sum() == 12_000
    assert REASONS[plan.reason_code[0]] is Reason.STALE


async def test_when_most_fall_silent_at_once_leases_are_renewed_and_nothing_moves() -> None:
    world = await World.of([a_request(site) for site in range(12)], soc_permille=[900] * 12)
    await world.signal(24_000)
    first = await world.tick()
    assert first is not None
    await world.answer(first)
    world.deliver(soc_permille=[900] * 12)
    planned = world.board.plans["ev-1"].setpoint_w.tolist()

    renewed: set[int] = set()
    for _ in range(60):
        tick = await world.tick(seconds=15)
        if tick is not None:
            await world.answer(tick)
            renewed |= {int(site) for order in tick.orders for site in order.site_no}

    assert world.board.assessment is not None
    assert world.board.assessment.blind
    assert renewed == set(range(12))
    assert world.board.plans["ev-1"].setpoint_w.tolist() == planned


async def test_plan_does_not_move_in_the_last_minutes_of_an_event() -> None:
    world = await World.of([a_request(site) for site in range(12)], soc_permille=[900] * 12)
    await world.signal(24_000, hours=1)

    plans = []
    for _ in range(4 * 60 - 1):
        powers = (world.board.leases.setpoint_w * 95 // 100).tolist()
        world.sample(soc_permille=[900] * 12, battery_w=powers)
        tick = await world.tick(seconds=15)
        if tick is not None and tick.orders:
            await world.answer(tick)
        plans.append(int(world.board.plans["ev-1"].setpoint_w.sum()))

    assert plans[-60] > 24_500  # homes give a little less than asked, and more of them is asked
    assert len(set(plans[-60:])) == 1


async def test_what_changed_while_the_controller_was_down_is_dispatched_after_the_restart() -> None:
    world = await four_homes()
    await world.signal(6_000)
    first = await world.tick()
    assert first is not None
    await world.answer(first)

    world.clock.step_to(world.clock.now() + timedelta(seconds=30))
    await world.signal(9_000)
    await world.restart()
    await world.tick(seconds=15)

    assert world.board.plans["ev-1"].setpoint_w.sum() == 9_000


async def test_lower_power_asked_while_the_controller_was_down_binds_before_any_home_has_reported() -> None:
    world = await four_homes()
    await world.signal(6_000)
    first = await world.tick()
    assert first is not None
    await world.answer(first)

    world.clock.step_to(world.clock.now() + timedelta(seconds=30))
    await world.signal(4_000)
    await world.restart()
    await world.tick(seconds=1)

    assert 3_500 <= world.board.plans["ev-1"].setpoint_w.sum() <= 4_000


async def test_home_that_never_reports_after_a_restart_is_replaced() -> None:
    world = await World.of([a_request(site) for site in range(4)], soc_permille=[900] * 4)
    await world.signal(8_000)
    first = await world.tick()
    assert first is not None
    await world.answer(first)

    await world.restart()
    for _ in range(8):
        world.deliver(soc_permille=[900] * 4)
        world.fleet.sampled_at_s[0], world.fleet.online[0] = 0, False
        tick = await world.tick(seconds=15)
        if tick is not None and tick.orders:
            await world.answer(tick)

    plan = world.board.plans["ev-1"]
    assert (plan.setpoint_w[0], plan.setpoint_w.sum()) == (0, 8_000)


async def test_power_that_lost_its_authority_while_the_controller_was_down_is_released() -> None:
    world = await four_homes()
    await world.store.add_source(replace(GRID, max_power_w=Watts(9_000)))
    await world.signal(None, event_id="ev-watch", priority=5)
    first = await world.tick()
    assert first is not None
    await world.answer(first)
    assert world.board.plans["ev-watch"].setpoint_w.sum() == 9_000

    await world.store.add_source(replace(GRID, max_power_w=Watts(0)))
    await world.restart()
    await world.tick(seconds=15)

    assert world.board.plans["ev-watch"].setpoint_w.sum() == 0
    assert world.link.take(Action.RELEASE)


async def test_commands_leave_ahead_of_the_start_after_a_gap_too() -> None:
    world = await four_homes()
    await world.signal(None, steps=[6_000, 0, 4_000], hours=1)
    await world.tick()
    await world.tick(seconds=3_600)
    world.sample(soc_permille=[900, 900, 800, 210])

    early = await world.tick(seconds=57 * 60)
    world.sample(soc_permille=[900, 900, 800, 210])
    ahead = await world.tick(seconds=60)

    assert early is None
    assert ahead is not None
    assert [order.starts_at for order in ahead.orders] == [EVENING + timedelta(hours=2)]
    assert world.board.plans["ev-1"].setpoint_w.sum() == 4_000


async def test_lease_of_a_command_sent_ahead_never_passes_what_gateways_take() -> None:
    world = await four_homes()
    world.terms = replace(world.terms, lease_s=1_800)
    await world.signal(6_000, starts_at=EVENING + timedelta(seconds=118))

    tick = await world.tick()

    assert tick is not None
    assert (tick.orders[0].expires_at - tick.at).total_seconds() == 1_800


async def test_release_of_a_test_event_says_that_it_is_a_test() -> None:
    world = await four_homes()
    await world.signal(6_000, test=True)
    first = await world.tick()
    assert first is not None
    await world.answer(first)

    await world.signal(0, cancelled=True, test=True)
    release = await world.tick(seconds=1)

    assert release is not None
    assert release.orders[0].test


async def test_home_that_still_follows_a_raise_is_not_short() -> None:
    world = await World.of([a_request(site) for site in range(4)], soc_permille=[900] * 4)
    await world.signal(8_000)
    for _ in range(16):
        world.deliver(soc_permille=[900] * 4)
        tick = await world.tick(seconds=15)
        if tick is not None and tick.orders:
            await world.answer(tick)

    await world.signal(16_000)
    raised = await world.tick(seconds=1)
    assert raised is not None
    await world.answer(raised)
    for power_w in (2_000, 2_100, 3_000, 3_900):  # means over the time since the sample before
        world.sample(soc_permille=[900] * 4, battery_w=[power_w] * 4)
        await world.tick(seconds=15)

    assert world.board.assessment is not None
    assert world.board.assessment.count(ProofState.SHORT) == 0
    assert world.board.plans["ev-1"].setpoint_w.tolist() == [4_000] * 4


async def test_home_that_never_follows_a_raise_is_short_in_the_end() -> None:
    world = await World.of([a_request(site) for site in range(8)], soc_permille=[900] * 8)
    await world.signal(8_000)
    for _ in range(16):
        world.deliver(soc_permille=[900] * 8)
        tick = await world.tick(seconds=15)
        if tick is not None and tick.orders:
            await world.answer(tick)

    await world.signal(16_000)
    for _ in range(12):
        world.deliver(soc_permille=[900] * 8, short={0: 1_000})
        tick = await world.tick(seconds=15)
        if tick is not None and tick.orders:
            await world.answer(tick)

    plan = world.board.plans["ev-1"]
    assert plan.setpoint_w[0] == 1_000
    assert plan.setpoint_w.sum() >= 15_500  # within the deadband
