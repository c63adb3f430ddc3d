"""The other side of a stepped story, as a child process: every home, and the grid operator, in one.

It shares no memory with the controller: packets go over a real broker, and the clock over lines of JSON,
one on standard input for each on standard output.

``{"step": TIME, "sent": N}``
    Time is TIME, and N packets have been sent so far to topics this process listens to (commands, meter
    receipts, signal receipts). It waits for all N, lets every home live until TIME, publishes what is due,
    and says ``{"done": TIME, "sent": M, "received": N}``: M packets sent so far. The same TIME may come
    again, with a larger N, until neither side has anything new to say.
``{"report": true}``
    It says ``{"report": {...}}``: what the homes themselves saw (``Observed``), energy in Wh by event.
End of input
    It says goodbye to the broker and ends with 0.

Before the first line it says ``{"ready": TIME, "homes": H, "online": O, "sent": M}``.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from simulators.batched_client import BatchedClient
from simulators.grid import Operator
from simulators.home_files import (
    UnusableFile,
    read_controller_key,
    read_gateway_file,
    read_shards,
    read_site_ids,
)
from simulators.homes import FILTERS, Homes, load_homes
from simulators.scenario import Scenario, load_scenario, simulated_source_key
from vpp.adapters.mqtt import Access
from vpp.domain.interval import to_epoch
from vpp.ports import Packet
from vpp.wire.strict_json import time_text

PATIENCE_S = 60.0


class PacketsMissing(Exception):
    """Packets that the controller sent never came."""


class Story:
    """Homes and the grid operator between two steps."""

    def __init__(
        self, homes: Homes, scenario: Scenario | None, operator: Operator | None, transport: BatchedClient
    ) -> None:
        self._homes = homes
        self._operator = operator
        self._transport = transport
        self._signals = list(scenario.signals) if scenario else []
        self._receipts: list[dict[str, object]] = []
        self._received = 0

    async def begin(self, site_ids: Sequence[str], at: datetime) -> dict[str, object]:
        """Bring the homes online and return the line that says so."""
        await self._send(self._homes.connect(site_ids, to_epoch(at)))
        return {
            "ready": time_text(at),
            "homes": len(self._homes),
            "online": len(site_ids),
            "sent": self._transport.taken,
        }

    async def step(self, at: datetime, sent: int) -> dict[str, object]:
        """Wait for all packets sent so far, live until an instant, and return the line that says so."""
        now_s = to_epoch(at)
        out: list[Packet] = []
        while self._received < sent:
            out.extend(self._homes.take(self._for_homes(await self._arrived(sent)), now_s))
        out.extend(self._homes.advance(now_s))
        while self._operator and self._signals and self._signals[0].send_at <= at:
            out.append(self._operator.packet(self._signals.pop(0).body(len(self._homes))))
        await self._send(out)
        return {"done": time_text(at), "sent": self._transport.taken, "received": self._received}

    def report(self, *, by_site: bool = False) -> dict[str, object]:
        """Return the line that says what the homes saw; energy by event, or by event and site."""
        seen = self._homes.observed()
        delivered: Mapping[str, object] = seen.delivered_wh
        if not by_site:
            delivered = {event_id: sum(sites.values()) for event_id, sites in seen.delivered_wh.items()}
        return {
            "report": {
                "homes": len(self._homes),
                "commands_received": seen.commands_received,
                "homes_commanded": seen.homes_commanded,
                "reserve_violations": seen.reserve_violations,
                "homes_under_reserve": list(seen.homes_under_reserve),
                "dropped": dict(seen.dropped),
                "unknown_fields": dict(seen.unknown_fields),
                "delivered_wh": delivered,
                "signal_receipts": self._receipts,
            }
        }

    async def _arrived(self, sent: int) -> Sequence[Packet]:
        try:
            async with asyncio.timeout(PATIENCE_S):
                packets = await self._transport.receive()
        except TimeoutError as late:
            raise PacketsMissing(f"{self._received} of {sent} packets came in {PATIENCE_S:g} s") from late
        self._received += len(packets)
        return packets

    def _for_homes(self, packets: Sequence[Packet]) -> list[Packet]:
        operator = self._operator
        if operator is None:
            return list(packets)
        for packet in packets:
            if packet.topic == operator.receipt_topic and (receipt := operator.receipt(packet)):
                self._receipts.append(
                    {"event_id": receipt.event_id, "state": receipt.state.value, "reason": receipt.reason}
                )
        return [packet for packet in packets if packet.topic != operator.receipt_topic]

    async def _send(self, packets: Sequence[Packet]) -> None:
        await self._transport.send(packets)
        await self._transport.flush()


def add_demo_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of the child."""
    parser.add_argument("--broker", required=True)
    parser.add_argument("--sites", type=Path, required=True)
    parser.add_argument("--keys", type=Path, required=True, help="gateways.json, or the directory it is in")
    parser.add_argument("--shards", type=Path, help="output of 'vpp site enroll --json'")
    parser.add_argument("--controller-key", help="KID:BASE64URL")
    parser.add_argument("--controller-key-file", type=Path, help="output of 'vpp keys show --json'")
    parser.add_argument("--scenario", help="play the grid operator of this story too")
    parser.add_argument("--start", type=datetime.fromisoformat, help="default: the scenario's beginning")


async def run_demo(arguments: argparse.Namespace) -> int:
    """Play until the input ends; return the exit code."""
    scenario = None if arguments.scenario is None else load_scenario(arguments.scenario)
    start: datetime | None = arguments.start
    if start is None and scenario is not None:
        start = scenario.starts_at
    if start is None:
        raise UnusableFile("no beginning; give --start or --scenario")
    kept = read_gateway_file(arguments.keys)
    pinned = read_controller_key(arguments.controller_key, arguments.controller_key_file)
    homes, online = load_homes(
        kept,
        read_site_ids(arguments.sites),
        until=start,
        shards=None if arguments.shards is None else read_shards(arguments.shards),
        controller_keys=pinned,
    )
    operator = None
    if scenario is not None:
        key = simulated_source_key(kept.seed, scenario.source)
        operator = Operator(scenario.source, key, pinned)
    filters = [*FILTERS, *([operator.receipt_topic] if operator else [])]
    access = Access.from_url(arguments.broker, client_id="simulated-homes")
    async with BatchedClient(access, filters=filters) as transport:
        story = Story(homes, scenario, operator, transport)
        _say(await story.begin(online, start))
        async for line in _lines():
            match line:
                case {"step": str(at), "sent": int(sent)}:
                    _say(await story.step(datetime.fromisoformat(at), sent))
                case {"report": wanted}:
                    _say(story.report(by_site=wanted == "sites"))
                case _:
                    raise UnusableFile(f"line {line!r} is neither a step nor a report")
        await transport.flush()
    return 0


def _say(line: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def _lines() -> AsyncIterator[object]:
    """Yield each line of standard input as JSON until it ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
    )
    while line := await reader.readline():
        yield json.loads(line)
