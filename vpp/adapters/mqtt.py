"""A connection to an MQTT broker that comes back by itself. The only file that knows aiomqtt.

The broker is a wire: a packet taken here is sent at least once while this process lives, and lost with
it. Promises are kept above, by receipts and expiry. MQTT 3.1.1 and nothing of MQTT 5.
"""

import asyncio
import contextlib
import logging
import math
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import unquote, urlsplit

import aiomqtt

from vpp.ports import Packet

log = logging.getLogger(__name__)

IN_FLIGHT = 50  # aiomqtt walks all open publishes on each publish: 100 and more were slower
INCOMING_LIMIT = 50_000
OUTGOING_LIMIT = 200_000
SUBSCRIBE_AT_ONCE = 100  # filters in one SUBSCRIBE packet
ANSWER_WITHIN_S = 5.0  # to a CONNECT or SUBSCRIBE; a broker that is stopped answers nothing
STEADY_AFTER_S = 10  # a shorter connection counts as a failed attempt: somebody keeps ending it
_NODELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
_QUICKACK = (socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1) if hasattr(socket, "TCP_QUICKACK") else None
_QUICK = (socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1) if hasattr(socket, "TCP_QUICKACK") else None  # Linux


class NotABrokerUrl(ValueError):
    """A broker address that is not ``mqtt://host:port`` or ``mqtts://host:port``."""


class NotATopic(ValueError):
    """A topic that cannot be published to."""


