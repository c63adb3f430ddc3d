"""Trouble as it happens: each kind is one act upon the world. When and how often is the climate's."""

from collections.abc import Callable
from datetime import timedelta
from random import Random

from simulators.attacker import ATTACKS, Attacker
from simulators.faults import CLOCK_OFF_MS, IN_THE_STORE, Fault
from simulators.kernel import drive
from simulators.online_home import OnlineHome
from simulators.world import World
from vpp.domain.enrollment import OptOut, ReserveChange
from vpp.domain.quantities import Permille
from vpp.ports import NotEnrolled

LONGEST_CUT_MS = 90_000
CLOCK_SET_S = 120
"""How often it is set, on average."""
PROCESS_KINDS = frozenset(
    (Fault.CONTROLLER_CRASH_AT_COMMIT, Fault.CONTROLLER_CRASH_AT_SEND, Fault.TWO_CONTROLLERS, *IN_THE_STORE)
)


class Mischief:
    """Lets trouble come, one after the other, until the climate is over."""

    def __init__(self, world: World, attacker: Attacker) -> None:
        self._world = world
        self._attacker = attacker
        self._random = world.kernel.random
        # Of its own, so that histories whose clock is right stay as they were.
        self._chance_of_the_clock = Random(f"clock of {world.kernel.seed}")
        self._acts: dict[Fault, Callable[[], bool]] = {
            Fault.PARTITION_ONE_WAY: self._cut_one_way,
            Fault.PARTITION_PARTIAL: self._cut_some,
            Fault.DISCONNECT: self._disconnect,
            Fault.BROKER_CRASH: self._crash_broker,
            Fault.GATEWAY_CRASH: lambda: self._reboot(lose_disk=False),
            Fault.GATEWAY_DISK_LOST: lambda: self._reboot(lose_disk=True),
            Fault.GATEWAY_POWER_CUT: self._cut_power,
            Fault.CLOCK_SKEW: lambda: self._move_clock(25),
            Fault.CLOCK_STEP: lambda: self._move_clock(10),
            Fault.CLOCK_LEAP: self._leap,
            Fault.CLOCK_UNSURE: self._lose_time,
            Fault.OPT_OUT: self._opt_out,
            Fault.OPT_OUT_AT_HOME: self._opt_out_at_home,
            Fault.RESERVE_CHANGED: self._change_reserve,
            Fault.RESERVE_CHANGED_AT_HOME: self._change_reserve_at_home,
            Fault.OUTAGE: self._outage,
            Fault.STORM: self._storm,
            Fault.BATTERY_FAULT: self._battery_fault,
            Fault.EVENT_MODIFIED: self._modify,
            Fault.EVENT_CANCELLED: self._cancel,
            Fault.EVENT_DUPLICATED: world.operator.repeat,
        }

    def begin(self) -> None:
        """Wait for the first trouble."""
        self._world.while_it_hesitates.append(self._speak_in_between)
        if Fault.CONTROLLER_CLOCK_STEP in self._world.climate.kinds:
            self._set_clock_later()
        self.go_on()

    def go_on(self) -> None:
        """Wait for the next trouble, also after a pause."""
        coming = self._world.climate.next_trouble(self._random)
        if coming is not None:
            delay_ms, kind = coming
            self._world.kernel.after(delay_ms, lambda: self._strike(kind))

    def _speak_in_between(self) -> None:
        """While the store is slow in the middle of a decision, an owner may speak."""
        kinds = [kind for kind in (Fault.OPT_OUT, Fault.RESERVE_CHANGED) if kind in self._world.climate.kinds]
        if kinds and not self._world.climate.over and self._random.random() < 0.3:
            kind = self._random.choice(kinds)
            if self._acts[kind]():
                self._world.count(kind)

    def _strike(self, kind: Fault) -> None:
        if self._world.climate.over:
            return
        if kind in PROCESS_KINDS:
            leader = self._world.leader
            if leader is not None:
                leader.troubles.arm(kind, freeze_ms=self._random.randint(5_000, 60_000))
        elif kind in ATTACKS:
            if self._attacker.attack(kind):
                self._world.count(kind)
        elif self._acts[kind]():
            self._world.count(kind)
        self.go_on()

    def _later(self, act: Callable[[], None], longest_s: int) -> None:
        self._world.kernel.after(self._random.randint(1_000, longest_s * 1_000), act)

    def _home(self) -> OnlineHome:
        return self._world.home(self._random)

    # The network.

    def _cut_one_way(self) -> bool:
        direction = self._random.choice(("up", "down"))
        self._world.network.cut(self._home().site_id, direction, self._random.randint(1_000, LONGEST_CUT_MS))
        return True

    def _cut_some(self) -> bool:
        for_ms = self._random.randint(1_000, LONGEST_CUT_MS)
        direction = self._random.choice(("up", "down"))
        for site_id in self._world.homes:
            if self._random.random() < 0.4:
                self._world.network.cut(site_id, direction, for_ms)
        return True

    def _disconnect(self) -> bool:
        home = self._home()
        home.disconnect()
        self._later(home.connect, 240)
        return True

    def _crash_broker(self) -> bool:
        world = self._world
        if not world.network.broker.up:
            return False
        world.network.crash()
        for home in world.homes.values():
            home.disconnect()
        self._later(self._start_broker, 20)
        return True

    def _start_broker(self) -> None:
        world = self._world
        if world.network.broker.up:
            return
        world.network.broker.start()
        if Fault.RETAINED_COMMAND in world.climate.kinds and self._attacker.attack(Fault.RETAINED_COMMAND):
            world.count(Fault.RETAINED_COMMAND)  # a broker that forgot everything remembers what it likes
        for home in world.homes.values():
            self._later(home.connect, 30)

    # The controllers' machine.

    def _set_clock_later(self) -> None:
        delay_ms = 1 + int(self._chance_of_the_clock.expovariate(1 / CLOCK_SET_S) * 1_000)
        self._world.kernel.after(delay_ms, self._set_clock)

    def _set_clock(self) -> None:
        if self._world.climate.over:
            return
        off_ms = self._chance_of_the_clock.randint(-CLOCK_OFF_MS, CLOCK_OFF_MS)
        self._world.machine.off_by = timedelta(milliseconds=off_ms)
        self._world.count(Fault.CONTROLLER_CLOCK_STEP)
        self._set_clock_later()

    # The home.

    def _reboot(self, *, lose_disk: bool) -> bool:
        self._home().reboot(lose_disk=lose_disk)
        return True

    def _cut_power(self) -> bool:
        self._home().disk.cut = self._random.choice(("before", "after"))
        return True

    def _move_clock(self, most_s: int) -> bool:
        home = self._home()
        home.off_by_s = max(-25, min(25, home.off_by_s + self._random.randint(-most_s, most_s)))
        home.clock_becomes(1000 * home.off_by_s)
        return True

    def _leap(self) -> bool:
        for home in self._world.homes.values():
            home.off_by_s = max(-25, min(25, home.off_by_s + 1))
        return True

    def _lose_time(self) -> bool:
        home = self._home()
        home.clock_becomes(None)
        self._later(lambda: home.clock_becomes(1000 * home.off_by_s), 300)
        return True

    def _outage(self) -> bool:
        home = self._home()
        home.grid_goes(True)
        self._later(lambda: home.grid_goes(False), 600)
        return True

    def _storm(self) -> bool:
        home = self._home()
        home.storm_comes(True)
        self._later(lambda: home.storm_comes(False), 900)
        return True

    def _battery_fault(self) -> bool:
        home = self._home()
        home.battery_fails("inverter_overheated")
        self._later(lambda: home.battery_fails(None), 600)
        return True

    # The owner.

    def _opt_out(self) -> bool:
        world, home = self._world, self._home()
        if not world.operator.events:
            return False
        event_id = self._random.choice(list(world.operator.events))
        now = world.now()
        if self._random.random() < 0.3:
            back = drive(world.store.take_back_opt_out(home.site_id, event_id, at=now))
        else:
            back = False
        if not back:
            drive(world.store.opt_out(OptOut(home.site_id, event_id, now, "portal")))
        world.ring(home.site_id)
        return True

    def _opt_out_at_home(self) -> bool:
        home = self._home()
        home.owner_opts_out(self._random.random() < 0.7)
        return True

    def _change_reserve(self) -> bool:
        world, home = self._world, self._home()
        permille = Permille(10 * self._random.randint(0, 90))
        change = ReserveChange(home.site_id, permille, world.now(), "owner")
        try:
            drive(world.store.change_reserve(change))
        except NotEnrolled:
            return False
        world.ring(home.site_id)
        return True

    def _change_reserve_at_home(self) -> bool:
        self._home().owner_sets_reserve(10 * self._random.randint(0, 90))
        return True

    # The grid operator.

    def _modify(self) -> bool:
        operator = self._world.operator
        open_events = [each for each in operator.events.values() if each.cancelled_at is None]
        if not open_events:
            return False
        event_id = self._random.choice(open_events).event_id
        operator.modify(event_id, self._random.randint(5, 60) * 1000)
        if self._random.random() < 0.5:  # and thinks better of it: one of the two may overtake the other
            self._later(lambda: operator.modify(event_id, self._random.randint(5, 60) * 1000), 8)
        return True

    def _cancel(self) -> bool:
        operator = self._world.operator
        open_events = [each for each in operator.events.values() if each.cancelled_at is None]
        if not open_events:
            return False
        operator.cancel(self._random.choice(open_events).event_id)
        return True
