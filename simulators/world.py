"""A whole world around the real controller: homes, owners, grid operators, broker, network and store.

Only the world is simulated. The controller is the product as ``vpp serve`` assembles it, the gateways
are those of the fleet simulator, and what passes between them are the bytes of the protocol.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from random import Random

from simulators.bounds_checker import BoundsChecker
from simulators.dispatch_checker import DispatchChecker
from simulators.faults import Climate, Fault
from simulators.findings import Findings
from simulators.home_checker import HomeChecker
from simulators.homes import make_gateway
from simulators.kernel import Kernel, drive
from simulators.network import Network
from simulators.online_home import CuttableDisk, OnlineHome
from simulators.operators import PersistentOperator
from simulators.processes import ControllerKeys, ControllerProcess, MachineClock
from simulators.ramp_checker import RampChecker
from simulators.scenario import simulated_source_key
from simulators.suburb import BEGINS, PROGRAMS, SUBURBS, Suburb, suburb
from simulators.yesterday import remember_test_event
from vpp.adapters.memory.store import MemoryStore
from vpp.domain.enrollment import shard_of
from vpp.domain.grid_event import GridSource
from vpp.domain.program import Program
from vpp.domain.quantities import Watts
from vpp.settings import DispatchSettings, Settings, load_programs
from vpp.wire.signed import SigningKey

SITES = 24
CONTROLLER_KEY = SigningKey(bytes(range(32)))
KID = "vpp-sim"
SOURCE = "caiso"
STAFF = "staff:sim"
MAX_POWERS_W = (500_000, 500_000, 40_000)
LEASES_S = (900, 900, 300, 60)
FLEET_RAMPS_W_PER_MIN = (None, None, None, 30_000)
FEEDER_CAPS_W = (None, None, None, 3_000)
ZONE_RAMPS_W_PER_MIN = (4_000, 4_000)  # of the two largest counties, where a seed has any
STEPS_EVERY = 5
CLOCK_SET_EVERY = 8
CROWDED_EVERY = 10
PACES_MS = (500, 3_000, 4_000, 6_000)  # a busy machine takes packets by the batch
HEALTHY_PACE_MS = 500


def _driven(random: Random, feeders: Sequence[str]) -> DispatchSettings:
    """Return how this history's fleet is driven: lease, brake, and a limit on its most common feeder."""
    cap_w = random.choice(FEEDER_CAPS_W)
    return DispatchSettings(
        lease_s=random.choice(LEASES_S),
        fleet_ramp_w_per_min=random.choice(FLEET_RAMPS_W_PER_MIN),
        feeder_caps_w={} if cap_w is None else {Counter(feeders).most_common(1)[0][0]: cap_w},
    )


def falls_in_steps(seed: int) -> bool:
    """Return whether zones have ramp caps in this history, and an event asks for less from its middle on."""
    return seed % STEPS_EVERY == 2


def clock_is_set(seed: int) -> bool:
    """Return whether the clock of the controllers' machine is set now and then in this history."""
    return seed % CLOCK_SET_EVERY == 7


def is_crowded(seed: int) -> bool:
    """Return whether so many events are on at once that homes are short, and owners leave."""
    return seed % CROWDED_EVERY == 9


def _ramps(counties: Sequence[str]) -> dict[str, int]:
    largest = [name for name, _ in Counter(counties).most_common(len(ZONE_RAMPS_W_PER_MIN))]
    return dict(zip(largest, ZONE_RAMPS_W_PER_MIN, strict=True))


@lru_cache(maxsize=1)
def _programs() -> dict[str, Program]:
    return {name: program for name, program in load_programs(Settings()).items() if name in PROGRAMS}


