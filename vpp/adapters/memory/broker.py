"""An MQTT broker and its clients inside this process: the same promises, no network, no surprise.

Everything happens in the call that causes it, so one order of calls is one history. A simulation may
come between broker and client through ``Courier`` to lose, double, delay or reorder what is delivered.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Self

from vpp.ports import Packet

QUEUE_LIMIT = 100_000
ROUTES_KEPT = 100_000

Courier = Callable[[str, Packet], Sequence[Packet]]
"""Given a client id and a packet for it, what is delivered now. What is held back is the courier's."""


class BrokerIsDown(ConnectionError):
    """The broker was crashed and has not been started again."""


@lru_cache(maxsize=ROUTES_KEPT)
def topic_matches(wanted: str, topic: str) -> bool:
    """Return whether an MQTT filter with ``+`` and ``#`` covers a topic."""
    filter_levels, levels = wanted.split("/"), topic.split("/")
    for position, level in enumerate(filter_levels):
        if level == "#":
            return position <= len(levels)
        if position >= len(levels) or level not in ("+", levels[position]):
            return False
    return len(filter_levels) == len(levels)


def is_pattern(wanted: str) -> bool:
    """Return whether a filter covers more than the one topic it spells."""
    return "+" in wanted or "#" in wanted


@dataclass(slots=True)
class _Session:
    """What the broker knows of one client id. Sessions are numbered in the order of their creation."""

    number: int
    filters: dict[str, int] = field(default_factory=dict)  # filter to granted QoS
    patterns: list[str] = field(default_factory=list)  # those of the filters that hold a wildcard
    queue: deque[Packet] = field(default_factory=deque)
    client: "MemoryTransport | None" = None
    will: Packet | None = None
    persistent: bool = True

    def granted(self, topic: str) -> list[int]:
        """Return the QoS of every filter that covers a topic."""
        literal = [self.filters[topic]] if topic in self.filters else []
        return literal + [self.filters[each] for each in self.patterns if topic_matches(each, topic)]


