"""Notices to a whole fleet are made some at a time, so that dispatch does not wait for them."""

from pathlib import Path

import pytest

from tests.entrypoints.builders import an_enrollment_file
from tests.entrypoints.pages.world import PROGRAM, a_suburb
from vpp.domain.notice import NoticeKind
from vpp.entrypoints.operations import contacts, sites, starting
from vpp.stages import notify

OWNER = "o-s-001"


async def test_an_owner_of_several_homes_is_told_once_however_few_homes_are_looked_at_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "HOMES_AT_ONCE", 1)
    suburb = await a_suburb(tmp_path)
    more = an_enrollment_file("s-second", "s-third", reserve_pct="35").replace(b"o-s-second", OWNER.encode())
    await sites.enroll_sites(suburb.desk, content=more, file_name="more.csv")
    await suburb.pass_time(15)
    owners = (OWNER, "o-s-third", "o-s-002")
    for owner_id in owners:
        await contacts.keep_contact(suburb.desk, owner_id=owner_id, address="mailto://post.example/?to=owner")
    await starting.start_event(
        suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw="0.02", starts_at="2026-09-09T19:00",
        minutes=60, actor="staff:ana",
    )  # fmt: skip

    await suburb.controller.notify()

    written = [await suburb.desk.store.notices_of(each) for each in owners]
    assert [[notice.kind for notice, _ in each] for each in written] == [[NoticeKind.SCHEDULED]] * 3
    assert ["reserve_pct" in notice.facts for each in written for notice, _ in each] == [False, True, True]
