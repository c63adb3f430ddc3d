"""What every home must keep to, judged from the battery itself and from the words of signed commands.

I1 reserve, I2 at most once, I5 dead man, I7 at the home. It follows each command from the packet that
brought it, and asks the gateway nothing but what its inverter does and what its disk holds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from simulators.command_check import LONGEST_LEASE_S, command_in
from simulators.findings import Findings
from simulators.kernel import Kernel
from simulators.lease import Lease
from simulators.online_home import OnlineHome, Witness
from vpp.domain.command import Action
from vpp.domain.delivery import MeterReading
from vpp.domain.interval import to_epoch
from vpp.ports import Packet
from vpp.wire.gateway import Command
from vpp.wire.gateway_meter import decode_meter
from vpp.wire.signed import split
from vpp.wire.strict_json import GATEWAY_MESSAGE_BYTES, MalformedMessage

CLOCK_ERROR_S = 30
TOLERANCE_PERMILLE = 5


@dataclass(slots=True)
class _Seen:
    """What is remembered of one home."""

    taken: Lease | None = None  # the lease object in force when last looked at
    last: tuple[int, int] | None = None  # pair of the lease that was last put in force
    boots: int = 0  # of the home, when that was
    commands: dict[tuple[int, int], Command] = field(default_factory=dict)  # executed ones, by pair
    highest: dict[str, tuple[int, int]] = field(default_factory=dict)  # executed, by kid
    stopped: set[tuple[int, int]] = field(default_factory=set)  # ended by the home itself
    disk_lost_s: int = 0


class HomeChecker(Witness):
    """Looks at a home after every step that touched it."""

    def __init__(self, kernel: Kernel, findings: Findings) -> None:
        self.readings: dict[tuple[str, str, int], MeterReading] = {}  # everything honest gateways measured
        self.looks_made = 0
        self.was_committed: Callable[[Command], bool] = lambda _command: True
        self._kernel = kernel
        self._findings = findings
        self._seen: dict[str, _Seen] = {}
        self._published: set[bytes] = set()

    def looks(self, home: OnlineHome, packet: Packet | None) -> None:
        """Judge what the home does now. ``packet`` is what it was just given."""
        self.looks_made += 1
        seen = self._seen.get(home.site_id)
        if seen is None:
            seen = self._seen[home.site_id] = _Seen()
        lease = home.inverter.lease
        if lease is not seen.taken:
            if lease is not None:
                self._executed(home, seen, lease, packet)
                seen.last, seen.boots = (lease.epoch, lease.sequence), home.boots
            seen.taken = lease
        if lease is None and seen.last is not None and (home.islanded or home.storm):
            seen.stopped.add(seen.last)
        running = home.inverter.running_lease
        if running is not None:
            self._discharges(home, seen, running)

    def heard(self, home: OnlineHome, packets: Sequence[Packet]) -> None:
        """Remember what an honest gateway measured: all of it must end in the store."""
        if home.lies_by_wh:
            return
        for packet in packets:
            if packet.topic.endswith("/meter") and packet.payload not in self._published:
                self._published.add(packet.payload)
                body = split(packet.payload, max_bytes=GATEWAY_MESSAGE_BYTES).body
                message = decode_meter(body, site_id=home.site_id)
                for reading in message.readings:
                    self.readings[home.site_id, reading.boot_id, reading.index] = reading

    def _executed(self, home: OnlineHome, seen: _Seen, lease: Lease, packet: Packet | None) -> None:
        pair = (lease.epoch, lease.sequence)
        brought = _command_in(packet)
        if brought is None:  # only after a boot comes a lease without a packet, at once or with the clock
            known = seen.commands.get(pair)
            if known is None or home.boots == seen.boots:
                self._report("I2", home, f"command {pair} runs, which no packet brought")
            elif pair in seen.stopped:
                self._report("I2", home, f"command {pair} was resumed after the home itself had ended it")
            elif to_epoch(known.expires_at) + CLOCK_ERROR_S < self._kernel.now_s:
                self._report("I5", home, f"command {pair} was resumed after it had expired")
            return
        command, kid = brought
        self._admissible(home, command, pair, packet)
        if seen.disk_lost_s != home.disk_lost_s:  # from then on the time of issue protects, not the number
            seen.disk_lost_s = home.disk_lost_s
            seen.highest.clear()
        before = seen.highest.get(kid)
        if before is not None and pair <= before:
            self._report("I2", home, f"command {pair} was executed after {before}")
        stored = home.disk.load().highest.get(kid)
        if stored is None or (stored.epoch, stored.sequence) < pair:
            self._report("I2", home, f"command {pair} moves the battery and is not on the disk")
        seen.highest[kid] = pair
        seen.commands[pair] = command

    def _admissible(
        self, home: OnlineHome, command: Command, pair: tuple[int, int], packet: Packet | None
    ) -> None:
        """Report a command that no gateway may take, whoever signed it."""
        now_s, issued_s = self._kernel.now_s, to_epoch(command.issued_at)
        if command.site_id != home.site_id:
            self._report("I2", home, f"it executed a command of {command.site_id}")
        if not (home.hijacked or self.was_committed(command)):
            self._report("I3", home, f"it executed {pair}, which was never committed so")
        if (command.epoch, command.sequence) != pair or command.action is not Action.DISCHARGE:
            self._report("I2", home, f"it discharges on {command.action} {command.epoch, command.sequence}")
        if packet is not None and packet.retain:
            self._report("I2", home, f"it executed the retained command {pair}")
        if to_epoch(command.expires_at) - issued_s > LONGEST_LEASE_S:
            self._report("I5", home, f"it took a lease of {to_epoch(command.expires_at) - issued_s} s")
        if to_epoch(command.expires_at) + CLOCK_ERROR_S < now_s:
            self._report("I5", home, f"it executed {pair}, which had expired")
        if issued_s > now_s + 2 * CLOCK_ERROR_S:
            self._report("I5", home, f"it executed {pair} before that was issued")
        if home.disk_lost_s and issued_s + CLOCK_ERROR_S < home.disk_lost_s:
            self._report("I2", home, f"it executed {pair}, issued before it lost its memory")
        if home.gateway.clock_offset_ms is None:
            self._report("I5", home, f"it executed {pair} without knowing the time")

    def _discharges(self, home: OnlineHome, seen: _Seen, lease: Lease) -> None:
        """Judge a home whose battery is moved by a command."""
        pair = (lease.epoch, lease.sequence)
        command = seen.commands.get(pair)
        if command is None:
            self._report("I2", home, f"it discharges on {pair}, which it never took")
            return
        now_s = self._kernel.now_s
        spread_s = command.spread_s + command.ramp_s + CLOCK_ERROR_S
        if now_s > to_epoch(command.expires_at) + spread_s:
            self._report("I5", home, f"it discharges {now_s - to_epoch(command.expires_at)} s past the lease")
        if now_s > to_epoch(command.event_ends_at) + CLOCK_ERROR_S:
            self._report("I5", home, "it discharges after the event's end")
        floor = max(home.reserve_permille, command.reserve_floor_permille)
        battery = home.inverter.battery
        if battery.above_tenths(floor) < -battery.full_tenths * TOLERANCE_PERMILLE // 1000:
            self._report("I1", home, f"it discharges at {battery.soc_permille} permille under {floor}")
        for applies, why in ((home.islanded, "islanded"), (home.storm, "in a storm")):
            if applies:
                self._report("I1", home, f"it discharges {why}")
        if command.event_id in home.refused_events:
            self._report("I7", home, f"it discharges for {command.event_id} against its owner's no")

    def _report(self, invariant: str, home: OnlineHome, what: str) -> None:
        self._findings.report(invariant, what, site_id=home.site_id)


def _command_in(packet: Packet | None) -> tuple[Command, str] | None:
    """Return the command that a packet carries and who claims to have signed it."""
    if packet is None or not packet.topic.endswith("/command"):
        return None
    try:
        return command_of(packet.payload)
    except MalformedMessage:
        return None


@lru_cache(maxsize=4096)  # it is read when it leaves, and again when a home executes it
def command_of(payload: bytes) -> tuple[Command, str]:
    """Return the command in a signed message and who claims to have signed it, for the checkers alone.

    Raises:
        MalformedMessage: It holds no command.
    """
    message = split(payload, max_bytes=GATEWAY_MESSAGE_BYTES)
    return command_in(message.body)[0], message.kid
