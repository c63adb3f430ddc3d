"""Bundles made elsewhere: correct files in other clothes, the grid meter, other programs, changed clocks."""

import hashlib
import json
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.wire.bundle_by_hand import USUAL, Hand, earned, settled
from vpp.entrypoints.cli import app
from vpp.wire.evidence_check import EvidenceReport, verify_bundle
from vpp.wire.table import BadFile


def only_amounts(report: EvidenceReport) -> list[str]:
    sites = report.as_json()["sites"]
    assert isinstance(sites, list)
    return [site["amount_usd"] for site in sites]


ONE_HOUR = [("12:00", "scheduled", [("18:00", "19:00")])]
Files = dict[str, bytes]


def _shuffled(content: bytes) -> bytes:
    """Return a table with its columns turned round and one that nobody asked for."""
    rows = [row.split(",") for row in content.decode().splitlines()]
    return "\n".join(
        ",".join(["note" if not at else "x", *row[::-1]]) for at, row in enumerate(rows)
    ).encode()


def _set(name: str, *changes: tuple[bytes, bytes]) -> Callable[[Files], None]:
    def change(files: Files) -> None:
        for old, new in changes:
            assert old in files[name]
            files[name] = files[name].replace(old, new)

    return change


def _columns_turned(files: Files) -> None:
    for name in ("meter.csv", "excluded_days.csv"):
        files[name] = _shuffled(files[name])
    files["sites.csv"] = b"meter,owner_id,site_id\ndevice,owner,home\n"


def _without_last_newline(files: Files) -> None:
    for name in ("meter.csv", "sites.csv"):
        files[name] = files[name].rstrip(b"\n")


def _backwards_and_twice(files: Files) -> None:
    header, *rows = files["meter.csv"].splitlines(keepends=True)
    files["meter.csv"] = header + b"".join(reversed(rows)) + rows[3]


def _quoted(files: Files) -> None:
    rows = files["meter.csv"].decode().splitlines()
    files["meter.csv"] = "\r\n".join(
        ",".join(f'"{cell}"' for cell in row.split(",")) for row in rows
    ).encode()


def _with_a_grid_meter_beside(files: Files) -> None:
    rows = files["meter.csv"].decode().splitlines()
    grid = [
        [*row.split(",")[:2], "", "", str(place), str(place * 7), "BAD"] for place, row in enumerate(rows[1:])
    ]
    files["meter.csv"] += "\n".join(",".join(each) for each in grid).encode()


