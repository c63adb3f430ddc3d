"""What people do on a crowded evening: operators mean some homes only, owners leave, staff stop everything.

Chance is its own here, so that all that a seed draws elsewhere stays as it is without this.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from random import Random

from simulators.faults import Fault
from simulators.kernel import drive
from simulators.operators import AskedEvent
from simulators.processes import ControllerDied
from simulators.world import STAFF, World
from vpp.domain.enrollment import Withdrawal

WITHDRAWALS = (0, 0, 1, 3)
STOPS = (0, 0, 1, 2)
WITHIN_S = 3_600
NAMES_SOMEBODY = 0.4


class BusyEvening:
    """The people of one history; ``begin`` when its trouble begins."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = Random(f"people of {world.kernel.seed}")

    def named(self, events: Sequence[AskedEvent]) -> Iterator[AskedEvent]:
        """Yield the events, some of which name one or two counties, feeders or utilities."""
        homes = self._world.suburb.homes
        for event in events:
            if self._random.random() < NAMES_SOMEBODY:
                words = sorted(set(self._random.choice((homes.county, homes.feeder, homes.utility))))
                some = self._random.sample(words, min(len(words), self._random.choice((1, 2))))
                yield replace(event, targets=tuple(some))
            else:
                yield event

    def begin(self) -> None:
        """Let some owners leave within the hour, and now and then somebody stop everything."""
        for _ in range(self._random.choice(WITHDRAWALS)):
            self._world.kernel.after(1000 * self._random.randint(60, WITHIN_S), self._withdraw)
        for _ in range(self._random.choice(STOPS)):
            self._world.kernel.after(1000 * self._random.randint(WITHIN_S // 3, WITHIN_S), self._stop_all)

    def _withdraw(self) -> None:
        world = self._world
        if world.climate.over:
            return
        home = world.home(self._random)
        if drive(world.store.withdraw(Withdrawal(home.site_id, world.now(), "owner"))):
            world.withdrawn[home.site_id] = world.kernel.now_s
            world.ring(home.site_id)
            world.count(Fault.WITHDRAWAL)

    def _stop_all(self) -> None:
        """Release every home first and tell the store later, as where the store does not answer in time."""
        world = self._world
        leader = world.leader
        if world.climate.over or leader is None or leader.controller.board is None:
            return
        world.count(Fault.STOP_ALL)
        world.dispatch_checker.stopped(leader)
        try:
            drive(leader.controller.stop_everything(STAFF))
        except ControllerDied:
            world.kill(leader)
