"""Whatever a program pays for, its owners read what counts there and each factor that leads to the cent."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.domain.money_world import (
    EVENT_DAY,
    a_meter,
    a_program,
    an_evening_history,
    local,
    weekdays_before,
)
from tests.entrypoints.test_books_and_payouts import CLOSED, a_desk
from tests.stages.money_story import ENDS_AT, STARTS_AT, TEN_DAYS, MoneyStory
from vpp.adapters.clock import SteppedClock
from vpp.domain.program import MeterOfRecord, NegativePolicy, Period, Program, Tariff, TariffRule
from vpp.domain.quantities import Price
from vpp.entrypoints import rendering_statement
from vpp.entrypoints.language import Language
from vpp.entrypoints.operations.desk import Desk
from vpp.entrypoints.operations.money import settle_event, show_statement
from vpp.entrypoints.operations.owner import show_own_events
from vpp.entrypoints.operations.owner_money import periods_with_steps, show_own_event
from vpp.entrypoints.operations.owner_words import counting_sentence, what_counts
from vpp.stages.pay import accrue
from vpp.wire.program_file import read_program

AUSTRALIA = Path(__file__).parents[2] / "config" / "programs" / "tesla-energy-plan-au.toml"
NO_RATE = Price(Decimal(0))
SEASON = Tariff(TariffRule.PER_KW_SEASON_AVERAGE, per_kw_season=Decimal("82.80"), bonus=Decimal("1.30"))


async def an_evening(folder: Path, program: Program, *event_wh: int) -> Desk:
    """Return a desk at which one home's event is settled, after 1 kWh in each hour of ten days."""
    story = MoneyStory(clock=SteppedClock(CLOSED), program=program)
    await story.home("home", an_evening_history(event_wh, TEN_DAYS))
    await story.event()
    await story.dispatched(0)
    desk = a_desk(story, folder)
    await settle_event(desk, event_id="ev-1")
    return desk


@pytest.mark.parametrize(("permille", "percent"), [(5, "0.5"), (20, "2"), (None, None)])
async def test_a_statement_says_how_far_the_meter_may_be_off_by_its_class(
    tmp_path: Path, permille: int | None, percent: str | None
):
    story = MoneyStory(clock=SteppedClock(CLOSED))
    await story.home("home", an_evening_history((2_000,) * 3, TEN_DAYS), accuracy_permille=permille)
    await story.event()
    await story.dispatched(0)
    desk = a_desk(story, tmp_path)
    await settle_event(desk, event_id="ev-1")

    statement: Any = await show_statement(desk, owner_id="owner-home")

    (line,) = (await story.store.settlements())[0].lines
    assert line.meter_accuracy_permille == permille
    assert statement["events"][0]["meter_accuracy_pct"] == (None if percent is None else float(percent))
    said = f"by its class, the meter may be off by at most {percent} %"
    assert (said in printed(statement)) == (permille is not None)
    assert statement["events"][0]["amount_usd"] == "6.00", "no cent depends on it"


async def steps(desk: Desk) -> list[str]:
    """Return the sentences that lead from the hours of the event to its amount."""
    found: Any = await show_own_event(desk, owner_id="owner-home", event_id="ev-1")
    (line,) = found["lines"]
    return [step["text"] for step in line["steps"]]


