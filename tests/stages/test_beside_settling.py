"""Settling never keeps homes, owners or the grid waiting."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from tests.domain.grid_world import version
from vpp.adapters.clock import SteppedClock
from vpp.adapters.ids import RandomIds
from vpp.adapters.memory.broker import MemoryBroker, MemoryTransport
from vpp.adapters.memory.store import MemoryStore
from vpp.domain.grid_event import EventHistory, RawSignal, Receipt
from vpp.ports import Packet
from vpp.runner import Runner, Stages


async def test_an_owners_no_is_obeyed_while_an_event_of_before_is_settled() -> None:
    ended, told = version(), asyncio.Event()
    store = MemoryStore()
    await store.append_version(ended, actor="story")
    settling, settled = asyncio.Event(), asyncio.Event()

    async def collect(_: Sequence[Packet]) -> bool:
        return False

    async def arrive(_: Sequence[RawSignal]) -> tuple[dict[str, str], frozenset[str]]:
        return {}, frozenset()

    async def intake(_: RawSignal) -> Receipt:
        raise AssertionError("no signal came")

    async def control(fresh: bool) -> bool:
        if settling.is_set():
            told.set()
        return fresh

    async def settle(_: EventHistory) -> bool:
        settling.set()
        await settled.wait()
        return True

    broker, stop = MemoryBroker(), asyncio.Event()
    assert ended.interval is not None
    clock = SteppedClock(ended.interval.ends_at + timedelta(days=1))
    async with MemoryTransport(broker, "controller") as transport:
        runner = Runner(
            Stages(collect, arrive, intake, control, settle),
            clock=clock,
            ids=RandomIds(),
            transport=transport,
            signals=store,
            tick_s=60,
            settle_s=60,
        )
        running = asyncio.create_task(runner.run(stop))
        await asyncio.wait_for(settling.wait(), 5)
        runner.wake()
        await asyncio.wait_for(told.wait(), 5)
        settled.set()
        stop.set()
        await asyncio.wait_for(running, 5)
