"""An event from a person's hand to the homes: approve, change, stop everything."""

from dataclasses import replace
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from rich.console import Console

from tests.entrypoints.builders import an_enrollment_file
from tests.entrypoints.pages.world import PASSWORD, PROGRAM, Suburb, a_suburb
from vpp.adapters.memory.store import MemoryStore
from vpp.domain.access import Role, TrailEntry
from vpp.domain.command import Action
from vpp.domain.event_end import cancelled
from vpp.domain.grid_event import GridEvent, GridSource
from vpp.domain.quantities import Watts
from vpp.entrypoints import rendering
from vpp.entrypoints.operations.board import show_board
from vpp.entrypoints.operations.changing import modify_event
from vpp.entrypoints.operations.desk import OperationRefused
from vpp.entrypoints.operations.evening import show_evening
from vpp.entrypoints.operations.events import cancel_event, force_event, show_event
from vpp.entrypoints.operations.money import show_statement
from vpp.entrypoints.operations.own_data import open_calendar
from vpp.entrypoints.operations.own_files import calendar_by_secret
from vpp.entrypoints.operations.owner import show_own_events
from vpp.entrypoints.operations.people import make_login_link
from vpp.entrypoints.operations.replay import replay_event
from vpp.entrypoints.operations.sites import enroll_sites, opt_out_site
from vpp.entrypoints.operations.starting import approve_event, start_event, stop_all
from vpp.entrypoints.operations.tracing import trace_site

ANA, BEN = "staff:ana", "operator:ben"


@pytest.fixture
async def suburb(tmp_path: Path) -> Suburb:
    return await a_suburb(tmp_path)


async def start(suburb: Suburb, event_id: str = "ev-1", **wish: Any) -> None:
    asked: dict[str, Any] = {"power_mw": "0.02", "minutes": 60, "actor": ANA} | wish
    await start_event(suburb.desk, event_id=event_id, program_id=PROGRAM, **asked)
    await suburb.pass_time(30)


async def limit(suburb: Suburb, watts: int) -> None:
    key = suburb.desk.keys.public_key
    await suburb.desk.store.add_source(GridSource("console", key, Watts(watts), suburb.clock.now()))


def asked_w(suburb: Suburb, event_id: str = "ev-1") -> int:
    return int(suburb.plan(event_id).setpoint_w.sum())


async def test_part_within_the_limit_goes_at_once_and_the_rest_after_a_second_person(suburb: Suburb) -> None:
    await limit(suburb, 8_000)

    await start(suburb)
    at_once_w = asked_w(suburb)
    approved = await approve_event(suburb.desk, event_id="ev-1", actor=BEN)
    await suburb.pass_time(15)

    assert at_once_w == 8_000
    assert approved["approved_by"] == BEN
    assert asked_w(suburb) == 20_000


async def test_of_all_there_is_the_part_that_homes_could_hold_above_the_limit_waits(suburb: Suburb) -> None:
    """Twelve homes of 5 kW: whom another event holds, or whose owner said no, has nothing that waits."""
    await limit(suburb, 40_000)
    await start(suburb, power_mw="all", minutes=60)
    await start(suburb, "ev-2", power_mw="0.02", minutes=60)  # newer, so it has the homes
    busy = int(suburb.live.serving("ev-2", suburb.clock.now()).sum())
    free_w = 5_000 * (12 - busy)

    beside = await show_board(suburb.desk, event_id="ev-1")
    site_id = suburb.controller.roster.enrollments[
        int(np.flatnonzero(suburb.plan("ev-1").setpoint_w)[0])
    ].site_id
    await opt_out_site(suburb.desk, site_id=site_id, event_id="ev-1", actor="owner:o-1")
    await suburb.pass_time(15)
    without_one = await show_board(suburb.desk, event_id="ev-1")
    await approve_event(suburb.desk, event_id="ev-1", actor=BEN)

    assert busy > 0
    assert beside["unapproved_w"] == free_w - 20_000
    assert without_one["unapproved_w"] == free_w - 5_000 - 20_000
    assert (await show_board(suburb.desk, event_id="ev-1"))["unapproved_w"] == 0