def printed(statement: Any) -> str:
    shown = Console(width=160, record=True, file=StringIO())
    rendering_statement.show_statement(shown, statement)
    return shown.export_text()


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        (
            {},
            "on average in the same hours of similar days; hours below that average count against it within",
        ),
        ({"negative_policy": NegativePolicy.CLAMP_INTERVAL}, "an hour below that average counts as nothing."),
        ({"negative_policy": NegativePolicy.NET_SEASON_FLOOR_ZERO}, "count against it within one season"),
        ({"meter": MeterOfRecord.SITE}, "how much less energy your home drew from the grid"),
        (
            {"tariff": Tariff(TariffRule.PER_KWH_DELIVERED), "baseline_method": "none"},
            "What counts is all energy your battery discharged during the event, whether your home used it "
            "or the grid, less what it charged.",
        ),
        ({"tariff": SEASON, "baseline_method": "none"}, "an event you stayed out of counts as zero."),
        ({"tariff": SEASON}, "; of each event only what is beyond the average of the same hours"),
        (
            {"tariff": Tariff(TariffRule.PER_KW_MONTH_WEIGHTED, per_kw_month=((9, Decimal(14)),))},
            "the mean power of your battery over the hours of the month's events",
        ),
        ({"tariff": Tariff(TariffRule.FIXED_CREDIT, credit=Decimal(10))}, "your Powerwalls are enrolled"),
    ],
)
def test_the_sentence_about_what_counts_is_that_of_the_program(terms: dict[str, Any], said: str):
    (edition,) = a_program(**terms).editions

    assert said in counting_sentence(Language("en"), what_counts(edition))


@pytest.mark.parametrize(
    ("language", "said"),
    [
        (
            "en",
            "; your battery is asked for at most 50 full cycles in a calendar year, and for nothing beyond.",
        ),
        (
            "es",
            "; a su batería se le piden como máximo 50 ciclos completos en un año natural, y nada más allá.",
        ),
    ],
)
async def test_a_statement_says_how_many_cycles_a_home_is_asked_for(language: str, said: str, tmp_path: Path):
    (edition,) = read_program(AUSTRALIA.read_text(encoding="utf-8"), file_name=AUSTRALIA.name).editions
    desk = await an_evening(tmp_path, a_program(cap_cycles=50), 4_000, 4_000, 4_000)

    statement: Any = await show_statement(desk, owner_id="owner-home")

    assert counting_sentence(Language(language), what_counts(edition)).endswith(said)
    assert [counting_sentence(Language(language), each).endswith(said) for each in statement["counts"]] == [
        True
    ]
    assert "at most 50 full cycles" in printed(statement)


async def test_a_statement_says_what_counts_where_all_that_is_delivered_is_paid(tmp_path: Path):
    delivered = {"tariff": Tariff(TariffRule.PER_KWH_DELIVERED), "baseline_method": "none"}
    program = a_program(**delivered, rate=Price(Decimal("1.25")), owner_share=Decimal("0.80"))
    desk = await an_evening(tmp_path, program, 4_000, 4_000, 2_400)

    statement: Any = await show_statement(desk, owner_id="owner-home")

    assert "all energy your battery discharged" in statement["what_counts"]
    assert "similar days" not in printed(statement)
    assert (await steps(desk)) == [
        "All that was discharged counts.",
        "All hours together: 10.40 kWh.",
        "10.40 kWh × $1.25 per kWh × your share 0.80 = $10.40",
        "Rounded once, half up, to the cent: $10.40",
    ]


async def test_bonus_cap_and_minimum_are_steps_on_the_way_to_the_cent(tmp_path: Path):
    capped = Tariff(bonus=Decimal("1.5"), cap_kwh=Decimal("6.5"), cap_amount=Decimal("19.00"))
    lifted = Tariff(minimum_amount=Decimal("25.00"))

    (tmp_path / "capped").mkdir()
    most = await steps(await an_evening(tmp_path / "capped", a_program(tariff=capped), 4_000, 4_000, 4_000))
    least = await steps(await an_evening(tmp_path, a_program(tariff=lifted), 4_000, 4_000, 4_000))

    assert most[2:] == [
        "At most 6.5 kWh of one event count.",
        "6.50 kWh × $2.00 per kWh × your share 1.00 = $13.00",
        "× bonus 1.50 = $19.50",
        "At most $19.00.",
        "Rounded once, half up, to the cent: $19.00",
    ]
    (tmp_path / "both").mkdir()
    both = Tariff(minimum_amount=Decimal("25.00"), cap_amount=Decimal("20.00"))
    last = await steps(await an_evening(tmp_path / "both", a_program(tariff=both), 4_000, 4_000, 4_000))

    assert last[3:] == ["At most $20.00.", "Rounded once, half up, to the cent: $20.00"]
    assert least[2:] == [
        "9.00 kWh × $2.00 per kWh × your share 1.00 = $18.00",
        "At least $25.00.",
        "Rounded once, half up, to the cent: $25.00",
    ]


