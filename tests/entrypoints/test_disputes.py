"""An owner asks about their money, staff answer, a correction may follow; the history keeps it all."""

from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.domain.money_world import EVENT_DAY, a_meter, an_evening_history, local
from tests.entrypoints.test_books_and_payouts import CLOSED, a_desk
from tests.stages.money_story import ENDS_AT, TEN_DAYS, MoneyStory
from vpp.adapters.clock import SteppedClock
from vpp.domain.delivery import Quality
from vpp.entrypoints import rendering_statement
from vpp.entrypoints.operations import books, disputes
from vpp.entrypoints.operations.desk import Desk, OperationRefused
from vpp.entrypoints.operations.money import show_statement

OWNER = "owner-home"


async def a_home_that_lost_its_last_hour(
    folder: Path, *, until_hour: int = 20
) -> tuple[MoneyStory, Desk, list[Any]]:
    rows = a_meter(an_evening_history([4_000] * 3, TEN_DAYS))
    in_time = [row for row in rows if row[0] <= local(EVENT_DAY, until_hour)]
    story = MoneyStory(clock=SteppedClock(CLOSED))
    await story.home("home")
    await story.metered("home", in_time, received_at=ENDS_AT + timedelta(minutes=20))
    await story.event()
    await story.dispatched(0)
    await story.settled_and_paid()
    return story, a_desk(story, folder), rows[len(in_time) :]


async def asked(desk: Desk, text: str = "Where is my third hour?") -> dict[str, Any]:
    return await disputes.ask_dispute(desk, owner_id=OWNER, period="ev-1", text=text, actor=OWNER)


async def test_a_question_is_open_until_it_is_answered_and_stands_in_the_statement(tmp_path: Path):
    _, desk, _ = await a_home_that_lost_its_last_hour(tmp_path)

    assert (await asked(desk))["state"] == "open"
    answered = await disputes.answer_dispute(
        desk, owner_id=OWNER, period="ev-1", text="No reading came.", actor="op-lin"
    )

    assert answered["state"] == "answered"
    statement = await show_statement(desk, owner_id=OWNER)
    assert statement["disputes"] == [answered]
    assert [(word["kind"], word["actor"]) for word in answered["words"]] == [
        ("asked", OWNER),
        ("answered", "op-lin"),
    ]
    trail = await desk.store.trail(subject=f"owner:{OWNER}")
    assert [each.action for each in trail] == ["dispute answered", "dispute asked"]


async def test_an_answer_with_a_correction_books_the_late_hour_and_says_so(tmp_path: Path):
    story, desk, late = await a_home_that_lost_its_last_hour(tmp_path)
    await asked(desk)
    assert await story.owed("home") == (1_200, 0)
    await story.metered("home", late)

    found = await disputes.answer_dispute(
        desk, owner_id=OWNER, period="ev-1", text="It came late.", actor="op-lin", correct=True
    )

    assert await story.owed("home") == (1_800, 0)
    assert found["words"][-1]["kind"] == "corrected"
    assert (await story.books())[-1].memo.startswith(f"Correction by op-lin: dispute of {OWNER}")


async def test_the_same_question_sent_twice_is_asked_once_and_a_new_one_opens_it_again(tmp_path: Path):
    _, desk, _ = await a_home_that_lost_its_last_hour(tmp_path)
    await asked(desk)

    again = await asked(desk)
    await disputes.answer_dispute(desk, owner_id=OWNER, period="ev-1", text="So.", actor="op-lin")
    reopened = await asked(desk, "I do not agree.")

    assert len(again["words"]) == 1
    assert (reopened["state"], len(reopened["words"])) == ("open", 3)
    assert (await disputes.list_disputes(desk))["disputes"] == [reopened]
    assert (await disputes.list_disputes(desk, owner="owner-other"))["disputes"] == []


async def test_nothing_is_asked_about_what_was_never_settled_and_nothing_answered_that_was_not_asked(
    tmp_path: Path,
):
    _, desk, _ = await a_home_that_lost_its_last_hour(tmp_path)

    with pytest.raises(OperationRefused, match="nothing settled for ev-9"):
        await disputes.ask_dispute(desk, owner_id=OWNER, period="ev-9", text="?", actor=OWNER)
    with pytest.raises(OperationRefused, match="asked nothing"):
        await disputes.answer_dispute(desk, owner_id=OWNER, period="ev-1", text="So.", actor="op-lin")
    with pytest.raises(OperationRefused, match="1 to 1000"):
        await asked(desk, "")
    assert await desk.store.words() == []


async def test_a_statement_shows_every_correction_with_its_amounts_and_every_question_with_its_answer(
    tmp_path: Path,
):
    story, desk, late = await a_home_that_lost_its_last_hour(tmp_path)
    await asked(desk)
    await story.metered("home", late)
    await disputes.answer_dispute(
        desk, owner_id=OWNER, period="ev-1", text="It came late.", actor="op-lin", correct=True
    )
    assert isinstance(story.clock, SteppedClock)
    story.clock.step_to(story.clock.now() + timedelta(days=1))
    await story.metered("home", [(local(EVENT_DAY, 19), 1, 1, Quality.OK)])
    await books.correct_event(desk, event_id="ev-1", reason="two values", actor="op-ada")

    statement: Any = await show_statement(desk, owner_id=OWNER)

    (event,) = statement["events"]
    first, second = event["corrections"]
    assert (first["before_usd"], first["after_usd"]) == ("12.00", "18.00")
    assert first["why"] == f"Correction by op-lin: dispute of {OWNER}"
    assert (second["before_usd"], second["after_usd"]) == ("18.00", event["amount_usd"])
    assert second["why"] == "Correction by op-ada: two values"
    shown = Console(width=200, record=True, file=StringIO())
    rendering_statement.show_statement(shown, statement)
    text = shown.export_text()
    assert "PDT: $12.00 taken back, $18.00 booked. Correction by op-lin: dispute of owner-home" in text
    assert "corrected Sat 19 Sep 2026" in text
    assert "Asked about ev-1 (answered)" in text
    assert "by owner-home: Where is my third hour?" in text
    assert "by op-lin: It came late." in text
    assert statement["write_offs"] == []


async def test_a_correction_of_what_was_nothing_shows_it_as_nothing_before(tmp_path: Path):
    story, desk, late = await a_home_that_lost_its_last_hour(tmp_path, until_hour=18)
    assert await story.owed("home") == (0, 0)
    await story.metered("home", late)

    await books.correct_event(desk, event_id="ev-1", reason="they came", actor="op-ada")

    statement: Any = await show_statement(desk, owner_id=OWNER)
    (change,) = statement["events"][0]["corrections"]
    assert (change["before_usd"], change["after_usd"], change["why"]) == (
        "0.00",
        statement["events"][0]["amount_usd"],
        "Correction by op-ada: they came",
    )
    assert change["after_usd"] != "0.00"
