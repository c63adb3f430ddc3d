"""From an accepted grid signal to 99 % of the commands acknowledged, over a real mosquitto, all signed.

The whole controller on SQLite that commits to the disk; the homes in another process on shared
connections. Beside it, in the same run and through the same broker, as many packets of the same size that
are only echoed: what the broker and two batched clients can do when nobody decides, signs or stores.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

from simulators.batched_client import BatchedClient
from tests.benchmarks.emulator import ANSWER_BYTES, CONNECTIONS, ECHO_ANSWERED, ECHO_ASKED
from tests.benchmarks.measuring import Figure, sizes_up_to_most
from tests.benchmarks.street import EVENING, PROGRAM, key_of, requests
from tests.mosquitto import Mosquitto
from vpp.adapters.clock import SteppedClock
from vpp.adapters.device_link import GATEWAY_FILTERS, GatewayLink
from vpp.adapters.mqtt import Access, MqttTransport
from vpp.adapters.openadr import EVENT_FILTER
from vpp.adapters.sql.store import SqlStore
from vpp.bootstrap import Controller, assemble
from vpp.domain.command import CommandBatch
from vpp.domain.grid_event import GridSource, Operation
from vpp.domain.quantities import Watts
from vpp.ports import Heard, Packet, Transport
from vpp.settings import load_settings
from vpp.wire.openadr import Ask, encode_notification
from vpp.wire.signed import sign

ROUNDS = dict.fromkeys(sizes_up_to_most(1_000, 10_000), 1) | {1_000: 3}  # after one that pays for caches
SOURCE, CONTROLLER = "operator", "vpp-benchmark"
COMMAND_BYTES = 640  # of a signed command
PATIENCE_S = 60.0
OWN_TIME = "controller in all, processor time"

Spent = defaultdict[str, float]
"""Seconds by what they were spent on."""


class Stopwatch:
    """A transport that notes when a signal was answered, and when commands left and answers came."""

    def __init__(self, wire: Transport) -> None:
        self._wire = wire
        self.accepted_s = self.first_command_s = self.last_command_s = 0.0
        self.answered_s: list[float] = []
        self.samples = 0

    def start(self) -> None:
        """Forget what was noted."""
        self.accepted_s = self.first_command_s = self.last_command_s = 0.0
        self.answered_s = []

    async def send(self, packets: Sequence[Packet]) -> None:
        """Take packets for sending."""
        now = time.perf_counter()
        kinds = {packet.topic.rpartition("/")[2] for packet in packets}
        if "command" in kinds:
            self.first_command_s = self.first_command_s or now
            self.last_command_s = now
        elif any(packet.topic.startswith("grid/") for packet in packets):
            self.accepted_s = self.accepted_s or now
        await self._wire.send(packets)

    async def receive(self, limit: int = 1000) -> Sequence[Packet]:
        """Return what has arrived, waiting for at least one packet."""
        return self._note(await self._wire.receive(limit))

    def received_now(self, limit: int = 1000) -> Sequence[Packet]:
        """Return what has arrived already."""
        return self._note(self._wire.received_now(limit))

    def _note(self, packets: Sequence[Packet]) -> Sequence[Packet]:
        self.samples += sum(packet.topic.endswith("/telemetry") for packet in packets)
        return packets

    async def flush(self) -> None:
        """Return when the broker has everything."""
        await self._wire.flush()

    @property
    def connected(self) -> bool:
        """Return whether the broker can be reached."""
        return self._wire.connected


class TimedKeys:
    """The controller's key, and the seconds it was used for."""

    kid = CONTROLLER
    public_key = key_of(CONTROLLER).verifying_key.raw

    def __init__(self, spent_s: Spent) -> None:
        self._spent_s = spent_s

    def sign(self, body: bytes) -> bytes:
        """Return the signed message."""
        began = time.perf_counter()
        message = sign(body, key_of(CONTROLLER), CONTROLLER)
        self._spent_s["controller signs"] += time.perf_counter() - began
        return message


