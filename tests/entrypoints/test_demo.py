"""``vpp demo`` as a newcomer types it: one command, real broker, dollars at the end."""

import json
import os
import subprocess
import sys
from decimal import Decimal

import pytest

from vpp.settings import PREFIX


def demo(*words: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    command = [sys.executable, "-m", "vpp", "demo", *words]
    return subprocess.run(
        command, env=clean | {"COLUMNS": "120"}, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def played() -> subprocess.CompletedProcess[str]:
    return demo("--sites", "12", "--exit", "--json")


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


def test_a_story_that_nobody_knows_is_named_with_those_there_are() -> None:
    refused = demo("--scenario", "1999-12-31", "--json")

    assert (refused.returncode, refused.stdout) == (1, "")
    assert "default" in refused.stderr
