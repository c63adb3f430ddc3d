"""What people ask of the product, done on a store in memory."""

from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulators.home_files import write_sites_csv
from simulators.household import neighbourhood
from tests.entrypoints.builders import (
    ENDS_AT,
    NOON,
    a_desk,
    an_enrollment_file,
    an_event,
    take_event,
)
from vpp.adapters.clock import SteppedClock
from vpp.domain.command import DispatchTick, PlanRevision
from vpp.domain.dispatch_plan import Reason, reason_code
from vpp.domain.grid_event import EventStatus, Operation
from vpp.domain.quantities import column
from vpp.entrypoints.operations import events, metering, money, sites, sources, starting
from vpp.entrypoints.operations.desk import Desk, OperationRefused, usd
from vpp.settings import Settings, load_programs


@pytest.fixture
async def desk(tmp_path: Path) -> Desk:
    desk = a_desk(tmp_path)
    content = an_enrollment_file("s-1", "s-2", "s-3")
    await sites.enroll_sites(desk, content=content, file_name="sites.csv")
    await take_event(desk, an_event("ev-1"))
    return desk


def clock_of(desk: Desk) -> SteppedClock:
    assert isinstance(desk.clock, SteppedClock)
    return desk.clock


async def test_enrolled_homes_get_their_shard_in_the_order_of_the_file(tmp_path: Path) -> None:
    desk = a_desk(tmp_path)

    answer = await sites.enroll_sites(desk, content=an_enrollment_file("s-9", "s-1"), file_name="sites.csv")

    assert answer == {"sites": [{"site_id": "s-9", "shard": "00"}, {"site_id": "s-1", "shard": "01"}]}


async def test_a_home_joins_a_program_of_its_own_utility_only(tmp_path: Path) -> None:
    desk = a_desk(tmp_path)

    with pytest.raises(OperationRefused) as refused:
        await sites.enroll_sites(desk, content=an_enrollment_file("s-1", utility="sce"), file_name="s.csv")

    assert refused.value.faults == (
        "s.csv:2: utility: 'sce' is not PGE, whose homes alone elrp-a4-pge takes",
    )


@pytest.mark.parametrize("program_id", sorted(load_programs(Settings())))
async def test_simulated_homes_join_every_program_that_comes_with_the_product(
    tmp_path: Path, program_id: str
) -> None:
    desk = replace(a_desk(tmp_path), programs=load_programs(Settings()))
    homes = neighbourhood(3, 1, programs=[program_id], year=2026)
    write_sites_csv(tmp_path / "sites.csv", homes, consent_at=NOON - timedelta(days=1))

    content = (tmp_path / "sites.csv").read_bytes()
    enrolled = await sites.enroll_sites(desk, content=content, file_name="sites.csv")

    assert len(enrolled["sites"]) == 3  # type: ignore[arg-type]  # an answer's values are plain JSON


@pytest.mark.parametrize("words", ["٣", "1_0", "２"])
async def test_digits_that_people_cannot_read_back_are_no_number(desk: Desk, words: str) -> None:
    with pytest.raises(OperationRefused, match="is not 0 to 100"):
        await sites.change_reserve(desk, site_id="s-1", reserve=words, actor="owner:o-1")
    with pytest.raises(OperationRefused, match="is not a number of megawatts"):
        await sources.add_source(desk, name="caiso", max_mw=words)
    with pytest.raises(OperationRefused, match="is not a number of megawatts"):
        starting.read_megawatts(words)


async def test_a_file_with_one_home_that_has_a_place_enrolls_nobody(desk: Desk) -> None:
    with pytest.raises(OperationRefused) as refused:
        await sites.enroll_sites(desk, content=an_enrollment_file("s-4", "s-2"), file_name="more.csv")

    assert refused.value.faults == ("more.csv:3: site s-2 is enrolled already",)
    listed = await sites.list_sites(desk)
    assert len(listed["sites"]) == 3  # type: ignore[arg-type]  # an answer's values are plain JSON