async def test_hours_that_do_not_count_against_the_others_are_said(tmp_path: Path):
    program = a_program(negative_policy=NegativePolicy.CLAMP_INTERVAL)
    desk = await an_evening(tmp_path, program, 4_000, 500, 4_000)

    assert (await steps(desk))[1:3] == [
        "All hours together: 5.50 kWh.",
        "Hours below usual count as nothing: 6.00 kWh count.",
    ]


async def two_evenings(folder: Path, program: Program, *evenings: list[int]) -> Desk:
    """Return a desk at which a home's two evenings in a row are settled, after ten days of 1 kWh an hour."""
    story = MoneyStory(clock=SteppedClock(ENDS_AT + timedelta(days=2)), program=program)
    thursday = EVENT_DAY + timedelta(days=1)
    first, second = evenings
    await story.home(
        "home", an_evening_history(first, TEN_DAYS), an_evening_history(second, [], day=thursday)
    )
    await story.event()
    await story.dispatched(0)
    later = local(thursday, 18)
    await story.event("ev-2", starts_at=later, ends_at=later + (ENDS_AT - STARTS_AT))
    await story.dispatched(0, event_id="ev-2", at=later)
    desk = a_desk(story, folder)
    for event_id in ("ev-1", "ev-2"):
        await settle_event(desk, event_id=event_id)
    return desk


async def test_what_a_netting_season_carried_to_an_event_is_said(tmp_path: Path):
    program = a_program(negative_policy=NegativePolicy.NET_SEASON_FLOOR_ZERO)
    desk = await two_evenings(tmp_path, program, [0] * 3, [4_000] * 3)

    statement: Any = await show_statement(desk, owner_id="owner-home")
    found: Any = await show_own_event(desk, owner_id="owner-home", event_id="ev-2")

    assert [(each["carried_wh"], each["paid_wh"]) for each in statement["events"]] == [
        (0, 0),
        (-3_000, 6_000),
    ]
    assert (
        "the season's earlier events carry -3.00 kWh to it; by the program's rule 6.00 kWh of it count"
        in printed(statement)
    )
    assert [step["text"] for step in found["lines"][0]["steps"]][1:3] == [
        "All hours together: 9.00 kWh.",
        "The season's earlier events carry -3.00 kWh to it; what the sum is above zero now and was not "
        "before counts: 6.00 kWh.",
    ]


@pytest.mark.parametrize(
    ("method", "morning_wh", "ratio", "amount"),
    [
        ("ten_of_ten", 1_500, ("9/5", "1", "7/5"), "4.80"),
        ("ten_of_ten", 1_000, ("6/5", "1", "7/5"), "4.00"),
        ("ten_of_ten", 700, ("21/25", "1", "7/5"), "3.20"),
        ("caiso_ten_of_ten", 700, ("21/25", "4/5", "6/5"), "2.56"),
    ],
)
async def test_what_a_grid_meters_baseline_is_multiplied_by_can_be_divided_by_hand(
    method: str, morning_wh: int, ratio: tuple[str, str, str], amount: str, tmp_path: Path
):
    """Load: 2 kWh in the hour of the event usually and 2.5 kWh in the three before, 0.4 kWh in it now."""
    hours = {local(EVENT_DAY, 18): -400} | {local(EVENT_DAY, hour): -morning_wh for hour in (14, 15, 16)}
    for day in weekdays_before(EVENT_DAY, 10):
        hours |= {local(day, 18): -2_000}
        hours |= {local(day, hour): -wh for hour, wh in ((14, 800), (15, 800), (16, 900))}
    program = a_program(meter=MeterOfRecord.SITE, baseline_method=method)
    story = MoneyStory(clock=SteppedClock(CLOSED), program=program)
    await story.home("home")
    await story.metered("home", a_meter(hours), at_grid=True, received_at=ENDS_AT)
    await story.event(ends_at=local(EVENT_DAY, 19))
    await story.dispatched(0)
    desk = a_desk(story, tmp_path)
    await settle_event(desk, event_id="ev-1")

    statement: Any = await show_statement(desk, owner_id="owner-home")

    (event,) = statement["events"]
    by = event["adjusted_by"]
    assert (Fraction(by["metered_wh"], by["usual_wh"]), by["lowest"], by["highest"]) == (
        Fraction(ratio[0]), ratio[1], ratio[2]
    )  # fmt: skip
    times = min(max(Fraction(ratio[0]), Fraction(by["lowest"])), Fraction(by["highest"]))
    assert (Fraction(event["adjustment"]), event["amount_usd"]) == (times, amount)
    said = f"{3 * morning_wh / 1000:.2f}".rstrip("0").ljust(4, "0")
    assert f"hours from 2:00 PM PDT, 3:00 PM PDT, 4:00 PM PDT: {said} kWh that day, 2.50 kWh on" in printed(
        statement
    )
    assert any(
        each.startswith(f"In the hours from 14:00, 15:00, 16:00: {said} kWh that day ÷ 2.50 kWh on average")
        for each in await steps(desk)
    )


