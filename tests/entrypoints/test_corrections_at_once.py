"""Corrections of overlapping events of a season that nets, at once: the cents of one after the other."""

import asyncio
import inspect
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import wraps
from pathlib import Path
from typing import Any

import pytest

from tests.domain.money_world import EVENT_DAY, Row, a_program, an_evening_history, local
from tests.entrypoints.test_evidence_export import a_desk
from tests.stages.money_story import ENDS_AT, TEN_DAYS, MoneyStory
from vpp.adapters.memory.store import MemoryStore
from vpp.domain.delivery import Quality
from vpp.domain.ledger import JournalEntry, live_settlements, owed_by
from vpp.domain.program import NegativePolicy
from vpp.domain.settlement import Settlement, SettlementTotals
from vpp.entrypoints.operations.books import correct_event
from vpp.entrypoints.operations.money import settle_ended


def not_believed(hour: int) -> list[Row]:
    """Return a second value within an hour of the evening: that hour counts for nothing then."""
    return [(local(EVENT_DAY, hour, 30), 1, 1, Quality.OK)]


class Slow(MemoryStore):
    """A store that lets others have their turn within each call, as a database does."""

    drawn: random.Random | None = None

    def __getattribute__(self, name: str) -> Any:
        """Return a method that waits for some turns, now and then for many; anything else as it is."""
        found = super().__getattribute__(name)
        drawn = object.__getattribute__(self, "drawn")
        if drawn is None or name.startswith("_") or not inspect.iscoroutinefunction(found):
            return found
        call: Callable[..., Awaitable[Any]] = found

        @wraps(call)
        async def slowly(*arguments: Any, **named: Any) -> Any:
            for _ in range(3_000 if drawn.random() < 0.05 else drawn.randrange(4)):
                await asyncio.sleep(0)
            return await call(*arguments, **named)

        return slowly


async def overlapping_and_closed(folder: Path, store: MemoryStore | None = None) -> tuple[MoneyStory, Any]:
    """Return two homes that lost 2 kWh in a long event and gave 3 kWh in a short one inside it, both closed.

    Since then readings came by which one home lost 1 kWh only in the long one, and the other gave nothing in
    the short one: so both events say something new of themselves.
    """
    program = a_program(negative_policy=NegativePolicy.NET_SEASON_FLOOR_ZERO)
    story = replace(MoneyStory(program=program), store=store or Slow())
    for name in ("home", "other"):
        await story.home(name, an_evening_history([0, 4_000, 0], TEN_DAYS))
    middle = (local(EVENT_DAY, 19), local(EVENT_DAY, 20))
    await story.event("long")
    await story.event("short", starts_at=middle[0], ends_at=middle[1])
    await story.dispatched(0, 1, event_id="long")
    await story.dispatched(0, 1, event_id="short", at=middle[0])
    story.clock.step_to(ENDS_AT + timedelta(days=9))
    desk = a_desk(story, folder)
    await settle_ended(desk)
    await story.metered("home", not_believed(20))
    await story.metered("other", not_believed(19))
    return story, desk


async def cents(story: MoneyStory) -> dict[tuple[str, str], tuple[int, int]]:
    """Return the cents settled and booked, by event and home."""
    live = live_settlements(await story.store.entries())
    found = {}
    for event_id in ("long", "short"):
        run = await story.store.settlement(event_id)
        assert run is not None
        for line in run.lines:
            entry = live.get((line.owner_id, line.site_id, run.program_id, event_id))
            booked = 0 if entry is None else owed_by(entry, line.owner_id)
            found[event_id, line.site_id] = (line.amount // 10_000, booked // 10_000)
    return found


BEFORE = {
    ("long", "home"): (0, 0), ("long", "other"): (0, 0),
    ("short", "home"): (200, 200), ("short", "other"): (200, 200),
}  # fmt: skip
EXPECTED = BEFORE | {("short", "home"): (400, 400), ("short", "other"): (0, 0)}


@pytest.mark.parametrize("order", [("long", "short"), ("short", "long")])
async def test_corrections_one_after_another_reach_the_same_cents_in_any_order(
    tmp_path: Path, order: tuple[str, ...]
) -> None:
    story, desk = await overlapping_and_closed(tmp_path)
    assert await cents(story) == BEFORE

    for event_id in order:
        await correct_event(desk, event_id=event_id, reason="late reading", actor="staff:ana")

    assert await cents(story) == EXPECTED


@pytest.mark.parametrize("seed", range(10))
async def test_two_corrections_at_once_reach_the_cents_of_one_after_the_other(
    tmp_path: Path, seed: int
) -> None:
    story, desk = await overlapping_and_closed(tmp_path)
    assert isinstance(story.store, Slow)
    story.store.drawn = random.Random(seed)

    await asyncio.gather(
        *(
            correct_event(desk, event_id=event_id, reason="late reading", actor=f"staff:{event_id}")
            for event_id in ("long", "short", "short")
        )
    )

    story.store.drawn = None
    assert await cents(story) == EXPECTED
    again = [
        await correct_event(desk, event_id=each, reason="again", actor="staff:ana")
        for each in ("long", "short")
    ]
    assert [each["entries"] for each in again] == [0, 0]
    assert sum(each.amount for entry in await story.store.entries() for each in entry.postings) == 0


class Held(MemoryStore):
    """A store in which one task waits before one of its writes until it is let go."""

    held: tuple[str, str] = ("", "")  # task and method

    def __init__(self) -> None:
        super().__init__()
        self.waiting, self.go_on = asyncio.Event(), asyncio.Event()

    async def settle(self, settlement: Settlement) -> SettlementTotals:
        """Store a settlement."""
        await self._hold("settle")
        return await super().settle(settlement)

    async def post(self, entries: Sequence[JournalEntry]) -> None:
        """Append entries."""
        await self._hold("post")
        await super().post(entries)

    async def _hold(self, method: str) -> None:
        task = asyncio.current_task()
        if task is not None and self.held == (task.get_name(), method):
            self.held = ("", "")
            self.waiting.set()
            await self.go_on.wait()


@pytest.mark.parametrize("method", ["settle", "post"])
@pytest.mark.parametrize("order", [("short", "long"), ("long", "short")])
async def test_a_correction_that_writes_when_another_is_done_leaves_nothing_stale(
    tmp_path: Path, method: str, order: tuple[str, str]
) -> None:
    store = Held()
    story, desk = await overlapping_and_closed(tmp_path, store)
    late, soon = order
    store.held = (late, method)

    slow = asyncio.create_task(correct_event(desk, event_id=late, reason="late", actor="staff:a"), name=late)
    await asyncio.wait_for(store.waiting.wait(), 5)
    await correct_event(desk, event_id=soon, reason="late", actor="staff:b")
    store.go_on.set()
    await asyncio.wait_for(slow, 5)

    assert await cents(story) == EXPECTED
    assert sum(each.amount for entry in await story.store.entries() for each in entry.postings) == 0
