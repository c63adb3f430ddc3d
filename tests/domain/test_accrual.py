"""What a month, a season or a year earns, and how energy and power become money."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.domain.money_world import EVENT_DAY, a_meter, a_program, an_event, local, settle_one
from vpp.domain.accrual import accrual_period, accrue_credits, accrue_events, as_part_of_period
from vpp.domain.enrollment import Consent, Enrollment, OptOut
from vpp.domain.program import Period, Program, Tariff, TariffRule
from vpp.domain.quantities import MicroDollars, Permille, Price, WattHours, Watts
from vpp.domain.settlement import Settlement, SettlementLine, SettlementState
from vpp.domain.tariff import average_power_kw, earned_by_power, earned_in_event
from vpp.domain.wholesale_price import WholesalePrice
from vpp.wire.program_file import read_program

PROGRAMS = Path(__file__).parents[2] / "config" / "programs"
IN_SEASON = datetime(2026, 9, 20, tzinfo=UTC)


def shipped(program_id: str) -> Program:
    return read_program((PROGRAMS / f"{program_id}.toml").read_text(), file_name=program_id)


def dollars_of(*amounts: str) -> list[int]:
    return [int(Decimal(amount) * 1_000_000) for amount in amounts]


def an_afternoon(program: Program, net_wh: int, day: date, event_id: str) -> Settlement:
    """Settle an event from 16:00 to 19:00 in which one home gave ``net_wh``."""
    hours = {local(day, hour): net_wh // 3 for hour in (16, 17, 18)}
    line = settle_one(a_meter(hours), an_event(local(day, 16), local(day, 19), program))
    return Settlement(event_id, program.program_id, SettlementState.FINAL, IN_SEASON, (line,))


def seasonal(program: Program, energies_wh: Sequence[int]) -> list[Settlement]:
    return [
        an_afternoon(program, net_wh, EVENT_DAY + timedelta(days=number), f"ev-{number}")
        for number, net_wh in enumerate(energies_wh)
    ]


def a_program_for_power(per_kw: str) -> Program:
    tariff = Tariff(TariffRule.PER_KW_SEASON_AVERAGE, per_kw_season=Decimal(per_kw))
    return a_program(tariff=tariff, baseline_method="none", rate=Price(Decimal(0)))


@pytest.mark.parametrize(
    ("per_kw", "energies_wh", "amount"),
    [
        ("275", [15_000] * 3, "1375.00"),
        ("225", [15_000] * 3, "1125.00"),
        ("225", [14_400, 12_600, 0], "675.00"),
    ],
)
def test_a_season_pays_the_mean_power_of_its_events(per_kw: str, energies_wh: list[int], amount: str):
    program = a_program_for_power(per_kw)

    (season,) = accrue_events(program, seasonal(program, energies_wh), (), {}, at=IN_SEASON)

    assert [line.amount for line in season.lines] == dollars_of(amount)
    assert season.event_id == "season-2026-05-01"


def test_an_event_opted_out_of_counts_as_no_power():
    program = a_program_for_power("275")
    runs = seasonal(program, [15_000] * 3)
    opted_out = replace_lines(runs[2])
    other = OptOut("s-1", "ev-2", IN_SEASON, "portal")
    taken_back = OptOut("s-1", "ev-2", IN_SEASON, "portal", taken_back_at=IN_SEASON)

    (season,) = accrue_events(program, [*runs[:2], opted_out], (other,), {"s-1": "o-1"}, at=IN_SEASON)
    (without,) = accrue_events(program, [*runs[:2], opted_out], (taken_back,), {"s-1": "o-1"}, at=IN_SEASON)

    assert [line.amount for line in season.lines if line.site_id == "s-1"] == dollars_of("916.67")
    assert [line.amount for line in without.lines if line.site_id == "s-1"] == dollars_of("1375.00")


def replace_lines(run: Settlement) -> Settlement:
    """Return the same event as another home's: ours was not commanded."""
    return replace(run, lines=tuple(replace(line, site_id="s-2", owner_id="o-2") for line in run.lines))


def test_a_season_is_final_some_days_after_its_end_and_not_before():
    program = a_program_for_power("275")
    runs = seasonal(program, [15_000])
    closes_at = datetime(2026, 11, 9, 7, tzinfo=UTC) + timedelta(hours=1)  # eight days after 1 November, PST

    before, after = (
        accrue_events(program, runs, (), {}, at=at)[0].state
        for at in (closes_at - timedelta(seconds=3_601), closes_at)
    )

    assert (before, after) == (SettlementState.PROVISIONAL, SettlementState.FINAL)