CLOTHES: dict[str, Callable[[Files], None]] = {
    "the last column is left off with its comma": _set("sites.csv", (b"device,\n", b"device\n")),
    "the last column is not even in the header": _set(
        "sites.csv", (b",opted_out_at", b""), (b"device,", b"device")
    ),
    "lines of nothing, and empty cells at the end": _set("sites.csv", (b"device,\n", b"device,,,\n\n  \n")),
    "spaces around": _set("sites.csv", (b"home,owner,device,", b" home , owner , device , ")),
    "no newline at the end": _without_last_newline,
    "columns in another order, one more, and the last absent": _columns_turned,
    "unused columns absent": _set("meter.csv", (b",imported_wh,exported_wh", b""), (b",,,OK", b",OK")),
    "rows in any order, one of them twice": _backwards_and_twice,
    "every cell in quotation marks, CRLF": _quoted,
    "another meter of the same home in rows of its own": _with_a_grid_meter_beside,
    "fractions of a second": _set("meter.csv", (b":00Z", b":00.000Z")),
    "an offset of nothing": _set("meter.csv", (b"Z,", b"+00:00,")),
    "small letters, as RFC 3339 allows": _set(
        "event.json", (b"2026-09-09T19:00:00Z", b"2026-09-09t19:00:00z")
    ),
    "local offsets": _set("event.json", (b"2026-09-10T01:00:00+00:00", b"2026-09-09T18:00:00-07:00")),
    "more in event.json than is needed": _set(
        "event.json", (b'{"event_id"', b'{"note": {"by": ["x"]}, "event_id"')
    ),
    "a home that is not settled": _set(
        "meter.csv", (b"quality\n", b"quality\nother,2026-09-10T01:00:00Z,1,1,,,OK\n")
    ),
    "an exclusion of a home that is not settled": _set(
        "excluded_days.csv", (b"reason\n", b"reason\nother,2026-09-08,event\n*,2025-01-01,outage\n")
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CLOTHES)
def test_a_correct_bundle_is_computed_in_whatever_clothes_it_comes(name: str):
    files = Hand().files()
    CLOTHES[name](files)

    site = settled(files)

    assert (site["incremental_wh"], site["amount_usd"], site["quality"]) == (8_000, "16.00", "OK")


def test_a_counter_that_is_empty_throughout_counts_nothing_beside_its_partner():
    files = Hand().files()
    files["meter.csv"] = files["meter.csv"].replace(b",80000,", b",,")
    never_exported = Hand(meter="site", usual={18: 800}, helped={18: 100}, versions=ONE_HOUR).files()
    never_exported["meter.csv"] = never_exported["meter.csv"].replace(b",50000,OK", b",,OK")

    assert (settled(files)["amount_usd"], settled(never_exported)["amount_usd"]) == ("16.00", "1.40")
    assert b",80000," not in files["meter.csv"]


def test_a_row_that_lacks_more_than_its_optional_end_is_refused():
    files = Hand().files()
    files["sites.csv"] = b"site_id,owner_id,meter,opted_out_at\nhome,owner\n"
    more = Hand().files()
    more["sites.csv"] = b"site_id,owner_id,meter,opted_out_at\nhome,owner,device,,what is this\n"

    for bundle, cells in ((files, 2), (more, 5)):
        with pytest.raises(BadFile, match=f"sites.csv:2: all columns: {cells} cells, the header has 4"):
            verify_bundle(bundle)


def test_results_may_name_their_hours_with_any_offset():
    files = Hand(versions=ONE_HOUR).files()
    files["settlement.csv"] = (
        b"site_id,hour_starts_at,metered_wh,baseline_wh,fraction,incremental_wh,quality\n"
        b"home,2026-09-09T18:00:00-07:00,4500,1000.0,1/1,3500,OK\n"
    )

    assert verify_bundle(files).differences == ()
    files["settlement.csv"] = files["settlement.csv"].replace(b"3500", b"3501")
    assert verify_bundle(files).differences == (
        "settlement.csv: home 2026-09-10T01:00:00Z: incremental_wh is 3501, computed 3500",
    )


def test_results_under_names_of_their_own_are_said_to_be_compared_with_nothing():
    files = Hand().files() | {
        "settlement.csv": b"site_id,hour_starts_at,energy\n"
        + b"".join(b"home,2026-09-10T0%d:00:00Z,9\n" % each for each in (1, 2, 3)),
        "totals.csv": b"site_id,cents\nhome,999999\n",
    }

    report = verify_bundle(files)

    assert report.computed.notes == (
        "settlement.csv has no column metered_wh, baseline_wh, fraction, incremental_wh, quality; "
        "computed, and compared with nothing",
        "totals.csv has no column owner_id, incremental_wh, paid_wh, amount_usd, quality; "
        "computed, and compared with nothing",
    )
    assert report.agrees


def test_a_manifest_may_name_a_file_of_its_own_which_is_checked_too(tmp_path):
    files = Hand().files() | {"letter.txt": b"with kind regards"}
    hashes = {name: hashlib.sha256(content).hexdigest().upper() for name, content in files.items()}
    files["manifest.json"] = json.dumps({"files": hashes}).encode()
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "not ours").write_bytes(b"left alone")

    agrees = CliRunner().invoke(app, ["evidence", "verify", str(tmp_path), "--json"])
    (tmp_path / "letter.txt").write_bytes(b"with kind regard")
    differs = CliRunner().invoke(app, ["evidence", "verify", str(tmp_path), "--json"])

    assert (agrees.exit_code, json.loads(agrees.stdout)["agrees"]) == (0, True)
    assert (differs.exit_code, json.loads(differs.stdout)["differences"][0][:20]) == (
        1,
        "letter.txt: SHA-256 ",
    )


NETTING = {"terms": {'"net_event_floor_zero"': '"net_season_floor_zero"'}}
BOSTON = {
    "day": date(2026, 7, 22), "program": "connectedsolutions-ma", "zone": "America/New_York",
    "versions": [("10:00", "scheduled", [("15:00", "18:00")])],
    "helped": {15: 5_000, 16: 5_000, 17: 4_400},
}  # fmt: skip


