"""An evidence bundle computes to the cent without us, and a changed byte in it is found."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from tests.domain.money_world import EVENT_DAY, Row, a_meter, an_evening_history, columns, local
from vpp.domain.baseline import LOOKBACK_DAYS, METHODS
from vpp.domain.delivery import CLOSE_NEIGHBOURS_S, FAR_NEIGHBOURS_S, Quality
from vpp.domain.program import MeterOfRecord
from vpp.domain.quantities import two_decimals
from vpp.wire.evidence import EXTRA, OPTIONAL, REQUIRED, read_bundle, read_event, recompute, write_event
from vpp.wire.evidence_check import UNSIGNED, EvidenceReport, verify_bundle, write_bundle
from vpp.wire.evidence_help import EXAMPLE, formats
from vpp.wire.meter_file import read_meter_csv, write_meter_csv
from vpp.wire.signed import SigningKey, sign
from vpp.wire.table import BadFile, as_it_was, decimal_cell, harmless

PROGRAM = (Path(__file__).parents[2] / "config" / "programs" / "elrp-a4-pge.toml").read_bytes()
TEN_DAYS = [[1_000, 1_200, 600]] * 10
NEEDED = ("event.json", "program.toml", "sites.csv", "meter.csv", "excluded_days.csv")


def an_event_file(*versions: tuple[datetime, str, Sequence[tuple[datetime, datetime]]]) -> bytes:
    stated = versions or (
        (local(EVENT_DAY, 12), "scheduled", [(local(EVENT_DAY, 18), local(EVENT_DAY, 21))]),
    )
    body = {
        "event_id": "ev-1",
        "program_id": "elrp-a4-pge",
        "time_zone": "America/Los_Angeles",
        "versions": [
            {
                "effective_at": at.isoformat(),
                "status": status,
                "intervals": [{"starts_at": a.isoformat(), "ends_at": b.isoformat()} for a, b in intervals],
            }
            for at, status, intervals in versions or stated
        ],
    }
    return json.dumps(body).encode()


def a_foreign_bundle(
    rows: Mapping[str, Sequence[Row]],
    *,
    event: bytes | None = None,
    sites: str | None = None,
    excluded: str = "",
    meter: MeterOfRecord = MeterOfRecord.DEVICE,
) -> dict[str, bytes]:
    """Return a bundle as someone else would make it: only the five files that are needed."""
    names = sorted(rows)
    lines = "".join(f"{name},owner-{name},{meter.value},\n" for name in names)
    return {
        "event.json": event or an_event_file(),
        "program.toml": PROGRAM,
        "sites.csv": f"site_id,owner_id,meter,opted_out_at\n{sites or lines}".encode(),
        "meter.csv": write_meter_csv(names, columns(*(rows[name] for name in names), meter=meter)),
        "excluded_days.csv": f"site_id,date,reason\n{excluded}".encode(),
    }


def an_evening(event_wh: Sequence[int] = (4_500, 4_400, 1_900)) -> list[Row]:
    return a_meter(an_evening_history(event_wh, TEN_DAYS))


def a_signed_bundle(names: Sequence[str] = ("one", "two")) -> dict[str, bytes]:
    bundle = read_bundle(a_foreign_bundle({name: an_evening() for name in names}))
    key = SigningKey(bytes(range(32)))
    return write_bundle(
        bundle,
        recompute(bundle).lines,
        chain_head="ab" * 32,
        sign=lambda body: sign(body, key, "vpp-test"),
        signer=("vpp-test", key.verifying_key.text),
    )


def only_site(report: EvidenceReport) -> dict:
    sites = report.as_json()["sites"]
    assert isinstance(sites, list)
    assert len(sites) == 1
    return sites[0]


def test_a_bundle_of_someone_else_is_computed_from_the_five_needed_files():
    report = verify_bundle(a_foreign_bundle({"s-1": an_evening()}))

    site = only_site(report)
    assert (site["incremental_wh"], site["amount_usd"], site["quality"]) == (8_000, "16.00", "OK")
    assert [
        (hour["metered_wh"], hour["baseline_wh"], hour["fraction"], hour["incremental_wh"])
        for hour in site["hours"]
    ] == [(4_500, 1_000, "1", 3_500), (4_400, 1_200, "1", 3_200), (1_900, 600, "1", 1_300)]
    assert len(site["baseline_days"]) == 10
    assert report.absent == ("settlement.csv", "totals.csv", "manifest.json")
    assert report.agrees
    json.dumps(report.as_json())


def test_a_cancel_in_mid_event_ends_it_at_its_commit():
    whole = [(local(EVENT_DAY, 18), local(EVENT_DAY, 21))]
    cancelled_at = local(EVENT_DAY, 19, 37)
    event = an_event_file((local(EVENT_DAY, 12), "scheduled", whole), (cancelled_at, "cancelled", []))
    rows = a_meter(an_evening_history([4_500], [[1_000, 1_200]] * 10))
    rows.append((cancelled_at, rows[-1][1] + 2_600, rows[-1][2], Quality.OK))

    site = only_site(verify_bundle(a_foreign_bundle({"s-1": rows}, event=event)))

    assert (site["incremental_wh"], site["amount_usd"]) == (5_360, "10.72")
    assert (site["hours"][1]["baseline_wh"], site["hours"][1]["fraction"]) == (1_200, "37/60")


def test_a_second_cancel_moves_nothing():
    whole = [(local(EVENT_DAY, 18), local(EVENT_DAY, 21))]
    event = an_event_file(
        (local(EVENT_DAY, 12), "scheduled", whole),
        (local(EVENT_DAY, 19, 37), "cancelled", []),
        (local(EVENT_DAY, 20), "cancelled", whole),
    )

    site = only_site(verify_bundle(a_foreign_bundle({"s-1": an_evening()}, event=event)))

    assert [hour["fraction"] for hour in site["hours"]] == ["1", "37/60"]


def test_a_cancel_may_repeat_the_intervals_it_ends():
    whole = [(local(EVENT_DAY, 18), local(EVENT_DAY, 21))]
    noon, seven = local(EVENT_DAY, 12), local(EVENT_DAY, 19)
    bundle = a_foreign_bundle(
        {"s-1": an_evening()}, event=an_event_file((noon, "scheduled", whole), (seven, "cancelled", whole))
    )

    assert only_site(verify_bundle(bundle))["incremental_wh"] == 3_500


def test_an_event_cancelled_before_its_start_pays_nothing():
    whole = [(local(EVENT_DAY, 18), local(EVENT_DAY, 21))]
    noon = local(EVENT_DAY, 12)
    bundle = a_foreign_bundle(
        {"s-1": an_evening()},
        event=an_event_file((noon, "scheduled", whole), (noon + timedelta(hours=1), "cancelled", [])),
    )

    site = only_site(verify_bundle(bundle))

    assert (site["amount_usd"], site["hours"]) == ("0.00", [])


def test_the_last_version_counts_and_the_first_says_when_the_event_could_begin():
    long = [(local(EVENT_DAY, 18), local(EVENT_DAY, 21))]
    short = [(local(EVENT_DAY, 18), local(EVENT_DAY, 20))]
    event = an_event_file(
        (local(EVENT_DAY, 18, 30), "scheduled", long), (local(EVENT_DAY, 19), "scheduled", short)
    )

    site = only_site(verify_bundle(a_foreign_bundle({"s-1": an_evening()}, event=event)))

    assert [hour["fraction"] for hour in site["hours"]] == ["1/2", "1"]


def test_settlement_of_a_site_ends_at_its_own_opt_out():
    sites = f"s-1,o-1,device,{local(EVENT_DAY, 19).isoformat()}\n"

    site = only_site(verify_bundle(a_foreign_bundle({"s-1": an_evening()}, sites=sites)))

    assert (site["incremental_wh"], site["reason"]) == (3_500, "opted_out")


def test_excluded_days_leave_the_baseline_of_one_site_or_of_all():
    rows = a_meter(an_evening_history([4_500, 4_400, 1_900], [[3_000] * 3, *TEN_DAYS]))
    both = {"one": rows, "two": rows}

    report = verify_bundle(a_foreign_bundle(both, excluded="one,2026-09-08,outage\n"))
    for_all = verify_bundle(a_foreign_bundle(both, excluded="*,2026-09-08,event\n"))

    assert [line.incremental_wh == 8_000 for line in report.lines] == [True, False]
    assert [line.incremental_wh for line in for_all.lines] == [8_000, 8_000]
    assert for_all.lines[0].baseline_days.dropped == ((date(2026, 9, 8), "event"),)


def test_a_site_metered_at_the_grid_is_computed_beside_one_metered_at_the_device():
    bundle = a_foreign_bundle({"s-1": an_evening()})
    of_grid = a_foreign_bundle(
        {"s-2": a_meter(an_evening_history([-400] * 3, [[-2_000] * 3] * 10))}, meter=MeterOfRecord.SITE
    )
    bundle["sites.csv"] += of_grid["sites.csv"].split(b"\n", 1)[1]
    bundle["meter.csv"] += of_grid["meter.csv"].split(b"\n", 1)[1]

    device, grid = verify_bundle(bundle).lines

    assert device.incremental_wh == 8_000
    assert grid.incremental_wh == 4_800


def test_an_exact_fraction_is_written_as_one():
    rows = a_meter(an_evening_history([4_500], [[1_001]] * 1 + [[1_000]] * 9))
    hour = [(local(EVENT_DAY, 18), local(EVENT_DAY, 19))]

    site = only_site(
        verify_bundle(
            a_foreign_bundle({"s-1": rows}, event=an_event_file((local(EVENT_DAY, 9), "scheduled", hour)))
        )
    )

    assert site["incremental_wh"] == "34999/10"
    assert site["amount_usd"] == "7.00"


def test_what_we_write_agrees_with_itself_and_comes_back_equal():
    files = a_signed_bundle()

    report = verify_bundle(files)

    assert report.differences == ()
    assert report.absent == ()
    bundle = read_bundle(files)
    (signer,) = report.computed.notes
    assert signer.startswith("signed as vpp-test with the key ")
    assert replace(recompute(bundle), notes=(signer,)) == report.computed
    again = write_bundle(bundle, report.lines, chain_head="ab" * 32)
    assert all(again[name] == files[name] for name in again if name != "manifest.json")


@pytest.mark.parametrize("name", [*NEEDED, "settlement.csv", "totals.csv"])
def test_one_changed_byte_is_found(name: str):
    files = a_signed_bundle()
    content = files[name]
    at = content.rindex(b"0") if name == "meter.csv" else len(content) - 1
    files[name] = content[:at] + (b"1" if name == "meter.csv" else b" ") + content[at + 1 :]

    assert any(each.startswith(f"{name}: SHA-256") for each in found_in(files))


def found_in(files: Mapping[str, bytes]) -> Sequence[str]:
    """Return what is wrong with a bundle, whether it can be computed or not."""
    try:
        return verify_bundle(files).differences
    except BadFile as failure:
        return failure.faults


def test_a_manifest_that_was_edited_does_not_keep_its_signature():
    files = a_signed_bundle()
    files["manifest.json"] = files["manifest.json"].replace(b"ab" * 32, b"cd" * 32)

    assert "signature does not match" in verify_bundle(files).differences[0]


@pytest.mark.parametrize("written", [b'"signaturf"', b'"Signature"'])
def test_a_signature_that_is_named_otherwise_is_missing(written: bytes):
    files = a_signed_bundle()
    files["manifest.json"] = files["manifest.json"].replace(b'"signature"', written)

    report = verify_bundle(files)

    assert [each.partition(":")[0] for each in report.differences] == ["manifest.json"]
    assert "signature" in report.differences[0]
    assert UNSIGNED in report.as_json()["notes"]


def test_a_manifest_without_a_signer_is_taken_with_a_note():
    files = a_signed_bundle()
    manifest = json.loads(files["manifest.json"])
    for name in ("kid", "public_key", "signature"):
        del manifest[name]
    files["manifest.json"] = json.dumps(manifest).encode()

    report = verify_bundle(files)

    assert report.agrees
    assert report.as_json()["notes"] == [UNSIGNED]


def test_an_amount_that_differs_is_named_with_both_values():
    files = a_signed_bundle()
    del files["manifest.json"]
    files["totals.csv"] = files["totals.csv"].replace(b"16.00", b"17.00", 1)
    files["settlement.csv"] = files["settlement.csv"].replace(b"4500", b"4501", 1)

    assert verify_bundle(files).differences == (
        "settlement.csv: one 2026-09-10T01:00:00Z: metered_wh is 4501, computed 4500",
        "totals.csv: one: amount_usd is 17.00, computed 16.00",
    )


def test_rows_too_many_and_too_few_are_named():
    files = a_signed_bundle(["one", "two"])
    del files["manifest.json"]
    files["totals.csv"] = files["totals.csv"].replace(b"two,", b"who,", 1)

    assert verify_bundle(files).differences == (
        "totals.csv: no row for two",
        "totals.csv: a row for who, which is not settled",
    )


def test_results_of_someone_else_may_have_fewer_columns_and_write_numbers_their_way():
    files = a_foreign_bundle({"s-1": an_evening()})
    files["totals.csv"] = b"site_id,amount_usd,incremental_wh\ns-1,16.0,8000.0\n"

    assert verify_bundle(files).agrees


def test_counters_that_a_program_wrote_with_a_point_are_the_same_counters():
    files = a_foreign_bundle({"s-1": an_evening()})
    whole = verify_bundle(files).as_json()

    files["meter.csv"] = files["meter.csv"].replace(b",12319540,", b",12319540.0,")

    assert b"12319540.0" in files["meter.csv"]
    assert verify_bundle(files).as_json() == whole


@pytest.mark.parametrize(
    ("name", "change", "fault"),
    [
        ("meter.csv", (b",12319540,", b",1.5,"), "meter.csv:2: discharged_wh: '1.5' is not a whole"),
        ("meter.csv", (b",OK", b",MAYBE"), "meter.csv:2: quality: 'MAYBE' is not OK, ESTIMATED or BAD"),
        (
            "meter.csv",
            (b"2026-08-26T", b"26/08/2026 "),
            "meter.csv:2: at: '26/08/2026 01:00:00Z' is not",
        ),
        ("meter.csv", (b"T01:00:00Z", b"T01:00:00"), "meter.csv:2: at: '2026-08-26T01:00:00' names no"),
        ("meter.csv", (b"2026-08-26T", b"1926-08-26T"), "meter.csv:2: at: '1926-08-26T01:00:00Z' is not in"),
        (
            "meter.csv",
            (b"2026-08-26T01:00:00Z", b"0001-01-01T00:00:00+14:00"),
            "meter.csv:2: at: '0001-01-01T",
        ),
        (
            "event.json",
            (b"2026-09-09T19:00:00", b"9999-12-31T23:59:59"),
            "event.json:1: versions[0].effective_at",
        ),
        ("meter.csv", (b"quality", b"colour"), "meter.csv:1: columns are"),
        ("sites.csv", (b",device", b",solar"), "sites.csv:2: meter: 'solar' is not device or site"),
        ("sites.csv", (b"owner_id", b"who"), "sites.csv:1: columns are"),
        ("sites.csv", (b",device,", b""), "sites.csv:2: all columns: 2 cells"),
        ("excluded_days.csv", (b"son\n", b"son\n*,2026-13-01,event\n"), "excluded_days.csv:2: date: "),
        ("excluded_days.csv", (b"son\n", b"son\n*,2026-09-01,rain\n"), "excluded_days.csv:2: reason: "),
        ("event.json", (b'"status": "scheduled"', b'"status": "maybe"'), "event.json:1: versions[0].status"),
        ("event.json", (b"America/Los_Angeles", b"America/Denver"), "event.json: time_zone is "),
        ("program.toml", (b"net_event_floor_zero", b"whatever"), "program.toml:"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_line_and_column(
    name: str, change: tuple[bytes, bytes], fault: str
):
    files = a_foreign_bundle({"s-1": an_evening()})
    assert change[0] in files[name]
    files[name] = files[name].replace(*change, 1)

    with pytest.raises(BadFile) as refused:
        verify_bundle(files)
    assert refused.value.faults[0].startswith(fault)


@pytest.mark.parametrize("name", NEEDED)
def test_a_needed_file_that_is_absent_is_named(name: str):
    files = a_foreign_bundle({"s-1": an_evening()})
    del files[name]

    with pytest.raises(BadFile, match=f"{name} is not in the bundle"):
        verify_bundle(files)


def test_a_text_that_a_spreadsheet_would_run_is_written_harmless_and_read_back():
    files = a_foreign_bundle({"s-1": an_evening()}, sites="s-1,=HYPERLINK(1),device,\n")
    bundle = read_bundle(files)
    written = write_bundle(bundle, recompute(bundle).lines, chain_head="00" * 32)

    assert b",'=HYPERLINK(1)," in written["totals.csv"]
    assert read_bundle(written).sites[0].owner_id == "=HYPERLINK(1)"
    assert verify_bundle(written).agrees
    for text in ("=1", "+1", "-1", "@x", "'", "''=", "plain", ""):
        assert as_it_was(harmless(text)) == text


def test_an_event_comes_back_from_its_file():
    event = read_event(an_event_file())

    assert read_event(write_event(event)) == event
    assert event.versions[0].effective_at == datetime(2026, 9, 9, 19, tzinfo=UTC)


def test_readings_come_back_from_their_file_in_any_order_of_rows():
    readings = columns(an_evening(), an_evening([1, 2, 3]))
    content = write_meter_csv(["one", "two"], readings)
    header, *rows = content.splitlines(keepends=True)

    names, again = read_meter_csv(header + b"".join(reversed(rows)))

    assert names == ("one", "two")
    assert write_meter_csv(names, again) == content


def test_two_values_for_one_instant_make_the_hour_bad():
    rows = an_evening()
    files = a_foreign_bundle({"s-1": rows})
    doubled = write_meter_csv(
        ["s-1"], columns([replace_counter(row) for row in rows if row[0] == local(EVENT_DAY, 18, 30)])
    )
    files["meter.csv"] += doubled.split(b"\n", 1)[1]

    site = only_site(verify_bundle(files))

    assert (site["quality"], site["incremental_wh"]) == ("BAD", 4_500)


def test_a_meter_file_without_the_counters_that_count_gives_no_baseline():
    files = a_foreign_bundle({"s-1": an_evening()})
    files["meter.csv"] = files["meter.csv"].replace(b"discharged_wh", b"discharge", 1)

    assert only_site(verify_bundle(files))["quality"] == "NO_BASELINE"


def replace_counter(row: Row) -> Row:
    return (row[0], row[1] + 1, row[2], row[3])


def test_whoever_is_metered_or_excluded_and_not_settled_is_named():
    bundle = a_foreign_bundle(
        {"one": an_evening(), "two": an_evening()},
        sites="one,owner-one,device,\n",
        excluded="*,2026-09-01,outage\none,2026-09-02,outage\ns-nobody,2026-09-01,outage\n",
    )

    report = verify_bundle(bundle)

    assert report.computed.notes == (
        "meter.csv names 1 site that sites.csv does not, the first 'two'; left out",
        "excluded_days.csv names 1 site that sites.csv does not, the first 's-nobody'; left out",
    )
    assert [line.site_id for line in report.lines] == ["one"]
    assert verify_bundle(a_foreign_bundle({"one": an_evening()})).computed.notes == ()


def test_a_bundle_is_computed_with_fractions_and_no_float():
    line = verify_bundle(a_foreign_bundle({"s-1": an_evening()})).lines[0]

    assert isinstance(line.incremental_wh, Fraction)
    assert replace(line) == line


def test_the_example_that_people_are_shown_can_be_read():
    files = {name: text.encode() for name, text in EXAMPLE.items()} | {"program.toml": PROGRAM}

    bundle = read_bundle(files)

    assert [site.meter for site in bundle.sites] == [MeterOfRecord.DEVICE, MeterOfRecord.SITE]
    assert len(bundle.readings) == 2
    assert [each.incremental_wh for each in bundle.carried or ()] == [-1_860, Fraction(37, 3)]
    assert [each.kw for each in (bundle.powers or {})["s-7f3a"]] == [Fraction("4.8"), Fraction(37, 30)]
    assert all(name in formats() for name in (*REQUIRED, *OPTIONAL, *EXTRA))


@pytest.mark.parametrize("method", [name for name, each in METHODS.items() if each.adjustment is not None])
def test_people_are_told_the_rules_that_the_files_leave_open(method: str):
    said = formats()

    bounds = METHODS[method].adjustment
    assert bounds is not None
    assert f"{two_decimals(bounds.lowest)} to {two_decimals(bounds.highest)} ({method})" in said
    assert f"at most {CLOSE_NEIGHBOURS_S} s apart, ESTIMATED up to {FAR_NEIGHBOURS_S // 60} min" in said
    assert f"of the {LOOKBACK_DAYS} days before the event's date" in said
    assert "season, daily window and event_max_h; not season_cap_h" in said
    assert "weigh 50, 30 and 20 %" in said


def test_a_byte_order_mark_and_carriage_returns_change_nothing():
    files = a_foreign_bundle({"s-1": an_evening()})
    marked = {
        name: b"\xef\xbb\xbf" + (content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
        for name, content in files.items()
    }

    assert verify_bundle(marked).lines == verify_bundle(files).lines


def test_a_fraction_is_written_as_a_decimal_and_every_other_text_as_it_is():
    fractions = {"731/10": "73.1", "-1/3": "-0.333333", "2/3": "0.666667", "20/1": "20", "-1/9999999": "0"}
    others = ["73.1", "", "2026-09-10T01:00:00Z", "1/0", "a/b", "elrp/7", "1/2/3"]

    assert {text: decimal_cell(text) for text in fractions} == fractions
    assert [decimal_cell(text) for text in others] == others
