"""What anybody could hear on the broker: every command, receipt and signal's answer, by one listener.

It remembers what must agree later with the database and with the homes, and says at once where two messages
cannot both be true.
"""

import asyncio
import hashlib
import json
import sys
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Self

from simulators.grid import Operator
from vpp.adapters.mqtt import Access, Backoff, MqttTransport
from vpp.domain.command import Action
from vpp.domain.grid_event import Receipt
from vpp.ports import Packet
from vpp.wire.gateway import Command, GatewayKind, GatewayTopic, decode_command, parse_topic
from vpp.wire.gateway_meter import decode_receipt
from vpp.wire.signed import split
from vpp.wire.strict_json import GATEWAY_MESSAGE_BYTES

AT_ONCE = Backoff(first_s=0.02, longest_s=0.1)
RESEND_S = 1.0

Pair = tuple[str, int, int]  # site id, epoch, sequence
Fault = tuple[str, str]  # "lost", "doubled" or "wrong", and a sentence


def digest(body: bytes) -> bytes:
    """Return what tells one command's body from another: millions are remembered in a long run."""
    return hashlib.blake2b(body, digest_size=16).digest()


@dataclass(slots=True)
class Heard:
    """What the listener has heard since the beginning."""

    commands: dict[Pair, bytes] = field(default_factory=dict)  # the digest of each body
    newest: dict[str, tuple[Command, float]] = field(default_factory=dict)  # by site; when, monotonic
    confirmed: dict[tuple[str, str], int] = field(default_factory=dict)  # (site, boot): stored through
    answers: list[Receipt] = field(default_factory=list)
    checked_answers: int = 0
    faults: list[Fault] = field(default_factory=list)
    fresh: list[Pair] = field(default_factory=list)  # not checked against the store yet
    counts: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    last_command_at: float = 0.0

    def take(self, packet: Packet, source: Operator) -> None:
        """Remember what a packet says."""
        kind = packet.topic.rpartition("/")[2]
        self.counts[kind] += 1
        if packet.topic == source.receipt_topic:
            receipt = source.receipt(packet)
            if receipt is None:
                self.faults.append(("wrong", "a signal's answer is not signed by the controller"))
            else:
                self.answers.append(receipt)
        elif kind == "command":
            self._command(packet)
        elif kind == "receipt":
            self._receipt(packet)

    def _command(self, packet: Packet) -> None:
        body = split(packet.payload, max_bytes=GATEWAY_MESSAGE_BYTES).body
        command = decode_command(body, site_id=None)
        pair = (sys.intern(command.site_id), command.epoch, command.sequence)
        known = self.commands.get(pair)
        if packet.retain:
            self.faults.append(("wrong", f"a command was retained: {packet.topic}"))
        if known is None:
            self.commands[pair] = digest(body)
            self.fresh.append(pair)
        elif known != digest(body):
            self.faults.append(("doubled", f"command {pair} was sent with two different bodies"))
        newest = self.newest.get(command.site_id)
        if newest is None or (newest[0].epoch, newest[0].sequence) < pair[1:]:
            self.newest[command.site_id] = command, time.monotonic()
        self.last_command_at = time.monotonic()

    def _receipt(self, packet: Packet) -> None:
        name = parse_topic(packet.topic)
        assert isinstance(name, GatewayTopic)
        assert name.kind is GatewayKind.RECEIPT
        body = split(packet.payload, max_bytes=GATEWAY_MESSAGE_BYTES).body
        receipt = decode_receipt(body, site_id=name.site_id)
        key = (receipt.site_id, receipt.boot_id)
        self.confirmed[key] = max(self.confirmed.get(key, 0), receipt.stored_through)

    def commanded(self) -> dict[str, int]:
        """Return the watts each site was last told to give, zero after a release."""
        return {
            site_id: command.discharge_w if command.action is Action.DISCHARGE else 0
            for site_id, (command, _) in self.newest.items()
        }

    def answer_to(self, body: bytes) -> Receipt | None:
        """Return the answer to a notification, None while there is none."""
        said = json.loads(body)
        for receipt in self.answers:
            if (
                receipt.event_id == said["object"]["id"]
                and receipt.operation.value == said["operation"]
                and f"{receipt.modified_at:%Y-%m-%dT%H:%M:%SZ}" == said["object"]["modificationDateTime"]
            ):
                return receipt
        return None


class Listener:
    """One MQTT client that hears everything and signals for the grid. Use as an async context manager."""

    def __init__(self, broker: str, source: Operator) -> None:
        self.heard = Heard()
        self.source = source
        self.unanswered: list[bytes] = []  # notifications that the grid sends again until they are
        access = Access.from_url(broker, client_id="chaos-listener")
        self._transport = MqttTransport(
            access, filters=("vpp/#", "grid/#"), jitter=Random().random, backoff=AT_ONCE
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._answered = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._transport.__aenter__()
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._resend())]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self._transport.__aexit__()

    async def wait_connected(self) -> None:
        """Return when the broker answers."""
        await self._transport.wait_connected()

    async def signal(self, body: bytes) -> None:
        """Send a notification now, and again until it is answered."""
        self.unanswered.append(body)
        await self._transport.send([self.source.packet(body)])

    def pending(self) -> list[bytes]:
        """Return the notifications that were not answered yet."""
        self.unanswered = [body for body in self.unanswered if self.heard.answer_to(body) is None]
        return self.unanswered

    async def all_answered(self, within_s: float) -> None:
        """Return when every notification was answered, or after so many seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.pending():
                    self._answered.clear()
                    await self._answered.wait()

    async def _listen(self) -> None:
        while True:
            for packet in await self._transport.receive():
                self.heard.take(packet, self.source)
            self._answered.set()

    async def _resend(self) -> None:
        while True:
            await asyncio.sleep(RESEND_S)
            waiting = self.pending()
            if self._transport.connected:
                await self._transport.send([self.source.packet(body) for body in waiting])
