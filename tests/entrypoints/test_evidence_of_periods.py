"""Where a month, a season or its netting makes the cents, a bundle still computes to what the ledger says."""

import hashlib
import json
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest

from tests.domain.money_world import EVENT_DAY, a_meter, local
from tests.entrypoints.test_evidence_export import PROGRAM, a_desk, a_story, amounts, exported, shipped
from tests.stages.money_story import MoneyStory
from vpp.domain.ledger import live_settlements, owed_by
from vpp.domain.program import Program, TariffRule, Terms
from vpp.domain.quantities import MicroDollars, dollars
from vpp.domain.wholesale_price import WholesalePrice
from vpp.entrypoints.operations.desk import OperationRefused
from vpp.entrypoints.operations.money import settle_ended
from vpp.stages.pay import accrue
from vpp.wire.evidence_check import verify_bundle
from vpp.wire.program_file import read_program
from vpp.wire.table import BadFile

SHIPPED = {path.stem: path.read_text() for path in PROGRAM.parent.glob("*.toml")}
DAYS = {"ev-1": EVENT_DAY, "ev-2": date(2026, 9, 10), "ev-3": date(2026, 9, 11)}
Given = Mapping[str, Mapping[str, list[int]]]


def for_power(rule: str, rate: str) -> Program:
    """Return the shipped program as one that pays for mean power without a baseline."""
    terms = f'tariff = {{ value = "{rule}", source = "decided: a test" }}\n{rate}\nowner_share = '
    lines = (line for line in PROGRAM.read_text().splitlines() if not line.startswith("rate_usd_per_kwh"))
    text = "\n".join(lines).replace("owner_share = ", terms).replace('"ten_of_ten"', '"none"')
    return read_program(text, file_name=PROGRAM.name)


SEASON = for_power(
    "per_kw_season_average",
    'rate_per_kw_season = { value = 225.00, source = "decided: a test" }',
)
MONTH = for_power(
    "per_kw_month_weighted", 'rate_per_kw_month = { value = { "09" = 14.97 }, source = "decided: a test" }'
)
NETS = shipped(lambda text: text.replace('"net_event_floor_zero"', '"net_season_floor_zero"'))


async def a_season(program: Program, given: Given, days: Mapping[str, date] = DAYS) -> MoneyStory:
    """Settle and book an event on each of three evenings, by the Wh that homes gave in its hours."""
    story = a_story(program)
    story.clock.step_to(local(DAYS["ev-3"], 22))
    names = sorted({name for evening in given.values() for name in evening})
    usual = {
        local(EVENT_DAY - timedelta(days=back), hour): 1_000 for back in range(1, 25) for hour in (18, 19, 20)
    }
    for name in names:
        hours = dict(usual)
        for event_id, evening in given.items():
            hours |= {
                local(days[event_id], 18 + at): wh for at, wh in enumerate(evening.get(name, [0, 0, 0]))
            }
        await story.home(name, hours)
    for event_id, evening in given.items():
        begins = local(days[event_id], 18)
        await story.event(event_id, starts_at=begins, ends_at=begins + timedelta(hours=3))
        await story.dispatched(*(names.index(name) for name in evening), event_id=event_id, at=begins)
    return story


async def settled(story: MoneyStory, *event_ids: str) -> None:
    for event_id in event_ids:
        await story.settled_and_paid(event_id)
    await accrue({story.program.program_id: story.program}, store=story.store, clock=story.clock)


async def booked(story: MoneyStory, period: str) -> dict[str, str]:
    """Return what the ledger owes by site for an event or a period."""
    live = live_settlements(await story.books())
    return {
        site_id: dollars(MicroDollars(owed_by(entry, owner_id)))
        for (owner_id, site_id, _, of), entry in live.items()
        if of == period
    }