class World:
    """Everything that one seed sets in motion."""

    def __init__(
        self, seed: int, climate: Climate | None = None, *, harsh: bool = False, sites: int = SITES
    ) -> None:
        self.kernel = Kernel(seed, BEGINS)
        random = self.kernel.random
        self.climate = Climate.drawn(random, harsh=harsh) if climate is None else climate
        if climate is None and clock_is_set(seed):
            self.climate.kinds |= {Fault.CONTROLLER_CLOCK_STEP}
        self.machine = MachineClock(self.kernel)
        self.findings = Findings(self.kernel, harsh=harsh)
        self.network = Network(self.kernel, self.climate, self._arrived)
        self.store = MemoryStore()
        self.began = BEGINS - timedelta(days=30)
        self.programs = _programs()
        self.suburb = suburb(random.randrange(SUBURBS), sites)
        driven = _driven(random, self.suburb.homes.feeder)
        if falls_in_steps(seed):
            driven = driven.model_copy(update={"zone_ramp_w_per_min": _ramps(self.suburb.homes.county)})
        self.settings = Settings(dispatch=driven)
        self.pace_ms = random.choice(PACES_MS)
        self.keys = ControllerKeys(KID, CONTROLLER_KEY)
        self.home_checker = HomeChecker(self.kernel, self.findings)
        bounds = BoundsChecker(self.kernel, self.findings, self.settings.dispatch, self.suburb.homes.feeder)
        self.dispatch_checker = DispatchChecker(
            self.kernel, self.findings, self.climate, self.store, sites, bounds,
            RampChecker(self.findings, self.settings.dispatch, self.suburb.homes.county),
        )  # fmt: skip
        self.home_checker.was_committed = self.dispatch_checker.was_committed
        self._enroll(self.suburb)
        self.homes = self._settle_homes(self.suburb, random)
        self.operator = self._open_desk()
        self.withdrawn: dict[str, int] = {}  # by site, since when
        self.while_it_hesitates: list[Callable[[], None]] = []  # who uses that a commit takes its time
        self.processes: list[ControllerProcess] = []
        self._lives = 0
        self._restarting = False

    @property
    def leader(self) -> ControllerProcess | None:
        """Return the controller that was started last and lives, or None."""
        living = [process for process in self.processes if process.alive]
        return living[-1] if living else None

    def now(self) -> datetime:
        """Return the time by the service, which notes when people speak; by its machine while it is down."""
        leader = self.leader
        return self.machine.now() if leader is None else leader.clock.now()

    def begin(self) -> None:
        """Start the controller and bring the homes online."""
        self.start_controller()
        for home in self.homes.values():
            self.kernel.after(self.kernel.random.randint(0, 5_000), home.connect)

    def start_controller(self) -> ControllerProcess:
        """Start one more controller on the same store."""
        self._lives += 1
        names = {process.name for process in self.processes if process.alive}
        process = ControllerProcess(
            self.kernel,
            name=KID if KID not in names else f"{KID}-{self._lives}",
            number=self._lives,
            store=self.store,
            broker=self.network.broker,
            keys=self.keys,
            settings=self.settings,
            programs=self.programs,
            pace_ms=HEALTHY_PACE_MS if self.climate.over else self.pace_ms,
            ears=self.dispatch_checker,
            climate=self.climate,
            died=self._died,
            hesitates=self._hesitates,
            machine=self.machine,
            froze=self._froze,
        )
        for tick in drive(self.store.ticks(since=process.clock.now())):
            process.clock.not_before(tick.at)
        self.processes = [each for each in self.processes if each.alive] + [process]
        process.start()
        return process

    def ring(self, site_id: str) -> None:
        """Tell the controller that an owner spoke, as its API does after the commit."""
        leader = self.leader
        if leader is not None:
            leader.controller.wake(site_id)
            leader.wake(rang=True)

    def kill(self, process: ControllerProcess) -> None:
        """Kill a controller; another is started a little later."""
        if process.alive:
            process.kill()
            self._died(process)

    def watch_restarts(self) -> None:
        """Have every controller judged once, when it has read what was committed."""
        for process in self.processes:
            if not process.judged and process.controller.board is not None:
                process.judged = True
                self.dispatch_checker.restarted(process)

    def heal(self) -> None:
        """Let all trouble end: one controller, a whole network, homes that know the time and are online."""
        self.climate.over = True
        self.network.heal()
        for process in self.processes:
            process.troubles.forget()
            process.pace_ms = HEALTHY_PACE_MS
            # One that was replaced acts no more; a supervisor does not wait for it either.
            if process.suspended or process is not self.leader or process.controller.replaced:
                process.kill()
        if not self.network.broker.up:
            self.network.broker.start()
        if self.leader is None:
            self.start_controller()
        for home in self.homes.values():
            home.off_by_s, home.disk.cut = 0, None
            home.clock_becomes(0)
            home.grid_goes(False)
            home.storm_comes(False)
            home.battery_fails(None)
            home.disconnect()
            self.kernel.after(self.kernel.random.randint(0, 5_000), home.connect)

    def home(self, random: Random) -> OnlineHome:
        """Return any home."""
        return random.choice(list(self.homes.values()))

    def _died(self, process: ControllerProcess) -> None:
        self.kernel.note(b"died", process.name.encode())
        newest = self.processes[-1]
        if (process is newest or not newest.alive) and not self._restarting:
            self._restarting = True
            self.kernel.after(self.kernel.random.randint(500, 20_000), self._start_again)

    def _start_again(self) -> None:
        self._restarting = False
        if not self.processes[-1].alive:
            self.start_controller()

    def _froze(self, process: ControllerProcess) -> None:
        """Another controller takes over while one stands still; the old one lives on for a while."""
        self.kernel.after(self.kernel.random.randint(500, 5_000), self._take_over)
        lives_ms = process.troubles.freeze_ms + self.kernel.random.randint(5_000, 60_000)
        self.kernel.after(lives_ms, lambda: self.kill(process))

    def _hesitates(self) -> None:
        for act in self.while_it_hesitates:
            self.kernel.after(1, act)

    def _take_over(self) -> None:
        if not self.climate.over:
            self.start_controller()

    def _arrived(self, client_id: str) -> None:
        home = self.homes.get(client_id)
        if home is not None:
            home.take()
        elif client_id == self.operator.client_id:
            self.operator.take()
        else:
            for process in self.processes:
                if process.name == client_id and process.alive:
                    process.wake()

    def _enroll(self, place: Suburb) -> None:
        before = self.began
        drive(self.store.enroll(place.requests, at=before))
        drive(self.store.append(place.messages, at=before))
        key = simulated_source_key(0, SOURCE)
        source = GridSource(
            SOURCE, key.verifying_key.raw, Watts(self.kernel.random.choice(MAX_POWERS_W)), before
        )
        drive(self.store.add_source(source))
        remember_test_event(self.store, SOURCE, range(0, len(place.homes), 2))

    def _settle_homes(self, place: Suburb, random: Random) -> dict[str, OnlineHome]:
        homes = {}
        for row, site_id in enumerate(place.homes.site_id):
            disk = CuttableDisk()
            gateway = make_gateway(
                place.homes,
                row,
                history=place.history,
                surroundings=place.surroundings,
                key=place.keys[row],
                shard=shard_of(row),
                controller_keys={KID: CONTROLLER_KEY.verifying_key},
                disk=disk,
                boot_id=f"{random.getrandbits(128):032x}",
            )
            battery = gateway.inverter.battery
            battery.stored_tenths = battery.full_tenths * random.randint(150, 1000) // 1000
            homes[site_id] = OnlineHome(self.kernel, gateway, disk, self.network.broker, self.home_checker)
        return homes

    def _open_desk(self) -> PersistentOperator:
        key = simulated_source_key(0, SOURCE)
        return PersistentOperator(
            self.kernel, SOURCE, key, {KID: CONTROLLER_KEY.verifying_key}, self.network.broker
        )

    def count(self, kind: Fault) -> None:
        """Remember that a kind of trouble happened."""
        self.climate.count(kind)
        self.kernel.note(kind.encode())
