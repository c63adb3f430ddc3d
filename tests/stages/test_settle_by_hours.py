"""Hours written down as readings came settle to the bytes that the readings themselves give."""

import random
from dataclasses import replace
from datetime import date, timedelta

import pytest

from tests.domain.money_world import (
    EVENT_DAY,
    Row,
    a_meter,
    a_program,
    an_evening_history,
    local,
    weekdays_before,
)
from tests.stages.money_story import ENDS_AT, STARTS_AT, MoneyStory
from vpp.domain.baseline import DayDropped, excluded_days
from vpp.domain.delivery import MeterMessage, MeterReading, Quality
from vpp.domain.interval import Interval, to_epoch
from vpp.domain.program import MeterOfRecord
from vpp.domain.quantities import WattHours, column
from vpp.domain.settled_event import settled_event
from vpp.domain.settlement import SettlementState
from vpp.domain.settlement_case import Exclusion
from vpp.domain.site_earnings import NEVER_OPTED_OUT, SettledSites, settle_sites
from vpp.stages import settle as settle_stage
from vpp.wire import facts

HOMES = 8


def a_damaged_meter(drawn: random.Random) -> list[Row]:
    """Return 30 days of evenings, each worse or better metered: gaps, resets, refused readings."""
    days = [[drawn.randrange(-500, 2_000) for _ in range(3)] for _ in range(30)]
    around = {
        hour + timedelta(hours=step): drawn.randrange(-300, 300)
        for hour in an_evening_history([0, 0, 0], days)
        for step in (-4, -3, -2, -1, 1)
    }
    evening = an_evening_history([drawn.randrange(5_000) for _ in range(3)], days)
    rows = a_meter({**around, **evening})
    fewer = drawn.choice([0, 0, 0.01, 0.05, 0.6])
    kept = [row for row in rows if drawn.random() >= fewer]
    gone: set[date] = {row[0].date() for row in rows if drawn.random() < drawn.choice([0, 0.002])}
    worse = []
    for at, outward, inward, _ in kept:
        if at.date() in gone:
            continue
        lost = 1_000_000 if drawn.random() < 0.0005 else 0
        quality = Quality.BAD if drawn.random() < 0.001 else Quality.OK
        worse.append((at, outward - lost, inward, quality))
    return worse


def a_message(name: str, rows: list[Row], *, at_grid: bool) -> MeterMessage:
    readings = tuple(
        MeterReading(
            name, "0" * 32, index, at, WattHours(0 if at_grid else outward),
            WattHours(0 if at_grid else inward), None, quality, None,
            WattHours(inward) if at_grid else None, WattHours(outward) if at_grid else None,
        )
        for index, (at, outward, inward, quality) in enumerate(rows)
    )  # fmt: skip
    return MeterMessage(name, "0" * 32, 0, readings)


@pytest.mark.parametrize("seed", range(12))
async def test_hourly_values_settle_as_the_readings_do(seed: int, monkeypatch: pytest.MonkeyPatch):
    drawn = random.Random(seed)
    at_grid = seed % 4 == 3
    meter = MeterOfRecord.SITE if at_grid else MeterOfRecord.DEVICE
    story = MoneyStory(program=a_program(meter=meter))
    monkeypatch.setattr(settle_stage, "CHUNK_SITES", 3)
    names = [f"home-{number}" for number in range(HOMES)]
    for name in names:
        await story.home(name)
        await story.store.append(
            [a_message(name, a_damaged_meter(drawn), at_grid=at_grid)], at=story.clock.now()
        )
    begins = drawn.choice([STARTS_AT, local(EVENT_DAY, 18, 17)])
    await story.event(starts_at=begins)
    await story.dispatched(*range(HOMES))
    on = Interval(begins, ENDS_AT)
    if seed % 2:
        on = Interval(begins, local(EVENT_DAY, 20, 11))
        await story.cancelled("ev-1", at=on.ends_at)
    exclusions: list[Exclusion] = []
    for day in drawn.sample(weekdays_before(EVENT_DAY, 25), drawn.choice([0, 3, 9])):
        # Some for every home, some for most, some for one.
        whose = drawn.choice([None, sorted(drawn.sample(range(HOMES), 6)), [drawn.randrange(HOMES)]])
        exclusions.append((None if whose is None else column(whose), day, DayDropped.OUTAGE))
        for name in ["*"] if whose is None else [names[place] for place in whose]:
            await story.store.exclude_day(name, day, "outage", at=story.clock.now())
    out_s = [NEVER_OPTED_OUT] * HOMES
    for place in drawn.sample(range(HOMES), 3):
        opted_out_at = begins + timedelta(minutes=drawn.choice([-5, 0, 43, 60, 117]))
        await story.opted_out(names[place], at=opted_out_at)
        out_s[place] = to_epoch(opted_out_at)
    event = settled_event("ev-1", story.program, [on], on)
    everything = await story.store.readings(
        names, [Interval(begins - timedelta(days=60), ENDS_AT + timedelta(hours=1))]
    )
    sites = SettledSites(
        tuple(names),
        tuple(f"owner-{name}" for name in names),
        column(out_s),
        excluded_days(EVENT_DAY, HOMES, exclusions),
    )

    settlement = await story.settled()

    assert settlement is not None
    assert facts.same(settlement.lines, settle_sites(event, sites, everything))
    assert any(line.amount for line in settlement.lines)


@pytest.mark.parametrize("seed", range(4))
async def test_a_closed_event_is_settled_by_hours_as_if_nothing_had_come_since(
    seed: int, monkeypatch: pytest.MonkeyPatch
):
    drawn = random.Random(seed)
    story = MoneyStory()
    monkeypatch.setattr(settle_stage, "CHUNK_SITES", 3)
    names = [f"home-{number}" for number in range(HOMES)]
    closes_at = ENDS_AT + timedelta(days=8)
    for name in names:
        await story.home(name)
        message = a_message(name, a_damaged_meter(drawn), at_grid=False)
        late = drawn.choice([0, 0, 0.02, 0.5])
        in_time = tuple(each for each in message.readings if drawn.random() >= late)
        await story.store.append([replace(message, readings=in_time)], at=ENDS_AT + timedelta(minutes=20))
        await story.store.append([message], at=closes_at + timedelta(minutes=drawn.randrange(60)))
    await story.event()
    await story.dispatched(*range(HOMES))
    story.clock.step_to(closes_at + timedelta(hours=2))
    on = Interval(STARTS_AT, ENDS_AT)
    always = [Interval(STARTS_AT - timedelta(days=60), ENDS_AT + timedelta(hours=1))]
    known = await story.store.readings(names, always, before=closes_at)
    sites = SettledSites(
        tuple(names),
        tuple(f"owner-{name}" for name in names),
        column([NEVER_OPTED_OUT] * HOMES),
        excluded_days(EVENT_DAY, HOMES, []),
    )

    settlement = await story.settled()

    assert settlement is not None
    assert settlement.state is SettlementState.FINAL
    expected = settle_sites(settled_event("ev-1", story.program, [on], on), sites, known)
    assert facts.same(settlement.lines, expected)
