"""Every page and every role: made from the routers, so that a new page without a right fails."""

from collections.abc import Iterator

import httpx
import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from tests.entrypoints.pages.world import Suburb, a_browser, form_token, logged_in
from vpp.domain.access import RIGHTS, Role
from vpp.entrypoints.http.pages import ROUTERS
from vpp.entrypoints.http.visitor import Permit, checked_form, checked_stop

FOR_ALL = {"/", "/login", "/login/once/{secret}", "/calendar/{secret}.ics"}
FOR_ANYBODY_LOGGED_IN = {"/logout"}
ROUTES = [
    (method, route)
    for router in ROUTERS
    for route in router.routes
    if isinstance(route, APIRoute)
    for method in sorted(route.methods or ())
]


def inside(dependant: Dependant) -> Iterator[object]:
    for each in dependant.dependencies:
        yield each.call
        yield from inside(each)


def permit_of(route: APIRoute) -> Permit | None:
    permits = [call for call in inside(route.dependant) if isinstance(call, Permit)]
    return permits[0] if len(permits) == 1 else None


def path_of(route: APIRoute) -> str:
    return route.path.format(event_id="ev-1", site_id="s-001", program_id="none", secret="none")


def test_every_page_names_exactly_one_right() -> None:
    without = {route.path for _, route in ROUTES if permit_of(route) is None}

    assert without == FOR_ALL | FOR_ANYBODY_LOGGED_IN


def test_every_form_but_the_login_is_checked_for_its_token() -> None:
    unchecked = {
        route.path
        for method, route in ROUTES
        if method == "POST" and {checked_form, checked_stop}.isdisjoint(inside(route.dependant))
    }

    assert unchecked == {"/login"}


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_opens_its_pages_and_no_other(suburb: Suburb, role: Role) -> None:
    await suburb.add("visitor", role, "o-s-001" if role is Role.OWNER else None)
    browser = await logged_in(suburb, "visitor")
    token = form_token(await browser.get("/", follow_redirects=True))

    for method, route in ROUTES:
        permit = permit_of(route)
        if permit is None:
            continue
        suburb.clock.step_to(suburb.clock.now())
        answer = await _ask(browser, method, path_of(route), token)
        if permit.right in RIGHTS[role]:
            assert answer.status_code in (200, 303, 404, 409, 422), (method, route.path, answer.text)
            assert "not for the role" not in answer.text
        else:
            expected = 404 if role is Role.OWNER else 403
            assert answer.status_code == expected, (method, route.path)


async def _ask(browser: httpx.AsyncClient, method: str, path: str, token: str) -> httpx.Response:
    data = {"form_token": token} if method == "POST" else None
    return await browser.request(method, path, data=data)


async def test_nobody_sees_anything_without_a_login(suburb: Suburb) -> None:
    browser = a_browser(suburb)

    for method, route in ROUTES:
        if route.path not in FOR_ALL:
            answer = await _ask(browser, method, path_of(route), "guessed")
            assert answer.status_code == 303, (method, route.path)
            assert answer.headers["location"].startswith("/login")


async def test_an_owner_finds_no_home_of_another_owner(suburb: Suburb) -> None:
    await suburb.add("rosa", Role.OWNER, "o-s-001")
    browser = await logged_in(suburb, "rosa")
    token = form_token(await browser.get("/owner"))

    for path in (
        "/owner/sites/s-002/reserve",
        "/owner/sites/s-002/opt-outs/ev-1",
        "/owner/sites/none/reserve",
        "/owner/sites/s-002/leaving",
    ):
        answer = await browser.post(path, data={"form_token": token, "reserve": "0", "typed": "LEAVE"})
        assert answer.status_code == 404, path
        assert "no such home of yours" in answer.text
    assert (await suburb.desk.enrollment("s-002")).withdrawn_at is None