async def test_an_opt_out_wins_until_it_is_taken_back(desk: Desk) -> None:
    await sites.opt_out_site(desk, site_id="s-1", event_id="ev-1", actor="operator:ada")
    out = await sites.why_site(desk, site_id="s-1", event_id="ev-1")
    await sites.opt_in_site(desk, site_id="s-1", event_id="ev-1")
    back = await sites.why_site(desk, site_id="s-1", event_id="ev-1")

    assert (out["reason"], out["opted_out_at"]) == (Reason.OPTED_OUT, "2026-09-09T19:00:00Z")
    assert (back["reason"], back["opted_out_at"]) == (None, None)


async def test_an_opt_out_asked_twice_keeps_the_first_moment(desk: Desk) -> None:
    first = await sites.opt_out_site(desk, site_id="s-1", event_id="ev-1", actor="operator:ada")
    clock_of(desk).step_to(NOON + timedelta(minutes=5))

    again = await sites.opt_out_site(desk, site_id="s-1", event_id="ev-1", actor="operator:ada")

    assert again == first


async def test_nobody_opts_out_of_an_event_that_is_over(desk: Desk) -> None:
    clock_of(desk).step_to(ENDS_AT)

    with pytest.raises(OperationRefused, match="ended on Wed Sep 9, 8:00 PM PDT; nothing"):
        await sites.opt_out_site(desk, site_id="s-1", event_id="ev-1", actor="operator:ada")


async def test_taking_back_an_opt_out_that_is_not_there_says_where_it_may_be(desk: Desk) -> None:
    with pytest.raises(OperationRefused, match="one made at the home ends there"):
        await sites.opt_in_site(desk, site_id="s-1", event_id="ev-1")


async def test_a_reserve_change_is_told_back_in_percent(desk: Desk) -> None:
    await sites.change_reserve(desk, site_id="s-1", reserve="35.5", actor="operator:ada")

    assert (await sites.list_sites(desk))["sites"][0]["reserve_pct"] == 35.5


@pytest.mark.parametrize("reserve", ["101", "20.55", "-1", "half"])
async def test_a_reserve_outside_the_scale_is_refused(desk: Desk, reserve: str) -> None:
    with pytest.raises(OperationRefused, match="is not 0 to 100 with at most one decimal"):
        await sites.change_reserve(desk, site_id="s-1", reserve=reserve, actor="operator:ada")


async def test_a_home_learns_why_it_takes_part_from_the_newest_plan(desk: Desk) -> None:
    selected, not_needed = reason_code(Reason.SELECTED), reason_code(Reason.NOT_NEEDED)
    revision = PlanRevision(
        event_id="ev-1",
        revision=1,
        version=1,
        at=NOON,
        requested_w=8000,
        shortfall_w=0,
        level_permille=610,
        site_no=column([0, 1]),
        setpoint_w=column([5000, 3000]),
        reserve_floor_permille=column([200, 200]),
        reason_code=column(np.array([selected, selected, not_needed])),
    )
    tick = await _a_tick(desk, revision)

    helping = await sites.why_site(desk, site_id="s-2", event_id="ev-1")
    resting = await sites.why_site(desk, site_id="s-3", event_id="ev-1")
    event = await events.show_event(desk, event_id="ev-1")

    assert (helping["reason"], helping["setpoint_w"], helping["reserve_floor_pct"]) == (
        "selected",
        3000,
        20.0,
    )
    assert (resting["reason"], resting["setpoint_w"], resting["commands"]) == ("not_needed", 0, 0)
    assert event["plan"] == {
        "revision": 1,
        "version": 1,
        "planned_at": "2026-09-09T19:00:00Z",
        "requested_w": 8000,
        "planned_w": 8000,
        "shortfall_w": 0,
        "level_pct": 61.0,
        "sites": 2,
        "reasons": {"not_needed": 1, "selected": 2},
    }
    assert tick == 1


