"""What a page says when something went wrong: staff exactly, owners in their language."""

import re

import pytest

from tests.entrypoints.pages.world import Suburb, a_browser, form_token, logged_in, send
from vpp.domain.access import Role
from vpp.entrypoints.operations import contacts

SPANISH = {"Accept-Language": "es-MX,es;q=0.9"}


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/nowhere", "no hay nada, o no es suyo"),
        ("/operator", "no hay nada, o no es suyo"),
        ("/login/once/guessed", "Este enlace ya se usó"),
    ],
)
async def test_an_owner_who_chose_spanish_reads_every_fault_in_spanish(
    suburb: Suburb, path: str, sentence: str
) -> None:
    await suburb.add("rosa", Role.OWNER, "o-s-001")
    await contacts.speak(suburb.desk, owner_id="o-s-001", language="es")
    rosa = await logged_in(suburb, "rosa")

    page = await rosa.get(path)

    assert page.status_code == 404
    assert 'lang="es"' in page.text
    assert sentence in page.text
    assert "Mis datos" in page.text  # the way on


async def test_whoever_is_not_logged_in_reads_the_browsers_language(suburb: Suburb) -> None:
    browser = a_browser(suburb)

    spanish = await browser.get("/nowhere", headers=SPANISH)
    english = await browser.get("/nowhere", headers={"Accept-Language": "de"})
    login = await browser.get("/login", headers=SPANISH)
    wrong = await browser.post("/login", data={"name": "eve", "password": "guessed"}, headers=SPANISH)

    assert "Volver al inicio" in spanish.text
    assert "There is nothing at this address" in english.text
    assert "Contraseña" in login.text
    assert "Saltar al contenido" in login.text
    assert "no corresponden" in wrong.text


async def test_a_form_too_many_in_a_few_seconds_is_told_so_in_the_owners_language(suburb: Suburb) -> None:
    await suburb.add("rosa", Role.OWNER, "o-s-001")
    await contacts.speak(suburb.desk, owner_id="o-s-001", language="es")
    rosa = await logged_in(suburb, "rosa")
    token = form_token(await rosa.get("/owner"))

    answers = [
        await rosa.post("/owner/sites/s-001/reserve", data={"form_token": token, "reserve": "101"})
        for _ in range(31)
    ]

    assert {each.status_code for each in answers[:30]} == {422}
    assert answers[30].status_code == 429
    assert "Demasiados formularios" in answers[30].text


async def test_a_form_that_is_too_long_is_answered_by_a_page(suburb: Suburb) -> None:
    await suburb.add("rosa", Role.OWNER, "o-s-001")
    await suburb.add("ana", Role.OPERATOR)
    rosa, ana = await logged_in(suburb, "rosa"), await logged_in(suburb, "ana")

    of_owner = await rosa.post("/owner/contact", data={"address": "x" * 70_000}, headers=SPANISH)
    of_staff = await ana.post("/operator/new-event", data={"name": "x" * 70_000})

    assert (of_owner.status_code, of_staff.status_code) == (413, 413)
    assert "Lo que se envió es demasiado largo; nada cambió." in of_owner.text
    assert "at most 65,536 bytes" in of_staff.text
    assert "Stop all" in of_staff.text


async def test_staff_read_what_exactly_was_refused_with_stop_all_in_reach(suburb: Suburb) -> None:
    await suburb.add("vera", Role.VIEWER)
    await suburb.add("ana", Role.OPERATOR)

    forbidden = await (await logged_in(suburb, "vera")).get("/operator/new-event")
    unknown = await (await logged_in(suburb, "ana")).get("/operator/events/hot-9")
    untyped = await send(await logged_in(suburb, "ana"), "/operator/stop-all", typed="no")

    assert forbidden.status_code == 403
    assert "not for the role viewer" in forbidden.text
    assert "event hot-9 is not known" in unknown.text
    assert untyped.status_code == 422
    assert 'id="stop-fault">Type STOP to release every home. Nothing was changed.' in untyped.text
    assert re.search(r'<input id="stop-typed" [^>]*value="no" aria-invalid="true"', untyped.text)
    assert ["Stop all" in page.text for page in (forbidden, unknown, untyped)] == [False, True, True]
