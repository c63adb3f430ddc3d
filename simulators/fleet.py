"""Homes against any controller: real time, real broker, one connection for each or a few for all."""

import argparse
import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from random import Random

from simulators.fleet_disk import FleetDisk
from simulators.home_files import (
    disk_path,
    read_controller_key,
    read_gateway_file,
    read_shards,
    read_site_ids,
)
from simulators.homes import Homes, load_homes
from vpp.adapters.clock import WallClock
from vpp.adapters.keys import FileKeys
from vpp.adapters.mqtt import Access, Backoff, MqttTransport
from vpp.domain.interval import to_epoch
from vpp.ports import Packet
from vpp.settings import load_settings
from vpp.wire.signed import VerifyingKey

OWN_CONNECTION_UP_TO = 2_000  # homes; each takes a descriptor here and one at the broker
HOMES_PER_SHARED_CONNECTION = 100
TICK_S = 0.5
LEAVE_WITHIN_S = 5.0
GATEWAY_BACKOFF = Backoff(first_s=1.0, longest_s=300.0)


class Link:
    """One broker connection and the homes that speak through it."""

    def __init__(self, homes: Homes, site_ids: Sequence[str], transport: MqttTransport) -> None:
        self.site_ids = tuple(site_ids)
        self.transport = transport
        self._homes = homes
        self._connections = 0

    async def serve(self) -> None:
        """Hand over what arrives and send the answers, for ever."""
        while True:
            packets = await self.transport.receive()
            await self.notice()
            await self.transport.send(self._homes.take(packets, now_s()))

    async def notice(self) -> None:
        """Tell the homes when the connection came or went since the last look."""
        transport = self.transport
        if transport.connected and transport.connections != self._connections:
            self._connections = transport.connections
            await transport.send(self._homes.connect(self.site_ids, now_s()))
        elif not transport.connected:
            self._homes.disconnect(self.site_ids, now_s())

    async def leave(self) -> None:
        """Say for every home that it goes, as its Will would."""
        if not self.transport.connected:
            return
        await self.transport.send([self._homes.gateway(site_id).will for site_id in self.site_ids])
        with suppress(TimeoutError):  # a broker that goes at the same moment publishes the Wills itself
            async with asyncio.timeout(LEAVE_WITHIN_S):
                await self.transport.flush()


def now_s() -> int:
    """Return the present second since 1970."""
    return to_epoch(WallClock().now())


