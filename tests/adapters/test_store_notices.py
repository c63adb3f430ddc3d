"""What every store promises about contacts, notices, alarms and calendars, and about leaving."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tests.adapters.store_world import NOON, a_request
from vpp.domain.access import LoginLink, Role, Session, TrailEntry, User
from vpp.domain.enrollment import Withdrawal
from vpp.domain.notice import (
    TRIES_MOST,
    Alarm,
    CalendarFeed,
    Contact,
    Delivery,
    Forgotten,
    Notice,
    NoticeKind,
    after_try,
)
from vpp.ports import Store

MINUTE = timedelta(minutes=1)
ROSA = Contact(
    "o-rosa",
    "es",
    "json://127.0.0.1:9",
    frozenset({NoticeKind.PAID, NoticeKind.STARTING}),
    home_names={"s-1": "Cabin", "s-2": "Town"},
)


def a_notice(key: str, *, party: str = "o-rosa") -> Notice:
    return Notice(key, party, NoticeKind.SCHEDULED, "hot-1", NOON, {"starts_at": "2026-09-10T01:00:00Z"})


def an_alarm(key: str = "shortfall:hot-1", *, raised_at: datetime = NOON) -> Alarm:
    return Alarm(key, NoticeKind.SHORTFALL, "hot-1", raised_at, {"missing_w": "120000"})


async def test_a_new_contact_takes_the_place_of_the_old_one(store: Store) -> None:
    assert await store.contact("o-rosa") is None
    await store.keep_contact(ROSA)
    await store.keep_contact(Contact("o-ben", "en", ""))
    await store.keep_contact(Contact("o-rosa", "en", "mailto://rosa@example.org"))

    assert await store.contact("o-rosa") == Contact("o-rosa", "en", "mailto://rosa@example.org")
    await store.keep_contact(Contact("staff:ana", "en", "mailto://ana@example.org"))
    assert [each.party for each in await store.contacts()] == ["o-rosa"]
    assert [each.party for each in await store.contacts(staff=True)] == ["staff:ana"]


async def test_what_a_contact_muted_stays_muted(store: Store) -> None:
    await store.keep_contact(ROSA)

    assert await store.contact("o-rosa") == ROSA


async def test_a_notice_is_written_once_however_often_it_is_found_due(store: Store) -> None:
    assert await store.write_notices([a_notice("a"), a_notice("b")]) == 2
    assert await store.write_notices([a_notice("b"), a_notice("c", party="o-ben")]) == 1

    due = await store.notices_to_send(now=NOON)
    assert due == [(a_notice("a"), Delivery()), (a_notice("b"), Delivery()), due[2]]
    assert [notice.key for notice, _ in await store.notices_of("o-rosa")] == ["b", "a"]
    assert len(await store.notices_to_send(now=NOON, limit=1)) == 1


async def test_a_sent_notice_is_never_due_again(store: Store) -> None:
    await store.write_notices([a_notice("a")])
    sent = after_try(Delivery(), at=NOON + MINUTE, trouble=None)
    await store.record_delivery("a", sent)

    assert await store.notices_to_send(now=NOON + 1000 * MINUTE) == []
    assert await store.notices_of("o-rosa") == [(a_notice("a"), sent)]


async def test_a_notice_that_failed_waits_and_is_given_up_in_the_end(store: Store) -> None:
    await store.write_notices([a_notice("a")])
    once = after_try(Delivery(), at=NOON, trouble="nobody answers")
    await store.record_delivery("a", once)
    assert await store.notices_to_send(now=NOON) == []
    assert await store.notices_to_send(now=NOON + MINUTE) == [(a_notice("a"), once)]

    delivery = once
    for _ in range(TRIES_MOST - 1):
        delivery = after_try(delivery, at=NOON, trouble="nobody answers")
    await store.record_delivery("a", delivery)

    assert delivery.given_up
    assert await store.notices_to_send(now=NOON + 1000 * MINUTE) == []


async def test_an_alarm_is_raised_once_and_its_first_answer_stays(store: Store) -> None:
    assert await store.raise_alarm(an_alarm())
    assert not await store.raise_alarm(an_alarm(raised_at=NOON + MINUTE))
    await store.raise_alarm(an_alarm("mass_silence:1", raised_at=NOON + MINUTE))
    await store.tell_alarm("shortfall:hot-1", rank=0, at=NOON, notices=[a_notice("told")])

    first = await store.answer_alarm("shortfall:hot-1", actor="staff:ana", at=NOON + MINUTE)
    second = await store.answer_alarm("shortfall:hot-1", actor="staff:ben", at=NOON + 2 * MINUTE)

    assert first == second
    assert first is not None
    assert (first.answered_by, first.answered_at, first.told_rank) == ("staff:ana", NOON + MINUTE, 0)
    assert [each.key for each in await store.alarms()] == ["mass_silence:1", "shortfall:hot-1"]
    assert [notice.key for notice, _ in await store.notices_to_send(now=NOON)] == ["told"]
    assert await store.answer_alarm("unknown", actor="staff:ana", at=NOON) is None


async def test_what_was_announced_of_an_event_comes_back_in_the_order_written(store: Store) -> None:
    moved = replace(a_notice("moved"), kind=NoticeKind.CHANGED)
    starts = replace(a_notice("starts"), kind=NoticeKind.STARTING)
    await store.write_notices([a_notice("z", party="o-ben"), moved, starts])
    await store.write_notices([replace(a_notice("other"), subject="hot-2"), a_notice("a")])

    assert [each.key for each in await store.announcements("hot-1")] == ["z", "moved", "a"]


async def test_an_alarm_that_is_not_over_is_there_however_many_are_newer(store: Store) -> None:
    await store.raise_alarm(an_alarm("shortfall:old"))
    await store.raise_alarm(an_alarm("shortfall:over", raised_at=NOON + MINUTE))
    await store.clear_alarm("shortfall:over", at=NOON + MINUTE)
    for number in range(2, 5):
        await store.raise_alarm(an_alarm(f"shortfall:{number}", raised_at=NOON + number * MINUTE))
        await store.clear_alarm(f"shortfall:{number}", at=NOON + 9 * MINUTE)

    keys = [each.key for each in await store.alarms(limit=2)]

    assert keys == ["shortfall:4", "shortfall:3", "shortfall:old"]


async def test_alarms_that_are_over_can_be_read_on_from_any_of_them(store: Store) -> None:
    for key, minute in (("b", 1), ("a", 1), ("c", 0), ("stands", 0), ("d", 2)):
        await store.raise_alarm(an_alarm(f"shortfall:{key}", raised_at=NOON + minute * MINUTE))
        if key != "stands":
            await store.clear_alarm(f"shortfall:{key}", at=NOON + 9 * MINUTE)

    first = await store.past_alarms(before=(NOON + 2 * MINUTE, "shortfall:d"), limit=2)
    rest = await store.past_alarms(before=(first[0].raised_at, first[0].key), limit=9)

    assert [each.key for each in first] == ["shortfall:b", "shortfall:a"]
    assert [each.key for each in rest] == ["shortfall:a", "shortfall:c"]
    assert [each.key for each in await store.alarms(limit=None)][-2:] == ["shortfall:stands", "shortfall:c"]


async def test_an_alarm_is_cleared_once(store: Store) -> None:
    await store.raise_alarm(an_alarm())
    await store.clear_alarm("shortfall:hot-1", at=NOON + MINUTE)
    await store.clear_alarm("shortfall:hot-1", at=NOON + 2 * MINUTE)

    assert (await store.alarms())[0].cleared_at == NOON + MINUTE


async def test_a_new_calendar_address_ends_the_old_one(store: Store) -> None:
    old, new = CalendarFeed("old", "o-rosa", NOON), CalendarFeed("new", "o-rosa", NOON + MINUTE)
    await store.open_calendar(old)
    await store.open_calendar(CalendarFeed("other", "o-ben", NOON))
    await store.open_calendar(new)

    assert await store.calendar(key="old") is None
    assert await store.calendar(key="new") == await store.calendar(owner_id="o-rosa") == new
    await store.close_calendar("o-rosa")
    assert await store.calendar(owner_id="o-rosa") is None
    assert await store.calendar(key="other") is not None


async def test_whoever_leaves_has_left_for_good_and_keeps_everything_back(store: Store) -> None:
    await store.enroll([a_request("s-ada"), a_request("s-ben")], at=NOON)
    before = await store.last_words()
    left = Withdrawal("s-ada", datetime(2026, 9, 10, 2, tzinfo=UTC), "owner:ada")

    assert await store.withdraw(left)
    assert not await store.withdraw(Withdrawal("s-ada", NOON, "owner:ada"))

    ada, ben = await store.enrollments()
    assert (ada.withdrawn_at, ada.reserve_permille) == (left.withdrawn_at, 1000)
    assert ben.withdrawn_at is None
    assert await store.last_words() == (before[0], before[1] + 1)


async def test_homes_are_read_together_with_the_word_of_who_reads_them(store: Store) -> None:
    await store.enroll([a_request("s-ada")], at=NOON)
    owner_id = (await store.enrollments())[0].owner_id
    entry = TrailEntry(NOON, "staff:ana", "read", f"owner:{owner_id}", "ticket 4711", "r-1")

    homes = await store.read_homes(owner_id, entry)

    assert [home.site_id for home in homes] == ["s-ada"]
    assert await store.trail(subject=f"owner:{owner_id}") == [entry]


async def test_whoever_is_forgotten_leaves_no_name_and_nobody_else_is_touched(store: Store) -> None:
    entry = TrailEntry(NOON, "owner:o-rosa", "destroy what names the owner", "owner:o-rosa", "", "r-1")
    for name, owner_id in (("rosa", "o-rosa"), ("rosas-son", "o-rosa"), ("ben", "o-ben")):
        await store.keep_user(User(name, Role.OWNER, owner_id, "a hash", NOON))
        await store.begin_session(Session(f"session-{name}", name, NOON, NOON + MINUTE))
        await store.add_login_link(LoginLink(f"link-{name}", name, NOON, NOON + MINUTE))
    await store.keep_contact(ROSA)
    await store.keep_contact(Contact("o-ben", "en", "mailto://ben@example.org"))
    await store.write_notices([a_notice("a"), a_notice("b", party="o-ben")])
    await store.open_calendar(CalendarFeed("key-rosa", "o-rosa", NOON))

    first = await store.forget_owner("o-rosa", entry)
    again = await store.forget_owner("o-rosa", entry)

    assert (first, again) == (Forgotten(1, 1, 1, 2), Forgotten(0, 0, 0, 0))
    assert [user.name for user in await store.users()] == ["ben"]
    assert (await store.session("session-rosa"), await store.use_login_link("link-rosas-son")) == (None, None)
    assert await store.session("session-ben") is not None
    assert (await store.contact("o-rosa"), await store.calendar(key="key-rosa")) == (None, None)
    assert [notice.key for notice, _ in await store.notices_to_send(now=NOON)] == ["b"]
    assert await store.contact("o-ben") is not None
    assert await store.trail(subject="owner:o-rosa") == [entry, entry]