async def test_days_that_weigh_more_weigh_more_in_the_ratio_too(tmp_path: Path):
    """Of five rest days the three highest, 50, 30 and 20 %; three hours before and three after the event."""
    saturday, around = date(2026, 9, 12), (14, 15, 16, 20, 21, 22)
    loads = {"09-07": (2_000, 300), "09-06": (3_000, 400), "09-05": (1_000, 900), "08-30": (2_500, 500)}
    loads |= {"08-29": (900, 900)}
    hours = {local(saturday, 18): -400} | {local(saturday, hour): -500 for hour in around}
    for day, (in_event_wh, around_wh) in loads.items():
        rest_day = date.fromisoformat(f"2026-{day}")
        hours |= {local(rest_day, 18): -in_event_wh} | {local(rest_day, hour): -around_wh for hour in around}
    for day in weekdays_before(saturday, 10):
        hours |= {local(day, hour): -5_000 for hour in (18, *around)}
    program = a_program(meter=MeterOfRecord.SITE, baseline_method="five_of_ten")
    story = MoneyStory(clock=SteppedClock(CLOSED), program=program)
    await story.home("home")
    await story.metered("home", a_meter(hours), at_grid=True, received_at=local(saturday, 23))
    await story.event(starts_at=local(saturday, 18), ends_at=local(saturday, 19))
    await story.dispatched(0, at=local(saturday, 18))
    desk = a_desk(story, tmp_path)
    await settle_event(desk, event_id="ev-1")

    statement: Any = await show_statement(desk, owner_id="owner-home")

    (event,) = statement["events"]
    usual_wh = (400 * 50 + 500 * 30 + 300 * 20) // 100 * 6
    assert (event["adjusted_by"]["metered_wh"], event["adjusted_by"]["usual_wh"]) == (3_000, usual_wh)
    assert Fraction(event["adjustment"]) == Fraction(3_000, usual_wh)


async def test_a_season_is_the_mean_of_events_and_a_product_that_can_be_made_by_hand(tmp_path: Path):
    program = a_program(tariff=SEASON, rate=NO_RATE, baseline_method="none")
    desk = await two_evenings(tmp_path, program, [4_000, 4_000, 4_001], [5_000] * 3)

    statement: Any = await show_statement(desk, owner_id="owner-home")

    (period,) = periods_with_steps(statement)
    assert period["parts"] == [
        {"event_id": "ev-1", "name": "ev-1", "day": "2026-09-09", "weight": "1.00", "kw": "4.0003333…"},
        {"event_id": "ev-2", "name": "ev-2", "day": "2026-09-10", "weight": "1.00", "kw": "5.00"},
    ]
    mean = (Fraction(12_001, 3_000) + 5) / 2
    assert (period["kw"], Fraction(str(period["average_kw"]))) == ("4.5001666…", mean)
    by_hand = mean * Fraction("82.80") * Fraction("1.30")
    assert period["amount_usd"] == period["booked_usd"] == "484.40" == f"{float(by_hand):.2f}"
    text = printed(statement)
    assert "ev-2: 5.00 kW" in text
    assert (
        "4.5001666… kW × $82.80 per kW × bonus 1.30 × share 1.00, rounded once to the cent, = $484.40" in text
    )
    assert "ev-1: 4.0003333… kW" in text
    assert "15.00 kWh ÷ 3.00 h = 5.00 kW; this program pays by the month" in text


