"""Homes in a process of their own that witness what they execute, and do what a line on standard input says.

``reboot N`` restarts N gateways, ``speak`` lets everybody say who is there and send what nobody confirmed,
``report`` prints one line of JSON: what each home executed, and what it still holds.
"""

import argparse
import asyncio
import json
import logging
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random

from simulators.command_disk import DiskContent, MemoryDisk
from simulators.fleet import Link, live, now_s
from simulators.history import live_through
from simulators.home_files import read_controller_key, read_gateway_file, read_site_ids
from simulators.homes import Homes, make_gateway
from simulators.household import Surroundings
from vpp.adapters.clock import WallClock
from vpp.adapters.mqtt import Access, Backoff, MqttTransport
from vpp.domain.enrollment import shard_of
from vpp.ports import Packet

SHARED_BY = 100  # homes on a connection, where there are more than a few hundred
OWN_UP_TO = 200
AT_ONCE = Backoff(first_s=0.05, longest_s=0.5)  # a test of the controller must not wait for patient homes
AT_LEISURE = Backoff(first_s=1.0, longest_s=10.0)


class WitnessDisk(MemoryDisk):
    """A gateway's disk that remembers every command that was stored to be acted on."""

    def __init__(self) -> None:
        super().__init__()
        self.executed: list[tuple[int, int]] = []
        self._unanswered: dict[str, tuple[int, int]] = {}

    def store(self, content: DiskContent) -> None:
        """Keep the content; a command that comes without an answer is about to be executed."""
        super().store(content)
        for kid, each in content.highest.items():
            pair = (each.epoch, each.sequence)
            if each.ack is not None:
                self._unanswered.pop(kid, None)
            elif self._unanswered.get(kid) != pair:
                self._unanswered[kid] = pair
                self.executed.append(pair)


class WitnessedHomes:
    """The homes, their disks, and what one of the lines asks of them."""

    def __init__(self, sites: Path, controller_key: str) -> None:
        kept, site_ids = read_gateway_file(sites.parent), read_site_ids(sites)
        homes = kept.homes()
        surroundings = Surroundings(homes)
        history = live_through(homes, surroundings, starts_at=kept.history_from, ends_at=WallClock().now())
        row_of = {site_id: row for row, site_id in enumerate(homes.site_id)}
        self.random = Random(kept.seed)
        self.site_ids = site_ids
        self.disks = {site_id: WitnessDisk() for site_id in site_ids}
        gateways = [
            make_gateway(
                homes,
                row_of[site_id],
                history=history,
                surroundings=surroundings,
                key=kept.keys[site_id],
                shard=shard_of(number),
                controller_keys=read_controller_key(controller_key, None),
                disk=self.disks[site_id],
                boot_id=self._boot_id(),
            )
            for number, site_id in enumerate(site_ids)
        ]
        for gateway in gateways:  # at night few would have anything to give
            battery = gateway.inverter.battery
            battery.stored_tenths = battery.full_tenths * self.random.randint(700, 1000) // 1000
        self.homes = Homes(gateways, reserve_permille={})

    def _boot_id(self) -> str:
        return f"{self.random.getrandbits(128):032x}"

    def obey(self, line: str) -> list[Packet]:
        """Do what a line says and return what the homes then publish."""
        word, _, rest = line.partition(" ")
        if word == "report":
            sys.stdout.write(json.dumps(self.report()) + "\n")
            sys.stdout.flush()
            return []
        online = [site_id for site_id in self.site_ids if self.homes.gateway(site_id).online]
        if word == "speak":
            return self.homes.connect(online, now_s())
        out: list[Packet] = []
        running = [each for each in online if self.homes.gateway(each).inverter.discharging] or online
        for site_id in self.random.sample(running, min(int(rest), len(running))):
            out += self.homes.gateway(site_id).reboot(now_s(), boot_id=self._boot_id())
            out += self.homes.connect([site_id], now_s())
        return out

    def report(self) -> dict[str, object]:
        """Return what every home executed, in order, and how many readings nobody confirmed."""
        gateways = {site_id: self.homes.gateway(site_id) for site_id in self.site_ids}
        return {
            "executed": {site_id: disk.executed for site_id, disk in self.disks.items()},
            "unconfirmed": sum(len(each) for gateway in gateways.values() for each in gateway.buffers),
            "online": sum(gateway.online for gateway in gateways.values()),
            "discharging": [site_id for site_id, gateway in gateways.items() if gateway.inverter.discharging],
        }


def make_links(witnessed: WitnessedHomes, broker: str) -> list[Link]:
    """Return a connection for each home, or of many homes one for a hundred."""
    site_ids, homes = witnessed.site_ids, witnessed.homes
    few = len(site_ids) <= OWN_UP_TO
    groups = [
        site_ids[at : at + (1 if few else SHARED_BY)]
        for at in range(0, len(site_ids), 1 if few else SHARED_BY)
    ]
    links = []
    for number, group in enumerate(groups):
        will = homes.gateway(group[0]).will if few else None
        access = Access.from_url(broker, client_id=group[0] if few else f"homes-{number}", will=will)
        filters = [each for site_id in group for each in homes.gateway(site_id).topics_heard]
        backoff = AT_ONCE if few else AT_LEISURE
        transport = MqttTransport(access, filters=filters, jitter=witnessed.random.random, backoff=backoff)
        links.append(Link(homes, group, transport))
    return links


async def _read_lines(witnessed: WitnessedHomes, links: list[Link], stop: asyncio.Event) -> None:
    link_of = {site_id: link for link in links for site_id in link.site_ids}
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        outgoing: dict[int, tuple[Link, list[Packet]]] = {}
        for packet in witnessed.obey(line.decode().strip()):
            link = link_of[packet.topic.split("/")[3]]
            outgoing.setdefault(id(link), (link, []))[1].append(packet)
        for link, packets in outgoing.values():
            await link.transport.send(packets)
    stop.set()


async def run(arguments: argparse.Namespace) -> None:
    """Let the homes live until standard input ends."""
    witnessed = WitnessedHomes(arguments.sites, arguments.controller_key)
    links, stop = make_links(witnessed, arguments.broker), asyncio.Event()
    async with AsyncExitStack() as stack:
        for link in links:
            await stack.enter_async_context(link.transport)
        reading = asyncio.create_task(_read_lines(witnessed, links, stop))
        await live(witnessed.homes, links, stop)
        await reading


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m simulators.chaos.homes", description=__doc__)
    parser.add_argument("--broker", required=True)
    parser.add_argument("--sites", type=Path, required=True)
    parser.add_argument("--controller-key", required=True)
    logging.basicConfig(level=logging.ERROR)  # a broker that goes away is what this is about
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
