"""What an evening is worth, worked out with pencil and paper from the program's words.

Unless a case says otherwise: Wednesday 9 September 2026, 18:00 to 21:00, a battery's own counters, $2 a
kWh. The home discharges 4,500, 4,400 and 1,900 Wh in the three hours and 1,000, 1,200 and 600 Wh on any
other day: 3,500 + 3,200 + 1,300 = 8,000 Wh, $16.00.
"""

from datetime import date

import pytest

from tests.wire.bundle_by_hand import HELPED, Hand, earned

NOON = ("12:00", "scheduled", [("18:00", "21:00")])
ALL_YEAR = {
    'season_first = { value = "05-01"': 'season_first = { value = "01-01"',
    'season_last = { value = "10-31"': 'season_last = { value = "12-31"',
    "window_opens = { value = 16:00:00": "window_opens = { value = 00:00:00",
    "window_closes = { value = 21:00:00": "window_closes = { value = 00:00:00",
}
ONE_HOUR = [("12:00", "scheduled", [("18:00", "19:00")])]
CASES = {
    "the whole event": (Hand(), 8_000, "16.00", "OK"),
    "opted out at 19:37: 3,500 + 2,600 - 1,200 x 37/60": (
        Hand(opted_out="19:37", between={"19:37": 2_600}),
        5_360, "10.72", "OK",
    ),
    "opted out before it began": (Hand(opted_out="17:59"), 0, "0.00", "OK"),
    "opted out as it ended": (Hand(opted_out="21:00"), 8_000, "16.00", "OK"),
    "cancelled at 19:37:30: 3,500 + 2,600 - 1,200 x 5/8": (
        Hand(versions=[NOON, ("19:37:30", "cancelled", [])], between={"19:37:30": 2_600}),
        5_350, "10.70", "OK",
    ),
    "cancelled after it had ended": (Hand(versions=[NOON, ("22:00", "cancelled", [])]), 8_000, "16.00", "OK"),
    "cancelled at 19:37 and opted out at 18:30: the earlier ends it, 2,000 - 500": (
        Hand(versions=[NOON, ("19:37", "cancelled", [])], opted_out="18:30", between={"18:30": 2_000}),
        1_500, "3.00", "OK",
    ),
    "two intervals of half an hour: 2,300 - 500, then 4,400 - 2,000 - 600": (
        Hand(
            versions=[("12:00", "scheduled", [("19:30", "20:00"), ("18:00", "18:30")])],
            between={"18:30": 2_300, "19:30": 2_000},
        ),
        3_600, "7.20", "OK",
    ),
    "two quarters of one hour: 900 + 800 - 500": (
        Hand(
            versions=[("12:00", "scheduled", [("18:00", "18:15"), ("18:45", "19:00")])],
            between={"18:15": 900, "18:45": 3_700},
        ),
        1_200, "2.40", "OK",
    ),
    "the last version is an hour shorter": (
        Hand(versions=[NOON, ("19:30", "scheduled", [("18:00", "20:00")])]),
        6_700, "13.40", "OK",
    ),
    "the last of three versions is the longest": (
        Hand(
            versions=[
                ("12:00", "scheduled", [("19:00", "20:00")]),
                ("13:00", "scheduled", [("18:00", "19:00")]),
                ("18:30", "scheduled", [("18:00", "21:00")]),
            ]
        ),
        8_000, "16.00", "OK",
    ),
    "first committed at 18:20: 3,000 - 1,000 x 2/3, and the rest": (
        Hand(versions=[("18:20", "scheduled", [("18:00", "21:00")])], between={"18:20": 1_500}),
        "20500/3", "13.67", "OK",
    ),
    "longer than the program pays: the first three hours": (
        Hand(versions=[("12:00", "scheduled", [("17:00", "21:00")])], helped={17: 700, **HELPED}),
        700 + 3_500 + 3_200, "14.80", "OK",
    ),
    "asked beyond 21:00, when the program closes": (
        Hand(versions=[("12:00", "scheduled", [("20:00", "22:00")])], helped={20: 1_900, 21: 5_000}),
        1_300, "2.60", "OK",
    ),
    "charging on other days: 4,500 + 400": (
        Hand(versions=ONE_HOUR, usual={18: -400}),
        4_900, "9.80", "OK",
    ),
    "below the baseline in one hour: netted over the event": (
        Hand(helped={**HELPED, 19: 400}),
        3_500 - 800 + 1_300, "8.00", "OK",
    ),
    "below the baseline in all: signed, and nothing is owed": (
        Hand(helped={18: -500}),
        -1_500 - 1_200 - 600, "0.00", "OK",
    ),
    "half a cent goes up: 2,502.5 Wh are 500.5 cents": (
        Hand(versions=ONE_HOUR, helped={18: 3_502}, days={"2026-09-08": {18: 995}}),
        "5005/2", "5.01", "OK",
    ),
    "one day of ten differs by one: 3,499.9 Wh": (
        Hand(versions=ONE_HOUR, days={"2026-09-08": {18: 1_001}}),
        "34999/10", "7.00", "OK",
    ),
    "Labor Day is no weekday": (
        Hand(days={"2026-09-07": {18: 9_000, 19: 9_000, 20: 9_000}}),
        8_000, "16.00", "OK",
    ),
    "an event day of all and an outage of one are passed over": (
        Hand(
            days={"2026-09-08": {18: 9_000}, "2026-09-04": {18: 9_000}},
            excluded="*,2026-09-08,event\nhome,2026-09-04,outage\nelse,2026-09-03,outage\n",
        ),
        8_000, "16.00", "OK",
    ),
    "a day in another program's event is passed over": (
        Hand(days={"2026-09-08": {18: 9_000}}, excluded="home,2026-09-08,dual_event\n"),
        8_000, "16.00", "OK",
    ),
    "a day of another home's outage stays: 10,000 - (9 x 1,000 + 2,000)/10": (
        Hand(
            versions=ONE_HOUR, helped={18: 10_000}, days={"2026-09-08": {18: 2_000}},
            excluded="x,2026-09-08,outage\n",
        ),
        8_900, "17.80", "OK",
    ),
    "a day without readings is passed over": (
        Hand(
            absent=["2026-09-08"], days={"2026-08-25": {18: 2_000}}, versions=ONE_HOUR,
            excluded="*,2026-09-04,event\n",
        ),
        3_400, "6.80", "OK",
    ),
    "nine weekdays of history": (Hand(since=14), 0, "0.00", "NO_BASELINE"),
    "ten weekdays of history": (Hand(since=15), 8_000, "16.00", "OK"),
    "a Saturday, beside Labor Day and three weekend days: 4,500 - 1,100": (
        Hand(
            day=date(2026, 9, 12), versions=ONE_HOUR,
            days={
                "2026-09-07": {18: 900}, "2026-09-06": {18: 1_000}, "2026-09-05": {18: 1_100},
                "2026-08-30": {18: 1_400}, "2026-08-29": {18: 9_000}, "2026-09-11": {18: 9_000},
            },
        ),
        3_400, "6.80", "OK",
    ),
    "Labor Day itself is like a weekend": (
        Hand(
            day=date(2026, 9, 7), versions=ONE_HOUR, usual={18: 5_000},
            days={f"2026-{day}": {18: 500} for day in ("09-06", "09-05", "08-30", "08-29")}
            | {"2026-09-07": {18: 4_500}},
        ),
        4_000, "8.00", "OK",
    ),
    "four weekend days, but only nine days of readings": (
        Hand(day=date(2026, 9, 13), since=9, absent=["2026-09-08"], versions=ONE_HOUR),
        0, "0.00", "NO_BASELINE",
    ),
    "an estimated reading in an edge": (Hand(marks={"19:00": "ESTIMATED"}), 8_000, "16.00", "ESTIMATED"),
    "a bad reading at 18:20: the hour is nothing, the others are paid": (
        Hand(between={"18:20": 1_500}, marks={"18:20": "BAD"}),
        4_500, "9.00", "BAD",
    ),
    "no reading between 19:00 and 21:30: two hours are nothing": (
        Hand(left_out=["20:00", "21:00"], between={"21:30": 0}),
        3_500, "7.00", "MISSING",
    ),
    "an edge between readings 240 s apart: 5 Wh x 120/240 is 3, half up": (
        Hand(
            versions=ONE_HOUR, left_out=["18:00"], helped={17: 0, 18: 1_000},
            between={"17:58": 0, "18:02": 5},
        ),
        997 - 1_000, "0.00", "OK",
    ),
    "an edge between readings ten minutes apart: 300 Wh x 4/10": (
        Hand(versions=ONE_HOUR, left_out=["18:00"], helped={18: 4_500}, between={"17:56": 0, "18:06": 300}),
        4_500 - 120 - 1_000, "6.76", "ESTIMATED",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_an_evening_is_worth_what_pencil_and_paper_say(name: str):
    case, incremental_wh, amount_usd, quality = CASES[name]

    assert earned(case) == (incremental_wh, amount_usd, quality)