async def _a_tick(desk: Desk, revision: PlanRevision) -> int:
    epoch = await desk.store.take_epoch(at=NOON)
    await desk.store.commit(DispatchTick(1, epoch, NOON, ()), [revision])
    return (await desk.store.last_tick()).sequence


async def test_an_event_out_of_its_program_waits_until_a_person_forces_it(desk: Desk) -> None:
    await take_event(desk, an_event("ev-2", out_of_program=("out_of_window",)))
    before = await events.show_event(desk, event_id="ev-2")

    forced = await events.force_event(desk, event_id="ev-2", actor="operator:ada")
    after = await events.show_event(desk, event_id="ev-2")
    again = await events.force_event(desk, event_id="ev-2", actor="operator:bob")

    assert (before["state"], after["state"]) == ("waiting_for_force", "scheduled")
    assert after["out_of_program"] == ["out_of_window"]
    assert again == forced
    assert forced["forced_by"] == "operator:ada"


@pytest.mark.parametrize("word", ["DELETE", "PT0S", "in-terms UPDATE"])
async def test_an_event_that_was_forced_out_of_its_program_stays_flagged_for_good(
    desk: Desk, word: str
) -> None:
    left = an_event("ev-2", out_of_program=("out_of_window",))
    await take_event(desk, left)
    await events.force_event(desk, event_id="ev-2", actor="operator:ada")
    ended: dict[str, Any] = (
        {"steps": (), "status": EventStatus.CANCELLED} if word != "in-terms UPDATE" else {}
    )
    operation = Operation.DELETE if word == "DELETE" else Operation.UPDATE
    later = replace(
        left,
        version=2,
        operation=operation,
        modified_at=NOON,
        content_sha256="2" * 64,
        out_of_program=(),
        **ended,
    )
    await desk.store.append_version(later, actor="caiso")

    shown = await events.show_event(desk, event_id="ev-2")
    listed = await events.list_events(desk)

    assert (shown["version"], shown["out_of_program"], shown["forced"]) == (2, ["out_of_window"], True)
    assert {**listed["events"][1]}.items() <= shown.items()  # type: ignore[index]  # plain JSON


async def test_an_event_of_a_source_without_a_limit_of_its_own_waits_for_approval(desk: Desk) -> None:
    before = await events.show_event(desk, event_id="ev-1")
    await sources.add_source(desk, name="caiso", max_mw="0")
    after = await events.show_event(desk, event_id="ev-1")

    assert (before["state"], before["authorized_w"]) == ("scheduled", 400_000)
    assert (after["state"], after["authorized_w"]) == ("waiting_for_approval", 0)


async def test_the_energy_asked_is_power_times_time(desk: Desk) -> None:
    assert (await events.show_event(desk, event_id="ev-1"))["requested_wh"] == 800_000


async def test_settling_all_that_is_over_leaves_what_runs_alone(desk: Desk) -> None:
    assert await money.settle_ended(desk) == {"events": [], "unsettled": []}


async def test_an_event_inside_its_program_needs_no_force(desk: Desk) -> None:
    with pytest.raises(OperationRefused, match="needs no force"):
        await events.force_event(desk, event_id="ev-1", actor="operator:ada")


