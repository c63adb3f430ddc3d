"""How many telemetry samples a second one core takes, from the packet to the fleet's columns."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from tests.benchmarks.measuring import ROUNDS, Figure, at_most, medians_awaited
from tests.benchmarks.street import EVENING, enrollments, key_of, sample_of, topic_of
from vpp.adapters.clock import SteppedClock
from vpp.adapters.device_link import GatewayLink
from vpp.adapters.memory.broker import MemoryBroker, MemoryTransport
from vpp.adapters.memory.store import MemoryStore
from vpp.domain.fleet import FleetState, Roster, enroll
from vpp.ports import Packet
from vpp.stages.collect import collect
from vpp.wire.gateway import GatewayKind
from vpp.wire.signed import sign

SITES = at_most(10_000)
AT_ONCE = 1_000  # what a transport hands over at once when it is busy


class Keys:
    """The controller's key; nothing is signed here."""

    kid = "vpp"
    public_key = key_of("vpp").verifying_key.raw

    def sign(self, body: bytes) -> bytes:
        """Return the signed message."""
        return sign(body, key_of("vpp"), self.kid)


def packets(at: datetime) -> list[Packet]:
    """Return one sample of every home."""
    return [
        Packet(topic_of(number, GatewayKind.TELEMETRY), sample_of(number, at), qos=0)
        for number in range(SITES)
    ]


class Intake:
    """The way of a sample in the product, without broker and database."""

    def __init__(self, samples: Iterator[Sequence[Packet]]) -> None:
        self._samples = samples
        self._fleet, self._roster = FleetState(), Roster()
        enroll(self._fleet, self._roster, enrollments(SITES))
        self._link = GatewayLink(MemoryTransport(MemoryBroker(), "vpp"), Keys(), self._roster)
        self._store = MemoryStore()
        self._clock = SteppedClock(EVENING + timedelta(hours=1))
        self.taken = 0

    async def take_all(self) -> None:
        """Decode, judge and write one sample of every home."""
        samples = next(self._samples)
        for first in range(0, SITES, AT_ONCE):
            collected = await collect(
                self._link.decode(samples[first : first + AT_ONCE]),
                fleet=self._fleet,
                roster=self._roster,
                programs={},
                store=self._store,
                link=self._link,
                clock=self._clock,
            )
            self.taken += collected.stored["telemetry"]


async def run() -> list[Figure]:
    """Return samples a second beside the standard library's parser alone on the same payloads."""
    rounds = [packets(EVENING + timedelta(seconds=30 * number)) for number in range(ROUNDS + 1)]
    intake = Intake(iter(rounds))

    async def parse_only() -> None:
        for packet in rounds[0]:
            json.loads(packet.payload)

    taken = await medians_awaited({"json.loads": parse_only, "ingest": intake.take_all})
    assert intake.taken == SITES * (ROUNDS + 1), "a sample was refused: the figure would be worth nothing"
    rate, floor = SITES / taken["ingest"], SITES / taken["json.loads"]
    return [
        Figure(f"telemetry to fleet state, {SITES:,} homes", rate, "/s", "json.loads alone", rate / floor)
    ]