async def test_a_season_that_nets_takes_back_in_one_event_what_another_had_earned(tmp_path: Path):
    story = await a_season(
        NETS,
        {
            "ev-1": {"home": [4_000] * 3, "other": [0] * 3},
            "ev-2": {"home": [0] * 3, "other": [2_000] * 3},
            "ev-3": {"home": [1_500] * 3, "other": [2_000] * 3},
        },
    )
    await settled(story, *DAYS)

    files = {event_id: await exported(story, tmp_path, event_id) for event_id in DAYS}
    reports = {event_id: verify_bundle(each) for event_id, each in files.items()}

    assert {event_id: amounts(each) for event_id, each in reports.items()} == {
        "ev-1": {"home": "18.00", "other": "0.00"},
        "ev-2": {"home": "-6.00", "other": "0.00"},
        "ev-3": {"home": "3.00", "other": "6.00"},
    }
    assert [each.differences for each in reports.values()] == [(), (), ()]
    assert files["ev-3"]["carried.csv"].decode().split() == [
        "site_id,event_id,starts_at,incremental_wh",
        "home,ev-1,2026-09-10T01:00:00Z,9000",
        "home,ev-2,2026-09-11T01:00:00Z,-3000",
        "other,ev-1,2026-09-10T01:00:00Z,-3000",
        "other,ev-2,2026-09-11T01:00:00Z,3000",
    ]
    assert await booked(story, "ev-2") == {"home": "-6.00"}


async def test_events_settled_at_once_net_in_the_order_of_time_whatever_their_names(tmp_path: Path):
    days = {"a-later": DAYS["ev-2"], "z-earlier": DAYS["ev-1"]}
    given = {"z-earlier": {"home": [0] * 3}, "a-later": {"home": [4_000] * 3}}
    story = await a_season(NETS, given, days)
    story.clock.step_to(local(date(2026, 10, 1), 12))

    await settle_ended(a_desk(story, tmp_path))

    assert await booked(story, "a-later") == {"home": "12.00"}
    assert verify_bundle(await exported(story, tmp_path, "a-later")).agrees


async def test_an_event_is_settled_again_before_its_evidence_when_an_earlier_one_was(tmp_path: Path):
    given = {"ev-1": {"home": [4_000] * 3}, "ev-2": {"home": [0] * 3}}
    story = await a_season(NETS, given)
    await story.opted_out("home", event_id="ev-1", at=local(EVENT_DAY, 18, 30))
    await settled(story, "ev-1", "ev-2")
    assert await booked(story, "ev-2") == {"home": "-3.00"}
    await story.store.take_back_opt_out("home", "ev-1", at=local(EVENT_DAY, 20))
    await settled(story, "ev-1")

    with pytest.raises(OperationRefused, match="settled again since ev-2 was; vpp settle ev-2 takes in"):
        await exported(story, tmp_path, "ev-2")

    await settled(story, "ev-2")
    report = verify_bundle(await exported(story, tmp_path, "ev-2"))
    assert (amounts(report), report.agrees) == ({"home": "-6.00"}, True)


async def test_the_mean_power_of_a_season_is_proved_from_the_bundle_of_any_of_its_events(tmp_path: Path):
    given = {
        "ev-1": {"home": [5_000] * 3, "other": [5_000] * 3},
        "ev-2": {"home": [5_000] * 3, "other": [4_200] * 3},
        "ev-3": {"home": [0, 0, 0]},
    }
    story = await a_season(SEASON, given)
    await settled(story, *DAYS)
    whole = {"home": "750.00", "other": "1035.00"}

    reports = [verify_bundle(await exported(story, tmp_path, event_id)) for event_id in DAYS]

    assert await booked(story, "season-2026-05-01") == whole
    assert [amounts(each) for each in reports] == [whole, whole, {"home": "750.00"}]
    assert [each.differences for each in reports] == [(), (), ()]
    home_json = reports[0].as_json()["sites"][0]  # type: ignore[index]  # JSON as it is written
    assert (home_json["average_kw"], reports[0].as_json()["period"]) == ("10/3", "season-2026-05-01")


@pytest.mark.parametrize("hour", [12, 19])
async def test_a_home_whose_owner_said_no_is_in_the_bundle_with_no_power(hour: int, tmp_path: Path):
    given = {"ev-1": {"home": [4_500] * 3}, "ev-2": {"other": [4_500] * 3}}
    story = await a_season(SEASON, given)
    await story.opted_out("home", event_id="ev-2", at=local(DAYS["ev-2"], hour))
    await settled(story, *given)

    report = verify_bundle(await exported(story, tmp_path, "ev-2"))

    assert amounts(report) == {"home": "506.25", "other": "1012.50"}
    assert (await booked(story, "season-2026-05-01"), report.differences) == (amounts(report), ())


