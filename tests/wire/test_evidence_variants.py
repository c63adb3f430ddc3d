"""Bundles of every kind of program, computed a second time from the formulas alone, one site at a time.

Where ``test_evidence_reference.py`` draws evenings of one program, this draws the program too: zones with
and without changes of clocks, days on which they change, windows over midnight, events in several pieces
and several versions, each rule, method, bonus, cap and minimum.
"""

import json
import random
from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from vpp.wire.evidence_check import verify_bundle

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
Span = tuple[datetime, datetime]
WORSE = ["OK", "ESTIMATED", "MISSING", "BAD"]
DAYS = [
    ("America/Los_Angeles", date(2026, 9, 9)), ("America/Los_Angeles", date(2026, 3, 8)),
    ("America/Los_Angeles", date(2026, 3, 11)), ("America/Los_Angeles", date(2026, 11, 1)),
    ("America/Los_Angeles", date(2026, 11, 4)), ("America/Los_Angeles", date(2027, 7, 5)),
    ("America/Los_Angeles", date(2026, 7, 4)), ("America/New_York", date(2026, 11, 26)),
    ("America/Puerto_Rico", date(2026, 1, 2)), ("Australia/Adelaide", date(2026, 4, 5)),
    ("Australia/Adelaide", date(2026, 10, 7)),
]  # fmt: skip
HOLIDAYS = {
    date(2025, 11, 27), date(2025, 12, 25), date(2026, 1, 1), date(2026, 5, 25), date(2026, 7, 4),
    date(2026, 9, 7), date(2026, 11, 26), date(2026, 12, 25), date(2027, 1, 1), date(2027, 5, 31),
    date(2027, 7, 5),
}  # fmt: skip
WINDOWS = [("00:00:00", "00:00:00"), ("16:00:00", "21:00:00"), ("20:00:00", "02:00:00")]
ADJUSTED = {
    "ten_of_ten": (Fraction(1), Fraction(7, 5)),
    "caiso_ten_of_ten": (Fraction(4, 5), Fraction(6, 5)),
    "five_of_ten": (Fraction(3, 5), Fraction(7, 5)),
}


@dataclass
class Drawn:
    """A program, an event and one home's meter."""

    zone: ZoneInfo
    rule: str
    method: str
    meter: str
    policy: str
    holidays: str
    window: tuple[str, str]
    longest: timedelta
    rate: Fraction
    share: Fraction
    bonus: Fraction
    cap_kwh: Fraction | None
    cap_amount: Fraction | None
    minimum: Fraction
    versions: list[tuple[datetime, str, list[Span]]]
    opted_out_at: datetime | None
    excluded: dict[date, str]
    rows: list[tuple[datetime, int, int, str]]  # outward, inward Wh

    @property
    def asked(self) -> list[Span]:
        """Return what the last version that asks for anything asks for; stretches that touch are one."""
        found: list[Span] = []
        for starts, stops in sorted(self.versions[-1][2] or self.versions[-2][2]):
            if found and found[-1][1] == starts:
                starts = found.pop()[0]
            found.append((starts, stops))
        return found

    @property
    def day(self) -> date:
        return self.asked[0][0].astimezone(self.zone).date()

    def local(self, day: date, hour: int) -> datetime:
        return datetime(day.year, day.month, day.day, hour, tzinfo=self.zone).astimezone(UTC)


