"""One home on the simulated network: its gateway, its connection, its disk and its own idea of the time.

Keeps what is true about the home beside what its gateway believes: what the owner said, and what the
meter counted. Nothing here asks the gateway's own opinion of these.
"""

from collections.abc import Callable, Sequence

from simulators.command_disk import DiskContent, MemoryDisk
from simulators.inverter import Inverter
from simulators.kernel import Kernel, drive
from simulators.powerwall import Gateway
from vpp.adapters.memory.broker import MemoryBroker, MemoryTransport
from vpp.domain.orders import UNKNOWN_EVENT
from vpp.ports import Packet
from vpp.wire.gateway_telemetry import GridState


class PowerCut(BaseException):
    """The home's power went in the middle of a write. Not an ``Exception``: nothing survives it."""


class CuttableDisk(MemoryDisk):
    """A gateway's disk; power may go just before or just after one of its writes."""

    def __init__(self) -> None:
        super().__init__()
        self.cut: str | None = None  # "before" or "after" the next write

    def store(self, content: DiskContent) -> None:
        """Keep the content, unless power goes before."""
        when, self.cut = self.cut, None
        if when == "before":
            raise PowerCut("before a write")
        super().store(content)
        if when == "after":
            raise PowerCut("after a write")


class Witness:
    """Who looks at a home after everything that happens there: the checkers."""

    def looks(self, home: "OnlineHome", packet: Packet | None) -> None:
        """Something happened at the home: a packet came, or time passed."""

    def heard(self, home: "OnlineHome", packets: Sequence[Packet]) -> None:
        """The home published packets."""


class OnlineHome:
    """A gateway that lives through virtual time. ``now_s`` is its own clock, ``off_by_s`` its error."""

    def __init__(
        self, kernel: Kernel, gateway: Gateway, disk: CuttableDisk, broker: MemoryBroker, witness: Witness
    ) -> None:
        self.gateway = gateway
        self.disk = disk
        self.site_id = gateway.identity.site_id
        self.off_by_s = 0
        self.boots = 1
        self.disk_lost_s = 0
        self.reserve_permille = gateway.inverter.reserve_permille
        self.islanded = self.storm = False
        self.refused_events: set[str] = set()  # the owner said no to these, at the home
        self.counted_ws: dict[int, tuple[int, int]] = {}  # discharged, charged, whenever anybody looked
        self.lies_by_wh = 0
        self.cloned = self.hijacked = False
        self.tamper: Callable[[list[Packet]], list[Packet]] | None = None
        self._kernel = kernel
        self._witness = witness
        self._alarm_ms: int | None = None
        self._broker = broker
        self._count()
        self.connection = MemoryTransport(
            broker, self.site_id, filters=gateway.topics_heard, will=gateway.will
        )

    @property
    def now_s(self) -> int:
        """Return the home's own time, whole seconds since 1970."""
        return self._kernel.now_s + self.off_by_s

    @property
    def inverter(self) -> Inverter:
        """Return what moves the battery."""
        return self.gateway.inverter

    def connect(self) -> None:
        """Come online, if the broker can be reached."""
        if self._broker.up and not self.connection.connected:
            self.connection.reconnect()
            self.do(lambda: self.gateway.connect(self.now_s))
            self.take()

    def disconnect(self) -> None:
        """Lose the connection; the broker tells everybody, if it lives."""
        if self.gateway.online:
            self.gateway.disconnect(self.now_s)
            self._look(None)
        self.connection.drop()

    def take(self) -> None:
        """Handle what the connection has brought."""
        for packet in self.connection.received_now():
            self.do(lambda packet=packet: self.gateway.on_message(packet, self.now_s), packet)  # type: ignore[misc]  # a default binds the loop's packet

    def live(self) -> None:
        """Let time pass until now."""
        self.do(lambda: self.gateway.advance(self.now_s))

    def do(self, act: Callable[[], list[Packet]], packet: Packet | None = None) -> None:
        """Let the gateway do something and publish what it says; a power cut in between reboots it."""
        try:
            out = act()
        except PowerCut:
            self._look(packet)
            self.reboot()
            return
        self._publish(out)
        self._look(packet)
        self._set_alarm()

    def reboot(self, *, lose_disk: bool = False) -> None:
        """Crash and come back: memory is gone, the disk may be."""
        if lose_disk:
            self.disk.lose()
            self.disk_lost_s = self._kernel.now_s
            self.refused_events.clear()  # the no still stands, and nobody knows any more to which event
        self.disk.cut = None
        self.connection.drop()
        self.boots += 1
        was_online = self._broker.up
        out = self.gateway.reboot(self.now_s, boot_id=f"{self._kernel.random.getrandbits(128):032x}")
        if was_online:
            self.connection.reconnect()
            self._publish(out)
        else:
            self.gateway.disconnect(self.now_s)
        self._look(None)
        self._set_alarm()

    def owner_opts_out(self, opted_out: bool) -> None:
        """The owner says no at the home, or takes it back."""
        running = self.inverter.running_lease
        if not opted_out:
            self.refused_events.clear()
        elif running is not None and running.event_id != UNKNOWN_EVENT:  # a thief's: it names no event
            self.refused_events.add(running.event_id)
        self.do(lambda: self.gateway.owner_opts_out(opted_out, self.now_s))

    def owner_sets_reserve(self, permille: int) -> None:
        """The owner keeps another part of the battery from now on."""
        self.reserve_permille = permille
        self.do(lambda: self.gateway.owner_sets_reserve(permille, self.now_s))

    def grid_goes(self, away: bool) -> None:
        """The home loses or regains the grid."""
        self.islanded = away
        state = GridState.ISLANDED if away else GridState.CONNECTED
        self.do(lambda: self.gateway.grid_becomes(state, self.now_s))

    def storm_comes(self, comes: bool) -> None:
        """A storm is forecast, or is over."""
        self.storm = comes
        self.do(lambda: self.gateway.storm_mode_becomes(comes, self.now_s))

    def battery_fails(self, fault: str | None) -> None:
        """The battery reports a fault, or is healthy again."""
        self.do(lambda: self.gateway.fault_becomes(fault, self.now_s))

    def clock_becomes(self, offset_ms: int | None) -> None:
        """The gateway learns how far its clock is off, or no longer knows."""
        self.do(lambda: self.gateway.clock_becomes(offset_ms, self.now_s))

    def _publish(self, out: list[Packet]) -> None:
        if out and self.gateway.online:
            if self.tamper is not None:
                out = self.tamper(out)
            self._witness.heard(self, out)
            drive(self.connection.send(out))

    def _look(self, packet: Packet | None) -> None:
        self._count()
        self._witness.looks(self, packet)

    def _count(self) -> None:
        battery = self.inverter.battery
        self.counted_ws[self.inverter.at_s] = (battery.discharged_ws, battery.charged_ws)

    def _set_alarm(self) -> None:
        due_ms = max(self._kernel.now_ms, self._kernel.now_ms + 1000 * (self.gateway.next_due_s - self.now_s))
        if self._alarm_ms is None or due_ms < self._alarm_ms:
            self._alarm_ms = due_ms
            self._kernel.after(due_ms - self._kernel.now_ms, lambda: self._alarm(due_ms))

    def _alarm(self, set_for_ms: int) -> None:
        if self._alarm_ms == set_for_ms:
            self._alarm_ms = None
            self.live()
