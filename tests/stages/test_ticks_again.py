"""Every tick of an eventful evening is made again from the store, and what was changed there is named."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from tests.stages.test_brakes import forty_homes
from tests.stages.world import EVENING, World, a_request
from vpp.domain.command import DispatchTick, Order, Refusal
from vpp.domain.enrollment import OptOut
from vpp.domain.fleet import enroll
from vpp.domain.known_leases import LeaseNews
from vpp.domain.lease import Standing
from vpp.domain.quantities import column
from vpp.domain.telling import Telling
from vpp.domain.ticks_again import TicksAgain
from vpp.stages.control import control
from vpp.stages.stop import record, stop_everything
from vpp.wire import facts

HOMES = 14
CHARGE = [900 - site for site in range(HOMES)]


async def an_evening(*, power_w: int = 8_000) -> World:
    """Return an event that some of the homes serve, and an hour that began with all of them reporting."""
    world = await World.of([a_request(site) for site in range(HOMES)], soc_permille=CHARGE)
    await world.signal(power_w)
    return world


async def go_on(
    world: World,
    ticks: int,
    *,
    silent: Collection[int] = (),
    deaf: Collection[int] = (),
    refusals: dict[int, Refusal] | None = None,
    charge: Sequence[int] = CHARGE,
) -> None:
    """Let homes report and answer, but for the silent and the deaf, while control decides every 15 s."""
    for _ in range(ticks):
        world.deliver(soc_permille=charge, silent=silent)
        tick = await world.tick(seconds=15)
        if tick is not None and tick.orders:
            gone = {*silent, *deaf}
            heard = [int(site) for order in tick.orders for site in order.site_no if site not in gone]
            await world.answer(tick, refusals, sites=column(heard))


async def made_again(world: World, *event_ids: str) -> tuple[int, list[str]]:
    """Return how many ticks with orders of these events were made again, and what differed."""
    store = world.store
    again = TicksAgain(
        await store.enrollments(), event_ids or ("ev-1",), await store.acks(since=EVENING - timedelta(days=1))
    )
    bases = {basis.number: basis for basis in await store.bases(since=EVENING - timedelta(days=1))}
    faults = []
    for tick in await store.ticks(since=EVENING - timedelta(days=1)):
        basis = bases.get(tick.number)
        for unread in again.unread(tick, basis):
            again.learn(unread, await store.revisions(unread))
        faults.append(again.fault_at(tick, basis))
    return again.made, [fault for fault in faults if fault is not None]


async def same(world: World, *event_ids: str, left_first: int = 0) -> None:
    """Expect every tick to come out as it was, but for stops that left before the store knew of them."""
    made, faults = await made_again(world, *event_ids)
    told = {tick.number for each in event_ids or ("ev-1",) for tick in await world.store.event_ticks(each)}

    assert faults == []
    assert made == len(told) - left_first > 0


async def test_unanswered_commands_are_repeated_and_given_up_in_the_same_ticks() -> None:
    world = await an_evening()
    await go_on(world, 40, deaf=(0, 2, 3))

    assert world.board.leases.standing[0] == Standing.NO_ANSWER
    await same(world)


async def test_silent_homes_are_replaced_and_taken_back_in_the_same_ticks() -> None:
    world = await an_evening()
    await go_on(world, 16)
    await go_on(world, 40, silent=(0, 1))
    await go_on(world, 20)

    await same(world)


async def test_refusals_dwells_and_homes_that_prove_short_are_made_again() -> None:
    world = await an_evening()
    await go_on(world, 2, refusals={0: Refusal.DWELL, 1: Refusal.ISLANDED})
    await go_on(world, 30)

    assert (world.board.held_back_until_s > 0).any()
    await same(world)


async def test_changes_opt_outs_and_a_cancel_in_the_middle_are_made_again() -> None:
    world = await an_evening()
    await go_on(world, 8)
    await world.signal(12_000, hours=1)
    await go_on(world, 8, deaf=(5,))
    await world.store.opt_out(OptOut("s-0001", "ev-1", world.clock.now(), "portal"))
    await go_on(world, 8)
    await world.signal(None, cancelled=True)
    await go_on(world, 8, deaf=(2,))

    await same(world)


async def test_two_events_that_share_the_fleet_are_each_made_again() -> None:
    world = await an_evening()
    await go_on(world, 8)
    await world.signal(20_000, event_id="ev-2", priority=1, test=True)
    await go_on(world, 12, deaf=(1,))
    await world.signal(None, event_id="ev-2", cancelled=True)
    await go_on(world, 12)

    await same(world, "ev-1")
    await same(world, "ev-2")
    await same(world, "ev-1", "ev-2")


async def test_controller_that_is_killed_begins_afresh_and_its_ticks_are_made_again() -> None:
    world = await an_evening()
    await go_on(world, 4, deaf=(0,))
    await world.restart()
    await go_on(world, 30, deaf=(1,))
    await world.restart()
    await go_on(world, 150)

    await same(world)


async def test_ticks_under_ramp_caps_are_made_again() -> None:
    world = await forty_homes(zone_ramp_w_per_min={"Marin": 8_000})
    await world.signal(60_000, hours=1)
    await go_on(world, 60, charge=[900] * 40)

    spreads = {order.spread_s for tick in await world.store.event_ticks("ev-1") for order in tick.orders}
    assert spreads == {0, 60}
    await same(world)


async def test_ticks_around_a_stop_that_left_before_the_store_knew_are_made_again() -> None:
    world = await an_evening()
    await go_on(world, 8)
    await stop_everything(
        board=world.board, link=world.link, clock=world.clock, terms=world.terms, actor="staff:ana"
    )
    await record(world.board, store=world.store, clock=world.clock)
    await go_on(world, 4)

    await same(world, left_first=1)


async def test_tick_that_was_stopped_while_it_was_committed_does_not_count_as_heard() -> None:
    world = await an_evening()
    await go_on(world, 8)
    commit = world.store.commit

    async def stopped_meanwhile(*what: Any, **named: Any) -> None:
        world.store.commit = commit  # type: ignore[method-assign]  # once
        await commit(*what, **named)
        await stop_everything(
            board=world.board, link=world.link, clock=world.clock, terms=world.terms, actor="staff:ana"
        )

    await world.signal(12_000)
    world.store.commit = stopped_meanwhile  # type: ignore[method-assign]  # a stop in the worst moment
    await go_on(world, 1)
    await record(world.board, store=world.store, clock=world.clock)
    await go_on(world, 4)

    await same(world, left_first=1)


async def _decide_while_an_owner_speaks(world: World, *, stopped: bool = False) -> DispatchTick:
    """Let control decide while an owner says no, and somebody stops everything in the same moment."""
    commit, words = world.store.commit, await world.store.last_words()

    async def owner_speaks(*what: Any, **named: Any) -> None:
        world.store.commit = commit  # type: ignore[method-assign]  # once
        await world.store.opt_out(OptOut("s-0000", "ev-1", world.clock.now(), "portal"))
        if stopped:
            await stop_everything(
                board=world.board, link=world.link, clock=world.clock, terms=world.terms, actor="staff:ana"
            )
        await commit(*what, **named)

    world.store.commit = owner_speaks  # type: ignore[method-assign]  # an owner between decision and commit
    tick = await control(
        board=world.board, fleet=world.fleet, roster=world.roster, programs=world.programs,
        store=world.store, link=world.link, clock=world.clock, terms=world.terms, words=words,
    )  # fmt: skip
    assert tick is not None
    return tick


async def test_home_whose_owner_spoke_while_a_tick_was_decided_is_left_out_of_it_again() -> None:
    world = await an_evening()

    tick = await _decide_while_an_owner_speaks(world)

    assert 0 not in tick.orders[0].site_no
    telling = world.store._bases[tick.number].telling
    assert telling is not None
    assert telling.left_out.tolist() == [0]
    await same(world)


async def test_stop_in_the_moment_in_which_an_owner_speaks_is_no_difference() -> None:
    world = await an_evening()
    await go_on(world, 8)
    await world.signal(60_000)
    world.clock.step_to(world.clock.now() + timedelta(seconds=15))

    await _decide_while_an_owner_speaks(world, stopped=True)
    await record(world.board, store=world.store, clock=world.clock)
    await go_on(world, 4)

    await same(world, left_first=1)


async def test_clock_that_was_set_back_changes_nothing_about_it() -> None:
    world = await an_evening()
    await go_on(world, 30)
    world.clock._now -= timedelta(minutes=5)  # nothing in the product does that: somebody at the machine
    await go_on(world, 30, deaf=(0,))

    await same(world)


async def test_home_that_lost_its_disk_is_told_again_in_the_same_tick() -> None:
    world = await an_evening()
    await go_on(world, 8)
    world.board.leases.behind[0] = True  # as a live status says it
    await go_on(world, 4)

    await same(world)


async def test_homes_enrolled_in_the_middle_of_an_event_take_part_in_what_is_made_again() -> None:
    world = await an_evening(power_w=100_000)
    await go_on(world, 8)
    more = [a_request(site, county="Marin") for site in range(HOMES, HOMES + 4)]
    enroll(world.fleet, world.roster, await world.store.enroll(more, at=world.clock.now()))
    world.board.grow(len(world.fleet))
    await go_on(world, 30, charge=[*CHARGE, *[900] * 4])

    assert (world.board.leases.setpoint_w[HOMES:] > 0).any()
    await same(world)


async def _eventful() -> World:
    """Return an evening in which every kind of knowledge decided something."""
    world = await an_evening()
    await go_on(world, 4, deaf=(2,), refusals={1: Refusal.ISLANDED})
    await go_on(world, 30, silent=(0,))
    await go_on(world, 4)
    await world.signal(None, cancelled=True)
    await go_on(world, 2, deaf=(3,))
    return world


def _with_orders(tick: DispatchTick, **changes: Any) -> DispatchTick:
    return replace(tick, orders=(replace(tick.orders[0], **changes), *tick.orders[1:]))


def _without_the_first(order: Order) -> Order:
    return replace(order, site_no=order.site_no[1:])


def _with_another(order: Order) -> Order:
    other = np.setdiff1d(np.arange(HOMES), order.site_no)[-1:]
    return replace(order, site_no=np.union1d(order.site_no, other))


@pytest.mark.parametrize(
    ("alter", "words"),
    [
        (
            lambda tick: replace(tick, orders=(_without_the_first(tick.orders[0]), *tick.orders[1:])),
            "would be told to",
        ),
        (lambda tick: replace(tick, orders=(_with_another(tick.orders[0]), *tick.orders[1:])), "is told to"),
        (
            lambda tick: _with_orders(tick, expires_at=tick.orders[0].expires_at - timedelta(seconds=60)),
            "its lease would end at",
        ),
        (
            lambda tick: _with_orders(tick, starts_at=tick.orders[0].starts_at + timedelta(seconds=60)),
            "its start would be",
        ),
        (lambda tick: _with_orders(tick, spread_s=7), "its spread would be"),
        (lambda tick: _with_orders(tick, ramp_s=7), "its ramp would be"),
        (lambda tick: _with_orders(tick, test=True), "that it is a test would be False, and is True"),
        (lambda tick: replace(tick, orders=()), "would be told to"),
    ],
)
async def test_any_tick_that_was_changed_is_the_first_difference(
    alter: Callable[[DispatchTick], DispatchTick], words: str
) -> None:
    world = await _eventful()
    ticks = world.store._ticks
    for number, tick in list(ticks.items()):
        if not tick.orders or facts.same(alter(tick), tick):
            continue
        ticks[number] = alter(tick)

        _, faults = await made_again(world)

        assert faults[0].startswith(f"tick {number}: "), faults[0]
        assert words in faults[0]
        ticks[number] = tick


def _news_with(telling: Telling, **columns: Any) -> Telling:
    return replace(telling, news=replace(telling.news, **columns))


def _no_news(telling: Telling) -> Telling:
    return replace(telling, news=LeaseNews(*(column([]) for _ in range(7))))


@pytest.mark.parametrize(
    "alter",
    [
        _no_news,
        lambda telling: _news_with(telling, standing=telling.news.standing * 0 + 2),
        lambda telling: _news_with(telling, sequence=telling.news.sequence - 1),
        lambda telling: _news_with(telling, site_no=telling.news.site_no + 1),
        lambda telling: _news_with(telling, flags=telling.news.flags ^ 3),
        lambda telling: _news_with(telling, resends=telling.news.resends + 1),
        lambda telling: _news_with(telling, running_until_s=telling.news.running_until_s + 60),
        lambda telling: _news_with(telling, issued_at_s=telling.news.issued_at_s - 60),
        lambda telling: replace(telling, asked=()),
        lambda telling: replace(telling, terms=replace(telling.terms, lease_s=60)),
        lambda telling: replace(telling, terms=replace(telling.terms, spread_s=1)),
        lambda telling: replace(telling, left_out=column(range(HOMES))),
        lambda _: None,
    ],
)
async def test_what_was_known_is_found_to_be_changed_by_the_ticks_that_do_not_follow_from_it(
    alter: Callable[[Telling], Telling | None],
) -> None:
    world = await _eventful()
    bases, found = world.store._bases, 0
    for number, basis in list(bases.items()):
        assert basis.telling is not None
        changed = alter(basis.telling)
        bases[number] = replace(basis, telling=changed)

        _, faults = await made_again(world)

        assert not faults or int(faults[0].split()[1].rstrip(":")) >= number
        found += bool(faults)
        bases[number] = basis
    assert found


async def test_tick_that_was_taken_away_is_missed() -> None:
    world = await _eventful()
    ticks, bases, missed = world.store._ticks, world.store._bases, 0
    for number in sorted(ticks)[1:]:
        tick, basis = ticks.pop(number), bases.pop(number)

        _, faults = await made_again(world)

        missed += bool(faults)
        ticks[number], bases[number] = tick, basis
    assert missed >= len(ticks) - 3


async def test_answer_that_was_taken_away_is_missed() -> None:
    world = await _eventful()
    answered = next(key for key, word in world.store._acks.items() if word[2] is None)
    del world.store._acks[answered]

    _, faults = await made_again(world)

    assert f"site s-{answered[0]:04d} counts as having answered tick {answered[2]}, and no such" in faults[0]


async def test_ticks_from_before_this_was_kept_are_passed_over() -> None:
    world = await _eventful()
    for number, basis in list(world.store._bases.items()):
        world.store._bases[number] = replace(basis, telling=None)

    assert await made_again(world) == (0, [])
