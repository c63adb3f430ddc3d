"""What the owner's first page says of events and the battery, and when it may not say it."""

from datetime import timedelta

import httpx
import pytest

from tests.entrypoints.pages.world import PROGRAM, Suburb, logged_in, send
from vpp.domain.access import Role
from vpp.entrypoints.operations import contacts, starting

SITE = "s-001"
OWNER = f"o-{SITE}"


@pytest.fixture
async def rosa(suburb: Suburb) -> httpx.AsyncClient:
    await suburb.add("rosa", Role.OWNER, OWNER)
    return await logged_in(suburb, "rosa")


async def begin(
    suburb: Suburb, event_id: str = "hot-1", *, mw: str = "0.05", starts_at: str = "now", name: str = ""
) -> None:
    await starting.start_event(
        suburb.desk, event_id=event_id, program_id=PROGRAM, power_mw=mw, starts_at=starts_at, minutes=120,
        name=name, actor="staff:ana",
    )  # fmt: skip


async def in_spanish(suburb: Suburb, rosa: httpx.AsyncClient) -> str:
    await contacts.speak(suburb.desk, owner_id=OWNER, language="es")
    page = (await rosa.get("/owner")).text
    await contacts.speak(suburb.desk, owner_id=OWNER, language="en")
    return page


async def test_what_was_measured_before_an_event_let_go_is_neither_live_nor_the_homes_own_use(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await begin(suburb)
    await suburb.pass_time(300)
    suburb.clock.step_to(suburb.clock.now() + timedelta(seconds=5))
    await send(rosa, f"/owner/sites/{SITE}/opt-outs/hot-1")
    await suburb.controller.turn()

    unheard, unheard_es = (await rosa.get("/owner")).text, await in_spanish(suburb, rosa)
    await suburb.pass_time(5)
    crossed, crossed_es = (await rosa.get("/owner")).text, await in_spanish(suburb, rosa)
    await suburb.pass_time(45)
    after = (await rosa.get("/owner")).text

    assert ">6:05 PM PDT</time>; your battery has not confirmed it yet." in unheard
    assert "su batería aún no lo ha confirmado." in unheard_es
    assert ">6:05 PM PDT</time>; the newest reading may still be from before." in crossed
    assert "la última lectura aún puede ser de antes." in crossed_es
    for page in (unheard, crossed):
        assert "own use" not in page
        assert 'class="badge live"' not in page
    assert "No event uses your battery now." in after
    assert 'class="badge live"' in after
