"""How a season was shared: each home's part, and one index that everybody can look up."""

import csv
import html
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb, logged_in
from vpp.domain.access import Role
from vpp.entrypoints.http import pages_burden
from vpp.entrypoints.operations.desk import OperationRefused
from vpp.entrypoints.operations.fairness import INDEX_WORDS, SeasonShare, show_fairness, site_history
from vpp.entrypoints.operations.starting import start_event


@pytest.fixture
async def suburb(tmp_path: Path) -> Suburb:
    return await a_suburb(tmp_path)


async def run_event(suburb: Suburb, event_id: str, power_mw: str, **more: Any) -> None:
    await start_event(
        suburb.desk, event_id=event_id, program_id=PROGRAM, power_mw=power_mw, minutes=60, actor="staff:ana",
        **more,
    )  # fmt: skip
    await suburb.pass_time(3_600 + 30)
    suburb.live.seasons.clear()


async def fairness(suburb: Suburb) -> Any:
    return await show_fairness(suburb.desk, program_id=PROGRAM)


async def history(suburb: Suburb, site_id: str) -> Any:
    return await site_history(suburb.desk, site_id=site_id)


async def test_season_without_events_is_shared_evenly(suburb: Suburb) -> None:
    found = await fairness(suburb)

    assert (found["fairness_index"], found["sites"], found["asked"]) == (1.0, 12, 0)
    assert found["season_from"] == "2026-05-01T07:00:00Z"
    assert {each["events"] for each in found["homes"]} == {0}


async def test_event_that_asks_everybody_alike_is_fairer_than_one_that_asks_a_few(suburb: Suburb) -> None:
    await run_event(suburb, "ev-few", "0.002")
    few = await fairness(suburb)

    await run_event(suburb, "ev-all", "0.055")
    both = await fairness(suburb)

    assert few["fairness_index"] < 0.5 < both["fairness_index"]
    assert (few["asked"], both["asked"]) == (few["asked"], 12)
    assert few["asked"] < 6
    assert both["cycles"]["least"] <= both["cycles"]["half"] <= both["cycles"]["most"]


async def test_owner_sees_each_event_and_how_the_home_compares(suburb: Suburb) -> None:
    await run_event(suburb, "ev-1", "0.055")

    fullest = await history(suburb, "s-000")

    (row,) = fullest["rows"]
    assert (row["event_id"], row["test"], row["delivered_wh"]) == ("ev-1", False, None)
    assert row["hours"] == pytest.approx(1.0, abs=0.02)
    assert fullest["energy_wh"] == row["asked_wh"]
    assert fullest["cycles"] == pytest.approx(row["asked_wh"] / (0.95 * 13_305), abs=0.002)
    assert 0 < fullest["mean_cycles"] <= fullest["cycles"]
    assert fullest["cap_hours"] is None


async def test_a_test_is_shown_and_counts_for_nothing(suburb: Suburb) -> None:
    await run_event(suburb, "ev-test", "0.002", test=True)

    of_home, of_program = await history(suburb, "s-000"), await fairness(suburb)

    assert [(row["event_id"], row["test"]) for row in of_home["rows"]] == [("ev-test", True)]
    assert (of_home["events"], of_home["hours"], of_home["energy_wh"], of_home["cycles"]) == (0, 0, 0, 0)
    assert (of_program["events"], of_program["asked"], of_program["fairness_index"]) == (0, 0, 1.0)
    assert {each["cycles"] for each in of_program["homes"]} == {0}


async def test_cap_of_one_home_is_told(suburb: Suburb) -> None:
    suburb.controller.terms = replace(suburb.controller.terms, site_season_cap_s=30 * 3_600)

    assert (await history(suburb, "s-000"))["cap_hours"] == 30


async def test_index_is_published_as_one_number_of_thousandths(
    suburb: Suburb, monkeypatch: pytest.MonkeyPatch
) -> None:
    for permille in (0, 7, 250, 979, 1_000):
        monkeypatch.setattr(SeasonShare, "index_permille", permille)
        of_program, of_home = await fairness(suburb), await history(suburb, "s-001")

        assert repr(of_program["fairness_index"]) == repr(of_home["fairness_index"]) == repr(permille / 1000)


async def test_unknown_program_is_refused(suburb: Suburb) -> None:
    with pytest.raises(OperationRefused, match="is not known"):
        await show_fairness(suburb.desk, program_id="none")


async def test_both_are_asked_over_the_api(suburb: Suburb) -> None:
    transport = httpx.ASGITransport(app=suburb.app)
    headers = {"Authorization": "Bearer a-token"}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as asking:
        of_program = await asking.get(f"/api/v1/programs/{PROGRAM}/fairness")
        of_home = await asking.get("/api/v1/sites/s-001/history")

    assert (of_program.status_code, of_home.status_code) == (200, 200)
    assert of_home.json()["fairness_index"] == of_program.json()["fairness_index"] == 1.0


async def test_owner_reads_the_own_part_and_the_index_on_the_page_of_events(suburb: Suburb) -> None:
    await run_event(suburb, "ev-1", "0.055")
    await suburb.add("ada", Role.OWNER, "o-s-001")
    browser = await logged_in(suburb, "ada")

    page = await browser.get("/owner/events")

    assert "Your part of the season" in page.text
    assert "1 event, " in page.text
    assert "The index is 0.99" in page.text
    assert "s-002" not in page.text


async def test_operator_reads_how_a_season_was_shared_home_by_home_and_takes_it_as_a_file(
    suburb: Suburb, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages_burden, "PAGE_HOMES", 5)
    await run_event(suburb, "ev-1", "0.012")
    await suburb.add("vera", Role.VIEWER)
    vera = await logged_in(suburb, "vera")
    address = f"/operator/programs/{PROGRAM}/fairness"

    events = await vera.get("/operator/events")
    pages = [await vera.get(address)]
    while older := re.search(r'rel="next" href="([^"]+)"', pages[-1].text):
        pages.append(await vera.get(address + older[1]))
    file = list(csv.DictReader(io.StringIO((await vera.get(f"{address}.csv")).text)))
    found: Any = await show_fairness(suburb.desk, program_id=PROGRAM, limit=None)
    unknown = await vera.get("/operator/programs/none/fairness")

    shown = [home for page in pages for home in re.findall(r">(s-[0-9]{3})</a>", page.text)]
    assert f'href="{address}"' in events.text
    assert len(pages) == 3
    assert shown == [each["site_id"] for each in found["homes"]] == [each["site_id"] for each in file]
    assert len(set(shown)) == 12
    assert f">{found['fairness_index']:.3f}<" in pages[0].text
    assert INDEX_WORDS in html.unescape(pages[0].text)
    assert (float(file[0]["cycles"]), int(file[0]["energy_wh"])) == (
        found["homes"][0]["cycles"], found["homes"][0]["energy_wh"],
    )  # fmt: skip
    assert found["homes"][0]["cycles"] > 0
    assert unknown.status_code == 404


async def test_homes_that_did_all_that_one_home_is_asked_for_are_named_as_resting(suburb: Suburb) -> None:
    suburb.controller.terms = replace(suburb.controller.terms, site_season_cap_s=1_800)
    await run_event(suburb, "ev-1", "0.012")
    await suburb.pass_time(600)

    found = await fairness(suburb)

    rests = {each["site_id"]: each["resting"] for each in found["homes"]}
    assert found["resting"] == sum(rests.values()) > 0
    assert all(rests[each["site_id"]] for each in found["homes"] if each["hours"] > 0.51)
    assert not any(rests[each["site_id"]] for each in found["homes"] if each["hours"] < 0.49)