def test_a_month_pays_its_own_rate_for_the_mean_power_of_its_hours():
    program = shipped("dsgs-3")
    august, september = date(2025, 8, 20), date(2025, 9, 10)
    runs = []
    for event_id, day, kilowatts in (
        ("aug", august, 5),
        ("sep-1", september, 5),
        ("sep-2", date(2025, 9, 11), 3),
    ):
        hours = {local(day, hour): kilowatts * 1_000 for hour in (18, 19)}
        line = settle_one(a_meter(hours), an_event(local(day, 18), local(day, 20), program))
        runs.append(Settlement(event_id, program.program_id, SettlementState.FINAL, IN_SEASON, (line,)))

    months = accrue_events(program, runs, (), {}, at=IN_SEASON)

    assert [month.event_id for month in months] == ["month-2025-08", "month-2025-09"]
    assert [month.lines[0].amount for month in months] == dollars_of("70.20", "59.88")


def a_priced_month(
    *prices: tuple[int, str],
    imported_at: datetime = IN_SEASON,
    opted_out_at: datetime | None = None,
    alone: bool = False,
) -> Settlement:
    """Return September 2025 with one event, 5 kW in one hour and 1 kW in the next, and prices by hour."""
    program = shipped("dsgs-3")
    day = date(2025, 9, 10)
    hours = {local(day, 18): 5_000, local(day, 19): 1_000}
    event = an_event(local(day, 18), local(day, 20), program)
    line = settle_one(a_meter(hours), event, opted_out_at=opted_out_at)
    # Another home stays to the end, so that the hours which one left are known.
    stays = replace(settle_one(a_meter(hours), event), site_id="s-2", owner_id="o-2")
    run = Settlement(
        "sep", program.program_id, SettlementState.FINAL, IN_SEASON, (line,) if alone else (line, stays)
    )
    made = [
        WholesalePrice("dsgs-3", local(day, hour), MicroDollars(int(Decimal(price) * 1_000_000)), imported_at)
        for hour, price in prices
    ]
    (month,) = accrue_events(program, [run], (), {}, at=IN_SEASON, prices=made)
    return month


BEFORE_CLOSE = datetime(2025, 9, 20, tzinfo=UTC)


def of_mean(kw: str) -> int:
    """Return what a mean power earns in September 2025: $14.97 for each kW."""
    return int((Decimal(kw) * Decimal("14.97") * 100).to_integral_value(ROUND_HALF_UP)) * 10_000


@pytest.mark.parametrize(
    ("prices", "mean_kw"),
    [
        ([], "3"),
        ([(18, "300.00"), (19, "100.00")], "4"),  # (300 x 5 + 100 x 1) / 400
        ([(18, "300.00"), (19, "100.00"), (19, "300")], "3"),  # the last of an hour stands
        ([(18, "300.00")], "3"),  # one hour has no price, so all weigh the same
        ([(18, "300.00"), (19, "0")], "3"),
        ([(18, "300.00"), (19, "-4.5")], "3"),
    ],
)
def test_a_month_weighs_its_hours_by_price_once_all_are_known(prices: list[tuple[int, str]], mean_kw: str):
    month = a_priced_month(*prices, imported_at=BEFORE_CLOSE)

    assert [line.amount for line in month.lines] == [of_mean(mean_kw)] * 2


@pytest.mark.parametrize(("left_minute", "mean_kw"), [(0, "3.75"), (30, "4.125")])
def test_hours_weigh_by_price_though_no_home_stayed_to_the_end(left_minute: int, mean_kw: str) -> None:
    day = date(2025, 8, 13)
    program = shipped("dsgs-3")
    event = an_event(local(day, 18), local(day, 20), program)
    hours = {local(day, 18): 5_000, local(day, 19): 3_000}
    left_at = local(day, 19) + timedelta(minutes=left_minute)
    line = settle_one(a_meter(hours), event, opted_out_at=left_at)
    run = Settlement("aug", "dsgs-3", SettlementState.FINAL, IN_SEASON, (line,), event.parts)
    made = [
        WholesalePrice("dsgs-3", local(day, hour), MicroDollars(price * 1_000_000), local(day, 23))
        for hour, price in ((18, 300), (19, 100))
    ]

    (month,) = accrue_events(program, [run], (), {}, at=IN_SEASON, prices=made)

    # August 2025: $14.04 for each kW. (300 x 5 + 100 x 0) / 400, and (300 x 5 + 50 x 3 + 50 x 0) / 400.
    cents = (Decimal(mean_kw) * Decimal("14.04") * 100).to_integral_value(ROUND_HALF_UP)
    assert month.lines[0].amount == int(cents) * 10_000


