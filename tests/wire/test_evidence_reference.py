"""Bundles drawn at random are computed a second time, the slow way, from the formulas alone.

One site, plain loops, dates and fractions; nothing of the product is used but the reader under test.
"""

import json
import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from vpp.wire.evidence_check import verify_bundle

PROGRAM = (Path(__file__).parents[2] / "config" / "programs" / "elrp-a4-pge.toml").read_text()
ZONE = ZoneInfo("America/Los_Angeles")
HOUR = timedelta(hours=1)
EVENT_DAYS = [
    date(2026, 9, 9), date(2026, 7, 3), date(2026, 7, 4), date(2026, 7, 6), date(2026, 9, 7),
    date(2026, 9, 12), date(2027, 7, 5), date(2026, 5, 26), date(2026, 6, 10), date(2026, 10, 31),
]  # fmt: skip
HOLIDAYS = {
    date(2026, 5, 25), date(2026, 7, 4), date(2026, 9, 7), date(2027, 5, 31), date(2027, 7, 5),
}  # fmt: skip
POLICIES = ("net_event_floor_zero", "clamp_interval", "net_season_floor_zero")
WORSE = ["OK", "ESTIMATED", "MISSING", "BAD"]


def local(day: date, hour: int, minute: int = 0) -> datetime:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=ZONE).astimezone(UTC)


def is_rest_day(day: date) -> bool:
    return day.weekday() >= 5 or day in HOLIDAYS


@dataclass
class Case:
    """One drawn bundle: everything that its files say."""

    seed: int
    day: date
    meter: str
    policy: str
    share: str
    asked: tuple[datetime, datetime]
    cancelled_at: datetime | None
    opted_out_at: datetime | None
    excluded: list[tuple[str, date, str]] = field(default_factory=list)
    rows: list[tuple[datetime, int, int, str]] = field(default_factory=list)  # outward, inward Wh
    held: list[tuple[datetime, datetime]] = field(default_factory=list)  # by another event


def drawn(seed: int) -> Case:
    chance = random.Random(seed)  # one seed is one bundle
    day = chance.choice(EVENT_DAYS)
    starts_at = local(day, chance.choice([15, 16, 17, 18, 19]), chance.choice([0, 0, 0, 30, 17]))
    ends_at = starts_at + timedelta(minutes=chance.choice([30, 60, 90, 120, 180, 240]))
    within = timedelta(seconds=chance.randrange(-600, 9_000))
    case = Case(
        seed=seed,
        day=day,
        meter=chance.choice(["device", "site"]),
        policy=chance.choice(POLICIES),
        share=chance.choice(["1.00", "0.80", "0.333"]),
        asked=(starts_at, ends_at),
        cancelled_at=starts_at + timedelta(seconds=chance.randrange(1, 7_200))
        if chance.random() < 0.3
        else None,
        opted_out_at=starts_at + within if chance.random() < 0.3 else None,
    )
    before = [day - timedelta(days=back) for back in range(1, 46)]
    reasons = ["event", "dual_event", "outage"]
    case.excluded = [
        (chance.choice(["*", "s-1"]), each, chance.choice(reasons))
        for each in before
        if chance.random() < 0.1
    ]
    missing = {each for each in before if chance.random() < 0.05}
    step = timedelta(seconds=chance.choice([300, 300, 300, 600, 900]))
    offset = timedelta(seconds=chance.choice([0, 0, 37]))
    outward, inward = 1_000_000, 2_000_000
    for each in [*reversed(before), day]:
        at = local(each, 10) + offset
        while at < local(each, 23):
            outward, inward = outward + chance.randrange(400), inward + chance.randrange(200)
            if chance.random() < 0.0002:  # a replaced meter
                outward, inward = chance.randrange(1_000), chance.randrange(1_000)
            if each not in missing or not local(each, 14) < at < local(each, 22):
                draw = chance.random()
                quality = "BAD" if draw < 0.0005 else "ESTIMATED" if draw < 0.02 else "OK"
                case.rows.append((at, outward, inward, quality))
            at += step
    held_at = starts_at + timedelta(minutes=chance.randrange(-30, 60))
    while chance.random() < 0.4:
        case.held.append((held_at, held_at + timedelta(seconds=chance.randrange(1, 7_200))))
        held_at = case.held[-1][1] + timedelta(seconds=chance.randrange(1, 3_600))
    return case