class MemoryBroker:
    """Routes packets between clients. Sessions and retained messages are lost in a crash."""

    def __init__(self, *, courier: Courier | None = None, queue_limit: int = QUEUE_LIMIT) -> None:
        self.up = True
        self.shed = 0  # packets given up because a session's queue was full
        self.courier = courier
        self._queue_limit = queue_limit
        self._sessions: dict[str, _Session] = {}
        self._retained: dict[str, Packet] = {}
        self._clients: list[MemoryTransport] = []
        self._routes: dict[str, tuple[tuple[str, int], ...]] = {}  # topic to client ids and granted QoS
        self._literal: dict[str, set[str]] = {}  # a filter without wildcards to the client ids that have it
        self._wild: set[str] = set()  # client ids whose filters have wildcards
        self._opened = 0

    def crash(self) -> None:
        """Stop and forget everything: sessions, queues, retained messages, wills."""
        self.up = False
        self._sessions.clear()
        self._routes.clear()
        self._literal.clear()
        self._wild.clear()
        self._retained.clear()

    def start(self) -> None:
        """Come back empty; every client that wants to be connected connects, in order of creation."""
        self.up = True
        for client in self._clients:
            client.connect()

    def publish(self, packet: Packet) -> None:
        """Route one packet as any client may send it, and keep or clear the retained copy."""
        if not self.up:
            raise BrokerIsDown("the broker is down")
        if packet.retain:
            if packet.payload:
                self._retained[packet.topic] = packet
            else:
                self._retained.pop(packet.topic, None)
        for client_id, granted in self._route(packet.topic):
            qos = min(packet.qos, granted)
            copy = (
                packet if qos == packet.qos and not packet.retain else replace(packet, qos=qos, retain=False)
            )
            self._give(client_id, copy)

    def _route(self, topic: str) -> tuple[tuple[str, int], ...]:
        """Return who listens to a topic; worked out once until somebody's session or filters change."""
        route = self._routes.get(topic)
        if route is None:
            if len(self._routes) >= ROUTES_KEPT:
                self._routes.clear()
            found = {each: self._sessions[each] for each in self._wild | self._literal.get(topic, set())}
            in_order = sorted(found.items(), key=lambda each: each[1].number)
            granted = ((client_id, session.granted(topic)) for client_id, session in in_order)
            route = self._routes[topic] = tuple((client_id, max(qos)) for client_id, qos in granted if qos)
        return route

    def _new_session(self, client_id: str) -> _Session:
        """Return a session without filters, in the place of the one before it where there is one."""
        before = self._sessions.get(client_id)
        if before is not None:
            self._forget_filters(client_id)
            return _Session(before.number)
        self._opened += 1
        return _Session(self._opened)

    def _note_filter(self, client_id: str, wanted: str, *, pattern: bool) -> None:
        if pattern:
            self._wild.add(client_id)
            self._routes.clear()
        else:
            self._literal.setdefault(wanted, set()).add(client_id)
            self._routes.pop(wanted, None)

    def _forget_filters(self, client_id: str) -> None:
        """Let a session's filters lead nowhere any more: it ends, or another takes its place."""
        session = self._sessions[client_id]
        self._wild.discard(client_id)
        for wanted in session.filters:
            self._literal.get(wanted, set()).discard(client_id)
            self._routes.pop(wanted, None)
        if session.patterns:
            self._routes.clear()

    def deliver(self, client_id: str, packet: Packet) -> None:
        """Put a packet into a client's queue past the courier, for one that it had held back."""
        session = self._sessions.get(client_id)
        if session is None or (session.client is None and (packet.qos == 0 or not session.persistent)):
            return
        if len(session.queue) >= self._queue_limit:
            self.shed += 1
            return
        session.queue.append(packet)
        if session.client is not None:
            session.client.notice_arrival()

    def _give(self, client_id: str, packet: Packet) -> None:
        for copy in self.courier(client_id, packet) if self.courier else (packet,):
            self.deliver(client_id, copy)

    def attach(self, client: "MemoryTransport") -> None:
        """Remember a client, so that it comes back after a crash."""
        if client not in self._clients:
            self._clients.append(client)

    def open(self, client: "MemoryTransport", will: Packet | None, persistent: bool) -> None:
        """Connect a client; another one of the same id is dropped. Raises BrokerIsDown."""
        if not self.up:
            raise BrokerIsDown("the broker is down")
        session = self._sessions.get(client.client_id)
        if session is not None and session.client is not None and session.client is not client:
            self.close(session.client, with_will=True)
            session = self._sessions.get(client.client_id)
        if session is None or not (persistent and session.persistent):
            session = self._sessions[client.client_id] = self._new_session(client.client_id)
        session.client, session.will, session.persistent = client, will, persistent

    def close(self, client: "MemoryTransport", *, with_will: bool) -> None:
        """End a connection; a drop publishes the client's will."""
        session = self._sessions.get(client.client_id)
        if session is None or session.client is not client:
            return
        session.client, will, session.will = None, session.will, None
        if not session.persistent:
            self._forget_filters(client.client_id)
            del self._sessions[client.client_id]
        if with_will and will is not None:
            self.publish(will)

    def subscribe(self, client: "MemoryTransport", filters: Sequence[str], qos: int = 1) -> None:
        """Add filters to a connected client; it gets the retained messages they cover."""
        session = self._sessions[client.client_id]
        for wanted in filters:
            pattern = is_pattern(wanted)
            if session.filters.get(wanted) != qos:
                if pattern and wanted not in session.filters:
                    session.patterns.append(wanted)
                session.filters[wanted] = qos
                self._note_filter(client.client_id, wanted, pattern=pattern)
            kept = tuple(self._retained.values()) if pattern else (self._retained.get(wanted),)
            for packet in kept:
                if packet is not None and (not pattern or topic_matches(wanted, packet.topic)):
                    self._give(client.client_id, replace(packet, qos=min(packet.qos, qos)))

    def connected(self, client: "MemoryTransport") -> bool:
        """Return whether the client holds its session's connection."""
        session = self._sessions.get(client.client_id)
        return self.up and session is not None and session.client is client

    def waiting(self, client: "MemoryTransport") -> deque[Packet]:
        """Return the queue of packets for a client, which it empties."""
        session = self._sessions.get(client.client_id)
        return session.queue if session is not None and session.client is client else deque()


