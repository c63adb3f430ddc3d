"""A connection to an MQTT broker that comes back by itself. The only file that knows aiomqtt.

The broker is a wire: a packet taken here is sent at least once while this process lives, and lost with
it. Promises are kept above, by receipts and expiry. MQTT 3.1.1 and nothing of MQTT 5.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import unquote, urlsplit

import aiomqtt
import paho.mqtt.client as paho

from vpp.ports import Packet

log = logging.getLogger(__name__)

IN_FLIGHT = 500  # what a stop may have to wait behind: some 20 ms
INCOMING_LIMIT = 50_000
OUTGOING_LIMIT = 200_000
SUBSCRIBE_AT_ONCE = 100  # filters in one SUBSCRIBE packet
ANSWER_WITHIN_S = 5.0  # to a CONNECT or SUBSCRIBE; a broker that is stopped answers nothing
STEADY_AFTER_S = 10  # a shorter connection counts as a failed attempt: somebody keeps ending it
_NODELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
_QUICKACK = (socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1) if hasattr(socket, "TCP_QUICKACK") else None  # Linux
READ_AT_ONCE = 65_536
WRITE_BEHIND = 262_144  # bytes that may wait for the kernel before the client is told to wait
WRITE_AGAIN_S = 0.005


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


class _BatchingSocket:
    """A connected socket that reads and writes many packets with one system call.

    The client library asks for each packet in three small reads and writes each by itself; a system call
    costs more than the packet. What is written waits until the loop has run what is ready, then leaves
    together.
    """

    def __init__(self, plain: "paho.SocketLike", loop: asyncio.AbstractEventLoop) -> None:
        self._plain = plain
        self._loop = loop
        self._read = b""
        self._at = 0
        self._unsent = bytearray()
        self._writing: asyncio.Handle | None = None
        self._broken: OSError | None = None

    def recv(self, buffer_size: int) -> bytes:
        """Return at most that many bytes of what came. Raises BlockingIOError while nothing did."""
        if self._at >= len(self._read):
            self._read, self._at = self._plain.recv(READ_AT_ONCE), 0
            self._acknowledge_at_once()
        part = self._read[self._at : self._at + buffer_size]
        self._at += len(part)
        return part

    def pending(self) -> int:
        """Return how much can be read although the kernel has nothing to tell."""
        held = len(self._read) - self._at
        return held or (self._plain.pending() if isinstance(self._plain, ssl.SSLSocket) else 0)

    def send(self, buffer: bytes | bytearray) -> int:
        """Take bytes for writing. Raises BlockingIOError while too much waits, OSError when it broke."""
        if self._broken is not None:
            raise self._broken
        if len(self._unsent) >= WRITE_BEHIND:
            raise BlockingIOError
        self._unsent += buffer
        if self._writing is None:
            self._writing = self._loop.call_soon(self._write)
        return len(buffer)

    def _write(self) -> None:
        self._writing = None
        try:
            while self._unsent:
                del self._unsent[: self._plain.send(self._unsent)]
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            self._writing = self._loop.call_later(WRITE_AGAIN_S, self._write)
        except OSError as broken:  # the client hears of it when it reads or writes again
            self._broken = broken

    def _acknowledge_at_once(self) -> None:
        # A broker that leaves Nagle's algorithm on (iotcore does) holds each small packet back until the
        # one before is acknowledged: 40 ms for every exchange. The option wears off by itself.
        if _QUICKACK is not None and isinstance(self._plain, socket.socket):
            with contextlib.suppress(OSError):  # closed meanwhile
                self._plain.setsockopt(*_QUICKACK)

    def close(self) -> None:
        """Write what can be written at once, and close."""
        if self._writing is not None:
            self._writing.cancel()
        self._write()
        if self._writing is not None:
            self._writing.cancel()
        self._plain.close()

    def fileno(self) -> int:
        """Return the descriptor, for the loop to watch."""
        return self._plain.fileno()

    def setblocking(self, flag: bool) -> None:
        """Say whether reading may wait; the name is the socket's own."""
        self._plain.setblocking(flag)


class _Connection(aiomqtt.Client):
    """One connection of aiomqtt that hands over messages and confirmations without a task for each."""

    def __init__(
        self,
        access: Access,
        in_flight: int,
        arrived: Callable[[Packet], None],
        confirmed: Callable[[int], None],
    ) -> None:
        tls, will = access.tls, access.will
        super().__init__(
            access.host,
            access.port,
            identifier=access.client_id,
            username=access.username,
            password=access.password,
            protocol=aiomqtt.ProtocolVersion.V311,
            clean_session=not access.persistent,
            keepalive=access.keepalive_s,
            timeout=ANSWER_WITHIN_S,
            max_inflight_messages=in_flight,
            socket_options=(_NODELAY,),
            tls_params=None if tls is None else aiomqtt.TLSParameters(tls.ca, tls.certificate, tls.key),
            will=None if will is None else aiomqtt.Will(will.topic, will.payload, will.qos, will.retain),
        )
        self._arrived = arrived
        self._confirmed = confirmed

    def publish_now(self, packet: Packet) -> int | None:
        """Give a packet to the connection and return its number, or None when the connection is gone."""
        info = self._client.publish(packet.topic, packet.payload, packet.qos, packet.retain)
        return info.mid if info.rc == paho.MQTT_ERR_SUCCESS else None

    def _on_message(self, _client: paho.Client, _userdata: object, message: paho.MQTTMessage) -> None:
        with contextlib.suppress(UnicodeDecodeError):  # no topic of ours, and no broker should pass it on
            self._arrived(Packet(message.topic, bytes(message.payload), message.qos, message.retain))

    def _on_publish(
        self, _client: paho.Client, _userdata: object, mid: int, _reason: object, _properties: object
    ) -> None:
        self._confirmed(mid)

    def _on_socket_open(self, client: paho.Client, userdata: object, sock: "paho.SocketLike") -> None:
        batching = _BatchingSocket(sock, self._loop)
        client._sock = batching  # noqa: SLF001  # paho makes its socket itself and gives no other way in
        super()._on_socket_open(client, userdata, batching)


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
        self._in_flight: dict[int, Packet] = {}  # by the connection's number, in order of leaving
        self._refilling: asyncio.Handle | None = None
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._client: _Connection | None = None
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
        client = _Connection(self._access, self._in_flight_limit, self._arrive, self._confirm)
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
        self._incoming.append(packet)
        self._arrived.set()

    def _keep_sending(self) -> None:
        """Give the connection as much as may be under way."""
        self._refilling = None
        if self._lanes or self._in_flight:
            self._quiet.clear()
        client = self._client
        while client is not None and self._lanes and len(self._in_flight) < self._in_flight_limit:
            packet = self._lanes.take()
            number = client.publish_now(packet)
            if number is None:
                self._lanes.put_back([packet])
                return  # the connection's end is about to be noticed
            self._in_flight[number] = packet

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
