"""What the trail and an event's own page tell of who did what, and that they tell nothing else."""

import csv
import io
import re
from pathlib import Path

import httpx
import pytest

from tests.entrypoints.builders import an_event, take_event
from tests.entrypoints.pages.test_operator import start
from tests.entrypoints.pages.world import Suburb, a_suburb, logged_in, send
from vpp.domain.access import Role


@pytest.fixture
async def ana(suburb: Suburb) -> httpx.AsyncClient:
    await suburb.add("ana", Role.OPERATOR)
    return await logged_in(suburb, "ana")


async def test_the_trail_names_who_did_what(suburb: Suburb, ana: httpx.AsyncClient) -> None:
    await start(ana)
    await send(ana, "/operator/stop-all", typed="STOP")

    page = await ana.get("/operator/trail")

    assert "stop all" in page.text
    assert "staff:ana" in page.text


async def trail_of(browser: httpx.AsyncClient, subject: str) -> list[tuple[str, str]]:
    """Return who did what about a subject as the trail's file says it, the oldest first."""
    file = (await browser.get("/operator/trail.csv", params={"subject": subject})).text
    return [(row["actor"], row["action"]) for row in csv.DictReader(io.StringIO(file))][::-1]


async def story_of(browser: httpx.AsyncClient, event_id: str) -> list[str]:
    """Return the lines of an event's page below What happened, without their instants."""
    page = await browser.get(f"/operator/events/{event_id}")
    return [line.strip() for line in re.findall(r"<li><time.*?</time>: ([^<]+)", page.text)]


async def test_an_approval_that_was_refused_stands_in_no_trail_and_one_that_was_given_stands_once(
    tmp_path: Path,
) -> None:
    suburb = await a_suburb(tmp_path, console_mw=0)
    for name in ("ana", "ben"):
        await suburb.add(name, Role.APPROVER)
    ana, ben = await logged_in(suburb, "ana"), await logged_in(suburb, "ben")
    await start(ana)

    refused = await send(ana, "/operator/events/console-1/approve", typed="console-1")
    after_refusal = (await trail_of(ana, "event:console-1"), await story_of(ana, "console-1"))
    for _ in range(2):
        await send(ben, "/operator/events/console-1/approve", typed="console-1")

    assert refused.status_code == 409
    assert after_refusal[0] == [("staff:ana", "start")]
    assert not [line for line in after_refusal[1] if "approve" in line]
    assert await trail_of(ana, "event:console-1") == [("staff:ana", "start"), ("staff:ben", "approve")]
    assert [line for line in await story_of(ana, "console-1") if "approve" in line] == [
        "approve by staff:ben"
    ]


async def test_a_force_sent_twice_or_refused_is_told_once_or_never(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await take_event(suburb.desk, an_event("ev-out", out_of_program=("too_long",)))
    await take_event(suburb.desk, an_event("ev-in"))

    inside = await send(ana, "/operator/events/ev-in/force", typed="ev-in")
    for _ in range(2):
        await send(ana, "/operator/events/ev-out/force", typed="ev-out")

    assert inside.status_code == 409
    assert await trail_of(ana, "event:ev-in") == []
    assert await trail_of(ana, "event:ev-out") == [("staff:ana", "force")]
    assert [line for line in await story_of(ana, "ev-out") if "force" in line] == ["force by staff:ana"]


async def test_an_event_that_stop_all_cancelled_says_who_stopped_it(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await start(ana)
    await suburb.pass_time(60)

    await send(ana, "/operator/stop-all", typed="STOP")

    story = await story_of(ana, "console-1")
    assert [line for line in story if "stop" in line] == ["stop all by staff:ana"]
    assert "start by staff:ana: 0.02 MW" in story
    assert await trail_of(ana, "fleet") == [("staff:ana", "stop all")]
