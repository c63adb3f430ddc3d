"""I16: the same messages in any order, and any number of copies, lead to the same state.

What the controllers of a history heard from the homes is told again to two new ones: to one as it came,
to the other shuffled and doubled. Both must know the same fleet and hold the same readings.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np

from simulators.kernel import drive
from simulators.processes import MachineClock
from simulators.world import KID, World
from vpp.adapters.memory.broker import MemoryBroker, MemoryTransport
from vpp.adapters.memory.store import MemoryStore
from vpp.bootstrap import Controller, assemble
from vpp.domain.delivery import ReadingColumns
from vpp.domain.interval import Interval
from vpp.ports import Packet

HEARD = 3_000
AT_ONCE = 40
_KINDS = ("/telemetry", "/meter")
_FLEET = (
    "sampled_at_s", "soc_permille", "battery_w", "discharge_limit_w", "energy_full_wh",
    "home_reserve_permille", "islanded", "storm_mode", "faulted", "opted_out_at_home",
)  # fmt: skip


class Reordering:
    """Overhears what homes say, and compares two orders of it at the end."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._heard: deque[Packet] = deque(maxlen=HEARD)
        world.network.listeners.append(self._overhear)

    def check(self) -> None:
        """Report where two orders of the same messages lead to two states."""
        as_it_came = list(self._heard)
        shuffled = as_it_came + as_it_came[::3]
        self._world.kernel.random.shuffle(shuffled)
        (one, one_store), (other, other_store) = self._told(as_it_came), self._told(shuffled)
        for name in _FLEET:
            differs = np.flatnonzero(getattr(one.fleet, name) != getattr(other.fleet, name))
            if len(differs):
                site_id = one.roster.site_id(int(differs[0]))
                self._world.findings.report("I16", f"{name} depends on the order", site_id=site_id)
        readings, reordered = self._readings(one_store), self._readings(other_store)
        if readings != reordered:
            what = f"{len(readings ^ reordered)} readings depend on the order of their messages"
            self._world.findings.report("I16", what)

    def _overhear(self, packet: Packet) -> None:
        if packet.topic.endswith(_KINDS):
            self._heard.append(packet)

    def _told(self, packets: Sequence[Packet]) -> tuple[Controller, MemoryStore]:
        world, store = self._world, MemoryStore()
        drive(store.enroll(world.suburb.requests, at=world.began))
        controller = assemble(
            world.settings,
            clock=MachineClock(world.kernel),
            store=store,
            keys=world.keys,
            transport=MemoryTransport(MemoryBroker(), KID),
            programs=world.programs,
        )
        for first in range(0, len(packets), AT_ONCE):
            drive(controller.collect(packets[first : first + AT_ONCE]))
        return controller, store

    def _readings(self, store: MemoryStore) -> set[tuple[int, ...]]:
        world = self._world
        always = Interval(world.began, world.kernel.now())
        rows: ReadingColumns = drive(store.readings(list(world.homes), [always]))
        columns = (rows.site, rows.at_s, rows.discharged_wh, rows.charged_wh)
        return set(zip(*(each.tolist() for each in columns), strict=True))
