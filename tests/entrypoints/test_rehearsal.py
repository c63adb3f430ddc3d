"""An event run in virtual time on the fleet as it is: the real stages, and no command leaves."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb
from vpp.domain.enrollment import OptOut
from vpp.entrypoints.operations.desk import OperationRefused
from vpp.entrypoints.operations.rehearsal import rehearse_event
from vpp.entrypoints.operations.starting import start_event


@pytest.fixture
async def suburb(tmp_path: Path) -> Suburb:
    return await a_suburb(tmp_path)


async def rehearse(suburb: Suburb, **wish: Any) -> Any:
    return await rehearse_event(suburb.desk, program_id=PROGRAM, **wish)


async def test_rehearsal_commands_nobody_and_stores_nothing(suburb: Suburb) -> None:
    charge = suburb.controller.fleet.soc_permille.tolist()

    found = await rehearse(suburb, power_mw="0.02")

    assert found["commands"] > 0
    assert await suburb.desk.store.histories() == []
    assert (await suburb.desk.store.last_tick()).sequence == 0
    assert suburb.controller.fleet.soc_permille.tolist() == charge
    assert suburb.controller.board is not None
    assert suburb.controller.board.plans == {}


async def test_rehearsal_tells_the_course_of_power_and_holds_the_target(suburb: Suburb) -> None:
    found = await rehearse(suburb, power_mw="0.04", minutes=60)

    curve = found["curve"]
    assert len(curve) == 60
    assert {each["asked_w"] for each in curve[:-1]} == {40_000}
    assert curve[0]["delivered_w"] < curve[10]["delivered_w"]
    assert found["after_5_min_pct"] >= 98
    assert max(each["delivered_w"] for each in curve) <= 40_800
    assert 39_500 <= found["asked_wh"] <= 40_000


async def test_fleet_that_is_too_small_is_seen_before_anybody_is_asked(suburb: Suburb) -> None:
    found = await rehearse(suburb, power_mw="0.2", minutes=120)

    assert found["greatest_shortfall_w"] > 100_000
    assert found["lowest_charge_pct"] >= 20
    (feeder,) = found["worst_feeders"]
    assert (feeder["name"], feeder["sites"]) == ("f-1", 12)
    assert feeder["delivered_wh"] <= feeder["planned_wh"]


async def test_feeders_cap_is_kept_in_the_rehearsal_and_told(suburb: Suburb) -> None:
    suburb.controller.terms = replace(suburb.controller.terms, feeder_caps_w={"f-1": 12_000})

    found = await rehearse(suburb, power_mw="0.02")

    (feeder,) = found["worst_feeders"]
    assert feeder["cap_w"] == 12_000
    assert feeder["peak_w"] <= 12_000


async def test_event_that_stands_is_rehearsed_from_its_start_with_its_opt_outs(suburb: Suburb) -> None:
    later = (suburb.clock.now() + timedelta(hours=1)).isoformat()
    await start_event(
        suburb.desk, event_id="tonight", program_id=PROGRAM, power_mw="0.04", minutes=60, starts_at=later,
        actor="staff:ana",
    )  # fmt: skip
    await suburb.desk.store.opt_out(OptOut("s-000", "tonight", suburb.clock.now(), "portal"))

    found: Any = await rehearse_event(suburb.desk, event_id="tonight")

    assert found["starts_at"] == "2026-09-10T02:00:00Z"
    assert found["reasons"]["opted_out"] == 1
    assert found["after_5_min_pct"] >= 98


async def test_event_above_the_limit_is_rehearsed_as_if_approved(tmp_path: Path) -> None:
    suburb = await a_suburb(tmp_path, console_mw=0)

    found = await rehearse(suburb, power_mw="0.04")

    assert found["after_5_min_pct"] >= 98


async def test_silent_homes_take_no_part(suburb: Suburb) -> None:
    suburb.controller.fleet.online[:6] = False

    found = await rehearse(suburb, power_mw="0.02")

    assert found["reasons"]["offline"] == 6
    assert found["sites"] == 6


async def test_event_that_is_over_is_not_rehearsed(suburb: Suburb) -> None:
    await start_event(
        suburb.desk, event_id="past", program_id=PROGRAM, power_mw="0.02", minutes=60, actor="staff:ana"
    )
    await suburb.pass_time(3_660)

    with pytest.raises(OperationRefused, match="asks for nothing any more"):
        await rehearse_event(suburb.desk, event_id="past")


async def test_rehearsal_is_asked_over_the_api(suburb: Suburb) -> None:
    transport = httpx.ASGITransport(app=suburb.app)
    headers = {"Authorization": "Bearer a-token"}
    body = {"program_id": PROGRAM, "power_mw": "0.02", "minutes": 15}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as asking:
        answer = await asking.post("/api/v1/rehearsals", json=body)

    assert answer.status_code == 200
    assert answer.json()["ticks"] > 0
