"""An owner asks about their money, staff answer, a correction may follow; the history keeps it all."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.domain.money_world import EVENT_DAY, a_meter, an_evening_history, local
from tests.entrypoints.test_books_and_payouts import CLOSED, a_desk
from tests.stages.money_story import ENDS_AT, TEN_DAYS, MoneyStory
from vpp.adapters.clock import SteppedClock
from vpp.entrypoints.operations import disputes
from vpp.entrypoints.operations.desk import Desk, OperationRefused
from vpp.entrypoints.operations.money import show_statement

OWNER = "owner-home"


async def a_home_that_lost_its_last_hour(folder: Path) -> tuple[MoneyStory, Desk, list[Any]]:
    rows = a_meter(an_evening_history([4_000] * 3, TEN_DAYS))
    in_time = [row for row in rows if row[0] <= local(EVENT_DAY, 20)]
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
