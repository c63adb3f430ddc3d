"""The other side of a demonstration: homes and a grid operator in a child process, and a measured wire.

Knows the child's command line and its lines of JSON, and nothing of what is in the packets between. The two
processes agree on each instant by counting packets, so a slow machine takes longer and computes the same.
"""

import asyncio
import json
import sys
import time
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from vpp.entrypoints.operations.desk import OperationRefused, instant
from vpp.ports import Packet, Transport

PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Homes:
    """Homes made for a story, and what a controller must know before it begins."""

    sites_file: Path
    keys_file: Path
    history_file: Path
    scenario: str
    title: str
    source: str
    source_public_key: str
    max_mw: int
    starts_at: datetime
    ends_at: datetime
    event_ids: tuple[str, ...]
    record: dict[str, Any] | None


async def make_homes(folder: Path, *, sites: int, seed: int, scenario: str) -> Homes:
    """Write the files of that many homes with weeks of history up to the story's beginning.

    Raises:
        OperationRefused: There is no such story, or it cannot be played with so many homes.
    """
    words = ("homes", "--count", str(sites), "--seed", str(seed), "--scenario", scenario, "--evenings")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulators", *words, "--out", str(folder),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, complaint = await child.communicate()
    if child.returncode != 0:
        raise OperationRefused(complaint.decode().strip() or f"making homes ended with {child.returncode}")
    made = json.loads(out)
    return Homes(
        sites_file=Path(made["sites"]),
        keys_file=Path(made["keys"]),
        history_file=Path(made["history"]),
        scenario=made["scenario"],
        title=made["title"],
        source=made["source"],
        source_public_key=made["source_public_key"],
        max_mw=made["max_mw"],
        starts_at=datetime.fromisoformat(made["starts_at"]),
        ends_at=datetime.fromisoformat(made["ends_at"]),
        event_ids=tuple(made["event_ids"]),
        record=made["record"],
    )


class HomesProcess:
    """The running child. It ends when its standard input closes, however this process dies."""

    def __init__(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdin is not None
        assert child.stdout is not None
        self._child, self._in, self._out = child, child.stdin, child.stdout

    async def ready(self) -> int:
        """Return how many packets the homes sent while they came online."""
        return int((await self._hear())["sent"])

    async def step(self, at: datetime, sent: int) -> int:
        """Let the homes live until an instant, after they took all packets sent; return theirs in all."""
        await self._say({"step": instant(at), "sent": sent})
        return int((await self._hear())["sent"])

    async def report(self) -> dict[str, Any]:
        """Return what the homes themselves saw: reserve violations, energy by event."""
        await self._say({"report": True})
        report = (await self._hear())["report"]
        assert isinstance(report, dict)
        return report

    async def _say(self, line: dict[str, Any]) -> None:
        self._in.write(json.dumps(line).encode() + b"\n")
        await self._in.drain()

    async def _hear(self) -> dict[str, Any]:
        line = await self._out.readline()
        if not line:
            code = await self._child.wait()
            raise OperationRefused(f"the simulated homes ended with {code}; their last words stand above")
        answer = json.loads(line)
        assert isinstance(answer, dict)
        return answer


@asynccontextmanager
async def run_homes(homes: Homes, *, broker_url: str, controller_key: str) -> AsyncIterator[HomesProcess]:
    """Give the homes, connected to a broker; they leave at the end."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "simulators", "demo", "--broker", broker_url, "--sites", str(homes.sites_file),
        "--keys", str(homes.keys_file), "--controller-key", controller_key, "--scenario", homes.scenario,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us; the child hears of it when its input closes
    )  # fmt: skip
    try:
        yield HomesProcess(child)
    finally:
        assert child.stdin is not None
        child.stdin.close()
        try:
            await asyncio.wait_for(child.wait(), 10.0)
        except TimeoutError:
            child.kill()
            await child.wait()


class MeasuredTransport:
    """A transport that counts packets both ways and times each command until its acknowledgement."""

    def __init__(self, wire: Transport) -> None:
        self._wire = wire
        self._open: defaultdict[str, deque[float]] = defaultdict(deque)
        self.sent = self.received = self.commands = 0
        self.answered_s: list[float] = []

    async def send(self, packets: Sequence[Packet]) -> None:
        """Take packets for sending."""
        now = time.perf_counter()
        self.sent += len(packets)
        for packet in packets:
            site, _, kind = packet.topic.rpartition("/")
            if kind == "command":
                self.commands += 1
                self._open[site].append(now)
        await self._wire.send(packets)

    async def receive(self, limit: int = 1000) -> Sequence[Packet]:
        """Return what has arrived, waiting for at least one packet."""
        return self._note(await self._wire.receive(limit))

    def received_now(self, limit: int = 1000) -> Sequence[Packet]:
        """Return what has arrived already, perhaps nothing."""
        return self._note(self._wire.received_now(limit))

    async def receive_all(self, promised: int) -> list[Packet]:
        """Return everything up to the packet of that number.

        Raises:
            OperationRefused: It did not come within two minutes.
        """
        packets: list[Packet] = []
        try:
            async with asyncio.timeout(PATIENCE_S):
                while self.received < promised:
                    packets.extend(await self.receive())
        except TimeoutError as late:
            raise OperationRefused(
                f"{self.received} of {promised} packets of the homes came within {PATIENCE_S:g} s"
            ) from late
        return packets

    async def flush(self) -> None:
        """Return when the broker has everything taken so far."""
        await self._wire.flush()

    @property
    def connected(self) -> bool:
        """Return whether the broker can be reached now."""
        return self._wire.connected

    def _note(self, packets: Sequence[Packet]) -> Sequence[Packet]:
        now = time.perf_counter()
        self.received += len(packets)
        for packet in packets:
            site, _, kind = packet.topic.rpartition("/")
            if kind == "ack" and self._open[site]:
                self.answered_s.append(now - self._open[site].popleft())
        return packets

    def answered_p99_s(self) -> float:
        """Return the time within which 99 % of acknowledgements came, in seconds of wall time."""
        ordered = sorted(self.answered_s)
        return round(ordered[(99 * len(ordered) - 1) // 100], 3) if ordered else 0.0
