"""What the store says of a settled event comes out of a bundle again, to the cent."""

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from pathlib import Path

import pytest

from tests.domain.money_world import EVENT_DAY, a_meter, an_evening_history, local
from tests.stages.money_story import ENDS_AT, STARTS_AT, TEN_DAYS, MoneyStory
from vpp.adapters.clock import SteppedClock
from vpp.adapters.keys import FileKeys
from vpp.domain.grid_event import Grant, GrantKind
from vpp.domain.program import Program
from vpp.domain.quantities import dollars
from vpp.entrypoints.operations.desk import Desk, OperationRefused
from vpp.entrypoints.operations.evidence import export_evidence
from vpp.wire.evidence_check import EvidenceReport, verify_bundle
from vpp.wire.program_file import read_program

PROGRAM = Path(__file__).parents[2] / "config" / "programs" / "elrp-a4-pge.toml"


def shipped(change: Callable[[str], str] = str) -> Program:
    return read_program(change(PROGRAM.read_text()), file_name=PROGRAM.name)


def a_story(program: Program | None = None) -> MoneyStory:
    return MoneyStory(clock=SteppedClock(ENDS_AT + timedelta(minutes=20)), program=program or shipped())


def a_desk(story: MoneyStory, folder: Path) -> Desk:
    return Desk(story.store, story.clock, FileKeys(folder), {story.program.program_id: story.program})


async def exported(story: MoneyStory, folder: Path, event_id: str = "ev-1") -> Mapping[str, bytes]:
    return await export_evidence(a_desk(story, folder), event_id=event_id)


async def home(story: MoneyStory, name: str, evening: list[int], days: list[list[int]] | None = None) -> None:
    await story.home(name, an_evening_history(evening, days or TEN_DAYS))


def amounts(report: EvidenceReport) -> dict[str, str]:
    return {line.site_id: dollars(line.amount) for line in report.lines}


async def test_a_settled_event_verifies_from_its_bundle_alone(tmp_path: Path):
    story = a_story()
    await home(story, "whole", [4_000, 4_000, 4_000])
    await home(story, "below", [500, 500, 500])
    await home(story, "new", [4_000, 4_000, 4_000], TEN_DAYS[:9])
    await home(story, "outed", [4_000, 4_000, 4_000], [[9_000] * 3, *TEN_DAYS])
    await story.event()
    await story.dispatched(0, 1, 2, 3)
    await story.opted_out("outed", at=local(EVENT_DAY, 19, 30))
    await story.store.exclude_day("outed", date(2026, 9, 8), "outage", at=STARTS_AT)
    await story.store.exclude_day("*", date(2026, 6, 1), "outage", at=STARTS_AT)
    settlement = await story.settled_and_paid()

    report = verify_bundle(await exported(story, tmp_path))

    assert (report.differences, report.absent) == ((), ())
    assert report.lines == settlement.lines
    assert amounts(report) == {"whole": "18.00", "below": "0.00", "new": "0.00", "outed": "9.00"}


async def test_a_byte_changed_in_an_exported_bundle_is_found(tmp_path: Path):
    story = a_story()
    await home(story, "home", [4_000, 4_000, 4_000])
    await story.event()
    await story.dispatched(0)
    await story.settled_and_paid()
    files = dict(await exported(story, tmp_path))
    files["totals.csv"] = files["totals.csv"].replace(b"18.00", b"18.01")

    differences = verify_bundle(files).differences

    assert differences[0].startswith("totals.csv: SHA-256 is ")
    assert differences[1] == "totals.csv: home: amount_usd is 18.01, computed 18.00"


async def test_cap_on_cycles_takes_nothing_from_what_was_given_on_an_order(tmp_path: Path):
    cap = 'cap_cycles = { value = 1, source = "decided: a test" }\n'
    program = shipped(lambda text: text.replace("owner_share = ", cap + "owner_share = "))
    story = a_story(program)
    await home(story, "home", [6_000, 6_000, 6_000])
    await story.event()
    await story.dispatched(0)
    await story.settled_and_paid()

    files = await exported(story, tmp_path)

    assert {terms.cap_cycles for terms in program.editions} == {1}
    assert cap.encode() in files["program.toml"]
    assert verify_bundle(files).agrees
    assert amounts(verify_bundle(files)) == {"home": "30.00"}


