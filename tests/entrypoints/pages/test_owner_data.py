"""The owner's data: another language, leaving, files, a calendar, where to write to, and who looked."""

import csv
import io
import re
import zipfile
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from icalendar import Calendar

from tests.entrypoints.builders import an_enrollment_file, an_event, take_event
from tests.entrypoints.pages.world import PROGRAM, Suburb, a_browser, a_suburb, logged_in, send
from vpp.domain.access import Role
from vpp.domain.fleet import TelemetryBatch
from vpp.domain.interval import to_epoch
from vpp.domain.notice import NoticeKind
from vpp.domain.quantities import column, flags
from vpp.entrypoints.operations import (
    changing,
    contacts,
    disputes,
    events,
    metering,
    money,
    own_data,
    sites,
    staff_reads,
    starting,
)
from vpp.entrypoints.operations.desk import OperationRefused
from vpp.stages.collect import collect

SITE = "s-001"
OWNER = f"o-{SITE}"
_MINUTES_90 = timedelta(minutes=90)


@pytest.fixture
async def rosa(suburb: Suburb) -> httpx.AsyncClient:
    await suburb.add("rosa", Role.OWNER, OWNER)
    return await logged_in(suburb, "rosa")


async def begin(suburb: Suburb, event_id: str = "hot-1", starts_at: str = "now") -> None:
    await starting.start_event(
        suburb.desk, event_id=event_id, program_id=PROGRAM, power_mw="0.05", starts_at=starts_at, minutes=120,
        actor="staff:ana",
    )  # fmt: skip


def words_of(page: httpx.Response) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page.text))


