"""The other side of ``fanout`` in a process of its own: homes that verify, decide and sign, or only an echo.

``python -m tests.benchmarks.emulator BROKER SITES CONTROLLER_KID``: every home reports once; then each
command is checked against the controller's key and acknowledged with the home's own. On the topic of the
echo, whatever comes is answered with as many bytes as an acknowledgement has, and nothing else is done.
It reads lines: each asks for the seconds spent so far, said as one line of JSON. It ends with its input.
"""

import asyncio
import contextlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

from simulators.batched_client import BatchedClient
from tests.benchmarks.street import EVENING, key_of, sample_of, topic_of
from vpp.adapters.mqtt import Access
from vpp.domain.interval import from_epoch, to_epoch
from vpp.ports import Packet
from vpp.wire.gateway import Ack, GatewayKind, decode_command, encode_ack
from vpp.wire.signed import sign, split, verify
from vpp.wire.strict_json import GATEWAY_MESSAGE_BYTES

CONNECTIONS = 4  # which share all homes
AT_ONCE = 100  # commands between two writes: the first answers leave while the last commands come
ECHO_ASKED, ECHO_ANSWERED = "bench/asked", "bench/answered"
ANSWER_BYTES = 420  # of a signed acknowledgement


class Emulator:
    """Homes that say yes. ``spent_s`` is what checking and signing took, in seconds of processor time."""

    def __init__(self, controller_kid: str) -> None:
        self.spent_s: defaultdict[str, float] = defaultdict(float)
        self._kid = controller_kid
        self._controller = key_of(controller_kid).verifying_key

    def answer(self, packet: Packet) -> Packet:
        """Return the signed acknowledgement of a command, or the echo's answer."""
        if packet.topic.startswith(ECHO_ASKED):
            return Packet(ECHO_ANSWERED + packet.topic.removeprefix(ECHO_ASKED), bytes(ANSWER_BYTES))
        with self._timed("emulator verifies"):
            message = split(packet.payload, max_bytes=GATEWAY_MESSAGE_BYTES)
            assert message.kid == self._kid
            body = verify(message, self._controller)
        with self._timed("emulator reads, decides, writes"):
            site_id = packet.topic.split("/")[3]
            command = decode_command(body, site_id=site_id)
            at = from_epoch(to_epoch(command.issued_at))
            ack = encode_ack(Ack(site_id, command.event_id, command.epoch, command.sequence, None, at))
        with self._timed("emulator signs"):
            payload = sign(ack, key_of(site_id), site_id)
        return Packet(packet.topic.removesuffix("command") + "ack", payload)

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.spent_s[what] += time.perf_counter() - began


async def serve(emulator: Emulator, client: BatchedClient) -> None:
    """Answer everything that comes on one connection, for ever."""
    while True:
        packets = await client.receive(AT_ONCE)
        await client.send([emulator.answer(packet) for packet in packets])
        await asyncio.sleep(0)


def filters_of(connection: int) -> list[str]:
    """Return what one of the shared connections listens to: its part of the shards, and of the echo."""
    shards = [f"vpp/v1/{shard:02x}/+/command" for shard in range(256) if shard % CONNECTIONS == connection]
    return [*shards, f"{ECHO_ASKED}/{connection}/#"]


async def main(broker: str, sites: int, controller_kid: str) -> None:
    """Report for every home, say so, and serve until the input ends."""
    emulator = Emulator(controller_kid)
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with AsyncExitStack() as stack:
        serving = []
        for number in range(CONNECTIONS):
            access = Access.from_url(broker, client_id=f"emulator-{number}")
            client = await stack.enter_async_context(BatchedClient(access, filters=filters_of(number)))
            await client.send(
                [
                    Packet(topic_of(site, GatewayKind.TELEMETRY), sample_of(site, EVENING), qos=1)
                    for site in range(number, sites, CONNECTIONS)
                ]
            )
            serving.append(asyncio.create_task(serve(emulator, client)))
        while await lines.readline():
            sys.stdout.write(
                json.dumps({**emulator.spent_s, "emulator in all, processor time": time.process_time()})
                + "\n"
            )
            sys.stdout.flush()
        for task in serving:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), sys.argv[3]))
