"""Newer versions of an event, leave for them, and what is said to homes meanwhile."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from tests.stages.world import EVENING, World
from vpp.domain.command import Order
from vpp.domain.grid_event import Grant, GrantKind, Step
from vpp.domain.interval import Interval
from vpp.domain.quantities import Watts
from vpp.domain.replay import StoredDispatch, replayed

MINUTE = timedelta(minutes=1)


async def approve(world: World, number: int, event_id: str = "ev-1") -> None:
    await world.store.grant(Grant(event_id, number, GrantKind.APPROVE, "second", world.clock.now()))


async def newer(world: World, event_id: str = "ev-1", **changes: Any) -> None:
    """Commit a newer version of an event that differs in a few words."""
    history = await world.store.history(event_id)
    assert history is not None
    number, now = history.latest.version + 1, world.clock.now()
    changed = replace(
        history.latest, version=number, modified_at=now, committed_at=now,
        content_sha256=f"{number:064x}", **changes,
    )  # fmt: skip
    await world.store.append_version(changed, actor="story")


def stretch(power_w: int | None, *, begins: timedelta, ends: timedelta) -> Step:
    return Step(Interval(EVENING + begins, EVENING + ends), None if power_w is None else Watts(power_w))


async def faults(world: World, event_id: str = "ev-1") -> list[str]:
    """Return what is wrong with the commands of an event, read again from the store."""
    history = await world.store.history(event_id)
    assert history is not None
    stored = StoredDispatch(
        history=history,
        ticks=await world.store.event_ticks(event_id),
        revisions=await world.store.revisions(event_id),
        opt_outs=(),
        site_no_of=world.roster.site_no_of,
    )
    return [fault for _, fault in replayed(stored) if fault is not None]


async def run(world: World, *, until: timedelta, charge: int = 800) -> list[tuple[timedelta, Order]]:
    """Let homes give what they are asked, and return every order with its time after the evening began."""
    orders = []
    while world.clock.now() < EVENING + until:
        world.deliver(soc_permille=[charge] * len(world.fleet))
        tick = await world.tick(seconds=15)
        if tick is not None and tick.orders:
            await world.answer(tick)
            orders += [(tick.at - EVENING, order) for order in tick.orders]
    return orders


def planned(world: World, event_id: str = "ev-1") -> list[int]:
    return world.board.plans[event_id].setpoint_w.tolist()
