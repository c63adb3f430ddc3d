"""One seed is one history: events under fire, then healing, then what must be true, then the audit."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random

from simulators.attacker import Attacker
from simulators.audit import Audit
from simulators.busy_evening import BusyEvening
from simulators.faults import Climate
from simulators.findings import Violation
from simulators.kernel import drive
from simulators.mischief import Mischief
from simulators.night import Night
from simulators.operators import AskedEvent
from simulators.reordering import Reordering
from simulators.suburb import BEGINS, PROGRAMS
from simulators.world import World, falls_in_steps, is_crowded
from vpp.domain.enrollment import OptOut
from vpp.domain.event_end import ended_at

HEALED_WITHIN_MS = 60_000
STOPPED_WITHIN_MS = 5_000
CLOSED_WITHIN_MS = 65_000
REORDERED_EVERY = 4
NIGHT_EVERY = 3
FEW, CROWD = (2, 3, 3, 4), (5, 6, 7, 8)
MOST_ASKED_W = 45_000
AFTERMATH = timedelta(minutes=5)
HEALS_AFTER_MINUTES = 50


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one history came to."""

    seed: int
    event_seconds: int
    faults: Counter[str]
    violations: tuple[Violation, ...]
    trace_hash: str
    steps: int = 0
    looks: int = 0
    ticks: int = 0
    paid_micro_dollars: int = 0
    real_signatures: bool = False


class BrokenHistory(Exception):
    """An invariant does not hold: there is no use in going on."""