async def test_a_cancelled_event_is_exported_with_its_cancel(tmp_path: Path):
    story = a_story()
    await home(story, "home", [4_000, 4_000, 4_000])
    await story.event()
    await story.dispatched(0)
    await story.cancelled("ev-1", at=local(EVENT_DAY, 19, 37))
    await story.settled_and_paid()

    files = await exported(story, tmp_path)

    assert files["event.json"].count(b'"status"') == 2
    assert verify_bundle(files).agrees
    assert amounts(verify_bundle(files)) != {"home": "18.00"}


async def test_an_event_that_waited_for_a_person_is_exported_as_it_was_really_on(tmp_path: Path):
    story = a_story()
    await home(story, "home", [4_000, 4_000, 4_000])
    await story.event(out_of_program=("too_long",))
    await story.store.grant(Grant("ev-1", 1, GrantKind.FORCE, "operator", local(EVENT_DAY, 19)))
    await story.dispatched(0, at=local(EVENT_DAY, 19))
    await story.settled_and_paid()

    report = verify_bundle(await exported(story, tmp_path))

    assert report.agrees
    assert amounts(report) == {"home": "12.00"}


async def test_days_on_which_other_events_commanded_a_home_are_in_the_bundle(tmp_path: Path):
    story = a_story()
    await home(story, "home", [4_000, 4_000, 4_000], [[9_000] * 3, *TEN_DAYS])
    yesterday = local(date(2026, 9, 8), 18)
    await story.event("before", starts_at=yesterday, ends_at=yesterday + timedelta(hours=1))
    await story.dispatched(0, event_id="before", at=yesterday)
    await story.event()
    await story.dispatched(0)
    await story.settled_and_paid()

    files = await exported(story, tmp_path)

    assert b"home,2026-09-08,event" in files["excluded_days.csv"]
    assert amounts(verify_bundle(files)) == {"home": "18.00"}
    assert verify_bundle(files).agrees


async def test_a_home_that_a_more_important_event_held_is_settled_for_the_rest(tmp_path: Path):
    story = a_story()
    await home(story, "held", [4_000, 4_000, 4_000])
    await home(story, "free", [4_000, 4_000, 4_000])
    await story.event(priority=5)
    await story.event("urgent", starts_at=local(EVENT_DAY, 19), ends_at=local(EVENT_DAY, 20), priority=0)
    await story.dispatched(0, 1)
    await story.dispatched(0, event_id="urgent", at=local(EVENT_DAY, 19))
    await story.settled_and_paid()

    files = await exported(story, tmp_path)

    assert b"held_elsewhere" in files["sites.csv"]
    assert verify_bundle(files).agrees
    assert amounts(verify_bundle(files)) == {"held": "12.00", "free": "18.00"}


async def test_two_events_that_shared_a_home_prove_each_watt_hour_of_it_once(tmp_path: Path):
    story = a_story()
    await home(story, "shared", [4_000, 4_000, 4_000])
    await story.event(priority=5)
    await story.event("urgent", starts_at=local(EVENT_DAY, 18, 30), ends_at=local(EVENT_DAY, 20), priority=0)
    await story.dispatched(0)
    await story.dispatched(0, event_id="urgent", at=local(EVENT_DAY, 19))
    await story.opted_out("shared", event_id="urgent", at=local(EVENT_DAY, 19, 30))
    await story.dispatched(0, at=local(EVENT_DAY, 19, 31))
    settled = [await story.settled_and_paid(event_id) for event_id in ("ev-1", "urgent")]

    reports = [
        verify_bundle(await exported(story, tmp_path, event_id=event_id)) for event_id in ("ev-1", "urgent")
    ]

    assert [amounts(report) for report in reports] == [{"shared": "15.00"}, {"shared": "3.00"}]
    assert [report.differences for report in reports] == [(), ()]
    assert [report.lines for report in reports] == [each.lines for each in settled]


