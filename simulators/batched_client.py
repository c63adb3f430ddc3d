"""An MQTT 3.1.1 client for many homes on one connection: whole batches in one write, read in one parse.

A system call for each packet costs more than the packet; here a thousand share one. It speaks quality of
service 0 and 1 with a clean session and does not come back by itself: for stepped stories and benchmarks.
Homes in real time use the product's own transport.
"""

import asyncio
import contextlib
import itertools
import socket
from collections import deque
from collections.abc import Sequence
from typing import Self

from vpp.adapters.mqtt import Access
from vpp.ports import Packet

WINDOW = 900  # publishes without their PUBACK; brokers commonly take a thousand
_CONNACK, _PUBLISH, _PUBACK, _SUBACK, _PINGRESP = 2, 3, 4, 9, 13
_LARGEST_ID = 65_535


class BrokerGone(ConnectionError):
    """The broker refused or ended the connection."""


class BatchedClient(asyncio.Protocol):
    """``ports.Transport`` over one connection that must not break. Use as an async context manager.

    ``taken`` counts packets taken for sending, ``received`` those that arrived.
    """

    def __init__(self, access: Access, *, filters: Sequence[str]) -> None:
        self.taken = self.received = 0
        self._access = access
        self._filters = tuple(filters)
        self._transport: asyncio.Transport | None = None
        self._socket: socket.socket | None = None
        self._unread = bytearray()
        self._incoming: deque[Packet] = deque()
        self._arrived = asyncio.Event()
        self._outgoing: deque[Packet] = deque()
        self._unconfirmed: set[int] = set()
        self._ids = itertools.cycle(range(1, _LARGEST_ID + 1))
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._gone: BrokerGone | None = None
        self._pinging: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._access.tls is not None:
            raise BrokerGone("stories are played over plain MQTT; use mqtt:// instead of mqtts://")
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(lambda: self, self._access.host, self._access.port)
        except OSError as refused:
            raise BrokerGone(f"no broker at {self._access.host}:{self._access.port}: {refused}") from refused
        await self._ready
        self._pinging = asyncio.create_task(self._ping())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._pinging is not None:
            self._pinging.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._pinging
        if self._transport is not None:
            self._transport.write(b"\xe0\x00")
            self._transport.close()

    @property
    def connected(self) -> bool:
        """Return whether the broker can be reached."""
        return self._transport is not None and self._gone is None

    async def send(self, packets: Sequence[Packet]) -> None:
        """Take packets for sending, in order. Raises BrokerGone."""
        self._require_broker()
        self.taken += len(packets)
        self._outgoing.extend(packets)
        self._write_out()

    async def receive(self, limit: int = 100_000) -> Sequence[Packet]:
        """Return what has arrived, waiting for at least one packet. Raises BrokerGone."""
        while not self._incoming:
            self._require_broker()
            self._arrived.clear()
            await self._arrived.wait()
        return self.received_now(limit)

    def received_now(self, limit: int = 100_000) -> Sequence[Packet]:
        """Return what has arrived already, perhaps nothing."""
        return [self._incoming.popleft() for _ in range(min(limit, len(self._incoming)))]

    async def flush(self) -> None:
        """Return when all was written, and what asks for it was confirmed. Raises BrokerGone."""
        await self._quiet.wait()
        self._require_broker()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say hello as soon as the connection stands."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._socket = transport.get_extra_info("socket")
        if self._socket is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        access = self._access
        user, password = access.username, access.password
        connect_flags = 0x02 | (0x80 if user is not None else 0) | (0x40 if password is not None else 0)
        body = _text("MQTT") + bytes((4, connect_flags)) + access.keepalive_s.to_bytes(2, "big")
        body += b"".join(_text(each) for each in (access.client_id, user, password) if each is not None)
        transport.write(_frame(0x10, body))

    def connection_lost(self, problem: Exception | None) -> None:
        """Wake everybody who waits for a broker that will not answer."""
        self._gone = BrokerGone(f"the broker ended the connection: {problem or 'closed'}")
        self._arrived.set()
        self._quiet.set()
        if not self._ready.done():
            self._ready.set_exception(self._gone)

    def data_received(self, data: bytes) -> None:
        """Take everything whole that has come."""
        # A broker that leaves Nagle on waits for our acknowledgement before its next small write, and
        # the kernel would hold that back for 40 ms.
        if self._socket is not None and hasattr(socket, "TCP_QUICKACK"):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        self._unread += data
        confirmations = bytearray()
        at = 0
        while (found := _whole_frame(self._unread, at)) is not None:
            first, starts, ends = found
            self._take(first, memoryview(self._unread)[starts:ends].tobytes(), confirmations)
            at = ends
        del self._unread[:at]
        if confirmations and self._transport is not None:
            self._transport.write(bytes(confirmations))
        if self._incoming:
            self._arrived.set()
        self._write_out()

    def _take(self, first: int, body: bytes, confirmations: bytearray) -> None:
        kind = first >> 4
        if kind == _PUBLISH:
            topic_ends = 2 + int.from_bytes(body[:2], "big")
            qos = first >> 1 & 3
            payload_at = topic_ends + (2 if qos else 0)
            if qos:
                confirmations += b"\x40\x02" + body[topic_ends:payload_at]
            topic = body[2:topic_ends].decode()
            self._incoming.append(Packet(topic, body[payload_at:], qos, bool(first & 1)))
            self.received += 1
        elif kind == _PUBACK:
            self._unconfirmed.discard(int.from_bytes(body[:2], "big"))
        elif kind == _CONNACK:
            self._on_connack(body)
        elif kind == _SUBACK and not self._ready.done():
            if any(answer >= 0x80 for answer in body[2:]):
                self._ready.set_exception(BrokerGone(f"the broker refuses one of {', '.join(self._filters)}"))
            else:
                self._ready.set_result(None)

    def _on_connack(self, body: bytes) -> None:
        if body[1] != 0:
            self._ready.set_exception(BrokerGone(f"the broker refuses us with code {body[1]}"))
            return
        assert self._transport is not None
        filters = b"".join(_text(each) + b"\x01" for each in self._filters)
        self._transport.write(_frame(0x82, b"\x00\x01" + filters))

    def _write_out(self) -> None:
        batch = bytearray()
        outgoing, unconfirmed = self._outgoing, self._unconfirmed
        while outgoing and (outgoing[0].qos == 0 or len(unconfirmed) < WINDOW):
            packet = outgoing.popleft()
            body = _text(packet.topic)
            if packet.qos:
                number = next(each for each in self._ids if each not in unconfirmed)
                unconfirmed.add(number)
                body += number.to_bytes(2, "big")
            batch += _frame(0x30 | packet.qos << 1 | packet.retain, body + packet.payload)
        if batch and self._transport is not None:
            self._transport.write(bytes(batch))
        if outgoing or unconfirmed:
            self._quiet.clear()
        else:
            self._quiet.set()

    async def _ping(self) -> None:
        while self._transport is not None and self._gone is None:
            await asyncio.sleep(self._access.keepalive_s / 2)
            self._transport.write(b"\xc0\x00")

    def _require_broker(self) -> None:
        if self._gone is not None:
            raise self._gone


def _text(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(2, "big") + encoded


def _frame(first: int, body: bytes) -> bytes:
    length, size = bytearray(), len(body)
    while True:
        size, seven = divmod(size, 128)
        length.append(seven | (0x80 if size else 0))
        if not size:
            return bytes((first,)) + length + body


def _whole_frame(data: bytearray, at: int) -> tuple[int, int, int] | None:
    """Return the first byte, and where the body starts and ends, or None while a part is missing."""
    size = 0
    for place in range(4):
        index = at + 1 + place
        if index >= len(data):
            return None
        size |= (data[index] & 0x7F) << (7 * place)
        if not data[index] & 0x80:
            ends = index + 1 + size
            return (data[at], index + 1, ends) if ends <= len(data) else None
    raise BrokerGone("the broker sent a frame without a length")
