"""Notices of what an event brought and of what was paid out, from booked money to a real receiver."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from simulators.mailbox import Mailbox, a_mailbox
from tests.stages.money_story import ENDS_AT, MoneyStory, a_dispatched_home
from vpp.adapters.keys import FileKeys
from vpp.adapters.messages import AppriseMessenger
from vpp.entrypoints.operations import contacts, payouts
from vpp.entrypoints.operations.desk import Desk
from vpp.stages.notify import Progress, deliver, note


@pytest.fixture
def receiver() -> Iterator[Mailbox]:
    with a_mailbox() as opened:
        yield opened


async def test_the_end_is_told_with_kilowatt_hours_and_dollars_and_the_money_when_it_goes_out(
    tmp_path: Path, receiver: Mailbox
) -> None:
    story = await a_dispatched_home()
    programs = {story.program.program_id: story.program}
    desk = Desk(story.store, story.clock, FileKeys(tmp_path), programs)
    await contacts.keep_contact(desk, owner_id="owner-home", address=receiver.address)
    await told_of(story)
    assert receiver.took == []  # a result is to come
    await story.settled_and_paid()
    await told_of(story)
    story.clock.step_to(ENDS_AT + timedelta(days=9))
    await story.settled_and_paid()
    await payouts.run_payout(desk, run_id="2026-10")
    await told_of(story)
    await payouts.confirm_payout(desk, run_id="2026-10")
    await told_of(story)

    assert receiver.titles == ["Battery event over: 9.00 kWh, $18.00", "$18.00 paid out to you"]
    assert "not final" in receiver.took[0]["message"]


async def test_whom_new_targets_left_out_in_the_middle_is_still_told_what_was_earned_until_then(
    tmp_path: Path, receiver: Mailbox
) -> None:
    story = await a_dispatched_home()
    desk = Desk(story.store, story.clock, FileKeys(tmp_path), {story.program.program_id: story.program})
    await contacts.keep_contact(desk, owner_id="owner-home", address=receiver.address)
    (history,) = await story.store.histories()
    late = history.latest.steps[-1].interval.ends_at - timedelta(minutes=1)
    elsewhere = replace(history.latest, version=2, targets=("elsewhere",), committed_at=late)
    await story.store.append_version(elsewhere, actor="caiso")
    await story.settled_and_paid()
    await told_of(story)

    assert receiver.titles == ["Battery event over: 9.00 kWh, $18.00"]


async def told_of(story: MoneyStory) -> None:
    """Tell what is due, as after a restart each time."""
    programs = {story.program.program_id: story.program}
    for _ in range(2):
        roster = await story.store.enrollments()
        told = Progress()
        await note(store=story.store, roster=roster, programs=programs, clock=story.clock, told=told)
        await deliver(store=story.store, messenger=AppriseMessenger(), clock=story.clock)
