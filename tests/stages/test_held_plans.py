"""A plan once made is held: who is moved by a new word, by silence, by another event, and who is not."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from tests.stages.world import EVENING, GRID, World, a_request
from vpp.domain.command import Action
from vpp.domain.dispatch_plan import REASONS, Reason
from vpp.domain.enrollment import OptOut
from vpp.domain.quantities import Watts
from vpp.stages.stop import stop_everything


async def discharging(power_w: int | None, charges: Sequence[int], **asked: object) -> World:
    """Return homes that were told their part of an event and have proved it."""
    world = await World.of([a_request(site) for site in range(len(charges))], soc_permille=charges)
    await world.store.add_source(replace(GRID, max_power_w=Watts(1_000_000)))
    await world.signal(power_w, **asked)  # type: ignore[arg-type]  # passed on as it comes
    await told(world)
    for _ in range(14):
        world.deliver(soc_permille=charges)
        await told(world, seconds=15)
    world.link.sent.clear()
    return world


async def told(world: World, *, seconds: int = 0) -> None:
    """Let control look, and every home that is told anything say yes."""
    tick = await world.tick(seconds=seconds)
    if tick is not None:
        await world.answer(tick)


async def fall_silent(world: World, sites: Sequence[int], charges: Sequence[int]) -> None:
    """Let some homes send no sample for longer than two periods, and the others go on."""
    last_s = world.fleet.sampled_at_s[list(sites)].copy()
    gave_w = world.fleet.battery_w[list(sites)].copy()
    for _ in range(6):
        world.deliver(soc_permille=charges)
        world.fleet.sampled_at_s[list(sites)], world.fleet.battery_w[list(sites)] = last_s, gave_w
        await told(world, seconds=15)
    world.link.sent.clear()


def plan_w(world: World, event_id: str = "ev-1") -> list[int]:
    """Return the setpoints of an event's plan."""
    watts: list[int] = world.board.plans[event_id].setpoint_w.tolist()
    return watts


async def test_version_that_asks_the_same_moves_nobody_and_is_answered_all_the_same() -> None:
    world = await discharging(9_000, [900, 880, 860, 840, 820, 800])
    before = world.board.plans["ev-1"]

    await world.signal(9_000)
    tick = await world.tick(seconds=1)

    after = world.board.plans["ev-1"]
    assert tick is not None
    assert tick.orders == ()
    assert (after.version, after.revision) == (2, before.revision + 1)
    assert after.setpoint_w.tolist() == before.setpoint_w.tolist()


async def test_home_that_proved_short_keeps_what_it_gives_when_the_power_changes() -> None:
    charges = [900] * 6
    world = await discharging(12_000, charges)
    for _ in range(6):
        world.deliver(soc_permille=charges, short={0: 1_500})
        await told(world, seconds=15)
    assert plan_w(world)[0] == 1_500

    await world.signal(15_000)
    await world.tick(seconds=1)

    assert plan_w(world)[0] == 1_500
    assert 0 not in world.link.take(Action.RELEASE)
    assert sum(plan_w(world)) == 15_000


async def test_new_power_counts_what_silent_homes_still_give_and_tells_no_more_than_a_tenth_above() -> None:
    charges = [900] * 10
    world = await discharging(29_000, charges)
    await fall_silent(world, [0, 1, 2, 3], charges)
    told_w = plan_w(world)[:4]

    await world.store.add_source(replace(GRID, max_power_w=Watts(31_000)))
    await world.signal(31_000)
    await world.tick(seconds=1)

    assert plan_w(world)[:4] == told_w, "nobody can tell a silent home anything"
    assert sum(plan_w(world)) <= 34_100


async def test_homes_that_report_again_after_less_was_asked_are_told_no_more_than_a_tenth_above_it() -> None:
    charges = [900] * 10
    world = await discharging(25_000, charges)
    await fall_silent(world, [0, 1, 2, 3], charges)

    await world.signal(6_000)
    await told(world, seconds=1)
    beside_silent_w = sum(plan_w(world))
    await fall_silent(world, [0, 1], charges)

    assert beside_silent_w == 10_000, "nobody can tell four silent homes less"
    assert 6_000 <= sum(plan_w(world)) <= 6_600
    assert plan_w(world)[:2] == [2_500, 2_500]


async def test_more_important_event_is_told_no_more_beside_silent_homes_of_another_than_a_tenth_above() -> (
    None
):
    charges = [900] * 20
    world = await discharging(29_000, charges, priority=5)
    await fall_silent(world, [0, 1, 2, 3, 4], charges)
    goes_on_w = sum(plan_w(world)[:5])

    await world.store.add_source(replace(GRID, max_power_w=Watts(40_000)))
    await world.signal(40_000, event_id="ev-2", starts_at=world.clock.now(), priority=0)
    live_w = []
    for _ in range(4):
        await told(world, seconds=15)
        live_w.append(int(world.board.leases.setpoint_w.sum()))
        world.deliver(soc_permille=charges, silent=range(5))

    assert goes_on_w > 4_000
    assert max(live_w) <= 44_000
    assert live_w[-1] >= 43_000
    assert world.link.take(Action.DISCHARGE).keys().isdisjoint(range(5)), (
        "nobody can tell a silent home anything"
    )


async def test_silent_home_whose_owner_says_no_is_released_until_it_hears() -> None:
    charges = [900] * 4
    world = await discharging(8_000, charges)
    await fall_silent(world, [0], charges)

    await world.store.opt_out(OptOut("s-0000", "ev-1", world.clock.now(), "portal"))
    first = await world.tick(seconds=1)
    again = await world.tick(seconds=15)

    assert first is not None
    assert again is not None
    assert [
        [0 in order.site_no for order in tick.orders if order.action is Action.RELEASE]
        for tick in (first, again)
    ] == [[True], [True]]
    assert 0 not in world.link.take(Action.DISCHARGE)