@pytest.mark.parametrize(
    ("case", "name", "file", "alone", "whole", "notes"),
    [
        (
            NETTING, "carried.csv",
            "site_id,event_id,starts_at,incremental_wh\nhome,ev-0,2026-06-02T01:00:00Z,-2500.5\n",
            "16.00", "11.00",  # 8,000 - 2,500.5 = 5,499.5 Wh
            ("carried.csv is absent; computed as if no event of the season had come", "everything agrees"),
        ),
        (
            BOSTON, "period.csv", "site_id,event_id,weight,kw\nhome,ev-0,1,4.2\nhome,ev-2,1,0\n",
            "1080.00", "675.00",  # (4.8 + 4.2 + 0) / 3 kW
            (
                "amounts are those of season-2026-06-01, as if this were its only event, because period.csv",
                "amounts are those of season-2026-06-01, with the other events in period.csv",
            ),
        ),
    ],
)  # fmt: skip
def test_what_other_events_bring_is_taken_from_files_that_anyone_can_write(
    case, name: str, file: str, alone: str, whole: str, notes: tuple[str, str], tmp_path
):
    for each, content in Hand(**case).files().items():
        (tmp_path / each).write_bytes(content)

    without = CliRunner().invoke(app, ["evidence", "verify", str(tmp_path)])
    (tmp_path / name).write_text(file)
    beside = CliRunner().invoke(app, ["evidence", "verify", str(tmp_path)])
    as_json = json.loads(CliRunner().invoke(app, ["evidence", "verify", str(tmp_path), "--json"]).stdout)

    assert (without.exit_code, beside.exit_code) == (0, 0)
    assert notes[0] in without.stdout
    assert f"${alone}" in without.stdout
    assert notes[1] in beside.stdout
    assert as_json["sites"][0]["amount_usd"] == whole


GRID = {"meter": "site", "versions": ONE_HOUR}
MORNING = {14: 1_000, 15: 1_000, 16: 1_000}
CAISO = {'baseline_method = { value = "ten_of_ten"': 'baseline_method = { value = "caiso_ten_of_ten"'}


@pytest.mark.parametrize(
    ("each_hour", "terms", "incremental_wh", "amount_usd"),
    [
        (1_500, {}, 2_800 - 400, "4.80"),  # the ratio 1.5 is held at 1.40
        (1_200, {}, 2_400 - 400, "4.00"),
        (800, {}, 2_000 - 400, "3.20"),  # 0.8 is raised to 1.00
        (1_500, CAISO, 2_400 - 400, "4.00"),  # 1.5 is held at 1.20
        (800, CAISO, 1_600 - 400, "2.40"),
        (700, CAISO, 1_600 - 400, "2.40"),  # 0.7 is raised to 0.80
    ],
)
def test_a_grid_meter_follows_the_three_hours_that_end_an_hour_before(
    each_hour, terms, incremental_wh, amount_usd
):
    today = {14: each_hour, 15: each_hour, 16: each_hour, 17: 9_999, 18: 400}
    case = Hand(usual={**MORNING, 17: 5, 18: 2_000}, helped=today, terms=terms, **GRID)

    assert earned(case) == (incremental_wh, amount_usd, "OK")


def test_a_home_that_exports_in_the_morning_is_not_adjusted():
    usual = {14: -500, 15: -500, 16: -500, 18: 2_000}
    case = Hand(usual=usual, helped={14: 1_000, 15: 1_000, 16: 1_000, 18: 400}, **GRID)

    assert earned(case) == (1_600, "3.20", "OK")


def test_export_in_the_event_counts_beside_the_load_that_was_avoided():
    case = Hand(usual={**MORNING, 18: 800}, helped={**MORNING, 18: -2_900}, **GRID)

    assert earned(case) == (3_700, "7.40", "OK")


def test_power_saver_rewards_average_the_five_highest_of_ten_weekdays():
    """Loads 1,000 to 1,900 Wh: the five highest average 1,700; the hours around are as usual."""
    day = date(2025, 9, 10)
    back = [1, 2, 5, 6, 7, 8, 12, 13, 14, 15]  # 1 September 2025 is Labor Day
    around = dict.fromkeys([14, 15, 16, 20, 21, 22], 1_000)
    days = {
        (day - timedelta(days=each)).isoformat(): {**around, 18: 1_000 + 100 * place}
        for place, each in enumerate(back)
    }
    case = Hand(
        day=day, program="elrp-a6-pge", usual={18: 9_000}, helped={**around, 18: 500}, days=days, **GRID
    )

    assert earned(case) == (1_200, "1.20", "OK")


def test_power_saver_rewards_weigh_the_three_highest_of_five_weekend_days():
    """Five weekend days 1,000 to 1,400: 50 % of 1,400, 30 % of 1,300, 20 % of 1,200 are 1,330 Wh."""
    day = date(2025, 9, 14)
    back = [1, 7, 8, 13, 14]  # the Labor Day of 1 September among them
    around = dict.fromkeys([14, 15, 16, 20, 21, 22], 1_000)
    loads = [1_000, 1_400, 1_200, 1_300, 1_100]
    days = {
        (day - timedelta(days=each)).isoformat(): {**around, 18: load}
        for each, load in zip(back, loads, strict=True)
    }
    case = Hand(
        day=day, program="elrp-a6-pge", usual={18: 9_000}, helped={**around, 18: 330}, days=days, **GRID
    )

    assert earned(case) == (1_000, "1.00", "OK")