async def test_a_cancel_is_a_version_of_its_own_and_happens_once(desk: Desk) -> None:
    cancelled = await events.cancel_event(desk, event_id="ev-1", actor="operator:ada")
    again = await events.cancel_event(desk, event_id="ev-1", actor="operator:ada")
    event = await events.show_event(desk, event_id="ev-1")

    assert (
        cancelled
        == again
        == {
            "event_id": "ev-1",
            "version": 2,
            "cancelled_at": "2026-09-09T19:00:00Z",
            "time_zone": "America/Los_Angeles",
        }
    )
    assert (event["state"], event["starts_at"]) == ("cancelled", "2026-09-10T01:00:00Z")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"name": "CAISO"}, "is not 1-64 of a-z"),
        ({"name": "caiso", "key": "abc"}, "--key has 2 bytes"),
        ({"name": "caiso", "max_mw": "-1"}, "is not 0 to 100000 MW"),
        ({"name": "caiso", "max_mw": "much"}, "is not a number of megawatts"),
        ({"name": "caiso", "max_mw": "nan"}, "is not 0 to 100000 MW"),
    ],
)
async def test_a_source_that_cannot_be_meant_is_refused(
    desk: Desk, arguments: dict[str, str], reason: str
) -> None:
    with pytest.raises(OperationRefused, match=reason):
        await sources.add_source(desk, **arguments)


async def test_megawatts_of_a_source_become_watts_exactly(desk: Desk) -> None:
    assert (await sources.add_source(desk, name="caiso", max_mw="0.3"))["max_w"] == 300_000


async def test_in_production_every_source_signs(tmp_path: Path) -> None:
    with pytest.raises(OperationRefused, match="in production every source signs"):
        await sources.add_source(a_desk(tmp_path, production=True), name="caiso")


METER = "site_id,at,discharged_wh,charged_wh,imported_wh,exported_wh,quality\n"


async def test_importing_the_same_history_twice_stores_it_once(desk: Desk) -> None:
    content = (
        METER + "s-1,2026-09-01T00:00:00Z,100,50,,,OK\ns-1,2026-09-01T01:00:00Z,200,50,,,OK\n"
    ).encode()

    first = await metering.import_readings(desk, content=content, file_name="meter.csv")
    again = await metering.import_readings(desk, content=content, file_name="meter.csv")

    assert first | {"stored": 0, "stored_before": 2} == again
    assert (first["readings"], first["stored"], first["stored_before"]) == (2, 2, 0)
    newest = await desk.store.newest_reading_at(["s-1"])
    assert newest["s-1"].isoformat() == "2026-09-01T01:00:00+00:00"


async def test_history_of_a_home_that_is_not_enrolled_stores_nothing(desk: Desk) -> None:
    content = (METER + "s-1,2026-09-01T00:00:00Z,1,1,,,OK\ns-8,2026-09-01T00:00:00Z,1,1,,,OK\n").encode()

    with pytest.raises(OperationRefused) as refused:
        await metering.import_readings(desk, content=content, file_name="meter.csv")

    assert refused.value.faults == (
        "meter.csv:3: site_id: site s-8 is not enrolled; vpp site enroll comes first",
    )
    assert await desk.store.newest_reading_at(["s-1"]) == {}


async def test_an_unknown_owner_has_no_statement(desk: Desk) -> None:
    with pytest.raises(OperationRefused) as refused:
        await money.show_statement(desk, owner_id="o-nobody")

    assert refused.value.status is HTTPStatus.NOT_FOUND


async def test_an_owner_without_events_has_a_statement_of_zero(desk: Desk) -> None:
    statement = await money.show_statement(desk, owner_id="o-s-1")

    assert (statement["events"], statement["pending_usd"], statement["posted_usd"]) == ([], "0.00", "0.00")


async def test_empty_books_balance(desk: Desk) -> None:
    books = await money.verify_ledger(desk)

    assert (books["balanced"], books["chain_holds"], books["entries"]) == (True, True, 0)


async def test_an_event_that_runs_is_not_settled(desk: Desk) -> None:
    with pytest.raises(OperationRefused, match="is settled after its end"):
        await money.settle_event(desk, event_id="ev-1")


@pytest.mark.parametrize(
    ("micro_dollars", "text"),
    [(0, "0.00"), (16_000_000, "16.00"), (-50_000, "-0.05"), (1, "0.000001"), (-1_234_567, "-1.234567")],
)
def test_dollars_show_what_cents_would_hide(micro_dollars: int, text: str) -> None:
    assert usd(micro_dollars) == text
