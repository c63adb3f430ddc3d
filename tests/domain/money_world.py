"""Builders for the tests of money: a program, a meter that runs through hours, an event to settle."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from vpp.domain.baseline import DayDropped, excluded_days
from vpp.domain.delivery import NOT_METERED, QUALITY_CODES, Quality, ReadingColumns
from vpp.domain.interval import Interval, to_epoch
from vpp.domain.program import MeterOfRecord, NegativePolicy, Program, Terms
from vpp.domain.quantities import Price, column
from vpp.domain.settled_event import SettledEvent, settled_event
from vpp.domain.settlement import SettlementLine
from vpp.domain.site_earnings import NEVER_OPTED_OUT, SettledSites, settle_sites

PACIFIC = ZoneInfo("America/Los_Angeles")
EVENT_DAY = date(2026, 9, 9)  # a Wednesday; Labor Day is two days before
EVENING = (18, 19, 20)

Row = tuple[datetime, int, int, Quality]


def a_program(**terms: Any) -> Program:
    edition: dict[str, Any] = {
        "effective_from": date(2022, 1, 1), "effective_to": None,
        "season_first": (5, 1), "season_last": (10, 31),
        "window_opens": time(16), "window_closes": time(21),
        "event_min_s": 3600, "event_max_s": 3 * 3600,
        "season_cap_s": 60 * 3600, "season_minimum_s": 20 * 3600,
        "rate": Price(Decimal("2.00")), "owner_share": Decimal("1.00"),
        "meter": MeterOfRecord.DEVICE, "baseline_method": "ten_of_ten",
        "negative_policy": NegativePolicy.NET_EVENT_FLOOR_ZERO, "holidays": "NERC",
    }  # fmt: skip
    edition.update(terms)
    return Program("elrp-a4-pge", "ELRP A.4", "PGE", ("a.4",), PACIFIC, 8, (Terms(**edition),))


def local(day: date, hour: int, minute: int = 0, second: int = 0) -> datetime:
    return datetime.combine(day, time(hour, minute, second), tzinfo=PACIFIC).astimezone(UTC)


def an_event(
    starts_at: datetime | None = None, ends_at: datetime | None = None, program: Program | None = None
) -> SettledEvent:
    interval = Interval(starts_at or local(EVENT_DAY, 18), ends_at or local(EVENT_DAY, 21))
    return settled_event("ev-1", program or a_program(), [interval], interval)


def a_meter(hours: Mapping[datetime, int], *, every_s: int = 300) -> list[Row]:
    """Return readings that run through hours, each from its first second, by net discharge in Wh."""
    rows: dict[datetime, Row] = {}
    discharged, charged = 12_319_540, 13_853_641
    for starts_at in sorted(hours):
        net = hours[starts_at]
        for past_s in range(0, 3600 + 1, every_s):
            part = abs(net) * past_s // 3600
            at = starts_at + timedelta(seconds=past_s)
            rows[at] = (at, discharged + part * (net > 0), charged + part * (net < 0), Quality.OK)
        discharged, charged = discharged + max(net, 0), charged + max(-net, 0)
    return [rows[at] for at in sorted(rows)]


def columns(*sites: Sequence[Row], meter: MeterOfRecord = MeterOfRecord.DEVICE) -> ReadingColumns:
    rows = [(site, *row) for site, readings in enumerate(sites) for row in readings]
    outward, inward = column(row[2] for row in rows), column(row[3] for row in rows)
    unused = column(np.full(len(rows), NOT_METERED))
    at_device = meter is MeterOfRecord.DEVICE
    return ReadingColumns(
        site=column(row[0] for row in rows),
        at_s=column(to_epoch(row[1]) for row in rows),
        discharged_wh=outward if at_device else unused,
        charged_wh=inward if at_device else unused,
        imported_wh=unused if at_device else inward,
        exported_wh=unused if at_device else outward,
        quality=column(QUALITY_CODES.index(row[4]) for row in rows),
    )


def weekdays_before(
    day: date, count: int, *, leaving_out: Sequence[date] = (date(2026, 9, 7),)
) -> list[date]:
    """Return that many weekdays before a date, newest first; Labor Day 2026 is left out."""
    found: list[date] = []
    while len(found) < count:
        day -= timedelta(days=1)
        if day.weekday() < 5 and day not in leaving_out:
            found.append(day)
    return found


def an_evening_history(
    event_wh: Sequence[int], days_wh: Sequence[Sequence[int]], *, day: date = EVENT_DAY
) -> dict[datetime, int]:
    """Return net discharge by hour: the event's evening, and similar weekdays before it, newest first."""
    hours = {local(day, hour): wh for hour, wh in zip(EVENING, event_wh, strict=False)}
    for similar, energies in zip(weekdays_before(day, len(days_wh)), days_wh, strict=True):
        hours |= {local(similar, hour): wh for hour, wh in zip(EVENING, energies, strict=False)}
    return hours


def settle_one(
    rows: Sequence[Row],
    event: SettledEvent | None = None,
    *,
    opted_out_at: datetime | None = None,
    excluded: Sequence[tuple[date, DayDropped]] = (),
    carried_wh: Fraction = Fraction(0),
) -> SettlementLine:
    """Settle one site and return its line."""
    event = event or an_event()
    sites = SettledSites(
        site_ids=("s-1",),
        owner_ids=("o-1",),
        opted_out_s=column([NEVER_OPTED_OUT if opted_out_at is None else to_epoch(opted_out_at)]),
        excluded=excluded_days(event.day, 1, [(None, day, reason) for day, reason in excluded]),
        carried_wh=(carried_wh,),
    )
    return settle_sites(event, sites, columns(rows, meter=event.terms.meter))[0]
