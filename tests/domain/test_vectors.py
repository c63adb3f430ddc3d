"""Worked examples of the field, to the watt-hour and the cent, for pencil and paper."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.domain.money_world import (
    EVENT_DAY,
    a_meter,
    a_program,
    an_evening_history,
    an_event,
    columns,
    local,
    settle_one,
    weekdays_before,
)
from tests.domain.test_dispatch_plan import four_homes, offers, plan
from vpp.domain.accrual import accrue_events
from vpp.domain.delivery import Quality, counter_track
from vpp.domain.dispatch_plan import sustainable_w
from vpp.domain.interval import Interval, from_epoch
from vpp.domain.power_integral import (
    PowerColumns,
    PowerSample,
    Sampling,
    counters_agree,
    cross_check,
    integrated_wh,
)
from vpp.domain.powerwall import (
    app_charge_pct,
    energy_above_reserve_wh,
    export_headroom_w,
    grid_power_w,
    meters_agree,
    raw_charge_pct,
    round_trip,
    sustained_w,
)
from vpp.domain.program import Departure, MeterOfRecord, Program, seconds_within
from vpp.domain.quantities import WattHours, Watts, column, dollars
from vpp.domain.settlement import Settlement, SettlementLine, SettlementState
from vpp.wire.program_file import read_program

PROGRAMS = Path(__file__).parents[2] / "config" / "programs"
HOUR_S = 3600


def shipped(program_id: str) -> Program:
    return read_program((PROGRAMS / f"{program_id}.toml").read_text(), file_name=program_id)


def rounded(exact: Fraction, places: int) -> float:
    return round(float(exact), places)


# 1: two scales of charge


@pytest.mark.parametrize(
    ("raw_pct", "app_pct"),
    [
        ("69.1675560298826", 67.5447958),
        ("64.2162", 62.3328),
        ("24", 20),
        ("5", 0),
        ("33.5", 30),
        ("100", 100),
    ],
)
def test_the_gateways_charge_becomes_the_owners(raw_pct: str, app_pct: float):
    found = app_charge_pct(Fraction(raw_pct))

    assert rounded(found, len(str(app_pct).partition(".")[2])) == app_pct
    assert raw_charge_pct(found) == Fraction(raw_pct)


def test_the_share_of_a_pack_that_is_left_becomes_the_owners_charge():
    raw_pct = Fraction(16_693 * 100, 25_995)

    assert (rounded(raw_pct, 4), rounded(app_charge_pct(raw_pct), 4)) == (64.2162, 62.3328)


@pytest.mark.parametrize(("app_pct", "raw_pct"), [(20, "24"), (0, "5"), (30, "33.5"), (100, "100")])
def test_the_owners_reserve_becomes_the_gateways(app_pct: int, raw_pct: str):
    assert raw_charge_pct(Fraction(app_pct)) == Fraction(raw_pct)


# 2: energy and power that a reserve leaves


@pytest.mark.parametrize(("hours", "power_w"), [(3, 2_520), (2, 3_780), (1, 5_000)])
def test_a_reserve_limits_the_power_that_lasts(hours: int, power_w: int):
    energy_wh = energy_above_reserve_wh(WattHours(13_500), raw_pct=Fraction(80), reserve_app_pct=Fraction(20))

    assert energy_wh == 7_560
    assert sustained_w(energy_wh, Watts(5_000), seconds=hours * HOUR_S) == power_w


@pytest.mark.parametrize(("hours", "power_w"), [(3, 2_520), (2, 3_780), (1, 5_000)])
def test_the_planner_asks_no_more_than_that_and_a_tenth_of_a_percent_of_charge_less(hours: int, power_w: int):
    permille = int(app_charge_pct(Fraction(80)) * 10)  # telemetry rounds down
    one_permille_w = -(-13_500 * 95 // 100 // 1_000 // hours)

    (asked_w,) = sustainable_w(offers((5_000, 13_500, permille, 200)), hours * HOUR_S).tolist()

    assert power_w - one_permille_w <= asked_w <= power_w


def test_losses_between_pack_and_meter_take_their_share():
    root_of_ninety_percent = Fraction(Decimal("0.90").sqrt())

    energy_wh = energy_above_reserve_wh(
        WattHours(13_500),
        raw_pct=Fraction(80),
        reserve_app_pct=Fraction(20),
        efficiency=root_of_ninety_percent,
    )

    assert rounded(root_of_ninety_percent, 6) == 0.948683
    assert rounded(energy_wh / 1000, 6) == 7.172046


def test_a_charge_under_the_reserve_gives_nothing():
    below = energy_above_reserve_wh(WattHours(13_500), raw_pct=Fraction(23), reserve_app_pct=Fraction(20))

    assert below == 0


# 4: room to export


def test_a_battery_exports_up_to_the_limit_of_its_home_and_not_beyond():
    load, solar = Watts(1_500), Watts(500)

    battery = export_headroom_w(load, solar, Watts(4_000))

    assert battery == 5_000
    assert grid_power_w(load, solar, battery) == -4_000
    assert export_headroom_w(load, solar, Watts(0)) == 1_000


# 5: counters first, power as a check


def every_five_minutes(*powers_w: int) -> list[PowerSample]:
    return [PowerSample(300 * place, Watts(power)) for place, power in enumerate(powers_w)]


def test_power_samples_are_integrated_as_what_they_are():
    instants = every_five_minutes(0, *[5_000] * 12)
    means = every_five_minutes(0, 2_500, *[5_000] * 9, 2_500)

    assert rounded(integrated_wh(instants, sampling=Sampling.INSTANT, until_s=HOUR_S), 3) == 4_791.667
    assert rounded(integrated_wh(means, sampling=Sampling.MEAN, until_s=HOUR_S), 3) == 4_166.667


def test_the_same_samples_as_means_of_the_stretch_after_or_before_are_rectangles():
    samples = every_five_minutes(0, *[5_000] * 12)
    at_s, powers = column(each.at_s for each in samples), column(int(each.power) for each in samples)
    track = counter_track(
        columns([(from_epoch(0), 0, 0, Quality.OK), (from_epoch(HOUR_S), 5_000, 0, Quality.OK)]),
        MeterOfRecord.DEVICE,
    )

    of_the_stretch_after = integrated_wh(samples, sampling=Sampling.MEAN, until_s=HOUR_S)
    of_the_stretch_before = cross_check(PowerColumns(column([0] * 13), at_s, powers), track, 1)

    assert rounded(of_the_stretch_after, 3) == 4_583.333  # left
    assert of_the_stretch_before.integrated_mwh.tolist() == [5_000_000]  # right


def test_a_counter_within_half_a_percent_of_its_power_wins():
    counted = WattHours(12_323_700 - 12_319_540)
    means = every_five_minutes(0, 2_500, *[5_000] * 9, 2_500)

    integrated = integrated_wh(means, sampling=Sampling.MEAN, until_s=HOUR_S)
    assert (counted, rounded((counted - integrated) / integrated * 100, 2)) == (4_160, -0.16)
    assert counters_agree(counted, integrated)


# 6, 10, 12: a battery's own counters

TEN_DAYS = list(
    zip(
        [800, 1000, 1200, 900, 1100, 1000, 700, 1300, 1000, 1000],
        [1100, 1200, 1000, 1300, 1200, 1100, 1000, 1400, 1200, 1500],
        [500, 600, 400, 700, 600, 500, 600, 700, 600, 800],
        strict=True,
    )
)


def test_ten_days_make_a_baseline_and_only_what_is_beyond_it_pays():
    line = settle_one(a_meter(an_evening_history([4_500, 4_400, 1_900], TEN_DAYS)))

    assert [hour.baseline_wh for hour in line.hours] == [1_000, 1_200, 600]
    assert [hour.incremental_wh for hour in line.hours] == [3_500, 3_200, 1_300]
    assert (line.incremental_wh, dollars(line.amount)) == (8_000, "16.00")


def test_without_a_baseline_the_same_evening_would_have_paid_a_third_more():
    rows = a_meter(an_evening_history([4_500, 4_400, 1_900], TEN_DAYS))

    line = settle_one(rows, an_event(program=a_program(baseline_method="none")))

    assert (line.incremental_wh, dollars(line.amount)) == (10_800, "21.60")


def test_a_home_that_usually_charges_earns_for_stopping_too():
    one_hour = an_event(local(EVENT_DAY, 18), local(EVENT_DAY, 19))

    line = settle_one(a_meter(an_evening_history([4_500], [[-400]] * 10)), one_hour)

    assert (line.incremental_wh, dollars(line.amount)) == (4_900, "9.80")


def test_a_cancel_at_nineteen_thirty_seven_ends_what_is_paid_and_what_is_counted():
    cancelled_at = local(EVENT_DAY, 19, 37)
    rows = a_meter(an_evening_history([4_500], [[1_000, 1_200]] * 10))
    _, discharged, charged, _ = rows[-1]
    rows.append((cancelled_at, discharged + 2_600, charged, Quality.OK))
    event = an_event(local(EVENT_DAY, 18), cancelled_at)

    line = settle_one(rows, event)

    assert [hour.baseline_wh for hour in line.hours] == [1_000, 740]
    assert (line.incremental_wh, dollars(line.amount)) == (5_360, "10.72")
    assert rounded(Fraction(sum(part.seconds for part in event.parts), HOUR_S), 6) == 1.616667


# 8: the day-of adjustment of a grid meter


def at_the_grid(method: str, before_wh: int, usual_before_wh: int = 2_000) -> SettlementLine:
    """Settle an hour with 400 Wh of load against 2,000 Wh usually, and three hours at some ratio before."""
    hours = {local(EVENT_DAY, 18): -400} | {local(EVENT_DAY, hour): -before_wh for hour in (14, 15, 16)}
    for day in weekdays_before(EVENT_DAY, 10):
        hours |= {local(day, 18): -2_000} | {local(day, hour): -usual_before_wh for hour in (14, 15, 16)}
    program = a_program(meter=MeterOfRecord.SITE, baseline_method=method)
    return settle_one(a_meter(hours), an_event(local(EVENT_DAY, 18), local(EVENT_DAY, 19), program))


@pytest.mark.parametrize(
    ("method", "before_wh", "adjusted_wh", "incremental_wh", "amount"),
    [
        ("ten_of_ten", 3_000, 2_800, 2_400, "4.80"),
        ("ten_of_ten", 2_400, 2_400, 2_000, "4.00"),
        ("ten_of_ten", 1_600, 2_000, 1_600, "3.20"),
        ("caiso_ten_of_ten", 3_000, 2_400, 2_000, "4.00"),
        ("caiso_ten_of_ten", 1_600, 1_600, 1_200, "2.40"),
    ],
)
def test_a_grid_baseline_follows_the_day_inside_its_bounds(
    method: str, before_wh: int, adjusted_wh: int, incremental_wh: int, amount: str
):
    line = at_the_grid(method, before_wh)

    assert line.hours[0].baseline_wh == adjusted_wh
    assert (line.incremental_wh, dollars(line.amount)) == (incremental_wh, amount)


def test_a_home_that_usually_exports_before_the_event_is_not_adjusted():
    assert at_the_grid("ten_of_ten", 3_000, usual_before_wh=-500).adjustment == 1


# 14: mean power of a season


def season_of(rate: str, energies_wh: Sequence[int]) -> str:
    program = shipped("connectedsolutions-ma")
    day = date(2021, 7, 6) if rate == "275.00" else date(2026, 7, 7)
    runs = []
    for number, energy_wh in enumerate(energies_wh):
        on = day + timedelta(days=number)
        afternoon = datetime(on.year, on.month, on.day, 20, tzinfo=UTC)  # 16:00 in Boston
        hours = {afternoon + timedelta(hours=past): energy_wh // 3 for past in range(3)}
        event = an_event(afternoon, afternoon + timedelta(hours=3), program)
        assert str(event.terms.tariff.per_kw_season) == rate
        line = settle_one(a_meter(hours), event)
        runs.append(Settlement(f"ev-{number}", program.program_id, SettlementState.FINAL, afternoon, (line,)))
    (season,) = accrue_events(program, runs, (), {}, at=datetime(2026, 9, 1, tzinfo=UTC))
    return dollars(season.lines[0].amount)


@pytest.mark.parametrize(
    ("rate", "energies_wh", "amount"),
    [
        ("275.00", [15_000, 15_000, 0], "916.67"),
        ("275.00", [15_000, 15_000, 15_000], "1375.00"),
        ("225.00", [15_000, 15_000, 15_000], "1125.00"),
        ("225.00", [14_400, 12_600, 0], "675.00"),
    ],
)
def test_a_season_pays_the_mean_power_of_its_events(rate: str, energies_wh: list[int], amount: str):
    assert season_of(rate, energies_wh) == amount


# 16: delivered energy and the aggregator's share


def test_delivered_energy_pays_the_owner_and_leaves_the_aggregator_its_share():
    program = shipped("cbes-pr")
    begins = datetime(2026, 7, 7, 22, tzinfo=UTC)
    event = an_event(begins, begins + timedelta(hours=2), program)

    line = settle_one(a_meter({begins: 5_400, begins + timedelta(hours=1): 5_000}), event)

    assert [dollars(each) for each in (line.amount, line.gross, line.margin)] == ["10.40", "13.00", "2.60"]


# 18: what a fleet of four sustains


def test_four_homes_sustain_what_their_charge_and_limits_allow_and_the_rest_is_reported():
    caps_w = sustainable_w(four_homes(), 2 * HOUR_S).tolist()

    served, short = plan(20_000, four_homes()), plan(25_000, four_homes())

    assert (caps_w, sum(caps_w)) == ([3_780, 1_350, 5_000, 11_500], 21_630)
    assert (int(served.setpoint_w.sum()), served.shortfall_w) == (20_000, 0)
    assert (served.setpoint_w <= np.array(caps_w)).all()
    assert (short.setpoint_w.tolist(), short.shortfall_w) == (caps_w, 3_370)


# 20: zone and season


def test_an_evening_in_california_is_the_next_day_in_utc_and_keeps_its_date():
    program = shipped("elrp-a4-pge")
    event = an_event()

    season = program.season_around(event.day)

    assert (event.parts[0].starts_at, event.day) == (datetime(2026, 9, 10, 1, tzinfo=UTC), date(2026, 9, 9))
    assert season is not None
    assert season.starts_at == datetime(2026, 5, 1, 7, tzinfo=UTC)
    last = Interval(local(date(2026, 10, 31), 20), datetime(2026, 11, 1, 4, tzinfo=UTC))
    assert program.departures(last) == ()
    assert seconds_within([last], season) == HOUR_S


@pytest.mark.parametrize(("from_", "to"), [((20, 0), (22, 0)), ((20, 30), (21, 30))])
def test_an_event_that_ends_after_nine_leaves_its_window(from_: tuple[int, int], to: tuple[int, int]):
    asked = Interval(local(EVENT_DAY, *from_), local(EVENT_DAY, *to))

    assert shipped("elrp-a4-pge").departures(asked) == (Departure.OUT_OF_WINDOW,)


# 22: meters that agree


def test_a_gateways_four_meters_add_up_within_fifty_watts():
    agree = meters_agree(grid=Watts(27), battery=Watts(-990), solar=Watts(1_840), load=Watts(866))
    apart = meters_agree(grid=Watts(27), battery=Watts(-990), solar=Watts(1_840), load=Watts(826))

    assert (agree, apart) == (True, False)
    assert meters_agree(grid=Watts(0), battery=Watts(9_800), solar=Watts(0), load=Watts(10_000))


def test_a_lifetime_of_charging_came_back_at_eighty_nine_percent():
    assert rounded(round_trip(WattHours(12_319_540), WattHours(13_853_641)) * 100, 2) == 88.93
    with pytest.raises(ValueError, match="nothing was charged yet"):
        round_trip(WattHours(0), WattHours(0))


def test_the_rate_of_an_evening_is_exact():
    assert Decimal("2.00") == shipped("elrp-a4-pge").editions[-1].rate.dollars_per_kwh
