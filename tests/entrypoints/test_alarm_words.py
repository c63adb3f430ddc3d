"""What an alarm's mail says about its event, and that a question which nobody answers becomes one."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from simulators.mailbox import Mailbox, a_mailbox
from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb
from vpp.adapters.messages import AppriseMessenger
from vpp.domain.dispute import overdue_at
from vpp.domain.rest_days import rest_days
from vpp.entrypoints.operations import alarms, contacts, disputes, events, money, sources, starting

OWNER = "o-s-001"
PACIFIC = ZoneInfo("America/Los_Angeles")


@pytest.fixture
def receiver() -> Iterator[Mailbox]:
    with a_mailbox() as opened:
        yield opened


async def a_watched_suburb(tmp_path: Path, receiver: Mailbox, *, console_mw: int = 100) -> Suburb:
    suburb = await a_suburb(tmp_path, console_mw=console_mw)
    suburb.controller.messenger = AppriseMessenger()
    await contacts.keep_staff_contact(suburb.desk, name="ana", address=receiver.address)
    return suburb


async def begin(suburb: Suburb, *, mw: str, test: bool = False) -> None:
    await starting.start_event(
        suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw=mw, starts_at="now", minutes=60,
        name="EEA 2", test=test, actor="staff:ana",
    )  # fmt: skip


async def tell(suburb: Suburb) -> None:
    await suburb.controller.notify()
    await suburb.controller.deliver()


async def open_alarms(suburb: Suburb) -> list[Any]:
    listed: Any = (await alarms.list_alarms(suburb.desk))["alarms"]
    return [each for each in listed if each["cleared_at"] is None]


async def test_an_alarm_says_the_name_program_and_local_time_of_its_event(
    tmp_path: Path, receiver: Mailbox
) -> None:
    suburb = await a_watched_suburb(tmp_path, receiver)
    await begin(suburb, mw="0.9")
    await suburb.pass_time(60)
    await tell(suburb)

    assert receiver.titles == ["Shortfall of 840.0 kW in EEA 2"]
    about = f"EEA 2 (hot-1), {suburb.desk.programs[PROGRAM].name}, Wed Sep 9, 6:00 PM PDT to 7:00 PM PDT."
    assert about in receiver.took[0]["message"]


async def test_an_alarm_about_a_test_says_test(tmp_path: Path, receiver: Mailbox) -> None:
    suburb = await a_watched_suburb(tmp_path, receiver, console_mw=0)
    await begin(suburb, mw="0.02", test=True)
    await tell(suburb)

    assert receiver.titles == ["TEST, never paid: EEA 2 waits for approval"]


async def test_a_higher_limit_that_waits_for_a_second_person_is_an_alarm_until_it_is_taken_back(
    tmp_path: Path, receiver: Mailbox
) -> None:
    suburb = await a_watched_suburb(tmp_path, receiver, console_mw=1)
    await begin(suburb, mw="0.02")
    (console,) = (each for each in await suburb.desk.store.sources() if each.name == "console")
    assert console.public_key is not None
    limit = {"name": "console", "key": sources.key_text(console.public_key), "actor": "staff:ben"}

    await sources.add_source(suburb.desk, max_mw="50", **limit)
    await tell(suburb)

    assert receiver.titles == ["A higher limit of source console waits for approval"]
    message = receiver.took[0]["message"]
    assert "staff:ben asked on Wed Sep 9, 6:00 PM PDT that source console may dispatch 50 MW" in message
    assert "stays at 1 MW until somebody else says yes: vpp source approve console" in message

    await sources.add_source(suburb.desk, max_mw="1", **limit)
    for _ in range(4):
        suburb.clock.step_to(suburb.clock.now() + timedelta(minutes=1))
        await tell(suburb)
    assert await open_alarms(suburb) == []


async def test_a_question_that_waits_two_working_days_is_an_alarm_in_the_morning_until_it_is_answered(
    tmp_path: Path, receiver: Mailbox
) -> None:
    suburb = await a_watched_suburb(tmp_path, receiver)
    await begin(suburb, mw="0.02")
    await suburb.pass_time(60)
    await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")
    await suburb.pass_time(60)
    await money.settle_event(suburb.desk, event_id="hot-1")
    question = {"owner_id": OWNER, "period": "hot-1"}
    await disputes.ask_dispute(suburb.desk, **question, text="Where is my hour?", actor=OWNER)
    due = datetime(2026, 9, 14, 16, tzinfo=UTC)  # asked on a Wednesday: Monday, nine in the morning

    suburb.clock.step_to(due - timedelta(hours=10))
    await disputes.ask_dispute(suburb.desk, **question, text="Is anybody there?", actor=OWNER)
    await tell(suburb)
    assert receiver.took == []

    suburb.clock.step_to(due)
    await tell(suburb)
    assert receiver.titles == ["Owners wait for an answer about EEA 2"]
    assert "no answer since Wed Sep 9, 6:02 PM PDT; questions: 1." in receiver.took[0]["message"]
    assert OWNER not in receiver.took[0]["message"]

    await disputes.answer_dispute(suburb.desk, **question, text="It was cancelled.", actor="staff:ana")
    for _ in range(4):
        suburb.clock.step_to(suburb.clock.now() + timedelta(minutes=1))
        await tell(suburb)
    assert await open_alarms(suburb) == []


@pytest.mark.parametrize(
    ("asked", "due"),
    [
        ("2026-09-09T18:00", "2026-09-14T09:00"),  # Wednesday: Thursday and Friday are for the answer
        ("2026-09-12T10:00", "2026-09-16T09:00"),  # Saturday: Monday and Tuesday are
        ("2026-09-03T23:59", "2026-09-09T09:00"),  # Thursday before Labor Day: Friday and Tuesday are
    ],
)
def test_a_question_is_overdue_after_two_whole_working_days(asked: str, due: str) -> None:
    at = datetime.fromisoformat(asked).replace(tzinfo=PACIFIC)

    assert overdue_at(at.astimezone(UTC), PACIFIC, rest_days("NERC")) == datetime.fromisoformat(due).replace(
        tzinfo=PACIFIC
    )
