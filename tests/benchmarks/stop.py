"""From an owner's no, and from a cancel, to the home and its answer: in mid-event, under ten times the load.

The whole controller on SQLite over a real mosquitto with 10,000 homes that discharge. They report every three
seconds instead of every thirty while owners say no, one after the other, and then the event is cancelled.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import cast

import numpy as np

from simulators.batched_client import BatchedClient
from tests.benchmarks.fanout import Bench, a_bench, notification, percentile_99, until
from tests.benchmarks.measuring import Figure, at_most
from tests.benchmarks.street import EVENING, key_of, site_of
from tests.mosquitto import Mosquitto
from vpp.adapters.device_link import GatewayLink
from vpp.adapters.mqtt import Access
from vpp.domain.grid_event import Operation
from vpp.domain.interval import to_epoch
from vpp.entrypoints.operations.desk import Desk
from vpp.entrypoints.operations.sites import opt_out_site
from vpp.ports import Heard, Packet
from vpp.wire.signed import sign

SITES = at_most(10_000)
TIMES_THE_LOAD, SAMPLE_EVERY_S = 10, 30
NOES, BETWEEN_S = at_most(400) // 2, 0.1
EVENT = "ev-0"


class NotingLink:
    """The controller's link, which notes when each home's answers to which commands were verified."""

    def __init__(self, link: GatewayLink) -> None:
        self._link = link
        self._answers: defaultdict[int, list[tuple[int, float]]] = defaultdict(list)  # sequence, moment

    def __getattr__(self, name: str) -> object:
        return getattr(self._link, name)

    def decode(self, packets: Sequence[Packet]) -> Heard:
        """Return what packets say."""
        heard = self._link.decode(packets)
        now = time.perf_counter()
        for site_no, sequence in zip(heard.acks.site_no.tolist(), heard.acks.sequence.tolist(), strict=True):
            self._answers[site_no].append((sequence, now))
        return heard

    def answered_at(self, site_no: int, above: int) -> float | None:
        """Return when a home first answered a command with a number above this one."""
        return next((at for sequence, at in self._answers[site_no] if sequence > above), None)


@asynccontextmanager
async def flooded(bench: Bench, broker: Mosquitto) -> AsyncIterator[dict[int, float]]:
    """Let every home report ten times as often as it would, and time go on.

    Gives a dictionary that holds, after the end, when each home was first told to stop.
    """
    board = bench.controller.board
    assert board is not None
    rate = SITES * TIMES_THE_LOAD // SAMPLE_EVERY_S
    words = (SITES, rate, to_epoch(EVENING), board.epoch, board.tick_number)
    flood = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.benchmarks.flood", broker.url, *(str(each) for each in words),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**24,
    )  # fmt: skip
    stopped_at: dict[int, float] = {}
    assert flood.stdin is not None
    assert flood.stdout is not None
    flood.stdin.write(json.dumps(board.leases.setpoint_w.tolist()).encode() + b"\n")
    passing = asyncio.create_task(_pass_time(bench))
    known = bench.wire.samples
    try:
        await until(lambda: bench.wire.samples > known + rate)
        yield stopped_at
    finally:
        passing.cancel()
        flood.stdin.close()
        said: dict[str, float] = json.loads(await flood.stdout.readline())
        stopped_at.update({int(site_no): at for site_no, at in said.items()})
        await flood.wait()


async def _pass_time(bench: Bench) -> None:
    began = time.monotonic()
    while True:
        bench.clock.step_to(EVENING + timedelta(seconds=time.monotonic() - began))
        await asyncio.sleep(0.02)


async def say_no(bench: Bench, desk: Desk, link: NotingLink) -> list[float]:
    """Return the seconds from each owner's word to the answer of that home."""
    board = bench.controller.board
    assert board is not None
    asked: dict[int, tuple[float, int]] = {}
    for number in range(NOES):
        site_no = number * (SITES // NOES)
        asked[site_no] = time.perf_counter(), board.tick_number
        await opt_out_site(desk, site_id=site_of(site_no), event_id=EVENT, actor="owner:o")
        await asyncio.sleep(BETWEEN_S)
    return await waits(link, asked)


async def cancel(bench: Bench, client: BatchedClient, link: NotingLink) -> list[float]:
    """Return the seconds from the cancel to each home's answer."""
    board = bench.controller.board
    assert board is not None
    asked = time.perf_counter(), board.tick_number
    discharging = np.flatnonzero(board.leases.setpoint_w > 0).tolist()
    payload = sign(notification(0, Operation.DELETE), key_of("operator"), "operator")
    await client.send([Packet("grid/v1/operator/event", payload)])
    return await waits(link, dict.fromkeys(discharging, asked))


async def waits(link: NotingLink, asked: Mapping[int, tuple[float, int]]) -> list[float]:
    """Return each home's seconds to its first answer to anything that was committed after it was asked."""
    await until(lambda: all(link.answered_at(site_no, above) for site_no, (_, above) in asked.items()))
    answers = [(link.answered_at(site_no, above), began) for site_no, (began, above) in asked.items()]
    return [at - began for at, began in answers if at is not None]


async def run() -> list[Figure]:
    """Return how long an owner and a grid operator wait."""
    with tempfile.TemporaryDirectory(prefix="vpp-benchmark-") as folder:
        async with (
            Mosquitto(Path(folder)) as broker,
            a_bench(SITES, broker, Path(folder)) as bench,
            BatchedClient(
                Access.from_url(broker.url, client_id="operator"), filters=["bench/nothing"]
            ) as client,
        ):
            link = NotingLink(bench.controller.link)
            bench.controller.link = cast(GatewayLink, link)
            await bench.round_trip(client, notification(0, Operation.CREATE))
            desk = Desk(
                bench.controller.store,
                bench.clock,
                bench.keys,
                bench.controller.programs,
                changed=bench.controller.wake,
            )
            async with flooded(bench, broker) as stopped_at:
                began, known = time.perf_counter(), bench.wire.samples
                noes = await say_no(bench, desk, link)
                cancelled_at = time.monotonic()
                stops = await cancel(bench, client, link)
                rate = (bench.wire.samples - known) / (time.perf_counter() - began)
    told = [at - cancelled_at for at in stopped_at.values() if at > cancelled_at]
    size = f"{SITES:>6,} homes"
    return [
        Figure(f"{size}: samples a second meanwhile", rate, "/s"),
        Figure(f"{size}: opt-out to the home's answer, median", statistics.median(noes), "s"),
        Figure(f"{size}: opt-out to the home's answer, 99 %", percentile_99(noes), "s"),
        Figure(f"{size}: cancel to the release at the home, 99 %", percentile_99(told), "s"),
        Figure(f"{size}: cancel to the homes' answers, 99 %", percentile_99(stops), "s"),
    ]
