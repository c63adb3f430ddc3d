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
from vpp.domain.awaited_readings import AwaitedReadings, awaited_readings
from vpp.domain.command import AckBatch
from vpp.domain.delivery import MeterMessage, MeterReading, Quality
from vpp.domain.fleet import TelemetryBatch
from vpp.domain.interval import Interval
from vpp.domain.quantities import WattHours
from vpp.domain.settlement import Settlement, SettlementState, SettlementTotals
from vpp.entrypoints.operations import events, starting
from vpp.ports import Heard, Packet
from vpp.stages.settle import settle

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
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
    """Counts how often a settlement says something new."""

    settled = 0

    async def settle(self, settlement: Settlement) -> SettlementTotals:
        stands = await super().settle(settlement)
        self.settled += stands.settled_at == settlement.settled_at
        return stands


async def an_ended_event(
    folder: Path, *, homes: int = 2, store: MemoryStore | None = None, power_mw: str = "0.01"
) -> tuple[Suburb, Listening]:
    """Return homes whose event was on for half an hour and ended a moment ago."""
    suburb = await a_suburb(folder, homes=homes, store=store)
    await starting.start_event(
        suburb.desk,
        event_id="hot-1",
        program_id=PROGRAM,
        power_mw=power_mw,
        starts_at="now",
        actor="staff:ana",
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


@pytest.mark.parametrize("later_s", [30, 600, 2_000])
async def test_a_home_that_spoke_is_settled_within_a_minute_though_another_never_speaks(
    tmp_path: Path, later_s: int
):
    suburb, link = await an_ended_event(tmp_path, homes=3)
    await suburb.pass_time(later_s)
    link.meter = [a_message(suburb, "s-000")]
    await suburb.controller.collect(())
    await suburb.pass_time(75)

    link.meter = [a_message(suburb, "s-001")]
    await suburb.controller.collect(())
    await suburb.pass_time(60)

    assert await qualities(suburb) == {"s-000": {"OK"}, "s-001": {"OK"}, "s-002": {"MISSING"}}


async def test_homes_that_come_one_after_the_other_are_settled_a_few_at_a_time_and_the_last_within_a_minute(
    tmp_path: Path,
):
    store = CountingStore()
    suburb, link = await an_ended_event(tmp_path, homes=120, store=store, power_mw="0.12")
    await suburb.pass_time(60)  # a minute after the end, as when no home had spoken yet
    store.settled = 0
    *speaking, silent = sorted(await qualities(suburb))
    assert len(speaking) >= 40
    for home in speaking:
        link.meter = [a_message(suburb, home)]
        await suburb.controller.collect(())
        await suburb.pass_time(15)
    meanwhile = store.settled
    assert 2 <= meanwhile <= 6
    assert {"OK"} in (await qualities(suburb)).values()

    await suburb.pass_time(60)

    found = await qualities(suburb)
    assert found.pop(silent) == {"MISSING"}
    assert set(map(tuple, found.values())) == {("OK",)}
    assert store.settled == meanwhile + 1


async def test_an_events_totals_and_a_run_that_says_nothing_new_read_no_line_of_a_settlement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    suburb, link = await an_ended_event(tmp_path)
    link.meter = [a_message(suburb, each) for each in ("s-000", "s-001")]
    await suburb.controller.collect(())
    await suburb.pass_time(60)
    history = await suburb.desk.history("hot-1")
    before = await suburb.desk.store.settlement("hot-1")

    async def read(_store: MemoryStore, event_id: str) -> Settlement:
        raise AssertionError(f"the lines of {event_id} were read")

    monkeypatch.setattr(MemoryStore, "settlement", read)
    suburb.clock.step_to(suburb.clock.now() + timedelta(minutes=5))
    again = await settle(history, store=suburb.desk.store, programs=suburb.desk.programs, clock=suburb.clock)
    shown = await events.show_event(suburb.desk, event_id="hot-1")

    assert again == before
    assert (shown["settlement"] or {})["sites"] == 2


async def test_a_reading_long_after_the_hour_that_is_missing_says_nothing_of_it(tmp_path: Path):
    suburb, _ = await an_ended_event(tmp_path)
    settlement = await suburb.desk.store.settlement("hot-1")
    assert settlement is not None
    line = settlement.lines[0]
    assert line.settled is not None
    hours = [each.hour for each in line.hours]
    early = replace(line.hours[0], hour=Interval(hours[0].starts_at - 3 * HOUR, hours[0].ends_at - 3 * HOUR))
    span = Interval(early.hour.starts_at, line.settled.ends_at)
    rest = tuple(replace(each, quality=Quality.OK) for each in line.hours)
    home = replace(line, settled=span, hours=(early, *rest))

    awaited = awaited_readings(replace(settlement, lines=(home,)))

    assert awaited is not None
    assert awaited.missing == {home.site_id: early.hour}
    assert not awaited.answered_by([a_message(suburb, home.site_id, minutes=30)])


async def test_only_readings_that_may_complete_an_hour_are_awaited(tmp_path: Path):
    suburb, _ = await an_ended_event(tmp_path)
    settlement = await suburb.desk.store.settlement("hot-1")
    assert settlement is not None

    awaited = awaited_readings(settlement)

    assert awaited is not None
    assert awaited.homes == awaited.missing.keys() == {"s-000", "s-001"}
    assert awaited.answered_by([a_message(suburb, "s-001")]) == {"s-001"}
    assert awaited.without({"s-001"}).homes == {"s-000"}
    assert not awaited.answered_by([a_message(suburb, "s-002")])
    later = AwaitedReadings(
        {home: Interval(each.starts_at + DAY, each.ends_at + DAY) for home, each in awaited.missing.items()},
        {},
    )
    assert not later.answered_by([a_message(suburb, "s-001")])
    assert awaited_readings(replace(settlement, state=SettlementState.FINAL)) is None