def test_hours_that_a_home_left_weigh_by_their_price_as_well():
    left_at = local(date(2025, 9, 10), 19)

    month = a_priced_month((18, "300"), (19, "100"), imported_at=BEFORE_CLOSE, opted_out_at=left_at)

    assert [line.amount for line in month.lines] == [of_mean("3.75"), of_mean("4")]  # 300 x 5 / 400


def test_hours_that_everybody_left_are_not_known_so_all_weigh_the_same():
    left_at = local(date(2025, 9, 10), 19)

    month = a_priced_month(
        (18, "300"), (19, "100"), imported_at=BEFORE_CLOSE, opted_out_at=left_at, alone=True
    )

    assert [line.amount for line in month.lines] == [of_mean("2.5")]


def test_an_event_that_a_home_declined_weighs_by_its_prices():
    program, day = shipped("dsgs-3"), date(2025, 9, 10)
    gave = an_hour_pair(day, 5_000, 5_000)
    other = replace(gave, site_id="s-2", owner_id="o-2")
    runs = [
        Settlement("sep-1", "dsgs-3", SettlementState.FINAL, IN_SEASON, (gave, other)),
        Settlement("sep-2", "dsgs-3", SettlementState.FINAL, IN_SEASON,
                   (replace(an_hour_pair(date(2025, 9, 11), 5_000, 5_000), site_id="s-2", owner_id="o-2"),)),
    ]  # fmt: skip
    no = OptOut("s-1", "sep-2", IN_SEASON, "portal")
    made = [
        WholesalePrice("dsgs-3", local(each, hour), MicroDollars(dollars * 1_000_000), BEFORE_CLOSE)
        for each, dollars in ((day, 300), (date(2025, 9, 11), 100))
        for hour in (18, 19)
    ]

    (month,) = accrue_events(program, runs, [no], {"s-1": "o-1"}, at=IN_SEASON, prices=made)

    assert [line.amount for line in month.lines] == [of_mean("3.75"), of_mean("5")]  # 300 x 5 / 400


def an_hour_pair(day: date, first_wh: int, second_wh: int) -> SettlementLine:
    program = shipped("dsgs-3")
    meter = a_meter({local(day, 18): first_wh, local(day, 19): second_wh})
    return settle_one(meter, an_event(local(day, 18), local(day, 20), program))


def test_prices_that_come_after_the_close_of_a_month_change_nothing_that_was_paid():
    closes_at = datetime(2025, 10, 9, 7, tzinfo=UTC)

    late = a_priced_month((18, "300"), (19, "100"), imported_at=closes_at)
    in_time = a_priced_month((18, "300"), (19, "100"), imported_at=closes_at - timedelta(seconds=1))

    assert [late.lines[0].amount, in_time.lines[0].amount] == [of_mean("3"), of_mean("4")]


def test_hours_weigh_by_their_wholesale_price():
    assert average_power_kw([(Fraction(100), Fraction(5)), (Fraction(300), Fraction(1))]) == 2
    assert average_power_kw([]) == 0
    with pytest.raises(ValueError, match="a mean needs a weight above zero"):
        average_power_kw([(Fraction(0), Fraction(5))])


def test_six_months_of_one_kilowatt_earn_the_sum_that_owners_were_told():
    terms = shipped("dsgs-3").terms_on(date(2025, 9, 1))
    assert terms is not None

    earned = [earned_by_power(terms, Fraction(5), rate).amount for _, rate in terms.tariff.per_kw_month]

    assert sum(earned) == dollars_of("322.75")[0]


def test_delivered_energy_pays_the_owner_a_share_and_us_the_rest():
    terms = shipped("cbes-pr").terms_on(EVENT_DAY)
    assert terms is not None

    earned = earned_in_event(terms, Fraction(10_400), counts=True)

    assert [earned.amount, earned.gross, earned.margin] == dollars_of("10.40", "13.00", "2.60")