@pytest.mark.parametrize("same_person", ["staff:ana", "operator:ana"])
async def test_nobody_approves_what_they_started_whichever_door_they_come_through(
    suburb: Suburb, same_person: str
) -> None:
    await limit(suburb, 8_000)
    await start(suburb)

    with pytest.raises(OperationRefused, match="started event ev-1; somebody else has to approve it"):
        await approve_event(suburb.desk, event_id="ev-1", actor=same_person)


async def asked(suburb: Suburb, path: str, actor: str, **body: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=suburb.app)
    headers = {"Authorization": "Bearer a-token", "X-VPP-Actor": actor}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as asking:
        return await asking.post(f"/api/v1/events/ev-1/{path}", json=body or None)


@pytest.mark.parametrize("claim", ["operator:ada", "staff:ben"])
async def test_a_name_in_a_header_is_no_second_person_and_a_login_is(suburb: Suburb, claim: str) -> None:
    await limit(suburb, 8_000)
    await suburb.add("ben", Role.APPROVER)
    await suburb.add("eve", Role.OPERATOR)
    await suburb.pass_time(15)
    await start(suburb)

    claimed = await asked(suburb, "approve", claim)
    wrong = await asked(suburb, "approve", claim, login="ben", password="a-guess-of-mine")
    no_right = await asked(suburb, "approve", claim, login="eve", password=PASSWORD)
    proven = await asked(suburb, "approve", claim, login="ben", password=PASSWORD)

    assert (claimed.status_code, wrong.status_code, no_right.status_code) == (409, 403, 403)
    assert "vpp event approve ev-1 --as NAME" in claimed.text
    assert "takes approver" in no_right.text
    assert (proven.status_code, proven.json()["approved_by"]) == (200, "staff:ben")


@pytest.mark.parametrize("anew", ["user", "link"])
async def test_a_login_that_was_given_after_the_event_began_approves_nothing(
    suburb: Suburb, anew: str
) -> None:
    await limit(suburb, 8_000)
    if anew == "link":
        await suburb.add("ben", Role.APPROVER)
    await suburb.pass_time(15)
    await start(suburb)
    if anew == "link":
        await make_login_link(suburb.desk, name="ben", actor=ANA)
    else:
        await suburb.add("ben", Role.APPROVER)

    on_the_page = approve_event(suburb.desk, event_id="ev-1", actor="staff:ben")
    with pytest.raises(OperationRefused, match="given anew after staff:ana started event ev-1"):
        await on_the_page
    by_command = await asked(suburb, "approve", "operator:root", login="ben", password=PASSWORD)

    assert by_command.status_code == 409


async def test_whoever_began_an_event_is_not_forgotten_among_many_other_entries(suburb: Suburb) -> None:
    await limit(suburb, 8_000)
    await start(suburb)
    noise = TrailEntry(suburb.clock.now(), ANA, "approve", "event:ev-1", "", "")
    await suburb.desk.store.leave_trail([noise] * 500)

    with pytest.raises(OperationRefused, match="started event ev-1"):
        await approve_event(suburb.desk, event_id="ev-1", actor=ANA)


async def test_what_a_person_began_at_a_terminal_is_forced_with_a_login_only(suburb: Suburb) -> None:
    await suburb.add("eve", Role.OPERATOR)
    await suburb.pass_time(15)
    await start(suburb, minutes=30, actor="operator:root")  # too short for its program

    with pytest.raises(OperationRefused, match="vpp event force ev-1 --as NAME"):
        await force_event(suburb.desk, event_id="ev-1", actor="operator:root")
    claimed = await asked(suburb, "force", "operator:ada")
    forced = await force_event(
        suburb.desk, event_id="ev-1", actor="operator:root", login="eve", password=PASSWORD
    )

    assert claimed.status_code == 409
    assert forced["forced_by"] == "staff:eve"
    logins = await suburb.desk.store.trail(subject="user:eve")
    assert logins[0].reason == "for one command of operator:root"