class TimedLink(GatewayLink):
    """The product's link; an acknowledgement counts from the moment it was verified."""

    def __init__(self, wire: Stopwatch, keys: TimedKeys, controller: Controller, spent: Spent) -> None:
        super().__init__(wire, keys, controller.roster)
        self._wire, self._spent = wire, spent

    def decode(self, packets: Sequence[Packet]) -> Heard:
        """Return what packets say."""
        began = time.perf_counter()
        heard = super().decode(packets)
        now = time.perf_counter()
        self._spent["controller verifies and reads"] += now - began
        self._wire.answered_s += [now] * len(heard.acks)
        return heard

    async def command(self, batches: Sequence[CommandBatch]) -> None:
        """Sign and send; what signing does not take is writing bodies and filling the connection."""
        began = time.perf_counter()
        await super().command(batches)
        self._spent["controller writes, signs, sends"] += time.perf_counter() - began


class Bench:
    """Broker, emulator and controller, running, with every home reported."""

    def __init__(
        self,
        sites: int,
        wire: Stopwatch,
        spent: Spent,
        emulator: asyncio.subprocess.Process,
        controller: Controller,
        clock: SteppedClock,
        keys: TimedKeys,
    ) -> None:
        self.sites, self.wire, self.spent = sites, wire, spent
        self.controller, self.clock, self.keys = controller, clock, keys
        self._emulator = emulator

    async def emulator_spent(self) -> dict[str, float]:
        """Return the emulator's seconds so far."""
        assert self._emulator.stdin is not None
        assert self._emulator.stdout is not None
        self._emulator.stdin.write(b"\n")
        spent: dict[str, float] = json.loads(await self._emulator.stdout.readline())
        return spent

    async def round_trip(self, client: BatchedClient, notification: bytes) -> float:
        """Send a signal and return the seconds from its acceptance to 99 % of the answers."""
        self.wire.start()
        payload = sign(notification, key_of(SOURCE), SOURCE)
        await client.send([Packet(f"grid/v1/{SOURCE}/event", payload)])
        await until(lambda: len(self.wire.answered_s) >= self.sites)
        return percentile_99(self.wire.answered_s) - self.wire.accepted_s


async def until(true: Callable[[], bool]) -> None:
    """Return when something is so. Raises TimeoutError."""
    async with asyncio.timeout(PATIENCE_S):
        while not true():  # noqa: ASYNC110  # what is watched is timed by itself, not by this
            await asyncio.sleep(0.01)


