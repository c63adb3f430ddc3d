"""Notices from stored facts to a real receiver over HTTP: each once, none lost, and alarms until answered."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from simulators.mailbox import Mailbox, a_mailbox
from tests.entrypoints.builders import an_enrollment_file
from tests.entrypoints.pages.world import PROGRAM, Suburb, a_suburb, logged_in, send
from vpp.adapters.messages import AppriseMessenger
from vpp.domain.access import Role
from vpp.domain.delivery import MeterMessage, MeterReading, Quality
from vpp.domain.grid_event import GridSource, Operation
from vpp.domain.interval import Interval
from vpp.domain.notice import Contact, Delivery, Notice, NoticeKind, after_try
from vpp.domain.quantities import WattHours, Watts
from vpp.entrypoints.operations import alarms, changing, contacts, events, health, sites, starting
from vpp.entrypoints.operations.desk import OperationRefused
from vpp.ports import Packet, StoreUnavailable
from vpp.stages.notify import Progress, deliver
from vpp.stages.watch import Watched
from vpp.wire.notice_text import TEXTS
from vpp.wire.openadr import encode_notification

SITE = "s-001"
OWNER = f"o-{SITE}"
IN_AN_HOUR = "2026-09-09T19:00"


@pytest.fixture
def receiver() -> Iterator[Mailbox]:
    with a_mailbox() as opened:
        yield opened


@pytest.fixture
async def suburb(tmp_path: Path) -> Suburb:
    suburb = await a_suburb(tmp_path)
    suburb.controller.messenger = AppriseMessenger()
    return suburb


async def begin(
    suburb: Suburb, *, starts_at: str = IN_AN_HOUR, mw: str = "0.02", minutes: int = 60, test: bool = False
) -> None:
    await starting.start_event(
        suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw=mw, starts_at=starts_at, minutes=minutes,
        test=test, actor="staff:ana",
    )  # fmt: skip


async def tell(suburb: Suburb, seconds: int = 0, *, times: int = 1) -> None:
    """Let time pass, then let the controller tell what is due, as often as is said."""
    await suburb.pass_time(seconds)
    for _ in range(times):
        await suburb.controller.notify()
        await suburb.controller.deliver()


async def test_an_owner_is_told_of_each_point_of_an_event_once(suburb: Suburb, receiver: Mailbox) -> None:
    await contacts.keep_contact(suburb.desk, owner_id=OWNER, address=receiver.address)
    await begin(suburb)

    await tell(suburb, times=3)
    await tell(suburb, 46 * 60, times=2)
    suburb.controller.told, suburb.controller.seen = Progress(), Watched()  # as after a restart
    await tell(suburb, times=2)
    await tell(suburb, 85 * 60, times=2)

    assert receiver.titles == [
        "Battery event Wed Sep 9, 7:00 PM PDT to 8:00 PM PDT",
        "Battery event starts at 7:00 PM PDT",
        "Battery event over: 0.00 kWh, $0.00",  # these homes have no meter
    ]
    assert "It stops by itself at your reserve of 20 %." in receiver.took[0]["message"]


async def test_an_owner_reads_it_in_spanish_and_only_what_was_not_muted(
    suburb: Suburb, receiver: Mailbox
) -> None:
    await contacts.keep_contact(
        suburb.desk, owner_id=OWNER, address=receiver.address, language="es", muted=["starting"]
    )
    await begin(suburb)
    await tell(suburb)
    await tell(suburb, 50 * 60)

    assert receiver.titles == ["Evento de batería mié 9 sep, de 7:00 p. m. PDT a 8:00 p. m. PDT"]


async def test_a_moved_event_and_a_cancelled_one_are_told_once_each(
    suburb: Suburb, receiver: Mailbox
) -> None:
    await contacts.keep_contact(suburb.desk, owner_id=OWNER, address=receiver.address)
    await begin(suburb)
    await tell(suburb)
    await changing.modify_event(suburb.desk, event_id="hot-1", minutes=90, actor="staff:ana")
    await tell(suburb, times=2)
    await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")
    await tell(suburb, times=2)

    assert receiver.titles[1:] == [
        "Battery event moved: Wed Sep 9, 7:00 PM PDT to 8:30 PM PDT",
        "Battery event of Wed Sep 9 cancelled",
    ]


async def test_whoever_enrols_after_an_event_was_announced_is_told_of_it_and_nobody_twice(
    suburb: Suburb, receiver: Mailbox
) -> None:
    await contacts.keep_contact(suburb.desk, owner_id=OWNER, address=receiver.address)
    await begin(suburb)
    await tell(suburb, times=2)
    await sites.enroll_sites(suburb.desk, content=an_enrollment_file("late-1"), file_name="late.csv")
    await contacts.keep_contact(suburb.desk, owner_id="o-late-1", address=receiver.address)

    await tell(suburb, 30, times=3)

    assert receiver.titles == ["Battery event Wed Sep 9, 7:00 PM PDT to 8:00 PM PDT"] * 2
    assert [each.party for each, _ in await suburb.desk.store.notices_of("o-late-1", limit=9)] == ["o-late-1"]


async def test_whoever_enrols_when_an_event_is_over_is_told_nothing_of_it(
    suburb: Suburb, receiver: Mailbox
) -> None:
    await begin(suburb)
    await suburb.pass_time(125 * 60)
    await sites.enroll_sites(suburb.desk, content=an_enrollment_file("late-1"), file_name="late.csv")
    await contacts.keep_contact(suburb.desk, owner_id="o-late-1", address=receiver.address)

    await tell(suburb, 15 * 60, times=2)

    assert receiver.titles == []


async def test_whoever_opted_out_is_not_told_that_it_starts(suburb: Suburb, receiver: Mailbox) -> None:
    await contacts.keep_contact(suburb.desk, owner_id=OWNER, address=receiver.address)
    await begin(suburb)
    await tell(suburb)
    await sites.opt_out_site(suburb.desk, site_id=SITE, event_id="hot-1", actor="owner:rosa")
    await tell(suburb, 50 * 60)

    assert len(receiver.took) == 1


async def test_what_waits_for_leave_is_announced_to_no_owner(suburb: Suburb, receiver: Mailbox) -> None:
    await contacts.keep_contact(suburb.desk, owner_id=OWNER, address=receiver.address)
    await begin(suburb, minutes=30)  # too short for its program
    await tell(suburb)
    assert receiver.took == []

    await events.force_event(suburb.desk, event_id="hot-1", actor="staff:ben")
    await tell(suburb)

    assert len(receiver.took) == 1


async def test_an_owner_of_homes_that_an_event_does_not_mean_is_not_written_to(
    suburb: Suburb, receiver: Mailbox
) -> None:
    await contacts.keep_contact(suburb.desk, owner_id=OWNER, address=receiver.address)
    await begin(suburb)
    await changing.modify_event(suburb.desk, event_id="hot-1", targets=["alameda"], actor="staff:ana")
    await tell(suburb)
    assert len(receiver.took) == 1


@pytest.mark.parametrize(
    ("language", "says"),
    [
        ("en", "Battery event of Wed Sep 9: your battery is not needed"),
        ("es", "Evento de batería de mié 9 sep: su batería no hace falta"),
    ],
)
async def test_an_owner_whom_new_targets_leave_out_is_told_and_again_when_they_take_the_home_in(
    suburb: Suburb, receiver: Mailbox, language: str, says: str
) -> None:
    await contacts.keep_contact(suburb.desk, owner_id=OWNER, address=receiver.address, language=language)
    elsewhere = an_enrollment_file("s-far", county="Fresno")
    await sites.enroll_sites(suburb.desk, content=elsewhere, file_name="far.csv")
    await begin(suburb)
    await tell(suburb, 15)
    await changing.modify_event(suburb.desk, event_id="hot-1", targets=["fresno"], actor="staff:ana")
    await tell(suburb, 15, times=2)
    assert receiver.titles[1:] == [says]
    await tell(suburb, 50 * 60)
    assert len(receiver.took) == 2  # nothing starts for this owner

    await changing.modify_event(suburb.desk, event_id="hot-1", targets=[], actor="staff:ana")
    await tell(suburb, times=2)

    assert len(receiver.took) == 4
    assert receiver.titles[2] == receiver.titles[0]


async def test_a_time_that_moves_away_and_back_at_once_is_told_to_nobody(
    suburb: Suburb, receiver: Mailbox
) -> None:
    await contacts.keep_contact(suburb.desk, owner_id=OWNER, address=receiver.address)
    await begin(suburb)
    for minutes in (90, 60):
        await changing.modify_event(suburb.desk, event_id="hot-1", minutes=minutes, actor="staff:ana")
    await tell(suburb, times=2)

    assert receiver.titles == ["Battery event Wed Sep 9, 7:00 PM PDT to 8:00 PM PDT"]


@pytest.mark.parametrize("begun_as_test", [True, False])
async def test_notices_are_marked_by_what_an_event_was_when_it_began(
    suburb: Suburb, receiver: Mailbox, begun_as_test: bool
) -> None:
    await contacts.keep_contact(suburb.desk, owner_id=OWNER, address=receiver.address)
    await begin(suburb, starts_at="now", test=begun_as_test)
    await tell(suburb, 60)
    latest, now = (await suburb.desk.history("hot-1")).latest, suburb.clock.now()
    (step,) = latest.steps
    longer = replace(step, interval=Interval(step.interval.starts_at, now + timedelta(hours=2)))
    other = replace(latest, version=2, committed_at=now, steps=(longer,), test=not begun_as_test)
    await suburb.desk.store.append_version(other, actor="caiso")
    await tell(suburb, 60)

    marked = [title.startswith("TEST, never paid: ") for title in receiver.titles]
    assert marked == [begun_as_test, begun_as_test]  # of its beginning, and of its change


@pytest.mark.parametrize(("language", "says"), [("en", "never paid"), ("es", "no se paga")])
async def test_the_end_of_a_test_is_told_without_a_word_of_money(
    suburb: Suburb, receiver: Mailbox, language: str, says: str
) -> None:
    await contacts.keep_contact(
        suburb.desk, owner_id=OWNER, address=receiver.address, language=language, muted=["scheduled"]
    )
    await begin(suburb, starts_at="now", test=True)
    await tell(suburb, 3_600)
    assert receiver.took == []  # readings may still come in an event that pays, and a test is told like it
    await tell(suburb, 660, times=2)

    (title,) = receiver.titles
    (message,) = [each["message"] for each in receiver.took]
    assert title.startswith(TEXTS[language]["test"][0])
    assert says in title
    assert says in message
    assert "$" not in title + message


async def test_a_move_is_told_even_where_a_version_that_moves_nothing_came_after_it(
    suburb: Suburb, receiver: Mailbox
) -> None:
    await contacts.keep_contact(suburb.desk, owner_id=OWNER, address=receiver.address)
    await begin(suburb)
    await tell(suburb)
    await changing.modify_event(suburb.desk, event_id="hot-1", minutes=90, actor="staff:ana")
    await changing.modify_event(suburb.desk, event_id="hot-1", power_mw="0.03", actor="staff:ana")
    await tell(suburb)
    await changing.modify_event(suburb.desk, event_id="hot-1", power_mw="0.02", actor="staff:ana")
    await tell(suburb, times=2)

    assert receiver.titles[1:] == ["Battery event moved: Wed Sep 9, 7:00 PM PDT to 8:30 PM PDT"]


async def test_a_receiver_that_was_away_gets_everything_once_when_it_is_back(
    suburb: Suburb, receiver: Mailbox
) -> None:
    await contacts.keep_contact(suburb.desk, owner_id=OWNER, address=receiver.address)
    receiver.takes = False
    await begin(suburb)
    await tell(suburb, times=2)
    assert (receiver.refused, receiver.took) == (1, [])  # the second try has to wait

    receiver.takes = True
    await tell(suburb, 30, times=3)

    assert len(receiver.took) == 1
    told = await contacts.show_contact(suburb.desk, owner_id=OWNER)
    assert [(each["kind"], bool(each["sent_at"])) for each in told["notices"]] == [("scheduled", True)]  # type: ignore[attr-defined,index,union-attr]  # JSON


async def test_a_death_between_sending_and_noting_sends_again_under_the_same_key(
    suburb: Suburb, receiver: Mailbox
) -> None:
    class DyingOnce(type(suburb.controller.store)):  # type: ignore[misc]  # the memory store
        died = False

        async def record_delivery(self, key: str, delivery: Delivery) -> None:
            if not self.died:
                self.died = True
                raise StoreUnavailable("gone")
            await super().record_delivery(key, delivery)

    store = DyingOnce()
    await store.keep_contact(Contact(OWNER, address=receiver.address))
    notice = Notice("paid:1", OWNER, NoticeKind.PAID, "run", suburb.clock.now(), {"amount_usd": "18.00"})
    await store.write_notices([notice])
    messenger = AppriseMessenger()

    with pytest.raises(StoreUnavailable):
        await deliver(store=store, messenger=messenger, clock=suburb.clock)
    await deliver(store=store, messenger=messenger, clock=suburb.clock)
    await deliver(store=store, messenger=messenger, clock=suburb.clock)

    assert [message["key"] for message in receiver.took] == ["paid:1", "paid:1"]


async def test_a_forgotten_address_ends_what_was_still_to_be_sent(suburb: Suburb, receiver: Mailbox) -> None:
    await contacts.keep_contact(suburb.desk, owner_id=OWNER, address=receiver.address)
    await begin(suburb)
    await suburb.controller.notify()
    await contacts.keep_contact(suburb.desk, owner_id=OWNER)
    await suburb.controller.deliver()

    assert receiver.took == []
    assert await suburb.desk.store.notices_to_send(now=suburb.clock.now() + timedelta(days=1)) == []


async def test_operators_are_told_rank_by_rank_until_somebody_answers(
    suburb: Suburb, receiver: Mailbox
) -> None:
    with a_mailbox() as second:
        await contacts.keep_staff_contact(suburb.desk, name="ana", address=receiver.address)
        await contacts.keep_staff_contact(suburb.desk, name="ben", address=second.address, rank=1)
        await begin(suburb, starts_at="now", mw="0.9")  # far more than twelve homes have
        await tell(suburb, 60, times=2)
        assert (len(receiver.took), len(second.took)) == (1, 0)
        await tell(suburb, 300, times=2)
        assert (len(receiver.took), len(second.took)) == (2, 1)

        (raised,) = await open_alarms(suburb)
        await alarms.answer_alarm(suburb.desk, key=raised, actor="staff:ben")
        await tell(suburb, 600, times=2)

        assert (len(receiver.took), len(second.took)) == (2, 1)
    assert receiver.titles[0].startswith("Shortfall of ")
    assert f"vpp alarm answer {raised}" in receiver.took[0]["message"]


async def test_a_shortfall_is_over_with_the_event_that_was_cancelled(suburb: Suburb) -> None:
    await begin(suburb, starts_at="now", mw="0.9")
    await tell(suburb, 60)
    assert len(await open_alarms(suburb)) == 1

    await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")
    await tell(suburb, 15)

    assert await open_alarms(suburb) == []


async def test_what_a_test_lacks_is_no_alarm(suburb: Suburb) -> None:
    await begin(suburb, starts_at="now", mw="0.9", test=True)
    await tell(suburb, 60)

    assert suburb.plan("hot-1").shortfall_w > 800_000
    assert await open_alarms(suburb) == []


async def test_an_alarm_is_answered_on_its_page_once_and_a_viewer_cannot(suburb: Suburb) -> None:
    await suburb.add("ana", Role.OPERATOR)
    await suburb.add("vic", Role.VIEWER)
    await begin(suburb, starts_at="now", mw="0.9")
    await tell(suburb, 60)
    (raised,) = await open_alarms(suburb)
    ana, vic = await logged_in(suburb, "ana"), await logged_in(suburb, "vic")

    before = await vic.get("/operator/alarms")
    refused = await send(vic, "/operator/alarms/answer", key=raised)
    answered = await send(ana, "/operator/alarms/answer", key=raised)
    after = await vic.get("/operator/alarms")
    unknown = await send(ana, "/operator/alarms/answer", key="none")

    assert "nobody yet" in before.text
    assert "missing 840.0 kW" in before.text
    assert refused.status_code == 403
    assert answered.status_code == 303
    assert "staff:ana" in after.text
    assert unknown.status_code == 404
    assert [entry.action for entry in await suburb.desk.store.trail(subject=f"alarm:{raised}")] == [
        "answer alarm"
    ]


async def open_alarms(suburb: Suburb) -> list[str]:
    listed = (await alarms.list_alarms(suburb.desk))["alarms"]
    assert isinstance(listed, list)
    return [each["key"] for each in listed if each["cleared_at"] is None]


async def test_an_event_that_nobody_approved_is_an_alarm_until_somebody_does(
    tmp_path: Path, receiver: Mailbox
) -> None:
    suburb = await a_suburb(tmp_path, console_mw=0)
    suburb.controller.messenger = AppriseMessenger()
    await contacts.keep_staff_contact(suburb.desk, name="ana", address=receiver.address, language="es")
    await begin(suburb)
    await tell(suburb)
    assert receiver.took == []  # an hour is time enough
    await tell(suburb, 31 * 60)
    assert receiver.titles == ["ELRP A.4, PG&E espera aprobación"]

    await starting.approve_event(suburb.desk, event_id="hot-1", actor="staff:ben")
    await tell(suburb, 150, times=2)

    assert await open_alarms(suburb) == []


async def test_homes_that_fall_silent_all_at_once_are_an_alarm(suburb: Suburb, receiver: Mailbox) -> None:
    await contacts.keep_staff_contact(suburb.desk, name="ana", address=receiver.address)
    await begin(suburb, starts_at="now", mw="0.04")
    await suburb.pass_time(300)
    for _ in range(8):
        suburb.clock.step_to(suburb.clock.now() + timedelta(seconds=15))
        await suburb.controller.turn()
    await tell(suburb)

    assert "Most commanded homes went silent at once" in receiver.titles


async def test_a_broker_that_cannot_be_reached_is_an_alarm_after_half_a_minute(
    suburb: Suburb, receiver: Mailbox
) -> None:
    await contacts.keep_staff_contact(suburb.desk, name="ana", address=receiver.address)
    await tell(suburb)
    suburb.broker.crash()
    await tell(suburb, 15)
    assert receiver.took == []
    await tell(suburb, 45)

    assert receiver.titles == ["No connection to the broker"]


async def test_who_speaks_of_an_event_that_is_not_theirs_is_an_alarm(
    suburb: Suburb, receiver: Mailbox
) -> None:
    await contacts.keep_staff_contact(suburb.desk, name="ana", address=receiver.address)
    await suburb.desk.store.add_source(GridSource("stranger", None, Watts(0), suburb.clock.now()))
    await begin(suburb)
    now = suburb.clock.now()
    cancel = encode_notification(
        Operation.DELETE, event_id="hot-1", program_id=PROGRAM, name="hot", created_at=now, modified_at=now
    )

    await suburb.controller.runner.turn([Packet("grid/v1/stranger/event", cancel)])
    await tell(suburb)
    raised = await open_alarms(suburb)
    await tell(suburb, 35 * 60)

    assert "A signal about ELRP A.4, PG&E contradicts another" in receiver.titles
    assert "Source stranger" in receiver.took[0]["message"]
    assert len(raised) == 1
    assert await open_alarms(suburb) == []


async def test_two_gateways_that_speak_for_one_home_are_an_alarm_and_named_among_the_links(
    suburb: Suburb, receiver: Mailbox
) -> None:
    await contacts.keep_staff_contact(suburb.desk, name="ana", address=receiver.address)
    now = suburb.clock.now()
    for boot_id, wh in (("a" * 32, 0), ("b" * 32, 700)):
        readings = tuple(
            MeterReading(
                SITE, boot_id, index, now + timedelta(minutes=5 * index - 60), WattHours(wh + 100 * index),
                WattHours(0), None, Quality.OK,
            )
            for index in range(1, 4)
        )  # fmt: skip
        await suburb.desk.store.append([MeterMessage(SITE, boot_id, 1, readings)], at=now)

    await tell(suburb)
    links = await health.show_health(suburb.desk)
    await tell(suburb, 35 * 60)

    assert receiver.titles == ["Two gateways speak with the same key"]
    assert "homes: 1." in receiver.took[0]["message"]
    assert links["contested"]["two_gateways"] == {"sites": 1, "named": [SITE]}
    assert await open_alarms(suburb) == []


async def test_a_kind_or_an_alarm_that_is_not_known_is_refused(suburb: Suburb) -> None:
    with pytest.raises(OperationRefused, match="none of"):
        await contacts.keep_contact(suburb.desk, owner_id=OWNER, muted=["shortfall"])
    with pytest.raises(OperationRefused, match="no alarm"):
        await alarms.answer_alarm(suburb.desk, key="shortfall:1", actor="staff:ana")


def test_the_first_wait_is_short_and_the_last_half_an_hour() -> None:
    now = datetime.fromisoformat("2026-09-10T01:00:00Z")
    delivery, waits = Delivery(), []
    for _ in range(9):
        delivery = after_try(delivery, at=now, trouble="away")
        assert delivery.next_try_at is not None
        waits.append(int((delivery.next_try_at - now).total_seconds()))

    assert (waits[0], waits[-1]) == (15, 1800)
