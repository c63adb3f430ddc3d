"""``vpp demo`` as a newcomer types it: one command, real broker, dollars at the end."""

import csv
import io
import json
import os
import subprocess
import sys
from collections import defaultdict
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import pytest

from vpp.settings import PREFIX


def vpp(*words: str, cwd: Path | None = None, **settings: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return subprocess.run(
        [sys.executable, "-m", "vpp", *words],
        env=clean | {"COLUMNS": "120", "PYTHONPATH": str(Path.cwd())} | settings,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )


def demo(*words: str) -> subprocess.CompletedProcess[str]:
    return vpp("demo", *words)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo") / "kept"


@pytest.fixture(scope="module")
def played(kept: Path) -> subprocess.CompletedProcess[str]:
    return demo("--sites", "12", "--exit", "--json", "--keep", str(kept))


def test_the_demonstration_prints_one_object_with_every_figure(
    played: subprocess.CompletedProcess[str],
) -> None:
    assert played.returncode == 0, played.stderr
    assert played.stdout.count("\n") == 1

    assert list(json.loads(played.stdout)) == [
        "event_id",
        "scenario",
        "sites_enrolled",
        "sites_dispatched",
        "requested_wh",
        "delivered_wh",
        "incremental_wh",
        "paid_usd",
        "ledger_balanced",
        "reserve_violations",
        "commands_sent",
        "commands_acknowledged",
        "acked_p99_s",
        "wall_s",
    ]


def test_the_demonstration_delivers_what_was_asked_and_touches_no_reserve(
    played: subprocess.CompletedProcess[str],
) -> None:
    figures = json.loads(played.stdout)

    assert (figures["sites_enrolled"], figures["reserve_violations"]) == (12, 0)
    assert 0 < figures["sites_dispatched"] <= 12
    assert figures["delivered_wh"] >= 0.97 * figures["requested_wh"]
    assert figures["commands_acknowledged"] == figures["commands_sent"] > 0


def test_owners_are_paid_two_dollars_for_each_kilowatt_hour_beyond_their_baseline(
    played: subprocess.CompletedProcess[str],
) -> None:
    figures = json.loads(played.stdout)
    paid_cents = Decimal(figures["paid_usd"]) * 100

    assert figures["ledger_balanced"]
    assert 0 < figures["incremental_wh"] < figures["delivered_wh"]
    # Rounded to the cent for each of twelve homes, and nobody pays for hours under the baseline.
    assert paid_cents >= Decimal(figures["incremental_wh"]) / 5 - 6


def test_a_bundle_of_the_demonstration_verifies_anywhere_and_a_changed_byte_is_found(
    played: subprocess.CompletedProcess[str], kept: Path, tmp_path: Path
) -> None:
    figures, bundle = json.loads(played.stdout), tmp_path / "bundle"
    exported = vpp("evidence", "export", figures["event_id"], str(bundle), VPP_STATE_DIR=str(kept))
    assert exported.returncode == 0, exported.stderr

    verified = vpp("evidence", "verify", "bundle", "--json", cwd=tmp_path, VPP_STATE_DIR=str(tmp_path / "no"))
    totals = bundle / "totals.csv"
    totals.write_bytes(totals.read_bytes().replace(b".", b"1", 1))
    changed = vpp("evidence", "verify", "bundle", "--json", cwd=tmp_path)

    report = json.loads(verified.stdout)
    assert (verified.returncode, report["agrees"], report["absent"]) == (0, True, [])
    assert report["total_usd"] == figures["paid_usd"]
    assert changed.returncode == 1
    assert any("totals.csv: SHA-256" in each for each in json.loads(changed.stdout)["differences"])


def test_an_owner_of_the_demonstration_reaches_the_ledgers_cent_from_the_printed_statement(
    played: subprocess.CompletedProcess[str], kept: Path
) -> None:
    assert played.returncode == 0
    books = vpp("ledger", "export", VPP_STATE_DIR=str(kept)).stdout
    owed: defaultdict[str, Decimal] = defaultdict(Decimal)
    for row in csv.DictReader(io.StringIO(books)):
        if row["account"] == "owner_payable":  # pending, and voided where readings that came later say less
            owed[row["party"]] -= Decimal(row["amount"])
    owner = [party for party, dollars in owed.items() if dollars > 0][-1]

    printed = vpp("statement", owner, VPP_STATE_DIR=str(kept), COLUMNS="200").stdout

    lines = [line.split() for line in printed.splitlines()]
    begins = next(number for number, line in enumerate(lines) if line[:1] == ["day"])
    days = [
        line[1::2] for line in lines[begins + 1 : begins + 11]
    ]  # after the date: number, kWh, number, kWh
    hours = [line for line in lines[:begins] if line[-1:] == ["OK"]]
    assert (len(days), len(hours)) == (10, 2)
    beyond = Decimal(0)
    for place, hour in enumerate(hours):
        usual = sum(Decimal(day[place]) for day in days) / 10
        discharged, baseline, more = (Decimal(each) for each in hour[-7:-1:2])
        assert (baseline, more) == (usual, discharged - usual)
        beyond += more
    by_hand = (beyond * 2).quantize(Decimal("0.01"), ROUND_HALF_UP)
    assert f"= ${by_hand} " in printed
    assert owed[owner] == by_hand


def test_a_demonstration_is_not_kept_where_something_lies_already(kept: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("something")

    refused = demo("--sites", "12", "--exit", "--keep", str(tmp_path))

    assert refused.returncode == 1
    assert "holds something already; name a new folder" in refused.stderr.replace("\n", " ")


def test_a_story_that_nobody_knows_is_named_with_those_there_are() -> None:
    refused = demo("--scenario", "1999-12-31", "--json")

    assert (refused.returncode, refused.stdout) == (1, "")
    assert "default" in refused.stderr
