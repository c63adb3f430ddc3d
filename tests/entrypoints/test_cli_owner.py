"""``vpp owner`` and ``vpp alarm`` on a real database: what the owner's pages do, by command."""

import asyncio
import io
import json
import sqlite3
import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from greenbutton_objects.parse import parse_feed
from typer.testing import CliRunner, Result

from tests.domain.money_world import an_evening_history
from tests.entrypoints.test_evidence_export import shipped
from tests.stages.money_story import ENDS_AT, TEN_DAYS, MoneyStory
from vpp.adapters.clock import SteppedClock
from vpp.adapters.sql.store import SqlStore
from vpp.domain.notice import Alarm, NoticeKind
from vpp.entrypoints.asking import open_desk
from vpp.entrypoints.cli import app
from vpp.entrypoints.operations import own_files
from vpp.settings import load_settings, variables

Vpp = Callable[..., Result]
OWNER = "owner-home"


@pytest.fixture
def vpp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Vpp:
    for name in variables():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("VPP_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "160")
    run: Vpp = lambda *words: CliRunner().invoke(app, words)  # noqa: E731  # one line says it
    assert run("keys", "show").exit_code == 0  # makes key and tables
    asyncio.run(_closed_event())
    return run


async def _closed_event() -> None:
    """Leave a closed event in the database that owes one owner $18.00, and an alarm."""
    store = await SqlStore.open(load_settings().store_url)
    clock = SteppedClock(ENDS_AT + timedelta(days=9))
    story = MoneyStory(store=store, clock=clock, program=shipped())  # type: ignore[arg-type]  # the same ports
    await story.home("home", an_evening_history([4_000] * 3, TEN_DAYS))
    await story.event()
    await story.dispatched(0)
    await story.settled_and_paid()
    await store.raise_alarm(Alarm("shortfall:hot-1:1", NoticeKind.SHORTFALL, "hot-1", ENDS_AT))
    await store.close()


def json_of(result: Result) -> Any:
    """Return the one JSON value that a command printed."""
    assert result.exit_code == 0, result.stderr
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def test_the_history_and_the_steps_of_an_event_are_told(vpp: Vpp) -> None:
    (row,) = json_of(vpp("owner", "history", OWNER, "--json"))["events"]
    (line,) = json_of(vpp("owner", "event", OWNER, "ev-1", "--json"))["lines"]

    assert (row["event_id"], row["amount_usd"]) == ("ev-1", "18.00")
    assert line["paid_kwh"] == "9.00"
    assert [step["text"] for step in line["steps"]][-2:] == [
        "9.00 kWh × $2.00 per kWh × your share 1.00 = $18.00",
        "Rounded once, half up, to the cent: $18.00",
    ]
    assert "9.00 kWh × $2.00 per kWh × your share 1.00" in vpp("owner", "event", OWNER, "ev-1").stdout
    assert vpp("owner", "event", OWNER, "ev-2").exit_code == 1


def test_everything_comes_as_json_or_as_tables_and_the_owner_sees_who_took_it(
    vpp: Vpp, tmp_path: Path
) -> None:
    taken = json_of(vpp("owner", "export", OWNER, "--reason", "asked by phone", "--json"))
    file = tmp_path / "all.zip"
    assert vpp("owner", "export", OWNER, "--out", str(file)).exit_code == 0

    assert len(taken["readings"]) > 100
    assert taken["data"]["reads"][0]["reason"] == "asked by phone"
    with zipfile.ZipFile(io.BytesIO(file.read_bytes())) as archive:
        assert {"events.csv", "hours.csv", "ledger.csv", "readings.csv"} <= set(archive.namelist())
    assert vpp("owner", "export", OWNER, "--out", str(file)).exit_code == 1  # never written over


def test_over_altered_books_all_but_the_money_is_written_and_the_command_says_so(
    vpp: Vpp, tmp_path: Path
) -> None:
    with sqlite3.connect(tmp_path / "state" / "vpp.sqlite") as database:
        database.execute("DROP TRIGGER posting_refuses_update")
        database.execute("UPDATE posting SET amount_micro_dollars = amount_micro_dollars + 10000")
    database.close()
    file = tmp_path / "all.zip"

    written = vpp("owner", "export", OWNER, "--out", str(file))

    assert written.exit_code == 0, written.stderr
    assert "without statement and payouts; vpp ledger verify says what differs" in written.stderr
    with zipfile.ZipFile(file) as archive:
        assert {"events.csv", "readings.csv", "left-out.csv"} <= set(archive.namelist())
        assert "ledger.csv" not in archive.namelist()


def test_green_button_gives_what_the_statement_says_was_discharged(vpp: Vpp) -> None:
    (line,) = json_of(vpp("statement", OWNER, "--json"))["events"]

    async def file() -> bytes:
        async with open_desk(load_settings()) as desk:
            return await own_files.green_button(desk, owner_id=OWNER)

    (point,) = parse_feed(io.BytesIO(asyncio.run(file())))
    directions = {reading.readingType.flowDirection.value: reading for reading in point.meterReadings}
    gave = {int(hour.timePeriod.start.timestamp()): hour.value for hour in directions[19].intervalReadings}
    starts_s = [int(datetime.fromisoformat(hour["starts_at"]).timestamp()) for hour in line["hours"]]
    assert [gave[start_s] for start_s in starts_s] == [hour["metered_wh"] for hour in line["hours"]]
    assert sum(gave.values()) > 12_000


def test_nobody_reads_an_owner_without_a_reason(vpp: Vpp) -> None:
    refused = vpp("owner", "history", OWNER, "--reason", "")

    assert refused.exit_code == 1
    assert "say why" in refused.stderr


def test_an_owner_leaves_and_what_was_earned_stays(vpp: Vpp) -> None:
    left = json_of(vpp("owner", "leave", OWNER, "home", "--json"))
    again = json_of(vpp("owner", "leave", OWNER, "home", "--json"))

    assert left == again
    assert left["withdrawn_at"] is not None
    assert json_of(vpp("statement", OWNER, "--json"))["posted_usd"] == "18.00"
    assert vpp("owner", "leave", "somebody-else", "home").exit_code == 1


def test_a_contact_is_kept_and_an_unknown_kind_is_refused(vpp: Vpp) -> None:
    kept = json_of(
        vpp("owner", "contact", OWNER, "--address", "rosa@example.org", "--mute", "paid", "--json")
    )
    shown = json_of(vpp("owner", "messages", OWNER, "--json"))
    staff = json_of(vpp("alarm", "contact", "ana", "--address", "ana@example.org", "--rank", "1", "--json"))

    assert (kept["address"], kept["muted"], kept["language"]) == ("rosa@example.org", ["paid"], "en")
    assert shown["address"] == "rosa@example.org"
    assert (staff["party"], staff["rank"]) == ("staff:ana", 1)
    assert vpp("owner", "contact", OWNER, "--mute", "everything").exit_code == 1


def test_a_calendar_address_is_made_and_ended(vpp: Vpp) -> None:
    made = json_of(vpp("owner", "calendar", OWNER, "--json"))
    ended = vpp("owner", "calendar", OWNER, "--end")

    assert made["path"].startswith("/calendar/")
    assert ended.exit_code == 0


def test_an_alarm_is_answered_by_whoever_types_it(vpp: Vpp) -> None:
    answered = json_of(vpp("alarm", "answer", "shortfall:hot-1:1", "--json"))
    (listed,) = json_of(vpp("alarm", "list", "--json"))["alarms"]

    assert answered["answered_by"].startswith("operator:")
    assert listed == answered
    assert vpp("alarm", "answer", "none").exit_code == 1