def files_of(case: Case) -> dict[str, bytes]:
    asked = [{"starts_at": case.asked[0].isoformat(), "ends_at": case.asked[1].isoformat()}]
    noon = local(case.day, 9).isoformat()
    versions: list[dict[str, object]] = [{"effective_at": noon, "status": "scheduled", "intervals": asked}]
    if case.cancelled_at is not None:
        kept = asked if case.seed % 2 else []
        cancel = {"effective_at": case.cancelled_at.isoformat(), "status": "cancelled", "intervals": kept}
        versions.append(cancel)
    event = {
        "event_id": "ev", "program_id": "elrp-a4-pge", "time_zone": ZONE.key, "versions": versions
    }  # fmt: skip
    lines = [
        f"s-1,{at:%Y-%m-%dT%H:%M:%SZ},"
        + (f"{out},{inn},,," if case.meter == "device" else f",,{inn},{out},")
        + mark
        for at, out, inn, mark in case.rows
    ]
    random.Random(case.seed).shuffle(lines)  # rows come in any order
    header = "site_id,at,discharged_wh,charged_wh,imported_wh,exported_wh,quality"
    opted_out = "" if case.opted_out_at is None else case.opted_out_at.isoformat()
    held = " ".join(f"{one:%Y-%m-%dT%H:%M:%SZ}/{two:%Y-%m-%dT%H:%M:%SZ}" for one, two in case.held)
    sites = "site_id,owner_id,meter,opted_out_at,held_elsewhere\n"
    program = PROGRAM.replace('"net_event_floor_zero"', f'"{case.policy}"')
    program = program.replace("owner_share = { value = 1.00", f"owner_share = {{ value = {case.share}")
    excluded = "".join(f"{site},{day},{reason}\n" for site, day, reason in case.excluded)
    return {
        "event.json": json.dumps(event).encode(),
        "program.toml": program.encode(),
        "sites.csv": f"{sites}s-1,o-1,{case.meter},{opted_out},{held}\n".encode(),
        "meter.csv": "\r\n".join([header, *lines, *lines[:20]]).encode(),
        "excluded_days.csv": f"site_id,date,reason\n{excluded}".encode(),
    }