async def test_events_and_programs_are_called_by_their_names_and_a_reason_of_ours_in_the_owners_language(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await starting.start_event(
        suburb.desk, event_id="hot-1", program_id=PROGRAM, power_mw="0.05", name="EEA 2", actor="staff:ana",
        starts_at="2026-09-10T18:00",
    )  # fmt: skip
    await send(rosa, f"/owner/sites/{SITE}/opt-outs/hot-1")
    await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")
    await staff_reads.read_home(suburb.desk, owner_id=OWNER, actor="staff:ana")

    english = words_of(await rosa.get("/owner/data"))
    await contacts.speak(suburb.desk, owner_id=OWNER, language="es")
    spanish = words_of(await rosa.get("/owner/data"))

    assert "Joined ELRP A.4, PG" in english
    assert "opted out of EEA 2, Thu Sep 10, 6:00 PM PDT" in english
    assert "asked on the command line" in english
    assert "dijo que no a EEA 2, jue 10 sep, 6:00 p. m. PDT" in spanish
    assert "pedido en la línea de órdenes" in spanish
    assert not re.search("hot-1|elrp-a4", english + spanish)
    assert "command line" not in spanish


async def test_spanish_stays_chosen_on_every_page(suburb: Suburb, rosa: httpx.AsyncClient) -> None:
    chosen = await send(rosa, "/owner/language", language="es", back="/owner/events")
    pages = [await rosa.get(path) for path in ("/owner", "/owner/events", "/owner/data")]

    assert chosen.headers["location"] == "/owner/events"
    assert ['lang="es"' in page.text for page in pages] == [True, True, True]
    assert "Mi batería" in pages[0].text
    assert "Nadie del personal ha mirado sus datos." in pages[2].text


async def test_a_language_form_leads_to_no_other_site(suburb: Suburb, rosa: httpx.AsyncClient) -> None:
    chosen = await send(rosa, "/owner/language", language="es", back="//elsewhere.example")

    assert chosen.headers["location"] == "/owner"


async def test_a_browser_that_asks_for_spanish_gets_it_before_anything_is_chosen(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    page = await rosa.get("/owner", headers={"Accept-Language": "es-MX,es;q=0.9"})

    assert "Próximo evento" in page.text


async def test_whoever_leaves_is_released_at_once_and_nothing_more_is_collected(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await begin(suburb)
    await suburb.pass_time(60)
    assert suburb.live.busy(suburb.clock.now())[1]

    left = await send(rosa, f"/owner/sites/{SITE}/leaving", typed="leave")
    fleet = suburb.controller.fleet
    assert not fleet.consented[1]  # before any tick
    await suburb.controller.turn()

    assert left.headers["location"] == "/owner?saved=left"
    assert not suburb.live.busy(suburb.clock.now())[1]
    assert suburb.live.busy(suburb.clock.now())[0]
    refused = await hear(suburb, 1)
    assert refused == {("telemetry", "not_enrolled"): 1}
    page = await rosa.get("/owner")
    assert "nothing is collected from this home" in page.text
    assert "Save reserve" not in page.text


async def hear(suburb: Suburb, row: int) -> dict[tuple[str, str], int]:
    """Let one home report past the decoder, and return what was refused."""
    one, no = column([0]), flags([False])
    now_s = column([to_epoch(suburb.clock.now())])
    batch = TelemetryBatch(
        column([row]), now_s, one, one, column([800]), one, column([5000]), column([13305]), column([200]),
        one, one, flags([True]), no, no, no,
    )  # fmt: skip
    controller = suburb.controller
    heard = controller.link.decode([])
    heard.telemetry = batch
    collected = await collect(
        heard, fleet=controller.fleet, roster=controller.roster, programs=controller.programs,
        store=controller.store, link=controller.link, clock=controller.clock,
    )  # fmt: skip
    return dict(collected.refused)


async def test_leaving_needs_the_word_typed(suburb: Suburb, rosa: httpx.AsyncClient) -> None:
    page = await send(rosa, f"/owner/sites/{SITE}/leaving", typed="yes")

    assert page.status_code == 422
    assert 'value="yes"' in page.text
    assert 'aria-describedby="typed-fault"' in page.text
    assert (await suburb.desk.enrollment(SITE)).withdrawn_at is None


async def test_what_was_stays_in_view_after_leaving_and_what_comes_later_is_none_of_ours(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await begin(suburb)
    await suburb.pass_time(60)
    await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")
    await send(rosa, f"/owner/sites/{SITE}/leaving", typed="LEAVE")
    suburb.clock.step_to(suburb.clock.now().replace(hour=3))
    await begin(suburb, "hot-2")
    await events.cancel_event(suburb.desk, event_id="hot-2", actor="staff:ana")

    page = await rosa.get("/owner/events")
    data = await rosa.get("/owner/data")

    assert "/owner/events/hot-1" in page.text
    assert "hot-2" not in page.text
    assert (await rosa.get("/owner/events/hot-2")).status_code == 404
    assert "Consent withdrawn, left the program" in data.text


async def test_nobody_commands_a_home_that_left_even_in_the_tick_that_was_being_decided(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    before = await suburb.desk.store.last_words()
    await own_data.leave_program(suburb.desk, owner_id=OWNER, site_id=SITE, actor="owner:rosa")

    assert await suburb.desk.store.last_words() != before
    assert (await suburb.desk.enrollment(SITE)).reserve_permille == 1000


async def test_everything_comes_as_tables_in_one_file(suburb: Suburb, rosa: httpx.AsyncClient) -> None:
    await begin(suburb)
    await suburb.pass_time(60)
    await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")
    await send(rosa, f"/owner/sites/{SITE}/reserve", reserve="30")

    answer = await rosa.get("/owner/export.zip")

    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        tables = {name: archive.read(name).decode() for name in archive.namelist()}
    assert {"homes.csv", "consents.csv", "who-looked.csv", "events.csv"} <= set(tables)
    assert tables["homes.csv"].splitlines()[0].startswith("site_id,site_no")
    assert "reserve 30 %" in tables["who-looked.csv"]
    (event,) = csv.DictReader(io.StringIO(tables["events.csv"]))
    assert (event["starts_at"], event["starts_at_local"]) == (
        "2026-09-10T01:00:00Z", "2026-09-09T18:00:00-07:00"
    )  # fmt: skip
    assert event["test"] == "false"
    assert ",withdrawn_at,withdrawn_at_local" in tables["homes.csv"].splitlines()[0], "though nobody left"
    assert "s-002" not in "".join(tables.values())


async def test_staff_leave_a_reason_before_an_owners_data_is_read(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    with pytest.raises(OperationRefused, match="say why"):
        await own_data.export_owner(suburb.desk, owner_id=OWNER, actor="staff:ana", reason=" ")
    assert await suburb.desk.store.trail(subject=f"owner:{OWNER}") == []

    await own_data.export_owner(suburb.desk, owner_id=OWNER, actor="staff:ana", reason="ticket 4711")

    assert "ticket 4711" in (await rosa.get("/owner/data")).text


async def test_an_address_to_which_nothing_is_sent_is_kept_and_says_so(tmp_path: Path) -> None:
    pages = {}
    for mail in (True, False):
        suburb = await a_suburb(tmp_path / str(mail), mail=mail)
        await suburb.add("rosa", Role.OWNER, OWNER)
        rosa = await logged_in(suburb, "rosa")
        before = (await rosa.get("/owner/data")).text
        await send(rosa, "/owner/contact", address="rosa@example.org")
        pages[mail] = (before, (await rosa.get("/owner/data")).text)
        await contacts.speak(suburb.desk, owner_id=OWNER, language="es")
        spanish = await rosa.get("/owner/data")
        assert ("desde aquí no se envía correo" in spanish.text) is not mail

    said = "no e-mail is sent from here: no mail server is set."
    assert [said in page for page in (*pages[True], *pages[False])] == [False, False, False, True]


async def calendar_of(rosa: httpx.AsyncClient, suburb: Suburb) -> tuple[str, Calendar]:
    page = await send(rosa, "/owner/calendar")
    found = re.search(r"/calendar/[\w-]+\.ics", page.text)
    assert found is not None
    file = await a_browser(suburb).get(found[0])
    assert file.headers["content-type"] == "text/calendar; charset=utf-8"
    return found[0], Calendar.from_ical(file.text)


async def test_a_calendar_moves_an_event_and_cancels_it_and_shows_it_once(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await begin(suburb, starts_at="2026-09-09T19:00")
    address, first = await calendar_of(rosa, suburb)
    await changing.modify_event(suburb.desk, event_id="hot-1", minutes=90, actor="staff:ana")
    moved = Calendar.from_ical((await a_browser(suburb).get(address)).text)
    await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")
    cancelled = Calendar.from_ical((await a_browser(suburb).get(address)).text)

    entries = [calendar.walk("VEVENT") for calendar in (first, moved, cancelled)]
    assert [len(each) for each in entries] == [1, 1, 1]
    assert {str(each[0]["uid"]) for each in entries} == {"hot-1@vpp"}
    assert [int(each[0]["sequence"]) for each in entries] == [0, 1, 2]
    assert [str(each[0]["status"]) for each in entries] == ["CONFIRMED", "CONFIRMED", "CANCELLED"]
    assert entries[1][0].decoded("dtend") - entries[1][0].decoded("dtstart") == _MINUTES_90
    assert SITE not in str(first)


async def test_a_calendar_says_that_an_event_is_tentative_until_somebody_confirms_it(tmp_path: Path) -> None:
    suburb = await a_suburb(tmp_path, console_mw=0)
    await suburb.add("rosa", Role.OWNER, OWNER)
    rosa = await logged_in(suburb, "rosa")
    await suburb.add("ben", Role.APPROVER)
    ben = await logged_in(suburb, "ben")
    await begin(suburb, starts_at="2026-09-09T19:00")
    await take_event(suburb.desk, an_event("ev-out", out_of_program=("too_long",)))
    address, waiting = await calendar_of(rosa, suburb)
    answers = [
        await send(ben, "/operator/events/hot-1/approve", typed="hot-1"),
        await send(ben, "/operator/events/ev-out/force", typed="ev-out"),
    ]
    confirmed = Calendar.from_ical((await a_browser(suburb).get(address)).text)

    def said(calendar: Calendar) -> dict[str, tuple[str, int]]:
        found = calendar.walk("VEVENT")
        return {str(each["uid"]): (str(each["status"]), int(each["sequence"])) for each in found}

    assert [answer.status_code for answer in answers] == [303, 303]
    assert said(waiting) == {"hot-1@vpp": ("TENTATIVE", 0), "ev-out@vpp": ("TENTATIVE", 0)}
    assert said(confirmed) == {"hot-1@vpp": ("CONFIRMED", 1), "ev-out@vpp": ("CONFIRMED", 1)}


async def test_a_calendar_and_the_card_leave_out_whom_an_event_does_not_mean(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    elsewhere = an_enrollment_file("s-far", county="Fresno")
    await sites.enroll_sites(suburb.desk, content=elsewhere, file_name="far.csv")
    await suburb.pass_time(15)
    address, _ = await calendar_of(rosa, suburb)
    shown = []
    await begin(suburb, starts_at="2026-09-09T19:00")
    for targets in (["fresno"], []):
        shown.append((await a_browser(suburb).get(address)).text)
        await changing.modify_event(suburb.desk, event_id="hot-1", targets=targets, actor="staff:ana")
        card = (await rosa.get("/owner")).text
        assert ("meant for other places" in card) == bool(targets)
    shown.append((await a_browser(suburb).get(address)).text)
    await starting.start_event(
        suburb.desk, event_id="hot-2", program_id=PROGRAM, power_mw="0.001", starts_at="2026-09-09T19:30",
        targets=["fresno"], actor="staff:ana",
    )  # fmt: skip
    shown.append((await a_browser(suburb).get(address)).text)

    entries = [Calendar.from_ical(text).walk("VEVENT") for text in shown]
    assert [[str(each["status"]) for each in found] for found in entries] == [
        ["CONFIRMED"],
        ["CANCELLED"],
        ["CONFIRMED"],
        ["CONFIRMED"],
    ]


async def test_a_calendar_says_of_an_event_that_its_owner_opted_out(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await begin(suburb, starts_at="2026-09-09T19:00")
    address, _ = await calendar_of(rosa, suburb)
    entries = []
    for word in ("out", "in", "out"):
        await suburb.pass_time(30)
        if word == "out":
            await sites.opt_out_site(suburb.desk, site_id=SITE, event_id="hot-1", actor="owner:rosa")
        else:
            await sites.opt_in_site(suburb.desk, site_id=SITE, event_id="hot-1")
        entries += Calendar.from_ical((await a_browser(suburb).get(address)).text).walk("VEVENT")
    await send(rosa, "/owner/language", language="es", back="/owner")
    spanish = Calendar.from_ical((await a_browser(suburb).get(address)).text).walk("VEVENT")

    assert [str(each["status"]) for each in entries] == ["CANCELLED", "CONFIRMED", "CANCELLED"]
    assert [int(each["sequence"]) for each in entries] == [1, 2, 3]
    assert str(entries[0]["summary"]) == "You opted out: your battery does not help the grid"
    assert str(entries[1]["summary"]) == "Your battery helps the grid"
    assert entries[0].decoded("dtstamp") < entries[1].decoded("dtstamp") < entries[2].decoded("dtstamp")
    assert [str(each["summary"]) for each in spanish] == ["Usted no participa: su batería no ayuda a la red"]


async def test_a_calendar_address_is_shown_once_and_void_when_its_owner_says_so(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    old, _ = await calendar_of(rosa, suburb)
    new, _ = await calendar_of(rosa, suburb)

    assert (await a_browser(suburb).get(old)).status_code == 404
    assert new not in (await rosa.get("/owner/data")).text
    await send(rosa, "/owner/calendar/end")
    assert (await a_browser(suburb).get(new)).status_code == 404
    assert (await a_browser(suburb).get("/calendar/guessed.ics")).status_code == 404


async def test_an_owner_chooses_where_and_about_what_to_be_written_to(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    kept = await send(rosa, "/owner/contact", address="rosa@example.org", scheduled="yes", ended="yes")

    contact = await suburb.desk.store.contact(OWNER)
    assert kept.status_code == 303
    assert contact is not None
    assert contact.address == "rosa@example.org"
    assert contact.muted == {NoticeKind.CHANGED, NoticeKind.STARTING, NoticeKind.PAID}
    await send(rosa, "/owner/contact", address="")
    assert "rosa@example.org" not in (await rosa.get("/owner/data")).text


@pytest.mark.parametrize(
    "typed",
    [
        "rosa",
        "json://127.0.0.1:8080/",
        "file:///etc/passwd",
        "ntfy://10.0.0.1/topic",
        "mailto://a:b@host",
        "<b>",
    ],
)
async def test_an_address_that_is_none_or_that_would_make_us_call_a_host_of_ours_is_refused(
    suburb: Suburb, rosa: httpx.AsyncClient, typed: str
) -> None:
    page = await send(rosa, "/owner/contact", address=typed, paid="yes")

    assert page.status_code == 422
    assert 'id="address-fault"' in page.text
    assert typed in page.text.replace("&lt;", "<").replace("&gt;", ">")
    assert await suburb.desk.store.contacts() == []


async def test_an_owner_asks_about_an_event_and_reads_the_answer_where_it_was_asked(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    await begin(suburb)
    await suburb.pass_time(60)
    await events.cancel_event(suburb.desk, event_id="hot-1", actor="staff:ana")
    suburb.clock.step_to(suburb.clock.now().replace(minute=30))
    await money.settle_event(suburb.desk, event_id="hot-1")

    empty = await send(rosa, "/owner/events/hot-1/question", text=" ")
    long = await send(rosa, "/owner/events/hot-1/question", text="why " * 300)
    asked = await send(rosa, "/owner/events/hot-1/question", text="My meter ran.\r\nWhy <b>zero</b>?")
    page = await rosa.get("/owner/events/hot-1")
    await disputes.answer_dispute(
        suburb.desk, owner_id=OWNER, period="hot-1", text="Your gateway sent no reading.", actor="staff:ana"
    )
    answered = await rosa.get("/owner/events/hot-1")
    with zipfile.ZipFile(io.BytesIO((await rosa.get("/owner/export.zip")).content)) as archive:
        words = list(csv.DictReader(io.StringIO(archive.read("questions.csv").decode())))

    assert [(each["about"], each["kind"]) for each in words] == [("hot-1", "asked"), ("hot-1", "answered")]
    assert words[1]["text"] == "Your gateway sent no reading."
    assert (empty.status_code, long.status_code, asked.status_code) == (422, 422, 303)
    assert "why why why" in long.text
    assert "Why &lt;b&gt;zero&lt;/b&gt;?" in page.text
    assert "No answer yet." in page.text
    assert "Your gateway sent no reading." in answered.text
    assert "No answer yet." not in answered.text
    assert (await send(rosa, "/owner/events/hot-9/question", text="And this?")).status_code == 404


async def test_no_meter_file_brings_readings_from_after_an_owner_left(suburb: Suburb) -> None:
    await own_data.leave_program(suburb.desk, owner_id=OWNER, site_id=SITE, actor="owner:rosa")
    suburb.clock.step_to(suburb.clock.now().replace(hour=3))
    header = "site_id,at,discharged_wh,charged_wh,imported_wh,exported_wh,quality\n"
    before, after = (f"{SITE},2026-09-10T0{hour}:30:00Z,10,20,,,OK\n" for hour in (0, 2))

    with pytest.raises(OperationRefused, match="1 faults, nothing of it was stored") as refused:
        await metering.import_readings(
            suburb.desk, content=(header + before + after).encode(), file_name="meter.csv"
        )
    taken = await metering.import_readings(
        suburb.desk, content=(header + before).encode(), file_name="meter.csv"
    )

    assert (
        refused.value.faults[0].partition(": at: ")[2].startswith(f"site {SITE} left at 2026-09-10T01:00:00Z")
    )
    assert (taken["sites"], taken["readings"]) == (1, 1)


async def test_an_owner_of_several_homes_calls_them_by_words_of_her_own(suburb: Suburb) -> None:
    content = an_enrollment_file("a-1", "a-2", owner_id="o-ann")
    await sites.enroll_sites(suburb.desk, content=content, file_name="more.csv")
    await suburb.controller.turn()
    await suburb.add("ann", Role.OWNER, "o-ann")
    ann = await logged_in(suburb, "ann")

    answer = await send(ann, "/owner/sites/a-2/name", name=" <Cabin> ")
    home, data = await ann.get("/owner"), await ann.get("/owner/data?saved=name")

    assert answer.headers["location"] == "/owner/data?saved=name#homes"
    assert "<h2>Now <small>&lt;Cabin&gt;</small></h2>" in home.text
    assert "<h2>Now <small>a-1</small></h2>" in home.text
    assert 'value="&lt;Cabin&gt;"' in data.text
    assert "Saved." in data.text
    assert (await ann.get("/owner/export.json")).json()["contact"]["home_names"] == {"a-2": "<Cabin>"}

    await send(ann, "/owner/sites/a-2/name", name="")

    assert "Cabin" not in (await ann.get("/owner")).text


async def test_a_name_that_cannot_be_kept_stays_typed_beside_the_reason(
    suburb: Suburb, rosa: httpx.AsyncClient
) -> None:
    content = an_enrollment_file("s-777", owner_id=OWNER)
    await sites.enroll_sites(suburb.desk, content=content, file_name="more.csv")

    long = await send(rosa, f"/owner/sites/{SITE}/name", name="x" * 41)
    foreign = await send(rosa, "/owner/sites/s-003/name", name="mine")

    assert long.status_code == 422
    assert foreign.status_code == 404
    assert f'value="{"x" * 41}" aria-invalid="true"' in long.text
    assert "up to 40 letters on one line" in long.text


async def test_names_of_homes_and_the_address_are_kept_apart_and_forgotten_together(suburb: Suburb) -> None:
    desk = suburb.desk
    await contacts.name_home(desk, owner_id=OWNER, site_id=SITE, name="Main house")
    await contacts.keep_contact(desk, owner_id=OWNER, address="ann@example.org")
    await contacts.speak(desk, owner_id=OWNER, language="es")

    told = await contacts.show_contact(desk, owner_id=OWNER)

    assert told["home_names"] == {SITE: "Main house"}
    assert told["language"] == "es"
    for name in ("two\nlines", "x" * 41):
        with pytest.raises(OperationRefused, match="up to 40 letters"):
            await contacts.name_home(desk, owner_id=OWNER, site_id=SITE, name=name)
    with pytest.raises(OperationRefused, match="has no home 's-002'"):
        await contacts.name_home(desk, owner_id=OWNER, site_id="s-002", name="mine")