@pytest.mark.parametrize(
    ("tariff", "energy_wh", "amount"),
    [
        (Tariff(bonus=Decimal("1.30")), 1_000, "2.60"),
        (Tariff(cap_kwh=Decimal(3)), 8_000, "6.00"),
        (Tariff(cap_amount=Decimal("5.50")), 8_000, "5.50"),
        (Tariff(minimum_amount=Decimal(4)), 500, "4.00"),
        (Tariff(minimum_amount=Decimal(4)), 8_000, "16.00"),
        (Tariff(minimum_amount=Decimal(4), cap_amount=Decimal(3)), 500, "3.00"),
        (Tariff(minimum_amount=Decimal(4), cap_amount=Decimal(3)), 8_000, "3.00"),
        (Tariff(minimum_amount=Decimal(4), cap_amount=Decimal(6)), 500, "4.00"),
    ],
)
def test_bonus_caps_and_minimum_change_what_an_event_earns(tariff: Tariff, energy_wh: int, amount: str):
    terms = a_program(tariff=tariff).editions[0]

    assert earned_in_event(terms, Fraction(energy_wh), counts=True).amount == dollars_of(amount)[0]


def test_no_minimum_is_paid_for_a_result_that_does_not_count():
    terms = a_program(tariff=Tariff(minimum_amount=Decimal(4))).editions[0]

    assert earned_in_event(terms, Fraction(0), counts=False).amount == 0


def test_a_cap_bounds_what_the_owner_gets_and_the_program_owes_in_proportion():
    terms = a_program(tariff=Tariff(cap_amount=Decimal(8)), owner_share=Decimal("0.80")).editions[0]

    earned = earned_in_event(terms, Fraction(10_400), counts=True)

    assert [earned.amount, earned.gross, earned.margin] == dollars_of("8.00", "10.00", "2.00")


def a_home(
    *, enrolled_at: datetime, full_energy_wh: int = 13_305, withdrawn_at: datetime | None = None
) -> Enrollment:
    return Enrollment(
        site_no=0, site_id="s-1", owner_id="o-1", program_id="tesla-electric-tx", utility="u", county="c",
        feeder="f", full_energy_wh=WattHours(full_energy_wh), max_discharge_w=Watts(5_000),
        reserve_permille=Permille(200), gateway_public_key=bytes(32), consent=Consent("1", enrolled_at),
        enrolled_at=enrolled_at, withdrawn_at=withdrawn_at,
    )  # fmt: skip


def test_a_fixed_credit_is_earned_by_each_whole_month_and_each_powerwall():
    program = shipped("tesla-electric-tx")
    home = a_home(enrolled_at=datetime(2026, 6, 15, tzinfo=UTC), full_energy_wh=25_995)

    months = accrue_credits(program, [home], at=IN_SEASON)

    assert [month.event_id for month in months] == ["month-2026-07", "month-2026-08", "month-2026-09"]
    assert {line.amount for month in months for line in month.lines} == set(dollars_of("20.00"))
    assert [month.state for month in months] == ["final", "final", "provisional"]


@pytest.mark.parametrize(
    ("full_energy_wh", "powerwalls"),
    [(5_000, 1), (9_600, 1), (13_500, 1), (14_000, 1), (20_000, 1), (20_250, 2), (27_900, 2), (41_000, 3)],
)
def test_a_home_is_credited_for_the_powerwalls_its_capacity_is_nearest_to(
    full_energy_wh: int, powerwalls: int
):
    program = shipped("tesla-electric-tx")
    home = a_home(enrolled_at=datetime(2026, 8, 15, tzinfo=UTC), full_energy_wh=full_energy_wh)

    (month,) = accrue_credits(program, [home], at=IN_SEASON)

    assert [line.amount for line in month.lines] == [powerwalls * 10_000_000]
    assert month.lines[0].reason == f"{powerwalls} Powerwalls enrolled"


def test_no_credit_is_earned_in_the_month_of_withdrawal():
    program = shipped("tesla-electric-tx")
    home = a_home(
        enrolled_at=datetime(2026, 6, 15, tzinfo=UTC), withdrawn_at=datetime(2026, 8, 20, tzinfo=UTC)
    )

    assert [month.event_id for month in accrue_credits(program, [home], at=IN_SEASON)] == ["month-2026-07"]


