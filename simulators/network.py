"""The way between broker and clients: every packet takes its time, and some get lost on it.

A packet is on its way for some milliseconds; trouble drops, doubles, delays or overtakes it, or a
partition swallows it. What is on its way when the broker crashes is gone.
"""

from collections.abc import Callable, Sequence

from simulators.faults import Climate, Fault
from simulators.kernel import Kernel
from vpp.adapters.memory.broker import MemoryBroker
from vpp.ports import Packet

USUAL_MS = (5, 151)  # from, and below
LONGEST_DELAY_MS = 90_000


class Network:
    """Carries packets from a broker to its clients over virtual time."""

    def __init__(self, kernel: Kernel, climate: Climate, arrived: Callable[[str], None]) -> None:
        self.broker = MemoryBroker(courier=self._carry)
        self.listeners: list[Callable[[Packet], None]] = []  # who reads along at the broker
        self.cut_until_ms: dict[tuple[str, str], int] = {}  # by site and direction: "up" or "down"
        self._kernel = kernel
        self._climate = climate
        strength = climate.strength
        self._drop, self._duplicate = strength[Fault.DROP], strength[Fault.DUPLICATE]
        self._delay, self._reorder = strength[Fault.DELAY], strength[Fault.REORDER]
        self._arrived = arrived
        self._lives = 0
        self._way_of: dict[tuple[str, str], tuple[str, str]] = {}

    def crash(self) -> None:
        """Let the broker die with all it remembers, and everything on its way with it."""
        self._lives += 1
        self.broker.crash()

    def cut(self, site_id: str, direction: str, for_ms: int) -> None:
        """Let nothing through between a home and the broker, one way, for a while."""
        self.cut_until_ms[site_id, direction] = self._kernel.now_ms + for_ms

    def heal(self) -> None:
        """Let everything through again."""
        self.cut_until_ms.clear()

    def _carry(self, client_id: str, packet: Packet) -> Sequence[Packet]:
        climate, random = self._climate, self._kernel.random
        delay_ms = random.randrange(*USUAL_MS)
        for listener in self.listeners:
            listener(packet)
        if self.cut_until_ms and self._is_cut(client_id, packet.topic):
            return ()
        if climate.over:
            self._send_on_its_way(client_id, packet, delay_ms)
            return ()
        if random.random() < self._drop:
            climate.count(Fault.DROP)
            return ()
        if random.random() < self._delay:
            climate.count(Fault.DELAY)
            delay_ms = min(LONGEST_DELAY_MS, int(1000 * random.paretovariate(1.0)))
        elif random.random() < self._reorder:
            climate.count(Fault.REORDER)
            delay_ms += random.randint(150, 1500)
        if random.random() < self._duplicate:
            climate.count(Fault.DUPLICATE)
            self._send_on_its_way(client_id, packet, delay_ms + random.randint(0, 3000))
        self._send_on_its_way(client_id, packet, delay_ms)
        return ()

    def _is_cut(self, client_id: str, topic: str) -> bool:
        way = self._way_of.get((client_id, topic))
        if way is None:
            site_id = topic.split("/")[3]
            way = self._way_of[client_id, topic] = (site_id, "down" if client_id == site_id else "up")
        return self.cut_until_ms.get(way, 0) > self._kernel.now_ms

    def _send_on_its_way(self, client_id: str, packet: Packet, delay_ms: int) -> None:
        life = self._lives

        def arrive() -> None:
            if life == self._lives:
                self._kernel.note(client_id.encode(), packet.payload)
                self.broker.deliver(client_id, packet)
                self._arrived(client_id)

        self._kernel.after(delay_ms, arrive)