def drawn(seed: int) -> Drawn:
    chance = random.Random(seed)
    name, day = chance.choice(DAYS)
    zone = ZoneInfo(name)
    rule = chance.choice(["per_kwh_incremental"] * 4 + ["per_kwh_delivered", "season", "month"])
    methods = ["ten_of_ten", "caiso_ten_of_ten", "five_of_ten"]
    window = chance.choice(WINDOWS)
    first = datetime(day.year, day.month, day.day, chance.choice([0, 1, 17, 19, 22, 23]), tzinfo=zone)
    at = first.astimezone(UTC) + timedelta(seconds=chance.choice([0, 0, 0, 1800, 1080, 7]))
    spans: list[Span] = []
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        ends = at + timedelta(minutes=chance.choice([30, 60, 60, 90, 180]))
        spans.append((at, ends))
        at = ends + timedelta(minutes=chance.choice([0, 0, 20, 75]))
    versions = [(spans[0][0] - 3 * HOUR, "scheduled", spans)]
    if chance.random() < 0.2:  # the first version came late
        versions = [(spans[0][0] + timedelta(seconds=chance.randrange(3_000)), "scheduled", spans)]
    if chance.random() < 0.3:
        moved = [(starts - timedelta(minutes=30), ends + timedelta(minutes=15)) for starts, ends in spans[:1]]
        versions.append((versions[0][0] + timedelta(minutes=20), "scheduled", moved))
    if chance.random() < 0.3:
        within = timedelta(seconds=chance.randrange(-1_000, 9_000))
        kept = chance.choice([[], versions[-1][2]])
        versions.append((max(spans[0][0] + within, versions[-1][0]), "cancelled", kept))
    money = [None, None, Fraction(chance.randrange(1, 900), 100)]
    return Drawn(
        zone=zone,
        rule=rule,
        method="none" if rule == "per_kwh_delivered" else chance.choice([*methods, "none"]),
        meter=chance.choice(["device", "device", "site"]),
        policy=chance.choice(["net_event_floor_zero", "clamp_interval", "net_season_floor_zero"]),
        holidays=chance.choice(["NERC", "NERC", "none"]),
        window=window,
        longest=timedelta(hours=chance.choice([1, 3, 5])),
        rate=Fraction(chance.choice([100, 125, 200, 333]), 100),
        share=Fraction(chance.choice([100, 80, 33]), 100),
        bonus=Fraction(chance.choice([100, 100, 130]), 100),
        cap_kwh=chance.choice(money) if rule.startswith("per_kwh") else None,
        cap_amount=chance.choice(money),
        minimum=chance.choice(money) or Fraction(0),
        versions=versions,
        opted_out_at=spans[0][0] + timedelta(seconds=chance.randrange(-500, 9_000))
        if chance.random() < 0.2
        else None,
        excluded={
            day - back * DAY: chance.choice(["event", "dual_event", "outage"])
            for back in range(1, 46)
            if chance.random() < 0.1
        },
        rows=_readings(chance, day, zone),
    )


def _readings(chance: random.Random, day: date, zone: ZoneInfo) -> list[tuple[datetime, int, int, str]]:
    at = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC) - 46 * DAY
    until = at + 48 * DAY
    step = timedelta(seconds=chance.choice([900, 1200, 1800, 3600]))
    outward, inward, near = 0, 0, False
    more = chance.choice([1, 3, 6])
    rows = []
    while at < until:
        of_step = int(step.total_seconds())
        outward += chance.randrange(of_step) * (more if near else 1)
        inward += chance.randrange(of_step)
        mark = chance.random()
        if mark > 0.004:
            rows.append(
                (at, outward, inward, "BAD" if mark > 0.9995 else "OK" if mark > 0.02 else "ESTIMATED")
            )
        at += step
        if at > until - 2 * DAY - 6 * HOUR:
            step, near = timedelta(seconds=300), True
    return rows


def files_of(case: Drawn) -> dict[str, bytes]:
    def span(each: Span) -> dict[str, str]:
        return {"starts_at": each[0].isoformat(), "ends_at": each[1].isoformat()}

    event = {
        "event_id": "ev",
        "program_id": "p",
        "time_zone": case.zone.key,
        "versions": [
            {"effective_at": at.isoformat(), "status": status, "intervals": [span(each) for each in spans]}
            for at, status, spans in case.versions
        ],
    }
    header = "site_id,at,discharged_wh,charged_wh,imported_wh,exported_wh,quality"
    lines = [
        f"s-1,{at:%Y-%m-%dT%H:%M:%SZ},"
        + (f"{out},{inn},,," if case.meter == "device" else f",,{inn},{out},")
        + mark
        for at, out, inn, mark in case.rows
    ]
    opted_out = "" if case.opted_out_at is None else case.opted_out_at.isoformat()
    excluded = "".join(f"*,{day},{reason}\n" for day, reason in case.excluded.items())
    return {
        "event.json": json.dumps(event).encode(),
        "program.toml": _program(case).encode(),
        "sites.csv": f"site_id,owner_id,meter,opted_out_at\ns-1,o-1,{case.meter},{opted_out}\n".encode(),
        "meter.csv": "\n".join([header, *lines]).encode(),
        "excluded_days.csv": f"site_id,date,reason\n{excluded}".encode(),
    }