class MemoryTransport:
    """``ports.Transport`` over a ``MemoryBroker``; the counters mean what the MQTT transport's mean."""

    def __init__(
        self,
        broker: MemoryBroker,
        client_id: str,
        *,
        filters: Sequence[str] = (),
        will: Packet | None = None,
        persistent: bool = True,
    ) -> None:
        self.client_id = client_id
        self.taken = self.sent = self.received = 0
        self._broker = broker
        self._filters = list(filters)
        self._will = will
        self._persistent = persistent
        self._wanted = False
        self._outgoing: dict[int, deque[Packet]] = {}
        self._arrived = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        broker.attach(self)

    async def __aenter__(self) -> Self:
        self._wanted = True
        self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.disconnect()

    @property
    def connected(self) -> bool:
        """Return whether the broker is up and this client holds its connection."""
        return self._broker.connected(self)

    def connect(self) -> None:
        """Connect if wanted and possible, subscribe again, and send what waited."""
        if not self._wanted or not self._broker.up or self.connected:
            return
        self._broker.open(self, self._will, self._persistent)
        self._broker.subscribe(self, self._filters)
        if self._broker.waiting(self):
            self.notice_arrival()
        self._send_on()

    def disconnect(self) -> None:
        """Leave in good order: the will is not published."""
        self._wanted = False
        self._broker.close(self, with_will=False)

    def drop(self) -> None:
        """Vanish as a broken connection does; ``reconnect`` brings the client back."""
        self._wanted = False
        self._broker.close(self, with_will=True)

    def reconnect(self) -> None:
        """Come back after ``drop``, with the session the broker kept."""
        self._wanted = True
        self.connect()

    async def subscribe(self, filters: Sequence[str]) -> None:
        """Listen to more topics, now if connected and after every later connect."""
        self._filters.extend(filters)
        if self.connected:
            self._broker.subscribe(self, filters)

    async def send(self, packets: Sequence[Packet]) -> None:
        """Take packets for sending, in order within a lane; they wait while the broker is away."""
        for packet in packets:
            if packet.lane not in self._outgoing:
                self._outgoing[packet.lane] = deque()
            self._outgoing[packet.lane].append(packet)
        self.taken += len(packets)
        self._send_on()

    async def receive(self, limit: int = 1000) -> Sequence[Packet]:
        """Return what has arrived, waiting for at least one packet; at most ``limit``."""
        while not (batch := self.received_now(limit)):
            self._arrived.clear()
            await self._arrived.wait()
        return batch

    def received_now(self, limit: int = 1000) -> Sequence[Packet]:
        """Return what has arrived already, perhaps nothing."""
        queue = self._broker.waiting(self)
        batch = [queue.popleft() for _ in range(min(limit, len(queue)))]
        self.received += len(batch)
        return batch

    async def flush(self) -> None:
        """Return when the broker has everything taken so far."""
        await self._quiet.wait()

    def notice_arrival(self) -> None:
        """Wake whoever waits to receive; called by the broker."""
        self._arrived.set()

    def _send_on(self) -> None:
        while self._outgoing and self.connected:
            lane = min(self._outgoing)
            packet = self._outgoing[lane].popleft()
            if not self._outgoing[lane]:
                del self._outgoing[lane]
            self._broker.publish(packet)
            self.sent += 1
        if self._outgoing:
            self._quiet.clear()
        else:
            self._quiet.set()
