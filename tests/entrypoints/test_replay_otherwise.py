"""A past event under another rule: planned again from what was known, with a higher reserve floor."""

from pathlib import Path
from typing import Any

import pytest

from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb, logged_in
from vpp.domain.access import Role
from vpp.entrypoints.operations.desk import OperationRefused
from vpp.entrypoints.operations.events import cancel_event
from vpp.entrypoints.operations.otherwise import replay_otherwise
from vpp.entrypoints.operations.sites import opt_out_site
from vpp.entrypoints.operations.starting import start_event


@pytest.fixture
async def suburb(tmp_path: Path) -> Suburb:
    """Return twelve homes at 80 to 69 % that held 30 kW for half an hour; one opted out on the way."""
    suburb = await a_suburb(tmp_path)
    await start_event(
        suburb.desk, event_id="ev-1", program_id=PROGRAM, power_mw="0.03", minutes=60, actor="staff:ana"
    )
    await suburb.pass_time(600)
    await opt_out_site(suburb.desk, site_id="s-003", event_id="ev-1", actor="owner:o-s-003")
    await suburb.pass_time(1200)
    await cancel_event(suburb.desk, event_id="ev-1", actor="staff:ana")
    await suburb.pass_time(60)
    return suburb


async def with_floor(suburb: Suburb, floor: str) -> Any:
    return await replay_otherwise(suburb.desk, event_id="ev-1", floor=floor)


async def test_a_floor_below_every_reserve_changes_nothing(suburb: Suburb) -> None:
    found = await with_floor(suburb, "0")

    assert len(found["plans"]) > 1
    assert found["other_planned_wh"] == found["planned_wh"] > 0
    for plan in found["plans"]:
        assert (plan["other_planned_w"], plan["other_sites"]) == (plan["planned_w"], plan["sites"])


async def test_a_high_floor_leaves_a_shortfall_that_is_named(suburb: Suburb) -> None:
    found = await with_floor(suburb, "75")
    first = found["plans"][0]

    assert first["asked_w"] == 30_000
    assert first["planned_w"] == 30_000
    assert first["other_planned_w"] + first["other_shortfall_w"] == 30_000
    assert 0 < first["other_planned_w"] < 30_000
    assert first["other_sites"] <= 5  # those above 75 %
    assert found["other_planned_wh"] < found["planned_wh"]


async def test_nobody_helps_with_a_floor_above_every_charge(suburb: Suburb) -> None:
    found = await with_floor(suburb, "100")

    assert {plan["other_sites"] for plan in found["plans"]} == {0}


@pytest.mark.parametrize("floor", ["", "101", "half"])
async def test_a_floor_that_is_no_percentage_is_refused(suburb: Suburb, floor: str) -> None:
    with pytest.raises(OperationRefused, match="floor"):
        await with_floor(suburb, floor)


async def test_the_page_of_the_replay_asks_for_the_rule_and_shows_both(suburb: Suburb) -> None:
    await suburb.add("ana", Role.OPERATOR)
    ana = await logged_in(suburb, "ana")

    shown = await ana.get("/operator/events/ev-1/replay", params={"floor": "75"})
    wrong = await ana.get("/operator/events/ev-1/replay", params={"floor": "half"})

    assert "With nobody below 75 %" in shown.text
    assert wrong.status_code == 422
    assert 'value="half"' in wrong.text
    assert 'aria-describedby=" floor-fault"' in wrong.text
