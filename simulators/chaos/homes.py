"""Homes in a process of their own that witness what they execute, and do what a line on standard input says.

It begins with their weeks before the run, writes the files that an operator enrols them with, and prints
where the meter files are. ``live BROKER KID:KEY`` connects them; ``reboot N`` restarts N gateways, ``speak``
lets everybody say who is there and send what nobody confirmed, ``report`` prints one line of JSON: what each
home executed since the last report, and what it still holds.
"""

import argparse
import asyncio
import json
import logging
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random

import numpy as np

from simulators.chaos.plan import FEW_HOMES
from simulators.command_disk import DiskContent, MemoryDisk
from simulators.fleet import Link, live, now_s
from simulators.history import READ_EVERY_S, History, live_through, three_weeks_before
from simulators.home_files import (
    CONSENT_BEFORE_HISTORY,
    SITES_FILE,
    gateway_key,
    read_controller_key,
    write_history_csv,
    write_sites_csv,
)
from simulators.homes import Homes, make_gateway
from simulators.household import Neighbourhood, Surroundings, neighbourhood
from vpp.adapters.clock import WallClock
from vpp.adapters.mqtt import Access, Backoff, MqttTransport
from vpp.domain.enrollment import shard_of
from vpp.domain.interval import from_epoch
from vpp.ports import Packet

PROGRAM = "elrp-a4-pge"
SATURDAY = 5  # as datetime counts
HOMES_IN_A_FILE = 1000  # of an import; a larger file only takes more memory
SHARED_BY = 100  # homes on a connection, where there are more than a few hundred
AT_ONCE = Backoff(first_s=0.05, longest_s=0.5)  # a test of the controller must not wait for patient homes
AT_LEISURE = Backoff(first_s=1.0, longest_s=10.0)


class WitnessDisk(MemoryDisk):
    """A gateway's disk that remembers every command that was stored to be acted on."""

    def __init__(self) -> None:
        super().__init__()
        self.executed: list[tuple[int, int]] = []
        self._unanswered: dict[str, tuple[int, int]] = {}

    def told(self) -> list[tuple[int, int]]:
        """Return what was executed since this was asked last."""
        new, self.executed = self.executed, []
        return new

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


@dataclass(frozen=True, slots=True)
class Past:
    """Homes, and the weeks that all of them lived through at once before anybody enrolled them."""

    homes: Neighbourhood
    surroundings: Surroundings
    history: History

    @classmethod
    def of(cls, count: int, seed: int, *, until: datetime) -> "Past":
        """Return so many homes and their three weeks."""
        began = three_weeks_before(until).replace(minute=0, second=0, microsecond=0)
        homes = neighbourhood(count, seed, programs=(PROGRAM,), year=until.year)
        surroundings = Surroundings(homes)
        return cls(homes, surroundings, live_through(homes, surroundings, starts_at=began, ends_at=until))

    def write(self, out: Path, hours: int) -> list[Path]:
        """Write the enrolment file and the meter files, and return where these are.

        A meter file holds some homes, and of each day the full hours from the present one on, so many and
        the one after: more no event of the run will touch. With less than whole days it holds on a weekday
        only weekdays, of which baselines are made.
        """
        out.mkdir(parents=True, exist_ok=True)
        read_at_s = self.history.read_at_s
        consent_at = from_epoch(int(read_at_s[0])) - CONSENT_BEFORE_HISTORY
        write_sites_csv(out / SITES_FILE, self.homes, consent_at=consent_at)
        hours_ago = (read_at_s[-1] - read_at_s) // READ_EVERY_S
        # Wherever the run is, it is about noon there: so many hours later it is still the same day.
        weekday = (from_epoch(int(read_at_s[-1])).weekday() - -(-hours_ago // 24)) % 7
        similar = (weekday < SATURDAY) | (hours >= 24) | (weekday[-1] >= SATURDAY)
        kept = np.flatnonzero(similar & (-hours_ago % 24 <= hours)).tolist()
        files = []
        for first in range(0, len(self.homes), HOMES_IN_A_FILE):
            files.append(out / f"history-{first}.csv")
            rows = range(first, min(first + HOMES_IN_A_FILE, len(self.homes)))
            write_history_csv(files[-1], self.homes, self.history, rows=rows, kept=kept)
        return files


class WitnessedHomes:
    """The homes, their disks, and what one of the lines asks of them."""

    def __init__(self, past: Past, controller_key: str) -> None:
        homes = past.homes
        self.random = Random(homes.seed)
        self.site_ids = list(homes.site_id)
        self.disks = {site_id: WitnessDisk() for site_id in self.site_ids}
        gateways = [
            make_gateway(
                homes,
                row,
                history=past.history,
                surroundings=past.surroundings,
                key=gateway_key(homes.seed, site_id),
                shard=shard_of(row),
                controller_keys=read_controller_key(controller_key, None),
                disk=self.disks[site_id],
                boot_id=self._boot_id(),
            )
            for row, site_id in enumerate(self.site_ids)
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
            _say(self.report())
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
        """Return what every home executed since the last report, in order, and what nobody confirmed."""
        gateways = [self.homes.gateway(site_id) for site_id in self.site_ids]
        return {
            "executed": {site_id: new for site_id, disk in self.disks.items() if (new := disk.told())},
            "unconfirmed": sum(len(each) for gateway in gateways for each in gateway.buffers),
            "online": sum(gateway.online for gateway in gateways),
            "discharging": sum(gateway.inverter.discharging for gateway in gateways),
        }


def make_links(witnessed: WitnessedHomes, broker: str) -> list[Link]:
    """Return a connection for each home, or of many homes one for a hundred."""
    site_ids, homes = witnessed.site_ids, witnessed.homes
    few = len(site_ids) <= FEW_HOMES
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


async def _lines() -> asyncio.StreamReader:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    return reader


async def _obey_lines(
    lines: asyncio.StreamReader, witnessed: WitnessedHomes, links: list[Link], stop: asyncio.Event
) -> None:
    link_of = {site_id: link for link in links for site_id in link.site_ids}
    async for line in lines:
        outgoing: dict[int, tuple[Link, list[Packet]]] = {}
        for packet in witnessed.obey(line.decode().strip()):
            link = link_of[packet.topic.split("/")[3]]
            outgoing.setdefault(id(link), (link, []))[1].append(packet)
        for link, packets in outgoing.values():
            await link.transport.send(packets)
    stop.set()


async def run(arguments: argparse.Namespace) -> None:
    """Make the homes and their files, then let them live until standard input ends."""
    past = Past.of(arguments.count, arguments.seed, until=WallClock().now())
    _say({"history": [str(path) for path in past.write(arguments.out, arguments.hours)]})
    lines = await _lines()
    word, _, rest = (await lines.readline()).decode().strip().partition(" ")
    if word != "live":
        return
    broker, _, controller_key = rest.partition(" ")
    witnessed = WitnessedHomes(past, controller_key)
    links, stop = make_links(witnessed, broker), asyncio.Event()
    async with AsyncExitStack() as stack:
        for link in links:
            await stack.enter_async_context(link.transport)
        reading = asyncio.create_task(_obey_lines(lines, witnessed, links, stop))
        await live(witnessed.homes, links, stop)
        await reading


def _say(facts: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(prog="python -m simulators.chaos.homes", description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--hours", type=int, required=True, help="of each day, from the present one on")
    logging.basicConfig(level=logging.ERROR)  # a broker that goes away is what this is about
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