async def test_feeder_carries_no_more_beside_a_silent_home_when_the_power_changes() -> None:
    charges = [900] * 6
    requests = [replace(a_request(site), feeder=f"f-{site % 2}") for site in range(6)]
    world = await World.of(requests, soc_permille=charges)
    world.terms = replace(world.terms, feeder_caps_w={"f-0": 5_000})
    await world.signal(9_000)
    await told(world)
    for _ in range(14):
        world.deliver(soc_permille=charges)
        await told(world, seconds=15)
    await fall_silent(world, [0], charges)

    await world.signal(14_000)
    await world.tick(seconds=1)

    assert sum(plan_w(world)[0::2]) <= 5_000
    assert plan_w(world)[0] > 0


async def test_all_that_can_be_sustained_grows_with_homes_that_report_later() -> None:
    charges = [880] * 10
    world = await World.of([a_request(site) for site in range(10)], soc_permille=charges)
    await world.store.add_source(replace(GRID, max_power_w=Watts(1_000_000)))
    world.fleet.online[2:] = False
    await world.signal(None)
    await told(world)
    assert sum(power > 0 for power in plan_w(world)) == 2

    world.fleet.online[:] = True
    world.deliver(soc_permille=charges)
    await told(world, seconds=15)

    plan = world.board.plans["ev-1"]
    assert (plan.setpoint_w > 0).all()
    assert (plan.requested_w, plan.shortfall_w) == (plan.setpoint_w.sum(), 0)


async def test_shortfall_that_grows_while_nobody_can_be_told_more_is_reported() -> None:
    world = await discharging(9_000, [990, 990], hours=1)
    await fall_silent(world, [0], [990, 990])
    for _ in range(20):
        last_s, gave_w = world.fleet.sampled_at_s[0], world.fleet.battery_w[0]
        world.deliver(soc_permille=[990, 990])
        world.fleet.sampled_at_s[0], world.fleet.battery_w[0] = last_s, gave_w
        await told(world, seconds=15)

    assert world.board.assessment is not None
    missing_w = 9_000 - int(world.board.assessment.counted_w.sum())
    assert missing_w > 1_000
    assert abs(world.board.plans["ev-1"].shortfall_w - missing_w) <= 500


async def test_reason_of_a_home_follows_the_home_though_nobody_is_told_anything() -> None:
    world = await discharging(4_000, [900, 900, 600])
    assert REASONS[world.board.plans["ev-1"].reason_code[2]] is Reason.NOT_NEEDED

    world.deliver(soc_permille=[900, 900, 600])
    world.fleet.storm_mode[2] = True
    tick = await world.tick(seconds=15)

    assert tick is None
    assert REASONS[world.board.plans["ev-1"].reason_code[2]] is Reason.STORM_MODE


async def test_event_that_is_to_start_takes_no_home_that_still_serves_another() -> None:
    charges = [950] * 4
    world = await discharging(12_000, charges, event_id="runs", priority=5, hours=1)
    await world.signal(12_000, event_id="next", priority=0, hours=1, starts_at=EVENING + timedelta(hours=1))
    while world.clock.now() < EVENING + timedelta(minutes=59):
        world.deliver(soc_permille=charges)
        await told(world, seconds=15)
    ahead = plan_w(world, "next")

    await world.store.opt_out(OptOut("s-0000", "runs", world.clock.now(), "portal"))
    world.link.sent.clear()
    await told(world, seconds=1)
    released = set(world.link.take(Action.RELEASE))
    world.clock.step_to(EVENING + timedelta(hours=1))
    world.deliver(soc_permille=charges)
    await told(world)

    assert ahead == [0, 0, 0, 0]
    assert released == {0}
    assert sum(plan_w(world, "next")) == 12_000


async def test_nothing_is_asked_again_by_a_tick_during_which_everything_was_stopped() -> None:
    world = await World.of([a_request(site) for site in range(4)], soc_permille=[900] * 4)
    await world.signal(8_000)
    read, gate = world.store.opt_outs, asyncio.Event()

    async def slowly(event_ids: Sequence[str]) -> Sequence[OptOut]:
        said = await read(event_ids)
        await gate.wait()
        return said

    world.store.opt_outs = slowly  # type: ignore[method-assign]  # a slow store
    ticking = asyncio.create_task(world.tick())
    await asyncio.sleep(0)
    await stop_everything(
        board=world.board, link=world.link, clock=world.clock, terms=world.terms, actor="operator:ada"
    )
    gate.set()

    assert await ticking is None
    assert world.link.take(Action.DISCHARGE) == {}


async def test_what_a_commit_allowed_stays_unsent_where_everything_was_stopped_meanwhile() -> None:
    world = await World.of([a_request(site) for site in range(4)], soc_permille=[900] * 4)
    await world.signal(8_000)
    commit, committed, gate = world.store.commit, asyncio.Event(), asyncio.Event()

    async def slowly(*facts: object, **words: object) -> None:
        await commit(*facts, **words)  # type: ignore[arg-type]  # passed on as it comes
        committed.set()
        await gate.wait()

    world.store.commit = slowly  # type: ignore[method-assign]  # a slow store
    ticking = asyncio.create_task(world.tick())
    await committed.wait()
    await stop_everything(
        board=world.board, link=world.link, clock=world.clock, terms=world.terms, actor="operator:ada"
    )
    gate.set()
    tick = await ticking

    assert tick is not None
    assert world.board.tick_number == tick.number + 1, "the stop has a number of its own"
    assert world.link.take(Action.DISCHARGE) == {}
