"""Packets both ways over a connection that comes back by itself.

The broker is a wire: a packet taken here is sent at least once while this process lives, and lost with
it. Promises are kept above, by receipts and expiry. MQTT 3.1.1 and nothing of MQTT 5.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Self

import aiomqtt

from vpp.adapters.mqtt.access import Access, Backoff
from vpp.adapters.mqtt.connection import Connection
from vpp.ports import Packet

log = logging.getLogger(__name__)

IN_FLIGHT = 500  # what a stop may have to wait behind: some 20 ms
URGENT_LANE, URGENT_IN_FLIGHT = 0, 20_000  # nothing overtakes a stop: to hold it back helps nobody
INCOMING_LIMIT = 50_000
OUTGOING_LIMIT = 200_000
SAMPLES_AT_LEAST = 4  # of what is taken at once, a quarter: no flood of promised messages blinds us
SUBSCRIBE_AT_ONCE = 100  # filters in one SUBSCRIBE packet
STEADY_AFTER_S = 10  # a shorter connection counts as a failed attempt: somebody keeps ending it


class NotATopic(ValueError):
    """A topic that cannot be published to."""


class SubscriptionRefused(Exception):
    """The broker does not let this client listen to a topic it needs."""


class _Lanes:
    """Packets waiting to leave, lowest lane first, in order within a lane."""

    def __init__(self) -> None:
        self._lanes: dict[int, deque[Packet]] = {}
        self._waiting = 0

    def __len__(self) -> int:
        return self._waiting

    def put(self, packet: Packet) -> None:
        if packet.lane not in self._lanes:
            self._lanes = dict(sorted({**self._lanes, packet.lane: deque[Packet]()}.items()))
        self._lanes[packet.lane].append(packet)
        self._waiting += 1

    def put_back(self, packets: Sequence[Packet]) -> None:
        for packet in reversed(packets):
            self._lanes[packet.lane].appendleft(packet)
        self._waiting += len(packets)

    @property
    def urgent(self) -> bool:
        """Return whether a packet waits that nothing may overtake."""
        return bool(self._lanes.get(URGENT_LANE))

    def take(self) -> Packet:
        self._waiting -= 1
        return next(lane for lane in self._lanes.values() if lane).popleft()

    def drop_one_behind(self, lane: int) -> bool:
        """Give up the newest packet of the last lane behind ``lane``; False when there is none."""
        for last in reversed(self._lanes):
            if last > lane and self._lanes[last]:
                self._lanes[last].pop()
                self._waiting -= 1
                return True
        return False


class _Arrivals:
    """Packets waiting to be read: answers and signals ahead of telemetry, each in order of arrival.

    A cancel, and the answers to it, must not wait behind the samples of a whole fleet: a release that is
    not known to be answered is sent again, to the same fleet. A status stays among the samples: *offline*
    read before an older sample would be undone by it.
    """

    def __init__(self) -> None:
        self._promised: deque[Packet] = deque()
        self._samples: deque[Packet] = deque()

    def __len__(self) -> int:
        return len(self._promised) + len(self._samples)

    def put(self, packet: Packet) -> None:
        waits = _may_be_shed(packet) or packet.topic.endswith("/status")
        (self._samples if waits else self._promised).append(packet)

    def take(self, limit: int) -> list[Packet]:
        """Return at most ``limit`` packets; telemetry gets what is left, and its part where both wait."""
        kept = min(len(self._samples), limit // SAMPLES_AT_LEAST)
        promised = min(len(self._promised), limit - kept)
        samples = min(len(self._samples), limit - promised)
        taken = [self._promised.popleft() for _ in range(promised)]
        return taken + [self._samples.popleft() for _ in range(samples)]


class MqttTransport:
    """``ports.Transport`` over one broker connection. Use as an async context manager.

    Counters, for as long as the process lives: ``taken`` for sending, ``sent`` (the broker has them),
    ``received``, ``shed_incoming`` and ``shed_outgoing`` (given up because a queue was full).
    """

    def __init__(
        self,
        access: Access,
        *,
        filters: Sequence[str] = (),
        jitter: Callable[[], float],
        backoff: Backoff | None = None,
        in_flight: int = IN_FLIGHT,
        incoming_limit: int = INCOMING_LIMIT,
        outgoing_limit: int = OUTGOING_LIMIT,
    ) -> None:
        self.taken = self.sent = self.received = self.shed_incoming = self.shed_outgoing = 0
        self.connections = 0
        self.last_problem: str | None = None
        self._access: Final = access
        self._filters = list(filters)
        self._jitter = jitter
        self._backoff = backoff or Backoff()
        self._in_flight_limit = in_flight
        self._incoming_limit = incoming_limit
        self._outgoing_limit = outgoing_limit
        self._incoming = _Arrivals()
        self._arrived = asyncio.Event()
        self._overfull = asyncio.Event()
        self._drained = asyncio.Event()
        self._lanes = _Lanes()
        self._in_flight: dict[int, Packet] = {}  # by the connection's number, in order of leaving
        self._refilling: asyncio.Handle | None = None
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._client: Connection | None = None
        self._up = asyncio.Event()
        self._life: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._life = asyncio.create_task(self._stay_connected(), name=f"mqtt {self._access.client_id}")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._life is not None
        while not self._life.done():
            # Before Python 3.12 ``wait_for`` may swallow a cancel that comes together with what it awaits.
            self._life.cancel()
            await asyncio.wait((self._life,), timeout=1.0)
        with contextlib.suppress(asyncio.CancelledError):
            await self._life

    @property
    def connected(self) -> bool:
        """Return whether the broker answers and every subscription stands."""
        return self._up.is_set()

    async def wait_connected(self) -> None:
        """Return as soon as ``connected``."""
        await self._up.wait()

    async def subscribe(self, filters: Sequence[str]) -> None:
        """Listen to more topics, now if connected and after every later connect."""
        self._filters.extend(filters)
        if self._client is not None and self.connected:
            await _subscribe(self._client, filters)

    async def send(self, packets: Sequence[Packet]) -> None:
        """Take packets for sending, in order within a lane; never waits for the broker.

        When more wait than the limit, the newest of the last lane is given up for an earlier lane.

        Raises:
            NotATopic: A topic is empty or holds a wildcard; nothing of the batch was taken.
        """
        for packet in packets:
            if not packet.topic or "+" in packet.topic or "#" in packet.topic:
                raise NotATopic(f"{packet.topic!r} cannot be published to")
        for packet in packets:
            self.taken += 1
            if len(self._lanes) >= self._outgoing_limit:
                self.shed_outgoing += 1
                if not self._lanes.drop_one_behind(packet.lane):
                    continue
            self._lanes.put(packet)
        self._keep_sending()

    async def receive(self, limit: int = 1000) -> Sequence[Packet]:
        """Return what has arrived, waiting for at least one packet; at most ``limit``."""
        while not self._incoming:
            self._arrived.clear()
            await self._arrived.wait()
        return self.received_now(limit)

    def received_now(self, limit: int = 1000) -> Sequence[Packet]:
        """Return what has arrived already, perhaps nothing; telemetry last."""
        batch = self._incoming.take(limit)
        if len(self._incoming) <= self._incoming_limit // 2:
            self._drained.set()
        return batch

    async def flush(self) -> None:
        """Return when the broker has everything taken so far; waits through lost connections."""
        self._keep_sending()
        await self._quiet.wait()

    async def _stay_connected(self) -> None:
        attempt = 0
        while True:
            began = time.monotonic()
            try:
                await self._one_connection()
            except (aiomqtt.MqttError, SubscriptionRefused, OSError) as problem:
                self._note(str(problem))
            finally:
                self._end_sending()
            if self._overfull.is_set():
                await self._drained.wait()  # the broker keeps what is QoS 1 meanwhile
                continue
            attempt = 0 if time.monotonic() - began > STEADY_AFTER_S else attempt + 1
            await asyncio.sleep(self._backoff.wait_s(attempt, self._jitter))

    async def _one_connection(self) -> None:
        self._overfull.clear()
        client = Connection(self._access, self._arrive, self._confirm)
        async with client:
            for start in range(0, len(self._filters), SUBSCRIBE_AT_ONCE):
                await _subscribe(client, self._filters[start : start + SUBSCRIBE_AT_ONCE])
            self._client = client
            self.connections += 1
            self.last_problem = None
            self._up.set()
            log.info("connected to the broker at %s:%d", self._access.host, self._access.port)
            self._keep_sending()
            lost = asyncio.ensure_future(_until_lost(client))
            overfull = asyncio.ensure_future(self._overfull.wait())
            try:
                await asyncio.wait((lost, overfull), return_when=asyncio.FIRST_COMPLETED)
                if lost.done():
                    lost.result()  # raises what ended the connection
            finally:
                overfull.cancel()
                lost.cancel()
                self._end_sending()

    def _arrive(self, packet: Packet) -> None:
        self.received += 1
        if len(self._incoming) >= self._incoming_limit:
            if _may_be_shed(packet):
                self.shed_incoming += 1
                return
            # What was promised is not dropped: we leave the broker, which keeps it, until we caught up.
            self._drained.clear()
            self._overfull.set()
        self._incoming.put(packet)
        self._arrived.set()

    def _keep_sending(self) -> None:
        """Give the connection as much as may be under way; stops do not wait for what is."""
        self._refilling = None
        if self._lanes or self._in_flight:
            self._quiet.clear()
        client = self._client
        while client is not None and self._lanes and self._may_leave():
            packet = self._lanes.take()
            number = client.publish_now(packet)
            if number is None:
                self._lanes.put_back([packet])
                return  # the connection's end is about to be noticed
            self._in_flight[number] = packet

    def _may_leave(self) -> bool:
        """Return whether the next packet may be given to the connection now.

        A controller that is busy reading answers hears of what the broker has only in between.
        """
        most = URGENT_IN_FLIGHT if self._lanes.urgent else self._in_flight_limit
        return len(self._in_flight) < most

    def _confirm(self, number: int) -> None:
        """Note that the broker has a packet: it confirmed it, or none was asked for and it left."""
        if self._in_flight.pop(number, None) is None:
            return  # of a connection that was given up
        self.sent += 1
        if self._lanes and self._refilling is None:
            self._refilling = asyncio.get_running_loop().call_soon(self._keep_sending)
        elif not self._lanes and not self._in_flight:
            self._quiet.set()

    def _end_sending(self) -> None:
        """Put back in order what the broker has not confirmed: it is sent again, at least once."""
        self._up.clear()
        self._client = None
        self._lanes.put_back(list(self._in_flight.values()))
        self._in_flight.clear()

    def _note(self, problem: str) -> None:
        if problem != self.last_problem:  # an outage is one line, not one for each attempt
            log.warning(
                "broker at %s:%d: %s; trying again every %g s or sooner; vpp doctor says what to do",
                self._access.host, self._access.port, problem, self._backoff.longest_s,
            )  # fmt: skip
        self.last_problem = problem


def _may_be_shed(packet: Packet) -> bool:
    """Return whether nothing was promised: telemetry, which some brokers raise to QoS 1 on the way."""
    return packet.qos == 0 or packet.topic.endswith("/telemetry")


async def _until_lost(client: aiomqtt.Client) -> None:
    """Return never; raises MqttError when the connection ends. Messages do not come this way."""
    async for _ in client.messages:
        pass


async def _subscribe(client: aiomqtt.Client, filters: Sequence[str]) -> None:
    answers = await client.subscribe([(each, 1) for each in filters])
    for wanted, answer in zip(filters, _codes(answers), strict=True):
        if answer >= 128:
            raise SubscriptionRefused(f"the broker refuses to let us listen to {wanted}")


def _codes(answers: Sequence[object]) -> Iterator[int]:
    for answer in answers:
        yield answer if isinstance(answer, int) else int(getattr(answer, "value", 128))
