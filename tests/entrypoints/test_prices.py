"""Wholesale prices reach what a month pays, its statement and its evidence; a bad file reaches nothing."""

import csv
import io
import json
import zipfile
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from tests.domain.money_world import local
from tests.entrypoints.test_books_and_payouts import a_desk
from tests.stages.money_story import MoneyStory
from vpp.adapters.clock import SteppedClock
from vpp.domain.delivery import Quality
from vpp.entrypoints.cli import app
from vpp.entrypoints.http.api import create_api
from vpp.entrypoints.operations.books import correct_event
from vpp.entrypoints.operations.desk import Desk, OperationRefused
from vpp.entrypoints.operations.evidence import export_evidence
from vpp.entrypoints.operations.money import settle_event, show_statement
from vpp.entrypoints.operations.own_files import own_tables
from vpp.entrypoints.operations.owner_money import periods_with_steps
from vpp.entrypoints.operations.prices import import_prices
from vpp.wire.evidence_check import verify_bundle
from vpp.wire.program_file import read_program

DSGS = Path(__file__).parents[2] / "config" / "programs" / "dsgs-3.toml"
DAY = date(2025, 9, 10)
HEADER = "program_id,hour_starts_at,usd_per_mwh"
PRICES = ("dsgs-3,2025-09-11T01:00:00Z,300.00", "dsgs-3,2025-09-11T02:00:00Z,100.00")
EQUAL, WEIGHED = "44.91", "59.88"  # 3 kW and 4 kW at $14.97


async def a_month(folder: Path) -> tuple[MoneyStory, Desk]:
    """Return a desk at which one home gave 5 kWh from six and 1 kWh from seven, in an event of that time."""
    program = read_program(DSGS.read_text(encoding="utf-8"), file_name=DSGS.name)
    story = MoneyStory(clock=SteppedClock(local(DAY, 22)), program=program)
    await story.home("home", {local(DAY, 18): 5_000, local(DAY, 19): 1_000})
    await story.event(starts_at=local(DAY, 18), ends_at=local(DAY, 20))
    await story.dispatched(0, at=local(DAY, 18))
    desk = a_desk(story, folder)
    await settle_event(desk, event_id="ev-1")
    return story, desk


async def priced(desk: Desk, *rows: str) -> dict[str, Any]:
    content = "\n".join([HEADER, *rows, ""]).encode()
    return await import_prices(desk, content=content, file_name="prices.csv", actor="operator:ada")


async def september(desk: Desk) -> dict[str, Any]:
    (period,) = periods_with_steps(await show_statement(desk, owner_id="owner-home"))
    return period


async def test_prices_weigh_a_month_once_and_are_booked(tmp_path: Path) -> None:
    story, desk = await a_month(tmp_path)
    before = await september(desk)

    first, again = await priced(desk, *PRICES), await priced(desk, *PRICES)

    after = await september(desk)
    assert (first, again) == ({"imported": 2, "known": 0}, {"imported": 0, "known": 2})
    assert (before["amount_usd"], before["booked_usd"], before["kw"]) == (EQUAL, EQUAL, "3.00")
    assert (after["amount_usd"], after["booked_usd"], after["kw"]) == (WEIGHED, WEIGHED, "4.00")
    assert [(part["weight"], part["kw"]) for part in after["parts"]] == [
        ("300.00", "5.00"),
        ("100.00", "1.00"),
    ]
    assert (before["weighed"], after["weighed"]) == (False, True)
    assert await story.owed("home") == (0, 5_988)
    assert [entry.action for entry in await desk.store.trail()] == ["import_prices"]


async def test_an_owner_takes_a_month_along_with_the_powers_that_it_averages(tmp_path: Path) -> None:
    _, desk = await a_month(tmp_path)

    content = await own_tables(desk, owner_id="owner-home")

    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        periods, powers = (
            list(csv.DictReader(io.StringIO(archive.read(name).decode())))
            for name in ("periods.csv", "powers.csv")
        )
    assert [(each["period"], each["average_kw"], each["amount_usd"]) for each in periods] == [
        ("month-2025-09", "3", EQUAL)
    ]
    assert [(each["event_id"], each["weight"], each["kw"]) for each in powers] == [
        ("ev-1", "1", "5"),
        ("ev-1", "1", "1"),
    ]


async def test_another_price_of_an_hour_takes_its_place(tmp_path: Path) -> None:
    _, desk = await a_month(tmp_path)
    await priced(desk, *PRICES)

    found = await priced(desk, "dsgs-3,2025-09-11T02:00:00Z,300", PRICES[0])

    assert found == {"imported": 1, "known": 1}
    assert (await september(desk))["amount_usd"] == EQUAL


