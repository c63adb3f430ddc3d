"""Any program, event and meters: the product and a second, slow settlement come to the same, to the cent."""

import json
import random
from datetime import date, datetime, timedelta
from fractions import Fraction
from random import Random
from zoneinfo import ZoneInfo

from hypothesis import Phase, given, settings
from hypothesis import event as noted
from hypothesis import strategies as some

from tests.wire import slow_settlement as slow
from tests.wire.slow_settlement import DAY, HOUR, Event, Home, Reading, Span, Terms
from vpp.wire.evidence_check import verify_bundle

DAYS = [
    ("America/Los_Angeles", date(2026, 9, 9)), ("America/Los_Angeles", date(2026, 9, 12)),
    ("America/Los_Angeles", date(2026, 3, 8)), ("America/Los_Angeles", date(2026, 3, 11)),
    ("America/Los_Angeles", date(2026, 11, 1)), ("America/Los_Angeles", date(2026, 11, 4)),
    ("America/Los_Angeles", date(2027, 7, 5)), ("America/Los_Angeles", date(2026, 7, 4)),
    ("America/New_York", date(2026, 11, 26)), ("America/Puerto_Rico", date(2026, 1, 2)),
    ("Australia/Adelaide", date(2026, 4, 5)), ("Australia/Adelaide", date(2026, 10, 7)),
]  # fmt: skip
METHODS = ["ten_of_ten", "caiso_ten_of_ten", "five_of_ten", "none"]
POLICIES = ["net_event_floor_zero", "clamp_interval", "net_season_floor_zero"]
LEVELS_WH = [0, 500, 995, 1_000, 1_001, 2_500, 3_502, 4_400]
"""What a home does in an hour: round numbers, so that halves of a cent come up."""


def terms(chance: Random, zone: str) -> Terms:
    def money() -> Fraction | None:
        cents = chance.choice([None] * 5 + [150, 650, 1_999])
        return None if cents is None else Fraction(cents, 100)

    rule = chance.choice(["incremental", "incremental", "delivered", "season", "month", "month"])
    return Terms(
        zone=ZoneInfo(zone),
        rule=rule,
        method="none" if rule == "delivered" else chance.choice(METHODS),
        policy=chance.choice(POLICIES),
        holidays=chance.choice(["NERC", "none"]),
        season=chance.choice([("01-01", "12-31")] * 10 + [("05-01", "10-31"), ("10-05", "04-30")]),
        window=chance.choice([(0, 0), (16, 21), (20, 2)]),
        longest=timedelta(hours=chance.choice([1, 3, 5])),
        rate=Fraction(chance.choice([200, 100, 125, 333]), 100),
        share=Fraction(chance.choice([100, 80, 33]), 100),
        bonus=Fraction(chance.choice([100, 100, 130]), 100),
        cap_kwh=money() if rule in ("incremental", "delivered") else None,
        cap_amount=money(),
        minimum=money() or Fraction(0),
    )


def versions(chance: Random, first: datetime) -> list[tuple[datetime, str, list[Span]]]:
    at, spans = first + timedelta(seconds=chance.choice([0, 0, 1_800, 1_080, 7])), list[Span]()
    for _ in range(chance.choice([1, 1, 2, 3])):
        stops = at + timedelta(minutes=chance.choice([60, 30, 90, 180]))
        spans.append((at, stops))
        at = stops + timedelta(minutes=chance.choice([0, 20, 75]))
    committed_at = spans[0][0] + timedelta(minutes=chance.choice([-180, -180, 25]))
    found = [(committed_at, "scheduled", spans)]
    if chance.random() < 0.3:
        moved = [
            (starts - timedelta(minutes=30), stops + timedelta(minutes=15)) for starts, stops in spans[:1]
        ]
        found.append((committed_at + timedelta(minutes=20), "scheduled", moved))
    cancelled_after = chance.choice([None] * 5 + [-10, 37, 95])
    if cancelled_after is not None:
        kept = found[-1][2] if chance.random() < 0.3 else []
        found.append((max(spans[0][0] + timedelta(minutes=cancelled_after), found[-1][0]), "cancelled", kept))
    return found