class SlowMeter:
    """The counters of one site, asked one stretch at a time."""

    def __init__(self, case: Case) -> None:
        self.rows = sorted(case.rows)
        self.times = [row[0] for row in self.rows]
        self.running = [(0, 0)]
        self.resets: list[bool] = [False]
        for earlier, later in pairwise(self.rows):
            reset = later[1] < earlier[1] or later[2] < earlier[2]
            out, inn = self.running[-1]
            self.running.append(
                (out, inn) if reset else (out + later[1] - earlier[1], inn + later[2] - earlier[2])
            )
            self.resets.append(reset)
        self.sign = 1 if case.meter == "device" else -1

    def edge(self, at: datetime) -> tuple[int, int, str, int, int] | None:
        """Return both counters, the quality, and the rows around an instant."""
        after = bisect_left(self.times, at)
        if after == len(self.times) or (after == 0 and self.times[0] != at):
            return None
        before = after if self.times[after] == at else after - 1
        gap = int((self.times[after] - self.times[before]).total_seconds())
        if gap > 3_600:
            return None
        part = Fraction(int((at - self.times[before]).total_seconds()), gap or 1)
        out, inn = (
            int((first + (last - first) * part + Fraction(1, 2)) // 1)
            for first, last in zip(self.running[before], self.running[after], strict=True)
        )
        marks = ["OK" if gap <= 300 else "ESTIMATED", self.rows[before][3], self.rows[after][3]]
        return out, inn, max(marks, key=WORSE.index), before, after

    def energy(self, starts_at: datetime, ends_at: datetime) -> tuple[int, str]:
        """Return net discharge, or load for a grid meter, and its quality."""
        first, last = self.edge(starts_at), self.edge(ends_at)
        if first is None or last is None:
            return 0, "MISSING"
        inside = range(first[3], last[4] + 1)
        if any(self.rows[row][3] == "BAD" for row in inside):
            return 0, "BAD"
        quality = max(first[2], last[2], key=WORSE.index)
        for row in inside[1:]:
            if self.resets[row]:
                too_long = self.times[row] - self.times[row - 1] > HOUR
                quality = max(quality, "MISSING" if too_long else "ESTIMATED", key=WORSE.index)
        if quality == "MISSING":
            return 0, quality
        return self.sign * ((last[0] - first[0]) - (last[1] - first[1])), quality


def valid(energies: Sequence[tuple[int, str]]) -> bool:
    return all(quality in ("OK", "ESTIMATED") for _, quality in energies)


def held_by_the_event(case: Case, first: datetime, last: datetime) -> list[tuple[datetime, datetime]]:
    """Return the stretches of an event in which no other one held the site."""
    edges = {first, last, *(edge for stretch in case.held for edge in stretch if first < edge < last)}
    return [
        (one, two)
        for one, two in pairwise(sorted(edges))
        if first < last and not any(starts_at <= one < ends_at for starts_at, ends_at in case.held)
    ]


def settled_the_slow_way(case: Case) -> tuple[Fraction, str, str, list[str]]:
    """Return incremental Wh, dollars, quality and baseline days."""
    meter = SlowMeter(case)
    begins, ends = case.asked
    if case.cancelled_at is not None:
        ends = min(ends, case.cancelled_at)
    first, last = max(begins, local(case.day, 16)), min(ends, local(case.day, 21))
    last = min(last, first + timedelta(hours=3))
    stretches = held_by_the_event(case, first, last)
    hour = first.astimezone(ZONE).replace(minute=0).astimezone(UTC)
    hours = []
    while hour < last:
        if any(one < hour + HOUR and hour < two for one, two in stretches):
            hours.append(hour)
        hour += HOUR
    if not hours:
        return Fraction(0), "0.00", "OK", []

    def on(day: date, hours: Sequence[datetime]) -> list[tuple[int, str]]:
        at = [local(day, hour.astimezone(ZONE).hour) for hour in hours]
        return [meter.energy(each, each + HOUR) for each in at]

    wanted = 4 if is_rest_day(case.day) else 10
    before = [case.day - timedelta(days=back) for back in range(1, 46)]
    with_data = [day for day in before if valid(on(day, hours))]
    kept_out = {day for _, day, _ in case.excluded}
    chosen = [day for day in with_data if is_rest_day(day) == is_rest_day(case.day) and day not in kept_out][
        :wanted
    ]
    has_baseline = len(chosen) == wanted and len(with_data) >= 10
    factor = Fraction(1)
    if case.meter == "site" and has_baseline:
        begin_hour = begins.astimezone(ZONE).replace(minute=0).astimezone(UTC)
        around = [begin_hour - back * HOUR for back in (4, 3, 2)]
        today, usual = on(case.day, around), [each for day in chosen for each in on(day, around)]
        average = Fraction(sum(wh for wh, _ in usual), wanted)
        if valid([*today, *usual]) and average > 0:
            factor = min(max(sum(wh for wh, _ in today) / average, Fraction(1)), Fraction(14, 10))
    until = last if case.opted_out_at is None else min(last, case.opted_out_at)
    parts, qualities = [], []
    for position, hour in enumerate(hours):
        inside = [(max(hour, one), min(hour + HOUR, two, until)) for one, two in stretches]
        inside = [(from_, to) for from_, to in inside if from_ < to]
        if not inside:
            continue
        energies = [meter.energy(from_, to) for from_, to in inside]
        quality = max((quality for _, quality in energies), key=WORSE.index)
        qualities.append(quality)
        if has_baseline and valid(energies):
            metered = sum(wh for wh, _ in energies)
            usual_wh = Fraction(sum(on(day, hours)[position][0] for day in chosen), wanted) * factor
            due = usual_wh * Fraction(sum(int((to - from_).total_seconds()) for from_, to in inside), 3_600)
            parts.append(metered - due if case.meter == "device" else due - metered)
    paid = [max(Fraction(0), part) for part in parts] if case.policy == "clamp_interval" else parts
    cents = int(
        (max(Fraction(0), sum(paid, start=Fraction(0))) * Fraction(case.share) / 5 + Fraction(1, 2)) // 1
    )
    quality = max(qualities, key=WORSE.index, default="OK")
    if qualities and not has_baseline:
        quality = "NO_BASELINE"
    days = [day.isoformat() for day in chosen]
    return sum(parts, start=Fraction(0)), f"{cents // 100}.{cents % 100:02d}", quality, days


@pytest.mark.parametrize("seed", range(30))
def test_a_bundle_computes_to_what_the_formulas_say(seed: int):
    case = drawn(seed)

    (site,) = verify_bundle(files_of(case)).as_json()["sites"]  # type: ignore[misc]  # JSON as it is written

    incremental_wh, amount_usd, quality, days = settled_the_slow_way(case)
    assert (Fraction(site["incremental_wh"]), site["amount_usd"], site["quality"]) == (
        incremental_wh,
        amount_usd,
        quality,
    )
    if quality != "NO_BASELINE" and site["hours"]:
        assert site["baseline_days"] == days
