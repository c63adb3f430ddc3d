"""What happened between an event and one home, from the signal to the meter, on one page."""

import re

import httpx
import pytest

from tests.entrypoints.pages.world import PROGRAM, Suburb, logged_in
from vpp.domain.access import Role
from vpp.domain.command import AckBatch, DispatchTick, Refusal
from vpp.domain.interval import to_epoch
from vpp.domain.quantities import column
from vpp.entrypoints.operations import metering, sites, starting, tracing

SITE = "s-001"


async def answer(suburb: Suburb, tick: DispatchTick, refusal: Refusal | None) -> None:
    """Let the home answer the command of a tick two seconds later."""
    (order,) = (each for each in tick.orders if 1 in each.site_no)
    acks = AckBatch(
        column([1]), column([tick.epoch]), column([tick.number]), column([to_epoch(tick.at) + 2]),
        (order.event_id,), (refusal,),
    )  # fmt: skip
    await suburb.desk.store.record_acks(acks)


@pytest.fixture
async def event(suburb: Suburb) -> str:
    """An event for which a home was asked, gave, opted out, and refused the command to stop."""
    desk = suburb.desk
    await starting.start_event(desk, event_id="ev-1", program_id=PROGRAM, power_mw="0.05", actor="staff:ana")
    await suburb.pass_time(75)
    await answer(suburb, (await desk.store.event_ticks("ev-1"))[0], None)
    content = (
        "site_id,at,discharged_wh,charged_wh,imported_wh,exported_wh,quality\n"
        f"{SITE},2026-09-10T01:00:00Z,1000,900,,,OK\n"
        f"{SITE},2026-09-10T01:00:50Z,1050,900,,,OK\n"
        f"{SITE},2026-09-10T01:01:00Z,1060,900,,,OK\n"
    )
    await metering.import_readings(desk, content=content.encode(), file_name="meter.csv")
    await sites.opt_out_site(desk, site_id=SITE, event_id="ev-1", actor="owner:o-s-001")
    await suburb.pass_time(15)
    await answer(suburb, (await desk.store.event_ticks("ev-1"))[-1], Refusal.OPTED_OUT)
    return "ev-1"


async def test_a_command_is_followed_from_the_signal_to_the_meter(suburb: Suburb, event: str) -> None:
    found = await tracing.trace_site(suburb.desk, site_id=SITE, event_id=event)
    steps = found["steps"]
    assert isinstance(steps, list)

    assert [each["what"] for each in steps if each["what"] != "commanded"] == [
        "signal", "planned", "accepted", "metered", "metered", "opted_out", "planned", "released", "refused",
    ]  # fmt: skip
    first = next(each for each in steps if each["what"] == "commanded")
    accepted = next(each for each in steps if each["what"] == "accepted")
    metered = next(each for each in steps if each["what"] == "metered")
    assert (accepted["sequence"], first["power_w"] > 0) == (first["sequence"], True)
    assert (metered["power_w"], metered["detail"]) == (3600, "50 Wh in 50 s, OK")
    assert [each["at"] for each in steps] == sorted(each["at"] for each in steps)


async def test_a_release_that_nobody_answers_is_shown_twice_and_counted(suburb: Suburb) -> None:
    await starting.start_event(
        suburb.desk, event_id="ev-1", program_id=PROGRAM, power_mw="0.05", actor="staff:ana"
    )
    await suburb.pass_time(60)
    await sites.opt_out_site(suburb.desk, site_id=SITE, event_id="ev-1", actor="owner:o-s-001")
    await suburb.pass_time(90, answering=False)
    await suburb.add("vera", Role.VIEWER)

    page = await (await logged_in(suburb, "vera")).get(f"/operator/events/ev-1/sites/{SITE}")

    steps = (await tracing.trace_site(suburb.desk, site_id=SITE, event_id="ev-1"))["steps"]
    assert isinstance(steps, list)
    released = [each for each in steps if each["what"] == "released"]
    assert len(released) == 6
    assert page.text.count('data-label="What">released') == 2
    assert re.search(rf">{released[-1]['sequence']}</td>\s*<td[^>]*><span>told 6 times until then", page.text)


async def test_a_home_that_was_never_asked_has_its_reason_and_no_command(suburb: Suburb) -> None:
    await starting.start_event(
        suburb.desk, event_id="ev-1", program_id=PROGRAM, power_mw="0.005", actor="staff:ana"
    )
    await suburb.pass_time(30)

    found = await tracing.trace_site(suburb.desk, site_id="s-011", event_id="ev-1")

    steps = found["steps"]
    assert isinstance(steps, list)
    assert [(each["what"], each["power_w"]) for each in steps] == [
        ("signal", 5_000), ("planned", 0),
    ]  # fmt: skip
    assert steps[1]["detail"] == "plan 1: not_needed"


async def test_the_fleet_of_an_event_leads_to_the_page_and_a_stranger_is_not_found(
    suburb: Suburb, event: str
) -> None:
    await suburb.add("vera", Role.VIEWER)
    vera: httpx.AsyncClient = await logged_in(suburb, "vera")

    fleet = await vera.get("/operator/fleet", params={"event": event, "search": SITE})
    page = await vera.get(f"/operator/events/{event}/sites/{SITE}")
    unknown = [
        await vera.get(f"/operator/events/{path}") for path in (f"{event}/sites/none", f"none/sites/{SITE}")
    ]

    file = await vera.get(f"/operator/events/{event}/sites/{SITE}/trace.csv")

    assert "/trace.csv" in page.text
    assert file.text.splitlines()[0].startswith("at,at_local,what,power_w,sequence")
    assert re.search(r"18:0\d:\d\d PDT,metered", file.text)
    assert f'href="/operator/events/{event}/sites/{SITE}"' in fleet.text
    assert "✖ refused" in page.text
    assert re.search(
        r"from <time .*>6:0\d:\d\d PM PDT</time> until <time .*>6:1\d:\d\d PM PDT</time>", page.text
    )
    assert "50 Wh in 50 s" in page.text
    assert "o-s-001" not in page.text  # no owner is named to whoever gave no reason
    assert [each.status_code for each in unknown] == [404, 404]
