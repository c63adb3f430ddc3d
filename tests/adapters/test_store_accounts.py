"""What every store promises about people, their logins and the trail they leave."""

from datetime import UTC, datetime, timedelta

from vpp.domain.access import ANSWERS_KEPT, KeptAnswer, LoginLink, Role, Session, TrailEntry, User
from vpp.ports import Store

NOON = datetime(2026, 9, 9, 19, tzinfo=UTC)


def a_user(name: str, role: Role = Role.OPERATOR, owner_id: str | None = None) -> User:
    return User(name, role, owner_id, f"$argon2id${name}", NOON)


def a_session(key: str, name: str, *, at: datetime = NOON, hours: int = 12) -> Session:
    return Session(key, name, at, at + timedelta(hours=hours))


def an_entry(action: str, subject: str, *, minute: int = 0) -> TrailEntry:
    return TrailEntry(NOON + timedelta(minutes=minute), "staff:ana", action, subject, "asked", "r-1")


async def test_people_are_found_by_name_and_listed_in_order(store: Store) -> None:
    owner = a_user("rosa", Role.OWNER, "o-1")
    await store.keep_user(owner)
    await store.keep_user(a_user("ana"))

    assert await store.user("rosa") == owner
    assert await store.user("nobody") is None
    assert [user.name for user in await store.users()] == ["ana", "rosa"]


async def test_a_new_password_ends_every_login_of_that_person_and_of_nobody_else(store: Store) -> None:
    for name in ("ana", "rosa"):
        await store.keep_user(a_user(name))
        await store.begin_session(a_session(f"session-{name}", name))
        await store.add_login_link(LoginLink(f"link-{name}", name, NOON, NOON + timedelta(hours=1)))

    await store.keep_user(a_user("ana", Role.VIEWER))

    assert await store.session("session-ana") is None
    assert await store.use_login_link("link-ana") is None
    assert await store.session("session-rosa") is not None
    assert await store.use_login_link("link-rosa") is not None


async def test_a_session_lasts_until_it_is_ended(store: Store) -> None:
    await store.keep_user(a_user("ana"))
    session = a_session("key", "ana")
    await store.begin_session(session)
    assert await store.session("key") == session

    await store.end_session("key")
    await store.end_session("key")

    assert await store.session("key") is None


async def test_a_login_forgets_the_sessions_that_expired_before_it(store: Store) -> None:
    await store.keep_user(a_user("ana"))
    await store.begin_session(a_session("old", "ana"))

    await store.begin_session(a_session("new", "ana", at=NOON + timedelta(hours=12)))

    assert await store.session("old") is None
    assert await store.session("new") is not None


async def test_a_login_link_works_once(store: Store) -> None:
    await store.keep_user(a_user("ana"))
    link = LoginLink("key", "ana", NOON, NOON + timedelta(hours=1))
    await store.add_login_link(link)

    assert await store.use_login_link("key") == link
    assert await store.use_login_link("key") is None


async def test_the_trail_is_read_newest_first_and_by_what_it_is_about(store: Store) -> None:
    await store.leave_trail([an_entry("read", "owner:o-1"), an_entry("cancel", "event:ev-1", minute=1)])
    await store.leave_trail([an_entry("read", "owner:o-1", minute=2)])

    assert [entry.action for entry in await store.trail()] == ["read", "cancel", "read"]
    assert [entry.at.minute for entry in await store.trail(subject="owner:o-1")] == [2, 0]
    assert len(await store.trail(limit=1)) == 1


async def test_the_first_answer_under_a_key_stays(store: Store) -> None:
    first = KeptAnswer("k-1", "ab" * 32, 200, b'{"done":1}', NOON)
    secret = KeptAnswer("k-2", "cd" * 32, 200, None, NOON)

    for answer in (first, secret, KeptAnswer("k-1", "ef" * 32, 409, b"{}", NOON)):
        await store.keep_answer(answer)

    assert await store.kept_answer("k-1") == first
    assert await store.kept_answer("k-2") == secret
    assert await store.kept_answer("k-3") is None


async def test_an_answer_is_forgotten_after_a_day(store: Store) -> None:
    await store.keep_answer(KeptAnswer("old", "ab" * 32, 200, b"{}", NOON))

    await store.keep_answer(KeptAnswer("new", "ab" * 32, 200, b"{}", NOON + ANSWERS_KEPT))

    assert await store.kept_answer("old") is None
    assert await store.kept_answer("new") is not None
