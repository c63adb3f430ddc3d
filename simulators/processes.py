"""A controller as a process that can be frozen and killed: its own view of store, broker and time.

The store outlives it, its memory does not. It dies at a commit or at a send, just before or just after;
the store answers late, not at all, or commits and then does not say so.
"""

from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping, Sequence
from datetime import datetime, timedelta
from random import Random
from types import coroutine
from typing import Any, cast

from simulators.faults import IN_THE_STORE, Climate, Fault
from simulators.kernel import Kernel, drive
from vpp.adapters.clock import SlewedClock
from vpp.adapters.ids import SeededIds
from vpp.adapters.memory.broker import MemoryBroker, MemoryTransport
from vpp.adapters.memory.store import MemoryStore
from vpp.adapters.patience import STOPS_WAIT_S
from vpp.bootstrap import Controller, assemble
from vpp.domain.command import AckBatch, DispatchTick, PlanRevision
from vpp.domain.program import Program
from vpp.domain.tick_basis import TickBasis
from vpp.ports import Keys, Packet, Store, StoreUnavailable
from vpp.settings import Settings
from vpp.wire.gateway import controller_filters
from vpp.wire.signed import SigningKey, sign

WRITES = frozenset(
    ("enroll", "change_reserve", "opt_out", "take_back_opt_out", "keep", "decide", "append_version", "grant",
     "take_epoch", "commit", "record_acks", "append", "settle", "post")
)  # fmt: skip
WAKE_MS = 20
PATIENCE_MS = int(1000 * STOPS_WAIT_S)
IDLE_MS = 1000


class ControllerDied(BaseException):
    """The process was killed here. Not an ``Exception``: nothing in the product may survive it."""


class ControllerKeys:
    """The key that every controller of a history signs with."""

    def __init__(self, kid: str, key: SigningKey) -> None:
        self._kid, self._key = kid, key

    @property
    def kid(self) -> str:
        """Return the name that gateways pin."""
        return self._kid

    @property
    def public_key(self) -> bytes:
        """Return the 32 raw bytes of the public key."""
        return self._key.verifying_key.raw

    def sign(self, body: bytes) -> bytes:
        """Return the body, one LF, and its detached JWS."""
        return sign(body, self._key, self._kid)


class MachineClock:
    """The clock of the machine that controllers run on: virtual time, off by a little."""

    def __init__(self, kernel: Kernel) -> None:
        self.off_by = timedelta(0)
        self._kernel = kernel

    def now(self) -> datetime:
        """Return what this machine thinks the time is."""
        return self._kernel.now() + self.off_by

    def elapsed(self) -> float:
        """Return the seconds since it was started, which no setting of the clock changes."""
        return self._kernel.now_ms / 1000


class Ears:
    """Who listens to what a controller does: the checkers."""

    def committed(
        self,
        process: "ControllerProcess",
        tick: DispatchTick,
        revisions: Sequence[PlanRevision],
        basis: TickBasis | None,
    ) -> None:
        """A process committed a tick."""

    def answered(self, acks: AckBatch) -> None:
        """Answers of gateways were stored."""

    def became_leader(self, epoch: int) -> None:
        """A process took the epoch."""

    def sent(self, packets: Sequence[Packet]) -> None:
        """Packets were given to the broker's connection."""


@coroutine
def suspend(for_ms: int) -> Generator[int, None, None]:
    """Let virtual time pass in the middle of a turn."""
    yield for_ms


async def _nothing() -> None:
    """Do nothing."""


class Troubles:
    """What goes wrong next for one process; armed from outside, spent and counted when it happens."""

    def __init__(self, climate: Climate, random: Random) -> None:
        self.waiting = False
        self._climate = climate
        self._random = random
        self._store: list[Fault] = []
        self._fatal: Fault | None = None
        self._freeze_ms = 0
        self._skip = 0  # so many writes or sends pass before it strikes

    def arm(self, kind: Fault, freeze_ms: int = 0) -> None:
        """Let one kind strike soon: of the store several times in a row, a death or a freeze once."""
        self.waiting = True
        if kind in IN_THE_STORE:
            self._store.extend([kind] * self._random.choice((1, 1, 2, 5)))
        elif self._fatal is None:
            self._fatal, self._freeze_ms = kind, freeze_ms
            self._skip = self._random.randint(0, 6)

    def forget(self) -> None:
        """Let nothing go wrong any more."""
        self._store.clear()
        self._fatal, self.waiting = None, False

    def in_store(self, *kinds: Fault) -> bool:
        """Return whether one of these kinds strikes the store now."""
        if not self._store or self._store[0] not in kinds:
            return False
        self._climate.count(self._store.pop(0))
        self.waiting = bool(self._store) or self._fatal is not None
        return True

    def fatal(self, kind: Fault) -> bool:
        """Return whether the process dies or freezes here, after a few narrow escapes."""
        if self._fatal is not kind:
            return False
        self._skip -= 1
        if self._skip >= 0:
            return False
        self._climate.count(kind)
        self._fatal, self.waiting = None, bool(self._store)
        return True

    @property
    def freeze_ms(self) -> int:
        """Return how long a freeze lasts."""
        return self._freeze_ms


