"""One connection of aiomqtt, taught to move many packets with one system call and without a task for each."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable

import aiomqtt
import paho.mqtt.client as paho

from vpp.adapters.mqtt.access import Access
from vpp.ports import Packet
from vpp.wire.mqtt_frames import FrameReader, NotMqtt

ANSWER_WITHIN_S = 5.0  # to a CONNECT or SUBSCRIBE; a broker that is stopped answers nothing
READ_AT_ONCE = 65_536
WRITE_BEHIND = 262_144  # bytes that may wait for the kernel before the client is told to wait
WRITE_AGAIN_S = 0.005
_NODELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
_QUICKACK = (socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1) if hasattr(socket, "TCP_QUICKACK") else None  # Linux


class BatchingSocket:
    """A connected socket that reads and writes many packets with one system call.

    The client library asks for each packet in three small reads and writes each by itself; a system call
    costs more than the packet. What is written waits until the loop has run what is ready, then leaves
    together. Publishes that came are handed over and confirmed here; the library sees everything else.
    """

    def __init__(
        self,
        plain: "paho.SocketLike",
        loop: asyncio.AbstractEventLoop,
        arrived: Callable[[Packet], None],
    ) -> None:
        self._plain = plain
        # Small packets must not wait for the acknowledgement of the one before, 40 ms each. Set here and not
        # by the library's ``socket_options``, which skips any socket that is wrapped.
        if isinstance(plain, socket.socket):
            plain.setsockopt(*_NODELAY)
        self._loop = loop
        self._arrived = arrived
        self._frames = FrameReader()
        self._read = b""
        self._at = 0
        self._unsent = bytearray()
        self._writing: asyncio.Handle | None = None
        self._broken: OSError | None = None

    def recv(self, buffer_size: int) -> bytes:
        """Return at most that many bytes of what came. Raises BlockingIOError while nothing did."""
        if self._at >= len(self._read):
            data = self._plain.recv(READ_AT_ONCE)
            self._acknowledge_at_once()
            self._read, self._at = self._hand_over(data) if data else b"", 0
            if data and not self._read:
                raise BlockingIOError
        part = self._read[self._at : self._at + buffer_size]
        self._at += len(part)
        return part

    def _hand_over(self, data: bytes) -> bytes:
        """Pass on and confirm publishes; return what the client library has to read."""
        try:
            publishes, others = self._frames.read(data)
        except NotMqtt as broken:
            raise ConnectionError(f"the broker speaks no MQTT: {broken}") from broken
        for each in publishes:
            with contextlib.suppress(UnicodeDecodeError):  # no topic of ours; a good broker drops it
                qos = 0 if each.number is None else 1
                self._arrived(Packet(each.topic.decode(), each.payload, qos, each.retain))
        self._write_soon(b"".join(each.confirmation for each in publishes))
        return others

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
        self._write_soon(buffer)
        return len(buffer)

    def _write_soon(self, buffer: bytes | bytearray) -> None:
        self._unsent += buffer
        if self._unsent and self._writing is None:
            self._writing = self._loop.call_soon(self._write)

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


class Connection(aiomqtt.Client):
    """One connection of aiomqtt that hands over messages and confirmations without a task for each."""

    def __init__(
        self,
        access: Access,
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
            max_inflight_messages=0,  # the transport limits it; paho would look at all of them at each one
            tls_params=None if tls is None else aiomqtt.TLSParameters(tls.ca, tls.certificate, tls.key),
            will=None if will is None else aiomqtt.Will(will.topic, will.payload, will.qos, will.retain),
        )
        self._arrived = arrived
        self._confirmed = confirmed

    def publish_now(self, packet: Packet) -> int | None:
        """Give a packet to the connection and return its number, or None when the connection is gone."""
        info = self._client.publish(packet.topic, packet.payload, packet.qos, packet.retain)
        return info.mid if info.rc == paho.MQTT_ERR_SUCCESS else None

    def _on_publish(
        self, _client: paho.Client, _userdata: object, mid: int, _reason: object, _properties: object
    ) -> None:
        self._confirmed(mid)

    def _on_socket_open(self, client: paho.Client, userdata: object, sock: "paho.SocketLike") -> None:
        batching = BatchingSocket(sock, self._loop, self._arrived)
        client._sock = batching  # noqa: SLF001  # paho makes its socket itself and gives no other way in
        super()._on_socket_open(client, userdata, batching)