async def test_an_event_of_a_season_shows_its_power_and_does_not_say_that_nothing_was_given(tmp_path: Path):
    program = a_program(tariff=SEASON, rate=NO_RATE, baseline_method="none")
    desk = await an_evening(tmp_path, program, 4_000, 4_000, 4_000)

    history: Any = await show_own_events(desk, owner_id="owner-home")

    assert [each["why"] for each in history["events"]] == ["paid_by_period"]
    (_, _, power) = await steps(desk)
    assert power.startswith("12.00 kWh ÷ 3.00 h = 4.00 kW.")


async def test_a_credit_names_its_rate_and_its_currency(tmp_path: Path):
    credit = Tariff(TariffRule.FIXED_CREDIT, credit=Decimal("220.00"), credit_every=Period.YEAR)
    program = replace(a_program(tariff=credit, rate=NO_RATE, baseline_method="none"), currency="AUD")
    story = MoneyStory(clock=SteppedClock(local(EVENT_DAY + timedelta(days=600), 12)), program=program)
    await story.home("home", {})
    desk = a_desk(story, tmp_path)
    desk = replace(desk, programs={program.program_id: program})
    await accrue(desk.programs, store=desk.store, clock=desk.clock)

    text = printed(await show_statement(desk, owner_id="owner-home"))

    assert "1 Powerwalls enrolled" in text
    assert "AUD 220.00 per Powerwall × share 1.00, rounded once to the cent, = AUD 220.00 (final)" in text
    assert "What counts is that your Powerwalls are enrolled" in text


async def test_a_year_of_credit_paid_by_the_month_can_be_made_by_hand_and_sums_to_its_season(tmp_path: Path):
    program = read_program(AUSTRALIA.read_text(encoding="utf-8"), file_name="au.toml")
    program = replace(program, zone=a_program().zone)
    story = MoneyStory(clock=SteppedClock(local(date(2027, 12, 1), 12)), program=program)
    await story.home("home", {})
    desk = replace(a_desk(story, tmp_path), programs={program.program_id: program})
    await accrue(desk.programs, store=desk.store, clock=desk.clock)

    statement: Any = await show_statement(desk, owner_id="owner-home")

    months = [each for each in statement["periods"] if each["period"].startswith("month-2027-")]
    assert [each["amount_usd"] for each in months[:3]] == ["18.33", "18.34", "18.33"]
    assert [each["booked_usd"] for each in months] == [each["amount_usd"] for each in months]
    assert [each["state"] for each in months[-3:]] == ["final", "provisional", "provisional"]
    season = statement["seasons"][-1]
    assert (season["season_starts_on"], season["periods"]) == ("2027-01-01", 12)
    assert (season["events"], season["amount_usd"], season["currency"]) == (0, "220.00", "AUD")
    text = printed(statement)
    assert (
        "AUD 220.00 per Powerwall × share 1.00, a year: 2 of 12 months, rounded to the cent, AUD 36.67, "
        "less 1 of 12, AUD 18.33, = AUD 18.34 (final)"
    ) in " ".join(text.split())
    assert (
        "tesla-energy-plan-au, season from 2027-01-01: 0 events, 12 months, seasons or years paid, AUD 220.00"
    ) in text
    (february,) = [each for each in periods_with_steps(statement) if each["period"] == "month-2027-02"]
    assert (february["kind"], february["starts"]) == ("month", "2027-02")
