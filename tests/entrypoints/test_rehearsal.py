"""An event run in virtual time on the fleet as it is: the real stages, and no command leaves."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from tests.entrypoints.builders import an_event, take_event
from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb
from vpp.domain.enrollment import OptOut
from vpp.domain.grid_event import Step
from vpp.domain.interval import Interval
from vpp.domain.quantities import Watts
from vpp.entrypoints.operations.desk import OperationRefused
from vpp.entrypoints.operations.rehearsal import rehearse_event
from vpp.entrypoints.operations.starting import start_event
from vpp.entrypoints.rendering_capacity import show_rehearsal


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


async def test_rehearsal_that_asks_no_home_names_no_charge(
    suburb: Suburb, capsys: pytest.CaptureFixture[str]
) -> None:
    suburb.controller.terms = replace(suburb.controller.terms, feeder_caps_w={"f-1": 0})

    show_rehearsal(Console(), await rehearse(suburb, power_mw="0.02"))

    printed = capsys.readouterr().out
    assert "homes                0" in printed
    assert "None" not in printed


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


async def a_grid_event(suburb: Suburb, *, power_w: int, hours: int) -> None:
    """Let the grid ask from now on; what it asks goes first."""
    now = suburb.clock.now()
    steps = (Step(Interval(now, now + timedelta(hours=hours)), Watts(power_w)),)
    await take_event(suburb.desk, replace(an_event("grid"), steps=steps, modified_at=now, committed_at=now))
    suburb.controller.wake()
    await suburb.pass_time(30)


async def test_rehearsal_beside_a_running_event_gives_what_the_event_then_gets(suburb: Suburb) -> None:
    await a_grid_event(suburb, power_w=24_000, hours=3)
    await suburb.pass_time(2 * 3600 - 30)
    wish: dict[str, Any] = {"power_mw": "0.03", "minutes": 60}

    found = await rehearse(suburb, **wish)

    await start_event(suburb.desk, event_id="mine", program_id=PROGRAM, actor="staff:ana", **wish)
    await suburb.pass_time(30 * 60)
    real = suburb.live.course("mine")[-1]
    assert real.measured_w == 30_000
    assert (found["after_5_min_pct"], found["sites"]) == (100, real.sites)
    assert suburb.plan("grid").setpoint_w.sum() == 24_000


async def test_home_that_gives_too_little_now_gives_no_more_in_the_rehearsal(suburb: Suburb) -> None:
    await a_grid_event(suburb, power_w=60_000, hours=1)
    board = suburb.controller.board
    assert board is not None
    suburb.controller.fleet.battery_w[:6] = 1_000
    board.held_back_until_s[:6] = int(suburb.clock.now().timestamp()) + 60

    found: Any = await rehearse_event(suburb.desk, event_id="grid")

    assert found["greatest_shortfall_w"] >= 24_000
    assert found["after_5_min_pct"] <= 60


async def test_homes_begin_as_empty_as_an_event_before_leaves_them(suburb: Suburb) -> None:
    await a_grid_event(suburb, power_w=60_000, hours=1)
    later = (suburb.clock.now() + timedelta(minutes=75)).isoformat()

    found = await rehearse(suburb, power_mw="0.05", minutes=60, starts_at=later)

    assert found["greatest_shortfall_w"] > 25_000
    assert found["curve"][0]["at"] == "2026-09-10T02:13:30Z"


async def test_controllers_own_board_learns_nothing_from_a_rehearsal(suburb: Suburb) -> None:
    await a_grid_event(suburb, power_w=24_000, hours=3)
    board = suburb.controller.board
    assert board is not None
    known = board.epoch, board.tick_number, board.events.words, board.leases.sequence.tolist()

    await rehearse(suburb, power_mw="0.03", minutes=60)

    assert known == (board.epoch, board.tick_number, board.events.words, board.leases.sequence.tolist())
    assert board.plans.keys() == {"grid"}


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