def make_links(homes: Homes, site_ids: Sequence[str], *, broker: str, connections: int | None) -> list[Link]:
    """Return the connections for the homes that are on the air.

    Args:
        homes: The gateways.
        site_ids: Those that connect.
        broker: URL, with a user and password where the broker wants them.
        connections: How many connections share the homes; None gives each its own, with its Will, up to
            two thousand homes, and one for a hundred homes above that. A shared one has no Will.
    """
    if connections is None and len(site_ids) > OWN_CONNECTION_UP_TO:
        connections = -(-len(site_ids) // HOMES_PER_SHARED_CONNECTION)
    links = []
    if connections is None:
        for site_id in site_ids:
            gateway = homes.gateway(site_id)
            access = Access.from_url(broker, client_id=site_id, will=gateway.will)
            links.append(_link(homes, [site_id], access))
    else:
        for number in range(connections):
            access = Access.from_url(broker, client_id=f"simulated-homes-{number}")
            links.append(_link(homes, site_ids[number::connections], access))
    return links


def _link(homes: Homes, site_ids: Sequence[str], access: Access) -> Link:
    filters = [each for site_id in site_ids for each in homes.gateway(site_id).topics_heard]
    transport = MqttTransport(access, filters=filters, jitter=Random().random, backoff=GATEWAY_BACKOFF)
    return Link(homes, site_ids, transport)


class DropLog:
    """Says what homes drop, and how often, once a second at most."""

    def __init__(self, homes: Homes, write: Callable[[str], object]) -> None:
        self._homes = homes
        self._write = write
        self._said: Counter[str] = Counter()
        self._said_at_s: int | None = None

    def notice(self, now_s: int) -> None:
        """Write one line for each kind and reason that was counted since the last word."""
        if now_s == self._said_at_s:
            return
        self._said_at_s, counted = now_s, self._homes.dropped()
        for what, count in sorted((counted - self._said).items()):
            self._write(f"dropped {what}: {count}\n")
        self._said = counted


async def live(homes: Homes, links: Sequence[Link], stop: asyncio.Event) -> None:
    """Let the homes live in real time until told to stop."""
    link_of = {site_id: link for link in links for site_id in link.site_ids}
    serving = [asyncio.create_task(link.serve()) for link in links]
    drops = DropLog(homes, sys.stderr.write)
    try:
        while not stop.is_set():
            drops.notice(now_s())
            for link in links:
                await link.notice()
            outgoing: dict[int, list[Packet]] = {}
            for packet in homes.advance(now_s()):
                outgoing.setdefault(id(link_of[packet.topic.split("/")[3]]), []).append(packet)
            for link in links:
                if id(link) in outgoing:
                    await link.transport.send(outgoing[id(link)])
            for task in serving:
                if task.done():
                    task.result()
            try:
                async with asyncio.timeout(TICK_S):
                    await stop.wait()
            except TimeoutError:
                continue
    finally:
        for task in serving:
            task.cancel()


def add_fleet_arguments(parser: argparse.ArgumentParser) -> None:
    """Describe the command line of a fleet."""
    parser.add_argument("--broker", required=True, help="mqtt[s]://[user:password@]host:port")
    parser.add_argument("--sites", type=Path, required=True, help="the enrolment file")
    parser.add_argument(
        "--keys", type=Path, help="gateways.json, or the directory it is in; default: beside the sites"
    )
    parser.add_argument(
        "--shards",
        type=Path,
        help="output of 'vpp site enroll --json'; without it the file was enrolled first",
    )
    parser.add_argument(
        "--controller-key", help="KID:BASE64URL; default: the key in this machine's VPP_STATE_DIR"
    )
    parser.add_argument("--controller-key-file", type=Path, help="output of 'vpp keys show --json'")
    parser.add_argument("--connections", type=int, help="share this many; default: one for each home")
    parser.add_argument("--for-seconds", type=float, help="stop by itself; default: at Ctrl-C")


def _pinned(text: str | None, path: Path | None) -> dict[str, VerifyingKey]:
    """Return the controller's key as given, or the one of the controller that runs on this machine."""
    if text is None and path is None:
        keys = FileKeys(load_settings().state_dir)
        return {keys.kid: VerifyingKey(keys.public_key)}
    return read_controller_key(text, path)


async def run_fleet(arguments: argparse.Namespace) -> int:
    """Run the homes until stopped, then print what they saw as one line of JSON; return the exit code.

    What must outlive the process is in a file beside the keys; the next one goes on from there.
    """
    beside, now = arguments.keys or arguments.sites.parent, WallClock().now()
    kept, site_ids = read_gateway_file(beside), read_site_ids(arguments.sites)
    shards = None if arguments.shards is None else read_shards(arguments.shards)
    controller_keys = _pinned(arguments.controller_key, arguments.controller_key_file)
    disk = FleetDisk(disk_path(beside), now=now)
    homes, online = load_homes(
        kept, site_ids, until=now, shards=shards, controller_keys=controller_keys, disk=disk
    )
    links = make_links(homes, online, broker=arguments.broker, connections=arguments.connections)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if arguments.for_seconds is not None:
        loop.call_later(arguments.for_seconds, stop.set)
    async with AsyncExitStack() as stack:
        for link in links:
            await stack.enter_async_context(link.transport)
        sys.stderr.write(f"{len(online)} of {len(homes)} homes on {len(links)} connections; Ctrl-C ends\n")
        await live(homes, links, stop)
        for link in links:
            await link.leave()
    homes.disconnect(online, now_s())
    disk.close()
    seen = homes.observed()
    shown = {
        "homes": len(homes),
        "commands_received": seen.commands_received,
        "reserve_violations": seen.reserve_violations,
        "dropped": dict(seen.dropped),
        "unknown_fields": dict(seen.unknown_fields),
        "delivered_wh": {event_id: sum(sites.values()) for event_id, sites in seen.delivered_wh.items()},
    }
    sys.stdout.write(json.dumps(shown) + "\n")
    return 0
