"""A page that is older than what holds now is told so, and nothing happens; a second click does nothing."""

import httpx
import pytest

from tests.entrypoints.pages.world import PROGRAM, Suburb, form_token, logged_in
from vpp.domain.access import Role
from vpp.entrypoints.operations import events, starting


@pytest.fixture
async def eve(suburb: Suburb) -> httpx.AsyncClient:
    """Somebody who may approve, with a page open since before the event was cancelled."""
    await suburb.add("eve", Role.APPROVER)
    return await logged_in(suburb, "eve")


@pytest.mark.parametrize("action", ["cancel", "force", "approve", "change"])
@pytest.mark.parametrize("waits", ["approval", "force"])
async def test_acting_on_an_event_that_was_cancelled_meanwhile_is_told_and_changes_nothing(
    suburb: Suburb, eve: httpx.AsyncClient, action: str, waits: str
) -> None:
    await starting.start_event(
        suburb.desk, event_id="ev-1", program_id=PROGRAM, power_mw="2" if waits == "approval" else "0.02",
        minutes=120 if waits == "approval" else 15, actor="staff:ana",
    )  # fmt: skip
    token = form_token(await eve.get("/operator/events/ev-1"))
    await events.cancel_event(suburb.desk, event_id="ev-1", actor="staff:ana")
    before = await events.show_event(suburb.desk, event_id="ev-1")

    answer = await eve.post(
        f"/operator/events/ev-1/{action}",
        data={"form_token": token, "typed": "ev-1", "power_mw": "0.5", "minutes": "60"},
    )
    after = await events.show_event(suburb.desk, event_id="ev-1")

    assert answer.status_code == 409
    assert "cancelled" in answer.text
    assert (after["state"], after["versions"], after["grants"]) == (
        "cancelled", before["versions"], before["grants"],
    )  # fmt: skip


async def test_a_form_of_a_new_event_that_is_sent_twice_starts_one(
    suburb: Suburb, eve: httpx.AsyncClient
) -> None:
    page = await eve.get("/operator/new-event")
    fields = {
        "form_token": form_token(page),
        "event_id": page.text.partition('name="event_id" value="')[2].partition('"')[0],
        "program_id": PROGRAM,
        "power_mw": "0.02",
        "minutes": "60",
        "step": "start",
        "typed": "0.02",
    }

    answers = [await eve.post("/operator/new-event", data=fields) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [303, 303]
    listed = (await events.list_events(suburb.desk))["events"]
    assert isinstance(listed, list)
    assert [len((await suburb.desk.history(each["event_id"])).versions) for each in listed] == [1]
