"""The money commands on a real database, from an enrolment to a bundle that anyone can check."""

import asyncio
import csv
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from tests.domain.money_world import an_evening_history
from tests.entrypoints.test_evidence_export import shipped
from tests.stages.money_story import ENDS_AT, TEN_DAYS, MoneyStory
from vpp.adapters.clock import SteppedClock
from vpp.adapters.sql.store import SqlStore
from vpp.domain.payout import ProgramPayment, receive
from vpp.domain.quantities import MicroDollars
from vpp.entrypoints.cli import app
from vpp.entrypoints.operations import metering
from vpp.settings import load_settings, variables

Vpp = Callable[..., Result]


@pytest.fixture
def vpp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vpp:
    for name in variables():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VPP_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "160")
    return lambda *words: CliRunner().invoke(app, words)


@pytest.fixture
def closed_event(vpp: Vpp) -> None:
    """Leave a closed event in the database that owes one owner $18.00."""
    assert vpp("keys", "show").exit_code == 0  # makes key and tables

    async def live() -> None:
        store = await SqlStore.open(load_settings().store_url)
        clock = SteppedClock(ENDS_AT + timedelta(days=9))
        story = MoneyStory(store=store, clock=clock, program=shipped())  # type: ignore[arg-type]  # the same ports
        await story.home("home", an_evening_history([4_000] * 3, TEN_DAYS))
        await story.event()
        await story.dispatched(0)
        await story.settled_and_paid()
        await store.close()

    asyncio.run(live())


def json_of(result: Result) -> Any:
    """Return the one JSON value that a command printed."""
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


@pytest.mark.usefixtures("closed_event")
def test_an_exported_bundle_verifies_and_a_changed_byte_fails(vpp: Vpp, tmp_path: Path):
    folder = tmp_path / "bundle"

    assert "manifest.json" in json_of(vpp("evidence", "export", "ev-1", str(folder), "--json"))["files"]
    assert json_of(vpp("evidence", "verify", str(folder), "--json"))["total_usd"] == "18.00"
    printed = vpp("evidence", "verify", str(folder)).stdout
    assert "home: 9000 Wh beyond the baseline, Wed 9 Sep 2026\n" in printed
    assert re.search(r"[678]:00 PM PDT\s+4000\s+1000\s+1\s+3000\s+OK", printed)
    assert "baseline days: 2026-09-08, 2026-09-04" in printed
    totals = folder / "totals.csv"
    totals.write_bytes(totals.read_bytes().replace(b"18.00", b"19.00"))

    changed = vpp("evidence", "verify", str(folder), "--json")

    assert changed.exit_code == 1
    assert not json.loads(changed.stdout)["agrees"]
    assert "is not empty; nothing was written" in vpp("evidence", "export", "ev-1", str(folder)).stderr
    meter, nowhere = folder / "meter.csv", tmp_path / "nowhere"
    meter.write_bytes(meter.read_bytes().replace(b",OK", b",XK", 1))
    unread = vpp("evidence", "verify", str(folder), "--json")
    found = json.loads(unread.stdout)
    assert (unread.exit_code, found["agrees"]) == (1, False)
    assert any(each.startswith("meter.csv:2: ") for each in found["differences"])
    assert vpp("evidence", "export", "ev-nobody-knows", str(nowhere)).exit_code == 1
    assert not nowhere.exists()


