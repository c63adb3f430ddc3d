"""Stop-all from a page while the database is down: who was logged in before may do that, and only that."""

import re
import time
from pathlib import Path
from typing import cast

import httpx
import pytest

from tests.entrypoints.pages.world import a_browser, form_token, logged_in
from tests.entrypoints.test_database_down import (
    DatabaseThatGoesDown,
    DatabaseThatHangs,
    Evening,
    an_evening,
)
from vpp.domain.access import Role
from vpp.domain.command import Action
from vpp.ports import Store

STOP = "/operator/stop-all"


@pytest.fixture
def database() -> DatabaseThatGoesDown:
    return DatabaseThatGoesDown()


@pytest.fixture
async def evening(tmp_path: Path, database: DatabaseThatGoesDown) -> Evening:
    evening = await an_evening(tmp_path, cast(Store, database))
    for name, role in (("ana", Role.OPERATOR), ("vera", Role.VIEWER)):
        await evening.suburb.add(name, role)
    return evening


async def on_the_board(evening: Evening, name: str) -> tuple[httpx.AsyncClient, str]:
    browser = await logged_in(evening.suburb, name)
    return browser, form_token(await browser.get("/operator"))


async def test_an_operator_who_was_logged_in_stops_all_while_the_database_is_down(
    evening: Evening, database: DatabaseThatGoesDown
) -> None:
    ana, token = await on_the_board(evening, "ana")
    commanded = evening.commanded()
    database.down = True

    refused = await ana.post(STOP, data={"form_token": token, "typed": "stap"})
    stopped = await ana.post(STOP, data={"form_token": token, "typed": "STOP"})

    assert refused.status_code == 422
    assert "Type STOP" in refused.text
    assert stopped.status_code == 200
    assert f"{len(commanded)} homes are being released. The database is down" in stopped.text
    assert evening.sites(Action.RELEASE) == commanded
    assert evening.commanded() == set()
    database.down = False
    await evening.recover()
    told = await database._store.trail(subject="event:ev-1")
    assert (told[0].actor, told[0].action) == ("staff:ana", "stop all")


async def test_an_operator_who_was_logged_in_stops_all_while_the_database_hangs(tmp_path: Path) -> None:
    database = DatabaseThatHangs()
    evening = await an_evening(tmp_path, cast(Store, database))
    await evening.suburb.add("ana", Role.OPERATOR)
    ana, token = await on_the_board(evening, "ana")
    commanded = evening.commanded()
    database.hang()

    begins = time.monotonic()
    stopped = await ana.post(STOP, data={"form_token": token, "typed": "STOP"})

    assert time.monotonic() - begins < 8, "the deadlines in a row; the database is asked for 10 s and more"
    assert "Not cancelled there yet: ev-1." in stopped.text
    assert evening.sites(Action.RELEASE) == commanded
    database.go_on()


async def test_the_page_that_says_that_the_database_is_down_keeps_the_button_that_stops(
    evening: Evening, database: DatabaseThatGoesDown
) -> None:
    ana, _ = await on_the_board(evening, "ana")
    database.down = True

    page = await ana.get("/operator")
    stopped = await ana.post(STOP, data={"form_token": form_token(page), "typed": "stop"})

    assert page.status_code == 503
    assert stopped.status_code == 200


async def test_nobody_else_stops_all_while_the_database_is_down_and_nothing_else_is_done(
    evening: Evening, database: DatabaseThatGoesDown
) -> None:
    ana, token = await on_the_board(evening, "ana")
    vera, _ = await on_the_board(evening, "vera")
    stranger = a_browser(evening.suburb)
    database.down = True

    answers = [
        await browser.post(STOP, data={"form_token": token, "typed": "stop"}) for browser in (vera, stranger)
    ]
    other = await ana.post("/operator/events/ev-1/cancel", data={"form_token": token, "typed": "ev-1"})

    assert [each.status_code for each in answers] == [503, 303]
    assert other.status_code == 503
    assert evening.left == []


async def test_a_login_that_was_ended_stops_nothing_while_the_database_is_down(
    evening: Evening, database: DatabaseThatGoesDown
) -> None:
    ana, token = await on_the_board(evening, "ana")
    cookie = str(ana.cookies["vpp_session"])
    await ana.post("/logout", data={"form_token": token})
    database.down = True
    thief = a_browser(evening.suburb)
    thief.cookies.set("vpp_session", cookie)

    answer = await thief.post(STOP, data={"form_token": token, "typed": "stop"})

    assert answer.status_code == 503
    assert evening.left == []


async def test_one_event_and_one_home_are_told_in_the_singular(evening: Evening) -> None:
    ana, token = await on_the_board(evening, "ana")

    stopped = await ana.post(STOP, data={"form_token": token, "typed": "stop"})

    assert re.search(r"1 event cancelled, \d+ homes? (is|are) being released", stopped.text)