async def test_an_event_beyond_the_seasons_hours_pays_for_what_the_season_has_left(tmp_path: Path):
    story = a_story(shipped(lambda text: text.replace("value = 60,", "value = 5,")))
    await home(story, "home", [4_000, 4_000, 4_000])
    earlier = local(date(2026, 6, 1), 18)
    await story.event("before", starts_at=earlier, ends_at=earlier + timedelta(hours=3))
    await story.event(out_of_program=("season_cap",))
    await story.store.grant(Grant("ev-1", 1, GrantKind.FORCE, "operator", STARTS_AT - timedelta(hours=1)))
    await story.dispatched(0)
    settlement = await story.settled_and_paid()

    report = verify_bundle(await exported(story, tmp_path))

    assert [hour.fraction for hour in settlement.lines[0].hours] == [1, 1]
    assert (amounts(report), report.differences) == ({"home": "12.00"}, ())


async def test_an_event_that_is_not_settled_has_no_evidence(tmp_path: Path):
    story = a_story()
    await story.event()

    with pytest.raises(OperationRefused, match="event ev-1 is not settled; vpp settle ev-1"):
        await exported(story, tmp_path)


async def test_the_evidence_of_a_closed_event_holds_no_reading_that_came_after_its_close(tmp_path: Path):
    story = a_story()
    rows = a_meter(an_evening_history([4_000] * 3, TEN_DAYS))
    in_time = [row for row in rows if row[0] <= local(EVENT_DAY, 20)]
    await story.home("home")
    await story.metered("home", in_time)
    await story.event()
    await story.dispatched(0)
    story.clock.step_to(ENDS_AT + timedelta(days=9))
    between_close_and_settlement = ENDS_AT + timedelta(days=8)
    await story.metered("home", rows[len(in_time) : -1], received_at=between_close_and_settlement)
    await story.settled_and_paid()
    closed = await exported(story, tmp_path)
    story.clock.step_to(ENDS_AT + timedelta(days=10))

    await story.metered("home", rows[-1:])

    later = await exported(story, tmp_path)
    assert later["meter.csv"] == closed["meter.csv"]
    assert verify_bundle(later).agrees
    assert amounts(verify_bundle(later)) == {"home": "12.00"}
    await story.settled_and_paid(correcting=True)
    corrected = verify_bundle(await exported(story, tmp_path))
    assert corrected.agrees
    assert amounts(corrected) == {"home": "18.00"}


async def test_a_day_excluded_after_the_settlement_is_in_the_evidence_of_the_next_one_only(tmp_path: Path):
    story = a_story()
    await home(story, "home", [4_000] * 3, [[2_000] * 3, *TEN_DAYS])
    await story.event()
    await story.dispatched(0)
    story.clock.step_to(ENDS_AT + timedelta(days=9))
    await story.settled_and_paid()
    await story.store.exclude_day("home", date(2026, 9, 8), "outage", at=story.clock.now())

    closed = verify_bundle(await exported(story, tmp_path))
    story.clock.step_to(ENDS_AT + timedelta(days=10))
    await story.settled_and_paid(correcting=True)
    corrected = verify_bundle(await exported(story, tmp_path))

    assert (closed.agrees, amounts(closed)) == (True, {"home": "17.40"})
    assert (corrected.agrees, amounts(corrected)) == (True, {"home": "18.00"})


async def test_a_day_excluded_after_the_close_changes_no_money_however_late_the_event_is_settled():
    story = a_story()
    await home(story, "home", [4_000] * 3, [[2_000] * 3, *TEN_DAYS])
    await story.event()
    await story.dispatched(0)
    story.clock.step_to(ENDS_AT + timedelta(days=9))
    await story.store.exclude_day("home", date(2026, 9, 8), "outage", at=story.clock.now())

    settlement = await story.settled_and_paid()

    assert [dollars(line.amount) for line in settlement.lines] == ["17.40"]


async def test_evidence_of_an_open_event_agrees_with_what_is_booked_while_more_comes_in(tmp_path: Path):
    story = a_story()
    rows = a_meter(an_evening_history([4_000] * 3, TEN_DAYS))
    await story.home("home")
    await story.metered("home", [row for row in rows if row[0] <= local(EVENT_DAY, 20)])
    await story.event()
    await story.dispatched(0)
    await story.settled_and_paid()
    story.clock.step_to(story.clock.now() + timedelta(minutes=5))
    await story.metered("home", rows)

    report = verify_bundle(await exported(story, tmp_path))

    assert (report.agrees, amounts(report)) == (True, {"home": "12.00"})
