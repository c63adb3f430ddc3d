"""What the owner's first page says of events and the battery, and when it may not say it."""

import re
from datetime import datetime, timedelta

import httpx
import pytest

from tests.entrypoints.pages import screenshots
from tests.entrypoints.pages.screenshots import an_evening_before, meter_file
from tests.entrypoints.pages.world import EVENING, PROGRAM, Suburb, logged_in, send
from vpp.domain.access import Role
from vpp.entrypoints.operations import contacts, events, metering, money, owner, sites, starting

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


async def test_what_was_measured_before_an_event_began_is_neither_live_nor_for_the_event(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await suburb.pass_time(30)
    suburb.clock.step_to(suburb.clock.now() + timedelta(seconds=5))
    await begin(suburb)
    await suburb.controller.turn()

    unseen, unseen_es = (await rosa.get("/owner")).text, await in_spanish(suburb, rosa)
    await suburb.pass_time(60)
    seen = (await rosa.get("/owner")).text

    assert re.search(r"asks for your battery from <time[^>]*>6:00 PM PDT</time> on;", unseen)
    assert "la última lectura es de antes." in unseen_es
    assert "working for the event" not in unseen
    assert 'class="badge live"' not in unseen
    assert "working for the event" in seen
    assert 'class="badge live"' in seen


async def test_an_owner_who_opts_out_in_the_middle_reads_that_what_was_given_before_counts(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await begin(suburb)
    await begin(suburb, "later", starts_at="2026-09-09T21:00")
    await suburb.pass_time(300)
    for event_id in ("hot-1", "later"):
        await send(rosa, f"/owner/sites/{SITE}/opt-outs/{event_id}")
    await suburb.pass_time(15)

    now, later = (await rosa.get("/owner")).text.split('<section class="card upcoming"')[1:3]
    now_es, later_es = (await in_spanish(suburb, rosa)).split('<section class="card upcoming"')[1:3]

    assert "From now on your battery is yours during this event." in now
    assert re.search(r"What it gave before <time[^>]*>6:05 PM PDT</time> counts\.", now)
    assert re.search(r"Lo que dio antes de las <time[^>]*>6:05 p\. m\. PDT</time> cuenta\.", now_es)
    assert "nothing" not in now
    assert "Your battery is yours during this event." in later
    assert "It earns nothing from this event." in later
    assert "Con este evento no gana nada." in later_es


async def test_an_owner_out_of_one_of_two_events_reads_that_the_other_still_uses_the_battery(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await begin(suburb, name="Hot evening")
    await suburb.pass_time(60)
    alone = (await rosa.get("/owner")).text
    await begin(suburb, "hot-2", mw="0.001", name="Feeder relief")
    await begin(suburb, "hot-3", mw="0.001", starts_at="2026-09-09T19:00", name="Night call")
    await suburb.pass_time(60)
    await send(rosa, f"/owner/sites/{SITE}/opt-outs/hot-2")
    await suburb.pass_time(60)

    page, page_es = (await rosa.get("/owner")).text, await in_spanish(suburb, rosa)
    cards = page.split('<section class="card upcoming"')[1:]
    out = next(card for card in cards if "<strong>Feeder relief</strong>" in card)

    assert "Hot evening" not in alone
    assert all(f"<strong>{name}</strong>" in page for name in ("Hot evening", "Feeder relief", "Night call"))
    assert "yours during this event" not in out
    assert "From now on this event does not use your battery." in out
    assert "Another event, Hot evening, still uses it" in out
    assert "Another event, Night call, falls into the same hours and may use it" in out
    assert "Otro evento, Hot evening, la sigue usando" in page_es
    assert "Otro evento, Night call, cae en las mismas horas" in page_es


async def usual(suburb: Suburb) -> tuple[object, object]:
    """Return the energy and the dollars of an owner's usual event."""
    found = (await owner.show_own_home(suburb.desk, owner_id=OWNER))["homes"]
    assert isinstance(found, list)
    return found[0]["usual_wh"], found[0]["usual_usd"]


async def test_an_event_that_was_cut_short_tells_nothing_of_a_usual_one(suburb: Suburb) -> None:
    await an_evening_before(suburb)
    whole = await usual(suburb)
    for day, event_id in ((1, "left"), (2, "called-off")):
        suburb.clock.step_to(EVENING + timedelta(days=day))
        suburb.report()
        await begin(suburb, event_id)
        await suburb.pass_time(1800)
        if event_id == "left":
            await sites.opt_out_site(suburb.desk, site_id=SITE, event_id="left", actor=f"owner:{OWNER}")
        else:
            await events.cancel_event(suburb.desk, event_id=event_id, actor="staff:ana")
        suburb.clock.step_to(EVENING + timedelta(days=day, hours=3))
    content = meter_file(SITE, suburb.clock.now())
    await metering.import_readings(suburb.desk, content=content, file_name="meter.csv")
    for event_id in ("left", "called-off"):
        await money.settle_event(suburb.desk, event_id=event_id)
    rows = (await owner.show_own_events(suburb.desk, owner_id=OWNER))["events"]
    assert isinstance(rows, list)

    paid = {row["event_id"] for row in rows if row["amount_usd"] != "0.00"}
    assert paid == {"hot-0", "hot-00", "left", "called-off"}
    assert whole[0]
    assert await usual(suburb) == whole


async def test_an_owner_reads_that_only_a_part_of_a_forced_event_is_paid(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await begin(suburb, starts_at="2026-09-09T19:00")
    inside = (await rosa.get("/owner")).text
    await begin(suburb, "late", starts_at="2026-09-09T20:00")
    await events.force_event(suburb.desk, event_id="late", actor="staff:ben")

    cards = (await rosa.get("/owner")).text.split('<section class="card upcoming"')[1:]
    spanish = await in_spanish(suburb, rosa)

    said = "This event goes beyond your program's days, hours or lengths; only its part inside them is paid."
    assert said not in inside
    assert [said in card for card in cards] == [False, True]
    assert "solo se paga la parte que cae dentro." in spanish


async def test_a_minus_among_what_a_battery_discharged_is_explained(
    suburb: Suburb, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = screenshots.meter_file

    def took_in_on_one_day(site_id: str, now: datetime) -> bytes:
        before, day, after = plain(site_id, now).decode().partition(f"{site_id},2026-09-09T02:00:00Z")
        return (before + day + after.replace(",90000,", ",92000,")).encode()

    monkeypatch.setattr(screenshots, "meter_file", took_in_on_one_day)
    await screenshots.an_evening_before(suburb)

    await suburb.add("rosa", Role.OWNER, OWNER)
    page = await (await logged_in(suburb, "rosa")).get("/owner/events/hot-0")
    days = re.sub(r"<[^>]+>", "", page.text)

    assert re.search(r"Tue Sep 8 \(-1\.\d+, ", days)
    assert "A minus says that in that time the battery took in more than it gave." in days