@pytest.mark.usefixtures("closed_event")
def test_a_statements_file_leads_with_pencil_and_paper_from_the_meter_to_the_ledgers_cent(
    vpp: Vpp, tmp_path: Path
):
    file = tmp_path / "statement.csv"

    assert vpp("statement", "owner-home", "--csv", str(file)).exit_code == 0

    hours = list(csv.DictReader(file.read_text().splitlines()))
    assert [hour["starts_at"][11:13] for hour in hours] == ["01", "02", "03"]
    summed = Decimal(0)
    for hour in hours:
        days = [Decimal(day.partition(": ")[2]) for day in hour["baseline_days_wh"].split("; ")]
        baseline = sum(days) / len(days) * Decimal(hour["adjustment"]) * Decimal(hour["fraction"])
        assert (len(days), baseline) == (10, Decimal(hour["baseline_wh"]))
        beyond = Decimal(hour["metered_wh"]) - baseline
        assert beyond == Decimal(hour["incremental_wh"])
        summed += beyond
    told = hours[0]
    assert summed == Decimal(told["event_incremental_wh"]) == Decimal(told["event_paid_wh"])
    own_rate = (
        Decimal(told["rate_usd_per_kwh"]) * Decimal(told["bonus_multiplier"]) * Decimal(told["owner_share"])
    )
    assert own_rate == Decimal(told["own_rate_usd_per_kwh"])
    cents = (summed / 1000 * own_rate).quantize(Decimal("0.01"), ROUND_HALF_UP)
    assert str(cents) == told["event_amount_usd"] == told["event_booked_usd"] == "18.00"
    assert (told["cap_kwh"], told["negative_policy"]) == ("", "net_event_floor_zero")
    assert told["rounding"] == "half up to the cent, once"
    assert vpp("statement", "owner-home", "--csv", str(file)).exit_code == 1  # it is there already


@pytest.mark.usefixtures("closed_event")
def test_an_hour_that_is_not_ok_says_in_a_bundle_which_readings_are_to_blame(vpp: Vpp, tmp_path: Path):
    folder = tmp_path / "bundle"
    vpp("evidence", "export", "ev-1", str(folder))
    for name in ("manifest.json", "settlement.csv", "totals.csv"):
        (folder / name).unlink()
    meter = folder / "meter.csv"
    lines = meter.read_text().splitlines()
    gap = [line for line in lines if not "2026-09-10T01:31" < line.split(",")[1] < "2026-09-10T02:20"]
    meter.write_text(re.sub(r"(2026-09-10T03:30:00Z.*),OK", r"\1,BAD", "\n".join(gap)))

    (site,) = json_of(vpp("evidence", "verify", str(folder), "--json"))["sites"]
    printed = vpp("evidence", "verify", str(folder)).stdout

    apart = "readings from 2026-09-10T01:30:00Z to 2026-09-10T02:20:00Z are apart"
    assert [(hour["quality"], hour["reason"]) for hour in site["hours"]] == [
        ("ESTIMATED", apart),
        ("ESTIMATED", apart),
        ("BAD", "the reading of 2026-09-10T03:30:00Z is BAD"),
    ]
    assert f"hour of Wed 9 Sep 2026 6:00 PM PDT ESTIMATED: {apart}" in printed


@pytest.mark.usefixtures("closed_event")
def test_nothing_is_quarantined_where_no_power_sample_says_otherwise(vpp: Vpp):
    found = json_of(vpp("meter", "check", "ev-1", "--quarantine", "--json"))
    printed = vpp("meter", "check", "ev-1", "--quarantine").stdout

    assert found == {"event_id": "ev-1", "refused": []}
    assert "ev-1: the power samples refute no hour that is still believed" in printed
    assert vpp("statement", "owner-home").stdout.count("$18.00") >= 1


@pytest.mark.usefixtures("closed_event")
def test_a_payout_run_writes_a_file_and_is_confirmed(vpp: Vpp, tmp_path: Path):
    file = tmp_path / "bank.csv"

    assert json_of(vpp("payout", "run", "2026-10", "--out", str(file), "--json"))["totals"] == {
        "USD": "18.00"
    }
    assert "owner-home,18.00,USD," in file.read_text()
    assert vpp("payout", "confirm", "2026-10").exit_code == 0
    assert json_of(vpp("payout", "list", "--json"))["runs"][0]["state"] == "paid"
    assert vpp("payout", "cancel", "2026-10").exit_code == 1
    assert json_of(vpp("ledger", "verify", "--json"))["balanced"]


