"""Grid operators of a history: they signal, and send again until a receipt comes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from simulators.grid import Operator
from simulators.kernel import Kernel, drive
from vpp.adapters.memory.broker import MemoryBroker, MemoryTransport
from vpp.domain.grid_event import Operation, Receipt
from vpp.domain.interval import whole_second
from vpp.ports import Packet
from vpp.wire.openadr import Ask, encode_notification
from vpp.wire.signed import SigningKey, VerifyingKey

RESEND_MS = 5_000


@dataclass(frozen=True, slots=True)
class AskedEvent:
    """What an operator wants: a program's fleet, when, how long, how much; None is all it can hold.

    With ``later_w`` it asks for that from the middle on; ``targets`` are words of one kind.
    """

    event_id: str
    program_id: str
    starts_at: datetime
    minutes: int
    power_w: int | None
    priority: int | None
    cancelled_at: datetime | None = None
    later_w: int | None = None
    targets: tuple[str, ...] = ()

    @property
    def asks(self) -> tuple[Ask, ...]:
        """Return its intervals; a cancelled one has none."""
        if self.cancelled_at is not None:
            return ()
        if self.later_w is None:
            return (Ask(60 * self.minutes, 3, self.power_w, "EEA 3"),)
        half_s = 60 * self.minutes // 2
        later = Ask(60 * self.minutes - half_s, 3, self.later_w, "EEA 3")
        return Ask(half_s, 3, self.power_w, "EEA 3"), later

    @property
    def ends_at(self) -> datetime:
        """Return when it ends, its cancel not counted."""
        return self.starts_at + timedelta(minutes=self.minutes)

    @property
    def over_at(self) -> datetime:
        """Return when it ends, or when it was cancelled before that."""
        return min(self.ends_at, self.cancelled_at or self.ends_at)


@dataclass(slots=True)
class _Sent:
    event_id: str
    operation: Operation
    modified_at: datetime
    packet: Packet
    receipt: Receipt | None = None


class PersistentOperator:
    """One source of grid signals on the simulated network."""

    def __init__(
        self,
        kernel: Kernel,
        source: str,
        key: SigningKey | None,
        controller_keys: Mapping[str, VerifyingKey],
        broker: MemoryBroker,
    ) -> None:
        self.events: dict[str, AskedEvent] = {}
        self._kernel = kernel
        self._operator = Operator(source, key, controller_keys)
        self._sent: list[_Sent] = []
        self.connection = MemoryTransport(broker, source, filters=[self._operator.receipt_topic])
        drive(self.connection.__aenter__())

    @property
    def client_id(self) -> str:
        """Return its name on the broker."""
        return self.connection.client_id

    def ask(self, event: AskedEvent) -> None:
        """Signal a new event."""
        self._signal(Operation.CREATE, event)

    def modify(self, event_id: str, power_w: int | None) -> None:
        """Ask another power of an event, unless it was cancelled."""
        if self.events[event_id].cancelled_at is not None:
            return
        self._signal(Operation.UPDATE, replace(self.events[event_id], power_w=power_w))

    def cancel(self, event_id: str) -> None:
        """Take an event back, for good."""
        self._signal(Operation.DELETE, replace(self.events[event_id], cancelled_at=self._kernel.now()))

    def repeat(self) -> bool:
        """Send something once more that was sent before; False when nothing ever was."""
        if not self._sent:
            return False
        drive(self.connection.send([self._kernel.random.choice(self._sent).packet]))
        return True

    def take(self) -> None:
        """Read receipts."""
        for packet in self.connection.received_now():
            receipt = self._operator.receipt(packet)
            if receipt is None:
                continue
            for sent in self._sent:
                named = (receipt.event_id, receipt.operation, receipt.modified_at)
                if named == (sent.event_id, sent.operation, sent.modified_at):
                    sent.receipt = sent.receipt or receipt

    def said(self) -> set[tuple[str, Operation, datetime]]:
        """Return event, operation and time of everything that was ever signalled."""
        return {(sent.event_id, sent.operation, sent.modified_at) for sent in self._sent}

    def unanswered(self) -> int:
        """Return how many signals still wait for a receipt."""
        return sum(sent.receipt is None for sent in self._sent)

    def _signal(self, operation: Operation, event: AskedEvent) -> None:
        self.events[event.event_id] = event
        now = whole_second(self._kernel.now())
        if any(sent.modified_at >= now for sent in self._sent):
            now = max(sent.modified_at for sent in self._sent) + timedelta(seconds=1)
        body = encode_notification(
            operation,
            event_id=event.event_id,
            program_id=event.program_id,
            name="simulated emergency",
            created_at=now,
            modified_at=now,
            asks=event.asks,
            starts_at=event.starts_at,
            priority=event.priority,
            targets=event.targets,
        )
        sent = _Sent(event.event_id, operation, now, self._operator.packet(body))
        self._sent.append(sent)
        self._send(sent)

    def _send(self, sent: _Sent) -> None:
        if sent.receipt is None:
            drive(self.connection.send([sent.packet]))
            self._kernel.after(RESEND_MS, lambda: self._send(sent))