def a_price(event_id: str, hour: int, dollars_per_mwh: int, program: Program) -> WholesalePrice:
    micro = MicroDollars(dollars_per_mwh * 1_000_000)
    at = local(DAYS[event_id], hour)
    return WholesalePrice(program.program_id, at, micro, local(DAYS["ev-3"], 21))


async def test_a_month_weighs_its_hours_in_the_bundle_as_in_the_books(tmp_path: Path):
    given = {"ev-1": {"home": [5_000, 1_000, 1_000]}, "ev-2": {"home": [2_000, 2_000, 2_000]}}
    story = await a_season(MONTH, given)
    first = [a_price("ev-1", hour, price, MONTH) for hour, price in ((18, 300), (19, 50), (20, 50))]
    second = [a_price("ev-2", hour, 100, MONTH) for hour in (18, 19, 20)]
    await story.store.add_prices(first)
    await settled(story, *given)
    some_priced = verify_bundle(await exported(story, tmp_path))

    await story.store.add_prices(second)
    await settled(story, *given)
    files = await exported(story, tmp_path)
    all_priced = verify_bundle(files)

    # (7 + 6) / 6 kW; (300 x 5 + 100 x 1 + 300 x 2) / 700 kW
    assert (amounts(some_priced), some_priced.differences) == ({"home": "32.44"}, ())
    assert (amounts(all_priced), all_priced.differences) == ({"home": "47.05"}, ())
    assert await booked(story, "month-2026-09") == {"home": "47.05"}
    assert files["period.csv"].decode().split()[1:] == ["home,ev-2,100,2"] * 3


async def a_bundle(program: Program, folder: Path) -> dict[str, bytes]:
    given = {event_id: {"home": [4_000] * 3} for event_id in ("ev-1", "ev-2")}
    story = await a_season(program, given)
    await settled(story, *given)
    return dict(await exported(story, folder, "ev-2"))


@pytest.mark.parametrize(
    ("program", "name", "alone", "note"),
    [
        (NETS, "carried.csv", "18.00", "carried.csv is absent; computed as if no event of the season"),
        (SEASON, "period.csv", "900.00", "as if this were its only event, because period.csv is absent"),
    ],
)
async def test_a_bundle_without_its_other_events_is_computed_alone_and_says_so(
    program: Program, name: str, alone: str, note: str, tmp_path: Path
):
    files = await a_bundle(program, tmp_path)
    for each in (name, "manifest.json", "totals.csv"):
        del files[each]

    report = verify_bundle(files)

    assert (amounts(report), report.agrees) == ({"home": alone}, True)
    assert note in report.computed.notes[0]


@pytest.mark.parametrize(
    ("program", "name", "change", "difference"),
    [
        (
            NETS,
            "carried.csv",
            lambda file: file.replace(b"9000", b"-900"),
            "totals.csv: home: paid_wh is 9000",
        ),
        (
            SEASON,
            "period.csv",
            lambda file: file.replace(b",4", b",5"),
            "home: amount_usd is 900.00, computed 1012",
        ),
    ],
)
async def test_a_byte_changed_in_what_other_events_brought_is_found(
    program: Program, name: str, change: Callable[[bytes], bytes], difference: str, tmp_path: Path
):
    files = await a_bundle(program, tmp_path)
    changed = change(files[name])
    assert changed != files[name]
    files[name] = changed

    first, *others = verify_bundle(files).differences

    assert first.startswith(f"{name}: SHA-256 is {hashlib.sha256(changed).hexdigest()}")
    assert any(difference in each for each in others)
    named = json.loads(files.pop("manifest.json"))
    named["files"].pop(name)
    files["manifest.json"] = json.dumps({"files": named["files"]}).encode()
    assert f"{name}: not named by manifest.json" in verify_bundle(files).differences