def readings(chance: Random, event: Event, meter: str) -> list[Reading]:
    """Return counters of some weeks, close together around the event, with some faults near what matters."""
    begins = event.asked[0][0]
    back = chance.choice([46, 46, 46, 46, 14, 9])
    at, until = event.local(event.day, 0) - back * DAY, begins + 16 * HOUR
    step = timedelta(seconds=chance.choice([3_600, 1_800]))
    more, outward = chance.choice([1, 1, 3]), meter == "device" or chance.random() < 0.3
    rows: list[Reading] = []
    out = inn = 1_000_000
    while at < until:
        near = at >= begins - 6 * HOUR
        rows.append((at, out, inn, "OK") if outward else (at, inn, out, "OK"))
        step = timedelta(seconds=300) if near else step
        part = Fraction(step // timedelta(seconds=1), 3600)
        out += int(chance.choice(LEVELS_WH) * part) * (more if near else 1)
        inn += int(chance.choice(LEVELS_WH[:5]) * part)
        at += step
    return faulty(rows, begins, [faults(chance) for _ in range(chance.choice([0, 1, 3, 6]))])


def faults(chance: Random) -> tuple[str, int, int]:
    kind = chance.choice(["gap", "BAD", "ESTIMATED", "reset", "conflict", "copy", "spike"])
    return (
        kind,
        chance.choice([0, 0, 1, 2, 7]),
        chance.choice([*range(0, 200, 7), -290, -130]),
    )


def faulty(rows: list[Reading], begins: datetime, of: list[tuple[str, int, int]]) -> list[Reading]:
    """Return readings with faults, each so many days before the event and minutes after its begin."""
    for kind, days_back, past in sorted(of, key=lambda each: (-each[1], each[2])):  # resets as they come
        at = begins - days_back * DAY + timedelta(minutes=past)
        place = next(number for number, row in enumerate(rows) if row[0] >= at)
        when, out, inn, mark = rows[place]
        if kind == "gap":
            rows = [row for row in rows if not at <= row[0] < at + timedelta(minutes=10 + abs(past) // 2)]
        elif kind == "reset":
            out, inn = (min(row[counter] for row in rows[place:]) for counter in (1, 2))
            rows[place:] = [(row[0], row[1] - out, row[2] - inn, row[3]) for row in rows[place:]]
        elif kind == "spike":
            rows[place] = (when, out + 700, inn + 40 * (past % 2), mark)
        elif kind == "conflict":
            rows.append((when, out + 1, inn, mark))
            rows.sort()
        elif kind == "copy":
            rows.insert(place, rows[place])
        else:
            rows[place] = (when, out, inn, kind)
    return rows


def homes(chance: Random, event: Event, name: str) -> Home:
    begins, meter = event.asked[0][0], chance.choice(["device", "site"])
    out_after, held_from = (chance.choice([None] * 6 + [-20, 37, 100]) for _ in range(2))
    held = [] if held_from is None else [begins + timedelta(minutes=held_from)]
    for _ in held[:1] and range(chance.choice([1, 1, 3])):
        held.append(held[-1] + timedelta(seconds=chance.randint(1, 7_200)))
    nets, pays_power = event.terms.policy == "net_season_floor_zero", event.terms.rule in ("season", "month")
    earlier = [
        (f"ev-{place}", event.day - chance.randint(1, 90) * DAY, exactly(chance))
        for place in range(chance.choice([0, 1, 2]) if nets else 0)
    ]
    return Home(
        name=name,
        meter=meter,
        opted_out_at=None if out_after is None else begins + timedelta(minutes=out_after),
        held=list(zip(held[::2], held[1::2], strict=False)),
        excluded=some_days(chance, event, 0.1),
        rows=readings(chance, event, meter),
        carried=[(name, event.local(day, 12), wh) for name, day, wh in earlier if event.same_season(day)],
        powers=[
            (f"ev-{place}", chance.choice([Fraction(1), Fraction(37, 60)]), exactly(chance) / 1_000)
            for place in range(chance.choice([0, 1, 3]) if pays_power else 0)
        ],
    )


def some_days(chance: Random, event: Event, share: float) -> list[tuple[date, str]]:
    days = (event.day - back * DAY for back in range(1, 46) if chance.random() < share)
    return [(day, chance.choice(slow.REASONS)) for day in days]


def exactly(chance: Random) -> Fraction:
    return Fraction(chance.randint(-9_000, 9_000) * 60, chance.choice([60, 37, 36_000]))


def events(chance: Random) -> Event:
    zone, day = chance.choice(DAYS)
    of_program = terms(chance, zone)
    hours = {0: [18, 0, 1, 17, 22, 23], 16: [18, 17, 19, 15], 20: [22, 20, 23, 19, 0]}[of_program.window[0]]
    hour = chance.choice(hours)
    first = datetime(day.year, day.month, day.day, hour, tzinfo=ZoneInfo(zone)).astimezone(slow.UTC)
    event = Event(of_program, versions(chance, first), [], {})
    event.excluded = some_days(chance, event, 0.05)
    if event.terms.rule == "month" and chance.random() < 0.6:
        event.prices = {
            first + past * HOUR: Fraction(chance.choice([84, 100, 120, 250, 250, 250, 250, 0, -3]))
            for past in range(-1, 12)
            if past != chance.choice([-9, -9, -9, -9, 2])
        }
    event.homes = [homes(chance, event, f"s-{number}") for number in range(chance.choice([1, 2, 3]))]
    for home in event.homes:
        home.excluded += event.excluded
    return event


def program_file(of: Terms) -> str:
    rates = {
        "incremental": ("per_kwh_incremental", "rate_usd_per_kwh", f"{float(of.rate):.2f}"),
        "delivered": ("per_kwh_delivered", "rate_usd_per_kwh", f"{float(of.rate):.2f}"),
        "season": ("per_kw_season_average", "rate_per_kw_season", f"{float(of.rate):.2f}"),
        "month": (
            "per_kw_month_weighted",
            "rate_per_kw_month",
            "{" + ", ".join(f'"{month:02d}" = {float(of.rate):.2f}' for month in range(1, 13)) + "}",
        ),
    }
    rule, rate, amount = rates[of.rule]
    opens, closes = (f"{hour:02d}:00:00" for hour in of.window)
    values = {
        "season_first": f'"{of.season[0]}"', "season_last": f'"{of.season[1]}"',
        "window_opens": opens, "window_closes": closes,
        "event_min_h": "1", "event_max_h": str(of.longest // HOUR), "season_cap_h": "8784",
        "season_minimum_h": "0", "tariff": f'"{rule}"', rate: amount,
        "owner_share": f"{float(of.share):.2f}", "bonus_multiplier": f"{float(of.bonus):.2f}",
        "meter": '"device"', "baseline_method": f'"{of.method}"', "negative_policy": f'"{of.policy}"',
        "holidays": f'"{of.holidays}"',
    }  # fmt: skip
    bounds = (("cap_kwh", of.cap_kwh), ("cap_amount", of.cap_amount), ("minimum_amount", of.minimum or None))
    values |= {key: f"{float(value):.2f}" for key, value in bounds if value is not None}
    sourced = "\n".join(
        f'{key} = {{ value = {value}, source = "drawn at random" }}' for key, value in values.items()
    )
    return (
        f'program_id = "p"\nname = "P"\nutility = "u"\ngroups = []\ntime_zone = "{of.zone.key}"\n'
        'close_after_days = { value = 8, source = "drawn at random" }\n'
        "[[edition]]\neffective_from = 2020-01-01\n" + sourced
    )


def files_of(event: Event) -> dict[str, bytes]:
    def span(each: Span) -> dict[str, str]:
        return {"starts_at": each[0].isoformat(), "ends_at": each[1].isoformat()}

    def table(header: str, *lines: str) -> bytes:
        return "\n".join([header, *lines, ""]).encode()

    stated = [
        {"effective_at": at.isoformat(), "status": status, "intervals": [span(each) for each in spans]}
        for at, status, spans in event.versions
    ]
    body = {"event_id": "ev", "program_id": "p", "time_zone": event.terms.zone.key, "versions": stated}
    metered = [
        f"{home.name},{utc(at)},"
        + (f"{out},{inn},,," if home.meter == "device" else f",,{inn},{out},")
        + mark
        for home in event.homes
        for at, out, inn, mark in home.rows
    ]
    random.Random(len(metered)).shuffle(metered)  # rows come in any order
    sites = [
        f"{home.name},o-{home.name},{home.meter},{utc(home.opted_out_at) if home.opted_out_at else ''},"
        + " ".join(f"{utc(starts)}/{utc(stops)}" for starts, stops in home.held)
        for home in event.homes
    ]
    excluded = [f"*,{day},{reason}" for day, reason in event.excluded]
    for home in event.homes:
        excluded += [
            f"{home.name},{day},{reason}" for day, reason in set(home.excluded) - set(event.excluded)
        ]
    carried = [f"{home.name},{name},{utc(at)},{wh}" for home in event.homes for name, at, wh in home.carried]
    powers = [f"{home.name},{name},{weight},{kw}" for home in event.homes for name, weight, kw in home.powers]
    prices = [f"p,{utc(at)},{float(price):.2f}" for at, price in event.prices.items()]
    found = {
        "event.json": json.dumps(body).encode(),
        "program.toml": program_file(event.terms).encode(),
        "sites.csv": table("site_id,owner_id,meter,opted_out_at,held_elsewhere", *sites),
        "meter.csv": table("site_id,at,discharged_wh,charged_wh,imported_wh,exported_wh,quality", *metered),
        "excluded_days.csv": table("site_id,date,reason", *excluded),
        "carried.csv": table("site_id,event_id,starts_at,incremental_wh", *carried),
        "period.csv": table("site_id,event_id,weight,kw", *powers),
    }
    return found | ({"prices.csv": table("program_id,hour_starts_at,usd_per_mwh", *prices)} if prices else {})


def utc(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"


def number(value: object) -> Fraction | None:
    return None if value is None else Fraction(str(value))


def check(event: Event) -> None:
    """Compare every number of every home."""
    report = verify_bundle(files_of(event)).as_json()
    results = {home.name: slow.settled(event, home) for home in event.homes}
    sites = report["sites"]
    assert isinstance(sites, list)
    for home, site in zip(event.homes, sites, strict=True):
        mine = results[home.name]
        noted(f"{event.terms.rule}: {mine.quality if mine.hours else 'nothing'}")
        assert [
            (hour["starts_at"], number(hour["fraction"]), hour["metered_wh"], number(hour["baseline_wh"]),
             number(hour["incremental_wh"]), hour["quality"])
            for hour in site["hours"]
        ] == [
            (utc(hour.starts_at), hour.fraction, hour.metered_wh, hour.usual_wh, hour.beyond_wh, hour.quality)
            for hour in mine.hours
        ]  # fmt: skip
        assert (number(site["incremental_wh"]), number(site["paid_wh"]), site["quality"]) == (
            mine.beyond_wh, slow.paid_wh(event, home, mine), mine.quality,
        )  # fmt: skip
        assert site["amount_usd"] == slow.dollars(event, home, results)
        if site["average_kw"] is not None:
            assert number(site["average_kw"]) == slow.average_kw(slow.powers(event, home, results))
        if mine.hours and mine.quality != "NO_BASELINE":
            days = [(each["date"], each["reason"]) for each in site["dropped_days"]]
            assert site["baseline_days"] == [day.isoformat() for day in mine.chosen]
            assert days == [(day.isoformat(), reason) for day, reason in mine.dropped]
    assert report["agrees"]


@settings(max_examples=60, phases=[Phase.explicit, Phase.reuse, Phase.generate])  # a seed does not shrink
@given(some.integers(0, 2**32))
def test_a_bundle_computes_to_what_the_formulas_say(seed: int):
    check(events(Random(seed)))