@dataclass(slots=True)
class HistoryOfSeed:
    """Plays one seed from beginning to end."""

    seed: int
    climate: Climate | None = None
    harsh: bool = False  # the climate that is drawn
    real_signatures: bool = False  # only said in the outcome; whoever plays decides
    minutes: int = HEALS_AFTER_MINUTES  # of trouble after the last event began
    world: World = field(init=False)
    audit: Audit = field(init=False)

    def __post_init__(self) -> None:
        self.world = World(self.seed, self.climate, harsh=self.harsh)
        self.audit = Audit(self.world)

    def play(self) -> Outcome:
        """Return what came of the history; it ends at the first violation."""
        world = self.world
        random = world.kernel.random
        try:
            world.begin()
            events = _events(random, CROWD if is_crowded(self.seed) else FEW)
            if falls_in_steps(self.seed):
                events[0] = replace(events[0], later_w=(events[0].power_w or MOST_ASKED_W) // 4)
            busy = BusyEvening(world) if is_crowded(self.seed) else None
            for event in events if busy is None else busy.named(events):
                self._ask(event)
            mischief = Mischief(world, Attacker(world))
            mischief.begin()
            if busy is not None:
                busy.begin()
            night = Night(world, mischief) if self.seed % NIGHT_EVERY == 1 else None
            reordering = Reordering(world) if self.seed % REORDERED_EVERY == 0 else None
            last = max(event.ends_at for event in events)
            in_the_middle = random.random() < 0.75 or self.minutes < HEALS_AFTER_MINUTES
            heals_at = max(event.starts_at for event in events) + timedelta(minutes=self.minutes)
            self._suffer_until(heals_at if in_the_middle else last + timedelta(seconds=30))
            self._heal()
            self._run_for(HEALED_WITHIN_MS)
            self.audit.converged()
            self._check()
            self._stop_someone(random)
            deaf = frozenset() if night is None else night.deafen()
            self._cancel_all(deaf)
            self._run_for(CLOSED_WITHIN_MS)
            self.audit.closed()
            if night is not None:
                self._suffer_late(night)
            self.audit.books()
            if reordering is not None:
                reordering.check()
        except BrokenHistory:
            pass
        return self._outcome()

    def _outcome(self) -> Outcome:
        world = self.world
        now = world.kernel.now()
        return Outcome(
            seed=self.seed,
            event_seconds=sum(self._seconds_on(event, now) for event in world.operator.events.values()),
            faults=Counter({kind.value: count for kind, count in world.climate.counted.items()}),
            violations=tuple(world.findings.violations),
            trace_hash=world.kernel.trace_hash(),
            steps=world.kernel.steps,
            looks=world.home_checker.looks_made,
            ticks=len(world.dispatch_checker.ticks),
            paid_micro_dollars=self.audit.paid,
            real_signatures=self.real_signatures,
        )

    def _seconds_on(self, event: AskedEvent, now: datetime) -> int:
        """Return how long an event was on, by its operator, and by the staff who stopped everything."""
        ends_at = min(event.over_at, now)
        history = drive(self.world.store.history(event.event_id))
        if history is not None and event.event_id in self.world.dispatch_checker.stopped_by:
            ends_at = min(ends_at, ended_at(history))
        return max(0, int((ends_at - event.starts_at).total_seconds()))

    def _ask(self, event: AskedEvent) -> None:
        world = self.world
        lead_ms = 1000 * int((event.starts_at - BEGINS).total_seconds())
        said_ms = world.kernel.random.randint(10_000, max(11_000, lead_ms))
        world.kernel.after(said_ms, lambda: world.operator.ask(event))

    def _suffer_until(self, at: datetime) -> None:
        """Let trouble go on until then, or until every event has been over for a while."""
        kernel, operator = self.world.kernel, self.world.operator
        while kernel.now() < at:
            self._run_until(min(at, kernel.now() + AFTERMATH))
            before = kernel.now() - AFTERMATH
            if operator.events and all(event.over_at <= before for event in operator.events.values()):
                return

    def _suffer_late(self, night: Night) -> None:
        """Let trouble come back while homes still speak of events that are over, and end once more."""
        for at, act in night.course():
            self._run_until(at)
            act()
        self._heal()
        self._run_for(HEALED_WITHIN_MS)
        self.audit.converged()
        self._check()

    def _run_for(self, for_ms: int) -> None:
        self._run_until(self.world.kernel.now() + timedelta(milliseconds=for_ms))

    def _run_until(self, at: datetime) -> None:
        until_ms = int((at - BEGINS).total_seconds() * 1000)
        if until_ms > self.world.kernel.now_ms:
            self.world.kernel.run_until(until_ms, self._check)

    def _check(self) -> None:
        if self.world.findings.violations:
            raise BrokenHistory
        self.world.watch_restarts()

    def _heal(self) -> None:
        self.world.heal()
        self.audit.healed_s = self.world.kernel.now_s

    def _stop_someone(self, random: Random) -> None:
        """An owner says no in a healthy system: the battery rests within seconds (I7)."""
        world = self.world
        running = [
            home
            for home in world.homes.values()
            if home.inverter.discharging and not home.hijacked and home.gateway.online
        ]
        if not running:
            return
        home = random.choice(running)
        lease = home.inverter.running_lease
        assert lease is not None, "it discharges"
        drive(world.store.opt_out(OptOut(home.site_id, lease.event_id, world.now(), "portal")))
        world.ring(home.site_id)
        self._run_for(STOPPED_WITHIN_MS)
        home.live()
        running_now = home.inverter.running_lease
        if running_now is not None and running_now.event_id == lease.event_id:
            world.findings.report("I7", "it still discharges 5 s after the opt-out", site_id=home.site_id)
        self._check()

    def _cancel_all(self, deaf: frozenset[str]) -> None:
        """The operator takes everything back in a healthy system: who is not deaf rests in seconds (I6)."""
        world = self.world
        now = world.kernel.now()
        for event in list(world.operator.events.values()):
            if event.cancelled_at is None and event.ends_at > now:
                world.operator.cancel(event.event_id)
        self._run_for(STOPPED_WITHIN_MS)
        for home in world.homes.values():
            home.live()
            if home.inverter.discharging and not home.hijacked and home.site_id not in deaf:
                world.findings.report("I6", "it still discharges 5 s after the cancel", site_id=home.site_id)
        self._check()


def _events(random: Random, how_many: Sequence[int]) -> list[AskedEvent]:
    """Return so many events of about an hour that overlap, of one program or of two."""
    starts_at = BEGINS + timedelta(minutes=4)
    return [
        AskedEvent(
            event_id=f"ev-{letter}",
            program_id=PROGRAMS[number] if number < len(PROGRAMS) else random.choice(PROGRAMS),
            starts_at=starts_at + timedelta(seconds=random.randint(0, 600)),
            minutes=random.randint(60, 80),
            power_w=None if random.random() < 0.15 else 1000 * random.randint(5, MOST_ASKED_W // 1000),
            priority=random.choice((None, None, 1, 2)),
        )
        for number, letter in enumerate("abcdefgh"[: random.choice(how_many)])
    ]