@pytest.mark.usefixtures("closed_event")
def test_a_payout_run_is_written_for_a_bank_and_no_account_number_stays_here(vpp: Vpp, tmp_path: Path):
    accounts, file = tmp_path / "accounts.csv", tmp_path / "run.ach"
    accounts.write_text(
        "owner_id,name,routing,account,kind\nowner-home,Rosa,121000358,000987654321,checking\n"
    )
    words = (
        "payout", "nacha", "2026-10", "--accounts", str(accounts), "--out", str(file),
        "--bank-routing", "021000021", "--company-id", "1234567890", "--company", "Vpp",
    )  # fmt: skip
    assert vpp(*words).exit_code == 1  # no such run
    vpp("payout", "run", "2026-10")

    told = vpp(*words, "--json")
    first = file.read_bytes()

    assert told.exit_code == 0, told.output
    assert b"62212100035800098765432" in first
    assert b"0000001800" in first
    assert "987654321" not in told.stdout
    assert vpp(*words).exit_code == 0
    assert file.read_bytes() == first
    assert b"987654321" not in b"".join(
        each.read_bytes() for each in (tmp_path / "state").iterdir() if each.is_file()
    )
    vpp("payout", "cancel", "2026-10")
    assert "nobody is paid in this run" in vpp(*words).stderr


@pytest.mark.usefixtures("closed_event")
def test_a_run_that_is_paid_is_written_for_no_bank_again(vpp: Vpp, tmp_path: Path):
    accounts, file = tmp_path / "accounts.csv", tmp_path / "run.ach"
    accounts.write_text(
        "owner_id,name,routing,account,kind\nowner-home,Rosa,121000358,000987654321,checking\n"
    )
    vpp("payout", "run", "2026-10")
    vpp("payout", "confirm", "2026-10")

    refused = vpp(
        "payout", "nacha", "2026-10", "--accounts", str(accounts), "--out", str(file),
        "--bank-routing", "021000021", "--company-id", "1234567890", "--company", "Vpp",
    )  # fmt: skip

    assert refused.exit_code == 1
    assert "2026-10 is confirmed as paid" in refused.stderr
    assert not file.exists()


@pytest.mark.usefixtures("closed_event")
def test_the_books_leave_as_csv_or_beancount_and_take_in_what_programs_paid(vpp: Vpp, tmp_path: Path):
    paid = tmp_path / "paid.csv"
    paid.write_text("program_id,period,reference,paid\nelrp-a4-pge,ev-1,wire-1,18.00\n")

    assert json_of(vpp("ledger", "reconcile", str(paid), "--json")) == {
        "booked": 1,
        "known": 0,
        "open": [],
        "rounded": [],
    }
    assert vpp("ledger", "export").stdout.startswith("entry_id,at,state,")
    assert 'option "title"' in vpp("ledger", "export", "--layout", "beancount").stdout
    assert vpp("ledger", "export", "--layout", "pdf").exit_code == 1


@pytest.mark.usefixtures("closed_event")
def test_a_rest_of_under_a_cent_is_said_to_be_settled_once(vpp: Vpp, tmp_path: Path):
    async def part_of_a_cent() -> None:
        store = await SqlStore.open(load_settings().store_url)
        part = ProgramPayment("elrp-a4-pge", "ev-1", "wire-0", MicroDollars(3_600))
        await store.post([receive(part, at=ENDS_AT + timedelta(days=9))])
        await store.close()

    asyncio.run(part_of_a_cent())
    paid = tmp_path / "paid.csv"
    paid.write_text("program_id,period,reference,paid\nelrp-a4-pge,ev-1,wire-1,17.99\n")

    first, again = (vpp("ledger", "reconcile", str(paid)).stdout.splitlines()[-2:] for _ in range(2))

    assert first[-1] == "1 settled within a cent: what was left of it is booked to rounding"
    assert again[-1] == "0 payments booked, 1 known before"
    assert json_of(vpp("ledger", "verify", "--json"))["accounts"]["program_receivable"] == {
        "posted_usd": "0.00",
        "pending_usd": "0.00",
    }


