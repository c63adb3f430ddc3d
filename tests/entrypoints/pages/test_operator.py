"""The operator's pages, from looking to stopping."""

import asyncio
import csv
import io
import re
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from tests.entrypoints.builders import an_event, take_event
from tests.entrypoints.pages.world import EVENING, PROGRAM, Suburb, a_suburb, logged_in, send
from vpp.domain.access import Role
from vpp.domain.command import Action
from vpp.domain.grid_event import GridSource
from vpp.domain.quantities import Watts
from vpp.entrypoints.operations import changing, events, starting


@pytest.fixture
async def ana(suburb: Suburb) -> httpx.AsyncClient:
    await suburb.add("ana", Role.OPERATOR)
    return await logged_in(suburb, "ana")


STEP = timedelta(seconds=15)
WISH = {
    "event_id": "console-1",
    "program_id": PROGRAM,
    "power_mw": "0.02",
    "minutes": "60",
    "name": "Hot evening",
}


async def start(browser: httpx.AsyncClient, **fields: str) -> httpx.Response:
    typed = fields.get("power_mw", WISH["power_mw"])
    return await send(browser, "/operator/new-event", **(WISH | {"step": "start", "typed": typed} | fields))


async def test_a_preview_says_what_the_fleet_would_give_and_commands_nobody(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    page = await send(ana, "/operator/new-event", **WISH)
    await suburb.pass_time(30)

    assert page.status_code == 200
    assert re.search(r"<dt>Would get</dt><dd>20\.0 kW", page.text)
    assert re.search(r"<dt>Available at once</dt><dd>60\.0 kW", page.text)
    assert re.search(r"<dt>Costs at most</dt><dd>\$40\.00", page.text)
    assert "Alameda" in page.text
    assert not await suburb.desk.store.histories()
    assert (await suburb.desk.store.last_tick()).sequence == 0


async def test_a_preview_names_the_shortfall_in_words_and_not_by_colour_alone(ana: httpx.AsyncClient) -> None:
    page = await send(ana, "/operator/new-event", **(WISH | {"power_mw": "0.1"}))

    assert re.search(
        r'failed"><dt>Shortfall</dt><dd><span class="icon" aria-hidden="true">✖</span> 40\.0 kW', page.text
    )


async def test_an_event_starts_only_with_its_power_typed_again(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    refused = await start(ana, typed="0.2")
    assert refused.status_code == 422
    assert "Nothing was started" in refused.text
    assert not await suburb.desk.store.histories()

    started = await start(ana)
    await suburb.pass_time(120)

    assert started.headers["location"] == "/operator/events/console-1"
    assert suburb.plan("console-1").setpoint_w.sum() == 20_000
    (entry,) = await suburb.desk.store.trail(subject="event:console-1")
    assert (entry.action, entry.request_id[:5]) == ("start", "page-")


async def test_a_form_sent_twice_starts_one_event(suburb: Suburb, ana: httpx.AsyncClient) -> None:
    first, second = await start(ana), await start(ana)
    other = await start(ana, power_mw="0.03")

    assert (first.status_code, second.status_code, other.status_code) == (303, 303, 422)
    (history,) = await suburb.desk.store.histories()
    assert len(history.versions) == 1
    assert "Another event has the id" in other.text


@pytest.mark.parametrize(
    ("field", "typed", "words"),
    [
        ("power_mw", "lots", "not a number of megawatts"),
        ("power_mw", "-1", "not 0.000001 to 100000 MW"),
        ("power_mw", "NaN", "not 0.000001 to 100000 MW"),
        ("minutes", "soon", "not a whole number of minutes"),
        ("minutes", "0", "not 1 to 1440"),
        ("starts_at", "2020-01-01T18:00", "is over"),
        ("starts_at", "tomorrow", "not a time like"),
        ("program_id", "nothing", "is not known"),
    ],
)
async def test_a_form_that_cannot_be_used_says_why_and_keeps_what_was_typed(
    ana: httpx.AsyncClient, field: str, typed: str, words: str
) -> None:
    page = await send(ana, "/operator/new-event", **(WISH | {field: typed, "name": "kept <b>name</b>"}))

    assert page.status_code == 422
    assert words in page.text
    assert 'value="kept &lt;b&gt;name&lt;/b&gt;"' in page.text


async def test_an_event_for_a_county_that_nobody_lives_in_is_neither_offered_nor_started(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    preview = await send(ana, "/operator/new-event", **(WISH | {"targets": "Alameda, Almeda"}))
    started = await start(ana, targets="Almeda")

    assert preview.status_code == 422
    assert re.search(
        r'value="Alameda, Almeda".*id="targets-fault">No utility, group, county or feeder is called Almeda<',
        preview.text,
        re.DOTALL,
    )
    assert "Start event" not in preview.text
    assert started.status_code == 422
    assert not await suburb.desk.store.histories()


async def test_an_event_that_nobody_was_asked_for_says_so_in_words(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await starting.start_event(
        suburb.desk, event_id="later", program_id=PROGRAM, power_mw="0.02", actor="staff:ana",
        starts_at="2026-09-10T18:00",
    )  # fmt: skip
    waiting = await ana.get("/operator/events/later")
    await events.cancel_event(suburb.desk, event_id="later", actor="staff:ana")
    over = await ana.get("/operator/events/later")

    assert "No home was sent a command yet." in waiting.text
    assert "No home was sent a command." in over.text
    assert "0 ticks" not in waiting.text + over.text


async def test_an_event_that_ended_by_itself_is_not_said_to_have_released_nobody(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await start(ana)
    await suburb.pass_time(60)
    on = await ana.get("/operator/events/console-1")
    await suburb.pass_time(3600)
    over = await ana.get("/operator/events/console-1")

    assert re.search(r"to 12 homes, 0 of them released;", on.text)
    assert re.search(r"to 12 homes;", over.text)


async def test_homes_that_had_no_time_yet_are_starting_and_not_late(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await start(ana)
    await suburb.controller.turn()  # they have their commands, and nobody looked at them since

    page = await ana.get("/operator/boards")

    assert "Homes are starting." in page.text
    assert "below target" not in page.text


async def test_the_board_shows_target_delivery_and_every_home_by_its_proof(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await start(ana)
    await suburb.pass_time(300)

    page = await ana.get("/operator")

    assert re.search(r"<dt>Delivered</dt><dd>20\.0 kW <small>100 %", page.text)
    assert re.search(r"<dt>Asked</dt><dd>20\.0 kW", page.text)
    assert re.search(r"<dt>Left</dt>\s*<dd>55 min", page.text)
    assert "On target." in page.text
    assert re.search(r"<strong>\d+</strong> delivering", page.text)
    assert 'class="line forecast"' in page.text
    assert 'class="line measured"' in page.text


async def test_a_board_fragment_follows_the_fleet_and_is_the_same_for_all(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await suburb.add("vic", Role.VIEWER)
    vic = await logged_in(suburb, "vic")
    await start(ana)
    await suburb.pass_time(300)

    first = await ana.get("/operator/events/console-1/board")
    second = await vic.get("/operator/events/console-1/board")

    assert first.text == second.text
    assert "form_token" not in first.text
    assert first.headers["etag"] == second.headers["etag"]


async def test_the_chart_shows_what_was_asked_when_and_nothing_after_a_cancel(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await start(ana, power_mw="0.03")
    asked = []
    await suburb.pass_time(300)
    asked.append(asked_line(await ana.get("/operator/events/console-1")))
    await changing.modify_event(suburb.desk, event_id="console-1", power_mw="0.02", actor="staff:ana")
    await suburb.pass_time(300)
    asked.append(asked_line(await ana.get("/operator/events/console-1")))
    await events.cancel_event(suburb.desk, event_id="console-1", actor="staff:ana")
    await suburb.pass_time(15)
    asked.append(asked_line(await ana.get("/operator/events/console-1")))

    assert [len({y for _, y in line}) for line in asked] == [1, 2, 2]
    measured = points_of(await ana.get("/operator/events/console-1"), "measured")
    assert asked[2][-1][0] <= measured[-1][0]


def asked_line(page: httpx.Response) -> list[tuple[float, float]]:
    return points_of(page, "target")


def points_of(page: httpx.Response, line: str) -> list[tuple[float, float]]:
    found = re.search(rf'<polyline class="line {line}" points="([^"]*)"', page.text)
    assert found is not None
    return [(float(x), float(y)) for x, y in (point.split(",") for point in found[1].split())]


async def test_a_silent_home_turns_late_and_is_made_good(suburb: Suburb, ana: httpx.AsyncClient) -> None:
    await start(ana, power_mw="0.03")
    await suburb.pass_time(300)
    serving = [int(row) for row in suburb.live.busy(suburb.clock.now()).nonzero()[0]]

    for _ in range(8):
        suburb.clock.step_to(suburb.clock.now().replace(microsecond=0) + STEP)
        suburb.report(silent=serving[:1])
        await suburb.controller.turn()
    page = await ana.get("/operator/events/console-1")

    assert re.search(
        r'class="late"><a [^>]+><span class="icon" aria-hidden="true">▲</span>\s*<strong>1</strong> silent',
        page.text,
    )
    assert re.search(r'<dd class="late">.*▲</span> \d\.\d kW of it estimated</dd>', page.text)


async def test_a_cancel_needs_the_name_typed_and_releases_every_home(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await start(ana)
    await suburb.pass_time(120)

    wrong = await send(ana, "/operator/events/console-1/cancel", typed="console")
    assert wrong.status_code == 422
    assert 'value="console"' in wrong.text
    done = await send(ana, "/operator/events/console-1/cancel", typed="console-1")
    await suburb.pass_time(15)

    assert done.status_code == 303
    told = re.findall(
        r"<li><time.*?>([^<]+)</time>: (\w+)", (await ana.get("/operator/events/console-1")).text
    )
    assert [word for _, word in told] == ["start", "version", "cancel", "version"]
    page = await ana.get("/operator/events/console-1")
    assert re.search(r"to \d+ homes, all of them released", page.text)
    ticks = await suburb.desk.store.event_ticks("console-1")
    assert ticks[-1].orders[0].action is Action.RELEASE
    assert not suburb.live.busy(suburb.clock.now()).any()


async def test_a_stale_page_that_acts_on_a_cancelled_event_is_told_so(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await take_event(suburb.desk, an_event("ev-old", out_of_program=("too_long",)))
    await send(ana, "/operator/events/ev-old/cancel", typed="ev-old")

    forced = await send(ana, "/operator/events/ev-old/force", typed="ev-old")

    assert forced.status_code == 409
    assert "is cancelled already; your page was older" in forced.text


async def test_nobody_forces_or_approves_by_a_single_click(tmp_path: Path) -> None:
    suburb = await a_suburb(tmp_path, console_mw=0)
    for name in ("ana", "ben"):
        await suburb.add(name, Role.APPROVER)
    ana, ben = await logged_in(suburb, "ana"), await logged_in(suburb, "ben")
    await start(ana)
    await take_event(suburb.desk, an_event("ev-out", out_of_program=("too_long",)))

    approved = await send(ben, "/operator/events/console-1/approve")
    forced = await send(ben, "/operator/events/ev-out/force", typed="ev")

    assert (approved.status_code, forced.status_code) == (422, 422)
    assert "Type console-1 to approve this event. Nothing was changed." in approved.text
    assert re.search(r'id="force-fault">Type ev-out to force .*?value="ev"', forced.text, re.S)
    for event_id in ("console-1", "ev-out"):
        assert not (await suburb.desk.history(event_id)).grants


async def test_stop_all_releases_every_home_of_every_event(suburb: Suburb, ana: httpx.AsyncClient) -> None:
    await start(ana)
    await suburb.pass_time(120)

    not_typed = await send(ana, "/operator/stop-all", typed="no")
    stopped = await send(ana, "/operator/stop-all", typed="stop")
    await suburb.pass_time(15)

    assert not_typed.status_code == 422
    assert "1 event cancelled" in stopped.text
    assert not suburb.live.busy(suburb.clock.now()).any()


async def test_an_event_outside_its_program_waits_until_somebody_else_forces_it(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await suburb.add("ben", Role.OPERATOR)
    ben = await logged_in(suburb, "ben")
    await suburb.pass_time(15)
    await start(ana, minutes="30")
    await suburb.pass_time(60)
    page = await ana.get("/operator/events/console-1")
    assert "Outside its program: too short" in page.text
    assert re.search(r"<dt>Would ask</dt><dd>20\.0 kW</dd>.*<dt>Left</dt><dd>29 min</dd>", page.text, re.S)
    assert suburb.live.plan("console-1") is None or not suburb.plan("console-1").setpoint_w.any()

    assert "You began it: somebody else has to force it." in page.text
    assert "Force event" not in page.text
    assert "Force event" in (await ben.get("/operator/events/console-1")).text

    own = await send(ana, "/operator/events/console-1/force", typed="console-1")
    await suburb.pass_time(60)
    assert (own.status_code, "somebody else has to force" in own.text) == (409, True)
    assert suburb.live.plan("console-1") is None or not suburb.plan("console-1").setpoint_w.any()

    await send(ben, "/operator/events/console-1/force", typed="console-1")
    await suburb.pass_time(60)

    assert suburb.plan("console-1").setpoint_w.any()


async def test_an_event_above_the_limit_waits_for_a_second_person(tmp_path: Path) -> None:
    suburb = await a_suburb(tmp_path, console_mw=0)
    for name in ("ana", "ben"):
        await suburb.add(name, Role.APPROVER)
    ana, ben = await logged_in(suburb, "ana"), await logged_in(suburb, "ben")
    await start(ana)
    await suburb.pass_time(30)

    own = await send(ana, "/operator/events/console-1/approve", typed="console-1")
    assert own.status_code == 409
    assert re.search(r'<p class="fault" role="alert">[^<]*somebody else has to approve', own.text)
    assert "That did not work" not in own.text
    assert (await send(ben, "/operator/events/console-1/approve", typed="console-1")).status_code == 303
    await suburb.pass_time(60)

    assert suburb.plan("console-1").setpoint_w.sum() == 20_000


async def limited(suburb: Suburb, limit_w: int) -> None:
    """Let the console ask that much without a second person."""
    keys = suburb.desk.keys
    await suburb.desk.store.add_source(GridSource("console", keys.public_key, Watts(limit_w), EVENING))


async def test_all_there_is_above_the_limit_waits_for_a_second_person_beside_what_runs(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await limited(suburb, 15_000)
    await suburb.add("cora", Role.APPROVER)
    cora = await logged_in(suburb, "cora")
    await start(ana, power_mw="all", minutes="60")
    before = await cora.get("/operator/events/console-1")
    await suburb.pass_time(60)
    running = await cora.get("/operator/events/console-1")
    within_limit = suburb.plan("console-1").setpoint_w.sum()

    await send(cora, "/operator/events/console-1/approve", typed="console-1")
    await suburb.pass_time(60)
    after = await cora.get("/operator/events/console-1")

    for page in (before, running):
        assert "45.0 kW of it is above its source's limit" in page.text
        assert "Type <code>console-1</code> to approve it" in page.text
    assert within_limit == 15_000
    assert suburb.plan("console-1").setpoint_w.sum() == 60_000
    assert "above its source" not in after.text
    assert "Approve event" not in after.text


async def test_all_there_is_below_the_limit_waits_for_nobody(suburb: Suburb, ana: httpx.AsyncClient) -> None:
    await suburb.add("cora", Role.APPROVER)
    await start(ana, power_mw="all", minutes="60")
    await suburb.pass_time(60)

    page = await (await logged_in(suburb, "cora")).get("/operator/events/console-1")

    assert suburb.plan("console-1").setpoint_w.sum() == 60_000
    assert "Approve event" not in page.text


async def test_the_fleet_table_finds_homes_by_name_and_by_reason(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await start(ana)
    await suburb.pass_time(120)

    by_name = await ana.get("/operator/fleet", params={"search": "s-003"})
    by_reason = await ana.get("/operator/fleet", params={"reason": "below_reserve"})
    of_event = await ana.get("/operator/fleet", params={"event": "console-1"})
    unknown = await ana.get("/operator/fleet", params={"reason": "nonsense"})

    assert "1 of 12 homes" in by_name.text
    assert "o-s-003" not in by_name.text
    assert "0 of 12 homes" in by_reason.text
    assert "ready or helping (12)</option>" in by_reason.text
    assert "takes part (12)</option>" in of_event.text
    assert unknown.status_code == 422


async def test_a_home_with_its_owner_is_shown_for_a_reason_that_the_owner_sees(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await suburb.add("rosa", Role.OWNER, "o-s-003")

    asked = await ana.get("/operator/sites/s-003")
    shown = await ana.get("/operator/sites/s-003", params={"reason": "ticket 4711"})
    seen = await (await logged_in(suburb, "rosa")).get("/owner/data")

    assert "o-s-003" not in asked.text
    assert "o-s-003" in shown.text
    assert "ticket 4711" in seen.text
    assert "staff:ana" in seen.text


async def test_names_from_outside_are_text_and_never_markup(suburb: Suburb, ana: httpx.AsyncClient) -> None:
    await start(ana, name="<script>alert(1)</script>")

    page = await ana.get("/operator/events/console-1")

    assert "&lt;script&gt;" in page.text
    assert "<script>alert" not in page.text


async def test_the_hours_used_of_a_season_stand_beside_what_its_program_allows(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await start(ana, minutes="90")
    await suburb.pass_time(60)
    suburb.clock.step_to(suburb.clock.now() + timedelta(minutes=29))

    page, file = await ana.get("/operator/events"), await ana.get("/operator/programs.csv")
    wish = {"event_id": "next", "program_id": PROGRAM, "power_mw": "0.02", "minutes": "60"}
    preview = await send(ana, "/operator/new-event", **wish)
    await events.cancel_event(suburb.desk, event_id="console-1", actor="staff:ana")
    cancelled = await ana.get("/operator/events")

    assert "0.5 h used, 1.0 h scheduled, of 60 h" in page.text
    assert (
        "The program's season: 0.5 h used, 1.0 h scheduled, of 60 h; this event adds 1.0 h." in preview.text
    )
    (row,) = csv.DictReader(io.StringIO(file.text))
    assert (row["season_used_s"], row["season_scheduled_s"]) == ("5400", "3600")
    assert "0.5 h used of 60 h" in cancelled.text
    assert "4:00 PM to 9:00 PM, America/Los_Angeles" in page.text


async def test_whoever_has_the_newest_board_is_told_so_without_it(
    suburb: Suburb, ana: httpx.AsyncClient
) -> None:
    await start(ana)
    first = await ana.get("/operator/events/console-1/board")

    again = await ana.get(
        "/operator/events/console-1/board", headers={"If-None-Match": first.headers["etag"]}
    )

    assert (again.status_code, again.content) == (304, b"")


async def test_a_hundred_boards_of_one_moment_are_made_once(suburb: Suburb, ana: httpx.AsyncClient) -> None:
    await start(ana)
    await suburb.pass_time(60)

    boards = await asyncio.gather(*(ana.get("/operator/events/console-1/board") for _ in range(100)))

    assert len({board.headers["etag"] for board in boards}) <= 2
    assert {board.status_code for board in boards} == {200}
