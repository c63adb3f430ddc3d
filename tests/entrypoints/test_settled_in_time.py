"""An event's money is told within a minute of the last reading that says something about it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.domain.money_world import a_meter
from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb
from vpp.adapters.memory.store import MemoryStore
from vpp.domain.awaited_readings import awaited_readings
from vpp.domain.command import AckBatch
from vpp.domain.delivery import MeterMessage, MeterReading, Quality
from vpp.domain.fleet import TelemetryBatch
from vpp.domain.quantities import WattHours
from vpp.domain.settlement import Settlement, SettlementState
from vpp.entrypoints.operations import events, starting
from vpp.ports import Heard, Packet

DAY = timedelta(days=1)
NOTHING = np.zeros(0, dtype=np.int64)


class Listening:
    """The link to the homes, where a test says what was heard."""

    def __init__(self, link: Any) -> None:
        self._link = link
        self.meter: Sequence[MeterMessage] = ()

    def decode(self, _packets: Sequence[Packet]) -> Heard:
        heard, self.meter = self.meter, ()
        return Heard(
            TelemetryBatch(*(NOTHING for _ in TelemetryBatch.__slots__)),
            AckBatch(*(NOTHING for _ in AckBatch.__slots__)),
            heard,
            (),
        )

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)


class CountingStore(MemoryStore):
    """Counts how often an event is settled."""

    settled = 0

    async def settle(self, settlement: Settlement) -> None:
        self.settled += 1
        await super().settle(settlement)


async def an_ended_event(
    folder: Path, *, homes: int = 2, store: MemoryStore | None = None
) -> tuple[Suburb, Listening]:
    """Return homes whose event was on for half an hour and ended a moment ago."""
    suburb = await a_suburb(folder, homes=homes, store=store)
    await starting.start_event(
        suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw="0.01", starts_at="now", actor="staff:ana"
    )
    await suburb.pass_time(60)
    suburb.clock.step_to(suburb.clock.now() + timedelta(minutes=29))
    await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")
    await suburb.pass_time(60)
    link = Listening(suburb.controller.link)
    suburb.controller.link = link  # type: ignore[assignment]  # all of the link but what is heard
    return suburb, link


def a_message(suburb: Suburb, site_id: str, *, minutes: int = 120) -> MeterMessage:
    """Return a home's readings of the last minutes, the newest of this instant."""
    newest = suburb.clock.now().replace(second=0)
    first = (newest - timedelta(minutes=minutes)).replace(minute=0)
    rows = a_meter({first + timedelta(hours=each): 1_000 for each in range(4)}, every_s=60)
    readings = tuple(
        MeterReading(site_id, "b" * 32, index, at, WattHours(out), WattHours(inn), None, Quality.OK)
        for index, (at, out, inn, _) in enumerate(rows, start=1)
        if at <= newest
    )
    return MeterMessage(site_id, "b" * 32, 1, readings)


async def qualities(suburb: Suburb) -> dict[str, set[str]]:
    settlement = await suburb.desk.store.settlement("hot-1")
    assert settlement is not None
    return {line.site_id: {hour.quality.value for hour in line.hours} for line in settlement.lines}


@pytest.mark.parametrize("later_s", [30, 90, 150, 600])
async def test_the_last_homes_reading_is_settled_within_a_minute(tmp_path: Path, later_s: int):
    suburb, link = await an_ended_event(tmp_path)
    link.meter = [a_message(suburb, "s-000")]
    await suburb.controller.collect(())
    await suburb.pass_time(later_s)
    assert await qualities(suburb) == {"s-000": {"OK"}, "s-001": {"MISSING"}}

    link.meter = [a_message(suburb, "s-001")]
    await suburb.controller.collect(())
    await suburb.pass_time(60)

    assert await qualities(suburb) == {"s-000": {"OK"}, "s-001": {"OK"}}


async def test_homes_that_come_one_by_one_are_settled_a_few_at_a_time_and_the_last_within_a_minute(
    tmp_path: Path,
):
    store = CountingStore()
    suburb, link = await an_ended_event(tmp_path, homes=40, store=store)
    store.settled = 0
    for number in range(40):
        link.meter = [a_message(suburb, f"s-{number:03}")]
        await suburb.controller.collect(())
        if number == 20:
            assert {"OK"} in (await qualities(suburb)).values()
        await suburb.pass_time(75)

    assert set(map(tuple, (await qualities(suburb)).values())) == {("OK",)}
    assert 4 <= store.settled <= 12


async def test_only_readings_that_may_complete_an_hour_are_awaited(tmp_path: Path):
    suburb, _ = await an_ended_event(tmp_path)
    settlement = await suburb.desk.store.settlement("hot-1")
    assert settlement is not None

    awaited = awaited_readings(settlement)

    assert awaited is not None
    assert awaited.missing == {"s-000", "s-001"}
    assert awaited.answered_by([a_message(suburb, "s-001")]) == {"s-001"}
    assert awaited.without({"s-001"}).homes == {"s-000"}
    assert not awaited.answered_by([a_message(suburb, "s-002")])
    later = replace(awaited, starts_at=awaited.starts_at + DAY, ends_at=awaited.ends_at + DAY)
    assert not later.answered_by([a_message(suburb, "s-001")])
    assert awaited_readings(replace(settlement, state=SettlementState.FINAL)) is None