@pytest.mark.parametrize("began_by", [ANA, "operator:ana"])
async def test_whoever_began_an_event_forces_it_neither_on_its_page_nor_at_a_terminal(
    suburb: Suburb, began_by: str
) -> None:
    await suburb.add("ana", Role.OPERATOR)
    await suburb.pass_time(15)
    await start(suburb, minutes=30, actor=began_by)
    await suburb.add("new", Role.OPERATOR)

    for proof in ({"actor": ANA}, {"actor": "operator:ana"},
                  {"actor": "operator:root", "login": "ana", "password": PASSWORD}):  # fmt: skip
        with pytest.raises(OperationRefused, match="somebody else has to force it"):
            await force_event(suburb.desk, event_id="ev-1", **proof)
    with pytest.raises(OperationRefused, match="so it proves no second person"):
        await force_event(suburb.desk, event_id="ev-1", actor="staff:new")

    assert not (await suburb.desk.history("ev-1")).grants


async def test_one_operator_at_a_terminal_is_the_second_person_of_a_grid_source(suburb: Suburb) -> None:
    await limit(suburb, 8_000)
    await start(suburb)
    grids = await suburb.desk.history("ev-1")
    grid_event = replace(grids.latest, event_id="ev-2", source="caiso")
    await suburb.desk.store.append_version(grid_event, actor="caiso")

    approved = await approve_event(suburb.desk, event_id="ev-2", actor="operator:root", claimed=True)

    assert approved["approved_by"] == "operator:root"


async def test_nobody_approves_what_they_changed(suburb: Suburb) -> None:
    await limit(suburb, 8_000)
    await start(suburb)
    await modify_event(suburb.desk, event_id="ev-1", power_mw="0.03", actor=BEN)

    with pytest.raises(OperationRefused, match="changed event ev-1"):
        await approve_event(suburb.desk, event_id="ev-1", actor=BEN)


async def test_changed_power_moves_the_fleet_and_is_a_version_of_its_own(suburb: Suburb) -> None:
    await start(suburb)

    changed = await modify_event(suburb.desk, event_id="ev-1", power_mw="0.03", minutes=90, actor=BEN)
    again = await modify_event(suburb.desk, event_id="ev-1", power_mw="0.03", minutes=90, actor=BEN)
    await suburb.pass_time(15)

    shown = await show_event(suburb.desk, event_id="ev-1")
    assert changed["version"] == again["version"] == 2
    assert [version["operation"] for version in shown["versions"]] == ["CREATE", "UPDATE"]  # type: ignore[attr-defined]  # an answer's values are plain JSON
    assert asked_w(suburb) == 30_000
    assert changed["ends_at"] == "2026-09-10T02:30:00Z"


async def test_what_is_added_up_as_it_comes_is_what_the_whole_record_adds_up_to(suburb: Suburb) -> None:
    stored = replace(suburb.desk, live=None)
    await start(suburb)

    for change in ({}, {"power_mw": "0.03"}, {"targets": ["Alameda"]}, {"power_mw": "0.01"}):
        if change:
            await modify_event(suburb.desk, event_id="ev-1", actor=BEN, **change)  # type: ignore[arg-type]  # each is what its name takes
        await suburb.pass_time(120)
        await enroll_sites(
            suburb.desk,
            content=an_enrollment_file(f"s-late-{suburb.clock.now():%H%M%S}"),
            file_name="late.csv",
        )
        assert await show_event(suburb.desk, event_id="ev-1") == await show_event(stored, event_id="ev-1")
    await cancel_event(suburb.desk, event_id="ev-1", actor=BEN)
    await suburb.pass_time(60)

    shown: Any = await show_event(suburb.desk, event_id="ev-1")
    assert shown == await show_event(stored, event_id="ev-1")
    assert shown["commands"]["sites_released"] == shown["commands"]["sites_dispatched"] > 0