@pytest.mark.parametrize(
    ("program", "name", "row", "fault"),
    [
        (
            NETS,
            "carried.csv",
            "home,ev-9,2026-09-11T01:00:00Z,1",
            "does not come before this one in its season",
        ),
        (
            NETS,
            "carried.csv",
            "home,ev-9,2025-09-09T01:00:00Z,1",
            "does not come before this one in its season",
        ),
        (
            NETS,
            "carried.csv",
            "home,ev-1,2026-09-10T01:00:00Z,1",
            "carried.csv:3: event_id: 'ev-1' of 'home' stands",
        ),
        (
            NETS,
            "carried.csv",
            "home,ev-9,2026-09-10,1",
            "carried.csv:3: starts_at: '2026-09-10' names no zone",
        ),
        (
            NETS,
            "carried.csv",
            "home,ev-9,2026-09-10T00:00:00Z,1/0",
            "carried.csv:3: incremental_wh: '1/0' is not a n",
        ),
        (SEASON, "period.csv", "home,ev-2,1,4", "period.csv: home: event ev-2 is the bundle's own"),
        (SEASON, "period.csv", "home,ev-9,0,4", "period.csv:3: weight: '0' is not above zero"),
        (SEASON, "period.csv", "home,ev-9,1,4e0", "period.csv:3: kw: '4e0' is not a number such as"),
    ],
)
async def test_a_row_that_no_other_event_can_have_is_refused(
    program: Program, name: str, row: str, fault: str, tmp_path: Path
):
    files = await a_bundle(program, tmp_path)
    files[name] += f"{row}\r\n".encode()

    with pytest.raises(BadFile) as refused:
        verify_bundle(files)

    assert any(fault in each for each in refused.value.faults)


EDITIONS = {
    f"{name} from {terms.effective_from}": (program, terms)
    for name, text in SHIPPED.items()
    for program in (read_program(text, file_name=name),)
    for terms in program.editions
}


def two_days(program: Program, terms: Terms) -> list[datetime]:
    """Return when two evenings in a row begin, in the middle of a week in the season of an edition."""
    year = max(terms.effective_from.year, 2024 if terms.effective_to is None else terms.effective_from.year)
    day = next(
        day for day in (date(year, 7, 9) + timedelta(days=past) for past in range(7)) if day.weekday() == 1
    )
    opens = terms.window_opens if terms.window_opens != terms.window_closes else time(17)
    return [
        datetime.combine(day + timedelta(days=past), opens, tzinfo=program.zone).astimezone(UTC)
        for past in (0, 1)
    ]


@pytest.mark.parametrize("name", EDITIONS)
async def test_whatever_a_shipped_program_pays_for_the_ledgers_cents_come_out_of_its_bundles(
    name: str, tmp_path: Path
):
    program, terms = EDITIONS[name]
    evenings = two_days(program, terms)
    gave = {evenings[0]: (3_500, 2_000), evenings[1]: (400, 4_117)}
    hours = {
        evenings[0] + timedelta(days=past, hours=hour): 1_000
        for past in range(-30, 2)
        for hour in range(-4, 6)
    }
    hours |= {at + timedelta(hours=past): wh for at, both in gave.items() for past, wh in enumerate(both)}
    story = a_story(program)
    story.clock.step_to(max(story.clock.now(), evenings[1] + timedelta(hours=6)))
    await story.home("home")
    await story.metered("home", a_meter(hours), received_at=evenings[1] + timedelta(hours=6), at_grid=True)
    for event_id, at in zip(("ev-1", "ev-2"), evenings, strict=True):
        await story.event(event_id, starts_at=at, ends_at=at + timedelta(hours=2))
        await story.dispatched(0, event_id=event_id, at=at)
    await settled(story, "ev-1", "ev-2")

    reports = [verify_bundle(await exported(story, tmp_path, event_id)) for event_id in ("ev-1", "ev-2")]

    assert [each.differences for each in reports] == [(), ()]
    of_ledger = [await booked(story, each.computed.period_id or each.event_id) for each in reports]
    assert [amounts(each)["home"] for each in reports] == [each.get("home", "0.00") for each in of_ledger]
    pays = terms.tariff.rule is not TariffRule.FIXED_CREDIT
    assert {bool(each) for each in of_ledger} == {pays}
