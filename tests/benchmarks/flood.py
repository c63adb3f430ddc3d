"""Telemetry of a whole fleet at any rate, in a process of its own: the load under which others are measured.

``python -m tests.benchmarks.flood BROKER SITES A_SECOND STARTS_S EPOCH SEQUENCE``: homes report in turn,
their time running on from an instant, each naming the command in force and giving what that asks. The
first line of its input is a JSON list of the power that each home gives; it ends with its input, and says
as one line of JSON when each home was first told to give nothing, by the machine's monotonic clock.
"""

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from datetime import datetime

from simulators.batched_client import BatchedClient
from tests.benchmarks.street import sample_of, topic_of
from vpp.adapters.mqtt import Access
from vpp.domain.interval import from_epoch
from vpp.ports import Packet
from vpp.wire.gateway import GatewayKind, decode_command
from vpp.wire.signed import split
from vpp.wire.strict_json import GATEWAY_MESSAGE_BYTES

EVERY_S = 0.02
COMMANDS = "vpp/v1/+/+/command"


class Homes:
    """The newest command's pair and power of each home. They obey; another process answers for them."""

    def __init__(self, power_w: list[int], pair: tuple[int, int]) -> None:
        self._power_w = power_w
        self._pair = [pair] * len(power_w)
        self.stopped_at: dict[int, float] = {}

    def obey(self, packets: Sequence[Packet]) -> None:
        """Take commands."""
        for packet in packets:
            body = split(packet.payload, max_bytes=GATEWAY_MESSAGE_BYTES).body
            command = decode_command(body, site_id=None)
            site_no = int(command.site_id.removeprefix("s-"))
            self._pair[site_no] = (command.epoch, command.sequence)
            self._power_w[site_no] = command.discharge_w
            if command.discharge_w == 0:
                self.stopped_at.setdefault(site_no, time.monotonic())

    def sample(self, site_no: int, at: datetime) -> Packet:
        """Return what a home reports at an instant."""
        payload = sample_of(site_no, at, pair=self._pair[site_no], battery_w=self._power_w[site_no])
        return Packet(topic_of(site_no, GatewayKind.TELEMETRY), payload, qos=0)


async def main(broker: str, sites: int, a_second: int, starts_s: int, pair: tuple[int, int]) -> None:
    """Send until the input ends."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=2**24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    homes = Homes(json.loads(await lines.readline()), pair)
    ending = asyncio.create_task(lines.read())
    async with BatchedClient(Access.from_url(broker, client_id="flood"), filters=[COMMANDS]) as client:
        began, sent = time.monotonic(), 0
        while not ending.done():
            elapsed_s = time.monotonic() - began
            due = int(elapsed_s * a_second)
            at = from_epoch(starts_s + int(elapsed_s))
            homes.obey(client.received_now())
            await client.send([homes.sample(number % sites, at) for number in range(sent, due)])
            sent = due
            await asyncio.sleep(EVERY_S)
        homes.obey(client.received_now())
    sys.stdout.write(json.dumps(homes.stopped_at) + "\n")


if __name__ == "__main__":
    _, broker_url, sites_in_all, rate, since_s, epoch, sequence = sys.argv
    asyncio.run(main(broker_url, int(sites_in_all), int(rate), int(since_s), (int(epoch), int(sequence))))