def test_a_year_of_credit_that_is_paid_at_once_is_one_period():
    tariff = Tariff(TariffRule.FIXED_CREDIT, credit=Decimal(220), credit_every=Period.YEAR)
    program = replace(a_program(tariff=tariff, baseline_method="none"), zone=ZoneInfo("Australia/Sydney"))

    period = accrual_period(program, date(2026, 7, 1))

    assert period is not None
    assert period.period_id == "year-2026"
    assert period.interval.starts_at == datetime(2025, 12, 31, 13, tzinfo=UTC)


def in_australia(full_energy_wh: int = 13_500, **changed: datetime) -> list[Settlement]:
    """Return the months of 2026 and 2027 of one home that joined in 2025, as known early in 2028."""
    home = a_home(enrolled_at=datetime(2025, 12, 1, tzinfo=UTC), full_energy_wh=full_energy_wh)
    home = replace(home, program_id="tesla-energy-plan-au", **changed)
    return list(accrue_credits(shipped("tesla-energy-plan-au"), [home], at=datetime(2028, 1, 20, tzinfo=UTC)))


@pytest.mark.parametrize("powerwalls", [1, 2, 3, 7])
def test_a_year_of_credit_is_paid_in_twelve_months_that_sum_to_the_cent(powerwalls: int):
    months = in_australia(13_500 * powerwalls)[:24]

    amounts = [line.amount for month in months for line in month.lines]
    assert [month.event_id for month in months[:2]] == ["month-2026-01", "month-2026-02"]
    for first in range(13):  # any twelve on end are a year
        assert sum(amounts[first : first + 12]) == powerwalls * 220_000_000
    assert all(amount % 10_000 == 0 for amount in amounts)
    assert max(amounts) - min(amounts) <= 10_000
    grosses = [line.gross for month in months for line in month.lines]
    assert sum(grosses[:12]) == powerwalls * 220_000_000


def test_the_months_of_a_years_credit_are_exact_to_the_cent():
    amounts = [line.amount for month in in_australia()[:6] for line in month.lines]

    assert amounts == dollars_of("18.33", "18.34", "18.33", "18.33", "18.34", "18.33")


def test_a_home_that_leaves_keeps_the_months_it_took_part_in_and_one_that_joins_gets_the_months_since():
    left = in_australia(withdrawn_at=datetime(2026, 8, 20, tzinfo=UTC))
    joined = in_australia(enrolled_at=datetime(2026, 5, 10, tzinfo=UTC))

    assert [month.event_id for month in left] == [f"month-2026-{month:02d}" for month in range(1, 8)]
    assert sum(line.amount for month in left for line in month.lines) == dollars_of("128.33")[0]
    assert joined[0].event_id == "month-2026-06"
    assert sum(line.amount for month in joined[:7] for line in month.lines) == dollars_of("128.33")[0]


def test_a_cap_bounds_the_year_of_which_a_month_is_a_part():
    tariff = Tariff(
        TariffRule.FIXED_CREDIT, credit=Decimal(220), credit_every=Period.YEAR,
        credit_paid_every=Period.MONTH, cap_amount=Decimal(120),
    )  # fmt: skip
    program = replace(
        a_program(tariff=tariff, baseline_method="none", rate=Price(Decimal(0))),
        program_id="tesla-electric-tx",
    )
    home = a_home(enrolled_at=datetime(2026, 6, 15, tzinfo=UTC))

    months = accrue_credits(program, [home], at=IN_SEASON)

    assert [line.amount for month in months for line in month.lines] == dollars_of("10", "10", "10")


def test_a_program_that_pays_by_the_event_has_no_other_period():
    program = a_program()
    run = an_afternoon(program, 9_000, EVENT_DAY, "ev-1")

    assert accrual_period(program, EVENT_DAY) is None
    assert as_part_of_period(program, run) is None


def test_an_event_alone_is_worth_what_its_season_would_be():
    program = a_program_for_power("275")

    part = as_part_of_period(program, an_afternoon(program, 15_000, EVENT_DAY, "ev-1"))

    assert part is not None
    (line,) = part.run.lines
    assert (line.amount, line.incremental_wh) == (dollars_of("1375.00")[0], 15_000)
