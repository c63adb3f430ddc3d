"""What is said of a home and of a test is what is true now, not when a plan was stored."""

from pathlib import Path
from typing import Any

import pytest

from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb
from vpp.entrypoints.operations import events, evidence, money, reports, sites, starting
from vpp.entrypoints.operations.board import list_fleet
from vpp.entrypoints.operations.desk import OperationRefused

SITE = "s-001"


async def begin(folder: Path, *, test: bool = False) -> Suburb:
    suburb = await a_suburb(folder)
    await starting.start_event(
        suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw="0.01", test=test, actor="staff:ana"
    )
    await suburb.pass_time(60)
    return suburb


async def reason_of(suburb: Suburb) -> object:
    return (await sites.why_site(suburb.desk, site_id=SITE, event_id="hot-1"))["reason"]


async def test_whoever_takes_a_no_back_is_not_called_opted_out_any_more(tmp_path: Path) -> None:
    suburb = await begin(tmp_path)
    await sites.opt_out_site(suburb.desk, site_id=SITE, event_id="hot-1", actor="owner:o-s-001")
    await suburb.pass_time(30)
    before = await reason_of(suburb)
    await sites.opt_in_site(suburb.desk, site_id=SITE, event_id="hot-1")
    await suburb.pass_time(30)

    assert before == "opted_out"
    assert await reason_of(suburb) in ("not_needed", "selected")


async def test_a_home_that_no_event_asks_is_ready_and_is_not_said_to_take_part(tmp_path: Path) -> None:
    suburb = await begin(tmp_path)
    now: Any = (await list_fleet(suburb.desk))["sites"]
    in_event: Any = (await list_fleet(suburb.desk, event="hot-1", reason="selected"))["sites"]

    assert {(each["event_id"], each["sentence"]) for each in now} == {
        ("hot-1", "the home takes part"),
        (None, "ready"),
    }
    assert {each["sentence"] for each in in_event} == {"the home takes part"}


async def test_a_test_is_never_settled_and_everybody_says_so(tmp_path: Path) -> None:
    suburb = await begin(tmp_path, test=True)
    await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")
    await suburb.pass_time(60)

    for ask in (money.settle_event, evidence.export_evidence, reports.report_event):
        with pytest.raises(OperationRefused, match="hot-1 is a test, which is never paid"):
            await ask(suburb.desk, event_id="hot-1")