def _program(case: Drawn) -> str:
    rates = {
        "per_kwh_incremental": ("per_kwh_incremental", "rate_usd_per_kwh", f"{float(case.rate):.2f}"),
        "per_kwh_delivered": ("per_kwh_delivered", "rate_usd_per_kwh", f"{float(case.rate):.2f}"),
        "season": ("per_kw_season_average", "rate_per_kw_season", f"{float(case.rate):.2f}"),
        "month": (
            "per_kw_month_weighted",
            "rate_per_kw_month",
            "{" + ", ".join(f'"{month:02d}" = {float(case.rate):.2f}' for month in range(1, 13)) + "}",
        ),
    }
    rule, rate, amount = rates[case.rule]
    values = {
        "season_first": '"01-01"', "season_last": '"12-31"',
        "window_opens": case.window[0], "window_closes": case.window[1],
        "event_min_h": "1", "event_max_h": str(case.longest // HOUR), "season_cap_h": "8784",
        "season_minimum_h": "0", "tariff": f'"{rule}"', rate: amount,
        "owner_share": f"{float(case.share):.2f}", "bonus_multiplier": f"{float(case.bonus):.2f}",
        "meter": '"device"', "baseline_method": f'"{case.method}"', "negative_policy": f'"{case.policy}"',
        "holidays": f'"{case.holidays}"',
    }  # fmt: skip
    for key, value in (("cap_kwh", case.cap_kwh), ("cap_amount", case.cap_amount)):
        if value is not None:
            values[key] = f"{float(value):.2f}"
    if case.minimum:
        values["minimum_amount"] = f"{float(case.minimum):.2f}"
    sourced = "\n".join(f'{key} = {{ value = {value}, source = "drawn" }}' for key, value in values.items())
    return (
        f'program_id = "p"\nname = "P"\nutility = "u"\ngroups = []\ntime_zone = "{case.zone.key}"\n'
        'close_after_days = { value = 8, source = "drawn at random" }\n'
        "[[edition]]\neffective_from = 2020-01-01\n" + sourced.replace('"drawn"', '"drawn at random"')
    )


def settled_parts(case: Drawn) -> list[Span]:
    """Return what of the event pays: on, inside the window, no longer than the longest."""
    effective, status, _ = case.versions[-1]
    begins, ends = (
        case.versions[0][0],
        effective if status == "cancelled" else datetime.max.replace(tzinfo=UTC),
    )
    opens, closes = (int(text[:2]) for text in case.window)
    left, found = case.longest, []
    for starts, stops in case.asked:
        starts, stops = max(starts, begins), min(stops, ends)
        day = starts.astimezone(case.zone).date() - DAY if starts < stops else date.max
        while starts < stops and day <= stops.astimezone(case.zone).date():
            from_ = case.local(day, opens)
            to = case.local(day + DAY if closes <= opens else day, closes)
            inside = max(starts, from_), min(stops, to)
            if inside[0] < inside[1] and left:
                inside = inside[0], min(inside[1], inside[0] + left)
                left -= inside[1] - inside[0]
                found.append(inside)
            day += DAY
    return found


class Slow:
    """One home's counters, and its days."""

    def __init__(self, case: Drawn) -> None:
        self.case = case
        self.times = [row[0] for row in case.rows]
        for earlier, later in pairwise(case.rows):
            assert later[1] >= earlier[1]  # no reset is drawn here
        self.sign = 1 if case.meter == "device" else -1

    def edge(self, at: datetime) -> tuple[int, str, int, int] | None:
        after = bisect_left(self.times, at)
        if after == len(self.times) or (after == 0 and self.times[0] != at):
            return None
        before = after if self.times[after] == at else after - 1
        gap = (self.times[after] - self.times[before]).total_seconds()
        if gap > 3600:
            return None
        part = Fraction(int((at - self.times[before]).total_seconds()), int(gap) or 1)
        first, last = self.case.rows[before], self.case.rows[after]
        out, inn = (
            int((first[place] + (last[place] - first[place]) * part + Fraction(1, 2)) // 1)
            for place in (1, 2)
        )
        marks = ["OK" if gap <= 300 else "ESTIMATED", first[3], last[3]]
        return out - inn, max(marks, key=WORSE.index), before, after

    def energy(self, starts: datetime, ends: datetime) -> tuple[int, str]:
        one, other = self.edge(starts), self.edge(ends)
        if one is None or other is None:
            return 0, "MISSING"
        if any(row[3] == "BAD" for row in self.case.rows[one[2] : other[3] + 1]):
            return 0, "BAD"
        return self.sign * (other[0] - one[0]), max(one[1], other[1], key=WORSE.index)

    def same_hour(self, hour: datetime, of_day: date) -> tuple[int, str]:
        """Return the energy of an event's clock hour, on a day before."""
        local = hour.astimezone(self.case.zone)
        wanted = of_day + (local.date() - self.case.day)
        midnight = self.case.local(wanted, 0)
        alike = [
            each
            for each in (midnight + number * HOUR for number in range(26))
            if (there := each.astimezone(self.case.zone)).date() == wanted and there.hour == local.hour
        ]
        if not alike:
            return 0, "MISSING"
        return self.energy(alike[-1 if local.fold else 0], alike[-1 if local.fold else 0] + HOUR)


def valid(energies: list[tuple[int, str]]) -> bool:
    return all(quality in ("OK", "ESTIMATED") for _, quality in energies)


def weights(case: Drawn, meter: Slow, hours: list[datetime]) -> dict[date, Fraction] | None:
    """Return what each day counts; None without a baseline."""
    if case.method == "none":
        return {}

    def rests(day: date) -> bool:
        return day.weekday() >= 5 or (case.holidays == "NERC" and day in HOLIDAYS)

    rest = rests(case.day)
    days = {back: [meter.same_hour(hour, case.day - back * DAY) for hour in hours] for back in range(1, 46)}
    with_data = [case.day - back * DAY for back, energies in days.items() if valid(energies)]
    similar = [day for day in with_data if rests(day) == rest and day not in case.excluded]
    highest = case.method == "five_of_ten"
    wanted = (5 if highest else 4) if rest else 10
    if len(similar) < wanted or len(with_data) < 10:
        return None
    similar = similar[:wanted]
    if not highest:
        return dict.fromkeys(similar, Fraction(1, wanted))
    similar.sort(key=lambda day: (-sum(wh for wh, _ in days[(case.day - day).days]), case.day - day))
    shares = [Fraction(50, 100), Fraction(30, 100), Fraction(20, 100)] if rest else [Fraction(1, 5)] * 5
    return dict(zip(similar, shares, strict=False))


def adjustment(case: Drawn, meter: Slow, days: dict[date, Fraction]) -> Fraction:
    if case.meter == "device" or case.method == "none":
        return Fraction(1)
    ends = case.versions[-1][0] if case.versions[-1][1] == "cancelled" else datetime.max.replace(tzinfo=UTC)
    held = [
        (max(starts, case.versions[0][0]), min(stops, ends))
        for starts, stops in case.asked
        if max(starts, case.versions[0][0]) < min(stops, ends)
    ]
    begin = held[0][0].astimezone(case.zone).replace(minute=0, second=0).astimezone(UTC)
    past = held[-1][1].astimezone(case.zone)
    past_utc = past.replace(minute=0, second=0).astimezone(UTC)
    if past.minute or past.second:
        past_utc += HOUR
    around = [begin - back * HOUR for back in (4, 3, 2)]
    if case.method == "five_of_ten":
        around += [past_utc + after * HOUR for after in (1, 2, 3)]
    today = [meter.energy(hour, hour + HOUR) for hour in around]
    usual = [(meter.same_hour(hour, day), share) for day, share in days.items() for hour in around]
    average = sum((energy[0] * share for energy, share in usual), start=Fraction(0))
    if not valid([*today, *(energy for energy, _ in usual)]) or average <= 0:
        return Fraction(1)
    low, high = ADJUSTED[case.method]
    return min(max(sum(wh for wh, _ in today) / average, low), high)


def expected(case: Drawn) -> tuple[Fraction, str, str]:
    """Return incremental Wh, dollars and quality."""
    parts, meter = settled_parts(case), Slow(case)
    if not parts:
        return Fraction(0), "0.00", "OK"
    hours: list[datetime] = []
    for starts, stops in parts:
        hour = starts.astimezone(case.zone)
        at = starts - timedelta(minutes=hour.minute, seconds=hour.second)
        while at < stops:
            hours += [] if at in hours else [at]
            at += HOUR
    days = weights(case, meter, hours)
    factor = Fraction(1) if days is None else adjustment(case, meter, days)
    left_at = case.opted_out_at or datetime.max.replace(tzinfo=UTC)
    beyond, qualities = [], []
    for hour in hours:
        pieces = [
            (max(starts, hour), min(stops, hour + HOUR, left_at))
            for starts, stops in parts
            if max(starts, hour) < min(stops, hour + HOUR, left_at)
        ]
        if not pieces:
            continue
        energies = [meter.energy(*piece) for piece in pieces]
        qualities.append(max((quality for _, quality in energies), key=WORSE.index))
        if days is not None and valid(energies):
            seconds = sum(int((to - from_).total_seconds()) for from_, to in pieces)
            usual = sum(
                (meter.same_hour(hour, day)[0] * part for day, part in days.items()), start=Fraction(0)
            )
            due = usual * factor * Fraction(seconds, 3600)
            metered = sum(wh for wh, _ in energies)
            beyond.append(metered - due if case.meter == "device" else due - metered)
    quality = max(qualities, key=WORSE.index, default="OK")
    if qualities and days is None:
        quality = "NO_BASELINE"
    settled_at_all = case.opted_out_at is None or case.opted_out_at > parts[0][0]
    seconds = sum(int((stops - starts).total_seconds()) for starts, stops in parts)
    return sum(beyond, start=Fraction(0)), dollars(case, beyond, quality, seconds, settled_at_all), quality


def dollars(case: Drawn, beyond: list[Fraction], quality: str, seconds: int, settled: bool) -> str:
    paid = [max(Fraction(0), each) for each in beyond] if case.policy == "clamp_interval" else beyond
    energy_kwh = max(Fraction(0), sum(paid, start=Fraction(0))) / 1000
    counts = settled
    if case.rule in ("season", "month"):
        signed = max(Fraction(0), sum(beyond, start=Fraction(0))) / 1000
        base = (energy_kwh if case.rule == "season" else signed) * 3600 / seconds
    else:
        base = energy_kwh if case.cap_kwh is None else min(energy_kwh, case.cap_kwh)
        counts = settled and quality in ("OK", "ESTIMATED")
    owner = base * case.rate * case.bonus * case.share
    if case.cap_amount is not None:
        owner = min(owner, case.cap_amount)
    if counts and case.minimum:
        owner = max(owner, case.minimum)
    cents = int((owner * 100 + Fraction(1, 2)) // 1)
    return f"{cents // 100}.{cents % 100:02d}"


@pytest.mark.parametrize("seed", range(24))
def test_any_program_computes_to_what_its_formulas_say(seed: int):
    case = drawn(seed)

    (site,) = verify_bundle(files_of(case)).as_json()["sites"]  # type: ignore[misc]  # JSON as it is written

    assert (Fraction(site["incremental_wh"]), site["amount_usd"], site["quality"]) == expected(case)