async def test_forecast_falls_when_homes_reach_their_floor_and_holds_to_the_end_where_they_do_not(
    suburb: Suburb,
) -> None:
    await start(suburb)
    await suburb.pass_time(3_600 - 430)
    fleet, setpoint_w = suburb.controller.fleet, suburb.plan("ev-1").setpoint_w
    (emptier, *_) = np.flatnonzero(setpoint_w)
    fleet.soc_permille[emptier] = fleet.binding_reserve_permille()[emptier] + 10
    lasts_s = 13_305 * 10 * 342 // (100 * setpoint_w[emptier])

    board: Any = await show_board(suburb.desk, event_id="ev-1")

    now = suburb.clock.now()
    for point in board["forecast"]:
        ahead_s = (datetime.fromisoformat(point["at"]) - now).total_seconds()
        assert point["power_w"] == 20_000 - (0 if ahead_s <= lasts_s else setpoint_w[emptier]), ahead_s
    assert 0 < lasts_s < board["remaining_s"] == 400


async def test_energy_needed_is_what_is_asked_to_the_end_though_homes_cannot_give_it(suburb: Suburb) -> None:
    await start(suburb, power_mw="0.3")
    await suburb.pass_time(900)

    board: Any = await show_board(suburb.desk, event_id="ev-1")

    assert board["planned_w"] < board["asked_w"] == 300_000
    assert board["energy_needed_wh"] == 300_000 * 2_670 // 3_600


async def test_homes_that_were_raised_are_not_called_delivering_before_they_could_be(suburb: Suburb) -> None:
    await start(suburb)
    await suburb.pass_time(300)
    before: Any = await show_board(suburb.desk, event_id="ev-1")

    await modify_event(suburb.desk, event_id="ev-1", power_mw="0.04", actor=BEN)
    await suburb.pass_time(1)
    after: Any = await show_board(suburb.desk, event_id="ev-1")

    assert before["proof"] == {"delivering": before["sites"]}
    assert after["planned_w"] > before["planned_w"]
    assert after["proof"].get("delivering", 0) == after["fanout"]["delivering"] == 0


async def test_changed_targets_release_the_homes_that_are_not_meant_any_more(suburb: Suburb) -> None:
    await start(suburb)

    with pytest.raises(OperationRefused, match="is called Nowhere"):
        await modify_event(suburb.desk, event_id="ev-1", targets=["Nowhere"], actor=BEN)
    changed = await modify_event(suburb.desk, event_id="ev-1", targets=["Alameda"], actor=BEN)

    assert changed["targets"] == ["Alameda"]


async def test_change_above_the_limit_takes_effect_up_to_what_was_asked_before(suburb: Suburb) -> None:
    await limit(suburb, 20_000)
    await start(suburb)

    await modify_event(suburb.desk, event_id="ev-1", power_mw="0.04", actor=ANA)
    await suburb.pass_time(15)
    waiting_w = asked_w(suburb)
    await approve_event(suburb.desk, event_id="ev-1", actor=BEN)
    await suburb.pass_time(15)

    assert (waiting_w, asked_w(suburb)) == (20_000, 40_000)


async def test_change_that_says_nothing_or_ends_in_the_past_is_refused(suburb: Suburb) -> None:
    await start(suburb)
    await suburb.pass_time(600)

    with pytest.raises(OperationRefused, match="give a power, a length or targets"):
        await modify_event(suburb.desk, event_id="ev-1", actor=BEN)
    with pytest.raises(OperationRefused, match="cancel it to end it now"):
        await modify_event(suburb.desk, event_id="ev-1", minutes=5, actor=BEN)


