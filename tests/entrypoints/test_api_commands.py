"""Commands over HTTP are done once under a key, leave a trail, and lists come in pages."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from tests.entrypoints.builders import a_desk, an_enrollment_file, an_event, take_event
from vpp.domain.dispute import DisputeWord, WordKind
from vpp.domain.nomination import Nomination
from vpp.domain.notice import Alarm, NoticeKind
from vpp.domain.quantities import Watts
from vpp.entrypoints.http.api import create_api
from vpp.entrypoints.operations import sites
from vpp.entrypoints.operations.desk import Desk
from vpp.entrypoints.operations.paging import cursor_of

TOKEN = "a-token-of-the-state-directory"
KEY = {"Idempotency-Key": "k-1"}
RESERVE = "/api/v1/sites/s-1/reserve"


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    desk = a_desk(tmp_path)
    ids = [f"s-{number}" for number in range(5)]
    await sites.enroll_sites(desk, content=an_enrollment_file(*ids), file_name="sites.csv")
    for number in range(3):
        await take_event(desk, an_event(f"ev-{number}"))
    return desk


@pytest.fixture
async def api(desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    async def readiness() -> dict[str, object]:
        return {"database": True, "broker": True}

    app = create_api(lambda: desk, token=TOKEN, readiness=readiness)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://vpp", headers=headers) as client:
        yield client


async def test_a_resend_under_the_same_key_gets_the_same_answer_and_does_nothing(
    api: httpx.AsyncClient, desk: Desk
) -> None:
    first = await api.put(RESERVE, json={"reserve": "30"}, headers=KEY)
    await api.put(RESERVE, json={"reserve": "40"})

    again = await api.put(RESERVE, json={"reserve": "30"}, headers=KEY)

    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert again.headers["idempotency-replayed"] == "true"
    assert (await desk.enrollment("s-1")).reserve_permille == 400


async def test_a_refusal_is_kept_too(api: httpx.AsyncClient) -> None:
    first = await api.post("/api/v1/events/ev-1/force", headers=KEY)

    again = await api.post("/api/v1/events/ev-1/force", headers=KEY)

    assert (first.status_code, again.status_code) == (409, 409)
    assert again.headers["content-type"] == "application/problem+json"
    assert again.content == first.content


async def test_what_was_asked_wrongly_is_put_right_under_the_same_key(
    api: httpx.AsyncClient, desk: Desk
) -> None:
    wrongly = await api.put(RESERVE, json={"reserve": "130"}, headers=KEY)
    again = await api.put(RESERVE, json={"reserve": "130"}, headers=KEY)
    put_right = await api.put(RESERVE, json={"reserve": "30"}, headers=KEY)

    assert (wrongly.status_code, again.status_code, put_right.status_code) == (422, 422, 200)
    assert (await desk.enrollment("s-1")).reserve_permille == 300


async def test_another_command_under_a_used_key_is_refused_and_nothing_is_done(
    api: httpx.AsyncClient, desk: Desk
) -> None:
    await api.put(RESERVE, json={"reserve": "30"}, headers=KEY)

    other_body = await api.put(RESERVE, json={"reserve": "50"}, headers=KEY)
    other_path = await api.put("/api/v1/sites/s-2/reserve", json={"reserve": "30"}, headers=KEY)

    assert (other_body.status_code, other_path.status_code) == (422, 422)
    assert "used for another command" in other_body.json()["detail"]
    assert (await desk.enrollment("s-1")).reserve_permille == 300
    assert (await desk.enrollment("s-2")).reserve_permille == 200


async def test_two_at_once_under_one_key_do_one_thing(api: httpx.AsyncClient, desk: Desk) -> None:
    calls = (api.post("/api/v1/events/ev-1/cancel", headers=KEY) for _ in range(2))

    statuses = sorted([answer.status_code for answer in await asyncio.gather(*calls)])

    assert statuses in ([200, 200], [200, 409])
    assert len((await desk.history("ev-1")).versions) == 2
    assert len(await desk.store.trail(subject="event:ev-1")) == 1


async def test_a_password_is_answered_once_and_kept_nowhere(api: httpx.AsyncClient, desk: Desk) -> None:
    first = await api.put("/api/v1/users/ana", json={"role": "operator"}, headers=KEY)

    again = await api.put("/api/v1/users/ana", json={"role": "operator"}, headers=KEY)

    assert first.json()["password"]
    assert again.status_code == 409
    kept = await desk.store.kept_answer("k-1")
    assert kept is not None
    assert kept.body is None


async def test_a_calendar_address_is_kept_in_no_answer_and_its_end_is_answered_again(
    api: httpx.AsyncClient, desk: Desk
) -> None:
    calendar = "/api/v1/owners/o-s-1/calendar"
    made = await api.post(calendar, headers=KEY)
    opened_again = await api.post(calendar, headers=KEY)
    kept = await desk.store.kept_answer("k-1")
    ended = await api.delete(calendar, headers={"Idempotency-Key": "k-2"})
    ended_again = await api.delete(calendar, headers={"Idempotency-Key": "k-2"})

    assert made.json()["path"].startswith("/calendar/")
    assert kept is not None
    assert kept.body is None
    assert opened_again.status_code == 409
    assert (ended_again.status_code, ended_again.content) == (200, ended.content)


async def test_a_key_of_a_stranger_tells_nothing(api: httpx.AsyncClient) -> None:
    await api.put(RESERVE, json={"reserve": "30"}, headers=KEY)

    guess = await api.put(RESERVE, json={"reserve": "30"}, headers=KEY | {"Authorization": "Bearer guessed"})

    assert guess.status_code == 401
    assert guess.headers["content-type"] == "application/problem+json"


async def test_a_key_that_is_too_long_is_refused(api: httpx.AsyncClient) -> None:
    answer = await api.post("/api/v1/events/ev-1/cancel", headers={"Idempotency-Key": "k" * 129})

    assert answer.status_code == 422


async def test_the_trail_says_who_did_what_why_and_in_which_request(
    api: httpx.AsyncClient, desk: Desk
) -> None:
    said = {"X-VPP-Actor": "operator:ana", "X-VPP-Reason": "grid call 17", "X-Request-ID": "r-77"}

    done = await api.post("/api/v1/events/ev-1/cancel", headers=said)
    await api.post("/api/v1/events/ev-1/force", headers=said)
    await api.get("/api/v1/events/ev-1", headers=said)

    (entry,) = (await api.get("/api/v1/trail", params={"subject": "event:ev-1"})).json()["entries"]
    assert done.headers["x-request-id"] == "r-77"
    assert (entry["actor"], entry["action"], entry["reason"], entry["request_id"]) == (
        "operator:ana",
        "cancel",
        "grid call 17",
        "r-77",
    )


async def fill_lists(desk: Desk) -> None:
    """Have three of everything that is listed, one dispute of them answered."""
    at = desk.clock.now()
    for number in range(3):
        await desk.store.say(DisputeWord(f"o-{number}", "ev-1", WordKind.ASKED, at, "o", "Why?"))
        await desk.store.nominate(Nomination("p", f"2026-0{number + 6}", Watts(1_000), at, "op"))
        await desk.store.raise_alarm(Alarm(f"a-{number}", NoticeKind.SHORTFALL, "ev", at))
        await desk.store.clear_alarm(f"a-{number}", at=at)
    await desk.store.say(DisputeWord("o-0", "ev-1", WordKind.ANSWERED, at, "op", "So."))


@pytest.mark.parametrize(
    ("path", "name", "of"),
    [
        ("/api/v1/sites", "sites", "site_id"),
        ("/api/v1/events", "events", "event_id"),
        ("/api/v1/disputes", "disputes", "owner_id"),
        ("/api/v1/nominations", "nominations", "month"),
        ("/api/v1/alarms", "alarms", "key"),
    ],
)
async def test_a_list_comes_in_pages_that_together_are_the_whole(
    api: httpx.AsyncClient, desk: Desk, path: str, name: str, of: str
) -> None:
    await fill_lists(desk)
    whole = (await api.get(path)).json()
    found, cursor, pages = [], "", 0
    while cursor is not None:
        part = (await api.get(path, params={"cursor": cursor, "limit": 2})).json()
        found += part[name]
        pages, cursor = pages + 1, part["next_cursor"]

    assert whole["next_cursor"] is None
    assert len(found) >= 3
    assert [each[of] for each in found] == [each[of] for each in whole[name]]
    assert pages == (len(found) + 1) // 2


@pytest.mark.parametrize(
    "path",
    [
        f"/api/v1/{name}"
        for name in ("sites", "events", "trail", "users", "sources", "disputes", "nominations", "alarms")
    ],
)
async def test_a_cursor_that_was_not_given_is_refused(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(path, params={"cursor": "!made-up"})

    assert answer.status_code == 422
    assert "was not given here" in answer.json()["detail"]


@pytest.mark.parametrize("place", ["a-1", "2026-09-10T01:00:00 a-1", "2026-09-10T01:00:00+00:00"])
async def test_a_cursor_of_another_list_is_refused_by_the_alarms(api: httpx.AsyncClient, place: str) -> None:
    answer = await api.get("/api/v1/alarms", params={"cursor": cursor_of(place)})

    assert answer.status_code == 422
    assert "was not given here" in answer.json()["detail"]


async def test_alarms_that_are_over_follow_in_pages_and_none_that_stands_is_left_to_them(
    api: httpx.AsyncClient, desk: Desk
) -> None:
    for number in range(6):
        at = desk.clock.now() + timedelta(minutes=number)
        await desk.store.raise_alarm(Alarm(f"a-{number}", NoticeKind.SHORTFALL, "ev", at))
        if number != 1:
            await desk.store.clear_alarm(f"a-{number}", at=at)

    first = (await api.get("/api/v1/alarms", params={"limit": 2})).json()
    second = (await api.get("/api/v1/alarms", params={"limit": 2, "cursor": first["next_cursor"]})).json()
    last = (await api.get("/api/v1/alarms", params={"limit": 2, "cursor": second["next_cursor"]})).json()

    pages = [[each["key"] for each in part["alarms"]] for part in (first, second, last)]
    assert pages == [["a-5", "a-4", "a-1"], ["a-3", "a-2"], ["a-0"]]
    assert last["next_cursor"] is None


async def test_the_log_names_the_operation_and_neither_home_nor_person(api: httpx.AsyncClient) -> None:
    with capture_logs() as logged:
        await api.put(RESERVE, json={"reserve": "30"}, headers={"X-VPP-Actor": "operator:ana"})

    (line,) = logged
    assert (line["operation"], line["status"]) == ("change_reserve", 200)
    assert not {"s-1", "operator:ana", "30"} & {str(value) for value in line.values()}
