"""Logging in: passwords, links that work once, sessions that end, and what is refused."""

from datetime import timedelta

import pytest

from tests.entrypoints.pages.world import HOST, PASSWORD, Suburb, a_browser, form_token, logged_in, send
from vpp.domain.access import Role
from vpp.entrypoints.operations import people
from vpp.entrypoints.operations.desk import OperationRefused


async def test_a_password_opens_the_first_page_of_the_role(suburb: Suburb) -> None:
    await suburb.add("ana", Role.OPERATOR)
    await suburb.add("rosa", Role.OWNER, "o-s-001")

    for name, first in (("ana", "/operator"), ("rosa", "/owner")):
        browser = a_browser(suburb)
        answer = await browser.post("/login", data={"name": name, "password": PASSWORD})
        assert (answer.status_code, answer.headers["location"]) == (303, first)
        assert (await browser.get(first)).status_code == 200


async def test_a_session_cookie_is_out_of_reach_of_scripts_and_of_other_sites(suburb: Suburb) -> None:
    await suburb.add("ana", Role.OPERATOR)
    answer = await a_browser(suburb).post("/login", data={"name": "ana", "password": PASSWORD})

    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie


async def test_a_wrong_password_and_an_unknown_name_are_told_apart_by_nobody(suburb: Suburb) -> None:
    await suburb.add("ana", Role.OPERATOR)

    wrong = await a_browser(suburb).post("/login", data={"name": "ana", "password": "guessed"})
    unknown = await a_browser(suburb).post("/login", data={"name": "eve", "password": "guessed"})

    assert wrong.status_code == unknown.status_code == 401
    assert wrong.text.replace("ana", "eve") == unknown.text
    assert "do not belong together" in wrong.text


async def test_six_guesses_in_a_minute_are_one_too_many_even_with_the_right_password(suburb: Suburb) -> None:
    await suburb.add("ana", Role.OPERATOR)
    browser = a_browser(suburb)
    for _ in range(5):
        await browser.post("/login", data={"name": "ana", "password": "guessed"})

    answer = await browser.post("/login", data={"name": "ana", "password": PASSWORD})

    assert answer.status_code == 429
    assert "Wait a minute" in answer.text


async def test_a_page_without_a_login_leads_to_the_form_and_back(suburb: Suburb) -> None:
    await suburb.add("ana", Role.OPERATOR)
    browser = a_browser(suburb)

    asked = await browser.get("/operator/fleet?search=s-003")
    form = await browser.get(asked.headers["location"])
    after = await browser.post(
        "/login", data={"name": "ana", "password": PASSWORD, "next": "/operator/fleet?search=s-003"}
    )

    assert asked.status_code == 303
    assert 'value="/operator/fleet?search=s-003"' in form.text
    assert after.headers["location"] == "/operator/fleet?search=s-003"


@pytest.mark.parametrize("elsewhere", ["https://evil.example", "//evil.example", "/\\evil.example"])
async def test_a_login_never_leads_to_another_host(suburb: Suburb, elsewhere: str) -> None:
    await suburb.add("ana", Role.OPERATOR)

    answer = await a_browser(suburb).post(
        "/login", data={"name": "ana", "password": PASSWORD, "next": elsewhere}
    )

    assert answer.headers["location"] == "/operator"


async def test_a_login_link_works_once_and_not_after_its_hour(suburb: Suburb) -> None:
    await suburb.add("ana", Role.OPERATOR)
    first = str((await people.make_login_link(suburb.desk, name="ana"))["path"])
    late = str((await people.make_login_link(suburb.desk, name="ana"))["path"])

    assert (await a_browser(suburb).get(first)).status_code == 303
    assert (await a_browser(suburb).get(first)).status_code == 404
    suburb.clock.step_to(suburb.clock.now() + timedelta(hours=1))
    assert (await a_browser(suburb).get(late)).status_code == 404


async def test_a_session_ends_by_logging_out_and_by_time(suburb: Suburb) -> None:
    await suburb.add("ana", Role.OPERATOR)
    leaving, staying = await logged_in(suburb, "ana"), await logged_in(suburb, "ana")
    cookies = dict(leaving.cookies)

    await send(leaving, "/logout")
    leaving.cookies.update(cookies)
    suburb.clock.step_to(suburb.clock.now() + timedelta(hours=11))
    assert (await leaving.get("/operator")).status_code == 303
    assert (await staying.get("/operator")).status_code == 200
    suburb.clock.step_to(suburb.clock.now() + timedelta(hours=1))
    assert (await staying.get("/operator")).status_code == 303


async def test_a_form_sent_after_the_session_leads_back_to_its_page_and_does_nothing(suburb: Suburb) -> None:
    await suburb.add("ana", Role.OPERATOR)
    browser = await logged_in(suburb, "ana")
    token = form_token(await browser.get("/operator/events"))
    suburb.clock.step_to(suburb.clock.now() + timedelta(hours=12))

    answer = await browser.post(
        "/operator/stop-all",
        data={"typed": "STOP", "form_token": token},
        headers={"Referer": f"http://{HOST}/operator/events"},
    )

    assert answer.headers["location"] == "/login?next=%2Foperator%2Fevents%3Fagain%3Dyes"
    assert "you are back where you were" in (await browser.get(answer.headers["location"])).text
    done = [entry.action for entry in await suburb.desk.store.trail()]
    assert done == ["log in", "make login link", "add user"]


