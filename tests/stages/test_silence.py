"""Who is gone, who only cannot be seen, and what becomes of the plan in either case."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np

from tests.stages.world import EVENING, World, a_request
from vpp.domain.command import Action, DispatchTick
from vpp.domain.enrollment import OptOut
from vpp.domain.proof import ProofState
from vpp.domain.replay import PlansAgain

HOMES = 14
CHARGE = [900] * HOMES
MOST = frozenset(range(8))


class Evening:
    """An event of 1 kW for each home, and what its homes were told; the silent neither hear nor answer."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.told: list[DispatchTick] = []
        self.blind: list[bool] = []

    @classmethod
    async def begin(cls, *, gives_permille: int = 1_000, minutes: int = 180) -> "Evening":
        """Return an event that all homes have followed for four minutes."""
        evening = cls(await World.of([a_request(site) for site in range(HOMES)], soc_permille=CHARGE))
        await evening.world.signal(1_000 * HOMES, minutes=minutes)
        await evening.run(ticks=16, gives_permille=gives_permille)
        return evening

    async def run(
        self,
        *,
        ticks: int,
        silent: Collection[int] = (),
        answering: bool = False,
        gives_permille: int = 1_000,
    ) -> None:
        """Let some time pass; with ``answering``, the silent still hear and answer."""
        world = self.world
        for _ in range(ticks):
            asked_w = world.board.leases.setpoint_w.tolist()
            gives_w = {site: watts * gives_permille // 1_000 for site, watts in enumerate(asked_w)}
            world.deliver(soc_permille=CHARGE, short=gives_w, silent=silent)
            tick = await world.tick(seconds=15)
            assert world.board.assessment is not None
            self.blind.append(world.board.assessment.blind)
            if tick is not None and tick.orders:
                self.told.append(tick)
                gone = () if answering else silent
                heard = [int(site) for order in tick.orders for site in order.site_no if site not in gone]
                await world.answer(tick, sites=np.array(heard, dtype=np.int64))

    def planned_w(self, *, without: Collection[int] = ()) -> list[int]:
        plan = self.world.board.plans["ev-1"].setpoint_w.tolist()
        return [watts for site, watts in enumerate(plan) if site not in without]

    def told_since(self, tick_number: int, action: Action) -> set[int]:
        return {
            int(site)
            for tick in self.told
            if tick.number > tick_number
            for order in tick.orders
            if order.action is action
            for site in order.site_no
        }


async def test_homes_that_die_one_after_the_other_are_replaced_and_never_mistaken_for_our_blindness() -> None:
    evening = await Evening.begin()

    for dead in range(1, 9):
        await evening.run(ticks=5, silent=range(dead))
    last = evening.world.board.tick_number
    await evening.run(ticks=60, silent=MOST)

    assert not any(evening.blind)
    assert evening.told_since(last, Action.DISCHARGE).isdisjoint(MOST)
    assert sum(evening.planned_w(without=MOST)) >= 1_000 * HOMES - 500


async def test_homes_that_deliver_are_not_cut_when_more_than_half_are_silent_in_the_end() -> None:
    evening = await Evening.begin()
    await evening.run(ticks=12, silent=range(6))
    before = evening.planned_w(without=MOST)

    await evening.run(ticks=12, silent=MOST)

    after = evening.planned_w(without=MOST)
    assert not any(evening.blind)
    assert all(now >= then for now, then in zip(after, before, strict=True))


async def test_plan_that_asks_more_than_is_given_is_held_as_it_is_while_we_are_blind() -> None:
    evening = await Evening.begin(gives_permille=930)
    before = evening.planned_w()

    await evening.run(ticks=24, silent=MOST, answering=True, gives_permille=930)

    assert sum(before) > 1_000 * HOMES + 500
    assert evening.blind[-1]
    assert evening.planned_w()[8:] == before[8:]
    assert sum(evening.planned_w()) <= sum(before) + 500  # in the tick before so many were silent


async def test_homes_that_fell_silent_before_we_went_blind_are_not_renewed_with_the_others() -> None:
    evening = await Evening.begin()
    await evening.run(ticks=9, silent={13})
    last = evening.world.board.tick_number

    await evening.run(ticks=40, silent={13, *range(8)}, answering=True)

    assert evening.blind[-1]
    assert evening.told_since(last, Action.DISCHARGE) == set(range(13))


async def test_blindness_ends_when_half_of_the_fleet_is_seen_again() -> None:
    evening = await Evening.begin()
    await evening.run(ticks=10, silent=MOST)
    was_blind = evening.blind[-1]

    await evening.run(ticks=2, silent=range(7))

    assert was_blind
    assert not evening.blind[-1]
    assert evening.world.board.assessment is not None
    assert evening.world.board.assessment.count(ProofState.SILENT) == 7


async def test_homes_that_all_died_at_once_are_replaced_when_the_leases_they_heard_of_have_run_out() -> None:
    evening = await Evening.begin()

    await evening.run(ticks=130, silent=MOST)

    first = evening.blind.index(True)
    assert not any(evening.blind[first + 60 :])
    assert sum(evening.planned_w(without=MOST)) >= 1_000 * HOMES - 500
    assert sum(evening.planned_w()) == sum(evening.planned_w(without=MOST))


async def test_silent_homes_that_answer_their_renewals_stay_in_the_plan_however_long_we_are_blind() -> None:
    evening = await Evening.begin()
    before = evening.planned_w()

    await evening.run(ticks=120, silent=range(HOMES), answering=True)

    assert evening.blind[-1]
    assert evening.planned_w() == before
    assert evening.told_since(1, Action.DISCHARGE) == set(range(HOMES))


async def test_owner_who_says_no_while_we_are_blind_is_released_and_never_renewed() -> None:
    evening = await Evening.begin()
    await evening.run(ticks=10, silent=MOST)
    last = evening.world.board.tick_number

    await evening.world.store.opt_out(OptOut("s-0000", "ev-1", evening.world.clock.now(), "portal"))
    await evening.run(ticks=10, silent=MOST)

    assert evening.blind[-1]
    assert evening.told_since(last, Action.RELEASE) == {0}
    assert 0 not in evening.told_since(last, Action.DISCHARGE)


async def test_less_is_asked_at_once_and_more_only_when_we_see_again() -> None:
    evening = await Evening.begin()
    evening.world.fleet.online[:] = False  # every will has arrived
    await evening.run(ticks=1, silent=range(HOMES))
    assert evening.blind[-1]

    await evening.world.signal(15_000, hours=3)
    await evening.run(ticks=1, silent=range(HOMES))
    held = sum(evening.planned_w())
    await evening.world.signal(10_000, hours=3)
    await evening.run(ticks=1, silent=range(HOMES))
    lowered = sum(evening.planned_w())
    await evening.world.signal(15_000, hours=3)
    await evening.run(ticks=2)

    assert held == 1_000 * HOMES
    assert 9_500 <= lowered <= 10_000
    assert 14_500 <= sum(evening.planned_w()) <= 15_500


async def test_plan_made_while_we_are_blind_can_be_made_again_from_what_was_stored() -> None:
    evening = await Evening.begin()
    await evening.run(ticks=10, silent=MOST)
    await evening.world.signal(10_000, hours=3)
    await evening.run(ticks=1, silent=MOST)

    store = evening.world.store
    revisions = await store.revisions("ev-1")
    again = PlansAgain(evening.world.roster.enrollments, revisions)
    faults = [again.fault_at(basis, "ev-1") for basis in await store.bases(since=EVENING)]

    assert evening.blind[-1]
    assert again.made == len(revisions) > 1
    assert not any(faults)


async def test_silent_home_stays_silent_and_is_told_nothing_more_in_the_last_minutes_of_its_event() -> None:
    evening = await Evening.begin(minutes=15)
    await evening.run(ticks=8, silent={0})
    last = evening.world.board.tick_number

    counted_w = []
    for _ in range(60 - 16 - 8 - 1):
        await evening.run(ticks=1, silent={0})
        assessment = evening.world.board.assessment
        assert assessment is not None
        assert assessment.state[0] == ProofState.SILENT
        counted_w.append(int(assessment.counted_w[0]))

    assert counted_w == sorted(counted_w, reverse=True)
    assert 0 not in evening.told_since(last, Action.DISCHARGE)


async def test_silent_home_that_reports_in_the_last_minutes_of_its_event_starts_again() -> None:
    evening = await Evening.begin(minutes=12)
    await evening.run(ticks=24, silent={0})
    assert evening.world.board.assessment is not None
    assert evening.world.board.assessment.state[0] == ProofState.SILENT

    await evening.run(ticks=2)

    assert evening.world.board.assessment.state[0] == ProofState.STARTING


async def test_healthy_homes_that_report_every_minute_are_left_alone_where_that_is_their_period() -> None:
    world = await World.of([a_request(site) for site in range(3)], soc_permille=[900] * 3)
    world.terms = replace(world.terms, sample_period_s=60)
    await world.signal(6_000)
    first = await world.tick()
    assert first is not None
    await world.answer(first)

    ticks = []
    for turn in range(1, 18):  # four and a half minutes: no renewal is due yet
        if turn % 4 == 0:
            world.deliver(soc_permille=[900] * 3)
        ticks.append(await world.tick(seconds=16))

    assert ticks == [None] * 17