async def test_a_file_with_a_bad_row_is_refused_and_nothing_of_it_is_stored(tmp_path: Path) -> None:
    _, desk = await a_month(tmp_path)

    with pytest.raises(OperationRefused) as refused:
        await priced(desk, *PRICES, "dsgs-3,2025-09-11T03:00:00Z,dear", "elrp-a4-pge,2025-09-11T03:00:00Z,1")

    assert str(refused.value) == "prices.csv: 2 faults, nothing of it was stored"
    assert refused.value.faults == (
        "prices.csv:4: usd_per_mwh: 'dear' is not a price such as 84.25",
        "prices.csv:5: program_id: 'elrp-a4-pge' weighs nothing by price; of the programs, dsgs-3 do",
    )
    assert await desk.store.prices("dsgs-3") == []
    assert (await september(desk))["amount_usd"] == EQUAL


async def test_what_a_closed_month_paid_stands_when_prices_come_late(tmp_path: Path) -> None:
    story, desk = await a_month(tmp_path)
    story.clock.step_to(datetime(2025, 11, 1, tzinfo=UTC))
    await settle_event(desk, event_id="ev-1")

    await priced(desk, *PRICES)

    assert (await september(desk))["amount_usd"] == EQUAL
    assert await story.owed("home") == (4_491, 0)
    assert "prices.csv" not in await the_bundle(desk)


async def test_prices_that_came_late_count_with_the_correction_of_an_event(tmp_path: Path) -> None:
    story, desk = await a_month(tmp_path)
    story.clock.step_to(datetime(2025, 11, 1, tzinfo=UTC))
    await settle_event(desk, event_id="ev-1")
    await priced(desk, *PRICES)
    await story.metered("home", [(local(DAY, 19, 30), 1, 1, Quality.OK)])  # spoils the second hour

    await correct_event(desk, event_id="ev-1", reason="late", actor="operator:ada")

    assert (await september(desk))["kw"] == "3.75"  # 300 x 5 / 400
    assert await story.owed("home") == (5_614, 0)
    assert verify_bundle(await the_bundle(desk)).agrees


async def the_bundle(desk: Desk) -> Mapping[str, bytes]:
    return await export_evidence(desk, event_id="ev-1")


async def test_evidence_holds_the_prices_of_its_hours_and_verify_computes_the_same(tmp_path: Path) -> None:
    _, desk = await a_month(tmp_path)
    plain = await the_bundle(desk)
    await priced(desk, *PRICES, "dsgs-3,2025-09-11T05:00:00Z,90")

    files = dict(await the_bundle(desk))

    assert "prices.csv" not in plain
    assert files["prices.csv"].decode().split() == [HEADER, *PRICES]
    assert verify_bundle(files).agrees
    assert b",59.88," in files["totals.csv"]
    assert b",44.91," in plain["totals.csv"]

    cheaper = verify_bundle(files | {"prices.csv": files["prices.csv"].replace(b"300.00", b"100.00")})
    without = verify_bundle({name: content for name, content in files.items() if name != "prices.csv"})
    assert cheaper.differences[0].startswith("prices.csv: SHA-256 is ")
    assert cheaper.differences[1] == "totals.csv: home: amount_usd is 59.88, computed 44.91"
    assert without.differences[0] == "prices.csv: named by manifest.json, but not in the bundle"


async def test_a_service_takes_a_file_of_prices(tmp_path: Path) -> None:
    _, desk = await a_month(tmp_path)

    async def readiness() -> dict[str, object]:
        return {"database": True}

    service = create_api(lambda: desk, token="t", readiness=readiness)
    headers = {"Authorization": "Bearer t"}
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=service), base_url="http://vpp", headers=headers
    ) as client:
        body = "\n".join([HEADER, *PRICES]).encode()
        answer = await client.post("/api/v1/wholesale-prices?file_name=p.csv", content=body)

    assert (answer.status_code, answer.json()) == (200, {"imported": 2, "known": 0})
    assert (await september(desk))["amount_usd"] == WEIGHED


def test_prices_are_imported_by_one_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VPP_DATABASE_URL", f"sqlite:///{tmp_path / 'vpp.db'}")
    monkeypatch.setenv("VPP_STATE_DIR", str(tmp_path / "state"))
    file, bad = tmp_path / "prices.csv", tmp_path / "bad.csv"
    file.write_text("\n".join([HEADER, *PRICES, ""]), encoding="utf-8")
    bad.write_text("\n".join([HEADER, "dsgs-3,yesterday,1", ""]), encoding="utf-8")

    done = CliRunner().invoke(app, ["program", "price", "import", str(file), "--json"])
    refused = CliRunner().invoke(app, ["program", "price", "import", str(bad)])

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"imported": 2, "known": 0}
    assert refused.exit_code == 1
    assert f"{bad}:2: hour_starts_at: 'yesterday' is not RFC 3339" in refused.output.replace("\n", "")