@pytest.mark.usefixtures("closed_event")
def test_nothing_is_written_off_of_an_owner_who_owes_nothing(vpp: Vpp):
    words = ("owner", "write-off", "owner-home", "--reason", "gone")

    taking_part = vpp(*words)
    assert vpp("owner", "leave", "owner-home", "home").exit_code == 0
    left = vpp(*words)

    assert (taking_part.exit_code, left.exit_code) == (1, 1)
    assert "home home has not left the program" in taking_part.stderr
    assert "owner owner-home owes nothing; nothing was written off" in left.stderr


@pytest.mark.usefixtures("closed_event")
def test_days_and_corrections_and_reports_have_their_commands(vpp: Vpp):
    assert (
        json_of(vpp("day", "exclude", "*", "2026-09-08", "--reason", "dual_event", "--json"))["site_id"]
        == "*"
    )
    assert len(json_of(vpp("day", "list", "--json"))["days"]) == 1
    assert json_of(vpp("day", "include", "*", "2026-09-08", "--json"))["reason"] == "dual_event"
    assert json_of(vpp("day", "list", "--json"))["days"] == []
    assert vpp("day", "exclude", "*", "2036-09-08").exit_code == 1
    assert vpp("day", "exclude", "nobody", "2026-09-08").exit_code == 1
    assert json_of(vpp("correct", "ev-1", "--reason", "a day was excluded", "--json"))["event_id"] == "ev-1"
    assert json_of(vpp("event", "report", "ev-1", "--json"))["openadr_report"]["objectType"] == "REPORT"


@pytest.mark.usefixtures("closed_event")
def test_books_that_were_changed_in_the_database_are_told_and_end_with_one(vpp: Vpp, tmp_path: Path):
    database = sqlite3.connect(tmp_path / "state" / "vpp.sqlite")
    database.execute("DROP TRIGGER posting_refuses_update")
    database.execute(
        "UPDATE posting SET amount_micro_dollars = amount_micro_dollars + 1 WHERE line_number = 0"
    )
    database.commit()
    database.close()

    for words in (("ledger", "verify"), ("statement", "owner-home")):
        shown, told = vpp(*words), vpp(*words, "--json")

        assert (shown.exit_code, told.exit_code) == (1, 1)
        assert "DO NOT SUM TO ZERO" in shown.stdout
        assert told.stdout.count("\n") == 1
        found = json.loads(told.stdout)
        assert not found["balanced"]
        assert "that sum to 1 micro-dollars" in found["differs"]
    assert not json.loads(vpp("ledger", "verify", "--json").stdout)["chain_holds"]
    for words in (("payout", "run", "october"), ("owner", "event", "owner-home", "ev-1")):
        refused = vpp(*words)
        assert (refused.exit_code, refused.stdout) == (1, "")
        assert "vpp ledger verify says what differs" in refused.stderr
    assert "No amount can be shown: entry" in vpp("owner", "home", "owner-home").stdout


@pytest.mark.usefixtures("closed_event")
def test_a_published_head_tells_books_that_grew_from_books_whose_newest_entries_were_deleted(
    vpp: Vpp, tmp_path: Path
):
    statement = json_of(vpp("statement", "owner-home", "--json"))
    published = statement["chain_head"]
    paid = tmp_path / "paid.csv"
    paid.write_text("program_id,period,reference,paid\nelrp-a4-pge,ev-1,wire-1,18.00\n")
    assert vpp("ledger", "reconcile", str(paid)).exit_code == 0
    grown = json_of(vpp("ledger", "verify", "--head", published, "--json"))
    newest = grown["chain_head"]
    links = grown["published"]["links"]

    printed = vpp("ledger", "verify", "--head", published[:16].upper())
    assert grown["published"]["link"] == statement["chain_link"] == links - 1
    assert f"{published[:16]} is link {links - 1} of {links}: the books have only grown" in printed.stdout
    assert printed.exit_code == 0
    assert json_of(vpp("ledger", "verify", "--head", "0" * 64, "--json"))["published"]["link"] == 0
    assert json_of(vpp("ledger", "verify", "--json"))["published"] is None

    with closing(sqlite3.connect(tmp_path / "state" / "vpp.sqlite")) as database:
        for table in ("posting", "journal_entry", "chain_link"):
            database.execute(f"DROP TRIGGER {table}_refuses_delete")
        (entry_id,) = database.execute(
            "SELECT fact_id FROM chain_link WHERE position = ?", (links,)
        ).fetchone()
        database.execute("DELETE FROM posting WHERE entry_id = ?", (entry_id,))
        database.execute("DELETE FROM journal_entry WHERE entry_id = ?", (entry_id,))
        database.execute("DELETE FROM chain_link WHERE position = ?", (links,))
        database.commit()

    assert "the chain holds" in vpp("ledger", "verify").stdout
    assert vpp("ledger", "verify", "--head", published).exit_code == 0
    gone = vpp("ledger", "verify", "--head", newest)
    assert gone.exit_code == 1
    assert f"{newest[:16]} is not in these books of {links - 1} links" in gone.stdout
    assert "vpp restore FILE" in gone.stdout


