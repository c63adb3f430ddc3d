"""What can go wrong in a history, how often, and how often it did.

Each seed first draws which kinds of trouble it knows and how strong each is, so that some histories are
nearly calm and some have nothing but trouble. Counts what was done; does nothing itself.
"""

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random


class Fault(StrEnum):
    """A kind of trouble."""

    DROP = "drop"
    DUPLICATE = "duplicate"
    DELAY = "delay"
    REORDER = "reorder"
    PARTITION_ONE_WAY = "partition_one_way"
    PARTITION_PARTIAL = "partition_partial"
    DISCONNECT = "disconnect"
    BROKER_CRASH = "broker_crash"
    CONTROLLER_CRASH_AT_COMMIT = "controller_crash_at_commit"
    CONTROLLER_CRASH_AT_SEND = "controller_crash_at_send"
    TWO_CONTROLLERS = "two_controllers"
    STORE_BUSY = "store_busy"
    STORE_FULL = "store_full"
    STORE_LOST_BEFORE_COMMIT = "store_lost_before_commit"
    STORE_LOST_AFTER_COMMIT = "store_lost_after_commit"
    STORE_SLOW = "store_slow"
    GATEWAY_CRASH = "gateway_crash"
    GATEWAY_DISK_LOST = "gateway_disk_lost"
    GATEWAY_POWER_CUT = "gateway_power_cut_at_write"
    CLOCK_SKEW = "clock_skew"
    CLOCK_STEP = "clock_step"
    CLOCK_LEAP = "clock_leap"
    CLOCK_UNSURE = "clock_unsure"
    OPT_OUT = "opt_out"
    OPT_OUT_AT_HOME = "opt_out_at_home"
    RESERVE_CHANGED = "reserve_changed"
    RESERVE_CHANGED_AT_HOME = "reserve_changed_at_home"
    OUTAGE = "outage_at_home"
    STORM = "storm_mode"
    BATTERY_FAULT = "battery_fault"
    EVENT_MODIFIED = "event_modified"
    EVENT_CANCELLED = "event_cancelled"
    EVENT_DUPLICATED = "event_duplicated"
    REPLAY = "attack_replay"
    MUTATE = "attack_mutate"
    CROSS_TOPIC = "attack_cross_topic"
    FORGE = "attack_forge"
    CLONE = "attack_clone"
    TELEMETRY_LIE = "attack_telemetry_lie"
    ENERGY_LIE = "attack_energy_lie"
    LONG_LEASE = "attack_long_lease"
    RETAINED_COMMAND = "attack_retained_command"
    STOLEN_KEY = "attack_stolen_key"
    CONTROLLER_CLOCK_STEP = "controller_clock_step"  # this and the next: by seed, never drawn
    WITHDRAWAL = "owner_withdraws"
    STOP_ALL = "stop_all"