def percentile_99(moments: Sequence[float]) -> float:
    """Return the moment by which 99 % had come."""
    return sorted(moments)[(99 * len(moments) - 1) // 100]


@asynccontextmanager
async def a_bench(sites: int, broker: Mosquitto, folder: Path) -> AsyncIterator[Bench]:
    """Give a running controller and its homes."""
    spent: Spent = defaultdict(float)
    clock, keys = SteppedClock(EVENING), TimedKeys(spent)
    async with AsyncExitStack() as stack:
        store = await SqlStore.open(f"sqlite:///{folder / f'{sites}.db'}")
        stack.push_async_callback(store.close)
        await store.enroll(requests(sites), at=EVENING - timedelta(days=1))
        key = key_of(SOURCE).verifying_key.raw
        await store.add_source(GridSource(SOURCE, key, Watts(10**9), EVENING - timedelta(days=1)))
        access = Access.from_url(broker.url, client_id=f"controller-{sites}")
        filters = (*GATEWAY_FILTERS, EVENT_FILTER)
        transport = await stack.enter_async_context(
            MqttTransport(access, filters=filters, jitter=lambda: 0.5)
        )
        await transport.wait_connected()
        wire = Stopwatch(transport)
        settings = load_settings(config_dir=Path("/nonexistent"), state_dir=folder)
        controller = assemble(settings, clock=clock, store=store, keys=keys, transport=wire)
        controller.link = TimedLink(wire, keys, controller, spent)
        stop = asyncio.Event()
        running = asyncio.create_task(controller.run(stop))
        emulator = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.benchmarks.emulator", broker.url, str(sites), CONTROLLER,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            await until(lambda: wire.samples >= sites)
            yield Bench(sites, wire, spent, emulator, controller, clock, keys)
        finally:
            stop.set()
            await running
            assert emulator.stdin is not None
            emulator.stdin.close()
            await emulator.wait()


async def raw_echo(client: BatchedClient, packets: int) -> float:
    """Return the seconds until 99 % of packets of a command's size were echoed."""
    payload = bytes(COMMAND_BYTES)
    asked = [Packet(f"{ECHO_ASKED}/{number % CONNECTIONS}/{number}", payload) for number in range(packets)]
    moments: list[float] = []
    began = time.perf_counter()
    await client.send(asked)
    while len(moments) < packets:
        answers = await client.receive()
        moments += [time.perf_counter()] * sum(each.topic.startswith(ECHO_ANSWERED) for each in answers)
    return percentile_99(moments) - began


async def measure(sites: int, broker: Mosquitto, folder: Path) -> list[Figure]:
    """Return the figures of one fleet size: rounds of a new event, each cancelled before the next."""
    access = Access.from_url(broker.url, client_id=f"operator-{sites}")
    taken: dict[str, list[float]] = {"raw": [], "start": [], "stop": []}
    parts: Spent = defaultdict(float)
    async with (
        a_bench(sites, broker, folder) as bench,
        BatchedClient(access, filters=[f"{ECHO_ANSWERED}/#"]) as client,
    ):
        for number in range(ROUNDS[sites] + 1):
            raw = await raw_echo(client, sites)
            before = {**bench.spent, **await bench.emulator_spent(), OWN_TIME: time.process_time()}
            start = await bench.round_trip(client, notification(number, Operation.CREATE))
            if number:  # the first round pays for caches
                parts["plan and commit, to the first command"] += (
                    bench.wire.first_command_s - bench.wire.accepted_s
                )
                spent = {**bench.spent, **await bench.emulator_spent(), OWN_TIME: time.process_time()}
                for part, seconds in spent.items():
                    parts[part] += seconds - before.get(part, 0.0)
            stop = await bench.round_trip(client, notification(number, Operation.DELETE))
            if number:
                for name, seconds in (("raw", raw), ("start", start), ("stop", stop)):
                    taken[name].append(seconds)
    return figures(sites, {name: statistics.median(each) for name, each in taken.items()}, parts)


def figures(sites: int, taken: dict[str, float], parts: Spent) -> list[Figure]:
    """Return the times, the rate, and where the time goes, a mean of the rounds."""
    raw, size = taken["raw"], f"{sites:>6,} homes"
    beside = "as fast as a raw echo"
    return [
        Figure(f"{size}: accepted to 99 % acknowledged", taken["start"], "s", beside, raw / taken["start"]),
        Figure(f"{size}: homes a second", 0.99 * sites / taken["start"], "/s"),
        Figure(f"{size}: cancelled to 99 % released", taken["stop"], "s", beside, raw / taken["stop"]),
        Figure(f"{size}: raw echo, {COMMAND_BYTES} bytes out, {ANSWER_BYTES} back", raw, "s"),
        *(
            Figure(f"{size}: of it {part}", seconds / ROUNDS[sites], "s")
            for part, seconds in sorted(parts.items())
        ),
    ]


def notification(number: int, operation: Operation) -> bytes:
    """Return a signal for all that can be sustained in two hours, or its cancel."""
    return encode_notification(
        operation,
        event_id=f"ev-{number}",
        program_id=PROGRAM,
        name="EEA 2",
        created_at=EVENING,
        modified_at=EVENING,
        asks=[Ask(7_200)] if operation is Operation.CREATE else [],
        starts_at=EVENING,
        priority=0,
        targets=["pge"],
    )


async def run() -> list[Figure]:
    """Return the figures of every size."""
    found: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="vpp-benchmark-") as folder:
        async with Mosquitto(Path(folder)) as broker:
            for sites in ROUNDS:
                found += await measure(sites, broker, Path(folder))
    return found