async def test_stop_all_needs_nobodys_leave_and_releases_within_the_tick(suburb: Suburb) -> None:
    await limit(suburb, 20_000)
    await start(suburb)
    await start(suburb, "ev-2", power_mw="0.04")  # waits for approval: ev-1 uses the limit

    stopped = await stop_all(suburb.desk, actor=ANA)
    await suburb.controller.turn()

    newest = (await suburb.desk.store.ticks(since=suburb.clock.now()))[-1]
    homes = [site for order in newest.orders for site in order.site_no.tolist()]
    assert stopped["cancelled"] == ["ev-1", "ev-2"]
    assert {order.action for order in newest.orders} == {Action.RELEASE}
    assert len(homes) == stopped["homes"] == len(set(homes))
    assert suburb.controller.board is not None
    assert not suburb.controller.board.leases.setpoint_w.any()


async def test_stop_all_gives_no_home_of_one_event_to_the_next(
    suburb: Suburb, monkeypatch: pytest.MonkeyPatch
) -> None:
    await limit(suburb, 20_000)
    for event_id in ("ev-1", "ev-2", "ev-3"):  # the first has the whole limit, the others wait for it
        await start(suburb, event_id)
    store, began_at = suburb.desk.store, suburb.clock.now()
    append, homes = type(store).append_version, int(suburb.live.serving("ev-1", began_at).sum())

    async def append_and_decide(
        self: MemoryStore, version: GridEvent, *, actor: str, told: TrailEntry
    ) -> None:
        await append(self, version, actor=actor, told=told)
        await suburb.controller.turn()  # what else goes on in the process while a stop is stored

    monkeypatch.setattr(type(store), "append_version", append_and_decide)
    stopped = await stop_all(suburb.desk, actor=ANA)
    await suburb.controller.turn()

    told = [order for tick in await store.ticks(since=began_at) for order in tick.orders]
    assert (stopped["cancelled"], stopped["homes"]) == (["ev-1", "ev-2", "ev-3"], homes)
    assert [(order.event_id, order.action) for order in told] == [("ev-1", Action.RELEASE)]


async def test_stop_all_ends_an_event_whose_newer_version_waits(suburb: Suburb) -> None:
    await start(suburb)
    await modify_event(suburb.desk, event_id="ev-1", minutes=600, actor=ANA)  # out of its program
    assert (await show_event(suburb.desk, event_id="ev-1"))["state"] == "waiting_for_force"

    stopped = await stop_all(suburb.desk, actor=ANA)

    assert stopped["cancelled"] == ["ev-1"]


async def test_stop_all_leaves_what_is_hours_away(suburb: Suburb) -> None:
    later = (suburb.clock.now() + timedelta(hours=1)).isoformat()
    await start(suburb, starts_at=later)

    stopped = await stop_all(suburb.desk, actor=ANA)

    assert (stopped["cancelled"], stopped["scheduled"]) == ([], ["ev-1"])


@pytest.mark.parametrize("marked", [{"test": True}, {"name": "TEST drill"}])
async def test_test_event_is_marked_in_every_command_and_never_settled(
    suburb: Suburb, marked: dict[str, Any]
) -> None:
    await start(suburb, **marked)
    await suburb.pass_time(3_600 + 60)
    await suburb.controller.settle_event("ev-1")

    ticks = await suburb.desk.store.event_ticks("ev-1")
    assert all(order.test for tick in ticks for order in tick.orders if order.action is Action.DISCHARGE)
    assert (await show_event(suburb.desk, event_id="ev-1"))["settlement"] is None
    assert (await show_event(suburb.desk, event_id="ev-1"))["test"] is True


@pytest.mark.parametrize("test", [True, False])
async def test_whatever_tells_of_a_test_event_says_that_it_is_one(suburb: Suburb, test: bool) -> None:
    await start(suburb, test=test)
    told: list[Any] = [
        await trace_site(suburb.desk, site_id="s-000", event_id="ev-1"),
        await show_evening(suburb.desk, event_id="ev-1"),
        await replay_event(suburb.desk, event_id="ev-1"),
    ]
    shown = Console(record=True, file=StringIO())
    rendering.show_trace(shown, told[0])

    assert [each["test"] for each in told] == [test] * 3
    assert shown.export_text().startswith("TEST: never paid, never counted\n") == test