def test_puerto_rico_pays_all_that_is_delivered():
    case = Hand(
        program="cbes-pr",
        zone="America/Puerto_Rico",
        helped={18: 5_000, 19: 5_000, 20: 400},
        usual=USUAL,
        since=3,
    )

    assert earned(case) == (10_400, "10.40", "OK")


def test_an_average_power_is_paid_for_its_season():
    """14.4 kWh in three hours are 4.8 kW; at $225 for a kW of the season $1,080.00."""
    case = Hand(
        day=date(2026, 7, 22), program="connectedsolutions-ma", zone="America/New_York",
        versions=[("10:00", "scheduled", [("15:00", "18:00")])],
        helped={15: 5_000, 16: 5_000, 17: 4_400},
    )  # fmt: skip

    assert earned(case)[1] == "1080.00"


ALL_YEAR = {
    'season_first = { value = "05-01"': 'season_first = { value = "01-01"',
    'season_last = { value = "10-31"': 'season_last = { value = "12-31"',
}


@pytest.mark.parametrize("day", [date(2026, 11, 4), date(2026, 3, 11), date(2026, 11, 1), date(2026, 3, 8)])
def test_similar_days_are_compared_by_the_clock_on_the_wall_across_its_change(day: date):
    usual = {17: 7_000, 18: 1_000, 19: 7_000}

    assert earned(Hand(day=day, usual=usual, terms=ALL_YEAR, versions=ONE_HOUR)) == (3_500, "7.00", "OK")


def test_the_days_behind_a_baseline_are_named_newest_first():
    site = settled(Hand(excluded="*,2026-09-04,outage\n").files())

    assert site["baseline_days"] == [
        f"2026-{day}"
        for day in ("09-08", "09-03", "09-02", "09-01", "08-31", "08-28", "08-27", "08-26", "08-25", "08-24")
    ]
    assert site["dropped_days"] == [{"date": "2026-09-04", "reason": "outage"}]


@pytest.mark.parametrize(
    ("stops", "notes"),
    [
        ("21:00", []),
        (
            "22:30",  # the program's window closes at 21:00
            [
                "of 4:30:00 h that the event was on, 1:30:00 h lie outside the program's season, daily "
                "window or longest event and are not settled"
            ],
        ),
    ],
)
def test_what_of_an_event_lies_outside_its_terms_is_said(stops: str, notes: list[str]):
    report = verify_bundle(Hand(versions=[("12:00", "scheduled", [("18:00", stops)])]).files())

    assert report.as_json()["notes"] == notes
    assert only_amounts(report) == ["16.00"]


def test_a_program_that_pays_nothing_for_an_event_says_so():
    case = Hand(program="tesla-electric-tx", zone="America/Chicago")

    report = verify_bundle(case.files())

    assert report.as_json()["notes"] == [
        "the program pays a fixed credit each month or year and nothing for an event: amounts are 0.00"
    ]
    assert only_amounts(report) == ["0.00"]


def test_versions_out_of_the_order_of_time_are_said():
    evening, short = [("18:00", "21:00")], [("18:00", "19:00")]
    in_order = Hand(versions=[("12:00", "scheduled", short), ("13:00", "scheduled", evening)])
    turned = Hand(versions=[("13:00", "scheduled", short), ("12:00", "scheduled", evening)])

    said = "event.json: versions are not in the order of effective_at; the last one in the file counted"
    assert verify_bundle(in_order.files()).as_json()["notes"] == []
    assert verify_bundle(turned.files()).as_json()["notes"] == [said]
    assert only_amounts(verify_bundle(turned.files())) == ["16.00"]


def test_an_absent_manifest_is_not_said_to_be_computed(tmp_path: Path):
    for name, content in Hand().files().items():
        (tmp_path / name).write_bytes(content)

    shown = CliRunner().invoke(app, ["evidence", "verify", str(tmp_path)]).stdout

    assert "totals.csv is absent; it was computed" in shown
    assert "manifest.json is absent; nothing shows that the files are as they were made" in shown


def test_a_counter_too_large_is_refused_for_its_size():
    files = Hand().files()
    files["meter.csv"] += b"home,2026-09-10T01:00:01Z,1000000000000000,0,,,OK\n"

    with pytest.raises(BadFile, match="not a whole number of watt-hours, 0 or more, of at most 15 digits"):
        verify_bundle(files)