class ProcessStore:
    """The one store, as a process reaches it."""

    def __init__(self, store: MemoryStore, process: "ControllerProcess") -> None:
        self._store = store
        self._process = process

    def __getattr__(self, name: str) -> Callable[..., Any]:
        operation = getattr(self._store, name)
        call = self._writing(name, operation) if name in WRITES else self._reading(operation)
        setattr(self, name, call)
        return call

    def _reading(self, operation: Callable[..., Any]) -> Callable[..., Any]:
        troubles = self._process.troubles

        async def read(*positional: object, **named: object) -> object:
            if troubles.waiting:
                await self._hesitate()
            return await operation(*positional, **named)

        return read

    async def _hesitate(self) -> None:
        process = self._process
        if process.troubles.fatal(Fault.TWO_CONTROLLERS):
            process.froze(process)
            await self._wait(process.troubles.freeze_ms)
        if process.troubles.in_store(Fault.STORE_SLOW):
            process.hesitates()
            await self._wait(process.kernel.random.randint(5, 1500))
        if process.troubles.in_store(Fault.STORE_BUSY):
            raise StoreUnavailable("the simulated database is busy")

    async def _wait(self, for_ms: int) -> None:
        """Let the database take so long; what does not wait for it in real life does not wait here."""
        await suspend(min(for_ms, PATIENCE_MS))
        if for_ms > PATIENCE_MS:
            await self._process.meanwhile()
            await suspend(for_ms - PATIENCE_MS)

    def _writing(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        process, troubles = self._process, self._process.troubles

        async def write(*positional: object, **named: object) -> object:
            dies_after = False
            if troubles.waiting:
                await self._hesitate()
                if troubles.in_store(Fault.STORE_FULL, Fault.STORE_LOST_BEFORE_COMMIT):
                    raise StoreUnavailable("the simulated database did not commit")
                if troubles.fatal(Fault.CONTROLLER_CRASH_AT_COMMIT):
                    dies_after = process.kernel.random.random() < 0.5
                    if not dies_after:
                        raise ControllerDied(f"before {name}")
            result = await operation(*positional, **named)
            process.kernel.note(name.encode())
            self._tell(name, positional, named, result)
            if dies_after:
                raise ControllerDied(f"after {name}")
            if troubles.waiting and troubles.in_store(Fault.STORE_LOST_AFTER_COMMIT):
                raise StoreUnavailable("the simulated database was lost after the commit")
            return result

        return write

    def _tell(
        self, name: str, positional: tuple[object, ...], named: Mapping[str, object], result: object
    ) -> None:
        if name == "commit":
            tick, revisions = positional
            self._process.ears.committed(
                self._process,
                cast(DispatchTick, tick),
                cast("Sequence[PlanRevision]", revisions),
                cast("TickBasis | None", named.get("basis")),
            )
        elif name == "record_acks":
            self._process.ears.answered(cast(AckBatch, positional[0]))
        elif name == "take_epoch":
            self._process.ears.became_leader(cast(int, result))


class ProcessTransport:
    """The connection to the broker, on which a process may die in the middle of sending."""

    def __init__(self, inner: MemoryTransport, process: "ControllerProcess") -> None:
        self.inner = inner
        self._process = process

    async def send(self, packets: Sequence[Packet]) -> None:
        """Take packets for sending; a process that dies here may have sent some of them."""
        process, troubles = self._process, self._process.troubles
        if packets and troubles.waiting and troubles.fatal(Fault.CONTROLLER_CRASH_AT_SEND):
            gone = process.kernel.random.randint(0, len(packets))
            process.ears.sent(packets[:gone])
            await self.inner.send(packets[:gone])
            raise ControllerDied(f"after {gone} of {len(packets)} packets")
        process.ears.sent(packets)
        await self.inner.send(packets)

    async def receive(self, limit: int = 1000) -> Sequence[Packet]:
        """Return what has arrived, perhaps nothing: a simulation never waits."""
        return self.inner.received_now(limit)

    def received_now(self, limit: int = 1000) -> Sequence[Packet]:
        """Return what has arrived already, perhaps nothing."""
        return self.inner.received_now(limit)

    async def flush(self) -> None:
        """Return at once: what the broker can take it has."""

    @property
    def connected(self) -> bool:
        """Return whether the broker can be reached now."""
        return self.inner.connected


class ControllerProcess:
    """One life of the controller, from its start to its death."""

    def __init__(
        self,
        kernel: Kernel,
        *,
        name: str,
        number: int,
        store: MemoryStore,
        broker: MemoryBroker,
        keys: Keys,
        settings: Settings,
        programs: Mapping[str, Program],
        ears: Ears,
        climate: Climate,
        pace_ms: int,
        died: Callable[["ControllerProcess"], None],
        froze: Callable[["ControllerProcess"], None],
        hesitates: Callable[[], None],
        machine: MachineClock,
    ) -> None:
        self.kernel = kernel
        self.name = name
        self.ears = ears
        self.froze = froze
        self.hesitates = hesitates
        self.troubles = Troubles(climate, kernel.random)
        self.alive = True
        self.judged = False  # whether its board was compared with what is committed
        self.pace_ms = pace_ms  # the least between two turns for packets
        self.clock = SlewedClock(machine.now, machine.elapsed)
        self._died = died
        self._turn: Coroutine[Any, Any, bool] | None = None
        self._again = False
        self._woken_ms: int | None = None
        self._rested_ms = 0
        self._connection = MemoryTransport(broker, name, filters=controller_filters())
        self.controller: Controller = assemble(
            settings,
            clock=self.clock,
            store=cast(Store, ProcessStore(store, self)),
            keys=keys,
            transport=ProcessTransport(self._connection, self),
            ids=SeededIds(kernel.seed * 1000 + number),
            programs=programs,
        )
        self.controller.patience = self._commits
        self.meanwhile: Callable[[], Awaitable[None]] = _nothing  # what does not wait for a slow commit

    async def _commits(self, commit: Awaitable[None], meanwhile: Callable[[], Awaitable[None]]) -> None:
        self.meanwhile = meanwhile
        try:
            await commit
        finally:
            self.meanwhile = _nothing

    @property
    def suspended(self) -> bool:
        """Return whether it stands still in the middle of a turn."""
        return self._turn is not None

    def start(self) -> None:
        """Connect and begin to turn."""
        drive(self._connection.__aenter__())
        self.wake()
        self._tick()

    def wake(self, *, rang: bool = False) -> None:
        """Turn soon. For packets it takes breath first, as a busy machine does; for a bell it does not."""
        due_ms = self.kernel.now_ms + WAKE_MS
        if not rang:
            due_ms = max(due_ms, self._rested_ms)
        if self._woken_ms is None or due_ms < self._woken_ms:
            self._woken_ms = due_ms
            self.kernel.after(due_ms - self.kernel.now_ms, lambda: self._wake_up(due_ms))

    def kill(self) -> None:
        """End this life now. What it was doing is never finished."""
        if not self.alive:
            return
        self.alive = False
        if self._turn is not None:
            self._turn.close()
            self._turn = None
        self._connection.drop()

    def _tick(self) -> None:
        if self.alive:
            self.wake()
            self.kernel.after(IDLE_MS, self._tick)

    def _wake_up(self, due_ms: int) -> None:
        if not self.alive or self._woken_ms != due_ms:
            return
        self._woken_ms = None
        if self._turn is not None:
            self._again = True
            return
        self._rested_ms = self.kernel.now_ms + self.pace_ms
        self._turn = self.controller.turn()
        self._go_on()

    def _go_on(self) -> None:
        if self._turn is None:
            return
        try:
            while True:
                wait_ms = self._turn.send(None)
                if wait_ms is not None:  # a bare yield only lets others of this process run
                    self.kernel.after(wait_ms, self._go_on)
                    return
        except StopIteration:
            self._turn = None
        except ControllerDied:
            self._turn = None
            self.kill()
            self._died(self)
            return
        if self._again:
            self._again = False
            self.wake()
