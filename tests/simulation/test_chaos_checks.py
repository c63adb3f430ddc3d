"""What the kill runs compare: each check must find what it is there for."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import cast

import pytest

from simulators.chaos.at_rest import Fleet, asked_by
from simulators.chaos.checks import Auditor, Executed
from simulators.chaos.homes import Past
from simulators.chaos.outbox import Outbox, alarm_faults
from simulators.chaos.people import People
from simulators.chaos.plan import BY_TIMER, BY_VISITORS, DAYS_LATER, SERVING, hours_touched, kills
from simulators.chaos.stage import PRICED
from simulators.chaos.visitors import Visitors
from simulators.chaos.wire import Heard
from simulators.home_files import SITES_FILE, read_site_ids
from simulators.mailbox import Mailbox
from tests.adapters.store_world import a_request
from tests.adapters.test_store_sql import execute
from tests.journeys.test_restore import a_running_evening
from tests.simulation.gateways import a_command
from vpp.adapters.crash_points import POINTS
from vpp.adapters.sql.store import SqlStore
from vpp.domain.command import Action
from vpp.domain.delivery import MeterMessage, MeterReading, Quality
from vpp.domain.dispute import DisputeWord, WordKind
from vpp.domain.notice import Alarm, CalendarFeed, Contact, Delivery, Notice, NoticeKind
from vpp.domain.quantities import MicroDollars, Permille, WattHours, Watts
from vpp.domain.wholesale_price import WholesalePrice
from vpp.entrypoints.operations.people import key_of
from vpp.wire.meter_file import read_meter_file

NOW = datetime(2026, 3, 10, 22, 40, tzinfo=UTC)  # two days after the clocks of California went forward
BOOT = "0" * 32


def test_a_command_executed_again_or_after_a_newer_one_is_found_over_several_reports() -> None:
    executed = Executed()

    assert executed.faults({"s-1": [(7, 1), (7, 2)], "s-2": [(7, 2)]}) == []
    assert executed.faults({"s-2": [(8, 3)]}) == []
    again = executed.faults({"s-1": [(7, 2)]})
    older = executed.faults({"s-2": [(8, 2), (8, 4)]})

    assert again == [("doubled", "site s-1 executed (7, 2) after (7, 2)")]
    assert older == [("doubled", "site s-2 executed (8, 2) after (8, 3)")]
    assert executed.count == 7


def test_a_restart_that_moves_power_or_stops_homes_is_found() -> None:
    before = Fleet(asked_w=200_000, discharging=100, short_w=0)

    assert before.moved_by(Fleet(202_000, 99, 0)) is None
    assert before.moved_by(Fleet(202_001, 100, 0)) is not None
    assert before.moved_by(Fleet(197_000, 100, 0)) is not None
    assert before.moved_by(Fleet(200_000, 98, 0)) is not None


def test_a_home_that_reports_beside_a_restart_may_give_what_was_lacking_and_no_more() -> None:
    before = Fleet(asked_w=10_000, discharging=5, short_w=9_000)

    assert before.moved_by(Fleet(19_100, 7, 0)) is None
    assert before.moved_by(Fleet(19_101, 7, 0)) is not None
    assert before.moved_by(Fleet(9_000, 5, 9_000)) is not None


def test_a_lease_that_nobody_renewed_in_time_is_not_what_a_restart_moves() -> None:
    needed = a_command(expires_at=NOW + timedelta(seconds=20), discharge_w=Watts(3_000))
    of_one_replaced = a_command(expires_at=NOW + timedelta(seconds=4), discharge_w=Watts(3_800))
    release = a_command(action=Action.RELEASE, expires_at=NOW + timedelta(hours=1))

    assert asked_by([needed, of_one_replaced, release], NOW) == 3_000


async def test_a_receipt_beyond_what_is_stored_and_a_command_of_no_tick_are_found(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'vpp.sqlite'}"
    store = await SqlStore.open(url)
    await store.enroll([a_request("s-1")], at=NOW)
    readings = tuple(
        MeterReading("s-1", BOOT, index, NOW, WattHours(10), WattHours(10), Permille(500), Quality.OK)
        for index in (1, 2, 4)
    )
    await store.append([MeterMessage("s-1", BOOT, 1, readings)], at=NOW)
    auditor, heard = Auditor(url), Heard()

    heard.confirmed["s-1", BOOT] = 2
    assert await auditor.audit(heard) == []
    heard.confirmed["s-1", BOOT] = 4
    heard.commands["s-1", 7, 1] = b""
    heard.fresh.append(("s-1", 7, 1))
    faults = await auditor.audit(heard)
    await store.close()

    assert faults == [
        ("wrong", "command ('s-1', 7, 1) was sent and no committed tick holds it"),
        ("lost", f"site s-1 got a receipt through 4 of boot {BOOT[:8]}, and reading 3 is not stored"),
    ]


async def test_a_run_of_which_a_tick_cannot_be_made_again_is_found(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'vpp.db'}"
    evening = await a_running_evening(url)
    await evening.world.signal(3_000)
    await evening.tick()
    await evening.world.store.close()
    auditor = Auditor(url)

    assert await auditor.made_again() == []
    await execute(url, "DELETE FROM tick_basis WHERE number = 2")

    assert await auditor.made_again() == [
        ("wrong", "made again, tick 2: what was known when it was decided is not stored")
    ]


def test_the_history_of_a_large_fleet_covers_the_hours_that_its_events_can_touch(tmp_path: Path) -> None:
    past = Past.of(3, 1, until=NOW)

    (file,) = past.write(tmp_path, hours=2)

    messages = read_meter_file(file.read_bytes(), now=NOW, file_name=file.name)
    assert {each.site_id for each in messages} == set(read_site_ids(tmp_path / SITES_FILE))
    times = [reading.at for reading in messages[0].readings]
    assert {at.hour for at in times} == {22, 23, 0}
    assert times[-1] == NOW.replace(minute=0)  # no reading of the present day but the last
    assert {at.date() for at in times if at.hour == 22} == {
        day.date() for day in (NOW - timedelta(days=back) for back in range(22)) if day.weekday() < 5
    }
    assert len(times) == 15 * 3 + 1
    assert times[0] == NOW.replace(minute=0) - timedelta(days=21)


def test_the_longer_a_run_and_the_later_it_begins_in_an_hour_the_more_hours_have_a_history() -> None:
    assert hours_touched(24, 8, minute=0) == 24
    assert [hours_touched(10_000, 8, minute=at) for at in (0, 42, 43, 59)] == [1, 1, 2, 2]
    assert hours_touched(10_000, 1000, minute=0) == 5
    assert hours_touched(10_000, 10_000, minute=0) == 24


def a_notice(key: str, party: str = "o-1", *, tries: int = 1, sent: bool = True) -> tuple[Notice, Delivery]:
    notice = Notice(key, party, NoticeKind.SCHEDULED, "ev-1", NOW)
    return notice, Delivery(tries, None, NOW if sent else None, None)


def test_a_notice_may_arrive_again_only_after_a_death_before_it_was_noted() -> None:
    outbox = Outbox(Mailbox())

    assert outbox.faults(["n-1"], {"n-1": a_notice("n-1", tries=0, sent=False)}) == []
    assert outbox.faults(["n-1"], {"n-1": a_notice("n-1")}) == []
    assert (outbox.again, outbox.deaths) == (1, 1)
    noted = outbox.faults(["n-1"], {"n-1": a_notice("n-1")})
    twice = outbox.faults(["n-2", "n-2"], {"n-2": a_notice("n-2")})

    assert noted == [("doubled", "notice n-1 arrived again after it was noted as sent")]
    assert twice == [("doubled", "notice n-2 arrived 2 times in one life")]


def test_a_notice_that_is_not_stored_and_two_of_a_party_that_were_not_noted_are_found() -> None:
    written = {key: a_notice(key, tries=0, sent=False) for key in ("n-1", "n-2")}

    assert Outbox(Mailbox()).faults(["n-0"], {}) == [("wrong", "notice n-0 arrived and is not stored")]
    unnoted = Outbox(Mailbox()).faults(["n-1", "n-2"], written)

    assert unnoted == [("wrong", "2 notices to o-1 arrived in one life and were not noted")]


def test_a_notice_that_never_arrived_or_is_not_noted_is_lost() -> None:
    outbox = Outbox(Mailbox(took=[{"key": "n-1"}, {"key": "n-2"}]))
    written = {
        "n-1": a_notice("n-1"),
        "n-2": a_notice("n-2", tries=0, sent=False),
        "n-3": a_notice("n-3", tries=0, sent=False),
    }

    assert outbox.missing_of(written) == [
        ("lost", "notice n-2 was written and not noted"),
        ("lost", "notice n-3 was written and did not arrive"),
    ]


def test_an_alarm_that_lost_its_answer_or_is_told_again_after_it_is_found() -> None:
    standing = Alarm("a-1", NoticeKind.SHORTFALL, "ev-1", NOW, told_rank=0, told_at=NOW)
    answered = replace(standing, answered_by="ana", answered_at=NOW)
    late = replace(a_notice("n-1", "staff:ben")[0], at=NOW + timedelta(seconds=1), facts={"alarm": "a-1"})

    assert alarm_faults([answered], {"a-1": "ana"}, [replace(late, at=NOW)], {"a-1"}) == []
    assert alarm_faults([standing], {"a-1": "ana"}, [], set())[0][0] == "lost"
    assert alarm_faults([], {}, [], {"a-1"}) == [("lost", "alarm a-1 was raised and is not stored")]
    assert alarm_faults([answered], {"a-1": "ana"}, [late], {"a-1"}) == [
        ("wrong", "alarm a-1 was told again after it was answered")
    ]


def test_every_point_is_killed_somewhere_but_those_that_are_named() -> None:
    prepared = {"enrolment", "source", "key-file", "migration", "readings"}

    assert set(POINTS) - set(SERVING) - set(DAYS_LATER) - prepared == {"included-day", "quarantine"}
    assert set(BY_VISITORS) <= set(SERVING)


@pytest.mark.parametrize("seed", range(1, 6))
def test_a_short_run_waits_for_few_slow_points_and_a_longer_one_reaches_all(seed: int) -> None:
    drawn = [each.point for each in kills(150, Random(seed))]

    assert len([point for point in drawn[:60] if point in BY_TIMER]) <= 4
    assert set(BY_VISITORS) <= set(drawn)


async def test_an_address_a_calendar_a_price_and_a_question_that_are_not_as_answered_are_found(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path / 'vpp.sqlite'}"
    store = await SqlStore.open(url)
    await store.keep_contact(Contact("o-1", "en", "json://127.0.0.1"))
    await store.open_calendar(CalendarFeed(key_of("of-o-1"), "o-1", NOW))
    await store.say(DisputeWord("o-1", "ev-1", WordKind.ASKED, NOW, "owner:o-1", "Why?"))
    await store.add_prices([WholesalePrice(PRICED, NOW, MicroDollars(7_250_000), NOW)])
    visitors = Visitors(
        cast(People, None),  # nobody is asked anything
        Auditor(url),
        Outbox(Mailbox()),
        ["o-1"],
        languages={"o-1": "en"},
        calendars={"o-1": "of-o-1"},
        questions=[("o-1", "ev-1", "Why?")],
        price=7,
    )

    assert await visitors.kept() == []
    visitors.languages["o-1"] = "es"
    visitors.calendars["o-1"] = ""
    visitors.questions.append(("o-1", "ev-1", "And now?"))
    visitors.price = 8
    faults = await visitors.kept()

    assert faults == [
        ("lost", "the address of o-1 was taken and is not stored"),
        ("lost", "the calendar of o-1 is not the one that was answered"),
        ("lost", "the price of an hour is not the $8.25 that was answered"),
        ("lost", "question ('o-1', 'ev-1', 'And now?') is there 0 times"),
    ]
    assert await Auditor(url).traces("o-1") == [
        ("wrong", "owner o-1 was forgotten and has an address"),
        ("wrong", "owner o-1 was forgotten and has a calendar"),
    ]
    await store.close()