ON_THE_WAY = (Fault.DROP, Fault.DUPLICATE, Fault.DELAY, Fault.REORDER)
IN_THE_STORE = (
    Fault.STORE_BUSY,
    Fault.STORE_FULL,
    Fault.STORE_LOST_BEFORE_COMMIT,
    Fault.STORE_LOST_AFTER_COMMIT,
    Fault.STORE_SLOW,
)
_MOST = {Fault.DROP: 0.3, Fault.DUPLICATE: 0.5, Fault.DELAY: 0.2, Fault.REORDER: 0.3}
_WEIGHT = {  # of the kinds that come of themselves, how often each comes beside the others
    Fault.PARTITION_ONE_WAY: 10,
    Fault.PARTITION_PARTIAL: 3,
    Fault.DISCONNECT: 10,
    Fault.BROKER_CRASH: 1,
    Fault.CONTROLLER_CRASH_AT_COMMIT: 2,
    Fault.CONTROLLER_CRASH_AT_SEND: 2,
    Fault.TWO_CONTROLLERS: 1,
    Fault.STORE_BUSY: 4,
    Fault.STORE_FULL: 1,
    Fault.STORE_LOST_BEFORE_COMMIT: 2,
    Fault.STORE_LOST_AFTER_COMMIT: 3,
    Fault.STORE_SLOW: 10,
    Fault.GATEWAY_CRASH: 6,
    Fault.GATEWAY_DISK_LOST: 2,
    Fault.GATEWAY_POWER_CUT: 4,
    Fault.CLOCK_SKEW: 4,
    Fault.CLOCK_STEP: 4,
    Fault.CLOCK_LEAP: 1,
    Fault.CLOCK_UNSURE: 2,
    Fault.OPT_OUT: 5,
    Fault.OPT_OUT_AT_HOME: 4,
    Fault.RESERVE_CHANGED: 6,
    Fault.RESERVE_CHANGED_AT_HOME: 5,
    Fault.OUTAGE: 4,
    Fault.STORM: 3,
    Fault.BATTERY_FAULT: 3,
    Fault.EVENT_MODIFIED: 1,
    Fault.EVENT_CANCELLED: 0.25,
    Fault.EVENT_DUPLICATED: 3,
    Fault.REPLAY: 15,
    Fault.MUTATE: 15,
    Fault.CROSS_TOPIC: 10,
    Fault.FORGE: 10,
    Fault.CLONE: 4,
    Fault.TELEMETRY_LIE: 8,
    Fault.ENERGY_LIE: 3,
    Fault.LONG_LEASE: 4,
    Fault.RETAINED_COMMAND: 4,
    Fault.STOLEN_KEY: 6,
}
_BY_SEED = (Fault.CONTROLLER_CLOCK_STEP, Fault.WITHDRAWAL, Fault.STOP_ALL)
CALM = frozenset[Fault]()
CLOCK_OFF_MS = 5_000
"""How far the controllers' machine is off at most: with the 25 s of a home it is what homes allow for."""
MEAN_BETWEEN_S = (5, 10, 20, 60)


@dataclass(slots=True)
class Climate:
    """The trouble that one history knows. ``strength`` holds the probability for each packet, 0 to 1."""

    kinds: frozenset[Fault]
    strength: dict[Fault, float]
    mean_between_s: int
    counted: Counter[Fault] = field(default_factory=Counter)
    over: bool = False  # healed: nothing goes wrong any more

    @classmethod
    def drawn(cls, random: Random, *, harsh: bool = False) -> "Climate":
        """Return a climate by chance: each kind is on in half of the histories, a stolen key in a tenth.

        How many packets are hit goes from none to the most there may be; usually it is few, and in a
        ``harsh`` climate any share is as likely as any other.
        """
        share = random.choice((0.15, 0.5, 0.5, 0.85))
        kinds = {kind for kind in Fault if kind not in _BY_SEED and random.random() < share}
        if random.random() < 0.9:
            kinds.discard(Fault.STOLEN_KEY)
        usual = 1 if harsh else 3
        strength = {kind: random.random() ** usual * most * (kind in kinds) for kind, most in _MOST.items()}
        return cls(frozenset(kinds), strength, random.choice(MEAN_BETWEEN_S))

    @classmethod
    def calm(cls) -> "Climate":
        """Return a climate in which nothing goes wrong."""
        return cls(CALM, dict.fromkeys(_MOST, 0.0), MEAN_BETWEEN_S[-1])

    def count(self, kind: Fault) -> None:
        """Remember that this happened once more."""
        self.counted[kind] += 1

    def next_trouble(self, random: Random) -> tuple[int, Fault] | None:
        """Return in how many milliseconds which kind comes next of itself; None in a calm history."""
        possible = [kind for kind in _WEIGHT if kind in self.kinds]
        if not possible:
            return None
        delay_ms = 1 + int(random.expovariate(1 / self.mean_between_s) * 1000)
        weights = [_WEIGHT[kind] for kind in possible]
        return delay_ms, random.choices(possible, weights)[0]
