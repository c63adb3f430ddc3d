"""What owners ask reaches the staff who may answer, and the answer reaches the owner."""

import csv
import io
import re
from datetime import timedelta

import httpx
import pytest

from tests.entrypoints.pages.test_owner_now import begin
from tests.entrypoints.pages.world import Suburb, logged_in, send
from vpp.domain.access import Role
from vpp.entrypoints.operations import disputes, events, money

OWNER = "o-s-001"


@pytest.fixture
async def rosa(suburb: Suburb) -> httpx.AsyncClient:
    """The owner, who asked about an event."""
    await suburb.add("rosa", Role.OWNER, OWNER)
    rosa = await logged_in(suburb, "rosa")
    await begin(suburb)
    await suburb.pass_time(60)
    await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")
    suburb.clock.step_to(suburb.clock.now() + timedelta(minutes=30))
    await money.settle_event(suburb.desk, event_id="hot-1")
    asked = await send(rosa, "/owner/events/hot-1/question", text="Where is <my> hour?")
    assert asked.status_code == 303
    return rosa


@pytest.fixture
async def sue(suburb: Suburb) -> httpx.AsyncClient:
    await suburb.add("sue", Role.SUPPORT)
    return await logged_in(suburb, "sue")


def answering(text: str, **more: str) -> dict[str, str]:
    return {"owner_id": OWNER, "period": "hot-1", "text": text} | more


async def test_a_question_waits_on_the_page_of_who_may_answer_and_the_answer_on_the_owners(
    suburb: Suburb, rosa: httpx.AsyncClient, sue: httpx.AsyncClient
) -> None:
    front = await sue.get("/operator")
    page = await sue.get("/operator/questions")
    answered = await send(sue, "/operator/questions/answer", **answering("Your meter was silent."))
    again = await send(sue, "/operator/questions/answer", **answering("Your meter was silent."))
    after = await sue.get(answered.headers["location"])
    own, looked = await rosa.get("/owner/events/hot-1"), await rosa.get("/owner/data")

    assert ">Questions (1)</a>" in front.text
    assert "Where is &lt;my&gt; hour?" in page.text
    assert re.search(r"<h2>[^<]+ <small>\(hot-1\)</small>", page.text)
    assert (answered.status_code, again.status_code) == (303, 303)
    assert "No question waits." in after.text
    assert ">Questions</a>" in after.text
    assert "Your meter was silent." in own.text
    assert "to answer the question" in looked.text
    (found,) = await disputes.own_disputes(suburb.desk, OWNER)
    assert [(each["kind"], each["actor"]) for each in found["words"]] == [  # type: ignore[attr-defined]  # a list
        ("asked", f"owner:{OWNER}"),
        ("answered", "staff:sue"),
    ]
    trail = await suburb.desk.store.trail(subject=f"owner:{OWNER}")
    assert ("staff:sue", "dispute answered") in {(each.actor, each.action) for each in trail}


async def test_an_answer_that_is_refused_keeps_what_was_typed(
    suburb: Suburb, rosa: httpx.AsyncClient, sue: httpx.AsyncClient
) -> None:
    long = await send(sue, "/operator/questions/answer", **answering("So. " * 300, correct="yes"))
    nothing = await send(sue, "/operator/questions/answer", **answering(""))
    nobody = await send(sue, "/operator/questions/answer", **answering("To whom?", period="hot-9"))
    forged = await sue.post("/operator/questions/answer", data=answering("Hello."))

    assert (long.status_code, nothing.status_code, nobody.status_code) == (422, 422, 404)
    assert 'id="text-1-fault">A dispute needs a text of 1 to 1000' in long.text
    assert "So. So. So." in long.text.partition("<textarea")[2]
    assert 'value="yes" checked>' in long.text
    assert 'aria-invalid="true"' in nothing.text
    assert "You typed, about hot-9 of o-s-001: To whom?" in nobody.text
    assert forged.status_code == 403
    (found,) = await disputes.own_disputes(suburb.desk, OWNER)
    assert found["state"] == "open"


async def test_who_answers_a_question_that_was_answered_meanwhile_is_told_so_and_says_nothing(
    suburb: Suburb, rosa: httpx.AsyncClient, sue: httpx.AsyncClient
) -> None:
    await disputes.answer_dispute(
        suburb.desk, owner_id=OWNER, period="hot-1", text="I did.", actor="staff:ana"
    )

    late = await send(sue, "/operator/questions/answer", **answering("And I."))

    assert late.status_code == 409
    assert "Staff:ana answered this question meanwhile. Nothing was sent." in late.text
    assert "You typed, about hot-1 of o-s-001: And I." in late.text
    (found,) = await disputes.own_disputes(suburb.desk, OWNER)
    assert len(found["words"]) == 2  # type: ignore[arg-type]  # a list


async def test_an_answer_computes_an_event_again_once_it_is_closed(
    suburb: Suburb, rosa: httpx.AsyncClient, sue: httpx.AsyncClient
) -> None:
    early = await send(sue, "/operator/questions/answer", **answering("Computed.", correct="yes"))
    suburb.clock.step_to(suburb.clock.now() + timedelta(days=9))
    await money.settle_event(suburb.desk, event_id="hot-1")
    sue = await logged_in(suburb, "sue")
    answered = await send(sue, "/operator/questions/answer", **answering("Computed.", correct="yes"))

    assert early.status_code == 409
    assert "Event hot-1 is not closed" in early.text
    assert ">Computed.</textarea>" in early.text
    assert answered.status_code == 303, answered.text
    (found,) = await disputes.own_disputes(suburb.desk, OWNER)
    assert [each["kind"] for each in found["words"]] == ["asked", "corrected"]  # type: ignore[attr-defined]  # a list


async def test_questions_come_as_a_file_and_only_to_who_may_answer(
    suburb: Suburb, rosa: httpx.AsyncClient, sue: httpx.AsyncClient
) -> None:
    await suburb.add("vic", Role.VIEWER)
    vic = await logged_in(suburb, "vic")

    file = await sue.get("/operator/questions.csv")
    board, page = await vic.get("/operator"), await vic.get("/operator/questions")

    (row,) = csv.DictReader(io.StringIO(file.text))
    assert (row["owner_id"], row["period"], row["text"]) == (OWNER, "hot-1", "Where is <my> hour?")
    assert row["at_local"]
    assert page.status_code == 403
    assert "Questions" not in board.text