class SubscriptionRefused(Exception):
    """The broker does not let this client listen to a topic it needs."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Paths of PEM files. Without ``ca`` the system's authorities are trusted."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """Which broker, and who we are to it. ``will`` is what the broker says when we vanish."""

    host: str
    port: int
    client_id: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: TlsFiles | None = None
    will: Packet | None = None
    keepalive_s: int = 60
    persistent: bool = True

    @classmethod
    def from_url(
        cls, url: str, *, client_id: str, tls: TlsFiles | None = None, will: Packet | None = None
    ) -> "Access":
        """Return the access that ``mqtt[s]://[user:password@]host[:port]`` describes.

        Raises:
            NotABrokerUrl: Another scheme, no host, or a port outside 1-65535.
        """
        parts = urlsplit(url)
        shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"  # never the password
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise NotABrokerUrl(f"broker {shown!r} is not mqtt://host:port or mqtts://host:port")
        try:
            port = parts.port or (8883 if parts.scheme == "mqtts" else 1883)
        except ValueError:
            raise NotABrokerUrl(f"broker {shown!r} has a port outside 1-65535") from None
        return cls(
            host=parts.hostname,
            port=port,
            client_id=client_id,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls=(tls or TlsFiles()) if parts.scheme == "mqtts" else None,
            will=will,
        )


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before another attempt: full jitter below a limit that doubles."""

    first_s: float = 0.5
    longest_s: float = 5.0

    def wait_s(self, attempt: int, jitter: Callable[[], float]) -> float:
        """Return the wait after ``attempt`` failures; ``jitter`` gives a number in [0, 1)."""
        return jitter() * float(min(self.longest_s, self.first_s * 2 ** min(attempt, 30)))


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
        self._incoming: deque[Packet] = deque()
        self._arrived = asyncio.Event()
        self._overfull = asyncio.Event()
        self._drained = asyncio.Event()
        self._lanes = _Lanes()
        self._in_flight: dict[int, Packet] = {}  # by order of leaving
        self._left = 0
        self._senders: set[asyncio.Task[None]] = set()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._client: aiomqtt.Client | None = None
        self._socket: Any = None  # paho's socket, plain or TLS
        self._up = asyncio.Event()
        self._life: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._life = asyncio.create_task(self._stay_connected(), name=f"mqtt {self._access.client_id}")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._life is not None
        self._life.cancel()
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
        """Return what has arrived already, perhaps nothing."""
        incoming = self._incoming
        batch = [incoming.popleft() for _ in range(min(limit, len(incoming)))]
        if len(incoming) <= self._incoming_limit // 2:
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
        client = self._new_client()
        async with client:
            for start in range(0, len(self._filters), SUBSCRIBE_AT_ONCE):
                await _subscribe(client, self._filters[start : start + SUBSCRIBE_AT_ONCE])
            self._client = client
            paho = client._client  # noqa: SLF001 aiomqtt hands out its socket in no other way
            self._socket = paho.socket()
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

    def _new_client(self) -> aiomqtt.Client:
        access = self._access
        transport = self

        class Incoming(asyncio.Queue[aiomqtt.Message]):
            """Hands arriving messages over at once: aiomqtt's iterator makes a task for each of them."""

            def put_nowait(self, item: aiomqtt.Message) -> None:
                transport._arrive(item)

        client = aiomqtt.Client(
            access.host,
            access.port,
            identifier=access.client_id,
            username=access.username,
            password=access.password,
            protocol=aiomqtt.ProtocolVersion.V311,
            clean_session=not access.persistent,
            keepalive=access.keepalive_s,
            timeout=ANSWER_WITHIN_S,
            queue_type=Incoming,
            max_inflight_messages=self._in_flight_limit,
            socket_options=(_NODELAY,),
            tls_params=None
            if access.tls is None
            else aiomqtt.TLSParameters(access.tls.ca, access.tls.certificate, access.tls.key),
            will=None
            if access.will is None
            else aiomqtt.Will(access.will.topic, access.will.payload, access.will.qos, access.will.retain),
        )
        client.pending_calls_threshold = self._in_flight_limit + SUBSCRIBE_AT_ONCE  # it warns at each publish
        return client

    def _acknowledge_at_once(self) -> None:
        """Ask the kernel not to delay its next TCP acknowledgement.

        A broker that leaves Nagle's algorithm on (iotcore does) holds each small packet back until the
        one before is acknowledged: 40 ms for every exchange otherwise. The option wears off by itself.
        """
        open_socket = self._socket
        if open_socket is not None and _QUICK is not None:
            with contextlib.suppress(OSError):  # closed meanwhile
                open_socket.setsockopt(*_QUICK)

    def _arrive(self, message: aiomqtt.Message) -> None:
        self._acknowledge_at_once()
        packet = Packet(message.topic.value, bytes(message.payload), message.qos, message.retain)
        self.received += 1
        if len(self._incoming) >= self._incoming_limit:
            if _may_be_shed(packet):
                self.shed_incoming += 1
                return
            # What was promised is not dropped: we leave the broker, which keeps it, until we caught up.
            self._drained.clear()
            self._overfull.set()
        self._incoming.append(packet)
        self._arrived.set()
        self._confirm_at_once()

    def _confirm_at_once(self) -> None:
        """Let the kernel confirm what was just read now, not 40 ms later.

        The embedded broker leaves Nagle on: it holds back a small packet until the one before is
        confirmed, so without this a lone exchange takes 41 ms. The option lasts for one confirmation.
        """
        if _QUICKACK is None or self._client is None:
            return
        opened = self._client._client.socket()  # noqa: SLF001  # aiomqtt shows its socket nowhere else
        if isinstance(opened, socket.socket):
            opened.setsockopt(*_QUICKACK)

    def _keep_sending(self) -> None:
        if self._lanes or self._in_flight:
            self._quiet.clear()
        if self._client is None:
            return
        for _ in range(min(self._in_flight_limit - len(self._senders), len(self._lanes))):
            sender = asyncio.create_task(self._send_on(self._client))
            self._senders.add(sender)
            sender.add_done_callback(self._senders.discard)

    async def _send_on(self, client: aiomqtt.Client) -> None:
        """Publish one packet after another until none waits; a lost connection ends this in silence."""
        while self._lanes:
            packet = self._lanes.take()
            self._left += 1
            number = self._left
            self._in_flight[number] = packet
            try:
                # Without a limit: the connection's end cancels this, and asyncio needs no task for it.
                await client.publish(
                    packet.topic, packet.payload, packet.qos, packet.retain, timeout=math.inf
                )
            except aiomqtt.MqttError:
                return  # the packet stays in flight and goes back when the connection is given up
            del self._in_flight[number]
            self.sent += 1
            self._confirm_at_once()
            self._acknowledge_at_once()
        if not self._in_flight:
            self._quiet.set()

    def _end_sending(self) -> None:
        """Put back in order what the broker has not confirmed: it is sent again, at least once."""
        self._up.clear()
        self._client = self._socket = None
        for sender in tuple(self._senders):
            sender.cancel()
        self._lanes.put_back([self._in_flight[number] for number in sorted(self._in_flight)])
        self._in_flight.clear()

    def _note(self, problem: str) -> None:
        if problem != self.last_problem:  # an outage is one line, not one for each attempt
            log.warning("broker at %s:%d: %s", self._access.host, self._access.port, problem)
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
