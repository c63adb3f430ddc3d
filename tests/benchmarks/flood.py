"""Telemetry of a whole fleet at any rate, in a process of its own: the load under which others are measured.

``python -m tests.benchmarks.flood BROKER SITES A_SECOND STARTS_S EPOCH SEQUENCE``: homes report in turn,
their time running on from an instant, each naming the command in force. The first line of its
input is a JSON list of the power that each home gives; it ends with its input.
"""

import asyncio
import json
import sys
import time

from simulators.batched_client import BatchedClient
from tests.benchmarks.street import sample_of, topic_of
from vpp.adapters.mqtt import Access
from vpp.domain.interval import from_epoch
from vpp.ports import Packet
from vpp.wire.gateway import GatewayKind

EVERY_S = 0.02


async def main(broker: str, sites: int, a_second: int, starts_s: int, pair: tuple[int, int]) -> None:
    """Send until the input ends."""
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(limit=2**24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    power_w: list[int] = json.loads(await lines.readline())
    ending = asyncio.create_task(lines.read())
    async with BatchedClient(Access.from_url(broker, client_id="flood"), filters=["bench/nothing"]) as client:
        began, sent = time.monotonic(), 0
        while not ending.done():
            elapsed_s = time.monotonic() - began
            due = int(elapsed_s * a_second)
            at = from_epoch(starts_s + int(elapsed_s))
            await client.send(
                [
                    Packet(
                        topic_of(number % sites, GatewayKind.TELEMETRY),
                        sample_of(number % sites, at, pair=pair, battery_w=power_w[number % sites]),
                        qos=0,
                    )
                    for number in range(sent, due)
                ]
            )
            sent = due
            await asyncio.sleep(EVERY_S)


if __name__ == "__main__":
    _, broker_url, homes, rate, since_s, epoch, sequence = sys.argv
    asyncio.run(main(broker_url, int(homes), int(rate), int(since_s), (int(epoch), int(sequence))))
