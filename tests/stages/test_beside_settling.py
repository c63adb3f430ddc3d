"""Settling never keeps homes, owners or the grid waiting, and goes through events as they were."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from tests.domain.grid_world import START, version
from vpp.adapters.clock import SteppedClock
from vpp.adapters.ids import RandomIds
from vpp.adapters.memory.broker import MemoryBroker, MemoryTransport
from vpp.adapters.memory.store import MemoryStore
from vpp.domain.grid_event import EventHistory, RawSignal, Receipt
from vpp.ports import Packet
from vpp.runner import Runner, Stages
from vpp.stages.intake import Arrival


async def collect(_: Sequence[Packet]) -> bool:
    return False


async def arrive(_: Sequence[RawSignal]) -> Arrival:
    return Arrival(())


async def intake(_: RawSignal) -> Receipt:
    raise AssertionError("no signal came")


async def idle(fresh: bool) -> bool:
    return fresh


async def test_events_that_wait_for_settlement_are_settled_in_the_order_of_time() -> None:
    store, settled = MemoryStore(), list[str]()
    await store.append_version(
        version(event_id="a-later", starts_at=START + timedelta(days=1)), actor="story"
    )
    await store.append_version(version(event_id="z-earlier"), actor="story")

    async def settle(history: EventHistory) -> bool:
        settled.append(history.latest.event_id)
        return True

    clock = SteppedClock(START + timedelta(days=30))
    async with MemoryTransport(MemoryBroker(), "controller") as transport:
        stages = Stages(collect, arrive, intake, idle, settle)
        runner = Runner(
            stages, clock=clock, ids=RandomIds(), transport=transport, signals=store, tick_s=60, settle_s=60
        )

        assert await runner.settle_ended(clock.now())

    assert settled == ["z-earlier", "a-later"]


async def test_an_owners_no_is_obeyed_while_an_event_of_before_is_settled() -> None:
    ended, told = version(), asyncio.Event()
    store = MemoryStore()
    await store.append_version(ended, actor="story")
    settling, settled = asyncio.Event(), asyncio.Event()

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


async def test_an_event_is_settled_when_it_ends_and_not_a_minute_later() -> None:
    ended, settled = version(), list[str]()
    assert ended.interval is not None
    ends_at = ended.interval.ends_at
    store = MemoryStore()
    await store.append_version(ended, actor="story")

    async def settle(history: EventHistory) -> bool:
        settled.append(history.latest.event_id)
        return True

    clock = SteppedClock(ends_at - timedelta(seconds=10))
    async with MemoryTransport(MemoryBroker(), "controller") as transport:
        stages = Stages(collect, arrive, intake, idle, settle)
        runner = Runner(
            stages, clock=clock, ids=RandomIds(), transport=transport, signals=store, tick_s=60, settle_s=60
        )
        await runner.turn()
        assert not settled

        clock.step_to(ends_at)
        await runner.turn()

    assert settled == [ended.event_id]