@pytest.mark.parametrize("head", ["5f0c", "g" * 64, "a" * 65, "%" * 16])
def test_a_head_that_is_none_is_refused_and_says_where_one_stands(vpp: Vpp, head: str):
    assert vpp("keys", "show").exit_code == 0

    refused = vpp("ledger", "verify", "--head", head)

    assert refused.exit_code == 1
    assert "is not 16 to 64 hexadecimal digits; it is chain_head of a statement" in refused.stderr


def a_home_and_its_meter_file(vpp: Vpp, folder: Path, *, readings: int) -> Path:
    """Enrol a home and return a file of its readings, one a minute."""
    assert vpp("keys", "show").exit_code == 0

    async def enrolled() -> None:
        store = await SqlStore.open(load_settings().store_url)
        story = MoneyStory(store=store, clock=SteppedClock(ENDS_AT), program=shipped())  # type: ignore[arg-type]  # the same ports
        await story.home("home")
        await store.close()

    asyncio.run(enrolled())
    begins = ENDS_AT - timedelta(days=60)
    lines = [
        f"home,{begins + each * timedelta(minutes=1):%Y-%m-%dT%H:%M:%SZ},{each},0,,,OK"
        for each in range(readings)
    ]
    file = folder / "meter.csv"
    header = "site_id,at,discharged_wh,charged_wh,imported_wh,exported_wh,quality"
    file.write_text("\n".join((header, *lines)))
    return file


def test_an_import_that_is_interrupted_says_how_much_of_it_is_stored(
    vpp: Vpp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = a_home_and_its_meter_file(vpp, tmp_path, readings=7)
    judged, calls = metering._judged, list[int]()

    async def interrupted(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return await judged(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(metering, "READINGS_PER_COMMIT", 2)
        patch.setattr(metering, "_judged", interrupted)
        stopped = vpp("meter", "import", str(file))

    assert stopped.exit_code == 1
    assert f"interrupted: 4 of 7 readings of {file} are stored" in stopped.stderr
    assert (
        "3 of 7 readings of 1 sites stored, 4 more were stored before"
        in vpp("meter", "import", str(file)).stdout
    )


def test_an_import_that_is_killed_is_finished_by_importing_again_which_says_what_was_stored(
    vpp: Vpp, tmp_path: Path
):
    file = a_home_and_its_meter_file(vpp, tmp_path, readings=45_000)
    command = [sys.executable, "-m", "vpp", "meter", "import", str(file)]
    killed = subprocess.run(command, env={**os.environ, "VPP_CRASH_AT": "after-readings:2"}, check=False)
    assert killed.returncode == -signal.SIGKILL

    finished = json_of(vpp("meter", "import", str(file), "--json"))
    again = vpp("meter", "import", str(file)).stdout

    assert (finished["stored"], finished["stored_before"], finished["refused"]) == (5_000, 40_000, [])
    assert "0 of 45000 readings of 1 sites stored, 45000 more were stored before" in again
    with closing(sqlite3.connect(load_settings().store_url.removeprefix("sqlite:///"))) as database:
        (count,) = database.execute("SELECT COUNT(*) FROM meter_reading WHERE site_id = 'home'").fetchone()
    assert count == 45_000