async def to_the_end_of_an_event_that_changes_its_mind(suburb: Suburb, begun_as_test: bool) -> None:
    """Let an event begin as a test or as none, be called the other thing, end and be settled."""
    await start(suburb, test=begun_as_test)
    latest = (await suburb.desk.history("ev-1")).latest
    now = suburb.clock.now()
    other = replace(latest, version=2, modified_at=now, committed_at=now, test=not begun_as_test)
    await suburb.desk.store.append_version(other, actor="caiso")
    await suburb.pass_time(3_600 + 60)
    await suburb.controller.settle_event("ev-1")


@pytest.mark.parametrize("begun_as_test", [True, False])
async def test_a_word_in_the_middle_of_an_event_makes_no_test_paid_and_no_paid_event_a_test(
    suburb: Suburb, begun_as_test: bool
) -> None:
    await to_the_end_of_an_event_that_changes_its_mind(suburb, begun_as_test)

    ticks = await suburb.desk.store.event_ticks("ev-1")
    shown = await show_event(suburb.desk, event_id="ev-1")
    assert {order.test for tick in ticks for order in tick.orders} == {begun_as_test}
    assert (shown["test"], shown["settlement"] is None) == (begun_as_test, begun_as_test)


@pytest.mark.parametrize("begun_as_test", [True, False])
async def test_an_owner_reads_everywhere_what_an_event_was_when_it_began(
    suburb: Suburb, begun_as_test: bool
) -> None:
    await to_the_end_of_an_event_that_changes_its_mind(suburb, begun_as_test)
    (asked, *_) = np.flatnonzero(suburb.plan("ev-1").setpoint_w)
    owner_id = suburb.controller.roster.enrollments[int(asked)].owner_id

    feed = await open_calendar(suburb.desk, owner_id=owner_id)
    secret = str(feed["path"]).removeprefix("/calendar/").removesuffix(".ics")
    calendar = (await calendar_by_secret(suburb.desk, secret=secret)).decode()
    own: Any = await show_own_events(suburb.desk, owner_id=owner_id)
    statement: Any = await show_statement(suburb.desk, owner_id=owner_id)

    assert ("SUMMARY:TEST" in calendar) == begun_as_test
    assert own["events"][0]["test"] == (own["events"][0]["why"] == "test_event") == begun_as_test
    assert [line["test"] for line in statement["events"]] == ([] if begun_as_test else [False])


async def test_events_are_changed_and_approved_over_the_api(suburb: Suburb) -> None:
    await limit(suburb, 8_000)
    await suburb.add("ben", Role.APPROVER)
    await suburb.pass_time(15)
    await start(suburb)
    transport = httpx.ASGITransport(app=suburb.app)
    headers = {"Authorization": "Bearer a-token", "X-VPP-Actor": BEN}
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as asking:
        approved = await asking.post(
            "/api/v1/events/ev-1/approve", json={"login": "ben", "password": PASSWORD}
        )
        changed = await asking.patch("/api/v1/events/ev-1", json={"power_mw": "0.01"})
        unknown = await asking.patch("/api/v1/events/ev-1", json={"megawatts": "0.01"})

    assert (approved.status_code, changed.status_code, unknown.status_code) == (200, 200, 422)
    assert changed.json()["version"] == 2
    await suburb.pass_time(15)
    assert asked_w(suburb) == 10_000


async def test_an_event_that_is_over_stays_so_when_its_source_deletes_it_afterwards(suburb: Suburb) -> None:
    await start(suburb, minutes=15)
    await suburb.pass_time(1_000)
    over = await show_event(suburb.desk, event_id="ev-1")
    latest = (await suburb.desk.history("ev-1")).latest

    await suburb.desk.store.append_version(cancelled(latest, at=suburb.clock.now()), actor="caiso")

    shown = await show_event(suburb.desk, event_id="ev-1")
    assert (shown["state"], shown["cancelled_at"], shown["ends_at"]) == ("ended", None, over["ends_at"])