async def test_a_new_password_ends_the_old_sessions(suburb: Suburb) -> None:
    await suburb.add("ana", Role.OPERATOR)
    browser = await logged_in(suburb, "ana")

    await suburb.add("ana", Role.VIEWER)

    assert (await browser.get("/operator")).status_code == 303


async def test_a_cookie_that_was_not_signed_here_is_nobody(suburb: Suburb) -> None:
    await suburb.add("ana", Role.OPERATOR)
    browser = await logged_in(suburb, "ana")
    secret = browser.cookies["vpp_session"].partition(".")[0]

    browser.cookies.clear()
    browser.cookies.set("vpp_session", f"{secret}.{'0' * 64}", domain=HOST)

    assert (await browser.get("/operator")).status_code == 303


async def test_a_form_without_its_token_or_from_another_site_changes_nothing(suburb: Suburb) -> None:
    await suburb.add("ana", Role.OPERATOR)
    await suburb.add("ben", Role.OPERATOR)
    browser, other = await logged_in(suburb, "ana"), await logged_in(suburb, "ben")
    token = form_token(await other.get("/operator"))
    own = form_token(await browser.get("/operator"))

    without = await browser.post("/operator/stop-all", data={"typed": "STOP"})
    foreign = await browser.post("/operator/stop-all", data={"typed": "STOP", "form_token": token})
    cross = await browser.post(
        "/operator/stop-all",
        data={"typed": "STOP", "form_token": own},
        headers={"Sec-Fetch-Site": "cross-site"},
    )

    assert [each.status_code for each in (without, foreign, cross)] == [403, 403, 403]


async def test_every_answer_forbids_scripts_frames_and_requests_to_anywhere_else(suburb: Suburb) -> None:
    browser = a_browser(suburb)
    for path in ("/login", "/static/vpp.css", "/nothing", "/health/live", "/operator"):
        headers = (await browser.get(path)).headers
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"


async def test_a_foreign_host_name_is_not_answered(suburb: Suburb) -> None:
    browser = a_browser(suburb)

    answer = await browser.get("/login", headers={"Host": "evil.example"})
    spanish = await browser.get("/login", headers={"Host": "evil.example", "Accept-Language": "es"})
    of_api = await browser.get("/api/v1/events", headers={"Host": "evil.example"})

    assert (answer.status_code, of_api.status_code) == (421, 421)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "This service does not answer for that host name." in answer.text
    assert 'href="http://127.0.0.1' in answer.text
    assert "no responde a ese nombre" in spanish.text
    assert of_api.headers["content-type"] == "application/problem+json"
    assert of_api.json()["detail"] == "This service does not answer for that host name."


async def test_the_api_behind_the_same_door_keeps_its_problem_documents(suburb: Suburb) -> None:
    answer = await a_browser(suburb).get("/api/v1/nothing", headers={"Authorization": "Bearer a-token"})

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


async def test_the_api_is_documented_on_a_page_of_our_own(suburb: Suburb) -> None:
    page = await a_browser(suburb).get("/docs")

    assert "PUT /api/v1/events/{event_id}" in page.text
    assert "http://" not in page.text.replace("http://127.0.0.1", "")


async def test_every_operation_of_the_api_says_what_it_does_and_takes(suburb: Suburb) -> None:
    browser = a_browser(suburb)

    document = (await browser.get("/openapi.json")).json()
    page = await browser.get("/docs")

    told = [about for methods in document["paths"].values() for about in methods.values()]
    assert [each["operationId"] for each in told if not each.get("description")] == []
    start = page.text.partition("PUT /api/v1/events/{event_id}<")[2].partition("</section>")[0]
    assert "<td><code>power_mw</code></td><td>body</td><td>string" in start
    assert "<td><code>Idempotency-Key</code></td><td>header</td>" in start
    assert (
        "<td><code>409</code></td><td>What is stored does not permit it; nothing changed.</td>" in page.text
    )


async def test_a_short_password_or_an_owner_without_homes_is_refused(suburb: Suburb) -> None:
    for wrong in (
        {"role": "operator", "password": "short"},
        {"role": "owner"},
        {"role": "operator", "owner": "o-s-001"},
        {"role": "owner", "owner": "o-nobody"},
        {"role": "king"},
    ):
        with pytest.raises(OperationRefused):
            await people.add_user(suburb.desk, name="ana", **wrong)
    assert await suburb.desk.store.users() == []


async def test_a_password_made_here_is_answered_once_and_stored_only_as_its_hash(suburb: Suburb) -> None:
    added = await people.add_user(suburb.desk, name="ana", role="operator")
    user = await suburb.desk.store.user("ana")

    assert user is not None
    assert str(added["password"]) not in user.password_hash
    assert user.password_hash.startswith("$argon2id$")
    answer = await a_browser(suburb).post("/login", data={"name": "ana", "password": str(added["password"])})
    assert answer.status_code == 303
